//! Large blocks: above the largest class, or aligned to more than a granule (\[0039\], \[0047\]).
//!
//! Each is a mapping of its own, a multiple of 64 KiB at a multiple of 64 KiB, with a type-stable descriptor out of
//! line. Freed ones are kept for a while (`cache`). The procedures are in [`stock`] and, for growing and shrinking, in `resize`;
//! here is what they work on in this process.
//!
//! | word      | written by                                  |
//! |-----------|---------------------------------------------|
//! | `next`    | whoever holds it, before a push             |
//! | `address`, `bytes`, `asked`, `since` | whoever holds it |
//! | `state`   | whoever holds it; views read it first       |
//!
//! A descriptor is held by the owner of its block, by a stack of the cache, by one of the two stacks beside it, or by a thread
//! in between, which is counted as in hand.
//!
//! # Colour
//!
//! A processor's caches find the place of a line by some bits of its address; if every large block began at a multiple of
//! 64 KiB, the first lines of all blocks, and of all their pages, would compete for the same few places. So a block begins
//! some lines behind the beginning of its mapping, as many as its rounding has room for, other blocks other many.

mod cache;
mod resize;
pub mod stock;

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use self::cache::COUNT;
pub(crate) use self::resize::resize;
pub(crate) use self::stock::Seen;
use self::stock::{LargeDescriptor, Stock, Stocks};
use crate::accounting::{self, Purpose};
use crate::decay;
use crate::harden;
use crate::huge;
use crate::live::CORE;
use crate::options;
use crate::os;
use crate::page_map::{self, Entry};
use crate::size_class::GRANULE_BYTES;
use crate::table::{Table, ZeroRecord};

// SAFETY: atomics only; zero bytes are a valid value of each.
unsafe impl ZeroRecord for LargeDescriptor<AtomicU64> {}

static DESCRIPTORS: Table<LargeDescriptor<AtomicU64>> = Table::new();
static STOCKS: Stocks<AtomicU64, COUNT> = Stocks::new();

/// The large blocks of this process.
struct Ours;

impl Stock<COUNT> for Ours {
    type Word = AtomicU64;

    #[inline(always)]
    fn stocks(&self) -> &Stocks<AtomicU64, COUNT> {
        &STOCKS
    }
    #[inline(always)]
    fn descriptor(&self, id: u32) -> &LargeDescriptor<AtomicU64> {
        DESCRIPTORS.get(id)
    }
    fn extend(&self) -> Option<u32> {
        DESCRIPTORS.extend(1)
    }
    fn keeps(&self) -> bool {
        // What is unmapped cannot be used any more without a fault.
        !harden::is_on()
    }
    fn keep_warm(&self) -> u64 {
        options::KEEP_LARGE.get()
    }
    fn keep_cold(&self) -> u64 {
        cache::COLD_BYTES
    }

    fn map(&self, bytes: usize, align: usize) -> Option<usize> {
        accounting::map(bytes, align, Purpose::Blocks)
    }
    unsafe fn unmap(&self, address: usize, bytes: usize) -> bool {
        // SAFETY: the caller's.
        unsafe { os::unmap(address, bytes) }
    }
    unsafe fn decommit(&self, address: usize, bytes: usize) -> bool {
        // SAFETY: the caller's.
        unsafe { os::decommit(address, bytes) }
    }
    fn mapped(&self, change_bytes: i64) {
        accounting::mapped(change_bytes);
    }
    fn block_mapped(&self, address: usize, bytes: usize) {
        huge::block_mapped(address, bytes);
    }
    fn relieve(&self) {
        CORE.relieve(None);
    }

    fn prepare(&self, address: usize) -> Option<()> {
        page_map::prepare(address, GRANULE_BYTES)
    }
    fn enter(&self, base: usize, entry: Entry) {
        page_map::set(base, 1, entry);
    }

    fn now_ticks(&self) -> u64 {
        os::ticks()
    }
    fn take_in_hand(&self) -> u32 {
        accounting::take()
    }
    fn put_in_place(&self, taken: u32) {
        accounting::put(taken);
    }
}

/// A large block as it is handed out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LargeBlock {
    pub(crate) address: NonNull<u8>,
    /// Whether its bytes are known to be zero.
    pub(crate) zeroed: bool,
}

/// A block of at least `size` bytes at a multiple of `align` (a power of two); `zeroed`: of zero bytes if that is to be
/// had cheaper than by writing them. `None`: no memory.
pub(crate) fn allocate(size: usize, align: usize, zeroed: bool) -> Option<LargeBlock> {
    let block = stock::allocate(&Ours, size, align, zeroed)?;
    let address = NonNull::new(core::ptr::with_exposed_provenance_mut(block.address))?;
    Some(LargeBlock { address, zeroed: block.zeroed })
}

/// Frees the block with descriptor `id`, which the caller owns.
pub(crate) fn free(id: u32) {
    stock::free(&Ours, id);
    decay::event();
    decay::settle();
}

/// Once an interval of [`decay`]: gives half of what was not needed in it back to the system.
pub(crate) fn end_interval() {
    stock::end_interval(&Ours);
}

/// Gives every block in the cache back to the system, and those that could not be given back before.
pub(crate) fn empty_cache() {
    stock::empty_cache(&Ours);
}

/// Whether the block with descriptor `id` begins at `address`.
pub(crate) fn begins_at(id: u32, address: usize) -> bool {
    DESCRIPTORS.get(id).begins_at(address)
}

/// Bytes that the block with descriptor `id` holds.
pub(crate) fn usable_bytes(id: u32) -> usize {
    let descriptor = DESCRIPTORS.get(id);
    descriptor.bytes() - descriptor.colour()
}

/// Number of descriptors.
pub(crate) fn descriptors() -> u32 {
    DESCRIPTORS.len()
}

/// The block with descriptor `id`; `None` if it has none, or none with memory, now.
pub(crate) fn view(id: u32) -> Option<Seen> {
    stock::view(&Ours, id)
}

/// Large blocks handed out ever, given back ever, and bytes of those that are held.
pub(crate) fn counters() -> (u64, u64, i64) {
    (
        STOCKS.allocations.load(Ordering::Relaxed),
        STOCKS.frees.load(Ordering::Relaxed),
        STOCKS.live_bytes.load(Ordering::Relaxed).cast_signed(),
    )
}
