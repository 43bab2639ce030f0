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
mod order;
mod shelf;
pub(crate) mod view;

use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use crate::accounting::InHand;
use crate::decay;
use crate::descriptor::Block;
use crate::global_alloc::{address, end_run, locate};
use crate::live::CORE;
use crate::os;
pub(crate) use crate::os::sequence::Refused;
use crate::os::sequence::{self, MAGAZINES};
use crate::page_map::{Entry, lookup};
use crate::platform::{Class, Geometry, Heap, Platform, Request};
use crate::size_class::{CLASS_COUNT, Key, size_class};

use self::depot::{MAX_BATCH, Shelf as _};
use self::magazine::Header;
use self::magazine::batch_blocks;
pub(crate) use self::magazine::{MagazineCounts, capacity, counts, processors};

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;
/// Batches that one interval gives back to the core at most.
const MOST_UNNEEDED: u64 = 64;

/// A block for a request with that key from this processor's magazine.
#[inline(always)]
pub(crate) fn pop(key: Key) -> Result<NonNull<u8>, Refused> {
    // SAFETY: `begin` has mapped them.
    match unsafe { sequence::pop(key) } {
        // SAFETY: a block's address.
        Ok(block) => Ok(unsafe { pointer(block) }),
        Err(refused) => Err(refused),
    }
}

/// Frees the block of a request with that key, which the caller owns.
#[inline(always)]
pub(crate) fn free(key: Key, block: NonNull<u8>) {
    // SAFETY: as in `pop`; the block is the caller's, who gives it up.
    match unsafe { sequence::push(key, block.addr().get()) } {
        Ok(()) => {}
        // Two functions, so that no instruction on the fast path prepares to tell them what happened.
        Err(Refused::Aborted) => free_aborted(block, key),
        Err(Refused::NoMagazine | Refused::Bounds) => free_slow(block, key),
    }
}

/// Puts the block at an address into the magazine of its class, unless it was put in last: `Err` is `None` then.
///
/// # Safety
/// If there is a block, the caller owns it, and gives it up if this succeeds.
#[inline(always)]
pub(crate) unsafe fn push_by_address(block: usize) -> Result<(), Option<Refused>> {
    // SAFETY: as in `pop`, and the caller's.
    unsafe { sequence::push_by_address(block) }
}

/// Frees a block that a magazine did not take, or, `aborted`, whose push was.
pub(crate) fn free_refused(block: NonNull<u8>, key: Key, aborted: bool) {
    if aborted { free_aborted(block, key) } else { free_slow(block, key) }
}

/// A block of `class`, where the magazine had none, and whether its bytes are known to be zero; `None` without memory.
#[cold]
#[inline(never)]
pub(crate) fn allocate(class: Class, bytes: u32, missed: Refused) -> Option<(NonNull<u8>, bool)> {
    let refilled = match missed {
        Refused::Bounds => refill(class, bytes),
        Refused::Aborted => {
            header(class, Header::aborted);
            None
        }
        Refused::NoMagazine => {
            magazine::decide();
            None
        }
    };
    let found = match refilled {
        None => from_core(class, bytes),
        found => found,
    };
    decay::settle();
    found
}

/// Frees a block whose push was aborted.
#[cold]
#[inline(never)]
fn free_aborted(block: NonNull<u8>, key: Key) {
    header(key.class(), Header::aborted);
    to_core(&[block.addr().get()]);
    decay::settle();
}

/// Frees a block for which the magazine has no room, or that no magazine is there for.
#[cold]
#[inline(never)]
fn free_slow(block: NonNull<u8>, key: Key) {
    match MAGAZINES.processor() {
        None => magazine::decide(),
        Some(processor) => {
            if flush(processor, key.class(), block) {
                return decay::settle();
            }
        }
    }
    to_core(&[block.addr().get()]);
    decay::settle();
}

/// Does something to the header of this processor's magazine, or of the one it ran on a moment ago: counters are exact in
/// sum.
fn header(class: Class, with: impl Fn(&Header)) {
    if let Some(processor) = MAGAZINES.processor() {
        with(Header::of(processor, class));
    }
}

/// The heap that this thread's magazines of `class` are filled from. Several processors share one, since magazines leave
/// little for heaps to do, and each heap's ACTIVE superblock is memory that waits: two share one of classes with superblocks
/// of 64 KiB, eight of those with superblocks of 1 MiB. Where there are no magazines each has its own.
fn heap_for(class: Class) -> Heap {
    let Heap(heap) = CORE.platform().current_heap();
    match (processors(), size_class(class).shape.geometry) {
        (0, _) => Heap(heap),
        (_, Geometry(0)) => Heap(heap >> 1),
        _ => Heap(heap >> 3),
    }
}

/// One block from the core.
fn from_core(class: Class, bytes: u32) -> Option<(NonNull<u8>, bool)> {
    let heap = heap_for(class);
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
    let in_hand = InHand::take();
    let found = match depot::begin_take(&shelf::Of(class)) {
        Some((batch, origin)) => refill_from_depot(class, batch, origin),
        None => refill_from_core(class, bytes),
    };
    drop(in_hand);
    found
}

