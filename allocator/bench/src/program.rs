//! The whole of a contender's program: one workload, measured once.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::measured::{Latency, Measured, Memory};
use crate::process::{peak_resident_bytes, resident_bytes};
use crate::statistics::Samples;
use crate::workload::{self, Setting, Workload};

/// Rounds that are measured, if there is time for them.
const ROUNDS: u32 = 15;
/// Rounds that are measured in any case.
const LEAST_ROUNDS: usize = 3;

/// Runs the workload that the command line names and prints what it measured, as a line of JSON.
///
/// The command line is `WORKLOAD MILLISECONDS FOLDER`. `name` is the allocator's, and `purge` makes it give back what it can.
#[must_use]
pub fn contender(name: &str, purge: Option<fn()>) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments, purge) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{name}: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String], purge: Option<fn()>) -> Result<String, String> {
    let [wanted, milliseconds, files] = arguments else {
        return Err("the arguments are WORKLOAD MILLISECONDS FOLDER".to_owned());
    };
    let milliseconds: u64 = milliseconds.parse().map_err(|_| "no number of milliseconds")?;
    let workload =
        workload::named(wanted).ok_or_else(|| format!("there is no workload {wanted}"))?;
    let setting = Setting { divisor: 1, files: PathBuf::from(files) };
    let measured = measure(&workload, &setting, Duration::from_millis(milliseconds), purge)?;
    serde_json::to_string(&measured).map_err(|error| error.to_string())
}

/// Measures a workload for about as long as `time`.
fn measure(
    workload: &Workload,
    setting: &Setting,
    time: Duration,
    purge: Option<fn()>,
) -> Result<Measured, String> {
    let mut memory = Memory { start: resident_bytes(), ..Memory::default() };
    let mut work = workload.start(setting)?;
    let round = time / (ROUNDS + 2);
    // Warms up, too: the last of these rounds is as long as those that count. First rounds may be slow, with pages that are
    // touched for the first time: so it takes a while in any case.
    let mut operations = work.least_operations();
    let mut warmed_up = Duration::ZERO;
    loop {
        let elapsed = work.round(operations).elapsed;
        warmed_up += elapsed;
        if elapsed * 2 < round {
            let factor = round.as_nanos() / elapsed.as_nanos().max(1);
            operations *= factor.clamp(2, 10) as u64;
        } else if warmed_up >= time / 3 {
            break;
        }
    }
    // What the warm-up took is not told.
    let _ = work.latencies();
    let mut ns = Samples::default();
    let (mut total, mut elapsed) = (0, Duration::ZERO);
    for number in 0..ROUNDS as usize {
        if number >= LEAST_ROUNDS && elapsed > time {
            break;
        }
        let done = work.round(operations);
        ns.push(done.ns());
        total += done.operations;
        elapsed += done.elapsed;
    }
    let latency_ns = work.latencies().map(|all| Latency {
        p50: all.value_at_quantile(0.5),
        p99: all.value_at_quantile(0.99),
        p999: all.value_at_quantile(0.999),
        max: all.max(),
    });
    memory.live = work.live_bytes();
    memory.held = resident_bytes();
    drop(work);
    memory.freed = resident_bytes();
    memory.purged = purge.map(|purge| {
        purge();
        resident_bytes()
    });
    // The kernel notes its peak now and then only.
    memory.peak = peak_resident_bytes().max(memory.held);
    Ok(Measured {
        ns: ns.median(),
        least_ns: ns.min(),
        rounds: ns.len(),
        operations: total,
        memory,
        latency_ns,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split('|').map(str::to_owned).collect()
    }

    /// Aim: the line that is printed can be read again and is whole. Method: a short run on lfalloc with its purge.
    #[test]
    fn a_measurement_is_told() {
        let line = run(&words("oversubscribed 16|2|/"), Some(|| _ = lfalloc::LfAlloc.purge()));
        let measured: Measured = serde_json::from_str(&line.unwrap()).unwrap();
        assert!(measured.ns > 0.0 && measured.least_ns <= measured.ns, "{measured:?}");
        assert!(measured.rounds >= LEAST_ROUNDS && measured.operations > 0, "{measured:?}");
        let memory = measured.memory;
        assert!(memory.live > 0 && memory.purged.is_some(), "{memory:?}");
        assert!(memory.peak >= memory.start && memory.start > 0, "{memory:?}");
        let latency = measured.latency_ns.unwrap();
        assert!(latency.p50 > 0 && latency.p50 <= latency.p99, "{latency:?}");
        assert!(latency.p99 <= latency.p999 && latency.p999 <= latency.max, "{latency:?}");
    }

    /// Aim: mistakes are told. Method: by hand.
    #[test]
    fn mistakes_are_told() {
        for wrong in ["", "pair 64 B|2", "pair 65 B|2|/", "pair 64 B|x|/", "index|2|/nowhere"] {
            assert!(run(&words(wrong), None).is_err(), "{wrong}");
        }
    }
}
