//! Aim: EMPTY superblocks are not hoarded in the lists of PARTIAL ones. Method: make a thousand PARTIAL superblocks, then
//! free everything in several orders; what stays mapped and EMPTY after two intervals in which nobody took a superblock is
//! about the reserve. Alone in its process.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::alloc::{GlobalAlloc, Layout};

use lfalloc::LfAlloc;
use lfalloc::observe::{Tables, magazine_processors};
use lfalloc_verify::shadow::Random;

const SUPERBLOCKS: usize = 1000;
const BLOCKS: usize = 8;

#[test]
fn empty_superblocks_are_found() {
    let layout = Layout::from_size_align(8192, 8).unwrap();
    let mut tables = Tables::new().unwrap();
    for order in 0..3 {
        // SAFETY: the size is not zero.
        let mut blocks: Vec<_> =
            (0..SUPERBLOCKS * BLOCKS).map(|_| unsafe { LfAlloc.alloc(layout) }).collect();
        match order {
            0 => {}
            1 => blocks.reverse(),
            _ => {
                let mut random = Random::new(9);
                for place in (1..blocks.len()).rev() {
                    blocks.swap(place, random.below(place as u64 + 1) as usize);
                }
            }
        }
        // First one block of each superblock, so that all are PARTIAL and in the lists; then the rest.
        let (first, rest): (Vec<_>, Vec<_>) =
            blocks.into_iter().partition(|block| block.addr() % (8192 * BLOCKS) == 0);
        for block in first.into_iter().chain(rest) {
            // SAFETY: allocated with that layout.
            unsafe { LfAlloc.dealloc(block, layout) };
        }
        // They were taken a moment ago, and may be again: until then they stay.
        for _ in 0..2 {
            lfalloc::study::end_interval();
        }
        let census = tables.take(1).unwrap();
        let kept = census.parts.empty / (64 << 10);
        println!("order {order}: {kept} EMPTY superblocks stay mapped");
        // The reserve is 32. Superblocks of which magazines and depot hold a block stand between the EMPTY ones.
        let most = if magazine_processors() > 0 { 96 } else { 40 };
        assert!(kept <= most, "order {order}: {kept} EMPTY superblocks stay mapped");
        assert_eq!(census.parts.sum(), census.parts.mapped);
    }
}
