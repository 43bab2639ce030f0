//! The shipped platform: statics, mapped tables and core atomics.
//!
//! All statics start as zero bytes, which are valid: no initialisation, hence none that could race or be
//! interrupted. Untouched parts of them cost no memory.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::Core;
use crate::accounting::{self, Purpose};
use crate::anchor::Anchor;
use crate::decay;
use crate::descriptor::{Backing, Block, Descriptor, Meta};
use crate::harden;
use crate::huge;
use crate::large;
use crate::link::{self, Seal};
use crate::list;
use crate::options;
use crate::os;
use crate::page_map::{self, Entry};
use crate::partial::PartialLists;
use crate::platform::{
    Class, Counter, Geometry, Heap, MappedRun, Platform, Request, Reserve, Shape, SuperblockId,
    Transition, Word,
};
use crate::size_class::{
    CLASS_COUNT, GEOMETRY_COUNT, GRANULE_BYTES, Key, in_bounds, size_class, superblock_bytes,
};
use crate::superblock::RetiredLists;
use crate::table::{Table, ZeroRecord};
use crate::transition::RING;

/// Heaps of each class; processors share them modulo this number.
pub const HEAP_COUNT: usize = 64;

/// The allocator of this process.
pub(crate) static CORE: Core<Live> = Core::new(Live);

/// The shipped platform.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Live;

/// A heap header (\[0029\], \[0032\]), with the counters of the processor's own use of the class in the same cache
/// line, which a malloc has anyway. They fill it.
#[repr(align(64))]
struct HeapHeader {
    active: AtomicU64,
    allocations: AtomicU64,
    frees: AtomicU64,
    retries: AtomicU64,
    /// How often blocks were reserved anew; each time the request at hand is sampled.
    refills: AtomicU64,
    ran_dry: AtomicU64,
    /// Over those samples: the sum of block bytes − bytes asked for, and of its squares.
    slack_sum: AtomicU64,
    slack_squares: AtomicU64,
}

const _: () = assert!(size_of::<HeapHeader>() == 64);

impl HeapHeader {
    const fn new() -> Self {
        Self {
            active: AtomicU64::new(0),
            allocations: AtomicU64::new(0),
            frees: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            refills: AtomicU64::new(0),
            ran_dry: AtomicU64::new(0),
            slack_sum: AtomicU64::new(0),
            slack_squares: AtomicU64::new(0),
        }
    }
}

/// What a heap has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) allocations: u64,
    pub(crate) frees: u64,
    pub(crate) retries: u64,
    pub(crate) refills: u64,
    pub(crate) ran_dry: u64,
    pub(crate) slack_sum: u64,
    pub(crate) slack_squares: u64,
}

/// Heap headers, those of a processor side by side.
static HEAPS: [[HeapHeader; CLASS_COUNT]; HEAP_COUNT] =
    [const { [const { HeapHeader::new() }; CLASS_COUNT] }; HEAP_COUNT];

static PARTIAL: [PartialLists<AtomicU64>; CLASS_COUNT] = [const {
    PartialLists { lists: [AtomicU64::new(0), AtomicU64::new(0)], drained: AtomicU64::new(0) }
}; CLASS_COUNT];

static RETIRED: [RetiredLists<AtomicU64>; GEOMETRY_COUNT] = [const {
    RetiredLists { warm: AtomicU64::new(0), warm_count: AtomicU64::new(0), cold: AtomicU64::new(0) }
}; GEOMETRY_COUNT];

static DESCRIPTORS: Table<Descriptor<AtomicU64>> = Table::new();

/// Descriptors whose superblock was given back to the system, addresses included.
static BARE: AtomicU64 = AtomicU64::new(0);

// SAFETY: atomics only; zero bytes are a valid value of each.
unsafe impl ZeroRecord for Descriptor<AtomicU64> {}

/// How many superblocks of a geometry were taken in this interval of [`decay`], and in the last.
#[repr(align(64))]
struct Demand {
    now: AtomicU64,
    before: AtomicU64,
}

