//! What a client asks for: the greeting, and the requests after it.

use std::time::Duration;

use lfalloc_protocol::message::{
    Kind, MAGIC, MAJOR, MINOR, StateRequest, Subscribe, SuperblockRequest, TotalsRequest, refusal,
};
use lfalloc_protocol::{Error, decode, decode_borrowed};

/// The most bytes a client's name has.
const MAX_CLIENT_NAME_BYTES: usize = 64;
/// The range of update intervals.
const MIN_INTERVAL: Duration = Duration::from_millis(20);
const MAX_INTERVAL: Duration = Duration::from_secs(60);

/// A request, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Totals,
    State,
    Subscribe {
        interval: Duration,
        transitions: bool,
    },
    Unsubscribe,
    Superblock {
        id: u32,
    },
    /// Of a kind that this agent does not know.
    Skipped,
}

/// Why a client is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Version { major: u16, minor: u16 },
    User { uid: u32 },
    Busy { viewers: usize },
    Malformed,
    Silent,
}

impl Refusal {
    /// The number it has in the protocol.
    pub(crate) fn reason(self) -> u16 {
        match self {
            Self::Version { .. } => refusal::VERSION,
            Self::User { .. } => refusal::USER,
            Self::Busy { .. } => refusal::BUSY,
            Self::Malformed | Self::Silent => refusal::MALFORMED,
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Version { major, minor } => write!(
                f,
                "the program speaks protocol {MAJOR}.{MINOR}, the viewer {major}.{minor}: use a \
                 viewer of the program's lfalloc version",
            ),
            Self::User { uid } => {
                write!(f, "user {uid} may not watch this program: only its own user and root may")
            }
            Self::Busy { viewers } => {
                write!(f, "all {viewers} places for viewers are taken: close one and try again")
            }
            Self::Malformed => f.write_str("what the viewer sent is not the lfalloc protocol"),
            Self::Silent => f.write_str("the viewer sent no greeting in time"),
        }
    }
}

/// Checks the first frame and returns the viewer's minor version. Allocates nothing.
///
/// Magic and version stand first in the greetings of all versions, so that they are read before
/// anything is assumed of the rest.
pub(crate) fn check_greeting(kind: Kind, payload: &[u8]) -> Result<u16, Refusal> {
    let Some(&[m0, m1, m2, m3, j0, j1, n0, n1]) = payload.first_chunk::<8>() else {
        return Err(Refusal::Malformed);
    };
    if kind != Kind::CLIENT_HELLO || u32::from_le_bytes([m0, m1, m2, m3]) != MAGIC {
        return Err(Refusal::Malformed);
    }
    let (major, minor) = (u16::from_le_bytes([j0, j1]), u16::from_le_bytes([n0, n1]));
    if major != MAJOR {
        return Err(Refusal::Version { major, minor });
    }
    // As `ClientHello`, but with a name that is not copied.
    match decode_borrowed::<(u32, u16, u16, &str)>(payload) {
        Ok((.., name)) if name.len() <= MAX_CLIENT_NAME_BYTES => Ok(minor),
        _ => Err(Refusal::Malformed),
    }
}

/// Reads a frame after the greeting.
pub(crate) fn parse(kind: Kind, payload: &[u8]) -> Result<Request, Refusal> {
    let malformed = |_: Error| Refusal::Malformed;
    match kind {
        Kind::TOTALS_REQUEST => {
            decode::<TotalsRequest>(payload).map_err(malformed).map(|_| Request::Totals)
        }
        Kind::STATE_REQUEST => {
            decode::<StateRequest>(payload).map_err(malformed).map(|_| Request::State)
        }
        Kind::SUBSCRIBE => match decode::<Subscribe>(payload).map_err(malformed)? {
            Subscribe { interval_ms: 0, .. } => Ok(Request::Unsubscribe),
            Subscribe { interval_ms, transitions } => Ok(Request::Subscribe {
                interval: Duration::from_millis(interval_ms.into())
                    .clamp(MIN_INTERVAL, MAX_INTERVAL),
                transitions,
            }),
        },
        Kind::SUPERBLOCK_REQUEST => decode::<SuperblockRequest>(payload)
            .map_err(malformed)
            .map(|SuperblockRequest { id }| Request::Superblock { id }),
        // There is one greeting.
        Kind::CLIENT_HELLO => Err(Refusal::Malformed),
        _ => Ok(Request::Skipped),
    }
}

