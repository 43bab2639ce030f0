//! The command line: what is asked for, and which module answers it.
//!
//! | exit status | meaning |
//! |---|---|
//! | 0 | done; also when the reader of our output went away |
//! | 1 | failed; one line on standard error says what, why and what to do next |
//! | 2 | the command line was not understood |
//! | 3 | a condition was met: a denied lint, or one of `diff --fail-if` |
//!
//! The terminal interface is started only if standard output is a terminal; otherwise the page of
//! `top --once` is printed.

#![allow(clippy::doc_markdown, reason = "the doc comments of arguments are their help")]

use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::failure::{Failure, Outcome, is_closed_pipe};
use crate::linting::Denied;
use crate::target::{Choice, Selector};
use crate::{commands, diff, doctor, explain, lint, process, record, tui};

/// A terminal inspector for programs that run lfalloc.
///
/// Without a command it opens the terminal interface on PID|NAME; without that on the one program
/// that can be watched, or on the one you pick.
#[derive(Debug, Parser)]
#[command(name = "lfinspect", version, max_term_width = 100)]
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
    /// Write a log of lfinspect itself; LFINSPECT_LOG or RUST_LOG filter it
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
    /// Print one page about a program; it is watched for a quarter of a second, for the rates
    Top {
        /// Process id or name
        #[arg(value_name = "PID|NAME")]
        target: Option<String>,
        /// One page of text (this is also what happens without it)
        #[arg(long, conflicts_with = "json")]
        once: bool,
        /// One line of JSON: totals and classes
        #[arg(long)]
        json: bool,
    },
    /// Write everything about one instant as JSON
    Snapshot {
        /// Process id or name
        #[arg(value_name = "PID|NAME")]
        target: Option<String>,
        /// Write to this file, whole or not at all, instead of standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
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
        /// End before the file becomes larger than this, such as 64M or 1G
        #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = parse_size)]
        max_size: u64,
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
    },
    /// Watch a program and tell what is amiss; fails with status 3 if a denied lint was found
    #[command(after_help = format!("Lints; each must last for 3 seconds:\n{}", lint::listed()))]
    Lint {
        /// Process id or name
        #[arg(value_name = "PID|NAME")]
        target: Option<String>,
        /// Fail with status 3 if this lint, or `all`, is found; may be given several times
        #[arg(long, value_name = "LINT")]
        deny: Vec<String>,
        /// How long to watch; a finding must last for 3 seconds
        #[arg(long = "for", value_name = "SECONDS", default_value_t = 4.0, value_parser = parse_seconds)]
        seconds: f64,
        /// One line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Compare two snapshots; fails with status 3 if a condition is met
    Diff {
        /// A snapshot
        before: PathBuf,
        /// A later one
        after: PathBuf,
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
    start_log(&flags)?;
    match command.unwrap_or(Command::Attach { target, stay }) {
        Command::Ls { json } => commands::list(&chosen(&flags, None), json),
        Command::Attach { target: None, stay: Stay { wait: true, .. } } => {
            usage("--wait needs the PID or NAME of the program to wait for")
        }
        Command::Attach { target, stay } => commands::attach(&flags, &chosen(&flags, target), stay),
        Command::Top { target, once: _, json } => {
            commands::top(&flags, &chosen(&flags, target), json)
        }
        Command::Snapshot { target, output } => {
            commands::take_snapshot(&flags, &chosen(&flags, target), output.as_deref())
        }
        Command::Record { target, output, max_size, seconds } => {
            let time = seconds.map(std::time::Duration::from_secs_f64);
            let limits = record::Limits { bytes: max_size, time };
            commands::record(&flags, &chosen(&flags, target), &output, limits)
        }
        Command::Replay { file, speed } => record::replay(&flags, &file, speed),
        Command::Lint { target, deny, seconds, json } => {
            let denied = Denied::parse(&deny).unwrap_or_else(|message| usage(&message));
            let time = std::time::Duration::from_secs_f64(seconds);
            commands::lint(&flags, &chosen(&flags, target), time, &denied, json)
        }
        Command::Diff { before, after, fail_if } => {
            let conditions: Result<Vec<_>, _> =
                fail_if.iter().map(|text| diff::Condition::parse(text)).collect();
            let conditions = conditions.unwrap_or_else(|message| usage(&message));
            diff::run(&before, &after, &conditions)
        }
        Command::Explain { words } => explain::run(&words),
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

/// Who is meant; together with `--socket` that would be said twice.
fn chosen(flags: &Flags, target: Option<String>) -> Choice {
    match (target, &flags.socket) {
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

/// The least recording: the greeting and a small state.
const LEAST_RECORDING: u64 = 64 << 10;

fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let scale = match text[digits..].to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "k" | "kib" => Some(1 << 10),
        "m" | "mib" => Some(1 << 20),
        "g" | "gib" => Some(1 << 30),
        _ => None,
    };
    let bytes = text[..digits].parse::<u64>().ok().zip(scale).and_then(|(n, s)| n.checked_mul(s));
    match bytes {
        Some(bytes) if bytes >= LEAST_RECORDING => Ok(bytes),
        _ => Err("a size of at least 64K, such as 64M or 1G".to_owned()),
    }
}

fn parse_speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (0.01..=1000.0).contains(&speed) => Ok(speed),
        _ => Err("a factor, from 0.01 to 1000".to_owned()),
    }
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("seconds, from 0.1 to 86400".to_owned()),
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if tui::RATES_HZ.contains(&rate) => Ok(rate),
        _ => Err("states a second, from 0.1 to 50".to_owned()),
    }
}

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
