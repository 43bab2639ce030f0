//! `lfalloc-bench`: what lfalloc costs, and what it costs to look at it.
//!
//! | command | measures |
//! |---|---|
//! | `compare` | lfalloc against other allocators, each in programs of its own: time, latency, memory |
//! | `compare-preload` | liblfalloc.so against other libraries with a malloc, preloaded to C programs |
//! | `core [--rounds N] [--only TEXT]` | lfalloc against the system's allocator, nanoseconds per operation |
//! | `snapshot [--superblocks N]` | a census, and a whole state over the socket, with N superblocks (100,000) |
//! | `attach [--lfinspect PATH]` | from connecting to the first whole state of a small program |
//! | `watched --lfinspect PATH` | what a busy program with many superblocks loses by being watched, and what the viewer costs |
//! | `busy [--superblocks N] [--seconds N] [--threads N]` | operations per second of a program with N superblocks (100,000), to be compared with and without a viewer; one line of JSON |
//!
//! ```text
//! cargo run --release -p lfalloc-bench -- compare --json results.json --svg results.svg
//! cargo run --release -p lfalloc-bench -- compare-preload
//! cargo run --release -p lfalloc-bench -- core
//! cargo run --release -p lfalloc-bench -- snapshot
//! cargo run --release -p lfalloc-bench -- attach --lfinspect target/release/lfinspect
//! cargo run --release -p lfalloc-bench -- watched --lfinspect target/release/lfinspect
//! cargo run --release -p lfalloc-bench -- busy --seconds 30   # meanwhile: lfinspect --rate 10 lfalloc-bench
//! ```
//!
//! # How to read it
//!
//! The allocators take turns within every round, so that whatever else the machine does strikes
//! both; the ratio is the median of the rounds' ratios. Rounds are short, so that many are not
//! interrupted at all. Quote medians and ratios of one run, and compare runs only on an idle machine.
//! `min` is the round that was disturbed least.
//!
//! # A static program
//!
//! The same benchmarks, with the C library linked in:
//!
//! ```text
//! RUSTFLAGS="-C target-feature=+crt-static" cargo run --release -p lfalloc-bench \
//!     --target x86_64-unknown-linux-gnu -- core
//! ```
//!
//! # Instructions instead of nanoseconds
//!
//! Each call passes through a function that is never inlined, as it does through `__rust_alloc` in a
//! program, and a profiler tells what is spent in it. Under valgrind there are no restartable
//! sequences, hence no processor number: the thread's number stands in.
//!
//! ```text
//! valgrind --tool=callgrind --demangle=no --callgrind-out-file=callgrind.out \
//!     target/release/lfalloc-bench core --rounds 1 --only 'pair 64 B'
//! callgrind_annotate --tree=calling --inclusive=yes callgrind.out | grep contender
//! ```
//!
//! Mangled, since the functions of the two contenders differ in their types' names only.

mod arguments;
mod attach;
mod busy;
mod churn;
mod compare;
mod comparison;
mod contender;
mod population;
mod snapshot;
mod viewer;
mod watched;
mod workloads;

use std::error::Error;
use std::process::ExitCode;

use arguments::Command;
use lfalloc_bench::statistics;

fn main() -> ExitCode {
    let command = match arguments::parse(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(message) => {
            eprintln!("lfalloc-bench: {message}\n{}", arguments::USAGE);
            return ExitCode::from(2);
        }
    };
    match run(&command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lfalloc-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Help => {
            println!("{}", arguments::USAGE);
            Ok(())
        }
        Command::Compare(options) => compare::run(options),
        Command::ComparePreload(options) => compare::preload::run(options),
        Command::Core { rounds, only } => comparison::run(*rounds, only),
        Command::Snapshot { superblocks } => snapshot::run(*superblocks),
        Command::Attach { lfinspect } => attach::run(lfinspect.as_deref()),
        Command::Watched(options) => watched::run(options),
        Command::Serve => attach::serve(),
        Command::Busy(options) => busy::run(options),
    }
}
