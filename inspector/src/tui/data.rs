//! What is known about the process: the picture, its past, and the events.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use lfalloc_protocol::message::{
    HeapCounter, Hello, Kind, MagazineRecord, Parts, SuperblockCached, SuperblockDetail,
};

use super::edge::EdgeCounts;
use super::events::EventLog;
use super::history::History;
use super::moments::Moment;
use crate::fragmentation::{self, Fragmentation};
use crate::lint::{Lint, Watch};
use crate::picture::{Applied, ClassFigures, Error, OCCUPANCY_STEPS, Picture};

/// Between two of the counters that are kept.
const PAST_STEP_NS: u64 = 1_000_000_000;
/// How many are kept: rates are over one to two seconds.
const PASTS: usize = 2;
/// Rates need so long to settle after the last change, and one further state in any case: states may be further apart.
const SETTLING_NS: u64 = 3_000_000_000;
const SETTLING_STATES: u64 = 1;

/// Blocks popped and pushed are counted modulo this.
const POPS: i64 = 1 << 48;

/// Counters of a while ago.
#[derive(Clone, Debug)]
struct Past {
    uptime_ns: u64,
    heaps: Arc<BTreeMap<(u16, u16), HeapCounter>>,
    magazines: Arc<BTreeMap<(u16, u16), MagazineRecord>>,
    /// Large blocks handed out and given back.
    large: [u64; 2],
}

impl Past {
    fn then(&self) -> Then<'_> {
        Then {
            uptime_ns: self.uptime_ns,
            heaps: &self.heaps,
            magazines: &self.magazines,
            large: self.large,
        }
    }
}

/// Counters of some time.
struct Then<'a> {
    uptime_ns: u64,
    heaps: &'a BTreeMap<(u16, u16), HeapCounter>,
    magazines: &'a BTreeMap<(u16, u16), MagazineRecord>,
    large: [u64; 2],
}

impl<'a> Then<'a> {
    fn now(picture: &'a Picture) -> Self {
        Self {
            uptime_ns: picture.uptime_ns,
            heaps: &picture.counters,
            magazines: &picture.magazines,
            large: [picture.end.large_allocations, picture.end.large_frees],
        }
    }
}

/// What differs between two states unless nothing but time has passed.
#[derive(Clone, Debug, PartialEq)]
struct Mark {
    parts: Parts,
    counters: [u64; 7],
    is_consistent: bool,
    viewers: u32,
    lints: Vec<(Lint, bool)>,
}

/// Everything one connection has told, in the forms the screens want. Cloned to freeze it.
#[derive(Clone, Debug)]
pub struct Data {
    /// Counts the connections of this viewer: events of two of them do not follow each other.
    pub epoch: u64,
    /// The last complete state.
    pub picture: Picture,
    /// Past states.
    pub history: History,
    /// Transitions.
    pub events: EventLog,
    /// Transitions seen by edge.
    pub edges: EdgeCounts,
    /// States and messages that the agent left out, since this viewer was too slow.
    pub lost: u64,
    /// Transitions missing in the log of a moment, which is kept without it.
    forgotten: u64,
    /// Number of the entry that came next in that log.
    log_end: u64,
    /// Figures of every class, by class number, of the last complete state.
    pub figures: Vec<ClassFigures>,
    /// What is lost in every class, by class number, of the last complete state.
    pub fragmentation: Vec<Fragmentation>,
    /// What is amiss.
    pub lints: Watch,
    /// PARTIAL superblocks by occupancy, of the last complete state.
    pub occupancy: [u64; OCCUPANCY_STEPS],
    /// Whether the picture's superblocks are there: those of a moment long past are not kept.
    pub has_superblocks: bool,
    /// The last close look at a superblock.
    pub detail: Option<SuperblockDetail>,
    /// What of that superblock the front holds, where that was told.
    pub cached: Option<SuperblockCached>,
    /// Counters of heaps, of magazines and of large blocks a while ago, the oldest first.
    past: VecDeque<Past>,
    /// Transitions seen by class.
    class_transitions: Vec<u64>,
    /// Of the last complete state.
    mark: Option<Mark>,
    /// How long the process had run when a state last differed from the one before, nanoseconds.
    changed_ns: u64,
    /// Which state that was.
    changed_state: u64,
}

