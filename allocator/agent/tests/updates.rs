//! Aim: a viewer that only ever applies updates ends with the same picture as one that asks for all
//! of it; and that transitions are sent as fast as they happen. Method: a program in a process of its own churns through many sizes while it is followed,
//! then rests; what the follower knows is compared with a full state, record by record.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Fixture, PATIENCE, Viewer, Whole, private_directory, wait_until};
use lfalloc::observe::{RING_SLOTS, Transition, TransitionCursor};
use lfalloc_agent::Options;
use lfalloc_protocol::message::*;

#[global_allocator]
static ALLOCATOR: lfalloc::LfAlloc = lfalloc::LfAlloc;

/// Set in the process that is watched: its directory.
const DIRECTORY: &str = "LFALLOC_AGENT_TEST_WATCHED";

/// What a follower knows.
#[derive(Default)]
struct Known {
    superblocks: BTreeMap<u32, SuperblockRecord>,
    counters: BTreeMap<(u16, u16), HeapCounter>,
    magazines: BTreeMap<(u16, u16), MagazineRecord>,
    full_states: usize,
    updates: usize,
    records: usize,
    changes: usize,
}

impl Known {
    fn apply(&mut self, state: Whole) {
        if state.begin.full {
            self.superblocks.clear();
            self.counters.clear();
            self.magazines.clear();
            self.full_states += 1;
        } else {
            self.updates += 1;
            self.records += state.superblocks.len();
            for record in &state.counters {
                let before = self.counters.get(&(record.class, record.heap));
                assert_ne!(before, Some(record), "an update holds what changed");
            }
            for record in &state.magazines {
                let before = self.magazines.get(&(record.class, record.processor));
                assert_ne!(before, Some(record), "an update holds what changed");
            }
        }
        for record in state.counters {
            self.counters.insert((record.class, record.heap), record);
        }
        for record in state.magazines {
            self.magazines.insert((record.class, record.processor), record);
        }
        let told: Vec<u32> = state.superblocks.iter().map(|record| record.id).collect();
        for change in state.changes {
            self.changes += 1;
            assert!(told.binary_search(&change.id).is_err(), "told once");
            let record = self.superblocks.get_mut(&change.id).expect("it is known");
            let before = *record;
            record.anchor = change.anchor;
            record.avail = anchor::avail(change.anchor);
            record.count = anchor::count(change.anchor);
            record.state = anchor::state(change.anchor);
            record.tag = anchor::tag(change.anchor);
            (record.credits, record.exact) = (change.credits, change.exact);
            assert_ne!(*record, before, "a change changes something");
        }
        for record in state.superblocks {
            if record.backing == backing::MAPPED {
                self.superblocks.insert(record.id, record);
            } else {
                self.superblocks.remove(&record.id);
            }
        }
    }
}

/// Everything but the age, which goes on.
fn ageless(record: &SuperblockRecord) -> SuperblockRecord {
    SuperblockRecord { age_ns: 0, ..*record }
}

