//! Looking for one program again and again: until it appears, or until another takes its place.
//!
//! | whom | is found when |
//! |---|---|
//! | named by a person | exactly one program fits, as for every command |
//! | behind a socket | it answers |
//! | started by us | the process of that id answers |
//! | a successor | the same socket answers again (its agent had only left us), or a program of the same name has an agent that started later |
//!
//! A look costs one survey of the sockets there are; programs that are not meant are asked once. [`Pace`]
//! keeps looks apart: by 100 ms at first, by one second at most.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lfalloc_protocol::socket::{parse_socket_file_name, socket_file_name};

use crate::connect::{ConnectError, Connection};
use crate::discover::{self, Candidate, SURVEY_TIMEOUT};
use crate::failure::Failure;
use crate::process;
use crate::run::reason::{Launch, why_silent};
use crate::target::{self, Selector};

/// Between the first two looks.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Between two looks at most: longer would be felt, shorter would cost for nothing.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long a program that was started has until it is asked for the reason why it shows nothing.
const REASONABLE: Duration = Duration::from_secs(2);

/// Who is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The one that a person named.
    Selected(Selector),
    /// Whoever is behind this socket.
    Socket(PathBuf),
    /// The one that takes the place of a program that was connected.
    Successor(Former),
    /// The one that was started here.
    Launched(Launch),
}

/// A program that was connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Former {
    /// What it calls itself.
    pub name: String,
    /// Process id as our system sees it.
    pub pid: u32,
    /// How its socket was reached.
    pub path: PathBuf,
    /// When its agent started.
    pub started_unix_ns: u64,
}

impl Former {
    /// Who is behind `connection`.
    #[must_use]
    pub fn of(connection: &Connection) -> Self {
        Self {
            name: connection.hello().name.clone(),
            pid: connection.pid(),
            path: connection.path().to_owned(),
            started_unix_ns: connection.hello().agent_started_unix_ns,
        }
    }

    /// Whether `connection` leads to the same program again, or to one that started later.
    fn is_followed_by(&self, connection: &Connection) -> bool {
        let hello = connection.hello();
        hello.name == self.name
            && (connection.pid() == self.pid || hello.agent_started_unix_ns > self.started_unix_ns)
    }
}

/// What one look found.
#[derive(Debug)]
pub enum Look {
    /// The program.
    Found(Box<Connection>),
    /// It is not there, or cannot be reached now: why, where there is more to say than that.
    Nobody(Option<String>),
    /// Looking on is of no use.
    Failed(Failure),
}

/// Looks for one program.
#[derive(Clone, Debug)]
pub struct Seeker {
    whom: Whom,
    since: Instant,
    /// Sockets of programs that are not meant.
    others: Vec<Candidate>,
}

impl Seeker {
    /// Looks for that one.
    #[must_use]
    pub fn new(whom: Whom) -> Self {
        Self { whom, since: Instant::now(), others: Vec::new() }
    }

    /// Who is looked for.
    #[must_use]
    pub fn whom(&self) -> &Whom {
        &self.whom
    }

    /// Looks once. Programs that do not answer may hold it up for [`discover::SURVEY_LIMIT`].
    #[must_use]
    pub fn look(&mut self) -> Look {
        match self.whom.clone() {
            Whom::Socket(path) => match target::by_socket(&path) {
                Ok(connection) => Look::Found(Box::new(connection)),
                Err(failure) => Look::Failed(failure),
            },
            Whom::Selected(selector) => self.look_for(&selector),
            Whom::Successor(former) => self.look_for_successor(&former),
            Whom::Launched(launch) => self.look_for_launched(&launch),
        }
    }

    fn look_for_launched(&self, launch: &Launch) -> Look {
        let mut candidates = discover::candidates();
        candidates.retain(|candidate| candidate.name.pid == launch.pid);
        let mut reason = None;
        for surveyed in discover::survey(&candidates) {
            match surveyed.result {
                Ok(connection) if connection.pid() == launch.pid => {
                    return Look::Found(Box::new(connection));
                }
                // It ends, or becomes another program: whoever started it is told what became of it.
                Ok(_) | Err(ConnectError::Closed) => {}
                Err(error) if is_absent(&error) => {}
                Err(error) => {
                    let subject = target::subject(launch.pid, &launch.name);
                    reason = Some(error.explain(&subject, &surveyed.candidate.path));
                }
            }
        }
        let is_late = || self.since.elapsed() >= REASONABLE;
        Look::Nobody(reason.or_else(|| is_late().then(|| why_silent(launch.pid, &launch.file))))
    }

    fn look_for(&mut self, selector: &Selector) -> Look {
        let candidates = self.without_others(discover::candidates());
        let (reached, mut unreached) = target::split(discover::survey(&candidates));
        unreached.retain(|(candidate, error)| {
            target::fits_candidate(selector, candidate) && !is_absent(error)
        });
        if !unreached.is_empty() || reached.iter().any(|c| target::fits(selector, c)) {
            return match target::choose(selector, reached, &unreached) {
                Ok(connection) => Look::Found(Box::new(connection)),
                Err(failure) => Look::Failed(failure),
            };
        }
        let others = candidates.into_iter().filter(|c| !target::fits_candidate(selector, c));
        self.others.extend(others);
        Look::Nobody(None)
    }

