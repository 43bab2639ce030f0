//! Screen 4: heap headers, their active superblock and its credits; and the magazines before them.

use lfalloc_protocol::message::state;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::KeyEvent;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;

use super::list::{self, Column, Row};
use super::{magazines, map, paint};
use crate::format;
use crate::tui::copy;
use crate::tui::data::Data;
use crate::tui::figure::Figure;
use crate::tui::glossary::Term;
use crate::tui::keys::Action;
use crate::tui::model::{Model, Screen};
use crate::tui::theme::Theme;
use crate::tui::update::Commands;
use crate::tui::view;

/// Blocks that a heap reserves at a time, at most.
const MAX_CREDITS: u32 = 64;
/// Cells of the gauge of credits.
const GAUGE: usize = 8;

const COLUMNS: &[Column] = &[
    Column { title: "block", name: "block", width: 9, dispensable: 0 },
    Column { title: "heap", name: "heap", width: 5, dispensable: 0 },
    Column { title: "active", name: "active", width: 11, dispensable: 3 },
    Column { title: "credits", name: "credits", width: 13, dispensable: 0 },
    Column { title: "reserved", name: "reserved", width: 9, dispensable: 4 },
    Column { title: "free", name: "free", width: 11, dispensable: 5 },
    Column { title: "alloc/s", name: "alloc", width: 8, dispensable: 6 },
    Column { title: "free/s", name: "frees", width: 8, dispensable: 8 },
    Column { title: "refill/s", name: "refills", width: 9, dispensable: 1 },
    Column { title: "dry/s", name: "dry", width: 7, dispensable: 2 },
    Column { title: "dry, ever", name: "dried", width: 10, dispensable: 7 },
];
const NAMES: &[&str] = &[
    "block", "heap", "active", "credits", "reserved", "free", "alloc", "frees", "refills", "dry",
    "dried",
];

/// In what the columns are copied; `None`: as shown.
const UNITS: [Option<&str>; COLUMNS.len()] = {
    let (count, bytes) = (Some(""), Some("B"));
    [bytes, count, None, count, bytes, count, count, count, count, count, count]
};

/// What `x` explains on this screen: one term for each column.
pub const TERMS: &[Term] = &[
    term(
        &["heap block"],
        "block",
        "The size class of the heap header.",
        "bytes of a block",
        "Fixed.",
    ),
    term(
        &["heap number"],
        "heap",
        "Number of the heap within its class: the processor whose threads allocate from it.",
        "one heap",
        "Threads find it by their processor; any heap would be correct.",
    ),
    term(
        &["active superblock"],
        "active",
        "The ACTIVE superblock that the header points to; - if it has none, and the next allocation looks for one.",
        "number of a superblock",
        "The active word of the header [0030].",
    ),
    term(
        &["credits of a heap"],
        "credits",
        "Blocks that the heap has reserved of its active superblock; the gauge is full at 64.",
        "blocks",
        "The credits field plus one [0031].",
    ),
    term(
        &["reserved bytes"],
        "reserved",
        "What those blocks amount to: only this heap can hand them out.",
        "bytes",
        "Credits × block size.",
    ),
    term(
        &["free of the active superblock"],
        "free",
        "Free blocks of the active superblock that are not reserved, of all it has.",
        "blocks",
        "count and maxcount of its descriptor.",
    ),
    term(
        &["heap allocations"],
        "alloc/s",
        "Blocks handed out from this heap: to the program, and to magazines in batches.",
        "per second",
        "Difference of the heap's counter over the last seconds, or since the baseline while differences are shown.",
    ),
    term(
        &["heap frees"],
        "free/s",
        "Blocks given back to superblocks by threads that ran on this heap's processor, whichever heap they came from: by the \
         program, or in batches from magazines and the depot.",
        "per second",
        "Difference of the heap's counter over the last seconds, or since the baseline while differences are shown.",
    ),
    term(
        &["refills", "refill", "refill/s"],
        "refill/s",
        "How often the heap reserved new blocks: credits taken from the anchor, or a superblock installed. Each costs a \
         compare-and-swap more than an allocation that finds credits.",
        "per second",
        "Difference of the heap's counter over the last seconds, or since the baseline while differences are shown.",
    ),
    term(
        &["ran dry", "dry", "dry/s"],
        "dry/s",
        "How often an allocation found no active superblock and had to look in the partial list, or take a new one.",
        "per second",
        "Difference of the heap's counter over the last seconds, or since the baseline while differences are shown.",
    ),
    term(
        &["ran dry ever"],
        "dry, ever",
        "The same, since the program started.",
        "times",
        "The heap's counter.",
    ),
];

