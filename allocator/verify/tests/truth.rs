//! Aim: the registry tells the truth. Method: this program, whose own allocations are the system's, holds a known
//! number of blocks of every class and of large ones; half of the frees come from another thread. At rest every
//! figure must equal the truth, to the block, found in two independent ways; and the parts must sum to what is
//! mapped. Alone in its process.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::alloc::{GlobalAlloc, Layout};

use lfalloc::LfAlloc;
use lfalloc::observe::{CLASS_COUNT, Tables, class_counters, class_info, in_hand, totals};
use lfalloc_verify::shadow::Random;

struct Held(*mut u8, Layout);

// SAFETY: a block may be freed by any thread.
unsafe impl Send for Held {}

fn allocate(size: usize) -> Held {
    let layout = Layout::from_size_align(size, 8).unwrap();
    // SAFETY: the size is not zero.
    let block = unsafe { LfAlloc.alloc(layout) };
    assert!(!block.is_null());
    // SAFETY: just allocated.
    unsafe { block.write_bytes(1, size.min(64)) };
    Held(block, layout)
}

fn free(Held(block, layout): Held) {
    // SAFETY: allocated with that layout and given up.
    unsafe { LfAlloc.dealloc(block, layout) };
}

#[test]
fn every_figure_is_the_truth() {
    let mut random = Random::new(7);
    let mut truth = [(0u64, 0u64); CLASS_COUNT];
    let mut kept: Vec<Held> = Vec::new();
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for (class, (made, freed)) in truth.iter_mut().enumerate() {
        let info = class_info(class);
        // More than three superblocks' worth, all of one class.
        let count = 3 * u64::from(info.blocks_per_superblock) + 1 + random.below(20);
        let smallest = if class == 0 { 1 } else { class_info(class - 1).block_bytes + 1 };
        for _ in 0..count {
            let span = u64::from(info.block_bytes - smallest + 1);
            let block = allocate(smallest as usize + random.below(span) as usize);
            *made += 1;
            match random.below(3) {
                0 => kept.push(block),
                1 => {
                    *freed += 1;
                    here.push(block);
                }
                _ => {
                    *freed += 1;
                    there.push(block);
                }
            }
        }
    }
    let large: Vec<_> = (1..=9).map(|number| allocate(number * 200_000)).collect();
    let large_freed = allocate(3 << 20);
    let other = std::thread::spawn(move || {
        there.into_iter().for_each(free);
        free(large_freed);
    });
    here.into_iter().for_each(free);
    other.join().unwrap();

    let mut tables = Tables::new().unwrap();
    let census = tables.take(8).unwrap();
    assert!(census.consistent, "nothing moves, and yet the census says so: {census:?}");
    assert_eq!(in_hand(), 0);
    let mut live_bytes = 0;
    for (class, (made, freed)) in truth.iter().enumerate() {
        let counters = class_counters(class);
        assert_eq!((counters.allocations, counters.frees), (*made, *freed), "class {class}");
        let view = tables.classes[class];
        // Found from the anchors and credits alone.
        assert_eq!(view.live_blocks, (made - freed) as i64, "class {class}");
        assert_eq!((view.allocations, view.frees), (*made, *freed), "class {class}");
        let superblocks = i64::from(view.active + view.full + view.partial);
        let blocks = superblocks * i64::from(class_info(class).blocks_per_superblock);
        let cached = view.cached_blocks;
        assert_eq!(blocks, view.live_blocks + cached + view.free_blocks + view.credit_blocks);
        live_bytes += view.live_blocks * i64::from(class_info(class).block_bytes);
    }
    // Eight sizes per doubling, at least a granule apart.
    let rounded =
        |bytes: usize| bytes.next_multiple_of((bytes.next_power_of_two() / 16).max(65_536));
    let large_bytes: usize = (1..=9usize).map(|number| rounded(number * 200_000)).sum();
    assert_eq!(census.parts.live, live_bytes);
    assert_eq!(census.parts.large, large_bytes as i64);
    assert_eq!(census.parts.large_cached, 3 << 20);
    assert_eq!((census.large_allocations, census.large_frees), (10, 1));
    assert_eq!(census.parts.sum(), census.parts.mapped, "{:?}", census.parts);
    let totals = totals();
    assert_eq!(totals.live_bytes, live_bytes + large_bytes as i64);
    assert_eq!(totals.mapped_bytes, census.parts.mapped);
    let live_superblocks: usize = tables
        .superblocks
        .iter()
        .filter(|view| view.backing as u8 == 1 && view.state as u8 != 3)
        .map(|view| class_info(usize::from(view.class)).superblock_bytes as usize)
        .sum();
    assert_eq!(totals.superblock_bytes, live_superblocks as i64);

    kept.into_iter().chain(large).for_each(free);
    LfAlloc.purge();
    let census = tables.take(8).unwrap();
    assert!(census.consistent);
    assert_eq!(census.parts.sum(), census.parts.mapped);
    assert_eq!(census.parts.live + census.parts.large + census.parts.credit + census.parts.free, 0);
    assert_eq!(census.parts.empty + census.parts.large_cached, 0, "purge keeps nothing");
}
