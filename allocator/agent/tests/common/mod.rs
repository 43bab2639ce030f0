//! A viewer that is made for tests, a private directory, and a way to run a test in a process of
//! its own.
#![allow(dead_code, reason = "each test program uses its own part")]
#![allow(clippy::missing_panics_doc, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::Permissions;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use lfalloc_agent::{Agent, Options};
use lfalloc_protocol::message::*;
use lfalloc_protocol::{Error, decode, read_frame, write_frame};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

/// Longer than anything here takes, so that a hang is a failure and not a standstill.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// An agent in a directory of its own, which is removed afterwards.
pub(crate) struct Fixture {
    pub(crate) agent: Agent,
    pub(crate) directory: TempDir,
}

impl Fixture {
    pub(crate) fn start() -> Self {
        let directory = private_directory();
        let agent = Options::new().directory(directory.path()).name("test").start().unwrap();
        Self { agent, directory }
    }

    pub(crate) fn connect(&self) -> Viewer {
        Viewer::connect(self.agent.socket_path())
    }

    /// A viewer that was greeted.
    pub(crate) fn attach(&self) -> Viewer {
        let mut viewer = self.connect();
        viewer.greet();
        viewer
    }
}

/// A directory of mode 0700 with a short path.
pub(crate) fn private_directory() -> TempDir {
    let mode = Permissions::from_mode(0o700);
    tempfile::Builder::new().prefix("lf").permissions(mode).tempdir_in("/tmp").unwrap()
}

/// One end of a connection.
pub(crate) struct Viewer {
    pub(crate) stream: UnixStream,
    pub(crate) payload: Vec<u8>,
}

impl Viewer {
    pub(crate) fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, payload: Vec::new() }
    }

    pub(crate) fn send<T: Serialize>(&mut self, kind: Kind, message: &T) {
        write_frame(&mut self.stream, kind, message).unwrap();
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub(crate) fn send_greeting(&mut self, major: u16) {
        self.send_greeting_of(major, MINOR);
    }

    pub(crate) fn send_greeting_of(&mut self, major: u16, minor: u16) {
        let hello = ClientHello { magic: MAGIC, major, minor, client: "test".to_owned() };
        self.send(Kind::CLIENT_HELLO, &hello);
    }

    pub(crate) fn greet(&mut self) -> Hello {
        self.send_greeting(MAJOR);
        self.expect(Kind::HELLO)
    }

    pub(crate) fn subscribe(&mut self, interval_ms: u32, transitions: bool) {
        self.send(Kind::SUBSCRIBE, &Subscribe { interval_ms, transitions });
    }

    pub(crate) fn next_frame(&mut self) -> Result<Kind, Error> {
        read_frame(&mut self.stream, &mut self.payload)
    }

    /// The next frame, which must be of this kind.
    pub(crate) fn expect<T: DeserializeOwned>(&mut self, kind: Kind) -> T {
        let found = self.next_frame().unwrap();
        assert_eq!(found, kind);
        decode(&self.payload).unwrap()
    }

    /// That nothing but the end of the connection follows.
    pub(crate) fn expect_end(&mut self) {
        let mut rest = Vec::new();
        // A connection that was closed with bytes unread ends in an error; it has ended all the same.
        let _ = self.stream.read_to_end(&mut rest);
        assert!(rest.is_empty(), "{rest:?}");
    }

    pub(crate) fn totals(&mut self) -> Totals {
        self.send(Kind::TOTALS_REQUEST, &TotalsRequest {});
        self.expect(Kind::TOTALS)
    }

    /// Reads one whole state that must come next but for transitions, which are passed over.
    pub(crate) fn state(&mut self) -> Whole {
        self.state_passing(&[Kind::TRANSITIONS])
    }

    /// Reads one whole state that must come next but for frames of these kinds.
    pub(crate) fn state_passing(&mut self, passed_over: &[Kind]) -> Whole {
        let mut kind = self.next_frame().unwrap();
        while passed_over.contains(&kind) {
            kind = self.next_frame().unwrap();
        }
        assert_eq!(kind, Kind::STATE_BEGIN);
        let begin: StateBegin = decode(&self.payload).unwrap();
        let classes: Classes = self.expect(Kind::CLASSES);
        let samples: SizeSamples = self.expect(Kind::SIZE_SAMPLES);
        assert!(samples.records.iter().all(|record| record.samples > 0));
        assert!(samples.records.is_sorted_by_key(|record| record.class));
        let mut state =
            Whole { begin, classes: classes.records, samples: samples.records, ..Whole::default() };
        let mut firsts = (0, 0);
        loop {
            match self.next_frame().unwrap() {
                Kind::HEAPS => {
                    let heaps: Heaps = decode(&self.payload).unwrap();
                    assert_eq!(heaps.first, state.heaps.is_empty() && firsts.0 == 0);
                    firsts.0 += 1;
                    state.heaps.extend(heaps.records);
                }
                Kind::HEAP_COUNTERS => {
                    assert!(firsts.0 > 0 && state.superblocks.is_empty() && firsts.1 == 0);
                    let counters: HeapCounters = decode(&self.payload).unwrap();
                    assert!(!counters.records.is_empty());
                    state.counters.extend(counters.records);
                }
                Kind::FRONT => {
                    assert!(state.front.is_none() && state.depots.is_none());
                    state.front = Some(decode(&self.payload).unwrap());
                }
                Kind::DEPOTS => {
                    assert!(state.superblocks.is_empty() && state.magazines.is_empty());
                    let depots: Depots = decode(&self.payload).unwrap();
                    assert!(depots.records.iter().all(|record| record.batches > 0));
                    state.depots = Some(depots.records);
                }
                Kind::MAGAZINES => {
                    assert!(state.depots.is_some() && state.superblocks.is_empty());
                    let magazines: Magazines = decode(&self.payload).unwrap();
                    assert!(!magazines.records.is_empty());
                    state.magazines.extend(magazines.records);
                }
                Kind::SUPERBLOCK_CHANGES => {
                    assert!(!state.begin.full, "a change is of what is known");
                    let changes: SuperblockChanges = decode(&self.payload).unwrap();
                    state.changes.extend(changes.records);
                }
                Kind::SUPERBLOCKS => {
                    let superblocks: Superblocks = decode(&self.payload).unwrap();
                    state.superblocks.extend(superblocks.records);
                }
                Kind::LARGE_BLOCKS => {
                    let large: LargeBlocks = decode(&self.payload).unwrap();
                    assert_eq!(large.first, firsts.1 == 0);
                    firsts.1 += 1;
                    state.large.extend(large.records);
                }
                Kind::STATE_END => break,
                kind => panic!("{kind:?} within a state"),
            }
        }
        state.end = decode(&self.payload).unwrap();
        assert_eq!(state.end.sequence, begin.sequence);
        assert!(firsts.0 > 0 && firsts.1 > 0, "at least one chunk of heaps and of large blocks");
        assert!(state.superblocks.is_sorted_by_key(|record| record.id));
        assert!(state.changes.is_sorted_by_key(|record| record.id));
        assert!(state.counters.is_sorted_by_key(|record| (record.class, record.heap)));
        assert!(state.magazines.is_sorted_by_key(|record| (record.class, record.processor)));
        state
    }

    pub(crate) fn ask_for_superblock(&mut self, id: u32) {
        self.send(Kind::SUPERBLOCK_REQUEST, &SuperblockRequest { id });
    }

    /// A close look at superblock `id`; what comes before it is passed over.
    pub(crate) fn superblock(&mut self, id: u32) -> SuperblockDetail {
        self.superblock_and_cached(id).0
    }

    /// The same, with what is told of the front.
    pub(crate) fn superblock_and_cached(
        &mut self,
        id: u32,
    ) -> (SuperblockDetail, Option<SuperblockCached>) {
        self.ask_for_superblock(id);
        let mut cached = None;
        loop {
            match self.next_frame().unwrap() {
                Kind::SUPERBLOCK_CACHED => cached = Some(decode(&self.payload).unwrap()),
                Kind::SUPERBLOCK_DETAIL => return (decode(&self.payload).unwrap(), cached),
                _ => assert!(cached.is_none(), "directly before"),
            }
        }
    }

    pub(crate) fn request_state(&mut self) -> Whole {
        self.send(Kind::STATE_REQUEST, &StateRequest {});
        self.state()
    }
}

