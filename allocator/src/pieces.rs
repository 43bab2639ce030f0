//! A lock-free stack of pieces of memory that are never unmapped, linked through themselves: for what is allocated beside the
//! program, as the C library's own arena is (package `lfalloc-preload`).
//!
//! ```text
//!  63      42 41                    0
//! ┌──────────┬───────────────────────┐
//! │ tag : 22 │ piece : 42 (0: none)  │
//! └──────────┴───────────────────────┘
//! ```
//!
//! The tag changes with every pop, so that a head that was seen before is another one (modulo 4 million pops within one).
//!
//! The procedures are generic over what they work on, as the core is, and for the same reason: models.

use core::sync::atomic::Ordering;

use crate::platform::Word;

/// Bits of a piece's number.
pub const PIECE_BITS: u32 = 42;
const PIECE: u64 = (1 << PIECE_BITS) - 1;

/// Faults that models seed on purpose, to show that they would see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The code as it ships.
    None,
    /// The head does not count pops.
    TagKept,
    /// A piece is pushed with a relaxed compare-and-swap.
    PushRelaxed,
    /// A piece is popped with a relaxed compare-and-swap.
    PopRelaxed,
}

/// A stack, and the pieces that may be in it.
pub trait Pieces {
    /// The atomic word.
    type Word: Word;
    /// The fault to seed; a constant, so that it costs nothing.
    const FAULT: Fault = Fault::None;
    /// Bits of the tag that are used; models shrink it.
    const TAG_BITS: u32 = 64 - PIECE_BITS;

    /// The head, 0 at first.
    fn head(&self) -> &Self::Word;
    /// The first word of a piece, which whoever holds it may write to.
    fn link(&self, piece: u64) -> &Self::Word;
    /// Called when a compare-and-swap failed, before the next try.
    fn pause(&self) {}
}

/// Takes the piece pushed last; this thread holds it from then on. `None`: there is none.
pub fn pop<P: Pieces>(pieces: &P) -> Option<u64> {
    let order = if P::FAULT == Fault::PopRelaxed { Ordering::Relaxed } else { Ordering::Acquire };
    // Acquire, here and below: pairs with the Release of the push that put this piece there.
    let mut old = pieces.head().load(order);
    loop {
        let piece = old & PIECE;
        if piece == 0 {
            return None;
        }
        // Relaxed and optimistic: whoever has popped it meanwhile may write there; then the value is of no use, and the
        // compare-and-swap fails.
        let next = pieces.link(piece).load(Ordering::Relaxed) & PIECE;
        let step = u64::from(P::FAULT != Fault::TagKept);
        let tag = ((old >> PIECE_BITS) + step) & ((1 << P::TAG_BITS) - 1);
        // Failure: another push or pop succeeded.
        match pieces.head().compare_exchange(old, tag << PIECE_BITS | next, order, order) {
            Ok(_) => return Some(piece),
            Err(found) => old = found,
        }
        pieces.pause();
    }
}

/// Keeps a piece that this thread holds: a number of [`PIECE_BITS`] bits that is not 0.
pub fn push<P: Pieces>(pieces: &P, piece: u64) {
    let order = if P::FAULT == Fault::PushRelaxed { Ordering::Relaxed } else { Ordering::Release };
    // Relaxed: the value is only compared.
    let mut old = pieces.head().load(Ordering::Relaxed);
    loop {
        // Relaxed: published by the Release below.
        pieces.link(piece).store(old & PIECE, Ordering::Relaxed);
        // Release: pairs with the Acquires in `pop`. Failure: another push or pop succeeded.
        match pieces.head().compare_exchange(old, old & !PIECE | piece, order, Ordering::Relaxed) {
            Ok(_) => return,
            Err(found) => old = found,
        }
        pieces.pause();
    }
}
