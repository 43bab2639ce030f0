//! What the victim holds, where the others find it: a thread that is dead gives nothing back, and what it held is the program's,
//! not lost by the allocator.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::api::Api;
use super::mark;

const MOST: usize = 1 << 15;

struct Block {
    address: AtomicUsize,
    size: AtomicUsize,
}

/// Those between the two cursors, with holes where the address is 0.
static BLOCKS: [Block; MOST] =
    [const { Block { address: AtomicUsize::new(0), size: AtomicUsize::new(0) } }; MOST];
static FIRST: AtomicUsize = AtomicUsize::new(0);
static END: AtomicUsize = AtomicUsize::new(0);

/// Says whose the marks in the blocks are.
const OWNER: u64 = 77;

// Relaxed, everywhere: the victim alone changes it while it lives; others read it when the tracer says that it stands still, and a
// message lies between.

/// Writes a mark into a block of `size` bytes and remembers it.
///
/// # Safety
/// The block is the caller's, of so many bytes.
pub(super) unsafe fn keep(address: usize, size: usize) {
    let place = END.fetch_add(1, Ordering::Relaxed);
    let block = &BLOCKS[place];
    // SAFETY: the caller's.
    unsafe { mark::write(address, size, OWNER) };
    block.size.store(size, Ordering::Relaxed);
    block.address.store(address, Ordering::Relaxed);
}

/// Allocates so many blocks and holds them.
pub(super) fn add(api: &Api, count: usize, size: usize) {
    for _ in 0..count {
        let block = (api.malloc)(size).addr();
        if block == 0 {
            mark::wrong("no memory for the set-up");
        }
        // SAFETY: just allocated.
        unsafe { keep(block, size) };
    }
}

/// Takes a block out: the first that is held, or the last; 0 without any.
pub(super) fn take(is_first: bool) -> usize {
    let range = FIRST.load(Ordering::Relaxed)..END.load(Ordering::Relaxed);
    let take = |place: usize| {
        let address = BLOCKS[place].address.swap(0, Ordering::Relaxed);
        if address == 0 {
            return None;
        }
        // SAFETY: a block that is held.
        unsafe { mark::check(address, BLOCKS[place].size.load(Ordering::Relaxed), OWNER) };
        Some((place, address))
    };
    let found =
        if is_first { range.clone().find_map(take) } else { range.clone().rev().find_map(take) };
    let Some((place, address)) = found else { return 0 };
    if is_first {
        FIRST.store(place + 1, Ordering::Relaxed);
    } else {
        END.store(place, Ordering::Relaxed);
    }
    address
}

/// Frees every `step`-th block, the first one included.
pub(super) fn free_each(api: &Api, step: usize) {
    for place in (FIRST.load(Ordering::Relaxed)..END.load(Ordering::Relaxed)).step_by(step) {
        let address = BLOCKS[place].address.swap(0, Ordering::Relaxed);
        if address != 0 {
            // SAFETY: a block that was held.
            unsafe { mark::check(address, BLOCKS[place].size.load(Ordering::Relaxed), OWNER) };
            // SAFETY: nobody else has it.
            unsafe { (api.free)(std::ptr::with_exposed_provenance_mut(address)) };
        }
    }
}

/// Frees all of them.
pub(super) fn free_all(api: &Api) {
    free_each(api, 1);
    FIRST.store(0, Ordering::Relaxed);
    END.store(0, Ordering::Relaxed);
}

/// Looks at the marks in all of them.
pub(super) fn check_all() {
    for block in &BLOCKS[FIRST.load(Ordering::Relaxed)..END.load(Ordering::Relaxed)] {
        let address = block.address.load(Ordering::Relaxed);
        if address != 0 {
            // SAFETY: a block that is held.
            unsafe { mark::check(address, block.size.load(Ordering::Relaxed), OWNER) };
        }
    }
}
