//! What is said of a recording where a command may be given one instead of a program: `top`, `lint`, `snapshot`, `diff`.
//!
//! A recording is read to its end, and its last whole state stands for it.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use lfalloc_protocol::message::StateEnd;
use serde::Serialize;

use crate::cli::Flags;
use crate::commands::{self, SnapshotFormat};
use crate::failure::{Failure, Outcome, to_stdout};
use crate::format;
use crate::lint::{Finding, Lint, PERSISTENCE_NS};
use crate::linting::{self, Denied, Raised};
use crate::picture::{self, Applied, Picture};
use crate::process::printable_path;
use crate::recording::segments::{FileRecording, older_path};
use crate::recording::{self, Chunk, End, MAGIC};
use crate::report::{WATCH, Watched};
use crate::tui::data::Data;

/// How the names of recordings end.
const EXTENSION: &str = "lfrec";

/// Whether `text` means a recording and no program: a path, or the name of a recording that is there. A word that happens
/// to be the name of another file is a program all the same.
pub(crate) fn is_meant(text: &str) -> bool {
    text.contains('/') || is_recording(Path::new(text))
}

/// Whether `path` is called as recordings are, or begins as they do.
pub(crate) fn is_recording(path: &Path) -> bool {
    is_named_so(path) || begins_so(path) || begins_so(&older_path(path))
}

/// Whether `path` is called as recordings are.
pub(crate) fn is_named_so(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == EXTENSION)
}

fn begins_so(path: &Path) -> bool {
    // Not to be waited for: opening a pipe would.
    path.is_file()
        && File::open(path).is_ok_and(|mut file| {
            let mut magic = [0; MAGIC.len()];
            file.read_exact(&mut magic).is_ok() && magic == MAGIC
        })
}

/// Opens the recording at `path`.
pub(crate) fn open(path: &Path) -> Outcome<FileRecording> {
    FileRecording::open(path).map_err(|error| {
        Failure::new(format!("cannot read {}: {error}", printable_path(path))).into()
    })
}

/// Gives every chunk to `take`, to the end of the recording.
fn read_to_end(
    path: &Path,
    recording: &mut FileRecording,
    mut take: impl FnMut(Chunk) -> Result<(), picture::Error>,
) -> Outcome<End> {
    loop {
        match recording.next_chunk() {
            Ok(chunk) => take(chunk).map_err(|error| {
                Failure::new(format!("cannot read {} further: {error}", printable_path(path)))
            })?,
            Err(end) => return Ok(end),
        }
    }
}

fn nothing_whole(path: &Path, end: &End) -> color_eyre::Report {
    let name = printable_path(path);
    Failure::new(format!("{name} holds no whole state: {end}; record for longer")).into()
}

/// A recording that was read.
#[derive(Debug)]
pub(crate) struct Recorded {
    /// The first whole state.
    pub(crate) first: Picture,
    /// The last whole state, and what happened before it.
    pub(crate) watched: Watched,
    pub(crate) end: End,
    /// When its clock stood at 0, nanoseconds since 1970, if that is known.
    began_unix_ns: Option<u64>,
    /// When what it still holds begins, and the last state was there, by its clock.
    began: Duration,
    at: Duration,
}

/// Reads the recording at `path`.
///
/// # Errors
/// When there is none, or no whole state in it.
pub(crate) fn read(path: &Path) -> Outcome<Recorded> {
    let mut recording = open(path)?;
    let picture = Picture::new(recording.hello().clone());
    let mut watched = Watched::still(picture, "recorded".to_owned());
    let mut first: Option<Picture> = None;
    let mut at = recording.began();
    // The states of the last quarter of a second, and the one before them.
    let mut past: VecDeque<(u64, StateEnd)> = VecDeque::new();
    let end = read_to_end(path, &mut recording, |chunk| {
        take_process(&mut watched.picture, &chunk);
        match watched.picture.apply(chunk.kind, &chunk.payload)? {
            Applied::State => {
                let picture = &watched.picture;
                if first.is_none() {
                    first = Some(picture.clone());
                }
                at = chunk.at;
                past.push_back((picture.uptime_ns, picture.end));
                let is_old = |state: &(u64, StateEnd)| {
                    u128::from(picture.uptime_ns.saturating_sub(state.0)) >= WATCH.as_nanos()
                };
                while past.get(1).is_some_and(is_old) {
                    past.pop_front();
                }
            }
            Applied::Transitions(more) => watched.remember(more.missed, more.records),
            _ => {}
        }
        Ok(())
    })?;
    let Some(first) = first else {
        return Err(nothing_whole(path, &end));
    };
    if let Some((uptime_ns, then)) = past.front() {
        watched.set_rates(*uptime_ns, then);
    }
    let (began_unix_ns, began) = (recording.began_unix_ns(), recording.began());
    Ok(Recorded { first, watched, end, began_unix_ns, began, at })
}

/// What the recording system said of the process.
fn take_process(picture: &mut Picture, chunk: &Chunk) {
    if chunk.kind == recording::PROCESS
        && let Some(process) = recording::process(&chunk.payload)
    {
        (picture.pid, picture.rss_bytes) = process;
    }
}

