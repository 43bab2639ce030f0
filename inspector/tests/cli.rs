//! Aim: what the command line promises: output, exit status, and errors that name the thing, the
//! reason and the next step. Method: the real binary against an agent of our own making.

mod support;

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::fake::{self, Manner};
use support::{failure_of, lfinspect, run, stdout_of, text};

const SERVE: Manner = Manner::Serve { consistent_from: 1 };

fn own_pid() -> String {
    std::process::id().to_string()
}

#[test]
fn help_names_every_command_but_the_hidden_one() {
    let folder = tempfile::tempdir().unwrap();
    let help = stdout_of(folder.path(), &["--help"]);
    for word in ["ls", "attach", "top", "snapshot", "doctor", "--socket", "--rate", "--log"] {
        assert!(help.contains(word), "{word}: {help}");
    }
    assert!(!help.contains("demo-target"), "{help}");
    assert!(stdout_of(folder.path(), &["--version"]).starts_with("lfinspect "));
}

#[test]
fn a_command_line_that_is_not_understood_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["--no-such-flag"][..],
        &["--rate=0", "ls"],
        &["top", "1", "--socket", "/x"],
        &["indexer", "ls"],
        &["attach", "--wait"],
        &["--wait"],
        &["--follow", "ls"],
        &["top", "1", "--once", "--json"],
    ] {
        let output = run(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn two_snapshots_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    fake::start(folder.path(), "served", SERVE);
    let file = folder.path().join("a.json");
    let file = file.to_str().unwrap();
    stdout_of(folder.path(), &["snapshot", "served", "-o", file]);
    let page = stdout_of(folder.path(), &["diff", file, file]);
    for word in ["mapped", "external", "pinned", "CHANGE"] {
        assert!(page.contains(word), "{word}: {page}");
    }
    let status = |arguments: &[&str]| run(folder.path(), arguments).status.code();
    assert_eq!(status(&["diff", file, file, "--fail-if", "mapped>+0"]), Some(0));
    let met =
        run(folder.path(), &["diff", file, file, "--fail-if", "mapped>0", "--fail-if", "live<-1"]);
    assert_eq!(met.status.code(), Some(3));
    assert_eq!(text(&met.stderr), "lfinspect: met: mapped>0\n");
    assert_eq!(status(&["diff", file, file, "--fail-if", "maped>0"]), Some(2));
    let line = failure_of(folder.path(), &["diff", file, "/no/such/file"]);
    assert!(line.starts_with("cannot read /no/such/file: "), "{line}");
    fs::write(folder.path().join("b.json"), "{\"schema\": \"other/1\"}").unwrap();
    let other = folder.path().join("b.json");
    let line = failure_of(folder.path(), &["diff", file, other.to_str().unwrap()]);
    assert!(line.contains("'other/1'"), "{line}");
}

#[test]
fn lints_are_told_and_denied() {
    let folder = tempfile::tempdir().unwrap();
    fake::start(folder.path(), "served", SERVE);
    let page = stdout_of(folder.path(), &["lint", "served", "--for", "0.3"]);
    assert!(page.starts_with("nothing is amiss"), "{page}");
    let json =
        stdout_of(folder.path(), &["lint", "served", "--for", "0.3", "--json", "--deny=all"]);
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&report["schema"], &report["name"]), (&"lfalloc-lint/1".into(), &"served".into()));
    let output = run(folder.path(), &["lint", "served", "--deny=pinned"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("pinned-superblocks"));
}

#[test]
fn words_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let text = stdout_of(folder.path(), &["explain", "external", "fragmentation"]);
    assert!(text.starts_with("external fragmentation\n") && text.contains("computed"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 78), "{text}");
    let list = stdout_of(folder.path(), &["explain"]);
    for word in list.lines() {
        assert!(stdout_of(folder.path(), &["explain", word]).contains("what"), "{word}");
    }
    let line = failure_of(folder.path(), &["explain", "credts"]);
    assert!(line.contains("did you mean 'credit"), "{line}");
}

#[test]
fn completions_and_manual_pages_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout_of(folder.path(), &["completions", shell]);
        assert!(script.contains("snapshot") && script.contains("stop-at-limit"), "{shell}");
    }
    let page = stdout_of(folder.path(), &["man"]);
    assert!(page.contains(".TH lfinspect 1") && page.contains("doctor"), "{page}");
    let page = stdout_of(folder.path(), &["man", "record"]);
    assert!(page.contains("stop\\-at\\-limit"), "{page}");
    assert_eq!(run(folder.path(), &["man", "no-such"]).status.code(), Some(2));
}

#[test]
fn an_unknown_program_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let line = failure_of(folder.path(), &["top", "4294967295", "--once"]);
    assert!(line.starts_with("no process has pid 4294967295: "), "{line}");
    let line = failure_of(folder.path(), &["snapshot", "no-such-program"]);
    assert!(line.starts_with("no program named 'no-such-program' shows lfalloc: "), "{line}");
    let line = failure_of(folder.path(), &["attach", &own_pid()]);
    assert!(line.contains("lfalloc_agent::start()"), "{line}");
    let line = failure_of(folder.path(), &["top", "--socket", "/no/such.sock"]);
    assert!(line.contains("/no/such.sock") && line.contains("lfinspect ls"), "{line}");
}

