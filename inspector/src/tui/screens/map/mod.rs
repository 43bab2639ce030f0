//! Screen 3: every superblock on one screen.
//!
//! With more superblocks than cells each cell stands for several in a row and shows the *worst* of them, since a mean
//! would hide the one superblock that a few blocks pin. Zoomed in, a cell is one superblock.

use lfalloc_protocol::message::state;
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
use crate::tui::model::{Connection, Model, Screen};
use crate::tui::terms::Terms;
use crate::tui::theme::{Depth, Hue, Theme};
use crate::tui::update::Commands;
use crate::tui::view;

mod cells;
mod detail;

pub use self::cells::Order;
use self::cells::{Change, Grid, Member, members, worst};
pub(in crate::tui) use self::detail::seen;

/// Figures that the filter compares.
const NAMES: &[&str] = &["occ", "live", "block", "class", "age", "id"];

const MAP: Term = Term {
    words: &["map", "worst member"],
    title: "map",
    what: "Every superblock: the glyph is its state, the brightness how much of it is live, and a pinned one (less \
               than a tenth live) stands out. A cell of several superblocks shows the worst of them.",
    unit: "superblocks",
    how: "The worst has something live, and the least of it; then those without a live block; EMPTY ones last.",
    exact: "Each superblock is read in one piece; all of them are one instant only in a consistent state.",
};

const BITMAP: Term = Term {
    words: &["bitmap", "racing"],
    title: "block bitmap",
    what: "Which blocks of the superblock are in its list of free blocks, reserved ones included, which of the others wait in \
               magazines or in the depot, and which are live. It is called racing if the superblock changed while its list \
               was read, as often as that was tried.",
    unit: "blocks",
    how: "The agent copies the superblock and follows the links in the copy, as many as count and credits say; for cached blocks it \
               reads every magazine of the class and its depot, without stopping them.",
    exact: "Exact: the anchor was the same before and after, and for cached blocks the front counted nothing meanwhile. Racing: \
               single blocks may be wrong.",
};

/// What `x` explains on this screen.
pub const TERMS: &[Term] = &[
    MAP,
    BITMAP,
    Term {
        words: &["occupancy"],
        title: "occupancy",
        what: "The share of a superblock's blocks that the program holds, or magazines and the depot.",
        unit: "percent of its blocks",
        how: "(maxcount − count − reserved) / maxcount; 0 for EMPTY ones.",
        exact: "From one reading of the anchor. Blocks that wait in magazines or in the depot count as held.",
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
    /// The close look that was asked for last.
    pub asked: Option<Asked>,
}

/// A close look that the program was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The superblock.
    id: u32,
    /// The connection it was asked on.
    epoch: u64,
    /// Time of the look at it that there was already.
    before_ns: Option<u64>,
}

impl Asked {
    fn new(data: &Data, id: u32) -> Self {
        Self { id, epoch: data.epoch, before_ns: looked_ns(data, id) }
    }

    /// Whether the answer is still to come.
    fn is_open(self, data: &Data) -> bool {
        self.epoch == data.epoch && looked_ns(data, self.id) == self.before_ns
    }
}

/// When superblock `id` was looked at closely, if it was the last that was.
fn looked_ns(data: &Data, id: u32) -> Option<u64> {
    data.detail.as_ref().filter(|detail| detail.id == id).map(|detail| detail.uptime_ns)
}

/// Where the parts of the screen lie: the map, and what is said about the cell.
fn layout(area: Rect) -> (Rect, Rect) {
    if area.width >= 110 {
        let side = 43;
        let map = Rect { width: area.width - side, ..area };
        (map, Rect { x: map.right(), width: side, ..area })
    } else {
        let below = if area.height >= 18 { 7 } else { 4 };
        let below = below.min(area.height.saturating_sub(4));
        let map = Rect { height: area.height - below, ..area };
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
    let term = match model.map.open {
        None => &MAP,
        Some(_) => &BITMAP,
    };
    Figure::Term(term)
}

/// What differences are taken to, if they can be: superblocks of a moment long past are not kept.
fn before<'a>(model: &'a Model, data: &Data) -> Option<&'a Data> {
    model.before().filter(|before| before.has_superblocks && data.has_superblocks)
}

/// Everything the screen needs to know about what is shown.
struct Shown {
    members: Vec<Member>,
    selected: usize,
    grid: Grid,
}

