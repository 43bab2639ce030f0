//! The list of programs that can be watched, live: the first thing shown where several can be, and behind `p`.
//!
//! It covers everything else. What it shows is what the survey has told last; nothing is drawn again unless it
//! looks different.

use std::collections::BTreeSet;

use ratatui::buffer::Buffer;
use ratatui::crossterm::event::KeyEvent;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::list::{self, Column, Row};
use super::{paint, plot};
use crate::source::Ask;
use crate::survey::{Program, Standing, Survey, TREND};
use crate::tui::ExitStatus;
use crate::tui::keys::Action;
use crate::tui::model::{Connection, Model, Overlay};
use crate::tui::theme::{Hue, Theme};
use crate::tui::update::Commands;
use crate::{format, listing, process, target};

mod tree;

/// A change below this share of the largest figure is drawn as none.
const LEAST_SWING: f64 = 0.02;
/// Rows that leave room for a blank line below the title.
const ROOMY: u16 = 15;

const PID: usize = 0;
const USER: usize = 1;
const NAME: usize = 2;
const COLUMNS: &[Column] = &[
    Column { title: "PID", name: "pid", width: 8, dispensable: 1 },
    Column { title: "USER", name: "user", width: 10, dispensable: 9 },
    Column { title: "NAME", name: "name", width: 16, dispensable: 0 },
    Column { title: "UPTIME", name: "uptime", width: 8, dispensable: 8 },
    Column { title: "RSS", name: "rss", width: 9, dispensable: 7 },
    Column { title: "MAPPED", name: "mapped", width: 9, dispensable: 3 },
    Column { title: "LIVE", name: "live", width: 9, dispensable: 2 },
    Column { title: "EXT%", name: "ext", width: 8, dispensable: 4 },
    Column { title: "LIVE/s", name: "growth", width: 10, dispensable: 5 },
    Column { title: "TREND", name: "trend", width: TREND as u16, dispensable: 6 },
    Column { title: "PROTO", name: "proto", width: 6, dispensable: 10 },
];
/// Columns whose text begins at their left.
const WORDS: [usize; 3] = [USER, NAME, 10];
/// Figures that filters may compare.
const NAMES: &[&str] = &["pid", "uptime", "rss", "mapped", "live", "ext", "growth"];
const EXAMPLE: &str = "live>1g or a name";

/// The list of programs.
#[derive(Clone, Debug)]
pub struct Picker {
    /// Whether there can be one: a recording has no neighbours.
    pub available: bool,
    /// Whether it is shown.
    pub open: bool,
    /// Whether picking a program ends the interface: somebody else wants it.
    pub picked_leaves: bool,
    /// What the last survey told; `None` before the first.
    pub survey: Option<Survey>,
    /// Cursor, order and filter.
    pub list: list::Cursor,
    /// The row that was clicked last: a second click opens it.
    clicked: Option<u64>,
}

impl Default for Picker {
    fn default() -> Self {
        let list = list::Cursor { descending: false, ..list::Cursor::sorted_by(PID) };
        Self {
            available: false,
            open: false,
            picked_leaves: false,
            survey: None,
            list,
            clicked: None,
        }
    }
}

/// Shows the list.
pub fn open(model: &mut Model) -> Commands {
    if !model.picker.available {
        return Commands::NOTHING;
    }
    model.picker.open = true;
    // What was told last time may be long past.
    model.picker.survey = None;
    model.overlay = Overlay::None;
    Commands { asks: vec![Ask::Survey(true)], ..Commands::REDRAW }
}

/// Goes back to what was shown before; nothing where there was nothing.
pub fn close(model: &mut Model) -> Commands {
    if is_first(model) {
        return Commands::NOTHING;
    }
    model.picker.open = false;
    model.picker.clicked = None;
    Commands { asks: vec![Ask::Survey(false)], ..Commands::REDRAW }
}

/// Undoes the innermost thing that can be undone: the filter, the list, and where nothing is behind it, all.
pub fn back(model: &mut Model) -> Commands {
    if model.picker.list.filter.clear() {
        return Commands::REDRAW;
    }
    if is_first(model) {
        return Commands { quit: Some(ExitStatus::Done), ..Commands::NOTHING };
    }
    close(model)
}

/// Whether nothing was ever shown but this list.
fn is_first(model: &Model) -> bool {
    // Of a program that was started here there is always something to go back to.
    let is_nothing = model.live.is_none() && model.connection == Connection::Connecting;
    is_nothing && model.launched.is_none()
}

