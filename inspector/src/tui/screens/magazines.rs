//! The lower half of screen 4: magazines of processors, and the depot behind them.

use lfalloc_protocol::message::MagazineRecord;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;

use super::heaps::Group;
use super::list::{self, Column, Row};
use super::paint;
use crate::format;
use crate::picture::{FrontFigures, Picture, hit_fraction};
use crate::tui::data::Data;
use crate::tui::glossary::Term;
use crate::tui::model::Model;
use crate::tui::theme::Theme;

/// Cells of a gauge.
const GAUGE: usize = 8;

pub(super) const COLUMNS: &[Column] = &[
    Column { title: "block", name: "block", width: 9, dispensable: 0 },
    Column { title: "cpu", name: "cpu", width: 4, dispensable: 0 },
    Column { title: "blocks", name: "blocks", width: 16, dispensable: 0 },
    Column { title: "bytes", name: "bytes", width: 9, dispensable: 5 },
    Column { title: "hit", name: "hit", width: 7, dispensable: 0 },
    Column { title: "pop/s", name: "pops", width: 8, dispensable: 7 },
    Column { title: "push/s", name: "pushes", width: 8, dispensable: 8 },
    Column { title: "refill/s", name: "refills", width: 9, dispensable: 1 },
    Column { title: "flush/s", name: "flushes", width: 8, dispensable: 2 },
    Column { title: "abort/s", name: "aborts", width: 8, dispensable: 3 },
    Column { title: "depot", name: "depot", width: 9, dispensable: 4 },
    Column { title: "hit, ever", name: "ever", width: 10, dispensable: 6 },
];
pub(super) const NAMES: &[&str] = &[
    "block", "cpu", "blocks", "bytes", "hit", "pops", "pushes", "refills", "flushes", "aborts",
    "depot", "ever",
];

/// In what the columns are copied.
pub(super) const UNITS: [Option<&str>; COLUMNS.len()] = {
    let (count, bytes, percent) = (Some(""), Some("B"), Some("%"));
    [bytes, count, count, bytes, percent, count, count, count, count, count, count, percent]
};

/// What `x` explains in this pane: one term for each column.
pub const TERMS: &[Term] = &[
    term(
        &["magazine block"],
        "block",
        "The size class of the magazine.",
        "bytes of a block",
        "Fixed.",
    ),
    term(
        &["cpu", "processor"],
        "cpu",
        "The processor whose magazine it is: threads take from and give to that of the processor they run on.",
        "number of a processor",
        "Read from the thread's restartable-sequence area, within the sequence.",
    ),
    term(
        &["magazine blocks"],
        "blocks",
        "Blocks in the magazine, of those that it holds at most; by processor the gauge is of bytes. They are free to the program and \
         taken to their superblocks, which cannot go back to the system meanwhile.",
        "blocks",
        "The magazine's word. 64 KiB of the class, at least 2 and at most 254 blocks.",
    ),
    term(
        &["magazine bytes"],
        "bytes",
        "What those blocks amount to.",
        "bytes",
        "Blocks × block size; by class those of the depot are not included.",
    ),
    term(
        &["hit rate", "hit", "hits"],
        "hit rate",
        "Of the blocks popped, those that were in the magazine already: for the others a batch was fetched first.",
        "percent",
        "1 − refills / pops over the last seconds, or since the baseline while differences are shown. A refill from the core serves \
         its allocation without a pop, so it may be too low by one block in a batch. Interrupted allocations, and those of \
         single blocks that the core gave (batches of one), are in neither.",
    ),
    term(
        &["pops", "pop", "pop/s"],
        "pop/s",
        "Allocations that the magazine served.",
        "per second",
        RATE,
    ),
    term(
        &["pushes", "push", "push/s"],
        "push/s",
        "Frees that the magazine took.",
        "per second",
        RATE,
    ),
    term(
        &["magazine refills", "magazine refill"],
        "refill/s",
        "How often the magazine was empty, and got a batch: one from the depot, or else blocks from superblocks.",
        "per second",
        RATE,
    ),
    term(
        &["flushes", "flush", "flush/s"],
        "flush/s",
        "How often the magazine was full, and gave a batch: to the depot, or, if that has enough, back to the superblocks.",
        "per second",
        RATE,
    ),
    term(
        &["aborts", "abort", "abort/s"],
        "abort/s",
        "Pops and pushes that the kernel interrupted, since the thread lost its processor or got a signal in the middle. They are \
         not tried again: the operation goes to the core.",
        "per second",
        RATE,
    ),
    term(
        &["depot batches"],
        "depot",
        "Full batches of the class in the depot, of those that it holds at most.",
        "batches",
        "The head of the depot's stack. 256 KiB of the class, at least 2 batches.",
    ),
    term(
        &["hit rate ever"],
        "hit, ever",
        "The hit rate since the program started.",
        "percent",
        "1 − refills / pops.",
    ),
];

