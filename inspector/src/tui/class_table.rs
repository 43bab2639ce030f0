//! The Classes table without its drawing: columns, order, filter, cursor.

use std::cmp::Ordering;

use lfalloc_protocol::message::ClassRecord;

use super::data::Data;
use super::terms::Terms;
use crate::format;
use crate::fragmentation::Fragmentation;
use crate::picture::ClassFigures;

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Class number.
    Class,
    /// Bytes of a block.
    Block,
    /// Superblocks that are ACTIVE.
    Active,
    /// Superblocks that are FULL.
    Full,
    /// Superblocks that are PARTIAL.
    Partial,
    /// Superblocks that are EMPTY and kept.
    Empty,
    /// Blocks the program holds.
    Live,
    /// Live blocks of all blocks.
    Utilisation,
    /// Bytes of superblocks that hold nothing live.
    Waste,
    /// EXT%.
    External,
    /// Superblocks of which less than a tenth is live.
    Pinned,
    /// Bytes that compaction would save.
    Savings,
    /// Rounding as a share of the live bytes.
    Internal,
    /// Blocks in the front.
    Cached,
    /// Allocations per second.
    Allocations,
    /// Transitions per second.
    Transitions,
}

impl Column {
    /// All columns, from the left.
    pub const ALL: [Self; 16] = [
        Self::Class,
        Self::Block,
        Self::Active,
        Self::Full,
        Self::Partial,
        Self::Empty,
        Self::Live,
        Self::Utilisation,
        Self::Waste,
        Self::External,
        Self::Pinned,
        Self::Savings,
        Self::Internal,
        Self::Cached,
        Self::Allocations,
        Self::Transitions,
    ];

