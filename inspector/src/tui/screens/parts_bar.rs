//! The bar whose parts sum to what is mapped, and its legend.

use lfalloc_protocol::message::Parts;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::overview::Marks;
use super::paint;
use crate::format;
use crate::fragmentation::Rounding;
use crate::picture::{Picture, fraction};
use crate::tui::figure::Figure;
use crate::tui::theme::{Hue, Theme};

/// Cells of one entry of the legend.
const LEGEND_WIDTH: u16 = 29;

/// One part of the bar.
#[derive(Clone, Copy, Debug)]
struct Part {
    figure: Figure,
    name: &'static str,
    hue: Hue,
    /// Fills it without colours, and in ASCII.
    fill: (char, char),
    bytes: i64,
}

fn parts(parts: &Parts) -> [Part; 10] {
    let part = |figure, name, hue, fill, bytes| Part { figure, name, hue, fill, bytes };
    [
        part(Figure::Live, "live", Hue::Green, ('█', '#'), parts.live),
        part(Figure::Large, "large", Hue::Blue, ('▓', '@'), parts.large),
        part(Figure::Free, "free", Hue::Yellow, ('░', 'f'), parts.free),
        part(Figure::Credit, "credits", Hue::SkyBlue, ('▒', 'r'), parts.credit),
        part(Figure::Cached, "cached", Hue::Purple, ('◆', 'c'), parts.cached),
        part(Figure::EmptyKept, "EMPTY kept", Hue::Grey, ('·', '.'), parts.empty),
        part(Figure::LargeCached, "large kept", Hue::PaleBlue, ('∘', 'o'), parts.large_cached),
        part(Figure::Tail, "tail", Hue::DarkGrey, ('-', '-'), parts.tail),
        part(Figure::Unused, "unused", Hue::Charcoal, ('_', '_'), parts.unused),
        part(Figure::Metadata, "metadata", Hue::Orange, ('=', '='), parts.metadata),
    ]
}

/// Rows that the bar, its summary and its legend take in `width` cells.
#[must_use]
pub fn height(width: u16) -> u16 {
    3 + 10_u16.div_ceil(legend_columns(width))
}

fn legend_columns(width: u16) -> u16 {
    (width / LEGEND_WIDTH).max(1)
}

/// Draws summary, bar and legend; `selected` is the figure under the cursor, if it is here.
pub(super) fn draw(
    buf: &mut Buffer,
    area: Rect,
    theme: &Theme,
    (picture, before): (&Picture, Option<&Picture>),
    (front, rounding): (&str, Option<Rounding>),
    selected: Option<Figure>,
    marks: &mut Marks<'_>,
) {
    let line = match before {
        None => summary(theme, picture, selected, area.width),
        Some(before) => change(theme, picture, before, selected),
    };
    paint::line(buf, area, 0, &line);
    let mapped = line.iter().take(MAPPED_SPANS).map(Span::width).sum::<usize>() as u16;
    marks.add_row(area, 0, Figure::Resident);
    marks.add_row(Rect { width: mapped.min(area.width), ..area }, 0, Figure::Mapped);
    let before = before.map(|before| self::parts(&before.parts));
    let parts = parts(&picture.parts);
    draw_bar(buf, area, theme, picture, (&parts, rounding), marks);
    let columns = legend_columns(area.width);
    // What needs most of the rows is read downwards, as a table.
    let rows = 10_u16.div_ceil(columns);
    for (place, part) in (0_u16..).zip(&parts) {
        let (column, row) = (place / rows, place % rows);
        let entry = Rect {
            x: area.x + column * (area.width / columns),
            y: area.y,
            width: LEGEND_WIDTH.min(area.width),
            height: area.height,
        };
        let entry = entry.intersection(area);
        let before = before.as_ref().map(|before| before[usize::from(place)].bytes);
        let bytes = match before {
            None => format::bytes(part.bytes),
            Some(before) => format::bytes_change(part.bytes.saturating_sub(before)),
        };
        // A change has no share.
        let share = before.is_none().then(|| fraction(part.bytes, picture.parts.mapped));
        let share = share.map_or(String::new(), format::percent);
        let line = legend(theme, part, &bytes, &share, selected == Some(part.figure));
        paint::line(buf, entry, 3 + row, &line);
        marks.add_row(entry, 3 + row, part.figure);
    }
    let front = {
        let text = paint::fit(front, area.width);
        let (name, rest) = text.split_at(text.find([':', ' ']).unwrap_or(text.len()));
        let name = label(theme, name, selected == Some(Figure::Front));
        (Figure::Front, Line::from(vec![name, Span::styled(rest.to_owned(), theme.faint())]))
    };
    let rounding = rounding.map(|rounding| {
        let is_selected = selected == Some(Figure::Rounding);
        (Figure::Rounding, rounding_line(theme, rounding, is_selected, area.width))
    });
    // Where there is room for one of them: that there is no front is less worth than the rounding.
    let lines =
        if picture.front.is_some() { [Some(front), rounding] } else { [rounding, Some(front)] };
    for (row, (figure, line)) in (3 + rows..area.height).zip(lines.into_iter().flatten()) {
        paint::line(buf, area, row, &line);
        marks.add_row(area, row, figure);
    }
}

