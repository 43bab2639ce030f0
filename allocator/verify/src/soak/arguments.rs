//! The command line of `soak`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::shipped;
use crate::soak::supervisor::{self, Outcome, Setting};
use crate::soak::{SOAKS, Soak, board, child, fuzz, named, report};

const USAGE: &str = "\
usage: soak [NAME...] [--scale F | --seconds S] [--list] [--seed N] [--patience S] [--library glibc|PATH]

Runs the soaks of that name, or all, one after the other, each in a process under liblfalloc.so, and prints a table. Fails if one fails.

  --scale F       does F times as much of each: 0.01 is a short form
  --seconds S     ends each after S seconds
  --list          lists them
  --seed N        begins random numbers with N (1)
  --patience S    how long a thread may stand still (20)
  --library PATH  runs them under another library, or glibc's own malloc";

/// What the command line asks for.
#[derive(Debug)]
struct Wanted {
    soaks: Vec<&'static Soak>,
    setting: Setting,
    list: bool,
}

fn parse(arguments: &[String]) -> Result<Wanted, String> {
    let mut soaks = Vec::new();
    let mut library = None;
    let mut list = false;
    let mut setting = Setting {
        program: std::env::current_exe().map_err(|error| error.to_string())?,
        library: None,
        scale: 1.0,
        time: None,
        patience: Duration::from_secs(20),
        tell_every: Some(Duration::from_secs(5)),
        seed: 1,
        environment: Vec::new(),
    };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--list" => list = true,
            "--scale" => setting.scale = number(value()?)?,
            "--seconds" => setting.time = Some(seconds(value()?)?),
            "--patience" => setting.patience = seconds(value()?)?,
            "--seed" => setting.seed = number(value()?)?,
            "--library" => library = Some(value()?),
            "--help" | "-h" => return Err(USAGE.to_owned()),
            name => soaks.push(
                named(name)
                    .ok_or_else(|| format!("there is no soak `{name}`; see --list\n\n{USAGE}"))?,
            ),
        }
    }
    if soaks.is_empty() {
        soaks = SOAKS.iter().collect();
    }
    if !list {
        setting.library = match library.map(String::as_str) {
            None => Some(shipped::library()?),
            Some("glibc") => None,
            Some(path) => Some(PathBuf::from(path)),
        };
    }
    Ok(Wanted { soaks, setting, list })
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    Duration::try_from_secs_f64(number(text)?).map_err(|error| format!("{text}: {error}"))
}

/// What `soak` does: as the supervisor, or, started by that, as a soak.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.split_first() {
        Some((first, rest)) if first == "--child" => be_a_child(rest),
        _ => supervise(&arguments),
    };
    result.unwrap_or_else(|error| {
        eprintln!("soak: {error}");
        ExitCode::from(2)
    })
}

fn be_a_child(arguments: &[String]) -> Result<ExitCode, String> {
    board::hang(supervisor::own_board()?);
    match arguments {
        [name, rest @ ..] if name == fuzz::REPLAY => fuzz::replay(rest)?,
        [name, goal, milliseconds, seed] => {
            let soak = named(name).ok_or("no such soak")?;
            let time = Duration::from_millis(number(milliseconds)?);
            let time = (!time.is_zero()).then_some(time);
            child(soak, number(goal)?, time, number(seed)?);
        }
        _ => return Err("not for people".to_owned()),
    }
    Ok(ExitCode::SUCCESS)
}

fn supervise(arguments: &[String]) -> Result<ExitCode, String> {
    let wanted = parse(arguments)?;
    if wanted.list {
        for soak in SOAKS {
            println!(
                "{:<18} {} {}: {}",
                soak.name,
                report::grouped(soak.goal),
                soak.unit,
                soak.what
            );
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut outcomes: Vec<Outcome> = Vec::new();
    for (number, soak) in wanted.soaks.iter().enumerate() {
        println!("{} ({} of {}): {}", soak.name, number + 1, wanted.soaks.len(), soak.what);
        let outcome = supervisor::run(soak, &wanted.setting).map_err(|error| error.to_string())?;
        println!("{}", report::row(&outcome));
        if let Some(failure) = &outcome.failure {
            println!("{}: {failure}", soak.name);
            if let Some(shortest) = fuzz::shrink(&outcome, &wanted.setting) {
                println!("{shortest}");
            }
        }
        outcomes.push(outcome);
    }
    println!("\n{}", report::HEAD);
    for outcome in &outcomes {
        println!("{}", report::row(outcome));
    }
    let failed: Vec<&Outcome> =
        outcomes.iter().filter(|outcome| outcome.failure.is_some()).collect();
    for outcome in &failed {
        println!("\n{}: {}", outcome.soak.name, outcome.failure.as_deref().unwrap_or_default());
    }
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
