//! `y` and `Y`: what is under the cursor, or all of the screen, as text to paste elsewhere.
//!
//! | | under the cursor | all of the screen |
//! |---|---|---|
//! | Overview | the figure | every figure |
//! | tables, Map | the row, `name: value` | the rows shown, apart by tabs, with a heading |
//! | Events, log of States | the line | the newest that the filter admits |
//! | States | the picked edge | every edge |
//! | a popup | its text | its text |
//!
//! Figures are exact, in the unit beside them, not rounded as on screen. The text is bounded, and has no control
//! characters but tabs and line ends, whatever the program calls itself: it may be pasted into a shell.

use ratatui::text::Line;

use super::model::{Connection, Model, Overlay};
use super::screens::{explain, help};
use super::view;
use crate::format;

mod figures;
mod screens;

/// Bytes of a text at most: as base64, what the most modest terminals take in one sequence.
pub const MAX_BYTES: usize = 74_994;
/// Rows of a table at most; more would be cut off in any case.
const MAX_ROWS: usize = 2_000;

/// A text for the clipboard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// What it is, for the notice.
    pub what: String,
    /// The text, at most [`MAX_BYTES`] long.
    pub text: String,
}

impl Copied {
    fn new(what: impl Into<String>, text: &str) -> Self {
        let is_plain = |&c: &char| !c.is_control() || c == '\n' || c == '\t';
        let mut text: String = text.trim_end_matches('\n').chars().filter(is_plain).collect();
        let mut what: String = what.into().chars().filter(|c| !c.is_control()).collect();
        if text.len() > MAX_BYTES {
            // Whole lines, and in any case whole characters.
            let end = (0..=MAX_BYTES).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
            let end = text[..end].rfind('\n').unwrap_or(end);
            let (kept, all) = (text[..end].lines().count(), text.lines().count());
            text.truncate(end);
            what = format!("{what}, the first {kept} of {all} lines");
        }
        Self { what, text }
    }
}

/// Name and unit of a column or a figure; the unit may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heading {
    /// Its name.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
}

impl Heading {
    /// A heading.
    #[must_use]
    pub const fn new(name: &'static str, unit: &'static str) -> Self {
        Self { name, unit }
    }
}

/// A table of exact figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Its columns.
    pub columns: Vec<Heading>,
    /// Its rows, a text for each column.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// Heading and rows, apart by tabs.
    fn tab_separated(&self) -> String {
        let heading = |column: &Heading| match column.unit {
            "" => column.name.to_owned(),
            unit => format!("{} [{unit}]", column.name),
        };
        let mut text = self.columns.iter().map(heading).collect::<Vec<_>>().join("\t");
        for row in &self.rows {
            text.push('\n');
            text.push_str(&row.join("\t"));
        }
        text
    }

    /// A row, a line for each column.
    fn pairs(&self, row: usize) -> Option<String> {
        let row = self.rows.get(row)?;
        let line = |(column, value): (&Heading, &String)| {
            format!("{}: {value} {}", column.name, column.unit).trim_end().to_owned()
        };
        Some(self.columns.iter().zip(row).map(line).collect::<Vec<_>>().join("\n"))
    }
}

/// A figure without rounding that could be seen; `-` where it is not known.
#[must_use]
pub fn exact(value: Option<f64>) -> String {
    let Some(value) = value else { return "-".to_owned() };
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What is under the cursor; `None`: nothing.
#[must_use]
pub fn under_cursor(model: &Model) -> Option<Copied> {
    over_everything(model).or_else(|| screens::under_cursor(model, model.shown()?))
}

/// All of the screen; `None`: nothing.
#[must_use]
pub fn all(model: &Model) -> Option<Copied> {
    over_everything(model).or_else(|| screens::all(model, model.shown()?))
}

/// A popup, or why there is nothing else.
fn over_everything(model: &Model) -> Option<Copied> {
    match (model.overlay, &model.connection) {
        (Overlay::Help(_), _) => Some(Copied::new("the keys", &text(&help::lines(model)))),
        (Overlay::Explain(figure, _), _) => {
            let title = explain::explain(figure).title;
            let lines = text(&explain::lines(model, figure));
            Some(Copied::new(format!("what {title} means"), &format!("{title}\n{lines}")))
        }
        (Overlay::Output, _) => {
            let height = usize::from(view::output_height(model));
            let lines: Vec<_> = model.launched.as_ref()?.output.shown(height).collect();
            Some(Copied::new(counted(lines.len(), "line"), &lines.join("\n")))
        }
        (Overlay::None, Connection::Failed(reason) | Connection::Gone(reason))
            if model.shown().is_none() =>
        {
            Some(Copied::new("the reason", reason))
        }
        _ => None,
    }
}

fn text(lines: &[Line<'_>]) -> String {
    let line = |line: &Line<'_>| line.to_string().trim_end().to_owned();
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn counted(count: usize, name: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {name}{plural}", format::thousands(count as u64))
}

#[cfg(test)]
mod tests {
    //! Aim: texts are bounded, whole and harmless; figures keep their digits.
    use super::*;

    #[test]
    fn long_texts_end_with_a_whole_line() {
        let line = "é".repeat(50);
        let text = vec![line.as_str(); 1_000].join("\n");
        let copied = Copied::new("x", &text);
        assert!(copied.text.len() <= MAX_BYTES && copied.text.len() > MAX_BYTES - 102);
        assert!(copied.text.lines().all(|kept| kept == line));
        assert_eq!(copied.what, "x, the first 742 of 1000 lines");
        let copied = Copied::new("x", &"é".repeat(MAX_BYTES));
        assert_eq!(copied.text.len(), MAX_BYTES, "one line is cut between two characters");
    }

    #[test]
    fn what_a_program_calls_itself_does_no_harm() {
        let copied = Copied::new("a\u{1b}b", "\u{1b}]52;c;\u{7}rm\r\tx\u{9b}\n\ny\u{0}\n");
        assert_eq!((copied.what.as_str(), copied.text.as_str()), ("ab", "]52;c;rm\tx\n\ny"));
    }

    #[test]
    fn figures_are_exact_and_short() {
        let texts = [0.0, -3.0, 4_294_967_296.0, 0.5, 33.333_333].map(|value| exact(Some(value)));
        assert_eq!(texts, ["0", "-3", "4294967296", "0.5", "33.333"]);
        assert_eq!(exact(None), "-");
    }

    #[test]
    fn tables_have_a_heading_and_rows_have_names() {
        let table = Table {
            columns: vec![Heading::new("block", "B"), Heading::new("state", "")],
            rows: vec![vec!["112".to_owned(), "FULL".to_owned()]],
        };
        assert_eq!(table.tab_separated(), "block [B]\tstate\n112\tFULL");
        assert_eq!(table.pairs(0).as_deref(), Some("block: 112 B\nstate: FULL"));
        assert_eq!(table.pairs(1), None);
    }
}
