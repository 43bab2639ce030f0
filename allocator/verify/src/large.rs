//! Models of large blocks: the shipped procedures of `large::stock` and the cache, over model atomics and a made-up system.
//!
//! The system has a few granules of addresses. It gives the lowest ones, so that what was given back is somebody else's at
//! once; one read-modify-write for each call that maps or unmaps stands for the kernel's lock. Every granule has a cell that its
//! owner writes to: what it reads later must be what it wrote, and what is said to be zero must be. Unmapping or decommitting a
//! block that is owned, or memory that is not ours, fails the model, as does an entry of the page map for addresses that are
//! somebody else's.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lfalloc::large::stock::{self, Fault, LargeDescriptor, Stock, Stocks};
use lfalloc::page_map::Entry;
use lfalloc::platform::Word;

use crate::machine::{Atomics, Hook, unhooked};

/// Bytes of a granule: as in the allocator.
const GRANULE: usize = 64 << 10;
/// Stacks of the cache: up to three granules.
const SIZES: usize = 13;
/// What a program asks for: not all of its granules, so that blocks have colours.
const SPARE: usize = 8 << 10;

/// All faults, by number.
pub const FAULTS: [Fault; 13] = [
    Fault::None,
    Fault::TagKept,
    Fault::ForeignAfterUnmap,
    Fault::FreedAfterPut,
    Fault::EvictUnpopped,
    Fault::UnusedBeforeUnmap,
    Fault::StaysCached,
    Fault::RecommitForgotten,
    Fault::ZeroedWarm,
    Fault::WasteKept,
    Fault::ParkedForgotten,
    Fault::LiveBeforePlaced,
    Fault::StateRelaxed,
];

/// One thing a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Allocates a block of so many granules.
    Allocate(usize),
    /// The same, of zero bytes.
    Zeroed(usize),
    /// Frees the block held longest, if any.
    Free,
    /// Another part of the program maps a granule for itself,
    Foreign,
    /// and unmaps it.
    ForeignEnds,
    /// Looks at all descriptors.
    View,
    /// Ends an interval.
    Interval,
    /// Gives back what is kept.
    Empty,
    /// In the set-up only: so many granules are kept warm and cold, beside as many as are in use.
    Keep(u64, u64),
    /// In the set-up only: so many unmaps fail.
    Refuse(usize),
    /// In the set-up only: gives the block held longest to a thread.
    Give(usize),
}

/// What is at a granule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Granule {
    Free,
    Ours { has_pages: bool },
    Others,
}

/// A block that somebody owns.
#[derive(Clone, Copy, Debug)]
struct Owned {
    /// Of its mapping, and what a mapping for it alone would have.
    bytes: usize,
    asked: usize,
    mark: u64,
}

/// Large blocks over model atomics. `FAULT` is an index into [`FAULTS`].
pub struct Memory<A: Atomics, const FAULT: usize> {
    stocks: Stocks<A::Word, SIZES>,
    descriptors: Vec<LargeDescriptor<A::Word>>,
    entries: Vec<A::Word>,
    cells: Vec<A::Word>,
    kernel: A::Word,
    /// What follows is the oracle's, hence no model atomics.
    granules: Mutex<Vec<Granule>>,
    owned: Mutex<BTreeMap<usize, Owned>>,
    extended: AtomicUsize,
    refusals: AtomicUsize,
    keep: [AtomicU64; 2],
    marks: AtomicU64,
    mapped: AtomicI64,
    in_hand: AtomicI64,
    hook: Option<Hook>,
}

impl<A: Atomics, const FAULT: usize> std::fmt::Debug for Memory<A, FAULT> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").field("granules", &self.granules).finish_non_exhaustive()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An entry as the model's map keeps it.
const FOREIGN: u64 = 0;
const FREED: u64 = 1;
const LARGE: u64 = 2;

