//! Recordings: what an agent sent, with the time, in a file that may end anywhere.
//!
//! The format is documented in the protocol crate, `RECORDING.md`. A [`Reader`] gives every chunk before the first that
//! is cut off or damaged, and says which of the two ended it.

use std::fmt;
use std::io::{self, Read, Write};
use std::time::Duration;

use lfalloc_protocol::codec::{MAX_PAYLOAD_BYTES, decode};
use lfalloc_protocol::message::{Hello, Kind, MAJOR};

/// The first bytes of every recording.
pub const MAGIC: [u8; 8] = *b"LFALREC1";
/// What the recording system said of the process.
pub const PROCESS: Kind = Kind(0xF001);
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

    /// As [`write`](Self::write), of what the recording system said of the process.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_process(
        &mut self,
        at: Duration,
        pid: u32,
        rss_bytes: Option<u64>,
    ) -> io::Result<bool> {
        let mut payload = pid.to_le_bytes().to_vec();
        payload.extend(rss_bytes.map_or(0, |bytes| bytes.saturating_add(1)).to_le_bytes());
        self.write(at, PROCESS, &payload)
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
}

impl<R: Read> Reader<R> {
    /// Reads the beginning.
    ///
    /// # Errors
    /// When it is no recording that this lfinspect reads.
    pub fn new(mut input: R) -> Result<Self, OpenError> {
        let mut magic = [0; MAGIC.len()];
        match input.read_exact(&mut magic) {
            Ok(()) if magic == MAGIC => {}
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                return Err(OpenError::Io(error));
            }
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
        match decode::<Hello>(&first.payload) {
            Ok(hello) if first.kind == Kind::HELLO => Ok(Self { input, hello }),
            _ => Err(OpenError::NoGreeting(End::Damaged)),
        }
    }

