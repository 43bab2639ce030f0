//! States kept of the past, to look back at.
//!
//! | bound | value |
//! |---|---|
//! | how far back | ten minutes |
//! | between two | a quarter of a second, or a whole one for large heaps |
//! | memory for superblocks | 24 MiB; moments share what did not change between them |
//! | memory for everything else | 8 MiB |
//!
//! What does not fit goes where it is missed least: the moment whose neighbours are closest together, measured by how
//! long ago it was. So what is kept reaches back as far as there is, densely for the last seconds and ever more
//! sparsely before; a moment loses its superblocks first, and its other figures much later.

use std::collections::VecDeque;

use super::data::Data;
use crate::fragmentation::Fragmentation;
use crate::picture::{OCCUPANCY_STEPS, Superblocks};

/// How far back moments are kept, nanoseconds.
const SPAN_NS: u64 = 600_000_000_000;
/// Least time between two moments, nanoseconds.
const SPACING_NS: u64 = 250_000_000;
/// The same for heaps of more than [`LARGE_HEAP`] superblocks, whose tables a moment makes the next update copy.
const LARGE_SPACING_NS: u64 = 1_000_000_000;
const LARGE_HEAP: usize = 10_000;
/// Bytes of superblocks, all moments together.
const SUPERBLOCK_BYTES: usize = 24 << 20;
/// Bytes of everything else.
const OTHER_BYTES: usize = 8 << 20;

/// One past state: what a connection had told, and what was made of it.
#[derive(Clone, Debug)]
pub struct Moment {
    /// As the data were then, without their history and events, which go on.
    pub(super) data: Box<Data>,
    /// Whether its superblocks are still kept.
    has_superblocks: bool,
    /// Bytes of superblocks that the next moment with superblocks does not share.
    superblock_bytes: usize,
    /// Bytes of everything else.
    other_bytes: usize,
}

impl Moment {
    /// The present of `data`.
    #[must_use]
    pub fn of(data: &Data) -> Self {
        let data = Box::new(data.without_past());
        let has_superblocks = data.has_superblocks;
        let picture = &data.picture;
        let tables = size_of_val(&*picture.classes)
            + size_of_val(&*picture.heaps)
            + size_of_val(&*picture.samples)
            + size_of_val(&*picture.hello.classes)
            // Nodes of a tree are half empty on average.
            + 2 * picture.large.len() * size_of::<lfalloc_protocol::message::LargeRecord>()
            + 2 * picture.counters.len() * size_of::<lfalloc_protocol::message::HeapCounter>()
            + size_of_val(&*picture.depots)
            + 2 * picture.magazines.len() * size_of::<lfalloc_protocol::message::MagazineRecord>()
            + size_of_val(&*data.figures)
            + data.fragmentation.len() * size_of::<Fragmentation>()
            + OCCUPANCY_STEPS * 8;
        Self {
            has_superblocks,
            superblock_bytes: picture.superblocks.bytes_beside(&Superblocks::default()),
            other_bytes: size_of::<Data>() + tables,
            data,
        }
    }

    /// As the data were then, without their history and events.
    #[must_use]
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// How long the process had run then, nanoseconds.
    #[must_use]
    pub fn uptime_ns(&self) -> u64 {
        self.data.picture.uptime_ns
    }

    /// Which of the connection's states it is.
    #[must_use]
    pub fn state(&self) -> u64 {
        self.data.picture.states
    }

    /// Whether its superblocks are still kept.
    #[must_use]
    pub fn has_superblocks(&self) -> bool {
        self.has_superblocks
    }

    fn forget_superblocks(&mut self) {
        self.data.picture.superblocks = Superblocks::default();
        self.data.has_superblocks = false;
        self.has_superblocks = false;
        self.superblock_bytes = 0;
    }
}

/// The moments, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct Moments {
    kept: VecDeque<Moment>,
}

impl Moments {
    /// Keeps the present of `data`, which has just told a whole state, unless the last moment is too close.
    pub fn keep(&mut self, data: &Data) {
        let now = data.picture.uptime_ns;
        if let Some(last) = self.kept.back() {
            let spacing = if data.picture.superblocks.len() > LARGE_HEAP {
                LARGE_SPACING_NS
            } else {
                SPACING_NS
            };
            if last.data.epoch != data.epoch || last.uptime_ns() > now {
                // Another connection, or a clock that went back: the moments do not follow each other.
                self.kept.clear();
            } else if now - last.uptime_ns() < spacing {
                return;
            }
        }
        self.push(Moment::of(data));
        let oldest = now.saturating_sub(SPAN_NS);
        while self.kept.front().is_some_and(|moment| moment.uptime_ns() < oldest) {
            self.kept.pop_front();
        }
        self.thin(SUPERBLOCK_BYTES, OTHER_BYTES);
    }

