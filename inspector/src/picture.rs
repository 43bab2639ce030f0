//! What one connection has told so far, and the figures derived from it.
//!
//! Frames of a state are staged and become visible all at once at `STATE_END`: nobody ever sees half
//! a state. Nothing is clamped: parts that do not add up, or negative ones, are shown as they came.
//!
//! | frame | effect |
//! |---|---|
//! | `STATE_BEGIN` full | staging starts, empty |
//! | `STATE_BEGIN` not full | staging starts on top of what is visible; ignored until a full state was seen |
//! | chunks | go to the staging area; ignored outside of a state |
//! | `STATE_END` | the staged state becomes visible; one with another sequence number drops it |
//! | `GAP` | what is staged is dropped, and updates are ignored until the next full state |
//! | unknown kinds | nothing |
//!
//! An ignored update costs freshness; applied to the wrong base it would leave ghosts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use lfalloc_protocol::codec::{decode, decode_changes};
use lfalloc_protocol::message::{
    self, ClassRecord, Classes, DepotRecord, Depots, Front, Gap, HeapCounter, HeapCounters,
    HeapRecord, Heaps, Hello, Kind, LargeBlocks, LargeRecord, MagazineRecord, Magazines, Parts,
    SizeSample, SizeSamples, StateBegin, StateEnd, SuperblockCached, SuperblockChange,
    SuperblockDetail, SuperblockRecord, Totals, Transitions, backing, state,
};
use serde::de::DeserializeOwned;

mod class;
mod front;
mod superblocks;

pub use self::class::ClassFigures;
pub use self::front::{FrontFigures, FrontIs, hit_fraction};
pub use self::superblocks::{Superblock, Superblocks};

/// Records one state may hold, of superblocks as of large blocks, be they told at once or by one
/// update after the other; an agent that sends more is broken, and its state is refused before it
/// fills the viewer's memory.
pub const MAX_STAGED_RECORDS: usize = 1 << 22;

/// How many equal steps of occupancy [`Picture::partial_occupancy`] tells apart.
pub const OCCUPANCY_STEPS: usize = 10;

/// Why a frame could not be applied. The connection is then of no more use.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The payload is no message of its kind.
    Malformed {
        /// Kind of the frame.
        kind: Kind,
        /// What the decoder said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// One state held more records than [`MAX_STAGED_RECORDS`].
    TooManyRecords,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { kind, .. } => {
                write!(f, "malformed frame of kind {:#06x} from the agent", kind.0)
            }
            Self::TooManyRecords => {
                write!(f, "a state with more than {MAX_STAGED_RECORDS} records from the agent")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Malformed { source, .. } => Some(source.as_ref()),
            Self::TooManyRecords => None,
        }
    }
}

/// What a frame meant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Applied {
    /// Nothing that can be seen yet: a chunk, or a kind that this viewer does not know.
    Nothing,
    /// A state is complete, and visible from now on.
    State,
    /// These transitions happened.
    Transitions(Transitions),
    /// The agent left out this many states and transition messages.
    Gap(u64),
    /// The answer to a request for totals.
    Totals(Totals),
    /// The answer to a request for one superblock, and what of it the front holds, where that was told.
    Detail(SuperblockDetail, Option<SuperblockCached>),
}

/// Frames of a state that has not ended.
#[derive(Clone, Debug)]
struct Staged {
    begin: StateBegin,
    classes: Option<Vec<ClassRecord>>,
    heaps: Option<Vec<HeapRecord>>,
    superblocks: Vec<SuperblockRecord>,
    changes: Vec<SuperblockChange>,
    large: Option<Vec<LargeRecord>>,
    samples: Option<Vec<SizeSample>>,
    counters: Vec<HeapCounter>,
    front: Option<Front>,
    depots: Option<Vec<DepotRecord>>,
    magazines: Vec<MagazineRecord>,
}

