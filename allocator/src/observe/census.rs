//! The census: one walk over everything, repeated until nothing moved meanwhile.
//!
//! Every superblock of `maxcount` blocks is accounted for as
//!
//! ```text
//! live = maxcount − count − reserved     (0 if EMPTY)
//! reserved = credits field + 1 where a heap points to it, else 0
//! ```
//!
//! so that its parts sum to its size by construction. What makes the sum of all parts equal to the mapped bytes is
//! that nothing was mapped, decommitted or handed over while the walk lasted; `consistent` says so.

use core::sync::atomic::Ordering;

use super::{CLASS_COUNT, ClassCounters, HEAPS_PER_CLASS, class_counters, in_hand};
use crate::accounting;
use crate::active::Active;
use crate::anchor::{Anchor, State};
use crate::descriptor::{Backing, Meta};
use crate::front::{self, FrontCounts, MagazineCounts};
use crate::large;
use crate::live::{CORE, Counts, Live};
use crate::observe::MappedVec;
use crate::platform::{Class, Heap, Platform, SuperblockId};
use crate::size_class::{size_class, superblock_bytes};
use crate::transition::RING;

/// Counters and superblocks of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassView {
    /// Class number.
    pub class: u16,
    /// Blocks handed out ever.
    pub allocations: u64,
    /// Blocks given back ever.
    pub frees: u64,
    /// Compare-and-swaps that failed ever.
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
    /// Free blocks of ACTIVE and PARTIAL superblocks.
    pub free_blocks: i64,
    /// Blocks reserved by the credits of heaps.
    pub credit_blocks: i64,
    /// Blocks in magazines and in the depot.
    pub cached_blocks: i64,
    /// Batches in the depot.
    pub depot_batches: u32,
    /// Requests whose size was sampled, as in [`ClassCounters`].
    pub samples: u64,
    /// Sum over them of block size − size asked for, bytes.
    pub slack_sum: u64,
    /// Sum over them of (block size − size asked for)².
    pub slack_squares: u64,
}

/// What a heap has counted, of those that were ever used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CounterView {
    /// Class number.
    pub class: u16,
    /// Heap number.
    pub heap: u16,
    /// Blocks handed out ever.
    pub allocations: u64,
    /// Blocks given back ever, by threads that ran on this heap's processor.
    pub frees: u64,
    /// How often blocks were reserved anew: credits taken from the active superblock's anchor, or a superblock installed.
    pub refills: u64,
    /// How often an allocation found no active superblock.
    pub ran_dry: u64,
}

/// The magazine of a processor and class, of those that were ever used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MagazineView {
    /// Class number.
    pub class: u16,
    /// Number of the processor.
    pub processor: u16,
    /// Blocks in it.
    pub blocks: u16,
    /// Blocks that it holds at most.
    pub capacity: u16,
    /// Blocks popped ever: allocations that it served.
    pub pops: u64,
    /// Blocks pushed ever: frees that it took.
    pub pushes: u64,
    /// How often it was empty, and got a batch from the depot or the core.
    pub refills: u64,
    /// How often it was full, and gave a batch to the depot or the core.
    pub flushes: u64,
    /// Sequences that were interrupted; the operation went to the core.
    pub aborts: u64,
    /// Blocks that the core gave for it ever.
    pub from_core: u64,
    /// Blocks that the core got back from it ever.
    pub to_core: u64,
}

/// A heap header whose active field is not null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeapView {
    /// Class number.
    pub class: u16,
    /// Heap number.
    pub heap: u16,
    /// The active superblock.
    pub superblock: u32,
    /// Blocks reserved: the credits field plus one.
    pub credits: u32,
}

/// One superblock as its descriptor was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuperblockView {
    /// Number of its descriptor.
    pub id: u32,
    /// Its class, or the last one for an EMPTY superblock.
    pub class: u16,
    /// State in the anchor.
    pub state: State,
    /// What stands behind its addresses.
    pub backing: Backing,
    /// Address of its first byte.
    pub address: u64,
    /// The anchor word.
    pub anchor: u64,
    /// `avail` of the anchor.
    pub avail: u16,
    /// `count` of the anchor.
    pub count: u16,
    /// Blocks reserved by the credits of a heap that points to it; 0 if none does.
    pub credits: u16,
    /// Whether class and anchor are of one generation; if not, they changed while they were read.
    pub exact: bool,
    /// `tag` of the anchor.
    pub tag: u64,
    /// Clock ticks when it was last taken for a class; 0: never.
    pub since_ticks: u64,
}