    /// The agent's greeting.
    #[must_use]
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// The next chunk.
    ///
    /// # Errors
    /// Why there is none. Nothing follows.
    pub fn next_chunk(&mut self) -> Result<Chunk, End> {
        next_chunk(&mut self.input)
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
mod tests {
    //! Aim: a recording that ends anywhere gives all that is whole before; no bytes whatever upset the reader.
    //! Method: a recording of the made-up heap, cut at every byte and damaged at every byte; arbitrary bytes.
    use proptest::prelude::*;

    use super::*;
    use crate::picture::{Applied, Picture};
    use crate::source::synthetic::{Synthetic, SyntheticSource};
    use crate::source::{Source as _, SourceEvent};

    /// A recording of `states` states of a small heap.
    fn recording(states: u64, limit: u64) -> Vec<u8> {
        let options = Synthetic {
            superblocks: 6,
            operations: 40,
            states: Some(states),
            ..Synthetic::default()
        };
        let mut source = SyntheticSource::new(options);
        let mut writer = Writer::new(Vec::new(), limit).unwrap();
        for step in 0.. {
            let at = Duration::from_millis(step);
            let is_written = match source.poll(Duration::ZERO) {
                SourceEvent::Connected(hello) => {
                    let mut payload = vec![0; MAX_PAYLOAD_BYTES];
                    let used = lfalloc_protocol::codec::encode_into(&hello, &mut payload).unwrap();
                    writer.write(at, Kind::HELLO, &payload[..used])
                }
                SourceEvent::Frame(kind, payload) => writer.write(at, kind, &payload),
                SourceEvent::Process { pid, rss_bytes } => writer.write_process(at, pid, rss_bytes),
                SourceEvent::Gone(_) => break,
                _ => Ok(true),
            };
            if !is_written.unwrap() {
                break;
            }
        }
        writer.finish().unwrap()
    }

    fn chunks(bytes: &[u8]) -> Option<(Vec<Chunk>, End)> {
        let mut reader = Reader::new(bytes).ok()?;
        let mut chunks = Vec::new();
        loop {
            match reader.next_chunk() {
                Ok(chunk) => chunks.push(chunk),
                Err(end) => return Some((chunks, end)),
            }
        }
    }

    /// The end messages of the states in a recording.
    fn states(bytes: &[u8]) -> Vec<u64> {
        let Some((chunks, _)) = chunks(bytes) else { return Vec::new() };
        let mut picture = Picture::new(Reader::new(bytes).unwrap().hello().clone());
        let mut states = Vec::new();
        for chunk in chunks {
            if let Ok(Applied::State) = picture.apply(chunk.kind, &chunk.payload) {
                states.push(picture.end.allocations_after);
            }
        }
        states
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = recording(3, u64::MAX);
        let (chunks, end) = chunks(&bytes).unwrap();
        assert!(matches!(end, End::Whole));
        assert!(chunks.iter().any(|chunk| chunk.kind == PROCESS));
        assert!(chunks.is_sorted_by_key(|chunk| chunk.at));
        assert_eq!(states(&bytes).len(), 3);
        assert_eq!(process(&chunks[0].payload), Some((4121, None)));
    }

    #[test]
    fn cut_at_any_byte_it_replays_up_to_the_cut() {
        let bytes = recording(3, u64::MAX);
        let (whole, _) = chunks(&bytes).unwrap();
        let whole_states = states(&bytes);
        let mut longest = 0;
        for length in 0..bytes.len() {
            let Some((part, end)) = chunks(&bytes[..length]) else {
                assert_eq!(longest, 0, "what could be opened once can be opened");
                continue;
            };
            assert!(matches!(end, End::Whole | End::Cut), "{length}: {end:?}");
            assert!(part.len() >= longest, "{length}");
            assert_eq!(part, whole[..part.len()], "{length}");
            if part.len() > longest {
                longest = part.len();
                let seen = states(&bytes[..length]);
                assert_eq!(seen, whole_states[..seen.len()], "{length}");
            }
        }
        assert_eq!(longest, whole.len() - 1);
    }

    #[test]
    fn damaged_at_any_byte_it_replays_up_to_the_damage() {
        let bytes = recording(1, u64::MAX);
        let (whole, _) = chunks(&bytes).unwrap();
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 0x10;
            if let Some((part, end)) = chunks(&damaged) {
                assert!(part.len() < whole.len(), "{place}");
                assert!(matches!(end, End::Damaged | End::Cut), "{place}: {end:?}");
                assert_eq!(part, whole[..part.len()], "{place}");
            }
        }
    }

    #[test]
    fn it_stays_below_its_limit() {
        let whole = recording(3, u64::MAX);
        for limit in [2000, 5000, whole.len() as u64 - 1] {
            let bytes = recording(3, limit);
            assert!(bytes.len() as u64 <= limit);
            assert_eq!(bytes, whole[..bytes.len()]);
            assert!(matches!(chunks(&bytes), None | Some((_, End::Whole))));
        }
    }

    #[test]
    fn what_is_no_recording_is_told_apart() {
        let error = |bytes: &[u8]| Reader::new(bytes).unwrap_err().to_string();
        assert!(
            error(b"").contains("no recording") && error(b"{\"schema\"").contains("no recording")
        );
        assert!(error(&MAGIC).contains("holds nothing"));
        let mut other = recording(1, u64::MAX);
        other[MAGIC.len() + HEADER_BYTES + 4] = 9;
        assert!(error(&other).contains("damaged"), "the checksum comes first");
    }

    proptest! {
        #[test]
        fn no_bytes_upset_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..2000), with_start: bool) {
            let mut input = if with_start { recording(1, u64::MAX)[..600].to_vec() } else { MAGIC.to_vec() };
            input.extend(bytes);
            if let Some((chunks, _)) = chunks(&input) {
                let mut picture = Picture::new(Reader::new(&input[..]).unwrap().hello().clone());
                for chunk in chunks {
                    let _ = picture.apply(chunk.kind, &chunk.payload);
                }
            }
        }
    }
}
