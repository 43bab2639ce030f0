//! What the simulated heaps count, and the sizes that their requests are sampled with.

use std::collections::BTreeSet;

use lfalloc_protocol::message::{ClassInfo, HeapCounter, SizeSample};

use super::random::Random;

/// Counters of every heap, and sampled sizes of every class.
///
/// It has a generator of its own, so that what the heap does is the same with and without it.
#[derive(Debug)]
pub(super) struct Usage {
    /// `[class][heap]`.
    heaps: Vec<Vec<HeapCounter>>,
    samples: Vec<SizeSample>,
    /// Class and heap of the counters that changed since they were last taken.
    changed: BTreeSet<(u16, u16)>,
    /// By class: how many sizes of requests it serves; their slack is below that.
    sizes: Vec<u32>,
    random: Random,
}

impl Usage {
    pub(super) fn new(classes: &[ClassInfo], heaps: usize, seed: u64) -> Self {
        let counter = |class: usize, heap: usize| HeapCounter {
            class: class as u16,
            heap: heap as u16,
            ..HeapCounter::default()
        };
        let mut below = 0;
        let sizes = classes
            .iter()
            .map(|info| info.block_bytes - std::mem::replace(&mut below, info.block_bytes));
        Self {
            sizes: sizes.collect(),
            heaps: (0..classes.len())
                .map(|class| (0..heaps).map(|heap| counter(class, heap)).collect())
                .collect(),
            samples: (0..classes.len())
                .map(|class| SizeSample { class: class as u16, ..SizeSample::default() })
                .collect(),
            changed: BTreeSet::new(),
            random: Random::new(!seed),
        }
    }

    /// `blocks` of `class` were handed out by `heap`.
    pub(super) fn allocated(&mut self, class: usize, heap: usize, blocks: u64) {
        self.touch(class, heap).allocations += blocks;
    }

    /// `blocks` of `class` were given back on `heap`'s processor.
    pub(super) fn freed(&mut self, class: usize, heap: usize, blocks: u64) {
        self.touch(class, heap).frees += blocks;
    }

    /// An allocation found no active superblock in `heap`.
    pub(super) fn ran_dry(&mut self, class: usize, heap: usize) {
        self.touch(class, heap).ran_dry += 1;
    }

    /// `heap` reserved blocks anew, `times` times, each for a request whose size is sampled.
    pub(super) fn refilled(&mut self, class: usize, heap: usize, times: u64) {
        self.touch(class, heap).refills += times;
        let slack = self.slack(class);
        let sample = &mut self.samples[class];
        sample.samples += times;
        sample.slack_sum += times * slack;
        sample.slack_squares += times * slack * slack;
    }

    /// Some heap of those there are, for what happened before the viewer came.
    pub(super) fn some_heap(&mut self) -> usize {
        let heaps = self.heaps.first().map_or(1, Vec::len);
        self.random.below(heaps as u32) as usize
    }

    /// Every class has a size that it is mostly asked for, and some that differ a little.
    fn slack(&mut self, class: usize) -> u64 {
        let sizes = self.sizes[class];
        let mostly = (class as u32).wrapping_mul(0x9E37_79B9) >> 8;
        let slack = mostly % sizes * 3 / 4 + self.random.below(sizes / 4 + 1);
        u64::from(slack.min(sizes - 1))
    }

    fn touch(&mut self, class: usize, heap: usize) -> &mut HeapCounter {
        self.changed.insert((class as u16, heap as u16));
        &mut self.heaps[class][heap]
    }

    /// Counters of the heaps that were ever used, or only of those that changed since the last
    /// call, by class and heap.
    pub(super) fn take_counters(&mut self, all: bool) -> Vec<HeapCounter> {
        let changed = std::mem::take(&mut self.changed);
        if all {
            let used = |counter: &&HeapCounter| counter.allocations + counter.frees > 0;
            return self.heaps.iter().flatten().filter(used).copied().collect();
        }
        let counter = |(class, heap)| self.heaps[usize::from(class)][usize::from(heap)];
        changed.into_iter().map(counter).collect()
    }

    /// Samples of the classes that have any, by class.
    pub(super) fn samples(&self) -> Vec<SizeSample> {
        self.samples.iter().filter(|sample| sample.samples > 0).copied().collect()
    }
}
