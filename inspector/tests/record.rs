//! Aim: what is recorded can be replayed, also if it was cut off; a recording of an older lfinspect stays readable.
//! Method: the real binary against an agent of our own making; a recording kept since the format was made.

mod support;

use std::fs;

use support::fake::{self, Manner};
use support::{failure_of, run, stdout_of, text};

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
    assert!(line.contains("cannot replay") || line.contains("holds no whole state"), "{line}");
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
