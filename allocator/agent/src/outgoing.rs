//! Turns the newest census and the transition ring into frames on a client's queue.
//!
//! The message types own `Vec`s; here they are made once, never grow beyond the records of one
//! chunk, and are reused for every client, so that nothing is allocated.

use std::fmt::Write;
use std::time::Instant;

use lfalloc::anchor::Anchor;
use lfalloc::observe::{self, CLASS_COUNT, Magnifier, RING_SLOTS, Transition, TransitionCursor};
use lfalloc_protocol::message::{
    Classes, Depots, Front, Gap, HeapCounter, HeapCounters, HeapRecord, Heaps, Hello, Kind,
    LargeBlocks, LargeRecord, MAJOR, MINOR, MagazineRecord, Magazines, Refused, SizeSamples,
    StateBegin, StateEnd, SuperblockCached, SuperblockChange, SuperblockChanges, SuperblockDetail,
    SuperblockRecord, Superblocks, TransitionRecord, Transitions, bitmap, feature,
};
use serde::Serialize;

use crate::convert;
use crate::queue::{Full, Queue};
use crate::registry::Registry;
use crate::request::Refusal;

/// Records in one chunk at most.
const CHUNK_RECORDS: usize = 512;
/// Changes of superblocks in one chunk at most; they are small, and of a busy program there are many.
const CHANGES: usize = 2048;
/// Chunks of transitions sent at a time at most: the whole ring. What is recorded meanwhile waits
/// there.
const TRANSITION_CHUNKS: usize = RING_SLOTS.div_ceil(CHUNK_RECORDS);
/// Transitions of one superblock that a close look tells of at most, the newest.
const DETAIL_TRANSITIONS: usize = 256;
/// How often a superblock is looked at until it did not change meanwhile.
const LOOKS: u32 = 4;
/// The first minor version whose viewers know of samples, counters and close looks.
pub(crate) const SINCE_1_1: u16 = 1;
/// The first minor version whose viewers know of changes of superblocks.
const SINCE_1_2: u16 = 2;
/// The first minor version whose viewers know of the front.
const SINCE_1_3: u16 = 3;
/// Bytes kept for the sentence of a refusal; the longest has about half of it.
const SENTENCE_BYTES: usize = 256;

/// Half of the tags that an anchor can have.
const HALF_OF_TAGS: u64 = 1 << (Anchor::TAG_BITS - 1);

/// One message of every kind that holds a `Vec` or a `String`.
#[derive(Debug)]
pub(crate) struct Outgoing {
    hello: Hello,
    refused: Refused,
    classes: Classes,
    heaps: Heaps,
    superblocks: Superblocks,
    changes: SuperblockChanges,
    large: LargeBlocks,
    transitions: Transitions,
    samples: SizeSamples,
    counters: HeapCounters,
    front: Front,
    depots: Depots,
    magazines: Magazines,
    detail: SuperblockDetail,
    cached: SuperblockCached,
    magnifier: Box<Magnifier>,
    ring: Box<[Transition]>,
}

/// What a viewer knows already.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Knows {
    /// Minor version that it speaks.
    pub(crate) minor: u16,
    /// The census of its last state; `None`: it gets all.
    pub(crate) have: Option<u64>,
}

/// What the end of a state tells about the agent itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AgentFigures {
    pub(crate) cpu_ns: u64,
    pub(crate) bytes: u64,
    pub(crate) viewers: u32,
}

/// What one reading of the transition ring brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fed {
    /// Transitions found in the ring.
    pub(crate) read: usize,
    /// Transitions that were gone from the ring before they were read.
    pub(crate) lost: u64,
    /// Transitions that the client has to be told it missed, and was not yet.
    pub(crate) missed: u64,
}

