//! What the viewer remembers of past states: for rates, charts and sparklines.
//!
//! Bounded in time and in number. Rates are differences over a window of about two seconds, by the
//! clock of the process that is watched; they need two states.

use std::collections::VecDeque;
use std::time::Duration;

use super::edge::{Edge, EdgeCounts};
use crate::picture::Picture;

/// How far the history reaches back.
const SPAN: Duration = Duration::from_secs(600);
/// Samples kept at most, whatever their rate.
const MAX_SAMPLES: usize = 12_000;
/// States whose classes are remembered.
const MAX_CLASS_SAMPLES: usize = 256;
/// What rates are averaged over.
const RATE_WINDOW: Duration = Duration::from_secs(2);

/// One past state, in short.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Nanoseconds the process had run.
    pub uptime_ns: u64,
    /// Allocations ever.
    pub allocations: u64,
    /// Frees ever.
    pub frees: u64,
    /// Failed compare-and-swaps ever.
    pub retries: u64,
    /// EXT% as a fraction.
    pub external: Option<f64>,
    /// 1 − live / mapped.
    pub waste: Option<f64>,
    /// Transitions ever, as the agent counts them.
    pub transitions: u64,
    /// Transitions that the viewer has seen.
    pub edges: EdgeCounts,
    /// Transitions (and whole messages) that the viewer has not seen.
    pub missed: u64,
    /// Processor time of the agent.
    pub agent_cpu_ns: u64,
}

/// The classes of one past state.
#[derive(Clone, Debug)]
struct ClassSample {
    uptime_ns: u64,
    allocations: Vec<u64>,
    transitions: Vec<u64>,
    missed: u64,
}

/// Past states, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct History {
    samples: VecDeque<Sample>,
    classes: VecDeque<ClassSample>,
}

/// Rates per second, `None` until there are two states.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Allocations.
    pub allocations: Option<f64>,
    /// Frees.
    pub frees: Option<f64>,
    /// Failed compare-and-swaps.
    pub retries: Option<f64>,
    /// Failed compare-and-swaps for one allocation or free.
    pub retries_per_operation: Option<f64>,
    /// Transitions, as the agent counts them.
    pub transitions: Option<f64>,
    /// Share of one processor that the agent uses.
    pub agent_cpu: Option<f64>,
}

impl History {
    /// Remembers a state that was just completed. `transitions` counts them by class, as far as they
    /// were seen; `missed` are those that were not.
    pub fn record(
        &mut self,
        picture: &Picture,
        edges: EdgeCounts,
        transitions: &[u64],
        missed: u64,
    ) {
        if self.samples.back().is_some_and(|last| last.uptime_ns > picture.uptime_ns) {
            // Another process, or a clock that went back: differences would mean nothing.
            *self = Self::default();
        }
        self.samples.push_back(Sample {
            uptime_ns: picture.uptime_ns,
            allocations: picture.end.allocations_after,
            frees: picture.end.frees_after,
            retries: picture.retries(),
            external: picture.external_fraction(),
            waste: picture.waste_fraction(),
            transitions: picture.end.transitions_seen,
            edges,
            missed,
            agent_cpu_ns: picture.end.agent_cpu_ns,
        });
        let oldest = picture.uptime_ns.saturating_sub(nanoseconds(SPAN));
        while self.samples.len() > MAX_SAMPLES
            || self.samples.front().is_some_and(|first| first.uptime_ns < oldest)
        {
            self.samples.pop_front();
        }
        if self.classes.len() == MAX_CLASS_SAMPLES {
            self.classes.pop_front();
        }
        self.classes.push_back(ClassSample {
            uptime_ns: picture.uptime_ns,
            allocations: picture.figures().map(|class| class.record.allocations).collect(),
            transitions: transitions.to_vec(),
            missed,
        });
    }

    /// The two ends of the windows that rates are over: all that rates need.
    #[must_use]
    pub fn ends(&self) -> Self {
        let samples = self.window().map(|(older, last)| VecDeque::from([*older, *last]));
        let classes = self.class_window();
        let classes = classes.map(|(older, last)| VecDeque::from([older.clone(), last.clone()]));
        Self { samples: samples.unwrap_or_default(), classes: classes.unwrap_or_default() }
    }

    /// The history as it was when the process had run for `uptime_ns`, of which `ends` were kept.
    #[must_use]
    pub fn until(&self, uptime_ns: u64, ends: &Self) -> Self {
        let samples = self.samples.partition_point(|sample| sample.uptime_ns <= uptime_ns);
        let classes = self.classes.partition_point(|sample| sample.uptime_ns <= uptime_ns);
        let mut history = Self {
            samples: self.samples.range(..samples).copied().collect(),
            classes: self.classes.range(..classes).cloned().collect(),
        };
        if history.samples.len() < ends.samples.len() {
            history.samples.clone_from(&ends.samples);
        }
        if history.classes.len() < ends.classes.len() {
            history.classes.clone_from(&ends.classes);
        }
        history
    }