impl<A: Atomics, const FAULT: usize> Memory<A, FAULT> {
    /// With that many granules of addresses, and as many descriptors.
    #[must_use]
    pub fn new(granules: usize, hook: Option<Hook>) -> Self {
        let word = || A::word(0);
        let words = || (0..granules).map(|_| word()).collect::<Vec<_>>();
        Self {
            stocks: Stocks::empty(word),
            descriptors: (0..granules).map(|_| LargeDescriptor::unused(word)).collect(),
            entries: words(),
            cells: words(),
            kernel: word(),
            granules: Mutex::new(vec![Granule::Free; granules]),
            owned: Mutex::default(),
            extended: AtomicUsize::new(0),
            refusals: AtomicUsize::new(0),
            keep: [u64::MAX, u64::MAX].map(AtomicU64::new),
            marks: AtomicU64::new(1),
            mapped: AtomicI64::new(0),
            in_hand: AtomicI64::new(0),
            hook,
        }
    }

    fn note(&self, name: &'static str) {
        if let Some(hook) = &self.hook {
            crate::machine::hooked(hook, name);
        }
    }

    /// The kernel's lock, held for a moment.
    fn enter_kernel(&self) {
        self.kernel.fetch_add(1, Ordering::AcqRel);
    }

    /// Addresses begin at the first granule.
    fn address(granule: usize) -> usize {
        (granule + 1) * GRANULE
    }

    fn range(address: usize, bytes: usize) -> std::ops::Range<usize> {
        let first = address / GRANULE - 1;
        first..first + bytes.div_ceil(GRANULE)
    }

    fn entry(&self, granule: usize) -> u64 {
        self.entries[granule].load(Ordering::Relaxed)
    }

    /// The lowest free granules, which are `what` from now on.
    fn take_addresses(&self, count: usize, what: Granule) -> Option<usize> {
        self.enter_kernel();
        let first = {
            let mut granules = locked(&self.granules);
            let is_free = |window: &[Granule]| window.iter().all(|one| *one == Granule::Free);
            let first = granules.windows(count).position(is_free)?;
            granules[first..first + count].fill(what);
            first
        };
        for granule in first..first + count {
            assert_eq!(self.entry(granule), FOREIGN, "mapped anew, and in the page map already");
            self.cells[granule].store(0, Ordering::Relaxed);
        }
        Some(first)
    }

    /// Granules of ours, none of which anybody owns.
    fn check_ours(&self, address: usize, bytes: usize, what: &str) -> std::ops::Range<usize> {
        let range = Self::range(address, bytes);
        for (start, owned) in &*locked(&self.owned) {
            let theirs = Self::range(*start, owned.bytes);
            let is_apart = theirs.end <= range.start || range.end <= theirs.start;
            assert!(is_apart, "a live block was {what}");
        }
        let granules = locked(&self.granules);
        let are_ours =
            granules[range.clone()].iter().all(|one| matches!(one, Granule::Ours { .. }));
        assert!(are_ours, "what is not ours was {what}");
        range
    }

    /// The oracle: this thread owns the block now, and nobody did.
    fn own(&self, address: usize, size: usize, is_zero: bool) {
        let range = Self::range(address & !(GRANULE - 1), size);
        let LARGE.. = self.entry(range.start) else { panic!("handed out without an entry") };
        let id = (self.entry(range.start) - LARGE) as usize;
        let bytes = self.descriptors[id].bytes();
        let range = self.check_ours(address & !(GRANULE - 1), bytes, "handed out twice");
        let mark = self.marks.fetch_add(1, Ordering::Relaxed);
        {
            let mut granules = locked(&self.granules);
            granules[range.clone()].fill(Granule::Ours { has_pages: true });
        }
        for granule in range {
            let before = self.cells[granule].load(Ordering::Relaxed);
            assert!(!is_zero || before == 0, "said to be zero, and is not");
            self.cells[granule].store(mark, Ordering::Relaxed);
        }
        let asked = size.next_multiple_of(GRANULE);
        let before = locked(&self.owned).insert(address, Owned { bytes, asked, mark });
        assert!(before.is_none(), "a block was handed out twice");
    }

