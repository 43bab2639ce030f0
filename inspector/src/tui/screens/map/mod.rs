//! Screen 3: every superblock on one screen.
//!
//! With more superblocks than cells each cell stands for several in a row and shows the *worst* of them, since a mean
//! would hide the one superblock that a few blocks pin. Zoomed in, a cell is one superblock.
//!
//! | rank, the worst first | |
//! |---|---|
//! | something is live | the less of it, the worse |
//! | ACTIVE, PARTIAL without a live block | |
//! | EMPTY | ready for any class of its size |

use lfalloc_protocol::message::{SuperblockRecord, state};
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::KeyEvent;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::{list, paint};
use crate::format;
use crate::fragmentation::PINNED_BELOW_PERCENT;
use crate::tui::data::Data;
use crate::tui::figure::Figure;
use crate::tui::glossary::Term;
use crate::tui::keys::Action;
use crate::tui::model::Model;
use crate::tui::terms::Terms;
use crate::tui::theme::{Depth, Hue, Theme};
use crate::tui::update::Commands;
use crate::tui::view;

mod detail;

/// Figures that the filter compares.
const NAMES: &[&str] = &["occ", "live", "block", "class", "age", "id"];

/// What `x` explains on this screen.
pub const TERMS: &[Term] = &[
    Term {
        words: &["map", "worst member"],
        title: "map",
        what: "Every superblock: the glyph is its state, the brightness how much of it is live, and a pinned one (less \
               than a tenth live) stands out. A cell of several superblocks shows the worst of them.",
        unit: "superblocks",
        how: "The worst has something live, and the least of it; then those without a live block; EMPTY ones last.",
        exact: "Each superblock is read in one piece; all of them are one instant only in a consistent state.",
    },
    Term {
        words: &["bitmap", "racing"],
        title: "block bitmap",
        what: "Which blocks of the superblock are in its list of free blocks, reserved ones included. It is called racing \
               if the superblock changed while its list was read, as often as that was tried.",
        unit: "blocks",
        how: "The agent copies the superblock and follows the links in the copy, as many as count and credits say.",
        exact: "Exact: the anchor was the same before and after. Racing: single blocks may be wrong.",
    },
    Term {
        words: &["occupancy"],
        title: "occupancy",
        what: "The share of a superblock's blocks that the program holds.",
        unit: "percent of its blocks",
        how: "(maxcount − count − reserved) / maxcount; 0 for EMPTY ones.",
        exact: "From one reading of the anchor.",
    },
    Term {
        words: &["idle time", "idle"],
        title: "idle time",
        what: "How long ago the last transition was that this viewer knows of. Mallocs and frees that change no state are \
               no transitions.",
        unit: "time",
        how: "From the viewer's events and the program's ring.",
        exact: "A lower bound on activity: transitions may have been missed.",
    },
];

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

    fn title(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Class => "class",
            Self::Age => "age",
            Self::Occupancy => "occupancy",
        }
    }

    fn next(self) -> Self {
        let place = Self::ALL.iter().position(|&order| order == self).unwrap_or(0);
        Self::ALL[(place + 1) % Self::ALL.len()]
    }
}

/// What the screen remembers.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    /// The superblock under the cursor; the first while it is not shown.
    pub selected: Option<u32>,
    /// What they are ordered by.
    pub order: Order,
    /// Whether the order is turned round.
    pub inverted: bool,
    /// Whether each cell is one superblock.
    pub zoomed: bool,
    /// Which are shown.
    pub filter: Terms,
    /// The superblock that is looked at closely, scrolled down by so many lines.
    pub open: Option<(u32, u16)>,
}

/// A superblock with what orders and cells need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Member {
    id: u32,
    state: u8,
    /// In thousandths of its blocks.
    live: u16,
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

    fn is_pinned(self) -> bool {
        self.live > 0 && i64::from(self.live) < PINNED_BELOW_PERCENT * 10
    }
}

