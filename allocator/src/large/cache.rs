//! Freed large blocks, kept for reuse: a stack for every size.
//!
//! Sizes up to [`MAX_BYTES`] are rounded to eight per doubling, as classes are, so that blocks of one stack are alike. A
//! request takes the block that was put last into the stack of its size, or into one of the next larger ones: a loose fit
//! wastes memory while it lasts, but a new mapping costs a page fault for every page, and over time loose fits keep *less*
//! memory resident than tight ones (a mix of 64 KiB to 2 MiB needs 31 MiB with fits up to four times the size, 51 MiB with
//! a quarter more). What loose fits waste is bounded, so that blocks which stay do not hold much more than they need.
//!
//! What is kept *warm*, with its pages, is bounded, too: not more than is in use, and a spare. What is more is kept *cold*
//! for a while: without pages, but with its addresses, so that no mapping has to be made and no page tables for it. What
//! nobody needed for an interval of [`crate::decay`] goes from warm to cold, and from cold back to the system, by and by.

use core::ops::RangeInclusive;
use core::sync::atomic::{AtomicU64, Ordering};

use super::stock::{Descriptors, Fault, Stock};
use crate::list;
use crate::platform::Word;
use crate::size_class::{GRANULE_BYTES, in_bounds};

/// Largest block that is kept.
pub(super) const MAX_BYTES: usize = 32 << 20;
// [`crate::options::KEEP_LARGE`] bytes are kept warm beside as many as are in use (a mix of 64 KiB to 32 MiB, 90 MiB in use: 1,036 ns
// with 32 MiB, 790 with 64, 475 with 128, 154 with 256, 72 with 512; others bound time, and no bytes),
/// and so many cold.
pub(super) const COLD_BYTES: u64 = 256 << 20;
/// Fits may waste so many bytes, and an eighth of what is in use.
const WASTE_BYTES: u64 = 16 << 20;
/// A block is taken for so many times smaller requests.
const LOOSEST_FIT: usize = 4;
/// Evictions that one free makes at most.
const MOST_EVICTED: u32 = 4;
/// Blocks that one interval gives back at most.
const MOST_UNNEEDED: u64 = 64;

const SMALLEST_SHIFT: u32 = GRANULE_BYTES.ilog2();
/// Sizes per doubling.
const STEPS: usize = 8;
/// Stacks, with blocks of all sizes up to [`MAX_BYTES`].
pub(super) const COUNT: usize = (MAX_BYTES.ilog2() - SMALLEST_SHIFT) as usize * STEPS + 1;

/// `bytes`, a multiple of a granule, rounded up to the next size that has a stack; larger ones as they are.
pub(super) const fn rounded(bytes: usize) -> usize {
    if bytes > MAX_BYTES {
        return bytes;
    }
    let step = (1 << (bytes.next_power_of_two().ilog2() - 1)) / STEPS;
    bytes.next_multiple_of(if step > GRANULE_BYTES { step } else { GRANULE_BYTES })
}

/// The stack of a rounded size.
const fn stack_of(bytes: usize) -> usize {
    // A logarithm of something that is not 0, whatever it is given.
    let doubling = (bytes | 1).ilog2();
    let eighth = (bytes >> (doubling - 3)) & (STEPS - 1);
    (doubling - SMALLEST_SHIFT) as usize * STEPS + eighth
}

/// Bytes of the blocks of a stack; not every stack below 512 KiB has a size of its own.
const fn bytes_of(stack: usize) -> usize {
    (STEPS + stack % STEPS) << (stack / STEPS + SMALLEST_SHIFT as usize - 3)
}

/// A stack for every size, of which models have only the smallest.
#[derive(Debug)]
struct Stacks<W, const SIZES: usize> {
    /// Heads, see [`crate::list`]; side by side, since a request may look at many.
    heads: [W; SIZES],
    /// About how many blocks are there: raised before a push, lowered after a pop.
    counts: [W; SIZES],
    /// The least that were there since the last [`Stacks::unneeded`].
    least: [W; SIZES],
    /// About how many bytes all of them have: as the counts.
    bytes: W,
    /// Where the next eviction begins.
    hand: W,
}

impl Stacks<AtomicU64, COUNT> {
    const fn new() -> Self {
        Self {
            heads: [const { AtomicU64::new(0) }; COUNT],
            counts: [const { AtomicU64::new(0) }; COUNT],
            least: [const { AtomicU64::new(0) }; COUNT],
            bytes: AtomicU64::new(0),
            hand: AtomicU64::new(0),
        }
    }
}

// Counters are Relaxed: they bound what is kept, and publish nothing.
impl<W: Word, const SIZES: usize> Stacks<W, SIZES> {
    fn empty_ones(word: impl Fn() -> W) -> Self {
        let words = || core::array::from_fn(|_| word());
        Self { heads: words(), counts: words(), least: words(), bytes: word(), hand: word() }
    }

