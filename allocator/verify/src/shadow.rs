//! A shadow of the heap: what each live block should hold, and that no two overlap.

use std::alloc::{GlobalAlloc, Layout};
use std::collections::BTreeMap;

use lfalloc::LfAlloc;

/// One live block.
#[derive(Clone, Copy, Debug)]
struct Live {
    layout: Layout,
    pattern: u64,
}

/// The blocks that one thread holds, each filled with a pattern of its own.
#[derive(Debug, Default)]
pub struct Shadow {
    live: BTreeMap<usize, Live>,
    patterns: u64,
}

impl Shadow {
    /// Blocks held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// Allocates a block and fills it; `false` when there is no memory.
    ///
    /// # Panics
    /// If it is not aligned, overlaps another live block, or is not zero although that was asked for.
    pub fn allocate(&mut self, layout: Layout, zeroed: bool) -> bool {
        let block = if zeroed {
            // SAFETY: the callers' layouts are not of size zero.
            unsafe { LfAlloc.alloc_zeroed(layout) }
        } else {
            // SAFETY: likewise.
            unsafe { LfAlloc.alloc(layout) }
        };
        if block.is_null() {
            return false;
        }
        if zeroed {
            // SAFETY: a zeroed block is initialised.
            let bytes = unsafe { std::slice::from_raw_parts(block, layout.size()) };
            assert!(bytes.iter().all(|byte| *byte == 0), "{layout:?} at {block:?} is not zero");
        }
        self.enter(block, layout);
        true
    }

    fn enter(&mut self, block: *mut u8, layout: Layout) {
        let address = block.expose_provenance();
        assert_eq!(address % layout.align(), 0, "{layout:?} at {address:#x} is not aligned");
        let before = self.live.range(..address + layout.size()).next_back();
        if let Some((other, live)) = before {
            assert!(other + live.layout.size() <= address, "{layout:?} at {address:#x} overlaps");
        }
        self.patterns = self.patterns.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        let live = Live { layout, pattern: self.patterns ^ address as u64 };
        fill(block, live, 0);
        self.live.insert(address, live);
    }

    /// Frees a block, chosen by `choice`, after checking that it holds what it should.
    ///
    /// # Panics
    /// If it does not.
    pub fn free(&mut self, choice: u64) {
        let Some((address, live)) = self.choose(choice) else {
            return;
        };
        self.live.remove(&address);
        let block = std::ptr::with_exposed_provenance_mut(address);
        check(block, live, live.layout.size());
        // SAFETY: allocated with that layout and given up.
        unsafe { LfAlloc.dealloc(block, live.layout) };
    }

    /// Reallocates a block, chosen by `choice`, and checks that its contents came along.
    ///
    /// # Panics
    /// If they did not.
    pub fn reallocate(&mut self, choice: u64, new_size: usize) {
        let Some((address, live)) = self.choose(choice) else {
            return;
        };
        let block: *mut u8 = std::ptr::with_exposed_provenance_mut(address);
        // SAFETY: allocated with that layout; the new size is not zero and fits.
        let moved = unsafe { LfAlloc.realloc(block, live.layout, new_size) };
        if moved.is_null() {
            check(block, live, live.layout.size());
            return;
        }
        self.live.remove(&address);
        check(moved, live, live.layout.size().min(new_size));
        if let Ok(layout) = Layout::from_size_align(new_size, live.layout.align()) {
            self.enter(moved, layout);
        }
    }

    fn choose(&self, choice: u64) -> Option<(usize, Live)> {
        // An address near a random one of the address space in use would favour large gaps; the first at or after a
        // random live neighbour is even enough for a test.
        let (first, last) = (*self.live.keys().next()?, *self.live.keys().next_back()?);
        let from = first + (choice % (last - first + 1) as u64) as usize;
        self.live.range(from..).next().map(|(address, live)| (*address, *live))
    }

    /// Takes all blocks of another shadow, whose thread has given them up.
    pub fn adopt(&mut self, other: &mut Self) {
        self.live.append(&mut other.live);
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            while !self.is_empty() {
                self.free(0);
            }
        }
    }
}

/// Writes the pattern to the first and last words of a block, and to one in every 512 bytes.
fn fill(block: *mut u8, live: Live, from: usize) {
    for offset in offsets(live.layout.size()).filter(|offset| *offset >= from) {
        // SAFETY: within the block.
        let byte = unsafe { block.add(offset) };
        // SAFETY: within the block, which is ours.
        unsafe { byte.write(pattern_at(live, offset)) };
    }
}

/// Checks the pattern as far as the block's first `size` bytes go.
fn check(block: *mut u8, live: Live, size: usize) {
    for offset in offsets(live.layout.size()).take_while(|offset| *offset < size) {
        // SAFETY: within the block.
        let byte = unsafe { block.add(offset) };
        // SAFETY: written by `fill`.
        let found = unsafe { byte.read() };
        let expected = pattern_at(live, offset);
        assert_eq!(found, expected, "byte {offset} of {:?} at {block:?}", live.layout);
    }
}

fn pattern_at(live: Live, offset: usize) -> u8 {
    live.pattern.rotate_left(offset as u32 % 61) as u8
}

/// The offsets that are written and checked, ascending: the first 16 bytes, one in every 512, and the last 16.
fn offsets(size: usize) -> impl Iterator<Item = usize> {
    let head = 0..size.min(16);
    let tail = size.saturating_sub(16).max(16)..size;
    head.chain((512..size.saturating_sub(16)).step_by(512)).chain(tail)
}

/// Marsaglia's xorshift64: the same numbers for the same seed.
#[derive(Clone, Copy, Debug)]
pub struct Random(u64);

impl Random {
    /// Numbers for a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `bound`.
    pub const fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }
}
