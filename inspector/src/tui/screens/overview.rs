//! Screen 1: where the memory is.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::spots::{self, Spots};
use super::{charts, lints, magazines, paint, parts_bar, plot};
use crate::format;
use crate::fragmentation::{self, Rounding};
use crate::tui::class_table::{ClassTable, Column, Row};
use crate::tui::data::Data;
use crate::tui::figure::{Figure, Pane};
use crate::tui::glossary::Term;
use crate::tui::model::{Model, OverviewCursor};
use crate::tui::theme::{Hue, Theme};
use lfalloc_protocol::message::state;

/// What the viewer keeps.
pub const HISTORY: Term = Term {
    words: &["history", "past", "scrub", "baseline", "difference"],
    title: "history",
    what: "Past states that this viewer keeps: `,` and `.` go through them, `<` and `>` ten seconds at a time, on every screen. `b` \
           makes what is shown the baseline, `D` shows the differences to it.",
    unit: "how far back, how many, and their memory",
    how: "A state each quarter of a second, or each second with more than 10,000 superblocks; ten minutes, and 32 MiB. What is over \
          goes where it is missed least: the older, the sparser. Superblocks go before the other figures, and the Map skips \
          states without them.",
    exact: "Each is a state as it was told.",
};

/// Which panes are on screen, and where, with as many lines below the legend of the parts. What does not fit is shown alone when the cursor is there.
#[must_use]
pub fn layout(area: Rect, cursor: &OverviewCursor, more_lines: u16) -> Vec<(Pane, Rect)> {
    let alone = vec![(cursor.pane, area)];
    let mut parts = parts_bar::height(area.width.saturating_sub(2)) + 2;
    // Lines for the front and the rounding, unless another pane had to go for them.
    for _ in 0..more_lines {
        parts += u16::from(area.height >= parts + 11);
    }
    let at = |x: u16, y: u16, width: u16, height: u16| Rect {
        x: area.x + x,
        y: area.y + y,
        width,
        height,
    };
    if cursor.zoomed {
        return alone;
    }
    if area.width >= 110 && area.height >= 30 {
        // Ten rows of the histogram, nine lines of rates, and their borders.
        let rest = area.height - parts;
        let upper = rest.div_ceil(2).min(12 + rest.saturating_sub(24) / 2);
        let (y, lower) = (parts, rest - upper);
        let (states, books) = (42, 36);
        let occupancy = 42;
        return vec![
            (Pane::Parts, at(0, 0, area.width, parts)),
            (Pane::Fragmentation, at(0, y, area.width - occupancy, upper)),
            (Pane::Occupancy, at(area.width - occupancy, y, occupancy, upper)),
            (Pane::States, at(0, y + upper, states, lower)),
            (Pane::Worst, at(states, y + upper, area.width - states - books, lower)),
            (Pane::Books, at(area.width - books, y + upper, books, lower)),
        ];
    }
    let together = [Pane::Parts, Pane::States, Pane::Worst];
    if area.width >= 76 && area.height >= parts + 10 && together.contains(&cursor.pane) {
        let states = 40;
        let lower = area.height - parts;
        return vec![
            (Pane::Parts, at(0, 0, area.width, parts)),
            (Pane::States, at(0, parts, states, lower)),
            (Pane::Worst, at(states, parts, area.width - states, lower)),
        ];
    }
    alone
}

/// A pane, or a figure in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The pane.
    pub pane: Pane,
    /// The figure; `None`: elsewhere in the pane.
    pub figure: Option<Figure>,
}

/// What is at that cell of the terminal.
#[must_use]
pub fn hit(model: &Model, column: u16, row: u16) -> Option<Hit> {
    spots::pointed_at(model, (column, row), draw)
}

/// Where the figures of a pane are drawn.
pub(super) struct Marks<'a> {
    spots: &'a mut Spots<Hit>,
    pane: Pane,
}