static DEMAND: [Demand; GEOMETRY_COUNT] =
    [const { Demand { now: AtomicU64::new(0), before: AtomicU64::new(0) } }; GEOMETRY_COUNT];

/// EMPTY superblocks that are kept in any case: a fifth of [`options::RESERVE`] in small ones and the rest in large ones; half of
/// it once there are more.
fn least_reserve(geometry: Geometry) -> Reserve {
    let fifths = if geometry.0 == 0 { 1 } else { 4 };
    let bytes = options::RESERVE.get() / 5 * fifths;
    let high = (bytes / superblock_bytes(geometry) as u64).min(u64::from(u32::MAX / 2)) as u32;
    Reserve { high, low: high / 2 }
}

/// An interval of [`decay`] has ended.
pub(crate) fn end_interval() {
    for demand in &DEMAND {
        // Relaxed, both: a few may be counted in the wrong interval.
        demand.before.store(demand.now.swap(0, Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// Gives a few of the EMPTY superblocks back that are more than is to be kept; whether there may be more.
pub(crate) fn cool_surplus() -> bool {
    let mut is_more = false;
    for geometry in (0..GEOMETRY_COUNT as u8).map(Geometry) {
        let Reserve { high, low } = Live.reserve(geometry);
        is_more |= CORE.cool_warm(geometry, high, high - low);
    }
    is_more
}

/// In the low bits of a descriptor's `base`, which is aligned to a granule, stand the geometry,
const GEOMETRY_MASK: u64 = 0xFF;
/// and whether it lies in a run of [`huge`].
const IN_RUN: u64 = 0x100;
const BASE_MASK: u64 = !(GRANULE_BYTES as u64 - 1);

/// How many superblocks are mapped at once.
const fn run_length(geometry: Geometry) -> u32 {
    if geometry.0 == 0 { 16 } else { 4 }
}

impl Word for AtomicU64 {
    #[inline(always)]
    fn load(&self, order: Ordering) -> u64 {
        self.load(order)
    }
    #[inline(always)]
    fn store(&self, value: u64, order: Ordering) {
        self.store(value, order);
    }
    #[inline(always)]
    fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        self.compare_exchange(current, new, success, failure)
    }
    #[inline(always)]
    fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        self.fetch_add(value, order)
    }
    #[inline(always)]
    fn fetch_sub(&self, value: u64, order: Ordering) -> u64 {
        self.fetch_sub(value, order)
    }
    #[inline(always)]
    fn fetch_max(&self, value: u64, order: Ordering) -> u64 {
        self.fetch_max(value, order)
    }
    #[inline(always)]
    fn fetch_min(&self, value: u64, order: Ordering) -> u64 {
        self.fetch_min(value, order)
    }
    #[inline(always)]
    fn swap(&self, value: u64, order: Ordering) -> u64 {
        self.swap(value, order)
    }
}

impl Live {
    #[inline]
    fn header(heap: Heap, class: Class) -> &'static HeapHeader {
        in_bounds(&HEAPS[heap.0 as usize % HEAP_COUNT], class.0 as usize)
    }

    /// Address of a superblock's first byte.
    #[inline]
    pub(crate) fn base(id: SuperblockId) -> usize {
        Self::base_of(DESCRIPTORS.get(id.0))
    }

    /// As [`Live::base`], of the superblock with that descriptor.
    #[inline]
    pub(crate) fn base_of(descriptor: &Descriptor<AtomicU64>) -> usize {
        // Relaxed: written before the descriptor was published; a view may read 0 a moment earlier.
        (descriptor.base.load(Ordering::Relaxed) & BASE_MASK) as usize
    }

    /// Geometry of a superblock.
    pub(crate) fn geometry(id: SuperblockId) -> Geometry {
        // Relaxed: as in `base`.
        Geometry((DESCRIPTORS.get(id.0).base.load(Ordering::Relaxed) & GEOMETRY_MASK) as u8)
    }

    /// Number of superblocks ever made; their descriptors may be read.
    pub(crate) fn superblocks() -> u32 {
        DESCRIPTORS.len()
    }

    /// What `heap` of `class` has counted.
    #[inline]
    pub(crate) fn counts(heap: Heap, class: Class) -> Counts {
        let header = Self::header(heap, class);
        // Relaxed: counters, which publish nothing; those of one event need not be seen together.
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            allocations: read(&header.allocations),
            frees: read(&header.frees),
            retries: read(&header.retries),
            refills: read(&header.refills),
            ran_dry: read(&header.ran_dry),
            slack_sum: read(&header.slack_sum),
            slack_squares: read(&header.slack_squares),
        }
    }

    /// Gives each superblock of a new run a descriptor, used ones first, and links all but the first.
    fn describe_run(
        self,
        address: usize,
        geometry: Geometry,
        count: u32,
        in_run: bool,
    ) -> Option<MappedRun> {
        let bytes = superblock_bytes(geometry);
        let mut run: Option<MappedRun> = None;
        for place in 0..count as usize {
            let id = list::pop(&CORE, &BARE).or_else(|| DESCRIPTORS.extend(1)).map(SuperblockId);
            let base = address + place * bytes;
            let Some(id) = id else {
                // No memory for a descriptor in the middle of a run. (For the first the caller unmaps all of it.)
                if place > 0 {
                    // SAFETY: the rest of the caller's new mapping, known to nobody.
                    unsafe {
                        accounting::unmap(base, (count as usize - place) * bytes, Purpose::Blocks)
                    };
                }
                break;
            };
            self.describe(id, base, geometry, in_run);
            page_map::set(base, bytes, Entry::Superblock(id));
            match &mut run {
                None => {
                    run = Some(MappedRun { first: id, rest: None });
                }
                Some(MappedRun { rest: rest @ None, .. }) => *rest = Some((id, id)),
                Some(MappedRun { rest: Some((_, last)), .. }) => {
                    // Relaxed: published by the push of the chain.
                    self.descriptor(*last).next.store(u64::from(id.0) + 1, Ordering::Relaxed);
                    *last = id;
                }
            }
        }
        run
    }

    fn describe(self, id: SuperblockId, base: usize, geometry: Geometry, in_run: bool) {
        let descriptor = self.descriptor(id);
        // Relaxed, all: nobody else knows the superblock; published by the push of the run, or by the initialisation
        // of its first. The tag goes on where a former superblock left it.
        let old = Anchor::from_word(descriptor.anchor.load(Ordering::Relaxed));
        let empty = old.emptied(0, Self::ANCHOR_TAG_BITS);
        let meta = Meta::from_word(descriptor.meta.load(Ordering::Relaxed));
        descriptor.anchor.store(empty.word(), Ordering::Relaxed);
        descriptor.meta.store(meta.unused().word(), Ordering::Relaxed);
        let in_run = if in_run { IN_RUN } else { 0 };
        descriptor.base.store(base as u64 | in_run | u64::from(geometry.0), Ordering::Relaxed);
    }

    /// A superblock is about to be decommitted: the first one of a run ends it.
    fn leave_run(self, id: SuperblockId) {
        let word = &self.descriptor(id).base;
        // Relaxed, all: only the holder writes; whether a run is whole needs no more than a good guess.
        let base = word.load(Ordering::Relaxed);
        if base & IN_RUN == 0 {
            return;
        }
        word.store(base & !IN_RUN, Ordering::Relaxed);
        let own = (base & BASE_MASK) as usize;
        let is_in_run = |address: usize| match page_map::lookup(address) {
            Entry::Superblock(id) => {
                let base = self.descriptor(id).base.load(Ordering::Relaxed);
                base & IN_RUN != 0 && (base & BASE_MASK) as usize == address
            }
            _ => false,
        };
        // Where one has left already there is nothing to do; and where one was unmapped there may be memory of others by now.
        let mut run = huge::run_around(own).step_by(superblock_bytes(Geometry(0)));
        if run.all(|address| address == own || is_in_run(address)) {
            huge::end_run(own);
        }
    }

    #[inline]
    fn block_address(descriptor: &Descriptor<AtomicU64>, class: Class, block: u32) -> usize {
        Self::base_of(descriptor) + block as usize * size_class(class).block_bytes as usize
    }

    /// The word at the beginning of a block, which holds its link while it is free.
    ///
    /// # Safety
    /// `address` is that of a block in a superblock that is not given back meanwhile.
    #[inline]
    unsafe fn link_word<'w>(address: usize) -> &'w AtomicU64 {
        // SAFETY: the caller's; blocks are aligned to 16, and hold as many bytes. The access is formally a race with the plain writes of an
        // owner, if the block has one by now: candidly optimistic, see the trait. No value read is trusted.
        unsafe { &*core::ptr::with_exposed_provenance(address) }
    }

    /// What the links of a superblock are sealed with, for whoever keeps it from a new generation.
    #[inline]
    pub(crate) fn seal(descriptor: &Descriptor<AtomicU64>) -> Seal {
        // Relaxed: as in `Core::meta`; for a thread that lags behind no link is one.
        Seal::of(Meta::from_word(descriptor.meta.load(Ordering::Relaxed)))
    }
}

