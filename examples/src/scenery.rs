//! Life around the walk: blocks of many sizes that come and go, so that every screen has something to show.

use std::alloc::{GlobalAlloc, Layout};

use lfalloc::LfAlloc;

use crate::walk::BLOCK_BYTES;

/// Blocks held at once.
const BLOCKS: usize = 5000;
/// Of these, replaced at every step.
const REPLACED: usize = 20;

/// Blocks of sizes between 16 bytes and 200 KB, small ones far more often than large ones.
#[derive(Debug)]
pub(crate) struct Scenery {
    blocks: Vec<(*mut u8, Layout)>,
    random: u64,
}

impl Scenery {
    pub(crate) fn new() -> Self {
        let mut scenery =
            Self { blocks: Vec::with_capacity(BLOCKS), random: 0x9E37_79B9_7F4A_7C15 };
        while scenery.blocks.len() < BLOCKS {
            scenery.add();
        }
        scenery
    }

    /// Replaces some blocks by others.
    pub(crate) fn churn(&mut self) {
        for _ in 0..REPLACED {
            let place = self.next() as usize % self.blocks.len();
            let (block, layout) = self.blocks.swap_remove(place);
            // SAFETY: allocated by `add` with that layout.
            unsafe { LfAlloc.dealloc(block, layout) };
            self.add();
        }
    }

    fn add(&mut self) {
        // Many small, few middle-sized, hardly any large.
        let size = match self.next() % 256 {
            0 => 16 + self.next() % 200_000,
            1..=7 => 16 + self.next() % 12_000,
            8..=63 => 16 + self.next() % 2000,
            _ => 16 + self.next() % 240,
        } as usize;
        // The walk's class is left to it: the heaps of a class share its lists of PARTIAL superblocks.
        let walks = BLOCK_BYTES - BLOCK_BYTES / 8..=BLOCK_BYTES;
        let size = if walks.contains(&size) { 2 * size } else { size };
        let Ok(layout) = Layout::from_size_align(size, 8) else {
            return;
        };
        // SAFETY: the size is not zero.
        let block = unsafe { LfAlloc.alloc(layout) };
        if !block.is_null() {
            // SAFETY: just allocated.
            unsafe { block.write_bytes(0xA5, size.min(4096)) };
            self.blocks.push((block, layout));
        }
    }

    /// Marsaglia's xorshift64.
    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

impl Drop for Scenery {
    fn drop(&mut self) {
        for (block, layout) in self.blocks.drain(..) {
            // SAFETY: allocated by `add` with that layout.
            unsafe { LfAlloc.dealloc(block, layout) };
        }
    }
}
