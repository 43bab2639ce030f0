//! The published message types.
//!
//! A published type never changes, since bincode does not degrade: a decoder that expects one field more reads
//! wrong values without an error. A minor version of the protocol only adds message kinds.
//!
//! All integers are little-endian and of fixed width; `bool` is one byte; `String` and `Vec` are a `u64` length
//! and then the elements; a `struct` is its fields in order.

use serde::{Deserialize, Serialize};

mod front;

pub use self::front::{
    DepotRecord, Depots, Front, FrontClass, MagazineRecord, Magazines, SuperblockCached,
};

/// First field of both greetings: the bytes `LFAL` read as a little-endian number.
pub const MAGIC: u32 = u32::from_le_bytes(*b"LFAL");
/// Another major version is refused.
pub const MAJOR: u16 = 1;
/// A newer minor version only adds message kinds.
pub const MINOR: u16 = 3;

/// What a frame holds; the number stands outside the payload so that unknown kinds can be skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Kind(pub u16);

impl Kind {
    /// [`ClientHello`], the first frame a viewer sends.
    pub const CLIENT_HELLO: Self = Self(0x0001);
    /// [`TotalsRequest`], answered by one [`Totals`].
    pub const TOTALS_REQUEST: Self = Self(0x0002);
    /// [`Subscribe`], answered by full state and then periodic updates.
    pub const SUBSCRIBE: Self = Self(0x0003);
    /// [`StateRequest`], answered by one full state.
    pub const STATE_REQUEST: Self = Self(0x0004);
    /// [`SuperblockRequest`], answered by one [`SuperblockDetail`]; since 1.1.
    pub const SUPERBLOCK_REQUEST: Self = Self(0x0005);

    /// [`Hello`], the first frame an agent sends.
    pub const HELLO: Self = Self(0x0101);
    /// [`Refused`]; the agent closes the connection after it.
    pub const REFUSED: Self = Self(0x0102);
    /// [`Totals`].
    pub const TOTALS: Self = Self(0x0103);
    /// [`StateBegin`].
    pub const STATE_BEGIN: Self = Self(0x0104);
    /// [`Classes`].
    pub const CLASSES: Self = Self(0x0105);
    /// [`Heaps`].
    pub const HEAPS: Self = Self(0x0106);
    /// [`Superblocks`].
    pub const SUPERBLOCKS: Self = Self(0x0107);
    /// [`LargeBlocks`].
    pub const LARGE_BLOCKS: Self = Self(0x0108);
    /// [`StateEnd`].
    pub const STATE_END: Self = Self(0x0109);
    /// [`Transitions`].
    pub const TRANSITIONS: Self = Self(0x010A);
    /// [`Gap`].
    pub const GAP: Self = Self(0x010B);
    /// [`SuperblockDetail`]; since 1.1.
    pub const SUPERBLOCK_DETAIL: Self = Self(0x010C);
    /// [`SizeSamples`]; within a state, after [`Classes`]; since 1.1.
    pub const SIZE_SAMPLES: Self = Self(0x010D);
    /// [`HeapCounters`]; within a state, after [`Heaps`]; since 1.1.
    pub const HEAP_COUNTERS: Self = Self(0x010E);
    /// [`SuperblockChanges`], since 1.2.
    pub const SUPERBLOCK_CHANGES: Self = Self(0x010F);
    /// [`Front`]; within a full state, or the first with magazines, after [`HeapCounters`]; since 1.3.
    pub const FRONT: Self = Self(0x0110);
    /// [`Depots`]; within a state, after [`Front`]; since 1.3.
    pub const DEPOTS: Self = Self(0x0111);
    /// [`Magazines`]; within a state, after [`Depots`]; since 1.3.
    pub const MAGAZINES: Self = Self(0x0112);
    /// [`SuperblockCached`], directly before [`SuperblockDetail`]; since 1.3.
    pub const SUPERBLOCK_CACHED: Self = Self(0x0113);
}

/// Viewer to agent: who is asking. The agent answers with [`Hello`] or [`Refused`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientHello {
    /// [`MAGIC`].
    pub magic: u32,
    /// Protocol version the viewer speaks.
    pub major: u16,
    /// Protocol version the viewer speaks.
    pub minor: u16,
    /// Name and version of the viewer, for the agent's log; at most 64 bytes.
    pub client: String,
}

