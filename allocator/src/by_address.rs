//! What C asks of an allocator: blocks that are given back by their address alone.
//!
//! The page map knows the class of the superblock at an address, and so where its magazines are: a free loads two words
//! of the map and no descriptor. Whether the address is that of a block is looked at by whatever handles it next without
//! hurry: the depot's way back to the core, and everything that does not end in a magazine.

use core::ptr::NonNull;

use crate::LfAlloc;
use crate::front;
use crate::global_alloc::{allocate, allocate_missed, allocate_other, into_raw, locate, unlikely};
use crate::harden;
use crate::large;
use crate::page_map::{Entry, key_at, lookup};
use crate::size_class::{
    GRANULE_BYTES, Key, MAX_BLOCK_BYTES, MAX_SMALL_BYTES, SMALLEST_BYTES, size_class,
};

impl LfAlloc {
    /// A block of at least `size` bytes, aligned to 16; what `failed` returns without memory, or for more than addresses can
    /// tell.
    #[inline(always)]
    #[must_use]
    pub fn allocate_or(&self, size: usize, failed: OnFailure) -> *mut u8 {
        if size > MAX_SMALL_BYTES {
            unlikely();
            return allocate_other_or(size, failed);
        }
        match front::pop(Key::of_small(size)) {
            Ok(block) => block.as_ptr(),
            Err(missed) => allocate_missed_or(size, missed as u32, failed),
        }
    }

    /// A block of at least `size` bytes at a multiple of `align`, which is a power of two; null without memory.
    #[inline(always)]
    #[must_use]
    pub fn allocate_aligned(&self, size: usize, align: usize) -> *mut u8 {
        if size > MAX_SMALL_BYTES || align > MAX_SMALL_BYTES {
            unlikely();
            return allocate_other_aligned(size, align);
        }
        match front::pop(Key::of_small(rounded_to(size, align))) {
            Ok(block) => block.as_ptr(),
            Err(missed) => allocate_missed_aligned(size, align, missed as u32),
        }
    }

    /// A block of at least `size` bytes, which are zero, aligned to 16; what `failed` returns without memory.
    #[inline(always)]
    #[must_use]
    pub fn allocate_zeroed_or(&self, size: usize, failed: OnFailure) -> *mut u8 {
        if size > MAX_SMALL_BYTES {
            unlikely();
            return allocate_other_zeroed_or(size, failed);
        }
        match front::pop(Key::of_small(size)) {
            // SAFETY: a block of at least `size` bytes, which is this caller's.
            Ok(block) => unsafe { zero(block, size) },
            Err(missed) => allocate_missed_zeroed_or(size, missed as u32, failed),
        }
    }

    /// Frees a block; null is ignored (\[0046\] line 1). Ends the program with a message if it is no block.
    ///
    /// # Safety
    /// `block` is null or was returned by this allocator and not freed since; nobody uses it any more.
    pub unsafe fn free(&self, block: *mut u8) {
        match (lookup(block.addr()), NonNull::new(block)) {
            (Entry::Superblock(id), Some(some)) => {
                let (class, _) = locate(id, block.addr());
                front::free(Key::of_class(class), some);
            }
            (Entry::Large(id), _) if large::begins_at(id, block.addr()) => large::free(id),
            (_, None) => {}
            (entry, _) => refuse(entry, block, is_foreign),
        }
    }

    /// As [`LfAlloc::free`], but faster, since what lies inside a block is told when the block comes back to its superblock; and it
    /// calls `foreign` with an address outside of this allocator's memory, where nothing was done or
    /// read.
    ///
    /// # Safety
    /// `block` is null, foreign, or was returned by this allocator and not freed since; nobody uses it any more.
    #[inline(always)]
    pub unsafe fn free_or(&self, block: *mut u8, foreign: OnForeign) {
        // SAFETY: the caller's.
        match unsafe { front::push_by_address(block.addr()) } {
            Ok(()) => {}
            // Several functions, so that no instruction on the fast path prepares to tell them what happened.
            // SAFETY: the caller's.
            Err(Some(front::Refused::Aborted)) => unsafe { free_aborted(block, foreign) },
            // SAFETY: the caller's.
            Err(Some(_)) => unsafe { free_slow(block, foreign) },
            Err(None) => free_twice(block),
        }
    }

