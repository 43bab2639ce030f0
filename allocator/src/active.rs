//! The active word of a heap header (\[0029\], \[0032\]).
//!
//! ```text
//!  63        48 47                              16 15            0
//! ┌────────────┬──────────────────────────────────┬───────────────┐
//! │ 0          │ superblock id + 1 : 32 (0: null) │ credits : 16  │
//! └────────────┴──────────────────────────────────┴───────────────┘
//! ```
//!
//! `credits` in the word is one less than the blocks reserved (\[0032\]); everything outside this file speaks of
//! *blocks reserved*, at least 1. The word needs no tag: it says all there is to know of the reservation, so a
//! compare-and-swap that finds it unchanged reserves what is really there, whoever put it there.

use core::sync::atomic::Ordering;

use crate::Core;
use crate::anchor::{Anchor, State};
use crate::descriptor::Hand;
use crate::platform::{
    Cause, Class, Counter, Heap, Mutant, Platform, Request, SuperblockId, Transition, Word, point,
};

/// A value of the active word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Active(u64);

const CREDITS_BITS: u32 = 16;

impl Active {
    /// No superblock is active.
    pub const NULL: Self = Self(0);

    /// `superblock` with `blocks` reserved, 1 to 65,536.
    #[inline]
    #[must_use]
    pub const fn new(superblock: SuperblockId, blocks: u32) -> Self {
        debug_assert!(blocks >= 1 && blocks <= 1 << CREDITS_BITS);
        Self((superblock.0 as u64 + 1) << CREDITS_BITS | (blocks as u64 - 1))
    }

    /// The value of a loaded word.
    #[inline]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// The word to store.
    #[inline]
    #[must_use]
    pub const fn word(self) -> u64 {
        self.0
    }

    /// The active superblock, if there is one.
    #[inline]
    #[must_use]
    pub const fn superblock(self) -> Option<SuperblockId> {
        match (self.0 >> CREDITS_BITS) as u32 {
            0 => None,
            id => Some(SuperblockId(id - 1)),
        }
    }

    /// Blocks reserved in it, at least 1; meaningless if there is none.
    #[inline]
    #[must_use]
    pub const fn blocks(self) -> u32 {
        (self.0 & ((1 << CREDITS_BITS) - 1)) as u32 + 1
    }

    /// The same after taking `blocks` of the reserved ones, at most all; null if none is left.
    #[inline]
    #[must_use]
    pub const fn minus(self, blocks: u32) -> Self {
        if blocks == self.blocks() { Self::NULL } else { Self(self.0 - blocks as u64) }
    }
}

/// Blocks that this thread has reserved and may pop.
#[must_use]
pub(crate) struct Reservation<'c, P: Platform> {
    pub(crate) superblock: SuperblockId,
    /// How many, at least 1.
    pub(crate) blocks: u32,
    /// Given if these were the heap's last: then the superblock is in this thread's hands.
    pub(crate) last: Option<Hand<'c, P>>,
}

