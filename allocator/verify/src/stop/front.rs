//! The operations of the front, to be stopped: of the depot, and of a processor whose magazines are emptied.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use lfalloc::front::depot::{self, Shelf};
use lfalloc::front::drain::{self, Magazines};
use lfalloc::platform::Word;

use super::{Lost, Passed, World};
use crate::machine::Atomics;
use crate::stepped::{Stepped, SteppedWord};
use std::sync::atomic::Ordering;

/// Blocks of a batch.
const BATCH: usize = 2;
/// Room for so many batches in the depot, and batches that there are.
const ROOM: u32 = 4;
const BATCHES: usize = 10;

/// What a thread does with a depot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Move {
    Put,
    Take,
}

use Move::{Put, Take};

const DEPOT_KINDS: &[(&[Move], Move)] =
    &[(&[], Put), (&[Put, Take], Put), (&[Put, Put, Put, Put], Put), (&[Put], Take), (&[], Take)];

/// Two threads about to do an operation of the depot each.
#[derive(Debug)]
pub struct Depot {
    full: SteppedWord,
    empty: SteppedWord,
    links: Vec<SteppedWord>,
    places: Vec<SteppedWord>,
    extended: Cell<u32>,
    moves: [Move; 2],
    /// The blocks of each thread.
    owned: [RefCell<Vec<[usize; BATCH]>>; 2],
    total: usize,
}

impl Shelf for Depot {
    type Word = SteppedWord;
    const TAG_BITS: u32 = 8;

    fn full(&self) -> &SteppedWord {
        &self.full
    }
    fn empty(&self) -> &SteppedWord {
        &self.empty
    }
    fn link(&self, batch: u32) -> &SteppedWord {
        &self.links[batch as usize]
    }
    fn place(&self, batch: u32, place: usize) -> &SteppedWord {
        &self.places[batch as usize * BATCH + place]
    }
    fn extend(&self) -> Option<u32> {
        let number = self.extended.replace(self.extended.get() + 1);
        ((number as usize) < BATCHES).then_some(number)
    }
    fn most(&self) -> u32 {
        ROOM
    }
}

impl Depot {
    fn act(&self, number: usize, step: Move) {
        match step {
            Put => {
                let blocks = self.owned[number].borrow_mut().pop();
                if let Some(blocks) = blocks
                    && !depot::put(self, &blocks)
                {
                    self.owned[number].borrow_mut().push(blocks);
                }
            }
            Take => {
                let mut blocks = [0; BATCH];
                if depot::take(self, &mut blocks) {
                    self.owned[number].borrow_mut().push(blocks);
                }
            }
        }
    }

    /// Takes all there is; how many blocks are missing.
    fn missing(&self) -> usize {
        loop {
            let before = self.owned[1].borrow().len();
            self.act(1, Take);
            if self.owned[1].borrow().len() == before {
                break;
            }
        }
        let owned = [0, 1].map(|number| self.owned[number].borrow().clone());
        let mut all = BTreeSet::new();
        for block in owned.concat().into_iter().flatten() {
            assert!(all.insert(block), "block {block} came out twice");
        }
        self.total - all.len()
    }
}

impl World for Depot {
    const OPERATIONS: &'static [&'static str] = &[
        "put, into a new batch",
        "put, into an empty batch",
        "put, and there is no room",
        "take",
        "take, and there is nothing",
    ];
    const RELATIONS: &'static [&'static str] = &["in the same depot"];

    fn new(_relation: usize, first: usize, other: usize) -> Self {
        let words = |count: usize| (0..count).map(|_| Stepped::word(0)).collect();
        let batch = |number: usize| [number * BATCH, number * BATCH + 1];
        let each = ROOM as usize + 1;
        let depot = Self {
            full: Stepped::word(0),
            empty: Stepped::word(0),
            links: words(BATCHES),
            places: words(BATCHES * BATCH),
            extended: Cell::new(0),
            moves: [DEPOT_KINDS[first].1, DEPOT_KINDS[other].1],
            owned: [0, 1].map(|number| {
                RefCell::new((number * each..(number + 1) * each).map(batch).collect())
            }),
            total: 2 * each * BATCH,
        };
        for number in [1, 0] {
            for step in DEPOT_KINDS[[first, other][number]].0 {
                depot.act(number, *step);
            }
        }
        depot
    }

    fn first(&self) {
        self.act(0, self.moves[0]);
    }

    fn other(&self) {
        self.act(1, self.moves[1]);
    }

    fn lost(&self) -> Lost {
        let blocks = self.missing();
        assert!(blocks <= BATCH, "{blocks} blocks are lost, not at most one batch");
        Lost { blocks, untouched: 0 }
    }

    fn whole(&self) {
        assert_eq!(self.missing(), 0, "blocks never came out");
    }

    fn passed(&self) -> Passed {
        // What a put finds is what is left by both.
        Passed { as_named: [true, true], points: BTreeSet::new() }
    }
}