/// Viewer to agent: send one [`Totals`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TotalsRequest {}

/// Viewer to agent: send the full state once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRequest {}

/// Viewer to agent: send the full state now and an update every `interval_ms` from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribe {
    /// Milliseconds between updates, 20 to 60,000 (others are brought into that range); 0 ends the subscription.
    pub interval_ms: u32,
    /// Whether transitions are sent as they happen.
    pub transitions: bool,
}

/// One size class as the allocator was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassInfo {
    /// Bytes of one block.
    pub block_bytes: u32,
    /// Bytes of one superblock of this class.
    pub superblock_bytes: u32,
    /// Blocks in one superblock (`maxcount` of the patent's descriptor).
    pub blocks_per_superblock: u32,
}

/// Agent to viewer: what is being watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`MAGIC`].
    pub magic: u32,
    /// Protocol version of the agent.
    pub major: u16,
    /// Protocol version of the agent.
    pub minor: u16,
    /// Version of the allocator, `0.1.0`.
    pub allocator_version: String,
    /// Process id as the watched program sees it (its own namespace).
    pub pid: u32,
    /// Name of the program (`/proc/self/comm`).
    pub name: String,
    /// When the agent started, nanoseconds since the Unix epoch.
    pub agent_started_unix_ns: u64,
    /// Nanoseconds the process has run.
    pub uptime_ns: u64,
    /// How many heaps each class has at most.
    pub heaps_per_class: u32,
    /// Size classes, by class number.
    pub classes: Vec<ClassInfo>,
    /// Bit set of [`feature`].
    pub features: u64,
}

/// Bits of [`Hello::features`].
pub mod feature {
    /// Superblock transitions are recorded.
    pub const TRANSITIONS: u64 = 1;
    /// A per-CPU front of magazines is in use; without it the core is the allocator.
    pub const MAGAZINES: u64 = 2;
}

/// Why an agent refused, [`Refused::reason`].
pub mod refusal {
    /// Protocol major versions differ.
    pub const VERSION: u16 = 1;
    /// The peer's user is neither the program's own nor root.
    pub const USER: u16 = 2;
    /// All places for viewers are taken.
    pub const BUSY: u16 = 3;
    /// The first frame was no valid greeting, or a later one was malformed.
    pub const MALFORMED: u16 = 4;
}

/// Agent to viewer: no, and why; the connection is closed after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// One of [`refusal`].
    pub reason: u16,
    /// Protocol version of the agent.
    pub major: u16,
    /// Protocol version of the agent.
    pub minor: u16,
    /// A sentence for people, naming both versions where they differ.
    pub message: String,
}

/// Where the mapped bytes are. All counts are of bytes.
///
/// `mapped` is counted where memory is mapped and unmapped; when a state is consistent it equals the sum of the
/// other fields. They are signed since an inconsistent state is shown as it was read, never clamped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    /// Mapped from the system and not decommitted.
    pub mapped: i64,
    /// In blocks of superblocks that the program holds, size-class rounding included.
    pub live: i64,
    /// In large blocks that the program holds.
    pub large: i64,
    /// In free blocks of ACTIVE and PARTIAL superblocks.
    pub free: i64,
    /// In blocks that heaps hold reserved by credits.
    pub credit: i64,
    /// In blocks held by magazines and depot (0 without the front).
    pub cached: i64,
    /// In EMPTY superblocks that are kept mapped.
    pub empty: i64,
    /// In large blocks kept for reuse.
    pub large_cached: i64,
    /// Behind the last block of superblocks that are not EMPTY.
    pub tail: i64,
    /// Mapped, but in no superblock yet.
    pub unused: i64,
    /// The allocator's own tables and the agent's buffers.
    pub metadata: i64,
}

/// Agent to viewer: the cheap answer, from counters alone and without a walk over superblocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Bytes mapped from the system and not decommitted.
    pub mapped_bytes: i64,
    /// Bytes in blocks and large blocks that the program holds.
    pub live_bytes: i64,
    /// Bytes of superblocks that are ACTIVE, FULL or PARTIAL.
    pub superblock_bytes: i64,
    /// Allocations ever.
    pub allocations: u64,
    /// Frees ever.
    pub frees: u64,
    /// Superblocks and large blocks that some thread holds between two containers.
    pub in_hand: u64,
    /// Nanoseconds the process has run.
    pub uptime_ns: u64,
}

