//! `indexer FOLDER [--threads N] [--seconds S]`: a real program under real churn, to be inspected.
//!
//! Builds an inverted index of all text files below the folder with several threads and then drops
//! and re-adds documents for as long as it runs; every line on standard input is a query. lfalloc
//! is its allocator; look at it from another terminal with `lfinspect indexer`.

use lfalloc_examples::index::churn::Churn;
use lfalloc_examples::index::corpus::{Corpus, MAX_FILE_BYTES};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: lfalloc::LfAlloc = lfalloc::LfAlloc;

const USAGE: &str = "usage: indexer FOLDER [--threads N] [--seconds S]
  FOLDER       the folder whose text files are indexed, with all below it
  --threads N  indexing threads, 1 to 256 (4, or the number of CPUs if that is more)
  --seconds S  end after so many seconds (otherwise it runs until it is killed)
Every line on standard input is a query: the documents that have all its words.";
const STATUS_INTERVAL: Duration = Duration::from_secs(2);
const HITS_SHOWN: usize = 5;
const MAX_THREADS: usize = 256;

struct Arguments {
    folder: PathBuf,
    threads: usize,
    runtime: Option<Duration>,
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args_os().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            // Nobody to tell if the reader of the help has gone.
            let _ = writeln!(io::stdout(), "{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("indexer: {message}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    // The program is worth running without its agent, too.
    let _agent = lfalloc_agent::start()
        .inspect_err(|error| eprintln!("indexer: runs without an agent: {error}"));
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("indexer: {message}");
            ExitCode::FAILURE
        }
    }
}

/// `None` if help was asked for.
fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Option<Arguments>, String> {
    let mut folder = None;
    let mut threads = thread::available_parallelism().map_or(4, |cpus| cpus.get().max(4));
    let mut runtime = None;
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let mut number = |bound: u64| -> Result<u64, String> {
            let value = arguments.next().and_then(|value| value.to_str()?.parse().ok());
            value.filter(|value| (1..=bound).contains(value)).ok_or_else(|| {
                format!("{} needs a number from 1 to {bound}", argument.to_string_lossy())
            })
        };
        match argument.to_str() {
            Some("--threads") => threads = number(MAX_THREADS as u64)? as usize,
            Some("--seconds") => {
                runtime = Some(Duration::from_secs(number(u64::from(u32::MAX))?));
            }
            Some("--help" | "-h") => return Ok(None),
            Some(option) if option.starts_with('-') => {
                return Err(format!("there is no option {option}"));
            }
            _ if folder.is_some() => return Err("one folder at a time".to_owned()),
            _ => folder = Some(PathBuf::from(argument)),
        }
    }
    let folder = folder.ok_or("which folder?")?;
    Ok(Some(Arguments { folder, threads: threads.min(MAX_THREADS), runtime }))
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let folder = arguments.folder.display();
    let corpus = Corpus::below(&arguments.folder)
        .map_err(|error| format!("cannot read the folder {folder}: {error}"))?;
    let (unreadable, links) = (corpus.unreadable, corpus.links);
    let churn = Churn::new(corpus.files)
        .map(Arc::new)
        .map_err(|files| format!("{files} files below {folder} are too many"))?;
    churn.counters.unreadable.fetch_add(unreadable as u64, Relaxed);

    // Detached: it may wait for a line for ever, and the end of the program does not wait for it.
    let answering = Arc::clone(&churn);
    spawn("queries", move || answer_queries(&answering))?;
    let (ended, end) = channel();
    let (running, threads) = (Arc::clone(&churn), arguments.threads);
    spawn("reader", move || {
        // The receiver is there until it has this message.
        let _ = ended.send(running.run(threads));
    })?;

    if !report_until_end(&churn, arguments.runtime, &end)? {
        let skipped = skipped(&churn);
        return Err(format!(
            "no text files below {folder} ({skipped}, {links} symbolic links not followed)"
        ));
    }
    let documents = churn.index.ids().filter(|&id| churn.index.remove(id)).count();
    let left = churn.index.size();
    if left.terms != 0 || left.postings != 0 {
        return Err(format!("the index is wrong: {left:?} left after the last document"));
    }
    // As with the help: the work is done, whether or not anyone still reads.
    let _ = writeln!(io::stdout(), "ended: {documents} documents dropped, nothing left");
    Ok(())
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(body);
    spawned.map(drop).map_err(|error| format!("cannot start a thread: {error}"))
}

