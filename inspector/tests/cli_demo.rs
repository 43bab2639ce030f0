//! Aim: what is shown of a real program is true, and the built-in walk goes over every edge. Method:
//! the real binary against itself as the program to watch: the real allocator, the real agent.

#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used, reason = "a failed expectation ends the test")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::demo_target::DemoTarget;
use support::{failure_of, lfinspect, private_folder, run, stdout_of, text};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn integer(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is no integer"))
}

#[test]
fn the_walk_goes_over_every_edge_in_legal_order() {
    let folder = private_folder();
    let page = stdout_of(folder.path(), &["demo", "--once", "--ascii"]);
    assert!(page.starts_with("lfalloc-demo  pid "), "{page}");
    assert!(page.contains("= mapped"), "{page}");
    let last = page.lines().last().unwrap().trim();
    let (seen, rest) = last.split_once(" of ").unwrap();
    let (edges, order) = rest.split_once(" edges seen; ").unwrap();
    assert_eq!(seen, edges, "{page}");
    assert!(seen.parse::<u32>().unwrap() >= 8, "{page}");
    assert!(order.starts_with("order legal in "), "{page}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "a socket was left behind");
}

#[test]
fn without_a_terminal_demo_walks_once() {
    let folder = private_folder();
    let page = stdout_of(folder.path(), &["demo", "--pace", "60000"]);
    assert!(page.contains("EDGES OF THE STATE DIAGRAM"), "{page}");
}

#[test]
fn a_directory_that_no_agent_accepts_is_named() {
    let folder = private_folder();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let line = failure_of(folder.path(), &["demo", "--once"]);
    assert!(line.starts_with("demo: the program to watch did not start: "), "{line}");
    assert!(line.contains(folder.path().to_str().unwrap()), "{line}");
}

#[test]
fn a_running_program_is_listed_and_its_end_removes_it() {
    let folder = private_folder();
    let mut target = DemoTarget::start(folder.path(), &["--pace=5", "--rounds=1000000"]);
    target.go();
    let find = |directory| {
        let list = json(&stdout_of(directory, &["ls", "--json"]));
        let rows = list["processes"].as_array().unwrap();
        let row = rows.iter().find(|row| row["pid"] == target.pid());
        row.unwrap_or_else(|| panic!("{} is not in {list}", target.pid())).clone()
    };
    let row = find(folder.path());
    assert_eq!(row["name"], "lfalloc-demo");
    assert_eq!(row["protocol"], "1.3");
    assert!(integer(&row["mapped_bytes"]) > 0);
    assert!(integer(&row["rss_bytes"]) > 0);
    // Also by somebody who looks in other directories.
    let elsewhere = private_folder();
    assert_eq!(find(elsewhere.path())["name"], "lfalloc-demo");

    let socket = target.socket.clone();
    assert!(socket.exists());
    assert!(target.end());
    assert!(!socket.exists(), "the socket was left behind");
}

#[test]
fn the_walk_goes_on_in_its_scenery() {
    let folder = private_folder();
    let mut target = DemoTarget::start(folder.path(), &["--pace=0"]);
    target.go();
    let socket = target.socket.clone();
    let seen = || {
        let top =
            stdout_of(folder.path(), &["top", "--json", "--socket", socket.to_str().unwrap()]);
        integer(&json(&top)["transitions"]["seen"])
    };
    thread::sleep(Duration::from_secs(1));
    let before = seen();
    thread::sleep(Duration::from_millis(200));
    assert!(seen() > before, "the walk has stopped");
    assert!(target.end());
}

#[test]
fn a_snapshot_at_rest_adds_up() {
    let folder = private_folder();
    let mut target = DemoTarget::start(folder.path(), &["--rounds=2"]);
    target.go();
    assert_eq!(target.line(), "done");
    let pid = target.pid().to_string();
    let snapshot = json(&stdout_of(folder.path(), &["snapshot", &pid]));
    assert_eq!(snapshot["schema"], "lfalloc-snapshot/1");
    assert_eq!(snapshot["process"]["pid"], target.pid());
    assert_eq!(snapshot["consistent"], true);
    assert_eq!(snapshot["in_hand"], 0);
    parts_sum_to_mapped(&snapshot["totals"]);

    let classes = snapshot["classes"].as_array().unwrap();
    let superblocks = snapshot["superblocks"].as_array().unwrap();
    for class in classes {
        let number = &class["class"];
        let counted = integer(&class["allocations"]) - integer(&class["frees"]);
        assert_eq!(counted, integer(&class["live_blocks"]), "class {number}");
        for (state, key) in
            [("ACTIVE", "active"), ("FULL", "full"), ("PARTIAL", "partial"), ("EMPTY", "empty")]
        {
            let listed = superblocks
                .iter()
                .filter(|superblock| superblock["class"] == *number)
                .filter(|superblock| superblock["state"] == state)
                .count();
            assert_eq!(class["superblocks"][key], listed, "class {number} {state}");
        }
    }
    assert!(classes.iter().any(|class| integer(&class["allocations"]) > 0));
    for heap in snapshot["heaps"].as_array().unwrap() {
        let active = superblocks.iter().find(|s| s["id"] == heap["superblock"]).unwrap();
        assert_eq!(active["credits"], heap["credits"]);
    }
    let live: i64 = classes
        .iter()
        .map(|class| integer(&class["live_blocks"]) * integer(&class["block_bytes"]))
        .sum();
    assert_eq!(snapshot["totals"]["live_bytes"], live);
    assert!(integer(&snapshot["transitions"]["seen"]) > 0);
    assert!(target.end());
}

fn parts_sum_to_mapped(totals: &Value) {
    let totals = totals.as_object().unwrap();
    let sum: i64 = totals
        .iter()
        .filter(|(key, _)| *key != "mapped_bytes")
        .map(|(_, part)| integer(part))
        .sum();
    assert_eq!(integer(&totals["mapped_bytes"]), sum, "{totals:?}");
}

#[test]
fn watching_an_idle_program_moves_none_of_its_counters() {
    let folder = private_folder();
    let mut target = DemoTarget::start(folder.path(), &["--rounds=1"]);
    target.go();
    assert_eq!(target.line(), "done");
    let pid = target.pid().to_string();
    let counters = || {
        let top = json(&stdout_of(folder.path(), &["top", &pid, "--json"]));
        (top["classes"].clone(), top["transitions"].clone(), top["totals"]["live_bytes"].clone())
    };
    let before = counters();
    // A quarter of a second of subscription.
    let page = stdout_of(folder.path(), &["top", &pid, "--once"]);
    assert!(page.starts_with("lfalloc-demo  pid "), "{page}");
    assert_eq!(counters(), before);
    assert!(target.end());
}

#[test]
fn a_name_that_fits_several_lists_their_pids() {
    let folder = private_folder();
    let targets = [(); 2].map(|()| DemoTarget::start(folder.path(), &[]));
    let line = failure_of(folder.path(), &["top", "lfalloc-demo"]);
    for target in &targets {
        assert!(line.contains(&format!("{} lfalloc-demo", target.pid())), "{line}");
    }
    assert!(line.ends_with("name one by its pid"), "{line}");
    let line = failure_of(folder.path(), &["top"]);
    assert!(line.contains("programs can be watched: "), "{line}");
}

#[test]
fn a_killed_program_is_listed_as_stale_and_its_socket_named() {
    let folder = private_folder();
    let mut target = DemoTarget::start(folder.path(), &[]);
    target.kill();
    let table = stdout_of(folder.path(), &["ls"]);
    assert!(table.contains("stale socket"), "{table}");
    let listing = stdout_of(folder.path(), &["ls", "--json"]);
    let socket = format!("\"socket\":\"{}\"", target.socket.display());
    assert!(listing.contains(&socket) && listing.contains("\"stale\":true"), "{listing}");
    let report = stdout_of(folder.path(), &["doctor"]);
    assert!(report.contains(&format!("`rm {}`", target.socket.display())), "{report}");
    let line = failure_of(folder.path(), &["top", &target.pid().to_string()]);
    assert!(line.ends_with(&format!("`rm {}`", target.socket.display())), "{line}");
}

#[test]
fn a_stopped_program_is_told_from_one_that_ended() {
    let folder = private_folder();
    let mut target = DemoTarget::start(folder.path(), &[]);
    let pid = target.pid().to_string();
    let signal = |name: &str| {
        let status = std::process::Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(status.success());
    };
    signal("-STOP");
    // The signal takes effect when each thread has met it.
    let status = format!("/proc/{pid}/status");
    while !fs::read_to_string(&status).unwrap().contains("State:\tT") {
        thread::sleep(Duration::from_millis(1));
    }
    let start = Instant::now();
    let output = run(folder.path(), &["doctor", &pid]);
    let report = text(&output.stdout);
    signal("-CONT");
    assert!(start.elapsed() < Duration::from_secs(8));
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert!(report.contains(&format!("`kill -CONT {pid}`")), "{report}");
    let report = stdout_of(folder.path(), &["doctor", &pid]);
    assert!(report.contains("its books balance"), "{report}");
    assert!(target.end());
}

#[test]
fn the_end_of_its_viewer_ends_the_demo() {
    let folder = private_folder();
    // Its standard input is ours to close at once: it must not wait for a "go" that never comes.
    let mut target = DemoTarget::start(folder.path(), &[]);
    let start = Instant::now();
    assert!(target.end());
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    let status = lfinspect(folder.path()).arg("demo-target").status().unwrap();
    assert!(status.success());
}
