//! A viewer as an inspector is one: it reads from the socket and decodes everything.

use std::error::Error;
use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use lfalloc_protocol::message::{
    Classes, ClientHello, HeapCounter, HeapCounters, HeapRecord, Heaps, Hello, Kind, LargeBlocks,
    LargeRecord, MAGIC, MAJOR, MINOR, Refused, SizeSample, SizeSamples, StateBegin, StateEnd,
    StateRequest, SuperblockDetail, SuperblockRecord, SuperblockRequest, Superblocks,
};
use lfalloc_protocol::{HEADER_BYTES, MAX_PAYLOAD_BYTES, decode, read_frame, write_frame};

/// Longer than anything takes: a hang is to be a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection that was greeted.
pub(crate) struct Viewer {
    stream: BufReader<UnixStream>,
    payload: Vec<u8>,
    /// Bytes of all frames received.
    received_bytes: usize,
}

/// One state, decoded.
#[derive(Debug)]
pub(crate) struct State {
    /// Every class.
    pub(crate) classes: Classes,
    /// Every heap with an active superblock.
    pub(crate) heaps: Vec<HeapRecord>,
    /// Sampled sizes of every class that has any.
    pub(crate) samples: Vec<SizeSample>,
    /// What every heap that was ever used has counted.
    pub(crate) counters: Vec<HeapCounter>,
    /// Every superblock.
    pub(crate) superblocks: Vec<SuperblockRecord>,
    /// Every large block.
    pub(crate) large: Vec<LargeRecord>,
    /// Totals, and whether it is one instant.
    pub(crate) end: StateEnd,
    /// What it took on the wire, headers included.
    pub(crate) wire_bytes: usize,
}

impl Viewer {
    /// Connects and greets; returns what the agent said.
    pub(crate) fn connect(socket: &Path) -> Result<(Self, Hello), Box<dyn Error>> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let stream = BufReader::with_capacity(MAX_PAYLOAD_BYTES, stream);
        let mut viewer = Self { stream, payload: Vec::new(), received_bytes: 0 };
        let client = concat!("lfalloc-bench ", env!("CARGO_PKG_VERSION")).to_owned();
        let hello = ClientHello { magic: MAGIC, major: MAJOR, minor: MINOR, client };
        write_frame(viewer.stream.get_mut(), Kind::CLIENT_HELLO, &hello)?;
        match viewer.frame()? {
            Kind::HELLO => {
                let hello = decode(&viewer.payload)?;
                Ok((viewer, hello))
            }
            Kind::REFUSED => Err(decode::<Refused>(&viewer.payload)?.message.into()),
            kind => Err(format!("{kind:?} instead of a greeting").into()),
        }
    }

    fn frame(&mut self) -> Result<Kind, Box<dyn Error>> {
        let kind = read_frame(&mut self.stream, &mut self.payload)?;
        self.received_bytes += HEADER_BYTES + self.payload.len();
        Ok(kind)
    }

    /// Asks for the state and reads it to its end.
    pub(crate) fn state(&mut self) -> Result<State, Box<dyn Error>> {
        let before = self.received_bytes;
        write_frame(self.stream.get_mut(), Kind::STATE_REQUEST, &StateRequest {})?;
        let mut state = State {
            classes: Classes { records: Vec::new() },
            heaps: Vec::new(),
            samples: Vec::new(),
            counters: Vec::new(),
            superblocks: Vec::new(),
            large: Vec::new(),
            end: StateEnd::default(),
            wire_bytes: 0,
        };
        loop {
            let kind = self.frame()?;
            let payload = &self.payload;
            match kind {
                Kind::STATE_BEGIN if decode::<StateBegin>(payload)?.full => {}
                Kind::CLASSES => state.classes = decode(payload)?,
                Kind::HEAPS => state.heaps.extend(decode::<Heaps>(payload)?.records),
                Kind::SIZE_SAMPLES => state.samples = decode::<SizeSamples>(payload)?.records,
                Kind::HEAP_COUNTERS => {
                    state.counters.extend(decode::<HeapCounters>(payload)?.records);
                }
                Kind::SUPERBLOCKS => {
                    state.superblocks.extend(decode::<Superblocks>(payload)?.records);
                }
                Kind::LARGE_BLOCKS => state.large.extend(decode::<LargeBlocks>(payload)?.records),
                Kind::STATE_END => {
                    state.end = decode(payload)?;
                    state.wire_bytes = self.received_bytes - before;
                    return Ok(state);
                }
                kind => return Err(format!("{kind:?} within a state").into()),
            }
        }
    }

    /// Asks for a close look at superblock `id`.
    pub(crate) fn superblock(&mut self, id: u32) -> Result<SuperblockDetail, Box<dyn Error>> {
        write_frame(self.stream.get_mut(), Kind::SUPERBLOCK_REQUEST, &SuperblockRequest { id })?;
        match self.frame()? {
            Kind::SUPERBLOCK_DETAIL => Ok(decode(&self.payload)?),
            kind => Err(format!("{kind:?} instead of a superblock").into()),
        }
    }
}

/// A directory for one agent's socket; it is removed with this value.
pub(crate) struct SocketDirectory(std::path::PathBuf);

impl SocketDirectory {
    /// Names one that nobody uses; the agent makes it.
    pub(crate) fn new() -> Self {
        let name = format!("lfalloc-bench.{}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for SocketDirectory {
    fn drop(&mut self) {
        // Left where it is if something is in it.
        let _ = std::fs::remove_dir(&self.0);
    }
}