impl Platform for Live {
    type Word = AtomicU64;

    #[inline(always)]
    fn shape(&self, class: Class) -> Shape {
        size_class(class).shape
    }

    fn geometries(&self) -> u8 {
        GEOMETRY_COUNT as u8
    }

    fn classes(&self) -> u16 {
        CLASS_COUNT as u16
    }

    fn heaps(&self) -> u16 {
        HEAP_COUNT as u16
    }

    #[inline(always)]
    fn current_heap(&self) -> Heap {
        Heap((os::processor() as usize % HEAP_COUNT) as u16)
    }

    #[inline(always)]
    fn active(&self, heap: Heap, class: Class) -> &AtomicU64 {
        &Self::header(heap, class).active
    }

    #[inline(always)]
    fn partial(&self, class: Class) -> &PartialLists<AtomicU64> {
        in_bounds(&PARTIAL, class.0 as usize)
    }

    #[inline(always)]
    fn retired(&self, geometry: Geometry) -> &RetiredLists<AtomicU64> {
        in_bounds(&RETIRED, geometry.0 as usize)
    }

    #[inline(always)]
    fn descriptor(&self, id: SuperblockId) -> &Descriptor<AtomicU64> {
        DESCRIPTORS.get(id.0)
    }

    #[inline(always)]
    fn link(
        &self,
        _id: SuperblockId,
        descriptor: &Descriptor<AtomicU64>,
        class: Class,
        block: u32,
    ) -> u32 {
        let address = Self::block_address(descriptor, class, block);
        // SAFETY: `block` is below the mark of written links, hence an index of this class; the caller holds the
        // descriptor or a reservation, so that the superblock is not given back.
        let word = unsafe { Self::link_word(address) };
        // Relaxed: what the pusher wrote is seen through the anchor. What is no link leads out of bounds.
        Self::seal(descriptor).open(address, word.load(Ordering::Relaxed)).unwrap_or(u32::MAX)
    }

