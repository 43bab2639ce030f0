//! Models of the front: the shipped procedures of depot and drain over loom's atomics.
//!
//! | model | what is real | what is made up |
//! |---|---|---|
//! | [`Depot`] | `depot::put`, `depot::take`, the stack of empty batches | batches of two places; every block has a cell that its owner writes plainly |
//! | [`Processor`] | `drain::drain` | sequences: their steps, and the kernel that aborts them |
//!
//! The kernel's part is one lock: it is held for a moment when a thread gets the processor, by a fence, and from the
//! look whether a sequence was aborted to its commit, which on the real machine is one instruction.

mod interrupted;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering as Std};

use lfalloc::front::{depot, drain};
use lfalloc::platform::Word;
use loom::cell::UnsafeCell;
use loom::sync::Mutex;
use loom::sync::atomic::Ordering;

pub use self::interrupted::interrupted;
use crate::explore::{Explored, interleaved};
use crate::machine::{Atomics, Loom};

type LoomWord = <Loom as Atomics>::Word;

/// Blocks of a batch of the model.
pub const BATCH: usize = 2;

/// Faults of the depot, by number.
pub const DEPOT_FAULTS: [depot::Fault; 6] = [
    depot::Fault::None,
    depot::Fault::TagKept,
    depot::Fault::PutRelaxed,
    depot::Fault::TakeRelaxed,
    depot::Fault::FreedBeforeRead,
    depot::Fault::BoundBefore,
];

/// A depot of batches of two blocks. `FAULT` is an index into [`DEPOT_FAULTS`].
pub struct Depot<const FAULT: usize> {
    full: LoomWord,
    empty: LoomWord,
    links: Vec<LoomWord>,
    places: Vec<LoomWord>,
    extended: AtomicUsize,
    most: u32,
    /// What the owner of a block writes to: a race is a failure.
    cells: Vec<UnsafeCell<u64>>,
}

// SAFETY: loom's cells check every access; that nobody accesses one without owning its block is what is modelled.
unsafe impl<const FAULT: usize> Sync for Depot<FAULT> {}

impl<const FAULT: usize> depot::Shelf for Depot<FAULT> {
    type Word = LoomWord;
    const FAULT: depot::Fault = DEPOT_FAULTS[FAULT];
    const TAG_BITS: u32 = 8;

    fn full(&self) -> &LoomWord {
        &self.full
    }
    fn empty(&self) -> &LoomWord {
        &self.empty
    }
    fn link(&self, batch: u32) -> &LoomWord {
        &self.links[batch as usize]
    }
    fn place(&self, batch: u32, place: usize) -> &LoomWord {
        &self.places[batch as usize * BATCH + place]
    }
    fn extend(&self) -> Option<u32> {
        let number = self.extended.fetch_add(1, Std::Relaxed);
        (number < self.links.len()).then_some(number as u32)
    }
    fn most(&self) -> u32 {
        self.most
    }
    fn pause(&self) {
        loom::thread::yield_now();
    }
}

impl<const FAULT: usize> Depot<FAULT> {
    /// With room for `most` full batches, of blocks below `blocks`.
    #[must_use]
    pub fn new(most: u32, batches: usize, blocks: usize) -> Self {
        let words = |count| (0..count).map(|_| Loom::word(0)).collect();
        Self {
            full: Loom::word(0),
            empty: Loom::word(0),
            links: words(batches),
            places: words(batches * BATCH),
            extended: AtomicUsize::new(0),
            most,
            cells: (0..blocks).map(|_| UnsafeCell::new(0)).collect(),
        }
    }

    /// Puts two blocks that the caller owns; gives them back if there is no room.
    ///
    /// # Panics
    /// If there are more batches than there is room for.
    pub fn put(&self, blocks: [usize; BATCH]) -> Option<[usize; BATCH]> {
        for block in blocks {
            // SAFETY: the caller owns the block.
            self.cells[block].with_mut(|cell| unsafe { *cell += 1 });
        }
        let is_kept = depot::put(self, &blocks);
        assert!(depot::batches(self) <= self.most, "more than there is room for");
        (!is_kept).then_some(blocks)
    }

    /// Takes two blocks, which the caller owns from then on.
    pub fn take(&self) -> Option<[usize; BATCH]> {
        let mut blocks = [0; BATCH];
        depot::take(self, &mut blocks).then(|| {
            for block in blocks {
                // SAFETY: the block is the caller's now.
                self.cells[block].with_mut(|cell| unsafe { *cell += 1 });
            }
            blocks
        })
    }
}

/// What threads of a depot do, each with two blocks of its own: `true` puts them, or those it took last; `false` takes.
pub type Moves = &'static [&'static [bool]];

