//! The simulated front: how many blocks each magazine and the depot hold, and what is counted.
//!
//! As the heap, it has counts and no blocks.

use std::collections::BTreeSet;

use lfalloc_protocol::message::{
    ClassInfo, DepotRecord, Front as Shape, FrontClass, MagazineRecord,
};

/// Bytes of a class that a magazine holds, and the depot.
const MAGAZINE_BYTES: u32 = 64 << 10;
const DEPOT_BYTES: u32 = 256 << 10;
const MAX_BLOCKS: u32 = 254;

/// What an operation of the program needs of the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing.
    Nothing,
    /// This operation itself, and this many blocks more for the magazine, or out of it.
    Batch(u32),
}

/// Magazines and depot of every class.
#[derive(Debug)]
pub(super) struct Front {
    rules: Vec<FrontClass>,
    /// `[class][processor]`.
    magazines: Vec<Vec<MagazineRecord>>,
    /// Batches, by class.
    depot: Vec<u32>,
    /// Class and processor of the magazines that changed since they were last taken.
    changed: BTreeSet<(u16, u16)>,
}

impl Front {
    pub(super) fn new(classes: &[ClassInfo], processors: usize) -> Self {
        let rule = |(class, info): (usize, &ClassInfo)| {
            let capacity = (MAGAZINE_BYTES / info.block_bytes).clamp(2, MAX_BLOCKS);
            let batch = capacity.div_ceil(2);
            FrontClass {
                class: class as u16,
                capacity: capacity as u16,
                batch: batch as u16,
                depot_batches: (DEPOT_BYTES / (info.block_bytes * batch)).max(2),
            }
        };
        let magazine = |class: usize, processor: usize| MagazineRecord {
            class: class as u16,
            processor: processor as u16,
            ..MagazineRecord::default()
        };
        Self {
            rules: classes.iter().enumerate().map(rule).collect(),
            magazines: (0..classes.len())
                .map(|class| (0..processors).map(|place| magazine(class, place)).collect())
                .collect(),
            depot: vec![0; classes.len()],
            changed: BTreeSet::new(),
        }
    }

    /// An allocation on that processor.
    pub(super) fn pop(&mut self, class: usize, processor: usize) -> Need {
        let (batch, depot) = (self.rules[class].batch, &mut self.depot[class]);
        let is_in_depot = *depot > 0;
        self.changed.insert((class as u16, processor as u16));
        let magazine = &mut self.magazines[class][processor];
        if magazine.blocks == 0 {
            magazine.refills += 1;
            if !is_in_depot {
                return Need::Batch(u32::from(batch) - 1);
            }
            *depot -= 1;
            magazine.blocks = batch;
        }
        magazine.blocks -= 1;
        magazine.pops += 1;
        Need::Nothing
    }

    /// A free on that processor.
    pub(super) fn push(&mut self, class: usize, processor: usize) -> Need {
        let (rule, depot) = (self.rules[class], &mut self.depot[class]);
        self.changed.insert((class as u16, processor as u16));
        let magazine = &mut self.magazines[class][processor];
        if magazine.blocks == rule.capacity {
            magazine.flushes += 1;
            if *depot == rule.depot_batches {
                return Need::Batch(u32::from(rule.batch) - 1);
            }
            *depot += 1;
            magazine.blocks -= rule.batch;
        }
        magazine.blocks += 1;
        magazine.pushes += 1;
        Need::Nothing
    }

    /// The core gave so many blocks.
    pub(super) fn got(&mut self, class: usize, processor: usize, blocks: u32) {
        self.magazines[class][processor].blocks += blocks as u16;
    }

    /// The core took so many.
    pub(super) fn gave(&mut self, class: usize, processor: usize, blocks: u32) {
        self.magazines[class][processor].blocks -= blocks as u16;
    }

    /// An operation was interrupted.
    pub(super) fn aborted(&mut self, class: usize, processor: usize) {
        self.changed.insert((class as u16, processor as u16));
        self.magazines[class][processor].aborts += 1;
    }

    /// Blocks in magazines, and in the depot.
    pub(super) fn cached(&self, class: usize) -> [u32; 2] {
        let in_magazines = self.magazines[class].iter().map(|one| u32::from(one.blocks)).sum();
        [in_magazines, self.depot[class] * u32::from(self.rules[class].batch)]
    }

    pub(super) fn shape(&self) -> Shape {
        let processors = self.magazines.first().map_or(0, Vec::len) as u32;
        Shape { processors, records: self.rules.clone() }
    }

    pub(super) fn depots(&self) -> Vec<DepotRecord> {
        let record = |(class, &batches)| DepotRecord { class, batches };
        (0..).zip(&self.depot).map(record).filter(|record| record.batches > 0).collect()
    }

    /// The magazines that were ever used, or only those that changed since the last call, by class and processor.
    pub(super) fn take_magazines(&mut self, all: bool) -> Vec<MagazineRecord> {
        let changed = std::mem::take(&mut self.changed);
        if all {
            let used = |one: &&MagazineRecord| one.refills + one.pushes + one.aborts > 0;
            return self.magazines.iter().flatten().filter(used).copied().collect();
        }
        let magazine =
            |(class, processor)| self.magazines[usize::from(class)][usize::from(processor)];
        changed.into_iter().map(magazine).collect()
    }
}
