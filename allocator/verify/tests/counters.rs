//! Aim: heaps count their refills and when they run dry, and the sizes sampled then are those that were asked for.
//! Method: short sequences on a heap that nobody else uses, whose every step is known; and every class asked for one
//! size only, so that the mean of the samples must be that of all requests.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::alloc::{GlobalAlloc, Layout};

use lfalloc::LfAlloc;
use lfalloc::observe::{CLASS_COUNT, CounterView, Tables, class_counters, class_info};
use lfalloc::study::Study;

/// A heap that no processor of a machine that runs these tests uses.
const HEAP: u16 = 61;

fn class_of(size: usize) -> u16 {
    (0..CLASS_COUNT).find(|&class| class_info(class).block_bytes as usize >= size).unwrap() as u16
}

/// What the heap has counted for blocks of `size` bytes.
fn counted(size: usize) -> Option<CounterView> {
    let class = class_of(size);
    let mut tables = Tables::new().unwrap();
    tables.take(8).unwrap();
    assert!(tables.counters.is_sorted_by_key(|view| (view.class, view.heap)));
    tables.counters.iter().find(|view| (view.class, view.heap) == (class, HEAP)).copied()
}

fn refills_and_dry(size: usize) -> (u64, u64) {
    counted(size).map_or((0, 0), |view| (view.refills, view.ran_dry))
}

/// 128 blocks of 512 bytes make a superblock; a heap reserves 64 of them at a time.
#[test]
fn a_known_sequence_counts_as_known() {
    const SIZE: usize = 500;
    let study = Study::on_heap(HEAP.into());
    assert_eq!(counted(SIZE), None, "a heap that was never used is left out");
    let mut blocks = vec![study.malloc(SIZE).unwrap()];
    // A new superblock: one block for the caller, 64 reserved.
    assert_eq!(refills_and_dry(SIZE), (1, 1));
    blocks.extend((0..63).map(|_| study.malloc(SIZE).unwrap()));
    assert_eq!(refills_and_dry(SIZE), (1, 1));
    // The last credit: the remaining 63 are reserved.
    blocks.push(study.malloc(SIZE).unwrap());
    assert_eq!(refills_and_dry(SIZE), (2, 1));
    blocks.extend((0..63).map(|_| study.malloc(SIZE).unwrap()));
    // FULL now, and nothing to reserve.
    assert_eq!((blocks.len(), refills_and_dry(SIZE)), (128, (2, 1)));
    for block in blocks.drain(..2) {
        // SAFETY: allocated above.
        assert!(unsafe { study.free(block) });
    }
    // One block of the partial superblock for the caller, the other one reserved.
    blocks.push(study.malloc(SIZE).unwrap());
    assert_eq!(refills_and_dry(SIZE), (3, 2));
    // And taken: FULL again.
    blocks.push(study.malloc(SIZE).unwrap());
    assert_eq!(refills_and_dry(SIZE), (3, 2));
    // Only one is free: the superblock is FULL at once, and nothing is reserved.
    // SAFETY: allocated above.
    assert!(unsafe { study.free(blocks.swap_remove(0)) });
    blocks.push(study.malloc(SIZE).unwrap());
    assert_eq!(refills_and_dry(SIZE), (3, 3));
    let view = counted(SIZE).unwrap();
    // Frees count on the processor's own heap.
    assert_eq!((view.allocations, view.frees), (131, 0));
    let class = class_counters(class_of(SIZE).into());
    assert_eq!((class.samples, class.slack_sum, class.slack_squares), (3, 3 * 12, 3 * 144));
}

/// A batch counts once, however many blocks it has.
#[test]
fn a_batch_is_one_request() {
    const SIZE: usize = 1000;
    let study = Study::on_heap(HEAP.into());
    let mut blocks = [None; 40];
    // 64 blocks: 40 for the caller, 24 reserved.
    assert_eq!(study.malloc_batch(SIZE, &mut blocks), 40);
    assert_eq!(refills_and_dry(SIZE), (1, 1));
    assert_eq!(study.malloc_batch(SIZE, &mut blocks), 24);
    assert_eq!(refills_and_dry(SIZE), (1, 1));
    let class = class_counters(class_of(SIZE).into());
    assert_eq!((class.samples, class.slack_sum, class.slack_squares), (1, 24, 576));
}

/// Through the global allocator; classes that the tests above use are left out.
#[test]
fn the_mean_of_equal_requests_is_their_size() {
    for class in (40..CLASS_COUNT).step_by(3) {
        let info = class_info(class);
        let size = info.block_bytes - 7 - class as u32;
        let before = class_counters(class);
        let layout = Layout::from_size_align(size as usize, 8).unwrap();
        let count = 3 * info.blocks_per_superblock;
        // SAFETY: the size is not zero.
        let blocks: Vec<_> = (0..count).map(|_| unsafe { LfAlloc.alloc(layout) }).collect();
        let after = class_counters(class);
        let samples = after.samples - before.samples;
        // At least one for every superblock, and at most one for every block.
        assert!((3..=u64::from(count)).contains(&samples), "class {class}: {samples} samples");
        let slack = u64::from(info.block_bytes - size);
        assert_eq!(after.slack_sum - before.slack_sum, samples * slack, "class {class}");
        assert_eq!(after.slack_squares - before.slack_squares, samples * slack * slack);
        for block in blocks {
            // SAFETY: allocated with that layout.
            unsafe { LfAlloc.dealloc(block, layout) };
        }
    }
    // What was sampled is what was counted as refills, over all heaps.
    let mut tables = Tables::new().unwrap();
    tables.take(8).unwrap();
    for view in tables.classes.iter().filter(|view| view.class >= 40) {
        let heaps = tables.counters.iter().filter(|counter| counter.class == view.class);
        let (mut allocations, mut frees, mut refills) = (0_u64, 0_u64, 0);
        for counter in heaps {
            assert!(counter.ran_dry <= counter.allocations, "{counter:?}");
            allocations += counter.allocations;
            frees += counter.frees;
            refills += counter.refills;
        }
        // Heaps count what the core does; the front turns it into what the program does.
        for magazine in tables.magazines.iter().filter(|magazine| magazine.class == view.class) {
            // Wrapping: of one magazine, if its thread was moved in the middle; in sum they are right.
            allocations = allocations.wrapping_add(magazine.pops).wrapping_sub(magazine.from_core);
            frees = frees.wrapping_add(magazine.pushes).wrapping_sub(magazine.to_core);
        }
        assert_eq!((allocations, frees), (view.allocations, view.frees), "class {}", view.class);
        assert_eq!(refills, view.samples, "class {}", view.class);
    }
}