    /// Frees a block by its address, as programs do.
    ///
    /// # Panics
    /// If the page map does not know it, or it does not hold what its owner wrote.
    pub fn free(&self, address: usize) {
        let owned = locked(&self.owned).remove(&address);
        let Some(Owned { bytes, mark, .. }) = owned else { panic!("freed by nobody's owner") };
        let range = Self::range(address & !(GRANULE - 1), bytes);
        let LARGE.. = self.entry(range.start) else {
            panic!("the page map does not know a block that is freed")
        };
        let id = (self.entry(range.start) - LARGE) as u32;
        assert!(self.descriptor(id).begins_at(address), "the page map knows another block there");
        for granule in range {
            let found = self.cells[granule].load(Ordering::Relaxed);
            assert_eq!(found, mark, "a block was written to by somebody else");
        }
        stock::free(self, id);
    }

    /// Blocks that somebody owns.
    #[must_use]
    pub fn owned_blocks(&self) -> Vec<usize> {
        locked(&self.owned).keys().copied().collect()
    }

    /// Granules of ours.
    #[must_use]
    pub fn our_granules(&self) -> usize {
        let is_ours = |one: &&Granule| matches!(one, Granule::Ours { .. });
        locked(&self.granules).iter().filter(is_ours).count()
    }

    /// Things in the hands of threads.
    #[must_use]
    pub fn held(&self) -> i64 {
        self.in_hand.load(Ordering::Relaxed)
    }

    fn view(&self) {
        for id in 0..self.extended.load(Ordering::Relaxed).min(self.descriptors.len()) {
            if let Some(seen) = stock::view(self, id as u32) {
                let is_block = seen.address > 0 && seen.bytes > 0;
                assert!(is_block, "a view sees a block that is nowhere: {seen:?}");
            }
        }
    }

    /// At rest: what is counted is what there is.
    ///
    /// # Panics
    /// If it is not.
    pub fn check_figures(&self) {
        assert_eq!(self.held(), 0, "something is in hand at rest");
        let owned = locked(&self.owned);
        let live: usize = owned.values().map(|owned| owned.bytes).sum();
        let wasted: usize = owned.values().map(|owned| owned.bytes - owned.asked).sum();
        assert_eq!(self.stocks.bytes(), (live as u64, wasted as u64), "bytes in use, and wasted");
        drop(owned);
        let granules = locked(&self.granules);
        let with_pages = granules.iter().filter(|one| **one == Granule::Ours { has_pages: true });
        let bytes = with_pages.count() * GRANULE;
        assert_eq!(self.mapped.load(Ordering::Relaxed), bytes as i64, "bytes mapped");
    }

    /// The judgement: figures are right; everything that is held is freed and given back; all addresses can be had and
    /// given back once more.
    ///
    /// # Panics
    /// If not.
    pub fn judge(&self, mut actors: Vec<Actor<A, FAULT>>) {
        self.check_figures();
        for actor in &mut actors {
            actor.foreign_ends();
        }
        self.refusals.store(0, Ordering::Relaxed);
        let all = self.entries.len();
        for _ in 0..2 {
            for address in self.owned_blocks() {
                self.free(address);
            }
            stock::empty_cache(self);
            self.check_figures();
            assert_eq!(self.our_granules(), 0, "granules never went back");
            let are_foreign = (0..all).all(|granule| self.entry(granule) == FOREIGN);
            assert!(are_foreign, "the page map knows what went back");
            while let Some(block) = stock::allocate(self, GRANULE - SPARE, 1, false) {
                self.own(block.address, GRANULE - SPARE, block.zeroed);
            }
            let out = self.owned_blocks().len();
            assert_eq!(out, all, "{} of {all} descriptors or granules never came out", all - out);
        }
    }
}

