//! The results of `compare-preload` as a section of the page that `compare` writes.

use std::fmt::Write as _;

use super::results::Results;
use super::table::{NOTHING, Table, mib, time};

/// All of it: what was measured on, times with the most memory beside each, and what failed.
pub(super) fn section(results: &Results) -> String {
    let machine = &results.machine;
    let versions: Vec<_> =
        results.contenders.iter().map(|contender| contender.version.as_str()).collect();
    let mut section = format!(
        "## Through the C ABI\n\n\
         `lfalloc-bench {}`: C programs, each library preloaded; {} interleaved rounds, a process of about {} ms each.\n\n\
         - {}, {} cores, load {:.2} before; Linux {}; {}\n- {}\n\n\
         Nanoseconds per operation, as in the table of times above, and beside it MiB resident at most (VmHWM), the median of the \
         rounds. ratio: lfalloc's time in parts of the best peer's. The last line is the geometric mean of every allocator's ratios \
         to the best peer of each row.\n\n",
        results.command,
        results.rounds,
        results.milliseconds,
        machine.processor,
        machine.cores,
        machine.load,
        machine.kernel,
        machine.cc,
        versions.join(", "),
    );
    section.push_str(&times(results).text());
    if !results.failures.is_empty() {
        section.push_str("\nWhat failed:\n\n");
        for failure in &results.failures {
            let _ = writeln!(section, "- {failure}");
        }
    }
    section
}

fn times(results: &Results) -> Table {
    let names = results.contenders.iter().map(|contender| contender.name.as_str());
    let heads = names.flat_map(|name| [name, "MiB"]);
    let mut table =
        Table::with(["workload"].into_iter().chain(heads).chain(["best peer", "ratio"]));
    let lfalloc = results.contenders.iter().position(|contender| !contender.is_peer);
    for row in &results.rows {
        let peak = |column| mib(row.median(column, |measured| Some(measured.memory.peak)));
        let columns = 0..results.contenders.len();
        let mut cells: Vec<_> =
            columns.flat_map(|column| [time(&row.ns(column)), peak(column)]).collect();
        match lfalloc.and_then(|lfalloc| results.standing(row, lfalloc)) {
            Some(standing) => {
                cells.push(results.contenders[standing.best_peer].name.clone());
                cells.push(format!("{:.2}", standing.ratio));
            }
            None => cells.extend([NOTHING.to_owned(), NOTHING.to_owned()]),
        }
        table.push(&row.workload, cells);
    }
    let mean = |column| match results.mean_ratio(column) {
        mean if mean.is_finite() => format!("{mean:.2}"),
        _ => NOTHING.to_owned(),
    };
    let columns = 0..results.contenders.len();
    let mut means: Vec<_> = columns.flat_map(|column| [mean(column), String::new()]).collect();
    means.extend([String::new(), String::new()]);
    table.push("geometric mean of ratios", means);
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::results::tests::made_up;

    /// Aim: the section says what was measured, a column that failed included. Method: a snapshot of made-up measurements.
    #[test]
    fn the_section_is_complete() {
        insta::assert_snapshot!(section(&made_up()));
    }
}
