//! A thread frozen and killed at every instruction of the library as it ships; the others must go on.
//!
//! ```text
//!  tracer (this program)                    target (this program again, under the library)
//!  ┌──────────────────────┐  ptrace(2)      ┌──────────────────────────────────────────────┐
//!  │ steps ───────────────┼────────────────▶│ victim: one operation, instruction by instruction │
//!  │ "a battery, please" ─┼── sockets ─────▶│ 3 survivors: every operation, contents checked    │
//!  │ reads the figures ◀──┼─────────────────│ first thread: frees what the victim held, purges  │
//!  └──────────────────────┘                 └──────────────────────────────────────────────┘
//! ```
//!
//! | file         | what it holds                                                            |
//! |--------------|--------------------------------------------------------------------------|
//! | `operation`  | the operations, as data: set-up, call, and the way that it must take     |
//! | `examine`    | what is done with each of them                                           |
//! | `session`    | one target under the tracer                                              |
//! | `trace`      | one thread held by ptrace(2)                                             |
//! | `image`      | the library's instructions, functions and restartable sequences          |
//! | `target`     | the target's threads; `battery`, `held` and `mark`: what they do and see |
//!
//! # Restartable sequences
//!
//! The kernel aborts a sequence in which its thread is stopped, and so a thread that is stepped completes none. The tracer
//! goes through it both ways: *interrupted*, as the kernel has it; and *through*, where it clears the word that tells the kernel
//! of the sequence, at each stop within one, and nobody else runs until it is committed: what happens is what happens to a
//! thread that is not disturbed. A thread that is frozen within a sequence is frozen with the word in place, and is aborted when
//! it goes on.

mod api;
mod battery;
mod examine;
mod held;
mod image;
mod mark;
mod memory;
mod operation;
mod processors;
mod session;
pub mod target;
mod trace;
mod wire;

pub use examine::{Extent, Row, examine};
pub use operation::{OPERATIONS, Operation};
pub use session::{Failure, Library, Setting};