/// What one connection has told so far.
#[derive(Clone, Debug)]
pub struct Picture {
    /// The agent's greeting.
    pub hello: Hello,
    /// Process id as the viewer's system sees it, where it differs or was told by the socket.
    pub pid: u32,
    /// Resident bytes of the process, read by the viewer (not by the agent), if it may.
    pub rss_bytes: Option<u64>,
    /// Where the mapped bytes are, of the last complete state.
    pub parts: Parts,
    /// The end message of the last complete state.
    pub end: StateEnd,
    /// Classes by class number.
    pub classes: Vec<ClassRecord>,
    /// Heaps with an active superblock.
    pub heaps: Vec<HeapRecord>,
    /// Superblocks that are mapped, by number of their descriptor.
    pub superblocks: Superblocks,
    /// Large blocks, by number of their descriptor.
    pub large: BTreeMap<u32, LargeRecord>,
    /// Sampled sizes of requests, by class number; classes without samples are left out.
    pub samples: Vec<SizeSample>,
    /// Counters of every heap that was ever used, by class and heap.
    pub counters: BTreeMap<(u16, u16), HeapCounter>,
    /// How the front is built; `None`: there is none, or the agent does not tell.
    pub front: Option<Front>,
    /// What the depot holds, by class number; classes of which it holds nothing are left out.
    pub depots: Vec<DepotRecord>,
    /// Every magazine that was ever used, by class and processor.
    pub magazines: BTreeMap<(u16, u16), MagazineRecord>,
    /// How long the process had run when the last complete state was taken, nanoseconds.
    pub uptime_ns: u64,
    /// Complete states applied so far; 0: there is nothing to show yet.
    pub states: u64,
    /// Whether an update may be applied to what is visible.
    has_base: bool,
    staged: Option<Staged>,
    /// Of the close look that comes next.
    cached: Option<SuperblockCached>,
}

impl Picture {
    /// A picture of which nothing is known but the greeting.
    #[must_use]
    pub fn new(hello: Hello) -> Self {
        Self {
            pid: hello.pid,
            uptime_ns: hello.uptime_ns,
            hello,
            rss_bytes: None,
            parts: Parts::default(),
            end: StateEnd::default(),
            classes: Vec::new(),
            heaps: Vec::new(),
            superblocks: Superblocks::default(),
            large: BTreeMap::new(),
            samples: Vec::new(),
            counters: BTreeMap::new(),
            front: None,
            depots: Vec::new(),
            magazines: BTreeMap::new(),
            states: 0,
            has_base: false,
            staged: None,
            cached: None,
        }
    }

    /// Applies one frame.
    ///
    /// # Errors
    /// When the payload cannot be decoded as its kind, or a state is absurdly large. The picture
    /// stays as it was before the state began.
    pub fn apply(&mut self, kind: Kind, payload: &[u8]) -> Result<Applied, Error> {
        let applied = self.apply_frame(kind, payload);
        if applied.is_err() {
            self.staged = None;
            self.has_base = false;
        }
        applied
    }

    fn apply_frame(&mut self, kind: Kind, payload: &[u8]) -> Result<Applied, Error> {
        match kind {
            Kind::STATE_BEGIN => self.begin(message(kind, payload)?),
            Kind::CLASSES => {
                let classes: Classes = message(kind, payload)?;
                if let Some(staged) = &mut self.staged {
                    staged.classes = Some(classes.records);
                }
            }
            Kind::HEAPS => {
                let heaps: Heaps = message(kind, payload)?;
                if let Some(staged) = &mut self.staged {
                    stage_chunk(&mut staged.heaps, heaps.first, heaps.records)?;
                }
            }
            Kind::SUPERBLOCKS => {
                let superblocks: message::Superblocks = message(kind, payload)?;
                if let Some(staged) = &mut self.staged {
                    extend_bounded(&mut staged.superblocks, superblocks.records)?;
                }
            }
            Kind::SUPERBLOCK_CHANGES => {
                let changes = decode_changes(payload)
                    .map_err(|source| Error::Malformed { kind, source: source.into() })?;
                if let Some(staged) = &mut self.staged {
                    extend_bounded(&mut staged.changes, changes.records)?;
                }
            }
            Kind::LARGE_BLOCKS => {
                let large: LargeBlocks = message(kind, payload)?;
                if let Some(staged) = &mut self.staged {
                    stage_chunk(&mut staged.large, large.first, large.records)?;
                }
            }
            Kind::SIZE_SAMPLES => {
                let samples: SizeSamples = message(kind, payload)?;
                if let Some(staged) = &mut self.staged {
                    staged.samples = Some(samples.records);
                }
            }
            Kind::HEAP_COUNTERS => {
                let counters: HeapCounters = message(kind, payload)?;
                if let Some(staged) = &mut self.staged {
                    extend_bounded(&mut staged.counters, counters.records)?;
                }
            }
            Kind::FRONT => {
                let front: Front = message(kind, payload)?;
                if let Some(staged) = &mut self.staged {
                    staged.front = Some(front);
                }
            }
            Kind::DEPOTS => {
                let depots: Depots = message(kind, payload)?;
                if let Some(staged) = &mut self.staged {
                    staged.depots = Some(depots.records);
                }
            }
            Kind::MAGAZINES => {
                let magazines: Magazines = message(kind, payload)?;
                if let Some(staged) = &mut self.staged {
                    extend_bounded(&mut staged.magazines, magazines.records)?;
                }
            }
            Kind::SUPERBLOCK_CACHED => self.cached = Some(message(kind, payload)?),
            Kind::SUPERBLOCK_DETAIL => {
                let detail: SuperblockDetail = message(kind, payload)?;
                let cached = self.cached.take().filter(|cached| cached.id == detail.id);
                return Ok(Applied::Detail(detail, cached));
            }
            Kind::STATE_END => return self.end(message(kind, payload)?),
            Kind::TRANSITIONS => return Ok(Applied::Transitions(message(kind, payload)?)),
            Kind::GAP => {
                let gap: Gap = message(kind, payload)?;
                self.staged = None;
                self.has_base = false;
                return Ok(Applied::Gap(gap.lost));
            }
            Kind::TOTALS => return Ok(Applied::Totals(message(kind, payload)?)),
            _ => {}
        }
        Ok(Applied::Nothing)
    }

