//! Tables that are Markdown and can be read as they are.

use std::fmt::Write as _;

use lfalloc_bench::statistics::Samples;

use super::results::Results;

const MIB: f64 = (1 << 20) as f64;

/// Where nothing was measured.
pub(super) const NOTHING: &str = "–";

/// Bytes as MiB.
pub(super) fn mib(bytes: Option<f64>) -> String {
    bytes.map_or_else(|| NOTHING.to_owned(), |bytes| format!("{:.1}", bytes / MIB))
}

/// The median of some measurements, and half of what lies between their quartiles in per cent of it.
pub(super) fn time(ns: &Samples) -> String {
    match ns.len() {
        0 => NOTHING.to_owned(),
        1 => figure(ns.median()),
        _ => format!("{} ±{:.0}", figure(ns.median()), ns.spread() * 100.0),
    }
}

/// Three digits that count.
fn figure(ns: f64) -> String {
    if ns < 99.95 { format!("{ns:.1}") } else { format!("{ns:.0}") }
}

/// The first row is the head; the first column's words stand left, the others right.
pub(super) struct Table {
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    /// A column for each contender, and some more.
    pub(super) fn new(results: &Results, more: &[&str]) -> Self {
        let names = results.contenders.iter().map(|contender| contender.name.as_str());
        Self::with(["workload"].into_iter().chain(names).chain(more.iter().copied()))
    }

    /// Its head.
    pub(super) fn with<'a>(head: impl IntoIterator<Item = &'a str>) -> Self {
        Self { rows: vec![head.into_iter().map(str::to_owned).collect()] }
    }

    /// Appends a row.
    pub(super) fn push(&mut self, name: &str, cells: Vec<String>) {
        self.rows.push([vec![name.to_owned()], cells].concat());
    }

    /// As Markdown.
    pub(super) fn text(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..self.rows[0].len()).map(width).collect();
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                let _ = match column {
                    0 => write!(text, "| {cell:<width$} |"),
                    _ => write!(text, " {cell:>width$} |"),
                };
            }
            text.push('\n');
            if number == 0 {
                for (column, width) in widths.iter().enumerate() {
                    let rule = "-".repeat(*width);
                    let _ = match column {
                        0 => write!(text, "|-{rule}-|"),
                        _ => write!(text, "-{rule}:|"),
                    };
                }
                text.push('\n');
            }
        }
        text
    }
}
