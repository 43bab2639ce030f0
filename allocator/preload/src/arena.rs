//! Where this library's own Rust allocations come from, so that the figures of the program never contain them: pages that
//! count as metadata.
//!
//! A stack of free pieces for each power of two from 32 bytes to 64 KiB, filled from chunks that are never given back;
//! larger pieces are pages of their own. Lock-free, since a thread of the program may be stopped or forked away inside. Little
//! is allocated here, and only when agents start and stop: it need not be fast.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

const LEAST_SHIFT: u32 = 5;
const MOST_SHIFT: u32 = 16;
const CLASSES: usize = (MOST_SHIFT - LEAST_SHIFT + 1) as usize;
const CHUNK_BYTES: usize = 64 << 10;

/// The head of a stack: `tag : 22 | address of the first piece / 32 : 42`. The tag changes with every pop, so that a head that
/// was seen before is another one (modulo 4 million pops within one).
const ADDRESS_BITS: u32 = 42;
const ADDRESS: u64 = (1 << ADDRESS_BITS) - 1;

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

impl Arena {
    pub(crate) const fn new() -> Self {
        Self { heads: [const { AtomicU64::new(0) }; CLASSES] }
    }

    fn pop(&self, class: usize) -> Option<NonNull<u8>> {
        let head = &self.heads[class];
        // Acquire, here and below: pairs with the Release of the push that put this piece there.
        let mut old = head.load(Ordering::Acquire);
        loop {
            let piece = NonNull::new(std::ptr::with_exposed_provenance_mut::<u8>(
                ((old & ADDRESS) << LEAST_SHIFT) as usize,
            ))?;
            // SAFETY: pieces are never unmapped, and aligned to 32. Whoever has popped it meanwhile may write there: then the
            // value is of no use, and the compare-and-swap fails.
            let next = unsafe { piece.cast::<AtomicU64>().as_ref() }.load(Ordering::Relaxed);
            let new = ((old >> ADDRESS_BITS).wrapping_add(1) << ADDRESS_BITS) | (next & ADDRESS);
            match head.compare_exchange(old, new, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => return Some(piece),
                Err(found) => old = found,
            }
        }
    }

    fn push(&self, class: usize, piece: NonNull<u8>) {
        let head = &self.heads[class];
        let address = piece.as_ptr().expose_provenance() as u64 >> LEAST_SHIFT;
        let mut old = head.load(Ordering::Relaxed);
        loop {
            // SAFETY: the piece is this thread's.
            unsafe { piece.cast::<AtomicU64>().as_ref() }.store(old & ADDRESS, Ordering::Relaxed);
            let new = (old & !ADDRESS) | address;
            // Release: pairs with the Acquires in `pop`.
            match head.compare_exchange(old, new, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(found) => old = found,
            }
        }
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
