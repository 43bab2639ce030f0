//! The terminal interface on a made-up process: how it looks, and that nothing upsets it.
#![forbid(unsafe_code)]

mod anything;
mod copying;
mod launched;
mod picker;
mod pointing;
mod screens;
mod stage;
mod working;
