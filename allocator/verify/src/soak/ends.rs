//! Every way in which a thread ends: it returns, calls `pthread_exit(3)`, is cancelled, ends by the bare system call exit(2), is
//! detached, or ends by that call in the handler of a signal that landed inside the allocator; and with the process.
//!
//! Each leaves blocks to others, and a destructor of its own data that allocates. Only those that end inside the allocator may lose
//! anything: what the library says it is (`ARCHITECTURE.md`), and the block at hand.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::require;
use crate::shadow::Random;
use crate::soak::block::{Exchange, Marked};
use crate::soak::board::board;
use crate::soak::books::{self, Books, Place};
use crate::soak::system::{self, leave, wait_for};
use crate::soak::{CORE, PLAIN, Run, SHARED, Soak, count, done, settle, warm_up};

pub(super) const THREAD_ENDS: Soak = Soak {
    name: "thread-ends",
    what: "threads end in 6 ways, 7 at a time; now and then a process ends with threads in it",
    goal: 12_000,
    unit: "threads",
    figures: &[
        "returned",
        "pthread_exit",
        "cancelled",
        "exit(2)",
        "detached",
        "exit(2) inside the allocator",
        "processes ended",
        "destructors",
    ],
    bound: "for each that ended inside: 3 in hand, 256 blocks, 256 KiB mapped; else 0",
    environment: PLAIN,
    run: ends,
};

pub(super) const THREAD_ENDS_CORE: Soak =
    Soak { name: "thread-ends-core", goal: 3000, environment: CORE, ..THREAD_ENDS };

/// In which way a thread ends; its number is that of its figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Return,
    Exit,
    Cancelled,
    Bare,
    Detached,
    Inside,
}

const WAYS: [Way; 7] =
    [Way::Return, Way::Exit, Way::Cancelled, Way::Bare, Way::Detached, Way::Inside, Way::Inside];

/// What is told to one thread, and what it leaves: static, so that no thread can outlive it.
#[derive(Debug)]
struct Told {
    seed: AtomicU64,
    /// 1: it holds what it leaves. 2: it does nothing any more with this.
    state: AtomicU32,
    left: Exchange<8>,
}

static TOLD: [Told; WAYS.len()] =
    [const { Told { seed: AtomicU64::new(0), state: AtomicU32::new(0), left: Exchange::new() } };
        WAYS.len()];

type Body = extern "C-unwind" fn(*mut c_void) -> *mut c_void;

unsafe extern "C-unwind" {
    fn pthread_create(
        thread: *mut libc::pthread_t,
        attributes: *const libc::pthread_attr_t,
        body: Body,
        argument: *mut c_void,
    ) -> c_int;
    fn pthread_exit(result: *mut c_void) -> !;
    fn pthread_testcancel();
}

extern "C" fn end_inside(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    if books::place(system::interrupted_at(context)) != Place::Outside {
        bare_exit();
    }
}

/// Ends the thread, and nobody is told.
fn bare_exit() -> ! {
    loop {
        // SAFETY: ends this thread, which nothing depends on (exit(2)).
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
}

/// What every thread does before its end.
fn live(told: &Told) -> Random {
    let mut random = Random::new(told.seed.load(Ordering::Relaxed));
    (0..60).for_each(|_| SHARED.replace(&mut random));
    for place in 0..8 {
        drop(told.left.swap(place, Some(Marked::new(&mut random))));
    }
    told.state.store(1, Ordering::Release);
    random
}

fn with_data(random: &mut Random) {
    let block = Marked::new(random).into_raw();
    let key = KEY.load(Ordering::Relaxed);
    // SAFETY: a key that was made.
    unsafe { libc::pthread_setspecific(key, block.cast()) };
}

static KEY: AtomicU32 = AtomicU32::new(0);

/// The destructor of a thread's data: the thread is ending.
extern "C" fn destroy(data: *mut c_void) {
    if let Some(block) = std::ptr::NonNull::new(data.cast()) {
        // SAFETY: put there by `with_data`, and taken over once.
        drop(unsafe { Marked::from_raw(block) });
    }
    let mut random = Random::new(data.addr() as u64);
    (0..10).for_each(|_| SHARED.replace(&mut random));
    count(7, 1);
}

/// One for each way, since none but a frame without anything to drop may be unwound.
fn body(way: Way) -> Body {
    extern "C-unwind" fn returns(argument: *mut c_void) -> *mut c_void {
        with_data(&mut live(told(argument)));
        null_mut()
    }
    extern "C-unwind" fn exits(argument: *mut c_void) -> *mut c_void {
        with_data(&mut live(told(argument)));
        // SAFETY: nothing in this frame is to be dropped.
        unsafe { pthread_exit(null_mut()) }
    }
    extern "C-unwind" fn is_cancelled(argument: *mut c_void) -> *mut c_void {
        let mut random = live(told(argument));
        with_data(&mut random);
        loop {
            SHARED.replace(&mut random);
            // SAFETY: nothing in this frame is to be dropped.
            unsafe { pthread_testcancel() };
        }
    }
    extern "C-unwind" fn ends_bare(argument: *mut c_void) -> *mut c_void {
        live(told(argument));
        bare_exit()
    }
    extern "C-unwind" fn is_detached(argument: *mut c_void) -> *mut c_void {
        let told = told(argument);
        with_data(&mut live(told));
        told.state.store(2, Ordering::Release);
        null_mut()
    }
    extern "C-unwind" fn ends_inside(argument: *mut c_void) -> *mut c_void {
        let told = told(argument);
        let mut random = live(told);
        loop {
            told.left.replace(&mut random);
        }
    }
    match way {
        Way::Return => returns,
        Way::Exit => exits,
        Way::Cancelled => is_cancelled,
        Way::Bare => ends_bare,
        Way::Detached => is_detached,
        Way::Inside => ends_inside,
    }
}

fn told(argument: *mut c_void) -> &'static Told {
    &TOLD[argument.addr()]
}