    /// The samples kept, the oldest first.
    #[must_use]
    pub fn samples(&self) -> impl DoubleEndedIterator<Item = &Sample> + ExactSizeIterator {
        self.samples.iter()
    }

    /// The last sample, and the newest one that is a window older (or the oldest there is).
    fn window(&self) -> Option<(&Sample, &Sample)> {
        let last = self.samples.back()?;
        let from = last.uptime_ns.saturating_sub(nanoseconds(RATE_WINDOW));
        let older = self.samples.iter().rev().skip(1).take_while(|s| s.uptime_ns >= from).last();
        // With fewer states than one per window, the one before must do.
        let older = older.or_else(|| self.samples.iter().rev().nth(1))?;
        (last.uptime_ns > older.uptime_ns).then_some((older, last))
    }

    /// Rates of the last seconds.
    #[must_use]
    pub fn rates(&self) -> Rates {
        let Some((older, last)) = self.window() else {
            return Rates::default();
        };
        let seconds = (last.uptime_ns - older.uptime_ns) as f64 / 1e9;
        let rate =
            |counter: fn(&Sample) -> u64| Some(difference(counter(older), counter(last)) / seconds);
        let operations =
            difference(older.allocations, last.allocations) + difference(older.frees, last.frees);
        Rates {
            allocations: rate(|sample| sample.allocations),
            frees: rate(|sample| sample.frees),
            retries: rate(|sample| sample.retries),
            retries_per_operation: (operations > 0.0)
                .then(|| difference(older.retries, last.retries) / operations),
            transitions: rate(|sample| sample.transitions),
            agent_cpu: rate(|sample| sample.agent_cpu_ns).map(|rate| rate / 1e9),
        }
    }

    /// Transitions per second along `edge` that the viewer has seen in the last seconds.
    #[must_use]
    pub fn edge_rate(&self, edge: Edge) -> Option<f64> {
        let (older, last) = self.window()?;
        let seconds = (last.uptime_ns - older.uptime_ns) as f64 / 1e9;
        Some(difference(older.edges.get(edge), last.edges.get(edge)) / seconds)
    }

    /// Whether transitions were missed within the window of [`edge_rate`](Self::edge_rate), which
    /// is then a lower bound.
    #[must_use]
    pub fn edges_missed(&self) -> bool {
        self.window().is_some_and(|(older, last)| older.missed != last.missed)
    }

    /// Whether [`class_transitions`](Self::class_transitions) is a lower bound.
    #[must_use]
    pub fn class_transitions_missed(&self) -> bool {
        self.class_window().is_some_and(|(older, last)| older.missed != last.missed)
    }

    fn class_window(&self) -> Option<(&ClassSample, &ClassSample)> {
        let last = self.classes.back()?;
        let from = last.uptime_ns.saturating_sub(nanoseconds(RATE_WINDOW));
        let older = self.classes.iter().rev().skip(1).take_while(|s| s.uptime_ns >= from).last();
        Some((older.or_else(|| self.classes.iter().rev().nth(1))?, last))
    }

    fn class_rate(&self, class: usize, counters: fn(&ClassSample) -> &[u64]) -> Option<f64> {
        let (older, last) = self.class_window()?;
        class_difference(older, last, class, counters)
    }

    /// Allocations per second of `class` in the last seconds.
    #[must_use]
    pub fn class_allocations(&self, class: usize) -> Option<f64> {
        self.class_rate(class, |sample| &sample.allocations)
    }

    /// Transitions per second of `class` that the viewer has seen in the last seconds.
    #[must_use]
    pub fn class_transitions(&self, class: usize) -> Option<f64> {
        self.class_rate(class, |sample| &sample.transitions)
    }

    /// Allocations per second of `class` between the last `count` states and the ones before
    /// them, the oldest first; fewer if fewer are known.
    #[must_use]
    pub fn class_trend(&self, class: usize, count: usize) -> Vec<f64> {
        let skipped = self.classes.len().saturating_sub(count.saturating_add(1));
        let older = self.classes.iter().skip(skipped);
        older
            .zip(self.classes.iter().skip(skipped + 1))
            .map(|(older, newer)| {
                class_difference(older, newer, class, |sample| &sample.allocations).unwrap_or(0.0)
            })
            .collect()
    }
}

fn class_difference(
    older: &ClassSample,
    newer: &ClassSample,
    class: usize,
    counters: fn(&ClassSample) -> &[u64],
) -> Option<f64> {
    let (before, after) = (counters(older).get(class)?, counters(newer).get(class)?);
    let elapsed = newer.uptime_ns.checked_sub(older.uptime_ns).filter(|&elapsed| elapsed > 0)?;
    Some(difference(*before, *after) / (elapsed as f64 / 1e9))
}

