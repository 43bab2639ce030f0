//! `models`: explores every race, stops every operation before every access, kills every mutant, and prints the three tables.
//! `models mutants`, `models stops`, `models races`: one of them.

use std::process::ExitCode;

use lfalloc_verify::catalogue::{CROWD, LOOM, MEDLEY};
use lfalloc_verify::explore::{
    Explored, interleaved, interrupted, loom, pct, random, random_of, stopped,
};
use lfalloc_verify::front::{DEPOT_RACES, DRAIN_RACES};
use lfalloc_verify::machine::{Loom, Shuttle};
use lfalloc_verify::stop::{Depot, Large, Processor, Regular, World, product};
use lfalloc_verify::{large, once, seeded};

const SCHEDULES: usize = 20_000;

fn row(of: &str, name: &str, how: &str, explored: Explored) {
    let seconds = explored.time.as_secs_f64();
    println!("| {of} | {name} | {how} | {} | {seconds:.2} |", explored.executions);
}

fn bounded(preemptions: usize) -> String {
    format!("loom, at most {preemptions} preemptions")
}

fn races() {
    println!("| of | race | explored by | executions | seconds |\n|---|---|---|---:|---:|");
    for (race, preemptions) in LOOM {
        row("core", race.name, &bounded(*preemptions), loom::<0>(*race, *preemptions));
    }
    for race in DEPOT_RACES {
        row("depot", race.name, &bounded(race.preemptions), race.explore::<0>());
    }
    for race in DRAIN_RACES {
        row("drain", race.name, &bounded(race.preemptions), race.explore::<0>());
    }
    for race in large::RACES {
        let explored = interleaved(race.preemptions, || race.run::<Loom, 0>());
        row("large blocks", race.name, &bounded(race.preemptions), explored);
    }
    let how = bounded(once::PREEMPTIONS);
    for (of, name, execution) in [
        ("page map", "leaves of the page map", once::page_map::<0> as fn()),
        ("tables", "numbers of a table", once::table::<0>),
        ("decay", "the end of an interval", once::decay::<0>),
        ("arena", "a piece that comes back", once::pieces::<0>),
    ] {
        row(of, name, &how, interleaved(once::PREEMPTIONS, execution));
    }
    for race in [MEDLEY, CROWD] {
        row("core", race.name, "shuttle, random schedules", random::<0>(race, SCHEDULES, 1));
        row("core", race.name, "shuttle, PCT with 3 changes", pct::<0>(race, SCHEDULES, 3, 1));
    }
    let crowd = random_of(SCHEDULES, 1, || large::CROWD.run::<Shuttle, 0>());
    row("large blocks", large::CROWD.name, "shuttle, random schedules", crowd);
    let all = LOOM.iter().map(|(race, _)| *race).chain([MEDLEY, CROWD]);
    let sum = |a: Explored, b: Explored| Explored {
        executions: a.executions + b.executions,
        time: a.time + b.time,
    };
    let each = "each of the core's";
    if let Some(explored) = all.clone().map(interrupted::<0>).reduce(sum) {
        row("core", each, "the first thread interrupted at each point", explored);
    }
    if let Some(explored) = all.map(stopped::<0>).reduce(sum) {
        row("core", each, "the first thread stopped for ever at each point", explored);
    }
}

/// The rows of a world; how many executions.
fn stops<W: World>(of: &str) -> u64 {
    let rows = product::<W>();
    for row in &rows {
        let lost = match row.lost.untouched {
            0 => row.lost.blocks.to_string(),
            untouched => format!("{} and {untouched} untouched", row.lost.blocks),
        };
        println!(
            "| {of} | {} | {} | {} | {} | {lost} |",
            row.operation, row.accesses, row.executions, row.others_accesses
        );
    }
    rows.iter().map(|row| row.executions).sum()
}

fn stopped_everywhere() {
    println!(
        "\n| of | operation that is stopped | before each of … accesses | executions | others' accesses at most | lost at most |"
    );
    println!("|---|---|---:|---:|---:|---:|");
    let all = stops::<Regular<0>>("core")
        + stops::<Depot>("depot")
        + stops::<Processor>("drain")
        + stops::<Large<0>>("large blocks");
    println!("\n{all} executions");
}

/// How many faults survive.
fn mutants() -> usize {
    // The faults found below are reported by the table; their panics would only hide it.
    std::panic::set_hook(Box::new(|_| {}));
    println!("\n| mutant of | fault | test | killed by | how | what the oracle says |");
    println!("|---|---|---|---|---|---|");
    let mut survivors = 0;
    let all = seeded::all();
    for one in &all {
        let (by, how, says) = one.kill().map_or_else(
            || {
                survivors += 1;
                ("", String::new(), "**survived**".to_owned())
            },
            |killed| (killed.by, killed.how, killed.says),
        );
        let says = says.lines().next().unwrap_or_default().to_owned();
        let what = one.what();
        println!(
            "| `{}` | `{}`: {what} | `{}` | {by} | {how} | {says} |",
            one.home,
            one.name,
            one.test()
        );
    }
    println!("\n{} of {} mutants are killed", all.len() - survivors, all.len());
    survivors
}

fn main() -> ExitCode {
    let only = std::env::args().nth(1);
    let is_wanted = |table: &str| only.as_deref().is_none_or(|only| only == table);
    if is_wanted("races") {
        races();
    }
    if is_wanted("stops") {
        stopped_everywhere();
    }
    if is_wanted("mutants") && mutants() > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
