//! Where memory is lost: per class, how full its superblocks are, which of them a few blocks pin, what compaction
//! would save, and what rounding up costs.
//!
//! One pass over the superblocks of a picture. A superblock counts for the class it has now; EMPTY ones are no
//! fragmentation and are left out.

use lfalloc_protocol::message::state;

use crate::picture::{OCCUPANCY_STEPS, Picture};

/// A superblock of which less than this share is live, but something, is *pinned*.
pub const PINNED_BELOW_PERCENT: i64 = 10;
/// Standard errors to either side that hold the true mean 95 times in 100.
const CONFIDENCE: f64 = 1.96;

/// Whether `live` of `maxcount` blocks pin a superblock that is not EMPTY.
#[must_use]
pub fn is_pinned(live: i64, maxcount: i64) -> bool {
    live > 0 && live.saturating_mul(100) < maxcount.saturating_mul(PINNED_BELOW_PERCENT)
}

/// Superblocks of `maxcount` blocks that `live` blocks need if they lie as densely as they can.
#[must_use]
pub fn needed(live: i64, maxcount: i64) -> i64 {
    let maxcount = maxcount.max(1);
    live.max(0).saturating_add(maxcount - 1) / maxcount
}

/// How much larger blocks are than what was asked for, estimated from samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rounding {
    /// Requests that were sampled.
    pub samples: u64,
    /// Mean over them of block size − requested size, times the live blocks; bytes.
    pub bytes: f64,
    /// Half the width of its 95 % interval, bytes; never more than what is certain, a whole block for each.
    pub error: f64,
}

/// The figures of one class, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fragmentation {
    /// Superblocks that are ACTIVE, FULL or PARTIAL.
    pub superblocks: u64,
    /// Bytes of them.
    pub bytes: i64,
    /// Bytes of blocks that the program holds.
    pub live_bytes: i64,
    /// How many of the superblocks are 0–10 %, 10–20 %, … 90–100 % live; the last step includes 100 %.
    pub occupancy: [u64; OCCUPANCY_STEPS],
    /// Superblocks of which the program or the front holds something, but less than [`PINNED_BELOW_PERCENT`].
    pub pinned: u64,
    /// Bytes of those.
    pub pinned_bytes: i64,
    /// Live and cached blocks in those: what pins them.
    pub pinning_blocks: i64,
    /// Bytes of ACTIVE superblocks in which nothing is live.
    pub stranded_bytes: i64,
    /// Superblocks that would be EMPTY if live blocks lay as densely as they can; negative where fields were read
    /// while they changed.
    pub savings: i64,
    /// Bytes of those.
    pub savings_bytes: i64,
    /// Rounding within `live_bytes`; `None` without samples.
    pub rounding: Option<Rounding>,
}

impl Fragmentation {
    fn add(&mut self, other: &Self) {
        self.superblocks += other.superblocks;
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.live_bytes = self.live_bytes.saturating_add(other.live_bytes);
        for (sum, more) in self.occupancy.iter_mut().zip(other.occupancy) {
            *sum += more;
        }
        self.pinned += other.pinned;
        self.pinned_bytes = self.pinned_bytes.saturating_add(other.pinned_bytes);
        self.stranded_bytes = self.stranded_bytes.saturating_add(other.stranded_bytes);
        self.pinning_blocks = self.pinning_blocks.saturating_add(other.pinning_blocks);
        self.savings = self.savings.saturating_add(other.savings);
        self.savings_bytes = self.savings_bytes.saturating_add(other.savings_bytes);
        if let Some(more) = other.rounding {
            let sum = self.rounding.get_or_insert(Rounding { samples: 0, bytes: 0.0, error: 0.0 });
            sum.samples = sum.samples.saturating_add(more.samples);
            sum.bytes += more.bytes;
            // Errors of classes are independent of each other.
            sum.error = sum.error.hypot(more.error);
        }
    }

    /// Rounding as a share of the live bytes; `None` without samples or live blocks.
    #[must_use]
    pub fn internal_fraction(&self) -> Option<f64> {
        let rounding = self.rounding?;
        (self.live_bytes > 0).then(|| rounding.bytes / self.live_bytes as f64)
    }
}