    /// Its heading; also, in lower case and without `/s`, its name in filters.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Class => "#",
            Self::Block => "block",
            Self::Active => "A",
            Self::Full => "F",
            Self::Partial => "P",
            Self::Empty => "E",
            Self::Live => "live",
            Self::Utilisation => "util",
            Self::Waste => "waste",
            Self::External => "EXT%",
            Self::Pinned => "<10%",
            Self::Savings => "save",
            Self::Internal => "INT%",
            Self::Cached => "cached",
            Self::Allocations => "alloc/s",
            Self::Transitions => "trans/s",
        }
    }

    /// The name by which filters know it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Class => "class",
            Self::Active => "a",
            Self::Full => "f",
            Self::Partial => "p",
            Self::Empty => "e",
            Self::External => "ext",
            Self::Pinned => "pinned",
            Self::Internal => "int",
            Self::Allocations => "alloc",
            Self::Transitions => "trans",
            other => other.title(),
        }
    }

    /// Cells it needs, the sort mark included.
    #[must_use]
    pub fn width(self) -> u16 {
        match self {
            Self::Class => 3,
            Self::Active | Self::Full | Self::Partial | Self::Empty => 5,
            Self::Block | Self::Waste | Self::Savings => 9,
            Self::Pinned => 6,
            Self::Allocations | Self::Transitions => 8,
            _ => 7,
        }
    }

    /// Which columns go first when there is not enough room: the highest number.
    #[must_use]
    pub fn dispensable(self) -> u8 {
        match self {
            Self::Block | Self::Waste => 0,
            Self::Utilisation | Self::Live => 1,
            Self::External | Self::Partial => 2,
            Self::Pinned => 3,
            Self::Full => 4,
            Self::Savings => 5,
            Self::Empty => 6,
            Self::Active => 7,
            Self::Allocations => 8,
            Self::Transitions => 9,
            Self::Internal => 10,
            Self::Cached => 11,
            Self::Class => 12,
        }
    }

    /// The columns that fit into `width` cells, one cell apart, from the left.
    #[must_use]
    pub fn fitting(width: u16) -> Vec<Self> {
        let mut columns = Self::ALL.to_vec();
        let total = |columns: &[Self]| columns.iter().map(|column| column.width() + 1).sum::<u16>();
        while total(&columns) > width.saturating_add(1) {
            let Some(place) = (0..columns.len())
                .rev()
                .max_by_key(|&place| columns[place].dispensable())
                .filter(|_| columns.len() > 1)
            else {
                break;
            };
            columns.remove(place);
        }
        columns
    }

    /// Its heading where rows show differences: of what is otherwise a rate, how many it were.
    #[must_use]
    pub fn title_of_change(self) -> &'static str {
        match self {
            Self::Allocations => "allocs",
            Self::Transitions => "trans",
            other => other.title(),
        }
    }

    /// The figure to sort and filter by, or its difference; in percent for shares; `None` sorts last.
    #[must_use]
    pub fn value(self, row: &Row) -> Option<f64> {
        match (self, row.before) {
            (Self::Class | Self::Block | Self::Allocations | Self::Transitions, _) | (_, None) => {
                self.present(row)
            }
            (_, Some(before)) => Some(self.present(row)? - self.present(&row.as_of(&before))?),
        }
    }

    fn present(self, row: &Row) -> Option<f64> {
        let record = &row.figures.record;
        let percent = |share: Option<f64>| share.map(|share| share * 100.0);
        match self {
            Self::Class => Some(f64::from(record.class)),
            Self::Block => Some(f64::from(row.figures.info.block_bytes)),
            Self::Active => Some(f64::from(record.active)),
            Self::Full => Some(f64::from(record.full)),
            Self::Partial => Some(f64::from(record.partial)),
            Self::Empty => Some(f64::from(record.empty)),
            Self::Live => Some(record.live_blocks as f64),
            Self::Utilisation => percent(row.figures.utilisation()),
            Self::Waste => Some(row.figures.waste_bytes() as f64),
            Self::External => percent(row.figures.external_fraction()),
            Self::Pinned => Some(row.fragmentation.pinned as f64),
            Self::Savings => Some(row.fragmentation.savings_bytes as f64),
            Self::Internal => percent(row.fragmentation.internal_fraction()),
            Self::Cached => Some(record.cached_blocks as f64),
            Self::Allocations => row.allocations,
            Self::Transitions => row.transitions,
        }
    }

    /// The figure as it is shown, or its difference.
    #[must_use]
    pub fn text(self, row: &Row) -> String {
        let change = match self {
            Self::Class | Self::Block => None,
            _ => row.before.map(|_| self.value(row)),
        };
        match change {
            None => self.text_of_present(row),
            Some(None) => "-".to_owned(),
            Some(Some(change)) => match self {
                Self::Waste | Self::Savings => format::bytes_change(change as i64),
                Self::Utilisation | Self::External | Self::Internal => {
                    format::percent_change(Some(change / 100.0))
                }
                _ => format::count_change(change as i64),
            },
        }
    }

    fn text_of_present(self, row: &Row) -> String {
        let record = &row.figures.record;
        match self {
            Self::Class => record.class.to_string(),
            Self::Block => format::bytes(i64::from(row.figures.info.block_bytes)),
            Self::Active => format::count(u64::from(record.active)),
            Self::Full => format::count(u64::from(record.full)),
            Self::Partial => format::count(u64::from(record.partial)),
            Self::Empty => format::count(u64::from(record.empty)),
            Self::Live => format::signed_count(record.live_blocks),
            Self::Utilisation => format::percent(row.figures.utilisation()),
            Self::Waste => format::bytes(row.figures.waste_bytes()),
            Self::External => format::percent(row.figures.external_fraction()),
            Self::Pinned => format::count(row.fragmentation.pinned),
            Self::Savings => format::bytes(row.fragmentation.savings_bytes),
            Self::Internal => format::percent(row.fragmentation.internal_fraction()),
            Self::Cached => format::signed_count(record.cached_blocks),
            Self::Allocations => format::rate(row.allocations),
            Self::Transitions => format::rate(row.transitions),
        }
    }
}

/// The figures that filters compare.
#[must_use]
pub fn names() -> [&'static str; Column::ALL.len()] {
    Column::ALL.map(Column::name)
}

/// What a class was at the baseline.
#[derive(Clone, Copy, Debug)]
pub struct Before {
    figures: ClassFigures,
    fragmentation: Fragmentation,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What was counted.
    pub figures: ClassFigures,
    /// What is lost in it.
    pub fragmentation: Fragmentation,
    /// Allocations per second; since the baseline, where there is one.
    pub allocations: Option<f64>,
    /// Transitions per second; since the baseline, where there is one.
    pub transitions: Option<f64>,
    /// Whether that is a lower bound.
    pub transitions_missed: bool,
    /// What differences are taken to, while they are shown.
    pub before: Option<Before>,
}

impl Row {
    /// The row as it was at the baseline.
    fn as_of(&self, before: &Before) -> Self {
        Self { figures: before.figures, fragmentation: before.fragmentation, before: None, ..*self }
    }