/// A race for a depot.
#[derive(Clone, Copy, Debug)]
pub struct DepotRace {
    /// What it is called.
    pub name: &'static str,
    /// Room for so many full batches.
    pub most: u32,
    /// What the threads do.
    pub moves: Moves,
    /// Preemptions at most.
    pub preemptions: usize,
}

const T: bool = false;
const P: bool = true;

/// All of them.
pub const DEPOT_RACES: [DepotRace; 3] = [
    DepotRace { name: "put and take", most: 2, moves: &[&[P, T], &[P, T]], preemptions: 3 },
    DepotRace {
        name: "put and take, room for one",
        most: 1,
        moves: &[&[P, T], &[P, T]],
        preemptions: 3,
    },
    DepotRace {
        name: "put and take, three threads",
        most: 2,
        moves: &[&[P, T, P], &[P, T], &[P, T]],
        preemptions: 2,
    },
];

impl DepotRace {
    /// All interleavings; afterwards every block is there once.
    #[must_use]
    pub fn explore<const FAULT: usize>(&self) -> Explored {
        let Self { most, moves, preemptions, .. } = *self;
        interleaved(preemptions, move || depot::<FAULT>(most, moves))
    }
}

fn depot<const FAULT: usize>(most: u32, moves: Moves) {
    let count = moves.len() * BATCH;
    let depot = Arc::new(Depot::<FAULT>::new(most, moves.len() + 1, count));
    let threads: Vec<_> = moves
        .iter()
        .enumerate()
        .map(|(number, moves)| {
            let depot = Arc::clone(&depot);
            loom::thread::spawn(move || {
                let mut held = vec![[number * BATCH, number * BATCH + 1]];
                for &is_put in *moves {
                    if is_put {
                        let refused = held.pop().and_then(|blocks| depot.put(blocks));
                        held.extend(refused);
                    } else {
                        held.extend(depot.take());
                    }
                }
                held
            })
        })
        .collect();
    let mut all = Vec::new();
    for thread in threads {
        match thread.join() {
            Ok(held) => all.extend(held),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    all.extend(std::iter::from_fn(|| depot.take()));
    let mut all: Vec<_> = all.into_iter().flatten().collect();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..count), "a block is missing, or there twice");
}

/// Faults of the drain, by number.
pub const DRAIN_FAULTS: [drain::Fault; 6] = [
    drain::Fault::None,
    drain::Fault::CopyBeforeClosing,
    drain::Fault::NoFence,
    drain::Fault::FenceBefore,
    drain::Fault::DrainersAlike,
    drain::Fault::NotLookedAtAgain,
];

/// Blocks of the model's magazine at most.
pub const CAPACITY: u64 = 3;
const BLOCKS: u64 = 0xFFFF;

/// A processor with one magazine. `FAULT` is an index into [`DRAIN_FAULTS`].
pub struct Processor<const FAULT: usize> {
    word: LoomWord,
    slots: Vec<LoomWord>,
    /// Counts what aborts sequences: whose number is another one was aborted.
    kernel: Mutex<u64>,
    drainers: AtomicUsize,
    drained: std::sync::Mutex<Vec<u64>>,
}

impl<const FAULT: usize> drain::Magazines for Processor<FAULT> {
    type Word = LoomWord;
    const FAULT: drain::Fault = DRAIN_FAULTS[FAULT];
    const COUNT: usize = 1;

    fn word(&self, _magazine: usize) -> &LoomWord {
        &self.word
    }
    fn take(&self, _magazine: usize, count: usize) {
        let taken = self.slots[..count].iter().map(|slot| slot.load(Ordering::Relaxed));
        let taken: Vec<_> = taken.collect();
        if let Ok(mut drained) = self.drained.lock() {
            drained.extend(taken);
        }
    }
    fn fence(&self) -> bool {
        *self.abort() += 1;
        true
    }
    fn drainer(&self) -> u64 {
        self.drainers.fetch_add(1, Std::Relaxed) as u64
    }
}

impl<const FAULT: usize> Processor<FAULT> {
    /// With blocks 1, 2, … up to `blocks` in its magazine.
    #[must_use]
    pub fn new(blocks: u64) -> Self {
        Self {
            word: Loom::word(blocks),
            slots: (1..=CAPACITY)
                .map(|slot| Loom::word(if slot <= blocks { slot } else { 0 }))
                .collect(),
            kernel: Mutex::new(0),
            drainers: AtomicUsize::new(0),
            drained: std::sync::Mutex::new(Vec::new()),
        }
    }

