//! A made-up process: a seeded simulation of a heap that speaks the real protocol.
//!
//! The same options give the same frames on every machine. All transitions are legal in the patent's
//! state diagram, and the parts of every state sum to what is mapped, except in the states that say
//! that they are not consistent.

mod detail;
mod front;
mod heap;
mod random;
mod usage;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use lfalloc_protocol::codec::{MAX_PAYLOAD_BYTES, encode_into};
use lfalloc_protocol::message::{
    ClassInfo, ClassRecord, Classes, Depots, HeapCounters, HeapRecord, Heaps, Hello, Kind,
    LargeBlocks, MAGIC, MAJOR, MINOR, Magazines, Parts, SizeSamples, StateBegin, StateEnd,
    SuperblockChange, SuperblockChanges, SuperblockRecord, Superblocks, Transitions, backing,
    feature, state,
};
use serde::Serialize;

use self::front::{Front, Need};
use self::heap::{Counters, Heap, Superblock};
use super::{Source, SourceEvent};

/// Superblocks in one frame; well below the limit of a frame.
const SUPERBLOCKS_PER_FRAME: usize = 4096;
/// Transitions in one frame.
const TRANSITIONS_PER_FRAME: usize = 4096;
/// Transitions kept between two states; the others count as missed, as in a ring that is too slow
/// to be read.
const TRANSITION_RING: usize = 8192;
/// One state in this many was read while things moved.
const INCONSISTENT_EVERY: u64 = 16;
const METADATA_BYTES: i64 = 3 << 20;
const AGENT_BYTES: u64 = 1_310_720;

/// What to make up.
#[derive(Clone, Debug)]
pub struct Synthetic {
    /// Everything follows from it.
    pub seed: u64,
    /// Superblocks that exist when the viewer attaches.
    pub superblocks: u32,
    /// Allocations and frees between two states; 0: an idle program.
    pub operations: u32,
    /// Whether blocks are cached in front of the heap.
    pub magazines: bool,
    /// Whether states come at the rate asked for; otherwise as fast as they are taken.
    pub paced: bool,
    /// The process is gone after this many states.
    pub states: Option<u64>,
}

impl Default for Synthetic {
    fn default() -> Self {
        Self {
            seed: 1,
            superblocks: 400,
            operations: 20_000,
            magazines: false,
            paced: false,
            states: None,
        }
    }
}

/// The source that [`Synthetic`] describes.
#[derive(Debug)]
pub struct SyntheticSource {
    options: Synthetic,
    heap: Heap,
    /// If there is one.
    front: Option<Front>,
    queue: VecDeque<SourceEvent>,
    /// Superblocks asked for and not answered yet.
    asked: VecDeque<u32>,
    buffer: Vec<u8>,
    sequence: u64,
    interval: Duration,
    /// When the next state is due.
    next: Option<Instant>,
    /// Time of the last state, by the made-up clock.
    told_ns: u64,
}

impl SyntheticSource {
    /// A source that greets first and then sends states for ever, or as many as asked for.
    #[must_use]
    pub fn new(options: Synthetic) -> Self {
        let mut heap = Heap::new(class_table(), 4, options.seed);
        heap.populate(options.superblocks);
        let hello = hello(&heap, &options);
        let process = SourceEvent::Process { pid: hello.pid, rss_bytes: None };
        let processors = heap.active.first().map_or(0, Vec::len);
        Self {
            front: options.magazines.then(|| Front::new(&heap.classes, processors)),
            heap,
            queue: VecDeque::from([SourceEvent::Connected(hello), process]),
            asked: VecDeque::new(),
            buffer: vec![0; MAX_PAYLOAD_BYTES],
            sequence: 0,
            interval: Duration::from_millis(250),
            next: None,
            told_ns: 0,
            options,
        }
    }