fn live_thousandths(data: &Data, record: &SuperblockRecord) -> u16 {
    let info = data.picture.hello.classes.get(usize::from(record.class));
    let maxcount = info.map_or(1, |info| i64::from(info.blocks_per_superblock).max(1));
    let live = data.picture.superblock_live_blocks(record).clamp(0, maxcount);
    // Something live is never shown as nothing.
    let share = live * 1000 / maxcount;
    u16::try_from(if live > 0 { share.max(1) } else { 0 }).unwrap_or(1000)
}

/// The superblocks that the filter admits, in order.
fn members(cursor: &Cursor, data: &Data) -> Vec<Member> {
    let classes = &data.picture.hello.classes;
    let mut keyed: Vec<((u64, u64), Member)> = Vec::with_capacity(data.picture.superblocks.len());
    for record in data.picture.superblocks.values() {
        let live = live_thousandths(data, record);
        if !cursor.filter.is_idle() && !admits(&cursor.filter, data, record, live) {
            continue;
        }
        let class = usize::from(record.class);
        let key = match cursor.order {
            Order::Address => (record.address, 0),
            Order::Class => {
                let block = classes.get(class).map_or(0, |info| info.block_bytes);
                (u64::from(block), u64::from(live))
            }
            Order::Age => (u64::MAX - record.age_ns, record.address),
            Order::Occupancy => (u64::from(live), record.address),
        };
        keyed.push((key, Member { id: record.id, state: record.state, live }));
    }
    keyed.sort_unstable_by_key(|(key, member)| (*key, member.id));
    if cursor.inverted {
        keyed.reverse();
    }
    keyed.into_iter().map(|(_, member)| member).collect()
}

fn admits(filter: &Terms, data: &Data, record: &SuperblockRecord, live: u16) -> bool {
    let info = data.picture.hello.classes.get(usize::from(record.class));
    let figure = |name: &str| {
        Some(match name {
            "occ" => f64::from(live) / 10.0,
            "live" => data.picture.superblock_live_blocks(record) as f64,
            "block" => f64::from(info?.block_bytes),
            "class" => f64::from(record.class),
            "age" => record.age_ns as f64 / 1e9,
            "id" => f64::from(record.id),
            _ => return None,
        })
    };
    let word = |word: &str| {
        let name = state::name(record.state).to_lowercase();
        word.strip_prefix('#')
            .map_or_else(|| name.starts_with(word), |id| id.parse() == Ok(record.id))
    };
    filter.admits(figure, word)
}

/// How the members lie in the cells of an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Grid {
    columns: usize,
    rows: usize,
    /// Members of a cell.
    per_cell: usize,
    /// The first row that is shown.
    first_row: usize,
}

impl Grid {
    fn new(area: Rect, count: usize, zoomed: bool, selected: usize) -> Self {
        let (columns, rows) = (usize::from(area.width).max(1), usize::from(area.height).max(1));
        let per_cell = if zoomed { 1 } else { count.div_ceil(columns * rows).max(1) };
        let all_rows = count.div_ceil(per_cell).div_ceil(columns);
        let first_row = paint::scroll(selected / per_cell / columns, all_rows, rows);
        Self { columns, rows, per_cell, first_row }
    }

    /// The members of the cell in that column and row of the screen.
    fn at(&self, count: usize, column: usize, row: usize) -> std::ops::Range<usize> {
        let cell = (self.first_row + row) * self.columns + column;
        let from = (cell * self.per_cell).min(count);
        from..(from + self.per_cell).min(count)
    }
}

/// Where the parts of the screen lie: the map, and what is said about the cell.
fn layout(model: &Model, area: Rect) -> (Rect, Rect) {
    if area.width >= 110 {
        let side = 43;
        let map = Rect { width: area.width - side, ..area };
        (map, Rect { x: map.right(), width: side, ..area })
    } else {
        let below = if area.height >= 18 { 7 } else { 4 };
        let below = below.min(area.height.saturating_sub(4));
        let map = Rect { height: area.height - below, ..area };
        let _ = model;
        (map, Rect { y: map.bottom(), height: below, ..area })
    }
}

/// The cells within the border of the map: its last row is for the filter or the legend.
fn cells(map: Rect) -> Rect {
    Rect {
        x: map.x + 1,
        y: map.y + 1,
        width: map.width.saturating_sub(2),
        height: map.height.saturating_sub(3),
    }
}