impl Outgoing {
    pub(crate) fn new(hello: Hello) -> Self {
        let message = String::with_capacity(SENTENCE_BYTES);
        Self {
            hello,
            refused: Refused { reason: 0, major: MAJOR, minor: MINOR, message },
            classes: Classes { records: Vec::with_capacity(CLASS_COUNT) },
            heaps: Heaps { first: true, records: Vec::with_capacity(CHUNK_RECORDS) },
            superblocks: Superblocks { records: Vec::with_capacity(CHUNK_RECORDS) },
            changes: SuperblockChanges { records: Vec::with_capacity(CHANGES) },
            large: LargeBlocks { first: true, records: Vec::with_capacity(CHUNK_RECORDS) },
            transitions: Transitions { missed: 0, records: Vec::with_capacity(CHUNK_RECORDS) },
            samples: SizeSamples { records: Vec::with_capacity(CLASS_COUNT) },
            counters: HeapCounters { records: Vec::with_capacity(CHUNK_RECORDS) },
            front: convert::front(),
            depots: Depots { records: Vec::with_capacity(CLASS_COUNT) },
            magazines: Magazines { records: Vec::with_capacity(CHUNK_RECORDS) },
            detail: SuperblockDetail {
                id: 0,
                uptime_ns: 0,
                record: None,
                bitmap_is: bitmap::NONE,
                free: Vec::with_capacity(Magnifier::MAX_WORDS),
                transitions: Vec::with_capacity(DETAIL_TRANSITIONS),
            },
            cached: SuperblockCached {
                id: 0,
                cached_is: bitmap::NONE,
                magazines: Vec::with_capacity(Magnifier::MAX_WORDS),
                depot: Vec::with_capacity(Magnifier::MAX_WORDS),
            },
            magnifier: Box::default(),
            ring: vec![Transition::NOTHING; CHUNK_RECORDS].into_boxed_slice(),
        }
    }

    /// The agent's greeting.
    pub(crate) fn hello(&mut self, queue: &mut Queue, registry: &Registry) -> Result<(), Full> {
        self.hello.uptime_ns = registry.uptime.at(Instant::now());
        if observe::magazine_processors() > 0 {
            self.hello.features |= feature::MAGAZINES;
        }
        queue.push(Kind::HELLO, &self.hello)
    }

    /// The message that refuses.
    pub(crate) fn refused(&mut self, refusal: Refusal) -> &Refused {
        self.refused.reason = refusal.reason();
        self.refused.message.clear();
        // The sentences are shorter than the string's capacity; writing to a string cannot fail.
        let _ = write!(self.refused.message, "{refusal}");
        &self.refused
    }

    /// The cheap answer.
    pub(crate) fn totals(queue: &mut Queue, registry: &Registry) -> Result<(), Full> {
        let uptime_ns = registry.uptime.at(Instant::now());
        queue.push(Kind::TOTALS, &convert::totals(&observe::totals(), uptime_ns))
    }

    /// The newest census, whole: for a client that knows something of it, or nothing. On failure
    /// nothing of it stays in the queue.
    pub(crate) fn state(
        &mut self,
        queue: &mut Queue,
        registry: &Registry,
        viewer: Knows,
        sequence: u64,
        agent: AgentFigures,
    ) -> Result<(), Full> {
        let len = queue.len();
        let result = self.state_frames(queue, registry, viewer, sequence, agent);
        if result.is_err() {
            queue.truncate(len);
        }
        result
    }

    fn state_frames(
        &mut self,
        queue: &mut Queue,
        registry: &Registry,
        viewer: Knows,
        sequence: u64,
        agent: AgentFigures,
    ) -> Result<(), Full> {
        let Knows { minor, have } = viewer;
        let begin = StateBegin { sequence, full: have.is_none(), uptime_ns: registry.uptime_ns };
        queue.push(Kind::STATE_BEGIN, &begin)?;

        self.classes.records.clear();
        self.classes
            .records
            .extend(registry.tables.classes.iter().take(CLASS_COUNT).map(convert::class));
        queue.push(Kind::CLASSES, &self.classes)?;
        if minor >= SINCE_1_1 {
            self.samples.records.clear();
            let samples = registry.tables.classes.iter().filter_map(convert::sample);
            self.samples.records.extend(samples.take(CLASS_COUNT));
            queue.push(Kind::SIZE_SAMPLES, &self.samples)?;
        }

        let heaps = registry.tables.heaps.iter().map(convert::heap);
        push_chunks(queue, Kind::HEAPS, &mut self.heaps, heaps)?;
        if minor >= SINCE_1_1 {
            let counters = registry.counters_since(have).map(convert::counter);
            push_chunks(queue, Kind::HEAP_COUNTERS, &mut self.counters, counters)?;
        }

        if minor >= SINCE_1_3 && registry.has_front() {
            self.front_frames(queue, registry, have)?;
        }

        let ages = registry.ages();
        let takes_changes = minor >= SINCE_1_2;
        let superblocks = registry
            .superblocks_since(have, takes_changes)
            .map(|view| convert::superblock(view, ages));
        push_chunks(queue, Kind::SUPERBLOCKS, &mut self.superblocks, superblocks)?;
        if let Some(have) = have.filter(|_| takes_changes) {
            let changes = registry.changes_since(have).map(convert::change);
            push_chunks(queue, Kind::SUPERBLOCK_CHANGES, &mut self.changes, changes)?;
        }

        let large = registry.tables.large.iter().map(|view| convert::large(view, ages));
        push_chunks(queue, Kind::LARGE_BLOCKS, &mut self.large, large)?;

        let end = StateEnd {
            sequence,
            agent_cpu_ns: agent.cpu_ns,
            agent_bytes: agent.bytes,
            viewers: agent.viewers,
            ..convert::state_end(&registry.census)
        };
        queue.push(Kind::STATE_END, &end)
    }

