//! Aim: large blocks, the page map, tables and the intervals of the decay survive every interleaving of their races. Method:
//! the shipped procedures under loom within a bound on preemptions; every execution of large blocks ends by giving all of them
//! back, twice. The same with faults seeded is in `mutants.rs`.

use lfalloc_verify::explore::{interleaved, random_of};
use lfalloc_verify::large::{CROWD, RACES};
use lfalloc_verify::machine::{Loom, Shuttle};
use lfalloc_verify::once;

#[test]
fn large_blocks() {
    for race in RACES {
        let explored = interleaved(race.preemptions, || race.run::<Loom, 0>());
        println!("{}: {} executions in {:?}", race.name, explored.executions, explored.time);
        assert!(explored.executions > 3 || race.threads.len() == 1, "nothing was explored");
    }
}

#[test]
fn a_crowd_of_large_blocks() {
    let executions = 5_000;
    assert_eq!(
        random_of(executions, 6, || CROWD.run::<Shuttle, 0>()).executions,
        executions as u64
    );
}

#[test]
fn leaves_of_the_page_map() {
    assert!(interleaved(once::PREEMPTIONS, once::page_map::<0>).executions > 10);
}

#[test]
fn numbers_of_a_table() {
    assert!(interleaved(once::PREEMPTIONS, once::table::<0>).executions > 10);
}

#[test]
fn the_end_of_an_interval() {
    assert!(interleaved(once::PREEMPTIONS, once::decay::<0>).executions > 10);
}

#[test]
fn a_piece_that_comes_back() {
    assert!(interleaved(once::PREEMPTIONS, once::pieces::<0>).executions > 10);
}
