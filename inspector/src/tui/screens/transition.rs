//! A transition as a line: of the logs, and of a superblock's history.

use lfalloc_protocol::message::{TransitionRecord, cause, state};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use crate::format;
use crate::tui::data::Data;
use crate::tui::edge::Edge;
use crate::tui::events::{Entry, EventLog};
use crate::tui::theme::Theme;

/// What a title says of the edge to which a log is restricted; nothing without one.
#[must_use]
pub fn picked(theme: &Theme, edge: Option<Edge>) -> String {
    edge.map_or_else(String::new, |edge| {
        let (from, to) = (state::name(edge.from()), state::name(edge.to()));
        format!(" {from} {} {to}", theme.glyphs.to)
    })
}

/// What is said of a log that has nothing to show, whatever the edge or the filter.
#[must_use]
pub fn nothing(log: &EventLog) -> &'static str {
    if log.first() > 0 && log.first() == log.end() {
        "the log does not reach back so far: it keeps the newest transitions"
    } else {
        "no transition yet"
    }
}

/// A transition, or a gap.
#[must_use]
pub fn entry_line(theme: &Theme, data: &Data, entry: &Entry, width: u16) -> Line<'static> {
    match entry {
        Entry::Transition(record) => line(theme, data, record, width),
        Entry::Missed(count) => Line::styled(
            format!("  {} transitions missed here", format::thousands(*count)),
            theme.alarm(),
        ),
    }
}

/// When, which superblock of which block size, from where to where, by which procedure of the patent, and the tag.
#[must_use]
pub fn line(theme: &Theme, data: &Data, record: &TransitionRecord, width: u16) -> Line<'static> {
    let block = data
        .picture
        .hello
        .classes
        .get(usize::from(record.class))
        .map_or_else(|| "?".to_owned(), |info| format::bytes(i64::from(info.block_bytes)));
    let off_diagram = Edge::between(record.from, record.to).is_none();
    let named = |code: u8| {
        if width >= 100 {
            format!("{} {:<7}", theme.state_mark(code), state::name(code))
        } else {
            format!("{:<3}", theme.state_mark(code))
        }
    };
    let state_style = |code| {
        if off_diagram { theme.alarm() } else { theme.state(code) }
    };
    let mut spans = vec![
        Span::styled(format!("{:>12}", format::instant(record.uptime_ns)), theme.faint()),
        Span::raw(format!(" {:>7}", format!("#{}", record.superblock))),
        Span::raw(format!(" {block:>8}  ")),
        Span::styled(named(record.from), state_style(record.from)),
        Span::styled(format!(" {} ", theme.glyphs.to), theme.faint()),
        Span::styled(named(record.to), state_style(record.to).add_modifier(Modifier::BOLD)),
        Span::styled(format!("  {:<17}", cause::name(record.cause)), Style::new()),
    ];
    spans.push(Span::styled(format!(" {:<6}", cause::paragraph(record.cause)), theme.faint()));
    spans.push(Span::styled(format!("  tag {}", record.tag), theme.faint()));
    if off_diagram {
        spans.push(Span::styled("  off the diagram", theme.alarm()));
    }
    Line::from(spans)
}
