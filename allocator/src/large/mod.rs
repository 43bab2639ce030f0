//! Large blocks: above the largest class, or aligned to more than a granule (\[0039\], \[0047\]).
//!
//! Each is a mapping of its own, a multiple of 64 KiB at a multiple of 64 KiB, with a type-stable descriptor out of
//! line. Freed ones are kept for a while (`cache`).
//!
//! | word      | written by                                  |
//! |-----------|---------------------------------------------|
//! | `next`    | whoever holds it, before a push             |
//! | `address`, `bytes`, `asked`, `since` | whoever holds it |
//! | `state`   | whoever holds it; views read it first       |
//!
//! A descriptor is held by the owner of its block, by a stack of the cache, by one of the two stacks here, or by a thread
//! in between, which is counted as in hand.
//!
//! # Colour
//!
//! A processor's caches find the place of a line by some bits of its address; if every large block began at a multiple of
//! 64 KiB, the first lines of all blocks, and of all their pages, would compete for the same few places. So a block begins
//! some lines behind the beginning of its mapping, as many as its rounding has room for, other blocks other many.

mod cache;

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use self::cache::Cache;
use crate::accounting::{self, InHand, Purpose};
use crate::decay;
use crate::harden;
use crate::huge;
use crate::list::{self, Links};
use crate::live::CORE;
use crate::os::{self, PAGE_BYTES, Remapped};
use crate::page_map::{self, Entry};
use crate::size_class::GRANULE_BYTES;
use crate::table::{Table, ZeroRecord};

/// Bits of an address that a program can have: no larger block is worth an effort.
const ADDRESS_BITS: u32 = 47;

/// A line of the processor's caches: the unit of colours.
const LINE_BYTES: usize = 64;
/// Colours differ within a page.
const COLOURS: usize = PAGE_BYTES / LINE_BYTES;
/// From this size on a block that is wanted zeroed is given back and read anew, instead of being written to.
const DECOMMIT_BYTES: usize = 4 << 20;

/// States of a descriptor.
const UNUSED: u64 = 0;
const LIVE: u64 = 1;
const CACHED: u64 = 2;
/// Without pages, its addresses kept for reuse.
const COLD: u64 = 3;

#[repr(C, align(64))]
struct LargeDescriptor {
    next: AtomicU64,
    state: AtomicU64,
    /// Of the block, not of its mapping, which begins at the multiple of a granule below.
    address: AtomicU64,
    /// Of the mapping.
    bytes: AtomicU64,
    /// What the mapping would have at least: `bytes` exceed it by what a loose fit wastes.
    asked: AtomicU64,
    since: AtomicU64,
}

// SAFETY: atomics only; zero bytes are a valid value of each.
unsafe impl ZeroRecord for LargeDescriptor {}

static DESCRIPTORS: Table<LargeDescriptor> = Table::new();
/// Descriptors without a block.
static UNUSED_DESCRIPTORS: AtomicU64 = AtomicU64::new(0);
/// Descriptors whose mapping could not be unmapped.
static PARKED_DESCRIPTORS: AtomicU64 = AtomicU64::new(0);
static CACHE: Cache = Cache::new();

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static FREES: AtomicU64 = AtomicU64::new(0);
static LIVE_BYTES: AtomicU64 = AtomicU64::new(0);

// Counters, and the words of a descriptor, are Relaxed: a descriptor changes hands through a stack
// (Release and Acquire there) or its block's owner; a view reads `state` first, and what follows may be newer.

struct Descriptors;

impl Links for Descriptors {
    type Word = AtomicU64;
    const TAG_BITS: u32 = 32;

    fn link_of(&self, id: u32) -> &AtomicU64 {
        &DESCRIPTORS.get(id).next
    }
}

/// A large block as it is handed out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LargeBlock {
    pub(crate) address: NonNull<u8>,
    /// Whether its bytes are known to be zero.
    pub(crate) zeroed: bool,
}

impl LargeDescriptor {
    /// Where its mapping begins.
    fn base(&self) -> usize {
        self.address.load(Ordering::Relaxed) as usize & !(GRANULE_BYTES - 1)
    }

