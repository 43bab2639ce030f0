//! Frames: what stands between two messages on the socket.
//!
//! ```text
//!   offset  0        4      6          8
//!           ┌────────┬──────┬──────────┬─────────────────┐
//!           │ length │ kind │ reserved │ payload         │   all numbers little-endian
//!           │ u32    │ u16  │ u16 = 0  │ length bytes    │
//!           └────────┴──────┴──────────┴─────────────────┘
//! ```
//!
//! The length counts the payload alone. The kind stands outside the payload, so that a reader skips
//! kinds it does not know. A length over the reader's limit, or a reserved field that is not zero,
//! means that the two sides have lost each other: nothing after it can be read.

use std::io::{self, Read, Write};

use serde::Serialize;

use crate::codec::{self, MAX_PAYLOAD_BYTES};
use crate::error::Error;
use crate::message::Kind;

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 8;
/// The most payload bytes an agent accepts in one frame from a viewer: requests are short, and a
/// viewer learns from the agent's greeting which kinds it may send.
pub const MAX_REQUEST_BYTES: usize = 1024;

/// A header as read, its length checked against a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    payload_bytes: usize,
    kind: Kind,
}

impl Header {
    fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&(self.payload_bytes as u32).to_le_bytes());
        bytes[4..6].copy_from_slice(&self.kind.0.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: [u8; HEADER_BYTES], limit: usize) -> Result<Self, Error> {
        let [l0, l1, l2, l3, k0, k1, r0, r1] = bytes;
        let payload_bytes = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let reserved = u16::from_le_bytes([r0, r1]);
        if reserved != 0 {
            return Err(Error::ReservedNotZero(reserved));
        }
        if payload_bytes > limit {
            return Err(Error::PayloadTooLong { bytes: payload_bytes, limit });
        }
        Ok(Self { payload_bytes, kind: Kind(u16::from_le_bytes([k0, k1])) })
    }
}

/// Writes a whole frame to the front of `out` and returns how many bytes it took. Allocates
/// nothing.
///
/// # Errors
/// [`Error::BufferFull`] when `out` is too small, [`Error::PayloadTooLong`] when the message has
/// more than [`MAX_PAYLOAD_BYTES`].
pub fn encode_frame<T: Serialize>(kind: Kind, message: &T, out: &mut [u8]) -> Result<usize, Error> {
    let bytes = out.len();
    let Some((header, payload)) = out.split_at_mut_checked(HEADER_BYTES) else {
        return Err(Error::BufferFull { bytes });
    };
    let payload_bytes = match codec::encode_into(message, payload) {
        Ok(payload_bytes) => payload_bytes,
        Err(Error::BufferFull { .. }) => return Err(Error::BufferFull { bytes }),
        Err(error) => return Err(error),
    };
    if payload_bytes > MAX_PAYLOAD_BYTES {
        return Err(Error::PayloadTooLong { bytes: payload_bytes, limit: MAX_PAYLOAD_BYTES });
    }
    header.copy_from_slice(&Header { payload_bytes, kind }.to_bytes());
    Ok(HEADER_BYTES + payload_bytes)
}

/// Cuts a stream of bytes into frames, whatever pieces it arrives in.
///
/// Bytes are read into [`space`](Self::space) and counted with [`advance`](Self::advance);
/// [`next`](Self::next) then hands out complete frames until it returns `None`. The buffer is made
/// once and never grows: after construction nothing is allocated. After an error the stream is
/// lost, and every further call returns an error as well.
#[derive(Debug)]
pub struct FrameReader {
    buffer: Box<[u8]>,
    /// First byte that has not been handed out.
    start: usize,
    /// First byte that has not been filled.
    end: usize,
}

impl FrameReader {
    /// A reader with a buffer of `bytes`. It accepts payloads of `bytes` less [`HEADER_BYTES`], and
    /// at most [`MAX_PAYLOAD_BYTES`].
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { buffer: vec![0; bytes.max(HEADER_BYTES)].into_boxed_slice(), start: 0, end: 0 }
    }

    /// The most payload bytes that are accepted.
    #[must_use]
    pub fn limit(&self) -> usize {
        (self.buffer.len() - HEADER_BYTES).min(MAX_PAYLOAD_BYTES)
    }

    /// Bytes of the buffer.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.buffer.len()
    }

    /// Where the next bytes are to be put. It is not empty as long as [`next`](Self::next) was
    /// called until it returned `None`, since a frame never fills more than the buffer.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.buffer[self.end..]
    }

    /// Says that the first `read` bytes of [`space`](Self::space) were filled.
    ///
    /// # Panics
    /// When there was not that much space.
    pub fn advance(&mut self, read: usize) {
        assert!(read <= self.buffer.len() - self.end, "more was read than there was space for");
        self.end += read;
    }

    /// The next complete frame, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`Error::PayloadTooLong`] and [`Error::ReservedNotZero`], as soon as the header is there.
    #[allow(clippy::should_implement_trait, reason = "a frame borrows from the reader")]
    pub fn next(&mut self) -> Result<Option<(Kind, &[u8])>, Error> {
        let Some(header) = self.buffer[self.start..self.end].first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let header = Header::from_bytes(*header, self.limit())?;
        let from = self.start + HEADER_BYTES;
        let to = from + header.payload_bytes;
        if to > self.end {
            return Ok(None);
        }
        self.start = to;
        Ok(Some((header.kind, &self.buffer[from..to])))
    }

    /// Forgets everything, for the next connection.
    pub fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }
}

