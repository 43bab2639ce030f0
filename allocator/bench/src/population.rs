//! Many superblocks at little cost.
//!
//! A block that is never written costs no memory, and lfalloc does not write to fresh blocks: a FULL
//! superblock costs its descriptor and its entry in the page map. A block that is freed holds a link,
//! so that a PARTIAL one costs a page; one in [`PARTIAL_EVERY`] is PARTIAL.

use std::alloc::Layout;

use lfalloc::LfAlloc;
use lfalloc::observe::{CLASS_COUNT, class_info};

use crate::contender::Held;

/// Classes with 8, 9, 10 and 12 blocks in a superblock of 64 KiB: few blocks make many superblocks.
const BLOCK_BYTES: [u32; 4] = [8192, 7168, 6144, 5120];
/// One superblock of so many has a free block.
const PARTIAL_EVERY: usize = 8;

/// The blocks that keep the superblocks in use.
pub(crate) struct Population {
    _blocks: Vec<Held<LfAlloc>>,
    /// How many superblocks they fill or nearly fill.
    pub(crate) superblocks: usize,
}

impl Population {
    /// Fills `superblocks` superblocks of lfalloc, and frees a block of every eighth.
    pub(crate) fn new(superblocks: usize) -> Self {
        // Superblocks that were left ACTIVE or PARTIAL before would be filled first.
        LfAlloc.purge();
        let mut blocks = Vec::new();
        for (place, block_bytes) in BLOCK_BYTES.into_iter().enumerate() {
            let share = (superblocks + place) / BLOCK_BYTES.len();
            let per_superblock = (0..CLASS_COUNT)
                .map(class_info)
                .find(|class| class.block_bytes == block_bytes)
                .map_or(1, |class| class.blocks_per_superblock as usize);
            let layout = Layout::from_size_align(block_bytes as usize, 16);
            let layout = layout.unwrap_or(Layout::new::<[u128; 512]>());
            let mut filling: Vec<_> =
                (0..share * per_superblock).map(|_| Held::untouched(layout)).collect();
            // Only now: a PARTIAL superblock would be filled again.
            let mut number = 0;
            filling.retain(|_| {
                number += 1;
                number % (PARTIAL_EVERY * per_superblock) != 1
            });
            blocks.append(&mut filling);
        }
        // What was freed may wait in magazines, and is not free to its superblock.
        LfAlloc.purge();
        Self { _blocks: blocks, superblocks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workloads::tests::COUNTING;
    use lfalloc::observe::{Backing, Tables};

    fn states() -> [usize; 4] {
        let mut tables = Tables::new().unwrap();
        let census = tables.take(100).unwrap();
        assert!(census.consistent, "{census:?}");
        let mut states = [0; 4];
        for view in tables.superblocks.iter().filter(|view| view.backing == Backing::Mapped) {
            states[view.state as usize] += 1;
        }
        states
    }

    /// Aim: as many superblocks in use as asked for, of the states said, and none left behind. Method: a
    /// census before, while and after.
    #[test]
    fn makes_superblocks() {
        let _alone = COUNTING.lock().unwrap();
        let [_, full_before, partial_before, _] = states();
        let population = Population::new(400);
        assert_eq!(population.superblocks, 400);
        let [active, full, partial, _] = states();
        // A thread that changes its processor leaves a superblock ACTIVE behind.
        let near = |found: usize, wanted: usize| found.abs_diff(wanted) <= 16;
        assert!(near(partial - partial_before, 52), "{partial_before} to {partial} PARTIAL");
        assert!(near(full - full_before, 348), "{full_before} to {full} FULL");
        assert!(active + full + partial - full_before - partial_before >= 400);
        drop(population);
        LfAlloc.purge();
        let [active, full, partial, _] = states();
        assert_eq!((active, full, partial), (0, full_before, partial_before));
    }
}