    /// Bytes from the beginning of its mapping to the block.
    fn colour(&self) -> usize {
        self.address.load(Ordering::Relaxed) as usize & (GRANULE_BYTES - 1)
    }

    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed) as usize
    }

    fn wasted(&self) -> usize {
        self.bytes() - self.asked.load(Ordering::Relaxed) as usize
    }

    fn place(&self, base: usize, bytes: usize) {
        self.address.store(base as u64, Ordering::Relaxed);
        self.bytes.store(bytes as u64, Ordering::Relaxed);
    }
}

/// A block of at least `size` bytes at a multiple of `align` (a power of two); `zeroed`: of zero bytes if that is to be
/// had cheaper than by writing them. `None`: no memory.
pub(crate) fn allocate(size: usize, align: usize, zeroed: bool) -> Option<LargeBlock> {
    let bytes = rounded(size)?;
    if bytes >> ADDRESS_BITS != 0 || align >> ADDRESS_BITS != 0 {
        return None;
    }
    let _in_hand = InHand::take();
    let request = Request { size, align, bytes };
    if align <= GRANULE_BYTES {
        if let Some(id) = CACHE.take_warm(&Descriptors, bytes, live_bytes()) {
            let descriptor = DESCRIPTORS.get(id);
            // SAFETY: the mapping belongs to the descriptor, which only this thread holds.
            let is_zero = zeroed
                && descriptor.bytes() >= DECOMMIT_BYTES
                && unsafe { os::decommit(descriptor.base(), descriptor.bytes()) };
            return Some(hand_out(id, request, is_zero));
        }
        if let Some(id) = CACHE.take_cold(&Descriptors, bytes, live_bytes()) {
            return Some(hand_out(id, request, recommit(id)));
        }
        if let Some((id, zeroed)) = take_parked(bytes) {
            // The cache knows nothing of it: no fit of its own.
            let bytes = DESCRIPTORS.get(id).bytes();
            return Some(hand_out(id, Request { bytes, ..request }, zeroed));
        }
    }
    let address = map_or_relieve(bytes, align.max(GRANULE_BYTES))?;
    huge::block_mapped(address, bytes);
    let entered = page_map::prepare(address, GRANULE_BYTES).and_then(|()| {
        list::pop(&Descriptors, &UNUSED_DESCRIPTORS).or_else(|| DESCRIPTORS.extend(1))
    });
    let Some(id) = entered else {
        // SAFETY: mapped above and known to nobody. Should that fail, address space is lost, and nothing else.
        unsafe { accounting::unmap(address, bytes, Purpose::Blocks) };
        return None;
    };
    DESCRIPTORS.get(id).place(address, bytes);
    Some(hand_out(id, request, true))
}

/// What a block is wanted for.
#[derive(Clone, Copy)]
struct Request {
    size: usize,
    align: usize,
    /// Of a mapping for it.
    bytes: usize,
}

/// Bytes before a block in its mapping. Only what rounding leaves is used, and not what a loose fit does: a size that fills
/// its mapping, as powers of two do, may grow into the rest.
fn colour(id: u32, Request { size, align, bytes }: Request) -> usize {
    // Neighbours in the table are far apart, so that a few blocks use all places.
    let colour = (id as usize * 21 % COLOURS) * LINE_BYTES;
    if align <= LINE_BYTES && colour + size <= bytes { colour } else { 0 }
}

fn hand_out(id: u32, request: Request, zeroed: bool) -> LargeBlock {
    let descriptor = DESCRIPTORS.get(id);
    let (base, bytes) = (descriptor.base(), descriptor.bytes());
    let address = base + colour(id, request);
    descriptor.address.store(address as u64, Ordering::Relaxed);
    descriptor.asked.store(request.bytes as u64, Ordering::Relaxed);
    descriptor.since.store(os::ticks(), Ordering::Relaxed);
    LIVE_BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
    page_map::set(base, 1, Entry::Large(id));
    // Release: pairs with the Acquire in `view`.
    descriptor.state.store(LIVE, Ordering::Release);
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    let pointer = core::ptr::with_exposed_provenance_mut(address);
    // SAFETY: the kernel maps nothing at address zero for a program that does not ask for it.
    let address = unsafe { NonNull::new_unchecked(pointer) };
    LargeBlock { address, zeroed }
}

/// Frees the block with descriptor `id`, which the caller owns.
pub(crate) fn free(id: u32) {
    let in_hand = InHand::take();
    release(id);
    drop(in_hand);
    decay::event();
    decay::settle();
}