/// Agent to viewer: a state follows, in any number of chunks, up to [`StateEnd`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateBegin {
    /// Counts the states sent on this connection, from 1.
    pub sequence: u64,
    /// True: everything follows, forget what you had. False: records replace those of the same id.
    /// Classes, heaps and large blocks are always complete; superblocks only if `full`.
    pub full: bool,
    /// Nanoseconds the process had run when it was taken.
    pub uptime_ns: u64,
}

/// Counters of one class, and its superblocks by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassRecord {
    /// Class number.
    pub class: u16,
    /// Blocks handed out ever.
    pub allocations: u64,
    /// Blocks given back ever.
    pub frees: u64,
    /// Failed compare-and-swaps ever: each is progress of another thread.
    pub retries: u64,
    /// Superblocks that are ACTIVE.
    pub active: u32,
    /// Superblocks that are FULL.
    pub full: u32,
    /// Superblocks that are PARTIAL.
    pub partial: u32,
    /// Superblocks that are EMPTY and mapped, last used by this class.
    pub empty: u32,
    /// Blocks the program holds.
    pub live_blocks: i64,
    /// Free blocks in ACTIVE and PARTIAL superblocks.
    pub free_blocks: i64,
    /// Blocks reserved by the credits of heaps.
    pub credit_blocks: i64,
    /// Blocks in magazines and depot.
    pub cached_blocks: i64,
}

/// Agent to viewer: classes, complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Classes {
    /// One for every class, by class number.
    pub records: Vec<ClassRecord>,
}

/// A heap header whose active field is not null.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeapRecord {
    /// Class number.
    pub class: u16,
    /// Heap number within the class (the processor, where that is known).
    pub heap: u16,
    /// The active superblock.
    pub superblock: u32,
    /// Blocks reserved: the credits field plus one.
    pub credits: u32,
}

/// Agent to viewer: heaps with an active superblock; the first chunk of a state has `first` set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heaps {
    /// Whether these records replace all heaps (the first chunk) or follow on.
    pub first: bool,
    /// Heaps in no special order.
    pub records: Vec<HeapRecord>,
}

/// Superblock states, [`SuperblockRecord::state`]: the patent's codes.
pub mod state {
    /// A heap points to it, or a thread is about to make one do so.
    pub const ACTIVE: u8 = 0;
    /// No block is free.
    pub const FULL: u8 = 1;
    /// Some blocks are free, and no heap points to it.
    pub const PARTIAL: u8 = 2;
    /// All blocks are free, and no heap points to it.
    pub const EMPTY: u8 = 3;
    /// What a state is called, `ACTIVE` and so on; `?` for an unknown one.
    #[must_use]
    pub fn name(state: u8) -> &'static str {
        ["ACTIVE", "FULL", "PARTIAL", "EMPTY"].get(usize::from(state)).copied().unwrap_or("?")
    }
}

/// What stands behind a superblock's address range, [`SuperblockRecord::backing`].
pub mod backing {
    /// Mapped, and never part of a superblock: counted as unused.
    pub const UNUSED: u8 = 0;
    /// Mapped and in use, or EMPTY and kept.
    pub const MAPPED: u8 = 1;
    /// Given back to the system; counted nowhere.
    pub const DECOMMITTED: u8 = 2;
}

/// One superblock as its descriptor was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuperblockRecord {
    /// Number of its descriptor, for ever.
    pub id: u32,
    /// Its class, or the last one for an EMPTY superblock.
    pub class: u16,
    /// One of [`state`].
    pub state: u8,
    /// One of [`backing`].
    pub backing: u8,
    /// Address of its first byte.
    pub address: u64,
    /// The anchor word as read.
    pub anchor: u64,
    /// `avail` of the anchor: index of the first free block.
    pub avail: u16,
    /// `count` of the anchor: free blocks, less those reserved by credits.
    pub count: u16,
    /// Blocks reserved by credits of a heap that points here; 0 if none does.
    pub credits: u16,
    /// Whether class and anchor were read as one; false: they changed meanwhile.
    pub exact: bool,
    /// `tag` of the anchor.
    pub tag: u64,
    /// Nanoseconds since it was last taken for a class.
    pub age_ns: u64,
}

/// The fields of an anchor word, from the lowest bit on: 13 bits `avail`, 13 `count`, 2 state, 36 `tag`.
pub mod anchor {
    /// Index of the first free block.
    #[must_use]
    pub const fn avail(anchor: u64) -> u16 {
        (anchor & 0x1FFF) as u16
    }