impl Data {
    /// Nothing is known yet but the greeting.
    #[must_use]
    pub fn new(hello: Hello, epoch: u64) -> Self {
        Self {
            epoch,
            class_transitions: vec![0; hello.classes.len()],
            picture: Picture::new(hello),
            history: History::default(),
            events: EventLog::default(),
            edges: EdgeCounts::default(),
            lost: 0,
            forgotten: 0,
            log_end: 0,
            figures: Vec::new(),
            fragmentation: Vec::new(),
            lints: Watch::default(),
            occupancy: [0; OCCUPANCY_STEPS],
            has_superblocks: true,
            detail: None,
            cached: None,
            past: VecDeque::new(),
            mark: None,
            changed_ns: 0,
            changed_state: 0,
        }
    }

    /// Whether the state that has just come shows more than that time has passed, or did so a moment ago.
    fn is_news(&mut self) -> bool {
        let end = &self.picture.end;
        let mark = Mark {
            parts: self.picture.parts,
            counters: [
                end.allocations_after,
                end.frees_after,
                end.large_allocations,
                end.transitions_seen,
                end.in_hand,
                self.picture.retries(),
                self.missed(),
            ],
            is_consistent: end.consistent,
            viewers: end.viewers,
            lints: self.lints.findings().map(|finding| (finding.lint, finding.raised)).collect(),
        };
        if self.mark.as_ref() != Some(&mark) {
            self.mark = Some(mark);
            self.changed_ns = self.picture.uptime_ns;
            self.changed_state = self.picture.states;
        }
        let states = self.picture.states.saturating_sub(self.changed_state);
        // Not after: a clock that went back is news.
        let since = self.picture.uptime_ns.checked_sub(self.changed_ns);
        since.is_none_or(|since| since <= SETTLING_NS) || states <= SETTLING_STATES
    }

    /// Applies a frame; whether anything that is shown has changed: clocks alone, which tell that time passes, do not count.
    ///
    /// # Errors
    /// When the frame is malformed.
    pub fn apply(&mut self, kind: Kind, payload: &[u8]) -> Result<bool, Error> {
        match self.picture.apply(kind, payload)? {
            Applied::State => {
                self.figures = self.picture.figures().collect();
                self.remember();
                self.fragmentation = fragmentation::by_class(&self.picture);
                self.lints.look(&self.picture, &self.fragmentation);
                self.occupancy = self.picture.partial_occupancy();
                let missed = self.missed();
                self.history.record(&self.picture, self.edges, &self.class_transitions, missed);
                return Ok(self.is_news());
            }
            Applied::Transitions(transitions) => {
                for record in &transitions.records {
                    self.edges.add(record.from, record.to);
                    if let Some(count) = self.class_transitions.get_mut(usize::from(record.class)) {
                        *count += 1;
                    }
                }
                self.events.extend(&transitions);
            }
            Applied::Gap(lost) => self.lost = self.lost.saturating_add(lost),
            Applied::Detail(detail, cached) => {
                (self.detail, self.cached) = (Some(detail), cached);
            }
            Applied::Nothing | Applied::Totals(_) => return Ok(false),
        }
        Ok(true)
    }

    /// A copy of the present alone, without events and close look; of the history only what rates need.
    #[must_use]
    pub fn without_past(&self) -> Self {
        Self {
            epoch: self.epoch,
            picture: self.picture.clone(),
            history: self.history.ends(),
            events: EventLog::default(),
            edges: self.edges,
            lost: self.lost,
            forgotten: self.forgotten.saturating_add(self.events.missed_total()),
            log_end: self.events.end(),
            figures: self.figures.clone(),
            fragmentation: self.fragmentation.clone(),
            lints: self.lints.clone(),
            occupancy: self.occupancy,
            has_superblocks: self.has_superblocks,
            detail: None,
            cached: None,
            past: self.past.clone(),
            class_transitions: self.class_transitions.clone(),
            mark: None,
            changed_ns: self.changed_ns,
            changed_state: self.changed_state,
        }
    }

