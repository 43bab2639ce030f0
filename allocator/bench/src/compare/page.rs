//! The results as text: tables that are Markdown and can be read as they are.

use std::fmt::Write as _;

use super::results::{Results, Row};
use super::table::{NOTHING, Table, mib, time};

/// Everything: what was measured on, times, latencies, memory, and what failed.
pub(crate) fn page(results: &Results) -> String {
    let mut page = head(results);
    let mut section = |title: &str, text: &str, table: &Table| {
        if table.rows.len() > 1 {
            let _ = write!(page, "\n## {title}\n\n{text}\n\n{}", table.text());
        }
    };
    section(
        "Time",
        "Nanoseconds per operation: the median of the rounds, and half of what lies between their quartiles in \
         per cent of it. ratio: lfalloc's time in parts of the best peer's, the median of the rounds' ratios. The last line \
         is the geometric mean of every allocator's ratios to the best peer of each row.",
        &times(results),
    );
    section(
        "Latency of one operation",
        "Nanoseconds, the clock's about 25 included: medians of the rounds, and the longest of all. Who waits for a processor \
         waits in it.",
        &latencies(results),
    );
    section(
        "Most memory",
        "MiB resident at most (VmHWM), the program's own 2 to 3 included.",
        &peak(results),
    );
    section(
        "Memory for what is live",
        "MiB resident after the last round, with what the workload holds then; live: what it asked for. Of most blocks only \
         the first bytes were written, so less than is live may be resident.",
        &held(results),
    );
    section(
        "Memory after everything was freed",
        "MiB resident; purged: after the allocator was then told to give back what it can.",
        &freed(results),
    );
    if !results.failures.is_empty() {
        page.push_str("\n## What failed\n\n");
        for failure in &results.failures {
            let _ = writeln!(page, "- {failure}");
        }
    }
    page
}

fn head(results: &Results) -> String {
    let machine = &results.machine;
    let mut head = format!(
        "# Comparison of allocators\n\n\
         `lfalloc-bench {}`: {} interleaved rounds, a process of about {} ms each.\n\n\
         - {}, {} cores, load {:.2} before\n- Linux {}\n- {}; {}\n",
        results.command,
        results.rounds,
        results.milliseconds,
        machine.processor,
        machine.cores,
        machine.load,
        machine.kernel,
        machine.rustc,
        machine.cc,
    );
    let versions: Vec<_> =
        results.contenders.iter().map(|contender| contender.version.as_str()).collect();
    let _ = writeln!(head, "- {}", versions.join(", "));
    head
}

fn times(results: &Results) -> Table {
    let mut table = Table::new(results, &["best peer", "ratio"]);
    for row in &results.rows {
        let cells = (0..results.contenders.len()).map(|column| time(&row.ns(column)));
        let mut cells: Vec<_> = cells.collect();
        let lfalloc = results.contenders.iter().position(|contender| !contender.is_peer);
        match lfalloc.and_then(|lfalloc| results.standing(row, lfalloc)) {
            Some(standing) => {
                cells.push(results.contenders[standing.best_peer].name.clone());
                cells.push(format!("{:.2}", standing.ratio));
            }
            None => cells.extend([NOTHING.to_owned(), NOTHING.to_owned()]),
        }
        table.push(&row.workload, cells);
    }
    let means = (0..results.contenders.len()).map(|column| results.mean_ratio(column));
    let mut means: Vec<_> = means
        .map(|mean| if mean.is_finite() { format!("{mean:.2}") } else { NOTHING.to_owned() })
        .collect();
    means.extend([String::new(), String::new()]);
    table.push("geometric mean of ratios", means);
    table
}

fn latencies(results: &Results) -> Table {
    let mut table = Table::with(["workload", "allocator", "p50", "p99", "p99.9", "max"]);
    for row in &results.rows {
        for (column, contender) in results.contenders.iter().enumerate() {
            if let Some(latency) = row.latency(column) {
                let quantiles = [latency.p50, latency.p99, latency.p999, latency.max];
                let mut cells = vec![contender.name.clone()];
                cells.extend(quantiles.map(|ns| ns.to_string()));
                table.push(&row.workload, cells);
            }
        }
    }
    table
}

fn peak(results: &Results) -> Table {
    let mut table = Table::new(results, &[]);
    for row in &results.rows {
        let peak = |column| row.median(column, |measured| Some(measured.memory.peak));
        let cells = (0..results.contenders.len()).map(|column| mib(peak(column)));
        table.push(&row.workload, cells.collect());
    }
    table
}

fn freed(results: &Results) -> Table {
    let purged = |row: &Row, column| row.median(column, |measured| measured.memory.purged);
    let purging: Vec<_> = (0..results.contenders.len())
        .filter(|&column| results.rows.iter().any(|row| purged(row, column).is_some()))
        .collect();
    let heads = purging.iter().map(|&column| format!("{} purged", results.contenders[column].name));
    let heads: Vec<_> = heads.collect();
    let mut table = Table::new(results, &heads.iter().map(String::as_str).collect::<Vec<_>>());
    for row in &results.rows {
        let freed = |column| row.median(column, |measured| Some(measured.memory.freed));
        let mut cells: Vec<_> =
            (0..results.contenders.len()).map(|column| mib(freed(column))).collect();
        cells.extend(purging.iter().map(|&column| mib(purged(row, column))));
        table.push(&row.workload, cells);
    }
    table
}

fn held(results: &Results) -> Table {
    let mut table = Table::new(results, &["live"]);
    for row in &results.rows {
        let columns = || 0..results.contenders.len();
        let live = columns().find_map(|column| {
            row.median(column, |measured| Some(measured.memory.live).filter(|&live| live > 0))
        });
        if live.is_some() {
            let held = |column| row.median(column, |measured| Some(measured.memory.held));
            let mut cells: Vec<_> = columns().map(|column| mib(held(column))).collect();
            cells.push(mib(live));
            table.push(&row.workload, cells);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::results::tests::made_up;

    /// Aim: every table says what was measured, a column that failed included. Method: a snapshot of made-up measurements.
    #[test]
    fn the_page_is_complete() {
        insta::assert_snapshot!(page(&made_up()));
    }

    /// Aim: without lfalloc, or without peers, there are no ratios and no panic. Method: one column alone.
    #[test]
    fn one_contender_alone() {
        for place in [0, 1] {
            let mut results = made_up();
            results.contenders = vec![results.contenders.remove(place)];
            for row in &mut results.rows {
                row.cells = vec![row.cells.remove(place)];
            }
            assert!(page(&results).contains(" – |"), "{place}");
        }
    }
}
