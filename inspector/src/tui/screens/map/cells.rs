//! The superblocks in order, and the cells they share.
//!
//! | rank, the worst first | |
//! |---|---|
//! | something is live | the less of it, the worse |
//! | ACTIVE, PARTIAL without a live block | |
//! | EMPTY | ready for any class of its size |

use std::cmp::Ordering;

use lfalloc_protocol::message::state;
use ratatui::layout::Rect;

use super::Cursor;
use crate::fragmentation::is_pinned;
use crate::picture::Superblock;
use crate::tui::data::Data;
use crate::tui::screens::paint;
use crate::tui::terms::Terms;

/// What the superblocks are ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Where they lie.
    #[default]
    Address,
    /// Their class, then occupancy.
    Class,
    /// When they were taken for their class.
    Age,
    /// How much of them is live.
    Occupancy,
}

impl Order {
    const ALL: [Self; 4] = [Self::Address, Self::Class, Self::Age, Self::Occupancy];

    /// Its name.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Class => "class",
            Self::Age => "age",
            Self::Occupancy => "occupancy",
        }
    }

    /// The order after it.
    pub(super) fn next(self) -> Self {
        let place = Self::ALL.iter().position(|&order| order == self).unwrap_or(0);
        Self::ALL[(place + 1) % Self::ALL.len()]
    }
}

/// What has become of a superblock since the baseline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// Nothing, or differences are not shown.
    #[default]
    Same,
    /// As much is live as was, but it has changed meanwhile.
    Stirred,
    /// Less is live.
    Emptier,
    /// More is live.
    Fuller,
    /// It was not mapped, or of another class or age.
    New,
}

/// A superblock with what orders and cells need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) id: u32,
    pub(super) state: u8,
    /// In thousandths of its blocks.
    pub(super) live: u16,
    /// Since the baseline.
    pub(super) change: Change,
}

impl Member {
    /// The higher the worse.
    fn rank(self) -> u16 {
        match (self.state, self.live) {
            (state::EMPTY, _) => 0,
            (_, 0) => 1,
            (_, live) => 2000 - live.min(1000),
        }
    }

    /// Whether few live blocks keep it; exact, since a share is rounded down.
    pub(super) fn is_pinned(self) -> bool {
        is_pinned(i64::from(self.live), 1000)
    }
}

fn live_thousandths(data: &Data, record: &Superblock) -> u16 {
    let info = data.picture.hello.classes.get(usize::from(record.class));
    let maxcount = info.map_or(1, |info| i64::from(info.blocks_per_superblock).max(1));
    let live = data.picture.superblock_live_blocks(record).clamp(0, maxcount);
    // Something live is never shown as nothing.
    let share = live * 1000 / maxcount;
    u16::try_from(if live > 0 { share.max(1) } else { 0 }).unwrap_or(1000)
}

fn change(data: &Data, record: &Superblock, before: &Data) -> Change {
    // Clocks of the two are the same; the age is told to the microsecond or so.
    const SAME_AGE_NS: u64 = 1_000_000;
    let is_same = |then: &&Superblock| {
        then.class == record.class && then.since_ns.abs_diff(record.since_ns) < SAME_AGE_NS
    };
    let Some(then) = before.picture.superblocks.get(record.id).filter(is_same) else {
        return Change::New;
    };
    let live = |data: &Data, record| data.picture.superblock_live_blocks(record);
    match live(data, record).cmp(&live(before, then)) {
        Ordering::Greater => Change::Fuller,
        Ordering::Less => Change::Emptier,
        Ordering::Equal if record.anchor != then.anchor => Change::Stirred,
        Ordering::Equal => Change::Same,
    }
}