const fn term(
    words: &'static [&'static str],
    title: &'static str,
    what: &'static str,
    unit: &'static str,
    how: &'static str,
) -> Term {
    Term {
        words,
        title,
        what,
        unit,
        how,
        exact: "Each header is read with one load; counters are exact, rates are their difference. An agent of protocol \
                1.0 tells no counters of heaps.",
    }
}

/// Whose figures a row holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Group {
    /// One header.
    #[default]
    Header,
    /// All headers of a processor.
    Heap,
    /// All headers of a class.
    Class,
}

/// Which pane the cursor is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Focus {
    /// Heap headers.
    #[default]
    Headers,
    /// Magazines.
    Magazines,
}

/// What the screen remembers.
#[derive(Clone, Debug)]
pub struct Cursor {
    /// Cursor, order and filter of the heap headers.
    pub list: list::Cursor,
    /// Those of the magazines.
    pub magazines: list::Cursor,
    /// What a row is, in both panes.
    pub group: Group,
    /// Which pane the cursor is in.
    pub focus: Focus,
    /// Whether that pane is alone.
    pub zoomed: bool,
}

impl Cursor {
    /// The list under the cursor, and its columns.
    fn focused(&mut self) -> (&mut list::Cursor, &'static [Column]) {
        match self.focus {
            Focus::Headers => (&mut self.list, COLUMNS),
            Focus::Magazines => (&mut self.magazines, magazines::COLUMNS),
        }
    }
}

impl Default for Cursor {
    fn default() -> Self {
        Self {
            list: list::Cursor::sorted_by(4),
            magazines: list::Cursor::sorted_by(3),
            group: Group::Header,
            focus: Focus::Headers,
            zoomed: false,
        }
    }
}

/// The figure under the cursor.
#[must_use]
pub fn figure(model: &Model) -> Figure {
    let (column, terms) = match model.heaps.focus {
        Focus::Headers => (model.heaps.list.column, TERMS),
        Focus::Magazines => (model.heaps.magazines.column, magazines::TERMS),
    };
    Figure::Term(&terms[column.min(terms.len() - 1)])
}

/// Rows that both panes need; below, the one with the cursor is alone.
const BOTH: u16 = 22;
/// Rows of the pane of magazines where there are none: it says so.
const NO_MAGAZINES: u16 = 3;

/// The panes that are shown, and where.
fn panes(model: &Model, area: Rect) -> Vec<(Focus, Rect)> {
    if model.heaps.zoomed || area.height < BOTH {
        return vec![(model.heaps.focus, area)];
    }
    let has_front = model.shown().is_some_and(|data| data.picture.front.is_some());
    let lower = if has_front { area.height / 2 } else { NO_MAGAZINES };
    let upper = area.height - lower;
    vec![
        (Focus::Headers, Rect { height: upper, ..area }),
        (Focus::Magazines, Rect { y: area.y + upper, height: lower, ..area }),
    ]
}

/// Where the pane with the cursor is.
fn focused_area(model: &Model) -> Rect {
    let panes = panes(model, view::body(model));
    let found = panes.into_iter().find(|(focus, _)| *focus == model.heaps.focus);
    found.map_or_else(Rect::default, |(_, area)| area)
}

/// The rows of the pane with the cursor.
fn focused_rows(model: &Model, data: &Data) -> Vec<Row> {
    match model.heaps.focus {
        Focus::Headers => rows(model, data),
        Focus::Magazines => magazines::rows(model, data),
    }
}

/// What is summed up in a row.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    active: Option<u32>,
    headers: u32,
    credits: u64,
    reserved: i64,
    free: u64,
    maxcount: u64,
    dried: Option<u64>,
    rates: Option<[f64; 4]>,
}

fn rows(model: &Model, data: &Data) -> Vec<Row> {
    let group = model.heaps.group;
    let key = |class: u16, heap: u16| match group {
        Group::Header => (class, Some(heap)),
        Group::Heap => (u16::MAX, Some(heap)),
        Group::Class => (class, None),
    };
    let mut sums: std::collections::BTreeMap<(u16, Option<u16>), Sum> =
        std::collections::BTreeMap::new();
    let infos = &data.picture.hello.classes;
    for record in &data.picture.heaps {
        let sum = sums.entry(key(record.class, record.heap)).or_default();
        let info = infos.get(usize::from(record.class));
        sum.active = Some(record.superblock);
        sum.headers += 1;
        sum.credits += u64::from(record.credits);
        sum.reserved +=
            i64::from(record.credits) * info.map_or(0, |info| i64::from(info.block_bytes));
        sum.maxcount += info.map_or(0, |info| u64::from(info.blocks_per_superblock));
        let superblock = data.picture.superblocks.get(record.superblock);
        sum.free += superblock.map_or(0, |superblock| u64::from(superblock.count));
    }
    for (&(class, heap), counter) in &data.picture.counters {
        let sum = sums.entry(key(class, heap)).or_default();
        *sum.dried.get_or_insert(0) += counter.ran_dry;
        if let Some(rates) = data.heap_rates(class, heap, model.before()) {
            let sums = sum.rates.get_or_insert([0.0; 4]);
            for (sum, rate) in sums.iter_mut().zip(rates) {
                *sum += rate;
            }
        }
    }
    let rows =
        sums.into_iter().map(|((class, heap), sum)| row(model, data, class, heap, &sum)).collect();
    model.heaps.list.arrange(COLUMNS, rows, |row, word| {
        row.cells[0].to_lowercase().contains(word) || row.cells[2].contains(word)
    })
}