#[test]
fn another_version_is_named_together_with_ours() {
    let folder = tempfile::tempdir().unwrap();
    let pid = own_pid();
    let ours = format!("this lfinspect {} speaks 1.3: install", env!("CARGO_PKG_VERSION"));
    fake::start(folder.path(), "refusing", Manner::RefuseVersion);
    let line = failure_of(folder.path(), &["top", "refusing"]);
    assert!(line.contains("(protocol 2.0)") && line.contains(&ours), "{line}");

    let folder = tempfile::tempdir().unwrap();
    fake::start(folder.path(), "greeting", Manner::GreetInVersion2);
    let line = failure_of(folder.path(), &["top", &pid]);
    let start = format!("pid {pid} runs lfalloc 0.9.1 (protocol 2.3); {ours}");
    assert!(line.starts_with(&start), "{line}");
    assert!(line.ends_with("install lfinspect 0.9.1"), "{line}");
}

#[test]
fn an_agent_that_does_not_behave_gives_one_line() {
    let folder = tempfile::tempdir().unwrap();
    for (name, manner, reason) in [
        ("busy", Manner::Busy, "no place for another viewer"),
        ("silent", Manner::Silent, "did not answer within"),
        ("nonsense", Manner::Nonsense, "sent what is not the protocol"),
    ] {
        let path = fake::start(folder.path(), name, manner);
        let start = Instant::now();
        let line = failure_of(folder.path(), &["snapshot", "--socket", path.to_str().unwrap()]);
        assert!(line.contains(reason), "{name}: {line}");
        assert!(start.elapsed() < Duration::from_secs(8), "{name}: {:?}", start.elapsed());
    }
}

#[test]
fn ls_shows_figures_and_reasons() {
    let folder = tempfile::tempdir().unwrap();
    fake::start(folder.path(), "served", SERVE);
    fake::start(folder.path(), "silent", Manner::Silent);
    drop(UnixListener::bind(folder.path().join("stale.4000001.sock")).unwrap());
    let table = stdout_of(folder.path(), &["ls"]);
    let row = table.lines().find(|line| line.contains("served")).unwrap();
    for cell in [&own_pid(), "1m01s", "1.07 MiB", "1.03 MiB", "50.0%", "1.3"] {
        assert!(row.split("  ").any(|word| word.trim() == cell), "{cell}: {row}");
    }
    assert!(table.contains("silent: no answer within 1.0 s"), "{table}");
    assert!(table.contains(" stale socket"), "{table}");
    assert!(!table.contains("stale.4000001"), "{table}");
}

#[test]
fn ls_json_is_one_line_with_exact_figures() {
    let folder = tempfile::tempdir().unwrap();
    let socket = fake::start(folder.path(), "served", SERVE);
    let line = stdout_of(folder.path(), &["ls", "--json"]);
    assert_eq!(line.lines().count(), 1);
    let list: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(list["schema"], "lfalloc-list/1");
    let rows = list["processes"].as_array().unwrap();
    let row = rows.iter().find(|row| row["name"] == "served").unwrap();
    assert_eq!(row["pid"], std::process::id());
    assert_eq!(row["mapped_bytes"], 65536 + fake::LARGE_BYTES + 4096);
    assert_eq!(row["live_bytes"], 4 * 8192 + fake::LARGE_BYTES);
    assert_eq!(row["external_fraction"], 0.5);
    assert_eq!(row["socket"], socket.to_str().unwrap());
    assert!(row["rss_bytes"].as_u64().unwrap() > 0);
}

#[test]
fn a_snapshot_is_asked_for_until_it_is_consistent() {
    let folder = tempfile::tempdir().unwrap();
    fake::start(folder.path(), "settling", Manner::Serve { consistent_from: 4 });
    let snapshot: Value =
        serde_json::from_str(&stdout_of(folder.path(), &["snapshot", "settling"])).unwrap();
    assert_eq!(snapshot["schema"], "lfalloc-snapshot/1");
    assert_eq!(snapshot["consistent"], true);
    assert_eq!(snapshot["classes"].as_array().unwrap().len(), 2);
    assert_eq!(snapshot["superblocks"][0]["state"], "ACTIVE");
    assert_eq!(snapshot["superblocks"][0]["address"], "0x7f0000010000");
    assert_eq!(snapshot["heaps"][0]["credits"], 3);
    let totals = snapshot["totals"].as_object().unwrap();
    let sum: i64 = totals
        .iter()
        .filter(|(key, _)| *key != "mapped_bytes")
        .map(|(_, value)| value.as_i64().unwrap())
        .sum();
    assert_eq!(totals["mapped_bytes"], sum);
}

#[test]
fn a_snapshot_that_never_settles_says_so() {
    let folder = tempfile::tempdir().unwrap();
    fake::start(folder.path(), "busy", Manner::Serve { consistent_from: u64::MAX });
    let file = folder.path().join("snapshot.json");
    let output = run(folder.path(), &["snapshot", "busy", "-o", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), "");
    assert!(text(&output.stderr).contains("\"consistent\": false"));
    let snapshot: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(snapshot["consistent"], false);
}

