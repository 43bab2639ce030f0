//! A close look at one size class: where its bytes are, what pins them, how full its superblocks are.

use lfalloc_protocol::message::state;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::{paint, plot};
use crate::format;
use crate::picture::OCCUPANCY_STEPS;
use crate::tui::data::Data;
use crate::tui::model::Model;
use crate::tui::theme::{Hue, Theme};

/// Cells of the longest bar.
const BAR: u16 = 40;

/// Draws the look at `class`.
pub fn draw(buf: &mut Buffer, area: Rect, model: &Model, data: &Data, class: u16) {
    let theme = &model.theme;
    let Some(figures) = data.figures.get(usize::from(class)) else { return };
    let block = format::bytes(i64::from(figures.info.block_bytes));
    let title = format!("Class {class}: blocks of {block} (Esc closes)");
    let inner = paint::pane(buf, area, theme, paint::heading(theme, &title, true), true);
    for (row, line) in (0..).zip(lines(theme, data, class, inner.height)) {
        paint::line(buf, inner, row, &line);
    }
}

fn lines(theme: &Theme, data: &Data, class: u16, height: u16) -> Vec<Line<'static>> {
    let place = usize::from(class);
    let (Some(figures), Some(lost)) = (data.figures.get(place), data.fragmentation.get(place))
    else {
        return Vec::new();
    };
    let (info, record) = (figures.info, figures.record);
    let named = |name: &str, text: String| {
        Line::from(vec![Span::styled(format!(" {name:<11} "), theme.key()), Span::raw(text)])
    };
    let mut states = vec![Span::styled(format!(" {:<11} ", "superblocks"), theme.key())];
    let counts = [record.active, record.full, record.partial, record.empty];
    for (code, count) in
        [state::ACTIVE, state::FULL, state::PARTIAL, state::EMPTY].into_iter().zip(counts)
    {
        let text = format!("{} {} ", theme.state_mark(code), format::thousands(u64::from(count)));
        states.push(Span::styled(text, theme.state(code)));
    }
    let size = format::bytes(i64::from(info.superblock_bytes));
    states.push(Span::raw(format!("of {size}: {} blocks", info.blocks_per_superblock)));
    let blocks = |count: i64| {
        format!("{} in {}", format::bytes(figures.bytes_of(count)), format::signed_count(count))
    };
    let rounding = lost.rounding.map_or_else(
        || "no request was sampled".to_owned(),
        |rounding| {
            let plus_minus = if theme.glyphs.ascii { "+-" } else { "±" };
            let error = format::bytes(rounding.error as i64);
            format!(
                "{} {plus_minus} {error} of the live bytes, by {} sampled requests",
                format::bytes(rounding.bytes as i64),
                format::thousands(rounding.samples)
            )
        },
    );
    let mut lines = vec![
        Line::from(states),
        named("live", blocks(record.live_blocks)),
        named("rounding", rounding),
        named(
            "free",
            format!(
                "{}, EXT {}",
                blocks(record.free_blocks),
                format::percent(figures.external_fraction())
            ),
        ),
        named("credits", blocks(record.credit_blocks)),
        named(
            "kept",
            format!(
                "{} cached, {} EMPTY",
                format::bytes(figures.bytes_of(record.cached_blocks)),
                format::bytes(figures.empty_bytes())
            ),
        ),
        named(
            "under 10%",
            format!(
                "{} superblocks, {}, for {} live blocks",
                format::thousands(lost.pinned),
                format::bytes(lost.pinned_bytes),
                format::signed_count(lost.pinning_blocks)
            ),
        ),
        named(
            "compaction",
            format!(
                "would save {} superblocks, {}",
                lost.savings,
                format::bytes(lost.savings_bytes)
            ),
        ),
        Line::styled(" superblocks that are not EMPTY by occupancy", theme.strong()),
    ];
    if usize::from(height) < lines.len() + OCCUPANCY_STEPS {
        let steps = lost.occupancy.map(|count| count as f64);
        let line = plot::sparkline(theme, &steps);
        lines.push(Line::from(format!("   0% {line} 100%, {} under 10%", lost.occupancy[0])));
        return lines;
    }
    let most = lost.occupancy.iter().copied().max().unwrap_or(0).max(1);
    for (step, count) in lost.occupancy.into_iter().enumerate() {
        let percent = 100 / OCCUPANCY_STEPS;
        let hue = if step == 0 { Hue::Vermillion } else { Hue::Yellow };
        lines.push(Line::from(vec![
            Span::styled(
                format!(" {:>3}-{:>3}% ", step * percent, (step + 1) * percent),
                theme.faint(),
            ),
            Span::raw(format!("{:>6} ", format::count(count))),
            Span::styled(plot::bar(theme, count as f64 / most as f64, BAR), theme.hue(hue)),
        ]));
    }
    lines
}
