//! Blocks that stay, among many that go: what is resident for what is live.

use std::collections::VecDeque;
use std::time::Instant;

use super::block::Block;
use super::{Round, Work};
use crate::random::Random;

/// One block in so many stays.
const KEPT_EVERY: u32 = 64;
/// For so many bursts.
const KEPT_BURSTS: usize = 8;
/// Each burst has sizes of its own: what one leaves free does not fit the next.
const RANGES: [(u32, u32); 5] = [(16, 64), (48, 192), (160, 512), (400, 1500), (1200, 4000)];

/// Bursts of blocks, nearly all of which are freed at the end of their burst.
pub(super) struct Fragmentation {
    blocks: u32,
    bursts: usize,
    random: Random,
    kept: VecDeque<Vec<Block>>,
}

impl Fragmentation {
    /// So many blocks a burst.
    pub(super) fn new(blocks: u32) -> Self {
        Self { blocks, bursts: 0, random: Random::new(0), kept: VecDeque::new() }
    }

    fn burst(&mut self) {
        let (least, most) = RANGES[self.bursts % RANGES.len()];
        self.bursts += 1;
        let mut kept = Vec::with_capacity((self.blocks / KEPT_EVERY) as usize + 1);
        let mut going = Vec::with_capacity(self.blocks as usize);
        for number in 0..self.blocks {
            let block = Block::new(least + self.random.below(most - least), number);
            if number % KEPT_EVERY == 0 {
                kept.push(block);
            } else {
                going.push(block);
            }
        }
        drop(going);
        self.kept.push_back(kept);
        if self.kept.len() > KEPT_BURSTS {
            self.kept.pop_front();
        }
    }
}

impl Work for Fragmentation {
    fn round(&mut self, operations: u64) -> Round {
        // Whole turns of the sizes: rounds are alike, and so is what is held after each.
        let turn = RANGES.len() as u64;
        let bursts = operations.div_ceil(u64::from(self.blocks) * turn) * turn;
        let start = Instant::now();
        for _ in 0..bursts {
            self.burst();
        }
        Round { operations: bursts * u64::from(self.blocks), elapsed: start.elapsed() }
    }

    fn live_bytes(&self) -> u64 {
        self.kept.iter().flatten().map(|block| u64::from(block.bytes())).sum()
    }
}
