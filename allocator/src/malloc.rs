//! malloc, Figures 3, 4, 6 and 7: the active superblock, then a partial one, then a new one.
//!
//! Every procedure fills a slice: one block is a slice of one, and a batch differs from it only in that it reserves
//! and pops several blocks of one superblock with the same two compare-and-swaps.

use core::sync::atomic::Ordering;

use crate::Core;
use crate::active::{Active, Reservation};
use crate::anchor::{Anchor, State};
use crate::descriptor::{Block, Hand, Meta};
use crate::platform::{
    Cause, Class, Counter, Geometry, Heap, Mutant, Platform, Request, SuperblockId, Transition,
    Word, point,
};

/// Most blocks that one batch takes.
pub const MAX_BATCH: usize = 128;

/// Links that are fetched ahead of the one that is read.
const AHEAD: u32 = 8;

/// The ordering that publishes a superblock: Release, but for a mutant.
const fn publishing<P: Platform>() -> Ordering {
    if matches!(P::MUTANT, Mutant::PublishRelaxed) { Ordering::Relaxed } else { Ordering::Release }
}

/// Outcome of MallocFromNewSB.
enum New {
    /// This many blocks.
    Blocks(usize),
    /// Another thread installed an active superblock meanwhile: there are blocks to be had there.
    Lost,
    /// The system gives no memory.
    NoMemory,
}

impl<P: Platform> Core<P> {
    /// malloc of a regular block, Figure 3, \[0049\] lines 4–9: a block of the class asked for that nobody else holds.
    /// `None` when the system gives no memory and none of a bounded number of rounds found a block in any heap or list.
    #[inline]
    pub fn malloc(&self, request: Request) -> Option<Block> {
        let mut out = [Block::NOTHING];
        match self.malloc_from_active(request, &mut out) {
            0 => {
                let Request { heap, class, bytes } = request;
                (self.malloc_slow(heap, class, bytes, &mut out) == 1).then_some(out[0])
            }
            _ => Some(out[0]),
        }
    }

    /// Fills the front of `out` with at least one and at most [`MAX_BATCH`] blocks of one superblock and returns how
    /// many; 0 when the system gives no memory and no heap has a block left, or if `out` is empty.
    pub fn malloc_batch(&self, request: Request, out: &mut [Block]) -> usize {
        let most = out.len().min(MAX_BATCH);
        let out = &mut out[..most];
        if out.is_empty() {
            return 0;
        }
        match self.malloc_from_active(request, out) {
            0 => {
                let Request { heap, class, bytes } = request;
                self.malloc_slow(heap, class, bytes, out)
            }
            blocks => blocks,
        }
    }

    /// The loop of Figure 3 after the first try of the active superblock.
    ///
    /// Each round that yields nothing was lost to a thread that installed an active superblock \[0048\]. The parts of the
    /// request stand apart as in `update_active`.
    #[cold]
    fn malloc_slow(&self, heap: Heap, class: Class, bytes: u32, out: &mut [Block]) -> usize {
        let request = Request { heap, class, bytes };
        self.platform.count(heap, class, Counter::RanDry, 1);
        let mut rounds = 0;
        loop {
            match self.malloc_from_partial(request, out) {
                0 => {}
                blocks => return blocks,
            }
            match self.malloc_from_new_sb(request, out) {
                New::Blocks(blocks) => return blocks,
                New::Lost => {}
                New::NoMemory => {
                    let stolen = self.malloc_from_other_heaps(request, out);
                    if stolen > 0 || rounds == P::LAST_ROUNDS {
                        return stolen;
                    }
                    if rounds == 0 {
                        // Once: EMPTY superblocks still hidden in lists, and whatever else can be given back.
                        self.relieve(Some(self.platform.shape(request.class).geometry));
                    } else {
                        // The one superblock with a block left may be in another thread's hands at this moment.
                        point!(self, "malloc.gives_way");
                        self.platform.give_way();
                    }
                    rounds += 1;
                }
            }
            match self.malloc_from_active(request, out) {
                0 => {}
                blocks => return blocks,
            }
            self.platform.pause();
        }
    }

    /// MallocFromActive, Figure 4, \[0059\]: reserves, then pops.
    #[inline]
    fn malloc_from_active(&self, request: Request, out: &mut [Block]) -> usize {
        match self.reserve(request.heap, request.class, out.len() as u32) {
            None => 0,
            Some(reservation) => self.pop_reserved(request, reservation, out),
        }
    }

