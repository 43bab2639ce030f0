//! The front: magazines of blocks per processor and class, over the core. Pure optimisation.
//!
//! ```text
//!   malloc, free      one restartable sequence        (os/sequence.rs)
//!       │ empty, full
//!   depot             batches change hands whole      (depot.rs)
//!       │ none, too many
//!   core              a batch in two compare-and-swaps; one for each superblock when it comes back
//! ```
//!
//! Nothing here is ever waited for. A sequence that was aborted is not tried again: the operation goes to the core, as it
//! does where there are no restartable sequences, on processors that have no magazines, and with `LFALLOC_MAGAZINES=0`.
//!
//! # Counting
//!
//! What a magazine's word and header say adds up with what the core has counted (`Counter`), without an instruction more
//! on the fast path:
//!
//! ```text
//! allocations = allocations of the core − blocks it gave to magazines + blocks popped
//! frees       = frees of the core − blocks it got from magazines + blocks pushed
//! blocks pushed = blocks there + popped + taken out in batches − put in in batches
//! ```
//!
//! At rest that is exact. While a batch is on its way (which counts as in hand) the counters are changed, and read, in such
//! an order that both are too high rather than too low: they never go below zero.

pub mod depot;
pub mod drain;
mod magazine;
mod shelf;
pub(crate) mod view;

use core::ptr::NonNull;

use crate::accounting::hold;
use crate::descriptor::Block;
use crate::global_alloc::{address, locate};
use crate::live::CORE;
use crate::os::sequence;
use crate::os::sequence::Refused;
use crate::page_map::{Entry, lookup};
use crate::platform::{Class, Platform, Request};
use crate::size_class::CLASS_COUNT;

use self::depot::MAX_BATCH;
use self::magazine::batch_blocks;
use self::magazine::{Header, SETUP, place};
pub(crate) use self::magazine::{MagazineCounts, capacity, counts, processors};

/// Why the magazine was of no use; `None`: there is none.
pub(crate) type Missed = Option<Refused>;

/// A block of `class` from this processor's magazine.
#[inline(always)]
pub(crate) fn pop(class: Class) -> Result<NonNull<u8>, Missed> {
    let area = SETUP.area();
    if sequence::processor_at(area) >= SETUP.limit() {
        return Err(None);
    }
    // SAFETY: the area is registered, since the number in it is that of a processor, and below the limit each has its
    // magazines.
    match unsafe { sequence::pop(area, place(class)) } {
        // SAFETY: a block's address.
        Ok(block) => Ok(unsafe { pointer(block) }),
        Err(refused) => Err(Some(refused)),
    }
}

/// Frees a block of `class` that the caller owns.
#[inline(always)]
pub(crate) fn free(class: Class, block: NonNull<u8>) {
    let area = SETUP.area();
    if sequence::processor_at(area) >= SETUP.limit() {
        return free_slow(class, block, None);
    }
    // SAFETY: as in `pop`; the block is the caller's, who gives it up.
    if let Err(refused) = unsafe { sequence::push(area, place(class), block.addr().get()) } {
        free_slow(class, block, Some(refused));
    }
}

/// A block of `class`, where the magazine had none, and whether its bytes are known to be zero; `None` without memory.
#[cold]
#[inline(never)]
pub(crate) fn allocate(class: Class, bytes: u32, missed: Missed) -> Option<(NonNull<u8>, bool)> {
    match missed {
        Some(Refused::Bounds) => {
            if let Some(found) = refill(class, bytes) {
                return Some(found);
            }
        }
        Some(Refused::Aborted) => header(class, Header::aborted),
        None => SETUP.decide(),
    }
    from_core(class, bytes)
}

#[cold]
#[inline(never)]
fn free_slow(class: Class, block: NonNull<u8>, missed: Missed) {
    match missed {
        Some(Refused::Bounds) => {
            if flush(class, block) {
                return;
            }
        }
        Some(Refused::Aborted) => header(class, Header::aborted),
        None => SETUP.decide(),
    }
    to_core(&[block.addr().get()]);
}

