//! The measurements: a process each, in turn.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lfalloc_bench::measured::Measured;

use super::results::{Results, Row};

/// A process that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// What runs for one of the columns.
#[derive(Clone, Debug)]
pub(super) struct Contestant {
    /// As in the tables.
    pub(super) name: String,
    /// Its arguments are a workload's name, milliseconds, and the last one.
    pub(super) program: PathBuf,
    pub(super) last: OsString,
    /// What is set in the environment of its processes.
    pub(super) environment: Vec<(&'static str, OsString)>,
}

/// Measures every workload with every contestant, and adds a row for each to the results; tells on standard error how far it is.
///
/// # Errors
/// When none has measured anything.
pub(crate) fn measure(
    contestants: &[Contestant],
    workloads: &[&str],
    results: &mut Results,
) -> Result<(), String> {
    let start = Instant::now();
    for (number, workload) in workloads.iter().enumerate() {
        let mut cells: Vec<Vec<Measured>> = vec![Vec::new(); contestants.len()];
        let mut has_failed = vec![false; contestants.len()];
        for round in 0..results.rounds {
            for place in 0..contestants.len() {
                let column = (place + round) % contestants.len();
                if has_failed[column] {
                    continue;
                }
                match process(&contestants[column], workload, results.milliseconds) {
                    Ok(measured) => cells[column].push(measured),
                    Err(message) => {
                        // Rounds are compared one by one: half of a column would be compared with the wrong ones.
                        has_failed[column] = true;
                        cells[column].clear();
                        let failure =
                            format!("{}, {workload}: {message}", contestants[column].name);
                        eprintln!("{failure}");
                        results.failures.push(failure);
                    }
                }
            }
        }
        let row = Row { workload: (*workload).to_owned(), cells };
        let told: Vec<_> = contestants
            .iter()
            .enumerate()
            .map(|(column, contestant)| {
                format!("{} {:.1}", contestant.name, row.ns(column).median())
            })
            .collect();
        eprintln!(
            "{:4.0} s  {}/{} {workload}: {}",
            start.elapsed().as_secs_f64(),
            number + 1,
            workloads.len(),
            told.join(", ")
        );
        results.rows.push(row);
    }
    let is_empty = results.rows.iter().all(|row| row.cells.iter().all(Vec::is_empty));
    if is_empty { Err("nothing was measured".to_owned()) } else { Ok(()) }
}

/// Runs one process and reads what it says.
fn process(contestant: &Contestant, workload: &str, milliseconds: u64) -> Result<Measured, String> {
    let Contestant { program, last, environment, .. } = contestant;
    let mut child = Command::new(program)
        .args([workload, &milliseconds.to_string()])
        .arg(last)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let start = Instant::now();
    // What it says fits into the pipes: it need not be read meanwhile.
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if start.elapsed() > LONGEST => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("took longer than {} s", LONGEST.as_secs()));
            }
            Ok(None) => std::thread::sleep(LOOK_EVERY),
            Err(error) => return Err(error.to_string()),
        }
    };
    let (mut told, mut complaint) = (String::new(), String::new());
    if let (Some(mut stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) {
        // What is not text is no measurement, which is told below.
        let _ = stdout.read_to_string(&mut told);
        let _ = stderr.read_to_string(&mut complaint);
    }
    if !status.success() {
        let complaint = complaint.lines().next().unwrap_or_default();
        return Err(format!("{status} {complaint}"));
    }
    serde_json::from_str(&told).map_err(|error| format!("said {told:?}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(script: &str) -> Result<Measured, String> {
        let folder = std::env::temp_dir().join(format!("lfalloc-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let program = folder.join("program");
        std::fs::write(&program, script).unwrap();
        let contestant = Contestant {
            name: "sh".to_owned(),
            program: "/bin/sh".into(),
            last: folder.clone().into(),
            environment: vec![("WORD", "memory".into())],
        };
        let measured = process(&contestant, program.to_str().unwrap(), 1);
        std::fs::remove_dir_all(&folder).unwrap();
        measured
    }

    /// Aim: whatever a program does wrong is told, and what it measured is read. Method: scripts in its place.
    #[test]
    fn programs_are_read() {
        let memory = r#"{"start":1,"peak":2,"held":2,"live":0,"freed":1,"purged":null}"#;
        let line = format!(
            r#"{{"ns":5.5,"least_ns":5.0,"rounds":3,"operations":9,"memory":{memory},"latency_ns":null}}"#
        );
        let measured = said(&format!("echo '{line}'")).unwrap();
        assert_eq!((measured.operations, measured.memory.peak), (9, 2));
        assert!(said("echo text").unwrap_err().contains("said \"text"));
        assert!(said("echo no $WORD >&2; exit 3").unwrap_err().contains("no memory"));
        assert!(said("kill -9 $$").unwrap_err().contains("signal"));
    }
}