    /// The second stage of MallocFromActive (\[0059\] lines 7–20): pops the blocks that the credits stand for.
    ///
    /// The reservation keeps the superblock from becoming EMPTY, so its memory and class stay as they are.
    #[inline]
    fn pop_reserved(
        &self,
        request: Request,
        reservation: Reservation<'_, P>,
        out: &mut [Block],
    ) -> usize {
        let Request { heap, class, .. } = request;
        let Reservation { superblock, blocks, last } = reservation;
        // As many were reserved as there is room for at most.
        let out = out.get_mut(..blocks as usize).unwrap_or_default();
        let anchor = &self.platform.descriptor(superblock).anchor;
        // Acquire: pairs with the Release of the frees that put the blocks on the list: their links are seen.
        let mut old = Anchor::from_word(anchor.load(Ordering::Acquire));
        loop {
            point!(self, "active.anchor_read");
            let found = match self.walk(superblock, class, old, out) {
                Err(changed) => changed,
                Ok(next) => {
                    let (mut new, more) = if last.is_some() {
                        old.popped_last(next, P::MAX_CREDITS, P::ANCHOR_TAG_BITS)
                    } else {
                        (old.popped(next, P::ANCHOR_TAG_BITS), 0)
                    };
                    if P::MUTANT == Mutant::TagKept
                        || P::MUTANT == Mutant::BatchTagKept && out.len() > 1
                    {
                        new = new.with_tag(old.tag());
                    }
                    point!(self, "active.link_read");
                    // AcqRel: continues the frees' release sequence, and what the former owners did to these blocks
                    // comes before what the new one does. Failure: a free or a pop succeeded.
                    match anchor.compare_exchange(
                        old.word(),
                        new.word(),
                        Ordering::AcqRel,
                        Ordering::Acquire,
                    ) {
                        Ok(_) => {
                            self.platform.took(class, out);
                            point!(self, "active.popped");
                            self.after_pop(request, superblock, (old, new), more, last);
                            break;
                        }
                        Err(word) => Anchor::from_word(word),
                    }
                }
            };
            old = found;
            self.retry(heap, class);
        }
        self.platform.count(heap, class, Counter::Allocations, blocks);
        out.len()
    }

    /// What the thread that took the last credit still has to do (\[0059\] lines 19–20).
    #[inline]
    fn after_pop(
        &self,
        request: Request,
        superblock: SuperblockId,
        (old, new): (Anchor, Anchor),
        more: u32,
        last: Option<Hand<'_, P>>,
    ) {
        let Some(hand) = last else { return };
        if more > 0 {
            let Request { heap, class, bytes } = request;
            self.update_active(heap, class, bytes, superblock, more, hand);
        } else {
            self.moved(request.class, superblock, old, new, Cause::MallocFromActive);
            // FULL: in no container, as it should be.
            hand.put();
        }
    }

    /// MallocFromPartial, Figure 6, \[0069\]: takes a superblock off the class's lists and pops from it.
    fn malloc_from_partial(&self, request: Request, out: &mut [Block]) -> usize {
        let Request { heap, class, bytes } = request;
        loop {
            let hand = Hand::take(self);
            let Some(id) = self.partial_pop(class) else {
                hand.put();
                return 0;
            };
            point!(self, "partial.taken");
            let anchor = &self.platform.descriptor(id).anchor;
            // Acquire: as in `pop_reserved`.
            let mut old = Anchor::from_word(anchor.load(Ordering::Acquire));
            loop {
                let unchecked = P::MUTANT == Mutant::PrintedRetireAndRead;
                if old.state() == State::Empty && !unchecked {
                    // This thread took it out of its container, so it retires it.
                    self.desc_retire(self.platform.shape(class).geometry, id, hand);
                    break;
                }
                let most = out.len().min(old.count() as usize);
                let out = &mut out[..most];
                point!(self, "partial.anchor_read");
                // Nothing is reserved yet: frees may turn the superblock EMPTY while its link is read. But only
                // this thread may retire it, so its memory stays.
                let found = match self.walk(id, class, old, out) {
                    Err(changed) => changed,
                    Ok(next) => {
                        let (mut new, credits) = old.popped_partial(
                            next,
                            out.len() as u32,
                            P::MAX_CREDITS,
                            P::ANCHOR_TAG_BITS,
                        );
                        if P::MUTANT == Mutant::TagKept {
                            new = new.with_tag(old.tag());
                        }
                        point!(self, "partial.link_read");
                        // AcqRel and failure as in `pop_reserved`.
                        match anchor.compare_exchange(
                            old.word(),
                            new.word(),
                            Ordering::AcqRel,
                            Ordering::Acquire,
                        ) {
                            Ok(_) => {
                                self.platform.took(class, out);
                                point!(self, "partial.popped");
                                self.moved(class, id, old, new, Cause::MallocFromPartial);
                                if credits > 0 {
                                    self.update_active(heap, class, bytes, id, credits, hand);
                                }
                                let blocks = out.len();
                                self.platform.count(
                                    heap,
                                    class,
                                    Counter::Allocations,
                                    blocks as u32,
                                );
                                return blocks;
                            }
                            Err(word) => Anchor::from_word(word),
                        }
                    }
                };
                old = found;
                self.retry(heap, class);
            }
        }
    }

