//! Links in free blocks, sealed.
//!
//! A link lies where the block's last owner wrote, and where a program that goes on writing after a free, or beyond the end of
//! the block before, writes still. So it is a word of 64 bits that only this allocator can make:
//!
//! ```text
//! check : 48 | next : 16
//! ```
//!
//! The check is made of a secret of the process, the block's address, the generation of its superblock and `next`. Whatever else stands
//! there, a link of another block or of another generation included, is taken for a link once in 2^48. A reader goes on with
//! `next` and checks beside that: the chain of loads that it waits for is no longer than it was.
//!
//! It tells mistakes, and most attacks. Not one by somebody who can read several links and computes the secret, or who puts back
//! an older link of the same block and generation.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::descriptor::Meta;
use crate::global_alloc::unlikely;
use crate::os;

/// 0 until the first superblock is mapped, which is before any link.
static SECRET: AtomicU64 = AtomicU64::new(0);

const NEXT_BITS: u32 = 16;
const NEXT_MASK: u64 = (1 << NEXT_BITS) - 1;

/// A number whose bits look like none in particular (of the golden ratio).
const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

/// Makes the secret, if there is none.
pub(crate) fn make_secret() {
    // Relaxed, both: whoever writes or reads a link has its block from a superblock that was mapped, and so published, after this.
    // Failure: another thread has made it.
    if SECRET.load(Ordering::Relaxed) == 0 {
        let secret = os::random() | 1;
        let _ = SECRET.compare_exchange(0, secret, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// What links of a generation of a superblock are sealed with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seal(u64);

impl Seal {
    #[inline(always)]
    pub(crate) fn of(generation: Meta) -> Self {
        // Relaxed: as in `make_secret`.
        Self::with(SECRET.load(Ordering::Relaxed), generation)
    }

    /// The whole word of `generation` is taken, which does not change while it lasts; its counter, at the upper end, lies where
    /// addresses differ least.
    #[inline(always)]
    const fn with(secret: u64, generation: Meta) -> Self {
        Self(secret ^ generation.word())
    }

    #[inline(always)]
    const fn check(self, address: usize, next: u64) -> u64 {
        let mixed = self.0 ^ address as u64 ^ next << (64 - NEXT_BITS);
        // Both halves of the product: the upper one depends on every bit below, and the lower one on none of the upper bits, which the
        // upper half depends on.
        let product = mixed as u128 * FACTOR as u128;
        ((product >> 64) as u64 ^ product as u64) & !NEXT_MASK
    }

    /// The word that leads from the block at `address` to the block with index `next`, below 2^16.
    #[inline(always)]
    pub(crate) const fn close(self, address: usize, next: u32) -> u64 {
        self.check(address, next as u64) | next as u64
    }

    /// Where a word in the block at `address` leads; `None`: it is no link of this block.
    #[inline(always)]
    pub(crate) fn open(self, address: usize, word: u64) -> Option<u32> {
        let next = word & NEXT_MASK;
        if word & !NEXT_MASK != self.check(address, next) {
            // A jump that is never taken, and not a value that is waited for.
            unlikely();
            return None;
        }
        Some(next as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::Class;

    /// Aim: a link leads where it was made to lead, from its block in its generation; and nothing else is a link. Method: every
    /// next; then every single bit of word and address changed, other generations, and random words.
    #[test]
    fn only_links_are_links() {
        let secret = 0x0123_4567_89AB_CDEF;
        let generation = |number: u64| {
            (0..number).fold(Meta::from_word(0), |meta, _| meta.initialised(Class(3)).settled())
        };
        let seal = Seal::with(secret, generation(7));
        let address = 0x7F12_3456_7890;
        for next in 0..1 << NEXT_BITS {
            assert_eq!(seal.open(address, seal.close(address, next)), Some(next));
        }
        let word = seal.close(address, 4095);
        for bit in 0..64 {
            assert_eq!(seal.open(address, word ^ (1 << bit)), None, "bit {bit}");
        }
        for bit in 4..47 {
            assert_eq!(seal.open(address ^ (1 << bit), word), None, "bit {bit} of the address");
        }
        let mut other = generation(7);
        for number in 8..10_000 {
            other = other.initialised(Class(3)).settled();
            assert_eq!(Seal::with(secret, other).open(address, word), None, "{number}");
        }
        let mut state = 1_u64;
        for _ in 0..1_000_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            assert_eq!(seal.open(address, state), None, "{state:#x}");
        }
        // What a program writes most.
        for word in [0, 1, u64::MAX, 0x4141_4141_4141_4141, address as u64] {
            assert_eq!(seal.open(address, word), None, "{word:#x}");
        }
    }

    /// Aim: seals of two secrets have nothing in common. Method: what one closes the other does not open.
    #[test]
    fn secrets_differ() {
        for secret in 1..1000 {
            let word = Seal::with(secret, Meta::from_word(0)).close(0x10_000, 5);
            let other = Seal::with(secret + 1, Meta::from_word(0));
            assert_eq!(other.open(0x10_000, word), None);
        }
    }
}
