//! Aim: what is freed is kept for who wants it again, within bounds, and goes back when nobody does. Each test looks at the
//! figures of the whole process, so it runs alone in one.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::alloc::{GlobalAlloc, Layout};
use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};

use lfalloc::LfAlloc;
use lfalloc::observe::{Parts, Tables, magazine_processors, totals};
use lfalloc::study::end_interval;

const MIB: usize = 1 << 20;

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    LfAlloc.purge();
    guard
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, 8).unwrap()
}

fn allocate(bytes: usize) -> *mut u8 {
    // SAFETY: no test asks for no bytes.
    let block = unsafe { LfAlloc.alloc(layout(bytes)) };
    assert!(!block.is_null());
    block
}

fn free(block: *mut u8, bytes: usize) {
    // SAFETY: allocated with that layout.
    unsafe { LfAlloc.dealloc(block, layout(bytes)) };
}

fn free_all(blocks: impl IntoIterator<Item = (*mut u8, usize)>) {
    for (block, bytes) in blocks {
        free(block, bytes);
    }
}

fn parts() -> Parts {
    let census = Tables::new().unwrap().take(4).unwrap();
    assert_eq!(census.parts.sum(), census.parts.mapped);
    census.parts
}

/// Aim: superblocks that a program fills and empties again and again are neither decommitted nor mapped meanwhile; two
/// intervals after the last time all but the reserve are decommitted. Method: 2,000 superblocks of blocks of 8 KiB, several
/// times, with intervals that end; `mapped` falls with a decommit and rises with a map.
#[test]
fn superblocks_in_demand_stay() {
    let _alone = alone();
    let turn = || {
        let blocks: Vec<_> = (0..16_000).map(|_| (allocate(8192), 8192)).collect();
        let full = totals().mapped_bytes;
        free_all(blocks);
        full
    };
    turn();
    for number in 0..6 {
        let full = turn();
        if number % 2 == 1 {
            end_interval();
        }
        assert_eq!(totals().mapped_bytes, full, "turn {number}");
    }
    end_interval();
    end_interval();
    end_interval();
    let most = if magazine_processors() > 0 { 96 } else { 40 } * (64 << 10);
    assert!(parts().empty <= most, "{} bytes of EMPTY superblocks stay", parts().empty);
}

/// Aim: a large block that is freed and wanted again costs no mapping; it goes when nobody wants it for some intervals.
/// Method: pairs of several sizes and a look at `mapped`; intervals.
#[test]
fn large_blocks_in_demand_stay() {
    let _alone = alone();
    for bytes in [200_000, MIB, 5 * MIB, 30 * MIB] {
        LfAlloc.purge();
        free(allocate(bytes), bytes);
        let mapped = totals().mapped_bytes;
        for _ in 0..100 {
            let block = allocate(bytes);
            assert_eq!(totals().mapped_bytes, mapped, "{bytes}");
            free(block, bytes);
            assert_eq!(totals().mapped_bytes, mapped, "{bytes}");
        }
    }
    // Kept as long as it is needed once an interval.
    let bytes = 30 * MIB;
    for _ in 0..20 {
        end_interval();
        free(allocate(bytes), bytes);
    }
    assert!(parts().large_cached >= 30 * MIB as i64);
    for _ in 0..4 {
        end_interval();
    }
    assert_eq!(parts().large_cached, 0);
}

/// Aim: what is kept of large blocks is bounded by what is in use and 256 MiB, and fits that waste are bounded. Method: many
/// sizes at once, freed by and by; then requests of a quarter of what is kept.
#[test]
fn large_blocks_are_bounded() {
    let _alone = alone();
    let sizes: Vec<_> = (1..=200).map(|number| 150_000 + number * 40_000).collect();
    let mut blocks: Vec<_> = sizes.iter().map(|bytes| (allocate(*bytes), *bytes)).collect();
    while let Some((block, bytes)) = blocks.pop() {
        free(block, bytes);
        let Parts { large, large_cached, .. } = parts();
        // One free gives back four blocks at most.
        let most = large + (256 << 20) + 2 * bytes as i64;
        assert!(large_cached <= most, "{large_cached} bytes kept beside {large} in use");
    }
    assert!(parts().large_cached <= 256 << 20);
    LfAlloc.purge();
    let mut blocks = Vec::new();
    let mut asked = 0;
    for _ in 0..100 {
        // What a request leaves is too large for the next: 2 MiB come and go, 600 KB stay.
        free(allocate(2 * MIB), 2 * MIB);
        blocks.push((allocate(600_000), 600_000));
        asked += 600_000;
    }
    let large = parts().large;
    assert!(large <= asked + asked / 3 + (17 << 20), "{large} bytes for {asked}");
    free_all(blocks);
    LfAlloc.purge();
    assert_eq!(parts().large_cached + parts().large, 0);
}