    fn push(&mut self, moment: Moment) {
        self.kept.push_back(moment);
        self.share_before(self.kept.len() - 1);
    }

    /// Counts anew what the last moment with superblocks before `place` has for itself.
    fn share_before(&mut self, place: usize) {
        let after = self.kept.range(place..).find(|moment| moment.has_superblocks);
        let Some(after) = after.map(|moment| moment.data.picture.superblocks.clone()) else {
            return;
        };
        if let Some(before) = self.kept.range_mut(..place).rfind(|moment| moment.has_superblocks) {
            before.superblock_bytes = before.data.picture.superblocks.bytes_beside(&after);
        }
    }

    /// Lets go of what is over the bounds. The newest moment stays whole.
    fn thin(&mut self, superblock_bytes: usize, other_bytes: usize) {
        while self.superblock_bytes() > superblock_bytes {
            let Some(place) = self.least_missed(|moment| moment.has_superblocks) else { break };
            self.kept[place].forget_superblocks();
            self.share_before(place);
        }
        while self.other_bytes() > other_bytes {
            let Some(place) = self.least_missed(|_| true) else { break };
            self.kept.remove(place);
            self.share_before(place);
        }
    }

    /// The one among those that `counts` whose neighbours are closest together, for its age; never the newest, and the
    /// oldest only when there is nothing between.
    fn least_missed(&self, counts: impl Fn(&Moment) -> bool) -> Option<usize> {
        let places: Vec<usize> =
            (0..self.kept.len()).filter(|&place| counts(&self.kept[place])).collect();
        let now = self.kept.back()?.uptime_ns();
        let at = |place: usize| self.kept[place].uptime_ns();
        let gap = |window: &[usize]| {
            let age = now.saturating_sub(at(window[1])).max(1);
            (at(window[2]) - at(window[0])) as f64 / age as f64
        };
        let closest = places.windows(3).min_by(|one, other| gap(one).total_cmp(&gap(other)));
        let oldest = || (places.len() == 2).then(|| places[0]);
        closest.map(|window| window[1]).or_else(oldest)
    }

    /// Lets go of everything.
    pub fn clear(&mut self) {
        self.kept.clear();
    }

    /// The last moment before state `state` (the first after it, `forward`) that is `shown`.
    #[must_use]
    pub fn beside(
        &self,
        state: u64,
        forward: bool,
        shown: impl Fn(&Moment) -> bool,
    ) -> Option<&Moment> {
        if forward {
            self.kept.iter().find(|moment| moment.state() > state && shown(moment))
        } else {
            self.kept.iter().rfind(|moment| moment.state() < state && shown(moment))
        }
    }

    /// How many moments are kept, and how far they reach back, nanoseconds.
    #[must_use]
    pub fn reach(&self) -> (usize, u64) {
        let reach = match (self.kept.front(), self.kept.back()) {
            (Some(oldest), Some(newest)) => newest.uptime_ns() - oldest.uptime_ns(),
            _ => 0,
        };
        (self.kept.len(), reach)
    }

