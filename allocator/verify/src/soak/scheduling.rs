//! What the system's scheduler can do to threads inside the allocator: preempt them for long, by others that want the same; move them;
//! and drains, which take from the magazines of other processors, all the time.

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use crate::require;
use crate::shadow::Random;
use crate::soak::board::board;
use crate::soak::books::Books;
use crate::soak::{CORE, NOTHING_MISSING, PLAIN, Run, SHARED, Soak, count, done, settle};
use crate::soak::{system, warm_up, workers};

pub(super) const CROWD: Soak = Soak {
    name: "crowd",
    what: "96 threads on the processors that there are; each must go on",
    goal: 200_000_000,
    unit: "replacements of a block",
    figures: &[],
    bound: NOTHING_MISSING,
    environment: PLAIN,
    run: crowd,
};

pub(super) const CROWD_CORE: Soak =
    Soak { name: "crowd-core", goal: 30_000_000, environment: CORE, ..CROWD };

fn crowd(run: &Run) {
    warm_up();
    let books = Books::open();
    let work = |random: &mut Random| {
        (0..50).for_each(|_| SHARED.replace(random));
        done(50);
        if random.below(8) == 0 {
            std::thread::yield_now();
        }
    };
    workers(96, work, || run.wait());
    settle();
    books.close(0, 0, 0);
}

pub(super) const PRIORITIES: Soak = Soak {
    name: "priorities",
    what: "on one processor: a SCHED_FIFO thread preempts a SCHED_IDLE one that allocates, and allocates without a pause itself",
    goal: 500_000,
    unit: "bursts of 64 replacements",
    figures: &["the low one was preempted", "the high one slept in a burst", "without SCHED_FIFO"],
    bound: "the high one never sleeps; 0 blocks missing, 0 in hand",
    environment: PLAIN,
    run: priorities,
};

pub(super) const PRIORITIES_CORE: Soak =
    Soak { name: "priorities-core", goal: 100_000, environment: CORE, ..PRIORITIES };

/// Were there a lock that the low one holds, the high one would have to sleep until it has it, or spin for ever: on their only processor
/// the low one does not run while the high one wants to.
fn priorities(run: &Run) {
    warm_up();
    let Some(&only) = system::processors().last() else { return };
    let books = Books::open();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = &stop;
        scope.spawn(move || {
            let lane = board().lane();
            system::run_on(0, &[only]);
            // Whoever wants less than others may always say so.
            let _ = system::schedule(libc::SCHED_IDLE, 0);
            let mut random = Random::new(run.seed);
            while !stop.load(Ordering::Relaxed) {
                (0..50).for_each(|_| SMALL.replace_small(&mut random));
                board().figures[0].store(system::switches().1.cast_unsigned(), Ordering::Relaxed);
                lane.moved();
            }
        });
        scope.spawn(move || {
            let lane = board().lane();
            system::run_on(0, &[only]);
            let is_above = [1, 0]
                .into_iter()
                .find(|real_time| *real_time == 0 || system::schedule(libc::SCHED_FIFO, 50));
            if is_above == Some(0) {
                board().figures[2].store(1, Ordering::Relaxed);
            }
            let mut random = Random::new(run.seed + 1);
            while run.goes_on() {
                std::thread::sleep(Duration::from_micros(20 + random.below(60)));
                let before = system::switches().0;
                // Some bursts are long ones.
                let rounds = if random.below(100) == 0 { 64 * 50 } else { 64 };
                (0..rounds).for_each(|_| SMALL.replace_small(&mut random));
                let slept = system::switches().0 - before;
                count(1, slept.cast_unsigned());
                require!(slept == 0, "a thread slept {slept} times within {rounds} allocations");
                done(1);
                lane.moved();
            }
            stop.store(true, Ordering::Relaxed);
        });
    });
    SMALL.clear();
    settle();
    books.close(0, 0, 0);
}

static SMALL: crate::soak::block::Exchange<256> = crate::soak::block::Exchange::new();

pub(super) const MIGRATIONS: Soak = Soak {
    name: "migrations",
    what: "4 threads that move themselves, and are moved by a fifth, from processor to processor",
    goal: 100_000,
    unit: "times on another processor than before",
    figures: &["requests to move"],
    bound: NOTHING_MISSING,
    environment: PLAIN,
    run: migrations,
};

static MOVED: [AtomicI32; 4] = [const { AtomicI32::new(0) }; 4];

fn migrations(run: &Run) {
    let processors = system::processors();
    warm_up();
    let books = Books::open();
    let numbers = AtomicU64::new(0);
    let any = |random: &mut Random| [processors[random.below(processors.len() as u64) as usize]];
    let work = |random: &mut Random| {
        // A thread's first round gives it a place among those that are moved.
        if !MOVED.iter().any(|moved| moved.load(Ordering::Relaxed) == system::thread_id()) {
            let place = numbers.fetch_add(1, Ordering::Relaxed) as usize % MOVED.len();
            MOVED[place].store(system::thread_id(), Ordering::Relaxed);
        }
        let mut before: c_int = system::processor();
        for _ in 0..40 {
            (0..random.below(40)).for_each(|_| SHARED.replace(random));
            let now = system::processor();
            done(u64::from(now != before));
            before = now;
        }
        system::run_on(0, &any(random));
        count(0, 1);
    };
    workers(4, work, || {
        let mut random = Random::new(run.seed);
        while run.goes_on() {
            for moved in &MOVED {
                match moved.load(Ordering::Relaxed) {
                    0 => {}
                    thread => system::run_on(thread, &any(&mut random)),
                }
                count(0, 1);
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    });
    settle();
    books.close(0, 0, 0);
}

pub(super) const DRAINS: Soak = Soak {
    name: "drains",
    what: "5 threads allocate, and each calls malloc_trim after every 800 replacements or so",
    goal: 20_000,
    unit: "drains",
    figures: &["replacements of a block"],
    bound: NOTHING_MISSING,
    environment: PLAIN,
    run: drains,
};

fn drains(run: &Run) {
    warm_up();
    let books = Books::open();
    let work = |random: &mut Random| {
        // Were there more drains, they would find nothing in the magazines.
        let replacements = random.below(1600);
        (0..replacements).for_each(|_| SHARED.replace(random));
        count(0, replacements);
        // SAFETY: no conditions.
        unsafe { libc::malloc_trim(0) };
        done(1);
    };
    workers(5, work, || run.wait());
    settle();
    books.close(0, 0, 0);
}
