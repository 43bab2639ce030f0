//! Aim: a recording may stand wherever a program or a snapshot may: `top`, `lint`, `diff`, `snapshot`. Method: the real
//! binary on recordings of our own making, whose figures are known.
#![allow(clippy::unwrap_used, reason = "a failed expectation ends the test")]

mod support;

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use lfalloc_protocol::codec::encode_into;
use lfalloc_protocol::message::{ClassInfo, Hello, Kind, MAGIC, MAJOR, MINOR, Parts};
use lfinspect::picture::Picture;
use lfinspect::recording::segments::{Keep, Recorder, Written};
use lfinspect::recording::state::{self, each_frame};
use serde_json::Value;
use support::fake::{self, Manner};
use support::{failure_of, run, stdout_of, text};

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/format-1.lfrec");
const MIB: i64 = 1 << 20;
/// 2023-11-14 22:13:20 UTC.
const BEGAN_NS: u64 = 1_700_000_000_000_000_000;

fn hello() -> Hello {
    Hello {
        magic: MAGIC,
        major: MAJOR,
        minor: MINOR,
        allocator_version: "0.1.0".to_owned(),
        pid: 4121,
        name: "hoarder".to_owned(),
        agent_started_unix_ns: 1,
        uptime_ns: 0,
        heaps_per_class: 2,
        classes: vec![ClassInfo {
            block_bytes: 8192,
            superblock_bytes: 65536,
            blocks_per_superblock: 8,
        }],
        features: 1,
    }
}

/// Records a state a second, with so many MiB of EMPTY superblocks each.
fn recorded(path: &Path, empty_mib: &[i64]) {
    let mut picture = Picture::new(hello());
    let mut recorder =
        Recorder::create(path, &picture.hello, BEGAN_NS, 1 << 30, Keep::Newest).unwrap();
    for (second, mib) in (0..).zip(empty_mib) {
        let (mapped, empty) = (mib * MIB + 100, mib * MIB);
        picture.parts = Parts { mapped, empty, live: 100, ..Parts::default() };
        picture.end.parts = picture.parts;
        picture.end.consistent = true;
        picture.end.allocations_after = second * 250;
        picture.uptime_ns = 60_000_000_000 + second * 1_000_000_000;
        let at = Duration::from_secs(second);
        each_frame(&picture, second + 1, |kind, payload| {
            assert_eq!(recorder.write(at, kind, payload).unwrap(), Written::Yes);
            Ok(())
        })
        .unwrap();
    }
    recorder.finish().unwrap();
}

#[test]
fn top_shows_the_last_state_and_says_that_it_is_past() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.lfrec");
    recorded(&path, &[1, 2, 32]);
    let file = path.to_str().unwrap();
    for arguments in [&["top", file][..], &["top", file, "--once"], &["replay", file]] {
        let page = stdout_of(folder.path(), arguments);
        assert!(page.starts_with("hoarder  pid 4121  user recorded  up 1m02s"), "{page}");
        assert!(page.contains("mapped 32.0 MiB") && page.contains("allocations 500 (250/s)"));
        let note = "recorded from 2023-11-14 22:13:20 UTC on; this is its last whole state, of 3, after 2.0 s; \
                    the recording ends here\n";
        assert!(page.ends_with(note), "{page}");
    }
    let json: Value =
        serde_json::from_str(&stdout_of(folder.path(), &["top", file, "--json"])).unwrap();
    assert_eq!(json["totals"]["empty_bytes"], 32 * MIB);
    assert_eq!(json["recorded"]["taken_unix_ms"], BEGAN_NS / 1_000_000 + 2000);
    assert_eq!(json["recorded"]["states"], 3);
    let page = stdout_of(folder.path(), &["top", KEPT]);
    assert!(page.contains("\nrecorded; this is its last whole state, of "), "{page}");
}

#[test]
fn a_recording_cannot_speak_to_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.lfrec");
    let mut hello = hello();
    hello.name = "\u{1b}]0;title\u{7}".to_owned();
    hello.allocator_version = "\u{1b}[2J".to_owned();
    let mut file = File::create(&path).unwrap();
    state::write(&Picture::new(hello), 1, &mut file).unwrap();
    for command in ["top", "snapshot"] {
        let said = stdout_of(folder.path(), &[command, path.to_str().unwrap()]);
        assert!(said.contains("?]0;title?") && !said.contains(['\u{1b}', '\u{7}']), "{said:?}");
    }
}

