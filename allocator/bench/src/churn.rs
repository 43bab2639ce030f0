//! Threads that free and allocate at full speed, all over superblocks that each hold one block for good: nearly every
//! superblock is another one between two looks at them.

use std::alloc::Layout;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use lfalloc::LfAlloc;

use crate::contender::Held;

/// Eight of these fill a superblock.
const BLOCK_BYTES: usize = 8192;
/// Bytes of one.
pub(crate) const SUPERBLOCK_BYTES: usize = 1 << 16;
/// Operations between two notes of how many were done.
const NOTED_EVERY: u64 = 256;

/// The threads that allocate and free; they end with this value.
pub(crate) struct Churn {
    ending: Arc<AtomicBool>,
    counters: Vec<Arc<Counter>>,
    threads: Vec<thread::JoinHandle<()>>,
}

/// On a cache line of its own: nobody is slowed down by another's counting.
#[repr(align(128))]
#[derive(Default)]
struct Counter(AtomicU64);

impl Churn {
    /// Fills superblocks, one block of each to stay, and starts the threads on the others.
    pub(crate) fn start(superblocks: usize, threads: usize) -> Self {
        let layout = Layout::from_size_align(BLOCK_BYTES, 16).unwrap_or(Layout::new::<u128>());
        let per_superblock = SUPERBLOCK_BYTES / BLOCK_BYTES;
        let all: Vec<Held<LfAlloc>> =
            (0..superblocks * per_superblock).map(|_| Held::untouched(layout)).collect();
        let (kept, loose): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|held| held.address() % SUPERBLOCK_BYTES < BLOCK_BYTES);
        // Kept to the end of the process.
        std::mem::forget(kept);
        let mut shares: Vec<Vec<Held<LfAlloc>>> = (0..threads).map(|_| Vec::new()).collect();
        for (place, held) in loose.into_iter().enumerate() {
            // Half of them are free in the beginning, and at any time.
            if place % 2 == 0 {
                shares[place / 2 % threads].push(held);
            }
        }
        let ending = Arc::new(AtomicBool::new(false));
        let counters: Vec<_> = (0..threads).map(|_| Arc::new(Counter::default())).collect();
        let threads = shares
            .into_iter()
            .zip(counters.clone())
            .zip(1..)
            .map(|((mut share, counter), seed)| {
                let ending = Arc::clone(&ending);
                thread::spawn(move || {
                    let mut random: u64 = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed);
                    // Relaxed, as the counter: neither hands over anything but itself.
                    while !ending.load(Ordering::Relaxed) {
                        for _ in 0..NOTED_EVERY {
                            random ^= random << 13;
                            random ^= random >> 7;
                            random ^= random << 17;
                            let place = (random % share.len() as u64) as usize;
                            // Freed first, so that what is allocated comes from elsewhere.
                            drop(share.swap_remove(place));
                            share.push(Held::untouched(layout));
                        }
                        counter.0.fetch_add(2 * NOTED_EVERY, Ordering::Relaxed);
                    }
                    std::mem::forget(share);
                })
            })
            .collect();
        Self { ending, counters, threads }
    }

    /// How many were done so far.
    pub(crate) fn operations(&self) -> u64 {
        self.counters.iter().map(|counter| counter.0.load(Ordering::Relaxed)).sum()
    }
}

impl Drop for Churn {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
