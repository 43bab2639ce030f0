//! The inspector cannot harm the target: a program at work, and clients that wish it ill.
//!
//! * [`target`] — the program: a fixed piece of work in several threads, and a sum over all that it read back.
//! * [`clients`] — the clients, one kind after the other.
//! * [`viewer`] — a client as it should be, which must go on being served.
//! * [`windows`] — the measurement: the same work without and with clients, in turn.
//! * [`surroundings`] — what else may happen around an agent: no descriptors, no sockets, no folder, forks.
//! * [`system`] — what the kernel tells of the target, from outside.

pub mod clients;
pub mod surroundings;
pub mod system;
pub mod target;
pub mod viewer;
pub mod windows;
