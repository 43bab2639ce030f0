//! Random ones of many objects are replaced, in one thread or in many.

use std::sync::Arc;
use std::time::Instant;

use hdrhistogram::Histogram;

use super::block::{Block, LEAST_BYTES};
use super::{Round, Work, in_threads};
use crate::random::Random;

/// One operation in so many is timed: reading the clock twice takes longer than most of them.
const TIMED_EVERY: u64 = 8;
/// So many threads need some milliseconds to come into being: each works for about as long as a turn on a processor.
const TIMED_OPERATIONS: u64 = 8192;
/// 10 s; longer counts as that.
const LONGEST_NS: u64 = 10_000_000_000;

/// Sizes drawn beforehand, so that a draw costs the same whatever they are.
#[derive(Clone)]
pub(super) struct Sizes(Arc<[u32]>);

impl Sizes {
    const DRAWN: u32 = 4096;

    /// 8–508 bytes, evenly.
    pub(super) fn small() -> Self {
        Self::drawn(|random| LEAST_BYTES + random.below(501))
    }

    /// 2^`from` to 2^`to` bytes, every doubling as often as every other.
    pub(super) fn doublings(from: u32, to: u32) -> Self {
        Self::drawn(|random| {
            let bytes = 1 << (from + random.below(to - from));
            bytes + random.below(bytes + 1)
        })
    }

    /// Multiples of 16 bytes up to 2 KiB, the n-th with a probability of 1/n, as Zipf's law has it.
    pub(super) fn zipf() -> Self {
        const RANKS: u32 = 128;
        let total: f64 = (1..=RANKS).map(|rank| 1.0 / f64::from(rank)).sum();
        Self::drawn(|random| {
            let mut left = f64::from(random.below(u32::MAX)) / f64::from(u32::MAX) * total;
            for rank in 1..RANKS {
                left -= 1.0 / f64::from(rank);
                if left < 0.0 {
                    return 16 * rank;
                }
            }
            16 * RANKS
        })
    }

    fn drawn(draw: impl Fn(&mut Random) -> u32) -> Self {
        let mut random = Random::new(0);
        Self((0..Self::DRAWN).map(|_| draw(&mut random)).collect())
    }

    #[inline]
    pub(super) fn draw(&self, random: &mut Random) -> u32 {
        self.0[random.below(Self::DRAWN) as usize]
    }
}

/// The objects of one thread.
pub(super) struct Objects {
    random: Random,
    sizes: Sizes,
    blocks: Vec<Block>,
}

impl Objects {
    /// Allocates them.
    pub(super) fn new(seed: u64, count: u32, sizes: Sizes) -> Self {
        let mut random = Random::new(seed);
        let blocks = (0..count).map(|number| Block::new(sizes.draw(&mut random), number)).collect();
        Self { random, sizes, blocks }
    }

    /// Replaces a random one: the new block is allocated before the old one is freed.
    #[inline]
    pub(super) fn replace(&mut self, mark: u64) {
        let place = self.random.below(self.blocks.len() as u32) as usize;
        self.blocks[place] = Block::new(self.sizes.draw(&mut self.random), mark as u32);
    }

    /// As [`Objects::replace`], with every page of the new block written to.
    pub(super) fn replace_touched(&mut self, mark: u64) {
        let place = self.random.below(self.blocks.len() as u32) as usize;
        let mut block = Block::new(self.sizes.draw(&mut self.random), mark as u32);
        block.touch();
        self.blocks[place] = block;
    }

    /// Bytes of all of them, as asked for.
    pub(super) fn bytes(&self) -> u64 {
        self.blocks.iter().map(|block| u64::from(block.bytes())).sum()
    }
}

/// The objects of all threads.
pub(super) struct Churn {
    shares: Vec<Share>,
    is_timed: bool,
}

struct Share {
    objects: Objects,
    latencies: Histogram<u32>,
}

impl Churn {
    /// So many threads with so many objects each.
    pub(super) fn new(threads: usize, objects: u32, sizes: &Sizes) -> Self {
        Self::with(threads, objects, sizes, false)
    }

    /// The same with one in 8 operations timed.
    pub(super) fn timed(threads: usize, objects: u32, sizes: &Sizes) -> Self {
        Self::with(threads, objects, sizes, true)
    }

    fn with(threads: usize, objects: u32, sizes: &Sizes, is_timed: bool) -> Self {
        let shares = (0..threads).map(|thread| Share {
            objects: Objects::new(thread as u64, objects, sizes.clone()),
            latencies: histogram(),
        });
        Self { shares: shares.collect(), is_timed }
    }
}

/// Two digits are enough, and keep 64 of them out of the memory that is compared.
fn histogram() -> Histogram<u32> {
    match Histogram::new_with_bounds(1, LONGEST_NS, 2) {
        Ok(histogram) => histogram,
        Err(_) => unreachable!("the bounds are constants that fit"),
    }
}

impl Work for Churn {
    fn round(&mut self, operations: u64) -> Round {
        if let ([share], false) = (&mut self.shares[..], self.is_timed) {
            let start = Instant::now();
            for number in 0..operations {
                share.objects.replace(number);
            }
            return Round { operations, elapsed: start.elapsed() };
        }
        let each = operations.div_ceil(self.shares.len() as u64);
        let is_timed = self.is_timed;
        in_threads(&mut self.shares, |share| {
            for number in 0..each {
                if is_timed && number % TIMED_EVERY == 0 {
                    let start = Instant::now();
                    share.objects.replace(number);
                    share.latencies.saturating_record(start.elapsed().as_nanos() as u64);
                } else {
                    share.objects.replace(number);
                }
            }
            each
        })
    }

    fn least_operations(&self) -> u64 {
        if self.is_timed { TIMED_OPERATIONS * self.shares.len() as u64 } else { 1 }
    }

    fn latencies(&mut self) -> Option<Histogram<u32>> {
        if !self.is_timed {
            return None;
        }
        let mut all = histogram();
        for share in &mut self.shares {
            // They have the same bounds.
            let _ = all.add(&share.latencies);
            share.latencies.reset();
        }
        Some(all)
    }

    fn live_bytes(&self) -> u64 {
        self.shares.iter().map(|share| share.objects.bytes()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(sizes: &Sizes) -> (u32, u32) {
        (sizes.0.iter().copied().min().unwrap(), sizes.0.iter().copied().max().unwrap())
    }

    /// Aim: sizes are those that their names say. Method: all that were drawn.
    #[test]
    fn sizes_are_in_range() {
        assert_eq!(range(&Sizes::small()), (8, 508));
        let (least, most) = range(&Sizes::doublings(3, 15));
        assert!((8..12).contains(&least) && (30_000..=32_768).contains(&most), "{least} {most}");
        let zipf = Sizes::zipf();
        let (least, most) = range(&zipf);
        assert!(least == 16 && (1900..=2048).contains(&most), "{least} {most}");
        // 1 / (1 + 1/2 + … + 1/128) is 0.184.
        let first = zipf.0.iter().filter(|&&bytes| bytes == 16).count();
        assert!((650..860).contains(&first), "{first}");
    }
}
