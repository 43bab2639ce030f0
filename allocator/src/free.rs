//! free, Figure 2: one compare-and-swap on the anchor.

use core::sync::atomic::Ordering;

use crate::Core;
use crate::anchor::{Anchor, Freed, State};
use crate::descriptor::{Descriptor, Hand};
use crate::platform::{Cause, Class, Counter, Mutant, Platform, SuperblockId, Word, point};

/// How often a list is read that changes meanwhile.
const LOOKS: u32 = 4;

impl<P: Platform> Core<P> {
    /// free of a regular block, Figure 2, \[0046\] lines 6–25. The caller owns block `index` and gives it up.
    #[inline]
    pub fn free(&self, superblock: SuperblockId, class: Class, index: u32) {
        self.check(superblock, class, &[index]);
        self.free_chain(superblock, class, (index, index), index, 1, Cause::Free);
    }

    /// Frees several blocks of one superblock with one compare-and-swap on its anchor. The caller owns all of them;
    /// none may be named twice.
    pub fn free_batch(&self, superblock: SuperblockId, class: Class, indices: &[u32]) {
        let (Some(&first), Some(&last)) = (indices.first(), indices.last()) else {
            return;
        };
        // Before the first link is written: the words are as their owners left them.
        self.check(superblock, class, indices);
        let descriptor = self.platform.descriptor(superblock);
        let mut highest = first;
        for (&index, &next) in indices.iter().zip(indices.iter().skip(1)) {
            self.platform.set_link(superblock, descriptor, class, index, next);
            highest = highest.max(next);
        }
        let blocks = indices.len() as u32;
        self.free_chain(superblock, class, (first, last), highest, blocks, Cause::FreeBatch);
    }

    /// Puts a chain of owned blocks, linked from the first to the last, back on the list.
    #[inline]
    fn free_chain(
        &self,
        superblock: SuperblockId,
        class: Class,
        (first, last): (u32, u32),
        highest: u32,
        blocks: u32,
        cause: Cause,
    ) {
        let descriptor = self.platform.descriptor(superblock);
        let anchor = &descriptor.anchor;
        let maxcount = self.platform.shape(class).blocks;
        // Everything this thread may still want to know of the superblock is read by now: after a compare-and-swap
        // to EMPTY by a thread that does not hold it, it may belong to somebody else.
        let heap = self.platform.current_heap();
        if P::MUTANT != Mutant::MarkAfterFree {
            Self::raise_written(descriptor, highest);
        }
        let mut hand = None;
        // Relaxed: only the value is used. The link that is written below is relative to nothing but it.
        let mut old = Anchor::from_word(anchor.load(Ordering::Relaxed));
        let (new, what) = loop {
            // The last link leads to what was first ([0046] line 8). `avail` of a superblock without free blocks is
            // arbitrary but in bounds.
            self.platform.set_link(superblock, descriptor, class, last, old.avail().min(maxcount));
            point!(self, "free.linked");
            if old.state() == State::Full && hand.is_none() {
                hand = Some(Hand::take(self));
                if P::MUTANT == Mutant::PushBeforePartial && blocks < maxcount {
                    self.partial_push(class, superblock, Hand::take(self));
                }
            }
            if old.state() != State::Full
                && (old.count() + blocks > maxcount || old.avail() == first)
            {
                // More free blocks than there are, or the first of them again: it is free in any state but FULL, and this thread
                // cannot see an anchor of before it was popped.
                self.platform.freed_twice(superblock, class, first);
            }
            let (new, what) = Self::freed(old, first, blocks, maxcount);
            let order = if P::MUTANT == Mutant::LinkRelaxed {
                Ordering::Relaxed
            } else {
                // Release: the links, and what the owner did to the blocks, come before ([0046] line 19, "fence");
                // pairs with the Acquire of the pops.
                Ordering::Release
            };
            // Failure: another free or a pop succeeded.
            match anchor.compare_exchange(old.word(), new.word(), order, Ordering::Relaxed) {
                Ok(_) => break (new, what),
                Err(found) => {
                    old = Anchor::from_word(found);
                    self.retry(heap, class);
                }
            }
        };
        point!(self, "free.done");
        self.platform.count(heap, class, Counter::Frees, blocks);
        if P::MUTANT == Mutant::MarkAfterFree {
            Self::raise_written(descriptor, highest);
        }
        if what != Freed::Counted {
            self.after_free(class, superblock, (old, new), what, cause, hand);
        }
    }