impl Marks<'_> {
    /// `figure` is drawn at `place`.
    pub(super) fn add(&mut self, place: Rect, figure: Figure) {
        self.spots.add(place, Hit { pane: self.pane, figure: Some(figure) });
    }

    /// `figure` is drawn in row `row` of `area`.
    pub(super) fn add_row(&mut self, area: Rect, row: u16, figure: Figure) {
        let hit = Hit { pane: self.pane, figure: Some(figure) };
        self.spots.add_within(area, (0, row), area.width, hit);
    }
}

/// Draws the screen; returns what can be pointed at.
pub fn draw(buf: &mut Buffer, area: Rect, model: &Model, data: &Data) -> Spots<Hit> {
    let mut spots = Spots::default();
    let more_lines = 1 + u16::from(rounding(data).is_some());
    let panes = layout(area, &model.overview, more_lines);
    let alone = panes.len() == 1;
    for (pane, area) in panes {
        spots.add(area, Hit { pane, figure: None });
        let mut marks = Marks { spots: &mut spots, pane };
        let focused = pane == model.overview.pane;
        let mut title = match pane {
            Pane::Worst if model.before().is_some() => "Most waste since the baseline".to_owned(),
            _ => pane.title().to_owned(),
        };
        if alone {
            let place = Pane::ALL.iter().position(|&other| other == pane).unwrap_or(0);
            title = format!("{title} ({} of {}, h l for others)", place + 1, Pane::ALL.len());
        }
        let mut title = paint::heading(&model.theme, &title, focused);
        if pane == Pane::Fragmentation {
            let place = Rect { x: area.x + 1 + title.width() as u16, height: 1, ..area };
            let selected = selected(model, pane);
            title.extend(charts::fragmentation_legend(
                &model.theme,
                data,
                selected,
                place.intersection(area),
                &mut marks,
            ));
        }
        let inner = paint::pane(buf, area, &model.theme, title, focused);
        draw_pane(buf, inner, model, data, &mut marks);
    }
    spots
}

/// Rounding within all live blocks; `None` without samples.
#[must_use]
pub fn rounding(data: &Data) -> Option<Rounding> {
    fragmentation::total(&data.fragmentation).rounding
}

/// The figure under the cursor, if the cursor is in `pane`.
fn selected(model: &Model, pane: Pane) -> Option<Figure> {
    (model.overview.pane == pane).then(|| model.figure())
}

fn draw_pane(buf: &mut Buffer, area: Rect, model: &Model, data: &Data, marks: &mut Marks<'_>) {
    let (theme, selected) = (&model.theme, selected(model, marks.pane));
    match marks.pane {
        Pane::Parts => {
            let before = model.before().map(|before| &before.picture);
            let pictures = (&data.picture, before);
            let front = magazines::one_line(model, data, area.width);
            let below = (front.as_str(), rounding(data));
            parts_bar::draw(buf, area, theme, pictures, below, selected, marks);
        }
        Pane::States => draw_states(buf, area, model, data, selected, marks),
        Pane::Worst => draw_worst(buf, area, model, data, selected, marks),
        Pane::Books => draw_books(buf, area, model, data, selected, marks),
        Pane::Fragmentation => charts::draw_fragmentation(buf, area, theme, data),
        Pane::Occupancy => charts::draw_occupancy(buf, area, theme, data, selected, marks),
    }
}

pub(super) fn named(
    theme: &Theme,
    figure: Figure,
    selected: Option<Figure>,
    name: &str,
) -> Span<'static> {
    let style = if selected == Some(figure) { theme.selected() } else { Style::new() };
    Span::styled(name.to_owned(), style)
}

/// `name` in `width` cells, the name alone marked if it is selected.
fn label(
    theme: &Theme,
    figure: Figure,
    selected: Option<Figure>,
    name: &str,
    width: usize,
) -> [Span<'static>; 2] {
    let padding = " ".repeat(width.saturating_sub(name.chars().count()));
    [named(theme, figure, selected, name), Span::raw(padding)]
}

