//! Which program is meant: from a process id, a name, a socket's path, or nothing.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::thread;

use crate::connect::{ANSWER_TIMEOUT, ConnectError, Connection};
use crate::discover::{self, Candidate, Surveyed};
use crate::failure::Failure;
use crate::preloaded::{self, Loaded};
use crate::process;
use crate::run::library::FILE;
use crate::seek::{Look, Pace, Seeker, Whom};

/// Programs named in an error; more make it no clearer.
const NAMED_AT_MOST: usize = 8;

/// What a person called the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// By process id: ours, or the one it has in its container.
    Pid(u32),
    /// By name, whole.
    Name(String),
}

/// Which program a command is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The one behind this socket.
    Socket(PathBuf),
    /// The one that was named.
    Selected(Selector),
    /// The only one there is, or the one that the person picks.
    Any,
}

impl Selector {
    /// All digits are a process id; anything else is a name.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Pid)
    }
}

/// Connects to the socket at `path`.
///
/// # Errors
/// When nobody answers there.
pub fn by_socket(path: &Path) -> Result<Connection, Failure> {
    Connection::open(path, ANSWER_TIMEOUT).map_err(|error| {
        let subject = format!("socket {}", process::printable_path(path));
        Failure::new(error.explain(&subject, path))
    })
}

/// Every program that answers, and those that do not.
#[must_use]
pub fn all() -> (Vec<Connection>, Vec<(Candidate, ConnectError)>) {
    split(discover::survey(&discover::candidates()))
}

/// Connects to the one program that `selector` names.
///
/// # Errors
/// When there is none, it cannot be reached, or a name fits several.
pub fn find(selector: &Selector) -> Result<Connection, Failure> {
    let candidates = discover::candidates();
    if let Selector::Pid(pid) = selector {
        // The common case first: nobody else's agent is asked, and nobody else's silence waited for.
        let named: Vec<_> = candidates.iter().filter(|c| c.name.pid == *pid).cloned().collect();
        for surveyed in discover::survey(&named) {
            if let Ok(connection) = surveyed.result
                && connection.pid() == *pid
            {
                return Ok(connection);
            }
        }
    }
    let (reached, unreached) = split(discover::survey(&candidates));
    choose(selector, reached, &unreached)
}

/// As [`find`], but waits until the program is there. Other reasons than that it is not are errors
/// at once.
///
/// # Errors
/// As [`find`], but for programs that are not there.
pub fn wait_for(selector: &Selector) -> Result<Connection, Failure> {
    let mut seeker = Seeker::new(Whom::Selected(selector.clone()));
    let mut pace = Pace::default();
    loop {
        match seeker.look() {
            Look::Found(connection) => return Ok(*connection),
            Look::Failed(failure) => return Err(failure),
            Look::Nobody(_) => thread::sleep(pace.next_pause()),
        }
    }
}

/// "pid 4121 (indexer)".
#[must_use]
pub fn subject(pid: u32, name: &str) -> String {
    format!("pid {pid} ({name})")
}

/// Those that answered, by process id, and the others.
pub(crate) fn split(surveyed: Vec<Surveyed>) -> (Vec<Connection>, Vec<(Candidate, ConnectError)>) {
    let mut reached = Vec::new();
    let mut unreached = Vec::new();
    for Surveyed { candidate, result } in surveyed {
        match result {
            Ok(connection) => reached.push(connection),
            Err(error) => unreached.push((candidate, error)),
        }
    }
    reached.sort_by_key(Connection::pid);
    (reached, unreached)
}

/// Whether the program that greeted is meant.
pub(crate) fn fits(selector: &Selector, connection: &Connection) -> bool {
    match selector {
        Selector::Pid(pid) => connection.pid() == *pid || connection.hello().pid == *pid,
        Selector::Name(name) => connection.hello().name == *name,
    }
}

/// Whether the socket is, by its file name, that of a program that is meant.
pub(crate) fn fits_candidate(selector: &Selector, candidate: &Candidate) -> bool {
    match selector {
        Selector::Pid(pid) => candidate.name.pid == *pid,
        Selector::Name(name) => candidate.name.name == *name,
    }
}

/// The one of `reached` that is meant.
pub(crate) fn choose(
    selector: &Selector,
    reached: Vec<Connection>,
    unreached: &[(Candidate, ConnectError)],
) -> Result<Connection, Failure> {
    let others = names_of(&reached);
    let mut fitting: Vec<_> = reached.into_iter().filter(|c| fits(selector, c)).collect();
    // A process id of ours goes before one that a container's process has in there.
    if let Selector::Pid(pid) = selector
        && let Some(place) = fitting.iter().position(|c| c.pid() == *pid)
    {
        return Ok(fitting.swap_remove(place));
    }
    match fitting.len() {
        1 => Ok(fitting.swap_remove(0)),
        0 => Err(nothing_fits(selector, unreached, &others)),
        count => Err(Failure::new(format!(
            "{count} programs fit {}: {}; name one by its pid",
            match selector {
                Selector::Pid(pid) => format!("pid {pid}"),
                Selector::Name(name) => format!("'{}'", process::printable(name)),
            },
            names_of(&fitting)
        ))),
    }
}