/// The superblocks that the filter admits, in order; with what has become of them since `before`, if it is given.
pub(super) fn members(cursor: &Cursor, data: &Data, before: Option<&Data>) -> Vec<Member> {
    let classes = &data.picture.hello.classes;
    let mut all: Vec<(&Superblock, Member)> = Vec::with_capacity(data.picture.superblocks.len());
    for record in data.picture.superblocks.iter() {
        let live = live_thousandths(data, record);
        let change = before.map_or(Change::Same, |before| change(data, record, before));
        if cursor.filter.is_idle() || admits(&cursor.filter, data, record, live, change) {
            all.push((record, Member { id: record.id, state: record.state, live, change }));
        }
    }
    let mut all = by_address(&all, |(record, _)| record.address);
    // Stable: equals stay in the order of their addresses.
    match cursor.order {
        Order::Address => {}
        Order::Class => all.sort_by_key(|(record, member)| {
            let info = classes.get(usize::from(record.class));
            (info.map_or(0, |info| info.block_bytes), member.live)
        }),
        Order::Age => all.sort_by_key(|(record, _)| record.since_ns),
        Order::Occupancy => all.sort_by_key(|(_, member)| member.live),
    }
    if cursor.inverted {
        all.reverse();
    }
    all.into_iter().map(|(_, member)| member).collect()
}

/// `all`, which are by number, by `address`.
///
/// Superblocks are carved from one mapping after the other, so that numbers go on with addresses within each: putting
/// mappings in order is much cheaper than sorting superblocks (100,000 of them: 1.6 ms instead
/// of 4.2).
fn by_address<T: Copy>(all: &[T], address: impl Fn(&T) -> u64) -> Vec<T> {
    // No superblock is longer, so that no other mapping lies between two of one run.
    const STEP: u64 = 1 << 20;
    let is_run = |one: &T, next: &T| address(next).wrapping_sub(address(one)) <= STEP;
    let mut runs: Vec<&[T]> = all.chunk_by(is_run).collect();
    runs.sort_by_key(|run| address(&run[0]));
    let is_apart = runs.is_sorted_by(|one, next| address(&one[one.len() - 1]) <= address(&next[0]));
    let mut in_order = runs.concat();
    if !is_apart {
        in_order.sort_by_key(address);
    }
    in_order
}

fn admits(filter: &Terms, data: &Data, record: &Superblock, live: u16, change: Change) -> bool {
    let info = data.picture.hello.classes.get(usize::from(record.class));
    let figure = |name: &str| {
        Some(match name {
            "occ" => f64::from(live) / 10.0,
            "live" => data.picture.superblock_live_blocks(record) as f64,
            "block" => f64::from(info?.block_bytes),
            "class" => f64::from(record.class),
            "age" => data.picture.age_ns(record) as f64 / 1e9,
            "id" => f64::from(record.id),
            _ => return None,
        })
    };
    let word = |word: &str| {
        let name = state::name(record.state).to_lowercase();
        match (word.strip_prefix('#'), word) {
            (Some(id), _) => id.parse() == Ok(record.id),
            (None, "new") => change == Change::New,
            (None, "changed") => change != Change::Same,
            (None, _) => name.starts_with(word),
        }
    };
    filter.admits(figure, word)
}

/// How the members lie in the cells of an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    pub(super) columns: usize,
    pub(super) rows: usize,
    /// Members of a cell.
    pub(super) per_cell: usize,
    /// The first row that is shown.
    first_row: usize,
}

impl Grid {
    pub(super) fn new(area: Rect, count: usize, zoomed: bool, selected: usize) -> Self {
        let (columns, rows) = (usize::from(area.width).max(1), usize::from(area.height).max(1));
        let per_cell = if zoomed { 1 } else { count.div_ceil(columns * rows).max(1) };
        let all_rows = count.div_ceil(per_cell).div_ceil(columns);
        let first_row = paint::scroll(selected / per_cell / columns, all_rows, rows);
        Self { columns, rows, per_cell, first_row }
    }

    /// The members of the cell in that column and row of the screen.
    pub(super) fn at(&self, count: usize, column: usize, row: usize) -> std::ops::Range<usize> {
        let cell = (self.first_row + row) * self.columns + column;
        let from = (cell * self.per_cell).min(count);
        from..(from + self.per_cell).min(count)
    }
}

/// The one that a cell shows: while differences are shown, one of those that changed most.
pub(super) fn worst(members: &[Member]) -> Option<Member> {
    // The first of equals, so that the picture does not depend on how many there are.
    members.iter().rev().max_by_key(|member| (member.change, member.rank())).copied()
}

