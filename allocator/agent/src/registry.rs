//! The agent's side of the allocator's registry: one census for everybody who is due, and for each
//! superblock, each heap's counters and each magazine the census in which they last changed.
//!
//! ```text
//!   census   1   2   3   4          a client that has census 2 gets, at census 4, the
//!   #7       ●           ●          superblocks whose last change is later than 2: #7
//!   #8       ●   ●
//! ```
//!
//! All memory that grows with the heap is mapped from the system and counted as the allocator's
//! metadata; the observed heap is not touched.

use std::time::{Duration, Instant};

use lfalloc::observe::{
    self, Backing, Census, Clock, CounterView, MagazineView, MappedVec, SuperblockView, Tables,
};

use crate::error::StartError;
use crate::identity::Uptime;

/// How often a census is taken until nothing moved meanwhile; then it is sent as inconsistent.
const MAX_ATTEMPTS: u32 = 8;
/// How long a state that comes by itself may take for that. A busy program with many superblocks is never caught at
/// rest; one that asks for a state gets all attempts.
const PATIENCE: Duration = Duration::from_millis(2);

/// The attempts that [`PATIENCE`] has time for when one takes `attempt`.
fn attempts_within(attempt: Duration) -> u32 {
    let attempts = PATIENCE.as_nanos() / attempt.as_nanos().max(1);
    u32::try_from(attempts).unwrap_or(MAX_ATTEMPTS).clamp(1, MAX_ATTEMPTS)
}

/// What was last seen of a superblock, and in which census it was new.
#[derive(Clone, Copy, Debug)]
struct Seen {
    anchor: u64,
    address: u64,
    since_ticks: u64,
    census: u64,
    /// The census in which more than the anchor and what is beside it was new.
    renewed: u64,
    id: u32,
    class: u16,
    credits: u16,
    backing: Backing,
    exact: bool,
}

impl Seen {
    fn new(view: &SuperblockView, census: u64) -> Self {
        Self {
            anchor: view.anchor,
            address: view.address,
            since_ticks: view.since_ticks,
            census,
            renewed: census,
            id: view.id,
            class: view.class,
            credits: view.credits,
            backing: view.backing,
            exact: view.exact,
        }
    }

    /// Whether it is the superblock that it was, in the same use.
    fn is_of(&self, view: &SuperblockView) -> bool {
        self.id == view.id
            && self.since_ticks == view.since_ticks
            && self.class == view.class
            && self.backing == view.backing
            && self.address == view.address
    }

    /// Takes in what census number `census` shows.
    fn update(&mut self, view: &SuperblockView, census: u64) {
        if !self.is_of(view) {
            *self = Self::new(view, census);
        } else if (self.anchor, self.credits, self.exact) != (view.anchor, view.credits, view.exact)
        {
            (self.anchor, self.credits, self.exact) = (view.anchor, view.credits, view.exact);
            self.census = census;
        }
    }
}

/// What a heap or a magazine had last counted, and in which census that was new.
#[derive(Clone, Copy, Debug)]
struct Counted<V> {
    view: V,
    census: u64,
}

/// What is told where it changed: once it is in a census it is in every later one.
trait Counter: Copy + Default + PartialEq {
    /// What tells it apart, and what they are ordered by.
    fn key(&self) -> (u16, u16);
    /// What viewers are told of it, and nothing else: it has changed if that has.
    fn told(&self) -> Self {
        *self
    }
}

impl Counter for CounterView {
    fn key(&self) -> (u16, u16) {
        (self.class, self.heap)
    }
}

impl Counter for MagazineView {
    fn key(&self) -> (u16, u16) {
        (self.class, self.processor)
    }

    fn told(&self) -> Self {
        Self { from_core: 0, to_core: 0, ..*self }
    }
}

