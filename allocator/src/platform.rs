//! What the core asks of the machine below it.
//!
//! The core is index-based and owns no memory: every shared word it touches belongs to a [`Platform`]. The shipped
//! one (`live.rs`) is statics, mapped tables and core atomics; the models' platforms (package
//! `lfalloc-verify`) are arrays of loom's or shuttle's atomics, in which a decommit poisons the links so that a
//! stale read is a failure. The same procedures run over all of them in one ordinary build.
//!
//! Every shared word has 64 bits.

use core::sync::atomic::Ordering;

use crate::anchor::{Anchor, State};
use crate::descriptor::{Block, Descriptor};
use crate::partial::PartialLists;
use crate::superblock::RetiredLists;

/// A size class, 0-based.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class(pub u16);

/// One of the heaps of every class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Heap(pub u16);

/// The number of a superblock and of its descriptor. They stay together until the platform gives the superblock back
/// to the system; then the descriptor gets another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SuperblockId(pub u32);

/// Superblocks of one geometry have the same size, and any class of that geometry may use them (\[0044\]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Geometry(pub u8);

/// What the core needs to know of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Blocks in one superblock, the patent's `maxcount`; at least 2 (\[0073\] line 9 underflows with 1).
    pub blocks: u32,
    /// Which superblocks it uses.
    pub geometry: Geometry,
}

/// A run of new superblocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedRun {
    /// One for the caller.
    pub first: SuperblockId,
    /// First and last of the others, if there are any: their descriptors are linked by their `next` words.
    pub rest: Option<(SuperblockId, SuperblockId)>,
}

/// How many EMPTY superblocks a geometry keeps mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserve {
    /// Reaching this many starts a release …
    pub high: u32,
    /// … down to this many, so that the next retirements cost no system call.
    pub low: u32,
}

/// An allocation on its way: who asks for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The heap that it is served from.
    pub heap: Heap,
    /// The class of its blocks.
    pub class: Class,
    /// Bytes that the program asked for, of each block. Only carried along, to be sampled by [`Platform::refilled`].
    pub bytes: u32,
}

/// Event counters of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Blocks handed out.
    Allocations,
    /// Blocks given back.
    Frees,
    /// Compare-and-swaps that failed, each because another operation succeeded.
    Retries,
    /// Allocations that found no active superblock.
    RanDry,
}

/// The procedure that moved a superblock to another state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Cause {
    /// Took the last credit, and no block was left (\[0059\] line 15).
    MallocFromActive = 0,
    /// Lost to another active superblock and returned its credits (\[0063\] line 6).
    UpdateActive = 1,
    /// Took a superblock off a partial list (\[0069\] lines 13 and 17).
    MallocFromPartial = 2,
    /// Took a new superblock (\[0073\] line 11).
    MallocFromNewSb = 3,
    /// A free (\[0046\] lines 12 and 16).
    Free = 4,
    /// A batch free.
    FreeBatch = 5,
    /// A purge took the active superblock out of its heap.
    Purge = 6,
}

/// A state change, as it is reported after the compare-and-swap that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The superblock.
    pub superblock: SuperblockId,
    /// Its class.
    pub class: Class,
    /// State before.
    pub from: State,
    /// State after.
    pub to: State,
    /// The procedure.
    pub cause: Cause,
    /// Tag of the anchor after the change; orders the changes of one superblock.
    pub tag: u64,
}

/// A 64-bit atomic word.
pub trait Word {
    /// Atomic load.
    fn load(&self, order: Ordering) -> u64;
    /// Atomic store.
    fn store(&self, value: u64, order: Ordering);
    /// Strong compare-and-swap (\[0038\]): the former value, as `Ok` if it was `current`.
    ///
    /// # Errors
    /// The value found, if it was another.
    fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64>;
    /// Adds, wrapping; returns the former value.
    fn fetch_add(&self, value: u64, order: Ordering) -> u64;
    /// Subtracts, wrapping; returns the former value.
    fn fetch_sub(&self, value: u64, order: Ordering) -> u64;
    /// Stores the maximum; returns the former value.
    fn fetch_max(&self, value: u64, order: Ordering) -> u64;
    /// Stores the minimum; returns the former value.
    fn fetch_min(&self, value: u64, order: Ordering) -> u64;
    /// Stores another value; returns the former one.
    fn swap(&self, value: u64, order: Ordering) -> u64;
}

