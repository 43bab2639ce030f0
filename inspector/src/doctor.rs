//! `lfinspect doctor [PID]`: checks what watching a program needs, and says what to do.
//!
//! Each line is a finding: `ok`, `info` (nothing to judge), `warn` (watching works, less well) or
//! `fail` (it does not). With a fail the exit status is 1. Without a PID a single program that does
//! not answer is a warning; the one that was asked for must answer. The environment variables that lfalloc obeys follow, with the
//! values that they have in the process that was asked for by its id.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use lfalloc_protocol::message::{MAJOR, MINOR};

use crate::connect::{ANSWER_TIMEOUT, ConnectError, Connection};
use crate::discover::{self, Candidate};
use crate::failure::{Outcome, to_stdout};
use crate::target::{self, Choice, Selector};
use crate::{format, process};

mod options;
mod program;
mod surroundings;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Ok,
    Info,
    Warn,
    Fail,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Check {
    level: Level,
    what: String,
    /// What to do; empty where there is nothing.
    advice: String,
}

impl Check {
    fn ok(what: impl Into<String>) -> Self {
        Self { level: Level::Ok, what: what.into(), advice: String::new() }
    }

    fn info(what: impl Into<String>) -> Self {
        Self { level: Level::Info, what: what.into(), advice: String::new() }
    }

    fn warn(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Warn, what: what.into(), advice: advice.into() }
    }

    fn fail(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Fail, what: what.into(), advice: advice.into() }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Ok => "ok",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Fail => "fail",
        };
        write!(f, "{level:<5} {}", self.what)?;
        if !self.advice.is_empty() {
            write!(f, "\n      -> {}", self.advice)?;
        }
        Ok(())
    }
}

/// Checks everything, or everything about one program.
///
/// # Errors
/// When standard output cannot be written to. What the checks find is no error.
pub fn run(choice: &Choice) -> Outcome<ExitCode> {
    let mut checks = vec![Check::info(format!(
        "lfinspect {} speaks protocol {MAJOR}.{MINOR}, as user {}",
        env!("CARGO_PKG_VERSION"),
        process::user_name(process::own_user_id())
    ))];
    checks.extend(surroundings::directory());
    checks.extend(surroundings::terminal());
    match choice {
        Choice::Socket(path) => checks.extend(socket_checks(path)),
        Choice::Selected(selector) => checks.extend(program::checks(selector)),
        Choice::Any => checks.extend(all_programs()),
    }
    let worst = checks.iter().map(|check| check.level).max();
    to_stdout(|stdout| {
        for check in &checks {
            writeln!(stdout, "{check}")?;
        }
        for line in options::table(process_of(choice)) {
            writeln!(stdout, "{line}")?;
        }
        Ok(())
    })?;
    Ok(if worst == Some(Level::Fail) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The process that was asked for by its id.
fn process_of(choice: &Choice) -> Option<u32> {
    match choice {
        Choice::Selected(Selector::Pid(pid)) if process::exists(*pid) => Some(*pid),
        _ => None,
    }
}

fn all_programs() -> Vec<Check> {
    let candidates = discover::candidates();
    if candidates.is_empty() {
        return vec![Check::warn(
            "no socket of an lfalloc agent was found",
            "start a program that calls lfalloc_agent::start(), or `lfinspect demo`; one that uses \
             LFALLOC_DIR is found if lfinspect is given the same LFALLOC_DIR",
        )];
    }
    candidates.iter().flat_map(|candidate| candidate_checks(candidate, Level::Warn)).collect()
}

fn socket_checks(path: &Path) -> Vec<Check> {
    let subject = format!("socket {}", process::printable_path(path));
    match timed_open(path) {
        Ok((connection, answer)) => answered(connection, answer),
        Err(error) => vec![unanswered(&error, &subject, path, Level::Fail)],
    }
}

/// What comes of connecting to `candidate`; `severity` is how bad it is if nothing does.
fn candidate_checks(candidate: &Candidate, severity: Level) -> Vec<Check> {
    opened_checks(candidate, timed_open(&candidate.path), severity)
}

fn opened_checks(candidate: &Candidate, opened: Opened, severity: Level) -> Vec<Check> {
    match opened {
        Ok((connection, answer)) => answered(connection, answer),
        Err(error) => {
            let subject = target::subject(candidate.name.pid, &candidate.name.name);
            vec![unanswered(&error, &subject, &candidate.path, severity)]
        }
    }
}

/// A connection and how long its greeting took.
type Opened = Result<(Connection, Duration), ConnectError>;

fn timed_open(path: &Path) -> Opened {
    let start = Instant::now();
    let connection = Connection::open(path, ANSWER_TIMEOUT)?;
    Ok((connection, start.elapsed()))
}

/// A program that greeted: who it is, and whether its state makes sense.
fn answered(mut connection: Connection, greeting: Duration) -> Vec<Check> {
    let hello = connection.hello().clone();
    let subject = target::subject(connection.pid(), &hello.name);
    let user = connection.peer_uid().map_or_else(|| "?".to_owned(), process::user_name);
    let mut checks = vec![Check::ok(format!(
        "{subject} of {user} answers within {:.1} ms: lfalloc {}, protocol {}.{}",
        greeting.as_secs_f64() * 1e3,
        hello.allocator_version,
        hello.major,
        hello.minor
    ))];
    checks.extend(program::namespaces(&connection));
    let start = Instant::now();
    checks.push(match connection.state(ANSWER_TIMEOUT) {
        Err(error) => Check::fail(
            format!("{subject} greets, but sends no state: {}", error.reason()),
            "it may have been stopped this moment: try again",
        ),
        Ok(picture) => {
            let state = format!(
                "its state of {} superblocks comes within {:.1} ms",
                picture.superblocks.len(),
                start.elapsed().as_secs_f64() * 1e3
            );
            match picture.books_balance() {
                Some(difference) if difference != 0 && picture.end.consistent => Check::fail(
                    format!(
                        "{state}, but its books do not balance by {}",
                        format::bytes(difference)
                    ),
                    "this is a fault of lfalloc: report it with `lfinspect snapshot`",
                ),
                _ if picture.end.consistent => Check::ok(format!("{state}; its books balance")),
                _ => Check::info(format!(
                    "{state}; it went on meanwhile, so nothing can be added up"
                )),
            }
        }
    });
    checks
}

fn unanswered(error: &ConnectError, subject: &str, path: &Path, severity: Level) -> Check {
    let line = error.explain(subject, path);
    // An explanation is "what: what to do".
    let (what, advice) = line.rsplit_once(": ").unwrap_or((&line, ""));
    Check { level: severity, what: what.to_owned(), advice: advice.to_owned() }
}

#[cfg(test)]
mod tests {
    //! Aim: a finding reads as level, finding and advice.

    use super::*;

    #[test]
    fn a_finding_and_its_advice_are_two_lines() {
        assert_eq!(Check::ok("fine").to_string(), "ok    fine");
        let check = unanswered(&ConnectError::Stale, "pid 1 (a)", Path::new("/x"), Level::Warn);
        assert_eq!(
            check.to_string(),
            "warn  pid 1 (a): nobody listens on /x, which a killed program left behind\n      \
             -> `rm /x`"
        );
    }
}
