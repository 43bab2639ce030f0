//! Every operation stopped before each of its accesses to shared memory, and every operation done by another thread
//! meanwhile.
//!
//! The one that is stopped goes on afterwards, or never does. Each is an execution of its own: the other has to come to an
//! end within a bounded number of accesses, whatever the first holds; and then either nothing is missing, or no more than the
//! first may take with it.

mod core;
mod front;
mod large;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::stepped::{Then, stopped_at, within};

pub use self::core::Regular;
pub use self::front::{Depot, Processor};
pub use self::large::Large;

/// More accesses than any operation of a model needs.
const MOST_ACCESSES: u64 = 5_000;

/// What operations are done on: a machine on which two threads are about to do one each.
pub trait World: Sized {
    /// The operations.
    const OPERATIONS: &'static [&'static str];
    /// How the two are related: which class, which heap.
    const RELATIONS: &'static [&'static str];

    /// Everything is set up for two operations, by number.
    fn new(relation: usize, first: usize, other: usize) -> Self;
    /// Does the first operation.
    fn first(&self);
    /// Does the other.
    fn other(&self);
    /// The first never goes on, and the other is done: how much is lost. Fails if it is more than may be, or if
    /// something comes out twice.
    fn lost(&self) -> Lost;
    /// Both are done: fails unless everything is there once.
    fn whole(&self);
    /// What both have passed since they were set up: whether each was what it is called, and names.
    fn passed(&self) -> Passed;
}

/// What is out of reach when a thread never goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Blocks of memory that was used.
    pub blocks: usize,
    /// Pieces of memory that were mapped and never touched.
    pub untouched: usize,
}

/// What two operations passed.
#[derive(Clone, Debug, Default)]
pub struct Passed {
    /// Whether each was what it is called, undisturbed.
    pub as_named: [bool; 2],
    /// Names of points.
    pub points: BTreeSet<&'static str>,
}

/// What was found for one operation that is stopped.
#[derive(Clone, Debug)]
pub struct Row {
    /// The operation.
    pub operation: &'static str,
    /// At how many accesses it was stopped, at most.
    pub accesses: u64,
    /// Executions: accesses × others × relations × {goes on, never}.
    pub executions: u64,
    /// Most that was lost.
    pub lost: Lost,
    /// Accesses that another operation made at most while it was stopped.
    pub others_accesses: u64,
    /// Against which others both were, in some relation, what they are called.
    pub as_named: BTreeSet<&'static str>,
    /// Names of the points that were passed.
    pub points: BTreeSet<&'static str>,
}

/// Every operation of a world against every other.
#[must_use]
pub fn product<W: World>() -> Vec<Row> {
    (0..W::OPERATIONS.len()).map(stop_first::<W>).collect()
}

fn stop_first<W: World>(first: usize) -> Row {
    let mut row = Row {
        operation: W::OPERATIONS[first],
        accesses: 0,
        executions: 0,
        lost: Lost::default(),
        others_accesses: 0,
        as_named: BTreeSet::new(),
        points: BTreeSet::new(),
    };
    for relation in 0..W::RELATIONS.len() {
        for other in 0..W::OPERATIONS.len() {
            let names = (W::OPERATIONS[first], W::OPERATIONS[other], W::RELATIONS[relation]);
            let mut place = 0;
            while named(names, place, || stop_at::<W>((relation, first, other), place, &mut row)) {
                place += 1;
            }
            row.accesses = row.accesses.max(place);
        }
    }
    row
}

/// One place, both ways; whether the first operation came there.
fn stop_at<W: World>(
    (relation, first, other): (usize, usize, usize),
    place: u64,
    row: &mut Row,
) -> bool {
    let world = W::new(relation, first, other);
    let mut most = 0;
    let mut lost = Lost::default();
    let never = || {
        most = within(MOST_ACCESSES, || world.other()).1;
        lost = world.lost();
        Then::Never
    };
    if stopped_at(place, never, || world.first()).is_some() {
        return false;
    }
    row.others_accesses = row.others_accesses.max(most);
    row.lost.blocks = row.lost.blocks.max(lost.blocks);
    row.lost.untouched = row.lost.untouched.max(lost.untouched);
    row.points.append(&mut world.passed().points);

    let world = W::new(relation, first, other);
    let goes_on = || {
        within(MOST_ACCESSES, || world.other());
        Then::GoesOn
    };
    let (_, _) = within(MOST_ACCESSES, || stopped_at(place, goes_on, || world.first()));
    let mut passed = world.passed();
    if place == 0 && passed.as_named == [true, true] {
        row.as_named.insert(W::OPERATIONS[other]);
    }
    row.points.append(&mut passed.points);
    world.whole();
    row.executions += 2;
    true
}

/// Runs `body`; a failure says where it was.
fn named<R>(
    (first, other, relation): (&str, &str, &str),
    place: u64,
    body: impl FnOnce() -> R,
) -> R {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        let what = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or_default();
        panic!("{first}, stopped before access {place}; {other} meanwhile, {relation}: {what}")
    })
}
