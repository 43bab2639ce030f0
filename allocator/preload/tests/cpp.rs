//! Aim: C++ programs work, although the library exports no C++ operator: libstdc++'s own call malloc,
//! `aligned_alloc` and free, and a program that replaces some of them gets all calls it has a right
//! to. Method: C++ programs, on magazines and on the core, those about operators built as written and as
//! optimised.

mod common;

use common::{Program, passes_every_way};

#[test]
fn every_form_of_new_and_delete() {
    passes_every_way("operators.cpp");
}

#[test]
fn the_library_at_work() {
    let program = Program::compile("library.cpp");
    program.passes(&[]);
    program.run().env("LFALLOC_MAGAZINES", "0").outcome().quietly();
}

#[test]
fn operators_of_the_program_come_first() {
    passes_every_way("replaced.cpp");
}
