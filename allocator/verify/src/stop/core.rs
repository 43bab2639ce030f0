//! The core's operations, each brought about by what is set up, to be stopped.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lfalloc::Core;
use lfalloc::descriptor::Block;
use lfalloc::platform::{Class, Heap, Request, Reserve};

use super::{Lost, Passed, World};
use crate::machine::{Machine, Size, unhooked, use_heap};
use crate::scenario::Step::{
    self, Batch, Cool, Exhaust, Free, FreeBatch, FreeNewest, Malloc, Purge, Release,
};
use crate::scenario::{Actor, Subject, give_up, judge};
use crate::stepped::Stepped;

/// An operation: what brings it about, in class 0, and what tells that it was this one.
#[derive(Clone, Copy, Debug)]
struct Kind {
    setup: &'static [Step],
    step: Step,
    /// Names it passes, and one it does not pass.
    passes: &'static [&'static str],
    not: &'static str,
}

const BLOCKS: u32 = 5;
const RUN: u32 = 2;
const SIZE: Size = Size {
    blocks: &[BLOCKS, BLOCKS],
    heaps: 2,
    superblocks: 8,
    run: RUN,
    reserve: Reserve { high: 2, low: 1 },
};
/// Blocks of the largest batch below.
const LARGEST_BATCH: usize = 5;

const M: Step = Malloc(0);
const F: Step = Free;
const NOTHING: &str = "";

macro_rules! kinds {
    ($($name:literal: $setup:expr, $step:expr, $passes:expr, $not:expr;)*) => {
        const KINDS: &[Kind] = &[$(Kind { setup: &$setup, step: $step, passes: &$passes, not: $not }),*];
        const NAMES: &[&str] = &[$($name),*];
    };
}

kinds! {
    "malloc, ACTIVE": [M], M, ["active.popped"], "FULL";
    "malloc, last credit": [M, M, M], M, ["active.popped", "update_active.installed"], "FULL";
    "malloc, last block": [M, M, M, M], M, ["active.popped", "FULL"], "update_active.before_install";
    "malloc, PARTIAL": [M, M, M, M, M, F, F, F], M, ["partial.popped", "update_active.installed"], "FULL";
    "malloc, last of PARTIAL": [M, M, M, M, M, F], M, ["partial.popped", "FULL"], "update_active.before_install";
    "malloc, new, warm": [M, F, Purge(0)], M, ["new_sb.installed", "list.popped"], "desc_alloc.mapped";
    "malloc, new, cold": [M, F, Purge(0), Cool], M, ["new_sb.installed", "list.popped"], "desc_alloc.mapped";
    "malloc, new, mapped": [Release], M, ["new_sb.installed", "desc_alloc.mapped"], NOTHING;
    "malloc, nothing left": [Exhaust(0)], M, ["malloc.gives_way"], "active.popped";
    "batch, ACTIVE": [M], Batch(0, 2), ["active.popped"], "update_active.before_install";
    "batch, last credits": [M], Batch(0, 3), ["active.popped", "update_active.installed"], "FULL";
    "batch, PARTIAL": [M, M, M, M, M, F, F, F, F], Batch(0, 3), ["partial.popped", "update_active.installed"], "FULL";
    "batch, new": [], Batch(0, 3), ["new_sb.installed"], NOTHING;
    "free": [M, M], F, ["free.done"], "list.pushed";
    "free, FULL to PARTIAL": [M, M, M, M, M], F, ["PARTIAL", "list.pushed"], "EMPTY";
    "free, PARTIAL to EMPTY": [M, M, M, M, M, F, F, F, F], F, ["EMPTY", "sweep.read", "desc_retire.begin"], "PARTIAL";
    "free, a sweep meets PARTIAL": [M, M, M, M, M, M, M, M, M, M, FreeNewest, FreeNewest, FreeNewest, FreeNewest, F], FreeNewest,
        ["EMPTY", "sweep.read", "list.pushed"], NOTHING;
    "batch free": [M, M, M, M, M, F], FreeBatch(2), ["free.done"], "EMPTY";
    "batch free, FULL to EMPTY": [M, M, M, M, M], FreeBatch(5), ["EMPTY", "desc_retire.begin"], "sweep.read";
    "purge to PARTIAL": [M], Purge(0), ["purge.taken", "PARTIAL"], "EMPTY";
    "purge to EMPTY": [M, F], Purge(0), ["purge.taken", "EMPTY", "desc_retire.begin"], "PARTIAL";
    "cool": [M, F, Purge(0)], Cool, ["list.popped", "list.pushed"], NOTHING;
    "release": [M, F, Purge(0)], Release, ["release.taken"], NOTHING;
}

