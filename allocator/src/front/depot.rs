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
//! has to be touched when it moves. Batches are type-stable; empty ones wait in a stack beside it.
//!
//! The procedures are generic over what they work on, as the core is, and for the same reason: models.

use core::sync::atomic::Ordering;

use crate::list::{self, Links};
use crate::platform::Word;

/// Blocks of the largest batch: with its link it fills sixteen cache lines.
pub const MAX_BATCH: usize = 127;

const INDEX_BITS: u32 = 20;
const COUNT_BITS: u32 = 12;
/// Batches that one stack may hold at most.
pub const MAX_BATCHES: u32 = (1 << COUNT_BITS) - 1;

/// Faults that models seed on purpose, to show that they would see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The code as it ships.
    None,
    /// The heads do not count their changes.
    TagKept,
    /// A batch is put with a relaxed compare-and-swap.
    PutRelaxed,
    /// A batch is taken with a relaxed compare-and-swap.
    TakeRelaxed,
    /// A batch is free to be filled before its blocks were read.
    FreedBeforeRead,
    /// The bound is looked at before, and not within, the compare-and-swap.
    BoundBefore,
}

/// What a depot of one class is made of.
pub trait Shelf {
    /// The atomic word.
    type Word: Word;
    /// The fault to seed; a constant, so that it costs nothing.
    const FAULT: Fault = Fault::None;
    /// Bits of the tags that are used; models shrink it.
    const TAG_BITS: u32 = 32;

    /// The head of the stack of full batches.
    fn full(&self) -> &Self::Word;
    /// The head of the stack of empty ones.
    fn empty(&self) -> &Self::Word;
    /// The link of a batch.
    fn link(&self, batch: u32) -> &Self::Word;
    /// A place of a batch.
    fn place(&self, batch: u32, place: usize) -> &Self::Word;
    /// Stores blocks in the places of a batch.
    fn store(&self, batch: u32, blocks: &[usize]) {
        for (place, block) in blocks.iter().enumerate() {
            // Relaxed: published by the Release in `finish_put`.
            self.place(batch, place).store(*block as u64, Ordering::Relaxed);
        }
    }
    /// Loads blocks from the places of a batch.
    fn load(&self, batch: u32, out: &mut [usize]) {
        for (place, block) in out.iter_mut().enumerate() {
            // Relaxed: ordered by the Acquire in `begin_take`.
            *block = self.place(batch, place).load(Ordering::Relaxed) as usize;
        }
    }
    /// Makes another batch. `None`: no memory.
    fn extend(&self) -> Option<u32>;
    /// Batches kept at most, up to [`MAX_BATCHES`].
    fn most(&self) -> u32;
    /// Called when a compare-and-swap failed, before the next try.
    fn pause(&self) {}
}

struct Empties<'s, S>(&'s S);

impl<S: Shelf> Links for Empties<'_, S> {
    type Word = S::Word;
    const TAG_BITS: u32 = S::TAG_BITS;
    fn link_of(&self, id: u32) -> &S::Word {
        self.0.link(id)
    }
    fn pause(&self) {
        self.0.pause();
    }
}

#[derive(Clone, Copy)]
struct Head(u64);

impl Head {
    const fn first(self) -> Option<u32> {
        ((self.0 & ((1 << INDEX_BITS) - 1)) as u32).checked_sub(1)
    }

    const fn count(self) -> u32 {
        (self.0 >> INDEX_BITS) as u32 & MAX_BATCHES
    }

    /// The next head, with that link (number + 1, or 0) and that many batches.
    fn changed_to<S: Shelf>(self, link: u64, count: u32) -> Self {
        let step = u64::from(S::FAULT != Fault::TagKept);
        let tag = ((self.0 >> 32) + step) & ((1 << S::TAG_BITS) - 1);
        Self(tag << 32 | u64::from(count) << INDEX_BITS | link)
    }
}

/// Full batches now.
pub fn batches<S: Shelf>(shelf: &S) -> u32 {
    // Relaxed: a figure.
    Head(shelf.full().load(Ordering::Relaxed)).count()
}

/// The head as it is, which every put and every take changes.
pub fn head<S: Shelf>(shelf: &S) -> u64 {
    // Acquire: whatever is read after it is read later than it was so.
    shelf.full().load(Ordering::Acquire)
}