#[test]
fn updates_add_up_to_the_full_state() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return be_watched(Path::new(&directory));
    }
    let directory = private_directory();
    let rested = directory.path().join("rested");
    let mut program = Command::new(std::env::current_exe().unwrap())
        .args(["updates_add_up_to_the_full_state", "--exact", "--nocapture"])
        .env(DIRECTORY, directory.path())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let socket = directory.path().join(format!("watched.{}.sock", program.id()));
    // A socket is there a moment before it accepts.
    wait_until("the program listens", || UnixStream::connect(&socket).is_ok());

    let mut known = Known::default();
    let mut follower = Viewer::connect(&socket);
    follower.greet();
    follower.subscribe(20, false);
    while !rested.exists() {
        known.apply(follower.state());
    }
    let (churned, records) = (known.updates, known.records);
    for _ in 0..3 {
        known.apply(follower.state());
    }
    assert_eq!(known.full_states, 1, "no state was left out");
    assert!(churned > 20 && records > 500, "{churned} updates with {records} superblocks");
    assert!(known.changes > 500, "{} changes", known.changes);

    // At rest an update holds nothing.
    let update = follower.state();
    assert!(!update.begin.full && update.end.consistent);
    assert_eq!((update.superblocks, update.changes, update.counters), (vec![], vec![], vec![]));
    assert_eq!((update.front, update.magazines), (None, vec![]));

    let mut asker = Viewer::connect(&socket);
    asker.greet();
    let full = asker.request_state();
    assert!(full.begin.full && full.end.consistent);
    assert_eq!((&full.classes, &full.heaps), (&update.classes, &update.heaps));
    assert_eq!(full.samples, update.samples);
    assert_eq!(known.counters.values().copied().collect::<Vec<_>>(), full.counters);
    assert!(full.counters.len() > 40, "{}", full.counters.len());
    assert_eq!(known.magazines.values().copied().collect::<Vec<_>>(), full.magazines);
    assert_eq!(update.depots, full.depots);
    if full.front.is_some() {
        assert!(full.magazines.len() > 40, "{}", full.magazines.len());
    }
    assert!(full.superblocks.len() > 100);
    let by_updates: Vec<_> = known.superblocks.values().map(ageless).collect();
    let at_once: Vec<_> = full.superblocks.iter().map(ageless).collect();
    assert_eq!(by_updates, at_once);

    drop(program.stdin.take());
    assert!(program.wait().unwrap().success());
}

/// The program: a second of churn with growth and decline, then rest until its input ends.
fn be_watched(directory: &Path) {
    let agent = Options::new().directory(directory).name("watched").start().unwrap();
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    let mut random = 1_u64;
    for round in 0..50 {
        let growing = round % 20 < 12;
        for _ in 0..3000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let bytes = (random >> 40) as usize % (1 << (random >> 33 & 15));
            if growing || blocks.is_empty() {
                blocks.push(black_box(Vec::with_capacity(bytes)));
            } else {
                let place = (random >> 20) as usize % blocks.len();
                drop(blocks.swap_remove(place));
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    std::fs::write(directory.join("rested"), "").unwrap();
    let read = std::io::stdin().read(&mut [0]);
    assert_eq!(read.unwrap(), 0);
    drop((agent, blocks));
}

/// At 100 ms every reading would find the ring overrun: what comes without a loss would never be
/// more than one ring.
#[test]
fn a_busy_program_is_followed_without_losses() {
    if std::env::var_os(DIRECTORY).is_some() {
        return;
    }
    let fixture = Fixture::start();
    let mut viewer = fixture.attach();
    viewer.subscribe(60_000, true);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| overrun(&done));
        let deadline = Instant::now() + PATIENCE;
        let mut in_a_row = 0;
        while in_a_row < 3 * RING_SLOTS && Instant::now() < deadline {
            // An error must not end the test before the other thread was told.
            let Ok(kind) = viewer.next_frame() else {
                break;
            };
            if kind == Kind::TRANSITIONS {
                let transitions: Transitions = lfalloc_protocol::decode(&viewer.payload).unwrap();
                if transitions.missed > 0 {
                    in_a_row = 0;
                }
                in_a_row += transitions.records.len();
            }
        }
        done.store(true, Ordering::Relaxed);
        assert!(in_a_row >= 3 * RING_SLOTS, "{in_a_row} transitions at most without a loss");
    });
}

/// Overruns the ring about every 40 ms.
fn overrun(done: &AtomicBool) {
    let mut events = vec![Transition::NOTHING; RING_SLOTS];
    while !done.load(Ordering::Relaxed) {
        let mut cursor = TransitionCursor::now();
        let mut made = 0;
        while made < RING_SLOTS / 16 {
            // Few blocks of this size share a superblock: many of them fill and empty some.
            let blocks: Vec<Vec<u8>> = (0..1000).map(|_| Vec::with_capacity(7 << 10)).collect();
            drop(black_box(blocks));
            made += cursor.read(&mut events).0;
        }
        std::thread::sleep(Duration::from_micros(2500));
    }
}