fn release(id: u32) {
    let descriptor = DESCRIPTORS.get(id);
    // Release: pairs with the Acquire in `view`. Of several threads that free the block one succeeds, and for the others it is
    // none any more.
    if descriptor.state.compare_exchange(LIVE, CACHED, Ordering::AcqRel, Ordering::Relaxed).is_err()
    {
        crate::global_alloc::freed_twice(descriptor.address.load(Ordering::Relaxed) as usize);
    }
    let bytes = descriptor.bytes();
    page_map::set(descriptor.base(), 1, Entry::FreedLarge);
    descriptor.since.store(os::ticks(), Ordering::Relaxed);
    CACHE.no_longer_wasted(descriptor.wasted());
    LIVE_BYTES.fetch_sub(bytes as u64, Ordering::Relaxed);
    FREES.fetch_add(1, Ordering::Relaxed);
    // What is unmapped cannot be used any more without a fault.
    if bytes > cache::MAX_BYTES || harden::is_on() {
        return give_back(id);
    }
    CACHE.put(&Descriptors, (id, bytes), live_bytes(), cool);
}

/// Keeps a block that was warm without its pages, or gives it back.
fn cool(id: u32) {
    let descriptor = DESCRIPTORS.get(id);
    let bytes = descriptor.bytes();
    // SAFETY: the mapping belongs to the descriptor, which only this thread holds.
    if !unsafe { os::decommit(descriptor.base(), bytes) } {
        return give_back(id);
    }
    accounting::mapped(-(bytes as i64));
    // Release: pairs with the Acquire in `view`.
    descriptor.state.store(COLD, Ordering::Release);
    CACHE.put_cold(&Descriptors, (id, bytes), live_bytes(), give_back);
}

/// Accounts for the pages of a block that this thread has taken from where it may have had none; whether it had none, and
/// hence is zero.
fn recommit(id: u32) -> bool {
    let descriptor = DESCRIPTORS.get(id);
    let is_cold = descriptor.state.load(Ordering::Relaxed) == COLD;
    if is_cold {
        accounting::mapped(descriptor.bytes() as i64);
    }
    is_cold
}

/// Bytes in use.
fn live_bytes() -> u64 {
    LIVE_BYTES.load(Ordering::Relaxed)
}

/// Once an interval of [`decay`]: gives half of what was not needed in it back to the system.
pub(crate) fn end_interval() {
    let _in_hand = InHand::take();
    CACHE.unneeded(&Descriptors, |id| {
        if DESCRIPTORS.get(id).state.load(Ordering::Relaxed) == COLD {
            give_back(id);
        } else {
            cool(id);
        }
    });
}

/// Gives a block that this thread holds back to the system.
fn give_back(id: u32) {
    if unmap(id) {
        return;
    }
    let descriptor = DESCRIPTORS.get(id);
    let bytes = descriptor.bytes();
    // At the limit of mappings: keep the addresses without memory. Locked pages stay as they are, still counted.
    let is_cold = descriptor.state.load(Ordering::Relaxed) == COLD;
    // SAFETY: the mapping belongs to the descriptor, and only this thread holds that.
    if !is_cold && unsafe { os::decommit(descriptor.base(), bytes) } {
        accounting::mapped(-(bytes as i64));
        // Release: pairs with the Acquire in `view`.
        descriptor.state.store(COLD, Ordering::Release);
    }
    list::push_chain(&Descriptors, &PARKED_DESCRIPTORS, id, id);
}

/// Unmaps a block that this thread holds, whose descriptor is unused then; whether that worked.
fn unmap(id: u32) -> bool {
    let descriptor = DESCRIPTORS.get(id);
    let bytes = descriptor.bytes();
    // Before the addresses are anybody else's.
    page_map::set(descriptor.base(), 1, Entry::Foreign);
    // SAFETY: the mapping belongs to the descriptor, and only this thread holds that.
    if !unsafe { os::unmap(descriptor.base(), bytes) } {
        page_map::set(descriptor.base(), 1, Entry::FreedLarge);
        return false;
    }
    if descriptor.state.load(Ordering::Relaxed) != COLD {
        accounting::mapped(-(bytes as i64));
    }
    // Release: pairs with the Acquire in `view`.
    descriptor.state.store(UNUSED, Ordering::Release);
    list::push_chain(&Descriptors, &UNUSED_DESCRIPTORS, id, id);
    true
}