fn shown(model: &Model, data: &Data, area: Rect) -> Shown {
    let members = members(&model.map, data, before(model, data));
    let selected = model.map.selected;
    let selected =
        selected.and_then(|id| members.iter().position(|member| member.id == id)).unwrap_or(0);
    let grid = Grid::new(area, members.len(), model.map.zoomed, selected);
    Shown { members, selected, grid }
}

/// The superblock under the cursor, or the one that is looked at.
pub(in crate::tui) fn under_cursor(model: &Model, data: &Data) -> Option<u32> {
    if let Some((id, _)) = model.map.open {
        return Some(id);
    }
    let ids = in_order(model, data);
    let selected = model.map.selected.filter(|id| ids.contains(id));
    selected.or(ids.first().copied())
}

/// The superblocks that the filter admits, in order.
pub(in crate::tui) fn in_order(model: &Model, data: &Data) -> Vec<u32> {
    members(&model.map, data, before(model, data)).into_iter().map(|member| member.id).collect()
}

/// The close look at `id` in lines of `width` cells.
pub(in crate::tui) fn close_look(
    model: &Model,
    data: &Data,
    id: u32,
    width: u16,
) -> Vec<Line<'static>> {
    detail::lines(model, data, id, width)
}

/// Draws the screen.
pub fn draw(buf: &mut Buffer, area: Rect, model: &Model, data: &Data) {
    if let Some((id, scroll)) = model.map.open {
        detail::draw(buf, area, model, data, id, scroll);
        return;
    }
    let (theme, cursor) = (&model.theme, &model.map);
    let (map, info) = layout(area);
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
    // Within corners, the mark of the focus, and a blank on either side of both.
    let title = paint::fit(&title, map.width.saturating_sub(6));
    paint::pane(buf, map, theme, paint::heading(theme, title, true), true);
    for row in 0..shown.grid.rows {
        for column in 0..shown.grid.columns {
            let range = shown.grid.at(count, column, row);
            let Some(worst) = worst(&shown.members[range.clone()]) else { break };
            let here = (column as u16, row as u16);
            let mut style = match before(model, data) {
                None => style(theme, worst),
                Some(_) => style_of_change(theme, worst.change),
            };
            if range.contains(&shown.selected) {
                style = Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD);
            }
            paint::cell(buf, inner, here, glyph(theme, worst.state), style);
        }
    }
    if count == 0 {
        let text = if !data.has_superblocks {
            "the superblocks of this state are not kept any more: , and . go to those that are"
        } else if cursor.filter.is_idle() {
            "no superblock is mapped"
        } else {
            "no superblock matches the filter (Esc clears it)"
        };
        paint::text(buf, inner, (1, 0), text, theme.faint());
    }
    let last = Rect { y: inner.bottom(), height: 1, ..inner };
    if cursor.filter.is_idle() {
        let legend = match before(model, data) {
            None => legend(theme, last.width),
            Some(before) => legend_of_changes(theme, data, before),
        };
        paint::line(buf, last, 0, &legend);
    } else {
        paint::line(buf, last, 0, &list::filter_line(theme, &cursor.filter, "occ<10"));
    }
    draw_info(buf, info, model, data, &shown);
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
        // Nothing is dim: white, then blue, then green.
        _ if theme.is_bright() && step == 0 => theme.base(),
        _ if theme.is_bright() && step < 4 => theme.hue(Hue::SkyBlue),
        Depth::Ansi16 | Depth::Ansi256 | Depth::True if theme.is_bright() => theme.hue(Hue::Green),
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

fn legend(theme: &Theme, width: u16) -> Line<'static> {
    let mut spans = Vec::new();
    for code in [state::ACTIVE, state::FULL, state::PARTIAL, state::EMPTY] {
        spans.push(Span::raw(format!("{} {}  ", glyph(theme, code), state::name(code))));
    }
    spans.push(Span::styled(format!("under {PINNED_BELOW_PERCENT}% live"), theme.alarm()));
    let states = Line::from(spans.clone());
    spans.push(Span::raw("  live "));
    for step in 0..5_u16 {
        let member = Member {
            id: 0,
            state: state::PARTIAL,
            live: (step * 200 + 100).min(1000),
            change: Change::Same,
        };
        spans.push(Span::styled(theme.glyphs.solid.to_string(), style(theme, member)));
    }
    let whole = Line::from(spans);
    if whole.width() <= usize::from(width) { whole } else { states }
}

