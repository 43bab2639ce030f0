//! Aim: threads, their ends, and signals may come at any time. Blocks go from thread to thread; a
//! thread may end in every way there is, in the middle of malloc, too; a signal's handler may
//! allocate, and may jump away. Method: C programs that check the contents of what they hold; each
//! with magazines and on the core alone.

mod common;

use common::{Program, passes_every_way};

/// Every argument with magazines and without.
fn passes(source: &str, arguments: &[&str]) {
    let program = Program::compile(source);
    for magazines in ["1", "0"] {
        let run = program.run().args(arguments).env("LFALLOC_MAGAZINES", magazines);
        run.outcome().quietly();
    }
}

#[test]
fn blocks_go_from_thread_to_thread() {
    passes_every_way("exchange.c");
}

#[test]
fn threads_end_in_every_way() {
    passes("thread_ends.c", &[]);
}

#[test]
fn before_main_and_after_it() {
    passes_every_way("before_and_after.c");
}

#[test]
fn handlers_allocate() {
    passes("signals.c", &[]);
}

#[test]
fn handlers_jump_out_of_malloc() {
    passes("signals.c", &["jump"]);
}
