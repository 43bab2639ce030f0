//! How lfalloc's core is known to be right: the shipped procedures over model machines.
//!
//! * [`machine`] — a [`lfalloc::platform::Platform`] of arrays of atomics, in which memory that may not be read is
//!   poisoned; over loom's, shuttle's or the processor's atomics.
//! * [`scenario`] — races as data: what is set up, and what each thread then does.
//! * [`explore`] — runs a scenario under loom (all interleavings within a bound), shuttle (random and PCT), or with
//!   every operation interrupted or stopped for ever at each of its points.
//! * [`shadow`] — what every live block of the shipped allocator should hold, for stress and property tests.
//! * [`shipped`] — the library as it ships.
//! * [`attacks`] — what becomes of attacks, on the library and on other allocators.
//! * [`soak`] — what a program can do to the library, for long.
//! * [`siege`] — hostile clients of the agent of a program on it.
//! * [`locks`] — what a contended program on it asks of the system, and how often operations must try again.
//! * [`catalogue`] — the named races, and the seeded faults each of them must find.
//!
//! Every execution ends by draining the heap: each block comes out exactly once, or the model fails. A model's
//! result counts only because its mutants die.

pub mod attacks;
pub mod catalogue;
pub mod explore;
pub mod freeze;
pub mod front;
pub mod large;
pub mod lives;
pub mod locks;
pub mod machine;
pub mod once;
pub mod scenario;
pub mod seeded;
pub mod shadow;
pub mod shipped;
pub mod siege;
pub mod soak;
pub mod stepped;
pub mod stop;
