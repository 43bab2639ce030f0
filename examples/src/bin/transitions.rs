//! `transitions [--pace MS]`: every state a superblock can be in and every way from one to another, step by step.
//!
//! Prints what is done, and the transitions it caused as the allocator recorded them.

use std::process::ExitCode;
use std::time::Duration;

use lfalloc::observe::{State, Transition, TransitionCursor};
use lfalloc_examples::walk::Walk;

fn main() -> ExitCode {
    let pace = match pace_from(std::env::args().skip(1)) {
        Ok(pace) => pace,
        Err(text) => {
            eprintln!("transitions: {text}; usage: transitions [--pace MILLISECONDS]");
            return ExitCode::from(2);
        }
    };
    let mut cursor = TransitionCursor::now();
    let mut walk = Walk::new(pace).narrated(Box::new(move |step| {
        print_transitions(&mut cursor);
        println!("\n{step}");
    }));
    match walk.run_once() {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("transitions: {text}");
            ExitCode::FAILURE
        }
    }
}

fn pace_from(mut arguments: impl Iterator<Item = String>) -> Result<Duration, String> {
    match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => Ok(Duration::ZERO),
        (Some("--pace"), Some(text)) => match text.parse() {
            Ok(milliseconds) => Ok(Duration::from_millis(milliseconds)),
            Err(_) => Err(format!("{text:?} is no number of milliseconds")),
        },
        (Some("--pace"), None) => Err("--pace needs a number of milliseconds".to_owned()),
        (Some(other), _) => Err(format!("unknown argument {other:?}")),
    }
}

/// The transitions since the last step.
fn print_transitions(cursor: &mut TransitionCursor) {
    let mut events = [Transition::NOTHING; 64];
    let (count, _) = cursor.read(&mut events);
    for event in &events[..count] {
        println!(
            "    superblock {:<3} {:>7} → {:<7}  by {:?} (tag {})",
            event.superblock,
            name(event.from),
            name(event.to),
            event.cause,
            event.tag,
        );
    }
}

fn name(state: State) -> &'static str {
    match state {
        State::Active => "ACTIVE",
        State::Full => "FULL",
        State::Partial => "PARTIAL",
        State::Empty => "EMPTY",
    }
}