    /// Bytes that are kept, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.superblock_bytes() + self.other_bytes()
    }

    fn superblock_bytes(&self) -> usize {
        self.kept.iter().map(|moment| moment.superblock_bytes).sum()
    }

    fn other_bytes(&self) -> usize {
        self.kept.iter().map(|moment| moment.other_bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    //! Aim: the bounds hold, the reach is long, what is kept is what was. Method: states of the made-up heap, with a
    //! clock made by hand.
    use std::time::Duration;

    use super::*;
    use crate::source::synthetic::{Synthetic, SyntheticSource};
    use crate::source::{Source as _, SourceEvent};

    const SECOND: u64 = 1_000_000_000;

    /// A connection that tells states of a heap of so many superblocks.
    struct Told {
        source: SyntheticSource,
        data: Option<Data>,
    }

    impl Told {
        fn new(superblocks: u32, operations: u32) -> Self {
            let options = Synthetic { superblocks, operations, ..Synthetic::default() };
            Self { source: SyntheticSource::new(options), data: None }
        }

        /// The data after one further state, told when the process had run for `uptime_ns`.
        fn state(&mut self, uptime_ns: u64) -> &Data {
            let states = |data: &Option<Data>| data.as_ref().map_or(0, |data| data.picture.states);
            let before = states(&self.data);
            while states(&self.data) == before {
                match self.source.poll(Duration::ZERO) {
                    SourceEvent::Connected(hello) => self.data = Some(Data::new(hello, 0)),
                    SourceEvent::Frame(kind, payload) => {
                        let data = self.data.as_mut().expect("greeted");
                        data.apply(kind, &payload).expect("well formed");
                    }
                    _ => {}
                }
            }
            let data = self.data.as_mut().expect("greeted");
            data.picture.uptime_ns = uptime_ns;
            data
        }
    }

    #[test]
    fn moments_come_at_their_spacing_and_a_clock_that_goes_back_clears_them() {
        let (mut told, mut moments) = (Told::new(20, 50), Moments::default());
        for step in 0..20 {
            moments.keep(told.state(10 * SECOND + step * SPACING_NS / 2));
        }
        assert_eq!(moments.reach(), (10, 9 * SPACING_NS));
        moments.keep(told.state(SECOND));
        assert_eq!(moments.reach(), (1, 0));
    }

    #[test]
    fn within_its_bounds_it_reaches_back_as_far_as_there_is() {
        let (mut told, mut moments) = (Told::new(300, 3000), Moments::default());
        let start = 1000 * SECOND;
        for step in 0..2000 {
            moments.keep(told.state(start + step * SPACING_NS));
            assert!(moments.bytes() <= SUPERBLOCK_BYTES + OTHER_BYTES);
        }
        let (count, reach) = moments.reach();
        assert_eq!(reach, 1999 * SPACING_NS, "all of it");
        assert!(count > 100, "{count}");
        // Ever more sparsely: the older half of the time has fewer than the newer.
        let middle = start + reach / 2;
        let older = moments.kept.iter().filter(|moment| moment.uptime_ns() < middle).count();
        assert!(older * 4 < count * 2 && older > count / 50, "{older} of {count}");
        let newest: Vec<_> = moments.kept.iter().rev().take(10).map(Moment::state).collect();
        assert_eq!(newest, (1991..=2000).rev().collect::<Vec<_>>(), "the last ones all");
        for _ in 0..8 {
            let last = moments.kept.back().expect("kept").uptime_ns();
            moments.keep(told.state(last + 100 * SECOND));
        }
        assert!(moments.reach().1 <= SPAN_NS);
    }

    #[test]
    fn superblocks_go_first_and_what_is_kept_is_as_it_was() {
        let (mut told, mut moments) = (Told::new(500, 20_000), Moments::default());
        let mut were = Vec::new();
        for step in 1..=40 {
            let data = told.state(step * SECOND);
            let tags: Vec<u64> = data.picture.superblocks.iter().map(|s| s.tag).collect();
            were.push((data.picture.parts, tags, data.fragmentation.clone()));
            moments.push(Moment::of(data));
        }
        let one = moments.kept.back().expect("kept").superblock_bytes;
        moments.thin(one * 6, usize::MAX);
        assert!(moments.superblock_bytes() <= one * 6);
        assert_eq!(moments.reach().0, 40, "no moment went");
        let whole = moments.kept.iter().filter(|moment| moment.has_superblocks()).count();
        assert!((2..=20).contains(&whole), "{whole}");
        assert!(moments.kept.back().expect("kept").has_superblocks());
        for (moment, (parts, tags, fragmentation)) in moments.kept.iter().zip(were) {
            assert_eq!(moment.data.picture.parts, parts);
            assert_eq!(moment.data.fragmentation, fragmentation);
            let kept: Vec<u64> = moment.data.picture.superblocks.iter().map(|s| s.tag).collect();
            assert!(kept == tags || (kept.is_empty() && !moment.has_superblocks()));
        }
        moments.thin(0, 0);
        assert_eq!(moments.reach().0, 1, "the newest alone");
    }

    #[test]
    fn what_does_not_change_is_shared() {
        let (mut told, mut moments) = (Told::new(5000, 0), Moments::default());
        for step in 1..=20 {
            moments.push(Moment::of(told.state(step * SECOND)));
        }
        let newest = moments.kept.back().expect("kept").superblock_bytes;
        assert!(moments.superblock_bytes() < newest * 3 / 2, "twenty for the price of one");
    }

    #[test]
    fn beside_a_state_is_the_nearest_kept_one() {
        let (mut told, mut moments) = (Told::new(5, 10), Moments::default());
        for step in 1..=5 {
            moments.keep(told.state(step * SECOND));
        }
        let beside = |state, forward| moments.beside(state, forward, |_| true).map(Moment::state);
        assert_eq!((beside(3, false), beside(3, true)), (Some(2), Some(4)));
        assert_eq!((beside(1, false), beside(5, true)), (None, None));
        assert_eq!((beside(99, false), beside(0, true)), (Some(5), Some(1)));
        assert!(moments.beside(5, false, |_| false).is_none());
    }
}