    fn put<S: Stock<SIZES, Word = W>>(&self, blocks: &S, id: u32, bytes: usize) {
        let stack = stack_of(bytes);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        in_bounds(&self.counts, stack).fetch_add(1, Ordering::Relaxed);
        list::push_chain(&Descriptors::<SIZES, _>(blocks), in_bounds(&self.heads, stack), id, id);
    }

    fn pop<S: Stock<SIZES, Word = W>>(&self, blocks: &S, stack: usize) -> Option<u32> {
        // Relaxed: the pop looks again.
        if in_bounds(&self.heads, stack).load(Ordering::Relaxed) as u32 == 0 {
            return None;
        }
        let id = list::pop(&Descriptors::<SIZES, _>(blocks), in_bounds(&self.heads, stack))?;
        self.bytes.fetch_sub(bytes_of(stack) as u64, Ordering::Relaxed);
        let left = in_bounds(&self.counts, stack).fetch_sub(1, Ordering::Relaxed) - 1;
        if in_bounds(&self.least, stack).load(Ordering::Relaxed) > left {
            in_bounds(&self.least, stack).fetch_min(left, Ordering::Relaxed);
        }
        Some(id)
    }

    /// Takes blocks out as long as there are more than `keep` bytes, a few at most, of all sizes in turn.
    fn evict<S: Stock<SIZES, Word = W>>(&self, blocks: &S, keep: u64, give_back: impl Fn(u32)) {
        for _ in 0..MOST_EVICTED {
            if self.bytes.load(Ordering::Relaxed) <= keep {
                return;
            }
            // The next stack that has a block. A stride prime to their number, so that large and small ones alternate.
            let first = self.hand.fetch_add(31, Ordering::Relaxed) as usize;
            let victim = (0..SIZES).find_map(|step| {
                let stack = first.wrapping_add(step) % SIZES;
                if S::FAULT == Fault::EvictUnpopped {
                    let head = in_bounds(&self.heads, stack).load(Ordering::Acquire);
                    return (head as u32).checked_sub(1);
                }
                self.pop(blocks, stack)
            });
            let Some(id) = victim else { return };
            give_back(id);
        }
    }

    /// Takes out half of the blocks that were there all the time since the last call, rounded up, of a bounded number.
    fn unneeded<S: Stock<SIZES, Word = W>>(&self, blocks: &S, give_back: impl Fn(u32)) {
        let mut most = MOST_UNNEEDED;
        for stack in 0..SIZES {
            let count = in_bounds(&self.counts, stack).load(Ordering::Relaxed);
            let least = in_bounds(&self.least, stack).swap(count, Ordering::Relaxed);
            for _ in 0..least.min(count).div_ceil(2).min(most) {
                let Some(id) = self.pop(blocks, stack) else { break };
                give_back(id);
                most -= 1;
            }
        }
    }

    fn empty<S: Stock<SIZES, Word = W>>(&self, blocks: &S, give_back: impl Fn(u32)) {
        for stack in 0..SIZES {
            while let Some(id) = self.pop(blocks, stack) {
                give_back(id);
            }
        }
    }
}

/// The blocks that are kept. Those that are to be given back are passed to a function of the caller.
#[derive(Debug)]
pub(super) struct Cache<W, const SIZES: usize> {
    warm: Stacks<W, SIZES>,
    cold: Stacks<W, SIZES>,
    /// Bytes that loose fits waste.
    wasted: W,
}

impl Cache<AtomicU64, COUNT> {
    pub(super) const fn new() -> Self {
        Self { warm: Stacks::new(), cold: Stacks::new(), wasted: AtomicU64::new(0) }
    }
}

impl<W: Word, const SIZES: usize> Cache<W, SIZES> {
    /// Without any block.
    pub(super) fn empty_one(word: impl Fn() -> W) -> Self {
        Self { warm: Stacks::empty_ones(&word), cold: Stacks::empty_ones(&word), wasted: word() }
    }

    /// Bytes that loose fits waste.
    pub(super) fn wasted(&self) -> u64 {
        self.wasted.load(Ordering::Relaxed)
    }

    /// Keeps a block of a rounded size, at most [`MAX_BYTES`], that this thread holds, and takes others out if that is too
    /// much beside `live_bytes` in use.
    pub(super) fn put<S: Stock<SIZES, Word = W>>(
        &self,
        blocks: &S,
        (id, bytes): (u32, usize),
        live_bytes: u64,
        give_back: impl Fn(u32),
    ) {
        self.warm.put(blocks, id, bytes);
        self.warm.evict(blocks, blocks.keep_warm().saturating_add(live_bytes), give_back);
    }

