//! Aim: what the environment says is read once, at the program's start, and nonsense is said once; the statistics are
//! written where they were asked for; and without memory a block can still become smaller. Method: a C program in which
//! getauxval(3) allocates, one case a run.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;

use common::{Optimisation, Program, Run, library};

fn program() -> Program {
    Program::compile_with("environment.c", Optimisation::Literal, &["-rdynamic"])
}

#[test]
fn what_is_set_later_is_for_others() {
    let program = program();
    program.run().args(["late"]).outcome().quietly();
}

#[test]
fn nonsense_is_said_once() {
    let names = ["MAGAZINES", "THP", "KEEP_LARGE", "RESERVE", "PURGE_MS", "AGENT", "STATS"];
    let program = program();
    let run = names.iter().fold(program.run().args(["nothing"]), |run, name| {
        run.env(&format!("LFALLOC_{name}"), "nonsense")
    });
    let outcome = run.outcome().succeeded();
    let mut said: Vec<&str> = outcome.stderr.lines().collect();
    said.sort_unstable();
    let mut expected = names.map(|name| format!("lfalloc: LFALLOC_{name}=nonsense ignored: "));
    expected.sort_unstable();
    assert_eq!(said.len(), expected.len(), "{said:?}");
    for (said, expected) in said.iter().zip(&expected) {
        assert!(said.starts_with(expected), "{said}");
    }
}

#[test]
fn statistics_of_a_program_that_closes_standard_error() {
    let program = program();
    for case in ["nothing", "closed"] {
        let run = program.run().args([case]).env("LFALLOC_STATS", "1");
        let outcome = run.outcome().succeeded();
        assert!(outcome.stderr.starts_with("lfalloc "), "{case}: {:?}", outcome.stderr);
    }
    // It may have few descriptors.
    let run = Run::new("sh").args([
        "-c".as_ref(),
        "ulimit -n 50; exec \"$0\" closed".as_ref(),
        program.path(),
    ]);
    let run = run.env("LD_PRELOAD", library()).env("LFALLOC_STATS", "1");
    let outcome = run.outcome().succeeded();
    assert!(outcome.stderr.starts_with("lfalloc "), "{:?}", outcome.stderr);
}

/// What the program has opened under the descriptors that were standard error is its own.
#[test]
fn no_statistics_in_files_of_the_program() {
    let program = program();
    let file = program.folder().join("file");
    let run = program.run().args(["replaced".as_ref(), file.as_os_str()]);
    run.env("LFALLOC_STATS", "1").outcome().quietly();
    assert_eq!(fs::read_to_string(&file).unwrap(), "");
}

#[test]
fn smaller_without_memory() {
    let program = program();
    for magazines in ["1", "0"] {
        program.run().args(["shrink"]).env("LFALLOC_MAGAZINES", magazines).outcome().quietly();
    }
}
