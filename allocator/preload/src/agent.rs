//! The agent of this process, if it has one.

use std::ffi::c_int;
use std::fmt::Write as _;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use lfalloc_agent::{Agent, StartError};

use crate::tuning::Line;

/// How long the program's start waits for its agent. Where the library is loaded later (dlopen(3)) the dynamic linker holds
/// locks meanwhile that the agent may need: then it is not waited for.
const PATIENCE: Duration = Duration::from_millis(500);

static AGENT: AtomicPtr<Agent> = AtomicPtr::new(ptr::null_mut());
/// The process whose agent that is; 0 without one. A forked child finds its parent's.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// Starts it, unless it runs; 0, or an `errno`, and then the reason is printed.
pub(crate) fn start() -> c_int {
    // Relaxed: says no more than the number.
    if PROCESS.load(Ordering::Relaxed) == std::process::id() {
        return 0;
    }
    match lfalloc_agent::start() {
        Ok(agent) => {
            let agent = Box::into_raw(Box::new(agent));
            // Release: pairs with the Acquires. What was there was of the process that this one was forked from, or of a
            // thread that started one at the same time.
            drop_agent(AGENT.swap(agent, Ordering::AcqRel));
            PROCESS.store(std::process::id(), Ordering::Relaxed);
            0
        }
        Err(error) => {
            report(&error);
            errno_of(&error)
        }
    }
}

/// Ends it.
pub(crate) fn stop() {
    PROCESS.store(0, Ordering::Relaxed);
    drop_agent(AGENT.swap(ptr::null_mut(), Ordering::AcqRel));
}

fn drop_agent(agent: *mut Agent) {
    if !agent.is_null() {
        // SAFETY: made by `Box::into_raw` in `start`, and taken out of `AGENT` by this thread.
        drop(unsafe { Box::from_raw(agent) });
    }
}

/// The program ends: removes the socket and waits for nothing.
pub(crate) fn leave() {
    let agent = AGENT.swap(ptr::null_mut(), Ordering::AcqRel);
    if !agent.is_null() {
        // SAFETY: as in `drop_agent`.
        unsafe { Box::from_raw(agent) }.leave();
    }
}

/// Starts it from a thread of its own, and waits a moment until it runs.
pub(crate) fn start_with_program() {
    let (started, is_started) = sync_channel(1);
    if start_in_thread(Duration::ZERO, Some(started)) {
        // Late, or failed, which was reported: the program goes on in any case.
        let _ = is_started.recv_timeout(PATIENCE);
    }
}

/// Starts it after a while.
pub(crate) fn start_later(delay: Duration) {
    start_in_thread(delay, None);
}

fn start_in_thread(delay: Duration, started: Option<SyncSender<()>>) -> bool {
    let before = block_signals();
    let spawned = thread::Builder::new().name("lfalloc-start".to_owned()).spawn(move || {
        thread::sleep(delay);
        start();
        if let Some(started) = started {
            // Nobody waits any more: no matter.
            let _ = started.send(());
        }
    });
    if let Some(before) = before {
        // SAFETY: a set that was in force; a null pointer says that the old one is not wanted.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut()) };
    }
    match spawned {
        Ok(_) => true,
        Err(error) => {
            report(&StartError::Thread(error));
            false
        }
    }
}

/// Blocks all signals in this thread, so that the threads it starts have them blocked; which were before.
fn block_signals() -> Option<libc::sigset_t> {
    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: there is room for a set.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: `sigfillset` has initialised the one, and there is room for the other.
    let failed =
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
    // SAFETY: initialised, unless it failed.
    (failed == 0).then(|| unsafe { before.assume_init() })
}

fn report(error: &StartError) {
    let mut line = Line::new();
    // A line that is too long is cut.
    let _ = writeln!(line, "lfalloc: {error}");
    line.print();
}

fn errno_of(error: &StartError) -> c_int {
    let source = std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .and_then(std::io::Error::raw_os_error);
    match error {
        StartError::NoMemory => libc::ENOMEM,
        StartError::ForeignDirectory { .. } | StartError::OpenDirectory { .. } => libc::EACCES,
        StartError::NotADirectory { .. } => libc::ENOTDIR,
        StartError::NamesTaken { .. } => libc::EADDRINUSE,
        _ => source.unwrap_or(libc::EIO),
    }
}