    fn begin(&mut self, begin: StateBegin) {
        self.staged = (begin.full || self.has_base).then(|| Staged {
            begin,
            classes: None,
            heaps: None,
            superblocks: Vec::new(),
            changes: Vec::new(),
            large: None,
            samples: None,
            counters: Vec::new(),
            front: None,
            depots: None,
            magazines: Vec::new(),
        });
    }

    fn end(&mut self, end: StateEnd) -> Result<Applied, Error> {
        let Some(staged) = self.staged.take() else {
            return Ok(Applied::Nothing);
        };
        if staged.begin.sequence != end.sequence {
            self.has_base = false;
            return Ok(Applied::Nothing);
        }
        let known = &self.superblocks;
        if !staged.begin.full && overflows(known, &staged.superblocks, MAX_STAGED_RECORDS) {
            return Err(Error::TooManyRecords);
        }
        if staged.begin.full {
            self.superblocks = Superblocks::default();
            self.large.clear();
            self.heaps.clear();
            self.classes.clear();
            self.samples.clear();
            self.counters.clear();
            self.front = None;
            self.depots.clear();
            self.magazines.clear();
        }
        self.superblocks.apply(&staged.superblocks, staged.begin.uptime_ns);
        self.superblocks.change(&staged.changes);
        if let Some(classes) = staged.classes {
            self.classes = classes;
        }
        if let Some(heaps) = staged.heaps {
            self.heaps = heaps;
        }
        if let Some(large) = staged.large {
            self.large = large.into_iter().map(|record| (record.id, record)).collect();
        }
        if let Some(samples) = staged.samples {
            self.samples = samples;
        }
        for counter in staged.counters {
            self.counters.insert((counter.class, counter.heap), counter);
        }
        self.front = staged.front.or_else(|| self.front.take());
        if let Some(depots) = staged.depots {
            self.depots = depots;
        }
        for magazine in staged.magazines {
            self.magazines.insert((magazine.class, magazine.processor), magazine);
        }
        self.uptime_ns = staged.begin.uptime_ns;
        self.parts = end.parts;
        self.end = end;
        self.states += 1;
        self.has_base = true;
        Ok(Applied::State)
    }

    /// Bytes the program holds, in blocks and large blocks.
    #[must_use]
    pub fn live_bytes(&self) -> i64 {
        self.parts.live.saturating_add(self.parts.large)
    }

    /// Live bytes (large blocks included) as a share of what is mapped; `None` if nothing is mapped.
    #[must_use]
    pub fn live_fraction(&self) -> Option<f64> {
        fraction(self.live_bytes(), self.parts.mapped)
    }

    /// 1 − live / mapped: what is mapped and holds nothing of the program's.
    #[must_use]
    pub fn waste_fraction(&self) -> Option<f64> {
        self.live_fraction().map(|live| 1.0 - live)
    }

    /// EXT%, as a fraction: (free + credits) / bytes of superblocks that are not EMPTY.
    #[must_use]
    pub fn external_fraction(&self) -> Option<f64> {
        let bytes = self.figures().fold(0_i64, |sum, class| sum.saturating_add(class.bytes()));
        fraction(self.parts.free.saturating_add(self.parts.credit), bytes)
    }

    /// `mapped` less the sum of the other parts; 0 when the books balance, `None` before the first
    /// state. A difference in a state that is not consistent is no finding: things moved meanwhile.
    #[must_use]
    pub fn books_balance(&self) -> Option<i64> {
        (self.states > 0).then(|| self.parts.mapped.saturating_sub(parts_sum(&self.parts)))
    }

