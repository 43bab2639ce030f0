//! Aim: every transition of the program is re-emitted once, or counted as left out or missed, and no
//! other; and whatever a subscriber does, the program is none the worse. Method: subscribers that
//! record, allocate, hand over, block or panic, against the ring as the test reads it itself. Each test
//! runs itself again in a process of its own, which has one ring and one subscriber.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_types, reason = "subscribers may lock, and usually do")]

mod common;

use std::fmt::{Debug, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Fixture, is_alone, run_alone, wait_until};
use lfalloc::observe::{Cause, State, Tables, Transition, TransitionCursor, class_info};
use lfalloc_agent::trace::{Counts, Error, Options, TARGET, Trace};
use lfalloc_examples::walk::{EDGES, Walk};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

#[global_allocator]
static ALLOCATOR: lfalloc::LfAlloc = lfalloc::LfAlloc;

/// Of a block that a subscriber allocates: ten fill a superblock, of a class that the walk does not use.
const BYTES: usize = 6000;

/// Calls a function for every event of the target.
struct Each<F>(F);

impl<F: Fn(&Event<'_>) + 'static> Subscriber for Each<F> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TARGET
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        (self.0)(event);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn subscribe(each: impl Fn(&Event<'_>) + Send + Sync + 'static) {
    tracing::subscriber::set_global_default(Each(each)).unwrap();
}

/// The fields of an event in the order they were given, as text.
fn fields(event: &Event<'_>) -> String {
    struct Text(String);
    impl Visit for Text {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            write!(self.0, "{}={value:?} ", field.name()).unwrap();
        }
    }
    let mut text = Text(String::new());
    event.record(&mut text);
    text.0
}

/// The number behind `name=`, if there is one.
fn number(fields: &str, name: &str) -> Option<u64> {
    let (_, value) = fields.split_once(&format!("{name}="))?;
    Some(value.split(' ').next().unwrap().parse().unwrap())
}

type Recorded = Arc<Mutex<Vec<(Level, String)>>>;

/// Records every event from now on.
fn record() -> Recorded {
    let recorded = Recorded::default();
    let into = Arc::clone(&recorded);
    subscribe(move |event| {
        into.lock().unwrap().push((*event.metadata().level(), fields(event)));
    });
    recorded
}

/// The sum of the field `name`, which is said at WARN, and how often it was said.
fn said(recorded: &Recorded, name: &str) -> (u64, u64) {
    let recorded = recorded.lock().unwrap();
    let found = recorded.iter().filter_map(|(level, fields)| {
        number(fields, name).inspect(|_| assert_eq!(*level, Level::WARN))
    });
    found.fold((0, 0), |(sum, times), count| (sum + count, times + 1))
}

fn quick() -> Options {
    Options::new().interval(Duration::from_millis(5)).per_second(100_000).burst(100_000)
}

fn walk(times: usize) {
    let mut walk = Walk::new(Duration::ZERO);
    for _ in 0..times {
        walk.run_once().unwrap();
    }
}

/// Everything in the ring from `cursor` on.
fn read(cursor: &mut TransitionCursor) -> Vec<Transition> {
    let mut all = vec![Transition::NOTHING; 1 << 14];
    let (read, missed) = cursor.read(&mut all);
    assert_eq!(missed, 0);
    all.truncate(read);
    all
}

/// Transitions ever; asking causes none.
fn recorded_ever() -> u64 {
    Tables::new().unwrap().take(1).unwrap().transitions_seen
}

fn sum(counts: Counts) -> u64 {
    counts.emitted + counts.left_out + counts.missed + counts.own
}

/// Waits until everything that was recorded is read, and nothing more is recorded.
fn wait_for_rest(trace: &Trace) {
    wait_until("the thread is at rest", || {
        let before = (trace.counts(), recorded_ever());
        std::thread::sleep(Duration::from_millis(100));
        before == (trace.counts(), recorded_ever())
    });
}

fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")));
    names.filter(|name| name.as_ref().is_ok_and(|name| name == "lfalloc-trace\n")).count()
}

