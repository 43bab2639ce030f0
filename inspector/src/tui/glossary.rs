//! Words that are explained: by `x` on a figure, and by `lfinspect explain WORD`.
//!
//! Each screen keeps the terms of its own figures beside its drawing; this module gathers them.

use super::screens::{heaps, large, lints, map, stream};

/// A word with what there is to say about it.
#[derive(Debug, PartialEq, Eq)]
pub struct Term {
    /// The words that ask for it, in lower case; the first is its name.
    pub words: &'static [&'static str],
    /// Its title.
    pub title: &'static str,
    /// What it is.
    pub what: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// How it is computed.
    pub how: &'static str,
    /// Whether it is exact.
    pub exact: &'static str,
}

/// Every term.
pub fn terms() -> impl Iterator<Item = &'static Term> {
    [map::TERMS, heaps::TERMS, large::TERMS, stream::TERMS, lints::TERMS].into_iter().flatten()
}