    /// Makes a block hold at least `size` bytes, as `realloc` does: where it is, or elsewhere with its contents. Without memory
    /// what `failed` returns, and then the block is as it was; null, after calling `foreign`, for an address outside of this
    /// allocator's memory, where nothing was done or read.
    ///
    /// # Safety
    /// As [`LfAlloc::free_or`], but not null; the block is given up unless null is returned.
    #[inline(always)]
    pub unsafe fn resize_or(
        &self,
        block: *mut u8,
        size: usize,
        failed: OnFailure,
        foreign: OnForeign,
    ) -> *mut u8 {
        let Some(key) = small_at(block.addr()) else {
            // SAFETY: the caller's.
            return unsafe { resize_other(block, size, failed, foreign) };
        };
        if stays(key, size) {
            return block;
        }
        // SAFETY: the caller's.
        unsafe { move_small(block, size, u32::from(key.0), failed) }
    }

    /// Bytes that may be used at `block`, at least what was asked for; 0 for null, and for what is no block.
    ///
    /// # Safety
    /// `block` is null, foreign, or a block of this allocator that the caller holds.
    #[must_use]
    pub unsafe extern "C" fn usable_size(&self, block: *const u8) -> usize {
        match lookup(block.addr()) {
            Entry::Superblock(id) => {
                let (class, index) = locate(id, block.addr());
                harden::check_live(id, class, index);
                size_class(class).block_bytes as usize
            }
            Entry::Large(id) if large::begins_at(id, block.addr()) => large::usable_bytes(id),
            _ => 0,
        }
    }
}

/// A key of the class of the block that begins at an address, without its descriptor: if it is one of a superblock that is as large
/// as its alignment, and so begins at the granule's beginning. Else `None`.
#[inline(always)]
fn small_at(address: usize) -> Option<Key> {
    let key = key_at(address);
    let row = size_class(key.class());
    let is_known = key != Key::NONE && row.superblock_bytes() == GRANULE_BYTES;
    (is_known && row.begins_at(address % GRANULE_BYTES)).then_some(key)
}

/// Whether a block with that key holds `size` bytes, and is not too large for them: half of it is less than the next smaller class
/// has, but for the smallest. (Its alignment may have been asked for, so that its class is not the smallest that holds so much.)
/// Most callers wait for nothing but this, so it comes from the key in one load.
#[inline(always)]
fn stays(key: Key, size: usize) -> bool {
    let usable = key.block_bytes();
    size <= usable && (size > usable / 2 || usable == SMALLEST_BYTES)
}

/// Moves the contents of a block with that key to one of at least `size` bytes.
///
/// # Safety
/// The block is the caller's, who gives it up unless null is returned.
#[inline(never)]
unsafe extern "C" fn move_small(
    block: *mut u8,
    size: usize,
    key: u32,
    failed: OnFailure,
) -> *mut u8 {
    let key = Key(key as u16);
    let free = || {
        // SAFETY: the caller's: a block does not lie at address zero.
        front::free(key, unsafe { NonNull::new_unchecked(block) });
    };
    let usable = key.block_bytes();
    // What grows goes on growing: by a quarter at least, as far apart as classes are above 256 bytes. (Steps of 32 bytes to 4 KiB: 13.6
    // to 11.1 ns.)
    let room = if size > usable { size.max(usable + usable / 4) } else { size };
    // SAFETY: the caller's.
    unsafe { moved(block, usable, room, failed, free) }
}