/// What is to be said of a transition, but for the time.
fn expected(transition: &Transition) -> String {
    let state = |state| match state {
        State::Active => "ACTIVE",
        State::Full => "FULL",
        State::Partial => "PARTIAL",
        State::Empty => "EMPTY",
    };
    let cause = match transition.cause {
        Cause::MallocFromActive => r#"cause="MallocFromActive" paragraph="[0059]""#,
        Cause::UpdateActive => r#"cause="UpdateActive" paragraph="[0063]""#,
        Cause::MallocFromPartial => r#"cause="MallocFromPartial" paragraph="[0069]""#,
        Cause::MallocFromNewSb => r#"cause="MallocFromNewSB" paragraph="[0073]""#,
        Cause::Free => r#"cause="free" paragraph="[0046]""#,
        Cause::FreeBatch => r#"cause="free (batch)""#,
        Cause::Purge => r#"cause="purge""#,
    };
    format!(
        "message=transition superblock={} class={} block_bytes={} from={:?} to={:?} {cause} tag={} ",
        transition.superblock,
        transition.class,
        class_info(transition.class.into()).block_bytes,
        state(transition.from),
        state(transition.to),
        transition.tag,
    )
}

#[test]
fn every_transition_of_a_walk_arrives_once_and_in_order() {
    if !is_alone() {
        return run_alone("every_transition_of_a_walk_arrives_once_and_in_order");
    }
    let recorded = record();
    // So rarely that the end brings most of it.
    for interval in [Duration::from_millis(1), Duration::from_secs(10)] {
        recorded.lock().unwrap().clear();
        let trace = quick().interval(interval).start().unwrap();
        let mut cursor = TransitionCursor::now();
        walk(3);
        let made = read(&mut cursor);
        drop(trace);

        let made = made.iter().filter(|transition| !transition.by_observer);
        for edge in EDGES {
            let of_edge = made.clone().filter(|made| (made.from, made.to, made.cause) == *edge);
            assert!(of_edge.count() >= 3, "{edge:?}");
        }
        let made: Vec<String> = made.map(expected).collect();
        let events = recorded.lock().unwrap();
        let told: Vec<&str> = events
            .iter()
            .map(|(level, fields)| {
                assert_eq!(*level, Level::DEBUG, "{fields}");
                let uptime_ns = number(fields, "uptime_ns").unwrap();
                assert!(
                    uptime_ns > 0 && uptime_ns < common::PATIENCE.as_nanos() as u64,
                    "{fields}"
                );
                fields.split_once("uptime_ns").unwrap().0
            })
            .collect();
        // Before and after them there may be what starting and stopping caused.
        let places = told.windows(made.len()).filter(|told| *told == made).count();
        assert_eq!(places, 1, "{told:#?}\nwithout\n{made:#?}");
        for made in &made {
            assert_eq!(told.iter().filter(|told| *told == made).count(), 1, "{made}");
        }
    }
}

#[test]
fn what_the_subscriber_causes_is_not_re_emitted() {
    if !is_alone() {
        return run_alone("what_the_subscriber_causes_is_not_re_emitted");
    }
    // Several superblocks' worth for every event: were they re-emitted, it would never end.
    subscribe(|event| {
        let mut blocks: Vec<Vec<u8>> = (0..100).map(|_| Vec::with_capacity(BYTES)).collect();
        blocks[7].extend(fields(event).as_bytes());
    });
    let before = recorded_ever();
    let trace = quick().start().unwrap();
    let mut cursor = TransitionCursor::now();
    let started = recorded_ever();
    walk(5);
    wait_for_rest(&trace);
    let made = read(&mut cursor);
    let own = made.iter().filter(|made| made.by_observer).count() as u64;
    let of_program = made.len() as u64 - own;
    let counts = trace.counts();
    assert!(of_program >= 5 * EDGES.len() as u64);
    assert!(own > of_program, "{own} for {of_program}: the subscriber causes more than there were");
    assert_eq!((counts.left_out, counts.missed), (0, 0));
    assert!(counts.own >= own && counts.own <= own + (started - before));
    assert!(counts.emitted >= of_program && counts.emitted <= of_program + (started - before));
    // It is quiet now: `wait_for_rest` has seen some twenty readings that brought nothing.
    assert_eq!(trace.counts(), counts);
}

