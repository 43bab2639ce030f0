//! The event log: transitions as they came, and gaps where some were lost.
//!
//! Every entry has a number for life, so that a cursor stays on its entry while others come and the
//! oldest are dropped.

use std::collections::VecDeque;

use lfalloc_protocol::message::{TransitionRecord, Transitions};

use super::edge::Edge;

/// Entries kept; the oldest are dropped.
pub const CAPACITY: usize = 20_000;
/// Entries kept while the view is frozen, so that single steps find what has come since.
pub const FROZEN_CAPACITY: usize = 200_000;

/// One line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A transition.
    Transition(TransitionRecord),
    /// This many transitions are missing here.
    Missed(u64),
}

impl Entry {
    /// Whether the entry is shown when only `edge` is. Gaps always are: the edge may be in them.
    #[must_use]
    pub fn matches(&self, edge: Option<Edge>) -> bool {
        match (self, edge) {
            (_, None) | (Self::Missed(_), _) => true,
            (Self::Transition(record), edge) => Edge::between(record.from, record.to) == edge,
        }
    }
}

/// The log.
#[derive(Clone, Debug)]
pub struct EventLog {
    entries: VecDeque<Entry>,
    /// Number of the first entry that is kept.
    first: u64,
    /// Transitions known to be missing.
    missed: u64,
    capacity: usize,
    /// Numbers that this log spent less than the newer one that it steps through: see
    /// [`step_from`](Self::step_from).
    behind: u64,
}

impl Default for EventLog {
    fn default() -> Self {
        Self { entries: VecDeque::new(), first: 0, missed: 0, capacity: CAPACITY, behind: 0 }
    }
}

impl EventLog {
    /// Keeps up to `capacity` entries from now on.
    pub fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
        let surplus = self.entries.len().saturating_sub(capacity);
        self.entries.drain(..surplus);
        self.first += surplus as u64;
    }

    /// Adds what a message brought.
    pub fn extend(&mut self, transitions: &Transitions) {
        self.missed(transitions.missed);
        for record in &transitions.records {
            self.push(Entry::Transition(*record));
        }
    }

    /// Notes that `count` transitions are missing here.
    pub fn missed(&mut self, count: u64) {
        if count == 0 {
            return;
        }
        self.missed = self.missed.saturating_add(count);
        if let Some(Entry::Missed(before)) = self.entries.back_mut() {
            *before = before.saturating_add(count);
        } else {
            self.push(Entry::Missed(count));
        }
    }

    fn push(&mut self, entry: Entry) {
        if self.entries.len() >= self.capacity {
            self.entries.pop_front();
            self.first += 1;
        }
        self.entries.push_back(entry);
    }

    /// Number of the first entry kept.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Number of the entry that comes next.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// The entry of that number, if it is kept.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<&Entry> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.entries.get(place)
    }

    /// Transitions known to be missing, ever.
    #[must_use]
    pub fn missed_total(&self) -> u64 {
        self.missed
    }

    /// Number of the nearest entry after `number` (or before it) that `admits` admits. Gaps that
    /// nothing shown stands between count as one, as in [`window`](Self::window).
    #[must_use]
    pub fn seek(&self, number: u64, forward: bool, admits: impl Fn(&Entry) -> bool) -> Option<u64> {
        let shown = |number: &u64| self.get(*number).is_some_and(&admits);
        let is_gap = |number: u64| matches!(self.get(number), Some(Entry::Missed(_)));
        if forward {
            let mut shown = (number.saturating_add(1).max(self.first)..self.end()).filter(shown);
            let mut found = shown.next()?;
            if is_gap(found) {
                found = shown.take_while(|&next| is_gap(next)).last().unwrap_or(found);
            }
            Some(found)
        } else {
            let from_gap = is_gap(number);
            (self.first..number.min(self.end()))
                .rev()
                .filter(shown)
                .find(|&found| !(from_gap && is_gap(found)))
        }
    }

    /// Up to `count` numbers of entries that `admits` admits, ending with `last` or the nearest before it,
    /// each with its entry. Gaps that nothing stands between are one, under the number of the last.
    #[must_use]
    pub fn window(
        &self,
        last: u64,
        count: usize,
        admits: impl Fn(&Entry) -> bool,
    ) -> Vec<(u64, Entry)> {
        let end = last.saturating_add(1).min(self.end());
        let mut shown: Vec<(u64, Entry)> = Vec::new();
        for number in (self.first..end).rev() {
            let Some(entry) = self.get(number).filter(|entry| admits(entry)) else {
                continue;
            };
            if let (Entry::Missed(count), Some((_, Entry::Missed(later)))) =
                (entry, shown.last_mut())
            {
                *later = later.saturating_add(*count);
                continue;
            }
            if shown.len() == count {
                break;
            }
            shown.push((number, *entry));
        }
        shown.reverse();
        shown
    }

    /// The entries of a page of `height` rows, by number: around the cursor, `below` rows (or a third of the page)
    /// below it, or the newest. A cursor whose entry was dropped stands on the oldest.
    #[must_use]
    pub fn page(
        &self,
        cursor: Option<u64>,
        below: Option<u16>,
        height: usize,
        admits: impl Fn(&Entry) -> bool,
    ) -> Vec<(u64, Entry)> {
        let mut last = cursor.map_or(self.end(), |cursor| cursor.max(self.first));
        let below = below.map_or(height / 3, usize::from).min(height.saturating_sub(1));
        for _ in 0..cursor.map_or(0, |_| below) {
            match self.seek(last, true, &admits) {
                Some(next) => last = next,
                None => break,
            }
        }
        self.window(last, height, admits)
    }

    /// Where the cursor goes by `count` entries; `None` follows the newest, which it does again past the end unless the
    /// log stands still.
    #[must_use]
    pub fn moved(
        &self,
        cursor: Option<u64>,
        forward: bool,
        count: usize,
        stands_still: bool,
        admits: impl Fn(&Entry) -> bool,
    ) -> Option<u64> {
        let newest = self.seek(self.end(), false, &admits);
        let mut here = cursor.or(newest)?;
        for _ in 0..count {
            match self.seek(here, forward, &admits) {
                Some(next) => here = next,
                None => break,
            }
        }
        let follows = forward && Some(here) == newest && !stands_still;
        (!follows).then_some(here)
    }

    /// The log as it was when the process had run for `uptime_ns`; single steps lead on from there. `end` was the number
    /// of the entry to come next then, and `missed` were missing.
    #[must_use]
    pub fn until(&self, uptime_ns: u64, end: u64, missed: u64) -> Self {
        if end < self.first {
            // All of it was dropped since, and some of what followed: the first step is a gap.
            let entries = VecDeque::new();
            return Self {
                entries,
                first: end,
                missed,
                capacity: self.capacity,
                behind: self.behind,
            };
        }
        // Records of different processors may stand a little out of order; what follows the last one of that time does not
        // belong to it.
        let is_earlier = |entry: &Entry| match entry {
            Entry::Transition(record) => record.uptime_ns <= uptime_ns,
            Entry::Missed(_) => false,
        };
        let end = self.entries.iter().rposition(is_earlier).map_or(0, |last| last + 1);
        let later = self.entries.range(end..).fold(0_u64, |later, entry| match entry {
            Entry::Missed(count) => later.saturating_add(*count),
            Entry::Transition(_) => later,
        });
        Self {
            entries: self.entries.range(..end).copied().collect(),
            first: self.first,
            missed: self.missed.saturating_sub(later),
            capacity: self.capacity,
            behind: self.behind,
        }
    }

    /// Takes over the entry that follows the last one here from `newer`, a log that went on from
    /// this one; what `newer` has dropped meanwhile becomes a gap here, and nothing that was kept
    /// before it goes. False: there is nothing newer.
    pub fn step_from(&mut self, newer: &Self) -> bool {
        // A gap is one entry here and stands for many of the newer log.
        let next = self.end() + self.behind;
        if next >= newer.end() {
            return false;
        }
        if next < newer.first {
            let lost = newer.first - next;
            self.behind += lost - 1;
            self.missed = self.missed.saturating_add(lost);
            self.push(Entry::Missed(lost));
            return true;
        }
        let Some(entry) = newer.get(next) else {
            return false;
        };
        if let Entry::Missed(count) = entry {
            self.missed = self.missed.saturating_add(*count);
        }
        self.push(*entry);
        true
    }
}