/// Prints the status until the churn ends by itself, its time is up, or nobody reads the status any
/// more; returns what [`Churn::run`] returned.
fn report_until_end(
    churn: &Churn,
    runtime: Option<Duration>,
    end: &Receiver<bool>,
) -> Result<bool, String> {
    let panicked = || "an indexing thread has panicked".to_owned();
    let start = Instant::now();
    let (mut adds_before, mut then) = (0, start);
    loop {
        let left = runtime.map(|runtime| runtime.saturating_sub(start.elapsed()));
        match end.recv_timeout(left.map_or(STATUS_INTERVAL, |left| left.min(STATUS_INTERVAL))) {
            Ok(found_text) => return Ok(found_text),
            Err(RecvTimeoutError::Disconnected) => return Err(panicked()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let (adds, now) = (churn.counters.adds.load(Relaxed), Instant::now());
        let adds_per_s = (adds - adds_before) as f64 / (now - then).as_secs_f64();
        (adds_before, then) = (adds, now);
        let line = status_line(churn, now - start, adds_per_s);
        let unread = writeln!(io::stdout(), "{line}").is_err();
        if unread || runtime.is_some_and(|runtime| start.elapsed() >= runtime) {
            churn.stop();
            return end.recv().map_err(|_| panicked());
        }
    }
}

fn status_line(churn: &Churn, uptime: Duration, adds_per_s: f64) -> String {
    let counters = &churn.counters;
    // Drops first: an addition counted in between must not make the difference negative.
    let drops = counters.drops.load(Relaxed);
    let documents = counters.adds.load(Relaxed).saturating_sub(drops);
    let size = churn.index.size();
    format!(
        "{:>6.1} s  documents {documents}  terms {}  postings {}  adds/s {adds_per_s:.0}  \
         drops {drops}  text {} MiB  rounds {}  ({})",
        uptime.as_secs_f64(),
        size.terms,
        size.postings,
        counters.text_bytes.load(Relaxed) >> 20,
        counters.rounds.load(Relaxed),
        skipped(churn),
    )
}

fn skipped(churn: &Churn) -> String {
    let count = |counter: &AtomicU64| counter.load(Relaxed);
    let counters = &churn.counters;
    format!(
        "skipped: {} binary, {} above {} MiB, {} unreadable",
        count(&counters.binary),
        count(&counters.too_large),
        MAX_FILE_BYTES >> 20,
        count(&counters.unreadable),
    )
}

/// Answers every line of standard input until there are no more.
fn answer_queries(churn: &Churn) {
    let mut line = Vec::new();
    loop {
        // Reading a terminal from the background would stop the whole program.
        while io::stdin().is_terminal() && !in_foreground() {
            thread::sleep(STATUS_INTERVAL);
        }
        line.clear();
        // Bytes, since a line that is no UTF-8 is a query as well.
        match io::stdin().lock().read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if writeln!(io::stdout(), "{}", answer(churn, &String::from_utf8_lossy(&line))).is_err() {
            return;
        }
    }
}

fn answer(churn: &Churn, query: &str) -> String {
    let hits = churn.index.search(query);
    let mut answer = format!("{:?}: {} documents", query.trim(), hits.len());
    for hit in hits.iter().take(HITS_SHOWN) {
        // A document may have been dropped since it was found.
        let name = churn.index.name(hit.document);
        let name = name.as_deref().unwrap_or("(just dropped)");
        // Writing to a string cannot fail.
        let _ = write!(answer, "\n  {:>6} × {name}:{}", hit.occurrences, hit.line);
    }
    answer
}

/// Whether the terminal listens to this program; yes if that cannot be found out.
fn in_foreground() -> bool {
    // After the name in parentheses, which may itself hold spaces: state, parent, process group,
    // session, terminal, foreground process group of the terminal.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = fields.split_whitespace().collect();
    fields.get(2) == fields.get(5)
}

#[cfg(test)]
mod tests {
    //! Aim: the command line is understood or refused with a reason, and a run of the whole program
    //! ends as it should. Method: calls of the program's own functions, on real folders.

    use super::*;

    fn parsed(arguments: &str) -> Result<Option<Arguments>, String> {
        parse(arguments.split_whitespace().map(OsString::from))
    }

    fn refusal(arguments: &str) -> String {
        parsed(arguments).err().unwrap_or_default()
    }

    #[test]
    fn arguments_are_understood_in_any_order() {
        let arguments = parsed("--seconds 3 some/folder --threads 9").unwrap().unwrap();
        assert_eq!(arguments.folder, PathBuf::from("some/folder"));
        assert_eq!(arguments.threads, 9);
        assert_eq!(arguments.runtime, Some(Duration::from_secs(3)));
        let arguments = parsed("folder").unwrap().unwrap();
        assert!(arguments.threads >= 4 && arguments.runtime.is_none());
        assert!(parsed("--help").unwrap().is_none());
    }

    #[test]
    fn wrong_arguments_are_refused_with_the_reason() {
        assert_eq!(refusal(""), "which folder?");
        assert_eq!(refusal("a b"), "one folder at a time");
        assert_eq!(refusal("a --fast"), "there is no option --fast");
        for wrong in ["a --threads", "a --threads 0", "a --threads 257", "a --threads x"] {
            assert_eq!(refusal(wrong), "--threads needs a number from 1 to 256");
        }
        assert!(refusal("a --seconds -1").starts_with("--seconds needs a number"));
    }

    #[test]
    fn a_run_ends_in_time_and_leaves_nothing_or_says_what_is_wrong() {
        let root = tempfile::tempdir().unwrap();
        let run_on = |folder: PathBuf| {
            run(&Arguments { folder, threads: 4, runtime: Some(Duration::from_secs(1)) })
        };
        let missing = run_on(root.path().join("missing")).unwrap_err();
        assert!(missing.starts_with("cannot read the folder"), "{missing}");
        std::fs::write(root.path().join("binary"), [0]).unwrap();
        let no_text = run_on(root.path().to_owned()).unwrap_err();
        assert!(no_text.starts_with("no text files below"), "{no_text}");
        assert!(no_text.contains("skipped: 1 binary"), "{no_text}");
        std::fs::write(root.path().join("text"), "some text").unwrap();
        let start = Instant::now();
        assert_eq!(run_on(root.path().to_owned()), Ok(()));
        assert!(start.elapsed() >= Duration::from_secs(1));
    }
}
