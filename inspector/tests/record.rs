//! Aim: what is recorded can be replayed, also if it was cut off; a recording of an older lfinspect stays readable.
//! Method: the real binary against an agent of our own making; a recording kept since the format was made.

#![allow(clippy::unwrap_used, reason = "a failed expectation ends the test")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use support::fake::{self, Manner};
use support::{failure_of, lfinspect, run, stdout_of, text};

const SERVE: Manner = Manner::Serve { consistent_from: 1 };
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/format-1.lfrec");

#[test]
fn a_program_is_recorded_and_replayed() {
    let folder = tempfile::tempdir().unwrap();
    fake::start(folder.path(), "served", SERVE);
    let file = folder.path().join("a.lfrec");
    let file = file.to_str().unwrap();
    let output =
        run(folder.path(), &["record", "served", "-o", file, "--for", "0.6", "--rate", "10"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("states of"), "{}", text(&output.stderr));
    let page = stdout_of(folder.path(), &["replay", file]);
    assert!(page.starts_with("served") && page.contains("the recording ends here"), "{page}");
    let line = failure_of(folder.path(), &["record", "served", "-o", file, "--for", "0.3"]);
    assert!(line.contains("never written over"), "{line}");
    // Cut off within its last chunk: the page is that of the states before.
    let bytes = fs::read(file).unwrap();
    fs::write(file, &bytes[..bytes.len() - 1]).unwrap();
    let page = stdout_of(folder.path(), &["replay", file]);
    assert!(page.contains("cut off here"), "{page}");
    fs::write(file, &bytes[..300]).unwrap();
    let line = failure_of(folder.path(), &["replay", file]);
    assert!(line.contains("holds no whole state: the recording was cut off here"), "{line}");
    let line = failure_of(folder.path(), &["replay", "/no/such/file"]);
    assert!(line.starts_with("cannot read /no/such/file: "), "{line}");
    let line = failure_of(folder.path(), &["replay", KEPT.trim_end_matches("format-1.lfrec")]);
    assert!(line.contains("cannot"), "{line}");
}

#[test]
fn limits_are_kept_and_understood() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["record", "x"][..],
        &["record", "x", "-o", "f", "--max-size", "12"],
        &["record", "x", "-o", "f", "--max-size", "1T"],
        &["record", "x", "-o", "f", "--for", "0"],
        &["replay", "f", "--speed", "0"],
        &["replay", "f", "--speed", "1001"],
        &["replay", "f", "--speed", "NaN"],
        &["replay", "f", "--from", "-1"],
    ] {
        assert_eq!(run(folder.path(), arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_recording_of_the_first_format_stays_readable() {
    let folder = tempfile::tempdir().unwrap();
    let page = stdout_of(folder.path(), &["replay", KEPT]);
    for figure in [
        "fragment  pid 25802",
        "mapped 12.9 MiB",
        "live 232 KiB",
        "SUPERBLOCKS",
        "the recording ends here",
    ] {
        assert!(page.contains(figure), "{figure}: {page}");
    }
}

/// A recorder of a program that never rests, with a limit of which little fits.
fn churn(folder: &Path, file: &str, more: &[&str]) -> Child {
    let arguments = ["record", "churn", "-o", file, "--max-size", "64K"];
    let mut command = lfinspect(folder);
    command.args(arguments).args(more).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until `there` is.
fn wait_for(there: &Path) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !there.exists() {
        assert!(Instant::now() < deadline, "{} never came", there.display());
        thread::sleep(Duration::from_millis(5));
    }
}

fn length(path: &str) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

#[test]
fn the_newest_part_is_kept_and_replays_while_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    fake::start(folder.path(), "churn", Manner::Churn);
    let path = folder.path().join("a.lfrec");
    let file = path.to_str().unwrap();
    let older = format!("{file}.1");
    let mut child = churn(folder.path(), file, &[]);
    wait_for(older.as_ref());
    for _ in 0..10 {
        let page = stdout_of(folder.path(), &["replay", file]);
        assert!(page.starts_with("churn") && page.contains("recorded from 20"), "{page}");
        assert!(length(file) + length(&older) <= 64 << 10);
    }
    assert_eq!(child.try_wait().unwrap(), None, "it goes on");
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("stopped by a signal") && said.contains("a.lfrec.1 and "), "{said}");
    let page = stdout_of(folder.path(), &["replay", file]);
    assert!(page.contains("the recording ends here"), "{page}");
    // Neither half is written over by another recording.
    let line = failure_of(folder.path(), &["record", "churn", "-o", file]);
    assert!(line.contains("never written over"), "{line}");
    fs::remove_file(file).unwrap();
    let line = failure_of(folder.path(), &["record", "churn", "-o", file]);
    assert!(line.contains("a.lfrec.1 would become the older half"), "{line}");
    // Killed between the renaming and the creation: the older half is the recording.
    let page = stdout_of(folder.path(), &["replay", file]);
    assert!(page.starts_with("churn"), "{page}");
}

#[test]
fn a_recorder_that_is_killed_leaves_a_recording() {
    let folder = tempfile::tempdir().unwrap();
    fake::start(folder.path(), "churn", Manner::Churn);
    for round in 0..8 {
        let path = folder.path().join(format!("{round}.lfrec"));
        let file = path.to_str().unwrap();
        let mut child = churn(folder.path(), file, &[]);
        wait_for(format!("{file}.1").as_ref());
        thread::sleep(Duration::from_millis(round * 7));
        child.kill().unwrap();
        child.wait().unwrap();
        let page = stdout_of(folder.path(), &["top", file]);
        assert!(page.starts_with("churn") && page.contains("= mapped"), "{page}");
    }
}

#[test]
fn it_ends_at_the_limit_if_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    fake::start(folder.path(), "churn", Manner::Churn);
    let path = folder.path().join("a.lfrec");
    let file = path.to_str().unwrap();
    let output = churn(folder.path(), file, &["--stop-at-limit"]).wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.starts_with("the size limit is reached: "), "{said}");
    assert!(length(file) <= 64 << 10 && length(file) > 60 << 10);
    assert!(!folder.path().join("a.lfrec.1").exists());
}
