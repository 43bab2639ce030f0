//! Aim: every variable of the environment is obeyed, and a value that makes no sense is said once and does no harm. Method: a program
//! that allocates some of everything, run with each.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_types, reason = "what waits here is no allocator")]

mod common;

use std::sync::OnceLock;

use common::{Outcome, Program};
use lfalloc_protocol::options::{Reader, TABLE, Verdict, check};

fn run(variables: &[(&str, &str)]) -> Outcome {
    run_with(variables, &[])
}

fn run_with(variables: &[(&str, &str)], arguments: &[&str]) -> Outcome {
    static PROGRAM: OnceLock<Program> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| Program::compile("own_options.c"));
    let run = variables
        .iter()
        .fold(program.run().args(arguments), |run, (name, value)| run.env(name, value));
    run.outcome().succeeded()
}

/// What the program prints: bytes mapped after it has freed everything, and after its last pause.
fn mapped(variables: &[(&str, &str)]) -> [u64; 2] {
    let outcome = run_with(variables, &["wait"]);
    assert_eq!(outcome.stderr, "", "{variables:?}");
    let numbers: Vec<_> =
        outcome.stdout.split_whitespace().map(|word| word.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

#[test]
fn nonsense_is_said_once() {
    for (name, value) in [
        ("LFALLOC_AGENT", "yes"),
        ("LFALLOC_STATS", "2"),
        ("LFALLOC_MAGAZINES", "off"),
        ("LFALLOC_THP", "always"),
        ("LFALLOC_KEEP_LARGE", "much"),
        ("LFALLOC_RESERVE", "-1"),
        ("LFALLOC_PURGE_MS", "1s"),
    ] {
        let outcome = run(&[(name, value)]);
        let line = outcome.only_line();
        assert!(line.starts_with(&format!("lfalloc: {name}={value} ignored")), "{line}");
    }
}

/// What `lfinspect doctor` says of a value is what the library does with it.
#[test]
fn the_table_is_true() {
    for option in TABLE.iter().filter(|option| option.reader == Reader::Program) {
        for value in [
            "", "0", "1", "2", "7", "children", "64M", "64m", "2G", "1K", "+5", "-1", "1.5G",
            "1MM", "nonsense",
        ] {
            // Only what is said of it counts here.
            let variables = [(option.name, value), ("LFALLOC_DIR", "/nonexistent/folder")];
            let outcome = run(&variables);
            let is_refused = outcome.stderr.contains(&format!("{}={value} ignored", option.name));
            let verdict = check(option.name.as_bytes(), value.as_bytes());
            assert_eq!(
                is_refused,
                verdict == Verdict::Invalid,
                "{}={value}: {verdict:?}",
                option.name
            );
        }
    }
}

#[test]
fn an_empty_value_is_none() {
    for name in
        ["LFALLOC_AGENT", "LFALLOC_STATS", "LFALLOC_MAGAZINES", "LFALLOC_THP", "LFALLOC_KEEP_LARGE"]
    {
        assert_eq!(run(&[(name, "")]).stderr, "", "{name}");
    }
}

#[test]
fn statistics_come_at_the_end() {
    let outcome = run(&[("LFALLOC_STATS", "1")]);
    assert!(outcome.stderr.contains("allocations"), "{}", outcome.stderr);
}

/// The program frees 64 MiB of large blocks and 64 MiB of small ones, and goes on with little for a while.
#[test]
fn limits_are_obeyed() {
    const MIB: u64 = 1 << 20;
    let [freed, later] = mapped(&[]);
    assert!(freed > 64 * MIB && later < freed - 16 * MIB, "{freed} {later}");
    let [freed, _] =
        mapped(&[("LFALLOC_KEEP_LARGE", "0"), ("LFALLOC_RESERVE", "0"), ("LFALLOC_PURGE_MS", "1")]);
    assert!(freed < 64 * MIB, "{freed}");
    let [freed, later] = mapped(&[("LFALLOC_PURGE_MS", "0"), ("LFALLOC_RESERVE", "1G")]);
    assert!(freed > 100 * MIB && later > freed - 4 * MIB, "{freed} {later}");
}
