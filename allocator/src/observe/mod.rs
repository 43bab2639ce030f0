//! Read-only views over live data: nothing here allocates from a heap, blocks, or changes what it looks at.
//!
//! * [`totals`] — from counters alone, cheap.
//! * [`Tables::take`] — a *census*: every class, heap, superblock and large block, with the parts that the mapped
//!   bytes are in. A set of descriptors is not one instant; the census says whether anything moved while it was
//!   taken (`consistent`), and shows what it read in any case: never clamped, never smoothed.
//! * [`Magnifier::look_at`] — one superblock, block by block.
//! * [`TransitionCursor`] — the stream of state changes; [`Observer`] — marks those of one thread, which tells of them.
//!
//! A census needs memory for its tables. It maps pages of its own ([`MappedVec`]), outside every heap, so that
//! observing an idle program leaves its counters as they are; those pages are counted as metadata.

mod census;
mod clock;
mod look;
mod mapped_vec;

pub use crate::anchor::State;
pub use crate::descriptor::Backing;
pub use crate::live::HEAP_COUNT as HEAPS_PER_CLASS;
pub use crate::observer::Observer;
pub use crate::platform::Cause;
pub use crate::size_class::CLASS_COUNT;
pub use crate::transition::{Event as Transition, RING_SLOTS, TransitionCursor};
pub use census::{
    Census, ClassView, CounterView, HeapView, LargeView, MagazineView, Parts, SuperblockView,
    Tables,
};
pub use clock::{Clock, Moment};
pub use look::{Look, Magnifier, Sight};
pub use mapped_vec::MappedVec;

use crate::accounting;
use crate::front::{self, FrontCounts};
use crate::large;
use crate::live::{Counts, Live};
use crate::platform::{Class, Heap};
use crate::size_class::size_class;

/// One size class as the allocator was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassInfo {
    /// Bytes of one block.
    pub block_bytes: u32,
    /// Bytes of one superblock of this class.
    pub superblock_bytes: u32,
    /// Blocks in one superblock (`maxcount` of the patent's descriptor).
    pub blocks_per_superblock: u32,
}

/// The class table's entry of `class`, which is below [`CLASS_COUNT`].
#[must_use]
pub fn class_info(class: usize) -> ClassInfo {
    let row = size_class(Class(class as u16));
    ClassInfo {
        block_bytes: row.block_bytes,
        superblock_bytes: row.superblock_bytes() as u32,
        blocks_per_superblock: row.shape.blocks,
    }
}

/// Event counters of one class, summed over its heaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassCounters {
    /// Blocks handed out ever.
    pub allocations: u64,
    /// Blocks given back ever.
    pub frees: u64,
    /// Compare-and-swaps that failed ever: each because another operation succeeded.
    pub retries: u64,
    /// Requests whose size was sampled: the one at hand whenever a heap reserved blocks anew.
    pub samples: u64,
    /// Sum over them of block size − size asked for, bytes.
    pub slack_sum: u64,
    /// Sum over them of (block size − size asked for)².
    pub slack_squares: u64,
}

impl ClassCounters {
    /// Adds what one heap has counted.
    fn add(&mut self, counts: &Counts) {
        self.allocations += counts.allocations;
        self.frees += counts.frees;
        self.retries += counts.retries;
        self.samples += counts.refills;
        self.slack_sum = self.slack_sum.wrapping_add(counts.slack_sum);
        self.slack_squares = self.slack_squares.wrapping_add(counts.slack_squares);
    }

    /// Turns what the core has counted into what the program did.
    fn of_program(&mut self, front: &FrontCounts) {
        (self.allocations, self.frees) = front.of_program(self.allocations, self.frees);
    }
}

/// The counters of `class`, which is below [`CLASS_COUNT`]. Exact when no thread is inside the allocator.
#[must_use]
pub fn class_counters(class: usize) -> ClassCounters {
    // First: see `front`, on counting.
    let front = front::class_counts(Class(class as u16));
    let mut sum = ClassCounters::default();
    for heap in 0..HEAPS_PER_CLASS {
        sum.add(&Live::counts(Heap(heap as u16), Class(class as u16)));
    }
    sum.of_program(&front);
    sum
}

/// Processors that have magazines; 0 where there are no restartable sequences, with `LFALLOC_MAGAZINES=0`, and before the
/// first allocation.
#[must_use]
pub fn magazine_processors() -> u32 {
    front::processors()
}

/// How the front is built for one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontInfo {
    /// Blocks that a magazine holds at most.
    pub capacity: u16,
    /// Blocks of a batch.
    pub batch: u16,
    /// Batches that the depot holds at most.
    pub depot_batches: u32,
}

/// How the front is built for `class`, which is below [`CLASS_COUNT`], whether or not it is in use.
#[must_use]
pub fn front_info(class: usize) -> FrontInfo {
    let class = Class(class as u16);
    FrontInfo {
        capacity: front::capacity(class) as u16,
        batch: front::view::batch(class) as u16,
        depot_batches: front::view::depot_most(class),
    }
}

/// Superblocks and large blocks that some thread has taken out of their container and not put into the next one: at
/// rest, those that threads died with.
#[must_use]
pub fn in_hand() -> u64 {
    accounting::in_hand()
}

/// Of what is mapped, bytes of this library's own tables. They grow when they must, and never shrink.
#[must_use]
pub fn metadata_bytes() -> i64 {
    accounting::metadata_bytes()
}

/// Large blocks that the program holds, and bytes of them.
#[must_use]
pub fn large_in_use() -> (u64, i64) {
    let (allocations, frees, bytes) = large::counters();
    (allocations.wrapping_sub(frees), bytes)
}

/// The cheap answer, from counters and one word of each descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes mapped from the system and not decommitted.
    pub mapped_bytes: i64,
    /// Bytes in blocks and large blocks that the program holds.
    pub live_bytes: i64,
    /// Bytes of superblocks that are ACTIVE, FULL or PARTIAL.
    pub superblock_bytes: i64,
    /// Blocks and large blocks handed out ever.
    pub allocations: u64,
    /// Blocks and large blocks given back ever.
    pub frees: u64,
    /// See [`in_hand`].
    pub in_hand: u64,
}

/// The totals now.
#[must_use]
pub fn totals() -> Totals {
    let (allocations, frees, large_bytes) = large::counters();
    let mut totals = Totals {
        mapped_bytes: accounting::mapped_bytes(),
        live_bytes: large_bytes,
        superblock_bytes: 0,
        allocations,
        frees,
        in_hand: in_hand(),
    };
    for class in 0..CLASS_COUNT {
        let counters = class_counters(class);
        let live = counters.allocations.wrapping_sub(counters.frees).cast_signed();
        totals.live_bytes += live * i64::from(class_info(class).block_bytes);
        totals.allocations = totals.allocations.wrapping_add(counters.allocations);
        totals.frees = totals.frees.wrapping_add(counters.frees);
    }
    for id in 0..Live::superblocks() {
        totals.superblock_bytes += census::bytes_in_use(id);
    }
    totals
}
