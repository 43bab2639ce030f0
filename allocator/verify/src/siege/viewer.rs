//! A client as it should be: greets, asks, reads everything and understands it.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use lfalloc_protocol::message::{
    Classes, ClientHello, Depots, Front, HeapCounters, Heaps, Hello, Kind, LargeBlocks, MAGIC,
    MAJOR, MINOR, Magazines, SizeSamples, StateBegin, StateEnd, StateRequest, Subscribe,
    SuperblockChanges, Superblocks, Totals, TotalsRequest, Transitions,
};
use lfalloc_protocol::{decode, read_frame, write_frame};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How long an agent under siege may let a viewer wait.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A greeted viewer.
#[derive(Debug)]
pub struct Viewer {
    stream: UnixStream,
    payload: Vec<u8>,
    /// What the agent answered to the greeting.
    pub hello: Hello,
}

/// A whole state, decoded, as far as it is judged.
#[derive(Clone, Debug)]
pub struct Whole {
    /// How it ended.
    pub end: StateEnd,
    /// Whether it was a full one.
    pub full: bool,
    /// Superblocks and large blocks that it told of.
    pub records: usize,
}

impl Viewer {
    /// Connects and greets, again and again while the agent refuses because it is busy.
    ///
    /// # Errors
    /// The agent does not take it in, for longer than [`PATIENCE`], or says something wrong.
    pub fn attach(socket: &Path) -> Result<Self, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Self::try_attach(socket) {
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => thread::sleep(Duration::from_millis(20)),
                attached => return attached,
            }
        }
    }

    fn try_attach(socket: &Path) -> Result<Self, String> {
        let said = |error: io::Error| format!("no connection: {error}");
        let mut stream = UnixStream::connect(socket).map_err(said)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(said)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(said)?;
        let greeting =
            ClientHello { magic: MAGIC, major: MAJOR, minor: MINOR, client: "siege".to_owned() };
        write_frame(&mut stream, Kind::CLIENT_HELLO, &greeting)
            .map_err(|error| error.to_string())?;
        let mut payload = Vec::new();
        match read_frame(&mut stream, &mut payload).map_err(|error| error.to_string())? {
            Kind::HELLO => {
                let hello: Hello = decode(&payload).map_err(|error| error.to_string())?;
                Ok(Self { stream, payload, hello })
            }
            kind => Err(format!("{kind:?} for a greeting")),
        }
    }

    fn send<T: Serialize>(&mut self, kind: Kind, message: &T) -> Result<(), String> {
        write_frame(&mut self.stream, kind, message).map_err(|error| error.to_string())
    }

    fn frame(&mut self) -> Result<Kind, String> {
        read_frame(&mut self.stream, &mut self.payload).map_err(|error| error.to_string())
    }

    fn message<T: DeserializeOwned>(&self, kind: Kind) -> Result<T, String> {
        decode(&self.payload).map_err(|error| format!("{kind:?}: {error}"))
    }

    /// Asks for updates every `interval`.
    ///
    /// # Errors
    /// The agent is gone.
    pub fn subscribe(&mut self, interval: Duration) -> Result<(), String> {
        let interval_ms = interval.as_millis() as u32;
        self.send(Kind::SUBSCRIBE, &Subscribe { interval_ms, transitions: true })
    }

    /// The totals.
    ///
    /// # Errors
    /// There are none, or they cannot be understood.
    pub fn totals(&mut self) -> Result<Totals, String> {
        self.send(Kind::TOTALS_REQUEST, &TotalsRequest {})?;
        match self.frame()? {
            kind @ Kind::TOTALS => self.message(kind),
            kind => Err(format!("{kind:?} for the totals")),
        }
    }

    /// A full state that was asked for.
    ///
    /// # Errors
    /// As [`Self::state`]; or it is not full.
    pub fn full_state(&mut self) -> Result<Whole, String> {
        self.send(Kind::STATE_REQUEST, &StateRequest {})?;
        let state = self.state()?;
        if state.full {
            Ok(state)
        } else {
            Err("a state that was asked for is not full".to_owned())
        }
    }

    /// The next state, every frame of which is decoded.
    ///
    /// # Errors
    /// None comes, it is not whole, or a part of it cannot be understood.
    pub fn state(&mut self) -> Result<Whole, String> {
        let begin: StateBegin = loop {
            match self.frame()? {
                kind @ Kind::STATE_BEGIN => break self.message(kind)?,
                kind @ Kind::TRANSITIONS => drop(self.message::<Transitions>(kind)?),
                Kind::GAP => {}
                kind => return Err(format!("{kind:?} where a state begins")),
            }
        };
        let (mut records, mut classes) = (0, 0);
        loop {
            match self.frame()? {
                kind @ Kind::CLASSES => classes = self.message::<Classes>(kind)?.records.len(),
                kind @ Kind::SIZE_SAMPLES => drop(self.message::<SizeSamples>(kind)?),
                kind @ Kind::HEAPS => drop(self.message::<Heaps>(kind)?),
                kind @ Kind::HEAP_COUNTERS => drop(self.message::<HeapCounters>(kind)?),
                kind @ Kind::FRONT => drop(self.message::<Front>(kind)?),
                kind @ Kind::DEPOTS => drop(self.message::<Depots>(kind)?),
                kind @ Kind::MAGAZINES => drop(self.message::<Magazines>(kind)?),
                kind @ Kind::SUPERBLOCKS => {
                    records += self.message::<Superblocks>(kind)?.records.len();
                }
                kind @ Kind::SUPERBLOCK_CHANGES => {
                    records += self.message::<SuperblockChanges>(kind)?.records.len();
                }
                kind @ Kind::LARGE_BLOCKS => {
                    records += self.message::<LargeBlocks>(kind)?.records.len();
                }
                kind @ Kind::STATE_END => {
                    let end: StateEnd = self.message(kind)?;
                    if (end.sequence, classes) != (begin.sequence, self.hello.classes.len()) {
                        return Err(format!(
                            "state {} with {classes} classes: {end:?}",
                            begin.sequence
                        ));
                    }
                    return Ok(Whole { end, full: begin.full, records });
                }
                kind => return Err(format!("{kind:?} within a state")),
            }
        }
    }

    /// What remains of the connection, for somebody who only counts.
    #[must_use]
    pub fn into_stream(self) -> UnixStream {
        self.stream
    }
}

/// That the agent serves a viewer of the program, which is at rest: a full state, consistent, the parts of which sum to what
/// is mapped, with the same totals; returns it.
///
/// # Errors
/// What is not so.
pub fn is_served(socket: &Path, pid: u32) -> Result<Whole, String> {
    let mut viewer = Viewer::attach(socket)?;
    if viewer.hello.pid != pid {
        return Err(format!("the agent says that it is of process {}", viewer.hello.pid));
    }
    let state = viewer.full_state()?;
    let parts = &state.end.parts;
    let sum = parts.live
        + parts.large
        + parts.free
        + parts.credit
        + parts.cached
        + parts.empty
        + parts.large_cached
        + parts.tail
        + parts.unused
        + parts.metadata;
    if !state.end.consistent || sum != parts.mapped || state.records == 0 {
        return Err(format!("a program at rest has the state {:?}, parts {sum}", state.end));
    }
    let totals = viewer.totals()?;
    if totals.mapped_bytes < parts.mapped - parts.metadata || totals.in_hand != 0 {
        return Err(format!("{totals:?} beside {parts:?}"));
    }
    Ok(state)
}