#[test]
fn snapshots_are_taken_of_recordings() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.lfrec");
    recorded(&path, &[1, 2]);
    let file = path.to_str().unwrap();
    let json: Value = serde_json::from_str(&stdout_of(folder.path(), &["snapshot", file])).unwrap();
    assert_eq!(json["totals"]["mapped_bytes"], 2 * MIB + 100);
    let document = folder.path().join("b.json");
    let one_state = folder.path().join("c.lfrec");
    let (document, one_state) = (document.to_str().unwrap(), one_state.to_str().unwrap());
    stdout_of(folder.path(), &["snapshot", file, "-o", document]);
    assert_eq!(
        serde_json::from_str::<Value>(&fs::read_to_string(document).unwrap()).unwrap(),
        json
    );
    stdout_of(folder.path(), &["snapshot", file, "-o", one_state]);
    let page = stdout_of(folder.path(), &["top", one_state]);
    assert!(page.contains("recorded from 2023-11-14 22:13:21 UTC on;"), "{page}");
    assert!(page.contains("mapped 2.00 MiB"), "{page}");
    stdout_of(folder.path(), &["snapshot", one_state, "-o", document, "--format", "json"]);
    assert_eq!(
        serde_json::from_str::<Value>(&fs::read_to_string(document).unwrap()).unwrap(),
        json
    );
}

#[test]
fn a_program_is_recorded_for_an_instant() {
    let folder = tempfile::tempdir().unwrap();
    fake::start(folder.path(), "served", Manner::Serve { consistent_from: 2 });
    let path = folder.path().join("a.lfrec");
    let file = path.to_str().unwrap();
    stdout_of(folder.path(), &["snapshot", "served", "-o", file]);
    for command in ["top", "replay"] {
        let page = stdout_of(folder.path(), &[command, file]);
        assert!(page.starts_with(&format!("served  pid {}", std::process::id())), "{page}");
        assert!(page.contains("= mapped") && page.contains("state, of 1, after "), "{page}");
    }
    let line = failure_of(folder.path(), &["lint", file]);
    assert!(line.contains("a.lfrec is too short") && line.contains("--for 5"), "{line}");
    let page = stdout_of(folder.path(), &["diff", file, file]);
    assert!(page.contains("1.07 MiB"), "{page}");
    // The same, to standard output.
    let output = run(folder.path(), &["snapshot", "served", "--format", "recording"]);
    assert!(output.stdout.starts_with(b"LFALREC1"), "{:?}", text(&output.stderr));
}

#[test]
fn lints_are_found_at_any_time_of_a_recording() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let name = |name: &str| path(name).to_str().unwrap().to_owned();
    recorded(&path("to-the-end.lfrec"), &[1, 32, 32, 64, 32, 32]);
    let page = stdout_of(folder.path(), &["lint", &name("to-the-end.lfrec")]);
    assert!(page.starts_with("found: empty-hoard (32.0 MiB)\n"), "{page}");
    assert!(page.contains("from 1.0 s of the recording to its end"), "{page}");
    recorded(&path("over.lfrec"), &[1, 32, 32, 32, 32, 64, 1, 1, 1, 1, 1, 1]);
    let page = stdout_of(folder.path(), &["lint", &name("over.lfrec")]);
    assert!(page.starts_with("found: empty-hoard (64.0 MiB)\n"), "{page}");
    assert!(page.contains("from 1.0 s to 8.0 s of the recording"), "{page}");
    let output =
        run(folder.path(), &["lint", &name("over.lfrec"), "--deny", "empty-hoard", "--json"]);
    assert_eq!(output.status.code(), Some(3));
    let report: Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    assert_eq!((&report["watched_ms"], &report["pid"]), (&11_000.into(), &4121.into()));
    assert_eq!(report["findings"][0]["lint"], "empty-hoard");
    // It did not last.
    recorded(&path("short-lived.lfrec"), &[1, 32, 32, 1, 32, 1, 1]);
    let page = stdout_of(folder.path(), &["lint", &name("short-lived.lfrec")]);
    assert!(page.starts_with("nothing is amiss"), "{page}");
    recorded(&path("short.lfrec"), &[32, 32, 32]);
    let line = failure_of(folder.path(), &["lint", &name("short.lfrec")]);
    assert!(line.contains("it spans 2.0 s, and what is amiss must last for 3.0 s"), "{line}");
    let both = run(folder.path(), &["lint", &name("short.lfrec"), "--for", "5"]);
    assert_eq!(both.status.code(), Some(2));
}

