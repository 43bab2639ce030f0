//! Aim: a process may start others at any time, in every way. A forked child has all of its parent's
//! blocks and can allocate at once, whatever the parent's other threads were in the middle of. Method:
//! C programs with threads that allocate all the time.

mod common;

use common::Program;

fn passes(source: &str) {
    let program = Program::compile(source);
    for magazines in ["1", "0"] {
        program.run().env("LFALLOC_MAGAZINES", magazines).outcome().quietly();
    }
}

#[test]
fn forks_from_a_program_of_threads() {
    passes("forks.c");
}

#[test]
fn spawned_vforked_daemonised_and_with_handlers() {
    passes("processes.c");
}
