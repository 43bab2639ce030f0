//! `lfinspect snapshot`: everything about one instant, as JSON.
//!
//! The schema is documented in the protocol crate, `SNAPSHOT.md`; its name, [`SCHEMA`], changes when
//! a key changes its meaning or goes, not when one is added. Field order here is key order there.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use color_eyre::eyre::WrapErr as _;
use lfalloc_protocol::message::{
    FrontClass, HeapCounter, HeapRecord, LargeRecord, MagazineRecord, Parts, SizeSample, state,
};
use serde::{Deserialize, Serialize};

use crate::connect::{ANSWER_TIMEOUT, ConnectError, Connection};
use crate::failure::{Failure, Outcome};
use crate::picture::{ClassFigures, Picture, Superblock as Known};
use crate::process;

mod picture;

/// Name and version of the schema.
pub const SCHEMA: &str = "lfalloc-snapshot/1";
/// States asked for until one is consistent; the agent itself tries several times for each.
pub const ATTEMPTS: u32 = 10;

/// The whole document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "documented key by key in SNAPSHOT.md")]
pub struct Snapshot {
    pub schema: String,
    pub process: Process,
    pub totals: Totals,
    pub classes: Vec<Class>,
    pub heaps: Vec<Heap>,
    #[serde(default)]
    pub heap_counters: Vec<Counters>,
    #[serde(default)]
    pub size_samples: Vec<Samples>,
    #[serde(default)]
    pub front: Option<Front>,
    #[serde(default)]
    pub magazines: Vec<Magazine>,
    pub superblocks: Vec<Superblock>,
    pub large: Vec<Large>,
    pub transitions: Transitions,
    pub in_hand: u64,
    pub consistent: bool,
}

/// Who was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "documented key by key in SNAPSHOT.md")]
pub struct Process {
    pub pid: u32,
    pub name: String,
    pub uptime_ms: u64,
    pub allocator_version: String,
    pub protocol: String,
}

/// Where the mapped bytes are. No other key may end in `_bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "documented key by key in SNAPSHOT.md")]
#[allow(clippy::struct_field_names, reason = "the unit stands last in every key")]
pub struct Totals {
    pub mapped_bytes: i64,
    pub live_bytes: i64,
    pub large_bytes: i64,
    pub free_bytes: i64,
    pub credit_bytes: i64,
    pub cached_bytes: i64,
    pub empty_bytes: i64,
    pub large_cached_bytes: i64,
    pub tail_bytes: i64,
    pub unused_bytes: i64,
    pub metadata_bytes: i64,
}

/// Superblocks by state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "documented key by key in SNAPSHOT.md")]
pub struct ByState {
    pub active: u32,
    pub full: u32,
    pub partial: u32,
    pub empty: u32,
}

/// One size class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "documented key by key in SNAPSHOT.md")]
pub struct Class {
    pub class: u16,
    pub block_bytes: u32,
    pub superblock_bytes: u32,
    pub blocks_per_superblock: u32,
    pub superblocks: ByState,
    pub live_blocks: i64,
    pub free_blocks: i64,
    pub credit_blocks: i64,
    pub cached_blocks: i64,
    pub allocations: u64,
    pub frees: u64,
    pub retries: u64,
}

/// One heap with an active superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "documented key by key in SNAPSHOT.md")]
pub struct Heap {
    pub class: u16,
    pub heap: u16,
    pub superblock: u32,
    pub credits: u32,
}

/// What one heap has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "documented key by key in SNAPSHOT.md")]
pub struct Counters {
    pub class: u16,
    pub heap: u16,
    pub allocations: u64,
    pub frees: u64,
    pub refills: u64,
    pub ran_dry: u64,
}

/// Sizes of requests of one class, as far as they were sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "documented key by key in SNAPSHOT.md")]
pub struct Samples {
    pub class: u16,
    pub samples: u64,
    pub slack_sum: u64,
    pub slack_squares: u64,
}

/// How the front is built, and what it holds at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "documented key by key in SNAPSHOT.md")]
pub struct Front {
    pub processors: u32,
    pub processors_in_use: u32,
    pub bytes: i64,
    pub most_bytes: i64,
    pub classes: Vec<FrontOfClass>,
}

/// The front of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "documented key by key in SNAPSHOT.md")]
pub struct FrontOfClass {
    pub class: u16,
    pub capacity: u16,
    pub batch: u16,
    pub depot_batches: u32,
    pub depot_most: u32,
}

