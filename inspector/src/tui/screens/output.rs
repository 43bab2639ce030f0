//! `L`: what the program writes that was started here.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::widgets::{Clear, Widget};

use super::paint;
use crate::format;
use crate::tui::launched::Launched;
use crate::tui::model::Model;

/// Rows of the border.
pub const BORDER: u16 = 2;
/// Cells of its title that are not text.
const FRAME: u16 = 6;

fn title(launched: &Launched) -> String {
    let output = &launched.output;
    let count = match output.end() - output.first() {
        1 => "1 line".to_owned(),
        count => format!("{} lines", format::thousands(count)),
    };
    let count = if output.is_cut() { format!("the last {count}") } else { count };
    let end = launched.ended.as_ref().map(|words| format!(", {words}")).unwrap_or_default();
    let place = if output.top.is_some() { ", G follows the end" } else { "" };
    // What comes last is left out first.
    format!("Output of {} (Esc closes){place}{end}, {count}", launched.name)
}

/// Draws it over all of `area`.
pub fn draw(buf: &mut Buffer, area: Rect, model: &Model) {
    let Some(launched) = &model.launched else { return };
    let theme = &model.theme;
    Clear.render(area.intersection(buf.area), buf);
    buf.set_style(area.intersection(buf.area), theme.base());
    let inner = if area.height > BORDER {
        let title = title(launched);
        let title = paint::fit(&title, area.width.saturating_sub(FRAME));
        let title = paint::heading(theme, title, true);
        paint::pane(buf, area, theme, title, true)
    } else {
        area
    };
    let output = &launched.output;
    let lines = output.shown(usize::from(inner.height));
    for (row, line) in (0..).zip(lines) {
        // Without colours there is often no way to show more than ASCII either.
        let line = if theme.glyphs.ascii { ascii(&line) } else { line };
        paint::text(buf, inner, (0, row), &line, Style::new());
    }
    if output.end() == output.first() {
        let text = "nothing was written yet";
        paint::text(buf, inner, (1, 0), text, theme.faint());
    }
}

fn ascii(line: &str) -> String {
    line.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect()
}