/// A block of `bytes` to a quarter more that could not be unmapped, and whether it is zero.
fn take_parked(bytes: usize) -> Option<(u32, bool)> {
    // Relaxed: usually empty. Only the one parked last is looked at.
    if PARKED_DESCRIPTORS.load(Ordering::Relaxed) as u32 == 0 {
        return None;
    }
    let id = list::pop(&Descriptors, &PARKED_DESCRIPTORS)?;
    let descriptor = DESCRIPTORS.get(id);
    let kept = descriptor.bytes();
    if kept < bytes || kept > bytes + bytes / 4 {
        list::push_chain(&Descriptors, &PARKED_DESCRIPTORS, id, id);
        return None;
    }
    Some((id, recommit(id)))
}

/// Gives every block in the cache back to the system, and those that could not be given back before.
pub(crate) fn empty_cache() {
    retry_parked();
    let _in_hand = InHand::take();
    CACHE.empty(&Descriptors, give_back);
}

/// Unmaps what could not be unmapped before, until that fails again.
fn retry_parked() {
    loop {
        let _in_hand = InHand::take();
        let Some(id) = list::pop(&Descriptors, &PARKED_DESCRIPTORS) else { return };
        if !unmap(id) {
            list::push_chain(&Descriptors, &PARKED_DESCRIPTORS, id, id);
            return;
        }
    }
}

fn map_or_relieve(bytes: usize, align: usize) -> Option<usize> {
    accounting::map(bytes, align, Purpose::Blocks)
        .or_else(|| {
            empty_cache();
            accounting::map(bytes, align, Purpose::Blocks)
        })
        .or_else(|| {
            // Superblocks that nobody uses keep their addresses, and under strict overcommit their charge.
            CORE.relieve(None);
            accounting::map(bytes, align, Purpose::Blocks)
        })
}

/// Whether the block with descriptor `id` begins at `address`.
pub(crate) fn begins_at(id: u32, address: usize) -> bool {
    DESCRIPTORS.get(id).address.load(Ordering::Relaxed) as usize == address
}

/// Bytes that the block with descriptor `id` holds.
pub(crate) fn usable_bytes(id: u32) -> usize {
    let descriptor = DESCRIPTORS.get(id);
    descriptor.bytes() - descriptor.colour()
}

/// Resizes the block with descriptor `id`, which the caller owns, from `old_size` to at least `size` bytes: in place where
/// possible. `None`: not possible, and the block is as it was.
pub(crate) fn resize(id: u32, old_size: usize, size: usize) -> Option<NonNull<u8>> {
    let descriptor = DESCRIPTORS.get(id);
    let old_bytes = descriptor.bytes();
    let new_bytes = rounded(size.checked_add(descriptor.colour())?)?;
    let asked = descriptor.asked.load(Ordering::Relaxed) as usize;
    // Growing into what a loose fit has needs no system call, and shrinking by less than a half is not worth one. (Who comes from C
    // knows no old size but that of the whole block: whether it grows only `asked` tells.)
    let grows = size >= old_size || new_bytes >= asked;
    if new_bytes <= old_bytes && (grows || new_bytes > old_bytes / 2) {
        if new_bytes > asked {
            CACHE.no_longer_wasted(new_bytes - asked);
            descriptor.asked.store(new_bytes as u64, Ordering::Relaxed);
        }
    } else {
        let _in_hand = InHand::take();
        if new_bytes >= old_bytes + old_bytes / 4
            && let Some(moved) = copy_to_kept(id, old_size, size)
        {
            return Some(moved);
        }
        let address = descriptor.base();
        // SAFETY: the mapping belongs to the caller's block; what is cut off it gives up.
        match unsafe { os::remap_in_place(address, old_bytes, new_bytes) } {
            Remapped::InPlace => resized(descriptor, old_bytes, new_bytes),
            // It stays as large as it is.
            _ if new_bytes < old_bytes => {}
            Remapped::NoRoom => return move_onto(id, address, old_bytes, new_bytes),
            Remapped::Refused => return None,
        }
    }
    let address = descriptor.address.load(Ordering::Relaxed) as usize;
    NonNull::new(core::ptr::with_exposed_provenance_mut(address))
}

