//! `lfinspect run -- CMD`: starts a program with lfalloc preloaded, and watches it.
//!
//! ```text
//!   library ─► program ──(LD_PRELOAD, LFALLOC_AGENT)──► its agent's socket
//!                │ ▲                                        │
//!          status│ │signals                          source ◄┘
//!                ▼ │                                    │
//!              the interface, or a report at the end ◄──┘
//! ```
//!
//! | | with the interface | without (`--headless`, or no terminal) |
//! |---|---|---|
//! | CMD's input and output | none; a file, shown behind `L` | ours |
//! | CMD's session | its own | ours |
//! | SIGINT | ends us, and CMD as SIGTERM | CMD's alone |
//! | SIGTERM, SIGHUP | end us, and go to CMD | go to CMD |
//! | we end | when the person leaves | when CMD does |
//!
//! The exit status is CMD's once it has ended; 127 or 126 where it could not be started.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGTERM};

use crate::cli::Flags;
use crate::failure::{Failure, Outcome, to_stdout};
use crate::process;
use crate::tui::{self, ExitStatus};

mod headless;
pub mod library;
mod output;
pub mod program;
pub(crate) mod reason;
mod source;

use self::output::Output;
use self::program::{End, Program, Start};
use self::source::LaunchedSource;

/// The status of a program that is not there, and of one that cannot be started.
const NOT_FOUND: u8 = 127;
const NOT_STARTED: u8 = 126;
/// How long a program has to end after a signal that ends us.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is to be started.
#[derive(Debug)]
pub(crate) struct Request {
    /// The program and its arguments.
    pub(crate) words: Vec<OsString>,
    /// Whether the interface is not wanted.
    pub(crate) headless: bool,
    /// Where the program's output goes.
    pub(crate) log: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(flags: &Flags, request: &Request) -> Outcome<ExitCode> {
    let library = library::find()?;
    let preload = library::preload(&library, std::env::var_os(library::PRELOAD))?;
    let start = Start { words: &request.words, preload: &preload, output: None, apart: false };
    if request.headless || !io::stdout().is_terminal() {
        in_the_terminal(flags, request, start)
    } else {
        with_interface(flags, request, start)
    }
}

fn in_the_terminal(flags: &Flags, request: &Request, start: Start<'_>) -> Outcome<ExitCode> {
    let output = request.log.as_deref().map(|path| Output::create(Some(path))).transpose()?;
    let passing = headless::Passing::new()?;
    let program = match begin(&Start { output: output.as_ref().map(Output::file), ..start }) {
        Ok(program) => program,
        Err(status) => return Ok(status),
    };
    let _passes = passing.to(&program)?;
    let end = headless::watch(&program, flags.rate_hz(), flags.ascii());
    Ok(end.code().into())
}

fn with_interface(flags: &Flags, request: &Request, start: Start<'_>) -> Outcome<ExitCode> {
    let output = Output::create(request.log.as_deref())?;
    // Before there is a program that would outlive us.
    let signals = tui::take_signals()?;
    let program = match begin(&Start { output: Some(output.file()), apart: true, ..start }) {
        Ok(program) => program,
        Err(status) => {
            output.remove();
            return Ok(status);
        }
    };
    let source = LaunchedSource::new(Arc::clone(&program), flags.rate_hz());
    let seen = source.seen();
    let launched = tui::Launch {
        program: Arc::clone(&program),
        output: output.path().to_owned(),
        output_from: output.before(),
    };
    let left = tui::run_launched(Box::new(source), flags.interface_options(), launched, signals);
    if left.is_err() {
        // Nobody has seen anything of it, and nobody will.
        program.signal(SIGTERM);
        if program.wait_for(PATIENCE).is_some() {
            output.remove();
        }
    }
    finish(&program, &output, left?, seen.load(Ordering::Relaxed))
}

/// Starts the program; the exit status if it cannot be.
fn begin(start: &Start<'_>) -> Result<Arc<Program>, ExitCode> {
    Program::start(start).map_err(|error| {
        let word = start.words.first().cloned().unwrap_or_default();
        let word = process::printable(&word.to_string_lossy());
        let reason = error.to_string();
        // The number says nothing that the words do not.
        let reason = reason.split(" (os error").next().unwrap_or_default();
        tell(&format!("cannot start '{word}': {reason}"));
        let is_absent = error.kind() == io::ErrorKind::NotFound;
        ExitCode::from(if is_absent { NOT_FOUND } else { NOT_STARTED })
    })
}

/// After the interface: what is left to be said, and the exit status.
fn finish(
    program: &Arc<Program>,
    output: &Output,
    left: ExitStatus,
    was_seen: bool,
) -> Outcome<ExitCode> {
    let end = match left {
        // The signal has been passed on.
        ExitStatus::Signal(_) => program.wait_for(PATIENCE),
        ExitStatus::Done | ExitStatus::NeverConnected if program.end().is_none() => {
            // Nobody left: the terminal went away, which a program that it runs is told by this signal.
            program.signal(SIGHUP);
            program.wait_for(PATIENCE)
        }
        _ => program.end(),
    };
    if let Some(end) = end {
        return ended(program, output, end, was_seen);
    }
    if left == ExitStatus::Detached {
        detached(program, output)?;
    } else {
        tell(&format!("{}; its output goes to {}", runs_on(program), written(output)));
    }
    Ok(left.into())
}

fn ended(program: &Program, output: &Output, end: End, was_seen: bool) -> Outcome<ExitCode> {
    let passed = if was_seen { Ok(()) } else { to_stdout(|stdout| Ok(output.pass_on(stdout)?)) };
    output.remove();
    if end.was_killed() {
        tell(&format!("pid {} ({}) {}", program.pid(), program.name(), end.words()));
    }
    passed?;
    Ok(end.code().into())
}

fn detached(program: &Program, output: &Output) -> Outcome<()> {
    to_stdout(|stdout| {
        Ok(writeln!(
            stdout,
            "{}; watch it again with `lfinspect attach {}`; its output goes to {}",
            runs_on(program),
            program.pid(),
            written(output)
        )?)
    })
}

fn runs_on(program: &Program) -> String {
    format!("pid {} ({}) runs on", program.pid(), program.name())
}

fn written(output: &Output) -> String {
    process::printable_path(output.path())
}

/// A line on standard error, where somebody may read it.
fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{}", Failure::new(format!("lfinspect: {line}")));
}
