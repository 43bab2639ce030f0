//! `locks`: what a contended program asks of the system under one allocator after the other, and how often a single operation must
//! try again. Fails when lfalloc waits, yields, or asks for anything but memory.

use std::path::Path;
use std::process::{Command, ExitCode};

use lfalloc_verify::locks::contended::{self, OPERATIONS, THREADS};
use lfalloc_verify::locks::tracer::{Calls, WAITING, name, trace};
use lfalloc_verify::locks::{judge, retries};
use lfalloc_verify::shipped::library;

/// The others, where Debian puts them.
const OTHERS: &[(&str, &str)] = &[
    ("jemalloc", "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"),
    ("mimalloc", "/usr/lib/x86_64-linux-gnu/libmimalloc.so.2"),
    ("tcmalloc", "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4"),
];

fn main() -> ExitCode {
    let done = match std::env::args().nth(1).as_deref() {
        Some(word @ ("work" | "lock")) => {
            contended::run(word == "lock");
            Ok(())
        }
        _ => run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("locks: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A run of the program under `preload`.
fn traced(word: &str, preload: Option<&Path>, variables: &[(&str, &str)]) -> Result<Calls, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.arg(word).envs(variables.iter().copied());
    if let Some(preload) = preload {
        command.env("LD_PRELOAD", preload);
    }
    trace(&mut command).map_err(|error| error.to_string())
}

/// One line of the table; all figures are for a million operations.
fn line(called: &str, calls: &Calls) {
    let operations = f64::from(OPERATIONS) * f64::from(THREADS) * 2.0;
    let sum = |pick: &dyn Fn(i64) -> bool| {
        let picked = calls.iter().filter(|(call, _)| pick(call.number));
        picked.map(|(_, times)| *times).sum::<u64>() as f64 * 1e6 / operations
    };
    let futex = sum(&|number| number == libc::SYS_futex);
    let waiting = sum(&|number| WAITING.contains(&number) && number != libc::SYS_futex);
    let mut numbers: Vec<i64> = calls.keys().map(|call| call.number).collect();
    numbers.retain(|number| !WAITING.contains(number));
    numbers.dedup();
    let others: Vec<String> = numbers
        .iter()
        .map(|it| format!("{} {:.1}", name(*it), sum(&|number| number == *it)))
        .collect();
    println!("| {called} | {futex:.1} | {waiting:.1} | {} |", others.join(", "));
}

fn run() -> Result<(), String> {
    let library = library()?;
    println!(
        "{THREADS} threads, {OPERATIONS} allocations and as many frees each; calls for a million operations\n"
    );
    println!("| allocator | futex | other waits | other calls |\n|---|---:|---:|---|");
    let mut faults = Vec::new();
    for (called, variables) in [
        ("lfalloc", &[][..]),
        ("lfalloc, magazines off", &[("LFALLOC_MAGAZINES", "0")]),
        ("lfalloc, with its agent", &[("LFALLOC_AGENT", "1")]),
    ] {
        let calls = traced("work", Some(&library), variables)?;
        line(called, &calls);
        faults.extend(judge(&calls).into_iter().map(|fault| format!("{called}: {fault}")));
    }
    line("the C library's", &traced("work", None, &[])?);
    for (called, path) in OTHERS.iter().map(|(called, path)| (called, Path::new(path))) {
        if path.exists() {
            line(called, &traced("work", Some(path), &[])?);
        } else {
            eprintln!("{called} is not here: {}", path.display());
        }
    }
    let found = traced("lock", Some(&library), &[])?;
    line("lfalloc, and a lock of the program's (must be seen)", &found);
    if judge(&found).is_empty() {
        faults.push("a lock was not seen".to_owned());
    }

    println!(
        "\n| threads on one heap | operations | tried again | 2 times | 4 times | 8 times | at most |\n|---:|---:|---:|---:|---:|---:|---:|"
    );
    for threads in [2, 4, 8, 16] {
        let retries = retries::count(threads, 8_000_000 / threads);
        let of = |failures| retries.at_least(failures);
        let (total, most) = (retries.total(), retries.most());
        println!(
            "| {threads} | {total} | {} | {} | {} | {} | {most} |",
            of(1),
            of(2),
            of(4),
            of(8)
        );
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}