/// The figure under the cursor.
#[must_use]
pub fn figure(model: &Model) -> Figure {
    Figure::Term(&TERMS[usize::from(model.map.open.is_some())])
}

/// Everything the screen needs to know about what is shown.
struct Shown {
    members: Vec<Member>,
    selected: usize,
    grid: Grid,
}

fn shown(model: &Model, data: &Data, area: Rect) -> Shown {
    let members = members(&model.map, data);
    let selected = model.map.selected;
    let selected =
        selected.and_then(|id| members.iter().position(|member| member.id == id)).unwrap_or(0);
    let grid = Grid::new(area, members.len(), model.map.zoomed, selected);
    Shown { members, selected, grid }
}

/// Draws the screen.
pub fn draw(buf: &mut Buffer, area: Rect, model: &Model, data: &Data) {
    if let Some((id, scroll)) = model.map.open {
        detail::draw(buf, area, model, data, id, scroll);
        return;
    }
    let (theme, cursor) = (&model.theme, &model.map);
    let (map, info) = layout(model, area);
    let inner = cells(map);
    let shown = shown(model, data, inner);
    let count = shown.members.len();
    let mut title = format!(
        "Map: {} superblocks by {} {}",
        format::thousands(count as u64),
        cursor.order.title(),
        theme.glyphs.sorted[usize::from(!cursor.inverted)]
    );
    if shown.grid.per_cell > 1 {
        title = format!("{title}, {} a cell, the worst shown", shown.grid.per_cell);
    }
    paint::pane(buf, map, theme, paint::heading(theme, &title, true), true);
    for row in 0..shown.grid.rows {
        for column in 0..shown.grid.columns {
            let range = shown.grid.at(count, column, row);
            let Some(worst) = worst(&shown.members[range.clone()]) else { break };
            let here = (column as u16, row as u16);
            let mut style = style(theme, worst);
            if range.contains(&shown.selected) {
                style = Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD);
            }
            paint::cell(buf, inner, here, glyph(theme, worst.state), style);
        }
    }
    if count == 0 {
        let text = if cursor.filter.is_idle() {
            "no superblock is mapped"
        } else {
            "no superblock matches the filter (Esc clears it)"
        };
        paint::text(buf, inner, (1, 0), text, theme.faint());
    }
    let last = Rect { y: inner.bottom(), height: 1, ..inner };
    if cursor.filter.is_idle() {
        paint::line(buf, last, 0, &legend(theme));
    } else {
        paint::line(buf, last, 0, &list::filter_line(theme, &cursor.filter, "occ<10"));
    }
    draw_info(buf, info, model, data, &shown);
}

fn worst(members: &[Member]) -> Option<Member> {
    // The first of equals, so that the picture does not depend on how many there are.
    members.iter().rev().max_by_key(|member| member.rank()).copied()
}

fn glyph(theme: &Theme, code: u8) -> char {
    theme.state_mark(code).chars().next().unwrap_or('?')
}

/// Brightness by occupancy in one hue; what is pinned stands out.
fn style(theme: &Theme, member: Member) -> Style {
    if member.is_pinned() {
        return theme.alarm();
    }
    let step = usize::from(member.live.min(999)) * 5 / 1000;
    if member.state == state::EMPTY {
        return theme.faint();
    }
    match theme.depth {
        Depth::True => {
            let part = |from: u8, to: u8| {
                from + ((u16::from(to) - u16::from(from)) * step as u16 / 4) as u8
            };
            Style::new().fg(Color::Rgb(part(36, 86), part(78, 200), part(110, 255)))
        }
        Depth::Ansi256 => Style::new().fg(Color::Indexed([24, 31, 38, 45, 51][step])),
        Depth::Ansi16 => Style::new().fg([
            Color::Blue,
            Color::Blue,
            Color::LightBlue,
            Color::Cyan,
            Color::LightCyan,
        ][step]),
        Depth::None if step == 0 => Style::new().add_modifier(Modifier::DIM),
        Depth::None if step < 4 => Style::new(),
        Depth::None => Style::new().add_modifier(Modifier::BOLD),
    }
}