/// Two threads about to do an operation of the core each. `MUTANT` is an index into [`crate::machine::MUTANTS`].
#[derive(Debug)]
pub struct Regular<const MUTANT: usize> {
    core: Subject<Stepped, MUTANT>,
    kinds: [Kind; 2],
    steps: [Step; 2],
    actors: [RefCell<Actor<Stepped, MUTANT>>; 2],
    /// Whose points are noted just now.
    whose: Arc<AtomicUsize>,
    names: Arc<std::sync::Mutex<[BTreeSet<&'static str>; 2]>>,
}

/// The same step for another class.
fn in_class(step: Step, class: u16) -> Step {
    match step {
        Malloc(_) => Malloc(class),
        Batch(_, count) => Batch(class, count),
        Purge(_) => Purge(class),
        Exhaust(_) => Exhaust(class),
        step => step,
    }
}

impl<const MUTANT: usize> Regular<MUTANT> {
    fn act(&self, number: usize) {
        let before = self.whose.swap(number, Ordering::Relaxed);
        self.actors[number].borrow_mut().step(self.steps[number]);
        self.whose.store(before, Ordering::Relaxed);
    }

    /// Allocates in both classes until nothing is left.
    fn drain(&self, classes: [u16; 2]) {
        for class in classes.map(Class) {
            while let Some(block) = self.core.malloc(Request { heap: Heap(0), class, bytes: 1 }) {
                self.core.platform().own(class, block);
            }
        }
    }

    /// What is missing when everything is owned that can be had: one superblock and one batch, or a run that nobody has used.
    fn within_bounds(&self) -> Lost {
        let (mut blocks, mut untouched) = (0, 0);
        let machine = self.core.platform();
        for superblock in 0..SIZE.superblocks {
            let missing = (BLOCKS as usize) - machine.owned_of(superblock).len();
            if machine.was_used(superblock) {
                blocks += missing;
            } else {
                untouched += usize::from(missing > 0);
            }
        }
        let bound = BLOCKS as usize + LARGEST_BATCH;
        assert!(blocks <= bound, "{blocks} blocks are lost, not at most {bound}");
        assert!(untouched <= RUN as usize, "{untouched} superblocks are lost");
        Lost { blocks, untouched }
    }
}

impl<const MUTANT: usize> World for Regular<MUTANT> {
    const OPERATIONS: &'static [&'static str] = NAMES;
    const RELATIONS: &'static [&'static str] =
        &["in the same heap", "in another heap of the same class", "in another class"];

    fn new(relation: usize, first: usize, other: usize) -> Self {
        let whose = Arc::new(AtomicUsize::new(0));
        let names = Arc::new(std::sync::Mutex::new([BTreeSet::new(), BTreeSet::new()]));
        let hook = {
            let (whose, names) = (Arc::clone(&whose), Arc::clone(&names));
            Box::new(move |name| {
                if let Ok(mut names) = names.lock() {
                    names[whose.load(Ordering::Relaxed)].insert(name);
                }
            })
        };
        let core = Arc::new(Core::new(Machine::<Stepped, MUTANT>::new(SIZE, Some(hook))));
        let (class, heap) = [(0, 0), (0, 1), (1, 0)][relation];
        let kinds = [KINDS[first], KINDS[other]];
        let actors = [Actor::new(&core), Actor::new(&core)].map(RefCell::new);
        unhooked(|| {
            // The other's first: what it leaves must not be in the way of what the first is to be stopped in.
            let mut actor = actors[1].borrow_mut();
            actor.step(Step::Heap(heap));
            for step in kinds[1].setup {
                actor.step(in_class(*step, class));
            }
            actors[0].borrow_mut().play(kinds[0].setup);
        });
        let steps = [kinds[0].step, in_class(kinds[1].step, class)];
        Self { core, kinds, steps, actors, whose, names }
    }

    fn first(&self) {
        self.act(0);
    }

    fn other(&self) {
        self.act(1);
    }

    fn lost(&self) -> Lost {
        unhooked(|| {
            use_heap(0);
            let machine = self.core.platform();
            assert!(machine.held() <= 1, "one thread holds at most one superblock");
            self.drain([0, 1]);
            self.within_bounds();
            // What is owned now, by whomever, is freed, and has to come out again, for the other class, too. Less may be found
            // than before: nobody but the first, which is gone, could have told that its superblock has free blocks again.
            for superblock in 0..SIZE.superblocks {
                for (class, block) in machine.owned_of(superblock) {
                    give_up(&self.core, class, block);
                }
            }
            self.drain([1, 0]);
            self.within_bounds()
        })
    }

    fn whole(&self) {
        let held = |number: usize| self.actors[number].borrow_mut().give_all();
        let held: Vec<(Class, Block)> = [held(0), held(1)].concat();
        unhooked(|| judge(&self.core, held));
    }

    fn passed(&self) -> Passed {
        let names = self.names.lock().map(|names| names.clone()).unwrap_or_default();
        let as_named = [0, 1].map(|number| {
            let (kind, names) = (self.kinds[number], &names[number]);
            kind.passes.iter().all(|name| names.contains(name)) && !names.contains(kind.not)
        });
        Passed { as_named, points: names.into_iter().flatten().collect() }
    }
}