    #[inline(always)]
    fn may_read_link(&self, descriptor: &Descriptor<AtomicU64>, class: Class, block: u32) {
        let offset = (block as usize).wrapping_mul(size_class(class).block_bytes as usize);
        os::will_write(Self::base_of(descriptor).wrapping_add(offset));
    }

    #[inline(always)]
    fn may_take(&self, id: SuperblockId) {
        os::will_write(core::ptr::from_ref(DESCRIPTORS.get(id.0)).addr());
    }

    #[inline(always)]
    fn set_link(
        &self,
        _id: SuperblockId,
        descriptor: &Descriptor<AtomicU64>,
        class: Class,
        block: u32,
        next: u32,
    ) {
        let address = Self::block_address(descriptor, class, block);
        // SAFETY: the caller owns the block, whose first bytes these are.
        let word = unsafe { Self::link_word(address) };
        // Relaxed: published by the Release on the anchor.
        word.store(Self::seal(descriptor).close(address, next), Ordering::Relaxed);
    }

    #[inline]
    fn took(&self, class: Class, blocks: &[Block]) {
        let Some(first) = blocks.first() else { return };
        let descriptor = DESCRIPTORS.get(first.superblock.0);
        // Relaxed: those that were freed in this generation are below it.
        let written = descriptor.written.load(Ordering::Relaxed) as u32;
        for block in blocks.iter().filter(|block| block.index < written) {
            // SAFETY: the caller owns the block, whose first bytes these are.
            let word =
                unsafe { Self::link_word(Self::block_address(descriptor, class, block.index)) };
            // Relaxed: its own. A block in use holds no link: see `gives`.
            word.store(0, Ordering::Relaxed);
        }
        if harden::is_kept() {
            harden::took(class, blocks);
        }
    }