/// Does something to the header of this processor's magazine, or of the one it ran on a moment ago: counters are exact in
/// sum.
fn header(class: Class, with: impl Fn(&Header)) {
    let processor = sequence::processor_at(SETUP.area());
    if processor < SETUP.limit() {
        with(Header::of(processor, class));
    }
}

/// One block from the core.
fn from_core(class: Class, bytes: u32) -> Option<(NonNull<u8>, bool)> {
    let heap = CORE.platform().current_heap();
    let request = Request { heap, class, bytes };
    let block = CORE.malloc(request).or_else(|| {
        // What is in magazines and the depot is free, too.
        if drain_all() == 0 {
            return None;
        }
        CORE.malloc(request)
    })?;
    Some((address(class, block), block.fresh))
}

/// One block, and the rest of a batch into the magazine; `None` if there is neither batch nor memory.
fn refill(class: Class, bytes: u32) -> Option<(NonNull<u8>, bool)> {
    let mut blocks = [0; MAX_BATCH];
    hold(1);
    let count = batch_blocks(class);
    let found = if depot::take(&shelf::Of(class), &mut blocks[..count]) {
        refill_from_depot(class, &blocks[..count])
    } else {
        refill_from_core(class, bytes, &mut blocks)
    };
    hold(-1);
    found
}

fn refill_from_depot(class: Class, blocks: &[usize]) -> Option<(NonNull<u8>, bool)> {
    let (own, rest) = blocks.split_last()?;
    // SAFETY: this thread got the blocks, and a processor's number a moment ago.
    if unsafe { sequence::push_batch(SETUP.area(), place(class), rest, 1) }.is_ok() {
        header(class, |header| header.refilled(blocks.len() as u64, 0));
        // SAFETY: a block's address.
        return Some((unsafe { pointer(*own) }, false));
    }
    put_back(class, blocks);
    None
}

fn refill_from_core(
    class: Class,
    bytes: u32,
    blocks: &mut [usize; MAX_BATCH],
) -> Option<(NonNull<u8>, bool)> {
    let mut found = [Block::NOTHING; MAX_BATCH];
    let heap = CORE.platform().current_heap();
    let most = batch_blocks(class);
    let count = CORE.malloc_batch(Request { heap, class, bytes }, &mut found[..most]);
    let (own, rest) = found[..count].split_first()?;
    for (place, block) in blocks.iter_mut().zip(rest) {
        *place = address(class, *block).addr().get();
    }
    let blocks = &blocks[..rest.len()];
    if !blocks.is_empty() {
        // SAFETY: as in `refill_from_depot`.
        match unsafe { sequence::push_batch(SETUP.area(), place(class), blocks, 0) } {
            Ok(()) => {
                let count = blocks.len() as u64;
                header(class, |header| header.refilled(count, count));
            }
            // They were never the program's.
            Err(_) => put_back_new(class, blocks),
        }
    }
    Some((address(class, *own), own.fresh))
}

/// Makes room by taking a batch out of the magazine, which `block` becomes part of; whether that worked.
fn flush(class: Class, block: NonNull<u8>) -> bool {
    let mut blocks = [0; MAX_BATCH];
    let count = batch_blocks(class);
    let Some((own, rest)) = blocks[..count].split_last_mut() else { return false };
    hold(1);
    let processor = sequence::processor_at(SETUP.area());
    let header = (processor < SETUP.limit()).then(|| Header::of(processor, class));
    if let Some(header) = header {
        header.taking(count as u64);
    }
    // SAFETY: a processor's number was there a moment ago; the caller gives the block up.
    let done = header.is_some()
        && unsafe { sequence::pop_batch(SETUP.area(), place(class), rest) }.is_ok();
    match header {
        Some(header) if done => {
            header.flushed();
            *own = block.addr().get();
            put_back(class, &blocks[..count]);
        }
        Some(header) => header.not_taken(count as u64),
        None => {}
    }
    hold(-1);
    done
}

/// A batch that left a magazine, or the depot: to the depot, or, if that has enough, to the core.
fn put_back(class: Class, blocks: &[usize]) {
    if !depot::put(&shelf::Of(class), blocks) {
        let count = blocks.len() as u64;
        to_core(blocks);
        header(class, |header| header.to_core(count));
    }
}

