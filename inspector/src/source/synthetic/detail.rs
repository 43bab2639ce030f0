//! A close look at one superblock of the simulated heap.
//!
//! The heap has counts and no blocks. Which blocks are free is made up here: every superblock has an
//! order of its blocks that stays the same for as long as it keeps its class, and the first of them
//! are free. So one more free sets one bit, and an allocation clears one.

use lfalloc_protocol::message::{
    SuperblockCached, SuperblockDetail, SuperblockRecord, TransitionRecord, backing, bitmap,
};

use super::random::Random;

/// Transitions in one answer at most, the newest.
const MAX_TRANSITIONS: usize = 256;
/// Neighbours that are handed out and freed together.
const CLUSTER_BLOCKS: u32 = 4;

/// The answer about superblock `id`, whose record is `record`, with `blocks` blocks of which `free`
/// are free or reserved; `seen` are the transitions that are still known.
pub(super) fn detail<'t>(
    id: u32,
    uptime_ns: u64,
    record: Option<SuperblockRecord>,
    (blocks, free): (u32, u32),
    seen: impl DoubleEndedIterator<Item = &'t TransitionRecord>,
) -> SuperblockDetail {
    let readable = record.filter(|record| record.backing == backing::MAPPED);
    let mut transitions: Vec<TransitionRecord> =
        seen.rev().filter(|seen| seen.superblock == id).take(MAX_TRANSITIONS).copied().collect();
    transitions.reverse();
    SuperblockDetail {
        id,
        uptime_ns,
        record,
        bitmap_is: match readable {
            None => bitmap::NONE,
            Some(record) if record.exact => bitmap::EXACT,
            Some(_) => bitmap::RACING,
        },
        free: readable.map_or_else(Vec::new, |record| free_blocks(&record, blocks, free)),
        transitions,
    }
}

/// What of the superblock that `detail` shows is cached: so many blocks in magazines, and in the depot, those that
/// follow the free ones in the superblock's own order.
pub(super) fn cached(
    detail: &SuperblockDetail,
    (blocks, free): (u32, u32),
    [in_magazines, in_depot]: [u32; 2],
) -> SuperblockCached {
    let readable = detail.record.filter(|_| detail.bitmap_is != bitmap::NONE);
    let Some(record) = readable else {
        return SuperblockCached { id: detail.id, ..SuperblockCached::default() };
    };
    let up_to = |count| free_blocks(&record, blocks, count);
    let (first, second) = (up_to(free + in_magazines), up_to(free + in_magazines + in_depot));
    let less = |more: &[u64], fewer: &[u64]| {
        more.iter().zip(fewer).map(|(more, fewer)| more & !fewer).collect()
    };
    SuperblockCached {
        id: detail.id,
        cached_is: detail.bitmap_is,
        magazines: less(&first, &detail.free),
        depot: less(&second, &first),
    }
}

/// Bits of the first `free` blocks in the superblock's own order.
fn free_blocks(record: &SuperblockRecord, blocks: u32, free: u32) -> Vec<u64> {
    let own = u64::from(record.id) << 24 ^ u64::from(record.class) << 16;
    let rank = |block: u32| Random::new(own ^ u64::from(block / CLUSTER_BLOCKS)).next();
    let mut order: Vec<u32> = (0..blocks).collect();
    // The first of the list is free if any block is.
    order.sort_by_cached_key(|&block| (block != u32::from(record.avail), rank(block), block));
    let mut bits = vec![0; blocks.div_ceil(64) as usize];
    for &block in order.iter().take(free as usize) {
        bits[block as usize / 64] |= 1 << (block % 64);
    }
    bits
}
