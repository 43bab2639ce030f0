//! Aim: wherever a thread stops for ever, or dies, the others go on: whatever they do comes to an end, nothing is handed out
//! twice, and what is lost is within its bound; and if it goes on later, nothing is lost at all. Method: every operation of a
//! model is stopped before each of its accesses to shared memory, and every operation is done meanwhile by another thread.

use std::collections::BTreeSet;

use lfalloc_verify::explore::fault;
use lfalloc_verify::large::FAULTS;
use lfalloc_verify::machine::MUTANTS;
use lfalloc_verify::seeded::sources;
use lfalloc_verify::stop::{Depot, Large, Processor, Regular, Row, World, product};

/// The bounds themselves are checked in every execution; here: that each operation was stopped, and was what it is called against
/// as many others as `least` that were, too. (What two set-ups leave may be in each other's way.)
fn all<W: World>(least: usize) -> Vec<Row> {
    let rows = product::<W>();
    for row in &rows {
        println!("{row:?}");
        assert!(row.accesses > 0, "{} has no accesses", row.operation);
        let most = row.others_accesses;
        assert!(most < 300, "{most} accesses while {} was stopped", row.operation);
        let seen = row.as_named.len();
        assert!(seen >= least, "{} was itself against {seen}, not {least}", row.operation);
    }
    for operation in W::OPERATIONS {
        let is_seen = rows.iter().any(|row| row.as_named.contains(operation));
        assert!(is_seen, "{operation} was never what happened meanwhile");
    }
    rows
}

/// Every name in a `point!` or `.point(` of the allocator's sources.
fn names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (_, source) in sources().expect("the sources are there") {
        // Comments show how it is written.
        let code: String = source.lines().filter(|line| !line.trim().starts_with("//")).collect();
        for call in ["point!(", ".point("] {
            let calls = code.split(call).skip(1).filter_map(|rest| rest.split(')').next());
            names.extend(calls.filter_map(|call| call.split('"').nth(1)).map(str::to_owned));
        }
    }
    names
}

/// Passed in a mutant only.
const SEEDED: &str = "free.touching";

#[test]
fn core_at_every_access() {
    let passed: BTreeSet<_> = all::<Regular<0>>(6).into_iter().flat_map(|row| row.points).collect();
    let names = names();
    assert!(names.len() > 30, "the sources have points: {names:?}");
    for name in names {
        assert!(
            passed.contains(&*name) != (name == SEEDED),
            "{name} is not passed, or should not be"
        );
    }
}

#[test]
fn front_at_every_access() {
    all::<Depot>(1);
    all::<Processor>(1);
}

#[test]
fn large_blocks_at_every_access() {
    all::<Large<0>>(1);
}

/// Aim: faults are seen. Method: seed them. (Not seen here is what takes another order of memory accesses, or more than one
/// operation meanwhile: loom finds that.)
#[test]
fn faults_are_seen() {
    macro_rules! seed {
        ($world:ident, $list:ident: $($number:literal)*) => {
            $(
                let said = fault(|| drop(product::<$world<$number>>()));
                println!("{:?}: {said:?}", $list[$number]);
                assert!(said.is_some(), "{:?} survived", $list[$number]);
            )*
        };
    }
    seed!(Regular, MUTANTS: 4 6 7 8 11 12 13 14 15 16 17);
    seed!(Large, FAULTS: 5 6 7 8 9 10);
}