    /// MallocFromNewSB, Figure 7, \[0073\]: a superblock that nobody uses becomes the heap's active one.
    fn malloc_from_new_sb(&self, request: Request, out: &mut [Block]) -> New {
        let Request { heap, class, .. } = request;
        let shape = self.platform.shape(class);
        let hand = Hand::take(self);
        let Some(id) = self.desc_alloc(shape.geometry) else {
            hand.put();
            return New::NoMemory;
        };
        point!(self, "new_sb.taken");
        let blocks = out.len().min(shape.blocks as usize - 1);
        let (old, new, credits) = self.initialise(id, class, blocks as u32);
        let zeroed = self.meta(id).zeroed();
        point!(self, "new_sb.initialised");
        // Release: pairs with the Acquire of `reserve`: the descriptor is initialised ([0073] line 12).
        let order = publishing::<P>();
        let installed = self.platform.active(heap, class).compare_exchange(
            Active::NULL.word(),
            Active::new(id, credits).word(),
            order,
            Ordering::Relaxed,
        );
        if installed.is_err() {
            point!(self, "new_sb.lost");
            self.retry(heap, class);
            // Another thread was faster: to keep fragmentation low, this superblock goes back ([0071]).
            if P::MUTANT != Mutant::LoserForgets {
                let emptied = new.emptied(shape.blocks, P::ANCHOR_TAG_BITS);
                // Release: as the initialisation; the next holder takes it from a list anyway.
                self.platform.descriptor(id).anchor.store(emptied.word(), Ordering::Release);
                self.desc_retire(shape.geometry, id, hand);
            }
            return New::Lost;
        }
        point!(self, "new_sb.installed");
        if P::MUTANT == Mutant::ClassAfterInstall {
            self.platform.set_class(id, class);
        }
        self.platform.refilled(request);
        self.moved(class, id, old, new, Cause::MallocFromNewSb);
        hand.put();
        for (index, block) in (0..).zip(&mut out[..blocks]) {
            *block = Block { superblock: id, index, fresh: zeroed };
        }
        self.platform.took(class, &out[..blocks]);
        self.platform.count(heap, class, Counter::Allocations, blocks as u32);
        New::Blocks(blocks)
    }

    /// Initialises a superblock that only this thread holds: the first `blocks` blocks are the caller's. Returns
    /// its anchor before and after, and the credits.
    fn initialise(&self, id: SuperblockId, class: Class, blocks: u32) -> (Anchor, Anchor, u32) {
        let shape = self.platform.shape(class);
        let descriptor = self.platform.descriptor(id);
        let meta = self.backing_taken(shape.geometry, id);
        // Relaxed, here and below: only this thread holds the descriptor; published by the Release at the end.
        let old = Anchor::from_word(descriptor.anchor.load(Ordering::Relaxed));
        let (mut new, credits) =
            old.initialised(blocks, shape.blocks, P::MAX_CREDITS, P::ANCHOR_TAG_BITS);
        if P::MUTANT == Mutant::TagResetOnReuse {
            new = new.with_tag(0);
        }
        let meta = meta.initialised(class);
        if P::MUTANT != Mutant::ClassAfterInstall {
            self.platform.set_class(id, class);
        }
        descriptor.meta.store(meta.word(), Ordering::Relaxed);
        descriptor.written.store(0, Ordering::Relaxed);
        descriptor.since.store(self.platform.now_ticks(), Ordering::Relaxed);
        // Release: whoever reads this anchor (Acquire) sees the mark of written links reset; and a view that finds
        // `meta` unchanged afterwards has both of one generation.
        descriptor.anchor.store(new.word(), publishing::<P>());
        // Release: a view that reads this (Acquire) finds the anchor of this generation.
        descriptor.meta.store(meta.settled().word(), publishing::<P>());
        (old, new, credits)
    }