    fn look_for_successor(&mut self, former: &Former) -> Look {
        // The same socket first: a path that leads elsewhere (through ssh, say) is in no list.
        let mut reason = None;
        match Connection::open(&former.path, SURVEY_TIMEOUT) {
            Ok(connection) => return Look::Found(Box::new(connection)),
            Err(error) if is_absent(&error) => {}
            Err(error) => {
                let subject = target::subject(former.pid, &former.name);
                reason = Some(error.explain(&subject, &former.path));
            }
        }
        let named = file_name_part(&former.name);
        let mut candidates = discover::candidates();
        for beside in beside(&former.path) {
            if !candidates.iter().any(|known| known.path == beside.path) {
                candidates.push(beside);
            }
        }
        candidates.retain(|c| Some(&c.name.name) == named.as_ref() && c.path != former.path);
        let candidates = self.without_others(candidates);
        let mut found: Option<Connection> = None;
        for surveyed in discover::survey(&candidates) {
            let candidate = surveyed.candidate;
            match surveyed.result {
                Ok(connection) if former.is_followed_by(&connection) => {
                    let started = |c: &Connection| c.hello().agent_started_unix_ns;
                    if found.as_ref().is_none_or(|best| started(best) < started(&connection)) {
                        found = Some(connection);
                    }
                }
                // It was there before, or has another name that looks the same in a file's.
                Ok(_) => self.others.push(candidate),
                Err(error) if is_absent(&error) => {}
                Err(error) => {
                    let subject = target::subject(candidate.name.pid, &candidate.name.name);
                    reason = Some(error.explain(&subject, &candidate.path));
                }
            }
        }
        match found {
            Some(connection) => Look::Found(Box::new(connection)),
            None => Look::Nobody(reason),
        }
    }

    /// `candidates` without those that are not meant; those that are gone are forgotten.
    fn without_others(&mut self, mut candidates: Vec<Candidate>) -> Vec<Candidate> {
        self.others.retain(|other| candidates.contains(other));
        candidates.retain(|candidate| !self.others.contains(candidate));
        candidates
    }
}

/// How long to wait between two looks.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pause: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { pause: FIRST_PAUSE }
    }
}

impl Pace {
    /// How long to wait now; longer each time, and never above one second.
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        pause
    }
}

/// Whether the error says no more than that there is no such program.
fn is_absent(error: &ConnectError) -> bool {
    matches!(error, ConnectError::Stale | ConnectError::Missing)
}

/// What the file name of a socket says of a program that calls itself `name`.
fn file_name_part(name: &str) -> Option<String> {
    parse_socket_file_name(&socket_file_name(name, 1, 0)).map(|parsed| parsed.name)
}

/// The sockets in the directory of `path`, which may be one that nothing else leads to.
fn beside(path: &Path) -> Vec<Candidate> {
    let entries = path.parent().and_then(|directory| fs::read_dir(directory).ok());
    let entries = entries.into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = parse_socket_file_name(entry.file_name().to_str()?)?;
            Some(Candidate { path: entry.path(), name })
        })
        .collect()
}

impl Whom {
    /// What is waited for, for people.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Selected(Selector::Pid(pid)) => {
                format!("waiting for pid {pid} to show lfalloc (lfalloc_agent::start())")
            }
            Self::Selected(Selector::Name(name)) => format!(
                "waiting for a program named '{}' that shows lfalloc (lfalloc_agent::start())",
                process::printable(name)
            ),
            Self::Socket(path) => format!("connecting to {}", process::printable_path(path)),
            Self::Successor(former) => {
                format!("waiting for '{}' to start again", former.name)
            }
            Self::Launched(launch) => {
                format!("waiting for {} to show itself", target::subject(launch.pid, &launch.name))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    //! Aim: looks grow apart, up to a bound, and the sockets of one program's name are told from
    //! others.
    use super::*;

    #[test]
    fn looks_are_at_most_a_second_apart() {
        let mut pace = Pace::default();
        let pauses: Vec<_> = (0..6).map(|_| pace.next_pause().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000]);
    }

    #[test]
    fn names_are_compared_as_files_spell_them() {
        assert_eq!(file_name_part("my program").as_deref(), Some("my_program"));
        assert_eq!(file_name_part("").as_deref(), Some("program"));
    }

    #[test]
    fn sockets_beside_a_socket_are_found() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.1.sock", "b.2.3.sock", "other"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let mut pids: Vec<_> =
            beside(&folder.path().join("a.9.sock")).iter().map(|found| found.name.pid).collect();
        pids.sort_unstable();
        assert_eq!(pids, [1, 2]);
        assert!(beside(Path::new("/no/such/directory/a.1.sock")).is_empty());
    }
}