    /// Whether nothing but rates differs from the baseline.
    fn is_unchanged(&self) -> bool {
        let before = self.before.map(|before| (before.figures.record, before.fragmentation));
        before == Some((self.figures.record, self.fragmentation))
    }
}

/// Cursor, order and filter of the table.
#[derive(Clone, Debug)]
pub struct ClassTable {
    /// The class under the cursor, which stays on it when the order changes; `None`: the first row.
    pub selected: Option<u16>,
    /// The column under the cursor.
    pub column: Column,
    /// The column that the rows are sorted by.
    pub sorted_by: Column,
    /// Whether the largest come first.
    pub descending: bool,
    /// Which rows are shown.
    pub filter: Terms,
    /// The class that is looked at closely.
    pub open: Option<u16>,
}

impl Default for ClassTable {
    fn default() -> Self {
        Self {
            selected: None,
            column: Column::Waste,
            sorted_by: Column::Waste,
            descending: true,
            filter: Terms::default(),
            open: None,
        }
    }
}

impl ClassTable {
    /// The rows to be shown, in order; differences to `before`, if it is given, of the classes that changed.
    #[must_use]
    pub fn rows(&self, data: &Data, before: Option<&Data>) -> Vec<Row> {
        let mut rows: Vec<Row> = data
            .figures
            .iter()
            .map(|figures| match before {
                None => present(data, figures),
                Some(before) => difference(data, figures, before),
            })
            .filter(|row| !row.is_unchanged() && self.admits(row))
            .collect();
        rows.sort_by(|left, right| self.compare(left, right));
        rows
    }

    /// Whether the filter admits the row: its words are texts within the block size as it is shown.
    fn admits(&self, row: &Row) -> bool {
        let figure = |name: &str| {
            let column = Column::ALL.into_iter().find(|column| column.name() == name)?;
            column.value(row)
        };
        let word = |word: &str| Column::Block.text(row).to_lowercase().contains(word);
        self.filter.admits(figure, word)
    }

    fn compare(&self, left: &Row, right: &Row) -> Ordering {
        let (a, b) = (self.sorted_by.value(left), self.sorted_by.value(right));
        let by_value = match (a, b) {
            (Some(a), Some(b)) if self.descending => b.total_cmp(&a),
            (Some(a), Some(b)) => a.total_cmp(&b),
            (None, None) => Ordering::Equal,
            // What is unknown comes last in either order.
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
        };
        by_value.then(left.figures.record.class.cmp(&right.figures.record.class))
    }

    /// Where the cursor stands among `rows`.
    #[must_use]
    pub fn position(&self, rows: &[Row]) -> usize {
        self.selected
            .and_then(|class| rows.iter().position(|row| row.figures.record.class == class))
            .unwrap_or(0)
    }

    /// Moves the cursor to the row `target`, or the last one.
    pub fn select(&mut self, rows: &[Row], target: usize) {
        let row = rows.get(target).or(rows.last());
        self.selected = row.map(|row| row.figures.record.class);
    }

    /// Moves the cursor to the column after (or before) this one, among those that are shown.
    pub fn move_column(&mut self, shown: &[Column], forward: bool) {
        let place = shown.iter().position(|&column| column == self.column);
        let target = match place {
            Some(place) if forward => (place + 1).min(shown.len().saturating_sub(1)),
            Some(place) => place.saturating_sub(1),
            None => 0,
        };
        if let Some(&column) = shown.get(target) {
            self.column = column;
        }
    }

    /// Sorts by the column under the cursor; if that is so already, by the next one.
    pub fn sort(&mut self, shown: &[Column]) {
        if self.sorted_by == self.column {
            let place = shown.iter().position(|&column| column == self.column).unwrap_or(0);
            if let Some(&column) = shown.get((place + 1) % shown.len().max(1)) {
                self.column = column;
            }
        }
        self.sorted_by = self.column;
    }
}

fn present(data: &Data, figures: &ClassFigures) -> Row {
    let class = usize::from(figures.record.class);
    Row {
        figures: *figures,
        fragmentation: data.fragmentation.get(class).copied().unwrap_or_default(),
        allocations: data.history.class_allocations(class),
        transitions: data.history.class_transitions(class),
        transitions_missed: data.history.class_transitions_missed(),
        before: None,
    }
}

