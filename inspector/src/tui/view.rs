//! `view`: the model as a picture of the terminal. Pure: equal models give equal pictures, and
//! nothing is changed.
//!
//! ```text
//!   header   name, pid, badge, rate, protocol, drops, the agent's cost
//!   tabs     1 Overview  2 Classes  3 Map  4 Heaps  5 States  6 Large  7 Events  8 Lints
//!   body     the screen, below a line that says so if the connection ended
//!   footer   the keys
//! ```
//! Below 60×15 there is one line of summary.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Widget, Wrap};

use super::figure::Figure;
use super::keys::{self, Action, Binding};
use super::model::{Connection, Model, Overlay, Screen};
use super::screens::{
    classes, connection, explain, heaps, help, large, leave, lints, map, output, overview, paint,
    picker, states, stream,
};
use super::theme::Hue;
use crate::format;
use lfalloc_protocol::message::state;

/// The smallest terminal that has screens.
const LEAST: (u16, u16) = (60, 15);
/// Rows above the body.
const ABOVE: u16 = 2;
/// Rows below the body.
const BELOW: u16 = 1;

/// Draws the model.
pub fn view(model: &Model, frame: &mut Frame) {
    let area = frame.area();
    draw(model, frame.buffer_mut(), area);
}

fn draw(model: &Model, buf: &mut Buffer, area: Rect) {
    if area.is_empty() {
        return;
    }
    buf.set_style(area, model.theme.base());
    if model.picker.open {
        picker::draw(buf, area, model);
        paint::line(buf, area, area.height - 1, &footer(model, area.width));
        draw_overlay(buf, body_of(area), model);
        return;
    }
    if is_small(area.width, area.height) {
        if matches!(model.overlay, Overlay::Output | Overlay::Leave) {
            draw_overlay(buf, area, model);
            return;
        }
        // One line, which goes on in the rows that there are.
        Paragraph::new(summary(model)).wrap(Wrap { trim: true }).render(area, buf);
        return;
    }
    paint::line(buf, area, 0, &header(model, area.width));
    paint::line(buf, area, 1, &tabs(model, area.width));
    draw_uptime(buf, area, model);
    let mut body = body_of(area);
    match model.shown() {
        None => connection::draw(buf, body, model),
        Some(data) => {
            let banner = connection::banner(model);
            for (row, line) in (0..).zip(&banner) {
                paint::line(buf, body, row, line);
            }
            body = below(body, banner.len());
            match model.screen {
                Screen::Overview => drop(overview::draw(buf, body, model, data)),
                Screen::Classes => classes::draw(buf, body, model, data),
                Screen::States => drop(states::draw(buf, body, model, data)),
                Screen::Map => map::draw(buf, body, model, data),
                Screen::Heaps => heaps::draw(buf, body, model, data),
                Screen::Large => large::draw(buf, body, model, data),
                Screen::Events => stream::draw(buf, body, model, data),
                Screen::Lints => lints::draw(buf, body, model, data),
            }
        }
    }
    paint::line(buf, area, area.height - 1, &footer(model, area.width));
    draw_overlay(buf, body_of(area), model);
}

/// Whether a terminal of that size has no screens.
fn is_small(width: u16, height: u16) -> bool {
    width < LEAST.0 || height < LEAST.1
}

fn body_of(area: Rect) -> Rect {
    Rect { y: area.y + ABOVE, height: area.height.saturating_sub(ABOVE + BELOW), ..area }
}

/// Where the screen is drawn on a terminal of the model's size.
#[must_use]
pub fn body(model: &Model) -> Rect {
    let mut body = body_of(Rect::new(0, 0, model.size.0, model.size.1));
    if model.shown().is_some() {
        body = below(body, connection::banner(model).len());
    }
    body
}

/// What of `area` is left below its first `rows` rows.
fn below(area: Rect, rows: usize) -> Rect {
    let rows = area.height.min(rows as u16);
    Rect { y: area.y + rows, height: area.height - rows, ..area }
}

/// Rows that `PgUp` and `PgDn` move by.
#[must_use]
pub fn page_height(model: &Model) -> u16 {
    body(model).height.saturating_sub(3).max(1)
}