/// The magazine of one processor and class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "documented key by key in SNAPSHOT.md")]
pub struct Magazine {
    pub class: u16,
    pub processor: u16,
    pub blocks: u16,
    pub pops: u64,
    pub pushes: u64,
    pub refills: u64,
    pub flushes: u64,
    pub aborts: u64,
}

/// One superblock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "documented key by key in SNAPSHOT.md")]
pub struct Superblock {
    pub id: u32,
    pub address: String,
    pub class: u16,
    pub state: String,
    pub avail: u16,
    pub count: u16,
    pub tag: u64,
    pub credits: u16,
    pub age_ms: u64,
    pub exact: bool,
}

/// One large block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "documented key by key in SNAPSHOT.md")]
pub struct Large {
    pub id: u32,
    pub address: String,
    pub bytes: u64,
    pub age_ms: u64,
    pub cached: bool,
}

/// Transitions ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "documented key by key in SNAPSHOT.md")]
pub struct Transitions {
    pub seen: u64,
    pub dropped: u64,
}

impl Snapshot {
    /// The document of `picture`.
    #[must_use]
    pub fn of(picture: &Picture) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            process: Process::of(picture),
            totals: picture.parts.into(),
            classes: picture.figures().map(Class::from).collect(),
            heaps: picture.heaps.iter().copied().map(Heap::from).collect(),
            heap_counters: picture.counters.values().copied().map(Counters::from).collect(),
            size_samples: picture.samples.iter().copied().map(Samples::from).collect(),
            front: Front::of(picture),
            magazines: picture.magazines.values().copied().map(Magazine::from).collect(),
            superblocks: picture
                .superblocks
                .iter()
                .map(|known| superblock(picture, known))
                .collect(),
            large: picture.large.values().map(Large::from).collect(),
            transitions: Transitions {
                seen: picture.end.transitions_seen,
                dropped: picture.end.transitions_dropped,
            },
            in_hand: picture.end.in_hand,
            consistent: picture.end.consistent,
        }
    }
}

/// A state of one instant if `attempts` suffice for one, else the last state, which says that it is
/// not consistent.
///
/// # Errors
/// When the connection ends.
pub fn settled_state(connection: &mut Connection, attempts: u32) -> Result<Picture, ConnectError> {
    let mut picture = connection.state(ANSWER_TIMEOUT)?;
    for _ in 1..attempts {
        if picture.end.consistent {
            break;
        }
        picture = connection.state(ANSWER_TIMEOUT)?;
    }
    Ok(picture)
}

/// Writes `document` to `out`, one key or value a line, with a line end.
///
/// # Errors
/// When `out` cannot be written to.
pub fn write_json<T: Serialize>(mut out: impl Write, document: &T) -> Outcome<()> {
    serde_json::to_writer_pretty(&mut out, document)?;
    out.write_all(b"\n")?;
    out.flush()?;
    Ok(())
}

/// Lets `write` fill the file `path`: whole or not at all, an existing file is replaced.
///
/// # Errors
/// A [`Failure`] that names the file.
pub fn save(path: &Path, write: impl FnOnce(&mut dyn Write) -> Outcome<()>) -> Outcome<()> {
    // The file that a link leads to is replaced, not the link.
    let goal = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let is_special = goal.metadata().is_ok_and(|metadata| !metadata.is_file());
    let written = if is_special {
        // A pipe or a device cannot be replaced; a directory says so itself.
        OpenOptions::new().write(true).open(&goal).map_err(color_eyre::Report::from).and_then(
            |file| {
                let mut out = io::BufWriter::new(file);
                write(&mut out)?;
                Ok(out.flush()?)
            },
        )
    } else {
        replace(&goal, write)
    };
    written.map_err(|error| {
        let root = error.root_cause();
        Failure::new(format!("cannot write {}: {root}", process::printable_path(path))).into()
    })
}

fn replace(goal: &Path, write: impl FnOnce(&mut dyn Write) -> Outcome<()>) -> Outcome<()> {
    let temporary = temporary_beside(goal)?;
    let result = (|| {
        let file = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
        if let Ok(replaced) = goal.metadata() {
            file.set_permissions(replaced.permissions())?;
        }
        let mut out = io::BufWriter::new(file);
        write(&mut out)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&temporary, goal).wrap_err("cannot rename")
    })();
    if result.is_err() {
        // The first error is the one to tell of.
        let _ = fs::remove_file(&temporary);
    }
    result
}