    fn advance(&mut self) {
        let started_ns = self.heap.now_ns;
        for operation in 0..self.options.operations {
            self.operate(operation);
        }
        if self.options.operations > 0 {
            self.heap.churn_large();
        }
        let elapsed = u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX);
        self.heap.now_ns = self.heap.now_ns.max(started_ns + elapsed);
    }

    /// One operation of the program: bursts of allocations, then of frees, over and over.
    fn operate(&mut self, operation: u32) {
        let heap = &mut self.heap;
        let class = heap.pick_class();
        let cpu = heap.random.below(heap.active[class].len() as u32) as usize;
        let growing = (self.sequence / 24).is_multiple_of(2);
        let odds = if growing { 55 } else { 45 };
        let allocates = heap.random.below(100) < odds;
        if let Some(front) = &mut self.front
            && !operation.is_multiple_of(1021)
            && !operation.is_multiple_of(1531)
        {
            if operation.is_multiple_of(997) {
                front.aborted(class, cpu);
            } else {
                return operate_front(heap, front, (class, cpu), allocates);
            }
        }
        if operation.is_multiple_of(1021) {
            heap.purge(class, cpu);
        } else if operation.is_multiple_of(1531) {
            heap.free_batch(class, cpu);
        } else if allocates {
            heap.malloc(class, cpu);
        } else {
            heap.free(class, cpu);
        }
    }

    /// What a state tells of the front.
    fn queue_front(&mut self, full: bool) {
        let Some(front) = &mut self.front else { return };
        let (shape, depots) = (front.shape(), Depots { records: front.depots() });
        let magazines = Magazines { records: front.take_magazines(full) };
        if full {
            self.queue_frame(Kind::FRONT, &shape);
        }
        self.queue_frame(Kind::DEPOTS, &depots);
        self.queue_frame(Kind::MAGAZINES, &magazines);
    }

    fn queue_state(&mut self) {
        let full = self.sequence == 0;
        self.queue_transitions();
        self.sequence += 1;
        let uptime_ns = self.heap.now_ns;
        self.queue_frame(
            Kind::STATE_BEGIN,
            &StateBegin { sequence: self.sequence, full, uptime_ns },
        );
        let classes = self.class_records();
        self.queue_frame(Kind::CLASSES, &Classes { records: classes.clone() });
        self.queue_frame(Kind::SIZE_SAMPLES, &SizeSamples { records: self.heap.usage.samples() });
        let heaps = Heaps { first: true, records: self.heap_records() };
        self.queue_frame(Kind::HEAPS, &heaps);
        let counters = HeapCounters { records: self.heap.usage.take_counters(full) };
        self.queue_frame(Kind::HEAP_COUNTERS, &counters);
        self.queue_front(full);
        let changed = std::mem::take(&mut self.heap.changed);
        let ids: Vec<u32> = if full {
            (0..self.heap.superblocks.len() as u32).collect()
        } else {
            changed.into_iter().collect()
        };
        let told = std::mem::replace(&mut self.told_ns, uptime_ns);
        let is_known = |id: &u32| {
            let superblock = &self.heap.superblocks[*id as usize];
            !full && superblock.mapped && superblock.taken_ns < told
        };
        let (changed, ids): (Vec<u32>, Vec<u32>) = ids.into_iter().partition(is_known);
        for chunk in changed.chunks(SUPERBLOCKS_PER_FRAME) {
            let records = chunk.iter().map(|&id| self.superblock_change(id)).collect();
            self.queue_frame(Kind::SUPERBLOCK_CHANGES, &SuperblockChanges { records });
        }
        for chunk in ids.chunks(SUPERBLOCKS_PER_FRAME) {
            let records = chunk.iter().map(|&id| self.superblock_record(id)).collect();
            self.queue_frame(Kind::SUPERBLOCKS, &Superblocks { records });
        }
        let large =
            LargeBlocks { first: true, records: self.heap.large.values().copied().collect() };
        self.queue_frame(Kind::LARGE_BLOCKS, &large);
        let end = self.state_end(&classes);
        self.queue_frame(Kind::STATE_END, &end);
        self.queue.push_back(SourceEvent::Process {
            pid: 4121,
            rss_bytes: u64::try_from(end.parts.mapped).ok().map(|mapped| mapped + (14 << 20)),
        });
    }

    fn queue_transitions(&mut self) {
        let mut records = std::mem::take(&mut self.heap.transitions);
        let mut missed = records.len().saturating_sub(TRANSITION_RING);
        records.drain(..missed);
        for chunk in records.chunks(TRANSITIONS_PER_FRAME) {
            let transitions =
                Transitions { missed: std::mem::take(&mut missed) as u64, records: chunk.to_vec() };
            self.queue_frame(Kind::TRANSITIONS, &transitions);
        }
    }

    fn queue_detail(&mut self, id: u32) {
        let heap = &self.heap;
        let known = heap.superblocks.get(id as usize);
        let record = known.map(|_| self.superblock_record(id));
        let blocks = known.map_or((0, 0), |superblock| {
            let free = superblock.count + superblock.credits;
            (heap.maxcount(usize::from(superblock.class)), free)
        });
        let answer = detail::detail(id, heap.now_ns, record, blocks, heap.history.iter());
        if let Some(front) = &self.front {
            let class = known.map_or(0, |superblock| usize::from(superblock.class));
            let cached =
                detail::cached(&answer, blocks, heap.cached_before(id, front.cached(class)));
            self.queue_frame(Kind::SUPERBLOCK_CACHED, &cached);
        }
        self.queue_frame(Kind::SUPERBLOCK_DETAIL, &answer);
    }

    fn queue_frame<T: Serialize>(&mut self, kind: Kind, message: &T) {
        let written = encode_into(message, &mut self.buffer);
        // Frames are chunked well below the limit; should one not fit, the viewer must not wait.
        let event = match written {
            Ok(written) => SourceEvent::Frame(kind, self.buffer[..written].to_vec()),
            Err(error) => SourceEvent::Failed(format!("the made-up heap cannot speak: {error}")),
        };
        self.queue.push_back(event);
    }

    fn class_records(&self) -> Vec<ClassRecord> {
        let mut records: Vec<ClassRecord> = self
            .heap
            .counters
            .iter()
            .enumerate()
            .map(|(class, counters)| ClassRecord {
                class: class as u16,
                allocations: counters.allocations,
                frees: counters.frees,
                retries: counters.retries,
                live_blocks: -i64::from(counters.cached),
                cached_blocks: i64::from(counters.cached),
                ..ClassRecord::default()
            })
            .collect();
        for superblock in self.heap.superblocks.iter().filter(|superblock| superblock.mapped) {
            let record = &mut records[usize::from(superblock.class)];
            match superblock.state {
                state::ACTIVE => record.active += 1,
                state::FULL => record.full += 1,
                state::PARTIAL => record.partial += 1,
                _ => record.empty += 1,
            }
            if superblock.state != state::EMPTY {
                record.live_blocks += i64::from(self.heap.live(superblock));
                record.free_blocks += i64::from(superblock.count);
                record.credit_blocks += i64::from(superblock.credits);
            }
        }
        records
    }

    fn heap_records(&self) -> Vec<HeapRecord> {
        let mut records = Vec::new();
        for (class, heaps) in self.heap.active.iter().enumerate() {
            for (heap, active) in heaps.iter().enumerate() {
                let Some(superblock) = *active else { continue };
                records.push(HeapRecord {
                    class: class as u16,
                    heap: heap as u16,
                    superblock,
                    credits: self.heap.superblocks[superblock as usize].credits,
                });
            }
        }
        records
    }

    fn superblock_record(&self, id: u32) -> SuperblockRecord {
        let Superblock { class, state, mapped, count, credits, tag, taken_ns, .. } =
            self.heap.superblocks[id as usize];
        let avail = (u64::from(id) * 7 + tag) % 8;
        SuperblockRecord {
            id,
            class,
            state,
            backing: if mapped { backing::MAPPED } else { backing::DECOMMITTED },
            // As a real program's: each mapping of sixteen lies below the one before.
            address: 0x7f00_0000_0000 - u64::from(id / 16) * 0x10_0000
                + u64::from(id % 16) * 0x1_0000,
            anchor: avail | u64::from(count) << 13 | u64::from(state) << 26 | tag << 28,
            avail: avail as u16,
            count: count as u16,
            credits: credits as u16,
            exact: !tag.is_multiple_of(61),
            tag,
            age_ns: self.heap.now_ns.saturating_sub(taken_ns),
        }
    }

    fn superblock_change(&self, id: u32) -> SuperblockChange {
        let SuperblockRecord { anchor, credits, exact, .. } = self.superblock_record(id);
        SuperblockChange { id, anchor, credits, exact }
    }

    fn parts(&self, classes: &[ClassRecord]) -> Parts {
        let mut parts = Parts { metadata: METADATA_BYTES, unused: 5 << 16, ..Parts::default() };
        for (record, info) in classes.iter().zip(&self.heap.classes) {
            let block_bytes = i64::from(info.block_bytes);
            let superblock_bytes = i64::from(info.superblock_bytes);
            let tail = superblock_bytes - block_bytes * i64::from(info.blocks_per_superblock);
            parts.live += record.live_blocks * block_bytes;
            parts.free += record.free_blocks * block_bytes;
            parts.credit += record.credit_blocks * block_bytes;
            parts.cached += record.cached_blocks * block_bytes;
            parts.empty += i64::from(record.empty) * superblock_bytes;
            parts.tail += tail
                * (i64::from(record.active) + i64::from(record.full) + i64::from(record.partial));
        }
        for block in self.heap.large.values() {
            let bytes = i64::try_from(block.bytes).unwrap_or(i64::MAX);
            *(if block.cached { &mut parts.large_cached } else { &mut parts.large }) += bytes;
        }
        parts.mapped = crate::picture::parts_sum(&parts);
        parts
    }

    fn state_end(&self, classes: &[ClassRecord]) -> StateEnd {
        let busy = self.options.operations > 0;
        let consistent = !busy || !self.sequence.is_multiple_of(INCONSISTENT_EVERY);
        let mut parts = self.parts(classes);
        let moved = if consistent { 0 } else { 37 };
        parts.mapped += moved * 4096;
        let sum = |count: fn(&ClassRecord) -> u64| classes.iter().map(count).sum::<u64>();
        let allocations = sum(|class| class.allocations) + self.heap.large_allocations;
        let frees = sum(|class| class.frees) + self.heap.large_frees;
        StateEnd {
            sequence: self.sequence,
            consistent,
            attempts: if consistent { 1 } else { 4 },
            parts,
            in_hand: if consistent { 0 } else { 2 },
            allocations_before: allocations - moved.unsigned_abs().min(allocations),
            frees_before: frees,
            allocations_after: allocations,
            frees_after: frees,
            large_allocations: self.heap.large_allocations,
            large_frees: self.heap.large_frees,
            transitions_seen: self.heap.transitions_seen,
            transitions_dropped: self.heap.transitions_seen / 50_000,
            agent_cpu_ns: self.sequence * 900_000,
            agent_bytes: AGENT_BYTES,
            viewers: 1,
        }
    }
}

