//! [`LfAlloc`]: the allocator of this process, as Rust's global allocator and by name.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use crate::Core;
use crate::descriptor::{Block, Meta};
use crate::front;
use crate::large;
use crate::live::{CORE, Live, hex};
use crate::os;
use crate::page_map::{Entry, lookup};
use crate::platform::{Class, Heap, Platform, Request, SuperblockId};
use crate::size_class::{Key, MAX_BLOCK_BYTES, MAX_SMALL_BYTES, class_for, size_class};

/// The allocator of this process; every value of it is the same one.
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: lfalloc::LfAlloc = lfalloc::LfAlloc;
/// # fn main() { assert_eq!(vec![1u8; 100].len(), 100); }
/// ```
///
/// Lock-free: a thread may be stopped, killed or interrupted anywhere inside, and every other thread, and the
/// signal's handler, still allocates and frees. Null (`None`) when the system has no memory; never a panic. Blocks
/// are aligned to 16 bytes at least. A pointer that is no block of this allocator, or a block whose list was
/// overwritten, ends the program with a message.
#[derive(Clone, Copy, Debug, Default)]
pub struct LfAlloc;

// SAFETY: `alloc` returns blocks that nobody else holds, of at least the layout's size and alignment, or null; they
// stay valid until they are freed, whatever becomes of this value; nothing here unwinds.
unsafe impl GlobalAlloc for LfAlloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        if is_other(size, align) {
            return into_raw(allocate_other(size, align));
        }
        let key = Key::of_small(size);
        match front::pop(key) {
            Ok(block) => block.as_ptr(),
            Err(missed) => into_raw(allocate_missed(size, key, missed)),
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some((block, zeroed)) = allocate(layout.size(), layout.align(), true) else {
            return core::ptr::null_mut();
        };
        if !zeroed {
            // SAFETY: the block holds at least `size` bytes, and is this caller's.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block.as_ptr()
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_other(layout.size(), layout.align()) {
            // SAFETY: the caller's.
            return unsafe { self.dealloc_other(block, layout) };
        }
        // SAFETY: the caller's: a block of this allocator.
        let block = unsafe { NonNull::new_unchecked(block) };
        front::free(Key::of_small(layout.size()), block);
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        if align <= 16 && size <= MAX_BLOCK_BYTES && new_size <= MAX_BLOCK_BYTES {
            let (least, most) = if size < new_size { (size, new_size) } else { (new_size, size) };
            let key = regular_key(least);
            if most <= key.block_bytes() {
                // The same class.
                return block;
            }
            let other = regular_key(most);
            let (old, new) = if size < new_size { (key, other) } else { (other, key) };
            let moved = match front::pop(new) {
                Ok(moved) => moved,
                Err(missed) => match allocate_missed(new_size, new, missed) {
                    Some(moved) => moved,
                    None => return core::ptr::null_mut(),
                },
            };
            // SAFETY: both hold that many bytes, and the new block is nobody else's.
            unsafe { block.copy_to_nonoverlapping(moved.as_ptr(), size.min(new_size)) };
            // SAFETY: the caller's: a block of this allocator, given up now.
            front::free(old, unsafe { NonNull::new_unchecked(block) });
            return moved.as_ptr();
        }
        // SAFETY: the caller's.
        unsafe { self.realloc_other(block, layout, new_size) }
    }
}

impl LfAlloc {
    /// As `realloc`, where one of the blocks is large or has an alignment of its own.
    ///
    /// # Safety
    /// As [`GlobalAlloc::realloc`].
    #[inline(never)]
    unsafe fn realloc_other(self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let (old, new) =
            (class_for(layout.size(), layout.align()), class_for(new_size, layout.align()));
        match (old, new) {
            (Some(old), Some(new)) if old == new => return block,
            (None, None) => {
                if let Entry::Large(id) = lookup(block.addr())
                    && let Some(moved) = resize_large(id, layout, new_size)
                {
                    return moved.as_ptr();
                }
            }
            _ => {}
        }
        let Some((moved, _)) = allocate(new_size, layout.align(), false) else {
            return core::ptr::null_mut();
        };
        // SAFETY: both hold that many bytes, and the new block is nobody else's.
        unsafe { block.copy_to_nonoverlapping(moved.as_ptr(), layout.size().min(new_size)) };
        // SAFETY: the caller's; the block is given up now.
        unsafe { self.dealloc(block, layout) };
        moved.as_ptr()
    }