    #[inline]
    fn gives(
        &self,
        id: SuperblockId,
        descriptor: &Descriptor<AtomicU64>,
        class: Class,
        blocks: &[u32],
    ) -> Option<u32> {
        if harden::is_kept() {
            harden::gives(id, class, blocks);
        }
        let seal = Self::seal(descriptor);
        // Relaxed: a block that is on the list already was freed in this generation, and is below it.
        let written = descriptor.written.load(Ordering::Relaxed) as u32;
        let looks_free = |block: &u32| {
            let address = Self::block_address(descriptor, class, *block);
            // SAFETY: the caller owns the block, whose first bytes these are.
            let word = unsafe { Self::link_word(address) };
            // Relaxed: the link of one that is free was written before it was. A block in use holds none: see `took`.
            *block < written && seal.open(address, word.load(Ordering::Relaxed)).is_some()
        };
        blocks.iter().copied().find(looks_free)
    }

    #[cold]
    fn map(&self, geometry: Geometry) -> Option<MappedRun> {
        link::make_secret();
        let bytes = superblock_bytes(geometry);
        let huge = huge::superblock_run(geometry);
        let mut count = run_length(geometry).max(huge.map_or(0, |huge| (huge / bytes) as u32));
        let address = loop {
            let align = huge.filter(|_| count > 1).unwrap_or(GRANULE_BYTES);
            match accounting::map(bytes * count as usize, align, Purpose::Blocks) {
                Some(address) => break address,
                // Near a limit a single one may still be had.
                None if count > 1 => count = 1,
                None => return None,
            }
        };
        let run_bytes = bytes * count as usize;
        let in_run = huge.is_some() && count > 1;
        huge::superblocks_mapped(address, run_bytes, in_run);
        let run = page_map::prepare(address, run_bytes)
            .and_then(|()| self.describe_run(address, geometry, count, in_run));
        if run.is_none() {
            // SAFETY: mapped above and known to nobody. Should that fail, address space is lost, and nothing else.
            unsafe { accounting::unmap(address, run_bytes, Purpose::Blocks) };
        }
        run
    }

    fn decommit(&self, id: SuperblockId, geometry: Geometry) -> bool {
        let bytes = superblock_bytes(geometry);
        self.leave_run(id);
        // SAFETY: the superblock is EMPTY and held by this thread; a stale read of a link finds zero.
        let done = unsafe { os::decommit(Self::base(id), bytes) };
        if done {
            accounting::mapped(-(bytes as i64));
        }
        done
    }

    fn release(&self, id: SuperblockId, geometry: Geometry) -> bool {
        let (base, bytes) = (Self::base(id), superblock_bytes(geometry));
        let descriptor = self.descriptor(id);
        let meta = CORE.meta(id);
        page_map::set(base, bytes, Entry::Foreign);
        page_map::set_key(base, bytes, Key::NONE);
        // SAFETY: the superblock is EMPTY and held by this thread, and nobody reads links of such a one.
        if !unsafe { os::unmap(base, bytes) } {
            page_map::set(base, bytes, Entry::Superblock(id));
            return false;
        }
        if meta.backing() != Backing::Decommitted {
            accounting::mapped(-(bytes as i64));
        }
        // Relaxed, both: only the holder writes; views check `meta` twice.
        descriptor.meta.store(meta.decommitted().word(), Ordering::Relaxed);
        descriptor.base.store(u64::from(geometry.0), Ordering::Relaxed);
        list::push_chain(&CORE, &BARE, id.0, id.0);
        true
    }

