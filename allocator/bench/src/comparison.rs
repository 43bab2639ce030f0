//! `core`: lfalloc against the system's allocator.

use std::error::Error;

use crate::statistics::Samples;
use crate::workloads::{WORKLOADS, Workload};

/// Measures the workloads whose name contains `only` and prints the table.
pub(crate) fn run(rounds: usize, only: &str) -> Result<(), Box<dyn Error>> {
    let chosen: Vec<_> = WORKLOADS.iter().filter(|work| work.name.contains(only)).collect();
    if chosen.is_empty() {
        let names: Vec<_> = WORKLOADS.iter().map(|work| work.name).collect();
        return Err(format!("no workload is called {only}: {}", names.join("; ")).into());
    }
    println!("ns per malloc and free, {rounds} interleaved rounds");
    println!(
        "{:22} {:>9} {:>9}   {:>9} {:>9}   {:>7}",
        "", "lfalloc", "min", "system", "min", "ratio"
    );
    for workload in chosen {
        let [lfalloc, system] = interleaved(workload, rounds);
        println!(
            "{:22} {:9.1} {:9.1}   {:9.1} {:9.1}   {:7.2}",
            workload.name,
            lfalloc.median(),
            lfalloc.min(),
            system.median(),
            system.min(),
            lfalloc.paired_ratio(&system),
        );
    }
    Ok(())
}

/// Samples of lfalloc and of the system's allocator, after a round that does not count. Who goes
/// first changes from round to round.
fn interleaved(workload: &Workload, rounds: usize) -> [Samples; 2] {
    let mut samples = [Samples::default(), Samples::default()];
    for round in 0..=rounds {
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for contender in order {
            let run = [workload.lfalloc, workload.system][contender];
            let ns = run(workload.operations);
            if round > 0 {
                samples[contender].push(ns);
            }
        }
    }
    samples
}