    /// Frees a block of any layout.
    ///
    /// # Safety
    /// As [`GlobalAlloc::dealloc`].
    #[inline(never)]
    unsafe fn dealloc_other(self, block: *mut u8, layout: Layout) {
        if let Some(key) = middle_key(layout.size(), layout.align()) {
            // SAFETY: the caller's: a block of this allocator.
            let block = unsafe { NonNull::new_unchecked(block) };
            return front::free(key, block);
        }
        match class_for(layout.size(), layout.align()) {
            Some(class) => {
                // SAFETY: the caller's: a block of this allocator.
                let block = unsafe { NonNull::new_unchecked(block) };
                front::free(Key::of_class(class), block);
            }
            // SAFETY: the caller's: a block of this allocator, given up.
            None => unsafe { self.free(block) },
        }
    }

    /// Fills the front of `blocks` with blocks of at least `size` bytes (at most 128 KiB) from one superblock and
    /// returns how many, at most [`crate::MAX_BATCH`]; 0 when there is no memory, or `size` is too large.
    #[must_use]
    pub fn allocate_batch(&self, size: usize, blocks: &mut [Option<NonNull<u8>>]) -> usize {
        batch(&CORE, CORE.platform().current_heap(), size, blocks)
    }

    /// Frees blocks: one compare-and-swap for each run of blocks of the same superblock.
    ///
    /// # Safety
    /// As [`LfAlloc::free`] for each; none may be named twice.
    pub unsafe fn free_batch(&self, blocks: &[NonNull<u8>]) {
        let mut indices = [0; crate::MAX_BATCH];
        let (mut run, mut run_of) = (0, None);
        for block in blocks {
            let Entry::Superblock(id) = lookup(block.addr().get()) else {
                // SAFETY: the caller's.
                unsafe { self.free(block.as_ptr()) };
                continue;
            };
            let (class, index) = locate(id, block.addr().get());
            if run_of != Some((id, class)) || run == indices.len() {
                end_run(run_of, indices.get(..run));
                (run, run_of) = (0, Some((id, class)));
            }
            if let Some(place) = indices.get_mut(run) {
                *place = index;
            }
            run += 1;
        }
        end_run(run_of, indices.get(..run));
    }

    /// Gives back what can be given back, memory and addresses: idle ACTIVE superblocks, EMPTY ones in lists, the
    /// reserves of EMPTY ones and the cache of large blocks. Returns how many bytes fewer are mapped (negative if
    /// others mapped more meanwhile). Lock-free; costs a walk over all heaps.
    #[allow(clippy::must_use_candidate)] // Called for its effect.
    pub extern "C" fn purge(&self) -> i64 {
        let before = crate::accounting::mapped_bytes();
        front::drain_all();
        CORE.relieve(None);
        before - crate::accounting::mapped_bytes()
    }
}

/// Whether a request is not small, or has an alignment of its own.
#[inline(always)]
fn is_other(size: usize, align: usize) -> bool {
    // Apart and told to be unlikely: two comparisons with a jump each, instead of five instructions that unite them.
    if size > MAX_SMALL_BYTES {
        unlikely();
        return true;
    }
    if align > 16 {
        unlikely();
        return true;
    }
    false
}

/// Tells the compiler that this is rarely reached.
#[cold]
#[inline(always)]
pub(crate) fn unlikely() {}

/// A block of at least `size` bytes at a multiple of `align`, and whether its bytes are known to be zero; `zeroed`: they
/// had better be.
#[inline]
pub(crate) fn allocate(size: usize, align: usize, zeroed: bool) -> Option<(NonNull<u8>, bool)> {
    if align <= 16 && size <= MAX_BLOCK_BYTES {
        let key = regular_key(size);
        return match front::pop(key) {
            Ok(block) => Some((block, false)),
            Err(missed) => front::allocate(key.class(), size as u32, missed),
        };
    }
    match class_for(size, align) {
        // A class has blocks of 128 KiB at most: the size fits.
        Some(class) => match front::pop(Key::of_class(class)) {
            Ok(block) => Some((block, false)),
            Err(missed) => front::allocate(class, size as u32, missed),
        },
        None => large::allocate(size, align, zeroed).map(|large| (large.address, large.zeroed)),
    }
}