    /// The data as they were at `moment`, one of these: with the history and the events until then.
    #[must_use]
    pub fn at(&self, moment: &Moment) -> Self {
        let (until_ns, then) = (moment.uptime_ns(), &moment.data);
        Self {
            history: self.history.until(until_ns, &then.history),
            events: self.events.until(until_ns, then.log_end, then.forgotten),
            forgotten: 0,
            ..(**then).clone()
        }
    }

    fn remember(&mut self) {
        let picture = &self.picture;
        let newest = self.past.back().map(|past| past.uptime_ns);
        if newest.is_some_and(|newest| newest > picture.uptime_ns) {
            // A clock that went back: differences would mean nothing.
            self.past.clear();
        }
        let is_due = |newest| picture.uptime_ns.saturating_sub(newest) >= PAST_STEP_NS;
        if newest.is_none_or(is_due) {
            self.past.push_back(Past {
                uptime_ns: picture.uptime_ns,
                heaps: Arc::new(picture.counters.clone()),
                magazines: Arc::new(picture.magazines.clone()),
                large: [picture.end.large_allocations, picture.end.large_frees],
            });
        }
        if self.past.len() > PASTS {
            self.past.pop_front();
        }
    }

    /// The counters of a while ago, or those of `before`; and the seconds since.
    fn since<'a>(&'a self, before: Option<&'a Self>) -> Option<(Then<'a>, f64)> {
        let then = match before {
            Some(before) => Then::now(&before.picture),
            None => self.past.front()?.then(),
        };
        let nanoseconds = self.picture.uptime_ns.checked_sub(then.uptime_ns)?;
        (nanoseconds > 0).then_some((then, nanoseconds as f64 / 1e9))
    }

    /// Allocations, frees, refills and times run dry of a heap, per second over the last one to two seconds, or since
    /// `before`; `None` before there are two states, and without counters.
    #[must_use]
    pub fn heap_rates(&self, class: u16, heap: u16, before: Option<&Self>) -> Option<[f64; 4]> {
        let (past, seconds) = self.since(before)?;
        let now = self.picture.counters.get(&(class, heap))?;
        // A heap that was not used then had counted nothing.
        let then = past.heaps.get(&(class, heap)).copied().unwrap_or_default();
        let rate = |now: u64, then: u64| now.wrapping_sub(then) as f64 / seconds;
        Some([
            rate(now.allocations, then.allocations),
            rate(now.frees, then.frees),
            rate(now.refills, then.refills),
            rate(now.ran_dry, then.ran_dry),
        ])
    }

    /// Pops, pushes, refills, flushes and aborts of a magazine, per second, as [`heap_rates`](Self::heap_rates).
    #[must_use]
    pub fn magazine_rates(
        &self,
        class: u16,
        processor: u16,
        before: Option<&Self>,
    ) -> Option<[f64; 5]> {
        let (past, seconds) = self.since(before)?;
        let now = self.picture.magazines.get(&(class, processor))?;
        let then = past.magazines.get(&(class, processor)).copied().unwrap_or_default();
        let rate = |now: u64, then: u64| {
            // A counter that was read while a batch was on its way may go back a little.
            let more = now.wrapping_sub(then).cast_signed();
            let turns = if more < -(POPS / 2) { POPS } else { 0 };
            (more + turns) as f64 / seconds
        };
        Some([
            rate(now.pops, then.pops),
            rate(now.pushes, then.pushes),
            rate(now.refills, then.refills),
            rate(now.flushes, then.flushes),
            rate(now.aborts, then.aborts),
        ])
    }

    /// The same for all magazines together.
    #[must_use]
    pub fn front_rates(&self, before: Option<&Self>) -> Option<[f64; 5]> {
        let keys = self.picture.magazines.keys();
        let rates = keys.filter_map(|&(class, at)| self.magazine_rates(class, at, before));
        rates.reduce(|sum, more| std::array::from_fn(|place| sum[place] + more[place]))
    }

    /// Large blocks handed out and given back per second, over the last one to two seconds, or since `before`.
    #[must_use]
    pub fn large_rates(&self, before: Option<&Self>) -> Option<[f64; 2]> {
        let (past, seconds) = self.since(before)?;
        let end = &self.picture.end;
        let rate = |now: u64, then: u64| now.wrapping_sub(then) as f64 / seconds;
        Some([rate(end.large_allocations, past.large[0]), rate(end.large_frees, past.large[1])])
    }

    /// Transitions of a class that this viewer has seen.
    #[must_use]
    pub fn transitions_of(&self, class: usize) -> u64 {
        self.class_transitions.get(class).copied().unwrap_or(0)
    }

    /// Transitions (and whole messages) that this viewer has not seen, or that were never recorded.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.drops().saturating_add(self.picture.end.transitions_dropped)
    }

    /// Transitions that this viewer never saw: missing in the log, or not recorded by the program.
    #[must_use]
    pub fn drops(&self) -> u64 {
        self.events.missed_total().saturating_add(self.lost).saturating_add(self.forgotten)
    }

    /// Bytes of all superblocks in each state, by the state's code.
    #[must_use]
    pub fn bytes_by_state(&self) -> [i64; 4] {
        self.figures.iter().fold([0_i64; 4], |mut sum, class| {
            let record = &class.record;
            let counts = [record.active, record.full, record.partial, record.empty];
            for (bytes, count) in sum.iter_mut().zip(counts) {
                let more = i64::from(count).saturating_mul(i64::from(class.info.superblock_bytes));
                *bytes = bytes.saturating_add(more);
            }
            sum
        })
    }
}

