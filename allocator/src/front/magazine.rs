//! Where the magazines lie, how much they hold, and what they count.
//!
//! ```text
//!   base ── processor 0 ── class 0: header, slots │ class 1: header, slots │ …
//!        └─ processor 1 ── …                        (1 << STRIDE_SHIFT bytes further)
//! ```
//!
//! One reservation for all processors that the machine may ever have; pages of it cost memory when they are used first.
//! Zero bytes are empty magazines.
//!
//! # How much a processor holds back
//!
//! [`CLASS_BYTES`] of each class, but at most [`MAX_BLOCKS`] blocks and at least [`MIN_BLOCKS`].

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::depot::MAX_BATCH;
use super::drain::Magazines;
use crate::accounting::{self, InHand, Purpose};
use crate::harden;
use crate::options;
use crate::os::sequence::{BLOCKS, CLOSED, HEADER_BYTES, MAGAZINES, STRIDE_SHIFT};
use crate::os::{self, PAGE_BYTES};
use crate::platform::Class;
use crate::size_class::{CLASS_COUNT, CLASSES, Key, in_bounds};

/// Bytes of blocks that a processor keeps of each class.
const CLASS_BYTES: usize = 64 << 10;
const MAX_BLOCKS: usize = 2 * MAX_BATCH;
const MIN_BLOCKS: usize = 2;

/// A class's magazine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// Bytes from the first magazine of the processor.
    offset: u32,
    /// Blocks it holds at most.
    capacity: u16,
    /// Blocks that are moved at once.
    batch: u16,
}

static ROWS: [Row; CLASS_COUNT] = {
    let mut rows = [Row { offset: 0, capacity: 0, batch: 0 }; CLASS_COUNT];
    let (mut class, mut offset) = (0, 0);
    while class < CLASS_COUNT {
        let fit = CLASS_BYTES / CLASSES[class].block_bytes as usize;
        let fit = if fit > MAX_BLOCKS { MAX_BLOCKS } else { fit };
        let capacity = if fit < MIN_BLOCKS { MIN_BLOCKS } else { fit };
        rows[class] = Row { offset, capacity: capacity as u16, batch: capacity.div_ceil(2) as u16 };
        // A cache line of its own for each header.
        offset += (HEADER_BYTES + 8 * capacity).next_multiple_of(64) as u32;
        class += 1;
    }
    assert!(offset as usize <= 1 << STRIDE_SHIFT && MAX_BLOCKS < CLOSED as usize);
    rows
};

pub(super) const fn row(class: Class) -> &'static Row {
    in_bounds(&ROWS, class.0 as usize)
}

/// Blocks that a magazine of that class holds at most.
pub(crate) const fn capacity(class: Class) -> usize {
    row(class).capacity as usize
}

/// Blocks of that class that are moved at once.
pub(crate) const fn batch_blocks(class: Class) -> usize {
    row(class).batch as usize
}

/// Where those of the first processor begin.
static BASE: AtomicUsize = AtomicUsize::new(0);
static IS_DECIDED: AtomicBool = AtomicBool::new(false);
/// How often that was put off, and how often it is.
static UNDECIDED: AtomicU64 = AtomicU64::new(0);
const PATIENCE: u64 = 1000;

/// Number of processors that have magazines; 0 without a front.
pub(crate) fn processors() -> u32 {
    MAGAZINES.limit()
}

/// Decides, once, whether there are magazines; and reads all options then.
pub(super) fn decide() {
    // Relaxed, here and below: what was decided is in the magazines' limit.
    if IS_DECIDED.load(Ordering::Relaxed) {
        return;
    }
    // The dynamic linker may allocate before there is an environment; a program that has cleared it is not waited for.
    if !os::environment_is_there() && UNDECIDED.fetch_add(1, Ordering::Relaxed) < PATIENCE {
        return;
    }
    // One thread does it, and not within itself: getauxval(3) may be a function of the program's that allocates. Whoever comes
    // meanwhile goes to the core; a child that is forked away meanwhile has no magazines.
    if !IS_DECIDED.swap(true, Ordering::Relaxed) {
        options::read();
        let is_hardened = options::HARDEN.get() == 1;
        harden::decide(is_hardened);
        if !is_hardened {
            begin();
        }
    }
}

fn begin() -> Option<()> {
    if options::MAGAZINES.get() == 0 {
        return None;
    }
    let area = os::sequence_area()?;
    // Whoever dies before the limit is stored leaves a mapping that nobody will find.
    let _in_hand = InHand::take();
    let processors = os::possible_processors();
    let bytes = (processors as usize) << STRIDE_SHIFT;
    let base = accounting::map(bytes, PAGE_BYTES, Purpose::Metadata)?;
    // Relaxed: published by the limit.
    BASE.store(base, Ordering::Relaxed);
    for key in Key::all() {
        let row = row(key.class());
        let capacity = if key == Key::NONE { 0 } else { row.capacity };
        MAGAZINES.set(key, base + row.offset as usize, u32::from(capacity));
    }
    os::register_sequence_fence();
    MAGAZINES.open(area, processors);
    Some(())
}

/// The front of a magazine.
#[repr(C, align(64))]
pub(super) struct Header {
    /// See [`crate::os::sequence`].
    pub(super) word: AtomicU64,
    /// Blocks put in, and taken out, in batches.
    put: AtomicU64,
    taken: AtomicU64,
    /// Blocks that the core gave for it, and got back.
    from_core: AtomicU64,
    to_core: AtomicU64,
    refills: AtomicU64,
    flushes: AtomicU64,
    aborts: AtomicU64,
}