fn temporary_beside(goal: &Path) -> io::Result<PathBuf> {
    let name = goal.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.tmp", std::process::id()));
    Ok(goal.with_file_name(temporary))
}

impl Process {
    /// Who `picture` is of.
    #[must_use]
    pub fn of(picture: &Picture) -> Self {
        Self {
            pid: picture.pid,
            name: picture.hello.name.clone(),
            uptime_ms: picture.uptime_ns / 1_000_000,
            allocator_version: picture.hello.allocator_version.clone(),
            protocol: format!("{}.{}", picture.hello.major, picture.hello.minor),
        }
    }
}

impl Front {
    /// That of `picture`, if anything is told of one.
    fn of(picture: &Picture) -> Option<Self> {
        let (front, figures) = (picture.front.as_ref()?, picture.front_figures()?);
        let of_class = |record: &FrontClass| FrontOfClass {
            class: record.class,
            capacity: record.capacity,
            batch: record.batch,
            depot_batches: picture.depot_batches(record.class),
            depot_most: record.depot_batches,
        };
        Some(Self {
            processors: front.processors,
            processors_in_use: figures.processors,
            bytes: figures.bytes(),
            most_bytes: figures.most_bytes(),
            classes: front.records.iter().map(of_class).collect(),
        })
    }
}

impl From<MagazineRecord> for Magazine {
    fn from(record: MagazineRecord) -> Self {
        let MagazineRecord { class, processor, blocks, pops, pushes, refills, flushes, aborts } =
            record;
        Self { class, processor, blocks, pops, pushes, refills, flushes, aborts }
    }
}

impl From<Parts> for Totals {
    fn from(parts: Parts) -> Self {
        Self {
            mapped_bytes: parts.mapped,
            live_bytes: parts.live,
            large_bytes: parts.large,
            free_bytes: parts.free,
            credit_bytes: parts.credit,
            cached_bytes: parts.cached,
            empty_bytes: parts.empty,
            large_cached_bytes: parts.large_cached,
            tail_bytes: parts.tail,
            unused_bytes: parts.unused,
            metadata_bytes: parts.metadata,
        }
    }
}

impl From<ClassFigures> for Class {
    fn from(ClassFigures { info, record }: ClassFigures) -> Self {
        Self {
            class: record.class,
            block_bytes: info.block_bytes,
            superblock_bytes: info.superblock_bytes,
            blocks_per_superblock: info.blocks_per_superblock,
            superblocks: ByState {
                active: record.active,
                full: record.full,
                partial: record.partial,
                empty: record.empty,
            },
            live_blocks: record.live_blocks,
            free_blocks: record.free_blocks,
            credit_blocks: record.credit_blocks,
            cached_blocks: record.cached_blocks,
            allocations: record.allocations,
            frees: record.frees,
            retries: record.retries,
        }
    }
}

impl From<HeapRecord> for Heap {
    fn from(record: HeapRecord) -> Self {
        let HeapRecord { class, heap, superblock, credits } = record;
        Self { class, heap, superblock, credits }
    }
}

impl From<HeapCounter> for Counters {
    fn from(record: HeapCounter) -> Self {
        let HeapCounter { class, heap, allocations, frees, refills, ran_dry } = record;
        Self { class, heap, allocations, frees, refills, ran_dry }
    }
}

impl From<SizeSample> for Samples {
    fn from(record: SizeSample) -> Self {
        let SizeSample { class, samples, slack_sum, slack_squares } = record;
        Self { class, samples, slack_sum, slack_squares }
    }
}

fn superblock(picture: &Picture, known: &Known) -> Superblock {
    Superblock {
        id: known.id,
        address: format!("{:#x}", known.address),
        class: known.class,
        state: state::name(known.state).to_owned(),
        avail: known.avail,
        count: known.count,
        tag: known.tag,
        credits: known.credits,
        age_ms: picture.age_ns(known) / 1_000_000,
        exact: known.exact,
    }
}

impl From<&LargeRecord> for Large {
    fn from(record: &LargeRecord) -> Self {
        Self {
            id: record.id,
            address: format!("{:#x}", record.address),
            bytes: record.bytes,
            age_ms: record.age_ns / 1_000_000,
            cached: record.cached,
        }
    }
}

#[cfg(test)]
mod tests;
