//! What the allocators are made to do.
//!
//! | workload | an operation is |
//! |---|---|
//! | pair 64 B | malloc, free |
//! | pair 64 B, inlined | the same where the compiler sees allocator and size |
//! | LIFO 1000 | one of 1,000 mallocs of 64 bytes, and its free, last first |
//! | FIFO 1000 | the same, first first |
//! | churn 10k | a random one of 10,000 objects of 8–508 bytes is replaced |
//! | churn 10k, 2 threads | the same in two threads at once, 10,000 each; per operation of one thread |
//! | hand-over | malloc of 64 bytes in one thread, free in another |
//!
//! So every operation is one malloc and one free. Blocks are written to once, as in a program.

use std::alloc::{Layout, System};
use std::hint::black_box;
use std::sync::Barrier;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use lfalloc::LfAlloc;

use crate::contender::{Contender, Held};

/// Runs so many operations and returns the nanoseconds per operation.
type Run = fn(u32) -> f64;

/// One row of the comparison.
pub(crate) struct Workload {
    /// As in the module's table.
    pub(crate) name: &'static str,
    /// Operations of one round.
    pub(crate) operations: u32,
    /// With lfalloc.
    pub(crate) lfalloc: Run,
    /// With the system's allocator.
    pub(crate) system: Run,
}

macro_rules! workload {
    ($name:literal, $operations:literal, $run:ident) => {
        Workload {
            name: $name,
            operations: $operations,
            lfalloc: $run::<LfAlloc>,
            system: $run::<System>,
        }
    };
}

/// All of them.
pub(crate) const WORKLOADS: [Workload; 7] = [
    workload!("pair 64 B", 200_000, pair),
    workload!("pair 64 B, inlined", 200_000, pair_inlined),
    workload!("LIFO 1000", 100_000, lifo),
    workload!("FIFO 1000", 100_000, fifo),
    workload!("churn 10k", 100_000, churn),
    workload!("churn 10k, 2 threads", 100_000, churn_in_two_threads),
    workload!("hand-over", 100_000, hand_over),
];

const SMALL: Layout = Layout::new::<[u64; 8]>();
const HELD: u32 = 1000;
const OBJECTS: u32 = 10_000;
/// Blocks that change hands together, so that the channel costs little beside them.
const BATCH: u32 = 256;
const BATCHES: usize = 8;

fn per_operation(start: Instant, operations: u32) -> f64 {
    start.elapsed().as_secs_f64() * 1e9 / f64::from(operations)
}

fn pair<A: Contender>(operations: u32) -> f64 {
    let start = Instant::now();
    for _ in 0..operations {
        black_box(Held::<A>::new(SMALL).address());
    }
    per_operation(start, operations)
}

fn pair_inlined<A: Contender>(operations: u32) -> f64 {
    let start = Instant::now();
    for _ in 0..operations {
        // SAFETY: the size is not zero.
        let block = black_box(unsafe { A::ALLOCATOR.alloc(SMALL) });
        assert!(!block.is_null(), "the system gives no memory");
        // SAFETY: it holds 64 bytes.
        unsafe { block.write(1) };
        // SAFETY: allocated above with this layout; its last use.
        unsafe { A::ALLOCATOR.dealloc(block, SMALL) };
    }
    per_operation(start, operations)
}

fn lifo<A: Contender>(operations: u32) -> f64 {
    in_rounds::<A>(operations, |held| while held.pop().is_some() {})
}

fn fifo<A: Contender>(operations: u32) -> f64 {
    in_rounds::<A>(operations, Vec::clear)
}

fn in_rounds<A: Contender>(operations: u32, release: fn(&mut Vec<Held<A>>)) -> f64 {
    let mut held = Vec::with_capacity(HELD as usize);
    let rounds = operations.div_ceil(HELD);
    let start = Instant::now();
    for _ in 0..rounds {
        held.extend((0..HELD).map(|_| Held::new(SMALL)));
        release(&mut held);
    }
    per_operation(start, rounds * HELD)
}

fn churn<A: Contender>(operations: u32) -> f64 {
    churn_with::<A>(operations, 1, || ())
}

