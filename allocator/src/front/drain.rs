//! Emptying another processor's magazines.
//!
//! Sequences of that processor change a magazine's word by plain stores, so a compare-and-swap alone would not do:
//!
//! 1. The word is *closed*: pops find the magazine empty then, and pushes full. A number of the drainer in it tells
//!    drainers apart that come one after the other.
//! 2. The processor is fenced: a sequence that read the word before has committed, or is aborted.
//! 3. If the word still is what this drainer made it, nobody touches the magazine until it is opened; otherwise a
//!    sequence has committed over it, and it stays as it is.
//!
//! The obvious order, to fence, copy the slots, and then compare-and-swap the word, hands out blocks twice: a sequence that
//! begins after the fence may read the word, sleep, and commit after the swap.
//!
//! A drainer that dies in between leaves the magazines of one processor closed; they are counted as in hand.

use core::sync::atomic::Ordering;

use crate::os::sequence::{BLOCKS, CLOSED};
use crate::platform::Word;

/// Faults that models seed on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The code as it ships.
    None,
    /// Fence, copy, compare-and-swap, fence.
    CopyBeforeClosing,
    /// No fence.
    NoFence,
    /// The fence comes before the word is closed.
    FenceBefore,
    /// All drainers have the same number.
    DrainersAlike,
    /// The word is not looked at again after the fence.
    NotLookedAtAgain,
}

/// The magazines of a processor.
pub trait Magazines {
    /// The atomic word.
    type Word: Word;
    /// The fault to seed; a constant, so that it costs nothing.
    const FAULT: Fault = Fault::None;
    /// How many there are, at most [`MOST`].
    const COUNT: usize;

    /// The word of a magazine.
    fn word(&self, magazine: usize) -> &Self::Word;
    /// Takes the blocks of the first `count` slots of a magazine that is closed.
    fn take(&self, magazine: usize, count: usize);
    /// So many blocks of a magazine are about to be taken.
    fn closing(&self, magazine: usize, count: u64) {
        let _ = (magazine, count);
    }
    /// They were not: the magazine is as it was, or in use.
    fn kept(&self, magazine: usize, count: u64) {
        let _ = (magazine, count);
    }
    /// Aborts the sequence that is under way on the processor, if there is one; whether that is possible.
    fn fence(&self) -> bool;
    /// A number that no other drainer has that is under way.
    fn drainer(&self) -> u64;
}

/// Magazines of a processor at most.
pub const MOST: usize = crate::size_class::CLASS_COUNT;

/// Empties all magazines that are not in use just now; how many blocks that were.
pub fn drain<M: Magazines>(magazines: &M) -> u64 {
    if M::FAULT == Fault::CopyBeforeClosing {
        return copy_before_closing(magazines);
    }
    // Not 0: one block less than `CLOSED` would not be a negative number of 16 bits, which is what a pop looks for.
    let drainer =
        if M::FAULT == Fault::DrainersAlike { 1 } else { magazines.drainer() % (CLOSED - 1) + 1 };
    let close = |word: u64| (word & !BLOCKS) | CLOSED | drainer;
    if M::FAULT == Fault::FenceBefore {
        magazines.fence();
    }
    let mut closed_over = [0; MOST];
    let mut is_any = false;
    for (magazine, before) in closed_over[..M::COUNT].iter_mut().enumerate() {
        let word = magazines.word(magazine);
        // Relaxed: confirmed by the compare-and-swap.
        let old = word.load(Ordering::Relaxed);
        if old & BLOCKS != 0 && old & CLOSED == 0 {
            magazines.closing(magazine, old & BLOCKS);
            // Relaxed: what orders is the fence below. Failure: a sequence has committed, or another drainer came.
            let closed =
                word.compare_exchange(old, close(old), Ordering::Relaxed, Ordering::Relaxed);
            if closed.is_ok() {
                (*before, is_any) = (old, true);
            } else {
                magazines.kept(magazine, old & BLOCKS);
            }
        }
    }
    let is_fenced = match M::FAULT {
        Fault::NoFence | Fault::FenceBefore => is_any,
        _ => is_any && magazines.fence(),
    };
    let mut blocks = 0;
    for (magazine, &old) in closed_over[..M::COUNT].iter().enumerate() {
        if old == 0 {
            continue;
        }
        let word = magazines.word(magazine);
        if !is_fenced {
            // Opened again, unless a sequence has. Failure: it has.
            let _ = word.compare_exchange(close(old), old, Ordering::Relaxed, Ordering::Relaxed);
            magazines.kept(magazine, old & BLOCKS);
            continue;
        }
        // Acquire: with the fence, what sequences stored before they committed is seen.
        if word.load(Ordering::Acquire) == close(old) || M::FAULT == Fault::NotLookedAtAgain {
            let count = old & BLOCKS;
            magazines.take(magazine, count as usize);
            // Release: the slots were read before they are used again.
            word.store(old & !BLOCKS, Ordering::Release);
            blocks += count;
        } else {
            magazines.kept(magazine, old & BLOCKS);
        }
    }
    blocks
}

#[cold]
fn copy_before_closing<M: Magazines>(magazines: &M) -> u64 {
    magazines.fence();
    let word = magazines.word(0);
    let old = word.load(Ordering::Acquire);
    let count = old & BLOCKS;
    let emptied = word.compare_exchange(old, old & !BLOCKS, Ordering::AcqRel, Ordering::Relaxed);
    if emptied.is_err() || count == 0 {
        return 0;
    }
    magazines.fence();
    magazines.take(0, count as usize);
    count
}
