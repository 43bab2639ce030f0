//! Aim: the program `traced` shows every edge of the state diagram in its log, and nothing where that is turned off.
//! Method: run it, and read its standard error.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use lfalloc_examples::walk::EDGES;

/// What `traced` writes with `RUST_LOG` set to `filter`.
fn log(filter: Option<&str>) -> String {
    let mut traced = Command::new(env!("CARGO_BIN_EXE_traced"));
    match filter {
        Some(filter) => traced.env("RUST_LOG", filter),
        None => traced.env_remove("RUST_LOG"),
    };
    let output = traced.env("NO_COLOR", "1").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn every_edge_is_in_the_log() {
    let log = log(None);
    let lines = || log.lines().filter(|line| line.contains("lfalloc::transition: transition "));
    for (from, to, cause) in EDGES {
        let states = format!(r#"from="{from:?}" to="{to:?}" "#).to_uppercase();
        let found = lines().filter(|line| line.to_uppercase().contains(&states)).count();
        assert!(found > 0, "no {from:?} → {to:?} by {cause:?} in:\n{log}");
    }
    assert!(
        lines().all(|line| line.contains(" DEBUG ") && line.contains(" block_bytes=")),
        "{log}"
    );
    assert!(log.contains(r#"cause="UpdateActive" paragraph="[0063]""#), "{log}");
}

#[test]
fn it_can_be_turned_off() {
    assert_eq!(log(Some("lfalloc::transition=info")), "");
}