/// One large block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LargeView {
    /// Number of its descriptor.
    pub id: u32,
    /// Address of its first byte.
    pub address: u64,
    /// Bytes mapped for it.
    pub bytes: u64,
    /// Clock ticks when it was handed out or, if `cached`, given back.
    pub since_ticks: u64,
    /// Whether it is kept for reuse.
    pub cached: bool,
}

/// Where the mapped bytes are. `mapped` is counted where memory is mapped; the others are found by the walk. Signed,
/// since a census that is not consistent shows what it read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Mapped from the system and not decommitted.
    pub mapped: i64,
    /// In blocks that the program holds, size-class rounding included.
    pub live: i64,
    /// In large blocks that the program holds.
    pub large: i64,
    /// In free blocks of ACTIVE and PARTIAL superblocks.
    pub free: i64,
    /// In blocks that heaps hold reserved by credits.
    pub credit: i64,
    /// In blocks that magazines and the depot hold.
    pub cached: i64,
    /// In EMPTY superblocks that are kept mapped.
    pub empty: i64,
    /// In large blocks kept for reuse.
    pub large_cached: i64,
    /// Behind the last block of superblocks that are not EMPTY.
    pub tail: i64,
    /// Mapped, but in no superblock yet.
    pub unused: i64,
    /// Tables of this crate, those of censuses included.
    pub metadata: i64,
}

impl Parts {
    /// The sum of all parts, which equals `mapped` in a consistent census.
    #[must_use]
    pub fn sum(&self) -> i64 {
        self.live
            + self.large
            + self.free
            + self.credit
            + self.cached
            + self.empty
            + self.large_cached
            + self.tail
            + self.unused
            + self.metadata
    }
}

/// What a census found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Whether no superblock or large block moved while it was taken, and none was in hand. Then the parts sum to the
    /// mapped bytes, or there is a fault. A malloc or free under way may have changed a block's owner and not yet the
    /// counter. (A thread that died with something in hand makes this false for good: `in_hand` says why.)
    pub consistent: bool,
    /// How many walks were made.
    pub attempts: u32,
    /// Where the mapped bytes are.
    pub parts: Parts,
    /// Superblocks and large blocks in the hands of threads.
    pub in_hand: u64,
    /// Blocks and large blocks handed out ever, before the last walk.
    pub allocations_before: u64,
    /// Blocks and large blocks given back ever, before the last walk.
    pub frees_before: u64,
    /// Handed out ever, after it.
    pub allocations_after: u64,
    /// Given back ever, after it.
    pub frees_after: u64,
    /// Large blocks handed out ever.
    pub large_allocations: u64,
    /// Large blocks given back ever.
    pub large_frees: u64,
    /// Transitions ever, those dropped included.
    pub transitions_seen: u64,
    /// Transitions that found their slot in the ring busy.
    pub transitions_dropped: u64,
}

/// Everything that counts, read before and after a walk: if it is the same, nothing moved in between.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    allocations: u64,
    frees: u64,
    retries: u64,
    large: (u64, u64, i64),
    mapped: i64,
    transitions: u64,
    in_hand: u64,
}

impl Stamp {
    fn read() -> Self {
        // Twice: whoever puts down what he held while the counters are read is noticed by the first, whoever takes
        // something up by the second.
        let held = in_hand();
        let mut stamp = Self {
            allocations: 0,
            frees: 0,
            retries: 0,
            large: large::counters(),
            mapped: accounting::mapped_bytes(),
            transitions: RING.seen(),
            in_hand: in_hand(),
        };
        for class in 0..CLASS_COUNT {
            let counters = class_counters(class);
            // Wrapping, both: while threads move from processor to processor in the middle of a batch.
            stamp.allocations = stamp.allocations.wrapping_add(counters.allocations);
            stamp.frees = stamp.frees.wrapping_add(counters.frees);
            stamp.retries += counters.retries;
        }
        stamp.in_hand = held.max(in_hand());
        stamp
    }
}

/// The tables that a census fills, in memory of their own. A table keeps its pages from one census to the next.
#[derive(Debug, Default)]
pub struct Tables {
    /// Every class, by class number.
    pub classes: MappedVec<ClassView>,
    /// Every heap that has an active superblock.
    pub heaps: MappedVec<HeapView>,
    /// Every heap that has ever counted anything, by class and heap. Once here, it is in every later census.
    pub counters: MappedVec<CounterView>,
    /// Every magazine that was ever used, by class and processor. Once here, it is in every later census.
    pub magazines: MappedVec<MagazineView>,
    /// Every superblock ever made, by number, whatever stands behind it.
    pub superblocks: MappedVec<SuperblockView>,
    /// Every large block, held or kept.
    pub large: MappedVec<LargeView>,
}