impl<A: Atomics, const FAULT: usize> Stock<SIZES> for Memory<A, FAULT> {
    type Word = A::Word;
    const FAULT: Fault = FAULTS[FAULT];
    const TAG_BITS: u32 = 3;
    const DECOMMIT_BYTES: usize = GRANULE;

    fn stocks(&self) -> &Stocks<A::Word, SIZES> {
        &self.stocks
    }
    fn descriptor(&self, id: u32) -> &LargeDescriptor<A::Word> {
        &self.descriptors[id as usize]
    }
    fn extend(&self) -> Option<u32> {
        let id = self.extended.fetch_add(1, Ordering::Relaxed);
        (id < self.descriptors.len()).then_some(id as u32)
    }
    fn keep_warm(&self) -> u64 {
        self.keep[0].load(Ordering::Relaxed)
    }
    fn keep_cold(&self) -> u64 {
        self.keep[1].load(Ordering::Relaxed)
    }

    fn map(&self, bytes: usize, _align: usize) -> Option<usize> {
        self.note("map");
        let first = self.take_addresses(bytes / GRANULE, Granule::Ours { has_pages: true })?;
        self.mapped(bytes as i64);
        Some(Self::address(first))
    }
    unsafe fn unmap(&self, address: usize, bytes: usize) -> bool {
        self.enter_kernel();
        let refused = |left: usize| left.checked_sub(1);
        if self.refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, refused).is_ok() {
            self.note("refused");
            return false;
        }
        self.note("unmap");
        let range = self.check_ours(address, bytes, "unmapped");
        locked(&self.granules)[range].fill(Granule::Free);
        true
    }
    unsafe fn decommit(&self, address: usize, bytes: usize) -> bool {
        self.note("decommit");
        let range = self.check_ours(address, bytes, "decommitted");
        for granule in range.clone() {
            self.cells[granule].store(0, Ordering::Relaxed);
        }
        locked(&self.granules)[range].fill(Granule::Ours { has_pages: false });
        true
    }
    fn mapped(&self, change_bytes: i64) {
        self.mapped.fetch_add(change_bytes, Ordering::Relaxed);
    }

    fn prepare(&self, _address: usize) -> Option<()> {
        Some(())
    }
    fn enter(&self, base: usize, entry: Entry) {
        let word = match entry {
            Entry::Foreign => FOREIGN,
            Entry::FreedLarge => FREED,
            Entry::Large(id) => LARGE + u64::from(id),
            Entry::Superblock(_) => panic!("no large block"),
        };
        self.entries[base / GRANULE - 1].store(word, Ordering::Relaxed);
    }

    fn freed_twice(&self, address: usize) -> ! {
        panic!("the block at {address:#x} was freed twice");
    }
    fn now_ticks(&self) -> u64 {
        0
    }
    fn take_in_hand(&self) -> u32 {
        self.in_hand.fetch_add(1, Ordering::Relaxed);
        0
    }
    fn put_in_place(&self, _taken: u32) {
        self.in_hand.fetch_sub(1, Ordering::Relaxed);
    }
    fn pause(&self) {
        A::yield_now();
    }
}

/// A thread of a model, and what it holds.
#[derive(Debug)]
pub struct Actor<A: Atomics, const FAULT: usize> {
    memory: Arc<Memory<A, FAULT>>,
    held: Vec<usize>,
    foreign: Vec<usize>,
}

impl<A: Atomics, const FAULT: usize> Actor<A, FAULT> {
    /// One that holds nothing.
    #[must_use]
    pub fn new(memory: &Arc<Memory<A, FAULT>>) -> Self {
        Self { memory: Arc::clone(memory), held: Vec::new(), foreign: Vec::new() }
    }

