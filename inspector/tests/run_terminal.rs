//! Aim: `lfinspect run` on a terminal: the program is shown with its output, left as the person says, and gets the signals that
//! it should; the terminal is given back, and no zombie and no file is left.
//! Method: the real binary in a pseudo-terminal; what is preloaded does nothing, the program has an agent of its own.

#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used, reason = "a failed expectation ends the test")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use support::launch::{Lease, library};
use support::private_folder;
use support::screen::{ENTER_SCREEN, PATIENCE, Screen, plain};

/// Starts `lfinspect run` with these words.
fn start(size: (u16, u16), words: &[&str]) -> Screen {
    let folder = private_folder();
    let library = library(folder.path());
    let temporary = temporary(folder.path());
    fs::create_dir(&temporary).unwrap();
    let words: Vec<&str> = std::iter::once("run").chain(words.iter().copied()).collect();
    Screen::start_with(folder, size, &words, |command| {
        command.env("LFALLOC_SO", library);
        command.env("TMPDIR", temporary);
        command.env_remove("LD_PRELOAD");
        command.env_remove("LFALLOC_AGENT");
    })
}

/// Where its temporary files are.
fn temporary(folder: &Path) -> PathBuf {
    folder.join("temporary")
}

fn files(screen: &Screen) -> Vec<PathBuf> {
    let entries = fs::read_dir(temporary(screen.folder.path())).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// A program that walks, and is on the screen.
fn shown(size: (u16, u16)) -> (Screen, Lease, u32) {
    let elsewhere = private_folder();
    let lease = Lease::new(elsewhere.path());
    let words = lease.words();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut screen = start(size, &words);
    screen.wait_until_shown("launched ");
    screen.wait_until_shown(" LIVE ");
    let written = plain(&screen.seen);
    let (_, after) = written.rsplit_once("launched ").unwrap();
    let pid = after.split_whitespace().next().and_then(|word| word.parse().ok());
    // The pipe is open; its name is not needed any more.
    drop(elsewhere);
    (screen, lease, pid.unwrap())
}

fn exists(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

#[test]
fn a_program_is_shown_with_its_output_and_its_end() {
    let (mut screen, lease, pid) = shown((120, 36));
    assert_eq!(files(&screen).len(), 1);
    screen.press("L");
    screen.wait_until_shown("Output of sh");
    screen.wait_until_shown("socket /");
    screen.press("L");
    screen.wait_until_shown("Where the mapped bytes are");
    drop(lease);
    screen.wait_until_shown("(sh) ended with status 0");
    screen.wait_until_shown(" GONE ");
    assert!(!exists(pid), "a zombie is left");
    // Its output can be read on.
    screen.press("L");
    screen.wait_until_shown("ended with status 0, 1 line");
    screen.press("\u{1b}");
    screen.read_for(Duration::from_millis(300));
    screen.press("q");
    screen.assert_ends_restored();
    assert!(files(&screen).is_empty());
}

#[test]
fn a_program_that_is_left_runs_on() {
    let (mut screen, lease, pid) = shown((80, 24));
    screen.press("q");
    screen.wait_until_shown("What is to become of it?");
    screen.press("\r");
    screen.assert_ends_restored();
    screen.wait_for(&format!("watch it again with `lfinspect attach {pid}`; its output goes to /"));
    assert!(exists(pid));
    let files = files(&screen);
    let [file] = &files[..] else { panic!("{files:?}") };
    assert!(screen.seen.contains(file.to_str().unwrap()), "{}", screen.seen);
    drop(lease);
    wait_until("it goes on", || !exists(pid));
}

#[test]
fn a_program_that_is_asked_to_end_takes_us_with_it() {
    let (mut screen, _lease, pid) = shown((80, 24));
    screen.press("q");
    screen.wait_until_shown("terminate: SIGTERM");
    screen.press("t");
    assert_eq!(screen.end_restored().exit_code(), 143);
    screen.wait_for(&format!("pid {pid} (sh) was killed by signal 15 (SIGTERM)"));
    assert!(!exists(pid));
    assert!(files(&screen).is_empty());
}

#[test]
fn one_that_does_not_end_can_be_killed() {
    let script = "trap '' TERM; echo ready; while :; do sleep 0.1; done";
    let mut screen = start((80, 24), &["sh", "-c", script]);
    screen.press("L");
    screen.wait_until_shown("ready");
    screen.press("Lq");
    screen.wait_until_shown("What is to become of it?");
    screen.press("t");
    screen.wait_until_shown("was asked to end");
    screen.wait_until_shown("not for 5 seconds");
    screen.press("k");
    assert_eq!(screen.end_restored().exit_code(), 137);
    screen.wait_for("was killed by signal 9 (SIGKILL)");
}

#[test]
fn one_that_ends_before_it_is_seen_passes_its_output_and_status_on() {
    let script = "echo to-stdout; echo to-stderr >&2; test -t 0 || cat; exit 9";
    let mut screen = start((80, 24), &["--", "sh", "-c", script]);
    assert_eq!(screen.end_restored().exit_code(), 9);
    screen.wait_for("to-stdout");
    screen.wait_for("to-stderr");
    assert!(files(&screen).is_empty());
}

#[test]
fn the_reason_why_there_is_nothing_to_see_is_shown() {
    let mut screen = start((80, 24), &["env", "-u", "LD_PRELOAD", "sleep", "100"]);
    screen.wait_until_shown("LD_PRELOAD was taken out of its environment");
    screen.wait_until_shown("L shows its output");
    screen.press("qt");
    assert_eq!(screen.end_restored().exit_code(), 143);
}

#[test]
fn signals_end_both_and_give_the_terminal_back() {
    // SIGINT is for us here, and the program is asked as by SIGTERM; one that does not end is not waited for for ever.
    for (name, status) in [("-TERM", 143), ("-INT", 143), ("-HUP", 129)] {
        let mut screen = start((80, 24), &["sh", "-c", "echo pid $$; exec sleep 100"]);
        screen.press("L");
        screen.wait_until_shown("1 line");
        signal(screen.child.process_id().unwrap(), name);
        assert_eq!(screen.end_restored().exit_code(), status, "{name}");
        assert!(files(&screen).is_empty());
    }
    let (mut screen, lease, pid) = shown((80, 24));
    // It outlives the terminal.
    signal(screen.child.process_id().unwrap(), "-HUP");
    assert_eq!(screen.end_restored().exit_code(), 129);
    screen.wait_for(&format!("pid {pid} (sh) runs on; its output goes to /"));
    assert!(exists(pid) && files(&screen).len() == 1);
    drop(lease);
    wait_until("it goes on", || !exists(pid));
}

#[test]
fn the_programs_output_goes_to_the_file_that_was_named() {
    let elsewhere = private_folder();
    let log = elsewhere.path().join("log");
    let log = log.to_str().unwrap();
    let mut screen = start((60, 15), &["--log", log, "sh", "-c", "echo here; exec sleep 100"]);
    screen.press("L");
    screen.wait_until_shown("here");
    screen.press("qt");
    assert_eq!(screen.end_restored().exit_code(), 143);
    assert_eq!(fs::read_to_string(log).unwrap(), "here\n");
    assert!(files(&screen).is_empty());
}

#[test]
fn headless_leaves_the_terminal_and_its_keys_to_the_program() {
    let script = "trap 'echo caught; exit 5' INT; test -t 0 && test -t 1 && test -t 2 && \
                  echo all-three; while :; do sleep 0.1; done";
    let mut screen = start((80, 24), &["--headless", "sh", "-c", script]);
    screen.wait_for("all-three");
    assert!(screen.is_cooked());
    // Ctrl-C.
    screen.press("\u{3}");
    assert_eq!(screen.end().exit_code(), 5);
    screen.wait_for("caught");
    screen.wait_for("(sh) ended with status 5");
    assert!(!screen.seen.contains(ENTER_SCREEN), "{}", screen.seen);
}

#[test]
fn any_size_starts_and_asks() {
    for size in [(60, 15), (20, 5), (1, 1)] {
        let mut screen = start(size, &["sleep", "100"]);
        screen.wait_for(ENTER_SCREEN);
        screen.read_for(Duration::from_millis(300));
        screen.press("Lq");
        screen.read_for(Duration::from_millis(300));
        screen.press("t");
        assert_eq!(screen.end_restored().exit_code(), 143);
    }
}