/// Faults that models seed on purpose, to show that they would see them.
///
/// The shipped platform's is [`Mutant::None`], a constant: every test of it disappears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The code as it ships.
    None,
    /// Popping a block leaves the tag as it was (\[0059\] line 12).
    TagKept,
    /// Re-initialisation starts the tag at zero (it should survive reuse).
    TagResetOnReuse,
    /// List heads do not count their changes.
    ListTagKept,
    /// The printed \[0046\] lines 21–25: whoever empties a superblock retires it, although it is in a list.
    RetireUnheld,
    /// The printed forms of both hazards at once: \[0046\] lines 21–25 and \[0069\] without line 5.
    PrintedRetireAndRead,
    /// A freeing thread writes to the descriptor after its compare-and-swap to EMPTY.
    TouchAfterEmpty,
    /// UpdateActive loses and forgets the credits (\[0063\] line 5).
    CreditsLost,
    /// The first free into a FULL superblock stores a count of 2 (\[0046\] line 11).
    CountOffByOne,
    /// free publishes its link with a relaxed compare-and-swap (\[0046\] line 19, "fence").
    LinkRelaxed,
    /// MallocFromNewSB publishes a superblock with relaxed accesses (\[0073\] line 12, "fence").
    PublishRelaxed,
    /// A free takes a superblock for EMPTY while one block is still reserved.
    EmptyWhileReserved,
    /// free pushes the superblock before it has left FULL.
    PushBeforePartial,
    /// A batch that completes a FULL superblock leaves it EMPTY in no container.
    StrandCompleted,
    /// A sweep retires whatever it finds.
    SweepRetiresAll,
    /// MallocFromNewSB loses its install and forgets the superblock (\[0073\] lines 17–18).
    LoserForgets,
    /// free raises the mark of written links after its compare-and-swap instead of before.
    MarkAfterFree,
    /// A purge returns one block fewer than the heap had reserved.
    PurgeLosesOne,
    /// A batch pop takes its chain without a new tag.
    BatchTagKept,
    /// The platform learns the class of a superblock when others may have its blocks already.
    ClassAfterInstall,
}

/// The machine below the core. See the module's documentation.
pub trait Platform {
    /// The atomic word.
    type Word: Word;

    /// The fault to seed; a constant, so that it costs nothing.
    const MUTANT: Mutant = Mutant::None;
    /// Bits of the anchor's tag that are used; models shrink it to test wrap-around.
    const ANCHOR_TAG_BITS: u32 = Anchor::TAG_BITS;
    /// Bits of a list head's tag that are used.
    const LIST_TAG_BITS: u32 = 32;
    /// Most blocks a heap reserves at once (\[0059\] line 16).
    const MAX_CREDITS: u32 = 64;
    /// How many more rounds a malloc makes when the system gives no memory, before it returns null.
    const LAST_ROUNDS: u32 = 16;

    /// The shape of `class`.
    fn shape(&self, class: Class) -> Shape;
    /// Number of geometries.
    fn geometries(&self) -> u8 {
        1
    }
    /// Number of classes.
    fn classes(&self) -> u16;
    /// Number of heaps of each class.
    fn heaps(&self) -> u16;
    /// The heap this thread should use now: its processor, or its thread (\[0049\]). A hint: any heap is correct.
    fn current_heap(&self) -> Heap;

    /// The active word of a heap header.
    fn active(&self, heap: Heap, class: Class) -> &Self::Word;
    /// The partial lists of a class.
    fn partial(&self, class: Class) -> &PartialLists<Self::Word>;
    /// The retired superblocks of a geometry.
    fn retired(&self, geometry: Geometry) -> &RetiredLists<Self::Word>;
    /// The descriptor of a superblock that [`Platform::map`] has returned.
    fn descriptor(&self, id: SuperblockId) -> &Descriptor<Self::Word>;

    /// Reads the link word of a block: the index of the next free block.
    ///
    /// Optimistic: the block may have been handed out meanwhile, and its owner may be writing to it. The read is
    /// relaxed and atomic and yields *some* value, which counts only once the caller's compare-and-swap on the
    /// anchor shows that the block was free all the time.
    fn link(
        &self,
        id: SuperblockId,
        descriptor: &Descriptor<Self::Word>,
        class: Class,
        block: u32,
    ) -> u32;
    /// The link word of a block may be read soon: a hint. Any number is allowed, and nothing is read.
    #[inline(always)]
    fn may_read_link(&self, descriptor: &Descriptor<Self::Word>, class: Class, block: u32) {
        let _ = (descriptor, class, block);
    }
    /// That superblock's descriptor, which is one that is in use, may be wanted soon: a hint.
    #[inline(always)]
    fn may_take(&self, _id: SuperblockId) {}
    /// Writes the link word of a block that the caller owns.
    fn set_link(
        &self,
        id: SuperblockId,
        descriptor: &Descriptor<Self::Word>,
        class: Class,
        block: u32,
        next: u32,
    );

