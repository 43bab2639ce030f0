//! An agent in a thread of the test, which says what the test wants said. By its peer credentials
//! its process is the test's.

use std::io::Write as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use lfalloc_protocol::message::{
    ClassInfo, ClassRecord, Classes, HeapRecord, Heaps, Hello, Kind, LargeBlocks, LargeRecord,
    MAGIC, MAJOR, MINOR, Parts, Refused, StateBegin, StateEnd, SuperblockRecord, Superblocks,
    Totals, TransitionRecord, Transitions, backing, cause, refusal, state,
};
use lfalloc_protocol::socket::socket_file_name;
use lfalloc_protocol::{read_frame, write_frame};

/// What the agent does with a viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Serves it; the states before this one are not consistent.
    Serve { consistent_from: u64 },
    /// Serves it, and after a subscription sends states as fast as they are taken: a full one, and updates.
    Churn,
    /// Serves it, and then says things without a pause that no version knows, by a clock at its end.
    Babble,
    /// Greets it and closes the connection.
    HangUp,
    /// Closes the connection after a first state.
    Leave,
    /// Refuses it as one of another major version.
    RefuseVersion,
    /// Greets it in another major version, whose greeting goes on differently.
    GreetInVersion2,
    /// Has no place for it.
    Busy,
    /// Accepts and says nothing.
    Silent,
    /// Says something that is no frame.
    Nonsense,
}

/// How long the program has run when it is asked first.
const UPTIME_NS: u64 = 61_000_000_000;
/// Bytes of the one large block.
pub(crate) const LARGE_BYTES: i64 = 1 << 20;

/// Starts an agent in `directory`; the path of its socket.
pub(crate) fn start(directory: &Path, name: &str, manner: Manner) -> PathBuf {
    let path = directory.join(socket_file_name(name, std::process::id(), 0));
    let listener = UnixListener::bind(&path).unwrap();
    let name = name.to_owned();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, name) = (stream.unwrap(), name.clone());
            thread::spawn(move || serve(stream, &name, manner));
        }
    });
    path
}

/// Serves one viewer until it leaves; every error means that it has.
fn serve(mut stream: UnixStream, name: &str, manner: Manner) -> Option<()> {
    let mut buffer = Vec::new();
    assert_eq!(read_frame(&mut stream, &mut buffer).ok()?, Kind::CLIENT_HELLO);
    match manner {
        Manner::Serve { consistent_from } => {
            write_frame(&mut stream, Kind::HELLO, &hello(name)).ok()?;
            let mut sequence = 0;
            loop {
                let kind = read_frame(&mut stream, &mut buffer).ok()?;
                if kind == Kind::STATE_REQUEST || kind == Kind::SUBSCRIBE {
                    sequence += 1;
                    let begin = StateBegin { sequence, full: true, uptime_ns: UPTIME_NS };
                    write_state(&mut stream, begin, sequence >= consistent_from)?;
                }
                if kind == Kind::TOTALS_REQUEST {
                    write_frame(&mut stream, Kind::TOTALS, &totals()).ok()?;
                }
                if kind == Kind::SUBSCRIBE {
                    write_frame(&mut stream, Kind::TRANSITIONS, &transitions()).ok()?;
                    // A kind that no version so far knows: it must be skipped.
                    write_frame(&mut stream, Kind(0x01FF), &7_u64).ok()?;
                }
            }
        }
        Manner::Leave => {
            write_frame(&mut stream, Kind::HELLO, &hello(name)).ok()?;
            while read_frame(&mut stream, &mut buffer).ok()? != Kind::SUBSCRIBE {}
            let begin = StateBegin { sequence: 1, full: true, uptime_ns: UPTIME_NS };
            write_state(&mut stream, begin, true)
        }
        Manner::Churn => {
            write_frame(&mut stream, Kind::HELLO, &hello(name)).ok()?;
            churn(stream)
        }
        Manner::Babble => {
            write_frame(&mut stream, Kind::HELLO, &hello(name)).ok()?;
            while read_frame(&mut stream, &mut buffer).ok()? != Kind::SUBSCRIBE {}
            let begin = StateBegin { sequence: 1, full: true, uptime_ns: u64::MAX };
            write_state(&mut stream, begin, true)?;
            let totals = Totals { uptime_ns: u64::MAX, ..totals() };
            write_frame(&mut stream, Kind::TOTALS, &totals).ok()?;
            let frame = frame(Kind(0x01FF), 7);
            let babble = frame.repeat(4096);
            loop {
                stream.write_all(&babble).ok()?;
            }
        }
        Manner::HangUp => write_frame(&mut stream, Kind::HELLO, &hello(name)).ok(),
        Manner::RefuseVersion => refuse(&mut stream, refusal::VERSION, 2),
        Manner::Busy => refuse(&mut stream, refusal::BUSY, MAJOR),
        Manner::GreetInVersion2 => {
            let greeting = (MAGIC, 2_u16, 3_u16, "0.9.1", "and other things");
            write_frame(&mut stream, Kind::HELLO, &greeting).ok()
        }
        Manner::Silent => {
            // Until the viewer closes the connection.
            let _ = read_frame(&mut stream, &mut buffer);
            None
        }
        Manner::Nonsense => stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").ok(),
    }
}

