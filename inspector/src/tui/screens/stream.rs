//! Screen 7: the transitions, one by one.

use lfalloc_protocol::message::{TransitionRecord, cause, state};
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::KeyEvent;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};

use super::{map, paint};
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

fn selected(model: &Model) -> Option<Entry> {
    model.shown()?.events.get(model.stream.event?).copied()
}

/// Gaps are shown whatever the filter: what is lost might have matched.
fn admits(model: &Model, data: &Data, entry: &Entry) -> bool {
    let Entry::Transition(record) = entry else { return true };
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

/// The nearest entry after `number` (or before it) that is shown.
fn seek(model: &Model, data: &Data, number: u64, forward: bool) -> Option<u64> {
    let log = &data.events;
    let fits = |number: &u64| log.get(*number).is_some_and(|entry| admits(model, data, entry));
    if forward {
        (number.saturating_add(1).max(log.first())..log.end()).find(fits)
    } else {
        (log.first()..number.min(log.end())).rev().find(fits)
    }
}

/// Up to `count` entries that are shown, ending with `last` or the nearest before it. Gaps that nothing shown stands
/// between are one, under the number of the last.
fn window(model: &Model, data: &Data, last: u64, count: usize) -> Vec<(u64, Entry)> {
    let log = &data.events;
    let mut shown: Vec<(u64, Entry)> = Vec::new();
    for number in (log.first()..last.saturating_add(1).min(log.end())).rev() {
        let Some(entry) = log.get(number).filter(|entry| admits(model, data, entry)) else {
            continue;
        };
        if let (Entry::Missed(more), Some((_, Entry::Missed(later)))) = (entry, shown.last_mut()) {
            *later = later.saturating_add(*more);
            continue;
        }
        if shown.len() == count {
            break;
        }
        shown.push((number, *entry));
    }
    shown.reverse();
    shown
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
    let title = format!(
        "Events: {} kept, {} missed, {}/s, {following}",
        format::thousands(log.end() - log.first()),
        format::thousands(log.missed_total()),
        format::rate(rates.transitions)
    );
    let inner = paint::pane(buf, area, theme, paint::heading(theme, &title, true), true);
    let footer = 2.min(inner.height.saturating_sub(1));
    let height = usize::from(inner.height - footer);
    let last = match model.stream.event {
        Some(number) => {
            let mut last = number.max(log.first());
            for _ in 0..height / 3 {
                match seek(model, data, last, true) {
                    Some(next) => last = next,
                    None => break,
                }
            }
            last
        }
        None => log.end(),
    };
    let entries = window(model, data, last, height);
    if entries.is_empty() {
        let text = if model.stream.filter.is_idle() {
            "no transition yet"
        } else {
            "no transition matches the filter (Esc clears it)"
        };
        paint::text(buf, inner, (1, 0), text, theme.faint());
    }
    for (row, (number, entry)) in (0..).zip(&entries) {
        let line = match entry {
            Entry::Transition(record) => record_line(theme, data, record, inner.width),
            Entry::Missed(count) => Line::styled(
                format!("  {} transitions missed here", format::thousands(*count)),
                theme.alarm(),
            ),
        };
        paint::line(buf, inner, row, &line);
        if model.stream.event == Some(*number) {
            paint::highlight(buf, inner, row, theme.selected());
        }
    }
    let foot = Rect { y: inner.bottom() - footer, height: footer, ..inner };
    paint::line(buf, foot, 0, &story(model, theme));
    if !model.stream.filter.is_idle() {
        paint::line(buf, foot, 1, &map::filter_line(theme, &model.stream.filter));
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

fn record_line(theme: &Theme, data: &Data, record: &TransitionRecord, width: u16) -> Line<'static> {
    let info = data.picture.hello.classes.get(usize::from(record.class));
    let block =
        info.map_or_else(|| "?".to_owned(), |info| format::bytes(i64::from(info.block_bytes)));
    let off_diagram = Edge::between(record.from, record.to).is_none();
    let named = |code: u8| {
        let name = if width >= 100 { state::name(code) } else { "" };
        let text = format!("{} {name:<7}", theme.state_mark(code));
        let style = if off_diagram { theme.alarm() } else { theme.state(code) };
        Span::styled(if width >= 100 { text } else { text.trim_end().to_owned() }, style)
    };
    let mut to = named(record.to);
    to.style = to.style.add_modifier(Modifier::BOLD);
    let mut spans = vec![
        Span::styled(format!("{:>13}", format::instant(record.uptime_ns)), theme.faint()),
        Span::raw(format!(" {:>8}", format!("#{}", record.superblock))),
        Span::raw(format!(" {block:>8}  ")),
        named(record.from),
        Span::styled(format!(" {} ", theme.glyphs.to), theme.faint()),
        to,
        Span::raw(format!("  {:<17}", cause::name(record.cause))),
        Span::styled(
            format!(" {:<6}  tag {}", cause::paragraph(record.cause), record.tag),
            theme.faint(),
        ),
    ];
    if off_diagram {
        spans.push(Span::styled("  off the diagram", theme.alarm()));
    }
    Line::from(spans)
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
    let newest = seek(model, data, data.events.end(), false);
    let Some(mut here) = model.stream.event.or(newest) else { return Commands::NOTHING };
    for _ in 0..count {
        match seek(model, data, here, forward) {
            Some(next) => here = next,
            None => break,
        }
    }
    // At the newest it follows again, unless the view stands still.
    let follows = forward && Some(here) == newest && model.frozen.is_none();
    model.stream.event = (!follows).then_some(here);
    Commands::REDRAW
}

/// Undoes the innermost thing that can be undone.
pub fn back(model: &mut Model) {
    if !model.stream.filter.clear() {
        model.stream.event = None;
    }
}

/// A click at that cell of the terminal: picks the transition of that row.
pub fn click(model: &mut Model, _column: u16, row: u16) -> Commands {
    let body = view::body(model);
    let Some(data) = model.shown() else { return Commands::NOTHING };
    // Only where the newest are shown does the row tell the entry without scrolling.
    let height = usize::from(body.height.saturating_sub(4));
    let (Some(place), None) = (row.checked_sub(body.y + 1), model.stream.event) else {
        return Commands::NOTHING;
    };
    let entries = window(model, data, data.events.end(), height);
    let Some((number, _)) = entries.get(usize::from(place)) else { return Commands::NOTHING };
    model.stream.event = Some(*number);
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
