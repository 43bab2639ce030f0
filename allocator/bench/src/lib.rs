//! What the allocators of `lfalloc-bench compare` are made to do, and how it is measured.
//!
//! A contender is a program of three lines: its `#[global_allocator]`, and a call of [`contender`]. All of them run the
//! same code of this library, which reaches the allocator as every Rust program does: through `std::alloc`, `Box` and `Vec`.
//! The harness (the command `compare`) starts a contender once for every measurement, and reads one line of JSON.

pub mod measured;
pub mod process;
pub mod random;
pub mod statistics;
pub mod workload;

mod program;

pub use program::contender;

/// The tests' own allocator: every workload checks what it holds, so that their tests are lfalloc's, too.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: lfalloc::LfAlloc = lfalloc::LfAlloc;
