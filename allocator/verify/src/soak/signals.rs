//! Signals: the handlers of two timers of each thread allocate, resize and free, whatever they interrupt: the allocator, mostly, and
//! each other. Blocks go from handlers to threads and back.
//!
//! Counted is a signal that lands *inside*: the address at which it interrupted its thread lies in the library's code. One that lands in
//! a restartable sequence shows the address at which that is aborted.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::shadow::Random;
use crate::soak::block::Marked;
use crate::soak::board::{Lane, board};
use crate::soak::books::{self, Books, Place};
use crate::soak::system::{self, Timer};
use crate::soak::{CORE, NO_RSEQ, NOTHING_MISSING, PLAIN, Run, SHARED, Soak, count, settle};
use crate::soak::{warm_up, workers};

/// Signals that landed inside, with magazines.
pub(super) const SIGNALS: Soak = Soak {
    name: "signals",
    what: "handlers of 2 timers in each of 3 threads allocate, resize and free",
    goal: 1_000_000,
    unit: "signals inside the allocator",
    figures: &["signals", "in a sequence"],
    bound: NOTHING_MISSING,
    environment: PLAIN,
    run: signals,
};

pub(super) const SIGNALS_CORE: Soak =
    Soak { name: "signals-core", goal: 300_000, environment: CORE, ..SIGNALS };

pub(super) const SIGNALS_NO_RSEQ: Soak =
    Soak { name: "signals-no-rseq", goal: 100_000, environment: NO_RSEQ, ..SIGNALS };

const THREADS: u64 = 3;

/// Signals, and where they landed.
static HANDLED: AtomicU64 = AtomicU64::new(0);
static INSIDE: AtomicU64 = AtomicU64::new(0);
static ABORTED: AtomicU64 = AtomicU64::new(0);

/// Signals that landed inside so far.
pub(super) fn inside() -> u64 {
    INSIDE.load(Ordering::Relaxed)
}

/// Counts where a handler has interrupted its thread.
fn place(context: *mut c_void, inside: &AtomicU64, aborted: &AtomicU64) {
    let place = books::place(system::interrupted_at(context));
    inside.fetch_add(u64::from(place != Place::Outside), Ordering::Relaxed);
    aborted.fetch_add(u64::from(place == Place::Aborted), Ordering::Relaxed);
}

extern "C" fn allocate(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    let errno = system::errno();
    place(context, &INSIDE, &ABORTED);
    let mut random = Random::new(HANDLED.fetch_add(1, Ordering::Relaxed));
    SHARED.replace(&mut random);
    let mine = Marked::new(&mut random);
    drop(if random.below(4) == 0 { mine.resized(&mut random) } else { mine });
    system::set_errno(errno);
}

/// Signals from two timers to the calling thread, so that handlers are interrupted, too.
fn timers(shorter: Duration) -> [Timer; 2] {
    [(libc::SIGRTMIN(), shorter), (libc::SIGRTMIN() + 1, shorter * 3)]
        .map(|(signal, interval)| Timer::new(signal, interval))
}

/// A few signals to the calling thread, at some times of the next two milliseconds. Not without end, as those of [`timers`]: where
/// handlers wait for the system longer than a timer's interval, the thread would do nothing else.
pub(super) fn some(random: &mut Random) -> [Timer; 4] {
    [(); 4].map(|()| {
        let signal = libc::SIGRTMIN() + random.below(2) as c_int;
        Timer::once(signal, Duration::from_micros(1 + random.below(2000)))
    })
}

/// From now on the timers' signals have a handler.
pub(super) fn handle_timers() {
    system::handle(libc::SIGRTMIN(), allocate);
    system::handle(libc::SIGRTMIN() + 1, allocate);
}

fn signals(run: &Run) {
    handle_timers();
    warm_up();
    let books = Books::open();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for number in 0..THREADS {
            let stop = &stop;
            scope.spawn(move || {
                let lane = board().lane();
                let mut random = Random::new(run.seed + number);
                let timers = timers(Duration::from_micros(40));
                while !stop.load(Ordering::Relaxed) {
                    (0..100).for_each(|_| only_allocate(&mut random));
                    SHARED.replace(&mut random);
                    lane.moved();
                }
                drop(timers);
            });
        }
        while run.goes_on() {
            system::pause();
            board().done.store(inside(), Ordering::Relaxed);
            show(0, &HANDLED);
            show(1, &ABORTED);
        }
        stop.store(true, Ordering::Relaxed);
    });
    settle();
    books.close(0, 0, 0);
}

