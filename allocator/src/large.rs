//! Large blocks: above the largest class, or aligned to more than a granule (\[0039\], \[0047\]).
//!
//! Each is a mapping of its own, a multiple of 64 KiB at a multiple of 64 KiB, with a type-stable descriptor out of
//! line. Freed ones go through a bounded cache: slots that are filled and emptied by compare-and-swap.
//!
//! | word      | written by                                  |
//! |-----------|---------------------------------------------|
//! | `next`    | whoever holds it, before a push             |
//! | `address`, `bytes`, `since` | whoever holds it          |
//! | `state`   | whoever holds it; views read it first       |
//!
//! A descriptor is held by the owner of its block, by a cache slot, by one of the two stacks, or by a thread in
//! between, which is counted as in hand.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::accounting::{self, Purpose, hold};
use crate::list::{self, Links};
use crate::live::CORE;
use crate::os::{self, Remapped};
use crate::page_map::{self, Entry};
use crate::size_class::GRANULE_BYTES;
use crate::table::{Table, ZeroRecord};

/// Blocks the cache keeps.
const CACHE_SLOTS: usize = 16;
/// Largest block the cache keeps.
const MAX_CACHED_BLOCK_BYTES: usize = 8 << 20;
/// Bytes the cache keeps at most.
const MAX_CACHED_BYTES: u64 = 32 << 20;

/// Bits of an address that a program can have: no larger block is worth an effort.
const ADDRESS_BITS: u32 = 47;

/// States of a descriptor.
const UNUSED: u64 = 0;
const LIVE: u64 = 1;
const CACHED: u64 = 2;
/// Could not be unmapped: decommitted, its addresses kept for reuse.
const PARKED: u64 = 3;

#[repr(C, align(64))]
struct LargeDescriptor {
    next: AtomicU64,
    state: AtomicU64,
    address: AtomicU64,
    bytes: AtomicU64,
    since: AtomicU64,
}

// SAFETY: atomics only; zero bytes are a valid value of each.
unsafe impl ZeroRecord for LargeDescriptor {}

static DESCRIPTORS: Table<LargeDescriptor> = Table::new();
/// Descriptors without a block.
static UNUSED_DESCRIPTORS: AtomicU64 = AtomicU64::new(0);
/// Descriptors whose mapping could not be unmapped.
static PARKED_DESCRIPTORS: AtomicU64 = AtomicU64::new(0);
/// id + 1 of a cached block, 0: free.
static CACHE: [AtomicU64; CACHE_SLOTS] = [const { AtomicU64::new(0) }; CACHE_SLOTS];
/// About how many bytes the cache keeps: raised before a block is put, lowered after it is taken.
static CACHED_BYTES: AtomicU64 = AtomicU64::new(0);

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static FREES: AtomicU64 = AtomicU64::new(0);
static LIVE_BYTES: AtomicU64 = AtomicU64::new(0);

// Counters, and the words of a descriptor, are Relaxed: a descriptor changes hands through a stack, a cache slot
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

/// Counts a descriptor as in hand until it is dropped.
struct InHand;

impl InHand {
    fn take() -> Self {
        hold(1);
        Self
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        hold(-1);
    }
}

/// A block of at least `size` bytes at a multiple of `align` (a power of two). `None`: no memory.
pub(crate) fn allocate(size: usize, align: usize) -> Option<LargeBlock> {
    let bytes = rounded(size)?;
    if bytes >> ADDRESS_BITS != 0 || align >> ADDRESS_BITS != 0 {
        return None;
    }
    let _in_hand = InHand::take();
    if let Some((id, zeroed)) = take_kept(bytes, align) {
        return Some(hand_out(id, zeroed));
    }
    let address = map_or_relieve(bytes, align.max(GRANULE_BYTES))?;
    let entered = page_map::prepare(address, GRANULE_BYTES).and_then(|()| {
        list::pop(&Descriptors, &UNUSED_DESCRIPTORS).or_else(|| DESCRIPTORS.extend(1))
    });
    let Some(id) = entered else {
        // SAFETY: mapped above and known to nobody. Should that fail, address space is lost, and nothing else.
        unsafe { accounting::unmap(address, bytes, Purpose::Blocks) };
        return None;
    };
    let descriptor = DESCRIPTORS.get(id);
    descriptor.address.store(address as u64, Ordering::Relaxed);
    descriptor.bytes.store(bytes as u64, Ordering::Relaxed);
    Some(hand_out(id, true))
}