fn difference(data: &Data, figures: &ClassFigures, before: &Data) -> Row {
    let class = usize::from(figures.record.class);
    // A class that the baseline does not know had nothing.
    let nothing = ClassFigures { record: ClassRecord::default(), ..*figures };
    let then = before.figures.get(class).copied().unwrap_or(nothing);
    let since = |now: u64, then: u64| Some(now.wrapping_sub(then).cast_signed() as f64);
    Row {
        allocations: since(figures.record.allocations, then.record.allocations),
        transitions: since(data.transitions_of(class), before.transitions_of(class)),
        transitions_missed: data.missed() != before.missed(),
        before: Some(Before {
            figures: then,
            fragmentation: before.fragmentation.get(class).copied().unwrap_or_default(),
        }),
        ..present(data, figures)
    }
}

#[cfg(test)]
mod tests {
    //! Aim: any width has columns that fit, the block and the waste last of all to go; filters compare columns.
    use lfalloc_protocol::message::ClassInfo;

    use super::*;

    #[test]
    fn columns_fit_any_width() {
        for width in 0..200 {
            let columns = Column::fitting(width);
            let total = columns.iter().map(|column| column.width() + 1).sum::<u16>() - 1;
            assert!(total <= width || columns.len() == 1, "{width}: {columns:?}");
        }
        assert_eq!(Column::fitting(200), Column::ALL);
        assert_eq!(Column::fitting(19), [Column::Block, Column::Waste]);
    }

    fn table(filter: &str) -> ClassTable {
        ClassTable { filter: Terms::new(filter, &names()), ..ClassTable::default() }
    }

    fn row() -> Row {
        let figures = ClassFigures {
            info: ClassInfo {
                block_bytes: 2048,
                superblock_bytes: 65_536,
                blocks_per_superblock: 32,
            },
            record: ClassRecord { partial: 2, live_blocks: 16, ..ClassRecord::default() },
        };
        Row {
            figures,
            fragmentation: Fragmentation::default(),
            allocations: Some(12.0),
            transitions: None,
            transitions_missed: false,
            before: None,
        }
    }

    #[test]
    fn differences_are_signed_and_sorted_by() {
        let then = row();
        let before = Before { figures: then.figures, fragmentation: then.fragmentation };
        let mut now = Row { before: Some(before), ..then };
        assert!(now.is_unchanged() && !then.is_unchanged());
        now.figures.record.partial = 1;
        now.figures.record.live_blocks = 24;
        now.fragmentation.pinned = 3;
        assert!(!now.is_unchanged());
        // From 25 % of two superblocks to 75 % of one; waste from 96 to 16 KiB.
        let texts =
            [Column::Block, Column::Partial, Column::Live, Column::Utilisation, Column::Waste];
        assert_eq!(
            texts.map(|column| column.text(&now)),
            ["2.00 KiB", "-1", "+8", "+50.0", "-80.0 KiB"]
        );
        assert_eq!(
            (Column::Pinned.text(&now), Column::Empty.text(&now)),
            ("+3".into(), "0".into())
        );
        assert_eq!(Column::Waste.value(&now), Some(f64::from(-80 * 1024)));
        assert_eq!(
            (Column::Allocations.text(&now), Column::Transitions.text(&now)),
            ("+12".into(), "-".into())
        );
        assert!(table("p<0 live=8 util>49").admits(&now), "filters compare differences");
    }

    #[test]
    fn terms_are_texts_or_comparisons() {
        // 2 superblocks of 32 blocks, 16 live: 25 %, 96 KiB wasted.
        for admitting in
            ["", "kib", "2.00", "util=25", "util<26%", "waste>95k waste<97kib waste<97kb", "p=2"]
        {
            assert!(table(admitting).admits(&row()), "{admitting}");
        }
        for refusing in ["mib", "util>25", "waste>1m", "kib p>2", "trans<5", "ALLOC<3"] {
            assert!(!table(refusing).admits(&row()), "{refusing}");
        }
    }

    #[test]
    fn what_is_not_understood_hides_nothing_and_says_so() {
        for unfinished in [
            "util<",
            "nonsense>5",
            "waste>1x",
            "waste>1kx",
            "waste>1ki",
            "util<50%%",
            "=",
            "waste>nan",
            "waste>inf",
        ] {
            let table = table(unfinished);
            assert!(table.admits(&row()) && !table.filter.is_understood(), "{unfinished}");
        }
        assert!(table("util<5 kib").filter.is_understood());
    }
}
