//! What the example programs are made of; the programs themselves are in `src/bin`.

pub mod index;

mod scenery;
pub mod walk;
