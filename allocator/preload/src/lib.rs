//! liblfalloc.so: lfalloc as the `malloc` of any program, preloaded or linked.
//!
//! | file         | what it holds                                                                    |
//! |--------------|----------------------------------------------------------------------------------|
//! | `entry`      | the allocation functions of the C library, with glibc's semantics                |
//! | `tuning`     | `mallopt`, `mallinfo`, `malloc_trim`, `malloc_stats`, `malloc_info`               |
//! | `own_calls`  | what `lfalloc.h` declares                                                        |
//! | `process`    | `vfork`; what happens when the program starts and ends                           |
//! | `agent`      | the thread that shows the program to its inspectors                              |
//! | `misuse`     | foreign pointers                                                                 |
//! | `arena`      | where this library's own Rust allocations come from                              |
//!
//! No C++ operator is defined here: those of the C++ library call `malloc` and `free`, and a sized `delete` exported from
//! here would bypass the `delete` of a program that replaces only the plain pair.
//!
//! Nothing that an allocation function reaches looks up symbols, reads thread-local storage other than `errno` and the
//! thread's area for restartable sequences, takes a lock or allocates from the C library: `tests/call_graph.rs` walks over
//! the machine code.

#![allow(unreachable_pub, reason = "what is exported is exported by its name")]

mod agent;
mod arena;
mod entry;
mod misuse;
mod own_calls;
mod process;
mod statistics;
mod tuning;

#[global_allocator]
static ARENA: arena::Arena = arena::Arena::new();

/// Sets `errno`.
fn set_errno(error: libc::c_int) {
    // SAFETY: the C library's `errno` of this thread (errno(3)), which exists before any code of the program runs.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: valid for as long as the thread lives.
    unsafe { errno.write(error) };
}