fn draw_states(
    buf: &mut Buffer,
    area: Rect,
    model: &Model,
    data: &Data,
    selected: Option<Figure>,
    marks: &mut Marks<'_>,
) {
    let theme = &model.theme;
    let before = model.before();
    let before = before.map(|then| (then.picture.superblocks_by_state(), then.bytes_by_state()));
    let counts = data.picture.superblocks_by_state();
    let bytes = data.bytes_by_state();
    let all: u64 = counts.iter().sum();
    let mut row = 0;
    for code in [state::ACTIVE, state::FULL, state::PARTIAL, state::EMPTY] {
        let place = usize::from(code);
        let share = (all > 0).then(|| counts[place] as f64 / all as f64);
        let mut spans =
            vec![Span::styled(format!("{} ", theme.state_mark(code)), theme.state(code))];
        spans.extend(label(theme, Figure::State(code), selected, state::name(code), 8));
        let (count, size) = match before {
            None => (format::thousands(counts[place]), format::bytes(bytes[place])),
            Some((counts_then, bytes_then)) => (
                format::count_change(counts[place].wrapping_sub(counts_then[place]).cast_signed()),
                format::bytes_change(bytes[place].saturating_sub(bytes_then[place])),
            ),
        };
        spans.push(Span::styled(format!("{count:>9}"), theme.strong()));
        spans.push(Span::raw(format!(" {size:>9}")));
        spans.push(Span::styled(format!(" {:>6}", format::percent(share)), theme.faint()));
        paint::line(buf, area, row, &Line::from(spans));
        marks.add_row(area, row, Figure::State(code));
        row += 1;
    }
    if area.height >= 9 {
        row += 1;
    }
    let rates = data.history.rates();
    let lines = [
        (Figure::Allocations, "allocations", rates.allocations, String::new()),
        (Figure::Frees, "frees", rates.frees, String::new()),
        (Figure::Retries, "CAS retries", rates.retries, per_operation(rates.retries_per_operation)),
        (Figure::Transitions, "transitions", rates.transitions, String::new()),
    ];
    for (figure, name, rate, remark) in lines {
        let mut spans: Vec<Span<'static>> = label(theme, figure, selected, name, 12).into();
        spans.push(Span::styled(format!("{:>7}/s", format::rate(rate)), theme.strong()));
        spans.push(Span::styled(remark, theme.faint()));
        paint::line(buf, area, row, &Line::from(spans));
        marks.add_row(area, row, figure);
        row += 1;
    }
}

fn per_operation(share: Option<f64>) -> String {
    share.map(|share| format!("  {:.2} in 1000", share * 1000.0)).unwrap_or_default()
}

fn draw_worst(
    buf: &mut Buffer,
    area: Rect,
    model: &Model,
    data: &Data,
    selected: Option<Figure>,
    marks: &mut Marks<'_>,
) {
    let theme = &model.theme;
    marks.add(area, Figure::ClassWaste);
    let heading = Line::from(vec![
        named(theme, Figure::ClassWaste, selected, "    block      waste"),
        Span::styled("    util   EXT%", Style::new()),
    ])
    .style(theme.faint());
    paint::line(buf, area, 0, &heading);
    let rows: Vec<Row> = ClassTable::default()
        .rows(data, model.before())
        .into_iter()
        .filter(|row| Column::Waste.value(row) != Some(0.0))
        .take(usize::from(area.height.saturating_sub(1)))
        .collect();
    if rows.is_empty() {
        let text = match model.before() {
            None => "no class has a superblock",
            Some(_) => "no class wastes more or less",
        };
        paint::text(buf, area, (1, 1), text, theme.faint());
    }
    let waste = |row: &Row| Column::Waste.value(row).unwrap_or(0.0);
    let most = rows.iter().map(|row| waste(row).abs()).fold(1.0, f64::max);
    for (place, row) in (1..).zip(&rows) {
        let waste = waste(row);
        let text = format!(
            "{:>9}  {:>9}  {:>6} {:>6} ",
            Column::Block.text(row),
            Column::Waste.text(row),
            Column::Utilisation.text(row),
            Column::External.text(row),
        );
        let used = text.chars().count() as u16;
        let is_odd = waste < 0.0 && row.before.is_none();
        let style = if is_odd { theme.alarm() } else { Style::new() };
        paint::text(buf, area, (0, place), &text, style);
        let bar = plot::bar(theme, waste.abs() / most, area.width.saturating_sub(used));
        // Less waste than before is good news.
        let hue = if waste < 0.0 { Hue::Green } else { Hue::Yellow };
        paint::text(buf, area, (used, place), &bar, theme.hue(hue));
    }
}