    /// The same, of one without pages.
    pub(super) fn put_cold<S: Stock<SIZES, Word = W>>(
        &self,
        blocks: &S,
        (id, bytes): (u32, usize),
        live_bytes: u64,
        give_back: impl Fn(u32),
    ) {
        self.cold.put(blocks, id, bytes);
        self.cold.evict(blocks, blocks.keep_cold().saturating_add(live_bytes), give_back);
    }

    /// A block with its pages for a request of a rounded size, if one is kept that fits beside `live_bytes` in use.
    pub(super) fn take_warm<S: Stock<SIZES, Word = W>>(
        &self,
        blocks: &S,
        bytes: usize,
        live_bytes: u64,
    ) -> Option<u32> {
        self.take(&self.warm, blocks, bytes, live_bytes)
    }

    /// As [`Cache::take_warm`], but the largest one that fits: for what grows, and will go on growing without a move then.
    pub(super) fn take_warm_to_grow<S: Stock<SIZES, Word = W>>(
        &self,
        blocks: &S,
        bytes: usize,
        live_bytes: u64,
    ) -> Option<u32> {
        let fits = self.fits(bytes, live_bytes)?.rev();
        self.take_first(&self.warm, blocks, bytes, fits)
    }

    /// The same, of one without pages.
    pub(super) fn take_cold<S: Stock<SIZES, Word = W>>(
        &self,
        blocks: &S,
        bytes: usize,
        live_bytes: u64,
    ) -> Option<u32> {
        self.take(&self.cold, blocks, bytes, live_bytes)
    }

    fn take<S: Stock<SIZES, Word = W>>(
        &self,
        stacks: &Stacks<W, SIZES>,
        blocks: &S,
        bytes: usize,
        live_bytes: u64,
    ) -> Option<u32> {
        let fits = self.fits(bytes, live_bytes)?;
        self.take_first(stacks, blocks, bytes, fits)
    }

    /// The stacks with blocks for a request of a rounded size, the tightest fit first.
    fn fits(&self, bytes: usize, live_bytes: u64) -> Option<RangeInclusive<usize>> {
        if bytes > MAX_BYTES {
            return None;
        }
        // Relaxed: a bound, not a promise.
        let may_waste = (WASTE_BYTES + live_bytes / 8)
            .saturating_sub(self.wasted.load(Ordering::Relaxed))
            .max(bytes as u64 / 4);
        let most = (LOOSEST_FIT * bytes).min(bytes.saturating_add(may_waste as usize));
        Some(stack_of(bytes)..=stack_of(most.min(MAX_BYTES)).min(SIZES - 1))
    }

    fn take_first<S: Stock<SIZES, Word = W>>(
        &self,
        stacks: &Stacks<W, SIZES>,
        blocks: &S,
        bytes: usize,
        mut fits: impl Iterator<Item = usize>,
    ) -> Option<u32> {
        let (id, stack) = fits.find_map(|stack| Some((stacks.pop(blocks, stack)?, stack)))?;
        let waste = bytes_of(stack) as u64 - bytes as u64;
        if waste > 0 {
            self.wasted.fetch_add(waste, Ordering::Relaxed);
        }
        Some(id)
    }

    /// A fit that wasted so many bytes has ended.
    pub(super) fn no_longer_wasted(&self, bytes: usize) {
        if bytes > 0 {
            // Relaxed: a counter.
            self.wasted.fetch_sub(bytes as u64, Ordering::Relaxed);
        }
    }

    /// Takes out half of what nobody needed since the last call.
    pub(super) fn unneeded<S: Stock<SIZES, Word = W>>(&self, blocks: &S, give_back: impl Fn(u32)) {
        self.cold.unneeded(blocks, &give_back);
        self.warm.unneeded(blocks, give_back);
    }

    /// Takes out everything.
    pub(super) fn empty<S: Stock<SIZES, Word = W>>(&self, blocks: &S, give_back: impl Fn(u32)) {
        self.warm.empty(blocks, &give_back);
        self.cold.empty(blocks, give_back);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Aim: sizes are at most an eighth or a granule apart, each has a stack of its own, in order, and a stack knows its
    /// size. Method: all multiples of a granule.
    #[test]
    fn sizes_have_stacks() {
        let mut last = 0;
        for bytes in (GRANULE_BYTES..=MAX_BYTES).step_by(GRANULE_BYTES) {
            let size = rounded(bytes);
            assert!(size >= bytes && size - bytes < (bytes / 8).max(GRANULE_BYTES), "{bytes}");
            assert_eq!((rounded(size), bytes_of(stack_of(size))), (size, size), "{bytes}");
            assert!(stack_of(size) >= last);
            last = stack_of(size);
        }
        assert_eq!(last, COUNT - 1);
        assert_eq!(rounded(MAX_BYTES + GRANULE_BYTES), MAX_BYTES + GRANULE_BYTES);
    }
}