/// The newest census and the history of changes.
#[derive(Debug)]
pub(crate) struct Registry {
    pub(crate) tables: Tables,
    clock: Clock,
    pub(crate) uptime: Uptime,
    /// What the newest census found; meaningless while `number` is 0.
    pub(crate) census: Census,
    /// Nanoseconds the process had run when it was taken.
    pub(crate) uptime_ns: u64,
    /// Nanoseconds the clock had run then.
    elapsed_ns: u64,
    /// How long an attempt of it took.
    attempt: Duration,
    /// Counts the censuses; 0 before the first.
    pub(crate) number: u64,
    /// By place in `tables.superblocks`.
    seen: MappedVec<Seen>,
    /// By place in `tables.counters`.
    counted: MappedVec<Counted<CounterView>>,
    /// By place in `tables.magazines`.
    magazines: MappedVec<Counted<MagazineView>>,
    /// The first census that found a front. There is none before the first allocation, which an agent of a program that has
    /// another allocator beside may see.
    front_since: Option<u64>,
}

impl Registry {
    pub(crate) fn new(uptime: Uptime) -> Result<Self, StartError> {
        Ok(Self {
            tables: Tables::new().ok_or(StartError::NoMemory)?,
            clock: Clock::start(),
            uptime,
            census: Census::default(),
            uptime_ns: 0,
            elapsed_ns: 0,
            attempt: Duration::ZERO,
            number: 0,
            seen: MappedVec::new(),
            counted: MappedVec::new(),
            magazines: MappedVec::new(),
            front_since: None,
        })
    }

    /// Takes a census, patiently if somebody asked for just this one. False when the system gave no memory for it:
    /// there is then no valid state until one succeeds.
    #[must_use]
    pub(crate) fn take(&mut self, is_asked_for: bool) -> bool {
        let attempts = if is_asked_for { MAX_ATTEMPTS } else { attempts_within(self.attempt) };
        let start = Instant::now();
        let Some(census) = self.tables.take(attempts) else {
            return false;
        };
        self.attempt = start.elapsed() / census.attempts.max(1);
        let number = self.number + 1;
        let superblocks = &self.tables.superblocks;
        let known = self.seen.len();
        if superblocks.len() > known {
            let new = Seen::new(&superblocks[known], number);
            if !self.seen.resize(superblocks.len(), new) {
                return false;
            }
        }
        for (place, (seen, view)) in self.seen.iter_mut().zip(superblocks.iter()).enumerate() {
            if place >= known {
                *seen = Seen::new(view, number);
            } else {
                seen.update(view, number);
            }
        }
        if !merge(&mut self.counted, &self.tables.counters, number)
            || !merge(&mut self.magazines, &self.tables.magazines, number)
        {
            return false;
        }
        if self.front_since.is_none() && observe::magazine_processors() > 0 {
            self.front_since = Some(number);
        }
        self.census = census;
        self.number = number;
        self.uptime_ns = self.uptime.at(Instant::now());
        self.elapsed_ns = self.clock.now().elapsed_ns();
        true
    }

    /// How long ago ticks were when the newest census was taken, in nanoseconds; 0 for ticks that
    /// never were.
    ///
    /// For all records of a state: the clock is read once, and ages are those at the time that the
    /// state bears, however late it is sent.
    pub(crate) fn ages(&self) -> impl Fn(u64) -> u64 + Copy + use<> {
        let now = self.clock.now();
        let delay_ns = now.elapsed_ns().saturating_sub(self.elapsed_ns);
        move |ticks| if ticks == 0 { 0 } else { now.age_ns(ticks).saturating_sub(delay_ns) }
    }

    /// How long the process had run at ticks, in nanoseconds; now for ticks that never were.
    ///
    /// For all records of a message: the clocks are read once, so that times keep the order of
    /// ticks.
    pub(crate) fn uptimes(&self) -> impl Fn(u64) -> u64 + Copy + use<> {
        let uptime_ns = self.uptime.at(Instant::now());
        let now = self.clock.now();
        move |ticks| {
            let age_ns = if ticks == 0 { 0 } else { now.age_ns(ticks) };
            uptime_ns.saturating_sub(age_ns)
        }
    }