    /// The figures of every class, by class number.
    pub fn figures(&self) -> impl Iterator<Item = ClassFigures> + '_ {
        self.hello.classes.iter().enumerate().map(|(class, info)| {
            let class = u16::try_from(class).unwrap_or(u16::MAX);
            let record = self
                .classes
                .get(usize::from(class))
                .filter(|record| record.class == class)
                .or_else(|| self.classes.iter().find(|record| record.class == class));
            let unknown = ClassRecord { class, ..ClassRecord::default() };
            ClassFigures { info: *info, record: *record.unwrap_or(&unknown) }
        })
    }

    /// Superblocks that are ACTIVE, FULL, PARTIAL and EMPTY (in the order of the state codes), as
    /// the classes count them.
    #[must_use]
    pub fn superblocks_by_state(&self) -> [u64; 4] {
        self.classes.iter().fold([0; 4], |sum, class| {
            [
                sum[0] + u64::from(class.active),
                sum[1] + u64::from(class.full),
                sum[2] + u64::from(class.partial),
                sum[3] + u64::from(class.empty),
            ]
        })
    }

    /// Blocks of `record` that the program or the front holds: 0 if EMPTY, else maxcount − count −
    /// reserved. Negative where fields were read while they changed.
    #[must_use]
    pub fn superblock_live_blocks(&self, record: &Superblock) -> i64 {
        let Some(info) = self.hello.classes.get(usize::from(record.class)) else {
            return 0;
        };
        if record.state == state::EMPTY {
            return 0;
        }
        let reserved = i64::from(record.credits);
        i64::from(info.blocks_per_superblock) - i64::from(record.count) - reserved
    }

    /// How long ago a superblock was last taken for a class, nanoseconds, when the last complete state was taken.
    #[must_use]
    pub fn age_ns(&self, superblock: &Superblock) -> u64 {
        self.uptime_ns.saturating_sub(superblock.since_ns)
    }

    /// How many PARTIAL superblocks are 0–10 %, 10–20 %, … 90–100 % in use; the last step includes
    /// 100 %. Superblocks of a class that the greeting does not name are left out.
    #[must_use]
    pub fn partial_occupancy(&self) -> [u64; OCCUPANCY_STEPS] {
        let mut steps = [0; OCCUPANCY_STEPS];
        let steps_i64 = i64::try_from(OCCUPANCY_STEPS).unwrap_or(i64::MAX);
        for record in self.superblocks.iter().filter(|record| record.state == state::PARTIAL) {
            let Some(info) = self.hello.classes.get(usize::from(record.class)) else {
                continue;
            };
            let maxcount = i64::from(info.blocks_per_superblock).max(1);
            let step = self.superblock_live_blocks(record) * steps_i64 / maxcount;
            let step = usize::try_from(step).unwrap_or(0).min(OCCUPANCY_STEPS - 1);
            steps[step] += 1;
        }
        steps
    }

    /// Failed compare-and-swaps ever, of all classes.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.classes.iter().fold(0, |sum, class| sum.wrapping_add(class.retries))
    }
}

/// Sum of all parts but `mapped`.
#[must_use]
pub fn parts_sum(parts: &Parts) -> i64 {
    [
        parts.live,
        parts.large,
        parts.free,
        parts.credit,
        parts.cached,
        parts.empty,
        parts.large_cached,
        parts.tail,
        parts.unused,
        parts.metadata,
    ]
    .into_iter()
    .fold(0, i64::saturating_add)
}

/// `part / whole`, unless there is no whole. Not clamped: an inconsistent state may exceed 1 or be
/// negative.
#[must_use]
pub fn fraction(part: i64, whole: i64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn message<T: DeserializeOwned>(kind: Kind, payload: &[u8]) -> Result<T, Error> {
    decode(payload).map_err(|source| Error::Malformed { kind, source: source.into() })
}

/// Adds a chunk to what was staged; the first chunk starts afresh.
fn stage_chunk<T>(staged: &mut Option<Vec<T>>, first: bool, records: Vec<T>) -> Result<(), Error> {
    if first {
        *staged = Some(records);
        return Ok(());
    }
    extend_bounded(staged.get_or_insert_with(Vec::new), records)
}

/// Whether `update` would make more than `limit` superblocks of those that are known.
fn overflows(known: &Superblocks, update: &[SuperblockRecord], limit: usize) -> bool {
    // Most updates name few superblocks: these need no second look.
    known.len() + update.len() > limit && {
        let new: BTreeSet<u32> = update
            .iter()
            .filter(|record| record.backing == backing::MAPPED)
            .map(|record| record.id)
            .filter(|&id| known.get(id).is_none())
            .collect();
        known.len() + new.len() > limit
    }
}

fn extend_bounded<T>(staged: &mut Vec<T>, records: Vec<T>) -> Result<(), Error> {
    if staged.len() + records.len() > MAX_STAGED_RECORDS {
        return Err(Error::TooManyRecords);
    }
    staged.extend(records);
    Ok(())
}

#[cfg(test)]
mod tests;
