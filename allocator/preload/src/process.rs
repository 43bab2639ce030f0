//! The process: its start and its end, and `vfork`.

use core::ffi::c_int;
use std::time::Duration;

use crate::{agent, tuning};

/// How long after a fork a child gets its agent: most children run another program by then.
const AFTER_FORK: Duration = Duration::from_millis(50);

/// vfork(2), as fork(2). A child that shares its parent's memory shares the area of its thread's restartable sequences, too,
/// and the kernel does not protect the two from each other: allocating there, both would get the same blocks.
#[unsafe(no_mangle)]
pub extern "C" fn vfork() -> libc::pid_t {
    // SAFETY: the child has memory of its own, and may do more than after vfork(2).
    unsafe { libc::fork() }
}

/// As [`vfork`].
#[unsafe(no_mangle)]
pub extern "C" fn __vfork() -> libc::pid_t {
    vfork()
}

/// Run by the dynamic linker when the library is loaded, and when the program ends (exit(3)).
#[used]
#[unsafe(link_section = ".init_array")]
static BEGIN: extern "C" fn() = begin;
#[used]
#[unsafe(link_section = ".fini_array")]
static END: extern "C" fn() = end;

extern "C" fn begin() {
    match lfalloc::options::value(c"LFALLOC_AGENT") {
        Some(value) if value == c"1" => agent::start_with_program(),
        Some(value) if value == c"children" => {
            // SAFETY: the handler is a function of this library, which is never unloaded (pthread_atfork(3)).
            let failed: c_int = unsafe { libc::pthread_atfork(None, None, Some(forked)) };
            // Without memory for it there are no agents in children: nothing else.
            let _ = failed;
            agent::start_with_program();
        }
        _ => {}
    }
}

extern "C" fn forked() {
    agent::start_later(AFTER_FORK);
}

extern "C" fn end() {
    if lfalloc::options::value(c"LFALLOC_STATS").is_some_and(|value| value == c"1") {
        tuning::malloc_stats();
    }
    agent::leave();
}