fn style_of_change(theme: &Theme, change: Change) -> Style {
    match change {
        Change::Same => theme.faint(),
        Change::Stirred => Style::new(),
        // Told apart from what merely stirred where there are no colours.
        Change::Emptier if !theme.colored() => Style::new().add_modifier(Modifier::UNDERLINED),
        Change::Emptier => theme.hue(Hue::SkyBlue),
        Change::Fuller => theme.hue(Hue::Yellow).add_modifier(Modifier::BOLD),
        Change::New => theme.hue(Hue::Green).add_modifier(Modifier::REVERSED),
    }
}

/// What colours mean while differences are shown, and how many went, which no cell shows.
fn legend_of_changes(theme: &Theme, data: &Data, before: &Data) -> Line<'static> {
    let mut spans = Vec::new();
    for (change, name) in [
        (Change::New, "new"),
        (Change::Fuller, "fuller"),
        (Change::Emptier, "emptier"),
        (Change::Stirred, "stirred"),
        (Change::Same, "as it was"),
    ] {
        spans.push(Span::styled(name, style_of_change(theme, change)));
        spans.push(Span::raw("  "));
    }
    let superblocks = &data.picture.superblocks;
    let gone = before.picture.superblocks.iter().filter(|then| superblocks.get(then.id).is_none());
    spans.push(Span::raw(format!("{} went", format::thousands(gone.count() as u64))));
    Line::from(spans)
}

/// What is said about the cell under the cursor.
fn draw_info(buf: &mut Buffer, area: Rect, model: &Model, data: &Data, shown: &Shown) {
    let theme = &model.theme;
    let inner =
        paint::pane(buf, area, theme, paint::heading(theme, "Under the cursor", false), false);
    let Some(member) = shown.members.get(shown.selected) else { return };
    let Some(record) = data.picture.superblocks.get(member.id) else { return };
    let info = data.picture.hello.classes.get(usize::from(record.class));
    let block =
        info.map_or_else(|| "?".to_owned(), |info| format::bytes(i64::from(info.block_bytes)));
    let maxcount = info.map_or(0, |info| info.blocks_per_superblock);
    // To a superblock they are live.
    let cached = if data.picture.parts.cached == 0 { "" } else { " or cached" };
    let mut lines = vec![
        Line::from(vec![
            Span::styled(format!("#{} ", record.id), theme.strong()),
            Span::styled(theme.state_mark(record.state), theme.state(record.state)),
            Span::raw(format!(" {}, blocks of {block}", state::name(record.state))),
        ]),
        Line::from(format!(
            "{} of {maxcount} blocks live{cached} ({}), {} reserved",
            data.picture.superblock_live_blocks(record),
            format::percent(Some(f64::from(member.live) / 1000.0)),
            record.credits
        )),
        Line::from(format!(
            "{:#x}, {} old",
            record.address,
            format::duration(data.picture.age_ns(record))
        )),
    ];
    if let Some(before) = before(model, data) {
        let then = before.picture.superblocks.get(member.id);
        let was = then.map_or("not mapped".to_owned(), |then| {
            format!(
                "{} live, {}",
                before.picture.superblock_live_blocks(then),
                state::name(then.state)
            )
        });
        lines.push(Line::from(format!("at the baseline: {was}")));
    }
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
    let inner = cells(layout(body).0);
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
    Commands { superblock: ask(model, id), ..Commands::REDRAW }
}

/// Asks for a look at `id`, unless the view stands still.
fn ask(model: &mut Model, id: u32) -> Option<u32> {
    if model.frozen.is_some() {
        return None;
    }
    model.map.asked = model.live.as_ref().map(|live| Asked::new(live, id));
    Some(id)
}

/// Whether what is looked at closely is looked at again with every state: nothing is shown of the past.
#[must_use]
pub fn is_living(model: &Model) -> bool {
    model.frozen.is_none()
        && !model.replay
        && model.connection == Connection::Live
        && model.live.as_ref().is_some_and(|live| live.picture.hello.minor >= 1)
}

/// A state has come: the superblock to ask for again, if one is looked at and no answer is due.
pub fn look_again(model: &mut Model) -> Option<u32> {
    let (id, _) = model.map.open.filter(|_| model.screen == Screen::Map && is_living(model))?;
    let live = model.live.as_ref()?;
    let waits = model.map.asked.is_some_and(|asked| asked.id == id && asked.is_open(live));
    if waits { None } else { ask(model, id) }
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
    let inner = cells(layout(body).0);
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
