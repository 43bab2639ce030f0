//! A block of the global allocator with a mark in it.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::hint::black_box;
use std::ptr::NonNull;

/// Bytes of the smallest block: it holds its mark.
pub(super) const LEAST_BYTES: u32 = 8;
const ALIGN: usize = 8;
/// So that a mark is nothing that an allocator writes.
const SALT: u64 = 0xB10C_0000_0000_0000;

/// A block; dropping it checks its mark and frees it. A mark that has changed was written by somebody who held the
/// same block, or by the allocator: a panic.
#[derive(Debug)]
pub(super) struct Block {
    at: NonNull<u8>,
    bytes: u32,
    mark: u32,
}

// SAFETY: nobody else refers to the block, and a global allocator frees in any thread.
unsafe impl Send for Block {}

fn layout(bytes: u32) -> Layout {
    match Layout::from_size_align(bytes as usize, ALIGN) {
        Ok(layout) => layout,
        Err(_) => unreachable!("32 bits fit"),
    }
}

impl Block {
    /// A block of so many bytes, at least [`LEAST_BYTES`], whose first 8 bytes are written.
    #[inline]
    pub(super) fn new(bytes: u32, mark: u32) -> Self {
        debug_assert!(bytes >= LEAST_BYTES);
        let layout = layout(bytes);
        // SAFETY: the size is not zero.
        let Some(at) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        // Not known to be fresh: else the compiler may take allocation and release away together.
        let block = Self { at: black_box(at), bytes, mark };
        block.write_mark();
        block
    }

    #[inline]
    fn write_mark(&self) {
        // SAFETY: the block holds at least 8 bytes, aligned to 8.
        unsafe { self.at.cast::<u64>().write(u64::from(self.mark) ^ SALT) };
    }

    #[inline]
    fn check(&self) {
        // SAFETY: as in `write_mark`, which has initialised it.
        let found = unsafe { self.at.cast::<u64>().read() };
        assert!(found == u64::from(self.mark) ^ SALT, "a block of {} bytes changed", self.bytes);
    }

    /// Writes a byte to each of its pages, beyond the mark.
    pub(super) fn touch(&mut self) {
        for offset in (LEAST_BYTES as usize..self.bytes as usize).step_by(4096) {
            // SAFETY: below its size.
            let byte = unsafe { self.at.add(offset) };
            // SAFETY: inside the block, which is ours.
            unsafe { byte.write_volatile(1) };
        }
    }

    /// Adds one to its first 8 bytes, `times` times, each in memory, and restores the mark.
    pub(super) fn write_repeatedly(&mut self, times: u64) {
        let word = self.at.cast::<u64>();
        for _ in 0..times {
            // SAFETY: as in `write_mark`; volatile, so that each one reaches the cache line.
            let value = unsafe { word.read_volatile() };
            // SAFETY: the same.
            unsafe { word.write_volatile(value.wrapping_add(1)) };
        }
        // SAFETY: the same.
        let value = unsafe { word.read() };
        let sum = (u64::from(self.mark) ^ SALT).wrapping_add(times);
        assert_eq!(value, sum, "writes were lost");
        self.write_mark();
    }

    /// Changes its size; what it held is kept.
    pub(super) fn resize(&mut self, bytes: u32) {
        debug_assert!(bytes >= LEAST_BYTES);
        // SAFETY: allocated with this layout, and the new size is not zero.
        let at = unsafe { realloc(self.at.as_ptr(), layout(self.bytes), bytes as usize) };
        let Some(at) = NonNull::new(at) else { handle_alloc_error(layout(bytes)) };
        (self.at, self.bytes) = (at, bytes);
    }

    /// Its size.
    pub(super) fn bytes(&self) -> u32 {
        self.bytes
    }
}

impl Drop for Block {
    #[inline]
    fn drop(&mut self) {
        self.check();
        // SAFETY: allocated with this layout; its last use.
        unsafe { dealloc(self.at.as_ptr(), layout(self.bytes)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Aim: a block that somebody else has written to is told. Method: write to it.
    #[test]
    #[should_panic(expected = "changed")]
    fn a_foreign_write_is_found() {
        let block = Block::new(16, 7);
        // SAFETY: inside the block.
        unsafe { block.at.write(0) };
    }

    /// Aim: a block keeps its mark when it grows and shrinks. Method: sizes up and down.
    #[test]
    fn sizes_change() {
        let mut block = Block::new(8, 1);
        for bytes in [24, 5000, 1 << 20, 16] {
            block.resize(bytes);
            block.touch();
            block.check();
            assert_eq!(block.bytes(), bytes);
        }
        block.write_repeatedly(10);
    }
}