fn label(theme: &Theme, text: &str, selected: bool) -> Span<'static> {
    let style = if selected { theme.selected() } else { Style::new() };
    Span::styled(text.to_owned(), style)
}

/// Spans of the summary that tell what is mapped; the others tell what is resident.
const MAPPED_SPANS: usize = 2;

/// In `width` cells; the last words are shortened where they do not fit.
fn summary(
    theme: &Theme,
    picture: &Picture,
    selected: Option<Figure>,
    width: u16,
) -> Line<'static> {
    let mapped = picture.parts.mapped;
    let mut spans = vec![
        label(theme, "mapped", selected == Some(Figure::Mapped)),
        Span::styled(format!(" {}", format::bytes(mapped)), theme.strong()),
        Span::raw("   "),
        label(theme, "RSS", selected == Some(Figure::Resident)),
    ];
    let Some(rss) = picture.rss_bytes.and_then(|rss| i64::try_from(rss).ok()) else {
        spans.push(Span::styled(" not known", theme.faint()));
        return Line::from(spans);
    };
    spans.push(Span::styled(format!(" {}", format::bytes(rss)), theme.strong()));
    let outside = rss.saturating_sub(mapped);
    let difference = format::bytes(outside.saturating_abs());
    let [mut remark, short] = if outside >= 0 {
        [format!(": at least {difference} outside"), format!(": {difference}+ outside")]
    } else {
        [format!(": {difference} or more never touched"), format!(": {difference}+ untouched")]
    };
    let used: usize = spans.iter().map(Span::width).sum();
    if used + remark.len() > usize::from(width) {
        remark = short;
    }
    spans.push(Span::styled(remark, theme.faint()));
    Line::from(spans)
}

/// What has changed since `before`.
fn change(
    theme: &Theme,
    picture: &Picture,
    before: &Picture,
    selected: Option<Figure>,
) -> Line<'static> {
    let change =
        |now: i64, then: i64| format!(" {}", format::bytes_change(now.saturating_sub(then)));
    let mapped = change(picture.parts.mapped, before.parts.mapped);
    let rss = |picture: &Picture| picture.rss_bytes.and_then(|rss| i64::try_from(rss).ok());
    let rss = rss(picture).zip(rss(before));
    let rss = rss.map_or(" not known".to_owned(), |(now, then)| change(now, then));
    let since = picture.uptime_ns.saturating_sub(before.uptime_ns);
    Line::from(vec![
        label(theme, "mapped", selected == Some(Figure::Mapped)),
        Span::styled(mapped, theme.strong()),
        Span::raw("   "),
        label(theme, "RSS", selected == Some(Figure::Resident)),
        Span::styled(rss, theme.strong()),
        Span::styled(format!(" in {}; the bar shows now", format::duration(since)), theme.faint()),
    ])
}

fn swatch(theme: &Theme, part: &Part) -> Span<'static> {
    let fill = fill(theme, part);
    if theme.has_solid_hues() {
        Span::styled("█", theme.hue(part.hue))
    } else {
        Span::styled(fill.to_string(), theme.hue(part.hue))
    }
}

/// Fills what is estimated to be rounding, within what is live.
fn rounding_fill(theme: &Theme) -> char {
    if theme.glyphs.ascii { '~' } else { '▚' }
}

/// How many of the `cells` of `live` bytes are rounding: at least one of several, if there is any.
#[expect(clippy::cast_sign_loss, reason = "clamped to what is not negative")]
fn rounded_cells(rounding: Rounding, live: i64, cells: u16) -> u16 {
    let share = (rounding.bytes / (live as f64).max(1.0)).clamp(0.0, 1.0);
    let least = u16::from(share > 0.0 && cells > 1);
    ((share * f64::from(cells)).round() as u16).clamp(least, cells.max(least))
}

