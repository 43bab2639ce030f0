//! Aim: without viewers the agent uses no processor time at all. Method: the thread's own record of
//! the system, before and after a second of nothing; the same after a viewer was there and left.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::time::Duration;

use common::{Fixture, agent_task, wait_until};

/// Nanoseconds on a processor, nanoseconds waiting for one, times it was put on one.
fn record() -> String {
    fs::read_to_string(agent_task().join("schedstat")).unwrap()
}

#[test]
fn nobody_attached_means_no_processor_time() {
    let fixture = Fixture::start();
    for round in 0..2 {
        // Until it has come to rest.
        let mut before = record();
        wait_until("the agent is at rest", || {
            std::thread::sleep(Duration::from_millis(50));
            let last = std::mem::replace(&mut before, record());
            last == before
        });
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(record(), before, "round {round}");

        let mut viewer = fixture.attach();
        viewer.subscribe(20, true);
        viewer.state();
        viewer.state();
        assert_ne!(record(), before);
    }
}
