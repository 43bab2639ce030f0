//! The process: its start and its end, and `vfork`.

use core::ffi::{CStr, c_int, c_long};
use std::time::Duration;

use lfalloc::options;

use crate::{agent, statistics};

const AGENT: &CStr = c"LFALLOC_AGENT";

/// How long after a fork a child gets its agent: most children run another program by then.
const AFTER_FORK: Duration = Duration::from_millis(50);

/// vfork(2), but the child has memory of its own. A child that shares its parent's memory shares the area of its thread's
/// restartable sequences, too, and the kernel does not protect the two from each other: allocating there, both would get the same
/// blocks. As vfork(2) it runs no handlers of `pthread_atfork(3)`, which may want what the caller holds, and the caller goes on when
/// the child has become another program or has ended.
#[unsafe(no_mangle)]
pub extern "C" fn vfork() -> libc::pid_t {
    const NONE: c_long = 0;
    let flags = c_long::from(libc::CLONE_VFORK | libc::SIGCHLD);
    // SAFETY: without CLONE_VM both go on, each on its own copy of the stack (clone(2)); the child may do no less than after
    // vfork(2).
    let process = unsafe { libc::syscall(libc::SYS_clone, flags, NONE, NONE, NONE, NONE) };
    // A number of a process, or -1.
    process as libc::pid_t
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
    // Early: the program may change its environment later, and from any thread.
    options::read();
    statistics::begin();
    let value = options::value(AGENT).map(CStr::to_bytes);
    match value {
        None | Some(b"" | b"0") => {}
        Some(b"1") => agent::start_with_program(),
        Some(b"children") => {
            // SAFETY: the handler is a function of this library, which is never unloaded (`pthread_atfork(3)`).
            let failed: c_int = unsafe { libc::pthread_atfork(None, None, Some(forked)) };
            // Without memory for it there are no agents in children: nothing else.
            let _ = failed;
            agent::start_with_program();
        }
        Some(other) => options::report(AGENT, other, "0, 1 or children"),
    }
}

extern "C" fn forked() {
    agent::start_later(AFTER_FORK);
}

extern "C" fn end() {
    statistics::end();
    agent::leave();
}