impl<P: Platform> Core<P> {
    /// Reserves up to `want` blocks in the heap's active superblock (\[0059\] lines 1–6); `None` if it has none.
    #[inline]
    pub(crate) fn reserve(
        &self,
        heap: Heap,
        class: Class,
        want: u32,
    ) -> Option<Reservation<'_, P>> {
        let word = self.platform.active(heap, class);
        // Acquire: pairs with the Release that installed the superblock (update_active, malloc_from_new_sb), so
        // that its descriptor is seen initialised.
        let mut old = Active::from_word(word.load(Ordering::Acquire));
        loop {
            let superblock = old.superblock()?;
            let blocks = want.min(old.blocks());
            let new = old.minus(blocks);
            let last = (new == Active::NULL).then(|| Hand::take(self));
            point!(self, "active.read");
            // Success Acquire: as above, for a word installed since. Nothing is published: a decrement leaves the
            // release sequence of the install intact. Failure: another thread reserved here.
            match word.compare_exchange(
                old.word(),
                new.word(),
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    point!(self, "active.reserved");
                    return Some(Reservation { superblock, blocks, last });
                }
                Err(found) => {
                    old = Active::from_word(found);
                    self.retry(heap, class);
                }
            }
        }
    }

    /// UpdateActive, Figure 5, \[0060\]–\[0063\]: makes `superblock` the heap's active one with `blocks` reserved, or,
    /// if another thread was faster, returns them and puts the superblock on a partial list.
    ///
    /// The caller has taken the superblock's last credit or has taken it off a list: nobody else acts on its
    /// container, and it owns a block, so the superblock cannot be EMPTY.
    ///
    /// The parts of the request stand apart: as one value the compiler packs them into a register on the fast path.
    pub(crate) fn update_active(
        &self,
        heap: Heap,
        class: Class,
        bytes: u32,
        superblock: SuperblockId,
        blocks: u32,
        hand: Hand<'_, P>,
    ) {
        point!(self, "update_active.before_install");
        let installed = self.platform.active(heap, class).compare_exchange(
            Active::NULL.word(),
            Active::new(superblock, blocks).word(),
            // Release: pairs with the Acquire of `reserve`; descriptor and anchor are ready. Failure publishes
            // nothing and reads nothing that is used.
            Ordering::Release,
            Ordering::Relaxed,
        );
        if installed.is_ok() {
            point!(self, "update_active.installed");
            hand.put();
            self.platform.refilled(Request { heap, class, bytes });
            return;
        }
        point!(self, "update_active.lost");
        let blocks = if P::MUTANT == Mutant::CreditsLost { 0 } else { blocks };
        self.return_blocks(heap, class, superblock, blocks, Cause::UpdateActive);
        self.partial_push(class, superblock, hand);
    }

    /// Gives reserved blocks back to `count` and moves the superblock, which no heap points to any more, to PARTIAL
    /// or EMPTY; returns which (\[0063\] lines 4–7).
    fn return_blocks(
        &self,
        heap: Heap,
        class: Class,
        superblock: SuperblockId,
        blocks: u32,
        cause: Cause,
    ) -> State {
        let anchor = &self.platform.descriptor(superblock).anchor;
        let maxcount = self.platform.shape(class).blocks;
        // Relaxed: only the value is used; the compare-and-swap confirms it.
        let mut old = Anchor::from_word(anchor.load(Ordering::Relaxed));
        loop {
            let new = old.returned(blocks, maxcount, P::ANCHOR_TAG_BITS);
            point!(self, "return_blocks.read");
            // AcqRel: continues the release sequence of the frees before; if this completes the superblock, the
            // Acquire half makes their writes happen before its reuse. Failure: a free or a pop succeeded.
            match anchor.compare_exchange(
                old.word(),
                new.word(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    point!(self, "return_blocks.done");
                    self.platform.record(Transition {
                        superblock,
                        class,
                        from: old.state(),
                        to: new.state(),
                        cause,
                        tag: new.tag(),
                    });
                    return new.state();
                }
                Err(found) => {
                    old = Anchor::from_word(found);
                    self.retry(heap, class);
                }
            }
        }
    }

    /// Takes the active superblock out of a heap: its reserved blocks return to it, and it goes to a partial list
    /// or, if it is complete, to the retired ones. Whether there was one.
    ///
    /// Ours: an idle ACTIVE superblock, all of whose blocks may be free, is otherwise out of every reach.
    pub fn purge_heap(&self, heap: Heap, class: Class) -> bool {
        let hand = Hand::take(self);
        let word = self.platform.active(heap, class);
        let mut old = Active::from_word(word.load(Ordering::Acquire));
        let superblock = loop {
            let Some(superblock) = old.superblock() else {
                hand.put();
                return false;
            };
            point!(self, "purge.read");
            // Acquire and failure as in `reserve`.
            match word.compare_exchange(
                old.word(),
                Active::NULL.word(),
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                Ok(_) => break superblock,
                Err(found) => {
                    old = Active::from_word(found);
                    self.retry(heap, class);
                }
            }
        };
        point!(self, "purge.taken");
        let lost = u32::from(P::MUTANT == Mutant::PurgeLosesOne);
        match self.return_blocks(heap, class, superblock, old.blocks() - lost, Cause::Purge) {
            // This thread removed it from its container, so it is the one to retire it.
            State::Empty => self.desc_retire(self.platform.shape(class).geometry, superblock, hand),
            _ => self.partial_push(class, superblock, hand),
        }
        true
    }

    /// Accounts for a failed compare-and-swap.
    #[inline]
    pub(crate) fn retry(&self, heap: Heap, class: Class) {
        self.platform.count(heap, class, Counter::Retries, 1);
        self.platform.pause();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Aim: the word holds what it was given, and taking blocks counts right. Method: extremes and a small
    /// exhaustive walk.
    #[test]
    fn packs_and_counts() {
        assert_eq!(Active::NULL.superblock(), None);
        for id in [0, 1, 77, u32::MAX - 1] {
            for blocks in [1, 2, 64, 65_536] {
                let active = Active::new(SuperblockId(id), blocks);
                assert_eq!(active.superblock(), Some(SuperblockId(id)));
                assert_eq!(active.blocks(), blocks);
                assert_eq!(active.minus(blocks), Active::NULL);
                if blocks > 1 {
                    assert_eq!(active.minus(1), Active::new(SuperblockId(id), blocks - 1));
                }
            }
        }
    }
}