    /// Ends the program if one of the blocks, which the caller owns, is free already, as far as that can be seen.
    #[inline]
    fn check(&self, superblock: SuperblockId, class: Class, indices: &[u32]) {
        let descriptor = self.platform.descriptor(superblock);
        if let Some(index) = self.platform.gives(superblock, descriptor, class, indices) {
            self.look_for(superblock, class, index);
        }
    }

    /// Ends the program if block `index` is on its superblock's list. A program that happens to have written there what a link would
    /// be must not be ended, so the list itself is asked.
    #[cold]
    #[inline(never)]
    fn look_for(&self, superblock: SuperblockId, class: Class, index: u32) {
        let descriptor = self.platform.descriptor(superblock);
        let maxcount = self.platform.shape(class).blocks;
        // It may change while it is read, by others' frees and pops; then nothing is known, and a few more tries are enough.
        for _ in 0..LOOKS {
            // Acquire: as in `pop_reserved`.
            let anchor = Anchor::from_word(descriptor.anchor.load(Ordering::Acquire));
            if anchor.state() == State::Full {
                return;
            }
            let written = descriptor.written.load(Ordering::Relaxed) as u32;
            let (mut next, mut steps) = (anchor.avail(), 0);
            while next != index && next < maxcount && steps < maxcount {
                next = if next < written {
                    self.platform.link(superblock, descriptor, class, next)
                } else {
                    next + 1
                };
                steps += 1;
            }
            // A compare-and-swap that changes nothing: unlike a load it cannot return an old value.
            let is_same = descriptor
                .anchor
                .compare_exchange(anchor.word(), anchor.word(), Ordering::AcqRel, Ordering::Relaxed)
                .is_ok();
            if is_same && next == index {
                self.platform.freed_twice(superblock, class, index);
            }
            if is_same {
                return;
            }
        }
    }

    /// What the free that changed the state still has to do (\[0046\] lines 21–25, corrected: see
    /// [`crate::superblock`]).
    #[cold]
    fn after_free(
        &self,
        class: Class,
        superblock: SuperblockId,
        (old, new): (Anchor, Anchor),
        what: Freed,
        cause: Cause,
        hand: Option<Hand<'_, P>>,
    ) {
        self.moved(class, superblock, old, new, cause);
        let geometry = self.platform.shape(class).geometry;
        match (what, hand) {
            (Freed::LeftFull, Some(hand)) if P::MUTANT != Mutant::PushBeforePartial => {
                // It was in no container, so nobody else holds it.
                self.partial_push(class, superblock, hand);
            }
            (Freed::EmptiedFromFull, Some(hand)) if P::MUTANT != Mutant::StrandCompleted => {
                self.desc_retire(geometry, superblock, hand);
            }
            (Freed::Emptied, _) => {
                // Whoever takes it out of its list retires it; this thread must not touch it again.
                match P::MUTANT {
                    Mutant::RetireUnheld | Mutant::PrintedRetireAndRead => {
                        self.desc_retire(geometry, superblock, Hand::take(self));
                    }
                    Mutant::TouchAfterEmpty => {
                        point!(self, "free.touching");
                        let anchor = &self.platform.descriptor(superblock).anchor;
                        anchor.store(new.word(), Ordering::Relaxed);
                    }
                    _ => {}
                }
                self.sweep(class);
            }
            // A hand is taken whenever the old state was FULL.
            _ => {}
        }
    }

    /// Raises the mark of written links above `index`, before the compare-and-swap that puts the block on the list.
    #[inline]
    fn raise_written(descriptor: &Descriptor<P::Word>, index: u32) {
        let written = &descriptor.written;
        // Relaxed, both: published by the Release of the free. Nobody resets the mark while this thread owns a
        // block; it only rises, so that a value seen too low costs one addition.
        if written.load(Ordering::Relaxed) <= u64::from(index) {
            written.fetch_max(u64::from(index) + 1, Ordering::Relaxed);
        }
    }

    /// [`Anchor::freed`], with the faults that models seed.
    #[inline]
    fn freed(old: Anchor, first: u32, blocks: u32, maxcount: u32) -> (Anchor, Freed) {
        let (new, what) = old.freed(first, blocks, maxcount, P::ANCHOR_TAG_BITS);
        match P::MUTANT {
            Mutant::CountOffByOne if what == Freed::LeftFull => {
                (Anchor::new(first, blocks + 1, State::Partial, new.tag()), what)
            }
            Mutant::EmptyWhileReserved if what == Freed::Counted && new.count() + 1 == maxcount => {
                (Anchor::new(first, maxcount, State::Empty, new.tag()), Freed::EmptiedFromFull)
            }
            _ => (new, what),
        }
    }
}
