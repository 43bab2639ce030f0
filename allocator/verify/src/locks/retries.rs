//! How often one operation must try again: the shipped procedures over the processor's atomics, in as many threads as are asked for, on one heap
//! and one class, with every failed compare-and-swap counted.
//!
//! It is the core alone, without what comes before it: magazines take most operations, and there is no loop in them.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;

use lfalloc::Core;
use lfalloc::descriptor::Block;
use lfalloc::platform::{Class, Heap, Request, Reserve, SuperblockId, Word};

use crate::machine::{Atomics, Machine, Size};

thread_local! {
    /// Compare-and-swaps of this thread that failed.
    static FAILED: Cell<u64> = const { Cell::new(0) };
}

/// The processor's atomics; failed compare-and-swaps are counted.
#[derive(Debug)]
pub struct Counted;

/// A word of them.
#[derive(Debug)]
pub struct CountedWord(AtomicU64);

impl Word for CountedWord {
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
        self.0.compare_exchange(current, new, success, failure).inspect_err(|_| {
            FAILED.set(FAILED.get() + 1);
        })
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

impl Atomics for Counted {
    type Word = CountedWord;
    // Threads run at the same time here, and for long: as many as will not come round meanwhile.
    const TAG_BITS: u32 = 32;

    fn word(value: u64) -> CountedWord {
        CountedWord(AtomicU64::new(value))
    }
    // As in the shipped allocator: nobody gives way between two tries.
    fn yield_now() {}
    fn spawn(body: Box<dyn FnOnce() + Send>) -> Box<dyn FnOnce()> {
        let thread = thread::spawn(body);
        Box::new(move || drop(thread.join()))
    }
}

/// The most failures that are told apart.
pub const MOST: usize = 64;

/// How many operations failed how often.
#[derive(Clone, Debug)]
pub struct Retries {
    /// Operations by how many of their compare-and-swaps failed; the last: so many or more.
    pub operations: [u64; MOST],
}

impl Retries {
    /// Operations.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.operations.iter().sum()
    }

    /// Those that failed at least so often.
    #[must_use]
    pub fn at_least(&self, failures: usize) -> u64 {
        self.operations[failures..].iter().sum()
    }

    /// The most failures of one operation.
    #[must_use]
    pub fn most(&self) -> usize {
        self.operations.iter().rposition(|operations| *operations > 0).unwrap_or(0)
    }
}

/// What the threads share.
struct Contended {
    core: Core<Machine<Counted, 0>>,
    /// Blocks on their way to another thread: number of the superblock, and index of the block and one.
    exchange: [AtomicU64; 32],
    arrived: AtomicU32,
}

const CLASS: Class = Class(0);

/// `threads` threads on one heap and one class of 64 blocks, with `operations` allocations each and nearly as many frees, of blocks that
/// mostly another thread allocated.
///
/// # Panics
/// When a block is handed out twice, or a link is read that may not be.
#[must_use]
pub fn count(threads: u32, operations: u32) -> Retries {
    let reserve = Reserve { low: 2, high: 4 };
    let size = Size { blocks: &[64], heaps: 1, superblocks: 4096, run: 4, reserve };
    let contended = Contended {
        core: Core::new(Machine::new(size, None)),
        exchange: std::array::from_fn(|_| AtomicU64::new(0)),
        arrived: AtomicU32::new(0),
    };
    let mut sum = [0; MOST];
    thread::scope(|scope| {
        let started: Vec<_> = (0..threads)
            .map(|number| {
                let contended = &contended;
                scope.spawn(move || {
                    contended.arrived.fetch_add(1, Ordering::AcqRel);
                    while contended.arrived.load(Ordering::Acquire) < threads {
                        thread::yield_now();
                    }
                    contended.one_thread(number, operations)
                })
            })
            .collect();
        for thread in started {
            match thread.join() {
                Ok(counts) => sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    Retries { operations: sum }
}

impl Contended {
    fn one_thread(&self, number: u32, operations: u32) -> [u64; MOST] {
        let core = &self.core;
        let request = Request { heap: Heap(0), class: CLASS, bytes: 1 };
        let mut counts = [0; MOST];
        let mut random = u64::from(number) + 1;
        for _ in 0..operations {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let Some(block) = counted(&mut counts, || core.malloc(request)) else { continue };
            core.platform().own(CLASS, block);
            let packed = u64::from(block.superblock.0) << 32 | (u64::from(block.index) + 1);
            let place = &self.exchange[(random >> 33) as usize % self.exchange.len()];
            let other = place.swap(packed, Ordering::AcqRel);
            if let Some(index) = (other as u32).checked_sub(1) {
                let superblock = SuperblockId((other >> 32) as u32);
                core.platform().disown(Block { superblock, index, fresh: false });
                counted(&mut counts, || core.free(superblock, CLASS, index));
            }
        }
        counts
    }
}

/// Does it, and counts how many compare-and-swaps failed within.
fn counted<R>(counts: &mut [u64; MOST], operation: impl FnOnce() -> R) -> R {
    let before = FAILED.get();
    let result = operation();
    let failures = (FAILED.get() - before) as usize;
    counts[failures.min(MOST - 1)] += 1;
    result
}
