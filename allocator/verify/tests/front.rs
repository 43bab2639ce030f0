//! Aim: blocks that change hands in batches, or are drained from another processor's magazine, come out exactly once,
//! and the models would see a fault. Method: the shipped procedures under loom, in all interleavings within a bound; the
//! same with each fault seeded.

use std::cell::{Cell, RefCell};
use std::sync::atomic::Ordering;

use lfalloc::front::depot::{self as procedures, Fault, Shelf};
use lfalloc::platform::Word;
use lfalloc_verify::front::{DEPOT_FAULTS, DRAIN_FAULTS, Moves, Use, depot, drain};
use lfalloc_verify::machine::{Atomics, Plain};

type PlainWord = <Plain as Atomics>::Word;

const T: bool = false;
const P: bool = true;

/// Moves of each thread, room of the depot, and preemptions.
const DEPOT_RACES: [(u32, Moves, usize); 3] = [
    (2, &[&[P, T], &[P, T]], 3),
    (1, &[&[P, T], &[P, T]], 3),
    (2, &[&[P, T, P], &[P, T], &[P, T]], 2),
];

#[test]
fn batches_come_out_once() {
    for (most, moves, preemptions) in DEPOT_RACES {
        depot::<0>(most, moves, preemptions);
    }
}

const POP: Use = Use::Pop;
const PUSH: Use = Use::Push;
const DRAIN: Use = Use::Drain;

const DRAIN_RACES: [(u64, &[&[Use]], usize); 5] = [
    (2, &[&[POP], &[DRAIN]], 4),
    (2, &[&[PUSH, POP], &[DRAIN]], 3),
    (2, &[&[POP, PUSH], &[DRAIN]], 3),
    (1, &[&[PUSH], &[DRAIN], &[DRAIN]], 3),
    (1, &[&[POP, PUSH], &[PUSH], &[DRAIN]], 2),
];

#[test]
fn drained_blocks_come_out_once() {
    for (blocks, uses, preemptions) in DRAIN_RACES {
        println!("race {blocks} {uses:?}");
        drain::<0>(blocks, uses, preemptions);
    }
}

/// The message of the panic that `body` ends with.
fn dies(body: impl FnOnce() + std::panic::UnwindSafe) -> bool {
    std::panic::catch_unwind(body).is_err()
}

fn depot_dies<const FAULT: usize>() {
    let is_seen = DEPOT_RACES
        .into_iter()
        .any(|(most, moves, preemptions)| dies(|| depot::<FAULT>(most, moves, preemptions)));
    assert!(is_seen, "{:?} survived", DEPOT_FAULTS[FAULT]);
}

fn drain_dies<const FAULT: usize>() {
    let is_seen = DRAIN_RACES
        .into_iter()
        .any(|(blocks, uses, preemptions)| dies(|| drain::<FAULT>(blocks, uses, preemptions)));
    assert!(is_seen, "{:?} survived", DRAIN_FAULTS[FAULT]);
}

#[test]
fn put_relaxed_dies() {
    depot_dies::<2>();
}

#[test]
fn take_relaxed_dies() {
    depot_dies::<3>();
}

#[test]
fn freed_before_read_dies() {
    depot_dies::<4>();
}

#[test]
fn bound_before_dies() {
    depot_dies::<5>();
}

#[test]
fn copy_before_closing_dies() {
    drain_dies::<1>();
}

#[test]
fn no_fence_dies() {
    drain_dies::<2>();
}

#[test]
fn fence_before_dies() {
    drain_dies::<3>();
}

#[test]
fn drainers_alike_die() {
    drain_dies::<4>();
}

#[test]
fn not_looked_at_again_dies() {
    drain_dies::<5>();
}

/// A depot in one thread, in which a `take` is interrupted by others just where it hurts. Which batches those leave, and in
/// which order, is the shortest way to a head that looks as it did and links elsewhere.
struct Interrupted<const FAULT: usize> {
    full: PlainWord,
    empty: PlainWord,
    links: [PlainWord; 3],
    places: [PlainWord; 3],
    extended: Cell<u32>,
    stage: Cell<u32>,
    taken: RefCell<Vec<usize>>,
}

impl<const FAULT: usize> Shelf for Interrupted<FAULT> {
    type Word = PlainWord;
    const FAULT: Fault = DEPOT_FAULTS[FAULT];

    fn full(&self) -> &PlainWord {
        &self.full
    }
    fn empty(&self) -> &PlainWord {
        &self.empty
    }
    fn link(&self, batch: u32) -> &PlainWord {
        if self.stage.get() == 1 {
            // The outer take has read the head, and is about to read its link.
            let link = self.links[batch as usize].load(Ordering::Relaxed);
            self.stage.set(2);
            self.take();
            self.stage.set(3);
            self.take();
            let batches = std::mem::take(&mut *self.taken.borrow_mut());
            for block in batches {
                assert!(procedures::put(self, &[block]));
            }
            // It reads what was there when it came.
            return Box::leak(Box::new(Plain::word(link)));
        }
        &self.links[batch as usize]
    }
    fn place(&self, batch: u32, _place: usize) -> &PlainWord {
        if self.stage.get() == 3 {
            // The second of the others is interrupted before it reads its blocks: a third comes and goes.
            self.stage.set(4);
            self.take();
        }
        &self.places[batch as usize]
    }
    fn extend(&self) -> Option<u32> {
        Some(self.extended.replace(self.extended.get() + 1))
    }
    fn most(&self) -> u32 {
        3
    }
}

impl<const FAULT: usize> Interrupted<FAULT> {
    fn take(&self) -> bool {
        let mut block = [0];
        let is_taken = procedures::take(self, &mut block);
        if is_taken {
            self.taken.borrow_mut().push(block[0]);
        }
        is_taken
    }

    /// Whether all three batches come out, the first by a take that is interrupted.
    fn comes_out_whole() -> bool {
        let word = || Plain::word(0);
        let depot = Self {
            full: word(),
            empty: word(),
            links: [word(), word(), word()],
            places: [word(), word(), word()],
            extended: Cell::new(0),
            stage: Cell::new(0),
            taken: RefCell::new(Vec::new()),
        };
        for block in 1..=3 {
            assert!(procedures::put(&depot, &[block]));
        }
        depot.stage.set(1);
        while depot.take() {}
        let mut taken = depot.taken.take();
        taken.sort_unstable();
        taken == [1, 2, 3]
    }
}

#[test]
fn a_head_that_came_back_is_another() {
    assert!(Interrupted::<0>::comes_out_whole());
}

#[test]
fn tag_kept_dies() {
    assert!(!Interrupted::<1>::comes_out_whole(), "{:?} survived", DEPOT_FAULTS[1]);
}
