//! Aim: every soak in short, and that soaks can fail. Method: as `soak` runs them, for a moment each; then with a library under which they
//! must fail, with a thread that stands still, and with faults planted between the library and the shadow.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use lfalloc_verify::shipped;
use lfalloc_verify::soak::supervisor::{Outcome, Setting, run};
use lfalloc_verify::soak::{Soak, fuzz, named, report};

fn setting(library: Option<PathBuf>) -> Setting {
    Setting {
        program: Path::new(env!("CARGO_BIN_EXE_soak")).to_owned(),
        library,
        scale: 1.0,
        time: None,
        patience: Duration::from_secs(60),
        tell_every: None,
        seed: 1,
        environment: Vec::new(),
    }
}

fn passed(names: &[&str]) {
    let setting = Setting {
        time: Some(Duration::from_millis(500)),
        ..setting(Some(shipped::library().unwrap()))
    };
    for name in names {
        let outcome = run(soak(name), &setting).unwrap();
        println!("{}", report::row(&outcome));
        assert_eq!(outcome.failure, None, "{name}");
        let done = outcome.board.done.load(std::sync::atomic::Ordering::Relaxed);
        assert!(done > 0, "{name} did nothing");
    }
}

fn soak(name: &str) -> &'static Soak {
    named(name).unwrap()
}

/// Aim: handlers may allocate whatever they interrupt.
#[test]
fn signals() {
    passed(&["signals", "signals-core", "signals-no-rseq", "stepping"]);
}

/// Aim: children of a busy process may allocate, and programs that are run are none of its business.
#[test]
fn children() {
    passed(&["forks", "forks-core", "spawns"]);
}

/// Aim: a thread may end as it likes.
#[test]
fn thread_ends() {
    passed(&["thread-ends", "thread-ends-core"]);
}

/// Aim: the scheduler may do what it likes.
#[test]
fn scheduling() {
    passed(&["crowd", "crowd-core", "priorities", "priorities-core", "migrations", "drains"]);
}

/// Aim: all of it at once.
#[test]
fn weather() {
    passed(&["weather"]);
}

/// Aim: sequences of all entry points do what they should.
#[test]
fn fuzzing() {
    passed(&["fuzz", "fuzz-core", "fuzz-no-rseq"]);
}

/// Aim: what soaks look at is noticed. Method: soaks that do what is wrong.
#[test]
fn what_is_wrong_is_noticed() {
    let says = [
        // pause(2) is system call 34.
        ("wrong-stuck", "state S, system call 34,"),
        ("wrong-twice", "it is not its holder's any more"),
        ("wrong-stray", "word 12 of block"),
        ("wrong-lost", "1 blocks more are live than at the start"),
        ("wrong-crash", "killed by signal 9"),
    ];
    for (name, what) in says {
        let patience = Duration::from_secs(if name == "wrong-stuck" { 1 } else { 60 });
        let setting = Setting { patience, ..setting(Some(shipped::library().unwrap())) };
        let failure = run(soak(name), &setting).unwrap().failure.unwrap_or_default();
        assert!(failure.contains(what), "{name}: {failure}");
    }
}

/// Aim: an allocator with locks fails the soak of signals. Method: glibc's own, whose handlers wait for what their threads hold.
#[test]
fn locks_fail() {
    let setting = Setting {
        patience: Duration::from_secs(2),
        time: Some(Duration::from_secs(20)),
        ..setting(None)
    };
    let outcome = run(soak("signals"), &setting).unwrap();
    assert!(outcome.failure.is_some(), "{}", report::row(&outcome));
}

/// Aim: each kind of fault is found, and cut down to the few operations that it takes. Method: faults planted between the library and the
/// shadow.
#[test]
fn planted_faults_are_found() {
    let says = [
        ("twice", "overlap", 2),
        ("dirty", "are not zero", 1),
        ("short", "at byte", 2),
        ("unaligned", "is no multiple of 64", 1),
        ("errno", "errno became", 1),
        ("lost", "blocks missing", 1),
    ];
    assert_eq!(says.map(|(fault, ..)| fault), fuzz::FAULTS);
    for (fault, what, least) in says {
        let setting = Setting {
            time: Some(Duration::from_secs(20)),
            environment: vec![(fuzz::FAULT.into(), fault.into())],
            ..setting(Some(shipped::library().unwrap()))
        };
        let outcome: Outcome = run(soak("fuzz"), &setting).unwrap();
        let failure = outcome.failure.as_deref().unwrap_or_default();
        assert!(failure.contains(what), "{fault}: {failure}");
        let shortest = fuzz::shrink(&outcome, &setting).unwrap();
        println!("{fault}: {shortest}\n");
        assert!(shortest.contains(&format!(": {least} of 100000 operations")), "{shortest}");
        assert!(shortest.contains(what), "{shortest}");
    }
}
