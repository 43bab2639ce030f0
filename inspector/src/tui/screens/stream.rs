//! Screen 7: the transitions, one by one.

use lfalloc_protocol::message::{cause, state};
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::KeyEvent;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::{list, map, paint, transition};
use crate::format;
use crate::tui::data::Data;
use crate::tui::edge::Edge;
use crate::tui::events::Entry;
use crate::tui::figure::Figure;
use crate::tui::glossary::Term;
use crate::tui::keys::Action;
use crate::tui::model::{Model, Screen};
use crate::tui::terms::Terms;
use crate::tui::theme::Theme;
use crate::tui::update::Commands;
use crate::tui::view;

const NAMES: &[&str] = &["sb", "class", "block", "tag"];

/// What `x` explains on this screen.
pub const TERMS: &[Term] = &[Term {
    words: &["transition", "event"],
    title: "transition",
    what: "A superblock changed its state. Each line tells when, which superblock of which block size, from which state to \
           which, the procedure of the patent that did it, and the tag of the anchor after it.",
    unit: "one transition",
    how: "The allocator records each in a ring; the agent reads the ring and sends what is new.",
    exact: "Of one superblock the tags give the order. What was overwritten before it was read stands there as a gap.",
}];

/// What the screen remembers.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    /// The entry under the cursor; `None` follows the newest.
    pub event: Option<u64>,
    /// Rows below it, if it was picked where it stood.
    pub below: Option<u16>,
    /// Which are shown.
    pub filter: Terms,
}

/// The figure under the cursor.
#[must_use]
pub fn figure(model: &Model) -> Figure {
    let edge = match selected(model) {
        Some(Entry::Transition(record)) => Edge::between(record.from, record.to),
        _ => None,
    };
    edge.map_or(Figure::Term(&TERMS[0]), Figure::Edge)
}

/// The entry under the cursor, or the newest that is shown.
pub(in crate::tui) fn current(model: &Model, data: &Data) -> Option<u64> {
    let newest = || data.events.seek(u64::MAX, false, |entry| admits(model, data, entry));
    model.stream.event.or_else(newest)
}

fn selected(model: &Model) -> Option<Entry> {
    model.shown()?.events.get(model.stream.event?).copied()
}

/// The picked edge and the filter must both admit it. Gaps are shown whatever the filter: what is lost might have matched.
pub(in crate::tui) fn admits(model: &Model, data: &Data, entry: &Entry) -> bool {
    let Entry::Transition(record) = entry else { return true };
    let is_before = |before: &Data| record.uptime_ns <= before.picture.uptime_ns;
    if model.before().is_some_and(is_before) || !entry.matches(model.states.edge) {
        return false;
    }
    let filter = &model.stream.filter;
    if filter.is_idle() {
        return true;
    }
    let info = data.picture.hello.classes.get(usize::from(record.class));
    let figure = |name: &str| {
        Some(match name {
            "sb" => f64::from(record.superblock),
            "class" => f64::from(record.class),
            "block" => f64::from(info?.block_bytes),
            "tag" => record.tag as f64,
            _ => return None,
        })
    };
    let begins = |name: &str, word: &str| name.to_lowercase().starts_with(word);
    let word = |word: &str| match word.split_once(':') {
        Some(("from", word)) => begins(state::name(record.from), word),
        Some(("to", word)) => begins(state::name(record.to), word),
        Some(("by", word)) => begins(cause::name(record.cause), word),
        _ => match word.strip_prefix('#') {
            Some(id) => id.parse() == Ok(record.superblock),
            None => {
                begins(state::name(record.from), word)
                    || begins(state::name(record.to), word)
                    || begins(cause::name(record.cause), word)
            }
        },
    };
    filter.admits(figure, word)
}

/// The entries that are on screen, by number.
fn on_screen(model: &Model, data: &Data, height: usize) -> Vec<(u64, Entry)> {
    let Cursor { event, below, .. } = model.stream;
    data.events.page(event, below, height, |entry| admits(model, data, entry))
}

/// Where the entries lie, and what is said below them.
fn layout(area: Rect) -> (Rect, Rect) {
    let inner = Rect {
        x: area.x + 1,
        y: area.y + 1,
        width: area.width.saturating_sub(2),
        height: area.height.saturating_sub(2),
    };
    let below = 2.min(inner.height.saturating_sub(1));
    let entries = Rect { height: inner.height - below, ..inner };
    (entries, Rect { y: entries.bottom(), height: below, ..inner })
}