    /// The superblocks that a client needs which has state `have`: those that changed since, or, if
    /// it has none, those that are mapped. With `takes_changes`, without those of [`changes_since`](Self::changes_since).
    pub(crate) fn superblocks_since(
        &self,
        have: Option<u64>,
        takes_changes: bool,
    ) -> impl Iterator<Item = &SuperblockView> {
        self.tables.superblocks.iter().zip(self.seen.iter()).filter_map(move |(view, seen)| {
            let wanted = match have {
                Some(have) if takes_changes => seen.renewed > have,
                Some(have) => seen.census > have,
                None => view.backing == Backing::Mapped,
            };
            wanted.then_some(view)
        })
    }

    /// The superblocks of which a client that has state `have` needs no more than the anchor and what is beside it.
    pub(crate) fn changes_since(&self, have: u64) -> impl Iterator<Item = &SuperblockView> {
        let all = self.tables.superblocks.iter().zip(self.seen.iter());
        all.filter(move |(_, seen)| seen.census > have && seen.renewed <= have)
            .map(|(view, _)| view)
    }

    /// The counters that a client needs which has state `have`: those that changed since, or, if it
    /// has none, all.
    pub(crate) fn counters_since(&self, have: Option<u64>) -> impl Iterator<Item = &CounterView> {
        since(&self.counted, have)
    }

    /// The same for magazines.
    pub(crate) fn magazines_since(&self, have: Option<u64>) -> impl Iterator<Item = &MagazineView> {
        since(&self.magazines, have)
    }

    /// Whether there is a front.
    pub(crate) fn has_front(&self) -> bool {
        self.front_since.is_some()
    }

    /// Whether a client that has state `have` has to be told how the front is built.
    pub(crate) fn is_front_new(&self, have: Option<u64>) -> bool {
        self.front_since.is_some_and(|since| have.is_none_or(|have| have < since))
    }

    /// How long ago ticks are now, in nanoseconds; 0 for ticks that never were.
    pub(crate) fn ages_now(&self) -> impl Fn(u64) -> u64 + Copy + use<> {
        let now = self.clock.now();
        move |ticks| if ticks == 0 { 0 } else { now.age_ns(ticks) }
    }

    /// Bytes mapped for all of this.
    pub(crate) fn bytes(&self) -> usize {
        self.tables.bytes() + self.seen.bytes() + self.counted.bytes() + self.magazines.bytes()
    }
}

/// Those that changed after census `have`, or all.
fn since<V>(counted: &[Counted<V>], have: Option<u64>) -> impl Iterator<Item = &V> {
    counted
        .iter()
        .filter(move |counted| have.is_none_or(|have| counted.census > have))
        .map(|counted| &counted.view)
}

/// Brings `counted` up to `views`, both in the order of their keys: what is new or has changed is of census
/// `number`. False, and nothing is changed, when the system gives no memory.
///
/// From the back and in place: what was used stays so, hence no place of the new table is
/// before that of the same key in the old one.
fn merge<V: Counter>(counted: &mut MappedVec<Counted<V>>, views: &[V], number: u64) -> bool {
    let mut old = counted.len();
    let nothing = Counted { view: V::default(), census: number };
    if !counted.resize(views.len(), nothing) {
        return false;
    }
    for (place, view) in views.iter().enumerate().rev() {
        let before = old.checked_sub(1).map(|last| counted[last]);
        let known = before.filter(|before| before.view.key() == view.key());
        old -= usize::from(known.is_some());
        counted[place] = match known {
            Some(known) if known.view.told() == view.told() => known,
            _ => Counted { view: *view, census: number },
        };
    }
    true
}

#[cfg(test)]
mod tests {
    //! Aim: times of one message can be compared with each other. Method: ticks that lie closer than
    //! one reading of the clock takes, and a state that is sent late.
    use std::thread::sleep;
    use std::time::Duration;

    use lfalloc::observe::{State, Transition};

    use super::*;
    use crate::convert;