/// [`allocate`], for what is not small.
#[inline(never)]
pub(crate) fn allocate_other(size: usize, align: usize) -> Option<NonNull<u8>> {
    if let Some(key) = middle_key(size, align) {
        return match front::pop(key) {
            Ok(block) => Some(block),
            Err(missed) => allocate_missed(size, key, missed),
        };
    }
    allocate(size, align, false).map(|found| found.0)
}

/// The key of a request of at most [`MAX_BLOCK_BYTES`].
#[inline(always)]
fn regular_key(size: usize) -> Key {
    if size > MAX_SMALL_BYTES { Key::of_middle(size) } else { Key::of_small(size) }
}

/// The key of a request that is neither small nor large, without a particular alignment.
#[inline(always)]
fn middle_key(size: usize, align: usize) -> Option<Key> {
    (size > MAX_SMALL_BYTES && size <= MAX_BLOCK_BYTES && align <= 16).then(|| Key::of_middle(size))
}

#[cold]
#[inline(never)]
pub(crate) fn allocate_missed(
    size: usize,
    key: Key,
    missed: front::Refused,
) -> Option<NonNull<u8>> {
    front::allocate(key.class(), size as u32, missed).map(|found| found.0)
}

/// Resizes by remapping, if the alignment allows it.
fn resize_large(id: u32, old: Layout, new_size: usize) -> Option<NonNull<u8>> {
    if old.align() > crate::size_class::GRANULE_BYTES {
        return None;
    }
    large::resize(id, old.size(), new_size)
}

/// Address of a block.
#[inline]
pub(crate) fn address(class: Class, block: Block) -> NonNull<u8> {
    let address = Live::base(block.superblock)
        + block.index as usize * size_class(class).block_bytes as usize;
    // SAFETY: superblocks do not lie at address zero.
    unsafe { NonNull::new_unchecked(core::ptr::with_exposed_provenance_mut(address)) }
}

/// Class and index of the block at `address` in superblock `id`; ends the program if none begins there.
#[inline]
pub(crate) fn locate(id: SuperblockId, address: usize) -> (Class, u32) {
    let descriptor = CORE.platform().descriptor(id);
    // Relaxed: as in `Core::meta`: stable while the block is held.
    let class = Meta::from_word(descriptor.meta.load(Ordering::Relaxed)).class();
    let offset = address - Live::base_of(descriptor);
    let row = size_class(class);
    if !row.begins_at(offset) {
        foreign(address);
    }
    (class, row.index_at(offset))
}

/// Frees blocks of one superblock, if there are any.
pub(crate) fn end_run(of: Option<(SuperblockId, Class)>, indices: Option<&[u32]>) {
    if let (Some((id, class)), Some(indices)) = (of, indices) {
        CORE.free_batch(id, class, indices);
    }
}

/// The batch allocation on a given heap of a given core.
pub(crate) fn batch<P: Platform>(
    core: &Core<P>,
    heap: Heap,
    size: usize,
    blocks: &mut [Option<NonNull<u8>>],
) -> usize {
    let Some(class) = class_for(size, 1) else {
        return 0;
    };
    let mut found = [Block::NOTHING; crate::MAX_BATCH];
    let most = blocks.len().min(found.len());
    let request = Request { heap, class, bytes: size as u32 };
    let count = core.malloc_batch(request, found.get_mut(..most).unwrap_or_default());
    for (place, block) in blocks.iter_mut().zip(found.iter().take(count)) {
        *place = Some(address(class, *block));
    }
    count
}

#[inline]
pub(crate) fn into_raw(block: Option<NonNull<u8>>) -> *mut u8 {
    block.map_or(core::ptr::null_mut(), NonNull::as_ptr)
}

#[cold]
pub(crate) fn foreign(address: usize) -> ! {
    os::fatal(&[
        "lfalloc: asked to free ",
        hex(address, &mut [0; 18]),
        ", where no block of this allocator begins: it came from another allocator, or lies inside a block",
    ])
}

#[cold]
pub(crate) fn freed_twice(address: usize) -> ! {
    os::fatal(&["lfalloc: the block at ", hex(address, &mut [0; 18]), " was freed twice"])
}
