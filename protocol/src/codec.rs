//! How a message becomes the bytes of a payload, and back.
//!
//! The encoding: integers little-endian and of their own width; `bool` one byte, 0 or 1; `String`
//! and `Vec` a `u64` count of elements, then the elements; a `struct` its fields in order, nothing
//! between them. This is the only module that knows which library writes it, so that the library
//! can be exchanged in one file; `tests/golden.rs` says whether the bytes stayed the same.
//!
//! Bounds: a payload has at most [`MAX_PAYLOAD_BYTES`], and lengths within it are checked against
//! the bytes that are left before they are believed. Decoding a hostile payload allocates at most
//! 1 MiB at a time (the reservation made for a `Vec` that announces more than follows).

use std::fmt;

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use bincode::error::{DecodeError, EncodeError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::message::{SuperblockChange, SuperblockChanges};

/// The most bytes a payload has; a frame that announces more is refused before anything is
/// allocated for it.
pub const MAX_PAYLOAD_BYTES: usize = 256 * 1024;

/// Every choice of the encoding, spelled out rather than taken from the library's defaults.
const CONFIG: Configuration<LittleEndian, Fixint, Limit<MAX_PAYLOAD_BYTES>> =
    bincode::config::standard()
        .with_little_endian()
        .with_fixed_int_encoding()
        .with_limit::<MAX_PAYLOAD_BYTES>();

/// What the encoding library found wrong; opaque, so that the library can be exchanged.
#[derive(Debug)]
pub struct Cause(CauseKind);

#[derive(Debug)]
enum CauseKind {
    Decode(DecodeError),
    Encode(EncodeError),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            CauseKind::Decode(DecodeError::UnexpectedEnd { .. }) => {
                f.write_str("the payload ends within the message")
            }
            CauseKind::Decode(DecodeError::LimitExceeded) => {
                f.write_str("a length in the payload is over the limit")
            }
            CauseKind::Decode(error) => fmt::Display::fmt(error, f),
            CauseKind::Encode(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for Cause {}

/// Writes `message` to the front of `out` and returns how many bytes it took. Allocates nothing.
///
/// # Errors
/// [`Error::BufferFull`] when `out` is too small; its contents are then unspecified.
pub fn encode_into<T: Serialize>(message: &T, out: &mut [u8]) -> Result<usize, Error> {
    let bytes = out.len();
    bincode::serde::encode_into_slice(message, out, CONFIG).map_err(|error| match error {
        EncodeError::UnexpectedEnd => Error::BufferFull { bytes },
        error => Error::Encode(Cause(CauseKind::Encode(error))),
    })
}

/// Appends `message` to `out` and returns how many bytes it took.
pub(crate) fn append_to<T: Serialize>(message: &T, out: &mut Vec<u8>) -> Result<usize, Error> {
    bincode::serde::encode_into_std_write(message, out, CONFIG)
        .map_err(|error| Error::Encode(Cause(CauseKind::Encode(error))))
}

/// Reads the message that `payload` consists of.
///
/// # Errors
/// [`Error::PayloadTooLong`], [`Error::Decode`] when the bytes are no such message, and
/// [`Error::TrailingBytes`] when something follows it.
pub fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Error> {
    decode_borrowed(payload)
}

/// As [`decode`], for a type that borrows its strings from the payload: allocates nothing.
///
/// # Errors
/// As [`decode`].
pub fn decode_borrowed<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, Error> {
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(Error::PayloadTooLong { bytes: payload.len(), limit: MAX_PAYLOAD_BYTES });
    }
    let (message, used) = bincode::serde::borrow_decode_from_slice(payload, CONFIG)
        .map_err(|error| Error::Decode(Cause(CauseKind::Decode(error))))?;
    match payload.len() - used {
        0 => Ok(message),
        bytes => Err(Error::TrailingBytes { bytes }),
    }
}

/// As [`decode`], for the one message that comes with a hundred thousand records: its records have one width, and are
/// read as such (2 ms less for 100,000 of them).
///
/// # Errors
/// As [`decode`].
pub fn decode_changes(payload: &[u8]) -> Result<SuperblockChanges, Error> {
    let fixed = |payload: &[u8]| {
        let (count, records) = payload.split_first_chunk()?;
        let (records, rest) = records.as_chunks();
        let is_whole = rest.is_empty() && u64::from_le_bytes(*count) == records.len() as u64;
        let records: &[[u8; 15]] = if is_whole { records } else { return None };
        let records = records.iter().map(change).collect::<Option<Vec<_>>>()?;
        Some(SuperblockChanges { records })
    };
    if payload.len() <= MAX_PAYLOAD_BYTES
        && let Some(changes) = fixed(payload)
    {
        return Ok(changes);
    }
    // What is wrong with it is told in one place.
    decode(payload)
}

fn change(bytes: &[u8; 15]) -> Option<SuperblockChange> {
    let (id, rest) = bytes.split_first_chunk()?;
    let (anchor, rest) = rest.split_first_chunk()?;
    let (credits, rest) = rest.split_first_chunk()?;
    let exact = match rest {
        [0] => false,
        [1] => true,
        _ => return None,
    };
    Some(SuperblockChange {
        id: u32::from_le_bytes(*id),
        anchor: u64::from_le_bytes(*anchor),
        credits: u16::from_le_bytes(*credits),
        exact,
    })
}

#[cfg(test)]
mod tests {
    //! Aim: the rules above, one by one. Method: small hand-made payloads.
    use super::*;
    use crate::message::{ClientHello, Gap, HeapRecord, Heaps, MAGIC, MAJOR, MINOR, Subscribe};

    #[test]
    fn a_message_comes_back() {
        let message =
            ClientHello { magic: MAGIC, major: MAJOR, minor: MINOR, client: "viewer".to_owned() };
        let mut out = [0; 64];
        let used = encode_into(&message, &mut out).unwrap();
        assert_eq!(used, 4 + 2 + 2 + 8 + 6);
        assert_eq!(decode::<ClientHello>(&out[..used]).unwrap(), message);
    }

    #[test]
    fn a_full_buffer_is_an_error_and_an_exact_one_is_not() {
        let mut out = [0; 8];
        assert_eq!(encode_into(&Gap { lost: 1 }, &mut out).unwrap(), 8);
        assert!(matches!(
            encode_into(&Gap { lost: 1 }, &mut out[..7]),
            Err(Error::BufferFull { bytes: 7 })
        ));
    }

    #[test]
    fn trailing_bytes_and_missing_bytes_are_errors() {
        assert!(matches!(decode::<Gap>(&[0; 9]), Err(Error::TrailingBytes { bytes: 1 })));
        assert!(matches!(decode::<Gap>(&[0; 7]), Err(Error::Decode(_))));
    }

    #[test]
    fn a_bool_is_zero_or_one() {
        assert!(decode::<Subscribe>(&[50, 0, 0, 0, 1]).unwrap().transitions);
        assert!(matches!(decode::<Subscribe>(&[50, 0, 0, 0, 2]), Err(Error::Decode(_))));
    }

    #[test]
    fn a_length_larger_than_the_payload_is_refused() {
        let mut payload = vec![1];
        payload.extend(u64::MAX.to_le_bytes());
        assert!(matches!(decode::<Heaps>(&payload), Err(Error::Decode(_))));
        let heaps = Heaps {
            first: true,
            records: vec![HeapRecord { class: 1, heap: 2, superblock: 3, credits: 4 }],
        };
        let mut out = [0; 64];
        let used = encode_into(&heaps, &mut out).unwrap();
        assert_eq!(decode::<Heaps>(&out[..used]).unwrap(), heaps);
        assert!(matches!(decode::<Heaps>(&out[..used - 1]), Err(Error::Decode(_))));
    }

    #[test]
    fn a_payload_over_the_limit_is_refused_unread() {
        let payload = vec![0; MAX_PAYLOAD_BYTES + 1];
        assert!(matches!(decode::<Gap>(&payload), Err(Error::PayloadTooLong { .. })));
    }
}