/// The figures of every class, by class number, of the last state of `picture`.
#[must_use]
pub fn by_class(picture: &Picture) -> Vec<Fragmentation> {
    let infos = &picture.hello.classes;
    let mut classes = vec![Fragmentation::default(); infos.len()];
    let mut live_blocks = vec![0_i64; infos.len()];
    for record in picture.superblocks.iter() {
        let place = usize::from(record.class);
        let (Some(info), Some(class)) = (infos.get(place), classes.get_mut(place)) else {
            continue;
        };
        if record.state == state::EMPTY {
            continue;
        }
        let maxcount = i64::from(info.blocks_per_superblock).max(1);
        let live = picture.superblock_live_blocks(record);
        let bytes = i64::from(info.superblock_bytes);
        live_blocks[place] += live;
        class.superblocks += 1;
        class.bytes = class.bytes.saturating_add(bytes);
        let step = usize::try_from(live * OCCUPANCY_STEPS as i64 / maxcount).unwrap_or(0);
        class.occupancy[step.min(OCCUPANCY_STEPS - 1)] += 1;
        if record.state == state::ACTIVE && live == 0 {
            class.stranded_bytes = class.stranded_bytes.saturating_add(bytes);
        }
        if is_pinned(live, maxcount) {
            class.pinned += 1;
            class.pinned_bytes = class.pinned_bytes.saturating_add(bytes);
            class.pinning_blocks += live;
        }
    }
    for ((class, info), live) in classes.iter_mut().zip(infos).zip(live_blocks) {
        class.live_bytes = live.saturating_mul(i64::from(info.block_bytes));
        // Cached blocks lie somewhere as well.
        let needed = needed(live, i64::from(info.blocks_per_superblock));
        class.savings = i64::try_from(class.superblocks).unwrap_or(i64::MAX) - needed;
        class.savings_bytes = class.savings.saturating_mul(i64::from(info.superblock_bytes));
    }
    // What magazines and the depot hold is live to a superblock, and has no size that was asked for.
    for (class, figures) in classes.iter_mut().zip(picture.figures()) {
        let cached = figures.bytes_of(figures.record.cached_blocks);
        class.live_bytes = class.live_bytes.saturating_sub(cached);
    }
    for sample in &picture.samples {
        let place = usize::from(sample.class);
        if let (Some(class), Some(info)) = (classes.get_mut(place), infos.get(place))
            && sample.samples > 0
        {
            let blocks = class.live_bytes as f64 / f64::from(info.block_bytes.max(1));
            let count = sample.samples as f64;
            let mean = sample.slack_sum as f64 / count;
            let error = if sample.samples > 1 {
                let variance = (sample.slack_squares as f64 - count * mean * mean) / (count - 1.0);
                // Rounding may leave a little less than nothing.
                CONFIDENCE * (variance.max(0.0) / count).sqrt()
            } else {
                f64::INFINITY
            };
            // Slack lies between nothing and a whole block, however few samples there are.
            let error = error.min(f64::from(info.block_bytes));
            class.rounding = Some(Rounding {
                samples: sample.samples,
                bytes: mean * blocks,
                error: if blocks == 0.0 { 0.0 } else { error * blocks.abs() },
            });
        }
    }
    classes
}

/// The sum over all classes.
#[must_use]
pub fn total(classes: &[Fragmentation]) -> Fragmentation {
    classes.iter().fold(Fragmentation::default(), |mut sum, class| {
        sum.add(class);
        sum
    })
}

#[cfg(test)]
mod tests {
    //! Aim: every figure by its definition. Method: a class of 100 blocks of 600 bytes, superblocks made by hand; the
    //! made-up heap for sums.
    use std::time::Duration;

    use lfalloc_protocol::message::{ClassInfo, SizeSample, SuperblockRecord, backing};

    use super::*;
    use crate::source::synthetic::{Synthetic, SyntheticSource};
    use crate::source::{Source as _, SourceEvent};

    fn picture() -> Picture {
        let mut source = SyntheticSource::new(Synthetic::default());
        let SourceEvent::Connected(mut hello) = source.poll(Duration::ZERO) else {
            panic!("a greeting comes first")
        };
        hello.classes = vec![ClassInfo {
            block_bytes: 600,
            superblock_bytes: 1 << 16,
            blocks_per_superblock: 100,
        }];
        Picture::new(hello)
    }

    fn with(picture: &mut Picture, id: u32, state: u8, count: u16, credits: u16) {
        let record = SuperblockRecord {
            id,
            class: 0,
            state,
            backing: backing::MAPPED,
            address: u64::from(id) << 16,
            anchor: 0,
            avail: 0,
            count,
            credits,
            exact: true,
            tag: 0,
            age_ns: 0,
        };
        picture.superblocks.apply(&[record], 0);
    }

