//! Recordings: what an agent sent, with the time, in a file that may end anywhere.
//!
//! The format is documented in the protocol crate, `RECORDING.md`. A [`Reader`] gives every chunk before the first that
//! is cut off or damaged, and says which of the two ended it. [`segments`] makes one recording of two files, of which the
//! older one is dropped when the newer one is full; [`state`] writes one whole state.

use std::fmt;
use std::io::{self, Read, Write};
use std::time::Duration;

use lfalloc_protocol::codec::{MAX_PAYLOAD_BYTES, decode};
use lfalloc_protocol::message::{Hello, Kind, MAJOR};

use crate::process::printable;

pub mod segments;
pub mod state;

/// The first bytes of every recording.
pub const MAGIC: [u8; MAGIC_BYTES] = *b"LFALREC1";
const MAGIC_BYTES: usize = 8;
/// What the recording system said of the process.
pub const PROCESS: Kind = Kind(0xF001);
/// Which part of a recording follows; the second chunk of every file since there are such parts.
pub const SEGMENT: Kind = Kind(0xF002);
const HEADER_BYTES: usize = 20;

/// What a recording holds at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Since the recording began.
    pub at: Duration,
    /// A kind of the protocol, or [`PROCESS`].
    pub kind: Kind,
    /// The frame's payload.
    pub payload: Vec<u8>,
}

/// Which part of which recording a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// When the recording began, nanoseconds since 1970: its identity as well.
    pub began_unix_ns: u64,
    /// Counts the parts, from 0.
    pub number: u32,
}

impl Segment {
    /// The payload of a [`SEGMENT`] chunk.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 12] {
        let mut payload = [0; 12];
        payload[..8].copy_from_slice(&self.began_unix_ns.to_le_bytes());
        payload[8..].copy_from_slice(&self.number.to_le_bytes());
        payload
    }

    /// Reads the payload of a [`SEGMENT`] chunk; what a later version adds at its end is passed over.
    #[must_use]
    pub fn from_bytes(payload: &[u8]) -> Option<Self> {
        let (began, rest) = payload.split_first_chunk::<8>()?;
        let number = rest.first_chunk::<4>()?;
        Some(Self {
            began_unix_ns: u64::from_le_bytes(*began),
            number: u32::from_le_bytes(*number),
        })
    }

    /// Whether `newer` goes on where this one ends.
    #[must_use]
    pub fn is_followed_by(self, newer: Self) -> bool {
        self.began_unix_ns == newer.began_unix_ns
            && self.number.checked_add(1) == Some(newer.number)
    }
}

/// Writes chunks.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    bytes: u64,
    limit: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a recording of at most `limit` bytes.
    ///
    /// # Errors
    /// When `out` cannot be written to.
    pub fn new(mut out: W, limit: u64) -> io::Result<Self> {
        out.write_all(&MAGIC)?;
        Ok(Self { out, bytes: MAGIC.len() as u64, limit })
    }

    /// Appends a chunk; false, and nothing is written, if the recording would become larger than its limit.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, at: Duration, kind: Kind, payload: &[u8]) -> io::Result<bool> {
        let bytes = (HEADER_BYTES + payload.len()) as u64;
        if self.bytes + bytes > self.limit {
            return Ok(false);
        }
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let at_ns = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        let mut chunk = Vec::with_capacity(HEADER_BYTES + payload.len());
        chunk.extend(length.to_le_bytes());
        chunk.extend(kind.0.to_le_bytes());
        chunk.extend([0; 2]);
        chunk.extend(at_ns.to_le_bytes());
        chunk.extend(checksum(&chunk, payload).to_le_bytes());
        chunk.extend(payload);
        // One write for each chunk: whoever is killed leaves whole chunks wherever the system writes whole.
        self.out.write_all(&chunk)?;
        self.bytes += bytes;
        Ok(true)
    }

    /// Bytes written.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What it was written to, flushed.
    ///
    /// # Errors
    /// When it cannot be flushed.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

/// The payload of a [`PROCESS`] chunk.
#[must_use]
pub fn process_payload(pid: u32, rss_bytes: Option<u64>) -> [u8; 12] {
    let mut payload = [0; 12];
    payload[..4].copy_from_slice(&pid.to_le_bytes());
    let rss = rss_bytes.map_or(0, |bytes| bytes.saturating_add(1));
    payload[4..].copy_from_slice(&rss.to_le_bytes());
    payload
}

fn checksum(header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(payload);
    hasher.finalize()
}

/// The fields of a [`PROCESS`] chunk: process id and resident bytes.
#[must_use]
pub fn process(payload: &[u8]) -> Option<(u32, Option<u64>)> {
    let (pid, rss) = payload.split_first_chunk::<4>()?;
    let rss: [u8; 8] = rss.try_into().ok()?;
    Some((u32::from_le_bytes(*pid), u64::from_le_bytes(rss).checked_sub(1)))
}

/// How a recording ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum End {
    /// Behind a whole chunk.
    Whole,
    /// Within a chunk: whoever wrote it was stopped.
    Cut,
    /// The next chunk is damaged.
    Damaged,
    /// It could not be read any further.
    Io(io::Error),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("the recording ends here"),
            Self::Cut => f.write_str("the recording was cut off here"),
            Self::Damaged => f.write_str("the recording is damaged from here on"),
            Self::Io(error) => write!(f, "the recording cannot be read further: {error}"),
        }
    }
}