/// Lines that fit into a popup.
#[must_use]
pub fn overlay_height(model: &Model) -> u16 {
    body_of(Rect::new(0, 0, model.size.0, model.size.1)).height.saturating_sub(2)
}

/// Lines of what the program writes that fit at once.
#[must_use]
pub fn output_height(model: &Model) -> u16 {
    let area = Rect::new(0, 0, model.size.0, model.size.1);
    let is_all = is_small(area.width, area.height) && !model.picker.open;
    let height = if is_all { area.height } else { body_of(area).height };
    if height > output::BORDER { height - output::BORDER } else { height }
}

/// One line for terminals that are too small for screens.
fn summary(model: &Model) -> Line<'static> {
    let theme = &model.theme;
    let (word, _) = badge(model);
    let Some(data) = model.shown() else {
        let reason = match &model.connection {
            Connection::Waiting(reason) | Connection::Gone(reason) | Connection::Failed(reason) => {
                reason.clone()
            }
            _ => String::new(),
        };
        return Line::from(vec![
            Span::styled(word, theme.strong()),
            Span::raw(format!(" {reason}")),
        ]);
    };
    let picture = &data.picture;
    let counts = picture.superblocks_by_state();
    let mut spans = vec![
        Span::styled(word, theme.strong()),
        Span::raw(format!(
            " {} of {} EXT {}",
            format::bytes(picture.live_bytes()),
            format::bytes(picture.parts.mapped),
            format::percent(picture.external_fraction())
        )),
    ];
    for code in [state::ACTIVE, state::FULL, state::PARTIAL, state::EMPTY] {
        let mark = theme.state_mark(code).replace(' ', "");
        spans.push(Span::raw(" "));
        spans.push(Span::styled(mark, theme.state(code)));
        spans.push(Span::raw(format::count(counts[usize::from(code)])));
    }
    Line::from(spans)
}

/// The connection in a word.
fn badge(model: &Model) -> (String, Style) {
    let theme = &model.theme;
    let paused = model.frozen.is_some();
    match &model.connection {
        Connection::Waiting(_) => ("WAITING".to_owned(), theme.badge(Hue::Yellow)),
        Connection::Gone(_) => ("GONE".to_owned(), theme.badge(Hue::Vermillion)),
        Connection::Failed(_) => ("FAILED".to_owned(), theme.badge(Hue::Vermillion)),
        _ if model.silence.is_some() => {
            let seconds = model.silence.map_or(0, |silence| silence.seconds);
            (format!("SILENT {seconds} s"), theme.badge(Hue::Vermillion))
        }
        _ if paused => (paused_word(model), theme.badge(Hue::Orange)),
        Connection::Connecting => ("CONNECTING".to_owned(), theme.badge(Hue::Yellow)),
        Connection::Live if model.replay => ("REPLAY".to_owned(), theme.badge(Hue::Blue)),
        Connection::Live => ("LIVE".to_owned(), theme.badge(Hue::Green)),
    }
}

/// What stands still: the present as it was, or a moment gone back to.
fn paused_word(model: &Model) -> String {
    if model.is_outlived() {
        // Its clock and its states are not those of what is watched now.
        "PAUSED".to_owned()
    } else if model.frozen.as_ref().is_some_and(|frozen| frozen.is_past) {
        format!("PAST -{}", format::duration(model.ago_ns()))
    } else {
        format!("PAUSED +{}", format::count(model.behind()))
    }
}

/// What of header, tabs and footer can be pointed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    /// A tab.
    Tab(Screen),
    /// A key in the footer, or what does the same.
    Key(Action),
    /// A figure of the header.
    Figure(Figure),
}

/// What of header, tabs and footer is at that cell of the terminal.
#[must_use]
pub fn hit(model: &Model, column: u16, row: u16) -> Option<Hit> {
    let (width, height) = model.size;
    if is_small(width, height) {
        return None;
    }
    let at = |cells: &std::ops::Range<u16>| cells.contains(&column);
    if row == 0 {
        header_row(model, width).into_iter().find(|item| at(&item.cells))?.hit
    } else if row == 1 {
        tab_row(model, width).into_iter().find(|tab| at(&tab.cells)).map(|tab| Hit::Tab(tab.screen))
    } else if row == height - 1 && model.notice.is_none() {
        let mut keys = footer_row(model, width).into_iter();
        keys.find(|(_, cells)| at(cells)).map(|(binding, _)| Hit::Key(binding.action))
    } else {
        None
    }
}

