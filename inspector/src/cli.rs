//! The command line: what is asked for, and which module answers it.
//!
//! | exit status | meaning |
//! |---|---|
//! | 0 | done; also when the reader of our output went away |
//! | 1 | failed; one line on standard error says what, why and what to do next |
//! | 2 | the command line was not understood |
//! | 3 | a condition was met: a denied lint, or one of `diff --fail-if` |
//! | any | of `run`: that of the program, 128 + n if signal n killed it; 126, 127: it could not be started |
//!
//! The terminal interface is started only if standard output is a terminal; otherwise the page of
//! `top --once` is printed.

#![allow(clippy::doc_markdown, reason = "the doc comments of arguments are their help")]

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::commands::SnapshotFormat;
use crate::failure::{Failure, Outcome, is_closed_pipe, to_stdout};
use crate::linting::Denied;
use crate::recording::segments::Keep;
use crate::target::{Choice, Selector};
use crate::{commands, diff, doctor, explain, lint, process, record, recorded, run, tui};

mod values;

use self::values::{parse_from, parse_rate, parse_seconds, parse_size, parse_speed};

/// What the program is called.
const NAME: &str = "lfinspect";

/// A terminal inspector for programs that run lfalloc.
///
/// Without a command it opens the terminal interface on PID|NAME; without that on the one program
/// that can be watched, or on the one you pick.
#[derive(Debug, Parser)]
#[command(name = NAME, version, max_term_width = 100)]
struct Arguments {
    /// Process id or name of the program to watch
    #[arg(value_name = "PID|NAME")]
    target: Option<String>,
    #[command(flatten)]
    stay: Stay,
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Flags of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Flags")]
pub struct Flags {
    /// Watch the program behind this socket instead of searching
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// States a second, 0.1 to 50
    #[arg(long, global = true, value_name = "HZ", default_value = "4", value_parser = parse_rate)]
    rate: f64,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
    /// Colours for a dark or a light background, or with high contrast
    #[arg(long, global = true, value_name = "NAME", default_value = "dark")]
    theme: ThemeChoice,
    /// Only ASCII characters
    #[arg(long, global = true)]
    ascii: bool,
    /// Leave the mouse to the terminal
    #[arg(long, global = true)]
    no_mouse: bool,
    /// Write a log of lfinspect itself; LFINSPECT_LOG or RUST_LOG filter it. Of `run`: what the
    /// program writes goes there instead
    #[arg(long, global = true, value_name = "FILE")]
    log: Option<PathBuf>,
}

/// What to do while there is no program to watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
pub struct Stay {
    /// Wait until the program appears
    #[arg(long)]
    pub(crate) wait: bool,
    /// When the program has ended, or its agent was stopped: wait for one of its name, and go on with that
    #[arg(long)]
    pub(crate) follow: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ColorChoice {
    /// As the terminal and NO_COLOR say
    Auto,
    /// Even if the terminal says otherwise
    Always,
    /// Bold, reverse and dim instead
    Never,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ThemeChoice {
    /// For dark backgrounds
    Dark,
    /// For light backgrounds
    Light,
    /// Bright and bold on black, nothing dim: for low vision and projectors
    HighContrast,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the programs that can be watched, and the reason for those that cannot
    Ls {
        /// One line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Open the terminal interface on a program
    Attach {
        /// Process id or name
        #[arg(value_name = "PID|NAME")]
        target: Option<String>,
        #[command(flatten)]
        stay: Stay,
    },
    /// Start a program with lfalloc preloaded, and watch it
    ///
    /// Under the interface the program has nothing to read, and what it writes goes to a file (--log
    /// FILE, else a temporary one), which `L` shows. Without a terminal, or with --headless, it has
    /// the terminal, and a report about its memory follows its end on standard error.
    ///
    /// The exit status is that of the program, 128 + n if signal n killed it; 127 or 126 if it could
    /// not be started.
    Run {
        /// Leave the terminal to the program, and report at its end
        #[arg(long)]
        headless: bool,
        /// The program and its arguments
        #[arg(value_name = "CMD", required = true, trailing_var_arg = true)]
        words: Vec<OsString>,
    },
    /// Print one page about a program; it is watched for a quarter of a second, for the rates
    Top {
        /// Process id or name, or a recording: its last state
        #[arg(value_name = "PID|NAME|FILE")]
        target: Option<String>,
        /// One page of text (this is also what happens without it)
        #[arg(long, conflicts_with = "json")]
        once: bool,
        /// One line of JSON: totals and classes
        #[arg(long)]
        json: bool,
    },
    /// Write everything about one instant, as JSON or as a recording of one state
    Snapshot {
        /// Process id or name, or a recording: its last state
        #[arg(value_name = "PID|NAME|FILE")]
        target: Option<String>,
        /// Write to this file, whole or not at all, instead of standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// JSON, but for a FILE.lfrec a recording
        #[arg(long, value_name = "FORMAT")]
        format: Option<SnapshotFormat>,
    },
    /// Watch a built-in program that walks through every state of a superblock
    #[cfg(feature = "demo")]
    Demo {
        /// Milliseconds between two steps
        #[arg(long, value_name = "MS", default_value_t = 400)]
        pace: u64,
        /// Walk at full speed without the interface; fails if an edge of the diagram was not seen
        #[arg(long)]
        once: bool,
    },
    /// Record what a program's agent sends, to be replayed
    Record {
        /// Process id or name
        #[arg(value_name = "PID|NAME")]
        target: Option<String>,
        /// The file to write; it must not exist yet
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Keep no more than this, such as 64M or 1G: at least the newest half of it, the older half in FILE.1
        #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = parse_size)]
        max_size: u64,
        /// End at --max-size, instead of dropping what is older
        #[arg(long)]
        stop_at_limit: bool,
        /// End after so many seconds
        #[arg(long = "for", value_name = "SECONDS", value_parser = parse_seconds)]
        seconds: Option<f64>,
    },
    /// Show a recording, also one that was cut off
    Replay {
        /// A recording
        file: PathBuf,
        /// Seconds of the recording in a second
        #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = parse_speed)]
        speed: f64,
        /// Begin so many seconds later
        #[arg(long, value_name = "SECONDS", default_value_t = 0.0, value_parser = parse_from)]
        from: f64,
    },
    /// Watch a program, or read a recording, and tell what is amiss; status 3 if a denied lint was found
    #[command(after_help = format!("Lints; each must last for 3 seconds:\n{}", lint::listed()))]
    Lint {
        /// Process id or name, or a recording: what was amiss at any time of it
        #[arg(value_name = "PID|NAME|FILE")]
        target: Option<String>,
        /// Fail with status 3 if this lint, or `all`, is found; may be given several times
        #[arg(long, value_name = "LINT")]
        deny: Vec<String>,
        /// How long to watch a program [default: 4]
        #[arg(long = "for", value_name = "SECONDS", value_parser = parse_seconds)]
        seconds: Option<f64>,
        /// One line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Compare two snapshots or recordings; fails with status 3 if a condition is met
    Diff {
        /// A snapshot, or a recording: its last state
        before: PathBuf,
        /// A later one; without it the first and the last state of the recording BEFORE are compared
        after: Option<PathBuf>,
        /// Fail with status 3 if this holds, such as 'external>30%', 'mapped>+10%', 'pinned>+100'
        #[arg(long, value_name = "CONDITION")]
        fail_if: Vec<String>,
    },
    /// Explain a figure or a word of the algorithm; without one, list them
    Explain {
        /// For example credits, external, PARTIAL, EXT%
        #[arg(value_name = "WORD")]
        words: Vec<String>,
    },
    /// Check what watching a program needs, and say what to do about what is missing
    Doctor {
        /// Process id or name
        #[arg(value_name = "PID|NAME")]
        target: Option<String>,
    },
    /// Print the completions of a shell: `lfinspect completions bash >> ~/.bash_completion`
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page: `lfinspect man | man -l -`
    Man {
        /// The page of this command
        command: Option<String>,
    },
    /// The program that `demo` watches
    #[cfg(feature = "demo")]
    #[command(hide = true)]
    DemoTarget {
        #[arg(long, default_value_t = 0)]
        pace: u64,
        /// Walks until it stops; for ever without
        #[arg(long)]
        rounds: Option<u32>,
        /// What it calls itself
        #[arg(long, default_value = "lfalloc-demo")]
        name: String,
    },
}

/// Runs lfinspect as the command line says.
#[must_use]
pub fn main() -> ExitCode {
    match start(Arguments::parse()) {
        Ok(status) => status,
        Err(report) if is_closed_pipe(&report) => ExitCode::SUCCESS,
        Err(report) => {
            let mut stderr = io::stderr().lock();
            // With standard error closed too there is nobody left to tell.
            let _ = match report.downcast_ref::<Failure>() {
                Some(failure) => writeln!(stderr, "lfinspect: {failure}"),
                None => writeln!(stderr, "lfinspect: {report:?}"),
            };
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: Arguments) -> Outcome<ExitCode> {
    let Arguments { target, stay, flags, command } = arguments;
    if let (Some(target), Some(_)) = (&target, &command) {
        usage(&format!("'{target}' stands before the command: name the program after it"));
    }
    if command.is_some() && stay != Stay::default() {
        usage("--wait and --follow stand before the command: `attach` takes them after it");
    }
    install_reports(&flags)?;
    if !matches!(command, Some(Command::Run { .. })) {
        // There the file is for what the program writes.
        start_log(&flags)?;
    }
    match command.unwrap_or(Command::Attach { target, stay }) {
        Command::Ls { json } => commands::list(&chosen(&flags, None), json),
        Command::Attach { target: None, stay: Stay { wait: true, .. } } => {
            usage("--wait needs the PID or NAME of the program to wait for")
        }
        Command::Attach { target, stay } => commands::attach(&flags, &chosen(&flags, target), stay),
        Command::Run { headless, words } => {
            if flags.socket.is_some() {
                usage("run watches the program that it starts: --socket has no place here");
            }
            run::run(&flags, &run::Request { words, headless, log: flags.log.clone() })
        }
        Command::Top { target, once: _, json } => match subject(&flags, target) {
            Subject::Recording(path) => recorded::top(&flags, &path, json),
            Subject::Program(choice) => commands::top(&flags, &choice, json),
        },
        Command::Snapshot { target, output, format } => {
            let output = output.as_deref();
            let format = SnapshotFormat::chosen(format, output);
            match subject(&flags, target) {
                Subject::Recording(path) => recorded::snapshot(&path, output, format),
                Subject::Program(choice) => {
                    commands::take_snapshot(&flags, &choice, output, format)
                }
            }
        }
        Command::Record { target, output, max_size, stop_at_limit, seconds } => {
            let time = seconds.map(std::time::Duration::from_secs_f64);
            let keep = if stop_at_limit { Keep::Oldest } else { Keep::Newest };
            let limits = record::Limits { bytes: max_size, keep, time };
            commands::record(&flags, &chosen(&flags, target), &output, limits)
        }
        Command::Replay { file, speed, from } => {
            record::replay(&flags, &file, speed, std::time::Duration::from_secs_f64(from))
        }
        Command::Lint { target, deny, seconds, json } => {
            let denied = Denied::parse(&deny).unwrap_or_else(|message| usage(&message));
            match (subject(&flags, target), seconds) {
                (Subject::Recording(path), None) => recorded::lint(&path, &denied, json),
                (Subject::Recording(_), Some(_)) => {
                    usage("--for says how long to watch a program; a recording is read whole")
                }
                (Subject::Program(choice), seconds) => {
                    let time = std::time::Duration::from_secs_f64(seconds.unwrap_or(LINT_SECONDS));
                    commands::lint(&flags, &choice, time, &denied, json)
                }
            }
        }
        Command::Diff { before, after, fail_if } => {
            let conditions: Result<Vec<_>, _> =
                fail_if.iter().map(|text| diff::Condition::parse(text)).collect();
            let conditions = conditions.unwrap_or_else(|message| usage(&message));
            diff::run(&before, after.as_deref(), &conditions)
        }
        Command::Explain { words } => explain::run(&words),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), NAME, &mut script);
            print(&script)
        }
        Command::Man { command } => print(&manual(command.as_deref())?),
        Command::Doctor { target } => doctor::run(&chosen(&flags, target)),
        #[cfg(feature = "demo")]
        Command::Demo { pace, once } => {
            if flags.socket.is_some() {
                usage("demo watches its own program: --socket has no place here");
            }
            crate::demo::run(&flags, std::time::Duration::from_millis(pace), once)
        }
        #[cfg(feature = "demo")]
        Command::DemoTarget { pace, rounds, name } => {
            Ok(crate::demo::target::run(&name, std::time::Duration::from_millis(pace), rounds))
        }
    }
}

fn print(text: &[u8]) -> Outcome<ExitCode> {
    to_stdout(|stdout| Ok(stdout.write_all(text)?))?;
    Ok(ExitCode::SUCCESS)
}

/// The manual page of a command, or of all.
fn manual(command: Option<&str>) -> Outcome<Vec<u8>> {
    let mut whole = Arguments::command();
    whole.build();
    let page = match command {
        None => whole,
        Some(name) => whole.find_subcommand(name).cloned().unwrap_or_else(|| {
            usage(&format!("there is no command '{name}': `lfinspect --help` lists them"))
        }),
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page).render(&mut text)?;
    Ok(text)
}

/// What a command is about that knows programs and recordings.
enum Subject {
    Program(Choice),
    Recording(PathBuf),
}

/// What is meant.
fn subject(flags: &Flags, target: Option<String>) -> Subject {
    match target {
        Some(target) if flags.socket.is_none() && recorded::is_meant(&target) => {
            Subject::Recording(target.into())
        }
        target => Subject::Program(chosen(flags, target)),
    }
}

/// Which program is meant; together with `--socket` that would be said twice.
fn chosen(flags: &Flags, target: Option<String>) -> Choice {
    match (target, &flags.socket) {
        (Some(target), None) if recorded::is_recording(Path::new(&target)) => usage(&format!(
            "'{0}' is a recording, and a program is meant: `lfinspect replay {0}` shows it",
            process::printable(&target)
        )),
        (Some(target), Some(_)) => {
            usage(&format!("--socket already says which program to watch: leave out '{target}'"))
        }
        (Some(target), None) => Choice::Selected(Selector::parse(&target)),
        (None, Some(path)) => Choice::Socket(path.clone()),
        (None, None) => Choice::Any,
    }
}

impl Flags {
    /// States a second.
    #[must_use]
    pub fn rate_hz(&self) -> f64 {
        self.rate
    }

    /// Only ASCII characters.
    #[must_use]
    pub fn ascii(&self) -> bool {
        self.ascii
    }

    /// What the terminal interface is to know.
    #[must_use]
    pub fn interface_options(&self) -> tui::Options {
        tui::Options {
            rate_hz: self.rate,
            color: match self.color {
                ColorChoice::Auto => tui::Color::Auto,
                ColorChoice::Always => tui::Color::Always,
                ColorChoice::Never => tui::Color::Never,
            },
            theme: match self.theme {
                ThemeChoice::Dark => tui::ThemeName::Dark,
                ThemeChoice::Light => tui::ThemeName::Light,
                ThemeChoice::HighContrast => tui::ThemeName::HighContrast,
            },
            ascii: self.ascii,
            mouse: !self.no_mouse,
            ..tui::Options::default()
        }
    }
}

/// How long `lint` watches a program: long enough for what has to last for 3 seconds.
const LINT_SECONDS: f64 = 4.0;
/// Ends the program with status 2.
fn usage(message: &str) -> ! {
    Arguments::command().error(ErrorKind::ArgumentConflict, message).exit()
}

/// How faults of our own are reported: in colours only where those are seen, and without a second
/// panic where standard error is a terminal that hung up.
fn install_reports(flags: &Flags) -> Outcome<()> {
    use color_eyre::config::{HookBuilder, Theme};
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_plain = match flags.color {
        ColorChoice::Auto => no_color || !io::stderr().is_terminal(),
        ColorChoice::Always => false,
        ColorChoice::Never => true,
    };
    let builder = HookBuilder::default();
    let builder = if is_plain { builder.theme(Theme::new()) } else { builder };
    let (panics, errors) = builder.try_into_hooks()?;
    errors.install()?;
    std::panic::set_hook(Box::new(move |info| {
        let _ = writeln!(io::stderr(), "{}", panics.panic_report(info));
    }));
    Ok(())
}

fn start_log(flags: &Flags) -> Outcome<()> {
    use tracing_subscriber::EnvFilter;
    let Some(path) = &flags.log else {
        return Ok(());
    };
    let file = File::options().create(true).append(true).open(path).map_err(|error| {
        Failure::new(format!("cannot write the log {}: {error}", process::printable_path(path)))
    })?;
    let variable =
        ["LFINSPECT_LOG", "RUST_LOG"].into_iter().find(|v| std::env::var_os(v).is_some());
    let filter = match variable {
        Some(name) => EnvFilter::try_from_env(name)
            .map_err(|error| Failure::new(format!("{name} is no filter for a log: {error}")))?,
        None => EnvFilter::new("info"),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(Mutex::new(file))
        .init();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "lfinspect starts");
    Ok(())
}

#[cfg(test)]
mod tests {
    //! Aim: the command line is what the help says it is.

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_word_that_is_no_command_is_a_program() {
        let arguments = Arguments::try_parse_from(["lfinspect", "indexer", "--rate", "2"]).unwrap();
        assert_eq!(arguments.target.as_deref(), Some("indexer"));
        assert!(arguments.command.is_none());
        assert!((arguments.flags.rate - 2.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_program_named_without_a_command_is_followed_and_waited_for_as_well() {
        let stay = |words: &[&str]| {
            let arguments = Arguments::try_parse_from(words).unwrap();
            match arguments.command {
                Some(Command::Attach { stay, .. }) => stay,
                _ => arguments.stay,
            }
        };
        let both = Stay { wait: true, follow: true };
        assert_eq!(stay(&["lfinspect", "indexer", "--follow", "--wait"]), both);
        assert_eq!(stay(&["lfinspect", "attach", "indexer", "--follow", "--wait"]), both);
        assert_eq!(stay(&["lfinspect"]), Stay::default());
    }

    #[test]
    fn flags_may_stand_before_and_after_the_command() {
        for words in
            [["lfinspect", "--ascii", "ls", "--json"], ["lfinspect", "ls", "--json", "--ascii"]]
        {
            let arguments = Arguments::try_parse_from(words).unwrap();
            assert!(arguments.flags.ascii);
            assert!(matches!(arguments.command, Some(Command::Ls { json: true })));
        }
    }

    #[test]
    fn rates_outside_of_the_range_are_refused() {
        for rate in ["0", "-1", "51", "NaN", "fast"] {
            let words = ["lfinspect", &format!("--rate={rate}")];
            assert_eq!(Arguments::try_parse_from(words).unwrap_err().exit_code(), 2, "{rate}");
        }
    }
}