/// Why something is no recording.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// It could not be read.
    Io(io::Error),
    /// It does not begin as recordings do.
    NotARecording,
    /// It ends before, or is damaged within, the greeting.
    NoGreeting(End),
    /// It was made of an agent that spoke another major version of the protocol.
    Version(u16, u16),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::NotARecording => {
                f.write_str("it is no recording: `lfinspect record PID -o FILE` makes one")
            }
            Self::NoGreeting(end) => write!(f, "it holds nothing: {end}"),
            Self::Version(major, minor) => write!(
                f,
                "it holds protocol {major}.{minor}, and this lfinspect reads {MAJOR}: use the lfinspect that made it"
            ),
        }
    }
}

impl std::error::Error for OpenError {}

/// Reads chunks.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    hello: Hello,
    began: Duration,
    segment: Option<Segment>,
    /// Read behind the greeting, and no [`SEGMENT`].
    second: Option<Result<Chunk, End>>,
    has_ended: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the beginning.
    ///
    /// # Errors
    /// When it is no recording that this lfinspect reads.
    pub fn new(mut input: R) -> Result<Self, OpenError> {
        let mut magic = [0; MAGIC.len()];
        match fill(&mut input, &mut magic) {
            Ok(MAGIC_BYTES) if magic == MAGIC => {}
            Ok(read) if read < MAGIC_BYTES && MAGIC.starts_with(&magic[..read]) => {
                return Err(OpenError::NoGreeting(End::Cut));
            }
            Err(End::Io(error)) => return Err(OpenError::Io(error)),
            _ => return Err(OpenError::NotARecording),
        }
        let first = next_chunk(&mut input).map_err(OpenError::NoGreeting)?;
        // Magic, major and minor stand first in the greetings of every version.
        if let Some(&[_, _, _, _, j0, j1, n0, n1]) = first.payload.first_chunk::<8>() {
            let (major, minor) = (u16::from_le_bytes([j0, j1]), u16::from_le_bytes([n0, n1]));
            if first.kind == Kind::HELLO && major != MAJOR {
                return Err(OpenError::Version(major, minor));
            }
        }
        let mut hello = match decode::<Hello>(&first.payload) {
            Ok(hello) if first.kind == Kind::HELLO => hello,
            _ => return Err(OpenError::NoGreeting(End::Damaged)),
        };
        // As of an agent: a file may be anybody's.
        hello.name = printable(&hello.name);
        hello.allocator_version = printable(&hello.allocator_version);
        let second = next_chunk(&mut input);
        let segment = second
            .as_ref()
            .ok()
            .filter(|chunk| chunk.kind == SEGMENT)
            .and_then(|chunk| Segment::from_bytes(&chunk.payload));
        let second = segment.is_none().then_some(second);
        Ok(Self { input, hello, began: first.at, segment, second, has_ended: false })
    }

    /// The agent's greeting.
    #[must_use]
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// When it begins, by the recording's clock: 0 but for a later segment.
    #[must_use]
    pub fn began(&self) -> Duration {
        self.began
    }

    /// Which part it is; `None` in recordings that are older than segments.
    #[must_use]
    pub fn segment(&self) -> Option<Segment> {
        self.segment
    }

    /// How it ended, if it holds a greeting and nothing else.
    fn only_greets(&mut self) -> Option<End> {
        self.second.take_if(|second| second.is_err())?.err()
    }

    /// The next chunk.
    ///
    /// # Errors
    /// Why there is none. Nothing follows: what lies behind a damaged chunk may be anything.
    pub fn next_chunk(&mut self) -> Result<Chunk, End> {
        if self.has_ended {
            return Err(End::Whole);
        }
        let next = self.second.take().unwrap_or_else(|| next_chunk(&mut self.input));
        self.has_ended = next.is_err();
        next
    }
}

fn next_chunk(input: &mut impl Read) -> Result<Chunk, End> {
    let mut header = [0; HEADER_BYTES];
    match fill(input, &mut header)? {
        0 => return Err(End::Whole),
        HEADER_BYTES => {}
        _ => return Err(End::Cut),
    }
    let [l0, l1, l2, l3, k0, k1, z0, z1, t0, t1, t2, t3, t4, t5, t6, t7, c0, c1, c2, c3] = header;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    // Checked before anything is allocated for it.
    if length > MAX_PAYLOAD_BYTES || [z0, z1] != [0; 2] {
        return Err(End::Damaged);
    }
    let mut payload = vec![0; length];
    if fill(input, &mut payload)? < length {
        return Err(End::Cut);
    }
    if checksum(&header[..16], &payload) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(End::Damaged);
    }
    let at = Duration::from_nanos(u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]));
    Ok(Chunk { at, kind: Kind(u16::from_le_bytes([k0, k1])), payload })
}

/// Reads until `out` is full or nothing follows; how much was read.
fn fill(input: &mut impl Read, out: &mut [u8]) -> Result<usize, End> {
    let mut filled = 0;
    while filled < out.len() {
        match input.read(&mut out[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(End::Io(error)),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests;
