//! `models`: explores every race, kills every mutant, and prints both tables.

use std::process::ExitCode;

use lfalloc_verify::catalogue::{CROWD, MEDLEY};
use lfalloc_verify::catalogue::{KILLS, LOOM, Way};
use lfalloc_verify::explore::{Explored, interrupted, loom, pct, random, stopped};

fn row(name: &str, how: &str, explored: Explored) {
    println!("| {name} | {how} | {} | {:.2} |", explored.executions, explored.time.as_secs_f64());
}

fn main() -> ExitCode {
    println!("| race | explored by | executions | seconds |\n|---|---|---:|---:|");
    for (race, preemptions) in LOOM {
        let how = format!("loom, at most {preemptions} preemptions");
        row(race.name, &how, loom::<0>(*race, *preemptions));
    }
    for race in [MEDLEY, CROWD] {
        row(race.name, "shuttle, random schedules", random::<0>(race, 20_000, 1));
        row(race.name, "shuttle, PCT with 3 changes", pct::<0>(race, 20_000, 3, 1));
    }
    let all = LOOM.iter().map(|(race, _)| *race).chain([MEDLEY, CROWD]);
    let sum = |a: Explored, b: Explored| Explored {
        executions: a.executions + b.executions,
        time: a.time + b.time,
    };
    if let Some(explored) = all.clone().map(interrupted::<0>).reduce(sum) {
        row("each of them", "the first thread interrupted at each point", explored);
    }
    if let Some(explored) = all.map(stopped::<0>).reduce(sum) {
        row("each of them", "the first thread stopped for ever at each point", explored);
    }
    // The faults found below are reported by the table; their panics would only hide it.
    std::panic::set_hook(Box::new(|_| {}));
    println!("\n| mutant | killed by | how | what it says |\n|---|---|---|---|");
    let mut survivors = 0;
    for kill in KILLS {
        let how = match kill.way {
            Way::Loom(preemptions) => format!("loom, {preemptions} preemptions"),
            Way::Interrupted => "interrupted".to_owned(),
        };
        let verdict = kill.run().unwrap_or_else(|| {
            survivors += 1;
            "**survived**".to_owned()
        });
        let verdict = verdict.lines().next().unwrap_or_default();
        println!("| {:?} | {} | {how} | {verdict} |", kill.mutant, kill.race.name);
    }
    if survivors > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