fn refill_from_depot(class: Class, batch: u32, origin: u32) -> Option<(NonNull<u8>, bool)> {
    // Relaxed: an estimate.
    let least = shelf::Of(class).least();
    let left = u64::from(depot::batches(&shelf::Of(class)));
    if least.load(Ordering::Relaxed) > left {
        least.store(left, Ordering::Relaxed);
    }
    let (places, rest) = (shelf::Of::places(batch), batch_blocks(class) - 1);
    let crosses = origin != os::processor();
    if shelf::Of(class).crosses().load(Ordering::Relaxed) != crosses {
        // Relaxed, both: a hint.
        shelf::Of(class).crosses().store(crosses, Ordering::Relaxed);
    }
    // SAFETY: as in `pop`; this thread took the batch, and all its blocks.
    let pushed = unsafe { sequence::push_batch(Key::of_class(class), (places, rest), 1) };
    if pushed.is_ok() {
        // SAFETY: the last place of the batch.
        let own = unsafe { places.wrapping_add(rest).read() };
        depot::recycle(&shelf::Of(class), batch);
        header(class, |header| header.refilled(rest as u64 + 1, 0));
        // SAFETY: a block's address.
        return Some((unsafe { pointer(own) }, false));
    }
    keep(class, batch);
    None
}

/// Changes the first line of every block of a batch that another processor will have, presumably. What was only read here that
/// one may still have, too, and would have to take back; a line that was changed it gets from here. (One producer and one
/// consumer: 23.2 to 15.0 ns a block, two of each 16.6 to 15.0. To fetch all lines on the other side, before they are used: no
/// difference without this, and 6 % slower with it.)
fn change(class: Class, batch: u32) {
    let places = shelf::Of::places(batch);
    for place in 0..batch_blocks(class) {
        // SAFETY: a place of this thread's batch.
        let block = unsafe { places.wrapping_add(place).read() };
        // SAFETY: the block is this thread's, at least 16 bytes long and aligned to 16.
        unsafe { core::ptr::with_exposed_provenance_mut::<u64>(block).write_volatile(0) };
    }
}

/// Puts a filled batch into the depot, or, if that has enough, its blocks into the core.
fn keep(class: Class, batch: u32) {
    if depot::finish_put(&shelf::Of(class), batch, os::processor()) {
        return;
    }
    let mut blocks = [0; MAX_BATCH];
    let blocks = blocks.get_mut(..batch_blocks(class)).unwrap_or_default();
    shelf::Of(class).load(batch, blocks);
    depot::recycle(&shelf::Of(class), batch);
    give_to_core(class, blocks);
}

/// Gives blocks of magazines or the depot to the core.
fn give_to_core(class: Class, blocks: &[usize]) {
    to_core(blocks);
    header(class, |header| header.to_core(blocks.len() as u64));
}

