//! A machine for the core: arrays of atomics instead of memory.
//!
//! A decommit poisons the links of its superblock until it is used again: reading poison fails the model. A link that
//! no free has written yet, or that the owner of its block has overwritten, as a program would, is out of bounds: an
//! optimistic reader may see it, but only under an anchor that has changed.

use std::cell::Cell;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use lfalloc::anchor::{Anchor, State};
use lfalloc::descriptor::{Backing, Block, Descriptor, Meta};
use lfalloc::partial::PartialLists;
use lfalloc::platform::{
    Class, Geometry, Heap, MappedRun, Mutant, Platform, Reserve, Shape, SuperblockId, Transition,
    Word,
};
use lfalloc::superblock::RetiredLists;

/// What a link of decommitted memory holds: nobody may read it.
const POISON: u64 = u64::MAX;
/// What fresh memory holds, and what the owner of a block writes into it: a link out of every bound.
const GARBAGE: u32 = 0x00FF_FFFF;

/// Most blocks a heap of a model reserves.
pub const MAX_CREDITS: u32 = 3;

/// A kind of atomics, and what belongs to it.
pub trait Atomics: Sized + Send + Sync + UnwindSafe + RefUnwindSafe + 'static {
    /// The atomic word.
    type Word: Word + Send + Sync + 'static;
    /// Bits of the tags. Few also test the reasoning about wrap-around: only few scenarios make eight changes at all.
    const TAG_BITS: u32 = 3;
    /// A word with that value.
    fn word(value: u64) -> Self::Word;
    /// [`Platform::LAST_ROUNDS`]: the more there are, the more interleavings.
    const LAST_ROUNDS: u32 = 1;
    /// Lets another thread run.
    fn yield_now();
    /// Starts a thread; the result waits for its end.
    fn spawn(body: Box<dyn FnOnce() + Send>) -> Box<dyn FnOnce()>;
}

macro_rules! atomics {
    ($(#[$doc:meta])* $name:ident, $($path:tt)*) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name;

        impl Atomics for $name {
            type Word = $crate::machine::words::$name;

            fn word(value: u64) -> Self::Word {
                words::$name($($path)*::sync::atomic::AtomicU64::new(value))
            }

            fn yield_now() {
                $($path)*::thread::yield_now();
            }

            fn spawn(body: Box<dyn FnOnce() + Send>) -> Box<dyn FnOnce()> {
                let thread = $($path)*::thread::spawn(body);
                Box::new(move || {
                    if let Err(panic) = thread.join() {
                        std::panic::resume_unwind(panic);
                    }
                })
            }
        }
    };
}

/// The words of each kind.
mod words {
    use super::Ordering;
    use lfalloc::platform::Word;

    macro_rules! word {
        ($name:ident, $atomic:ty) => {
            #[derive(Debug)]
            pub struct $name(pub(super) $atomic);

            impl Word for $name {
                fn load(&self, order: Ordering) -> u64 {
                    self.0.load(order)
                }
                fn store(&self, value: u64, order: Ordering) {
                    self.0.store(value, order);
                }
                fn compare_exchange(
                    &self,
                    current: u64,
                    new: u64,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<u64, u64> {
                    self.0.compare_exchange(current, new, success, failure)
                }
                fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
                    self.0.fetch_add(value, order)
                }
                fn fetch_sub(&self, value: u64, order: Ordering) -> u64 {
                    self.0.fetch_sub(value, order)
                }
                fn fetch_max(&self, value: u64, order: Ordering) -> u64 {
                    self.0.fetch_max(value, order)
                }
                fn fetch_min(&self, value: u64, order: Ordering) -> u64 {
                    self.0.fetch_min(value, order)
                }
                fn swap(&self, value: u64, order: Ordering) -> u64 {
                    self.0.swap(value, order)
                }
            }
        };
    }

    word!(Loom, loom::sync::atomic::AtomicU64);
    word!(Shuttle, shuttle::sync::atomic::AtomicU64);
    word!(Plain, std::sync::atomic::AtomicU64);
}

atomics!(
    /// loom's atomics: every interleaving and every value the memory model allows.
    Loom, loom
);
atomics!(
    /// shuttle's atomics: sequentially consistent, random schedules.
    Shuttle, shuttle
);
atomics!(
    /// The processor's own atomics.
    Plain, std
);

/// How large a machine is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Blocks of a superblock, by class.
    pub blocks: &'static [u32],
    /// Heaps of each class.
    pub heaps: u16,
    /// Superblocks that the system gives.
    pub superblocks: u32,
    /// How many of them are mapped at once.
    pub run: u32,
    /// EMPTY superblocks that are kept.
    pub reserve: Reserve,
}