    fn allocate(&mut self, granules: usize, zeroed: bool) {
        let size = granules * GRANULE - SPARE;
        if let Some(block) = stock::allocate(&*self.memory, size, 1, zeroed) {
            self.memory.own(block.address, size, block.zeroed);
            self.held.push(block.address);
        }
    }

    fn foreign_ends(&mut self) {
        for granule in self.foreign.drain(..) {
            let entry = self.memory.entry(granule);
            assert_eq!(entry, FOREIGN, "the page map knows somebody else's memory");
            self.memory.enter_kernel();
            locked(&self.memory.granules)[granule] = Granule::Free;
        }
    }

    /// Does one step.
    ///
    /// # Panics
    /// If the oracle finds a fault.
    pub fn step(&mut self, step: Step) {
        let memory = Arc::clone(&self.memory);
        match step {
            Step::Allocate(granules) => self.allocate(granules, false),
            Step::Zeroed(granules) => self.allocate(granules, true),
            Step::Free => {
                if !self.held.is_empty() {
                    memory.free(self.held.remove(0));
                }
            }
            Step::Foreign => {
                self.foreign.extend(memory.take_addresses(1, Granule::Others));
            }
            Step::ForeignEnds => self.foreign_ends(),
            Step::View => memory.view(),
            Step::Interval => stock::end_interval(&*memory),
            Step::Empty => stock::empty_cache(&*memory),
            Step::Keep(warm, cold) => {
                for (keep, granules) in memory.keep.iter().zip([warm, cold]) {
                    keep.store(granules * GRANULE as u64, Ordering::Relaxed);
                }
            }
            Step::Refuse(count) => memory.refusals.store(count, Ordering::Relaxed),
            Step::Give(_) => {}
        }
    }
}

/// A race.
#[derive(Clone, Copy, Debug)]
pub struct Race {
    /// What it is called.
    pub name: &'static str,
    /// Granules of addresses.
    pub granules: usize,
    /// Done before the threads start.
    pub setup: &'static [Step],
    /// What each thread does.
    pub threads: &'static [&'static [Step]],
    /// Preemptions at most.
    pub preemptions: usize,
}

impl Race {
    /// The memory after the set-up, and the threads.
    #[must_use]
    pub fn prepare<A: Atomics, const FAULT: usize>(
        &self,
        hook: Option<Hook>,
    ) -> (Arc<Memory<A, FAULT>>, Vec<Actor<A, FAULT>>) {
        let memory = Arc::new(Memory::new(self.granules, hook));
        let mut actors: Vec<_> = self.threads.iter().map(|_| Actor::new(&memory)).collect();
        unhooked(|| {
            let mut main = Actor::new(&memory);
            for step in self.setup {
                if let Step::Give(thread) = step {
                    let block = main.held.remove(0);
                    actors[*thread].held.push(block);
                } else {
                    main.step(*step);
                }
            }
            // What was not dealt stays with the first thread.
            actors[0].held.append(&mut main.held);
        });
        (memory, actors)
    }

    /// One execution.
    pub fn run<A: Atomics, const FAULT: usize>(&self) {
        let (memory, actors) = self.prepare::<A, FAULT>(None);
        let ended = Arc::new(Mutex::new(Vec::new()));
        let threads: Vec<_> = std::iter::zip(actors, self.threads)
            .map(|(mut actor, steps)| {
                let ended = Arc::clone(&ended);
                A::spawn(Box::new(move || {
                    for step in *steps {
                        actor.step(*step);
                    }
                    locked(&ended).push(actor);
                }))
            })
            .collect();
        for join in threads {
            join();
        }
        let actors = std::mem::take(&mut *locked(&ended));
        memory.judge(actors);
    }
}

use Step::{
    Allocate, Empty, Foreign, ForeignEnds, Free, Give, Interval, Keep, Refuse, View, Zeroed,
};

const A1: Step = Allocate(1);
const A2: Step = Allocate(2);