fn row(model: &Model, data: &Data, class: u16, heap: Option<u16>, sum: &Sum) -> Row {
    let theme = &model.theme;
    let info = data.picture.hello.classes.get(usize::from(class));
    let single = model.heaps.group == Group::Header;
    let active = match sum.active {
        Some(id) if single => {
            format!("#{id} {}", theme.state_mark(state::ACTIVE).chars().next().unwrap_or('A'))
        }
        Some(_) => format!("{} active", sum.headers),
        None => "-".to_owned(),
    };
    let rate = |place: usize| sum.rates.map(|rates| rates[place]);
    let gauge = if single { gauge(theme, sum.credits) } else { String::new() };
    Row {
        key: u64::from(class) << 32 | heap.map_or(0xFFFF_FFFF, u64::from),
        cells: vec![
            info.map_or_else(
                || "all".to_owned(),
                |info| format::bytes(i64::from(info.block_bytes)),
            ),
            heap.map_or_else(|| "all".to_owned(), |heap| heap.to_string()),
            active,
            format!("{:>4} {gauge}", format::count(sum.credits)),
            format::bytes(sum.reserved),
            format!("{}/{}", format::count(sum.free), format::count(sum.maxcount)),
            format::rate(rate(0)),
            format::rate(rate(1)),
            format::rate(rate(2)),
            format::rate(rate(3)),
            sum.dried.map_or_else(|| "-".to_owned(), format::count),
        ],
        values: vec![
            info.map(|info| f64::from(info.block_bytes)),
            heap.map(f64::from),
            sum.active.map(f64::from),
            Some(sum.credits as f64),
            Some(sum.reserved as f64),
            Some(sum.free as f64),
            rate(0),
            rate(1),
            rate(2),
            rate(3),
            sum.dried.map(|dried| dried as f64),
        ],
        style: if sum.active.is_none() { theme.faint() } else { Style::new() },
    }
}

fn gauge(theme: &Theme, credits: u64) -> String {
    let filled = usize::try_from(credits).unwrap_or(usize::MAX).min(MAX_CREDITS as usize);
    let filled = (filled * GAUGE).div_ceil(MAX_CREDITS as usize);
    let cell = |place: usize| if place < filled { theme.glyphs.solid } else { theme.glyphs.shade };
    (0..GAUGE).map(cell).collect()
}

/// Where the list of a pane is, below its summary.
pub(super) fn inside(area: Rect) -> Rect {
    Rect {
        x: area.x + 1,
        y: area.y + 2,
        width: area.width.saturating_sub(2),
        height: area.height.saturating_sub(3),
    }
}

/// Draws the screen.
pub fn draw(buf: &mut Buffer, area: Rect, model: &Model, data: &Data) {
    let panes = panes(model, area);
    let alone = panes.len() == 1;
    for (focus, area) in panes {
        let focused = focus == model.heaps.focus;
        match focus {
            Focus::Headers => {
                let hint = if alone { ", m: magazines" } else { "" };
                draw_headers(buf, area, model, data, hint, focused);
            }
            Focus::Magazines => {
                let hint = if focused { ", m: heap headers" } else { ", m goes there" };
                magazines::draw(buf, area, model, data, hint, focused);
            }
        }
    }
}

fn draw_headers(
    buf: &mut Buffer,
    area: Rect,
    model: &Model,
    data: &Data,
    hint: &str,
    focused: bool,
) {
    let theme = &model.theme;
    let rows = rows(model, data);
    let of = match model.heaps.group {
        Group::Header => "heap headers",
        Group::Heap => "processors",
        Group::Class => "classes",
    };
    let since = if model.before().is_some() { ", rates since the baseline" } else { "" };
    let title = format!("Heaps: {} {of}{since}{hint}, v: by header/processor/class", rows.len());
    let title = paint::fit(&title, area.width.saturating_sub(6));
    paint::pane(buf, area, theme, paint::heading(theme, title, focused), focused);
    let credits: u64 = data.picture.heaps.iter().map(|heap| u64::from(heap.credits)).sum();
    let mut text = format!(
        "{} with an active superblock, {} reserved, in {} blocks",
        data.picture.heaps.len(),
        format::bytes(data.picture.parts.credit),
        format::thousands(credits)
    );
    if data.picture.hello.minor < 1 {
        text += "; no counters: agents of protocol 1.0 tell none";
    }
    let within =
        Rect { x: area.x + 1, y: area.y + 1, width: area.width.saturating_sub(2), height: 1 };
    let text = paint::fit(&text, within.width);
    paint::line(buf, within, 0, &Line::styled(text, theme.faint()));
    let words = ("no heap was used yet", "credits<10");
    list::draw(buf, inside(area), theme, &model.heaps.list, COLUMNS, &rows, words);
}

