//! Screen 6: large blocks, and those kept for reuse.

use lfalloc_protocol::message::LargeRecord;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::KeyEvent;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;

use super::list::{self, Column, Row};
use super::paint;
use crate::format;
use crate::tui::copy;
use crate::tui::data::Data;
use crate::tui::figure::Figure;
use crate::tui::glossary::Term;
use crate::tui::keys::Action;
use crate::tui::model::Model;
use crate::tui::update::Commands;
use crate::tui::view;

const COLUMNS: &[Column] = &[
    Column { title: "id", name: "id", width: 8, dispensable: 3 },
    Column { title: "address", name: "address", width: 18, dispensable: 2 },
    Column { title: "bytes", name: "bytes", width: 9, dispensable: 0 },
    Column { title: "pages", name: "pages", width: 9, dispensable: 4 },
    Column { title: "age", name: "age", width: 9, dispensable: 1 },
    Column { title: "state", name: "state", width: 8, dispensable: 0 },
];
const NAMES: &[&str] = &["id", "bytes", "pages", "age"];
const PAGE_BYTES: u64 = 4096;

/// In what the columns are copied; `None`: as shown.
const UNITS: [Option<&str>; COLUMNS.len()] = [Some(""), None, Some("B"), Some(""), Some("s"), None];

/// What `x` explains on this screen: one term for each column.
pub const TERMS: &[Term] = &[
    Term {
        words: &["large id"],
        title: "id",
        what: "Number of the large block's descriptor; it is used again for later blocks.",
        unit: "one descriptor",
        how: "Its place in the table of large blocks.",
        exact: "Always.",
    },
    Term {
        words: &["large address"],
        title: "address",
        what: "Where the block begins.",
        unit: "address",
        how: "From its descriptor.",
        exact: "Always.",
    },
    Term {
        words: &["large block", "large blocks"],
        title: "bytes of a large block",
        what: "What is mapped for the block: requests above 128 KiB get a mapping of their own [0047], of a multiple of 64 KiB.",
        unit: "bytes",
        how: "From its descriptor. It all counts as live, however little of it was touched.",
        exact: "Each is read in one piece.",
    },
    Term {
        words: &["large pages"],
        title: "pages",
        what: "The same in pages of the system.",
        unit: "pages of 4 KiB",
        how: "Bytes / 4096.",
        exact: "Each is read in one piece.",
    },
    Term {
        words: &["large age"],
        title: "age",
        what: "Since the block was handed out or, if it is kept for reuse, given back. In filters: seconds.",
        unit: "time",
        how: "By the clock of the program.",
        exact: "To the microsecond or so.",
    },
    Term {
        words: &["large cache", "kept"],
        title: "state of a large block",
        what: "live: the program holds it. kept: it was freed and waits for a request of its size; the cache has 16 places \
               and gives back what does not fit.",
        unit: "live, kept",
        how: "From its descriptor.",
        exact: "Each is read in one piece.",
    },
];

/// What the screen remembers.
#[derive(Clone, Debug)]
pub struct Cursor {
    /// Cursor, order and filter.
    pub list: list::Cursor,
}

impl Default for Cursor {
    fn default() -> Self {
        Self { list: list::Cursor::sorted_by(2) }
    }
}

/// The figure under the cursor.
#[must_use]
pub fn figure(model: &Model) -> Figure {
    Figure::Term(&TERMS[model.large.list.column.min(TERMS.len() - 1)])
}

fn rows(model: &Model, data: &Data) -> Vec<Row> {
    let records = match model.before() {
        None => data.picture.large.values().collect(),
        Some(before) => only_in(data, before),
    };
    let rows = records.into_iter().map(|record| row(model, record)).collect();
    model.large.list.arrange(COLUMNS, rows, |row, word| {
        row.cells[5].starts_with(word) || row.cells[1].contains(word)
    })
}

fn row(model: &Model, record: &LargeRecord) -> Row {
    let pages = record.bytes.div_ceil(PAGE_BYTES);
    Row {
        key: u64::from(record.id),
        cells: vec![
            record.id.to_string(),
            format!("{:#x}", record.address),
            format::bytes(i64::try_from(record.bytes).unwrap_or(i64::MAX)),
            format::thousands(pages),
            format::duration(record.age_ns),
            if record.cached { "kept" } else { "live" }.to_owned(),
        ],
        values: vec![
            Some(f64::from(record.id)),
            Some(record.address as f64),
            Some(record.bytes as f64),
            Some(pages as f64),
            Some(record.age_ns as f64 / 1e9),
            Some(f64::from(u8::from(record.cached))),
        ],
        style: if record.cached { model.theme.faint() } else { Style::new() },
    }
}

/// The blocks of `data` that `other`, a state before or after it, does not have. A descriptor is used again for later
/// blocks, maybe at the same place.
fn only_in<'a>(data: &'a Data, other: &Data) -> Vec<&'a LargeRecord> {
    let (now, then) = (data.picture.uptime_ns, other.picture.uptime_ns);
    let is_same = |record: &LargeRecord, there: &LargeRecord| {
        let (earlier, later) = if now < then { (record, there) } else { (there, record) };
        (there.address, there.bytes, there.cached) == (record.address, record.bytes, record.cached)
            // What came between the two is younger than the time between them; what is of no known age has none. Half, since
            // ages are told to the microsecond or so.
            && (later.age_ns == 0
                || later.age_ns >= now.abs_diff(then).saturating_add(earlier.age_ns / 2))
    };
    let is_there = |record: &LargeRecord| {
        other.picture.large.get(&record.id).is_some_and(|there| is_same(record, there))
    };
    data.picture.large.values().filter(|record| !is_there(record)).collect()
}

