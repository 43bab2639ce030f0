//! Blocks that an allocator gets from the system one by one, or keeps for reuse.

use std::time::Instant;

use super::churn::{Objects, Sizes};
use super::{Round, Work};

const OBJECTS: u32 = 16;

/// Random ones of a few large blocks are replaced.
pub(super) struct Large {
    objects: Objects,
    is_touched: bool,
}

impl Large {
    /// `is_touched`: every page of a new block is written to, and not only the first.
    pub(super) fn new(sizes: Sizes, is_touched: bool) -> Self {
        Self { objects: Objects::new(0, OBJECTS, sizes), is_touched }
    }
}

impl Work for Large {
    fn round(&mut self, operations: u64) -> Round {
        let start = Instant::now();
        for number in 0..operations {
            if self.is_touched {
                self.objects.replace_touched(number);
            } else {
                self.objects.replace(number);
            }
        }
        Round { operations, elapsed: start.elapsed() }
    }

    fn live_bytes(&self) -> u64 {
        self.objects.bytes()
    }
}
