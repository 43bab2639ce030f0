//! Aim: a thread that takes a processor's next block, in the middle of another's turn, does not get one on the line of the
//! other's. Method: blocks smaller than a line out of a magazine that was filled just now; no two lie on one. In a process
//! of its own: whoever else uses the processor's magazines mixes the order.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc as _, Layout};

use lfalloc::LfAlloc;
use lfalloc::observe::magazine_processors;

#[test]
fn neighbours_on_a_line_are_not_popped_in_turn() {
    // Whether there are magazines is known after the first.
    let first = Layout::from_size_align(16, 16).unwrap();
    // SAFETY: the size is not zero.
    let block = unsafe { LfAlloc.alloc(first) };
    // SAFETY: allocated with that layout.
    unsafe { LfAlloc.dealloc(block, first) };
    if magazine_processors() == 0 {
        return;
    }
    std::thread::spawn(|| {
        run_on_first();
        for size in [16, 32, 48, 80, 240] {
            // A sequence that is interrupted takes its block from elsewhere: three times in a row is no accident.
            let layout = Layout::from_size_align(size, 16).unwrap();
            let found: Vec<_> = (0..3).map_while(|_| neighbours(layout)).collect();
            assert!(found.len() < 3, "{size} bytes: {found:x?}");
        }
    })
    .join()
    .unwrap();
}

/// Restricts this thread to one processor, where it may.
fn run_on_first() {
    // SAFETY: a set of zeros is an empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: within the set.
    unsafe { libc::CPU_SET(0, &mut set) };
    // SAFETY: this thread, and a valid set. Where the processor may not be used nothing changes.
    unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
}

/// Two blocks that were popped one after the other out of a magazine filled just now, and share a line.
fn neighbours(layout: Layout) -> Option<[usize; 2]> {
    LfAlloc.purge();
    // SAFETY: the size is not zero.
    let blocks: Vec<_> = (0..16).map(|_| unsafe { LfAlloc.alloc(layout) }).collect();
    let lines = |block: usize| block / 64..=(block + layout.size() - 1) / 64;
    let mut pairs = blocks.windows(2).map(|pair| [pair[0].addr(), pair[1].addr()]);
    let found = pairs.find(|[one, next]| lines(*one).any(|line| lines(*next).contains(&line)));
    for block in blocks {
        // SAFETY: allocated with that layout.
        unsafe { LfAlloc.dealloc(block, layout) };
    }
    found
}