fn show(figure: usize, counted: &AtomicU64) {
    board().figures[figure].store(counted.load(Ordering::Relaxed), Ordering::Relaxed);
}

/// Little else than the allocator's code: a few blocks of a size, the first and the last of which are marked.
fn only_allocate(random: &mut Random) {
    let shift = random.below(16);
    let bytes = 24 + random.below(1 << shift) as usize;
    let first = Marked::of_bytes(bytes.min(40));
    // SAFETY: no conditions.
    let blocks = [(); 14].map(|()| unsafe { libc::malloc(bytes) });
    let last = Marked::of_bytes(bytes.min(40));
    for block in blocks {
        // SAFETY: held, and given up now.
        unsafe { libc::free(block) };
    }
    drop(first);
    drop(last);
}

/// A thread that has a signal for each of its instructions: it goes through the allocator a step at a time, and no sequence of it
/// ever comes to its end. Others go on beside it.
pub(super) const STEPPING: Soak = Soak {
    name: "stepping",
    what: "a thread is trapped after each of its instructions; every 64th trap's handler allocates",
    goal: 1_000_000,
    unit: "instructions of the allocator",
    figures: &["traps", "in a sequence", "others' replacements"],
    bound: NOTHING_MISSING,
    environment: PLAIN,
    run: stepping,
};

/// The processor's trap flag: an exception after each instruction.
const TRAP: i64 = 0x100;
static IS_STEPPING: AtomicBool = AtomicBool::new(false);
/// Traps, and where.
static TRAPS: AtomicU64 = AtomicU64::new(0);
static STEPS: AtomicU64 = AtomicU64::new(0);
static STEPS_ABORTED: AtomicU64 = AtomicU64::new(0);

extern "C" fn step(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    let errno = system::errno();
    place(context, &STEPS, &STEPS_ABORTED);
    let traps = TRAPS.fetch_add(1, Ordering::Relaxed);
    if traps.is_multiple_of(64) {
        SHARED.replace(&mut Random::new(traps));
    }
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: what the kernel gave to this handler.
    let flags = unsafe { &mut (*context).uc_mcontext.gregs[libc::REG_EFL as usize] };
    if IS_STEPPING.load(Ordering::Relaxed) {
        *flags |= TRAP;
    } else {
        *flags &= !TRAP;
    }
    system::set_errno(errno);
}

fn stepping(run: &Run) {
    handle_steps();
    warm_up();
    let books = Books::open();
    let beside = |random: &mut Random| {
        (0..300).for_each(|_| SHARED.replace(random));
        std::thread::sleep(Duration::from_micros(200));
        count(2, 300);
        board().done.store(STEPS.load(Ordering::Relaxed), Ordering::Relaxed);
        show(0, &TRAPS);
        show(1, &STEPS_ABORTED);
    };
    workers(2, beside, || {
        let lane = board().lane();
        let mut random = Random::new(run.seed);
        while run.goes_on() {
            // Nothing large: a string instruction has a trap for each of its bytes.
            stepped(&lane, || {
                (0..20).for_each(|_| SHARED.replace_small(&mut random));
                // SAFETY: no conditions.
                let zeros = unsafe { libc::calloc(5, 100) };
                // SAFETY: held, and given up now.
                let more = unsafe { libc::realloc(zeros, 1000) };
                // SAFETY: held, and given up now.
                unsafe { libc::free(more) };
            });
            lane.moved();
        }
    });
    settle();
    books.close(0, 0, 0);
}

/// Does something with a trap after each instruction. That may take long: between what it reads and its compare-and-swap others succeed a
/// hundred times. What is lock-free is all of them together: they are watched.
pub(super) fn stepped(lane: &Lane, something: impl FnOnce()) {
    lane.unwatched(|| {
        IS_STEPPING.store(true, Ordering::Relaxed);
        // SAFETY: the handler sets the trap flag.
        unsafe { libc::raise(libc::SIGTRAP) };
        something();
        // The handler of the next trap clears it.
        IS_STEPPING.store(false, Ordering::Relaxed);
    });
}

/// From now on a thread can be [`stepped`]: one of the process.
pub(super) fn handle_steps() {
    system::handle(libc::SIGTRAP, step);
}