// Apart, since its arrays are large.
#[inline(never)]
fn refill_from_core(class: Class, asked: u32) -> Option<(NonNull<u8>, bool)> {
    let mut blocks = [0; MAX_BATCH];
    let mut found = [Block::NOTHING; MAX_BATCH];
    let heap = heap_for(class);
    let most = batch_blocks(class);
    let room = found.get_mut(..most).unwrap_or_default();
    let count = CORE.malloc_batch(Request { heap, class, bytes: asked }, room);
    let found = found.get(..count).unwrap_or_default();
    let (own, rest) = (found.first()?, found.len() - 1);
    // Neighbours on one cache line are not popped one after the other: two threads that a processor runs in turn may go on on
    // two, each with its block.
    let bytes = size_class(class).block_bytes as usize;
    let lanes =
        if bytes.is_multiple_of(LINE_BYTES) { 1 } else { LINE_BYTES.div_ceil(bytes).max(2) };
    // The first is the caller's, the second is popped first: as the memory lies.
    let blocks = blocks.get_mut(..rest).unwrap_or_default();
    let (mut next, mut lane) = (lanes, 0);
    for place in blocks.iter_mut().rev() {
        if next >= found.len() {
            lane += 1;
            next = lane;
        }
        if let Some(block) = found.get(next) {
            *place = address(class, *block).addr().get();
        }
        next += lanes;
    }
    let blocks = &*blocks;
    if blocks.is_empty() {
        // A batch of one: nothing for the magazine, but it was of no use.
        header(class, |header| header.refilled(0, 0));
    } else {
        // SAFETY: as in `refill_from_depot`.
        let pushed = unsafe {
            let blocks = (blocks.as_ptr(), blocks.len());
            sequence::push_batch(Key::of_class(class), blocks, 0)
        };
        match pushed {
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
fn flush(processor: u32, class: Class, block: NonNull<u8>) -> bool {
    let header = Header::of(processor, class);
    let in_hand = InHand::take();
    let done = match depot::begin_put(&shelf::Of(class)) {
        Some(batch) => {
            // SAFETY: a batch of this thread's.
            let done = unsafe { flush_to(header, class, block, shelf::Of::places(batch)) };
            if done {
                // Relaxed: a hint.
                if shelf::Of(class).crosses().load(Ordering::Relaxed) {
                    change(class, batch);
                }
                keep(class, batch);
            } else {
                depot::recycle(&shelf::Of(class), batch);
            }
            done
        }
        None => flush_to_core(header, class, block),
    };
    drop(in_hand);
    done
}

// Apart, since its array is large.
#[inline(never)]
fn flush_to_core(header: &Header, class: Class, block: NonNull<u8>) -> bool {
    let mut blocks = [0; MAX_BATCH];
    // SAFETY: room for the largest batch.
    let done = unsafe { flush_to(header, class, block, blocks.as_mut_ptr()) };
    if done {
        give_to_core(class, blocks.get(..batch_blocks(class)).unwrap_or_default());
    }
    done
}

/// Takes the blocks of a batch but one out of the magazine to `places`, and puts `block` behind them; whether that worked.
///
/// # Safety
/// `places` has room for a batch of the class, for this thread alone.
unsafe fn flush_to(header: &Header, class: Class, block: NonNull<u8>, places: *mut usize) -> bool {
    let rest = batch_blocks(class) - 1;
    header.taking(rest as u64 + 1);
    // SAFETY: as in `pop`, and the caller's.
    let popped = unsafe { sequence::pop_batch(Key::of_class(class), places, rest) };
    if popped.is_err() {
        header.not_taken(rest as u64 + 1);
        return false;
    }
    header.flushed();
    // SAFETY: the caller's.
    unsafe { places.wrapping_add(rest).write(block.addr().get()) };
    true
}

/// Blocks that the core gave for a magazine that did not take them.
fn put_back_new(class: Class, blocks: &[usize]) {
    header(class, |header| header.got(blocks.len() as u64));
    give_to_core(class, blocks);
}

/// Gives blocks of the class back to their superblocks: one compare-and-swap for each run of one superblock.
fn to_core(blocks: &[usize]) {
    let mut ordered = [0; MAX_BATCH];
    debug_assert!(blocks.len() <= MAX_BATCH, "no more come at once, and more would be lost");
    let count = blocks.len().min(ordered.len());
    let ordered = ordered.get_mut(..count).unwrap_or_default();
    for (place, block) in ordered.iter_mut().zip(blocks) {
        *place = *block;
    }
    // By address, hence by superblock.
    order::sort(ordered);
    let mut indices = [0; MAX_BATCH];
    let (mut run, mut run_of, mut last) = (0, None, 0);
    for &block in &*ordered {
        if block == last {
            crate::global_alloc::freed_twice(block);
        }
        last = block;
        let Entry::Superblock(id) = lookup(block) else {
            // Freed with a layout that was not its own.
            crate::global_alloc::foreign(block);
        };
        let (class, index) = locate(id, block);
        if run_of != Some((id, class)) {
            end_run(run_of, indices.get(..run));
            (run, run_of) = (0, Some((id, class)));
        }
        if let Some(place) = indices.get_mut(run) {
            *place = index;
        }
        run += 1;
    }
    end_run(run_of, indices.get(..run));
}

/// Once an interval of [`crate::decay`]: gives half of the batches that nobody needed in it back to the core.
pub(crate) fn end_interval() {
    let mut most = MOST_UNNEEDED;
    for class in (0..CLASS_COUNT as u16).map(Class) {
        let there = u64::from(depot::batches(&shelf::Of(class)));
        // Relaxed: an estimate.
        let least = shelf::Of(class).least().swap(there, Ordering::Relaxed);
        for _ in 0..least.min(there).div_ceil(2).min(most) {
            if !empty_batch(class) {
                break;
            }
            most -= 1;
        }
    }
}

/// Empties a batch of the depot into the core; whether there was one.
fn empty_batch(class: Class) -> bool {
    let mut blocks = [0; MAX_BATCH];
    let blocks = blocks.get_mut(..batch_blocks(class)).unwrap_or_default();
    let in_hand = InHand::take();
    let is_any = depot::take(&shelf::Of(class), blocks);
    if is_any {
        give_to_core(class, blocks);
    }
    drop(in_hand);
    is_any
}

/// Empties the depot and all magazines into the core; how many blocks that were.
pub(crate) fn drain_all() -> u64 {
    let mut drained = 0;
    for class in (0..CLASS_COUNT as u16).map(Class) {
        while empty_batch(class) {
            drained += batch_blocks(class) as u64;
        }
    }
    for processor in 0..processors() {
        let in_hand = InHand::take();
        drained += drain::drain(&magazine::Of(processor));
        drop(in_hand);
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

// The core gives no more at once.
const _: () = assert!(MAX_BATCH <= crate::MAX_BATCH);
