//! Aim: after its start the agent allocates nothing, so that watching an idle program changes none
//! of its counters. Method: lfalloc as the global allocator behind a counter of what the agent's
//! thread asks for; viewers of every kind at 20 Hz; the program's own counters, read by a viewer
//! that allocates nothing itself. Then the same once more while another thread re-emits transitions to
//! a subscriber that allocates.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::alloc::{GlobalAlloc, Layout};
use std::io::Read;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Fixture, Viewer, agent_task, wait_until};
use lfalloc::LfAlloc;
use lfalloc_protocol::message::*;
use lfalloc_protocol::{FrameReader, decode, encode_frame};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// The thread that is watched; 0 while there is none.
static WATCHED: AtomicI32 = AtomicI32::new(0);
/// What it asked for.
static REQUESTS: AtomicU64 = AtomicU64::new(0);

struct Watch;

impl Watch {
    fn note() {
        let watched = WATCHED.load(Ordering::Relaxed);
        // SAFETY: no argument, cannot fail.
        if watched != 0 && watched == unsafe { libc::gettid() } {
            REQUESTS.fetch_add(1, Ordering::Relaxed);
        }
    }
}

// SAFETY: every call is passed on unchanged to an allocator.
unsafe impl GlobalAlloc for Watch {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::note();
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { LfAlloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::note();
        // SAFETY: as above.
        unsafe { LfAlloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::note();
        // SAFETY: as above.
        unsafe { LfAlloc.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        Self::note();
        // SAFETY: as above.
        unsafe { LfAlloc.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watch = Watch;

/// One test, since another one's allocations would be counted.
#[test]
fn watching_allocates_nothing() {
    let fixture = Fixture::start();
    let tid = agent_task().file_name().unwrap().to_str().unwrap().parse().unwrap();
    // Once it has answered it is in its loop: what belongs to its start is behind it.
    fixture.attach().totals();
    WATCHED.store(tid, Ordering::Relaxed);
    work_the_agent(&fixture);
    assert_eq!(REQUESTS.load(Ordering::Relaxed), 0);
    watch_an_idle_program(&fixture);
    assert_eq!(REQUESTS.load(Ordering::Relaxed), 0);

    tracing::subscriber::set_global_default(Allocating).unwrap();
    let trace = lfalloc_agent::trace::start().unwrap();
    work_the_agent(&fixture);
    assert_eq!(REQUESTS.load(Ordering::Relaxed), 0);
    wait_until("all is told, what was left out as well", || {
        let before = (trace.counts(), allocations());
        std::thread::sleep(Duration::from_millis(1200));
        before == (trace.counts(), allocations())
    });
    assert!(trace.counts().emitted > 0 && trace.counts().own > 0, "{:?}", trace.counts());
    watch_an_idle_program(&fixture);
    assert_eq!(REQUESTS.load(Ordering::Relaxed), 0);
}

/// Blocks handed out ever.
fn allocations() -> u64 {
    lfalloc::observe::totals().allocations
}

/// A subscriber that allocates for everything.
struct Allocating;

impl Subscriber for Allocating {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        // More than magazines and depot keep, so that superblocks change their states.
        let mut blocks: Vec<Vec<u8>> = (0..150).map(|_| Vec::with_capacity(6000)).collect();
        blocks[7].extend(format!("{event:?}").as_bytes());
        std::hint::black_box(blocks);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Everything that a viewer can make the agent do, well-behaved or not.
fn work_the_agent(fixture: &Fixture) {
    // Few enough that those below find a place although the agent may not have seen their forerunners leave.
    let mut viewers: Vec<Viewer> = (0..10).map(|_| fixture.attach()).collect();
    for (number, viewer) in (0..).zip(&mut viewers) {
        viewer.subscribe(20 + number * 5, number % 2 == 0);
    }
    let deadline = Instant::now() + Duration::from_secs(2);
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    let mut size = 1;
    while Instant::now() < deadline {
        for viewer in &mut viewers[..5] {
            // Gaps as well: at the highest rates, on a loaded machine, this loop may be too slow for some.
            viewer.state_passing(&[Kind::TRANSITIONS, Kind::GAP]);
        }
        // Growth, so that tables and queues grow as well; five viewers read nothing.
        size = size * 5 % 70_001;
        blocks.extend((0..300).map(|_| Vec::with_capacity(size)));
        if size % 3 == 0 {
            blocks.clear();
        }
        let mut curious = fixture.attach();
        for id in [0, size as u32 % 50, u32::MAX] {
            assert_eq!(curious.superblock(id).id, id);
        }
        curious.totals();

        let mut bad = fixture.connect();
        bad.send_bytes(&[0xFF; 64]);
        let _: Refused = bad.expect(Kind::REFUSED);
        let mut old = fixture.connect();
        old.send_greeting(MAJOR + 1);
        let _: Refused = old.expect(Kind::REFUSED);
        let mut damaged = fixture.connect();
        damaged.send(Kind::CLIENT_HELLO, &(MAGIC, MAJOR, MINOR, u64::MAX));
        let _: Refused = damaged.expect(Kind::REFUSED);
    }
    let crowd: Vec<_> = (0..40).map(|_| fixture.connect()).collect();
    drop((crowd, viewers));
    wait_until("all viewers are gone", || {
        let mut viewer = fixture.connect();
        viewer.send_greeting(MAJOR);
        viewer.next_frame().is_ok_and(|kind| kind == Kind::HELLO)
            && viewer.request_state().end.viewers == 1
    });
}

/// At 20 Hz for two seconds, from within the program, by a viewer that uses only buffers it has.
fn watch_an_idle_program(fixture: &Fixture) {
    let mut viewer = fixture.attach();
    let mut reader = FrameReader::with_capacity(300_000);
    let mut out = [0; 64];
    let subscribe = Subscribe { interval_ms: 50, transitions: true };
    let used = encode_frame(Kind::SUBSCRIBE, &subscribe, &mut out).unwrap();
    viewer.send_bytes(&out[..used]);
    let deadline = Instant::now() + Duration::from_secs(2);
    let mut ends = [StateEnd::default(); 60];
    let mut states = 0;
    while Instant::now() < deadline && states < ends.len() {
        let read = viewer.stream.read(reader.space()).unwrap();
        reader.advance(read);
        while let Some((kind, payload)) = reader.next().unwrap() {
            assert_ne!(kind, Kind::GAP);
            assert_ne!(kind, Kind::TRANSITIONS, "nothing happens, nothing is to be told");
            if kind == Kind::STATE_END {
                ends[states] = decode(payload).unwrap();
                states += 1;
            }
        }
    }
    // At most 40; fewer where the agent has used up its allowance, in the work before or since this build is slow.
    assert!(states >= 20, "{states} states in two seconds");
    let first = ends[0];
    for end in &ends[..states] {
        assert!(end.consistent, "{end:?}");
        assert_eq!(end.attempts, 1);
        assert_eq!(end.allocations_after, first.allocations_after);
        assert_eq!(end.frees_after, first.frees_after);
        assert_eq!(end.transitions_seen, first.transitions_seen);
        assert_eq!((end.parts.live, end.parts.large), (first.parts.live, first.parts.large));
        let parts = end.parts;
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
        assert_eq!(sum, parts.mapped);
        assert!(end.agent_bytes > 0 && end.agent_bytes.cast_signed() <= parts.metadata);
    }
}
