//! Blocks that grow.

use std::hint::black_box;
use std::time::Instant;

use super::block::Block;
use super::{Round, Work};

/// Four vectors that grow in turn, so that none has the place behind it for itself.
#[derive(Default)]
pub(super) struct Growth {
    vectors: [Vec<u8>; 4],
    appended: usize,
}

impl Growth {
    const PIECE_BYTES: usize = 64;
    const FULL_BYTES: usize = 1 << 20;
}

impl Work for Growth {
    fn round(&mut self, operations: u64) -> Round {
        let start = Instant::now();
        for _ in 0..operations {
            let vector = &mut self.vectors[self.appended % 4];
            if vector.len() == Self::FULL_BYTES {
                let is_whole = vector.first() == Some(&0) && vector.last() == Some(&255);
                assert!(is_whole, "a vector changed");
                *vector = Vec::new();
            }
            // Each piece says where it belongs: the first is 0, the last 255.
            let fill = (vector.len() >> 12) as u8;
            vector.extend_from_slice(black_box(&[fill; Self::PIECE_BYTES]));
            self.appended += 1;
        }
        Round { operations, elapsed: start.elapsed() }
    }

    fn live_bytes(&self) -> u64 {
        self.vectors.iter().map(|vector| vector.capacity() as u64).sum()
    }
}

/// Blocks that grow by small steps, in turn.
pub(super) struct Steps {
    blocks: Vec<Block>,
    turn: usize,
}

impl Steps {
    const BLOCKS: u32 = 64;
    const STEP_BYTES: u32 = 32;
    const FULL_BYTES: u32 = 4096;

    pub(super) fn new() -> Self {
        let blocks = (0..Self::BLOCKS).map(|number| Block::new(Self::STEP_BYTES, number));
        Self { blocks: blocks.collect(), turn: 0 }
    }
}

impl Work for Steps {
    fn round(&mut self, operations: u64) -> Round {
        let start = Instant::now();
        for _ in 0..operations {
            let place = self.turn % self.blocks.len();
            let block = &mut self.blocks[place];
            match block.bytes() {
                Self::FULL_BYTES => *block = Block::new(Self::STEP_BYTES, place as u32),
                bytes => block.resize(bytes + Self::STEP_BYTES),
            }
            self.turn += 1;
        }
        Round { operations, elapsed: start.elapsed() }
    }
}