/// Two blocks are kept; one is taken while both are, and the first comes back.
pub const CACHE_ABA: Race = Race {
    name: "a block comes back to the cache",
    granules: 2,
    setup: &[A1, A1, Free, Free],
    threads: &[&[A1], &[A1, A1, Free]],
    preemptions: 2,
};

/// A block goes back to the system while the rest of the program maps memory of its own.
pub const SOMEBODY_ELSES: Race = Race {
    name: "given back, and somebody else's at once",
    granules: 2,
    setup: &[Keep(0, 0), A1, A1],
    threads: &[&[Free, A1], &[Foreign, ForeignEnds, Foreign]],
    preemptions: 2,
};

/// A block is freed and handed out anew, and freed by its new owner.
pub const FREED_AND_HANDED_OUT: Race = Race {
    name: "freed, and handed out at once",
    granules: 2,
    setup: &[A1],
    threads: &[&[Free], &[A1, Free]],
    preemptions: 2,
};

/// Freed blocks evict each other, to the cold ones and to the system, while others take them.
pub const EVICTIONS: Race = Race {
    name: "evicted while it is taken",
    granules: 3,
    setup: &[Keep(0, 1), A1, A1, Free],
    threads: &[&[Free], &[A1]],
    preemptions: 1,
};

/// A descriptor becomes unused while another block needs one.
pub const DESCRIPTOR_REUSE: Race = Race {
    name: "a descriptor is used again",
    granules: 3,
    setup: &[Keep(0, 0), A1],
    threads: &[&[Free], &[A1]],
    preemptions: 2,
};

/// A block goes the whole way, in one thread: warm, handed out as zeroed, cold, and back, once into less than it has.
pub const WAY_THROUGH: Race = Race {
    name: "warm, cold, and back",
    granules: 4,
    setup: &[Keep(4, 4)],
    threads: &[&[
        A2,
        A1,
        Free,
        Free,
        Zeroed(1),
        Free,
        A1,
        Free,
        Interval,
        Interval,
        Interval,
        A1,
        A1,
    ]],
    preemptions: 1,
};

/// What was not needed is taken while an interval's end gives it back.
pub const UNNEEDED: Race = Race {
    name: "taken while it is given back",
    granules: 1,
    setup: &[A1, Free, Interval],
    threads: &[&[Interval], &[A1]],
    preemptions: 1,
};

/// At the limit of mappings blocks are parked, used again, and unmapped later.
pub const PARKED: Race = Race {
    name: "what cannot be unmapped",
    granules: 2,
    setup: &[Keep(0, 0), A1, Refuse(1)],
    threads: &[&[Free], &[A1, Empty]],
    preemptions: 1,
};

/// A view looks on while blocks are handed out and freed.
pub const VIEWED: Race = Race {
    name: "looked at while it is handed out",
    granules: 2,
    setup: &[Keep(0, 1)],
    threads: &[&[A1, Free], &[View, View]],
    preemptions: 2,
};

/// Threads that do everything at once, for long random runs.
pub const CROWD: Race = Race {
    name: "a crowd of large blocks",
    granules: 6,
    setup: &[Keep(1, 1), A1, A2, A1, Give(0), Give(1), Give(2), Refuse(2)],
    threads: &[
        &[Free, A1, A2, Free, Interval, Free],
        &[A1, Free, Zeroed(1), Free, Foreign, ForeignEnds, Free],
        &[Free, A2, View, Free, Empty, A1],
        &[Foreign, A1, Interval, Free, ForeignEnds, Zeroed(2)],
    ],
    preemptions: 0,
};

/// Those that loom explores.
pub const RACES: &[Race] = &[
    CACHE_ABA,
    SOMEBODY_ELSES,
    FREED_AND_HANDED_OUT,
    EVICTIONS,
    DESCRIPTOR_REUSE,
    WAY_THROUGH,
    UNNEEDED,
    PARKED,
    VIEWED,
];