fn header(model: &Model, width: u16) -> Line<'static> {
    let mut spans = Vec::new();
    for item in header_row(model, width) {
        spans.push(Span::raw(if spans.is_empty() { " " } else { "  " }));
        spans.extend(item.spans);
    }
    Line::from(spans)
}

/// An item of the header.
struct Item {
    spans: Vec<Span<'static>>,
    /// Its first cell, and the one after its last.
    cells: std::ops::Range<u16>,
    hit: Option<Hit>,
}

/// The items of the header that fit into that width.
fn header_row(model: &Model, width: u16) -> Vec<Item> {
    let theme = &model.theme;
    let data = model.frozen.as_ref().map(|frozen| &frozen.data).or(model.live.as_ref());
    let mut items: Vec<(Vec<Span<'static>>, Option<Hit>)> = Vec::new();
    if let Some(data) = data {
        let name: String =
            data.picture.hello.name.chars().filter(|c| !c.is_control()).take(16).collect();
        let pid = Span::raw(format!(" {}", data.picture.pid));
        items.push((vec![Span::styled(name, theme.strong()), pid], None));
    }
    let freeze = Some(Hit::Key(Action::Freeze));
    let (word, style) = badge(model);
    items.push((vec![Span::styled(format!(" {word} "), style)], freeze));
    if let Some(frozen) = &model.frozen
        && word != paused_word(model)
    {
        let is_past = frozen.is_past && !model.is_outlived();
        let paused = if is_past { paused_word(model) } else { "PAUSED".to_owned() };
        let paused = Span::styled(format!(" {paused} "), theme.badge(Hue::Orange));
        items.push((vec![paused], freeze));
    }
    if let (Some(shown), Some(before)) = (model.shown(), model.before()) {
        let since = shown.picture.uptime_ns.abs_diff(before.picture.uptime_ns);
        let is_after = shown.picture.uptime_ns >= before.picture.uptime_ns;
        let sign = if is_after { "" } else { "-" };
        let words = format!(" {} {sign}{} ", theme.glyphs.difference, format::duration(since));
        let words = Span::styled(words, theme.badge(Hue::Blue));
        items.push((vec![words], Some(Hit::Key(Action::Difference))));
    }
    if !model.replay {
        items.push((vec![Span::raw(format::hertz(model.rate_hz))], None));
    }
    let roomy = width >= 100;
    if let Some(data) = data {
        let hello = &data.picture.hello;
        let word = if roomy { "protocol" } else { "proto" };
        items.push((vec![Span::raw(format!("{word} {}.{}", hello.major, hello.minor))], None));
        let drops = data.drops().saturating_add(data.picture.end.transitions_dropped);
        let style = if drops > 0 { theme.hue(Hue::Yellow) } else { Style::new() };
        let drops = Span::styled(format!("drops {}", format::count(drops)), style);
        items.push((vec![drops], Some(Hit::Figure(Figure::Missed))));
        let cost = overview::agent_cost(data).join(if roomy { " CPU, " } else { " " });
        let cost = Span::raw(format!("agent {cost}"));
        items.push((vec![cost], Some(Hit::Figure(Figure::AgentCost))));
    }
    if roomy {
        items.insert(0, (vec![Span::styled("lfinspect", theme.key())], None));
    }
    let mut row: Vec<Item> = Vec::new();
    for (spans, hit) in items {
        let from = row.last().map_or(1, |item| item.cells.end + 2);
        let end = from + spans.iter().map(Span::width).sum::<usize>() as u16;
        // What comes first matters most: the rest is left out as a whole, not cut.
        if end > width {
            break;
        }
        row.push(Item { spans, cells: from..end, hit });
    }
    row
}

/// A tab, and how it is written.
struct Tab {
    screen: Screen,
    text: String,
    /// Its first cell, and the one after its last.
    cells: std::ops::Range<u16>,
}

/// The tabs on a terminal of that width: with room, without, or shortened to what tells them apart.
fn tab_row(model: &Model, width: u16) -> Vec<Tab> {
    let shortest = |screen: Screen| {
        let letters = if screen == model.screen { 12 } else { 3 };
        screen.title().chars().take(letters).collect::<String>()
    };
    let roomy = |screen: Screen| format!(" {} {} ", screen.digit(), screen.title());
    let tight = |screen: Screen| format!("{} {} ", screen.digit(), screen.title());
    let short = |screen: Screen| format!("{} {} ", screen.digit(), shortest(screen));
    let ways: [&dyn Fn(Screen) -> String; 3] = [&roomy, &tight, &short];
    let mut tabs = Vec::new();
    for way in ways {
        let mut x = 1;
        tabs.clear();
        for screen in Screen::ALL {
            let text = way(screen);
            let end = x + text.chars().count() as u16;
            tabs.push(Tab { screen, text, cells: x..end });
            x = end + 1;
        }
        if x <= width + 1 {
            break;
        }
    }
    tabs
}

fn tabs(model: &Model, width: u16) -> Line<'static> {
    let theme = &model.theme;
    let mut spans = Vec::new();
    for tab in tab_row(model, width) {
        let chosen = tab.screen == model.screen;
        let style = if chosen { theme.selected().patch(theme.strong()) } else { theme.faint() };
        spans.push(Span::raw(" "));
        spans.push(Span::styled(tab.text, style));
    }
    Line::from(spans)
}