/// Writes one frame, for viewers: allocates a buffer for it.
///
/// # Errors
/// [`Error::PayloadTooLong`] when the message has more than [`MAX_PAYLOAD_BYTES`], [`Error::Io`].
pub fn write_frame<W: Write, T: Serialize>(
    writer: &mut W,
    kind: Kind,
    message: &T,
) -> Result<(), Error> {
    let mut out = vec![0; HEADER_BYTES];
    let payload_bytes = codec::append_to(message, &mut out)?;
    if payload_bytes > MAX_PAYLOAD_BYTES {
        return Err(Error::PayloadTooLong { bytes: payload_bytes, limit: MAX_PAYLOAD_BYTES });
    }
    out[..HEADER_BYTES].copy_from_slice(&Header { payload_bytes, kind }.to_bytes());
    // One write, so that a frame leaves in one piece where the socket has room.
    writer.write_all(&out)?;
    Ok(writer.flush()?)
}

/// Reads one frame and blocks for it, for viewers; afterwards `buffer` holds its payload.
///
/// # Errors
/// [`Error::Closed`] when the connection ends before a frame, [`Error::Io`] when it ends within one
/// or fails, and the errors of [`FrameReader::next`]. A time-out set on the stream ends in
/// [`Error::Io`] as well; if it struck within a frame the stream is lost, so that a viewer which
/// polls uses [`FrameReader`].
pub fn read_frame<R: Read>(reader: &mut R, buffer: &mut Vec<u8>) -> Result<Kind, Error> {
    let mut bytes = [0; HEADER_BYTES];
    let first = loop {
        match reader.read(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => break result?,
        }
    };
    if first == 0 {
        return Err(Error::Closed);
    }
    reader.read_exact(&mut bytes[first..])?;
    let header = Header::from_bytes(bytes, MAX_PAYLOAD_BYTES)?;
    buffer.clear();
    buffer.resize(header.payload_bytes, 0);
    reader.read_exact(buffer)?;
    Ok(header.kind)
}

#[cfg(test)]
mod tests {
    //! Aim: frames survive every way of being cut, and bad headers are refused early. Method: byte
    //! strings fed by hand; random cuts are in `tests/properties.rs`.
    use super::*;
    use crate::message::{Gap, Heaps};

    #[test]
    fn one_byte_at_a_time() {
        let mut out = [0; 64];
        let used = encode_frame(Kind::GAP, &Gap { lost: 7 }, &mut out).unwrap();
        assert_eq!(used, HEADER_BYTES + 8);
        let mut reader = FrameReader::with_capacity(used);
        for round in 0..3 {
            for (index, byte) in out[..used].iter().enumerate() {
                assert!(reader.next().unwrap().is_none(), "round {round}, byte {index}");
                reader.space()[0] = *byte;
                reader.advance(1);
            }
            let (kind, payload) = reader.next().unwrap().unwrap();
            assert_eq!((kind, payload), (Kind::GAP, &out[HEADER_BYTES..used]));
        }
    }

    #[test]
    fn a_full_buffer_always_yields_a_frame_or_an_error() {
        let mut reader = FrameReader::with_capacity(32);
        assert_eq!(reader.limit(), 24);
        reader.space().copy_from_slice(&{
            let mut bytes = [0xAA; 32];
            bytes[..8].copy_from_slice(&[24, 0, 0, 0, 1, 0, 0, 0]);
            bytes
        });
        reader.advance(32);
        assert_eq!(reader.next().unwrap().unwrap().1.len(), 24);
        assert_eq!(reader.space().len(), 32);
    }

    #[test]
    fn bad_headers_are_refused_before_their_payload() {
        for (header, long) in [([25, 0, 0, 0, 1, 0, 0, 0], true), ([0, 0, 0, 0, 1, 0, 1, 0], false)]
        {
            let mut reader = FrameReader::with_capacity(32);
            reader.space()[..8].copy_from_slice(&header);
            reader.advance(8);
            for _ in 0..2 {
                match reader.next() {
                    Err(Error::PayloadTooLong { bytes: 25, limit: 24 }) => assert!(long),
                    Err(Error::ReservedNotZero(1)) => assert!(!long),
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    #[test]
    fn streams_for_viewers() {
        let mut stream = Vec::new();
        write_frame(&mut stream, Kind::GAP, &Gap { lost: 1 }).unwrap();
        write_frame(&mut stream, Kind::HEAPS, &Heaps { first: true, records: Vec::new() }).unwrap();
        let mut rest = stream.as_slice();
        let mut buffer = Vec::new();
        assert_eq!(read_frame(&mut rest, &mut buffer).unwrap(), Kind::GAP);
        assert_eq!(codec::decode::<Gap>(&buffer).unwrap().lost, 1);
        assert_eq!(read_frame(&mut rest, &mut buffer).unwrap(), Kind::HEAPS);
        assert!(matches!(read_frame(&mut rest, &mut buffer), Err(Error::Closed)));
        for cut in 1..HEADER_BYTES + 8 {
            let result = read_frame(&mut &stream[..cut], &mut buffer);
            assert!(matches!(result, Err(Error::Io(_))), "cut at {cut}: {result:?}");
        }
    }

    #[test]
    fn the_limit_is_exact() {
        let text = "x".repeat(MAX_PAYLOAD_BYTES - 8);
        let mut stream = Vec::new();
        write_frame(&mut stream, Kind(9), &text).unwrap();
        let mut buffer = Vec::new();
        assert_eq!(read_frame(&mut stream.as_slice(), &mut buffer).unwrap(), Kind(9));
        let longer = text + "x";
        let result = write_frame(&mut stream, Kind(9), &longer);
        assert!(matches!(result, Err(Error::PayloadTooLong { .. })));
        let mut out = vec![0; MAX_PAYLOAD_BYTES + 64];
        assert!(matches!(
            encode_frame(Kind(9), &longer, &mut out),
            Err(Error::PayloadTooLong { .. })
        ));
    }
}
