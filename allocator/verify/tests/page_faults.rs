//! Aim: a fresh block costs one page fault, its owner's. (Were the list threaded through fresh memory, the allocator
//! would read each page before its owner writes it, and the kernel would fault twice: once for the zero page, once for
//! a page of its own.) Method: count the faults of this process while it takes and writes fresh blocks of a page.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::alloc::{GlobalAlloc, Layout};

use lfalloc::LfAlloc;

fn minor_faults() -> i64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: writes one `rusage`.
    assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) }, 0);
    // SAFETY: written by the call, and all zero before.
    unsafe { usage.assume_init() }.ru_minflt
}

#[test]
fn a_fresh_block_faults_once() {
    const BLOCKS: i64 = 8000;
    let layout = Layout::from_size_align(4096, 16).unwrap();
    let before = minor_faults();
    for _ in 0..BLOCKS {
        // SAFETY: the size is not zero. Kept until the process ends.
        let block = unsafe { LfAlloc.alloc_zeroed(layout) };
        assert!(!block.is_null());
        // SAFETY: within the block.
        unsafe { block.write(1) };
    }
    let faults = minor_faults() - before;
    println!("{faults} faults for {BLOCKS} blocks");
    assert!(faults <= BLOCKS + BLOCKS / 10, "{faults} faults for {BLOCKS} blocks");
}
