//! Screen 5: the state diagram of the patent with live rates, and the event log.

use lfalloc_protocol::message::{TransitionRecord, cause, state};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::spots::{self, Spots};
use super::{diagram, paint, transition};
use crate::format;
use crate::tui::data::Data;
use crate::tui::edge::Edge;
use crate::tui::events::Entry;
use crate::tui::model::Model;

/// Rows of the log that are worth a pane.
const LEAST_LOG: u16 = 4;

/// What can be pointed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    /// An edge of the diagram: its line, its label.
    Edge(Edge),
    /// A state of the diagram.
    State(u8),
    /// Elsewhere in the diagram.
    Diagram,
    /// An event of the log, and how many rows are below it.
    Event(u64, u16),
    /// Elsewhere in the log.
    Log,
}

/// What is at that cell of the terminal.
#[must_use]
pub fn hit(model: &Model, column: u16, row: u16) -> Option<Hit> {
    spots::pointed_at(model, (column, row), draw)
}

/// Draws the screen; returns what can be pointed at.
pub fn draw(buf: &mut Buffer, area: Rect, model: &Model, data: &Data) -> Spots<Hit> {
    let mut spots = Spots::default();
    if model.states.zoomed {
        draw_log(buf, area, model, data, &mut spots);
        return spots;
    }
    let fits = area.width >= diagram::LEAST.0 && area.height >= diagram::LEAST.1;
    let framed = fits && area.width > diagram::LEAST.0 + 2 && area.height >= diagram::HEIGHT + 10;
    let upper = match (framed, fits) {
        (true, _) => diagram::HEIGHT + 2,
        (false, true) => diagram::HEIGHT,
        // Four states in one line, and nine edges.
        (false, false) => 2 + Edge::ALL.len() as u16,
    };
    let upper = if area.height < upper + LEAST_LOG { area.height } else { upper };
    let [above, below] = [
        Rect { height: upper, ..area },
        Rect { y: area.y + upper, height: area.height - upper, ..area },
    ];
    spots.add(above, Hit::Diagram);
    if framed {
        let title = picture_title(model, data);
        let inner = paint::pane(buf, above, &model.theme, title, true);
        diagram::draw(buf, inner, &model.theme, data, emphasis(model), &mut spots);
    } else if fits {
        diagram::draw(buf, above, &model.theme, data, emphasis(model), &mut spots);
    } else {
        draw_list(buf, above, model, data, &mut spots);
    }
    if below.height > 0 {
        draw_log(buf, below, model, data, &mut spots);
    }
    spots
}

fn picture_title(model: &Model, data: &Data) -> Line<'static> {
    let to = model.theme.glyphs.to;
    let words = if let Some(record) = event(model, data) {
        let (from, entered) = (state::name(record.from), state::name(record.to));
        let (procedure, paragraph) = (cause::name(record.cause), cause::paragraph(record.cause));
        let superblock = record.superblock;
        format!("superblock #{superblock}, {from} {to} {entered} by {procedure} {paragraph}")
    } else if let Some(edge) = model.states.edge {
        format!("{} {to} {}", state::name(edge.from()), state::name(edge.to()))
    } else {
        let seen = if model.before().is_some() { "since the baseline" } else { "seen in all" };
        format!("superblocks in each state, transitions a second, and {seen}")
    };
    let title = format!("State diagram: {}", words.trim_end());
    paint::heading(&model.theme, &title, false)
}

/// The event under the cursor, if there is a cursor.
fn event<'a>(model: &Model, data: &'a Data) -> Option<&'a TransitionRecord> {
    match data.events.get(model.states.event?)? {
        Entry::Transition(record) => Some(record),
        Entry::Missed(_) => None,
    }
}

fn emphasis(model: &Model) -> diagram::Emphasis {
    diagram::Emphasis {
        picked: model.states.edge,
        event: model.event_edge(),
        stepped: model.frozen.as_ref().map_or([0; 4], |frozen| frozen.stepped),
        before: model.before().map(|before| diagram::Before {
            edges: before.edges,
            counts: before.picture.superblocks_by_state(),
            bytes: before.bytes_by_state(),
        }),
    }
}

