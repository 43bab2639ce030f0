//! `lfinspect diff BEFORE AFTER`: what changed between two states, and whether that is too much.
//!
//! Either is a snapshot, or the last state of a recording; of a recording alone the first and the last are compared.
//!
//! A condition compares a figure of AFTER, or, with a sign before the number, its change:
//!
//! | condition | is met if |
//! |---|---|
//! | `external>30%` | EXT% of AFTER is above 30 % |
//! | `mapped>1.5g` | AFTER maps more than 1.5 GiB |
//! | `pinned>+100` | there are over 100 more pinned superblocks than in BEFORE |
//! | `live>+10%` | the live bytes have grown by more than a tenth |
//! | `waste<-5%` | the share of waste has fallen by more than five points |

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use serde::Deserialize;

use crate::failure::{Failure, Outcome, to_stdout};
use crate::picture::Picture;
use crate::process::{printable, printable_path};
use crate::snapshot::{SCHEMA, Snapshot};
use crate::{format, fragmentation, recorded};

mod condition;

pub(crate) use self::condition::Condition;

/// The exit status when a condition is met.
const MET: u8 = 3;
/// Classes that are printed.
const MOST_CLASSES: usize = 12;

/// In which unit a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Bytes,
    Count,
    /// Of 1.
    Share,
}

/// The figures that are compared, in the order in which they are printed.
const FIGURES: [(&str, Unit); 12] = [
    ("mapped", Unit::Bytes),
    ("live", Unit::Bytes),
    ("free", Unit::Bytes),
    ("reserved", Unit::Bytes),
    ("cached", Unit::Bytes),
    ("empty", Unit::Bytes),
    ("metadata", Unit::Bytes),
    ("waste", Unit::Share),
    ("external", Unit::Share),
    ("superblocks", Unit::Count),
    ("pinned", Unit::Count),
    ("savings", Unit::Bytes),
];

/// The figures of one state, in the order in which they are printed; `None` where there is nothing to divide by.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    values: [Option<f64>; FIGURES.len()],
    /// Block size, and bytes of superblocks in use, of each class in use.
    classes: Vec<(u32, f64)>,
    consistent: bool,
}

impl Figures {
    /// Those of the last complete state of `picture`.
    #[must_use]
    pub fn of(picture: &Picture) -> Self {
        let by_class = fragmentation::by_class(picture);
        let total = fragmentation::total(&by_class);
        let infos = picture.hello.classes.iter().zip(&by_class);
        let in_use = infos.filter(|(_, class)| class.superblocks > 0);
        let classes = in_use.map(|(info, class)| (info.block_bytes, class.bytes as f64)).collect();
        let parts = &picture.parts;
        let count = |count: i64| Some(count as f64);
        Self {
            values: [
                count(parts.mapped),
                count(picture.live_bytes()),
                count(parts.free),
                count(parts.credit),
                count(parts.cached),
                count(parts.empty),
                count(parts.metadata),
                picture.waste_fraction(),
                picture.external_fraction(),
                Some(total.superblocks as f64),
                Some(total.pinned as f64),
                count(total.savings_bytes),
            ],
            classes,
            consistent: picture.end.consistent,
        }
    }

    /// Those of a snapshot.
    ///
    /// # Errors
    /// A clause that says what is wrong with `text`.
    pub fn of_snapshot(text: &[u8]) -> Result<Self, String> {
        let schema: Schema = serde_json::from_slice(text).map_err(|error| {
            format!("is no snapshot: {error}; `lfinspect snapshot PID -o FILE` makes one")
        })?;
        if schema.schema != SCHEMA {
            return Err(format!(
                "is no snapshot that this lfinspect reads: its schema is '{}', not '{SCHEMA}'",
                printable(&schema.schema)
            ));
        }
        let snapshot: Snapshot = serde_json::from_slice(text)
            .map_err(|error| format!("is a damaged snapshot: {error}"))?;
        Ok(Self::of(&snapshot.picture()))
    }
}

/// What stands in every document, whatever its schema.
#[derive(Deserialize)]
struct Schema {
    schema: String,
}