const RATE: &str = "Difference of the magazine's counter over the last seconds, or since the baseline while differences are shown.";

const fn term(
    words: &'static [&'static str],
    title: &'static str,
    what: &'static str,
    unit: &'static str,
    how: &'static str,
) -> Term {
    Term {
        words,
        title,
        what,
        unit,
        how,
        exact: "Exact at rest. While the program runs each counter is read by itself, and a batch on its way may be counted \
                already. Agents before protocol 1.3 tell nothing of magazines.",
    }
}

/// What is summed up in a row.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    blocks: u64,
    capacity: u64,
    bytes: i64,
    pops: u64,
    refills: u64,
    rates: Option<[f64; 5]>,
}

impl Sum {
    fn add(&mut self, picture: &Picture, magazine: &MagazineRecord, rates: Option<[f64; 5]>) {
        let capacity = picture.front_class(magazine.class).map_or(0, |class| class.capacity);
        self.blocks += u64::from(magazine.blocks);
        self.capacity += u64::from(capacity);
        let bytes = picture.block_bytes(magazine.class) * i64::from(magazine.blocks);
        self.bytes = self.bytes.saturating_add(bytes);
        self.pops = self.pops.wrapping_add(magazine.pops);
        self.refills = self.refills.wrapping_add(magazine.refills);
        if let Some(rates) = rates {
            let sums = self.rates.get_or_insert([0.0; 5]);
            sums.iter_mut().zip(rates).for_each(|(sum, rate)| *sum += rate);
        }
    }
}

/// The rows in the order and with the filter of the pane.
pub(super) fn rows(model: &Model, data: &Data) -> Vec<Row> {
    let group = model.heaps.group;
    let picture = &data.picture;
    let mut sums: std::collections::BTreeMap<(u16, Option<u16>), Sum> =
        std::collections::BTreeMap::new();
    for (&(class, processor), magazine) in &picture.magazines {
        let key = match group {
            Group::Header => (class, Some(processor)),
            Group::Heap => (u16::MAX, Some(processor)),
            Group::Class => (class, None),
        };
        let rates = data.magazine_rates(class, processor, model.before());
        sums.entry(key).or_default().add(picture, magazine, rates);
    }
    let figures = picture.front_figures().unwrap_or_default();
    let row = |(key, sum): ((u16, Option<u16>), Sum)| row(model, data, &figures, key, &sum);
    let rows = sums.into_iter().map(row).collect();
    model.heaps.magazines.arrange(COLUMNS, rows, |row, word| {
        row.cells[0].to_lowercase().contains(word) || row.cells[1] == word
    })
}

fn row(
    model: &Model,
    data: &Data,
    figures: &FrontFigures,
    (class, processor): (u16, Option<u16>),
    sum: &Sum,
) -> Row {
    let picture = &data.picture;
    let info = picture.hello.classes.get(usize::from(class));
    let rate = |place: usize| sum.rates.map(|rates| rates[place]);
    let hit = sum.rates.and_then(|rates| hit_fraction(rates[0], rates[2]));
    let ever = hit_fraction(sum.pops as f64, sum.refills as f64);
    // Of one class, a share of its blocks; of all classes, of what the processor holds at most.
    let (share, blocks) = if info.is_some() {
        let share = sum.blocks as f64 / sum.capacity.max(1) as f64;
        (share, format!("{}/{}", format::count(sum.blocks), format::count(sum.capacity)))
    } else {
        let share = sum.bytes as f64 / figures.processor_most_bytes.max(1) as f64;
        (share, format::count(sum.blocks))
    };
    let batches = info.map(|_| picture.depot_batches(class));
    let most = picture.front_class(class).map_or(0, |front| front.depot_batches);
    let percent = |share: Option<f64>| share.map(|share| share * 100.0);
    let idle = sum.blocks == 0
        && sum.rates.is_none_or(|rates| rates.iter().all(|rate| rate.abs() < f64::EPSILON));
    Row {
        key: u64::from(class) << 32 | processor.map_or(0xFFFF_FFFF, u64::from),
        cells: vec![
            info.map_or_else(
                || "all".to_owned(),
                |info| format::bytes(i64::from(info.block_bytes)),
            ),
            processor.map_or_else(|| "all".to_owned(), |processor| processor.to_string()),
            format!("{blocks} {}", gauge(&model.theme, share)),
            format::bytes(sum.bytes),
            format::percent(hit),
            format::rate(rate(0)),
            format::rate(rate(1)),
            format::rate(rate(2)),
            format::rate(rate(3)),
            format::rate(rate(4)),
            batches.map_or_else(|| "-".to_owned(), |batches| format!("{batches}/{most}")),
            format::percent(ever),
        ],
        values: vec![
            info.map(|info| f64::from(info.block_bytes)),
            processor.map(f64::from),
            Some(sum.blocks as f64),
            Some(sum.bytes as f64),
            percent(hit),
            rate(0),
            rate(1),
            rate(2),
            rate(3),
            rate(4),
            batches.map(f64::from),
            percent(ever),
        ],
        style: if idle { model.theme.faint() } else { Style::new() },
    }
}