const _: () = assert!(size_of::<Header>() == HEADER_BYTES);

// All orderings of counters are Relaxed: they publish nothing, and pair with the loads in `counts`.
impl Header {
    /// The magazine of a processor below the limit.
    pub(super) fn of(processor: u32, class: Class) -> &'static Self {
        // Relaxed: seen by whoever has seen the limit.
        let base = BASE.load(Ordering::Relaxed) + ((processor as usize) << STRIDE_SHIFT);
        let address = base + row(class).offset as usize;
        // SAFETY: mapped for every processor below the limit, for ever, and zero bytes are valid; the word is changed
        // by plain stores of sequences, which on this architecture are atomic.
        unsafe { &*core::ptr::with_exposed_provenance::<Self>(address) }
    }

    /// The block in a slot below the capacity. `self` is one that [`Header::of`] returned.
    pub(super) fn slot(&self, place: usize) -> usize {
        let slots = core::ptr::from_ref(self).wrapping_add(1).cast::<AtomicU64>();
        // SAFETY: behind the header lie as many slots as its class has capacity.
        let slot = unsafe { &*slots.wrapping_add(place) };
        // Relaxed: the caller has ordered this after the commit of the push.
        slot.load(Ordering::Relaxed) as usize
    }

    pub(super) fn refilled(&self, put: u64, from_core: u64) {
        self.refills.fetch_add(1, Ordering::Relaxed);
        self.put.fetch_add(put, Ordering::Relaxed);
        self.from_core.fetch_add(from_core, Ordering::Relaxed);
    }

    /// So many blocks are about to be taken out.
    pub(super) fn taking(&self, blocks: u64) {
        self.taken.fetch_add(blocks, Ordering::Relaxed);
    }

    /// They were not.
    pub(super) fn not_taken(&self, blocks: u64) {
        self.taken.fetch_sub(blocks, Ordering::Relaxed);
    }

    pub(super) fn flushed(&self) {
        self.flushes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn got(&self, blocks: u64) {
        self.from_core.fetch_add(blocks, Ordering::Relaxed);
    }

    pub(super) fn to_core(&self, blocks: u64) {
        self.to_core.fetch_add(blocks, Ordering::Relaxed);
    }

    pub(super) fn aborted(&self) {
        self.aborts.fetch_add(1, Ordering::Relaxed);
    }
}

/// The magazines of a processor below the limit, by class.
pub(super) struct Of(pub(super) u32);

impl Magazines for Of {
    type Word = AtomicU64;
    const COUNT: usize = CLASS_COUNT;

    fn word(&self, magazine: usize) -> &AtomicU64 {
        &Header::of(self.0, Class(magazine as u16)).word
    }

    fn take(&self, magazine: usize, count: usize) {
        let header = Header::of(self.0, Class(magazine as u16));
        let mut blocks = [0; MAX_BATCH];
        let mut first = 0;
        while first < count {
            let part = &mut blocks[..MAX_BATCH.min(count - first)];
            for (place, block) in (first..).zip(&mut *part) {
                *block = header.slot(place);
            }
            super::to_core(part);
            first += part.len();
        }
        header.to_core(count as u64);
    }

    fn closing(&self, magazine: usize, count: u64) {
        Header::of(self.0, Class(magazine as u16)).taking(count);
    }

    fn kept(&self, magazine: usize, count: u64) {
        Header::of(self.0, Class(magazine as u16)).not_taken(count);
    }

    fn fence(&self) -> bool {
        os::fence_sequences(self.0)
    }

    fn drainer(&self) -> u64 {
        static DRAINERS: AtomicU64 = AtomicU64::new(0);
        // Relaxed: any number will do.
        DRAINERS.fetch_add(1, Ordering::Relaxed)
    }
}

/// What a magazine holds and has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MagazineCounts {
    /// Blocks in it.
    pub(crate) blocks: u64,
    /// Blocks popped ever, modulo 2^48.
    pub(crate) pops: u64,
    /// Blocks pushed ever, modulo 2^48.
    pub(crate) pushes: u64,
    /// Blocks that the core gave for it ever, and got back.
    pub(crate) from_core: u64,
    pub(crate) to_core: u64,
    /// Times it was filled from, and emptied into, the depot or the core.
    pub(crate) refills: u64,
    pub(crate) flushes: u64,
    /// Sequences that were interrupted.
    pub(crate) aborts: u64,
}

/// What the magazine of `processor`, below [`processors`], and `class` has counted.
pub(crate) fn counts(processor: u32, class: Class) -> MagazineCounts {
    let header = Header::of(processor, class);
    // Acquire: in this order, and before whatever the core has counted: see the module above.
    let read = |counter: &AtomicU64| counter.load(Ordering::Acquire);
    let (from_core, to_core, put) =
        (read(&header.from_core), read(&header.to_core), read(&header.put));
    let word = read(&header.word);
    // Closed: they are in the drainer's hand, and counted as taken.
    let blocks = if word & CLOSED != 0 { 0 } else { word & BLOCKS };
    let pops = word >> 16;
    let pushes = blocks.wrapping_add(pops).wrapping_add(read(&header.taken));
    MagazineCounts {
        blocks,
        pops,
        pushes: pushes.wrapping_sub(put),
        from_core,
        to_core,
        refills: read(&header.refills),
        flushes: read(&header.flushes),
        aborts: read(&header.aborts),
    }
}