/// A state a millisecond from the first subscription on, and a full one for each.
fn churn(mut stream: UnixStream) -> Option<()> {
    let mut requests = stream.try_clone().ok()?;
    let (sender, asked) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = Vec::new();
        while let Ok(kind) = read_frame(&mut requests, &mut buffer) {
            if sender.send(kind).is_err() {
                return;
            }
        }
    });
    let mut subscribed = false;
    for sequence in 1.. {
        let full = match asked.recv_timeout(Duration::from_millis(1)) {
            Ok(kind) => {
                subscribed |= kind == Kind::SUBSCRIBE;
                true
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => return None,
        };
        if full || subscribed {
            let uptime_ns = UPTIME_NS + sequence * 1_000_000;
            write_state(&mut stream, StateBegin { sequence, full, uptime_ns }, true)?;
        }
    }
    None
}

fn frame(kind: Kind, message: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_frame(&mut bytes, kind, &message).unwrap();
    bytes
}

fn refuse(stream: &mut UnixStream, reason: u16, major: u16) -> Option<()> {
    let refused = Refused { reason, major, minor: 0, message: "the reason".to_owned() };
    write_frame(stream, Kind::REFUSED, &refused).ok()
}

fn hello(name: &str) -> Hello {
    Hello {
        magic: MAGIC,
        major: MAJOR,
        minor: MINOR,
        allocator_version: "0.1.0".to_owned(),
        pid: std::process::id(),
        name: name.to_owned(),
        agent_started_unix_ns: 1,
        uptime_ns: UPTIME_NS,
        heaps_per_class: 2,
        classes: vec![CLASS; 2],
        features: 1,
    }
}

const CLASS: ClassInfo =
    ClassInfo { block_bytes: 8192, superblock_bytes: 65536, blocks_per_superblock: 8 };

/// One superblock of 4 live, 1 free and 3 reserved blocks, and one large block.
fn write_state(stream: &mut UnixStream, begin: StateBegin, consistent: bool) -> Option<()> {
    write_frame(stream, Kind::STATE_BEGIN, &begin).ok()?;
    let unused = ClassRecord::default();
    let used = ClassRecord {
        class: 1,
        allocations: 5,
        frees: 1,
        active: 1,
        live_blocks: 4,
        free_blocks: 1,
        credit_blocks: 3,
        ..unused
    };
    write_frame(stream, Kind::CLASSES, &Classes { records: vec![unused, used] }).ok()?;
    let heap = HeapRecord { class: 1, heap: 0, superblock: 7, credits: 3 };
    write_frame(stream, Kind::HEAPS, &Heaps { first: true, records: vec![heap] }).ok()?;
    let superblock = SuperblockRecord {
        id: 7,
        class: 1,
        state: state::ACTIVE,
        backing: backing::MAPPED,
        address: 0x7f00_0001_0000,
        anchor: 0,
        avail: 4,
        count: 1,
        credits: 3,
        exact: true,
        tag: 1,
        age_ns: 1_000_000,
    };
    write_frame(stream, Kind::SUPERBLOCKS, &Superblocks { records: vec![superblock] }).ok()?;
    let large = LargeRecord {
        id: 0,
        address: 0x7f00_0100_0000,
        bytes: LARGE_BYTES.unsigned_abs(),
        age_ns: 0,
        cached: false,
    };
    let large = LargeBlocks { first: true, records: vec![large] };
    write_frame(stream, Kind::LARGE_BLOCKS, &large).ok()?;
    write_frame(stream, Kind::STATE_END, &state_end(begin.sequence, consistent)).ok()
}

fn state_end(sequence: u64, consistent: bool) -> StateEnd {
    let parts = Parts {
        mapped: 65536 + LARGE_BYTES + 4096,
        live: 4 * 8192,
        large: LARGE_BYTES,
        free: 8192,
        credit: 3 * 8192,
        metadata: if consistent { 4096 } else { 0 },
        ..Parts::default()
    };
    StateEnd {
        sequence,
        consistent,
        attempts: 1,
        parts,
        allocations_after: 6,
        frees_after: 1,
        transitions_seen: 1,
        ..StateEnd::default()
    }
}

/// Twice as much live as in the state.
fn totals() -> Totals {
    Totals {
        mapped_bytes: 65536 + LARGE_BYTES + 4096,
        live_bytes: 2 * (4 * 8192 + LARGE_BYTES),
        superblock_bytes: 65536,
        allocations: 6,
        frees: 1,
        in_hand: 0,
        uptime_ns: 62_000_000_000,
    }
}

fn transitions() -> Transitions {
    let record = TransitionRecord {
        uptime_ns: 12_345_678,
        superblock: 7,
        class: 1,
        from: state::EMPTY,
        to: state::ACTIVE,
        cause: cause::MALLOC_FROM_NEW_SB,
        tag: 1,
    };
    Transitions { missed: 0, records: vec![record] }
}