thread_local! {
    /// The heap that the operations of this thread use.
    static HEAP: Cell<u16> = const { Cell::new(0) };
    /// Points this thread has passed, for hooks.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Called at every point that an operation passes.
pub type Hook = Box<dyn Fn(&'static str) + Send + Sync>;

/// The machine. `MUTANT` is an index into [`MUTANTS`]; `TAG_BITS` the bits of the anchor's tag.
pub struct Machine<A: Atomics, const MUTANT: usize> {
    size: Size,
    actives: Vec<A::Word>,
    partial: Vec<PartialLists<A::Word>>,
    retired: RetiredLists<A::Word>,
    descriptors: Vec<Descriptor<A::Word>>,
    links: Vec<A::Word>,
    /// The class + 1 of each superblock, as the page map knows it; 0: none.
    keys: Vec<A::Word>,
    mapped: A::Word,
    /// Superblocks that were released; the system's affair, hence no part of the model.
    bare: std::sync::Mutex<Vec<SuperblockId>>,
    /// But whoever gets one of them sees what was done to it: a read-modify-write at each end.
    released: A::Word,
    /// Who owns what, for the oracle: not part of the machine, hence the processor's atomics.
    owned: Vec<AtomicBool>,
    in_hand: AtomicI64,
    hook: Option<Hook>,
}

/// The number of a fault that breaks no block, only the order of events: see [`crate::lives`].
pub const TAG_RESET_ON_REUSE: usize = 2;

/// All faults, by number.
pub const MUTANTS: [Mutant; 20] = [
    Mutant::None,
    Mutant::TagKept,
    Mutant::TagResetOnReuse,
    Mutant::ListTagKept,
    Mutant::RetireUnheld,
    Mutant::PrintedRetireAndRead,
    Mutant::TouchAfterEmpty,
    Mutant::CreditsLost,
    Mutant::CountOffByOne,
    Mutant::LinkRelaxed,
    Mutant::PublishRelaxed,
    Mutant::EmptyWhileReserved,
    Mutant::PushBeforePartial,
    Mutant::StrandCompleted,
    Mutant::SweepRetiresAll,
    Mutant::LoserForgets,
    Mutant::MarkAfterFree,
    Mutant::PurgeLosesOne,
    Mutant::BatchTagKept,
    Mutant::ClassAfterInstall,
];

impl<A: Atomics, const MUTANT: usize> std::fmt::Debug for Machine<A, MUTANT> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").field("size", &self.size).finish_non_exhaustive()
    }
}

impl<A: Atomics, const MUTANT: usize> Machine<A, MUTANT> {
    /// A machine of that size, whose points call `hook`.
    ///
    /// # Panics
    /// If the size is not one that the core supports.
    #[must_use]
    pub fn new(size: Size, hook: Option<Hook>) -> Self {
        assert!(size.blocks.iter().all(|blocks| *blocks >= 2));
        let words = |count: u32, value| (0..count).map(|_| A::word(value)).collect::<Vec<_>>();
        let zero = || A::word(0);
        let classes = size.blocks.len() as u32;
        let most = size.blocks.iter().max().copied().unwrap_or(2);
        let empty = Anchor::new(0, 0, State::Empty, 0).word();
        Self {
            size,
            actives: words(classes * u32::from(size.heaps), 0),
            partial: (0..classes)
                .map(|_| PartialLists { lists: [zero(), zero()], drained: zero() })
                .collect(),
            retired: RetiredLists { warm: zero(), warm_count: zero(), cold: zero() },
            descriptors: (0..size.superblocks)
                .map(|_| Descriptor {
                    anchor: A::word(empty),
                    next: zero(),
                    meta: zero(),
                    written: zero(),
                    since: zero(),
                    base: zero(),
                })
                .collect(),
            links: words(size.superblocks * most, u64::from(GARBAGE)),
            keys: words(size.superblocks, 0),
            mapped: zero(),
            bare: std::sync::Mutex::default(),
            released: zero(),
            owned: (0..size.superblocks * most).map(|_| AtomicBool::new(false)).collect(),
            in_hand: AtomicI64::new(0),
            hook,
        }
    }

    /// Its size.
    #[must_use]
    pub fn size(&self) -> Size {
        self.size
    }