fn gauge(theme: &Theme, share: f64) -> String {
    let filled = (share * GAUGE as f64).ceil();
    let cell =
        |place| if (place as f64) < filled { theme.glyphs.solid } else { theme.glyphs.shade };
    (0..GAUGE).map(cell).collect()
}

/// The line that sums up what is held, and of how much.
fn summary(figures: &FrontFigures) -> String {
    let processors = if figures.processors == 1 { "processor" } else { "processors" };
    format!(
        "cached {} of at most {}, {} {processors} of {} each, depot {} of {}",
        format::bytes(figures.bytes()),
        format::bytes(figures.most_bytes()),
        figures.processors,
        format::bytes(figures.processor_most_bytes),
        format::bytes(figures.depot_bytes),
        format::bytes(figures.depot_most_bytes)
    )
}

/// The front in one line of `width` cells, for the Overview: what is important first, apart by commas.
pub(super) fn one_line(model: &Model, data: &Data, width: u16) -> String {
    let Some(figures) = data.picture.front_figures() else {
        return data.picture.front_is().why_not().unwrap_or_default().to_owned();
    };
    let rates = data.front_rates(model.before());
    let hit = rates.and_then(|rates| hit_fraction(rates[0], rates[2]));
    let line = |batches, cached| {
        format!(
            "magazines: hit {}, {} {batches}/s, {} aborts/s, {cached}{} of {}",
            format::percent(hit),
            format::rate(rates.map(|rates| rates[2] + rates[3])),
            format::rate(rates.map(|rates| rates[4])),
            format::bytes(figures.bytes()),
            format::bytes(figures.most_bytes())
        )
    };
    let long = line("refills and flushes", "cached ");
    if long.len() <= usize::from(width) { long } else { line("batches", "") }
}

/// Draws the pane; what it says where there is no list is said with `hint`.
pub(super) fn draw(
    buf: &mut Buffer,
    area: Rect,
    model: &Model,
    data: &Data,
    hint: &str,
    focused: bool,
) {
    let theme = &model.theme;
    let within =
        Rect { x: area.x + 1, y: area.y + 1, width: area.width.saturating_sub(2), height: 1 };
    let Some(figures) = data.picture.front_figures() else {
        let title = format!("Magazines{hint}");
        let title = paint::fit(&title, area.width.saturating_sub(6));
        paint::pane(buf, area, theme, paint::heading(theme, title, focused), focused);
        let why = data.picture.front_is().why_not().unwrap_or_default();
        paint::line(buf, within, 0, &Line::styled(why, theme.faint()));
        return;
    };
    let rows = rows(model, data);
    let of = match model.heaps.group {
        Group::Header => "magazines",
        Group::Heap => "processors",
        Group::Class => "classes",
    };
    let since = if model.before().is_some() { ", rates since the baseline" } else { "" };
    let title = format!("Magazines: {} {of}{since}{hint}", rows.len());
    let title = paint::fit(&title, area.width.saturating_sub(6));
    paint::pane(buf, area, theme, paint::heading(theme, title, focused), focused);
    let summary = summary(&figures);
    let summary = paint::fit(&summary, within.width);
    paint::line(buf, within, 0, &Line::styled(summary, theme.faint()));
    let words = ("no magazine was used yet", "hit<90");
    list::draw(
        buf,
        super::heaps::inside(area),
        theme,
        &model.heaps.magazines,
        COLUMNS,
        &rows,
        words,
    );
}