    fn recommit(&self, _id: SuperblockId, geometry: Geometry) {
        accounting::mapped(superblock_bytes(geometry) as i64);
    }

    #[inline]
    fn reserve(&self, geometry: Geometry) -> Reserve {
        let demand = in_bounds(&DEMAND, geometry.0 as usize);
        // Relaxed: a bound, not a promise.
        let recent = demand.now.load(Ordering::Relaxed) + demand.before.load(Ordering::Relaxed);
        let least = least_reserve(geometry);
        let high = least.high.max(u32::try_from(recent).unwrap_or(u32::MAX));
        Reserve { high, low: high - (least.high - least.low) }
    }

    fn superblock_event(&self, geometry: Geometry, is_taken: bool) {
        if is_taken {
            // Relaxed: as in `reserve`.
            in_bounds(&DEMAND, geometry.0 as usize).now.fetch_add(1, Ordering::Relaxed);
        }
        decay::event();
    }

    fn set_class(&self, id: SuperblockId, class: Class) {
        if harden::is_kept() {
            harden::begin(id);
        }
        let key = if harden::is_on() { Key::NONE } else { Key::of_class(class) };
        page_map::set_key(Self::base(id), size_class(class).superblock_bytes(), key);
    }

    fn relieve(&self) {
        large::empty_cache();
    }

    fn give_way(&self) {
        os::give_way();
    }

    #[inline(always)]
    fn count(&self, heap: Heap, class: Class, counter: Counter, events: u32) {
        let header = Self::header(heap, class);
        let counter = match counter {
            Counter::Allocations => &header.allocations,
            Counter::Frees => &header.frees,
            Counter::Retries => &header.retries,
            Counter::RanDry => &header.ran_dry,
        };
        // Relaxed: counters publish nothing.
        counter.fetch_add(u64::from(events), Ordering::Relaxed);
    }

    fn refilled(&self, Request { heap, class, bytes }: Request) {
        let header = Self::header(heap, class);
        let slack = u64::from(size_class(class).block_bytes.saturating_sub(bytes));
        // Relaxed, all: counters publish nothing, and pair with the loads in `counts`, which need not see them together.
        header.refills.fetch_add(1, Ordering::Relaxed);
        header.slack_sum.fetch_add(slack, Ordering::Relaxed);
        header.slack_squares.fetch_add(slack * slack, Ordering::Relaxed);
    }

    #[inline]
    fn take_in_hand(&self) -> u32 {
        accounting::take()
    }

    #[inline]
    fn put_in_place(&self, taken: u32) {
        accounting::put(taken);
    }

    #[inline]
    fn record(&self, transition: Transition) {
        RING.record(transition);
    }

    fn now_ticks(&self) -> u64 {
        os::ticks()
    }

    #[cold]
    fn freed_twice(&self, id: SuperblockId, class: Class, block: u32) -> ! {
        crate::global_alloc::freed_twice(Self::block_address(DESCRIPTORS.get(id.0), class, block))
    }

    #[cold]
    fn corrupted(&self, id: SuperblockId, class: Class, block: u32, _link: u32) -> ! {
        harden::overwritten(Self::block_address(DESCRIPTORS.get(id.0), class, block))
    }
}

/// `number` in hexadecimal, without allocating.
pub(crate) fn hex(number: usize, buffer: &mut [u8; 18]) -> &str {
    *buffer = *b"0x0000000000000000";
    for (place, digit) in buffer[2..].iter_mut().rev().enumerate() {
        *digit = b"0123456789abcdef"[number >> (4 * place) & 15];
    }
    // SAFETY: digits, all ASCII. (The function that checks might panic, for all the compiler knows.)
    unsafe { core::str::from_utf8_unchecked(buffer) }
}
