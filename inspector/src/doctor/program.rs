//! What can be said of one program from outside: does it exist, does it run, may we reach it, and
//! what does its C library offer.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Check, Level, candidate_checks, opened_checks, timed_open};
use crate::connect::Connection;
use crate::discover::{self, Candidate};
use crate::preloaded::{self, Loaded};
use crate::process;
use crate::run::library::FILE;
use crate::target::Selector;

/// All checks of the program that `selector` names.
pub(super) fn checks(selector: &Selector) -> Vec<Check> {
    match selector {
        Selector::Pid(pid) => of_pid(*pid),
        Selector::Name(name) => of_name(name),
    }
}

fn of_name(name: &str) -> Vec<Check> {
    let mut candidates = discover::candidates();
    candidates.retain(|candidate| candidate.name.name == name);
    if candidates.is_empty() {
        return vec![Check::fail(
            format!("no socket is named after '{}'", process::printable(name)),
            "give the pid of the program instead, and more can be said",
        )];
    }
    candidates.iter().flat_map(|candidate| candidate_checks(candidate, Level::Fail)).collect()
}

fn of_pid(pid: u32) -> Vec<Check> {
    let Some(name) = process::name(pid) else {
        return vec![Check::fail(
            format!("no process has pid {pid}"),
            "list those that can be watched with `lfinspect ls`",
        )];
    };
    let mut checks = vec![running(pid, &name)];
    checks.extend(owner(pid));
    checks.push(restartable_sequences(pid));
    let answers = agents_of(pid);
    if answers.is_empty() {
        checks.push(no_agent(pid, &name));
    }
    checks.extend(answers.into_iter().flatten());
    checks
}

/// What each socket says that may be the program's: its file name has one of the process ids that
/// the program has, and whoever answers there is no other program.
fn agents_of(pid: u32) -> Vec<Vec<Check>> {
    let ids = process::namespace_pids(pid);
    let mut candidates = discover::candidates();
    candidates.retain(|candidate| ids.contains(&candidate.name.pid));
    let answer = |candidate: &Candidate| match timed_open(&candidate.path) {
        Ok((connection, _)) if connection.peer_pid().is_some_and(|peer| peer != pid) => None,
        Err(_) if candidate.name.pid != pid => None,
        opened => Some(opened_checks(candidate, opened, Level::Fail)),
    };
    candidates.iter().filter_map(answer).collect()
}

fn no_agent(pid: u32, name: &str) -> Check {
    if process::has_thread(Path::new("/proc"), pid, discover::AGENT_THREAD) {
        Check::fail(
            format!("pid {pid} ({name}) has an agent, but its socket is not to be seen"),
            "it was removed, or lies where this user may not look: run lfinspect as root, or \
             restart the program",
        )
    } else if preloaded::loaded(pid) == Some(Loaded::Yes) {
        Check::fail(
            format!("pid {pid} ({name}) has {FILE}, and no agent"),
            format!("`{}`, or start it again with `lfinspect run`", preloaded::start_agent(pid)),
        )
    } else {
        Check::fail(
            format!("pid {pid} ({name}) has no socket of an lfalloc agent"),
            "it must call lfalloc_agent::start() and keep what that returns; what kept an agent \
             from starting stands in the error it returned and in the program's `tracing` log",
        )
    }
}

fn running(pid: u32, name: &str) -> Check {
    match process::state_letter(pid) {
        Some('T' | 't') => Check::warn(
            format!("pid {pid} ({name}) is stopped, and its agent with it"),
            format!("`kill -CONT {pid}`, or continue it in its debugger"),
        ),
        Some('Z' | 'X') => {
            Check::fail(format!("pid {pid} ({name}) has ended"), "its parent has not waited for it")
        }
        _ => Check::ok(format!("pid {pid} ({name}) runs")),
    }
}