#[cfg(test)]
mod tests {
    //! Aim: every superblock is in exactly one cell, and the worst of a cell is what is shown. Method: any area up to
    //! 200×60, any number of superblocks up to 100,000.
    use proptest::prelude::*;

    use super::*;

    fn member(id: u32, state: u8, live: u16) -> Member {
        Member { id, state, live, change: Change::Same }
    }

    #[test]
    fn the_worst_member_is_the_one_that_pins() {
        let pinned = member(1, state::PARTIAL, 1);
        let others = [
            member(2, state::FULL, 1000),
            member(3, state::EMPTY, 0),
            member(4, state::ACTIVE, 0),
            member(5, state::PARTIAL, 500),
        ];
        for place in 0..=others.len() {
            let mut all = others.to_vec();
            all.insert(place, pinned);
            assert_eq!(worst(&all), Some(pinned));
        }
        assert_eq!(worst(&others[..3]), Some(others[0]), "something live before nothing live");
        assert_eq!(worst(&others[1..3]), Some(others[2]));
        assert_eq!(worst(&[]), None);
        assert!(pinned.is_pinned() && !others[0].is_pinned() && !others[2].is_pinned());
    }

    #[test]
    fn mappings_that_overlap_are_sorted_too() {
        let addresses = [(3, 'a'), (9, 'b'), (1, 'c'), (4, 'd'), (4, 'e')];
        let expected = [(1, 'c'), (3, 'a'), (4, 'd'), (4, 'e'), (9, 'b')];
        assert_eq!(by_address(&addresses, |(address, _)| *address), expected);
        assert!(by_address(&[], |address| *address).is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 192,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn members_are_by_address(
            mappings in proptest::collection::vec((0..64_u64, 1..20_u64), 0..40),
        ) {
            let addresses: Vec<u64> =
                mappings.iter().flat_map(|(base, count)| (0..*count).map(move |place| base * 16 + place)).collect();
            let mut sorted = addresses.clone();
            sorted.sort_unstable();
            prop_assert_eq!(by_address(&addresses, |address| *address), sorted);
        }

        #[test]
        fn every_member_is_in_exactly_one_cell_which_shows_its_worst(
            width in 1..=200_u16,
            height in 1..=60_u16,
            count in prop_oneof![0..=100_usize, 0..=100_000_usize],
            seed in any::<u32>(),
        ) {
            let made = |id: u32| {
                let bits = (id ^ seed).wrapping_mul(0x9E37_79B9);
                member(id, (bits >> 30) as u8, ((bits >> 8) % 1001) as u16)
            };
            let members: Vec<Member> = (0..count as u32).map(made).collect();
            let grid = Grid::new(Rect::new(0, 0, width, height), count, false, 0);
            let mut next = 0;
            for row in 0..grid.rows {
                for column in 0..grid.columns {
                    let range = grid.at(count, column, row);
                    // Cells follow each other without a gap, and behind the last member they are empty.
                    prop_assert_eq!(range.start, next);
                    next = range.end;
                    let cell = &members[range];
                    let shown = worst(cell);
                    prop_assert_eq!(shown.is_none(), cell.is_empty());
                    let Some(shown) = shown else { continue };
                    prop_assert!(cell.contains(&shown));
                    prop_assert!(cell.iter().all(|member| member.rank() <= shown.rank()));
                    // What few blocks pin is never hidden by what is well used.
                    prop_assert_eq!(
                        cell.iter().any(|member| member.is_pinned() && member.state != state::EMPTY),
                        shown.is_pinned() && shown.state != state::EMPTY
                    );
                }
            }
            prop_assert_eq!(next, count);
            prop_assert_eq!((grid.columns, grid.rows), (usize::from(width), usize::from(height)));
        }
    }

    #[test]
    fn zoomed_the_selected_one_is_on_screen() {
        for selected in [0, 1, 500, 99_999] {
            let grid = Grid::new(Rect::new(0, 0, 10, 5), 100_000, true, selected);
            let on_screen = (0..5)
                .any(|row| (0..10).any(|column| grid.at(100_000, column, row).contains(&selected)));
            assert!(on_screen, "{selected}");
        }
    }
}