/// Prints the difference; status 3 if one of the conditions is met. Without `after` that between the first and the last
/// state of the recording `before`.
pub(crate) fn run(
    before: &Path,
    after: Option<&Path>,
    conditions: &[Condition],
) -> Outcome<ExitCode> {
    let (from, to) = match after {
        Some(after) => (load(before)?, load(after)?),
        None if recorded::is_recording(before) => {
            let recorded = recorded::read(before)?;
            (Figures::of(&recorded.first), Figures::of(&recorded.watched.picture))
        }
        None => {
            return Err(Failure::new(format!(
                "{} alone is compared with nothing: name a second snapshot, or a recording",
                printable_path(before)
            ))
            .into());
        }
    };
    print(&from, &to)?;
    let met: Vec<&str> = conditions
        .iter()
        .filter(|condition| condition.is_met(&from, &to))
        .map(Condition::text)
        .collect();
    if met.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    // With standard error closed too the status alone tells it.
    let _ = writeln!(io::stderr(), "lfinspect: met: {}", met.join(", "));
    Ok(ExitCode::from(MET))
}

fn load(path: &Path) -> Outcome<Figures> {
    if recorded::is_recording(path) {
        return Ok(Figures::of(&recorded::read(path)?.watched.picture));
    }
    let shown = printable_path(path);
    let text =
        fs::read(path).map_err(|error| Failure::new(format!("cannot read {shown}: {error}")))?;
    let figures = Figures::of_snapshot(&text);
    Ok(figures.map_err(|wrong| Failure::new(format!("{shown} {wrong}")))?)
}

fn print(from: &Figures, to: &Figures) -> Outcome<()> {
    to_stdout(|stdout| {
        writeln!(stdout, "{:<12} {:>10} {:>10} {:>11}", "FIGURE", "BEFORE", "AFTER", "CHANGE")?;
        for (place, (name, unit)) in FIGURES.into_iter().enumerate() {
            let (then, now) = (from.values[place], to.values[place]);
            let change = then.zip(now).map(|(then, now)| now - then);
            writeln!(
                stdout,
                "{name:<12} {:>10} {:>10} {:>11}",
                shown(then, unit),
                shown(now, unit),
                change.map_or_else(|| "-".to_owned(), |change| signed(change, unit))
            )?;
        }
        let mut classes: Vec<(f64, u32, f64, f64)> = Vec::new();
        for &(block, bytes) in &to.classes {
            let then = from.classes.iter().find(|class| class.0 == block).map_or(0.0, |c| c.1);
            classes.push((bytes - then, block, then, bytes));
        }
        for &(block, then) in &from.classes {
            if !to.classes.iter().any(|class| class.0 == block) {
                classes.push((-then, block, then, 0.0));
            }
        }
        classes.retain(|class| class.0 != 0.0);
        classes.sort_by(|left, right| right.0.abs().total_cmp(&left.0.abs()));
        if !classes.is_empty() {
            writeln!(
                stdout,
                "\nbytes of superblocks in use, by block size, the largest change first:"
            )?;
        }
        for (change, block, then, now) in classes.into_iter().take(MOST_CLASSES) {
            writeln!(
                stdout,
                "{:>12} {:>10} {:>10} {:>11}",
                format::bytes(i64::from(block)),
                shown(Some(then), Unit::Bytes),
                shown(Some(now), Unit::Bytes),
                signed(change, Unit::Bytes)
            )?;
        }
        for (name, figures) in [("BEFORE", from), ("AFTER", to)] {
            if !figures.consistent {
                writeln!(
                    stdout,
                    "\n{name} is not consistent: its figures are of different moments"
                )?;
            }
        }
        Ok(())
    })
}

fn shown(value: Option<f64>, unit: Unit) -> String {
    match (value, unit) {
        (None, _) => "-".to_owned(),
        (Some(value), Unit::Bytes) => format::bytes(value as i64),
        (Some(value), Unit::Count) => format!("{value:.0}"),
        (Some(value), Unit::Share) => format::percent(Some(value)),
    }
}

fn signed(change: f64, unit: Unit) -> String {
    let sign = if change > 0.0 { "+" } else { "" };
    format!("{sign}{}", shown(Some(change), unit))
}

#[cfg(test)]
mod tests;
