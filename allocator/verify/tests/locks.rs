//! Aim: a contended program on the shipped library waits for nobody, and asks the system for memory only. Method: the system calls of its
//! threads, counted under ptrace(2); with a lock of the program's own, which must be seen.

use std::io;
use std::process::Command;

use lfalloc_verify::locks::{judge, retries, tracer};
use lfalloc_verify::shipped::library;

/// The calls of a run; `None` where this process may trace no other.
fn traced(word: &str, magazines: &str) -> Option<tracer::Calls> {
    let library = library().expect("the library");
    let mut command = Command::new(env!("CARGO_BIN_EXE_locks"));
    command.arg(word).env("LD_PRELOAD", library).env("LFALLOC_MAGAZINES", magazines);
    match tracer::trace(&mut command) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            eprintln!("skipped: {error}");
            None
        }
        calls => Some(calls.expect("a traced run")),
    }
}

#[test]
fn a_contended_program_waits_for_nobody() {
    for magazines in ["1", "0"] {
        let Some(calls) = traced("work", magazines) else { return };
        assert!(!calls.is_empty(), "memory was asked for");
        assert_eq!(judge(&calls), Vec::<String>::new(), "LFALLOC_MAGAZINES={magazines}");
    }
}

#[test]
fn a_lock_is_seen() {
    let Some(calls) = traced("lock", "1") else { return };
    let faults = judge(&calls);
    assert!(faults.iter().any(|fault| fault.starts_with("futex")), "{calls:?}");
}

/// Every operation is counted once, and nothing that is handed out twice goes unseen while retries are counted.
#[test]
fn retries_are_counted() {
    let retries = retries::count(4, 50_000);
    assert!((200_000..=400_000).contains(&retries.total()), "{retries:?}");
    assert_eq!(retries.at_least(0), retries.total());
}