/// A block of `size` bytes with the contents of one that has `usable`, and that `free` frees then.
///
/// # Safety
/// `block` has so many bytes, and is the caller's.
#[inline(always)]
unsafe fn moved(
    block: *mut u8,
    usable: usize,
    size: usize,
    failed: OnFailure,
    free: impl FnOnce(),
) -> *mut u8 {
    let moved = LfAlloc.allocate_or(size, nothing);
    if moved.is_null() {
        // Nobody expects that there is no memory for less.
        return if size <= usable { block } else { failed() };
    }
    // SAFETY: both hold that many bytes, and the new block is nobody else's.
    unsafe { block.copy_to_nonoverlapping(moved, usable.min(size)) };
    free();
    moved
}

/// [`LfAlloc::resize_or`], of what is not known to be a small block.
///
/// # Safety
/// As there.
#[inline(never)]
unsafe extern "C" fn resize_other(
    block: *mut u8,
    size: usize,
    failed: OnFailure,
    foreign: OnForeign,
) -> *mut u8 {
    match lookup(block.addr()) {
        Entry::Superblock(id) => {
            let (class, index) = locate(id, block.addr());
            harden::check_live(id, class, index);
            let key = Key::of_class(class);
            if stays(key, size) {
                return block;
            }
            // SAFETY: the caller's.
            unsafe { move_small(block, size, u32::from(key.0), failed) }
        }
        Entry::Large(id) if large::begins_at(id, block.addr()) => {
            let usable = large::usable_bytes(id);
            if size > MAX_BLOCK_BYTES
                && let Some(moved) = large::resize(id, usable, size)
            {
                return moved.as_ptr();
            }
            // SAFETY: the caller's.
            unsafe { moved(block, usable, size, failed, || large::free(id)) }
        }
        entry => {
            refuse(entry, block, foreign);
            core::ptr::null_mut()
        }
    }
}

/// A request for so many bytes leads to a class whose blocks have that alignment, a power of two, and is no larger than it has to
/// be (`size_class`): neither exceeds [`MAX_SMALL_BYTES`], nor does the result.
#[inline(always)]
const fn rounded_to(size: usize, align: usize) -> usize {
    // No block of no bytes: that would have any alignment.
    let size = if size == 0 { 1 } else { size };
    (size + (align - 1)) & !(align - 1)
}

/// Up to so many bytes it is faster to write zeros here than to call somebody who does.
const ZEROED_HERE_BYTES: usize = 128;
/// All blocks are whole units of so many.
const UNIT_BYTES: usize = SMALLEST_BYTES;

/// Makes a block's first bytes zero.
///
/// # Safety
/// The block is one of at least `size` bytes, at most [`MAX_SMALL_BYTES`], and the caller's.
#[inline(always)]
unsafe fn zero(block: NonNull<u8>, size: usize) -> *mut u8 {
    let block = block.as_ptr();
    if size > ZEROED_HERE_BYTES {
        // SAFETY: the caller's.
        unsafe { block.write_bytes(0, size) };
        return block;
    }
    // Blocks are whole units of 16 bytes, at least one. From both ends, so that their number decides as little as can be; what lies
    // in the middle is written twice.
    let last = size.saturating_sub(1) / UNIT_BYTES;
    let clear = |unit: usize| {
        let unit = block.wrapping_add(unit * UNIT_BYTES).cast::<[u8; UNIT_BYTES]>();
        // SAFETY: the caller's: units up to the last one.
        unsafe { unit.write([0; UNIT_BYTES]) };
    };
    clear(0);
    clear(last);
    if last > 1 {
        clear(1);
        clear(last - 1);
        if last > 3 {
            clear(2);
            clear(3);
            clear(last - 2);
            clear(last - 3);
        }
    }
    block
}

#[cold]
#[inline(never)]
extern "C" fn allocate_missed_zeroed_or(size: usize, missed: u32, failed: OnFailure) -> *mut u8 {
    let missed = front::Refused::from_number(missed);
    or_zeroed(front::allocate(Key::of_small(size).class(), size as u32, missed), size, failed)
}