    /// The front's part of a state.
    fn front_frames(
        &mut self,
        queue: &mut Queue,
        registry: &Registry,
        have: Option<u64>,
    ) -> Result<(), Full> {
        if registry.is_front_new(have) {
            self.front.processors = observe::magazine_processors();
            queue.push(Kind::FRONT, &self.front)?;
        }
        self.depots.records.clear();
        let depots = registry.tables.classes.iter().filter_map(convert::depot);
        self.depots.records.extend(depots.take(CLASS_COUNT));
        queue.push(Kind::DEPOTS, &self.depots)?;
        let magazines = registry.magazines_since(have).map(convert::magazine);
        push_chunks(queue, Kind::MAGAZINES, &mut self.magazines, magazines)
    }

    /// The transitions since `cursor`, of which `missed` were lost already.
    pub(crate) fn transitions(
        &mut self,
        queue: &mut Queue,
        registry: &Registry,
        cursor: &mut TransitionCursor,
        missed: u64,
    ) -> Fed {
        let mut fed = Fed { missed, ..Fed::default() };
        for _ in 0..TRANSITION_CHUNKS {
            let (count, lost) = cursor.read(&mut self.ring);
            fed.read += count;
            fed.lost += lost;
            fed.missed += lost;
            if count == 0 && fed.missed == 0 {
                break;
            }
            let uptimes = registry.uptimes();
            let views = self.ring.iter().take(count);
            self.transitions.missed = fed.missed;
            self.transitions.records.clear();
            self.transitions.records.extend(views.map(|view| convert::transition(view, uptimes)));
            if queue.push(Kind::TRANSITIONS, &self.transitions).is_err() {
                fed.missed += count as u64;
                return fed;
            }
            fed.missed = 0;
            if count < self.ring.len() {
                break;
            }
        }
        fed
    }

    /// A close look at superblock `id`, with what the ring still holds of it, for a viewer that speaks that minor version.
    pub(crate) fn detail(
        &mut self,
        queue: &mut Queue,
        registry: &Registry,
        id: u32,
        minor: u16,
    ) -> Result<(), Full> {
        (self.detail.id, self.cached.id) = (id, id);
        self.detail.free.clear();
        self.cached.magazines.clear();
        self.cached.depot.clear();
        self.cached.cached_is = bitmap::NONE;
        (self.detail.record, self.detail.bitmap_is) = match self.magnifier.look_at(id, LOOKS) {
            None => (None, bitmap::NONE),
            Some(look) => {
                self.detail.free.extend_from_slice(look.free);
                self.cached.magazines.extend_from_slice(look.magazines);
                self.cached.depot.extend_from_slice(look.depot);
                self.cached.cached_is = look.cached_sight as u8;
                let record = convert::superblock(&look.superblock, registry.ages_now());
                (Some(record), look.sight as u8)
            }
        };
        self.detail.uptime_ns = registry.uptime.at(Instant::now());
        self.collect_transitions(registry, id);
        if minor >= SINCE_1_3 && observe::magazine_processors() > 0 {
            queue.push(Kind::SUPERBLOCK_CACHED, &self.cached)?;
        }
        queue.push(Kind::SUPERBLOCK_DETAIL, &self.detail)
    }

