//! The front before the heaps: magazines, the depot, and what of a superblock they hold. Since 1.3.

use serde::{Deserialize, Serialize};

/// What the front is made of for one class; the same as long as the program runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrontClass {
    /// Class number.
    pub class: u16,
    /// Blocks that a magazine holds at most.
    pub capacity: u16,
    /// Blocks of a batch.
    pub batch: u16,
    /// Batches that the depot holds at most.
    pub depot_batches: u32,
}

/// Agent to viewer, in a full state, or in the first update with magazines: how the front is built. Without it there is none:
/// the core is the allocator. Since 1.3.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Front {
    /// Processors that may have magazines: all that the system may ever have.
    pub processors: u32,
    /// One for every class, by class number.
    pub records: Vec<FrontClass>,
}

/// What the depot holds of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepotRecord {
    /// Class number.
    pub class: u16,
    /// Batches, all of them full.
    pub batches: u32,
}

/// Agent to viewer: the depot, complete. Since 1.3.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Depots {
    /// By class number; classes of which it holds nothing are left out.
    pub records: Vec<DepotRecord>,
}

/// The magazine of one processor and class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MagazineRecord {
    /// Class number.
    pub class: u16,
    /// Number of the processor.
    pub processor: u16,
    /// Blocks in it.
    pub blocks: u16,
    /// Blocks popped ever: allocations that it served, the one for which a batch came from the depot included.
    pub pops: u64,
    /// Blocks pushed ever: frees that it took, the one for which a batch was taken out included.
    pub pushes: u64,
    /// How often it was empty, and got a batch from the depot or the core.
    pub refills: u64,
    /// How often it was full, and gave a batch to the depot or the core.
    pub flushes: u64,
    /// Sequences that were interrupted; the operation went to the core.
    pub aborts: u64,
}

/// Agent to viewer: magazines that were ever used. In a full state all of them, in an update those that changed. Since 1.3.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Magazines {
    /// By class, then processor.
    pub records: Vec<MagazineRecord>,
}

/// Agent to viewer: which blocks of a superblock the front holds; directly before the [`SuperblockDetail`](super::SuperblockDetail) of the same look, and
/// only where there is a front. Since 1.3.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuperblockCached {
    /// As asked for.
    pub id: u32,
    /// One of [`bitmap`](super::bitmap): what the bits are worth.
    pub cached_is: u8,
    /// Bit `i % 64` of word `i / 64` is set if block `i` is in a magazine; empty without a bitmap.
    pub magazines: Vec<u64>,
    /// The same for the depot.
    pub depot: Vec<u64>,
}