/// The diagram in words, for terminals that are too small to draw it.
fn draw_list(buf: &mut Buffer, area: Rect, model: &Model, data: &Data, spots: &mut Spots<Hit>) {
    let theme = &model.theme;
    let emphasis = emphasis(model);
    let counts = data.picture.superblocks_by_state();
    let mut spans: Vec<Span<'static>> = Vec::new();
    for code in [state::ACTIVE, state::FULL, state::PARTIAL, state::EMPTY] {
        let x = spans.iter().map(Span::width).sum::<usize>() as u16;
        // As far as the next one covers it.
        spots.add_within(area, (x, 0), area.width.saturating_sub(x), Hit::State(code));
        spans.push(Span::styled(format!("{} ", theme.state_mark(code)), theme.state(code)));
        let count = counts[usize::from(code)];
        spans.push(Span::styled(format::thousands(count), theme.strong()));
        let change = emphasis.before.map_or(String::new(), |before| {
            let change = count.wrapping_sub(before.counts[usize::from(code)]).cast_signed();
            format!(" ({})", format::count_change(change))
        });
        spans.push(Span::raw(format!("{change}   ")));
    }
    paint::line(buf, area, 0, &Line::from(spans));
    for (row, edge) in (1..).zip(Edge::ALL) {
        let mut spans = vec![
            Span::styled(format!("{:<7}", state::name(edge.from())), theme.state(edge.from())),
            Span::styled(format!(" {} ", theme.glyphs.to), theme.faint()),
            Span::styled(format!("{:<7}", state::name(edge.to())), theme.state(edge.to())),
        ];
        let at_least = theme.at_least(data.history.edges_missed());
        let rate = match emphasis.before {
            None => format!("{at_least}{}/s", format::rate(data.history.edge_rate(edge))),
            Some(before) => {
                let change = data.edges.get(edge).wrapping_sub(before.edges.get(edge));
                format::count_change(change.cast_signed())
            }
        };
        spans.push(Span::styled(format!(" {rate:>9} "), theme.strong()));
        spans.push(Span::raw(format!("{} ", edge.procedure())));
        spans.push(Span::styled(edge.paragraph(), theme.faint()));
        paint::line(buf, area, row, &Line::from(spans));
        spots.add_within(area, (0, row), area.width, Hit::Edge(edge));
        if emphasis.picked == Some(edge) {
            paint::highlight(buf, area, row, theme.selected());
        } else if emphasis.event == Some(edge) {
            paint::highlight(buf, area, row, theme.strong());
        }
    }
}

fn log_title(model: &Model, data: &Data) -> String {
    let mut title = format!("Events{}", transition::picked(&model.theme, model.states.edge));
    let lost = data.events.missed_total();
    if lost > 0 {
        title = format!("{title}, {} missed", format::count(lost));
    }
    let steps = model.frozen.as_ref().map_or(0, |frozen| frozen.steps);
    match (model.states.event, steps) {
        (None, _) if model.frozen.is_some() => title + ", frozen",
        (None, _) => title + ", newest below",
        (Some(_), 1..) => format!("{title}, {} stepped since the freeze", format::thousands(steps)),
        (Some(number), 0) => match data.events.end().saturating_sub(number.saturating_add(1)) {
            0 => title + ", at the newest",
            before => format!("{title}, {} before the newest", format::thousands(before)),
        },
    }
}

fn draw_log(buf: &mut Buffer, area: Rect, model: &Model, data: &Data, spots: &mut Spots<Hit>) {
    spots.add(area, Hit::Log);
    let theme = &model.theme;
    let title = paint::heading(theme, &log_title(model, data), model.states.zoomed);
    let inner = paint::pane(buf, area, theme, title, model.states.zoomed);
    let log = &data.events;
    let edge = model.states.edge;
    let height = usize::from(inner.height);
    let numbers =
        log.page(model.states.event, model.states.below, height, |entry| entry.matches(edge));
    if numbers.is_empty() {
        let text = match edge {
            Some(_) => "no transition along this edge yet",
            None => transition::nothing(log),
        };
        paint::text(buf, inner, (1, 0), text, theme.faint());
        return;
    }
    let last = numbers.len() as u16 - 1;
    for (row, (number, entry)) in (0..).zip(numbers) {
        paint::line(buf, inner, row, &transition::entry_line(theme, data, &entry, inner.width));
        spots.add_within(inner, (0, row), inner.width, Hit::Event(number, last - row));
        if model.states.event.map(|event| event.max(log.first())) == Some(number) {
            paint::highlight(buf, inner, row, theme.selected());
        }
    }
}
