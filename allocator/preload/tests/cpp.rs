//! Aim: C++ programs work, although the library exports no C++ operator: libstdc++'s own call malloc,
//! `aligned_alloc` and free, and a program that replaces some of them gets all calls it has a right
//! to. Method: C++ programs, each built as written and as optimised, on magazines and on the core.

mod common;

use common::passes_every_way;

#[test]
fn every_form_of_new_and_delete() {
    passes_every_way("operators.cpp");
}

#[test]
fn the_library_at_work() {
    passes_every_way("library.cpp");
}

#[test]
fn operators_of_the_program_come_first() {
    passes_every_way("replaced.cpp");
}