/// Takes in a survey; whether the list looks different now.
pub fn take(model: &mut Model, survey: Survey) -> bool {
    if !model.picker.open {
        return false;
    }
    let before = picture(model);
    model.picker.survey = Some(survey);
    picture(model) != before
}

/// The list on a terminal of the model's size.
fn picture(model: &Model) -> Buffer {
    let area = Rect::new(0, 0, model.size.0, model.size.1);
    let mut buf = Buffer::empty(area);
    draw(&mut buf, area, model);
    buf
}

/// A key of the list, Enter included.
pub fn act(model: &mut Model, action: Action) -> Commands {
    model.picker.clicked = None;
    let rows = rows(model);
    if action == Action::Open {
        let place = model.picker.list.position(&rows);
        return rows.get(place).map_or(Commands::NOTHING, |row| choose(model, row.key));
    }
    let area = list_area(Rect::new(0, 0, model.size.0, model.size.1));
    model.picker.list.act(action, COLUMNS, area, &rows);
    Commands::REDRAW
}

/// Watches the program of that number; nothing if it cannot be.
fn choose(model: &mut Model, id: u64) -> Commands {
    let programs = model.picker.survey.iter().flat_map(|survey| &survey.programs);
    let Some(program) = programs.into_iter().find(|program| program.id == id).cloned() else {
        return Commands::NOTHING;
    };
    if program.standing == Standing::Ended {
        return Commands::NOTHING;
    }
    if model.picker.picked_leaves {
        let asks = vec![Ask::Attach(program.path)];
        return Commands { asks, quit: Some(ExitStatus::Done), ..Commands::NOTHING };
    }
    let is_shown = model.live.as_ref().is_some_and(|live| live.picture.pid == program.row.pid);
    model.picker.open = false;
    model.picker.clicked = None;
    let mut asks = vec![Ask::Survey(false)];
    if !(is_shown && model.connection == Connection::Live) {
        let subject = target::subject(program.row.pid, &program.row.name);
        model.connection = Connection::Waiting(format!("connecting to {subject}"));
        model.silence = None;
        model.frozen = None;
        asks.push(Ask::Attach(program.path));
    }
    Commands { asks, ..Commands::REDRAW }
}

/// A click at that cell of the terminal; a second one on the same row opens it.
pub fn click(model: &mut Model, column: u16, row: u16) -> Commands {
    let area = list_area(Rect::new(0, 0, model.size.0, model.size.1));
    let rows = rows(model);
    if !model.picker.list.click(COLUMNS, area, (column, row), &rows) {
        model.picker.clicked = None;
        return Commands::NOTHING;
    }
    if row == area.y {
        return Commands::REDRAW;
    }
    let hit = model.picker.list.selected;
    if hit.is_some() && std::mem::replace(&mut model.picker.clicked, hit) == hit {
        return hit.map_or(Commands::NOTHING, |id| choose(model, id));
    }
    Commands::REDRAW
}

/// Whether keys are text for a filter.
#[must_use]
pub fn is_typing(model: &Model) -> bool {
    model.picker.list.filter.typing
}

/// A key of that text.
pub fn edit(model: &mut Model, key: KeyEvent) {
    model.picker.list.filter.edit(key, NAMES);
}

/// Where the rows are, their headings included.
fn list_area(area: Rect) -> Rect {
    let above = if area.height >= ROOMY { 2 } else { 1 }.min(area.height);
    Rect { y: area.y + above, height: area.height.saturating_sub(above + 1), ..area }
}

/// All rows that the filter admits: programs in order, then the sockets that lead to none.
fn rows(model: &Model) -> Vec<Row> {
    let Some(survey) = &model.picker.survey else { return Vec::new() };
    let theme = &model.theme;
    let unreachable = survey.unreachable.iter().filter(|(_, unreachable)| !unreachable.stale);
    let users: BTreeSet<&str> = survey.programs.iter().map(|p| p.row.user.as_str()).collect();
    let mut names: BTreeSet<&str> = survey.programs.iter().map(|p| p.row.name.as_str()).collect();
    names.extend(unreachable.clone().map(|(_, unreachable)| unreachable.name.as_str()));
    let rank = |set: &BTreeSet<&str>, text: &str| Some(set.range(..text).count() as f64);
    let mut rows: Vec<Row> = Vec::new();
    for program in &survey.programs {
        let mut row = program_row(theme, program);
        row.values[USER] = rank(&users, &program.row.user);
        row.values[NAME] = rank(&names, &program.row.name);
        rows.push(row);
    }
    for (id, socket) in unreachable {
        let mut row = unreachable_row(theme, *id, socket);
        row.values[NAME] = rank(&names, &socket.name);
        rows.push(row);
    }
    let fits = |row: &Row, word: &str| row.cells.iter().any(|c| c.to_lowercase().contains(word));
    let mut rows = model.picker.list.arrange(COLUMNS, rows, fits);
    rows.sort_by_key(|row| row.cells.len() > COLUMNS.len());
    tree::arrange(theme, rows, &survey.programs)
}

