//! Children of a busy process: of fork(3) and `_Fork(3)`, which allocate at once, in the heap as other threads left it; of vfork(2) and
//! `posix_spawn(3)`, which run another program under the library.

use std::ffi::{CStr, c_char};
use std::ptr::NonNull;

use crate::require;
use crate::shadow::Random;
use crate::soak::block::Marked;
use crate::soak::board::board;
use crate::soak::books::Books;
use crate::soak::system::{leave, wait_for};
use crate::soak::{
    CORE, NOTHING_MISSING, PLAIN, Run, SHARED, Soak, count, done, settle, warm_up, workers,
};

pub(super) const FORKS: Soak = Soak {
    name: "forks",
    what: "3 threads allocate; children of fork and _Fork in turn allocate, check and end",
    goal: 20_000,
    unit: "children",
    figures: &["of fork", "of _Fork", "grandchildren", "children with threads"],
    bound: NOTHING_MISSING,
    environment: PLAIN,
    run: forks,
};

pub(super) const FORKS_CORE: Soak =
    Soak { name: "forks-core", goal: 2000, environment: CORE, ..FORKS };

pub(super) const SPAWNS: Soak = Soak {
    name: "spawns",
    what: "3 threads allocate; children of vfork and posix_spawn in turn run a program under the library",
    goal: 6000,
    unit: "children",
    figures: &["of vfork", "of posix_spawn"],
    bound: NOTHING_MISSING,
    environment: PLAIN,
    run: spawns,
};

unsafe extern "C" {
    fn _Fork() -> libc::pid_t;
    static environ: *const *mut c_char;
}

/// What threads do beside the forks; they leave the processors to the children now and then.
fn beside(random: &mut Random) {
    (0..300).for_each(|_| SHARED.replace(random));
    std::thread::sleep(std::time::Duration::from_micros(200));
}

fn forks(run: &Run) {
    warm_up();
    let books = Books::open();
    workers(3, beside, || {
        let lane = board().lane();
        let mut random = Random::new(run.seed);
        let mut number = 0;
        while run.goes_on() {
            // A block of the parent's, which the child has, too.
            let inherited = Marked::new(&mut random);
            one(number, &mut random, inherited);
            number += 1;
            done(1);
            lane.moved();
        }
    });
    settle();
    books.close(0, 0, 0);
}

/// One child, and what it does.
pub(super) fn one(number: u64, random: &mut Random, inherited: Marked) {
    let is_raw = number % 2 == 1;
    let child = if is_raw {
        // SAFETY: the child calls nothing but the allocator and what is safe in signals' handlers.
        unsafe { _Fork() }
    } else {
        // SAFETY: likewise; the C library is ready for threads in children of fork.
        unsafe { libc::fork() }
    };
    require!(child >= 0, "fork failed");
    if child == 0 {
        all_sizes(random);
        drop(inherited);
        if number % 8 == 2 {
            // SAFETY: as above.
            let grandchild = unsafe { libc::fork() };
            all_sizes(random);
            if grandchild == 0 {
                leave(0);
            }
            require!(wait_for(grandchild) == 0, "a grandchild failed");
            count(2, 1);
        }
        if number % 16 == 4 {
            workers(2, |random| SHARED.replace(random), || all_sizes(random));
            count(3, 1);
        }
        leave(0);
    }
    let status = wait_for(child);
    require!(
        status == 0,
        "a child of {} ended with status {status:#x}",
        if is_raw { "_Fork" } else { "fork" }
    );
    count(usize::from(is_raw), 1);
}

/// Holds some blocks of all sizes at once.
fn all_sizes(random: &mut Random) {
    let mut held: [*mut u64; 40] = [std::ptr::null_mut(); 40];
    let mut bytes = 24;
    for place in &mut held {
        *place = Marked::of_bytes(bytes).into_raw();
        bytes += bytes / 4 + 8;
    }
    (0..20).for_each(|_| SHARED.replace(random));
    for block in held.into_iter().filter_map(NonNull::new) {
        // SAFETY: held above, and taken over once.
        drop(unsafe { Marked::from_raw(block) });
    }
}

/// What children run: a program that is everywhere, and allocates a little.
const PROGRAM: &CStr = c"/bin/true";

fn spawns(run: &Run) {
    warm_up();
    let books = Books::open();
    workers(3, beside, || {
        let lane = board().lane();
        let mut number = 0;
        while run.goes_on() {
            let child = if number % 2 == 0 { virtual_fork() } else { spawn() };
            let status = wait_for(child);
            require!(status == 0, "a program that was run ended with status {status:#x}");
            count(number % 2, 1);
            number += 1;
            done(1);
            lane.moved();
        }
    });
    settle();
    books.close(0, 0, 0);
}

fn virtual_fork() -> libc::pid_t {
    let arguments = [PROGRAM.as_ptr(), std::ptr::null()];
    // SAFETY: the child does nothing but run another program. (The library's has a stack of its own.)
    #[allow(deprecated, reason = "its dangers are what is looked at")]
    let child = unsafe { libc::vfork() };
    if child == 0 {
        // SAFETY: the environment ends with null, as the arguments do (execve(2)).
        unsafe { libc::execve(PROGRAM.as_ptr(), arguments.as_ptr(), environ.cast()) };
        leave(127);
    }
    require!(child > 0, "vfork failed");
    child
}

fn spawn() -> libc::pid_t {
    let arguments = [PROGRAM.as_ptr().cast_mut(), std::ptr::null_mut()];
    let mut child = 0;
    let (actions, attributes) = (std::ptr::null(), std::ptr::null());
    let place = &raw mut child;
    // SAFETY: the arguments and the environment end with null (posix_spawn(3)).
    let failed = unsafe {
        libc::posix_spawn(place, PROGRAM.as_ptr(), actions, attributes, arguments.as_ptr(), environ)
    };
    require!(failed == 0, "posix_spawn failed: {failed}");
    child
}