#[cfg(test)]
mod tests {
    //! Aim: a clock at the end of its range is no reason to end, and the last change is shown to its end. Method: states of
    //! times made by hand.
    use std::time::Duration;

    use super::*;
    use crate::recording::state::each_frame;
    use crate::source::synthetic::{Synthetic, SyntheticSource};
    use crate::source::{Source as _, SourceEvent};

    fn beginning() -> (Picture, Data) {
        let mut source = SyntheticSource::new(Synthetic::default());
        let SourceEvent::Connected(hello) = source.poll(Duration::ZERO) else {
            panic!("a greeting comes first")
        };
        (Picture::new(hello.clone()), Data::new(hello, 0))
    }

    /// Tells `picture` as a whole state; whether anything that is shown has changed.
    fn tell(data: &mut Data, picture: &Picture) -> bool {
        let mut changed = false;
        each_frame(picture, 1, |kind, payload| {
            changed |= data.apply(kind, payload).expect("a state");
            Ok(())
        })
        .expect("frames");
        changed
    }

    #[test]
    fn a_clock_at_its_end_is_taken_in() {
        let (mut picture, mut data) = beginning();
        for uptime_ns in [u64::MAX - 1, u64::MAX] {
            picture.uptime_ns = uptime_ns;
            tell(&mut data, &picture);
        }
        assert_eq!(data.picture.states, 2);
    }

    /// A rate is shown until a state says that it is over, however far apart states are.
    #[test]
    fn rates_settle_at_every_rate_of_states() {
        for apart_ms in [250, 1000, 3100, 10_000, 60_000] {
            let (mut picture, mut data) = beginning();
            let mut shown = None;
            let mut draws = 0;
            for step in 1..=40 {
                picture.uptime_ns = step * apart_ms * 1_000_000;
                picture.end.allocations_after = 1000 * step.min(3);
                if tell(&mut data, &picture) {
                    shown = data.history.rates().allocations;
                    draws += 1;
                }
            }
            assert_eq!(shown, Some(0.0), "states {apart_ms} ms apart");
            assert!(draws < 20, "{draws} draws, states {apart_ms} ms apart");
        }
    }
}