/// Counters wrap, and may be read a little out of order: the difference is the signed one.
fn difference(before: u64, after: u64) -> f64 {
    after.wrapping_sub(before).cast_signed() as f64
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    //! Aim: rates are differences over the window, wrap included; memory is bounded.
    use lfalloc_protocol::message::{ClassInfo, ClassRecord, Hello, MAGIC, state};

    use super::*;

    fn picture(uptime_ns: u64, allocations: u64) -> Picture {
        let info =
            ClassInfo { block_bytes: 16, superblock_bytes: 65_536, blocks_per_superblock: 4096 };
        let mut picture = Picture::new(Hello {
            magic: MAGIC,
            major: 1,
            minor: 0,
            allocator_version: String::new(),
            pid: 1,
            name: String::new(),
            agent_started_unix_ns: 0,
            uptime_ns,
            heaps_per_class: 1,
            classes: vec![info],
            features: 0,
        });
        picture.end.allocations_after = allocations;
        picture.end.agent_cpu_ns = uptime_ns / 100;
        picture.classes = vec![ClassRecord { allocations, ..ClassRecord::default() }];
        picture
    }

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn one_state_has_no_rates() {
        let mut history = History::default();
        history.record(&picture(SECOND, 5), EdgeCounts::default(), &[0], 0);
        assert_eq!(history.rates(), Rates::default());
        assert_eq!(history.class_allocations(0), None);
        assert_eq!(history.edge_rate(Edge::ActiveFull), None);
    }

    #[test]
    fn rates_are_over_the_last_two_seconds_and_survive_a_wrap() {
        let mut history = History::default();
        let mut edges = EdgeCounts::default();
        for second in 0..10 {
            let counter = (u64::MAX - 400).wrapping_add(second * 100);
            let counter = if second == 9 { counter.wrapping_add(300) } else { counter };
            edges.add(state::ACTIVE, state::FULL);
            history.record(&picture(second * SECOND, counter), edges, &[edges.total() * 2], 0);
        }
        // 200 in two seconds, and the jump of 300.
        assert_eq!(history.rates().allocations, Some(250.0));
        assert_eq!(history.class_allocations(0), Some(250.0));
        assert_eq!(history.class_transitions(0), Some(2.0));
        assert_eq!(history.edge_rate(Edge::ActiveFull), Some(1.0));
        assert_eq!(history.class_trend(0, 3), [100.0, 100.0, 400.0]);
        assert!(history.class_trend(0, 0).is_empty());
        assert_eq!(history.class_trend(7, 2), [0.0, 0.0]);
        let cpu = history.rates().agent_cpu.expect("two states");
        assert!((cpu - 0.01).abs() < 1e-9);
    }

    #[test]
    fn what_was_missed_makes_a_lower_bound_for_a_window() {
        let mut history = History::default();
        for second in 0..6 {
            let missed = if second >= 2 { 7 } else { 0 };
            history.record(&picture(second * SECOND, 0), EdgeCounts::default(), &[0], missed);
            // Missed between the first and the second second, remembered for two.
            let expected = (2..=3).contains(&second);
            assert_eq!(history.edges_missed(), expected, "{second}");
            assert_eq!(history.class_transitions_missed(), expected, "{second}");
        }
    }

    #[test]
    fn a_slow_rate_uses_the_state_before() {
        let mut history = History::default();
        for second in [0, 10] {
            history.record(&picture(second * SECOND, second * 7), EdgeCounts::default(), &[0], 0);
        }
        assert_eq!(history.rates().allocations, Some(7.0));
    }

    #[test]
    fn a_past_moment_has_its_rates_however_long_ago() {
        let mut history = History::default();
        let mut then = None;
        for second in 0..1000 {
            history.record(
                &picture(second * SECOND, second * second),
                EdgeCounts::default(),
                &[0],
                0,
            );
            if second == 500 {
                then = Some((history.rates(), history.class_allocations(0), history.ends()));
            }
        }
        let (rates, class, ends) = then.expect("a moment");
        assert_eq!(ends.rates(), rates);
        let past = history.until(500 * SECOND, &ends);
        // The last 600 seconds are kept; of the classes, the last 256 states.
        assert_eq!(past.samples().len(), 102);
        assert_eq!((past.rates(), past.class_allocations(0)), (rates, class));
        assert_eq!(past.samples().last().map(|sample| sample.uptime_ns), Some(500 * SECOND));
    }

    #[test]
    fn it_is_bounded_and_forgets_when_time_goes_back() {
        let mut history = History::default();
        for second in 0..2000 {
            history.record(&picture(second * SECOND, 0), EdgeCounts::default(), &[0], 0);
        }
        assert_eq!(history.samples().len(), 601);
        assert_eq!(history.classes.len(), MAX_CLASS_SAMPLES);
        history.record(&picture(0, 0), EdgeCounts::default(), &[0], 0);
        assert_eq!(history.samples().len(), 1);
    }
}
