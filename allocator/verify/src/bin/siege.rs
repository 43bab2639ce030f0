//! `siege`: besieges a program's agent with hostile clients, and prints what became of the program.
//!
//! ```text
//! siege [NAME…] [--seconds S]     about S seconds of work for each siege, 14 unless told otherwise
//! ```

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use lfalloc_verify::shipped::library;
use lfalloc_verify::siege::clients::{SIEGES, Siege, read_until_stopped};
use lfalloc_verify::siege::surroundings::{SURROUNDINGS, Verdict};
use lfalloc_verify::siege::windows::{Outcome, Plan, measure, places};
use lfalloc_verify::siege::{system, target};

/// The work of one window.
const WINDOW: Duration = Duration::from_millis(500);
/// The fewest pairs of windows whose median counts.
const LEAST_PAIRS: u64 = 7;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["target"] => target::serve().map_err(|error| error.to_string()),
        ["target", pieces, report] => {
            pieces.parse().map_err(|_| "no number".to_owned()).and_then(|pieces| {
                target::serve_without_descriptors(pieces, Path::new(report))
                    .map_err(|error| error.to_string())
            })
        }
        ["client", socket] => {
            read_until_stopped(Path::new(socket));
            Ok(())
        }
        [ref names @ .., "--seconds", seconds] => match seconds.parse() {
            Ok(seconds) => run(names, seconds),
            Err(_) => Err(format!("--seconds {seconds}: no number")),
        },
        ref names => run(names, 14),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("siege: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(names: &[&str], seconds: u64) -> Result<(), String> {
    let known = |name: &&str| {
        SIEGES.iter().any(|siege| siege.name == *name)
            || SURROUNDINGS.iter().any(|it| it.name == *name)
    };
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        return Err(format!("there is no siege {unknown}"));
    }
    let is_asked_for = |name: &str| names.is_empty() || names.contains(&name);
    let library = library()?;
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    if let Some(processor) = places().1 {
        // The targets get the other one.
        system::pin(processor).map_err(|error| error.to_string())?;
    }
    let pairs = (seconds * 1000 / (2 * WINDOW.as_millis() as u64)).max(LEAST_PAIRS) as usize;
    let plan = Plan { pairs, window: WINDOW, judges_speed: true };
    let mut faults = 0;
    let mut table = Vec::new();
    for siege in SIEGES.iter().filter(|siege| is_asked_for(siege.name)) {
        eprintln!("{}: {}", siege.name, siege.about);
        let row = match measure(siege, &plan, &program, &library) {
            Ok(outcome) => {
                faults += outcome.faults.len();
                row(siege, &outcome)
            }
            Err(error) => {
                faults += 1;
                format!("| {} | {} | | | | | | | **{error}** |", siege.name, siege.about)
            }
        };
        eprintln!("{row}");
        table.push(row);
    }
    let mut around = Vec::new();
    for surrounding in SURROUNDINGS.iter().filter(|it| is_asked_for(it.name)) {
        let verdict = match surrounding.check(&program, &library) {
            Ok(Verdict::Held(seen)) => seen,
            Ok(Verdict::Skipped(why)) => format!("skipped: {why}"),
            Err(error) => {
                faults += 1;
                format!("**{error}**")
            }
        };
        around.push(format!("| {} | {} | {verdict} |", surrounding.name, surrounding.about));
        eprintln!("{}", around[around.len() - 1]);
    }
    if !table.is_empty() {
        println!(
            "| siege | clients | connections, sent, received | throughput by processor time | by the clock (of a processor it had) | \
             agent | resident, metadata: before, under siege, after | updates of a viewer | verdict |\n\
             |---|---|---:|---:|---:|---:|---:|---:|---|"
        );
        println!("{}", table.join("\n"));
    }
    if !around.is_empty() {
        println!("\n| surroundings | | what happens |\n|---|---|---|\n{}", around.join("\n"));
    }
    if faults == 0 { Ok(()) } else { Err(format!("{faults} faults")) }
}

fn row(siege: &Siege, outcome: &Outcome) -> String {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let [connections, sent, received] = outcome.clients;
    let [low, clock, high] = outcome.clock;
    let [least, processor, most_of_it] = outcome.processor;
    let [before, under, after] = outcome.held.map(|held| mib(held.resident));
    let [own, most, left] = outcome.metadata.map(|bytes| mib(bytes.unsigned_abs()));
    let verdict = match outcome.faults.as_slice() {
        [] => "results the same, served afterwards".to_owned(),
        faults => format!("**{}**", faults.join("; ")),
    };
    format!(
        "| {} | {} | {connections}, {:.1} MiB, {:.1} MiB | {processor:.3}, {least:.2}–{most_of_it:.2} | {clock:.2}, {low:.2}–{high:.2} ({:.0} %) | {:.1} % | \
         {before:.1}, {under:.1}, {after:.1} MiB; {own:.1}, {most:.1}, {left:.1} MiB | {} | {verdict} |",
        siege.name,
        siege.about,
        mib(sent),
        mib(received),
        outcome.own * 100.0,
        outcome.agent * 100.0,
        outcome.updates
    )
}
