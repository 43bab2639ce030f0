//! The depot of this process: what its procedures work on.

use core::sync::atomic::AtomicU64;

use super::depot::{MAX_BATCH, MAX_BATCHES, Shelf};
use super::magazine::batch_blocks;
use crate::platform::Class;
use crate::size_class::{CLASS_COUNT, CLASSES};
use crate::table::{Table, ZeroRecord};

/// Bytes of blocks that the depot keeps of each class.
const CLASS_BYTES: usize = 1 << 18;
const MIN_BATCHES: u32 = 2;

struct Batch {
    link: AtomicU64,
    blocks: [AtomicU64; MAX_BATCH],
}

// SAFETY: atomics only; zero bytes are a valid value of each.
unsafe impl ZeroRecord for Batch {}

static BATCHES: Table<Batch> = Table::new();
static EMPTY: AtomicU64 = AtomicU64::new(0);
static FULL: [AtomicU64; CLASS_COUNT] = [const { AtomicU64::new(0) }; CLASS_COUNT];

/// The batches of a class.
pub(super) struct Of(pub(super) Class);

impl Shelf for Of {
    type Word = AtomicU64;

    fn full(&self) -> &AtomicU64 {
        &FULL[self.0.0 as usize]
    }

    fn empty(&self) -> &AtomicU64 {
        &EMPTY
    }

    fn link(&self, batch: u32) -> &AtomicU64 {
        &BATCHES.get(batch).link
    }

    fn place(&self, batch: u32, place: usize) -> &AtomicU64 {
        &BATCHES.get(batch).blocks[place]
    }

    fn extend(&self) -> Option<u32> {
        BATCHES.extend(1)
    }

    fn most(&self) -> u32 {
        let bytes = CLASSES[self.0.0 as usize].block_bytes as usize * batch_blocks(self.0);
        ((CLASS_BYTES / bytes) as u32).clamp(MIN_BATCHES, MAX_BATCHES)
    }
}
