//! A terminal inspector for programs that run lfalloc.
//!
//! ```text
//!   source (live socket, recording, synthetic) ──frames──► picture ──figures──► tui, report, snapshot, lint
//! ```
//!
//! [`picture`] knows what was told, [`source`] where it comes from; everything else shows it. Nothing
//! here stops or changes the program that is watched.

pub mod cli;
mod commands;
pub mod connect;
mod connect_error;
#[cfg(feature = "demo")]
pub mod demo;
pub mod diff;
pub mod discover;
pub mod doctor;
mod explain;
pub mod failure;
pub mod format;
pub mod fragmentation;
pub mod lint;
mod linting;
pub mod listing;
pub mod picture;
pub mod preloaded;
pub mod process;
mod record;
mod recorded;
pub mod recording;
pub mod report;
pub mod run;
pub mod seek;
pub mod snapshot;
pub mod source;
pub mod survey;
pub mod target;
pub mod tui;