fn start(place: usize, way: Way) -> libc::pthread_t {
    let mut thread = 0;
    TOLD[place].state.store(0, Ordering::Relaxed);
    let argument = std::ptr::without_provenance_mut(place);
    // SAFETY: room for its number; the argument is a number.
    let failed = unsafe { pthread_create(&raw mut thread, std::ptr::null(), body(way), argument) };
    require!(failed == 0, "pthread_create failed: {failed}");
    thread
}

fn ends(run: &Run) {
    system::handle(libc::SIGRTMIN() + 2, end_inside);
    let mut key = 0;
    // SAFETY: room for the key; the destructor is a function.
    let failed = unsafe { libc::pthread_key_create(&raw mut key, Some(destroy)) };
    require!(failed == 0, "pthread_key_create failed: {failed}");
    KEY.store(key, Ordering::Relaxed);
    warm_up();
    // The C library loads what unwinds, once.
    join(start(1, Way::Exit));
    settle();
    TOLD[1].left.clear();
    let books = Books::open();
    let lane = board().lane();
    let mut random = Random::new(run.seed);
    let mut rounds = 0_u64;
    while run.goes_on() {
        round(&mut random);
        rounds += 1;
        if rounds.is_multiple_of(8) {
            end_of_process(rounds);
        }
        done(WAYS.len() as u64);
        lane.moved();
    }
    settle();
    for told in &TOLD {
        told.left.clear();
    }
    let died = board().figures[Way::Inside as usize].load(Ordering::Relaxed);
    books.close(died, 256, 3);
}

fn join(thread: libc::pthread_t) {
    // SAFETY: a thread that was started and not joined.
    let failed = unsafe { libc::pthread_join(thread, null_mut()) };
    require!(failed == 0, "pthread_join failed: {failed}");
}

fn round(random: &mut Random) {
    for told in &TOLD {
        told.seed.store(random.next(), Ordering::Relaxed);
    }
    let mut threads = [0; WAYS.len()];
    for (place, way) in WAYS.into_iter().enumerate() {
        threads[place] = start(place, way);
        if way == Way::Detached {
            // SAFETY: a thread that was started and not joined.
            unsafe { libc::pthread_detach(threads[place]) };
        }
    }
    // Blocks change hands while they live, too.
    (0..100).for_each(|_| SHARED.replace(random));
    for (place, way) in WAYS.into_iter().enumerate() {
        let (thread, state) = (threads[place], &TOLD[place].state);
        match way {
            Way::Detached => {
                while state.load(Ordering::Acquire) < 2 {
                    std::thread::yield_now();
                }
            }
            Way::Cancelled => {
                // SAFETY: a thread that was started and not joined.
                unsafe { libc::pthread_cancel(thread) };
                join(thread);
            }
            Way::Inside => {
                end_it_inside(thread, state, random);
            }
            Way::Return | Way::Exit | Way::Bare => join(thread),
        }
        count(way as usize, 1);
    }
    for told in &TOLD {
        // What a thread left is freed by another.
        told.left.clear();
    }
}

/// Signals until one has landed inside.
fn end_it_inside(thread: libc::pthread_t, state: &AtomicU32, random: &mut Random) {
    while state.load(Ordering::Acquire) == 0 {
        std::thread::yield_now();
    }
    loop {
        // SAFETY: a thread that was started and not joined: if it has ended nothing happens.
        unsafe { libc::pthread_kill(thread, libc::SIGRTMIN() + 2) };
        for _ in 0..random.below(3000) {
            std::hint::spin_loop();
        }
        // SAFETY: likewise.
        let failed = unsafe { libc::pthread_tryjoin_np(thread, null_mut()) };
        if failed == 0 {
            return;
        }
        require!(failed == libc::EBUSY, "pthread_tryjoin_np failed: {failed}");
        std::thread::yield_now();
    }
}

/// A process ends in which threads allocate: by exit(3), with all that is done then, while they go on.
fn end_of_process(seed: u64) {
    // SAFETY: the C library is ready for threads and exit(3) in children of fork; no other thread of ours runs.
    let child = unsafe { libc::fork() };
    if child == 0 {
        static GO_ON: AtomicBool = AtomicBool::new(true);
        std::thread::spawn(move || {
            let mut random = Random::new(seed);
            while GO_ON.load(Ordering::Relaxed) {
                SHARED.replace(&mut random);
            }
        });
        std::thread::spawn(move || {
            let mut random = Random::new(seed + 1);
            while GO_ON.load(Ordering::Relaxed) {
                SHARED.replace(&mut random);
            }
        });
        let mut random = Random::new(seed + 2);
        (0..200).for_each(|_| SHARED.replace(&mut random));
        if seed.is_multiple_of(16) {
            // SAFETY: nothing is registered with it that needs the threads.
            unsafe { libc::exit(0) };
        }
        leave(0);
    }
    require!(child > 0, "fork failed");
    let status = wait_for(child);
    require!(status == 0, "a process that ended while threads allocated has status {status:#x}");
    count(6, 1);
}