    /// A run of new superblocks, all but the first linked.
    fn link_run(&self, first: u32, count: u32) -> MappedRun {
        let last = first + count - 1;
        for id in first + 1..last {
            // The link to id + 1 is id + 2.
            let next = &self.descriptors[id as usize].next;
            next.store(u64::from(id) + 2, Ordering::Relaxed);
        }
        let rest = (count > 1).then_some((SuperblockId(first + 1), SuperblockId(last)));
        MappedRun { first: SuperblockId(first), rest }
    }

    fn place(&self, id: SuperblockId, block: u32) -> usize {
        (id.0 * self.size.blocks.iter().max().copied().unwrap_or(0) + block) as usize
    }

    /// The oracle: this thread owns the block now, and nobody did. Overwrites its link, as a program may.
    ///
    /// # Panics
    /// If somebody owns it: a double hand-out.
    pub fn own(&self, class: Class, block: Block) {
        assert!(block.index < self.shape(class).blocks, "{block:?} of {class:?} does not exist");
        let owned = &self.owned[self.place(block.superblock, block.index)];
        assert!(!owned.swap(true, Ordering::Relaxed), "{block:?} was handed out twice");
        let key = self.keys[block.superblock.0 as usize].load(Ordering::Relaxed);
        assert_eq!(
            key,
            u64::from(class.0) + 1,
            "the page map does not know the class of {block:?}"
        );
        let descriptor = self.descriptor(block.superblock);
        self.set_link(block.superblock, descriptor, class, block.index, GARBAGE);
    }

    /// The oracle: this thread gives the block up.
    ///
    /// # Panics
    /// If nobody owned it.
    pub fn disown(&self, block: Block) {
        let owned = &self.owned[self.place(block.superblock, block.index)];
        assert!(owned.swap(false, Ordering::Relaxed), "{block:?} was freed by nobody's owner");
    }

    /// Blocks that somebody owns.
    #[must_use]
    pub fn owned_blocks(&self) -> usize {
        self.owned.iter().filter(|owned| owned.load(Ordering::Relaxed)).count()
    }

    /// Those of a superblock.
    #[must_use]
    pub fn owned_of(&self, superblock: u32) -> Vec<(Class, Block)> {
        let superblock = SuperblockId(superblock);
        let class = self.meta(superblock).class();
        (0..self.shape(class).blocks)
            .filter(|index| self.owned[self.place(superblock, *index)].load(Ordering::Relaxed))
            .map(|index| (class, Block { superblock, index, fresh: false }))
            .collect()
    }

    /// Whether a superblock was ever used.
    #[must_use]
    pub fn was_used(&self, superblock: u32) -> bool {
        self.meta(SuperblockId(superblock)).backing() != Backing::Unused
    }

    fn meta(&self, superblock: SuperblockId) -> Meta {
        let meta = &self.descriptors[superblock.0 as usize].meta;
        Meta::from_word(meta.load(Ordering::Relaxed))
    }

    /// Superblocks in the hands of threads.
    #[must_use]
    pub fn held(&self) -> i64 {
        self.in_hand.load(Ordering::Relaxed)
    }
}

/// The operations of this thread use that heap from now on.
pub fn use_heap(heap: u16) {
    HEAP.set(heap);
}

/// Runs `body` without hooks being called.
pub fn unhooked<R>(body: impl FnOnce() -> R) -> R {
    DEPTH.set(DEPTH.get() + 1);
    let result = body();
    DEPTH.set(DEPTH.get() - 1);
    result
}

/// Calls a hook, unless within one, or [`unhooked`].
pub fn hooked(hook: &Hook, name: &'static str) {
    if DEPTH.get() == 0 {
        unhooked(|| hook(name));
    }
}

impl<A: Atomics, const MUTANT: usize> Platform for Machine<A, MUTANT> {
    type Word = A::Word;

    const MUTANT: Mutant = MUTANTS[MUTANT];
    const ANCHOR_TAG_BITS: u32 = A::TAG_BITS;
    const LIST_TAG_BITS: u32 = A::TAG_BITS;
    const MAX_CREDITS: u32 = MAX_CREDITS;
    const LAST_ROUNDS: u32 = A::LAST_ROUNDS;

