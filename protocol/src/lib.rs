//! The wire format between a program that runs lfalloc and its inspectors.
//!
//! `PROTOCOL.md` beside this crate documents the same format for writers of clients in other
//! languages; `tests/golden.rs` fixes every byte of it.
//!
//! | module | holds |
//! |---|---|
//! | [`message`] | the published types: they never change |
//! | [`frame`] | length, kind and payload; the incremental reader |
//! | [`codec`] | how a message becomes a payload; the only place that knows bincode |
//! | [`options`] | the environment variables that a program with lfalloc obeys |
//! | [`socket`] | where sockets lie and what they are called |
//! | [`error`] | the one error type |
#![forbid(unsafe_code)]

pub mod codec;
pub mod error;
pub mod frame;
pub mod message;
pub mod options;
pub mod socket;

pub use codec::{MAX_PAYLOAD_BYTES, decode, decode_borrowed, decode_changes, encode_into};
pub use error::Error;
pub use frame::{FrameReader, HEADER_BYTES, encode_frame, read_frame, write_frame};