impl Tables {
    /// Empty tables. `None` when the system gives no memory.
    #[must_use]
    pub fn new() -> Option<Self> {
        let mut tables = Self::default();
        let ready = tables.classes.reserve(CLASS_COUNT)
            && tables.heaps.reserve(CLASS_COUNT)
            && tables.counters.reserve(CLASS_COUNT)
            && tables.magazines.reserve(CLASS_COUNT);
        ready.then_some(tables)
    }

    /// Takes a census: walks over everything, at most `max_attempts` times (at least once) until nothing moved
    /// meanwhile. `None` when the system gives no memory for the tables.
    pub fn take(&mut self, max_attempts: u32) -> Option<Census> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            if !self.make_room() {
                return None;
            }
            let before = Stamp::read();
            let mut parts = self.walk()?;
            // Acquire: the loads of the walk come before those of the second stamp.
            core::sync::atomic::fence(Ordering::Acquire);
            let after = Stamp::read();
            parts.mapped = after.mapped;
            // Something in hand may be between a change and the counter that tells of it.
            let consistent = before == after && after.in_hand == 0;
            if consistent || attempts >= max_attempts {
                return Some(Census {
                    consistent,
                    attempts,
                    parts,
                    in_hand: after.in_hand,
                    allocations_before: before.allocations.wrapping_add(before.large.0),
                    frees_before: before.frees.wrapping_add(before.large.1),
                    allocations_after: after.allocations.wrapping_add(after.large.0),
                    frees_after: after.frees.wrapping_add(after.large.1),
                    large_allocations: after.large.0,
                    large_frees: after.large.1,
                    transitions_seen: after.transitions,
                    transitions_dropped: RING.dropped(),
                });
            }
            core::hint::spin_loop();
        }
    }

    /// Bytes mapped for the tables.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.classes.bytes()
            + self.heaps.bytes()
            + self.counters.bytes()
            + self.magazines.bytes()
            + self.superblocks.bytes()
            + self.large.bytes()
    }

    /// Grows the tables before a walk, so that the walk itself maps nothing (unless much is added meanwhile).
    fn make_room(&mut self) -> bool {
        self.superblocks.reserve(Live::superblocks() as usize + 64)
            && self.large.reserve(large::descriptors() as usize + 64)
            && self.heaps.reserve(CLASS_COUNT)
            && self.counters.reserve(self.counters.len() + 16)
            && self.magazines.reserve(self.magazines.len() + 16)
    }

    fn walk(&mut self) -> Option<Parts> {
        let mut parts = Parts { metadata: accounting::metadata_bytes(), ..Parts::default() };
        self.walk_counters()?;
        self.walk_superblocks()?;
        self.walk_heaps()?;
        self.tally(&mut parts);
        self.large.clear();
        for id in 0..large::descriptors() {
            let Some(seen) = large::view(id) else {
                continue;
            };
            let part = if seen.cached { &mut parts.large_cached } else { &mut parts.large };
            *part += seen.bytes.cast_signed();
            let view = LargeView {
                id,
                address: seen.address,
                bytes: seen.bytes,
                since_ticks: seen.since,
                cached: seen.cached,
            };
            self.large.push(view).then_some(())?;
        }
        Some(parts)
    }

    fn walk_counters(&mut self) -> Option<()> {
        self.classes.clear();
        self.counters.clear();
        self.magazines.clear();
        for class in 0..CLASS_COUNT as u16 {
            // The front first: see there, on counting.
            let mut front = FrontCounts::of_depot(Class(class));
            // Nothing but full batches, so far.
            let depot_batches = front.cached / front::view::batch(Class(class)).max(1) as u64;
            for processor in 0..front::processors() {
                let counts = front::counts(processor, Class(class));
                if counts == MagazineCounts::default() {
                    continue;
                }
                front.add(&counts);
                let view = MagazineView {
                    class,
                    processor: processor as u16,
                    blocks: counts.blocks as u16,
                    capacity: front::capacity(Class(class)) as u16,
                    pops: counts.pops,
                    pushes: counts.pushes,
                    refills: counts.refills,
                    flushes: counts.flushes,
                    aborts: counts.aborts,
                    from_core: counts.from_core,
                    to_core: counts.to_core,
                };
                self.magazines.push(view).then_some(())?;
            }
            let mut sum = ClassCounters::default();
            for heap in 0..HEAPS_PER_CLASS as u16 {
                let counts = Live::counts(Heap(heap), Class(class));
                if counts == Counts::default() {
                    continue;
                }
                sum.add(&counts);
                let Counts { allocations, frees, refills, ran_dry, .. } = counts;
                let view = CounterView { class, heap, allocations, frees, refills, ran_dry };
                self.counters.push(view).then_some(())?;
            }
            sum.of_program(&front);
            let view = ClassView {
                class,
                cached_blocks: front.cached.cast_signed(),
                depot_batches: depot_batches as u32,
                allocations: sum.allocations,
                frees: sum.frees,
                retries: sum.retries,
                samples: sum.samples,
                slack_sum: sum.slack_sum,
                slack_squares: sum.slack_squares,
                ..ClassView::default()
            };
            self.classes.push(view).then_some(())?;
        }
        Some(())
    }

    fn walk_superblocks(&mut self) -> Option<()> {
        self.superblocks.clear();
        for id in 0..Live::superblocks() {
            self.superblocks.push(read_superblock(id)).then_some(())?;
        }
        Some(())
    }

    /// After the superblocks, so that the credits a heap shows can be entered there.
    fn walk_heaps(&mut self) -> Option<()> {
        self.heaps.clear();
        for heap in 0..HEAPS_PER_CLASS as u16 {
            for class in 0..CLASS_COUNT as u16 {
                let word = CORE.platform().active(Heap(heap), Class(class));
                // Acquire: orders this walk before the second stamp.
                let active = Active::from_word(word.load(Ordering::Acquire));
                let Some(superblock) = active.superblock() else {
                    continue;
                };
                let credits = active.blocks();
                if let Some(view) = self.superblocks.get_mut(superblock.0 as usize) {
                    view.credits += credits as u16;
                }
                let view = HeapView { class, heap, superblock: superblock.0, credits };
                self.heaps.push(view).then_some(())?;
            }
        }
        Some(())
    }

    /// Adds the superblocks up, by class and by part.
    fn tally(&mut self, parts: &mut Parts) {
        for view in self.superblocks.iter() {
            let total = superblock_bytes(Live::geometry(SuperblockId(view.id))) as i64;
            match view.backing {
                Backing::Decommitted => continue,
                Backing::Unused => {
                    // The address is stored last when a run is made.
                    parts.unused += if view.address == 0 { 0 } else { total };
                    continue;
                }
                Backing::Mapped => {}
            }
            let row = size_class(Class(view.class));
            let block_bytes = i64::from(row.block_bytes);
            let class = &mut self.classes[view.class as usize];
            match view.state {
                State::Active => class.active += 1,
                State::Full => class.full += 1,
                State::Partial => class.partial += 1,
                State::Empty => {
                    class.empty += 1;
                    parts.empty += total;
                    continue;
                }
            }
            let (count, credits) = (i64::from(view.count), i64::from(view.credits));
            let blocks = i64::from(row.shape.blocks);
            let live = blocks - count - credits;
            class.live_blocks += live;
            class.free_blocks += count;
            class.credit_blocks += credits;
            parts.live += live * block_bytes;
            parts.free += count * block_bytes;
            parts.credit += credits * block_bytes;
            parts.tail += total - blocks * block_bytes;
        }
        // To the core, what the front holds is live.
        for class in self.classes.iter_mut() {
            let cached = class.cached_blocks;
            let bytes = cached * i64::from(size_class(Class(class.class)).block_bytes);
            class.live_blocks -= cached;
            parts.live -= bytes;
            parts.cached += bytes;
        }
    }
}

