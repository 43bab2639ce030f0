//! Marks in blocks: whoever holds a block finds what it has written there, or the block was somebody else's meanwhile.

use std::sync::atomic::{AtomicI32, Ordering};

use super::wire::Reply;

/// Blocks up to so many bytes are marked all over, larger ones at both ends.
const WHOLE_BYTES: usize = 256;
const WORD_BYTES: usize = size_of::<u64>();

/// The words of a block that bear a mark; none in blocks of less than a word.
fn places(size: usize) -> impl Iterator<Item = usize> {
    let words = size / WORD_BYTES;
    let front = words.min(WHOLE_BYTES / WORD_BYTES);
    let back = words.saturating_sub(2).max(front);
    (0..front).chain(back..words)
}

/// What stands in a word: of whom, and which word it is of which block.
fn value(address: usize, place: usize, owner: u64) -> u64 {
    (address as u64).rotate_left(20) ^ (owner << 1) ^ ((place as u64) << 48) | 1
}

/// Marks a block.
///
/// # Safety
/// It is the caller's, of so many bytes.
pub(super) unsafe fn write(address: usize, size: usize, owner: u64) {
    let words = std::ptr::with_exposed_provenance_mut::<u64>(address);
    for place in places(size) {
        // SAFETY: a word of the caller's block, which is aligned to 16.
        unsafe { words.wrapping_add(place).write_volatile(value(address, place, owner)) };
    }
}

/// Looks whether the mark is there; ends the run if it is not.
///
/// # Safety
/// As [`write`].
pub(super) unsafe fn check(address: usize, size: usize, owner: u64) {
    let words = std::ptr::with_exposed_provenance::<u64>(address);
    for place in places(size) {
        // SAFETY: a word of the caller's block.
        let found = unsafe { words.wrapping_add(place).read_volatile() };
        if found != value(address, place, owner) {
            wrong("a block does not hold what its owner wrote: it was handed out twice, or lost");
        }
    }
}

/// Whether the first `count` bytes are `byte`.
///
/// # Safety
/// They are the caller's.
pub(super) unsafe fn holds(address: usize, count: usize, byte: u8) -> bool {
    let bytes = std::ptr::with_exposed_provenance::<u8>(address);
    // SAFETY: the caller's.
    (0..count).all(|place| unsafe { bytes.wrapping_add(place).read_volatile() } == byte)
}

/// Where [`wrong`] tells the tracer.
static TOLD: AtomicI32 = AtomicI32::new(-1);

/// From now on [`wrong`] tells the tracer by that descriptor.
pub(super) fn tell(descriptor: i32) {
    TOLD.store(descriptor, Ordering::Relaxed);
}

/// Says what is wrong, tells the tracer, and ends the target.
pub(super) fn wrong(what: &str) -> ! {
    for (descriptor, bytes) in [
        (2, what.as_bytes()),
        (2, b"\n".as_slice()),
        (TOLD.load(Ordering::Relaxed), &Reply::Wrong.bytes()),
    ] {
        // SAFETY: reads as many bytes as there are (write(2)).
        unsafe { libc::write(descriptor, bytes.as_ptr().cast(), bytes.len()) };
    }
    // SAFETY: ends the process at once (_exit(2)).
    unsafe { libc::_exit(3) }
}