fn legend(theme: &Theme) -> Line<'static> {
    let mut spans = Vec::new();
    for code in [state::ACTIVE, state::FULL, state::PARTIAL, state::EMPTY] {
        spans.push(Span::raw(format!("{} {}  ", glyph(theme, code), state::name(code))));
    }
    spans.push(Span::styled(format!("under {PINNED_BELOW_PERCENT}% live"), theme.alarm()));
    spans.push(Span::raw("  live "));
    for step in 0..5_u16 {
        let member = Member { id: 0, state: state::PARTIAL, live: (step * 200 + 100).min(1000) };
        spans.push(Span::styled(theme.glyphs.solid.to_string(), style(theme, member)));
    }
    Line::from(spans)
}

/// What is said about the cell under the cursor.
fn draw_info(buf: &mut Buffer, area: Rect, model: &Model, data: &Data, shown: &Shown) {
    let theme = &model.theme;
    let inner =
        paint::pane(buf, area, theme, paint::heading(theme, "Under the cursor", false), false);
    let Some(member) = shown.members.get(shown.selected) else { return };
    let Some(record) = data.picture.superblocks.get(&member.id) else { return };
    let info = data.picture.hello.classes.get(usize::from(record.class));
    let block =
        info.map_or_else(|| "?".to_owned(), |info| format::bytes(i64::from(info.block_bytes)));
    let maxcount = info.map_or(0, |info| info.blocks_per_superblock);
    let mut lines = vec![
        Line::from(vec![
            Span::styled(format!("#{} ", record.id), theme.strong()),
            Span::styled(theme.state_mark(record.state), theme.state(record.state)),
            Span::raw(format!(" {}, blocks of {block}", state::name(record.state))),
        ]),
        Line::from(format!(
            "{} of {maxcount} blocks live ({}), {} reserved",
            data.picture.superblock_live_blocks(record),
            format::percent(Some(f64::from(member.live) / 1000.0)),
            record.credits
        )),
        Line::from(format!("{:#x}, {} old", record.address, format::duration(record.age_ns))),
    ];
    let cell = shown.selected / shown.grid.per_cell * shown.grid.per_cell;
    let mates = &shown.members[cell..(cell + shown.grid.per_cell).min(shown.members.len())];
    if mates.len() > 1 {
        let mut counts = [0_usize; 4];
        for mate in mates {
            if let Some(count) = counts.get_mut(usize::from(mate.state)) {
                *count += 1;
            }
        }
        let mut spans = vec![Span::raw(format!("cell of {}: ", mates.len()))];
        for (code, count) in (0..).zip(counts) {
            let mark = theme.state_mark(code).replace(' ', "");
            spans.push(Span::styled(format!("{mark}{count} "), theme.state(code)));
        }
        let pinned = mates.iter().filter(|mate| mate.is_pinned()).count();
        spans.push(Span::raw(format!("pinned {pinned}")));
        lines.push(Line::from(spans));
    }
    let pinned = shown.members.iter().filter(|member| member.is_pinned()).count();
    lines.push(Line::from(vec![
        Span::raw("in all "),
        Span::styled(format::thousands(pinned as u64), theme.hue(Hue::Vermillion)),
        Span::raw(format!(" under {PINNED_BELOW_PERCENT}% live")),
    ]));
    for (row, line) in (0..).zip(&lines) {
        paint::line(buf, inner, row, line);
    }
}

