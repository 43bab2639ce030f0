//! A depot in one thread, in which a take is interrupted by others just where it hurts.

use std::cell::{Cell, RefCell};
use std::sync::atomic::Ordering;

use lfalloc::front::depot::{self, Shelf};
use lfalloc::platform::Word;

use super::DEPOT_FAULTS;
use crate::machine::{Atomics, Plain};

type PlainWord = <Plain as Atomics>::Word;

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
    const FAULT: depot::Fault = DEPOT_FAULTS[FAULT];

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
                assert!(depot::put(self, &[block]));
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
        let is_taken = depot::take(self, &mut block);
        if is_taken {
            self.taken.borrow_mut().push(block[0]);
        }
        is_taken
    }
}

/// Puts three batches and takes all of them, the first by a take that is interrupted; what is wrong with what comes out.
#[must_use]
pub fn interrupted<const FAULT: usize>() -> Option<String> {
    let word = || Plain::word(0);
    let depot = Interrupted::<FAULT> {
        full: word(),
        empty: word(),
        links: [word(), word(), word()],
        places: [word(), word(), word()],
        extended: Cell::new(0),
        stage: Cell::new(0),
        taken: RefCell::new(Vec::new()),
    };
    for block in 1..=3 {
        depot::put(&depot, &[block]);
    }
    depot.stage.set(1);
    while depot.take() {}
    let mut taken = depot.taken.take();
    taken.sort_unstable();
    (taken != [1, 2, 3]).then(|| format!("the batches 1, 2 and 3 came out as {taken:?}"))
}