fn inside(area: Rect) -> Rect {
    Rect {
        x: area.x + 1,
        y: area.y + 3,
        width: area.width.saturating_sub(2),
        height: area.height.saturating_sub(4),
    }
}

/// Draws the screen.
pub fn draw(buf: &mut Buffer, area: Rect, model: &Model, data: &Data) {
    let theme = &model.theme;
    let rows = rows(model, data);
    let title = match model.before() {
        None => format!("Large: {} of {} blocks", rows.len(), data.picture.large.len()),
        Some(before) => {
            let gone = only_in(before, data).len();
            format!("Large, differences: {} came since the baseline, {gone} went", rows.len())
        }
    };
    paint::pane(buf, area, theme, paint::heading(theme, &title, true), true);
    let kept = data.picture.large.values().filter(|record| record.cached).count();
    let [allocations, frees] =
        data.large_rates(model.before()).map_or([None; 2], |rates| rates.map(Some));
    let texts = [
        format!(
            "live {} in {}, kept for reuse {} in {kept}",
            format::bytes(data.picture.parts.large),
            data.picture.large.len() - kept,
            format::bytes(data.picture.parts.large_cached),
        ),
        format!(
            "allocations {}/s, {} ever; frees {}/s, {} ever",
            format::rate(allocations),
            format::thousands(data.picture.end.large_allocations),
            format::rate(frees),
            format::thousands(data.picture.end.large_frees),
        ),
    ];
    let within =
        Rect { x: area.x + 1, y: area.y + 1, width: area.width.saturating_sub(2), height: 2 }
            .intersection(area);
    for (row, text) in (0..).zip(texts) {
        paint::line(buf, within, row, &Line::styled(text, theme.faint()));
    }
    let nothing = match model.before() {
        None => "no large block: nothing above 128 KiB is held or kept",
        Some(_) => "no large block came since the baseline",
    };
    let words = (nothing, "bytes>1m");
    list::draw(buf, inside(area), theme, &model.large.list, COLUMNS, &rows, words);
}

/// The rows shown as exact figures, and the place of the one under the cursor.
pub(in crate::tui) fn table(model: &Model, data: &Data) -> (copy::Table, usize) {
    let rows = rows(model, data);
    (list::table(COLUMNS, &rows, &UNITS), model.large.list.position(&rows))
}

/// A key of the screen, `e` and Enter included.
pub fn act(model: &mut Model, action: Action) -> Commands {
    if matches!(action, Action::Zoom | Action::Open) {
        return Commands::NOTHING;
    }
    let area = inside(view::body(model));
    let Some(data) = model.shown() else { return Commands::NOTHING };
    let rows = rows(model, data);
    model.large.list.act(action, COLUMNS, area, &rows);
    Commands::REDRAW
}

/// Undoes the innermost thing that can be undone.
pub fn back(model: &mut Model) {
    model.large.list.filter.clear();
}

/// A click at that cell of the terminal.
pub fn click(model: &mut Model, column: u16, row: u16) -> Commands {
    let area = inside(view::body(model));
    let Some(data) = model.shown() else { return Commands::NOTHING };
    let rows = rows(model, data);
    let hit = model.large.list.click(COLUMNS, area, (column, row), &rows);
    if hit { Commands::REDRAW } else { Commands::NOTHING }
}

/// Whether keys are text for a filter.
#[must_use]
pub fn is_typing(model: &Model) -> bool {
    model.large.list.filter.typing
}

/// A key of that text.
pub fn edit(model: &mut Model, key: KeyEvent) {
    model.large.list.filter.edit(key, NAMES);
}

#[cfg(test)]
mod tests {
    //! Aim: a block is told from a later one at the same place, looking forward and back. Method: one block at two times.
    use std::time::Duration;

    use super::*;
    use crate::source::synthetic::{Synthetic, SyntheticSource};
    use crate::source::{Source as _, SourceEvent};

    const SECOND: u64 = 1_000_000_000;

    fn at(seconds: u64, block: Option<(u64, u64)>) -> Data {
        let SourceEvent::Connected(hello) =
            SyntheticSource::new(Synthetic::default()).poll(Duration::ZERO)
        else {
            panic!("a greeting comes first")
        };
        let mut data = Data::new(hello, 0);
        data.picture.uptime_ns = seconds * SECOND;
        if let Some((address, age_ns)) = block {
            let record = LargeRecord { id: 3, address, bytes: 1 << 20, age_ns, cached: false };
            data.picture.large.insert(3, record);
        }
        data
    }

    #[test]
    fn a_block_is_told_from_a_later_one_at_its_place() {
        let counts =
            |one: &Data, other: &Data| (only_in(one, other).len(), only_in(other, one).len());
        let first = at(100, Some((16, 2 * SECOND)));
        for (later, expected) in [
            (at(160, Some((16, 62 * SECOND))), (0, 0)),
            (at(160, Some((16, SECOND))), (1, 1)),
            (at(160, Some((16, 30 * SECOND))), (1, 1)),
            (at(160, Some((32, 62 * SECOND))), (1, 1)),
            (at(160, None), (1, 0)),
        ] {
            assert_eq!(counts(&first, &later), expected, "{:?}", later.picture.large);
        }
    }
}