/// An operation that comes to the front first.
fn operate_front(
    heap: &mut Heap,
    front: &mut Front,
    (class, cpu): (usize, usize),
    allocates: bool,
) {
    if !allocates && heap.counters[class].allocations <= heap.counters[class].frees {
        return;
    }
    let need = if allocates { front.pop(class, cpu) } else { front.push(class, cpu) };
    let Counters { allocations, frees, .. } = heap.counters[class];
    match need {
        Need::Nothing if allocates => heap.counters[class].allocations += 1,
        Need::Nothing => heap.counters[class].frees += 1,
        Need::Batch(more) if allocates => {
            (0..=more).for_each(|_| heap.malloc(class, cpu));
            let got = (heap.counters[class].allocations - allocations) as u32;
            front.got(class, cpu, got.saturating_sub(1));
            // The program has got one of them.
            heap.counters[class].allocations = allocations + u64::from(got.min(1));
        }
        Need::Batch(more) => {
            (0..=more).for_each(|_| heap.free(class, cpu));
            let gave = (heap.counters[class].frees - frees) as u32;
            front.gave(class, cpu, gave.saturating_sub(1));
            heap.counters[class].frees = frees + u64::from(gave.min(1));
        }
    }
    heap.counters[class].cached = front.cached(class).iter().sum();
}