pub(super) fn read_superblock(id: u32) -> SuperblockView {
    let id = SuperblockId(id);
    let descriptor = CORE.platform().descriptor(id);
    // Acquire, both: the second reading of `meta` comes after the anchor's.
    let before = descriptor.meta.load(Ordering::Acquire);
    let word = descriptor.anchor.load(Ordering::Acquire);
    // Relaxed: ordered by the Acquires above.
    let since_ticks = descriptor.since.load(Ordering::Relaxed);
    let after = descriptor.meta.load(Ordering::Relaxed);
    let (meta, anchor) = (Meta::from_word(after), Anchor::from_word(word));
    SuperblockView {
        id: id.0,
        class: meta.class().0,
        state: anchor.state(),
        backing: meta.backing(),
        address: Live::base(id) as u64,
        anchor: word,
        avail: anchor.avail() as u16,
        count: anchor.count() as u16,
        credits: 0,
        exact: before == after && meta.is_settled(),
        tag: anchor.tag(),
        since_ticks,
    }
}

/// Bytes of superblock `id` if it is ACTIVE, FULL or PARTIAL.
pub(super) fn bytes_in_use(id: u32) -> i64 {
    let id = SuperblockId(id);
    // Relaxed: an estimate of one moment; nothing follows from it.
    let anchor = CORE.platform().descriptor(id).anchor.load(Ordering::Relaxed);
    match (CORE.meta(id).backing(), Anchor::from_word(anchor).state()) {
        (Backing::Unused | Backing::Decommitted, _) | (_, State::Empty) => 0,
        _ => superblock_bytes(Live::geometry(id)) as i64,
    }
}