/// Blocks that the core gave for a magazine that did not take them.
fn put_back_new(class: Class, blocks: &[usize]) {
    let count = blocks.len() as u64;
    header(class, |header| header.got(count));
    to_core(blocks);
    header(class, |header| header.to_core(count));
}

/// Gives blocks of the class back to their superblocks: one compare-and-swap for each run of one superblock.
fn to_core(blocks: &[usize]) {
    let mut ordered = [0; MAX_BATCH];
    let ordered = &mut ordered[..blocks.len()];
    ordered.copy_from_slice(blocks);
    // By address, hence by superblock.
    ordered.sort_unstable();
    let mut indices = [0; MAX_BATCH];
    let mut rest = &*ordered;
    while let Some(&first) = rest.first() {
        let Entry::Superblock(id) = lookup(first) else {
            // Freed with a layout that was not its own.
            crate::global_alloc::foreign(first);
        };
        let (class, index) = locate(id, first);
        indices[0] = index;
        let mut run = 1;
        while run < rest.len() && lookup(rest[run]) == Entry::Superblock(id) {
            indices[run] = locate(id, rest[run]).1;
            run += 1;
        }
        CORE.free_batch(id, class, &indices[..run]);
        rest = &rest[run..];
    }
}

/// Empties the depot and all magazines into the core; how many blocks that were.
pub(crate) fn drain_all() -> u64 {
    let mut drained = 0;
    let mut blocks = [0; MAX_BATCH];
    for class in (0..CLASS_COUNT as u16).map(Class) {
        let blocks = &mut blocks[..batch_blocks(class)];
        let count = blocks.len() as u64;
        hold(1);
        while depot::take(&shelf::Of(class), blocks) {
            to_core(blocks);
            header(class, |header| header.to_core(count));
            drained += count;
        }
        hold(-1);
    }
    for processor in 0..processors() {
        hold(1);
        drained += drain::drain(&magazine::Of(processor));
        hold(-1);
    }
    drained
}

/// What the front holds and has counted of one class, over all processors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FrontCounts {
    /// Blocks in magazines and in the depot.
    pub(crate) cached: u64,
    pops: u64,
    pushes: u64,
    from_core: u64,
    to_core: u64,
}

impl FrontCounts {
    /// What is in the depot.
    pub(crate) fn of_depot(class: Class) -> Self {
        let cached = u64::from(depot::batches(&shelf::Of(class))) * batch_blocks(class) as u64;
        Self { cached, ..Self::default() }
    }

    /// Adds a magazine.
    pub(crate) fn add(&mut self, counts: &MagazineCounts) {
        self.cached += counts.blocks;
        self.pops = self.pops.wrapping_add(counts.pops);
        self.pushes = self.pushes.wrapping_add(counts.pushes);
        self.from_core = self.from_core.wrapping_add(counts.from_core);
        self.to_core = self.to_core.wrapping_add(counts.to_core);
    }

    /// Blocks that the program got and gave back, if these are the counts of the core.
    pub(crate) fn of_program(&self, allocations: u64, frees: u64) -> (u64, u64) {
        // Wrapping: read one after the other, while they change.
        (
            allocations.wrapping_sub(self.from_core).wrapping_add(self.pops),
            frees.wrapping_sub(self.to_core).wrapping_add(self.pushes),
        )
    }
}

/// What the front holds and has counted of `class`.
pub(crate) fn class_counts(class: Class) -> FrontCounts {
    let mut sum = FrontCounts::of_depot(class);
    for processor in 0..processors() {
        sum.add(&counts(processor, class));
    }
    sum
}

/// # Safety
/// Not 0.
#[inline(always)]
unsafe fn pointer(block: usize) -> NonNull<u8> {
    // SAFETY: the caller's.
    unsafe { NonNull::new_unchecked(core::ptr::with_exposed_provenance_mut(block)) }
}

const _: () = assert!(MAX_BATCH <= crate::MAX_BATCH);