    fn abort(&self) -> loom::sync::MutexGuard<'_, u64> {
        match self.kernel.lock() {
            Ok(kernel) => kernel,
            Err(poisoned) => poisoned.into_inner(),
        }
    }

    /// This thread gets the processor: whoever was in a sequence there is aborted.
    fn begin(&self) -> u64 {
        let mut kernel = self.abort();
        *kernel += 1;
        *kernel
    }

    /// The last instruction of a sequence, if it was not aborted.
    fn commit(&self, sequence: u64, word: u64) -> bool {
        let kernel = self.abort();
        let is_whole = *kernel == sequence;
        if is_whole {
            // A plain store. As a read-modify-write, since loom lets a compare-and-swap that comes after a store it does
            // not know of find the value before it; stores to one word have one order.
            let mut old = self.word.load(Ordering::Relaxed);
            while let Err(found) =
                self.word.compare_exchange(old, word, Ordering::Relaxed, Ordering::Relaxed)
            {
                old = found;
            }
        }
        is_whole
    }

    /// As `os::sequence::pop`.
    pub fn pop(&self) -> Option<u64> {
        let sequence = self.begin();
        let word = self.word.load(Ordering::Relaxed);
        let top = (word & BLOCKS).wrapping_sub(1);
        if top >= CAPACITY {
            return None;
        }
        let block = self.slots[top as usize].load(Ordering::Relaxed);
        self.commit(sequence, word + BLOCKS).then_some(block)
    }

    /// As `os::sequence::push`; whether it was done.
    pub fn push(&self, block: u64) -> bool {
        let sequence = self.begin();
        let word = self.word.load(Ordering::Relaxed);
        let blocks = word & BLOCKS;
        if blocks >= CAPACITY {
            return false;
        }
        // Not if it was aborted before: the processor is another thread's then.
        {
            let kernel = self.abort();
            if *kernel != sequence {
                return false;
            }
            self.slots[blocks as usize].store(block, Ordering::Relaxed);
        }
        self.commit(sequence, word + 1)
    }
}

/// What a thread does with a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Takes a block.
    Pop,
    /// Gives a block of its own, or the one it took last.
    Push,
    /// Empties the magazine.
    Drain,
}

/// A race for a processor's magazine.
#[derive(Clone, Copy, Debug)]
pub struct DrainRace {
    /// What it is called.
    pub name: &'static str,
    /// Blocks in the magazine.
    pub blocks: u64,
    /// What the threads do.
    pub uses: &'static [&'static [Use]],
    /// Preemptions at most.
    pub preemptions: usize,
}

const POP: Use = Use::Pop;
const PUSH: Use = Use::Push;
const DRAIN: Use = Use::Drain;

const fn race(
    name: &'static str,
    blocks: u64,
    uses: &'static [&'static [Use]],
    preemptions: usize,
) -> DrainRace {
    DrainRace { name, blocks, uses, preemptions }
}

/// All of them.
pub const DRAIN_RACES: [DrainRace; 5] = [
    race("pop against drain", 2, &[&[POP], &[DRAIN]], 4),
    race("push and pop against drain", 2, &[&[PUSH, POP], &[DRAIN]], 3),
    race("pop and push against drain", 2, &[&[POP, PUSH], &[DRAIN]], 3),
    race("push against two drains", 1, &[&[PUSH], &[DRAIN], &[DRAIN]], 3),
    race("two threads against drain", 1, &[&[POP, PUSH], &[PUSH], &[DRAIN]], 2),
];

impl DrainRace {
    /// All interleavings; afterwards every block is somewhere once.
    #[must_use]
    pub fn explore<const FAULT: usize>(&self) -> Explored {
        let Self { blocks, uses, preemptions, .. } = *self;
        interleaved(preemptions, move || drain::<FAULT>(blocks, uses))
    }
}

fn drain<const FAULT: usize>(blocks: u64, uses: &'static [&'static [Use]]) {
    let processor = Arc::new(Processor::<FAULT>::new(blocks));
    let threads: Vec<_> = uses
        .iter()
        .zip(blocks + 1..)
        .map(|(uses, own)| {
            let processor = Arc::clone(&processor);
            loom::thread::spawn(move || {
                let mut held = vec![own];
                for step in *uses {
                    match step {
                        Use::Pop => held.extend(processor.pop()),
                        Use::Push => {
                            if let Some(block) = held.pop()
                                && !processor.push(block)
                            {
                                held.push(block);
                            }
                        }
                        Use::Drain => {
                            drain::drain(&*processor);
                        }
                    }
                }
                held
            })
        })
        .collect();
    let mut all = Vec::new();
    for thread in threads {
        match thread.join() {
            Ok(held) => all.extend(held),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    all.extend(processor.drained.lock().map(|drained| drained.clone()).unwrap_or_default());
    let word = processor.word.load(Ordering::Relaxed);
    assert_eq!(word & 0x8000, 0, "closed, and nobody opens it");
    all.extend(
        processor.slots[..(word & BLOCKS) as usize].iter().map(|slot| slot.load(Ordering::Relaxed)),
    );
    all.sort_unstable();
    assert!(all.iter().copied().eq(1..=blocks + uses.len() as u64), "{all:?}");
}
