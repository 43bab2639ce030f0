//! The allocators that are compared, and a block of one of them.
//!
//! A program reaches its global allocator through `__rust_alloc` and `__rust_dealloc`, which are not
//! inlined: sizes are run-time values there. [`Held`] goes through functions of the same kind, for
//! each contender, so that none gains by being inlined here and not in programs.

use std::alloc::{GlobalAlloc, Layout, System};
use std::marker::PhantomData;
use std::ptr::NonNull;

use lfalloc::LfAlloc;

/// An allocator that is compared; all values of it are the same allocator.
pub(crate) trait Contender: GlobalAlloc + Sized + 'static {
    /// It.
    const ALLOCATOR: Self;
}

impl Contender for LfAlloc {
    const ALLOCATOR: Self = LfAlloc;
}

impl Contender for System {
    const ALLOCATOR: Self = System;
}

/// A block, whose first byte has been written; dropping it frees it.
pub(crate) struct Held<A: Contender> {
    block: NonNull<u8>,
    layout: Layout,
    from: PhantomData<A>,
}

// SAFETY: nobody else refers to the block, and both allocators may free it in any thread.
unsafe impl<A: Contender> Send for Held<A> {}

impl<A: Contender> Held<A> {
    /// A block of `layout`, whose size is not zero. Ends the program when there is no memory.
    #[inline]
    pub(crate) fn new(layout: Layout) -> Self {
        let held = Self::untouched(layout);
        // SAFETY: the block holds at least one byte.
        unsafe { held.block.write(1) };
        held
    }

    /// As [`Held::new`], of which nothing has been written.
    #[inline]
    pub(crate) fn untouched(layout: Layout) -> Self {
        assert_ne!(layout.size(), 0, "a block has at least one byte");
        let Some(block) = NonNull::new(allocate::<A>(layout)) else {
            std::alloc::handle_alloc_error(layout);
        };
        Self { block, layout, from: PhantomData }
    }

    /// Address of its first byte.
    pub(crate) fn address(&self) -> usize {
        self.block.addr().get()
    }
}

impl<A: Contender> Drop for Held<A> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: made by `allocate` of the same allocator with this layout; this is its last use.
        unsafe { release::<A>(self.block.as_ptr(), self.layout) };
    }
}

/// Stands for `__rust_alloc`.
#[inline(never)]
fn allocate<A: Contender>(layout: Layout) -> *mut u8 {
    // SAFETY: the only caller has checked that the size is not zero.
    unsafe { A::ALLOCATOR.alloc(layout) }
}

/// Stands for `__rust_dealloc`.
///
/// # Safety
/// As `GlobalAlloc::dealloc`.
#[inline(never)]
unsafe fn release<A: Contender>(block: *mut u8, layout: Layout) {
    // SAFETY: the caller's.
    unsafe { A::ALLOCATOR.dealloc(block, layout) }
}