fn nothing_fits(
    selector: &Selector,
    unreached: &[(Candidate, ConnectError)],
    others: &str,
) -> Failure {
    let fitting = unreached.iter().find(|(candidate, _)| fits_candidate(selector, candidate));
    if let Some((candidate, error)) = fitting {
        let subject = match error {
            // The sentence goes on: "pid 4121 runs lfalloc ...".
            ConnectError::Version { .. } => format!("pid {}", candidate.name.pid),
            _ => subject(candidate.name.pid, &candidate.name.name),
        };
        return Failure::new(error.explain(&subject, &candidate.path));
    }
    let next = if others.is_empty() {
        "nothing can be watched now; start one with `lfinspect demo`".to_owned()
    } else {
        format!("these can be watched: {others}")
    };
    Failure::new(match selector {
        Selector::Pid(pid) if !process::exists(*pid) => format!("no process has pid {pid}: {next}"),
        Selector::Pid(pid) if preloaded::loaded(*pid) == Some(Loaded::Yes) => format!(
            "pid {pid} ({}) has {FILE}, and no agent: start one with `{}`",
            process::name(*pid).unwrap_or_default(),
            preloaded::start_agent(*pid)
        ),
        Selector::Pid(pid) => format!(
            "pid {pid} ({}) shows no lfalloc: it runs without lfalloc_agent::start(); {next}",
            process::name(*pid).unwrap_or_default()
        ),
        Selector::Name(name) => {
            format!("no program named '{}' shows lfalloc: {next}", process::printable(name))
        }
    })
}

/// "4121 indexer, 4122 hello".
pub(crate) fn names_of(connections: &[Connection]) -> String {
    let mut text = String::new();
    for connection in connections.iter().take(NAMED_AT_MOST) {
        let separator = if text.is_empty() { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(text, "{separator}{} {}", connection.pid(), connection.hello().name);
    }
    if connections.len() > NAMED_AT_MOST {
        let _ = write!(text, " and {} more", connections.len() - NAMED_AT_MOST);
    }
    text
}

#[cfg(test)]
mod tests {
    //! Aim: what is a process id and what a name, and errors that name thing, reason and next step.

    use lfalloc_protocol::socket::SocketName;

    use super::*;

    fn candidate(pid: u32) -> Candidate {
        let name = SocketName { name: "indexer".to_owned(), pid, suffix: 0 };
        Candidate { path: format!("/run/lfalloc/indexer.{pid}.sock").into(), name }
    }

    #[test]
    fn digits_are_a_pid() {
        assert_eq!(Selector::parse("4121"), Selector::Pid(4121));
        assert_eq!(Selector::parse("indexer"), Selector::Name("indexer".to_owned()));
        assert_eq!(Selector::parse("99999999999"), Selector::Name("99999999999".to_owned()));
    }

    #[test]
    fn another_version_is_named_with_ours() {
        let error = ConnectError::Version { major: 2, minor: 0, allocator: Some("0.9.1".into()) };
        let failure = nothing_fits(&Selector::Pid(4121), &[(candidate(4121), error)], "");
        assert_eq!(
            failure.to_string(),
            format!(
                "pid 4121 runs lfalloc 0.9.1 (protocol 2.0); this lfinspect {} speaks 1.3: \
                 install lfinspect 0.9.1",
                env!("CARGO_PKG_VERSION")
            )
        );
    }

    #[test]
    fn a_missing_process_is_told_from_one_without_an_agent() {
        let gone = nothing_fits(&Selector::Pid(u32::MAX), &[], "7 hello").to_string();
        assert_eq!(gone, "no process has pid 4294967295: these can be watched: 7 hello");
        let own = std::process::id();
        let without = nothing_fits(&Selector::Pid(own), &[], "").to_string();
        assert!(without.starts_with(&format!("pid {own} (")), "{without}");
        assert!(without.contains("lfalloc_agent::start()"), "{without}");
    }

    #[test]
    fn the_reason_of_an_unreachable_one_is_given() {
        let unreached = [(candidate(1), ConnectError::Stale)];
        let selector = Selector::Name("indexer".to_owned());
        let failure = nothing_fits(&selector, &unreached, "").to_string();
        assert!(failure.contains("rm /run/lfalloc/indexer.1.sock"), "{failure}");
    }
}