fn owner(pid: u32) -> Option<Check> {
    let (owner, own) = (process::user_id(pid)?, process::own_user_id());
    let user = process::user_name(owner);
    Some(if own == 0 || owner == own {
        Check::ok(format!("pid {pid} belongs to {user}, and you may watch it"))
    } else {
        Check::fail(
            format!("pid {pid} belongs to {user}"),
            if owner == 0 {
                "run lfinspect as root".to_owned()
            } else {
                format!("run lfinspect as {user} or as root")
            },
        )
    })
}

/// Where the program's namespaces are not ours.
pub(super) fn namespaces(connection: &Connection) -> Option<Check> {
    let pid = connection.peer_pid()?;
    let own = std::process::id();
    let others: Vec<_> = ["mnt", "net", "pid", "user"]
        .into_iter()
        .filter(|kind| match (process::namespace(pid, kind), process::namespace(own, kind)) {
            (Some(its), Some(ours)) => its != ours,
            _ => false,
        })
        .collect();
    (!others.is_empty()).then(|| {
        Check::info(format!(
            "pid {pid} runs in a container (other {} namespace), where it has pid {}; reached at {}",
            others.join(", "),
            connection.hello().pid,
            process::printable_path(connection.path())
        ))
    })
}

/// Which C library the program runs with, and whether that registers restartable sequences.
fn restartable_sequences(pid: u32) -> Check {
    let Some(library) = c_library(pid) else {
        return Check::info(format!(
            "pid {pid}: its C library cannot be told (static, or not ours)"
        ));
    };
    let switched_off = process::environment_variable(pid, "GLIBC_TUNABLES")
        .is_some_and(|value| value.to_string_lossy().contains("glibc.pthread.rseq=0"));
    match glibc_version(&library) {
        None => Check::info(format!(
            "pid {pid}: C library {}, not glibc",
            process::printable_path(&library)
        )),
        Some(version) if switched_off => Check::info(format!(
            "glibc {}.{}: restartable sequences are switched off by GLIBC_TUNABLES",
            version.0, version.1
        )),
        Some(version) => {
            let registers = if version >= (2, 35) { "registers" } else { "does not register" };
            Check::info(format!(
                "glibc {}.{} {registers} restartable sequences",
                version.0, version.1
            ))
        }
    }
}

/// The C library mapped by the process, as we reach it.
fn c_library(pid: u32) -> Option<PathBuf> {
    let directory = process::directory(pid);
    let maps = fs::read_to_string(directory.join("maps")).ok()?;
    let path = maps.lines().filter_map(|line| line.split_once('/')).find_map(|(_, path)| {
        let name = path.rsplit('/').next().unwrap_or(path);
        let is_c_library = name.starts_with("libc.so")
            || name.starts_with("libc-2.")
            || name.starts_with("ld-musl");
        is_c_library.then_some(path)
    })?;
    Some(directory.join("root").join(path))
}

/// glibc says its version in a text it holds.
fn glibc_version(library: &Path) -> Option<(u32, u32)> {
    const MARK: &[u8] = b"stable release version ";
    let image = fs::read(library).ok()?;
    let start = image.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
    let text: String = image[start..]
        .iter()
        .map(|byte| char::from(*byte))
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .take(16)
        .collect();
    let (major, minor) = text.trim_end_matches('.').split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    //! Aim: a process that does not exist and one without an agent fail with different advice, and
    //! the C library of this very process is found.

    use super::*;

    #[test]
    fn a_missing_process_fails() {
        let checks = of_pid(u32::MAX);
        assert_eq!(checks.len(), 1);
        assert_eq!(checks[0].level, Level::Fail);
    }

    #[test]
    fn a_process_without_an_agent_fails_and_is_told_what_to_call() {
        let checks = of_pid(std::process::id());
        let last = checks.last().unwrap();
        assert_eq!(last.level, Level::Fail);
        assert!(last.advice.contains("lfalloc_agent::start()"));
        assert_eq!(checks[0].level, Level::Ok);
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn our_own_glibc_is_found() {
        let library = c_library(std::process::id()).unwrap();
        assert!(glibc_version(&library).unwrap() > (2, 2));
    }
}