/// Grows by much: a block that is kept anyway has its pages, so that copying is cheaper than new ones behind the old.
fn copy_to_kept(id: u32, old_size: usize, size: usize) -> Option<NonNull<u8>> {
    let bytes = rounded(size)?;
    let kept = CACHE.take_warm_to_grow(&Descriptors, bytes, live_bytes())?;
    let request = Request { size, align: 1, bytes };
    let old = DESCRIPTORS.get(id).address.load(Ordering::Relaxed) as usize;
    // The alignment of the old address may have been asked for.
    let align = if old.is_multiple_of(PAGE_BYTES) { PAGE_BYTES } else { 1 };
    let block = hand_out(kept, Request { align, ..request }, false);
    // SAFETY: the caller's block, and a larger one that is nobody else's.
    unsafe {
        core::ptr::with_exposed_provenance::<u8>(old)
            .copy_to_nonoverlapping(block.address.as_ptr(), old_size);
    }
    release(id);
    Some(block.address)
}

fn resized(descriptor: &LargeDescriptor, old_bytes: usize, new_bytes: usize) {
    let change = new_bytes as i64 - old_bytes as i64;
    accounting::mapped(change);
    LIVE_BYTES.fetch_add(change.cast_unsigned(), Ordering::Relaxed);
    CACHE.no_longer_wasted(descriptor.wasted());
    descriptor.bytes.store(new_bytes as u64, Ordering::Relaxed);
    descriptor.asked.store(new_bytes as u64, Ordering::Relaxed);
}

/// Moves the pages, not their contents. A move of the kernel's choice would not be aligned to a granule, so it goes
/// onto a reservation; and the old address is taken out of the map first, since another thread may get it as soon
/// as the pages have left.
fn move_onto(id: u32, address: usize, old_bytes: usize, new_bytes: usize) -> Option<NonNull<u8>> {
    let target = os::reserve(new_bytes, GRANULE_BYTES)?;
    if page_map::prepare(target, GRANULE_BYTES).is_none() {
        // SAFETY: reserved above and known to nobody.
        unsafe { os::unmap(target, new_bytes) };
        return None;
    }
    page_map::set(address, 1, Entry::Foreign);
    // SAFETY: the mapping belongs to the caller's block, and the reservation is known to this thread only.
    if !unsafe { os::remap_onto(address, old_bytes, new_bytes, target) } {
        page_map::set(address, 1, Entry::Large(id));
        // The reservation stays: the kernel may have removed it before it failed, and by now those addresses may be
        // somebody else's. What is lost is address space, in a case of no memory.
        return None;
    }
    let descriptor = DESCRIPTORS.get(id);
    let moved = target + descriptor.colour();
    descriptor.address.store(moved as u64, Ordering::Relaxed);
    resized(descriptor, old_bytes, new_bytes);
    page_map::set(target, 1, Entry::Large(id));
    NonNull::new(core::ptr::with_exposed_provenance_mut(moved))
}

/// `size` rounded up to the bytes of a mapping.
fn rounded(size: usize) -> Option<usize> {
    size.max(1).checked_next_multiple_of(GRANULE_BYTES).map(cache::rounded)
}

/// A large block as a view reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) address: u64,
    pub(crate) bytes: u64,
    pub(crate) since: u64,
    pub(crate) cached: bool,
}

/// Number of descriptors.
pub(crate) fn descriptors() -> u32 {
    DESCRIPTORS.len()
}

/// The block with descriptor `id`; `None` if it has none, or none with memory, now.
pub(crate) fn view(id: u32) -> Option<Seen> {
    let descriptor = DESCRIPTORS.get(id);
    // Acquire: pairs with the Releases of `state`.
    let state = descriptor.state.load(Ordering::Acquire);
    (state == LIVE || state == CACHED).then(|| Seen {
        address: descriptor.base() as u64,
        bytes: descriptor.bytes.load(Ordering::Relaxed),
        since: descriptor.since.load(Ordering::Relaxed),
        cached: state == CACHED,
    })
}

/// Large blocks handed out ever, given back ever, and bytes of those that are held.
pub(crate) fn counters() -> (u64, u64, i64) {
    (
        ALLOCATIONS.load(Ordering::Relaxed),
        FREES.load(Ordering::Relaxed),
        LIVE_BYTES.load(Ordering::Relaxed).cast_signed(),
    )
}
