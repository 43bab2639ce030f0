//! Aim: a process that has the library and no agent is told from others, and its options are shown.
//! Method: a library that does nothing, preloaded into a program that sleeps.

#![allow(clippy::unwrap_used, reason = "a failed expectation ends the test")]

mod support;

use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use lfinspect::preloaded::{Loaded, loaded};
use support::launch::library;
use support::{failure_of, private_folder, run, text};

/// Ends with the test.
struct Sleeper(Child);

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_command_that_starts_its_agent_is_printed_with_its_options() {
    let folder = private_folder();
    let library = library(folder.path());
    let mut command = Command::new("sleep");
    command.arg("100").env("LD_PRELOAD", library);
    command.env("LFALLOC_RESERVE", "2x").env("LFALLOC_KEEP_LARGE", "1G").env("LFALLOC_STATSS", "1");
    let sleeper = Sleeper(command.spawn().unwrap());
    let pid = sleeper.0.id();
    while loaded(pid) != Some(Loaded::Yes) {
        thread::sleep(Duration::from_millis(10));
    }
    let gdb = format!("`gdb -p {pid} -batch -ex 'call (int)lfalloc_agent_start()'`");
    let name = format!("pid {pid} (sleep)");
    let line = failure_of(folder.path(), &["attach", &pid.to_string()]);
    assert_eq!(line, format!("{name} has liblfalloc.so, and no agent: start one with {gdb}"));

    let output = run(folder.path(), &["doctor", &pid.to_string()]);
    assert_eq!(output.status.code(), Some(1));
    let report = text(&output.stdout);
    let advice = format!("{name} has liblfalloc.so, and no agent\n      -> {gdb}");
    assert!(report.contains(&advice), "{report}");
    let row = |name: &str| -> Vec<&str> {
        let line = report.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
        line.split_whitespace().collect()
    };
    assert_eq!(row("LFALLOC_RESERVE")[1..4], ["2x", "INVALID", "bytes"]);
    assert_eq!(row("LFALLOC_KEEP_LARGE")[1..3], ["1G", "bytes"]);
    assert_eq!(row("LFALLOC_STATSS")[1..3], ["1", "UNKNOWN"]);
    assert_eq!(row("LFALLOC_MAGAZINES")[1], "(1)");
}

#[test]
fn without_a_process_the_defaults_are_printed() {
    let folder = private_folder();
    // Whether it finds something wrong with programs that others have started is no matter here.
    let report = text(&run(folder.path(), &["doctor"]).stdout);
    assert!(report.contains("OPTION") && report.contains("DEFAULT"), "{report}");
    for option in lfalloc_protocol::options::TABLE {
        assert!(report.contains(option.name), "{report}");
    }
}
