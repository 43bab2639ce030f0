//! The figures of the Overview, exact.

use lfalloc_protocol::message::state;

use super::exact;
use crate::picture::{OCCUPANCY_STEPS, hit_fraction};
use crate::tui::class_table::{ClassTable, Column};
use crate::tui::data::Data;
use crate::tui::figure::{Figure, Pane};
use crate::tui::screens::{explain, overview};

/// Name, value and unit.
pub(super) type Line = (String, String, &'static str);

/// What there is to copy of a figure.
pub(super) fn lines(figure: Figure, data: &Data) -> Vec<Line> {
    let name = explain::explain(figure).title;
    let parts = &data.picture.parts;
    let end = &data.picture.end;
    let rates = data.history.rates();
    let one = |value: String, unit| vec![(name.clone(), value, unit)];
    let bytes = |bytes: i64| one(bytes.to_string(), "B");
    let per_second = |rate: Option<f64>| one(exact(rate), "/s");
    let percent = |share: Option<f64>| one(exact(share.map(|share| share * 100.0)), "%");
    match figure {
        Figure::Mapped => bytes(parts.mapped),
        Figure::Live => bytes(parts.live),
        Figure::Large => bytes(parts.large),
        Figure::Free => bytes(parts.free),
        Figure::Credit => bytes(parts.credit),
        Figure::Cached => bytes(parts.cached),
        Figure::EmptyKept => bytes(parts.empty),
        Figure::LargeCached => bytes(parts.large_cached),
        Figure::Tail => bytes(parts.tail),
        Figure::Unused => bytes(parts.unused),
        Figure::Metadata => bytes(parts.metadata),
        Figure::Front => front(data),
        Figure::Rounding => overview::rounding(data).map_or_else(Vec::new, |rounding| {
            vec![
                (format!("{name}, estimated"), exact(Some(rounding.bytes.round())), "B"),
                (format!("{name}, error"), exact(Some(rounding.error.round())), "B"),
                (format!("{name}, samples"), rounding.samples.to_string(), ""),
            ]
        }),
        Figure::Resident => {
            let rss = data.picture.rss_bytes.map_or_else(|| "-".to_owned(), |rss| rss.to_string());
            one(rss, "B")
        }
        Figure::State(code) => by_state(code, data),
        Figure::Allocations => per_second(rates.allocations),
        Figure::Frees => per_second(rates.frees),
        Figure::Retries => per_second(rates.retries),
        Figure::Transitions => per_second(rates.transitions),
        Figure::External => percent(data.picture.external_fraction()),
        Figure::Waste => percent(data.picture.waste_fraction()),
        Figure::Occupancy => occupancy(data),
        Figure::ClassWaste => worst(data),
        Figure::Balance => bytes(data.picture.books_balance().unwrap_or(0)),
        Figure::Consistent => one(if end.consistent { "yes" } else { "no" }.to_owned(), ""),
        Figure::InHand => one(end.in_hand.to_string(), ""),
        Figure::Difference => {
            let held = end.allocations_after.wrapping_sub(end.frees_after).cast_signed();
            one(held.to_string(), "")
        }
        Figure::Missed => one(data.drops().saturating_add(end.transitions_dropped).to_string(), ""),
        Figure::AgentCost => vec![
            (name.clone(), exact(rates.agent_cpu.map(|cpu| cpu * 100.0)), "%"),
            (name, end.agent_bytes.to_string(), "B"),
        ],
        Figure::Term(_) => {
            let raised: Vec<&str> = data.lints.raised().map(|found| found.lint.name()).collect();
            one(if raised.is_empty() { "none".to_owned() } else { raised.join(", ") }, "")
        }
        Figure::Column(_) | Figure::Edge(_) | Figure::Events => Vec::new(),
    }
}

fn front(data: &Data) -> Vec<Line> {
    let Some(figures) = data.picture.front_figures() else { return Vec::new() };
    let rates = data.front_rates(None);
    let hit = rates.and_then(|rates| hit_fraction(rates[0], rates[2]));
    let per_second =
        |name: &str, place: usize| (name.to_owned(), exact(rates.map(|rates| rates[place])), "/s");
    vec![
        ("magazines, hit rate".to_owned(), exact(hit.map(|hit| hit * 100.0)), "%"),
        per_second("magazines, refills", 2),
        per_second("magazines, flushes", 3),
        per_second("magazines, aborts", 4),
        ("magazines and depot".to_owned(), figures.bytes().to_string(), "B"),
        ("magazines and depot at most".to_owned(), figures.most_bytes().to_string(), "B"),
    ]
}

fn by_state(code: u8, data: &Data) -> Vec<Line> {
    let place = usize::from(code);
    let count = data.picture.superblocks_by_state().get(place).copied().unwrap_or(0);
    let bytes = data.bytes_by_state().get(place).copied().unwrap_or(0);
    vec![
        (format!("{} superblocks", state::name(code)), count.to_string(), ""),
        (format!("{} bytes", state::name(code)), bytes.to_string(), "B"),
    ]
}

fn occupancy(data: &Data) -> Vec<Line> {
    let percent = 100 / OCCUPANCY_STEPS;
    let line = |(step, count): (usize, &u64)| {
        let (from, to) = (step * percent, (step + 1) * percent);
        (format!("PARTIAL {from}-{to}% live"), count.to_string(), "")
    };
    data.occupancy.iter().enumerate().map(line).collect()
}

fn worst(data: &Data) -> Vec<Line> {
    let rows = ClassTable::default().rows(data, None);
    let wasteful = rows.iter().filter(|row| row.figures.waste_bytes() != 0);
    let line = |row: &crate::tui::class_table::Row| {
        let name = format!("waste of class {}", row.figures.record.class);
        (name, exact(Column::Waste.value(row)), "B")
    };
    wasteful.map(line).collect()
}

/// Every figure, pane by pane.
pub(super) fn all(data: &Data) -> Vec<Line> {
    let figures = Pane::ALL.into_iter().flat_map(Pane::figures);
    figures.flat_map(|&figure| lines(figure, data)).collect()
}
