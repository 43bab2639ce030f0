//! What it costs to be on one's guard: workloads of the benchmark (`allocator/bench/c`) on everybody in turn.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::contender::Contender;
use super::{Folder, c_files, compile};

/// A pair of calls, the same with many blocks in between, and a program's mix; by one thread and by two.
const WORKLOADS: [&str; 5] =
    ["pair 64 B", "FIFO 1000", "churn 10k", "churn 10k, 2 threads", "hand-over 1:1"];
const ROUNDS: usize = 5;
const MILLISECONDS: &str = "100";

/// Nanoseconds an operation on each contender, medians of rounds in which everybody has his turn; those that are guarded also as a
/// multiple of what they are without, the median of what each round says. As a table in Markdown.
///
/// # Errors
/// If the workloads do not compile or run.
pub fn table(on: &[Contender]) -> Result<String, String> {
    let folder = Folder::new()?;
    let program = folder.path().join("workloads");
    let mut compiler = Command::new("gcc");
    compiler.args(["-O2", "-pthread", "-o"]).arg(&program);
    compiler.args(c_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/c"))?).arg("-ldl");
    compile(&mut compiler)?;
    let mut text = "| ns |".to_owned();
    for workload in WORKLOADS {
        let _ = write!(text, " {workload} |");
    }
    let _ = write!(text, "\n|---|{}", "---:|".repeat(WORKLOADS.len()));
    let mut times = vec![vec![Vec::new(); WORKLOADS.len()]; on.len()];
    for _ in 0..ROUNDS {
        for (place, workload) in WORKLOADS.iter().enumerate() {
            for (contender, times) in on.iter().zip(&mut times) {
                if let Some(times) = times.get_mut(place) {
                    times.push(measure(&program, workload, contender)?);
                }
            }
        }
    }
    for (contender, own) in on.iter().zip(&times) {
        let _ = write!(text, "\n| {} |", contender.name);
        let bare = on.iter().position(|other| Some(other.name) == contender.guards);
        for (place, own) in own.iter().enumerate() {
            let _ = write!(text, " {:.1}", median(own.clone()));
            if let Some(bare) = bare.and_then(|bare| times.get(bare)?.get(place)) {
                let ratios = own.iter().zip(bare).map(|(own, bare)| own / bare).collect();
                let _ = write!(text, " ({:.2} ×)", median(ratios));
            }
            text.push_str(" |");
        }
    }
    text.push('\n');
    Ok(text)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

fn measure(program: &Path, workload: &str, on: &Contender) -> Result<f64, String> {
    let mut command = Command::new(program);
    command.args([workload, MILLISECONDS]).arg(on.library());
    on.prepare(&mut command);
    let output = command.output().map_err(|error| error.to_string())?;
    let line: Option<Value> = serde_json::from_slice(&output.stdout).ok();
    line.and_then(|line| line["ns"].as_f64()).ok_or_else(|| {
        format!("{workload} on {}: {}", on.name, String::from_utf8_lossy(&output.stderr).trim())
    })
}
