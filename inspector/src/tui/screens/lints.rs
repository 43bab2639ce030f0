//! Screen 8: what is amiss, by which figures, and what to do about it.

use ratatui::buffer::Buffer;
use ratatui::crossterm::event::KeyEvent;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::paint;
use crate::format;
use crate::lint::{Finding, Lint};
use crate::tui::data::Data;
use crate::tui::figure::Figure;
use crate::tui::glossary::Term;
use crate::tui::keys::Action;
use crate::tui::model::{Model, Screen};
use crate::tui::theme::Theme;
use crate::tui::update::Commands;
use crate::tui::view;

/// What `x` explains on this screen.
pub const TERMS: &[Term] = &[Term {
    words: &["lint", "lints", "finding"],
    title: "lint",
    what: "A named finding about the program's memory: its figures, what it means, and what can be done.",
    unit: "one finding, and the bytes it is about",
    how: "Raised when its condition has held for 3 s, cleared when it has not held for 3 s; conditions are in \
          `lfinspect lint --help`.",
    exact: "Its figures are those of the last state.",
}];

/// What the screen remembers.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    /// The finding under the cursor; the first while it is not there.
    pub selected: Option<Lint>,
}

/// The figure under the cursor.
#[must_use]
pub fn figure(_model: &Model) -> Figure {
    Figure::Term(&TERMS[0])
}

fn position(model: &Model, findings: &[&Finding]) -> usize {
    let selected = model.lints.selected;
    selected.and_then(|lint| findings.iter().position(|f| f.lint == lint)).unwrap_or(0)
}

/// The finding under the cursor.
pub(in crate::tui) fn under_cursor<'a>(model: &Model, data: &'a Data) -> Option<&'a Finding> {
    let findings: Vec<&Finding> = data.lints.findings().collect();
    findings.get(position(model, &findings)).copied()
}

/// Draws the screen.
pub fn draw(buf: &mut Buffer, area: Rect, model: &Model, data: &Data) {
    let theme = &model.theme;
    let findings: Vec<&Finding> = data.lints.findings().collect();
    let raised = data.lints.raised().count();
    let title = match model.before() {
        None => format!("Lints: {raised} found"),
        Some(_) => format!("Lints, differences: {raised} found"),
    };
    let inner = paint::pane(buf, area, theme, paint::heading(theme, &title, true), true);
    if findings.is_empty() {
        paint::text(buf, inner, (1, 0), "nothing is amiss; looked for:", theme.good());
        for (row, lint) in (2..).zip(Lint::ALL) {
            paint::text(buf, inner, (3, row), lint.name(), theme.faint());
        }
        return;
    }
    let selected = position(model, &findings);
    let mut row = 0;
    for (place, finding) in findings.iter().enumerate() {
        let since = format::duration(data.picture.uptime_ns.saturating_sub(finding.since_ns));
        let state =
            if finding.raised { format!("for {since}") } else { "not for long yet".to_owned() };
        let style = if finding.raised { theme.alarm() } else { theme.faint() };
        paint::line(
            buf,
            inner,
            row,
            &Line::from(vec![
                Span::styled(format!(" {:<21}", finding.lint.name()), style),
                Span::styled(format!("{:>9}  ", bytes(model, finding)), theme.strong()),
                Span::styled(state, theme.faint()),
            ]),
        );
        if place == selected {
            paint::highlight(buf, inner, row, theme.selected());
        }
        row += 1;
    }
    if let Some(finding) = findings.get(selected) {
        let below = Rect {
            y: (inner.y + row + 1).min(inner.bottom()),
            height: inner.height.saturating_sub(row + 1),
            ..inner
        };
        for (row, line) in (0..).zip(story(theme, finding, below.width)) {
            paint::line(buf, below, row, &line);
        }
    }
}

/// What the finding is about, or by how much that has changed.
fn bytes(model: &Model, finding: &Finding) -> String {
    let Some(before) = model.before() else { return format::bytes(finding.bytes) };
    let then = before.lints.findings().find(|then| then.lint == finding.lint);
    format::bytes_change(finding.bytes.saturating_sub(then.map_or(0, |then| then.bytes)))
}

fn story(theme: &Theme, finding: &Finding, width: u16) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for (name, text) in [
        ("evidence", finding.evidence.as_str()),
        ("meaning", finding.lint.meaning()),
        ("advice", finding.lint.advice()),
    ] {
        let text = if theme.glyphs.ascii { text.replace('±', "+-") } else { text.to_owned() };
        for (place, text) in
            paint::wrap(&text, usize::from(width).saturating_sub(12)).into_iter().enumerate()
        {
            let name = if place == 0 { name } else { "" };
            lines.push(Line::from(vec![
                Span::styled(format!(" {name:<9} "), theme.key()),
                Span::raw(text),
            ]));
        }
        lines.push(Line::default());
    }
    if !finding.classes.is_empty() {
        lines.push(Line::styled(" Enter shows its worst class", theme.faint()));
    }
    lines
}

/// A key of the screen, `e` and Enter included.
pub fn act(model: &mut Model, action: Action) -> Commands {
    let Some(data) = model.shown() else { return Commands::NOTHING };
    let findings: Vec<&Finding> = data.lints.findings().collect();
    let here = position(model, &findings);
    let target = match action {
        Action::Up => here.saturating_sub(1),
        Action::Down => here + 1,
        Action::Top | Action::PageUp => 0,
        Action::Bottom | Action::PageDown => findings.len(),
        Action::Open => {
            let class = findings.get(here).and_then(|finding| finding.classes.first()).copied();
            let Some(class) = class else { return Commands::NOTHING };
            (model.classes.selected, model.classes.open) = (Some(class), Some(class));
            model.screen = Screen::Classes;
            return Commands::REDRAW;
        }
        _ => return Commands::NOTHING,
    };
    let target = findings.get(target.min(findings.len().saturating_sub(1)));
    model.lints.selected = target.map(|finding| finding.lint);
    Commands::REDRAW
}

/// Undoes the innermost thing that can be undone.
pub fn back(_model: &mut Model) {}

/// A click at that cell of the terminal: picks a finding, or opens what is picked.
pub fn click(model: &mut Model, _column: u16, row: u16) -> Commands {
    let body = view::body(model);
    let Some(data) = model.shown() else { return Commands::NOTHING };
    let place = row.checked_sub(body.y + 1).map(usize::from);
    let finding = place.and_then(|place| data.lints.findings().nth(place));
    let Some(lint) = finding.map(|finding| finding.lint) else { return Commands::NOTHING };
    if model.lints.selected == Some(lint) {
        return act(model, Action::Open);
    }
    model.lints.selected = Some(lint);
    Commands::REDRAW
}

/// Whether keys are text for a filter.
#[must_use]
pub fn is_typing(_model: &Model) -> bool {
    false
}

/// A key of that text.
pub fn edit(_model: &mut Model, _key: KeyEvent) {}
