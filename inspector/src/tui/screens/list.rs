//! A list with columns: order, filter, cursor, headings that can be clicked. Screens give it rows of cells.

use std::cmp::Ordering;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::paint;
use crate::tui::copy;
use crate::tui::keys::Action;
use crate::tui::terms::Terms;
use crate::tui::theme::Theme;

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its heading.
    pub title: &'static str,
    /// Its name in filters.
    pub name: &'static str,
    /// Cells it needs, the sort mark included.
    pub width: u16,
    /// Which columns go first when there is not enough room: the highest number.
    pub dispensable: u8,
}

/// A row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Tells rows apart; the cursor stays with it.
    pub key: u64,
    /// What is shown, a text for each column.
    pub cells: Vec<String>,
    /// What is sorted and compared by, in the order of the columns; `None` comes last.
    pub values: Vec<Option<f64>>,
    /// How the row is drawn where nothing else says so.
    pub style: Style,
}

/// Cursor, order and filter of a list.
#[derive(Clone, Debug)]
pub struct Cursor {
    /// Key of the row under the cursor; the first row while it is not shown.
    pub selected: Option<u64>,
    /// The column under the cursor.
    pub column: usize,
    /// The column that rows are sorted by.
    pub sorted_by: usize,
    /// Whether the largest come first.
    pub descending: bool,
    /// Which rows are shown.
    pub filter: Terms,
}

impl Cursor {
    /// Sorted by that column, the largest first.
    #[must_use]
    pub fn sorted_by(column: usize) -> Self {
        Self {
            selected: None,
            column,
            sorted_by: column,
            descending: true,
            filter: Terms::default(),
        }
    }

    /// Leaves out what the filter does not admit, and puts the rest in order. `word` says whether a word of the filter
    /// fits a row.
    #[must_use]
    pub fn arrange(
        &self,
        columns: &[Column],
        mut rows: Vec<Row>,
        word: impl Fn(&Row, &str) -> bool,
    ) -> Vec<Row> {
        if !self.filter.is_idle() {
            rows.retain(|row| {
                let figure = |name: &str| {
                    let place = columns.iter().position(|column| column.name == name)?;
                    row.values.get(place).copied().flatten()
                };
                self.filter.admits(figure, |text| word(row, text))
            });
        }
        let value = |row: &Row| row.values.get(self.sorted_by).copied().flatten();
        rows.sort_by(|left, right| {
            let by_value = match (value(left), value(right)) {
                (Some(a), Some(b)) if self.descending => b.total_cmp(&a),
                (Some(a), Some(b)) => a.total_cmp(&b),
                (None, None) => Ordering::Equal,
                (None, Some(_)) => Ordering::Greater,
                (Some(_), None) => Ordering::Less,
            };
            by_value.then(left.key.cmp(&right.key))
        });
        rows
    }

    /// Where the cursor stands among `rows`.
    #[must_use]
    pub fn position(&self, rows: &[Row]) -> usize {
        let selected = self.selected;
        selected.and_then(|key| rows.iter().position(|row| row.key == key)).unwrap_or(0)
    }

    /// A key that moves the cursor, sorts or filters.
    pub fn act(&mut self, action: Action, columns: &[Column], area: Rect, rows: &[Row]) {
        let page = usize::from(height(area)).max(1);
        let here = self.position(rows);
        let last = rows.len().saturating_sub(1);
        let target = match action {
            Action::Up => here.saturating_sub(1),
            Action::Down => here + 1,
            Action::PageUp => here.saturating_sub(page),
            Action::PageDown => here + page,
            Action::Top => 0,
            Action::Bottom => last,
            _ => here,
        };
        self.selected = rows.get(target.min(last)).map(|row| row.key);
        let fitting = fitting(columns, area.width);
        let place = fitting.iter().position(|&column| column == self.column).unwrap_or(0);
        let at = |place: usize| fitting.get(place).copied().unwrap_or(0);
        match action {
            Action::Left => self.column = at(place.saturating_sub(1)),
            Action::Right => self.column = at((place + 1).min(fitting.len().saturating_sub(1))),
            Action::Sort => {
                if self.sorted_by == self.column {
                    self.column = at((place + 1) % fitting.len().max(1));
                }
                self.sorted_by = self.column;
            }
            Action::Invert => self.descending = !self.descending,
            Action::Filter => self.filter.typing = true,
            _ => {}
        }
    }

