//! `q` while a program runs that was started here: what is to become of it?

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Widget};

use super::paint;
use crate::tui::keys::{self, Action};
use crate::tui::launched::{Launched, Stage};
use crate::tui::model::Model;

/// Cells of the dialog within its border.
const WIDTH: u16 = 54;
/// Cells of the column of keys.
const KEYS: usize = 9;

/// What is said above the keys.
fn words(launched: &Launched) -> String {
    let subject = launched.subject();
    match launched.stage {
        Stage::Asked => format!("{subject} runs. What is to become of it?"),
        Stage::Terminating => {
            format!("{subject} was asked to end (SIGTERM), and this ends with it.")
        }
        Stage::Stubborn => {
            format!("{subject} was asked to end (SIGTERM), and has not for 5 seconds.")
        }
        Stage::Killed => format!("{subject} was killed (SIGKILL), and this ends with it."),
    }
}

/// What each of the keys that do something now does.
fn choices(launched: &Launched) -> Vec<(&'static str, String)> {
    let text = |action| match action {
        Action::Detach => Some(format!("detach: it runs on; output in {}", launched.file)),
        Action::Terminate if launched.stage == Stage::Asked => {
            Some("terminate: SIGTERM to its process group".to_owned())
        }
        Action::Kill if launched.stage == Stage::Stubborn => {
            Some("kill: SIGKILL to its process group".to_owned())
        }
        Action::Back => Some("back".to_owned()),
        _ => None,
    };
    keys::leaving().filter_map(|binding| Some((binding.written, text(binding.action)?))).collect()
}

/// Draws it over `area`.
pub fn draw(buf: &mut Buffer, area: Rect, model: &Model) {
    let Some(launched) = &model.launched else { return };
    let theme = &model.theme;
    let width = WIDTH.min(area.width.saturating_sub(4));
    let mut lines: Vec<Line<'static>> = Vec::new();
    for text in paint::wrap(&words(launched), usize::from(width.saturating_sub(2))) {
        lines.push(Line::from(format!(" {text}")));
    }
    lines.push(Line::default());
    for (keys, text) in choices(launched) {
        let room = usize::from(width).saturating_sub(KEYS + 3);
        for (place, text) in paint::wrap(&text, room).into_iter().enumerate() {
            let keys = if place == 0 { keys } else { "" };
            lines.push(Line::from(vec![
                Span::styled(format!("  {keys:<KEYS$}"), theme.key()),
                Span::styled(text, Style::new()),
            ]));
        }
    }
    if area.height < lines.len() as u16 + 2 || area.width < WIDTH / 2 {
        // No room for more than the keys.
        let area = area.intersection(buf.area);
        Clear.render(area, buf);
        let short = choices(launched).into_iter().map(|(keys, text)| {
            let word = text.split(':').next().unwrap_or_default().to_owned();
            format!("{} {word}", keys.split(' ').next().unwrap_or(keys))
        });
        let short = short.collect::<Vec<_>>().join(", ");
        for (row, text) in (0..).zip(paint::wrap(&short, usize::from(area.width))) {
            paint::text(buf, area, (0, row), &text, theme.key());
        }
        return;
    }
    let size = (width + 2, lines.len() as u16 + 2);
    let inner = paint::popup(buf, area, size, theme, "Leave");
    for (row, line) in (0..).zip(&lines) {
        paint::line(buf, inner, row, line);
    }
}