#[test]
fn the_limit_holds_and_the_counts_add_up() {
    if !is_alone() {
        return run_alone("the_limit_holds_and_the_counts_add_up");
    }
    let recorded = record();
    for interval in [Duration::from_millis(1), Duration::from_secs(10)] {
        recorded.lock().unwrap().clear();
        let start = Instant::now();
        let before = recorded_ever();
        let trace = Options::new().per_second(20).burst(10).interval(interval).start().unwrap();
        let started = recorded_ever();
        // Much more than the ring holds; and for longer than two reports are apart.
        while start.elapsed() < Duration::from_millis(2500) {
            walk(50);
            std::thread::sleep(Duration::from_millis(1));
        }
        let made = recorded_ever();
        let mut counts = trace.counts();
        if interval < Duration::from_secs(1) {
            wait_for_rest(&trace);
            counts = trace.counts();
            assert!(sum(counts) >= made - started && sum(counts) <= recorded_ever() - before);
        }
        drop(trace);
        let elapsed = start.elapsed();
        let told =
            recorded.lock().unwrap().iter().filter(|(level, _)| *level == Level::DEBUG).count();
        let limit = 10.0 + 20.0 * elapsed.as_secs_f64();
        assert!(told as f64 <= limit, "{told} of {limit}");
        let (left_out, times) = said(&recorded, "left_out");
        assert!(left_out >= counts.left_out && left_out > 1000, "{left_out} of {counts:?}");
        assert!(times <= 2 + elapsed.as_secs(), "said {times} times in {elapsed:?}");
        let (missed, times) = said(&recorded, "missed");
        assert!(missed >= counts.missed, "{missed} of {counts:?}");
        assert!(times <= 2 + elapsed.as_secs(), "said {times} times in {elapsed:?}");
        if interval > Duration::from_secs(1) {
            assert!(missed > 1000, "{missed}: the ring was overwritten");
            let all = told as u64 + left_out + missed;
            assert!(all >= made - started && all <= recorded_ever() - before);
        } else {
            assert!(times == 0 || missed > 0);
            assert!(told > 10 && said(&recorded, "left_out").1 >= 2);
        }
    }
}

/// Blocks that another thread frees: transitions of the program's, each of which leads to more.
#[test]
fn what_is_handed_to_another_thread_is_bounded_by_the_limit() {
    static HANDING: AtomicBool = AtomicBool::new(true);
    if !is_alone() {
        return run_alone("what_is_handed_to_another_thread_is_bounded_by_the_limit");
    }
    let (hand, handed) = channel::<Vec<Vec<u8>>>();
    let writer = std::thread::spawn(move || handed.into_iter().for_each(drop));
    let hand: Mutex<Sender<_>> = Mutex::new(hand);
    subscribe(move |event| {
        if *event.metadata().level() == Level::DEBUG && HANDING.load(Ordering::Relaxed) {
            let blocks = (0..100).map(|_| Vec::with_capacity(BYTES)).collect();
            hand.lock().unwrap().send(blocks).unwrap();
        }
    });
    let mut cursor = TransitionCursor::now();
    walk(1);
    let of_one_walk = read(&mut cursor).len() as u64;
    let start = Instant::now();
    let trace = quick().per_second(500).burst(50).start().unwrap();
    let mut walks = 0;
    // The chain breaks where a reading finds no credit: each walk kindles it anew.
    wait_until("the writer causes more than the program, and more than may be told", || {
        walk(1);
        walks += 1;
        std::thread::sleep(Duration::from_millis(50));
        let Counts { emitted, left_out, .. } = trace.counts();
        emitted >= 100 && left_out > 0 && emitted + left_out > 3 * walks * of_one_walk
    });
    let (counts, elapsed) = (trace.counts(), start.elapsed());
    assert!(counts.emitted as f64 <= 50.0 + 500.0 * elapsed.as_secs_f64(), "{counts:?}");
    // With the cause gone it comes to rest.
    HANDING.store(false, Ordering::Relaxed);
    wait_for_rest(&trace);
    assert!(!writer.is_finished());
}

#[test]
fn dropping_ends_the_thread_and_a_second_start_is_refused() {
    if !is_alone() {
        return run_alone("dropping_ends_the_thread_and_a_second_start_is_refused");
    }
    let told = count();
    for round in 0..100 {
        let trace = quick().start().unwrap();
        assert_eq!(threads(), 1, "round {round}");
        let error = quick().start().unwrap_err();
        assert!(matches!(error, Error::AlreadyStarted), "{error}");
        assert!(error.to_string().contains("already"), "{error}");
        drop(trace);
        wait_until("the thread is gone", || threads() == 0);
    }
    let before = told.load(Ordering::Relaxed);
    walk(1);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(told.load(Ordering::Relaxed), before, "nobody tells any more");
}