    fn shape(&self, class: Class) -> Shape {
        Shape { blocks: self.size.blocks[class.0 as usize], geometry: Geometry(0) }
    }
    fn classes(&self) -> u16 {
        self.size.blocks.len() as u16
    }
    fn heaps(&self) -> u16 {
        self.size.heaps
    }
    fn current_heap(&self) -> Heap {
        Heap(HEAP.get())
    }
    fn active(&self, heap: Heap, class: Class) -> &A::Word {
        &self.actives[(heap.0 * self.classes() + class.0) as usize]
    }
    fn partial(&self, class: Class) -> &PartialLists<A::Word> {
        &self.partial[class.0 as usize]
    }
    fn retired(&self, _geometry: Geometry) -> &RetiredLists<A::Word> {
        &self.retired
    }
    fn descriptor(&self, id: SuperblockId) -> &Descriptor<A::Word> {
        &self.descriptors[id.0 as usize]
    }

    fn link(
        &self,
        id: SuperblockId,
        _descriptor: &Descriptor<A::Word>,
        _class: Class,
        block: u32,
    ) -> u32 {
        let link = self.links[self.place(id, block)].load(Ordering::Relaxed);
        assert_ne!(link, POISON, "read of memory that was given back");
        link as u32
    }
    fn set_link(
        &self,
        id: SuperblockId,
        _descriptor: &Descriptor<A::Word>,
        _class: Class,
        block: u32,
        next: u32,
    ) {
        self.links[self.place(id, block)].store(u64::from(next), Ordering::Relaxed);
    }

    fn map(&self, geometry: Geometry) -> Option<MappedRun> {
        // Its own statement: the lock is not part of the model and may not be held over a step of it.
        let bare = self.bare.lock().ok()?.pop();
        if let Some(id) = bare {
            self.released.fetch_add(1, Ordering::AcqRel);
            self.recommit(id, geometry);
            return Some(MappedRun { first: id, rest: None });
        }
        let mut first = self.mapped.load(Ordering::Relaxed) as u32;
        loop {
            let count = self.size.run.min(self.size.superblocks - first);
            if count == 0 {
                return None;
            }
            match self.mapped.compare_exchange(
                u64::from(first),
                u64::from(first + count),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(self.link_run(first, count)),
                Err(found) => first = found as u32,
            }
        }
    }
    fn set_class(&self, id: SuperblockId, class: Class) {
        self.keys[id.0 as usize].store(u64::from(class.0) + 1, Ordering::Relaxed);
    }
    fn release(&self, id: SuperblockId, geometry: Geometry) -> bool {
        self.keys[id.0 as usize].store(0, Ordering::Relaxed);
        self.decommit(id, geometry);
        let descriptor = self.descriptor(id);
        let meta = Meta::from_word(descriptor.meta.load(Ordering::Relaxed));
        descriptor.meta.store(meta.decommitted().word(), Ordering::Relaxed);
        self.released.fetch_add(1, Ordering::AcqRel);
        if let Ok(mut bare) = self.bare.lock() {
            bare.push(id);
        }
        true
    }
    fn decommit(&self, id: SuperblockId, _geometry: Geometry) -> bool {
        let most = self.size.blocks.iter().max().copied().unwrap_or(0);
        for block in 0..most {
            assert!(
                !self.owned[self.place(id, block)].load(Ordering::Relaxed),
                "a live block was given back"
            );
            self.links[self.place(id, block)].store(POISON, Ordering::Relaxed);
        }
        true
    }
    fn recommit(&self, id: SuperblockId, _geometry: Geometry) {
        let most = self.size.blocks.iter().max().copied().unwrap_or(0);
        for block in 0..most {
            self.links[self.place(id, block)].store(u64::from(GARBAGE), Ordering::Relaxed);
        }
    }
    fn reserve(&self, _geometry: Geometry) -> Reserve {
        self.size.reserve
    }

    fn point(&self, name: &'static str) {
        if let Some(hook) = &self.hook {
            hooked(hook, name);
        }
    }
    /// A state that a superblock has come to is a name like a point's.
    fn record(&self, transition: Transition) {
        self.point(match transition.to {
            State::Active => "ACTIVE",
            State::Full => "FULL",
            State::Partial => "PARTIAL",
            State::Empty => "EMPTY",
        });
    }
    fn pause(&self) {
        A::yield_now();
    }
    fn take_in_hand(&self) -> u32 {
        self.in_hand.fetch_add(1, Ordering::Relaxed);
        0
    }

    fn put_in_place(&self, _taken: u32) {
        self.in_hand.fetch_sub(1, Ordering::Relaxed);
    }
    fn corrupted(&self, id: SuperblockId, _class: Class, block: u32, link: u32) -> ! {
        panic!(
            "link {link:#x} of block {block} of {id:?} is out of bounds under an unchanged anchor"
        )
    }
}