fn churn_in_two_threads<A: Contender>(operations: u32) -> f64 {
    let barrier = Barrier::new(2);
    let work = |seed| {
        let wait = || {
            barrier.wait();
        };
        churn_with::<A>(operations, seed, wait)
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| work(2));
        let own = work(1);
        match other.join() {
            Ok(other) => own.max(other),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Fills the places, waits with `ready`, and measures the replacements. The new object is allocated
/// before the old one is freed.
fn churn_with<A: Contender>(operations: u32, seed: u64, ready: impl Fn()) -> f64 {
    let mut churn = Churn::<A>::new(seed);
    ready();
    let start = Instant::now();
    churn.replace(operations);
    per_operation(start, operations)
}

/// Objects of 8–508 bytes of which random ones are replaced.
pub(crate) struct Churn<A: Contender> {
    random: Random,
    objects: Vec<Held<A>>,
}

impl<A: Contender> Churn<A> {
    /// Allocates the first ones. `seed` is not zero.
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let objects = (0..OBJECTS).map(|_| Held::new(random.layout())).collect();
        Self { random, objects }
    }

    /// Replaces one `operations` times.
    #[inline]
    pub(crate) fn replace(&mut self, operations: u32) {
        for _ in 0..operations {
            let place = self.random.below(OBJECTS) as usize;
            self.objects[place] = Held::new(self.random.layout());
        }
    }
}

fn hand_over<A: Contender>(operations: u32) -> f64 {
    let batches = operations.div_ceil(BATCH);
    let (to_consumer, from_producer) = sync_channel::<Vec<Held<A>>>(BATCHES);
    let (to_producer, from_consumer) = sync_channel::<Vec<Held<A>>>(BATCHES);
    for _ in 0..BATCHES {
        // Cannot fail: the receiver is here, and there is room for all.
        let _ = to_producer.send(Vec::with_capacity(BATCH as usize));
    }
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for mut batch in from_producer {
                batch.clear();
                // The producer has left once it has sent its last batch.
                let _ = to_producer.send(batch);
            }
        });
        let start = Instant::now();
        for _ in 0..batches {
            let Ok(mut batch) = from_consumer.recv() else { break };
            batch.extend((0..BATCH).map(|_| Held::new(SMALL)));
            // Fails only if the consumer panicked, which the scope tells.
            let _ = to_consumer.send(batch);
        }
        // All batches are back: everything has been freed.
        for _ in 0..BATCHES {
            let _ = from_consumer.recv();
        }
        let result = per_operation(start, batches * BATCH);
        drop(to_consumer);
        result
    })
}

/// Marsaglia's xorshift: cheap beside what is measured, and the same for all contenders.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (((self.0 >> 32) * u64::from(bound)) >> 32) as u32
    }

    /// 8–508 bytes, evenly.
    fn layout(&mut self) -> Layout {
        let bytes = 8 + self.below(501) as usize;
        Layout::from_size_align(bytes, 8).unwrap_or(SMALL)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use lfalloc::observe::totals;

    /// Held by every test that counts lfalloc's blocks.
    pub(crate) static COUNTING: std::sync::Mutex<()> = std::sync::Mutex::new(());

    /// Aim: each workload does what its name says with lfalloc and leaves nothing behind, and the
    /// system's allocator is not lfalloc. Method: the registry's counters around short runs.
    #[test]
    fn each_does_its_operations() {
        let _alone = COUNTING.lock().unwrap();
        for workload in &WORKLOADS {
            let before = totals();
            let ns = (workload.lfalloc)(2_000);
            let after = totals();
            assert!(ns.is_finite() && ns > 0.0, "{}: {ns}", workload.name);
            let allocations = after.allocations - before.allocations;
            assert!(allocations >= 2_000, "{}: {allocations}", workload.name);
            assert_eq!(allocations, after.frees - before.frees, "{}", workload.name);
            assert_eq!(after.live_bytes, before.live_bytes, "{}", workload.name);
            let ns = (workload.system)(2_000);
            assert!(ns.is_finite() && ns > 0.0, "{}: {ns}", workload.name);
            assert_eq!(totals().allocations, after.allocations, "{}", workload.name);
        }
    }

    /// Aim: sizes cover 8–508 and nothing else. Method: many draws.
    #[test]
    fn sizes_are_in_range() {
        let mut random = Random(1);
        let sizes: Vec<usize> = (0..100_000).map(|_| random.layout().size()).collect();
        assert_eq!((sizes.iter().min(), sizes.iter().max()), (Some(&8), Some(&508)));
    }
}
