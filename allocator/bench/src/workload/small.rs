//! One block at a time, and a thousand.

use std::hint::black_box;
use std::time::Instant;

use super::block::Block;
use super::{Round, Work};

const HELD: u32 = 1000;
const BYTES: u32 = 64;

/// malloc and free of so many bytes.
pub(super) struct Pair(pub(super) u32);

impl Work for Pair {
    fn round(&mut self, operations: u64) -> Round {
        let start = Instant::now();
        for number in 0..operations {
            drop(black_box(Block::new(self.0, number as u32)));
        }
        Round { operations, elapsed: start.elapsed() }
    }
}

/// A thousand mallocs, then their frees.
pub(super) struct Batches {
    held: Vec<Block>,
    release: fn(&mut Vec<Block>),
}

impl Batches {
    /// Last allocated, first freed.
    pub(super) fn lifo() -> Self {
        Self::with(|held| while held.pop().is_some() {})
    }

    /// First allocated, first freed.
    pub(super) fn fifo() -> Self {
        Self::with(Vec::clear)
    }

    fn with(release: fn(&mut Vec<Block>)) -> Self {
        Self { held: Vec::with_capacity(HELD as usize), release }
    }
}

impl Work for Batches {
    fn round(&mut self, operations: u64) -> Round {
        let batches = operations.div_ceil(u64::from(HELD));
        let start = Instant::now();
        for _ in 0..batches {
            self.held.extend((0..HELD).map(|number| Block::new(BYTES, number)));
            (self.release)(&mut self.held);
        }
        Round { operations: batches * u64::from(HELD), elapsed: start.elapsed() }
    }
}
