//! `freeze`: freezes and kills a thread at every instruction of the shipped library, and prints what that did to the others.
//!
//! ```text
//! freeze [--short] [--operation NAME|NAME…] [--library glibc|PATH] [--jobs N]
//! ```

use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lfalloc_verify::freeze::{self, Extent, Library, OPERATIONS, Row, Setting, target};
use lfalloc_verify::shipped;

/// A sample: about half a minute.
const SHORT: Extent = Extent { freeze_each: 61, kill_each: 157, deaths: 3 };
const FULL: Extent = Extent { freeze_each: 1, kill_each: 1, deaths: 64 };
/// Nobody waits for the victim: it is only a busy machine that may take so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Of allocators that are expected to wait: a moment's wait is over by then.
const OTHERS_PATIENCE: Duration = Duration::from_secs(3);

struct Options {
    extent: Extent,
    is_short: bool,
    /// Parts of the names of the operations, between bars.
    operation: String,
    /// Another allocator.
    library: Option<String>,
    jobs: usize,
}

fn options(mut arguments: impl Iterator<Item = String>) -> Option<Options> {
    let mut options =
        Options { extent: FULL, is_short: false, operation: String::new(), library: None, jobs: 1 };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--short" => (options.extent, options.is_short) = (SHORT, true),
            "--operation" => options.operation = arguments.next()?,
            "--library" => options.library = Some(arguments.next()?),
            "--jobs" => options.jobs = arguments.next()?.parse().ok()?,
            _ => return None,
        }
    }
    Some(options)
}

fn setting(options: &Options) -> Result<Setting, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let library = match options.library.as_deref() {
        None => Library::Own(shipped::library()?),
        Some("glibc") => Library::C,
        Some(path) => Library::at(path.into())?,
    };
    let patience = if matches!(library, Library::Own(_)) { PATIENCE } else { OTHERS_PATIENCE };
    Ok(Setting { program, library, patience })
}

fn line(name: &str, row: &Row) -> String {
    let Row { instructions, in_sequences, frozen, killed, missed, calls, in_hand, .. } = row;
    let (stranded, bound) = (row.stranded.0 >> 10, row.bound >> 10);
    let (place, average) = (&row.stranded.1, row.average >> 10);
    let longest = row.longest.as_millis();
    let verdict = if row.findings.is_empty() { "all went on" } else { "**failed**" };
    format!(
        "| {name} | {instructions} | {in_sequences} | {frozen} | {killed} | {missed} | {calls} | {longest} | {stranded} ({bound}) | {average} | {in_hand} | {place} | {verdict} |"
    )
}

const HEAD: &str = "\
| operation | instructions | of these in sequences | frozen | killed | missed | the others' calls meanwhile | longest battery, ms | stranded at most, KiB (bound) | on an average of many | in hand | where | verdict |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|---|";

fn run(options: &Options, setting: &Setting) -> ExitCode {
    let wanted: Vec<usize> = (0..OPERATIONS.len())
        .filter(|number| {
            options.operation.split('|').any(|part| OPERATIONS[*number].name.contains(part))
        })
        .filter(|number| !(options.is_short && OPERATIONS[*number].is_long))
        .collect();
    let (next, is_bad, begun) = (AtomicUsize::new(0), AtomicBool::new(false), Instant::now());
    // Each of these threads traces targets of its own.
    let work = || {
        let mut rows = Vec::new();
        while let Some(&number) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
            let row = freeze::examine(setting, number, options.extent);
            let name = OPERATIONS[number].name;
            let mut said = format!(
                "{:4} s  {name}: frozen {}, killed {}",
                begun.elapsed().as_secs(),
                row.frozen,
                row.killed
            );
            for finding in row.findings.iter().take(5) {
                let _ = write!(said, "\n        {finding}");
            }
            eprintln!("{said}");
            is_bad.fetch_or(!row.findings.is_empty(), Ordering::Relaxed);
            rows.push((number, row));
        }
        rows
    };
    let mut rows: Vec<(usize, Row)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..options.jobs.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().filter_map(|worker| worker.join().ok()).flatten().collect()
    });
    rows.sort_by_key(|(number, _)| *number);
    println!("{HEAD}");
    let mut sum = Row::default();
    for (number, row) in &rows {
        println!("{}", line(OPERATIONS[*number].name, row));
        sum.frozen += row.frozen;
        sum.killed += row.killed;
        sum.calls += row.calls;
        sum.longest = sum.longest.max(row.longest);
    }
    println!(
        "\n{} operations, frozen {} times, killed {} times; the others made {} calls meanwhile. {} s.",
        rows.len(),
        sum.frozen,
        sum.killed,
        sum.calls,
        begun.elapsed().as_secs()
    );
    // A worker that was lost has lost its rows.
    let is_whole = rows.len() == wanted.len() && !wanted.is_empty();
    if is_bad.into_inner() || !is_whole { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|first| first == target::FLAG).is_some() {
        return target::run(arguments);
    }
    let Some(options) = options(arguments) else {
        eprintln!("freeze [--short] [--operation NAME|NAME…] [--library glibc|PATH] [--jobs N]");
        return ExitCode::from(2);
    };
    match setting(&options) {
        Ok(setting) => run(&options, &setting),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
