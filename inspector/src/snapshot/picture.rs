//! The picture that a snapshot was written of, so that one computation serves both.

use lfalloc_protocol::message::{
    ClassInfo, ClassRecord, DepotRecord, Front, FrontClass, HeapCounter, HeapRecord, Hello,
    LargeRecord, MAGIC, MAJOR, MINOR, MagazineRecord, Parts, SizeSample, StateEnd,
    SuperblockRecord, backing, feature, state,
};

use super::{
    Class, Counters, FrontOfClass, Heap, Large, Magazine, Process, Samples, Snapshot, Superblock,
    Totals, Transitions,
};
use crate::picture::Picture;

/// A state that has no name.
const UNKNOWN_STATE: u8 = u8::MAX;

impl Snapshot {
    /// The picture of which [`Snapshot::of`] makes this document again. What a document does not tell is 0.
    #[must_use]
    pub fn picture(&self) -> Picture {
        let mut picture = Picture::new(self.process.hello(&self.classes));
        picture.uptime_ns = nanoseconds(self.process.uptime_ms);
        picture.parts = self.totals.into();
        picture.classes = self.classes.iter().map(ClassRecord::from).collect();
        picture.heaps = self.heaps.iter().copied().map(HeapRecord::from).collect();
        let counters = self.heap_counters.iter().copied().map(HeapCounter::from);
        picture.counters =
            counters.map(|counter| ((counter.class, counter.heap), counter)).collect();
        picture.samples = self.size_samples.iter().copied().map(SizeSample::from).collect();
        if let Some(front) = &self.front {
            picture.hello.features |= feature::MAGAZINES;
            let records = front.classes.iter().copied().map(FrontClass::from).collect();
            picture.front = Some(Front { processors: front.processors, records });
            let held = front.classes.iter().filter(|class| class.depot_batches > 0);
            picture.depots = held.copied().map(DepotRecord::from).collect();
        }
        let magazines = self.magazines.iter().copied().map(MagazineRecord::from);
        picture.magazines =
            magazines.map(|record| ((record.class, record.processor), record)).collect();
        let superblocks: Vec<_> = self.superblocks.iter().map(SuperblockRecord::from).collect();
        picture.superblocks.apply(&superblocks, picture.uptime_ns);
        let large = self.large.iter().map(LargeRecord::from);
        picture.large = large.map(|record| (record.id, record)).collect();
        let Transitions { seen, dropped } = self.transitions;
        picture.end = StateEnd {
            consistent: self.consistent,
            parts: picture.parts,
            in_hand: self.in_hand,
            transitions_seen: seen,
            transitions_dropped: dropped,
            ..StateEnd::default()
        };
        picture.states = 1;
        picture
    }
}

impl Process {
    fn hello(&self, classes: &[Class]) -> Hello {
        let unknown = ClassInfo { block_bytes: 0, superblock_bytes: 0, blocks_per_superblock: 0 };
        let mut infos = Vec::new();
        for class in classes {
            let place = usize::from(class.class);
            if infos.len() <= place {
                infos.resize(place + 1, unknown);
            }
            infos[place] = ClassInfo {
                block_bytes: class.block_bytes,
                superblock_bytes: class.superblock_bytes,
                blocks_per_superblock: class.blocks_per_superblock,
            };
        }
        let version = self.protocol.split_once('.');
        let version = version.and_then(|(major, minor)| major.parse().ok().zip(minor.parse().ok()));
        let (major, minor) = version.unwrap_or((MAJOR, MINOR));
        Hello {
            magic: MAGIC,
            major,
            minor,
            allocator_version: self.allocator_version.clone(),
            pid: self.pid,
            name: self.name.clone(),
            agent_started_unix_ns: 0,
            uptime_ns: nanoseconds(self.uptime_ms),
            heaps_per_class: 0,
            classes: infos,
            features: 0,
        }
    }
}

fn nanoseconds(milliseconds: u64) -> u64 {
    milliseconds.saturating_mul(1_000_000)
}

/// Reads `0x7f0000010000`; what is no such number is 0.
fn address(text: &str) -> u64 {
    text.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0)
}