#[inline(never)]
extern "C" fn allocate_other_zeroed_or(size: usize, failed: OnFailure) -> *mut u8 {
    or_zeroed(allocate(size, 1, true), size, failed)
}

fn or_zeroed(found: Option<(NonNull<u8>, bool)>, size: usize, failed: OnFailure) -> *mut u8 {
    let Some((block, zeroed)) = found else {
        return failed();
    };
    if !zeroed {
        // SAFETY: the block holds at least `size` bytes, and is this caller's.
        unsafe { block.write_bytes(0, size) };
    }
    block.as_ptr()
}

#[cold]
#[inline(never)]
extern "C" fn allocate_missed_aligned(size: usize, align: usize, missed: u32) -> *mut u8 {
    let missed = front::Refused::from_number(missed);
    let key = Key::of_small(rounded_to(size, align));
    into_raw(front::allocate(key.class(), size as u32, missed).map(|found| found.0))
}

#[inline(never)]
extern "C" fn allocate_other_aligned(size: usize, align: usize) -> *mut u8 {
    into_raw(allocate_other(size, align))
}

#[cold]
#[inline(never)]
extern "C" fn allocate_missed_or(size: usize, missed: u32, failed: OnFailure) -> *mut u8 {
    let missed = front::Refused::from_number(missed);
    match allocate_missed(size, Key::of_small(size), missed) {
        Some(block) => block.as_ptr(),
        None => failed(),
    }
}

#[inline(never)]
extern "C" fn allocate_other_or(size: usize, failed: OnFailure) -> *mut u8 {
    match allocate_other(size, 1) {
        Some(block) => block.as_ptr(),
        None => failed(),
    }
}

/// What is returned without memory.
pub type OnFailure = extern "C" fn() -> *mut u8;

extern "C" fn nothing() -> *mut u8 {
    core::ptr::null_mut()
}

/// What is to be done about an address outside of this allocator's memory.
pub type OnForeign = extern "C" fn(*mut u8);

extern "C" fn is_foreign(block: *mut u8) {
    crate::global_alloc::foreign(block.addr());
}

// With C's calling convention nothing unwinds from here: callers need no preparation for it, and go on here for good.

#[cold]
#[inline(never)]
extern "C" fn free_twice(block: *mut u8) {
    crate::global_alloc::freed_twice(block.addr());
}

/// Frees a block whose push was aborted.
#[cold]
#[inline(never)]
unsafe extern "C" fn free_aborted(block: *mut u8, foreign: OnForeign) {
    // SAFETY: the caller's.
    unsafe { free_refused(block, foreign, true) };
}

/// Frees what the magazine did not take, or what there is none for.
#[cold]
#[inline(never)]
unsafe extern "C" fn free_slow(block: *mut u8, foreign: OnForeign) {
    // SAFETY: the caller's.
    unsafe { free_refused(block, foreign, false) };
}

/// # Safety
/// As [`LfAlloc::free_or`].
unsafe fn free_refused(block: *mut u8, foreign: OnForeign, aborted: bool) {
    let Some(some) = NonNull::new(block) else { return };
    match lookup(block.addr()) {
        Entry::Superblock(id) => {
            let (class, _) = locate(id, block.addr());
            front::free_refused(some, Key::of_class(class), aborted);
        }
        Entry::Large(id) if large::begins_at(id, block.addr()) => large::free(id),
        entry => refuse(entry, block, foreign),
    }
}

/// Tells of an address outside of this allocator's memory; ends the program if it is one within where no block begins.
#[cold]
fn refuse(entry: Entry, block: *mut u8, foreign: OnForeign) {
    match entry {
        Entry::Foreign if !harden::is_on() => foreign(block),
        Entry::FreedLarge => crate::global_alloc::freed_twice(block.addr()),
        Entry::Foreign | Entry::Superblock(_) | Entry::Large(_) => {
            crate::global_alloc::foreign(block.addr())
        }
    }
}