    /// What changed is new, what is new is new, and what is as it was keeps its census, wherever
    /// new heaps come in.
    #[test]
    fn counters_keep_the_census_in_which_they_changed() {
        let view = |class, heap, allocations| CounterView {
            class,
            heap,
            allocations,
            ..CounterView::default()
        };
        let censuses = |counted: &MappedVec<Counted<CounterView>>| {
            counted
                .iter()
                .map(|counted| (counted.view.class, counted.view.heap, counted.census))
                .collect::<Vec<_>>()
        };
        let mut counted = MappedVec::new();
        assert!(merge(&mut counted, &[view(1, 0, 5), view(3, 2, 5)], 1));
        assert_eq!(censuses(&counted), [(1, 0, 1), (3, 2, 1)]);
        assert!(merge(&mut counted, &[view(1, 0, 5), view(3, 2, 6)], 2));
        assert_eq!(censuses(&counted), [(1, 0, 1), (3, 2, 2)]);
        let grown = [
            view(0, 9, 1),
            view(1, 0, 5),
            view(1, 1, 1),
            view(3, 1, 1),
            view(3, 2, 6),
            view(4, 0, 1),
        ];
        assert!(merge(&mut counted, &grown, 3));
        let expected = [(0, 9, 3), (1, 0, 1), (1, 1, 3), (3, 1, 3), (3, 2, 2), (4, 0, 3)];
        assert_eq!(censuses(&counted), expected);
        assert!(merge(&mut counted, &grown, 4));
        assert_eq!(censuses(&counted), expected);
    }

    /// Aim: a counter that viewers are not told of is no change for them: a thread that is stopped between two counters, of which
    /// they are told the first, changes nothing later. Method: censuses as they see it.
    #[test]
    fn what_is_not_told_is_no_change() {
        let view = |flushes, to_core| MagazineView { flushes, to_core, ..MagazineView::default() };
        let mut counted = MappedVec::new();
        for (number, view) in (1..).zip([view(1, 0), view(1, 127), view(2, 127)]) {
            assert!(merge(&mut counted, &[view], number));
        }
        assert_eq!(counted[0].census, 3);
        assert!(merge(&mut counted, &[view(2, 254)], 4));
        assert_eq!(counted[0].census, 3);
    }

    /// A registry whose clock can be used already.
    fn registry() -> Registry {
        let registry = Registry::new(Uptime::read()).unwrap_or_else(|error| panic!("{error}"));
        sleep(Duration::from_millis(5));
        registry
    }

    #[test]
    fn times_of_a_message_keep_the_order_of_ticks() {
        let registry = registry();
        let first = Clock::now_ticks() - 2000;
        let views = (first..first + 1000).map(|ticks| Transition {
            ticks,
            from: State::Active,
            ..Transition::NOTHING
        });
        let uptimes = registry.uptimes();
        let times: Vec<u64> =
            views.map(|view| convert::transition(&view, uptimes).uptime_ns).collect();
        assert!(times.is_sorted(), "{times:?}");
        assert!(times[0] < times[999], "{times:?}");
        let now_ns = registry.uptime.at(Instant::now());
        assert!(times[999] <= now_ns && now_ns - times[999] < 1_000_000_000, "{now_ns} {times:?}");
    }

    #[test]
    fn a_state_that_comes_by_itself_takes_no_longer_than_its_patience() {
        let attempts = |microseconds| attempts_within(Duration::from_micros(microseconds));
        assert_eq!(
            [0, 1, 250, 251, 900, 2000, 2001, 1 << 40].map(attempts),
            [8, 8, 8, 7, 2, 1, 1, 1]
        );
    }

    #[test]
    fn ages_of_a_state_are_those_when_it_was_taken() {
        let mut registry = registry();
        let ticks = Clock::now_ticks();
        sleep(Duration::from_millis(20));
        assert!(registry.take(true));
        let at_once = registry.ages()(ticks);
        sleep(Duration::from_millis(200));
        let ages = registry.ages();
        assert!((19_000_000..=at_once + 100_000_000).contains(&ages(ticks)), "{at_once}");
        assert_eq!(ages(ticks), ages(ticks));
        assert_eq!((ages(0), ages(Clock::now_ticks())), (0, 0));
    }
}
