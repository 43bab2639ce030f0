//! Addresses that are no block of this allocator's.
//!
//! They come from programs that mix allocators: memory of a library that brings its own, of a C library in another
//! namespace (dlmopen(3)), or from before this one was loaded. Nothing is known of them but that they are not ours: they are
//! counted, the first one is reported, and otherwise nothing happens.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::tuning::Line;

static FOREIGN: AtomicU64 = AtomicU64::new(0);

/// How many foreign pointers were given to `free` and `realloc`.
pub(crate) fn foreign_frees() -> u64 {
    // Relaxed: a counter, which publishes nothing.
    FOREIGN.load(Ordering::Relaxed)
}

/// Counts one, and reports it if it is the first.
#[cold]
#[inline(never)]
pub(crate) fn foreign(function: &str, address: usize) {
    // Relaxed: whoever gets 0 reports.
    if FOREIGN.fetch_add(1, Ordering::Relaxed) > 0 {
        return;
    }
    let mut line = Line::new();
    // By hand: formatting may panic, for all the compiler knows.
    line.add("lfalloc: ");
    line.add(function);
    line.add("(0x");
    for shift in (0..=address.max(1).ilog2() / 4).rev() {
        let digit = address >> (4 * shift) & 15;
        line.add("0123456789abcdef".get(digit..=digit).unwrap_or_default());
    }
    line.add(
        ") ignored: this is no block of lfalloc's; it came from another allocator, or from none (said once; \
         lfalloc_totals counts them)\n",
    );
    line.print();
}

/// [`foreign`], given to `realloc`, which fails then.
#[cold]
pub(crate) extern "C" fn foreign_realloc(block: *mut u8) {
    foreign("realloc", block.addr());
    crate::set_errno(libc::EINVAL);
}

/// [`foreign`], given to `free`.
#[cold]
pub(crate) extern "C" fn foreign_free(block: *mut u8) {
    foreign("free", block.addr());
}