    #[test]
    fn pins_savings_and_occupancy() {
        let mut picture = picture();
        with(&mut picture, 1, state::PARTIAL, 91, 0); // 9 live: pinned
        with(&mut picture, 2, state::PARTIAL, 90, 0); // 10 live: not
        with(&mut picture, 3, state::FULL, 0, 0); // 100 live
        with(&mut picture, 4, state::ACTIVE, 40, 59); // 1 live, the rest free or reserved: pinned
        with(&mut picture, 5, state::ACTIVE, 36, 64); // nothing live: pinned by nobody
        with(&mut picture, 6, state::EMPTY, 100, 0);
        let class = by_class(&picture)[0];
        assert_eq!((class.superblocks, class.bytes), (5, 5 << 16));
        assert_eq!((class.pinned, class.pinned_bytes, class.pinning_blocks), (2, 2 << 16, 10));
        // The 64 KiB of #5, in which nothing is live.
        assert_eq!(class.stranded_bytes, 1 << 16);
        assert_eq!(class.live_bytes, 120 * 600);
        // 120 blocks fit into two superblocks.
        assert_eq!((class.savings, class.savings_bytes), (3, 3 << 16));
        assert_eq!(class.occupancy, [3, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(class.rounding, None);
    }

    #[test]
    fn rounding_has_an_error() {
        let mut picture = picture();
        with(&mut picture, 1, state::FULL, 0, 0);
        let sample = |samples, slack_sum, slack_squares| SizeSample {
            class: 0,
            samples,
            slack_sum,
            slack_squares,
        };
        // 10, 20, 30: mean 20, variance 100, standard error √(100/3).
        picture.samples = vec![sample(3, 60, 1400)];
        let class = by_class(&picture)[0];
        let rounding = class.rounding.expect("samples");
        // Of 100 live blocks.
        assert!((rounding.bytes / 100.0 - 20.0).abs() < 1e-9);
        assert!((rounding.error / 100.0 - 1.96 * (100.0_f64 / 3.0).sqrt()).abs() < 1e-9);
        assert!((rounding.bytes - 2000.0).abs() < 1e-6);
        assert!((class.internal_fraction().expect("live") - 2000.0 / 60_000.0).abs() < 1e-12);
        picture.samples = vec![sample(1, 20, 400)];
        let single = by_class(&picture)[0].rounding.expect("one sample");
        assert!((single.error - 60_000.0).abs() < 1e-6, "a whole block for each");
        picture.samples = vec![sample(0, 0, 0)];
        assert_eq!(by_class(&picture)[0].rounding, None);
    }

    #[test]
    fn figures_at_the_ends_of_their_ranges_are_summed() {
        let mut picture = picture();
        picture.hello.classes = vec![picture.hello.classes[0]; 2];
        let sample = |class| SizeSample {
            class,
            samples: u64::MAX,
            slack_sum: u64::MAX,
            slack_squares: u64::MAX,
        };
        picture.samples = vec![sample(0), sample(1)];
        let sum = total(&by_class(&picture));
        assert_eq!(sum.rounding.expect("samples").samples, u64::MAX);
    }

    #[test]
    fn classes_sum_to_the_total_and_nothing_is_saved_that_is_not_there() {
        for (superblocks, magazines) in [(0, false), (1, true), (50, true), (3000, false)] {
            let options = Synthetic { superblocks, magazines, ..Synthetic::default() };
            let mut source = SyntheticSource::new(options);
            let mut picture = None;
            while picture.as_ref().is_none_or(|picture: &Picture| picture.states < 3) {
                match source.poll(Duration::ZERO) {
                    SourceEvent::Connected(hello) => picture = Some(Picture::new(hello)),
                    SourceEvent::Frame(kind, payload) => {
                        let _ = picture.as_mut().expect("greeted").apply(kind, &payload);
                    }
                    _ => {}
                }
            }
            let picture = picture.expect("greeted");
            let classes = by_class(&picture);
            let sum = total(&classes);
            let [active, full, partial, _] = picture.superblocks_by_state();
            assert_eq!(sum.superblocks, active + full + partial);
            assert_eq!(sum.live_bytes, picture.parts.live);
            assert_eq!(sum.occupancy.iter().sum::<u64>(), sum.superblocks);
            for class in classes {
                let superblocks = class.superblocks as i64;
                assert!((0..=superblocks).contains(&class.savings), "{class:?}");
            }
        }
    }
}