    /// The newest transitions of superblock `id` in the ring, by their tags.
    fn collect_transitions(&mut self, registry: &Registry, id: u32) {
        let found = &mut self.detail.transitions;
        found.clear();
        let uptimes = registry.uptimes();
        let mut cursor = TransitionCursor::oldest();
        let (mut count, mut nothing) = (0, 0);
        // The ring twice over at most: it may be filled as fast as it is read. A slot whose writer
        // is at it ends a reading; it is given up at the third.
        for _ in 0..2 * TRANSITION_CHUNKS {
            let (read, _) = cursor.read(&mut self.ring);
            for event in self.ring[..read].iter().filter(|event| event.superblock == id) {
                let record = convert::transition(event, uptimes);
                if found.len() < DETAIL_TRANSITIONS {
                    found.push(record);
                } else {
                    found[count % DETAIL_TRANSITIONS] = record;
                }
                count += 1;
            }
            nothing = if read == 0 { nothing + 1 } else { 0 };
            if nothing == 3 {
                break;
            }
        }
        if count > DETAIL_TRANSITIONS {
            found.rotate_left(count % DETAIL_TRANSITIONS);
        }
        // Two of them may stand in the ring the wrong way round. Tags wrap: they are compared with
        // one of them, around which the others lie.
        let Some(first) = found.first().map(|record| record.tag) else {
            return;
        };
        let place = |record: &TransitionRecord| {
            record.tag.wrapping_sub(first).wrapping_add(HALF_OF_TAGS) % (2 * HALF_OF_TAGS)
        };
        found.sort_unstable_by_key(place);
    }

    /// Says that `lost` states were left out.
    pub(crate) fn gap(queue: &mut Queue, lost: u64) -> Result<(), Full> {
        queue.push(Kind::GAP, &Gap { lost })
    }
}

/// A message that carries a list in any number of pieces.
trait Chunk: Serialize {
    type Record;
    /// Records of a piece at most.
    const RECORDS: usize = CHUNK_RECORDS;
    /// The list.
    fn records(&mut self) -> &mut Vec<Self::Record>;
    /// Notes whether this is the first piece; false where a list of no pieces need not be sent.
    fn begin(&mut self, first: bool) -> bool;
}

impl Chunk for Heaps {
    type Record = HeapRecord;
    fn records(&mut self) -> &mut Vec<HeapRecord> {
        &mut self.records
    }
    fn begin(&mut self, first: bool) -> bool {
        self.first = first;
        first
    }
}

impl Chunk for HeapCounters {
    type Record = HeapCounter;
    fn records(&mut self) -> &mut Vec<HeapCounter> {
        &mut self.records
    }
    fn begin(&mut self, _first: bool) -> bool {
        false
    }
}

impl Chunk for Magazines {
    type Record = MagazineRecord;
    fn records(&mut self) -> &mut Vec<MagazineRecord> {
        &mut self.records
    }
    fn begin(&mut self, _first: bool) -> bool {
        false
    }
}

impl Chunk for Superblocks {
    type Record = SuperblockRecord;
    fn records(&mut self) -> &mut Vec<SuperblockRecord> {
        &mut self.records
    }
    fn begin(&mut self, _first: bool) -> bool {
        false
    }
}

impl Chunk for SuperblockChanges {
    type Record = SuperblockChange;
    const RECORDS: usize = CHANGES;
    fn records(&mut self) -> &mut Vec<SuperblockChange> {
        &mut self.records
    }
    fn begin(&mut self, _first: bool) -> bool {
        false
    }
}

impl Chunk for LargeBlocks {
    type Record = LargeRecord;
    fn records(&mut self) -> &mut Vec<LargeRecord> {
        &mut self.records
    }
    fn begin(&mut self, first: bool) -> bool {
        self.first = first;
        first
    }
}

/// Queues `records` as messages of at most `M::RECORDS` each.
fn push_chunks<M: Chunk>(
    queue: &mut Queue,
    kind: Kind,
    message: &mut M,
    mut records: impl Iterator<Item = M::Record>,
) -> Result<(), Full> {
    let mut first = true;
    loop {
        message.records().clear();
        message.records().extend(records.by_ref().take(M::RECORDS));
        let count = message.records().len();
        let must_be_sent = message.begin(first);
        if count > 0 || must_be_sent {
            queue.push(kind, message)?;
        }
        if count < M::RECORDS {
            return Ok(());
        }
        first = false;
    }
}