impl Source for SyntheticSource {
    fn poll(&mut self, timeout: Duration) -> SourceEvent {
        // Never within a state: that is queued whole.
        if self.queue.is_empty()
            && let Some(id) = self.asked.pop_front()
        {
            self.queue_detail(id);
        }
        if let Some(event) = self.queue.pop_front() {
            return event;
        }
        if self.options.states.is_some_and(|states| self.sequence >= states) {
            if self.sequence < u64::MAX {
                self.sequence = u64::MAX;
                return SourceEvent::Gone("the process ended".to_owned());
            }
            std::thread::sleep(timeout);
            return SourceEvent::Quiet;
        }
        if self.options.paced {
            let now = Instant::now();
            let next = *self.next.get_or_insert(now);
            if next > now + timeout {
                std::thread::sleep(timeout);
                return SourceEvent::Quiet;
            }
            std::thread::sleep(next.saturating_duration_since(now));
            self.next = Some(next.max(now) + self.interval);
        }
        if self.sequence > 0 {
            self.advance();
        }
        self.queue_state();
        self.queue.pop_front().unwrap_or(SourceEvent::Quiet)
    }

    fn request_rate(&mut self, hz: f64) {
        self.interval = Duration::from_secs_f64(1.0 / hz.clamp(0.1, 50.0));
    }

    fn request_superblock(&mut self, id: u32) {
        self.asked.push_back(id);
    }
}

/// Steps of 16 bytes up to 128, then eight to a doubling up to 32 KiB; at least 8 blocks in every
/// superblock.
fn class_table() -> Vec<ClassInfo> {
    let small = (1..=8).map(|step| step * 16);
    let middle =
        (7..15).flat_map(|power| (1..=8).map(move |step| (1 << power) + (step << (power - 3))));
    small
        .chain(middle)
        .map(|block_bytes: u32| {
            let superblock_bytes = if block_bytes <= 8192 { 1 << 16 } else { 1 << 20 };
            let blocks_per_superblock = superblock_bytes / block_bytes;
            ClassInfo { block_bytes, superblock_bytes, blocks_per_superblock }
        })
        .collect()
}

fn hello(heap: &Heap, options: &Synthetic) -> Hello {
    Hello {
        magic: MAGIC,
        major: MAJOR,
        minor: MINOR,
        allocator_version: "0.1.0".to_owned(),
        pid: 4121,
        name: "synthetic".to_owned(),
        agent_started_unix_ns: 1_700_000_000_000_000_000,
        uptime_ns: heap.now_ns,
        heaps_per_class: heap.active.first().map_or(0, Vec::len) as u32,
        classes: heap.classes.clone(),
        features: feature::TRANSITIONS | if options.magazines { feature::MAGAZINES } else { 0 },
    }
}

#[cfg(test)]
mod tests;