/// Aim: a block that is wanted zeroed is zero, wherever it comes from. Method: blocks full of ones, freed, some of them until
/// they have no pages, and asked for again with sizes around.
#[test]
fn zeroed_large_blocks_are_zero() {
    let _alone = alone();
    for bytes in [300_000, 3 * MIB, 4 * MIB, 9 * MIB] {
        for intervals in [0, 1] {
            let block = allocate(bytes);
            // SAFETY: the block has that many bytes.
            unsafe { block.write_bytes(0xFF, bytes) };
            free(block, bytes);
            for _ in 0..intervals {
                end_interval();
            }
            for wanted in [bytes, bytes - 1, bytes * 3 / 4] {
                // SAFETY: not no bytes.
                let block = unsafe { LfAlloc.alloc_zeroed(layout(wanted)) };
                // SAFETY: the block has that many bytes, all of them written by now.
                let contents = unsafe { std::slice::from_raw_parts(block, wanted) };
                assert!(contents.iter().all(|byte| *byte == 0), "{wanted} of {bytes}");
                free(block, wanted);
            }
        }
    }
}

/// Aim: a large block that grows and shrinks keeps its contents and alignment, whichever way it goes: within its rounding, in
/// place, by moving its pages, by copying to a block that is kept. Method: random sizes and alignments, with other blocks kept
/// and in the way; every byte checked at its ends and at steps between.
#[test]
fn resized_large_blocks_keep_their_contents() {
    let _alone = alone();
    let mut random = lfalloc_verify::shadow::Random::new(5);
    for align in [8, 64, 128, 4096, 65_536, 1 << 17] {
        let mut bytes = 200_000;
        let layout = |bytes| Layout::from_size_align(bytes, align).unwrap();
        // SAFETY: not no bytes.
        let mut block = unsafe { LfAlloc.alloc(layout(bytes)) };
        let mut others = Vec::new();
        for turn in 0..300_usize {
            let mark = |place: usize| (place / 4093) as u8 ^ turn as u8;
            let places = |bytes: usize| (0..bytes).step_by(4093).chain([bytes - 1]);
            for place in places(bytes) {
                // SAFETY: within the block.
                unsafe { block.wrapping_add(place).write(mark(place)) };
            }
            let wanted = 140_000 + random.below(1 << (18 + turn % 6)) as usize;
            // SAFETY: allocated with that layout.
            block = unsafe { LfAlloc.realloc(block, layout(bytes), wanted) };
            assert!(block.addr().is_multiple_of(align), "{wanted} bytes at {block:?}");
            // SAFETY: a block of this allocator.
            assert!(unsafe { LfAlloc.usable_size(block) } >= wanted);
            for place in places(bytes).filter(|place| *place < wanted.min(bytes)) {
                // SAFETY: within the block.
                let found = unsafe { block.wrapping_add(place).read() };
                assert_eq!(found, mark(place), "{bytes} to {wanted}");
            }
            bytes = wanted;
            if random.below(3) == 0 {
                let bytes = 140_000 + random.below(2 << 20) as usize;
                others.push((allocate(bytes), bytes));
            }
            if random.below(3) == 0
                && let Some((other, bytes)) = others.pop()
            {
                free(other, bytes);
            }
        }
        // SAFETY: allocated with that layout.
        unsafe { LfAlloc.dealloc(block, layout(bytes)) };
        free_all(others);
        let Parts { large, .. } = parts();
        assert_eq!(large, 0, "align {align}");
    }
}

/// Aim: batches that nobody needs leave the depot. Method: many blocks freed at once, then intervals.
#[test]
fn the_depot_empties() {
    let _alone = alone();
    let blocks: Vec<_> = (0..20_000).map(|_| (allocate(64), 64)).collect();
    free_all(blocks);
    let before = parts().cached;
    for _ in 0..20 {
        end_interval();
    }
    let after = parts().cached;
    if magazine_processors() > 0 {
        assert!(before >= 100 << 10, "{before} bytes in magazines and depot");
    }
    // A magazine of 126 blocks for each processor that this thread has been on.
    assert!(after <= 64 << 10, "{after} bytes in magazines and depot");
}

/// Aim: threads that have allocated once and sleep hold nothing back, since magazines are the processors'. Method: what is cached
/// with 100 sleeping threads, and with 1,000.
#[test]
fn sleeping_threads_hold_nothing_back() {
    let _alone = alone();
    let cached = |threads: usize| {
        let ready = Barrier::new(threads + 1);
        let end = Barrier::new(threads + 1);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                let builder = std::thread::Builder::new().stack_size(64 << 10);
                builder
                    .spawn_scoped(scope, || {
                        for bytes in [64, 1000, 5000] {
                            free(allocate(bytes), bytes);
                        }
                        ready.wait();
                        end.wait();
                    })
                    .unwrap();
            }
            ready.wait();
            let cached = parts().cached;
            end.wait();
            cached
        })
    };
    let (few, many) = (cached(100), cached(1000));
    let most = few + i64::from(magazine_processors()) * (64 << 10);
    assert!(many <= most, "{few} bytes are cached with 100 threads, {many} with 1,000");
}