#[test]
fn snapshots_and_recordings_are_compared_in_any_mix() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.lfrec");
    recorded(&path, &[1, 2, 4]);
    let file = path.to_str().unwrap();
    let document = folder.path().join("b.json");
    let document = document.to_str().unwrap();
    stdout_of(folder.path(), &["snapshot", file, "-o", document]);
    let status = |arguments: &[&str]| run(folder.path(), arguments).status.code();
    for (before, after) in [(file, document), (document, file), (file, file), (document, document)]
    {
        let same = stdout_of(folder.path(), &["diff", before, after]);
        assert!(
            same.lines().skip(1).all(|line| line.ends_with(" 0 B")
                || line.ends_with(" 0")
                || line.ends_with(" 0.0%")
                || line.ends_with(" -")),
            "{same}"
        );
    }
    assert_eq!(status(&["diff", file, document, "--fail-if", "mapped>+0"]), Some(0));
    // One recording alone: from its first state to its last.
    let page = stdout_of(folder.path(), &["diff", file]);
    assert!(page.contains("+3.00 MiB"), "{page}");
    assert_eq!(status(&["diff", file, "--fail-if", "empty>+2m"]), Some(3));
    let line = failure_of(folder.path(), &["diff", document]);
    assert!(line.contains("b.json alone is compared with nothing"), "{line}");
}

#[test]
fn what_is_no_recording_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fake::start(folder.path(), "served", Manner::Serve { consistent_from: 1 });
    let file = |name: &str, bytes: &[u8]| {
        fs::write(folder.path().join(name), bytes).unwrap();
        folder.path().join(name).to_str().unwrap().to_owned()
    };
    let text_file = file("text.lfrec", b"something else");
    let greeting = {
        let mut payload = vec![0; 1024];
        let used = encode_into(&hello(), &mut payload).unwrap();
        let mut writer = lfinspect::recording::Writer::new(Vec::new(), 1 << 20).unwrap();
        assert!(writer.write(Duration::ZERO, Kind::HELLO, &payload[..used]).unwrap());
        file("greeting.lfrec", &writer.finish().unwrap())
    };
    for command in ["top", "lint", "snapshot", "diff", "replay"] {
        let line = failure_of(folder.path(), &[command, "/no/such.lfrec"]);
        assert!(line.starts_with("cannot read /no/such.lfrec: "), "{line}");
        let line = failure_of(folder.path(), &[command, &text_file]);
        assert!(line.contains("text.lfrec: it is no recording: `lfinspect record"), "{line}");
        let line = failure_of(folder.path(), &[command, &greeting]);
        assert!(
            line.contains("holds no whole state") && line.contains("record for longer"),
            "{line}"
        );
    }
    // A path is never a program; a word that names some other file is one.
    let line = failure_of(folder.path(), &["top", "no/such"]);
    assert!(line.starts_with("cannot read no/such: "), "{line}");
    File::create(folder.path().join("served")).unwrap();
    let output = support::lfinspect(folder.path())
        .args(["top", "served"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(text(&output.stdout).starts_with("served  pid "), "{}", text(&output.stderr));
    // Where only a program will do.
    for command in [&["attach", KEPT][..], &[KEPT], &["doctor", KEPT], &["record", KEPT, "-o", "x"]]
    {
        let output = run(folder.path(), command);
        assert_eq!(output.status.code(), Some(2), "{command:?}");
        assert!(text(&output.stderr).contains("lfinspect replay "), "{}", text(&output.stderr));
    }
}
