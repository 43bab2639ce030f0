//! Blocks that tell whose they are: the library's, by any of its calls, with marks and a pattern in them.
//!
//! ```text
//! word 0: mark, the holder's   word 1: bytes   then, in some words, mark and address mixed   last word: the same
//! ```
//!
//! A block that is handed out twice, or written to by somebody else, has not what its holder wrote when it looks again. The holder knows
//! 16 bits of its mark by itself: a block that has become another's whole, marks and all, is noticed, too. They lie above the address, so
//! that anybody can take a block over by one word.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use crate::require;
use crate::shadow::Random;
use crate::soak::board::{self, board};

/// Bytes of the smallest that can be marked.
pub const LEAST_BYTES: usize = 24;

static MARKS: AtomicU64 = AtomicU64::new(1);

/// Addresses of programs have 47 bits.
const ADDRESS_BITS: u32 = 48;

/// A block that is held: its address, and above that the last bits of its mark.
#[derive(Debug)]
pub struct Marked(NonNull<u64>);

// SAFETY: a block is its holder's, whichever thread that is.
unsafe impl Send for Marked {}

impl Marked {
    /// Marks a block that the caller holds, of at least [`LEAST_BYTES`].
    fn mark(block: *mut c_void, bytes: usize) -> Self {
        // Odd multipliers spread the numbers; no mark is a small number.
        let mark = MARKS.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let marked = Self::with_mark(block, mark, bytes);
        marked.write(0, mark);
        marked.write(1, bytes as u64);
        for word in words(bytes) {
            marked.write(word, pattern(marked.address(word), mark));
        }
        marked
    }

    /// A block that has that mark, or is about to.
    fn with_mark(block: *mut c_void, mark: u64, bytes: usize) -> Self {
        let block = block.cast::<u64>();
        let above = (mark as usize) << ADDRESS_BITS;
        match NonNull::new(block) {
            Some(block) => Self(block.map_addr(|address| address | above)),
            None => board::fail(format_args!("no memory for {bytes} bytes")),
        }
    }

    /// A block of a size and by a call that `random` chooses: mostly small, and now and then large.
    #[must_use]
    pub fn new(random: &mut Random) -> Self {
        let bytes = size(random);
        let call = random.below(16);
        let block = match call {
            0 => {
                // SAFETY: no conditions.
                let block = unsafe { libc::calloc(1, bytes) };
                require_zero(block, bytes);
                block
            }
            1 => {
                let align = 16 << random.below(9);
                let mut block = std::ptr::null_mut();
                // SAFETY: room for the address.
                let failed = unsafe { libc::posix_memalign(&raw mut block, align, bytes) };
                require!(
                    failed == 0 && block.addr().is_multiple_of(align),
                    "posix_memalign({align}, {bytes}) gave {block:?}, error {failed}"
                );
                block
            }
            // SAFETY: no conditions.
            _ => unsafe { libc::malloc(bytes) },
        };
        Self::mark(block, bytes)
    }

    /// A block that malloc(3) gives.
    #[must_use]
    pub fn of_bytes(bytes: usize) -> Self {
        let bytes = bytes.max(LEAST_BYTES);
        // SAFETY: no conditions.
        Self::mark(unsafe { libc::malloc(bytes) }, bytes)
    }

    /// As if somebody else had been given the same block: to see that it is noticed.
    pub(super) fn again(&self) -> Self {
        Self::mark(self.start().cast(), self.own_mark().1)
    }

    /// The block that [`Marked::into_raw`] gave.
    ///
    /// # Safety
    /// Nobody else takes it over.
    #[must_use]
    pub unsafe fn from_raw(block: NonNull<u64>) -> Self {
        Self(block)
    }

    /// Its word; whoever has it holds the block.
    #[must_use]
    pub fn into_raw(self) -> *mut u64 {
        let block = self.0.as_ptr();
        std::mem::forget(self);
        block
    }

    /// Where it begins.
    #[must_use]
    pub fn start(&self) -> *mut u64 {
        self.0.as_ptr().map_addr(|address| address & ((1 << ADDRESS_BITS) - 1))
    }

    /// The address of one of its words.
    fn address(&self, word: usize) -> usize {
        self.start().addr() + 8 * word
    }

    fn write(&self, word: usize, value: u64) {
        // SAFETY: within the block.
        unsafe { self.start().wrapping_add(word).write_volatile(value) };
    }

    fn read(&self, word: usize) -> u64 {
        // SAFETY: within the block; `mark` wrote all that are read.
        unsafe { self.start().wrapping_add(word).read_volatile() }
    }

    /// Its mark and its size, if the mark still is its holder's.
    fn own_mark(&self) -> (u64, usize) {
        let (mark, bytes) = (self.read(0), self.read(1) as usize);
        require!(
            mark as u16 == (self.0.addr().get() >> ADDRESS_BITS) as u16
                && (LEAST_BYTES..1 << 32).contains(&bytes),
            "block {:?} has mark {mark:#x} and {bytes} bytes: it is not its holder's any more",
            self.start()
        );
        (mark, bytes)
    }

