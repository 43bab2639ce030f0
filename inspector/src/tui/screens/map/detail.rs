//! A close look at one superblock: its anchor, its blocks, its own history.

use std::collections::BTreeMap;

use lfalloc_protocol::message::{
    SuperblockCached, SuperblockDetail, TransitionRecord, bitmap, state,
};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::format;
use crate::picture::Superblock;
use crate::tui::data::Data;
use crate::tui::events::Entry;
use crate::tui::keys::Action;
use crate::tui::model::{Connection, Model};
use crate::tui::screens::{paint, transition};
use crate::tui::theme::{Hue, Theme};
use crate::tui::update::Commands;
use crate::tui::view;

/// Transitions of its own that are shown at most.
const MAX_HISTORY: usize = 500;

/// Draws the look at superblock `id`, scrolled down by `scroll` lines.
pub(super) fn draw(buf: &mut Buffer, area: Rect, model: &Model, data: &Data, id: u32, scroll: u16) {
    let theme = &model.theme;
    let looks = if super::is_living(model) { ", looked at with every state" } else { "" };
    let title = format!("Superblock #{id}{looks} (Esc closes)");
    let inner = paint::pane(buf, area, theme, paint::heading(theme, &title, true), true);
    let lines = lines(model, data, id, inner.width);
    let most = lines.len().saturating_sub(usize::from(inner.height));
    for (row, line) in (0..inner.height).zip(lines.iter().skip(usize::from(scroll).min(most))) {
        paint::line(buf, inner, row, line);
    }
}

/// A key while it is open.
pub(super) fn act(model: &mut Model, action: Action) -> Commands {
    let Some((id, scroll)) = model.map.open else { return Commands::NOTHING };
    let body = view::body(model);
    let length =
        model.shown().map_or(0, |data| lines(model, data, id, body.width.saturating_sub(2)).len());
    let height = body.height.saturating_sub(2);
    let most = u16::try_from(length).unwrap_or(u16::MAX).saturating_sub(height);
    let scroll = scroll.min(most);
    let scroll = match action {
        Action::Up => scroll.saturating_sub(1),
        Action::Down => scroll + 1,
        Action::PageUp => scroll.saturating_sub(height),
        Action::PageDown => scroll.saturating_add(height),
        Action::Top => 0,
        Action::Bottom => most,
        Action::Open => return super::open(model, id),
        _ => return Commands::NOTHING,
    };
    model.map.open = Some((id, scroll.min(most)));
    Commands::REDRAW
}

/// What is known about superblock `id`.
pub(super) fn lines(model: &Model, data: &Data, id: u32, width: u16) -> Vec<Line<'static>> {
    let theme = &model.theme;
    let detail = data.detail.as_ref().filter(|detail| detail.id == id);
    let now = data.picture.superblocks.get(id).copied();
    // The newer reading: states go on while the close look stays as it was.
    let record = now.or_else(|| seen(detail?));
    let history = history(data, detail, id);
    let mut lines = Vec::new();
    match record {
        None => lines.push(Line::styled(" it is not mapped any more", theme.alarm())),
        Some(record) => {
            if now.is_none() {
                lines
                    .push(Line::styled(" it is not mapped any more; as last seen:", theme.alarm()));
            }
            facts(&mut lines, theme, data, &record, history.values().next_back());
        }
    }
    lines.push(Line::default());
    blocks(&mut lines, model, data, detail, record, width);
    lines.push(Line::default());
    let count = history.len();
    let known = if count == 0 {
        "none known".to_owned()
    } else {
        format!("{count} known, the newest first")
    };
    lines.push(Line::from(vec![
        Span::styled(" its transitions ", theme.strong()),
        Span::styled(known, theme.faint()),
    ]));
    lines.extend(history.values().rev().map(|record| transition::line(theme, data, record, width)));
    if data.events.missed_total() > 0 {
        let missed = format::thousands(data.events.missed_total());
        lines.push(Line::styled(
            format!("   {missed} transitions were missed, of whichever superblock"),
            theme.alarm(),
        ));
    }
    lines
}

/// The superblock as the close look saw it.
pub(in crate::tui) fn seen(detail: &SuperblockDetail) -> Option<Superblock> {
    Some(Superblock::told(&detail.record?, detail.uptime_ns))
}