    /// A click at a cell of the terminal; true if it hit something of the list, which lies in `area`.
    pub fn click(
        &mut self,
        columns: &[Column],
        area: Rect,
        (column, row): (u16, u16),
        rows: &[Row],
    ) -> bool {
        if !area.contains((column, row).into()) {
            return false;
        }
        let (x, y) = (column - area.x, row - area.y);
        if y == 0 {
            let mut from = 0;
            for place in fitting(columns, area.width) {
                let to = from + columns[place].width + 1;
                if (from..to).contains(&x) {
                    if self.sorted_by == place {
                        self.descending = !self.descending;
                    }
                    (self.column, self.sorted_by) = (place, place);
                    return true;
                }
                from = to;
            }
            return false;
        }
        let height = usize::from(height(area));
        let first = paint::scroll(self.position(rows), rows.len(), height);
        let hit = rows.get(first + usize::from(y) - 1).filter(|_| usize::from(y) <= height);
        self.selected = hit.map(|row| row.key).or(self.selected);
        hit.is_some()
    }
}

/// The rows as exact figures: of every column the value in the unit that `units` gives, or what is shown where it gives
/// none.
#[must_use]
pub fn table(columns: &[Column], rows: &[Row], units: &[Option<&'static str>]) -> copy::Table {
    let unit = |place: usize| units.get(place).copied().flatten();
    let row = |row: &Row| {
        let cell = |(place, cell): (usize, &String)| match (unit(place), row.values.get(place)) {
            (Some(_), Some(value)) => copy::exact(*value),
            // Without the glyphs that may stand behind it.
            _ => cell.trim_end_matches(|c: char| !c.is_ascii() || c == ' ').to_owned(),
        };
        row.cells.iter().enumerate().map(cell).collect()
    };
    let heading = |(place, column): (usize, &Column)| {
        copy::Heading::new(column.title, unit(place).unwrap_or_default())
    };
    copy::Table {
        columns: columns.iter().enumerate().map(heading).collect(),
        rows: rows.iter().map(row).collect(),
    }
}

/// The line that shows a filter; `example` is said where it is not understood.
#[must_use]
pub fn filter_line(theme: &Theme, filter: &Terms, example: &str) -> Line<'static> {
    let cursor = if filter.typing { "_" } else { "" };
    let mut spans = vec![
        Span::styled("/", theme.key()),
        Span::styled(format!("{}{cursor}", filter.text()), theme.strong()),
    ];
    if !filter.is_understood() {
        let text = format!("  not understood; say for example {example}");
        spans.push(Span::styled(text, theme.alarm()));
    } else if filter.typing {
        spans.push(Span::styled("  Enter keeps it, Esc clears it", theme.faint()));
    }
    Line::from(spans)
}

/// Rows below the heading and above the filter's line.
pub(super) fn height(area: Rect) -> u16 {
    area.height.saturating_sub(2)
}

/// The places of the columns that fit into `width` cells.
pub(super) fn fitting(columns: &[Column], width: u16) -> Vec<usize> {
    let mut places: Vec<usize> = (0..columns.len()).collect();
    let total =
        |places: &[usize]| places.iter().map(|&place| columns[place].width + 1).sum::<u16>();
    while places.len() > 1 && total(&places) > width + 1 {
        let Some(at) = (0..places.len()).max_by_key(|&at| columns[places[at]].dispensable) else {
            break;
        };
        places.remove(at);
    }
    places
}