    /// Looks whether it has what was written to it.
    pub fn check(&self) {
        let (mark, bytes) = self.own_mark();
        for word in words(bytes) {
            let (found, wanted) = (self.read(word), pattern(self.address(word), mark));
            require!(
                found == wanted,
                "word {word} of block {:?} of {bytes} bytes is {found:#x} instead of {wanted:#x}",
                self.start()
            );
        }
    }

    /// Another size, with the contents kept.
    #[must_use]
    pub fn resized(self, random: &mut Random) -> Self {
        self.check();
        let (mark, old) = self.own_mark();
        let new = size(random);
        let before = self.start();
        let _ = self.into_raw();
        // SAFETY: a block that is held, and given up now.
        let after = unsafe { libc::realloc(before.cast(), new) };
        let moved = Self::with_mark(after, mark, new);
        require!(moved.own_mark() == (mark, old), "realloc lost the beginning of {old} bytes");
        for word in words(old).filter(|word| (word + 1) * 8 <= new) {
            // The pattern tells the address that the block had.
            let wanted = pattern(before.addr() + 8 * word, mark);
            require!(moved.read(word) == wanted, "realloc lost word {word} of {old} bytes");
        }
        // What it held is not looked at again.
        let _ = moved.into_raw();
        Self::mark(after, new)
    }
}

/// What a word at an address holds.
fn pattern(address: usize, mark: u64) -> u64 {
    mark.rotate_left(address as u32 / 8) ^ address as u64
}

impl Drop for Marked {
    fn drop(&mut self) {
        self.check();
        // Whoever else has it finds that it has gone.
        self.write(1, 0);
        // SAFETY: held, and given up now.
        unsafe { libc::free(self.start().cast()) };
    }
}

/// The words with a pattern: all of small blocks, one in every 512 bytes of others, and the last whole one.
fn words(bytes: usize) -> impl Iterator<Item = usize> {
    let last = bytes / 8 - 1;
    let step = if bytes <= 256 { 1 } else { 64 };
    (2..last).step_by(step).chain([last].into_iter().filter(|last| *last >= 2))
}

/// Ends the process unless the bytes are zero.
pub fn require_zero(block: *mut c_void, bytes: usize) {
    if block.is_null() {
        return;
    }
    // SAFETY: a zeroed block is initialised, and the caller's.
    let content = unsafe { std::slice::from_raw_parts(block.cast::<u8>(), bytes) };
    // In pieces, so that the compiler can compare many at once.
    let is_zero = content.chunks(64).all(|piece| piece.iter().fold(0, |any, byte| any | byte) == 0);
    require!(is_zero, "{bytes} bytes at {block:?} are not zero");
}

fn size(random: &mut Random) -> usize {
    let below = match random.below(256) {
        0 => 400_000,
        1..=7 => 33_000,
        8..=39 => 2000,
        _ => 240,
    };
    LEAST_BYTES + random.below(below) as usize
}

/// Places through which blocks go from one holder to another.
#[derive(Debug)]
pub struct Exchange<const N: usize>([AtomicPtr<u64>; N]);

impl<const N: usize> Exchange<N> {
    /// All empty.
    #[must_use]
    pub const fn new() -> Self {
        Self([const { AtomicPtr::new(std::ptr::null_mut()) }; N])
    }

    /// Puts a block into a place, and takes what was there.
    pub fn swap(&self, place: u64, block: Option<Marked>) -> Option<Marked> {
        let block = block.map_or(std::ptr::null_mut(), Marked::into_raw);
        // AcqRel: publishes what was written to the block, and sees what its holder wrote to the other.
        let found = self.0[place as usize % N].swap(block, Ordering::AcqRel);
        // SAFETY: whoever swaps it out holds it.
        NonNull::new(found).map(|found| unsafe { Marked::from_raw(found) })
    }

    /// A new block for what lies in some place, which is looked at and freed, or first gets another size.
    pub fn replace(&self, random: &mut Random) {
        let block = Marked::new(random);
        if let Some(found) = self.swap(random.next() >> 32, Some(block)) {
            let found = if random.below(8) == 0 { found.resized(random) } else { found };
            drop(found);
            board().checked.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// As [`Exchange::replace`], with sizes for which the library needs the system hardly ever.
    pub fn replace_small(&self, random: &mut Random) {
        let block = Marked::of_bytes(16 << random.below(5));
        drop(self.swap(random.next() >> 32, Some(block)));
        board().checked.fetch_add(1, Ordering::Relaxed);
    }

    /// Frees all that lies here.
    pub fn clear(&self) {
        (0..N as u64).for_each(|place| drop(self.swap(place, None)));
    }
}

impl<const N: usize> Default for Exchange<N> {
    fn default() -> Self {
        Self::new()
    }
}