/// Counts events; neither allocates nor locks.
fn count() -> &'static AtomicU64 {
    static TOLD: AtomicU64 = AtomicU64::new(0);
    subscribe(|_| {
        TOLD.fetch_add(1, Ordering::Relaxed);
    });
    &TOLD
}

#[test]
fn a_forked_child_has_none_and_may_have_its_own() {
    if !is_alone() {
        return run_alone("a_forked_child_has_none_and_may_have_its_own");
    }
    let told = count();
    let trace = quick().start().unwrap();
    // What `tracing` does once, under a lock of its own, is done before the first fork.
    walk(1);
    wait_for_rest(&trace);
    for round in 0..20 {
        // SAFETY: the child only does what is asked of it below, and ends with `_exit`.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let before = told.load(Ordering::Relaxed);
            walk(1);
            assert_eq!(threads(), 0);
            let start = Instant::now();
            drop(trace);
            assert!(start.elapsed() < Duration::from_secs(1), "it waits for nothing");
            assert_eq!(told.load(Ordering::Relaxed), before);
            let own = quick().start().unwrap();
            assert!(matches!(quick().start(), Err(Error::AlreadyStarted)));
            walk(1);
            drop(own);
            assert!(told.load(Ordering::Relaxed) >= before + EDGES.len() as u64);
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(7) };
        }
        assert!(child > 0);
        let mut status = 0;
        // SAFETY: the child is this process's, and there is room for its status.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7, "{round}: {status:#x}");
        let before = told.load(Ordering::Relaxed);
        walk(1);
        wait_until("the parent goes on", || {
            told.load(Ordering::Relaxed) >= before + EDGES.len() as u64
        });
    }
}

/// The agent serves while a subscriber blocks, and dropping waits for nobody for ever.
#[test]
fn a_subscriber_that_blocks_holds_up_nobody() {
    static BLOCKED: AtomicBool = AtomicBool::new(false);
    static OPEN: AtomicBool = AtomicBool::new(false);
    if !is_alone() {
        return run_alone("a_subscriber_that_blocks_holds_up_nobody");
    }
    subscribe(|_| {
        BLOCKED.store(true, Ordering::Relaxed);
        while !OPEN.load(Ordering::Relaxed) {
            std::thread::park_timeout(Duration::from_millis(10));
        }
    });
    let fixture = Fixture::start();
    let trace = quick().start().unwrap();
    walk(1);
    wait_until("the subscriber blocks", || BLOCKED.load(Ordering::Relaxed));
    let mut viewer = fixture.attach();
    viewer.subscribe(20, true);
    walk(1);
    for _ in 0..5 {
        viewer.state();
    }
    drop(trace);
    assert_eq!(threads(), 1, "it was left behind");
    assert!(matches!(quick().start(), Err(Error::AlreadyStarted)));
    viewer.state();
    OPEN.store(true, Ordering::Relaxed);
    wait_until("it ends when it can", || threads() == 0);
    drop(quick().start().unwrap());
}

#[test]
fn a_subscriber_that_panics_ends_the_thread_only() {
    static PANICS: AtomicBool = AtomicBool::new(true);
    if !is_alone() {
        return run_alone("a_subscriber_that_panics_ends_the_thread_only");
    }
    subscribe(|_| assert!(!PANICS.load(Ordering::Relaxed), "as it is meant to"));
    let trace = quick().start().unwrap();
    walk(1);
    wait_until("the thread is gone", || threads() == 0);
    // Its mark is gone with it.
    PANICS.store(false, Ordering::Relaxed);
    let next = quick().start().unwrap();
    drop(trace);
    walk(1);
    wait_until("the next one goes on", || next.counts().emitted >= EDGES.len() as u64);
}

/// The subscriber may come later; until then nothing is read, hence nothing counted.
#[test]
fn without_a_subscriber_nothing_is_done() {
    if !is_alone() {
        return run_alone("without_a_subscriber_nothing_is_done");
    }
    let trace = quick().start().unwrap();
    walk(1);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(trace.counts(), Counts::default());
    let told = count();
    wait_until("somebody wants them now", || {
        walk(1);
        told.load(Ordering::Relaxed) > 0
    });
}