#[test]
fn a_snapshot_that_cannot_be_written_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    fake::start(folder.path(), "served", SERVE);
    let line = failure_of(folder.path(), &["snapshot", "served", "-o", "/no/such/folder/file"]);
    assert!(line.starts_with("cannot write /no/such/folder/file: "), "{line}");
}

#[test]
fn without_a_terminal_every_way_in_prints_the_same_page() {
    let folder = tempfile::tempdir().unwrap();
    let socket = fake::start(folder.path(), "served", SERVE);
    let socket = socket.to_str().unwrap();
    let pid = own_pid();
    for arguments in
        [&["served"][..], &["attach", "served"], &["top", &pid, "--once"], &["--socket", socket]]
    {
        let page = stdout_of(folder.path(), arguments);
        assert!(page.starts_with(&format!("served  pid {pid}  user ")), "{page}");
        assert!(page.contains("live 1.03 MiB"), "{page}");
        assert!(page.contains("= mapped"), "{page}");
        assert!(page.contains("EMPTY   > ACTIVE"), "{page}");
        assert!(!page.contains('\u{1b}'), "{page:?}");
    }
    assert!(stdout_of(folder.path(), &["served", "--ascii"]).is_ascii());
}

#[test]
fn top_json_is_one_line_of_totals_and_classes() {
    let folder = tempfile::tempdir().unwrap();
    fake::start(folder.path(), "served", SERVE);
    let line = stdout_of(folder.path(), &["top", "served", "--json"]);
    assert_eq!(line.lines().count(), 1);
    let top: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(top["totals"]["large_bytes"], fake::LARGE_BYTES);
    assert_eq!(top["classes"][1]["live_blocks"], 4);
    assert_eq!(top.get("superblocks"), None);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    fake::start(folder.path(), "served", SERVE);
    for arguments in [&["ls"][..], &["ls", "--json"], &["snapshot", "served"], &["top", "served"]] {
        let mut child = lfinspect(folder.path())
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    }
}

#[test]
fn an_output_that_takes_nothing_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    fake::start(folder.path(), "served", SERVE);
    for arguments in [
        &["ls"][..],
        &["ls", "--json"],
        &["snapshot", "served"],
        &["top", "served"],
        &["top", "served", "--json"],
        &["doctor", "served"],
    ] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = lfinspect(folder.path()).args(arguments).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert_eq!(
            text(&output.stderr),
            "lfinspect: cannot write to standard output: No space left on device\n",
            "{arguments:?}"
        );
    }
}

#[test]
fn a_path_cannot_speak_to_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("\u{1b}]0;title\u{7}\u{202e}");
    fs::create_dir(&directory).unwrap();
    let path = directory.join("stale.4000001.sock");
    drop(UnixListener::bind(&path).unwrap());
    let path = path.to_str().unwrap();
    for arguments in [&["top", "--socket", path][..], &["doctor", "--socket", path]] {
        let output = run(folder.path(), arguments);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(said.contains("/?]0;title??/stale.4000001.sock"), "{said:?}");
        assert!(!said.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{said:?}");
    }
}

#[test]
fn waiting_ends_when_the_program_appears() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = lfinspect(folder.path())
        .args(["attach", "late", "--wait"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_millis(300));
    assert_eq!(child.try_wait().unwrap(), None, "it did not wait");
    fake::start(folder.path(), "late", SERVE);
    let mut page = String::new();
    child.stdout.take().unwrap().read_to_string(&mut page).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(page.starts_with("late  pid "), "{page}");
}

#[test]
fn doctor_fails_only_where_something_fails() {
    let folder = tempfile::tempdir().unwrap();
    let set_mode = |mode| fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode));
    set_mode(0o700).unwrap();
    fake::start(folder.path(), "served", SERVE);
    let report = stdout_of(folder.path(), &["doctor", "served"]);
    assert!(report.contains("ok    pid "), "{report}");
    assert!(report.contains("its books balance"), "{report}");

    let output = run(folder.path(), &["doctor", "4294967295"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("fail  no process has pid 4294967295\n      -> "));

    set_mode(0o775).unwrap();
    let output = run(folder.path(), &["doctor", "served"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("chmod 700"), "{}", text(&output.stdout));
}

#[test]
fn a_log_is_written_where_it_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    fake::start(folder.path(), "served", SERVE);
    let log = folder.path().join("log");
    let arguments = ["ls", "--log", log.to_str().unwrap()];
    let output =
        lfinspect(folder.path()).args(arguments).env("LFINSPECT_LOG", "debug").output().unwrap();
    assert!(output.status.success());
    let written = fs::read_to_string(&log).unwrap();
    assert!(written.contains("lfinspect starts"), "{written}");
    assert!(written.contains("connected"), "{written}");
    let line = failure_of(folder.path(), &["ls", "--log", "/no/such/folder/log"]);
    assert!(line.starts_with("cannot write the log /no/such/folder/log: "), "{line}");
}