    /// Blocks of one superblock were taken off its list: they are the caller's, and are used after this.
    #[inline(always)]
    fn took(&self, class: Class, blocks: &[Block]) {
        let _ = (class, blocks);
    }
    /// The caller is about to put blocks that it owns on the list: returns one that looks as if it were there already. It may end
    /// the program instead.
    #[inline(always)]
    fn gives(
        &self,
        id: SuperblockId,
        descriptor: &Descriptor<Self::Word>,
        class: Class,
        blocks: &[u32],
    ) -> Option<u32> {
        let _ = (id, descriptor, class, blocks);
        None
    }

    /// Maps new superblocks; their descriptors are EMPTY, [`crate::descriptor::Backing::Unused`] and in no list.
    /// `None`: the system has no memory.
    fn map(&self, geometry: Geometry) -> Option<MappedRun>;
    /// Gives the memory of a superblock back to the system and keeps its range; whether that worked.
    fn decommit(&self, id: SuperblockId, geometry: Geometry) -> bool;
    /// Accounts for a decommitted superblock that is used again.
    fn recommit(&self, id: SuperblockId, geometry: Geometry);
    /// Gives the memory of a superblock and its range of addresses back to the system, and keeps the descriptor for
    /// a later [`Platform::map`]; whether that worked. If not, everything is as it was.
    fn release(&self, id: SuperblockId, geometry: Geometry) -> bool;
    /// How many EMPTY superblocks to keep.
    fn reserve(&self, geometry: Geometry) -> Reserve;
    /// A superblock was taken for a class, new or EMPTY; or one became EMPTY. Never on the fast path.
    #[inline(always)]
    fn superblock_event(&self, geometry: Geometry, is_taken: bool) {
        let _ = (geometry, is_taken);
    }
    /// A superblock that only this thread holds is of that class from now on; none of its blocks has been handed out.
    #[inline(always)]
    fn set_class(&self, id: SuperblockId, class: Class) {
        let _ = (id, class);
    }
    /// Gives back whatever else can be given back, before an allocation fails.
    fn relieve(&self) {}

    /// A named place between two accesses to shared memory; a hook in tests.
    #[inline(always)]
    fn point(&self, name: &'static str) {
        let _ = name;
    }
    /// Lets other threads run, before another round in search of a block.
    fn give_way(&self) {}
    /// Called when a compare-and-swap failed, before the next try.
    #[inline(always)]
    fn pause(&self) {}
    /// Counts events.
    #[inline(always)]
    fn count(&self, heap: Heap, class: Class, counter: Counter, events: u32) {
        let _ = (heap, class, counter, events);
    }
    /// Blocks were reserved anew for the heap of `request`, which holds more of them from now on: its active word was
    /// set. Never on the fast path.
    #[inline(always)]
    fn refilled(&self, request: Request) {
        let _ = request;
    }
    /// A thread takes a superblock out of its container; returns what [`Platform::put_in_place`] needs to know.
    #[inline(always)]
    fn take_in_hand(&self) -> u32 {
        0
    }
    /// It has put it back.
    #[inline(always)]
    fn put_in_place(&self, taken: u32) {
        let _ = taken;
    }
    /// Reports a state change.
    #[inline(always)]
    fn record(&self, transition: Transition) {
        let _ = transition;
    }
    /// A clock in ticks of its own.
    #[inline(always)]
    fn now_ticks(&self) -> u64 {
        0
    }
    /// A link out of bounds under an unchanged anchor: somebody wrote to a free block. Reports and ends the program.
    fn corrupted(&self, id: SuperblockId, class: Class, block: u32, link: u32) -> !;
    /// More blocks were freed than there are, `block` last. Reports and ends the program.
    fn freed_twice(&self, id: SuperblockId, class: Class, block: u32) -> ! {
        self.corrupted(id, class, block, block)
    }
}

/// Names a place between two accesses to shared memory: `point!(self, "active.reserved")`.
macro_rules! point {
    ($core:expr, $name:literal) => {
        $core.platform.point($name)
    };
}
pub(crate) use point;
