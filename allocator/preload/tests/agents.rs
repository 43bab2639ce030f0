//! Aim: a program gets its agent at its start, its forked children get theirs if that was asked for, and no socket is left behind.
//! Method: a program that forks twice, one child a grandchild, and waits for the end of its standard input.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{Program, library};

/// The process ids in the names of the sockets that somebody listens on.
fn agents(folder: &Path) -> BTreeSet<u32> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let living = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        UnixStream::connect(&path).ok()?;
        path.file_stem()?.to_str()?.rsplit('.').next()?.parse().ok()
    });
    living.collect()
}

fn start(program: &Program, sockets: &Path, agent: &str) -> (Child, BTreeSet<u32>) {
    let mut child = Command::new(program.path())
        .env("LD_PRELOAD", library())
        .env("LFALLOC_AGENT", agent)
        .env("LFALLOC_DIR", sockets)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The program closes its standard output when all are there.
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    (child, text.split_whitespace().map(|word| word.parse().unwrap()).collect())
}

fn end(mut child: Child) {
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn forked_children_have_agents_of_their_own() {
    let program = Program::compile("own_agents.c");
    let sockets = tempfile::tempdir().unwrap();
    let (child, processes) = start(&program, sockets.path(), "children");
    assert_eq!(processes.len(), 4);
    let deadline = Instant::now() + Duration::from_secs(10);
    while agents(sockets.path()) != processes {
        assert!(Instant::now() < deadline, "{:?}, not {processes:?}", agents(sockets.path()));
        sleep(Duration::from_millis(20));
    }
    end(child);
    assert_eq!(fs::read_dir(sockets.path()).unwrap().count(), 0, "sockets are left behind");
}

#[test]
fn without_being_asked_for_there_is_the_programs_alone() {
    let program = Program::compile("own_agents.c");
    let sockets = tempfile::tempdir().unwrap();
    let (child, _) = start(&program, sockets.path(), "1");
    // It is there before `main`.
    assert_eq!(agents(sockets.path()), BTreeSet::from([child.id()]));
    sleep(Duration::from_millis(300));
    assert_eq!(agents(sockets.path()), BTreeSet::from([child.id()]));
    end(child);
    assert_eq!(fs::read_dir(sockets.path()).unwrap().count(), 0, "sockets are left behind");
}