#[cfg(test)]
mod tests {
    //! Aim: numbers stay with their entries, and nothing lost goes unmentioned.
    use lfalloc_protocol::message::state;

    use super::*;

    fn record(tag: u64, from: u8, to: u8) -> TransitionRecord {
        TransitionRecord { uptime_ns: tag, superblock: 1, class: 0, from, to, cause: 0, tag }
    }

    fn on(edge: Option<Edge>) -> impl Fn(&Entry) -> bool + Copy {
        move |entry| entry.matches(edge)
    }

    fn log(tags: std::ops::Range<u64>) -> EventLog {
        let mut log = EventLog::default();
        let records = tags.map(|tag| record(tag, state::ACTIVE, state::FULL)).collect();
        log.extend(&Transitions { missed: 0, records });
        log
    }

    #[test]
    fn numbers_survive_the_dropping_of_the_oldest() {
        let capacity = CAPACITY as u64;
        let log = log(0..capacity + 10);
        assert_eq!((log.first(), log.end()), (10, capacity + 10));
        assert_eq!(log.get(9), None);
        let Some(Entry::Transition(first)) = log.get(10) else { panic!("kept") };
        assert_eq!(first.tag, 10);
    }

    #[test]
    fn gaps_join_and_are_counted() {
        let mut log = log(0..1);
        log.missed(3);
        log.extend(&Transitions { missed: 4, records: vec![record(9, 1, 2)] });
        assert_eq!(log.get(1), Some(&Entry::Missed(7)));
        assert_eq!(log.end(), 3);
        assert_eq!(log.missed_total(), 7);
    }