/// How much of what is live is rounding, how sure that is, and where it is known from.
fn rounding_line(theme: &Theme, rounding: Rounding, selected: bool, width: u16) -> Line<'static> {
    let (about, plus_minus) = if theme.glyphs.ascii { ("~", "+-") } else { ("≈", "±") };
    let error = format::bytes(rounding.error as i64);
    let text = format!(" {about} {} {plus_minus} {error}", format::bytes(rounding.bytes as i64));
    let [long, short] = [
        format!(", estimated from {} samples", format::thousands(rounding.samples)),
        format!(", {} samples", format::count(rounding.samples)),
    ];
    let fill = Span::styled(rounding_fill(theme).to_string(), theme.hue(Hue::Green));
    let mut spans =
        vec![fill, Span::raw(" of live, "), label(theme, "rounding", selected), Span::raw(text)];
    let used: usize = spans.iter().map(Span::width).sum();
    let remark = if used + long.len() > usize::from(width) { short } else { long };
    spans.push(Span::styled(remark, theme.faint()));
    Line::from(spans)
}

fn fill(theme: &Theme, part: &Part) -> char {
    if theme.glyphs.ascii { part.fill.1 } else { part.fill.0 }
}

fn legend(theme: &Theme, part: &Part, bytes: &str, share: &str, selected: bool) -> Line<'static> {
    let style = if part.bytes < 0 { theme.alarm() } else { Style::new() };
    let name = label(theme, part.name, selected);
    // A change has a sign, for which the names leave room but one.
    let padding = " ".repeat(11_usize.saturating_sub(part.name.chars().count()));
    Line::from(vec![
        swatch(theme, part),
        Span::raw(" "),
        name,
        Span::styled(format!("{padding}{bytes:>8}"), style),
        Span::styled(format!(" {share:>6}"), theme.faint()),
    ])
}

/// Two rows: names where they fit, shares below.
fn draw_bar(
    buf: &mut Buffer,
    area: Rect,
    theme: &Theme,
    picture: &Picture,
    (parts, rounding): (&[Part], Option<Rounding>),
    marks: &mut Marks<'_>,
) {
    let outside = picture
        .rss_bytes
        .and_then(|rss| i64::try_from(rss).ok())
        .map_or(0, |rss| rss.saturating_sub(picture.parts.mapped));
    let sizes: Vec<i64> = parts.iter().map(|part| part.bytes).chain([outside]).collect();
    let mut x = 0;
    for (place, cells) in segments(&sizes, area.width).into_iter().enumerate() {
        let segment = Rect { x: area.x + x, y: area.y + 1, width: cells, height: 2 };
        let segment = segment.intersection(area);
        let Some(part) = parts.get(place) else {
            draw_outside(buf, area, theme, (x, cells));
            marks.add(segment, Figure::Resident);
            break;
        };
        marks.add(segment, part.figure);
        let colored = theme.has_solid_hues();
        let style = if colored { theme.badge(part.hue) } else { theme.hue(part.hue) };
        let symbol = if colored { ' ' } else { fill(theme, part) };
        let share = format::percent(fraction(part.bytes, picture.parts.mapped));
        let rounded = match rounding {
            Some(rounding) if part.figure == Figure::Live => {
                let rounded = rounded_cells(rounding, part.bytes, cells);
                let last = Rect { x: segment.right() - rounded.min(segment.width), ..segment };
                marks.add(last.intersection(segment), Figure::Rounding);
                rounded
            }
            _ => 0,
        };
        for (row, words) in [(1, part.name), (2, share.as_str())] {
            for cell in x..x + cells {
                paint::cell(buf, area, (cell, row), symbol, style);
            }
            if part.figure == Figure::Live {
                for cell in x + cells - rounded..x + cells {
                    paint::cell(buf, area, (cell, row), rounding_fill(theme), style);
                }
            }
            let width = words.chars().count() as u16;
            let cells = cells - rounded;
            if width + 2 <= cells {
                let words = format!(" {words} ");
                let style = if colored { style } else { style.add_modifier(Modifier::BOLD) };
                paint::text(buf, area, (x + (cells - width - 2) / 2, row), &words, style);
            }
        }
        x += cells;
    }
}

fn draw_outside(buf: &mut Buffer, area: Rect, theme: &Theme, (x, cells): (u16, u16)) {
    let symbol = if theme.glyphs.ascii { '/' } else { '╱' };
    for row in [1, 2] {
        for cell in x..x + cells {
            paint::cell(buf, area, (cell, row), symbol, theme.faint());
        }
    }
    if cells > 9 {
        paint::text(buf, area, (x + (cells - 9) / 2, 1), " outside ", theme.faint());
    }
}