fn facts(
    lines: &mut Vec<Line<'static>>,
    theme: &Theme,
    data: &Data,
    record: &Superblock,
    last: Option<&TransitionRecord>,
) {
    let info = data.picture.hello.classes.get(usize::from(record.class));
    let (block, maxcount) = info.map_or((0, 0), |info| {
        (i64::from(info.block_bytes), i64::from(info.blocks_per_superblock))
    });
    let live = data.picture.superblock_live_blocks(record);
    let named = |name: &str, spans: Vec<Span<'static>>| {
        let mut all = vec![Span::styled(format!(" {name:<9} "), theme.key())];
        all.extend(spans);
        Line::from(all)
    };
    lines.push(named(
        "state",
        vec![
            Span::styled(
                format!("{} {}", theme.state_mark(record.state), state::name(record.state)),
                theme.state(record.state),
            ),
            Span::raw(if record.exact {
                ""
            } else {
                "  class and anchor were read while they changed"
            }),
        ],
    ));
    lines.push(named(
        "class",
        vec![Span::raw(format!(
            "{}: {} blocks of {} ({block} bytes)",
            record.class,
            maxcount,
            format::bytes(block)
        ))],
    ));
    lines.push(named(
        "address",
        vec![Span::raw(format!(
            "{:#x} to {:#x}",
            record.address,
            record.address.saturating_add(info.map_or(0, |info| u64::from(info.superblock_bytes)))
        ))],
    ));
    lines.push(named(
        "anchor",
        vec![
            Span::styled(format!("{:#018x}", record.anchor), theme.strong()),
            Span::raw(format!(
                " = avail {} | count {} | state {} | tag {}",
                record.avail, record.count, record.state, record.tag
            )),
        ],
    ));
    lines.push(named("", vec![Span::styled("bits 0-12, 13-25, 26-27, 28-63", theme.faint())]));
    // Which of them the front holds only a close look tells.
    let cached = if data.picture.parts.cached == 0 { "" } else { " or cached" };
    let mut spans = vec![Span::raw(format!(
        "{live} live{cached}, {} free, {} reserved",
        if record.state == state::EMPTY { maxcount } else { i64::from(record.count) },
        record.credits
    ))];
    for heap in data.picture.heaps.iter().filter(|heap| heap.superblock == record.id) {
        spans.push(Span::raw(format!(" by heap {}", heap.heap)));
    }
    spans.push(Span::styled(
        format!(
            "  {} live{cached}",
            format::percent((maxcount > 0).then(|| live as f64 / maxcount as f64))
        ),
        theme.strong(),
    ));
    lines.push(named("blocks", spans));
    let idle = last.map_or_else(
        || "no transition seen".to_owned(),
        |last| {
            let since = data.picture.uptime_ns.saturating_sub(last.uptime_ns);
            format!("last transition {} ago", format::duration(since))
        },
    );
    lines.push(named(
        "age",
        vec![Span::raw(format!(
            "{} in this class, {idle}",
            format::duration(data.picture.age_ns(record))
        ))],
    ));
}