fn hand_out(id: u32, zeroed: bool) -> LargeBlock {
    let descriptor = DESCRIPTORS.get(id);
    let address = descriptor.address.load(Ordering::Relaxed) as usize;
    descriptor.since.store(os::ticks(), Ordering::Relaxed);
    LIVE_BYTES.fetch_add(descriptor.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
    page_map::set(address, 1, Entry::Large(id));
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
    let _in_hand = InHand::take();
    let descriptor = DESCRIPTORS.get(id);
    let address = descriptor.address.load(Ordering::Relaxed) as usize;
    let bytes = descriptor.bytes.load(Ordering::Relaxed);
    page_map::set(address, 1, Entry::Foreign);
    descriptor.since.store(os::ticks(), Ordering::Relaxed);
    LIVE_BYTES.fetch_sub(bytes, Ordering::Relaxed);
    // Release: pairs with the Acquire in `view`.
    descriptor.state.store(CACHED, Ordering::Release);
    FREES.fetch_add(1, Ordering::Relaxed);
    if !put_in_cache(id, bytes) {
        give_back(id);
    }
}

/// Gives a block that this thread holds back to the system.
fn give_back(id: u32) {
    let descriptor = DESCRIPTORS.get(id);
    let address = descriptor.address.load(Ordering::Relaxed) as usize;
    let bytes = descriptor.bytes.load(Ordering::Relaxed) as usize;
    // SAFETY: the mapping belongs to the descriptor, and only this thread holds that.
    if unsafe { accounting::unmap(address, bytes, Purpose::Blocks) } {
        // Release: pairs with the Acquire in `view`.
        descriptor.state.store(UNUSED, Ordering::Release);
        list::push_chain(&Descriptors, &UNUSED_DESCRIPTORS, id, id);
        return;
    }
    // At the limit of mappings: keep the addresses without memory. Locked pages stay as they are, still counted.
    // SAFETY: as above.
    if unsafe { os::decommit(address, bytes) } {
        accounting::mapped(-(bytes as i64));
        // Release: pairs with the Acquire in `view`.
        descriptor.state.store(PARKED, Ordering::Release);
    }
    list::push_chain(&Descriptors, &PARKED_DESCRIPTORS, id, id);
}

fn put_in_cache(id: u32, bytes: u64) -> bool {
    if bytes > MAX_CACHED_BLOCK_BYTES as u64 {
        return false;
    }
    if CACHED_BYTES.fetch_add(bytes, Ordering::Relaxed) + bytes <= MAX_CACHED_BYTES {
        for slot in &CACHE {
            // Relaxed load: the compare-and-swap decides. Release: pairs with the Acquire in `take_cached`: the
            // descriptor's words. Failure: another thread has filled it.
            if slot.load(Ordering::Relaxed) == 0
                && slot
                    .compare_exchange(0, u64::from(id) + 1, Ordering::Release, Ordering::Relaxed)
                    .is_ok()
            {
                return true;
            }
        }
    }
    CACHED_BYTES.fetch_sub(bytes, Ordering::Relaxed);
    false
}

/// A kept block of `bytes` to a quarter more, and whether it is zero.
fn take_kept(bytes: usize, align: usize) -> Option<(u32, bool)> {
    if let Some(id) = take_cached(bytes, align) {
        return Some((id, false));
    }
    // Relaxed: usually empty. Only the one parked last is looked at.
    if PARKED_DESCRIPTORS.load(Ordering::Relaxed) as u32 == 0 {
        return None;
    }
    let id = list::pop(&Descriptors, &PARKED_DESCRIPTORS)?;
    let descriptor = DESCRIPTORS.get(id);
    let kept = descriptor.bytes.load(Ordering::Relaxed);
    if !fits(id, bytes, align) {
        list::push_chain(&Descriptors, &PARKED_DESCRIPTORS, id, id);
        return None;
    }
    let zeroed = descriptor.state.load(Ordering::Relaxed) == PARKED;
    if zeroed {
        accounting::mapped(kept as i64);
    }
    Some((id, zeroed))
}

fn take_cached(bytes: usize, align: usize) -> Option<u32> {
    for slot in &CACHE {
        // Acquire: pairs with the Release in `put_in_cache`.
        let word = slot.load(Ordering::Acquire);
        let Some(id) = (word as u32).checked_sub(1) else {
            continue;
        };
        if !fits(id, bytes, align) {
            continue;
        }
        // Acquire: as above, if the same descriptor came back meanwhile. Failure: another thread took it.
        if slot.compare_exchange(word, 0, Ordering::Acquire, Ordering::Relaxed).is_err() {
            continue;
        }
        let kept = DESCRIPTORS.get(id).bytes.load(Ordering::Relaxed);
        CACHED_BYTES.fetch_sub(kept, Ordering::Relaxed);
        if fits(id, bytes, align) {
            return Some(id);
        }
        // It came back as another block.
        if !put_in_cache(id, kept) {
            give_back(id);
        }
    }
    None
}

/// Whether a kept block will do.
fn fits(id: u32, bytes: usize, align: usize) -> bool {
    let descriptor = DESCRIPTORS.get(id);
    let kept = descriptor.bytes.load(Ordering::Relaxed) as usize;
    let address = descriptor.address.load(Ordering::Relaxed) as usize;
    kept >= bytes && kept <= bytes + bytes / 4 && address.is_multiple_of(align)
}

/// Gives every block in the cache back to the system, and those that could not be given back before.
pub(crate) fn empty_cache() {
    retry_parked();
    for slot in &CACHE {
        let _in_hand = InHand::take();
        // Acquire: pairs with the Release in `put_in_cache`.
        let Some(id) = (slot.swap(0, Ordering::Acquire) as u32).checked_sub(1) else {
            continue;
        };
        CACHED_BYTES
            .fetch_sub(DESCRIPTORS.get(id).bytes.load(Ordering::Relaxed), Ordering::Relaxed);
        give_back(id);
    }
}

/// Unmaps what could not be unmapped before, until that fails again.
fn retry_parked() {
    loop {
        let _in_hand = InHand::take();
        let Some(id) = list::pop(&Descriptors, &PARKED_DESCRIPTORS) else { return };
        let descriptor = DESCRIPTORS.get(id);
        let address = descriptor.address.load(Ordering::Relaxed) as usize;
        let bytes = descriptor.bytes.load(Ordering::Relaxed) as usize;
        // SAFETY: the mapping belongs to the descriptor, and only this thread holds that.
        if !unsafe { os::unmap(address, bytes) } {
            list::push_chain(&Descriptors, &PARKED_DESCRIPTORS, id, id);
            return;
        }
        if descriptor.state.load(Ordering::Relaxed) != PARKED {
            // Locked when it was freed, and hence counted until now.
            accounting::mapped(-(bytes as i64));
        }
        // Release: pairs with the Acquire in `view`.
        descriptor.state.store(UNUSED, Ordering::Release);
        list::push_chain(&Descriptors, &UNUSED_DESCRIPTORS, id, id);
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
    DESCRIPTORS.get(id).bytes.load(Ordering::Relaxed) as usize
}

/// Resizes the block with descriptor `id`, which the caller owns, to at least `size` bytes by remapping it: in
/// place where possible. `None`: not possible, and the block is as it was.
pub(crate) fn resize(id: u32, size: usize) -> Option<NonNull<u8>> {
    let new_bytes = rounded(size)?;
    let descriptor = DESCRIPTORS.get(id);
    let address = descriptor.address.load(Ordering::Relaxed) as usize;
    let old_bytes = descriptor.bytes.load(Ordering::Relaxed) as usize;
    if new_bytes != old_bytes {
        let _in_hand = InHand::take();
        // SAFETY: the mapping belongs to the caller's block; what is cut off it gives up.
        match unsafe { os::remap_in_place(address, old_bytes, new_bytes) } {
            Remapped::InPlace => resized(descriptor, old_bytes, new_bytes),
            // It stays as large as it is.
            _ if new_bytes < old_bytes => {}
            Remapped::NoRoom => return move_onto(id, address, old_bytes, new_bytes),
            Remapped::Refused => return None,
        }
    }
    NonNull::new(core::ptr::with_exposed_provenance_mut(address))
}

fn resized(descriptor: &LargeDescriptor, old_bytes: usize, new_bytes: usize) {
    let change = new_bytes as i64 - old_bytes as i64;
    accounting::mapped(change);
    LIVE_BYTES.fetch_add(change.cast_unsigned(), Ordering::Relaxed);
    descriptor.bytes.store(new_bytes as u64, Ordering::Relaxed);
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
    descriptor.address.store(target as u64, Ordering::Relaxed);
    resized(descriptor, old_bytes, new_bytes);
    page_map::set(target, 1, Entry::Large(id));
    NonNull::new(core::ptr::with_exposed_provenance_mut(target))
}

/// `size` rounded up to granules.
fn rounded(size: usize) -> Option<usize> {
    size.max(1).checked_next_multiple_of(GRANULE_BYTES)
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
        address: descriptor.address.load(Ordering::Relaxed),
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