fn draw_books(
    buf: &mut Buffer,
    area: Rect,
    model: &Model,
    data: &Data,
    selected: Option<Figure>,
    marks: &mut Marks<'_>,
) {
    let theme = &model.theme;
    let end = &data.picture.end;
    let balance = data.picture.books_balance().unwrap_or(0);
    let (verdict, verdict_style) = match (balance, end.consistent) {
        (0, _) => ("balance".to_owned(), theme.good()),
        (off, true) => (format!("off by {}", format::bytes(off)), theme.alarm()),
        (off, false) => (format!("{} off, moving", format::bytes(off)), Style::new()),
    };
    let (consistent, consistent_style) = if end.consistent {
        (format!("yes, attempt {}", end.attempts), theme.good())
    } else {
        (format!("no, {}", format::attempts(end.attempts)), theme.hue(Hue::Yellow))
    };
    let held = |data: &Data| {
        let end = &data.picture.end;
        end.allocations_after.wrapping_sub(end.frees_after).cast_signed()
    };
    let held = match model.before() {
        None => signed_thousands(held(data)),
        Some(before) => format::count_change(held(data).wrapping_sub(held(before))),
    };
    let (moments, reach_ns) = model.moments.reach();
    let kept = i64::try_from(model.moments.bytes()).unwrap_or(i64::MAX);
    let kept = format!("{}, {moments} in {}", format::duration(reach_ns), format::bytes(kept));
    let cost = agent_cost(data).join(" CPU, ");
    let missed = data.drops().saturating_add(end.transitions_dropped);
    let mut raised = data.lints.raised();
    let (findings, findings_style) = match (raised.next(), raised.count()) {
        (None, _) => ("none".to_owned(), theme.good()),
        (Some(worst), 0) => (worst.lint.name().to_owned(), theme.alarm()),
        (Some(worst), more) => (format!("{}, {more} more", worst.lint.name()), theme.alarm()),
    };
    let lines = [
        (Figure::Balance, "parts", verdict, verdict_style),
        (Figure::Consistent, "consistent", consistent, consistent_style),
        (Figure::InHand, "in hand", format::thousands(end.in_hand), Style::new()),
        (Figure::Difference, "alloc-frees", held, Style::new()),
        (Figure::Missed, "events lost", format::thousands(missed), Style::new()),
        (Figure::AgentCost, "agent", cost, Style::new()),
        (Figure::Term(&lints::TERMS[0]), "lints", findings, findings_style),
        (Figure::Term(&HISTORY), "history", kept, Style::new()),
    ];
    for (row, (figure, name, value, style)) in (0..).zip(lines) {
        let mut spans: Vec<Span<'static>> = label(theme, figure, selected, name, 12).into();
        spans.push(Span::styled(value, style));
        paint::line(buf, area, row, &Line::from(spans));
        marks.add_row(area, row, figure);
    }
}

fn signed_thousands(value: i64) -> String {
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{}", format::thousands(value.unsigned_abs()))
}

/// The agent's own cost: share of a processor, and bytes.
#[must_use]
pub fn agent_cost(data: &Data) -> [String; 2] {
    let bytes = i64::try_from(data.picture.end.agent_bytes).unwrap_or(i64::MAX);
    let cpu = data.history.rates().agent_cpu;
    let share = cpu.map_or_else(|| "-%".to_owned(), |cpu| format!("{:.2}%", cpu * 100.0));
    [share, format::bytes(bytes)]
}