/// Magazines of the processor, and slots of each.
const MAGAZINES: usize = 2;
const SLOTS: u64 = 3;
const BLOCKS: u64 = 0xFFFF;

/// What a thread does with a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Pop,
    Push,
    Drain,
}

const USES: [Use; 3] = [Use::Pop, Use::Push, Use::Drain];

/// Two threads about to do an operation with a processor's magazines each. Sequences and the kernel that aborts them are made
/// up: whoever gets the processor, and a fence, abort who was in one.
#[derive(Debug)]
pub struct Processor {
    words: [SteppedWord; MAGAZINES],
    slots: Vec<SteppedWord>,
    aborts: Cell<u64>,
    drainers: Cell<u64>,
    uses: [Use; 2],
    owned: [RefCell<Vec<u64>>; 2],
    drained: RefCell<Vec<u64>>,
}

impl Magazines for Processor {
    type Word = SteppedWord;
    const COUNT: usize = MAGAZINES;

    fn word(&self, magazine: usize) -> &SteppedWord {
        &self.words[magazine]
    }
    fn take(&self, magazine: usize, count: usize) {
        for slot in 0..count {
            let block = self.slot(magazine, slot as u64).load(Ordering::Relaxed);
            self.drained.borrow_mut().push(block);
        }
    }
    fn fence(&self) -> bool {
        self.begin();
        true
    }
    fn drainer(&self) -> u64 {
        self.drainers.replace(self.drainers.get() + 1)
    }
}

impl Processor {
    fn slot(&self, magazine: usize, slot: u64) -> &SteppedWord {
        &self.slots[magazine * SLOTS as usize + slot as usize]
    }

    fn begin(&self) -> u64 {
        self.aborts.set(self.aborts.get() + 1);
        self.aborts.get()
    }

    /// A store of a sequence, unless it was aborted: one instruction.
    fn store(&self, sequence: u64, word: &SteppedWord, value: u64) -> bool {
        word.come_to();
        let is_whole = self.aborts.get() == sequence;
        if is_whole {
            word.set(value);
        }
        is_whole
    }

    fn act(&self, number: usize, what: Use) {
        let word = &self.words[0];
        match what {
            Use::Pop => {
                let sequence = self.begin();
                let old = word.load(Ordering::Relaxed);
                let top = (old & BLOCKS).wrapping_sub(1);
                if top < SLOTS {
                    let block = self.slot(0, top).load(Ordering::Relaxed);
                    if self.store(sequence, word, old + BLOCKS) {
                        self.owned[number].borrow_mut().push(block);
                    }
                }
            }
            Use::Push => {
                let Some(&block) = self.owned[number].borrow().last() else { return };
                let sequence = self.begin();
                let old = word.load(Ordering::Relaxed);
                let blocks = old & BLOCKS;
                if blocks < SLOTS
                    && self.store(sequence, self.slot(0, blocks), block)
                    && self.store(sequence, word, old + 1)
                {
                    self.owned[number].borrow_mut().pop();
                }
            }
            Use::Drain => {
                drain::drain(self);
            }
        }
    }

    /// Drains what can be drained; how many blocks are missing.
    fn missing(&self) -> usize {
        drain::drain(self);
        let owned = [0, 1].map(|number| self.owned[number].borrow().clone());
        let mut all = BTreeSet::new();
        for block in owned.concat().into_iter().chain(self.drained.borrow().iter().copied()) {
            assert!(all.insert(block), "block {block} came out twice");
        }
        6 - all.len()
    }
}

impl World for Processor {
    const OPERATIONS: &'static [&'static str] = &["pop", "push", "drain"];
    const RELATIONS: &'static [&'static str] = &["on the same processor"];

    /// Blocks 1 and 2, and 3 and 4, in the magazines; 5 and 6 are the threads'.
    fn new(_relation: usize, first: usize, other: usize) -> Self {
        Self {
            words: [Stepped::word(2), Stepped::word(2)],
            slots: [1, 2, 0, 3, 4, 0].map(Stepped::word).into_iter().collect(),
            aborts: Cell::new(0),
            drainers: Cell::new(0),
            uses: [USES[first], USES[other]],
            owned: [RefCell::new(vec![5]), RefCell::new(vec![6])],
            drained: RefCell::new(Vec::new()),
        }
    }

    fn first(&self) {
        self.act(0, self.uses[0]);
    }

    fn other(&self) {
        self.act(1, self.uses[1]);
    }

    fn lost(&self) -> Lost {
        let blocks = self.missing();
        // A drainer takes all magazines of its processor with it: closed, or in its hands. A sequence takes nothing.
        let bound = if self.uses[0] == Use::Drain { MAGAZINES * SLOTS as usize } else { 0 };
        assert!(blocks <= bound, "{blocks} blocks are lost, not at most {bound}");
        Lost { blocks, untouched: 0 }
    }

    fn whole(&self) {
        assert_eq!(self.missing(), 0, "blocks never came out");
    }

    fn passed(&self) -> Passed {
        Passed { as_named: [true, true], points: BTreeSet::new() }
    }
}
