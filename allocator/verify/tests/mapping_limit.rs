//! Aim: at the kernel's limit of mappings, where memory can be given back but addresses cannot, nothing is lost and the
//! books balance. Method: use up the mappings, then purge; lift the limit, and purge again. Alone in its process.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::alloc::{GlobalAlloc, Layout};

use lfalloc::LfAlloc;
use lfalloc::observe::{Tables, totals};

/// Splits a reservation into as many mappings as the kernel allows; the pieces.
fn use_up_mappings() -> (*mut libc::c_void, usize) {
    let pages = 140_000;
    let bytes = pages * 4096;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0) };
    assert_ne!(start, libc::MAP_FAILED);
    for page in (1..pages).step_by(2) {
        // SAFETY: within the mapping.
        let address = unsafe { start.byte_add(page * 4096) };
        // SAFETY: a page of the mapping.
        if unsafe { libc::mprotect(address, 4096, libc::PROT_READ) } != 0 {
            break;
        }
    }
    (start, bytes)
}

#[test]
fn the_books_balance_at_the_limit_of_mappings() {
    let layout = |size| Layout::from_size_align(size, 8).unwrap();
    let sizes = [100, 8192, 20_000, 400_000];
    let mut blocks = Vec::new();
    for size in sizes {
        for _ in 0..300 {
            // SAFETY: the size is not zero.
            let block = unsafe { LfAlloc.alloc(layout(size)) };
            // SAFETY: just allocated.
            unsafe { block.write_bytes(1, size) };
            blocks.push((block, size));
        }
    }
    let mut tables = Tables::new().unwrap();
    assert!(tables.take(1).is_some());
    let (start, bytes) = use_up_mappings();
    for (block, size) in blocks {
        // SAFETY: allocated with that layout.
        unsafe { LfAlloc.dealloc(block, layout(size)) };
    }
    for _ in 0..4 {
        LfAlloc.purge();
        let census = tables.take(1).unwrap();
        assert!(census.consistent);
        assert_eq!(census.parts.sum(), census.parts.mapped, "{:?}", census.parts);
        assert_eq!(census.parts.live + census.parts.large, 0);
    }
    // Blocks that could not be unmapped are used again, for requests that they do not fit tightly.
    // SAFETY: the size is not zero.
    let blocks: Vec<_> = (0..20).map(|_| unsafe { LfAlloc.alloc(layout(340_000)) }).collect();
    for block in blocks {
        // SAFETY: allocated with that layout.
        unsafe { LfAlloc.dealloc(block, layout(340_000)) };
    }
    // SAFETY: the mapping made above.
    assert_eq!(unsafe { libc::munmap(start, bytes) }, 0);
    LfAlloc.purge();
    let census = tables.take(1).unwrap();
    assert_eq!(census.parts.sum(), census.parts.mapped);
    assert_eq!(census.parts.mapped, census.parts.metadata, "without the limit all of it goes back");
    // A loose fit is as good as ever: what it wastes is not confused by those blocks.
    // SAFETY: the size is not zero.
    let large = unsafe { LfAlloc.alloc(layout(2 << 20)) };
    // SAFETY: allocated with that layout.
    unsafe { LfAlloc.dealloc(large, layout(2 << 20)) };
    let mapped = totals().mapped_bytes;
    // SAFETY: the size is not zero.
    let smaller = unsafe { LfAlloc.alloc(layout(600_000)) };
    assert_eq!(totals().mapped_bytes, mapped, "the block that is kept is taken");
    // SAFETY: allocated with that layout.
    unsafe { LfAlloc.dealloc(smaller, layout(600_000)) };
}
