//! Drawing that cannot fail: whatever lies outside of the area is left out.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::symbols::border;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Widget};

use crate::tui::theme::Theme;

const ASCII_BORDER: border::Set<'static> = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

fn block<'a>(theme: &Theme, title: Line<'a>, focused: bool) -> Block<'a> {
    let set = if theme.glyphs.ascii { ASCII_BORDER } else { border::ROUNDED };
    let style = if focused { theme.key() } else { theme.faint() };
    Block::bordered().border_set(set).border_style(style).title(title)
}

/// A box with a title; returns what is inside.
pub fn pane(buf: &mut Buffer, area: Rect, theme: &Theme, title: Line<'_>, focused: bool) -> Rect {
    let area = area.intersection(buf.area);
    let block = block(theme, title, focused);
    let inner = block.inner(area);
    block.render(area, buf);
    inner
}

/// A box over everything else, in the middle of `screen`; returns what is inside.
pub fn popup(buf: &mut Buffer, screen: Rect, size: (u16, u16), theme: &Theme, title: &str) -> Rect {
    let (width, height) = (size.0.min(screen.width), size.1.min(screen.height));
    let area = Rect {
        x: screen.x + (screen.width - width) / 2,
        y: screen.y + (screen.height - height) / 2,
        width,
        height,
    }
    .intersection(buf.area);
    Clear.render(area, buf);
    buf.set_style(area, theme.base());
    pane(buf, area, theme, heading(theme, title, true), true)
}

/// The title of a pane.
#[must_use]
pub fn heading(theme: &Theme, title: &str, focused: bool) -> Line<'static> {
    let mark = if focused { format!("{} ", theme.glyphs.cursor) } else { String::new() };
    Line::from(Span::styled(format!(" {mark}{title} "), theme.strong()))
}

/// `text` without as many of its last parts, apart by commas, as it takes to fit into `width` cells.
#[must_use]
pub fn fit(text: &str, width: u16) -> &str {
    let mut shown = text;
    while Line::from(shown).width() > usize::from(width) {
        let Some((front, _)) = shown.rsplit_once(", ") else { break };
        shown = front;
    }
    shown
}

/// One line of spans in row `row` of `area`.
pub fn line(buf: &mut Buffer, area: Rect, row: u16, line: &Line<'_>) {
    let area = area.intersection(buf.area);
    if row < area.height {
        buf.set_line(area.x, area.y + row, line, area.width);
    }
}

/// Text at a cell counted from the upper left corner of `area`.
pub fn text(buf: &mut Buffer, area: Rect, (x, y): (u16, u16), text: &str, style: Style) {
    let area = area.intersection(buf.area);
    if x < area.width && y < area.height {
        buf.set_stringn(area.x + x, area.y + y, text, usize::from(area.width - x), style);
    }
}

/// One character at a cell counted from the upper left corner of `area`.
pub fn cell(buf: &mut Buffer, area: Rect, (x, y): (u16, u16), symbol: char, style: Style) {
    let area = area.intersection(buf.area);
    if x < area.width && y < area.height {
        buf[(area.x + x, area.y + y)].set_char(symbol).set_style(style);
    }
}

/// Lays `style` over row `row` of `area`.
pub fn highlight(buf: &mut Buffer, area: Rect, row: u16, style: Style) {
    let area = area.intersection(buf.area);
    if row < area.height {
        buf.set_style(Rect { y: area.y + row, height: 1, ..area }, style);
    }
}

/// The first of `count` lines to be shown in `height` rows, such that line `selected` is among
/// them, in the middle where possible.
#[must_use]
pub fn scroll(selected: usize, count: usize, height: usize) -> usize {
    selected.saturating_sub(height / 2).min(count.saturating_sub(height))
}

/// Breaks `text` at blanks into lines of at most `width` characters; longer words are cut.
#[must_use]
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        if used > 0 && used + 1 + word.len() > width {
            lines.push(String::new());
            used = 0;
        }
        while word.len() > width {
            let rest = word.split_off(width);
            lines.push(String::new());
            let last = lines.len() - 2;
            lines[last].extend(word);
            word = rest;
        }
        let Some(line) = lines.last_mut() else { break };
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        used += word.len();
        line.extend(word);
    }
    lines
}

#[cfg(test)]
mod tests {
    //! Aim: nothing is drawn outside, and no text is lost by wrapping.
    use super::*;

    #[test]
    fn drawing_outside_of_the_buffer_is_left_out() {
        let mut buf = Buffer::empty(Rect::new(0, 0, 4, 2));
        let area = Rect::new(2, 1, 9, 9);
        text(&mut buf, area, (0, 0), "abcdef", Style::new());
        text(&mut buf, area, (5, 5), "x", Style::new());
        cell(&mut buf, area, (0, 1), 'x', Style::new());
        line(&mut buf, area, 7, &Line::from("x"));
        highlight(&mut buf, area, 3, Style::new());
        assert_eq!(buf, Buffer::with_lines(["    ", "  ab"]));
    }

    #[test]
    fn wrapping_keeps_every_word_within_the_width() {
        let text = "a heap points to it, or a-very-long-word-indeed is about to";
        for width in 1..30 {
            let lines = wrap(text, width);
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{width}");
            let letters = |text: &str| text.replace(' ', "");
            assert_eq!(letters(&lines.concat()), letters(text), "{width}");
        }
        assert_eq!(wrap("", 5), [""]);
    }

    #[test]
    fn scrolling_shows_the_selected_line() {
        for count in 0..20 {
            for selected in 0..count {
                for height in 1..8 {
                    let first = scroll(selected, count, height);
                    assert!((first..first + height).contains(&selected));
                    assert!(first == 0 || first + height <= count, "no blank rows");
                }
            }
        }
    }
}