/// Shares `width` cells out among `sizes` in proportion; whatever is positive gets at least one
/// cell while there are enough, whatever is not gets none.
fn segments(sizes: &[i64], width: u16) -> Vec<u16> {
    let positive: Vec<u128> = sizes.iter().map(|&size| size.max(0).unsigned_abs().into()).collect();
    let sum: u128 = positive.iter().sum();
    let present = positive.iter().filter(|&&size| size > 0).count() as u16;
    if sum == 0 {
        return vec![0; sizes.len()];
    }
    let least = u16::from(present <= width);
    let rest = width - least * present;
    let mut shared: Vec<(u16, u128)> = positive
        .iter()
        .map(|&size| {
            let product = size * u128::from(rest);
            let whole = (product / sum) as u16 + if size > 0 { least } else { 0 };
            (whole, product % sum)
        })
        .collect();
    let used: u16 = shared.iter().map(|&(cells, _)| cells).sum();
    // What rounding left over goes to the largest remainders.
    let mut order: Vec<usize> = (0..shared.len()).collect();
    order.sort_by_key(|&place| std::cmp::Reverse(shared[place].1));
    for &place in order.iter().take(usize::from(width.saturating_sub(used))) {
        shared[place].0 += 1;
    }
    shared.into_iter().map(|(cells, _)| cells).collect()
}

#[cfg(test)]
mod tests {
    //! Aim: the cells of the bar are all used, in proportion, and nothing that exists vanishes;
    //! the line above it is not cut.
    use std::time::Duration;

    use super::*;
    use crate::source::synthetic::{Synthetic, SyntheticSource};
    use crate::source::{Source as _, SourceEvent};
    use crate::tui::ThemeName;
    use crate::tui::theme::Depth;

    #[test]
    fn the_summary_fits_the_narrowest_terminal() {
        let theme = Theme::new(Depth::None, true, ThemeName::Dark);
        let mut source = SyntheticSource::new(Synthetic::default());
        let SourceEvent::Connected(hello) = source.poll(Duration::ZERO) else { panic!("greets") };
        let mut picture = Picture::new(hello);
        let mut said = |mapped, rss, width| {
            (picture.parts.mapped, picture.rss_bytes) = (mapped, Some(rss));
            let line = summary(&theme, &picture, None, width);
            assert!(line.width() <= usize::from(width), "{line}");
            line.to_string()
        };
        assert!(said(1023 << 20, 1000 << 10, 58).ends_with(": 1022 MiB+ untouched"));
        assert!(said(1023 << 20, 1000 << 10, 78).ends_with(": 1022 MiB or more never touched"));
        assert!(said(1023 << 10, 1023 << 20, 58).contains("outside"));
    }

    #[test]
    fn rounding_has_a_place_within_what_is_live_and_never_more() {
        let cells = |bytes, live, cells| {
            rounded_cells(Rounding { samples: 9, bytes, error: 0.0 }, live, cells)
        };
        assert_eq!(cells(25.0, 100, 40), 10);
        assert_eq!((cells(1e-3, 100, 40), cells(1e-3, 100, 1)), (1, 0), "seen beside the rest");
        assert_eq!((cells(0.0, 100, 40), cells(-5.0, 100, 40)), (0, 0));
        assert_eq!((cells(500.0, 100, 40), cells(5.0, -7, 3), cells(5.0, 9, 0)), (40, 3, 0));
        let theme = Theme::new(Depth::None, true, ThemeName::Dark);
        let rounding = Rounding { samples: 1_204, bytes: 319_488.0, error: 4096.0 };
        let said = |rounding, width| rounding_line(&theme, rounding, false, width).to_string();
        assert_eq!(
            said(rounding, 78),
            "~ of live, rounding ~ 312 KiB +- 4.00 KiB, estimated from 1,204 samples"
        );
        assert_eq!(said(rounding, 58), "~ of live, rounding ~ 312 KiB +- 4.00 KiB, 1204 samples");
    }

    #[test]
    fn segments_fill_the_bar_and_keep_what_is_small() {
        assert_eq!(segments(&[50, 25, 25], 100), [50, 25, 25]);
        assert_eq!(segments(&[1_000_000, 1, 0, -5], 80), [79, 1, 0, 0]);
        assert_eq!(segments(&[0, 0], 80), [0, 0]);
        assert_eq!(segments(&[], 80), [0_u16; 0]);
        for width in 0..60 {
            let sizes = [i64::MAX, 7, 1 << 40, 1, i64::MAX / 3, 0, i64::MIN];
            assert_eq!(segments(&sizes, width).iter().sum::<u16>(), width);
        }
    }
}