/// The block bitmap, or why there is none.
fn blocks(
    lines: &mut Vec<Line<'static>>,
    model: &Model,
    data: &Data,
    detail: Option<&SuperblockDetail>,
    record: Option<Superblock>,
    width: u16,
) {
    let theme = &model.theme;
    let bitmap = detail.filter(|detail| detail.bitmap_is != bitmap::NONE);
    let Some((detail, seen)) = bitmap.and_then(|detail| Some((detail, detail.record?))) else {
        let why = if data.picture.hello.minor < 1 {
            "not told by agents of protocol 1.0"
        } else if detail.is_some() {
            "its memory is not mapped, or could not be read"
        } else if model.frozen.is_some() {
            "not asked for while the view stands still"
        } else if !matches!(model.connection, Connection::Live) {
            "the connection has ended"
        } else if record.is_none() {
            "it is not mapped"
        } else {
            "asked for"
        };
        lines.push(Line::from(vec![
            Span::styled(" its blocks ", theme.strong()),
            Span::styled(why, theme.faint()),
        ]));
        return;
    };
    let infos = &data.picture.hello.classes;
    let count = infos.get(usize::from(seen.class)).map_or(0, |info| info.blocks_per_superblock);
    let (word, style) = if detail.bitmap_is == bitmap::EXACT {
        ("exact", theme.good())
    } else {
        ("racing: it changed while it was read", theme.alarm())
    };
    let ago = data.picture.uptime_ns.saturating_sub(detail.uptime_ns);
    let cached = data.cached.as_ref().filter(|cached| cached.id == detail.id);
    let marks: Vec<Mark> =
        (0..count as usize).map(|place| Mark::of(detail, cached, place)).collect();
    let counted = |mark| marks.iter().filter(|&&other| other == mark).count();
    let glyphs = Mark::glyphs(theme);
    let mut legend: Vec<String> = Vec::new();
    for (mark, name) in Mark::ALL.into_iter().zip(Mark::NAMES) {
        if matches!(mark, Mark::Live | Mark::Free) || counted(mark) > 0 {
            legend.push(format!("{} {} {name}", glyphs[mark as usize], counted(mark)));
        }
    }
    lines.push(Line::from(vec![
        Span::styled(" its blocks ", theme.strong()),
        Span::styled(word, style),
        Span::styled(format!(", {} ago", format::duration(ago)), theme.faint()),
    ]));
    let mut spans = vec![Span::styled(format!("   {}", legend.join(", ")), theme.faint())];
    let told = cached.map(|cached| cached.cached_is);
    if told == Some(bitmap::RACING) {
        spans.push(Span::styled("  cached: racing, a close guess", theme.alarm()));
    } else if told.is_none() && data.picture.parts.cached != 0 {
        spans.push(Span::styled("  cached ones are shown as live", theme.faint()));
    }
    lines.push(Line::from(spans));
    let columns = (usize::from(width).saturating_sub(9) / 8 * 8).max(8);
    for (row, marks) in marks.chunks(columns).enumerate() {
        let mut spans = vec![Span::raw(format!(" {:>6} ", row * columns))];
        for run in marks.chunk_by(|mark, next| mark == next) {
            let text = std::iter::repeat_n(glyphs[run[0] as usize], run.len()).collect::<String>();
            spans.push(Span::styled(text, run[0].style(theme)));
        }
        lines.push(Line::from(spans));
    }
}

/// Where a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// With the program.
    Live,
    /// In a magazine.
    Magazine,
    /// In the depot.
    Depot,
    /// In the list of free blocks.
    Free,
}

impl Mark {
    const ALL: [Self; 4] = [Self::Live, Self::Magazine, Self::Depot, Self::Free];
    const NAMES: [&str; 4] = ["live", "in magazines", "in the depot", "free"];

    /// What stands for each.
    fn glyphs(theme: &Theme) -> [char; 4] {
        let [magazine, depot] = if theme.glyphs.ascii { ['m', 'd'] } else { ['▓', '▒'] };
        [theme.glyphs.solid, magazine, depot, theme.glyphs.shade]
    }

    fn style(self, theme: &Theme) -> Style {
        match self {
            Self::Live => Style::new(),
            Self::Magazine => theme.hue(Hue::Purple),
            Self::Depot => theme.hue(Hue::SkyBlue),
            Self::Free => theme.faint(),
        }
    }

    /// Block `place` of the close look. Where two are told of it, which can be while it moves, the list of free blocks is
    /// believed first.
    fn of(detail: &SuperblockDetail, cached: Option<&SuperblockCached>, place: usize) -> Self {
        let is_set =
            |words: &[u64]| words.get(place / 64).is_some_and(|word| word >> (place % 64) & 1 == 1);
        match cached {
            _ if is_set(&detail.free) => Self::Free,
            Some(cached) if is_set(&cached.magazines) => Self::Magazine,
            Some(cached) if is_set(&cached.depot) => Self::Depot,
            _ => Self::Live,
        }
    }
}

/// Its transitions by tag: those that this viewer saw, and those of the close look.
fn history(
    data: &Data,
    detail: Option<&SuperblockDetail>,
    id: u32,
) -> BTreeMap<u64, TransitionRecord> {
    let mut history = BTreeMap::new();
    let seen = (data.events.first()..data.events.end()).filter_map(|n| match data.events.get(n) {
        Some(Entry::Transition(record)) if record.superblock == id => Some(*record),
        _ => None,
    });
    let told = detail.into_iter().flat_map(|detail| detail.transitions.iter().copied());
    for record in seen.chain(told) {
        history.insert(record.tag, record);
        if history.len() > MAX_HISTORY {
            history.pop_first();
        }
    }
    history
}