/// A state with its chunks put together.
#[derive(Clone, Debug)]
pub(crate) struct Whole {
    pub(crate) begin: StateBegin,
    pub(crate) classes: Vec<ClassRecord>,
    pub(crate) samples: Vec<SizeSample>,
    pub(crate) counters: Vec<HeapCounter>,
    pub(crate) front: Option<Front>,
    pub(crate) depots: Option<Vec<DepotRecord>>,
    pub(crate) magazines: Vec<MagazineRecord>,
    pub(crate) heaps: Vec<HeapRecord>,
    pub(crate) superblocks: Vec<SuperblockRecord>,
    pub(crate) changes: Vec<SuperblockChange>,
    pub(crate) large: Vec<LargeRecord>,
    pub(crate) end: StateEnd,
}

impl Default for Whole {
    fn default() -> Self {
        Self {
            begin: StateBegin { sequence: 0, full: false, uptime_ns: 0 },
            classes: Vec::new(),
            samples: Vec::new(),
            counters: Vec::new(),
            front: None,
            depots: None,
            magazines: Vec::new(),
            heaps: Vec::new(),
            superblocks: Vec::new(),
            changes: Vec::new(),
            large: Vec::new(),
            end: StateEnd::default(),
        }
    }
}

/// Runs the test `name` of this program again, in a process of its own with `SCENARIO` set, and
/// fails if it fails or does not end.
pub(crate) fn run_alone(name: &str) {
    run_command(Command::new(std::env::current_exe().unwrap()), name);
}

/// As [`run_alone`], with a command that was prepared.
pub(crate) fn run_command(mut command: Command, name: &str) {
    let mut child = command
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(SCENARIO, "1")
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{name} alone: {status}");
            return;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{name} alone did not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Set in the process that [`run_alone`] starts.
const SCENARIO: &str = "LFALLOC_AGENT_TEST_ALONE";

/// Whether this is the process that [`run_alone`] started.
pub(crate) fn is_alone() -> bool {
    std::env::var_os(SCENARIO).is_some()
}

/// The thread of the only agent of this process.
pub(crate) fn agent_task() -> PathBuf {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let mut agents = tasks.map(|task| task.unwrap().path()).filter(|task| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name == "lfalloc-agent\n")
    });
    let task = agents.next().expect("there is an agent");
    assert_eq!(agents.next(), None, "there is one agent only");
    task
}

/// Waits until `condition` holds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
