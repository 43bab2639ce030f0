//! Where this library's own Rust allocations come from, so that the figures of the program never contain them: pages that
//! count as metadata.
//!
//! A stack of free pieces for each power of two from 32 bytes to 64 KiB, filled from chunks that are never given back;
//! larger pieces are pages of their own. Lock-free, since a thread of the program may be stopped or forked away inside. Little
//! is allocated here, and only when agents start and stop: it need not be fast.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use lfalloc::pieces::{self, PIECE_BITS, Pieces};

const LEAST_SHIFT: u32 = 5;
const MOST_SHIFT: u32 = 16;
const CLASSES: usize = (MOST_SHIFT - LEAST_SHIFT + 1) as usize;
const CHUNK_BYTES: usize = 64 << 10;

// Pieces are known by their addresses / 32.
const _: () = assert!(PIECE_BITS + LEAST_SHIFT == 47);

/// The arena.
pub(crate) struct Arena {
    heads: [AtomicU64; CLASSES],
}

/// Which stack pieces of a layout come from; `None`: pages of their own.
fn class_of(layout: Layout) -> Option<usize> {
    let bytes = layout.size().max(layout.align()).checked_next_power_of_two()?;
    let shift = bytes.ilog2().max(LEAST_SHIFT);
    (shift <= MOST_SHIFT).then_some((shift - LEAST_SHIFT) as usize)
}

/// Pieces of one size.
struct Stack<'a>(&'a AtomicU64);

/// The piece with that number.
fn piece(number: u64) -> Option<NonNull<u8>> {
    NonNull::new(std::ptr::with_exposed_provenance_mut((number << LEAST_SHIFT) as usize))
}

impl Pieces for Stack<'_> {
    type Word = AtomicU64;

    fn head(&self) -> &AtomicU64 {
        self.0
    }
    fn link(&self, number: u64) -> &AtomicU64 {
        let link = std::ptr::with_exposed_provenance::<AtomicU64>((number << LEAST_SHIFT) as usize);
        // SAFETY: only numbers of pieces come here; pieces are never unmapped, and aligned to 32.
        unsafe { &*link }
    }
}

impl Arena {
    pub(crate) const fn new() -> Self {
        Self { heads: [const { AtomicU64::new(0) }; CLASSES] }
    }

    fn pop(&self, class: usize) -> Option<NonNull<u8>> {
        pieces::pop(&Stack(&self.heads[class])).and_then(piece)
    }

    fn push(&self, class: usize, piece: NonNull<u8>) {
        let address = piece.as_ptr().expose_provenance() as u64;
        pieces::push(&Stack(&self.heads[class]), address >> LEAST_SHIFT);
    }

    /// A piece from a new chunk, the rest of which is put on the stack.
    fn refill(&self, class: usize) -> Option<NonNull<u8>> {
        let bytes = 1 << (class as u32 + LEAST_SHIFT);
        // Twice what is cut from it, so that pieces are aligned to their size.
        let chunk = lfalloc::pages::map(2 * CHUNK_BYTES)?;
        let start = chunk.as_ptr().expose_provenance().next_multiple_of(CHUNK_BYTES);
        let piece = |place: usize| {
            NonNull::new(std::ptr::with_exposed_provenance_mut(start + place * bytes))
        };
        for place in 1..CHUNK_BYTES / bytes {
            self.push(class, piece(place)?);
        }
        piece(0)
    }
}

// SAFETY: pieces are nobody else's until they are given back, aligned to a power of two that is no less than the layout's
// alignment, or to a page; nothing unwinds.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let piece = match class_of(layout) {
            Some(class) => self.pop(class).or_else(|| self.refill(class)),
            // A larger alignment than a page nobody here asks for.
            None if layout.align() > 4096 => None,
            None => lfalloc::pages::map(layout.size()),
        };
        piece.map_or(std::ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        let Some(piece) = NonNull::new(piece) else { return };
        match class_of(layout) {
            Some(class) => self.push(class, piece),
            // SAFETY: the caller's: a piece of this layout.
            None => unsafe { lfalloc::pages::unmap(piece, layout.size()) },
        }
    }
}