    /// Free blocks, less those reserved by credits.
    #[must_use]
    pub const fn count(anchor: u64) -> u16 {
        (anchor >> 13 & 0x1FFF) as u16
    }

    /// One of [`state`](super::state).
    #[must_use]
    pub const fn state(anchor: u64) -> u8 {
        (anchor >> 26 & 3) as u8
    }

    /// Counts pops, state changes and uses, modulo 2³⁶.
    #[must_use]
    pub const fn tag(anchor: u64) -> u64 {
        anchor >> 28
    }
}

/// What has changed of a superblock that is otherwise as it was last told: the fields of the anchor, and what is beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuperblockChange {
    /// Number of its descriptor.
    pub id: u32,
    /// The anchor word; its fields are those of [`anchor`].
    pub anchor: u64,
    /// Blocks reserved by credits of a heap that points to it; 0 if none does.
    pub credits: u16,
    /// As in [`SuperblockRecord`].
    pub exact: bool,
}

/// Agent to viewer, in an update: superblocks of which class, address and age are as they were told. Since 1.2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuperblockChanges {
    /// By ascending id; none of them stands in [`Superblocks`] of the same update.
    pub records: Vec<SuperblockChange>,
}

/// Agent to viewer: superblocks. In an update only those that changed since the last state on this connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Superblocks {
    /// Superblocks by ascending id. A viewer drops those whose backing is not [`backing::MAPPED`].
    pub records: Vec<SuperblockRecord>,
}

/// One large block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LargeRecord {
    /// Number of its descriptor.
    pub id: u32,
    /// Address of its first byte.
    pub address: u64,
    /// Bytes mapped for it.
    pub bytes: u64,
    /// Nanoseconds since it was handed out or, if `cached`, given back.
    pub age_ns: u64,
    /// Whether it is kept for reuse rather than held by the program.
    pub cached: bool,
}

/// Agent to viewer: large blocks, always complete; the first chunk of a state has `first` set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LargeBlocks {
    /// Whether these records replace all large blocks (the first chunk) or follow on.
    pub first: bool,
    /// Large blocks by ascending id.
    pub records: Vec<LargeRecord>,
}

/// Agent to viewer: the state is complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateEnd {
    /// As in the [`StateBegin`].
    pub sequence: u64,
    /// Whether nothing moved while it was taken, so that all of it is one instant.
    pub consistent: bool,
    /// How many times it was taken until it was consistent or the agent gave up.
    pub attempts: u32,
    /// Where the mapped bytes are.
    pub parts: Parts,
    /// Superblocks and large blocks that some thread holds between two containers.
    pub in_hand: u64,
    /// Allocations and frees ever, of all classes and large blocks, before the state was taken.
    pub allocations_before: u64,
    /// See `allocations_before`.
    pub frees_before: u64,
    /// Allocations ever after it was taken; equal to the one before when consistent.
    pub allocations_after: u64,
    /// See `allocations_after`.
    pub frees_after: u64,
    /// Large blocks handed out ever.
    pub large_allocations: u64,
    /// Large blocks given back ever.
    pub large_frees: u64,
    /// Transitions ever.
    pub transitions_seen: u64,
    /// Transitions that found their slot in the ring busy and were not recorded.
    pub transitions_dropped: u64,
    /// Processor time the agent has used, nanoseconds.
    pub agent_cpu_ns: u64,
    /// Bytes of the agent's buffers (part of `metadata`).
    pub agent_bytes: u64,
    /// Viewers connected now.
    pub viewers: u32,
}

