//! Aim: a thread that is frozen or dies at any instruction of the shipped library holds nobody up. Method: a sample of what the
//! program `freeze` does, in a few operations. And aim: it would be seen. Method: the same with the C library's allocator, which has locks.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::process::Command;

/// Whether this process may trace its children: in some containers it may not.
fn may_trace() -> bool {
    // SAFETY: the child only makes system calls.
    let child = unsafe { libc::fork() };
    if child == 0 {
        loop {
            // SAFETY: waits until the parent ends it.
            unsafe { libc::pause() };
        }
    }
    // SAFETY: takes hold of a child (ptrace(2)).
    let seized =
        unsafe { libc::ptrace(libc::PTRACE_SEIZE, child, 0_u64, libc::PTRACE_O_EXITKILL as u64) };
    // SAFETY: a child of this process.
    unsafe { libc::kill(child, libc::SIGKILL) };
    // SAFETY: its status is not wanted (waitpid(2)).
    unsafe { libc::waitpid(child, std::ptr::null_mut(), libc::__WALL) };
    seized == 0
}

/// Runs the program; whether it found nothing, and what it said.
fn freeze(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_freeze")).args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn the_others_go_on() {
    if !may_trace() {
        println!("passed over: ptrace(2) is not permitted here");
        return;
    }
    let operations = "magazine empty, from|magazine full|large, kept as addresses|core free: FULL";
    let (is_good, said) = freeze(&["--short", "--operation", operations]);
    assert!(is_good, "{said}");
}

#[test]
fn a_lock_is_found() {
    if !may_trace() {
        println!("passed over: ptrace(2) is not permitted here");
        return;
    }
    let (is_good, said) = freeze(&["--library", "glibc", "--operation", "malloc: of 1 MiB"]);
    assert!(!is_good && said.contains("futex(2)"), "{said}");
}