fn program_row(theme: &Theme, program: &Program) -> Row {
    let listing::Row { pid, user, name, protocol, .. } = &program.row;
    let [_, _, _, uptime, rss, mapped, live, external, ..] = program.row.cells();
    let growth = program.growth;
    let values = vec![
        Some(f64::from(*pid)),
        None,
        None,
        Some(program.row.uptime_ms as f64 / 1e3),
        program.row.rss_bytes.map(|bytes| bytes as f64),
        Some(program.row.mapped_bytes as f64),
        Some(program.row.live_bytes as f64),
        program.row.external_fraction.map(|share| share * 100.0),
        growth,
        growth,
        protocol.parse().ok(),
    ];
    let mut cells = vec![
        pid.to_string(),
        process::printable(user),
        process::printable(name),
        uptime,
        rss,
        mapped,
        live,
        external,
        growth.map_or_else(|| "-".to_owned(), change),
        sparkline(theme, &program.trend),
        process::printable(protocol),
    ];
    let mut style = Style::new();
    match program.standing {
        Standing::Answers => {}
        Standing::Silent => {
            cells.push("does not answer: it may be stopped".to_owned());
            style = theme.faint();
        }
        Standing::Ended => {
            cells.push("has ended".to_owned());
            style = theme.faint();
        }
    }
    Row { key: program.id, cells, values, style }
}

fn unreachable_row(theme: &Theme, id: u64, socket: &listing::Unreachable) -> Row {
    let mut cells = vec![String::new(); COLUMNS.len() + 1];
    cells[PID] = socket.pid.to_string();
    cells[NAME] = process::printable(&socket.name);
    cells[COLUMNS.len()] = process::printable(&socket.reason);
    let mut values = vec![None; COLUMNS.len()];
    values[PID] = Some(f64::from(socket.pid));
    Row { key: id, cells, values, style: theme.faint() }
}

/// A change of so many bytes a second.
fn change(per_second: f64) -> String {
    let bytes = per_second.round() as i64;
    let sign = if bytes > 0 { "+" } else { "" };
    if bytes == 0 { "0".to_owned() } else { format!("{sign}{}", format::bytes(bytes)) }
}

/// Figures, from the least to the most of them; flat where they hardly differ.
fn sparkline(theme: &Theme, trend: &[i64]) -> String {
    let (Some(least), Some(most)) = (trend.iter().min(), trend.iter().max()) else {
        return String::new();
    };
    let (least, most) = (*least as f64, *most as f64);
    let span = (most - least).max((most * LEAST_SWING).abs()).max(1.0);
    // Never zero, which a sparkline leaves blank; the lowest of its eight steps instead.
    let height = |value: i64| (value as f64 - least) / span * 7.0 + 1.0;
    // The first value sets the scale and is not shown.
    let scaled: Vec<f64> = std::iter::once(8.0).chain(trend.iter().map(|v| height(*v))).collect();
    plot::sparkline(theme, &scaled).chars().skip(1).collect()
}

/// What the list holds, in a line.
fn title(model: &Model) -> Line<'static> {
    let theme = &model.theme;
    let count = |number: usize, one: &str| match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {one}s"),
    };
    let mut texts = Vec::new();
    if let Some(survey) = &model.picker.survey {
        let answering = survey.programs.iter().filter(|p| p.standing != Standing::Ended).count();
        let stale = survey.unreachable.iter().filter(|(_, socket)| socket.stale).count();
        let others = survey.unreachable.len() - stale;
        texts.push(count(answering, "program"));
        if others > 0 {
            texts.push(format!("{others} not reached"));
        }
        if stale > 0 {
            texts.push(format!("{} (lfinspect doctor)", count(stale, "stale socket")));
        }
    }
    Line::from(vec![
        Span::styled(" Which program? ", theme.key()),
        Span::styled(format!(" {}", texts.join(", ")), theme.faint()),
    ])
}

