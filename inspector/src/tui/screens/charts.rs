//! The charts of the Overview: fragmentation over time, PARTIAL superblocks by occupancy.

use lfalloc_protocol::message::state;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Span;

use super::overview::{Marks, named};
use super::{paint, plot};
use crate::format;
use crate::picture::OCCUPANCY_STEPS;
use crate::tui::data::Data;
use crate::tui::figure::Figure;
use crate::tui::history::Sample;
use crate::tui::theme::{Hue, Theme};

/// Seconds that the chart shows at least.
const LEAST_SPAN_SECONDS: f64 = 60.0;

/// What the lines mean, for the title of the pane, which goes on at `place`.
pub(super) fn fragmentation_legend(
    theme: &Theme,
    data: &Data,
    selected: Option<Figure>,
    mut place: Rect,
    places: &mut Marks<'_>,
) -> Vec<Span<'static>> {
    let picture = &data.picture;
    let marks = if theme.glyphs.ascii { ["*", "o"] } else { ["•", "○"] };
    let mut spans = Vec::new();
    let series = [
        (Figure::External, "EXT", picture.external_fraction(), Hue::SkyBlue),
        (Figure::Waste, "waste", picture.waste_fraction(), Hue::Orange),
    ];
    for (mark, (figure, name, share, hue)) in marks.into_iter().zip(series) {
        let entry = [
            Span::styled(format!(" {mark} "), theme.hue(hue)),
            named(theme, figure, selected, name),
            Span::styled(format!(" {} ", format::percent(share)), theme.strong()),
        ];
        let width = entry.iter().map(Span::width).sum::<usize>() as u16;
        places.add(Rect { width: width.min(place.width), ..place }, figure);
        place.x += width;
        place.width = place.width.saturating_sub(width);
        spans.extend(entry);
    }
    spans
}

/// EXT% and waste over the time that is remembered, at least a minute.
#[expect(clippy::cast_sign_loss, reason = "a span of time, at least a minute")]
pub(super) fn draw_fragmentation(buf: &mut Buffer, area: Rect, theme: &Theme, data: &Data) {
    let seconds = |uptime_ns: u64| uptime_ns as f64 / 1e9;
    let history = &data.history;
    let points = |share: fn(&Sample) -> Option<f64>| -> Vec<(f64, f64)> {
        history
            .samples()
            .filter_map(|sample| Some((seconds(sample.uptime_ns), share(sample)?)))
            .collect()
    };
    let external = points(|sample| sample.external);
    let waste = points(|sample| sample.waste);
    let (Some(first), Some(last)) = (history.samples().next(), history.samples().next_back())
    else {
        return;
    };
    let to = seconds(last.uptime_ns);
    let span = (to - seconds(first.uptime_ns)).max(LEAST_SPAN_SECONDS);
    let most = external.iter().chain(&waste).map(|point| point.1).fold(0.0, f64::max);
    let top = [0.05, 0.1, 0.25, 0.5].into_iter().find(|&top| most <= top).unwrap_or(1.0);
    let axis = 5;
    let plot = Rect {
        x: area.x + axis.min(area.width),
        width: area.width.saturating_sub(axis),
        height: area.height.saturating_sub(1),
        ..area
    };
    for row in 0..plot.height {
        paint::cell(buf, area, (axis - 1, row), theme.glyphs.vertical, theme.faint());
    }
    let faint = theme.faint();
    let top_text = format!("{:>3.0}%", top * 100.0);
    paint::text(buf, area, (0, 0), &top_text, faint);
    if plot.height > 2 {
        paint::text(buf, area, (0, plot.height - 1), "  0%", faint);
    }
    let ago = format!("{} ago", format::duration((span * 1e9) as u64));
    paint::text(buf, area, (axis, plot.height), &ago, faint);
    if area.width > 30 {
        paint::text(buf, area, (area.width - 3, plot.height), "now", faint);
    }
    let marks = if theme.glyphs.ascii { ['*', 'o'] } else { ['•', '○'] };
    let series = [
        plot::Series { points: &waste, style: theme.hue(Hue::Orange), mark: marks[1] },
        plot::Series { points: &external, style: theme.hue(Hue::SkyBlue), mark: marks[0] },
    ];
    plot::lines(buf, plot, theme, (to - span, to), top, &series);
}

/// A histogram of the PARTIAL superblocks.
pub(super) fn draw_occupancy(
    buf: &mut Buffer,
    area: Rect,
    theme: &Theme,
    data: &Data,
    selected: Option<Figure>,
    marks: &mut Marks<'_>,
) {
    marks.add(area, Figure::Occupancy);
    let most = data.occupancy.iter().copied().max().unwrap_or(0).max(1);
    for (row, (step, &count)) in (0..).zip(data.occupancy.iter().enumerate()) {
        let step_percent = 100 / OCCUPANCY_STEPS;
        let range = format!("{:>3}-{:>3}%", step * step_percent, (step + 1) * step_percent);
        let style = if selected == Some(Figure::Occupancy) && row == 0 {
            theme.selected()
        } else {
            theme.faint()
        };
        paint::text(buf, area, (0, row), &range, style);
        paint::text(buf, area, (9, row), &format!("{:>6}", format::count(count)), Style::new());
        let bar = plot::bar(theme, count as f64 / most as f64, area.width.saturating_sub(16));
        paint::text(buf, area, (16, row), &bar, theme.state(state::PARTIAL));
    }
}