/// Shows the blocks of the full batches, each of `length` blocks, as they lie there: nothing is taken. Optimistic: they are
/// those of one instant if [`head`] is the same before and after, and may be any block that ever was in a batch if not.
pub fn each_block<S: Shelf>(shelf: &S, length: usize, mut see: impl FnMut(usize)) {
    // Acquire: pairs with the Release in `put`, of this batch and of those below it.
    let head = Head(shelf.full().load(Ordering::Acquire));
    let mut next = head.first();
    // No more than there were: links of batches that have left may lead round in a circle.
    for _ in 0..head.count() {
        let Some(batch) = next else { return };
        for place in 0..length.min(MAX_BATCH) {
            // Relaxed and optimistic, as the link.
            see(shelf.place(batch, place).load(Ordering::Relaxed) as usize);
        }
        // Whatever it is by now: batches are type-stable, and it leads to one or to none.
        next = Head(shelf.link(batch).load(Ordering::Relaxed)).first();
    }
}

/// Keeps a batch of blocks that this thread owns; whether there was room, and memory. All batches of a shelf are of one
/// length, at most [`MAX_BATCH`].
pub fn put<S: Shelf>(shelf: &S, blocks: &[usize]) -> bool {
    let Some(id) = begin_put(shelf) else { return false };
    shelf.store(id, blocks);
    let is_kept = finish_put(shelf, id, 0);
    if !is_kept {
        recycle(shelf, id);
    }
    is_kept
}

/// An empty batch, which this thread fills; `None` if the shelf is full, or there is no memory.
pub fn begin_put<S: Shelf>(shelf: &S) -> Option<u32> {
    if batches(shelf) >= shelf.most() {
        return None;
    }
    // Numbers that do not fit into a head are never used, and a million others are.
    list::pop(&Empties(shelf), shelf.empty())
        .or_else(|| shelf.extend())
        .filter(|id| id + 1 < 1 << INDEX_BITS)
}

/// Keeps a batch that was filled; whether there was room. If not, it is still this thread's. Whoever takes it learns the
/// `origin`.
pub fn finish_put<S: Shelf>(shelf: &S, id: u32, origin: u32) -> bool {
    let head = shelf.full();
    // Relaxed: only the value is used.
    let mut old = Head(head.load(Ordering::Relaxed));
    let order = if S::FAULT == Fault::PutRelaxed { Ordering::Relaxed } else { Ordering::Release };
    while old.count() < shelf.most() || S::FAULT == Fault::BoundBefore {
        // Relaxed: as above.
        let link = old.first().map_or(0, |first| u64::from(first) + 1);
        shelf.link(id).store(u64::from(origin) << 32 | link, Ordering::Relaxed);
        let new = old.changed_to::<S>(u64::from(id) + 1, old.count() + 1);
        // Release: pairs with the Acquire in `begin_take`: the batch's blocks and link, and what their former owners did
        // to them. Failure: another put or take succeeded.
        match head.compare_exchange(old.0, new.0, order, Ordering::Relaxed) {
            Ok(_) => return true,
            Err(found) => old = Head(found),
        }
        shelf.pause();
    }
    false
}

/// Takes the batch that was put last; whether there was one. This thread owns its blocks, as many as `out` is long, from
/// then on.
pub fn take<S: Shelf>(shelf: &S, out: &mut [usize]) -> bool {
    let Some((id, _)) = begin_take(shelf) else { return false };
    if S::FAULT == Fault::FreedBeforeRead {
        recycle(shelf, id);
    }
    shelf.load(id, out);
    if S::FAULT != Fault::FreedBeforeRead {
        recycle(shelf, id);
    }
    true
}

/// The batch that was put last, and its origin: it and its blocks are this thread's.
pub fn begin_take<S: Shelf>(shelf: &S) -> Option<(u32, u32)> {
    let head = shelf.full();
    let order = if S::FAULT == Fault::TakeRelaxed { Ordering::Relaxed } else { Ordering::Acquire };
    // Acquire: pairs with the Release in `finish_put`: the link read below was written before.
    let mut old = Head(head.load(order));
    loop {
        let first = old.first()?;
        // Relaxed and optimistic: if the batch has left meanwhile the tag makes the compare-and-swap fail.
        let link = shelf.link(first).load(Ordering::Relaxed);
        let below = link & ((1 << INDEX_BITS) - 1);
        let new = old.changed_to::<S>(below, old.count().wrapping_sub(1) & MAX_BATCHES);
        // Acquire as above, for the batch taken. Failure: another put or take succeeded.
        match head.compare_exchange(old.0, new.0, order, order) {
            Ok(_) => return Some((first, (link >> 32) as u32)),
            Err(found) => old = Head(found),
        }
        shelf.pause();
    }
}

/// A batch of this thread's is empty.
pub fn recycle<S: Shelf>(shelf: &S, id: u32) {
    list::push_chain(&Empties(shelf), shelf.empty(), id, id);
}
