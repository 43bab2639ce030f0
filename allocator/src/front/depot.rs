//! The depot: full batches of blocks, which change hands between processors whole.
//!
//! A lock-free stack for each class, bounded, whose head says how many batches there are:
//!
//! ```text
//!  63            32 31        20 19            0
//! ┌────────────────┬────────────┬───────────────┐
//! │ tag : 32       │ count : 12 │ batch + 1 : 20│
//! └────────────────┴────────────┴───────────────┘
//! ```
//!
//! A batch is an array of addresses, a magazine in Bonwick's sense, and not a list through the blocks: nothing of a block
//! is touched when it moves. Batches are type-stable; empty ones wait in a stack of their own.

use core::sync::atomic::{AtomicU64, Ordering};

use super::magazine::batch_blocks;
use crate::list::{self, Links};
use crate::platform::Class;
use crate::size_class::{CLASS_COUNT, CLASSES};
use crate::table::{Table, ZeroRecord};

/// Blocks of the largest batch: with its link it fills eight cache lines.
pub(super) const MAX_BATCH: usize = 63;
/// Bytes of blocks that the depot keeps of each class.
const CLASS_BYTES: usize = 1 << 18;
const MIN_BATCHES: u32 = 2;

struct Batch {
    next: AtomicU64,
    blocks: [AtomicU64; MAX_BATCH],
}

// SAFETY: atomics only; zero bytes are a valid value of each.
unsafe impl ZeroRecord for Batch {}

static BATCHES: Table<Batch> = Table::new();
static EMPTY: AtomicU64 = AtomicU64::new(0);
static FULL: [AtomicU64; CLASS_COUNT] = [const { AtomicU64::new(0) }; CLASS_COUNT];

struct Pool;

impl Links for Pool {
    type Word = AtomicU64;
    const TAG_BITS: u32 = 32;
    fn link_of(&self, id: u32) -> &AtomicU64 {
        &BATCHES.get(id).next
    }
}

const INDEX_BITS: u32 = 20;
const COUNT_BITS: u32 = 12;

#[derive(Clone, Copy)]
struct Head(u64);

impl Head {
    const fn first(self) -> Option<u32> {
        ((self.0 & ((1 << INDEX_BITS) - 1)) as u32).checked_sub(1)
    }

    const fn count(self) -> u32 {
        (self.0 >> INDEX_BITS) as u32 & ((1 << COUNT_BITS) - 1)
    }

    /// The next head, with that link (number + 1, or 0) and that many batches.
    const fn changed_to(self, link: u64, count: u32) -> Self {
        let tag = (self.0 >> 32).wrapping_add(1);
        Self(tag << 32 | (count as u64) << INDEX_BITS | link)
    }
}

/// Batches that the depot keeps of a class.
const fn most(class: Class) -> u32 {
    let bytes = CLASSES[class.0 as usize].block_bytes as usize * batch_blocks(class);
    let fit = (CLASS_BYTES / bytes) as u32;
    let fit = if fit < MIN_BATCHES { MIN_BATCHES } else { fit };
    if fit < 1 << COUNT_BITS { fit } else { (1 << COUNT_BITS) - 1 }
}

/// Batches of that class in the depot.
pub(super) fn batches(class: Class) -> u32 {
    // Relaxed: a figure.
    Head(FULL[class.0 as usize].load(Ordering::Relaxed)).count()
}

/// Keeps a batch of blocks that this thread owns; whether there was room. Only whole batches are kept.
pub(super) fn put(class: Class, blocks: &[usize]) -> bool {
    let head = &FULL[class.0 as usize];
    // Relaxed: only the value is used.
    let mut old = Head(head.load(Ordering::Relaxed));
    if blocks.len() != batch_blocks(class) || old.count() >= most(class) {
        return false;
    }
    let Some(id) = list::pop(&Pool, &EMPTY).or_else(|| BATCHES.extend(1)) else { return false };
    if id + 1 >= 1 << INDEX_BITS {
        // Its number does not fit into a head: it is never used, and a million others are.
        return false;
    }
    let batch = BATCHES.get(id);
    for (place, block) in batch.blocks.iter().zip(blocks) {
        // Relaxed: published by the Release below.
        place.store(*block as u64, Ordering::Relaxed);
    }
    while old.count() < most(class) {
        // Relaxed: as above.
        batch.next.store(old.first().map_or(0, |first| u64::from(first) + 1), Ordering::Relaxed);
        let new = old.changed_to(u64::from(id) + 1, old.count() + 1);
        // Release: pairs with the Acquire in `take`: the batch's blocks and link, and what their former owners did to
        // them. Failure: another put or take succeeded.
        match head.compare_exchange(old.0, new.0, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return true,
            Err(found) => old = Head(found),
        }
    }
    list::push_chain(&Pool, &EMPTY, id, id);
    false
}

/// Takes the batch that was put last; how many blocks it has. This thread owns them from then on.
pub(super) fn take(class: Class, out: &mut [usize; MAX_BATCH]) -> Option<usize> {
    let head = &FULL[class.0 as usize];
    // Acquire: pairs with the Release in `put`: the link read below was written before.
    let mut old = Head(head.load(Ordering::Acquire));
    let id = loop {
        let first = old.first()?;
        // Relaxed and optimistic: if the batch has left meanwhile the tag makes the compare-and-swap fail.
        let link = BATCHES.get(first).next.load(Ordering::Relaxed) & ((1 << INDEX_BITS) - 1);
        let new = old.changed_to(link, old.count() - 1);
        // Acquire as above, for the batch taken. Failure: another put or take succeeded.
        match head.compare_exchange(old.0, new.0, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => break first,
            Err(found) => old = Head(found),
        }
    };
    let count = batch_blocks(class);
    for (place, block) in out.iter_mut().zip(&BATCHES.get(id).blocks[..count]) {
        // Relaxed: ordered by the Acquire above.
        *place = block.load(Ordering::Relaxed) as usize;
    }
    list::push_chain(&Pool, &EMPTY, id, id);
    Some(count)
}
