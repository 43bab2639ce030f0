//! Screen 2: one row per size class.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::{class_detail, list, paint, plot};
use crate::tui::class_table::{Column, Row};
use crate::tui::data::Data;
use crate::tui::model::Model;
use crate::tui::theme::{Hue, Theme};
use crate::tui::view;
use lfalloc_protocol::message::state;

/// Least and most cells of a sparkline.
const TREND: std::ops::RangeInclusive<u16> = 8..=60;

/// What the mouse points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    /// The row of a class.
    Row(u16),
    /// The heading of a column.
    Column(Column),
}

/// Rows of the table that lie above the first class: border and heading.
const ABOVE: u16 = 2;

/// What of the table is at that cell of the terminal.
#[must_use]
pub fn hit(model: &Model, column: u16, row: u16) -> Option<Hit> {
    let data = model.shown()?;
    if model.classes.open.is_some() {
        return None;
    }
    let area = view::body(model);
    let line = row.checked_sub(area.y + ABOVE - 1)?;
    if column < area.x || column >= area.right() || row >= area.bottom() {
        return None;
    }
    if line == 0 {
        let mut x = area.x + 1;
        return Column::fitting(area.width.saturating_sub(2)).into_iter().find_map(|shown| {
            let range = x..x + shown.width() + 1;
            x = range.end;
            range.contains(&column).then_some(Hit::Column(shown))
        });
    }
    let rows = model.classes.rows(data, model.before());
    let height = table_height(model, area.height.saturating_sub(2));
    if line > height {
        return None;
    }
    let first = paint::scroll(model.classes.position(&rows), rows.len(), usize::from(height));
    let row = rows.get(first + usize::from(line) - 1)?;
    Some(Hit::Row(row.figures.record.class))
}

/// Rows of classes that fit into a pane of `height` rows within its border.
fn table_height(model: &Model, height: u16) -> u16 {
    let filter = u16::from(shows_filter(model));
    height.saturating_sub(1 + filter)
}

fn shows_filter(model: &Model) -> bool {
    !model.classes.filter.is_idle()
}

/// Draws the screen.
pub fn draw(buf: &mut Buffer, area: Rect, model: &Model, data: &Data) {
    let (theme, table) = (&model.theme, &model.classes);
    if let Some(class) = table.open {
        class_detail::draw(buf, area, model, data, class);
        return;
    }
    let before = model.before();
    let rows = table.rows(data, before);
    let (what, sorted_by) = match before {
        None => ("Classes", table.sorted_by.title()),
        Some(_) => ("Classes, differences", table.sorted_by.title_of_change()),
    };
    let title = format!(
        "{what}: {} of {}, by {} {}",
        rows.len(),
        data.figures.len(),
        sorted_by,
        theme.glyphs.sorted[usize::from(!table.descending)]
    );
    let inner = paint::pane(buf, area, theme, paint::heading(theme, &title, true), true);
    let columns = Column::fitting(inner.width);
    draw_heading(buf, inner, model, &columns);
    let height = table_height(model, inner.height);
    let selected = table.position(&rows);
    let first = paint::scroll(selected, rows.len(), usize::from(height));
    let shown = rows.iter().enumerate().skip(first).take(usize::from(height));
    for (line, (place, row)) in (1..).zip(shown) {
        paint::line(buf, inner, line, &row_line(theme, data, row, &columns, inner.width));
        if place == selected {
            paint::highlight(buf, inner, line, theme.selected());
        }
    }
    if rows.is_empty() {
        paint::text(
            buf,
            inner,
            (1, 1),
            if before.is_some() && !shows_filter(model) {
                "no class differs from the baseline"
            } else {
                "no class matches the filter (Esc clears it)"
            },
            theme.faint(),
        );
    }
    if shows_filter(model) {
        let line = list::filter_line(theme, &table.filter, "util<50");
        paint::line(buf, inner, inner.height.saturating_sub(1), &line);
    }
}

fn draw_heading(buf: &mut Buffer, area: Rect, model: &Model, columns: &[Column]) {
    let (theme, table) = (&model.theme, &model.classes);
    let mut spans = Vec::new();
    for &column in columns {
        let title = match model.before() {
            None => column.title(),
            Some(_) => column.title_of_change(),
        };
        let mut title = title.to_owned();
        if column == table.sorted_by {
            title.push(theme.glyphs.sorted[usize::from(!table.descending)]);
        }
        let color = match column {
            Column::Active => theme.state(state::ACTIVE),
            Column::Full => theme.state(state::FULL),
            Column::Partial => theme.state(state::PARTIAL),
            Column::Empty => theme.state(state::EMPTY),
            _ => Style::new(),
        };
        let style = if column == table.column { theme.selected() } else { color };
        let width = usize::from(column.width());
        let padding = " ".repeat(width.saturating_sub(title.chars().count()));
        spans.push(Span::raw(padding));
        spans.push(Span::styled(title, style.add_modifier(Modifier::BOLD)));
        spans.push(Span::raw(" "));
    }
    if trend_width(columns, area.width).is_some() {
        spans.push(Span::styled(" allocations, lately", theme.faint()));
    }
    paint::line(buf, area, 0, &Line::from(spans));
}

fn trend_width(columns: &[Column], width: u16) -> Option<u16> {
    let used: u16 = columns.iter().map(|column| column.width() + 1).sum();
    let rest = width.saturating_sub(used + 1).min(*TREND.end());
    TREND.contains(&rest).then_some(rest)
}

fn row_line(
    theme: &Theme,
    data: &Data,
    row: &Row,
    columns: &[Column],
    width: u16,
) -> Line<'static> {
    let is_difference = row.before.is_some();
    let idle = row.figures.superblocks() == 0 && row.figures.record.empty == 0 && !is_difference;
    let mut spans = Vec::new();
    for &column in columns {
        let width = usize::from(column.width());
        let style = match column {
            _ if idle => theme.faint(),
            Column::Block => theme.strong(),
            Column::Active if row.figures.record.active > 0 => theme.state(state::ACTIVE),
            Column::Full if row.figures.record.full > 0 => theme.state(state::FULL),
            Column::Partial if row.figures.record.partial > 0 => theme.state(state::PARTIAL),
            Column::Active | Column::Full | Column::Partial | Column::Empty => theme.faint(),
            _ if is_difference && column.value(row) == Some(0.0) => theme.faint(),
            _ if column.value(row).is_some_and(|value| value < 0.0) && !is_difference => {
                theme.alarm()
            }
            _ => Style::new(),
        };
        let is_bound = column == Column::Transitions && row.transitions_missed;
        let text = format!("{}{}", theme.at_least(is_bound), column.text(row));
        spans.push(Span::styled(format!("{text:>width$} "), style));
    }
    if let Some(width) = trend_width(columns, width) {
        let class = usize::from(row.figures.record.class);
        let trend = data.history.class_trend(class, usize::from(width));
        let line = plot::sparkline(theme, &trend);
        spans.push(Span::styled(format!(" {line}"), theme.hue(Hue::Green)));
    }
    Line::from(spans)
}