impl Recorded {
    /// When the last whole state was there, nanoseconds since 1970, if that is known.
    fn taken_unix_ns(&self) -> Option<u64> {
        let at = u64::try_from(self.at.as_nanos()).ok()?;
        self.began_unix_ns?.checked_add(at)
    }

    /// "recorded from 2026-11-25 17:40:13 UTC on; this is its last whole state, of 48, after 12.3s; ..."
    fn note(&self) -> String {
        let began = u64::try_from(self.began.as_nanos()).ok();
        let began = self.began_unix_ns.zip(began).and_then(|(unix, began)| unix.checked_add(began));
        let from = began.map_or_else(String::new, |ns| format!(" from {} on", format::utc(ns)));
        let after = self.at.saturating_sub(self.began);
        format!(
            "recorded{from}; this is its last whole state, of {}, after {}; {}",
            self.watched.picture.states,
            format::duration(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX)),
            self.end
        )
    }
}

/// What `top --json` says of a recording.
#[derive(Debug, Serialize)]
pub(crate) struct Note {
    began_unix_ms: Option<u64>,
    taken_unix_ms: Option<u64>,
    states: u64,
}

/// Prints the page of the last whole state, or a line of JSON.
pub(crate) fn top(flags: &Flags, path: &Path, json: bool) -> Outcome<ExitCode> {
    let recorded = read(path)?;
    if json {
        let milliseconds = |nanoseconds: u64| nanoseconds / 1_000_000;
        let note = Note {
            began_unix_ms: recorded.began_unix_ns.map(milliseconds),
            taken_unix_ms: recorded.taken_unix_ns().map(milliseconds),
            states: recorded.watched.picture.states,
        };
        commands::print_top(&recorded.watched.picture, Some(note))?;
        return Ok(ExitCode::SUCCESS);
    }
    let page = recorded.watched.page(flags.ascii());
    to_stdout(|stdout| {
        stdout.write_all(page.as_bytes())?;
        writeln!(stdout, "\n{}", recorded.note())?;
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the last whole state as a snapshot, or as a recording of its own.
pub(crate) fn snapshot(
    path: &Path,
    output: Option<&Path>,
    format: SnapshotFormat,
) -> Outcome<ExitCode> {
    let recorded = read(path)?;
    let unix_ns = recorded.taken_unix_ns().unwrap_or(0);
    commands::write_snapshot(&recorded.watched.picture, unix_ns, output, format)?;
    Ok(ExitCode::SUCCESS)
}

/// What was amiss at some time of the recording.
struct Held {
    /// As it was at its worst.
    worst: Finding,
    /// By the program's clock.
    since_ns: u64,
    last_ns: u64,
}

/// Tells what was amiss, by the rules for a running program, over the time that was recorded.
pub(crate) fn lint(path: &Path, denied: &Denied, json: bool) -> Outcome<ExitCode> {
    let mut recording = open(path)?;
    let mut data = Data::new(recording.hello().clone(), 0);
    let mut first_ns = None;
    let mut held: BTreeMap<Lint, Held> = BTreeMap::new();
    let end = read_to_end(path, &mut recording, |chunk| {
        take_process(&mut data.picture, &chunk);
        let states = data.picture.states;
        data.apply(chunk.kind, &chunk.payload)?;
        if data.picture.states == states {
            return Ok(());
        }
        let now = data.picture.uptime_ns;
        first_ns.get_or_insert(now);
        for finding in data.lints.raised() {
            let known = held.entry(finding.lint).or_insert_with(|| Held {
                worst: finding.clone(),
                since_ns: finding.since_ns,
                last_ns: now,
            });
            known.last_ns = now;
            if finding.bytes > known.worst.bytes {
                known.worst = finding.clone();
            }
        }
        Ok(())
    })?;
    let Some(first_ns) = first_ns else {
        return Err(nothing_whole(path, &end));
    };
    let last_ns = data.picture.uptime_ns;
    let span_ns = last_ns.saturating_sub(first_ns);
    if held.is_empty() && span_ns < PERSISTENCE_NS {
        return Err(Failure::new(format!(
            "{} is too short: it spans {}, and what is amiss must last for {}; `lfinspect record PID -o FILE --for 5` \
             makes a longer one",
            printable_path(path),
            format::duration(span_ns),
            format::duration(PERSISTENCE_NS)
        ))
        .into());
    }
    let time = |uptime_ns: u64| format::duration(uptime_ns.saturating_sub(first_ns));
    let raised: Vec<Raised> = held
        .into_values()
        .map(|held| Raised {
            when: Some(if held.last_ns == last_ns {
                format!("from {} of the recording to its end", time(held.since_ns))
            } else {
                format!("from {} to {} of the recording", time(held.since_ns), time(held.last_ns))
            }),
            finding: held.worst,
        })
        .collect();
    linting::report(&data.picture, &raised, Duration::from_nanos(span_ns), denied, json)
}