/// Causes of transitions, [`TransitionRecord::cause`]: the procedure of the patent, or ours.
pub mod cause {
    /// Took the last credit, and no block was left (\[0059\] line 15).
    pub const MALLOC_FROM_ACTIVE: u8 = 0;
    /// Lost to another active superblock and returned its credits (\[0063\] line 6).
    pub const UPDATE_ACTIVE: u8 = 1;
    /// Took a superblock off a partial list (\[0069\] lines 13 and 17).
    pub const MALLOC_FROM_PARTIAL: u8 = 2;
    /// Took a new superblock (\[0073\] line 11).
    pub const MALLOC_FROM_NEW_SB: u8 = 3;
    /// A free (\[0046\] lines 12 and 16).
    pub const FREE: u8 = 4;
    /// A batch free.
    pub const FREE_BATCH: u8 = 5;
    /// A purge took the active superblock out of its heap.
    pub const PURGE: u8 = 6;
    /// Name of the procedure; `?` for an unknown one.
    #[must_use]
    pub fn name(cause: u8) -> &'static str {
        [
            "MallocFromActive",
            "UpdateActive",
            "MallocFromPartial",
            "MallocFromNewSB",
            "free",
            "free (batch)",
            "purge",
        ]
        .get(usize::from(cause))
        .copied()
        .unwrap_or("?")
    }
    /// Paragraph of the patent, or empty where the procedure is ours.
    #[must_use]
    pub fn paragraph(cause: u8) -> &'static str {
        ["[0059]", "[0063]", "[0069]", "[0073]", "[0046]", "", ""]
            .get(usize::from(cause))
            .copied()
            .unwrap_or("")
    }
}

/// One transition. The order within a superblock is that of the tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransitionRecord {
    /// Nanoseconds the process had run; best effort.
    pub uptime_ns: u64,
    /// The superblock.
    pub superblock: u32,
    /// Its class.
    pub class: u16,
    /// State before, one of [`state`].
    pub from: u8,
    /// State after, one of [`state`].
    pub to: u8,
    /// One of [`cause`].
    pub cause: u8,
    /// The tag of the anchor after the transition.
    pub tag: u64,
}

/// Agent to viewer: transitions since the last such message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transitions {
    /// How many were lost between the last message and this one (overwritten before they were read, or dropped).
    pub missed: u64,
    /// In the order they were recorded.
    pub records: Vec<TransitionRecord>,
}

/// Agent to viewer: this viewer was too slow and updates were left out; a full state follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// States left out.
    pub lost: u64,
}

/// Viewer to agent: look closely at one superblock. Since 1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuperblockRequest {
    /// Number of its descriptor.
    pub id: u32,
}

/// How far a look at one superblock got, [`SuperblockDetail::bitmap_is`].
pub mod bitmap {
    /// There is none: no such superblock, it is not mapped, or its memory could not be read.
    pub const NONE: u8 = 0;
    /// The anchor, and the reserved blocks, were the same before and after the list was read: it is one instant.
    pub const EXACT: u8 = 1;
    /// The superblock changed while its list was read, as often as that was tried: bits may be wrong.
    pub const RACING: u8 = 2;
}

/// Agent to viewer: one superblock, block by block. Since 1.1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuperblockDetail {
    /// As asked for.
    pub id: u32,
    /// Nanoseconds the process had run.
    pub uptime_ns: u64,
    /// Its descriptor; `None` if there is no such superblock.
    pub record: Option<SuperblockRecord>,
    /// One of [`bitmap`].
    pub bitmap_is: u8,
    /// Bit `i % 64` of word `i / 64` is set if block `i` is in the list of free blocks, reserved ones included; empty
    /// without a bitmap.
    pub free: Vec<u64>,
    /// Its transitions that the program's ring still holds, the oldest first.
    pub transitions: Vec<TransitionRecord>,
}

/// Requested sizes of one class, sampled whenever a heap reserved a new batch of blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizeSample {
    /// Class number.
    pub class: u16,
    /// Requests sampled ever.
    pub samples: u64,
    /// Sum over them of block size − requested size, bytes.
    pub slack_sum: u64,
    /// Sum over them of (block size − requested size)².
    pub slack_squares: u64,
}

/// Agent to viewer: sampled sizes of every class that has any. Since 1.1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizeSamples {
    /// By class number; classes without samples are left out.
    pub records: Vec<SizeSample>,
}

/// Event counters of one heap header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeapCounter {
    /// Class number.
    pub class: u16,
    /// Heap number within the class.
    pub heap: u16,
    /// Blocks handed out ever.
    pub allocations: u64,
    /// Blocks given back ever by threads that ran on this heap's processor.
    pub frees: u64,
    /// How often blocks were reserved anew: credits taken from the active superblock's anchor, or a superblock installed.
    pub refills: u64,
    /// How often an allocation found no active superblock.
    pub ran_dry: u64,
}

/// Agent to viewer: heaps that were ever used. In a full state all of them, in an update those that changed. Since 1.1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeapCounters {
    /// By class, then heap.
    pub records: Vec<HeapCounter>,
}
