//! Small plots: lines over time, and bars.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::paint;
use crate::tui::theme::Theme;

/// A line of a plot.
pub struct Series<'a> {
    /// Time and value, by ascending time.
    pub points: &'a [(f64, f64)],
    /// Its colour.
    pub style: Style,
    /// Draws it where braille dots of two lines could not be told apart: without colours, in ASCII.
    pub mark: char,
}

/// Draws `series` from `from` to `to` on a scale from 0 to `top` (of time and of value).
#[expect(clippy::cast_sign_loss, reason = "clamped to what is not negative")]
pub fn lines(
    buf: &mut Buffer,
    area: Rect,
    theme: &Theme,
    (from, to): (f64, f64),
    top: f64,
    series: &[Series<'_>],
) {
    let braille = theme.colored() && !theme.glyphs.ascii;
    let (across, down) = if braille { (2, 4) } else { (1, 1) };
    let columns = usize::from(area.width) * across;
    let rows = usize::from(area.height) * down;
    if columns == 0 || rows == 0 || to <= from || top <= 0.0 {
        return;
    }
    let mut dots = vec![0_u8; usize::from(area.width) * usize::from(area.height)];
    for line in series {
        let mut before = None;
        for column in 0..columns {
            let time = from + (to - from) * (column as f64 + 1.0) / columns as f64;
            let Some(value) = value_at(line.points, time) else {
                continue;
            };
            let height = (value / top).clamp(0.0, 1.0) * (rows - 1) as f64;
            let row = rows - 1 - height.round() as usize;
            let last = before.replace(row).unwrap_or(row);
            for row in row.min(last)..=row.max(last) {
                let (x, y) = (column / across, row / down);
                let symbol = if braille {
                    let dot = &mut dots[y * usize::from(area.width) + x];
                    *dot |= BRAILLE[row % 4][column % 2];
                    char::from_u32(0x2800 + u32::from(*dot)).unwrap_or('?')
                } else {
                    line.mark
                };
                paint::cell(buf, area, (x as u16, y as u16), symbol, line.style);
            }
        }
    }
}

const BRAILLE: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

/// The last value at or before `time`.
fn value_at(points: &[(f64, f64)], time: f64) -> Option<f64> {
    let after = points.partition_point(|&(at, _)| at <= time);
    points.get(after.checked_sub(1)?).map(|&(_, value)| value)
}

/// A bar of `width` cells, `share` of it full; anything above zero shows.
#[expect(clippy::cast_sign_loss, reason = "clamped to what is not negative")]
#[must_use]
pub fn bar(theme: &Theme, share: f64, width: u16) -> String {
    let cells = share.clamp(0.0, 1.0) * f64::from(width);
    let mut full = cells.floor() as usize;
    if theme.glyphs.ascii {
        if full == 0 && share > 0.0 {
            full = 1;
        }
        return theme.glyphs.solid.to_string().repeat(full);
    }
    let eighths = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let rest = ((cells - full as f64) * 8.0).floor() as usize;
    let mut text = theme.glyphs.solid.to_string().repeat(full);
    if rest > 0 {
        text.push(eighths[rest - 1]);
    } else if full == 0 && share > 0.0 {
        text.push(eighths[0]);
    }
    text
}

/// One character for each value, scaled to the largest; nothing above zero is a blank.
#[expect(clippy::cast_sign_loss, reason = "clamped to what is not negative")]
#[must_use]
pub fn sparkline(theme: &Theme, values: &[f64]) -> String {
    let top = values.iter().copied().fold(0.0, f64::max);
    values
        .iter()
        .map(|&value| {
            if value <= 0.0 || top <= 0.0 {
                return ' ';
            }
            let step = (value / top * 8.0).ceil() as usize;
            theme.glyphs.ramp[step.clamp(1, 8) - 1]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    //! Aim: scales hold at their ends, and what is above zero is seen.
    use super::*;
    use crate::tui::ThemeName;
    use crate::tui::theme::Depth;

    fn theme(ascii: bool) -> Theme {
        Theme::new(Depth::None, ascii, ThemeName::Dark)
    }

    #[test]
    fn a_line_runs_from_corner_to_corner() {
        let mut buf = Buffer::empty(Rect::new(0, 0, 4, 4));
        let points = [(1.0, 0.0), (2.0, 1.0), (3.0, 2.0), (4.0, 3.0)];
        let series = [Series { points: &points, style: Style::new(), mark: '*' }];
        lines(&mut buf, Rect::new(0, 0, 4, 4), &theme(true), (0.0, 4.0), 3.0, &series);
        assert_eq!(buf, Buffer::with_lines(["   *", "  **", " ** ", "**  "]));
    }

    #[test]
    fn empty_plots_draw_nothing() {
        let mut buf = Buffer::empty(Rect::new(0, 0, 4, 1));
        let series = [Series { points: &[], style: Style::new(), mark: '*' }];
        lines(&mut buf, Rect::new(0, 0, 4, 1), &theme(true), (0.0, 4.0), 3.0, &series);
        lines(&mut buf, Rect::new(0, 0, 0, 0), &theme(false), (0.0, 4.0), 3.0, &series);
        lines(&mut buf, Rect::new(0, 0, 4, 1), &theme(false), (4.0, 4.0), 3.0, &series);
        assert_eq!(buf, Buffer::with_lines(["    "]));
    }

    #[test]
    fn bars_and_sparklines_show_what_is_there() {
        assert_eq!(bar(&theme(false), 0.5, 5), "██▌");
        assert_eq!(bar(&theme(false), 1e-9, 5), "▏");
        assert_eq!(bar(&theme(true), 1e-9, 5), "#");
        assert_eq!(bar(&theme(true), 7.0, 5), "#####");
        assert_eq!(bar(&theme(false), -1.0, 5), "");
        assert_eq!(sparkline(&theme(false), &[0.0, 1.0, 8.0, -2.0, 4.0]), " ▁█ ▄");
        assert_eq!(sparkline(&theme(false), &[0.0, 0.0]), "  ");
    }
}
