//! Aim: longer runs of more threads than loom can explore, and operations cut short. Method: shuttle's random and PCT
//! schedules, seeded, the seed printed on a failure; and every race with its first thread interrupted, or stopped for
//! ever, at each of its points.

use lfalloc_verify::catalogue::{CROWD, LOOM, MEDLEY};
use lfalloc_verify::explore::{interrupted, pct, random, stopped};
use lfalloc_verify::scenario::Scenario;

const EXECUTIONS: usize = 20_000;

fn all() -> impl Iterator<Item = Scenario> {
    LOOM.iter().map(|(race, _)| *race).chain([MEDLEY, CROWD])
}

#[test]
fn random_medley() {
    assert_eq!(random::<0>(MEDLEY, EXECUTIONS, 2).executions, EXECUTIONS as u64);
}

#[test]
fn random_crowd() {
    assert_eq!(random::<0>(CROWD, EXECUTIONS, 3).executions, EXECUTIONS as u64);
}

#[test]
fn pct_medley() {
    assert_eq!(pct::<0>(MEDLEY, EXECUTIONS, 3, 4).executions, EXECUTIONS as u64);
}

#[test]
fn pct_crowd() {
    assert_eq!(pct::<0>(CROWD, EXECUTIONS, 3, 5).executions, EXECUTIONS as u64);
}

/// Aim: a signal's handler may allocate and free wherever it lands. Method: at each point of the first thread all
/// the others' operations run, inside it.
#[test]
fn interrupted_at_every_point() {
    for race in all() {
        let explored = interrupted::<0>(race);
        assert!(explored.executions > 1, "{} has no points", race.name);
    }
}

/// Aim: a thread that stops for ever anywhere blocks nobody and strands at most one superblock and a batch. Method:
/// stop it at each of its points, then do everything else.
#[test]
fn stopped_at_every_point() {
    for race in all() {
        let explored = stopped::<0>(race);
        assert!(explored.executions > 1, "{} has no points", race.name);
    }
}
