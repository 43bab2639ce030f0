//! Aim: whatever clients do to its agent, a program has the same results, no more memory, threads and descriptors than it should,
//! and is served afterwards. Method: every siege and every surrounding of the command `siege`, for a moment each; how fast the program
//! is under siege only the command judges, which has time to measure.

use std::path::Path;
use std::time::Duration;

use lfalloc_verify::shipped::library;
use lfalloc_verify::siege::clients::SIEGES;
use lfalloc_verify::siege::surroundings::SURROUNDINGS;
use lfalloc_verify::siege::windows::{Plan, measure};

const PROGRAM: &str = env!("CARGO_BIN_EXE_siege");

#[test]
fn no_siege_changes_anything() {
    let library = library().expect("the library");
    let plan = Plan { pairs: 1, window: Duration::from_millis(300), judges_speed: false };
    for siege in SIEGES {
        let outcome = measure(siege, &plan, Path::new(PROGRAM), &library);
        let outcome = outcome.unwrap_or_else(|error| panic!("{}: {error}", siege.name));
        assert!(outcome.faults.is_empty(), "{}: {outcome:#?}", siege.name);
        assert!(outcome.clients[0] > 0, "{}: nobody came", siege.name);
    }
}

#[test]
fn whatever_is_around_it_a_program_goes_on() {
    let library = library().expect("the library");
    for surrounding in SURROUNDINGS {
        match surrounding.check(Path::new(PROGRAM), &library) {
            Ok(verdict) => eprintln!("{}: {verdict:?}", surrounding.name),
            Err(error) => panic!("{}: {error}", surrounding.name),
        }
    }
}
