//! New and EMPTY superblocks (\[0044\], \[0070\]): DescAlloc and DescRetire.
//!
//! A descriptor and its superblock stay together, so retiring the one keeps the other (until [`Core::release_retired`]
//! gives the superblock back to the system): each
//! geometry has a *warm* list of superblocks kept mapped, bounded by the platform's reserve, and a *cold* one of
//! those given back to the system or never used. Any class of the geometry takes from them.
//!
//! Only the thread that took a descriptor out of its container, or that moved it out of FULL (where it is in
//! none), may retire it. The printed \[0046\] lines 21–25 let a thread retire a descriptor that another one is about
//! to push, or that is still in a list.

use core::sync::atomic::Ordering;

use crate::Core;
use crate::descriptor::{Backing, Hand, Meta};
use crate::list::push_chain;
use crate::platform::{Geometry, Platform, SuperblockId, Word, point};

/// The retired superblocks of one geometry.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct RetiredLists<W> {
    /// Head of the stack of those kept mapped.
    pub warm: W,
    /// About how many are kept mapped: counted before a push, and after a pop.
    pub warm_count: W,
    /// Head of the stack of those without memory.
    pub cold: W,
}

impl<P: Platform> Core<P> {
    /// DescAlloc: a superblock for this thread to initialise, warm before cold before new. `None`: no memory.
    pub(crate) fn desc_alloc(&self, geometry: Geometry) -> Option<SuperblockId> {
        let retired = self.platform.retired(geometry);
        self.platform.superblock_event(geometry, true);
        if let Some(id) = self.pop_warm(geometry) {
            return Some(id);
        }
        if let Some(id) = self.pop(&retired.cold) {
            return Some(id);
        }
        let run = self.platform.map(geometry)?;
        point!(self, "desc_alloc.mapped");
        if let Some((first, last)) = run.rest {
            push_chain(self, &retired.cold, first.0, last.0);
        }
        Some(run.first)
    }

    /// DescRetire: keeps an EMPTY superblock, which this thread alone holds, for any class of its geometry.
    pub(crate) fn desc_retire(&self, geometry: Geometry, id: SuperblockId, hand: Hand<'_, P>) {
        self.retire(geometry, id, hand);
        self.platform.superblock_event(geometry, false);
    }

    fn retire(&self, geometry: Geometry, id: SuperblockId, hand: Hand<'_, P>) {
        let retired = self.platform.retired(geometry);
        let reserve = self.platform.reserve(geometry);
        point!(self, "desc_retire.begin");
        // Relaxed: an estimate that bounds the reserve; it publishes nothing.
        let warm = retired.warm_count.fetch_add(1, Ordering::Relaxed);
        if warm < u64::from(reserve.high) {
            self.push(&retired.warm, id);
            hand.put();
            return;
        }
        retired.warm_count.fetch_sub(1, Ordering::Relaxed);
        self.cool(geometry, id);
        hand.put();
        // Make room, so that the next retirements cost no system call. One at a time: a thread that dies here
        // strands one superblock.
        for _ in reserve.low..reserve.high {
            let hand = Hand::take(self);
            let Some(id) = self.pop_warm(geometry) else {
                break;
            };
            self.cool(geometry, id);
            hand.put();
        }
    }

    /// Takes a superblock that is kept mapped.
    fn pop_warm(&self, geometry: Geometry) -> Option<SuperblockId> {
        let retired = self.platform.retired(geometry);
        let id = self.pop(&retired.warm)?;
        // Relaxed: as in `desc_retire`.
        retired.warm_count.fetch_sub(1, Ordering::Relaxed);
        Some(id)
    }

    /// Decommits a superblock that this thread holds, and puts it on the cold list.
    fn cool(&self, geometry: Geometry, id: SuperblockId) {
        // A decommit can fail (locked memory). Then the superblock stays mapped and says so: it is counted as EMPTY
        // and kept, and its next owner does not take it for zeroed.
        let descriptor = self.platform.descriptor(id);
        // Relaxed, both: only the holder writes `meta`; views check it twice, allocations see it by the push.
        let meta = Meta::from_word(descriptor.meta.load(Ordering::Relaxed));
        if meta.backing() == Backing::Mapped && self.platform.decommit(id, geometry) {
            descriptor.meta.store(meta.decommitted().word(), Ordering::Relaxed);
        }
        self.push(&self.platform.retired(geometry).cold, id);
    }

    /// Gives every retired superblock of `geometry` back to the system, addresses included.
    ///
    /// An unmapped range is as safe as a decommitted one: the models poison both, and nobody ever reads a link there.
    pub fn release_retired(&self, geometry: Geometry) {
        let retired = self.platform.retired(geometry);
        loop {
            let hand = Hand::take(self);
            let Some(id) = self.pop_warm(geometry).or_else(|| self.pop(&retired.cold)) else {
                hand.put();
                return;
            };
            point!(self, "release.taken");
            if !self.platform.release(id, geometry) {
                // At the limit of mappings: at least the memory of the others can be given back.
                self.cool(geometry, id);
                hand.put();
                self.cool_warm(geometry, 0, u32::MAX);
                return;
            }
            // Its descriptor is the platform's until the next `map`.
            hand.put();
        }
    }

    /// Decommits superblocks that are kept mapped as long as there are more than `keep`, but at most `most`; whether there
    /// may be more.
    pub fn cool_warm(&self, geometry: Geometry, keep: u32, most: u32) -> bool {
        for _ in 0..most {
            // Relaxed: an estimate; others may retire meanwhile.
            if self.platform.retired(geometry).warm_count.load(Ordering::Relaxed) <= u64::from(keep)
            {
                return false;
            }
            let hand = Hand::take(self);
            let Some(id) = self.pop_warm(geometry) else {
                hand.put();
                return false;
            };
            self.cool(geometry, id);
            hand.put();
        }
        true
    }

    /// What stands behind a superblock that this thread has just taken; accounts for memory that comes back.
    pub(crate) fn backing_taken(&self, geometry: Geometry, id: SuperblockId) -> Meta {
        // Relaxed: this thread holds the descriptor; the pop's Acquire saw the last holder's store.
        let meta = Meta::from_word(self.platform.descriptor(id).meta.load(Ordering::Relaxed));
        if meta.backing() == Backing::Decommitted {
            self.platform.recommit(id, geometry);
        }
        meta
    }
}