    /// Takes from the active superblocks of all heaps: the last resort before null.
    fn malloc_from_other_heaps(&self, request: Request, out: &mut [Block]) -> usize {
        for heap in (0..self.platform.heaps()).map(Heap) {
            match self.malloc_from_active(Request { heap, ..request }, out) {
                0 => {}
                blocks => return blocks,
            }
        }
        0
    }

    /// Makes memory for blocks of `geometry`, or, if there is none given, for anything else: finds superblocks that
    /// are EMPTY or could be, in lists and idle in heaps of other classes, and gives back those of other geometries.
    pub(crate) fn relieve(&self, geometry: Option<Geometry>) {
        self.gather();
        for other in (0..self.platform.geometries()).map(Geometry) {
            if Some(other) != geometry {
                self.release_retired(other);
            }
        }
        self.platform.relieve();
    }

    /// Retires every superblock that is EMPTY, or that is ACTIVE without a block in use.
    pub(crate) fn gather(&self) {
        for class in (0..self.platform.classes()).map(Class) {
            for heap in (0..self.platform.heaps()).map(Heap) {
                self.purge_heap(heap, class);
            }
            self.retire_empty(class);
        }
    }

    /// The first blocks of the list under `anchor`, as many as `out` holds, and the index after them.
    ///
    /// Whether they were free all the time only the caller's compare-and-swap can tell. `Err` is the anchor that
    /// was found when a link made no sense because the anchor had changed.
    #[inline]
    fn walk(
        &self,
        id: SuperblockId,
        class: Class,
        anchor: Anchor,
        out: &mut [Block],
    ) -> Result<u32, Anchor> {
        let maxcount = self.platform.shape(class).blocks;
        let descriptor = self.platform.descriptor(id);
        // Relaxed: every free raises the mark before its Release on the anchor, which the caller's Acquire saw; so
        // for a block that a free put on the list this is above it.
        let written = descriptor.written.load(Ordering::Relaxed) as u32;
        // Relaxed: as in `Core::meta`.
        let zeroed = Meta::from_word(descriptor.meta.load(Ordering::Relaxed)).zeroed();
        let mut next = anchor.avail();
        // Batches are freed in the order of their addresses, so a list goes on as it went, more often than not, and mostly from
        // neighbour to neighbour. Each link that memory has to be waited for waits for the one before, unless guessed.
        let ahead = AHEAD.min(out.len() as u32);
        for neighbour in 1..ahead {
            self.platform.may_read_link(descriptor, class, next.wrapping_add(neighbour));
        }
        for block in out {
            let index = next;
            if index < written {
                next = self.platform.link(id, descriptor, class, index);
                let step = next.wrapping_sub(index);
                let guess = next.wrapping_add(step.wrapping_mul(ahead));
                self.platform.may_read_link(descriptor, class, guess);
            } else {
                // Never freed since the superblock was initialised: the implicit link. Its memory is not touched.
                next = index + 1;
                self.platform.may_read_link(descriptor, class, index);
            }
            if index >= maxcount || next > maxcount {
                return Err(self.changed_or_corrupted(id, class, anchor, index, next));
            }
            *block = Block { superblock: id, index, fresh: zeroed && index >= written };
        }
        Ok(next)
    }

    /// The anchor, if it is another than `seen`; otherwise the link was overwritten by the program: never returns.
    #[cold]
    fn changed_or_corrupted(
        &self,
        id: SuperblockId,
        class: Class,
        seen: Anchor,
        block: u32,
        link: u32,
    ) -> Anchor {
        // A compare-and-swap that changes nothing: unlike a load it cannot return an old value.
        let found = self.platform.descriptor(id).anchor.compare_exchange(
            seen.word(),
            seen.word(),
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        match found {
            Ok(_) => self.platform.corrupted(id, class, block, link),
            Err(word) => Anchor::from_word(word),
        }
    }

    /// Reports a state change, if it is one.
    pub(crate) fn moved(
        &self,
        class: Class,
        superblock: SuperblockId,
        old: Anchor,
        new: Anchor,
        cause: Cause,
    ) {
        if old.state() != new.state() {
            self.platform.record(Transition {
                superblock,
                class,
                from: old.state(),
                to: new.state(),
                cause,
                tag: new.tag(),
            });
        }
    }
}
