//! The figures of the front: what magazines and depot hold, of how much, and how often they were of use.

use lfalloc_protocol::message::{FrontClass, MagazineRecord, feature};

use super::Picture;

/// Whether there is a front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrontIs {
    /// It is, and its figures are told.
    Told,
    /// It is in use, and the agent is too old to tell more than what it holds.
    NotTold,
    /// There is none: the core is the allocator.
    Off,
}

impl FrontIs {
    /// What is said in its place where there are no figures.
    #[must_use]
    pub fn why_not(self) -> Option<&'static str> {
        match self {
            Self::Told => None,
            Self::NotTold => Some("magazines: not told by agents before protocol 1.3"),
            Self::Off => Some("magazines off: the core alone"),
        }
    }
}

/// Sums over magazines and the depot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrontFigures {
    /// Bytes of blocks in magazines, and in the depot.
    pub magazine_bytes: i64,
    /// See there.
    pub depot_bytes: i64,
    /// Processors that have ever used a magazine.
    pub processors: u32,
    /// Bytes that the magazines of one processor hold at most, if it uses every class.
    pub processor_most_bytes: i64,
    /// Bytes that the depot holds at most.
    pub depot_most_bytes: i64,
    /// Blocks popped ever.
    pub pops: u64,
    /// Blocks pushed ever.
    pub pushes: u64,
    /// Times that a magazine was empty and got a batch.
    pub refills: u64,
    /// Times that one was full and gave a batch.
    pub flushes: u64,
    /// Sequences that were interrupted.
    pub aborts: u64,
}

impl FrontFigures {
    /// Bytes of blocks that the front holds.
    #[must_use]
    pub fn bytes(&self) -> i64 {
        self.magazine_bytes.saturating_add(self.depot_bytes)
    }

    /// Bytes that it holds at most, with as many processors as have used it.
    #[must_use]
    pub fn most_bytes(&self) -> i64 {
        self.processor_most_bytes
            .saturating_mul(i64::from(self.processors))
            .saturating_add(self.depot_most_bytes)
    }

    /// The sum with the counters of a magazine.
    fn count(&mut self, magazine: &MagazineRecord) {
        self.pops = self.pops.wrapping_add(magazine.pops);
        self.pushes = self.pushes.wrapping_add(magazine.pushes);
        self.refills = self.refills.wrapping_add(magazine.refills);
        self.flushes = self.flushes.wrapping_add(magazine.flushes);
        self.aborts = self.aborts.wrapping_add(magazine.aborts);
    }
}

/// The hit rate: 1 − refills / pops, the share of the blocks popped for which nothing had to be fetched first. `None` if there was
/// neither.
///
/// A refill from the depot pops the block it was for. One from the core does not, so this may be too low by that part of a
/// batch which one block is; 0 where there were no more pops than refills.
#[must_use]
pub fn hit_fraction(pops: f64, refills: f64) -> Option<f64> {
    (pops + refills > 0.0).then(|| if pops > refills { 1.0 - refills / pops } else { 0.0 })
}

impl Picture {
    /// Whether there is a front.
    #[must_use]
    pub fn front_is(&self) -> FrontIs {
        match &self.front {
            Some(_) => FrontIs::Told,
            None if self.hello.features & feature::MAGAZINES != 0 && self.hello.minor < 3 => {
                FrontIs::NotTold
            }
            None => FrontIs::Off,
        }
    }

    /// How the front is built for `class`.
    #[must_use]
    pub fn front_class(&self, class: u16) -> Option<&FrontClass> {
        let records = &self.front.as_ref()?.records;
        let found = records.get(usize::from(class)).filter(|record| record.class == class);
        found.or_else(|| records.iter().find(|record| record.class == class))
    }

    /// Batches of `class` in the depot.
    #[must_use]
    pub fn depot_batches(&self, class: u16) -> u32 {
        let record = self.depots.iter().find(|record| record.class == class);
        record.map_or(0, |record| record.batches)
    }

    /// Bytes of a block of `class`; 0 for one that the greeting does not name.
    #[must_use]
    pub fn block_bytes(&self, class: u16) -> i64 {
        let info = self.hello.classes.get(usize::from(class));
        info.map_or(0, |info| i64::from(info.block_bytes))
    }

    /// Sums over all of the front; `None` if nothing is told of one.
    #[must_use]
    pub fn front_figures(&self) -> Option<FrontFigures> {
        let front = self.front.as_ref()?;
        let mut sum = FrontFigures::default();
        let bytes = |class, blocks: u64| {
            let blocks = i64::try_from(blocks).unwrap_or(i64::MAX);
            self.block_bytes(class).saturating_mul(blocks)
        };
        for class in &front.records {
            let most = bytes(class.class, class.capacity.into());
            sum.processor_most_bytes = sum.processor_most_bytes.saturating_add(most);
            let blocks = u64::from(class.depot_batches) * u64::from(class.batch);
            let most = bytes(class.class, blocks);
            sum.depot_most_bytes = sum.depot_most_bytes.saturating_add(most);
        }
        for depot in &self.depots {
            let batch = self.front_class(depot.class).map_or(0, |class| u64::from(class.batch));
            let held = bytes(depot.class, u64::from(depot.batches) * batch);
            sum.depot_bytes = sum.depot_bytes.saturating_add(held);
        }
        let mut processors = std::collections::BTreeSet::new();
        for magazine in self.magazines.values() {
            processors.insert(magazine.processor);
            let held = bytes(magazine.class, magazine.blocks.into());
            sum.magazine_bytes = sum.magazine_bytes.saturating_add(held);
            sum.count(magazine);
        }
        sum.processors = u32::try_from(processors.len()).unwrap_or(u32::MAX);
        Some(sum)
    }
}