/// Draws the arranged `rows`; `nothing` is said if there are none, and `example` is a filter.
pub fn draw(
    buf: &mut Buffer,
    area: Rect,
    theme: &Theme,
    cursor: &Cursor,
    columns: &[Column],
    rows: &[Row],
    (nothing, example): (&str, &str),
) {
    let places = fitting(columns, area.width);
    let mut spans = Vec::new();
    for &place in &places {
        let column = &columns[place];
        let mut title = column.title.to_owned();
        if place == cursor.sorted_by {
            title.push(theme.glyphs.sorted[usize::from(!cursor.descending)]);
        }
        let style = if place == cursor.column { theme.selected() } else { Style::new() };
        let padding = usize::from(column.width).saturating_sub(title.chars().count());
        spans.push(Span::raw(" ".repeat(padding)));
        spans.push(Span::styled(title, style));
        spans.push(Span::raw(" "));
    }
    paint::line(buf, area, 0, &Line::from(spans).style(theme.faint()));
    let selected = cursor.position(rows);
    let height = height(area);
    let first = paint::scroll(selected, rows.len(), usize::from(height));
    let shown = rows.iter().enumerate().skip(first).take(usize::from(height));
    for (line, (place, row)) in (1..).zip(shown) {
        let mut text = String::new();
        for &place in &places {
            let width = usize::from(columns[place].width);
            let cell = row.cells.get(place).map_or("", String::as_str);
            let cut: String = cell.chars().take(width).collect();
            text.push_str(&" ".repeat(width - cut.chars().count()));
            text.push_str(&cut);
            text.push(' ');
        }
        paint::line(buf, area, line, &Line::styled(text, row.style));
        if place == selected {
            paint::highlight(buf, area, line, theme.selected());
        }
    }
    if rows.is_empty() {
        let text = if cursor.filter.is_idle() {
            nothing
        } else {
            "nothing matches the filter (Esc clears it)"
        };
        paint::text(buf, area, (1, 1), text, theme.faint());
    }
    if !cursor.filter.is_idle() && area.height > 1 {
        let last = Rect { y: area.bottom() - 1, height: 1, ..area };
        paint::line(buf, last, 0, &filter_line(theme, &cursor.filter, example));
    }
}

#[cfg(test)]
mod tests {
    //! Aim: rows are in order and in sight, whatever the size. Method: rows made by hand.
    use super::*;

    const COLUMNS: &[Column] = &[
        Column { title: "a", name: "a", width: 5, dispensable: 0 },
        Column { title: "b", name: "b", width: 5, dispensable: 2 },
        Column { title: "c", name: "c", width: 5, dispensable: 1 },
    ];

    fn row(key: u64, values: [Option<f64>; 3]) -> Row {
        Row { key, cells: vec![String::new(); 3], values: values.to_vec(), style: Style::new() }
    }

    fn keys(cursor: &Cursor, rows: &[Row]) -> Vec<u64> {
        let arranged =
            cursor.arrange(COLUMNS, rows.to_vec(), |row, word| word == row.key.to_string());
        arranged.iter().map(|row| row.key).collect()
    }

    #[test]
    fn rows_are_sorted_and_filtered() {
        let rows = [
            row(1, [Some(1.0), None, Some(5.0)]),
            row(2, [Some(3.0), Some(1.0), None]),
            row(3, [Some(2.0), Some(9.0), None]),
        ];
        let mut cursor = Cursor::sorted_by(0);
        assert_eq!(keys(&cursor, &rows), [2, 3, 1]);
        cursor.descending = false;
        assert_eq!(keys(&cursor, &rows), [1, 3, 2]);
        cursor.sorted_by = 1;
        assert_eq!(keys(&cursor, &rows), [2, 3, 1], "what is unknown comes last");
        cursor.filter = Terms::new("a>1 b<5", &["a", "b"]);
        assert_eq!(keys(&cursor, &rows), [2]);
        cursor.filter = Terms::new("3", &[]);
        assert_eq!(keys(&cursor, &rows), [3]);
    }

    #[test]
    fn columns_fit_and_the_cursor_stays_on_its_row() {
        assert_eq!(fitting(COLUMNS, 17), [0, 1, 2]);
        assert_eq!(fitting(COLUMNS, 16), [0, 2]);
        assert_eq!(fitting(COLUMNS, 0), [0]);
        let rows: Vec<Row> = (0..100).map(|key| row(key, [Some(key as f64), None, None])).collect();
        let area = Rect::new(0, 0, 40, 12);
        let mut cursor = Cursor { descending: false, ..Cursor::sorted_by(0) };
        for (action, expected) in [
            (Action::Up, 0),
            (Action::PageDown, 10),
            (Action::Down, 11),
            (Action::Bottom, 99),
            (Action::Down, 99),
            (Action::Top, 0),
        ] {
            cursor.act(action, COLUMNS, area, &rows);
            assert_eq!(cursor.selected, Some(expected), "{action:?}");
        }
        assert!(cursor.click(COLUMNS, area, (3, 4), &rows) && cursor.selected == Some(3));
        assert!(cursor.click(COLUMNS, area, (7, 0), &rows) && cursor.sorted_by == 1);
        assert!(!cursor.click(COLUMNS, area, (3, 11), &rows), "the filter's line");
    }
}
