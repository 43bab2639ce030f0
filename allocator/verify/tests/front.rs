//! Aim: blocks that change hands in batches, or are drained from another processor's magazine, come out exactly once.
//! Method: the shipped procedures under loom, in all interleavings within a bound. The same with faults seeded is in `mutants.rs`.

use lfalloc_verify::front::{DEPOT_RACES, DRAIN_RACES, DepotRace, interrupted};

#[test]
fn batches_come_out_once() {
    for race in DEPOT_RACES {
        // Three threads with two preemptions are a million executions: `models` has them.
        let preemptions = if race.moves.len() > 2 { 1 } else { race.preemptions };
        let explored = DepotRace { preemptions, ..race }.explore::<0>();
        println!("{}: {} executions in {:?}", race.name, explored.executions, explored.time);
        assert!(explored.executions > 10, "nothing was explored");
    }
}

#[test]
fn drained_blocks_come_out_once() {
    for race in DRAIN_RACES {
        let explored = race.explore::<0>();
        println!("{}: {} executions in {:?}", race.name, explored.executions, explored.time);
        assert!(explored.executions > 10, "nothing was explored");
    }
}

#[test]
fn a_head_that_came_back_is_another() {
    assert_eq!(interrupted::<0>(), None);
}
