//! The operations of large blocks, each brought about by what is set up, to be stopped.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lfalloc::large::stock;

use super::{Lost, Passed, World};
use crate::large::Step::{self, Allocate, Empty, Free, Interval, Keep, Refuse, View, Zeroed};
use crate::large::{Actor, Memory};
use crate::machine::unhooked;
use crate::stepped::Stepped;

/// An operation: what brings it about, and which system calls tell that it was this one.
#[derive(Clone, Copy, Debug)]
struct Kind {
    setup: &'static [Step],
    step: Step,
    /// All of these; if there are none, none at all.
    calls: &'static [&'static str],
}

const GRANULES: usize = 8;
const A: Step = Allocate(1);

macro_rules! kinds {
    ($($name:literal: $setup:expr, $step:expr, $calls:expr;)*) => {
        const KINDS: &[Kind] = &[$(Kind { setup: &$setup, step: $step, calls: &$calls }),*];
        const NAMES: &[&str] = &[$($name),*];
    };
}

kinds! {
    "allocate, warm": [A, Free], A, [];
    "allocate, warm, a loose fit": [Allocate(2), Free], A, [];
    "allocate, warm, zeroed": [A, Free], Zeroed(1), ["decommit"];
    "allocate, cold": [Keep(0, 8), A, Free], A, [];
    "allocate, parked": [Keep(0, 0), A, Refuse(1), Free], A, [];
    "allocate, mapped": [], A, ["map"];
    "free, kept": [A], Free, [];
    "free, cooled": [Keep(0, 8), A], Free, ["decommit"];
    "free, given back": [Keep(0, 0), A], Free, ["decommit", "unmap"];
    "free, parked": [Keep(0, 0), A, Refuse(1)], Free, ["decommit", "refused"];
    "an interval ends": [A, A, Free, Free, Interval], Interval, ["decommit"];
    "all goes back": [A, A, Free, Free], Empty, ["unmap"];
    "a view": [A], View, [];
}

/// Two threads about to do an operation with large blocks each. `FAULT` is an index into [`crate::large::FAULTS`].
#[derive(Debug)]
pub struct Large<const FAULT: usize> {
    memory: Arc<Memory<Stepped, FAULT>>,
    kinds: [Kind; 2],
    steps: [Step; 2],
    actors: [RefCell<Actor<Stepped, FAULT>>; 2],
    /// Whose system calls are noted just now.
    whose: Arc<AtomicUsize>,
    calls: Arc<std::sync::Mutex<[BTreeSet<&'static str>; 2]>>,
}

/// The same step for a larger block.
fn larger(step: Step, by: usize) -> Step {
    match step {
        Allocate(granules) => Allocate(granules + by),
        Zeroed(granules) => Zeroed(granules + by),
        step => step,
    }
}

impl<const FAULT: usize> Large<FAULT> {
    fn act(&self, number: usize) {
        let before = self.whose.swap(number, Ordering::Relaxed);
        self.actors[number].borrow_mut().step(self.steps[number]);
        self.whose.store(before, Ordering::Relaxed);
    }
}

impl<const FAULT: usize> World for Large<FAULT> {
    const OPERATIONS: &'static [&'static str] = NAMES;
    const RELATIONS: &'static [&'static str] = &["of the same size", "of another size"];

    fn new(relation: usize, first: usize, other: usize) -> Self {
        let whose = Arc::new(AtomicUsize::new(0));
        let calls = Arc::new(std::sync::Mutex::new([BTreeSet::new(), BTreeSet::new()]));
        let hook = {
            let (whose, calls) = (Arc::clone(&whose), Arc::clone(&calls));
            Box::new(move |name| {
                if let Ok(mut calls) = calls.lock() {
                    calls[whose.load(Ordering::Relaxed)].insert(name);
                }
            })
        };
        let memory = Arc::new(Memory::new(GRANULES, Some(hook)));
        let kinds = [KINDS[first], KINDS[other]];
        let actors = [Actor::new(&memory), Actor::new(&memory)].map(RefCell::new);
        unhooked(|| {
            for step in kinds[1].setup {
                actors[1].borrow_mut().step(larger(*step, relation));
            }
            for step in kinds[0].setup {
                actors[0].borrow_mut().step(*step);
            }
        });
        let steps = [kinds[0].step, larger(kinds[1].step, relation)];
        Self { memory, kinds, steps, actors, whose, calls }
    }

    fn first(&self) {
        self.act(0);
    }

    fn other(&self) {
        self.act(1);
    }

    fn lost(&self) -> Lost {
        unhooked(|| {
            let memory = &*self.memory;
            assert!(memory.held() <= 1, "one thread has one thing in hand");
            Actor::new(&self.memory).step(Refuse(0));
            for address in memory.owned_blocks() {
                memory.free(address);
            }
            stock::empty_cache(memory);
            // What is left is what the first had in its hands: one mapping.
            let granules = memory.our_granules();
            assert!(granules <= 3, "{granules} granules are lost, not at most one mapping");
            Lost { blocks: usize::from(granules > 0), untouched: 0 }
        })
    }

    fn whole(&self) {
        unhooked(|| self.memory.judge(Vec::new()));
    }

    fn passed(&self) -> Passed {
        let calls = self.calls.lock().map(|calls| calls.clone()).unwrap_or_default();
        let as_named = [0, 1].map(|number| {
            let (wanted, made) = (self.kinds[number].calls, &calls[number]);
            wanted.iter().all(|call| made.contains(call)) && wanted.is_empty() == made.is_empty()
        });
        Passed { as_named, points: calls.into_iter().flatten().collect() }
    }
}