impl From<Totals> for Parts {
    fn from(totals: Totals) -> Self {
        Self {
            mapped: totals.mapped_bytes,
            live: totals.live_bytes,
            large: totals.large_bytes,
            free: totals.free_bytes,
            credit: totals.credit_bytes,
            cached: totals.cached_bytes,
            empty: totals.empty_bytes,
            large_cached: totals.large_cached_bytes,
            tail: totals.tail_bytes,
            unused: totals.unused_bytes,
            metadata: totals.metadata_bytes,
        }
    }
}

impl From<&Class> for ClassRecord {
    fn from(class: &Class) -> Self {
        Self {
            class: class.class,
            allocations: class.allocations,
            frees: class.frees,
            retries: class.retries,
            active: class.superblocks.active,
            full: class.superblocks.full,
            partial: class.superblocks.partial,
            empty: class.superblocks.empty,
            live_blocks: class.live_blocks,
            free_blocks: class.free_blocks,
            credit_blocks: class.credit_blocks,
            cached_blocks: class.cached_blocks,
        }
    }
}

impl From<Heap> for HeapRecord {
    fn from(Heap { class, heap, superblock, credits }: Heap) -> Self {
        Self { class, heap, superblock, credits }
    }
}

impl From<Counters> for HeapCounter {
    fn from(Counters { class, heap, allocations, frees, refills, ran_dry }: Counters) -> Self {
        Self { class, heap, allocations, frees, refills, ran_dry }
    }
}

impl From<FrontOfClass> for FrontClass {
    fn from(front: FrontOfClass) -> Self {
        let FrontOfClass { class, capacity, batch, depot_most, .. } = front;
        Self { class, capacity, batch, depot_batches: depot_most }
    }
}

impl From<FrontOfClass> for DepotRecord {
    fn from(FrontOfClass { class, depot_batches: batches, .. }: FrontOfClass) -> Self {
        Self { class, batches }
    }
}

impl From<Magazine> for MagazineRecord {
    fn from(magazine: Magazine) -> Self {
        let Magazine { class, processor, blocks, pops, pushes, refills, flushes, aborts } =
            magazine;
        Self { class, processor, blocks, pops, pushes, refills, flushes, aborts }
    }
}

impl From<Samples> for SizeSample {
    fn from(Samples { class, samples, slack_sum, slack_squares }: Samples) -> Self {
        Self { class, samples, slack_sum, slack_squares }
    }
}

impl From<&Superblock> for SuperblockRecord {
    fn from(superblock: &Superblock) -> Self {
        let mut states = state::ACTIVE..=state::EMPTY;
        Self {
            id: superblock.id,
            class: superblock.class,
            state: states
                .find(|code| state::name(*code) == superblock.state)
                .unwrap_or(UNKNOWN_STATE),
            backing: backing::MAPPED,
            address: address(&superblock.address),
            anchor: 0,
            avail: superblock.avail,
            count: superblock.count,
            credits: superblock.credits,
            exact: superblock.exact,
            tag: superblock.tag,
            age_ns: nanoseconds(superblock.age_ms),
        }
    }
}

impl From<&Large> for LargeRecord {
    fn from(large: &Large) -> Self {
        Self {
            id: large.id,
            address: address(&large.address),
            bytes: large.bytes,
            age_ns: nanoseconds(large.age_ms),
            cached: large.cached,
        }
    }
}

#[cfg(test)]
mod tests {
    //! Aim: nothing of a document is lost on the way. Method: the made-up heap, there and back.
    use std::time::Duration;

    use super::*;
    use crate::source::synthetic::{Synthetic, SyntheticSource};
    use crate::source::{Source as _, SourceEvent};

    #[test]
    fn a_document_comes_back() {
        for (superblocks, magazines) in [(0, false), (300, false), (300, true)] {
            let options = Synthetic { superblocks, magazines, ..Synthetic::default() };
            let mut source = SyntheticSource::new(options);
            let SourceEvent::Connected(hello) = source.poll(Duration::ZERO) else {
                panic!("a greeting comes first")
            };
            let mut picture = Picture::new(hello);
            while picture.states < 3 {
                if let SourceEvent::Frame(kind, payload) = source.poll(Duration::ZERO) {
                    let _ = picture.apply(kind, &payload).unwrap();
                }
            }
            let document = Snapshot::of(&picture);
            assert_eq!(document.front.is_some(), magazines);
            assert_eq!(Snapshot::of(&document.picture()), document);
        }
    }
}
