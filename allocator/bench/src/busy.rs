//! `busy`: a program to be watched, which holds very many superblocks and works as fast as it can.
//!
//! It does the same whether or not somebody looks on: of two runs, one with a viewer attached, the
//! difference is what looking costs the program. When it ends it prints one line of JSON.

use std::error::Error;
use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::churn::{Churn, SUPERBLOCK_BYTES};
use crate::snapshot::resident_bytes;

/// What it holds, and who tells it to end.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    pub(crate) superblocks: usize,
    pub(crate) threads: usize,
    /// How long, unless it is counted.
    pub(crate) seconds: usize,
    /// Where its socket is, if not where those of programs usually are.
    pub(crate) directory: Option<PathBuf>,
    /// Whether each line of its input is answered by what was done so far, and the end of it ends the program.
    pub(crate) is_counted: bool,
}

/// Holds superblocks and replaces objects in them.
pub(crate) fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let mut agent = lfalloc_agent::Options::new();
    if let Some(directory) = &options.directory {
        agent = agent.directory(directory);
    }
    let agent = agent.start()?;
    let churn = Churn::start(options.superblocks, options.threads);
    let superblocks = lfalloc::observe::totals().superblock_bytes / SUPERBLOCK_BYTES as i64;
    let resident = resident_bytes();
    let mut out = std::io::stdout();
    if options.is_counted {
        writeln!(out, "{superblocks} {}", agent.socket_path().display())?;
        for line in std::io::stdin().lock().lines() {
            line?;
            writeln!(out, "{} {}", churn.operations(), agent_seconds())?;
        }
        return Ok(());
    }
    // Told before it begins, so that a viewer can attach.
    eprintln!(
        "pid {}, {}: busy for {} s",
        std::process::id(),
        agent.socket_path().display(),
        options.seconds
    );
    let (start, before) = (Instant::now(), churn.operations());
    thread::sleep(Duration::from_secs(options.seconds as u64));
    let (operations, elapsed) = (churn.operations() - before, start.elapsed().as_secs_f64());
    writeln!(
        out,
        "{{\"superblocks\":{superblocks},\"threads\":{},\"seconds\":{elapsed:.3},\"operations\":{operations},\
         \"operations_per_second\":{:.0},\"resident_bytes\":{}}}",
        options.threads,
        operations as f64 / elapsed,
        resident.map_or_else(|| "null".to_owned(), |bytes| bytes.to_string()),
    )?;
    Ok(())
}

/// Processor time of this process's agent.
fn agent_seconds() -> f64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return f64::NAN };
    let is_agent = |path: &PathBuf| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "lfalloc-agent")
    };
    let agents = tasks.flatten().map(|task| task.path()).filter(is_agent);
    agents.map(|path| schedule_ns(&path)).sum::<u64>() as f64 / 1e9
}

/// Time on a processor, the first number of schedstat.
pub(crate) fn schedule_ns(task: &Path) -> u64 {
    let text = std::fs::read_to_string(task.join("schedstat")).unwrap_or_default();
    text.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(0)
}