    #[test]
    fn seeking_and_windows_follow_one_edge() {
        let mut log = EventLog::default();
        let records = (0..9)
            .map(|tag| {
                let to = if tag % 3 == 0 { state::PARTIAL } else { state::FULL };
                record(tag, state::ACTIVE, to)
            })
            .collect();
        log.extend(&Transitions { missed: 0, records });
        let edge = on(Some(Edge::ActivePartial));
        assert_eq!(log.seek(0, true, edge), Some(3));
        assert_eq!(log.seek(3, false, edge), Some(0));
        assert_eq!(log.seek(6, true, edge), None);
        let numbers = |shown: Vec<(u64, Entry)>| -> Vec<u64> {
            shown.into_iter().map(|(number, _)| number).collect()
        };
        assert_eq!(numbers(log.window(8, 2, edge)), [3, 6]);
        assert_eq!(numbers(log.window(u64::MAX, 3, on(None))), [6, 7, 8]);
        assert!(log.window(8, 0, on(None)).is_empty());
        assert_eq!(numbers(log.page(None, None, 2, edge)), [3, 6]);
        let page = |below| numbers(log.page(Some(4), below, 3, on(None)));
        assert_eq!(page(None), [3, 4, 5], "a third of the page is below");
        assert_eq!((page(Some(0)), page(Some(9))), (vec![2, 3, 4], vec![4, 5, 6]));
        assert_eq!(log.moved(None, false, 1, false, edge), Some(3));
        assert_eq!(log.moved(Some(3), true, 9, false, edge), None, "follows the newest again");
        assert_eq!(log.moved(Some(3), true, 9, true, edge), Some(6), "unless it stands still");
    }

    #[test]
    fn stepping_takes_over_one_entry_or_a_gap() {
        let newer = log(0..4);
        let mut frozen = log(0..3);
        assert!(frozen.step_from(&newer));
        assert_eq!(frozen.get(3), newer.get(3));
        assert!(!frozen.step_from(&newer));

        let kept = frozen.get(0).copied();
        let far = log(0..CAPACITY as u64 + 100);
        assert!(frozen.step_from(&far));
        assert_eq!((frozen.get(0).copied(), frozen.end()), (kept, 5), "nothing kept goes");
        assert_eq!((frozen.get(4), frozen.missed_total()), (Some(&Entry::Missed(96)), 96));
        assert!(frozen.step_from(&far));
        assert_eq!(frozen.get(5), far.get(100));
        while frozen.step_from(&far) {}
        let Some(Entry::Transition(last)) = frozen.get(frozen.end() - 1) else { panic!("kept") };
        assert_eq!(last.tag, CAPACITY as u64 + 99, "all of the newer ones, once each");
    }

    #[test]
    fn a_log_of_the_past_is_what_it_was_and_steps_lead_to_the_present() {
        let mut log = EventLog::default();
        log.extend(&Transitions { missed: 2, records: vec![record(5, 0, 1), record(4, 1, 2)] });
        log.extend(&Transitions { missed: 3, records: vec![record(8, 2, 3)] });
        assert_eq!((log.until(3, 0, 0).end(), log.until(3, 0, 0).missed_total()), (0, 0));
        // The one that stands out of order belongs to its time, and so does what stands before it.
        let mut past = log.until(4, 0, 0);
        assert_eq!((past.end(), past.missed_total()), (3, 2));
        assert!(past.step_from(&log));
        assert_eq!((past.get(3), past.missed_total()), (Some(&Entry::Missed(3)), 5));
        assert!(past.step_from(&log));
        assert!(!past.step_from(&log));
        assert_eq!(past.get(4), log.get(4));
        assert_eq!(log.until(8, 9, 9).end(), log.end());
    }

    #[test]
    fn a_larger_capacity_keeps_more_and_a_smaller_one_drops_the_oldest() {
        let mut log = EventLog::default();
        log.set_capacity(FROZEN_CAPACITY);
        let records = |tags: std::ops::Range<u64>| Transitions {
            missed: 0,
            records: tags.map(|tag| record(tag, state::ACTIVE, state::FULL)).collect(),
        };
        log.extend(&records(0..CAPACITY as u64 + 7));
        assert_eq!(log.first(), 0);
        log.set_capacity(CAPACITY);
        assert_eq!((log.first(), log.end()), (7, CAPACITY as u64 + 7));
    }

    #[test]
    fn gaps_that_nothing_shown_is_between_are_one() {
        let mut log = log(0..1);
        log.missed(3);
        log.extend(&Transitions {
            missed: 0,
            records: vec![record(1, state::PARTIAL, state::EMPTY)],
        });
        log.missed(4);
        let edge = on(Some(Edge::ActiveFull));
        let shown = log.window(u64::MAX, 9, edge);
        assert_eq!(shown[1..], [(3, Entry::Missed(7))]);
        assert_eq!(log.window(u64::MAX, 1, edge), [(3, Entry::Missed(7))]);
        assert_eq!(log.window(u64::MAX, 9, on(None)).len(), 4);
        assert_eq!((log.seek(0, true, edge), log.seek(3, false, edge)), (Some(3), Some(0)));
        assert_eq!((log.seek(0, true, on(None)), log.seek(3, false, on(None))), (Some(1), Some(2)));
    }
}