/// Draws the list over all of `area` but its last row.
pub fn draw(buf: &mut Buffer, area: Rect, model: &Model) {
    let theme = &model.theme;
    paint::line(buf, area, 0, &title(model));
    let area = list_area(area);
    if area.is_empty() {
        return;
    }
    let (rows, cursor) = (rows(model), &model.picker.list);
    let places = list::fitting(COLUMNS, area.width);
    let mut spans = Vec::new();
    for &place in &places {
        let mut title = COLUMNS[place].title.to_owned();
        if place == cursor.sorted_by {
            title.push(theme.glyphs.sorted[usize::from(!cursor.descending)]);
        }
        let style = if place == cursor.column { theme.selected() } else { Style::new() };
        let [left, right] = padding(place, &title);
        spans.extend([Span::raw(left), Span::styled(title, style), Span::raw(right)]);
    }
    paint::line(buf, area, 0, &Line::from(spans).style(theme.faint()));
    let selected = cursor.position(&rows);
    let height = usize::from(list::height(area));
    let first = paint::scroll(selected, rows.len(), height);
    for (line, (place, row)) in (1..).zip(rows.iter().enumerate().skip(first).take(height)) {
        paint::line(buf, area, line, &row_line(theme, row, &places));
        if place == selected {
            paint::highlight(buf, area, line, theme.selected());
        }
    }
    if rows.is_empty() {
        for (line, text) in (1..).zip(nothing(model)) {
            paint::text(buf, area, (1, line), text, theme.faint());
        }
    }
    if !cursor.filter.is_idle() && area.height > 1 {
        let last = Rect { y: area.bottom() - 1, height: 1, ..area };
        paint::line(buf, last, 0, &list::filter_line(theme, &cursor.filter, EXAMPLE));
    }
}

/// What is said where there is no row.
fn nothing(model: &Model) -> Vec<&'static str> {
    match &model.picker.survey {
        None => vec!["looking for programs"],
        Some(survey) if survey.is_waiting => vec!["looking for programs"],
        _ if !model.picker.list.filter.is_idle() => {
            vec!["nothing matches the filter (Esc clears it)"]
        }
        Some(_) => vec![
            "No program can be watched yet; this list waits for one.",
            "It shows itself once it has called lfalloc_agent::start().",
            "One to look at: lfinspect demo",
        ],
    }
}

/// The cells that fit; of a program that cannot be watched its name, and why.
fn row_line(theme: &Theme, row: &Row, places: &[usize]) -> Line<'static> {
    let reason = row.cells.get(COLUMNS.len());
    let mut spans = Vec::new();
    for &place in places {
        if reason.is_some() && place > NAME {
            break;
        }
        let width = usize::from(COLUMNS[place].width);
        let text: String = row.cells[place].chars().take(width).collect();
        let [left, right] = padding(place, &text);
        let style =
            if COLUMNS[place].name == "trend" { theme.hue(Hue::SkyBlue) } else { row.style };
        spans.push(Span::styled(format!("{left}{text}{right}"), style));
    }
    if let Some(reason) = reason {
        spans.push(Span::styled(reason.clone(), row.style));
    }
    Line::from(spans)
}

/// Blanks before and behind `text` in its column; one more keeps columns apart.
fn padding(place: usize, text: &str) -> [String; 2] {
    let free = usize::from(COLUMNS[place].width).saturating_sub(text.chars().count());
    let (left, right) = if WORDS.contains(&place) { (0, free) } else { (free, 0) };
    [" ".repeat(left), " ".repeat(right + 1)]
}

#[cfg(test)]
mod tests {
    //! Aim: a trend shows what has moved, and nothing where hardly anything has.
    use super::*;
    use crate::tui::ThemeName;
    use crate::tui::theme::Depth;

    #[test]
    fn trends_show_movement_alone() {
        let theme = Theme::new(Depth::None, false, ThemeName::Dark);
        let spark = |trend: &[i64]| sparkline(&theme, trend);
        assert_eq!(spark(&[]), "");
        assert_eq!(spark(&[0, 0, 0]), "▁▁▁");
        assert_eq!(
            spark(&[1_000_000, 1_000_100]),
            "▁▂",
            "a hundredth of a hundredth, two steps at most"
        );
        assert_eq!(spark(&[5_000_000, 10_000_000, 7_500_000]), "▁█▅");
    }

    #[test]
    fn changes_are_signed() {
        let texts = [0.0, 0.4, -0.4, 2048.0, -2048.0].map(change);
        assert_eq!(texts, ["0", "0", "0", "+2.00 KiB", "-2.00 KiB"]);
    }
}