/// Draws the screen.
pub fn draw(buf: &mut Buffer, area: Rect, model: &Model, data: &Data) {
    let theme = &model.theme;
    let log = &data.events;
    let following = match model.stream.event {
        None if model.frozen.is_some() => "frozen",
        None => "newest below",
        Some(_) => "G follows the newest",
    };
    let rates = data.history.rates();
    let edge = transition::picked(theme, model.states.edge);
    let since = if model.before().is_some() { " since the baseline" } else { "" };
    let title = format!(
        "Events{edge}{since}: {} kept, {} missed, {}/s, {following}",
        format::thousands(log.end() - log.first()),
        format::thousands(log.missed_total()),
        format::rate(rates.transitions)
    );
    paint::pane(buf, area, theme, paint::heading(theme, &title, true), true);
    let (inner, below) = layout(area);
    let entries = on_screen(model, data, usize::from(inner.height));
    if entries.is_empty() {
        let text = match model.states.edge {
            _ if !model.stream.filter.is_idle() => {
                "no transition matches the filter (Esc clears it)"
            }
            Some(_) => "no transition along this edge yet (Esc shows all)",
            None => transition::nothing(log),
        };
        paint::text(buf, inner, (1, 0), text, theme.faint());
    }
    let cursor = model.stream.event.map(|event| event.max(log.first()));
    for (row, (number, entry)) in (0..).zip(&entries) {
        paint::line(buf, inner, row, &transition::entry_line(theme, data, entry, inner.width));
        if cursor == Some(*number) {
            paint::highlight(buf, inner, row, theme.selected());
        }
    }
    paint::line(buf, below, 0, &story(model, theme));
    if !model.stream.filter.is_idle() {
        paint::line(buf, below, 1, &list::filter_line(theme, &model.stream.filter, "to:empty"));
    }
}

/// What the transition under the cursor means.
fn story(model: &Model, theme: &Theme) -> Line<'static> {
    let text = match selected(model) {
        Some(Entry::Transition(record)) => match Edge::between(record.from, record.to) {
            Some(edge) => edge.story().to_owned(),
            None => "The state diagram has no such edge.".to_owned(),
        },
        Some(Entry::Missed(_)) => "Overwritten before they were read.".to_owned(),
        None => "j k pick a transition, Enter opens its superblock".to_owned(),
    };
    let text = if theme.glyphs.ascii { text.replace('−', "-").replace('×', "x") } else { text };
    Line::styled(text, theme.faint())
}

/// A key of the screen, `e` and Enter included.
pub fn act(model: &mut Model, action: Action) -> Commands {
    let page = usize::from(view::page_height(model));
    let (forward, count) = match action {
        Action::Up => (false, 1),
        Action::Down => (true, 1),
        Action::PageUp => (false, page),
        Action::PageDown => (true, page),
        Action::Top => (false, usize::MAX),
        Action::Bottom => {
            model.stream.event = None;
            return Commands::REDRAW;
        }
        Action::PickEdge | Action::Right | Action::Left => {
            model.states.edge = Edge::next(model.states.edge, action != Action::Left);
            return Commands::REDRAW;
        }
        Action::Filter => {
            model.stream.filter.typing = true;
            return Commands::REDRAW;
        }
        Action::Open => {
            let Some(Entry::Transition(record)) = selected(model) else { return Commands::NOTHING };
            model.screen = Screen::Map;
            return map::open(model, record.superblock);
        }
        _ => return Commands::NOTHING,
    };
    let Some(data) = model.shown() else { return Commands::NOTHING };
    let (cursor, stands_still) = (model.stream.event, model.frozen.is_some());
    let shows = |entry: &Entry| admits(model, data, entry);
    model.stream.event = data.events.moved(cursor, forward, count, stands_still, shows);
    Commands::REDRAW
}

/// Undoes the innermost thing that can be undone.
pub fn back(model: &mut Model) {
    if !model.stream.filter.clear() && model.states.edge.take().is_none() {
        model.stream.event = None;
    }
}

/// A click at that cell of the terminal: picks the transition of that row, or opens what is picked.
pub fn click(model: &mut Model, column: u16, row: u16) -> Commands {
    let (area, _) = layout(view::body(model));
    let Some(data) = model.shown() else { return Commands::NOTHING };
    if !area.contains((column, row).into()) {
        return Commands::NOTHING;
    }
    let entries = on_screen(model, data, usize::from(area.height));
    let row = usize::from(row - area.y);
    let Some((number, _)) = entries.get(row) else { return Commands::NOTHING };
    if model.stream.event == Some(*number) {
        return act(model, Action::Open);
    }
    model.stream.event = Some(*number);
    // It stays under the mouse.
    model.stream.below = Some((entries.len() - 1 - row) as u16);
    Commands::REDRAW
}

/// Whether keys are text for a filter.
#[must_use]
pub fn is_typing(model: &Model) -> bool {
    model.stream.filter.typing
}

/// A key of that text.
pub fn edit(model: &mut Model, key: KeyEvent) {
    model.stream.filter.edit(key, NAMES);
}