/// The rows of the pane with the cursor as exact figures, and the place of the one under it.
pub(in crate::tui) fn table(model: &Model, data: &Data) -> (copy::Table, usize) {
    let rows = focused_rows(model, data);
    match model.heaps.focus {
        Focus::Headers => (list::table(COLUMNS, &rows, &UNITS), model.heaps.list.position(&rows)),
        Focus::Magazines => (
            list::table(magazines::COLUMNS, &rows, &magazines::UNITS),
            model.heaps.magazines.position(&rows),
        ),
    }
}

/// What a row of the pane with the cursor is called.
pub(in crate::tui) fn row_name(model: &Model) -> &'static str {
    match model.heaps.focus {
        Focus::Headers => "the heap",
        Focus::Magazines => "the magazine",
    }
}

/// A key of the screen, `e` and Enter included.
pub fn act(model: &mut Model, action: Action) -> Commands {
    let area = inside(focused_area(model));
    let Some(data) = model.shown() else { return Commands::NOTHING };
    let rows = focused_rows(model, data);
    match action {
        Action::Open if model.heaps.focus == Focus::Magazines => return Commands::NOTHING,
        Action::Open if model.heaps.group == Group::Header => {
            let selected = rows.get(model.heaps.list.position(&rows));
            let Some(id) = selected.and_then(|row| row.values[2]).map(f64::round) else {
                return Commands::NOTHING;
            };
            model.screen = Screen::Map;
            #[expect(clippy::cast_sign_loss, reason = "made of a u32")]
            return map::open(model, id as u32);
        }
        Action::View => {
            model.heaps.group = match model.heaps.group {
                Group::Header => Group::Heap,
                Group::Heap => Group::Class,
                Group::Class => Group::Header,
            };
        }
        Action::OtherPane => {
            model.heaps.focus = match model.heaps.focus {
                Focus::Headers => Focus::Magazines,
                Focus::Magazines => Focus::Headers,
            };
        }
        Action::Zoom => model.heaps.zoomed = !model.heaps.zoomed,
        Action::Open => return Commands::NOTHING,
        action => {
            let (list, columns) = model.heaps.focused();
            list.act(action, columns, area, &rows);
        }
    }
    Commands::REDRAW
}

/// Undoes the innermost thing that can be undone.
pub fn back(model: &mut Model) {
    if model.heaps.focused().0.filter.clear() {
        return;
    }
    if model.heaps.zoomed {
        model.heaps.zoomed = false;
    } else {
        model.heaps.group = Group::Header;
    }
}

/// A click at that cell of the terminal: picks, sorts, or opens what is picked.
pub fn click(model: &mut Model, column: u16, row: u16) -> Commands {
    let panes = panes(model, view::body(model));
    let at = panes.into_iter().find(|(_, area)| area.contains((column, row).into()));
    let Some((focus, area)) = at else { return Commands::NOTHING };
    let changed = std::mem::replace(&mut model.heaps.focus, focus) != focus;
    let area = inside(area);
    let Some(data) = model.shown() else { return Commands::NOTHING };
    let rows = focused_rows(model, data);
    let (list, columns) = model.heaps.focused();
    let (before, sorted) = (list.selected, row == area.y);
    let hit = list.click(columns, area, (column, row), &rows);
    let again = hit && !sorted && before.is_some() && list.selected == before;
    if again && !changed {
        return act(model, Action::Open);
    }
    if hit || changed { Commands::REDRAW } else { Commands::NOTHING }
}

/// Whether keys are text for a filter.
#[must_use]
pub fn is_typing(model: &Model) -> bool {
    match model.heaps.focus {
        Focus::Headers => model.heaps.list.filter.typing,
        Focus::Magazines => model.heaps.magazines.filter.typing,
    }
}

/// A key of that text.
pub fn edit(model: &mut Model, key: KeyEvent) {
    match model.heaps.focus {
        Focus::Headers => model.heaps.list.filter.edit(key, NAMES),
        Focus::Magazines => model.heaps.magazines.filter.edit(key, magazines::NAMES),
    }
}
