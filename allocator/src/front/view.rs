//! What can be seen of the front from outside: read-only, and nothing waits for it.

use super::depot::{self, Shelf as _};
use super::magazine::{Header, MagazineCounts, batch_blocks, counts, processors};
use super::shelf;
use crate::platform::Class;

/// Blocks of a batch of `class`.
pub(crate) fn batch(class: Class) -> usize {
    batch_blocks(class)
}

/// Batches of `class` that the depot holds at most.
pub(crate) fn depot_most(class: Class) -> u32 {
    shelf::Of(class).most()
}

/// Shows the blocks in the magazine of `processor`, below [`processors`], and `class`.
///
/// Optimistic: a block may have been popped, and another been pushed into its slot, before the slot is read. If the [`stamp`] is
/// the same before and after, and no batch was on its way, they are those of one instant.
pub(crate) fn each_in_magazine(processor: u32, class: Class, mut see: impl FnMut(usize)) {
    let blocks = counts(processor, class).blocks as usize;
    let header = Header::of(processor, class);
    // The word was read before (Acquire), hence after the stores of the slots below it.
    for place in 0..blocks.min(super::capacity(class)) {
        see(header.slot(place));
    }
}

/// Shows the blocks of `class` in the depot; optimistic, too.
pub(crate) fn each_in_depot(class: Class, see: impl FnMut(usize)) {
    depot::each_block(&shelf::Of(class), batch_blocks(class), see);
}

/// Everything of `class` that changes when a block comes into the front, leaves it, or moves within, mixed to one number for
/// comparison: of 2^64 differences one goes unnoticed. It says nothing of a batch that is on its way.
pub(crate) fn stamp(class: Class) -> u64 {
    let mut mixed = depot::head(&shelf::Of(class));
    for processor in 0..processors() {
        mixed = mix(mixed, &counts(processor, class));
    }
    mixed
}

/// Multiplied by an odd number and rotated: every word before matters.
fn mix(mixed: u64, counts: &MagazineCounts) -> u64 {
    let MagazineCounts { blocks, pops, pushes, from_core, to_core, refills, flushes, aborts } =
        *counts;
    [blocks, pops, pushes, from_core, to_core, refills, flushes, aborts]
        .into_iter()
        .fold(mixed, |mixed, word| {
            (mixed.rotate_left(29) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        })
}