#[cfg(test)]
mod tests {
    //! Aim: what is accepted and what is refused. Method: frames made by hand.
    use lfalloc_protocol::encode_into;
    use lfalloc_protocol::message::ClientHello;

    use super::*;

    fn greeting(magic: u32, major: u16, minor: u16, client: &str) -> Result<u16, Refusal> {
        let hello = ClientHello { magic, major, minor, client: client.to_owned() };
        let mut out = [0; 256];
        let used = encode_into(&hello, &mut out).unwrap();
        check_greeting(Kind::CLIENT_HELLO, &out[..used])
    }

    #[test]
    fn greetings() {
        assert_eq!(greeting(MAGIC, MAJOR, MINOR, ""), Ok(MINOR));
        assert_eq!(greeting(MAGIC, MAJOR, 0, ""), Ok(0));
        assert_eq!(greeting(MAGIC, MAJOR, MINOR + 7, &"x".repeat(64)), Ok(MINOR + 7));
        assert_eq!(greeting(MAGIC, MAJOR, MINOR, &"x".repeat(65)), Err(Refusal::Malformed));
        assert_eq!(greeting(MAGIC + 1, MAJOR, MINOR, ""), Err(Refusal::Malformed));
        let other = Refusal::Version { major: 7, minor: 3 };
        assert_eq!(greeting(MAGIC, 7, 3, ""), Err(other));
        let text = other.to_string();
        assert!(text.contains("7.3") && text.contains(&format!("{MAJOR}.{MINOR}")), "{text}");
        assert_eq!(check_greeting(Kind::GAP, &[0; 40]), Err(Refusal::Malformed));
        assert_eq!(check_greeting(Kind::CLIENT_HELLO, b"LFAL"), Err(Refusal::Malformed));
    }

    /// The rest of another version's greeting is not looked at.
    #[test]
    fn a_greeting_of_another_version_may_have_another_shape() {
        let mut payload = MAGIC.to_le_bytes().to_vec();
        payload.extend(2_u16.to_le_bytes());
        payload.extend(0_u16.to_le_bytes());
        payload.extend([0xFF; 30]);
        assert_eq!(
            check_greeting(Kind::CLIENT_HELLO, &payload),
            Err(Refusal::Version { major: 2, minor: 0 })
        );
    }

    #[test]
    fn requests() {
        let subscribe = |interval_ms, transitions| {
            let mut out = [0; 16];
            let used = encode_into(&Subscribe { interval_ms, transitions }, &mut out).unwrap();
            parse(Kind::SUBSCRIBE, &out[..used])
        };
        let interval = |interval| Ok(Request::Subscribe { interval, transitions: true });
        assert_eq!(subscribe(0, true), Ok(Request::Unsubscribe));
        assert_eq!(subscribe(1, true), interval(MIN_INTERVAL));
        assert_eq!(subscribe(50, true), interval(Duration::from_millis(50)));
        assert_eq!(subscribe(u32::MAX, true), interval(MAX_INTERVAL));
        assert_eq!(parse(Kind::TOTALS_REQUEST, &[]), Ok(Request::Totals));
        assert_eq!(parse(Kind::TOTALS_REQUEST, &[0]), Err(Refusal::Malformed));
        assert_eq!(parse(Kind::STATE_REQUEST, &[]), Ok(Request::State));
        assert_eq!(
            parse(Kind::SUPERBLOCK_REQUEST, &[1, 2, 3, 4]),
            Ok(Request::Superblock { id: 0x0403_0201 })
        );
        assert_eq!(parse(Kind::SUPERBLOCK_REQUEST, &[1, 2, 3]), Err(Refusal::Malformed));
        assert_eq!(parse(Kind(0x7777), &[1, 2, 3]), Ok(Request::Skipped));
        assert_eq!(parse(Kind::CLIENT_HELLO, &[]), Err(Refusal::Malformed));
    }
}