fn draw_uptime(buf: &mut Buffer, area: Rect, model: &Model) {
    let Some(data) = model.shown() else { return };
    let text = format!(
        "up {}  lfalloc {} ",
        format::duration(data.picture.uptime_ns),
        data.picture.hello.allocator_version.chars().take(12).collect::<String>()
    );
    let width = text.chars().count() as u16;
    let free = tab_row(model, area.width).last().map_or(0, |tab| tab.cells.end) + 2;
    if free + width <= area.width {
        paint::text(buf, area, (area.width - width, 1), &text, model.theme.faint());
    }
}

fn footer(model: &Model, width: u16) -> Line<'static> {
    let theme = &model.theme;
    if let Some(notice) = &model.notice {
        return Line::styled(format!(" {notice}"), theme.good().patch(theme.strong()));
    }
    let mut spans = vec![Span::raw(" ")];
    for (binding, _) in footer_row(model, width) {
        spans.push(Span::styled(binding.written, theme.key()));
        spans.push(Span::styled(format!(" {}  ", binding.word), theme.faint()));
    }
    Line::from(spans)
}

/// The keys of the footer that fit into that width, each with its first cell and the one after its last.
fn footer_row(model: &Model, width: u16) -> Vec<(&'static Binding, std::ops::Range<u16>)> {
    let mut row = Vec::new();
    let mut from = 1;
    let bindings: Vec<_> = if model.overlay == Overlay::Leave {
        Vec::new()
    } else if model.picker.open {
        keys::picker_footer().collect()
    } else {
        keys::footer(model.screen, model.launched.is_some()).collect()
    };
    for binding in bindings {
        let end = from + (binding.written.chars().count() + 1 + binding.word.len()) as u16;
        if end + 1 > width {
            break;
        }
        row.push((binding, from..end));
        from = end + 2;
    }
    row
}

fn draw_overlay(buf: &mut Buffer, area: Rect, model: &Model) {
    let theme = &model.theme;
    let (title, lines, scroll) = match model.overlay {
        Overlay::None => return,
        Overlay::Output => return output::draw(buf, area, model),
        Overlay::Leave => return leave::draw(buf, area, model),
        Overlay::Help(scroll) => ("Keys".to_owned(), help::lines(model), scroll),
        Overlay::Explain(figure, scroll) => {
            (explain::explain(figure).title, explain::lines(model, figure), scroll)
        }
    };
    let count = lines.len() as u16;
    let size = (help::width(model) + 2, count.saturating_add(2));
    let more = size.1 > area.height;
    let title = if more {
        format!("{title} (j k scroll, Esc closes)")
    } else {
        format!("{title} (Esc closes)")
    };
    let inner = paint::popup(buf, area, size, theme, &title);
    let shown = lines.iter().skip(usize::from(scroll)).take(usize::from(inner.height));
    for (row, line) in (0..).zip(shown) {
        paint::line(buf, inner, row, line);
    }
}