/// A key of the screen, `e` and Enter included.
pub fn act(model: &mut Model, action: Action) -> Commands {
    if model.map.open.is_some() {
        return detail::act(model, action);
    }
    let body = view::body(model);
    let inner = cells(layout(model, body).0);
    let Some(data) = model.shown() else { return Commands::NOTHING };
    let shown = shown(model, data, inner);
    let (grid, last) = (shown.grid, shown.members.len().saturating_sub(1));
    let row = grid.columns * grid.per_cell;
    let here = shown.selected;
    let target = match action {
        Action::Left => here.saturating_sub(grid.per_cell),
        Action::Right => here + grid.per_cell,
        Action::Up => here.saturating_sub(row),
        Action::Down => here + row,
        Action::PageUp => here.saturating_sub(row * (grid.rows / 2).max(1)),
        Action::PageDown => here + row * (grid.rows / 2).max(1),
        Action::Top => 0,
        Action::Bottom => last,
        _ => here,
    };
    let id_at = |place: usize| shown.members.get(place.min(last)).map(|member| member.id);
    match action {
        Action::Zoom => {
            model.map.selected = id_at(here);
            model.map.zoomed = !model.map.zoomed;
        }
        Action::Open => {
            // Of a cell of several, the one it shows.
            let from = here / grid.per_cell * grid.per_cell;
            let to = (from + grid.per_cell).min(shown.members.len());
            let worst = worst(&shown.members[from.min(to)..to]);
            let worst = if grid.per_cell > 1 { worst.map(|member| member.id) } else { id_at(here) };
            let Some(id) = worst else { return Commands::NOTHING };
            return open(model, id);
        }
        Action::Sort => model.map.order = model.map.order.next(),
        Action::Invert => model.map.inverted = !model.map.inverted,
        Action::Filter => model.map.filter.typing = true,
        _ => model.map.selected = id_at(target),
    }
    Commands::REDRAW
}

/// Looks closely at superblock `id`; asks the program for its blocks unless the view stands still.
pub fn open(model: &mut Model, id: u32) -> Commands {
    model.map.selected = Some(id);
    model.map.open = Some((id, 0));
    let superblock = model.frozen.is_none().then_some(id);
    Commands { superblock, ..Commands::REDRAW }
}

/// Undoes the innermost thing that can be undone.
pub fn back(model: &mut Model) {
    if model.map.open.take().is_none() && !model.map.filter.clear() {
        model.map.zoomed = false;
    }
}

/// A click at that cell of the terminal: selects, or opens what is selected.
pub fn click(model: &mut Model, column: u16, row: u16) -> Commands {
    let body = view::body(model);
    let inner = cells(layout(model, body).0);
    if model.map.open.is_some() || !inner.contains((column, row).into()) {
        return Commands::NOTHING;
    }
    let Some(data) = model.shown() else { return Commands::NOTHING };
    let shown = shown(model, data, inner);
    let (column, row) = (usize::from(column - inner.x), usize::from(row - inner.y));
    let range = shown.grid.at(shown.members.len(), column, row);
    if range.is_empty() {
        return Commands::NOTHING;
    }
    if range.contains(&shown.selected) {
        return act(model, Action::Open);
    }
    let worst = worst(&shown.members[range]);
    model.map.selected = worst.map(|member| member.id);
    Commands::REDRAW
}

/// Whether keys are text for a filter.
#[must_use]
pub fn is_typing(model: &Model) -> bool {
    model.map.filter.typing && model.map.open.is_none()
}

/// A key of that text.
pub fn edit(model: &mut Model, key: KeyEvent) {
    model.map.filter.edit(key, NAMES);
}

#[cfg(test)]
mod tests {
    //! Aim: every superblock is in exactly one cell, and the worst of a cell is what is shown.
    use super::*;

    fn member(id: u32, state: u8, live: u16) -> Member {
        Member { id, state, live }
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
        assert_eq!(worst(&others[..3]), Some(others[2]).filter(|_| false).or(Some(others[0])));
        assert_eq!(worst(&others[1..3]), Some(others[2]));
        assert_eq!(worst(&[]), None);
        assert!(pinned.is_pinned() && !others[0].is_pinned() && !others[2].is_pinned());
    }

    #[test]
    fn every_member_is_in_exactly_one_cell() {
        for (width, height) in [(1, 1), (7, 3), (80, 20)] {
            for count in [0, 1, 20, 21, 22, 1599, 1600, 1601, 100_000] {
                let grid = Grid::new(Rect::new(0, 0, width, height), count, false, 0);
                let mut next = 0;
                for row in 0..grid.rows {
                    for column in 0..grid.columns {
                        let range = grid.at(count, column, row);
                        assert_eq!(range.start, next.min(count));
                        next = range.end.max(next);
                    }
                }
                assert_eq!(next, count, "{width}x{height}");
            }
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
