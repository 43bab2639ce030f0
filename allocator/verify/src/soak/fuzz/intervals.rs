//! Which memory is somebody's: a bit for each 16 bytes of the address space, that all threads see. Whoever gets a block enters it, and
//! finds out whether any part of it was entered before; whoever gives one up takes it out first.
//!
//! No lock, and no order of its own: a block that two threads hold at once is entered twice, whichever comes first.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// Bytes that a bit stands for: blocks begin at multiples of it.
const GRANULE_SHIFT: u32 = 4;
/// Bytes of the address space that one leaf stands for.
const LEAF_SHIFT: u32 = 24;
const ADDRESS_BITS: u32 = 47;
const LEAF_WORDS: usize = 1 << (LEAF_SHIFT - GRANULE_SHIFT - 6);

type Leaf = [AtomicU64; LEAF_WORDS];

/// The bits.
#[derive(Debug)]
pub struct Intervals {
    roots: &'static [AtomicPtr<Leaf>; 1 << (ADDRESS_BITS - LEAF_SHIFT)],
}

impl Default for Intervals {
    fn default() -> Self {
        Self::new()
    }
}

impl Intervals {
    /// None is anybody's.
    ///
    /// # Panics
    /// Without memory.
    #[must_use]
    pub fn new() -> Self {
        // SAFETY: zero bytes are null pointers; mapped for good.
        Self { roots: unsafe { zeros().as_ref() } }
    }

    fn leaf(&self, address: usize) -> &'static Leaf {
        let root = &self.roots[address >> LEAF_SHIFT];
        // Acquire: pairs with the Release below; the leaf is zero.
        let mut leaf = root.load(Ordering::Acquire);
        if leaf.is_null() {
            leaf = zeros::<Leaf>().as_ptr();
            let (before, order) = (std::ptr::null_mut(), Ordering::AcqRel);
            if let Err(found) = root.compare_exchange(before, leaf, order, Ordering::Acquire) {
                // SAFETY: mapped above, and known to nobody.
                unsafe { libc::munmap(leaf.cast(), size_of::<Leaf>()) };
                leaf = found;
            }
        }
        // SAFETY: mapped for good.
        unsafe { &*leaf }
    }

    /// Calls `each` with the words that have bits of an interval, and those bits, until it says no; whether it never did.
    fn all(&self, address: usize, bytes: usize, each: impl Fn(&AtomicU64, u64) -> bool) -> bool {
        let (mut bit, end) =
            (address >> GRANULE_SHIFT, (address + bytes.max(1) - 1) >> GRANULE_SHIFT);
        while bit <= end {
            let last = end.min(bit | 63);
            let bits = u64::MAX >> (63 - (last - bit)) << (bit & 63);
            let leaf = self.leaf(bit << GRANULE_SHIFT);
            if !each(&leaf[bit / 64 % LEAF_WORDS], bits) {
                return false;
            }
            bit = last + 1;
        }
        true
    }

    /// Enters a block; `false`: some of it is somebody's already.
    #[must_use]
    pub fn enter(&self, address: usize, bytes: usize) -> bool {
        // Relaxed: bits publish nothing; a word's changes have one order.
        self.all(address, bytes, |word, bits| word.fetch_or(bits, Ordering::Relaxed) & bits == 0)
    }

    /// Takes out a block that was entered; `false`: some of it was not there any more.
    #[must_use]
    pub fn take_out(&self, address: usize, bytes: usize) -> bool {
        let remove =
            |word: &AtomicU64, bits: u64| word.fetch_and(!bits, Ordering::Relaxed) & bits == bits;
        self.all(address, bytes, remove)
    }
}

/// A mapping of zeros.
fn zeros<T>() -> NonNull<T> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let (place, bytes) = (std::ptr::null_mut(), size_of::<T>());
    // SAFETY: a new mapping touches no existing one (mmap(2)).
    let mapped = unsafe { libc::mmap(place, bytes, access, flags, -1, 0) };
    assert_ne!(mapped, libc::MAP_FAILED, "no memory for the shadow");
    NonNull::new(mapped.cast()).expect("a mapping does not lie at zero")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Aim: whatever overlaps by 16 bytes is found, and nothing else. Method: all pairs of short intervals, across words' and leaves'
    /// ends.
    #[test]
    fn overlaps_are_found() {
        let intervals = Intervals::new();
        for around in [1 << 20, 64 * 16, 5 << LEAF_SHIFT] {
            let base = (7 << 30) + around - 32;
            for (first, length) in
                (0..5).flat_map(|first| (1..4).map(move |length| (first, length)))
            {
                let at = |granule: usize| base + granule * 16;
                assert!(intervals.enter(at(first), length * 16 - 7));
                for other in 0..9 {
                    let is_apart = other < first || other >= first + length;
                    assert_eq!(
                        intervals.enter(at(other), 16),
                        is_apart,
                        "{first} {length} {other}"
                    );
                    if is_apart {
                        assert!(intervals.take_out(at(other), 16));
                    }
                }
                assert!(intervals.take_out(at(first), length * 16));
                assert!(!intervals.take_out(at(first), length * 16), "it is gone");
            }
        }
    }

    /// Aim: a block that spans leaves is one. Method: 40 MiB, and a piece in the middle.
    #[test]
    fn large_ones() {
        let intervals = Intervals::new();
        let base = 3 << 40;
        assert!(intervals.enter(base + 48, 40 << 20));
        assert!(!intervals.enter(base + (30 << 20), 16));
        assert!(intervals.take_out(base + 48, 40 << 20));
        assert!(intervals.enter(base + (31 << 20), 16));
    }
}
