//! `lfinspect diff BEFORE AFTER`: what changed between two snapshots, and whether that is too much.
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

use lfalloc_protocol::message::state;
use serde::Deserialize;

use crate::failure::{Failure, Outcome, to_stdout};
use crate::format;
use crate::fragmentation::{is_pinned, needed};
use crate::picture::fraction;
use crate::process::printable_path;
use crate::snapshot::{SCHEMA, Snapshot, Superblock};

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

/// The figures of a snapshot, in the order of [`FIGURES`]; `None` where there is nothing to divide by.
#[derive(Clone, Debug, PartialEq)]
struct Figures {
    values: [Option<f64>; FIGURES.len()],
    /// Block size, and bytes of superblocks in use, of each class in use.
    classes: Vec<(u32, f64)>,
    consistent: bool,
}

/// A condition of `--fail-if`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Condition {
    text: String,
    figure: usize,
    operator: Operator,
    compared: Compared,
    value: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Above,
    AtLeast,
    Below,
    AtMost,
}

/// What of a figure is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compared {
    /// It itself.
    Value,
    /// What it has grown by.
    Change,
    /// What it has grown by, as a share of what it was.
    Growth,
}

impl Condition {
    /// Understands `external>30%` and the like.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what there is.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text: String = text.split_whitespace().collect::<String>().to_lowercase();
        let wrong = |what: &str| {
            let names: Vec<&str> = FIGURES.iter().map(|(name, _)| *name).collect();
            format!(
                "{what} in '{text}': a condition is FIGURE, one of > >= < <=, and a number such as 30%, 1.5g or +100; \
                 figures are {}",
                names.join(", ")
            )
        };
        let place = text.find(['<', '>']).ok_or_else(|| wrong("no comparison"))?;
        let (name, rest) = text.split_at(place);
        let figure = FIGURES
            .iter()
            .position(|(known, _)| *known == name)
            .ok_or_else(|| wrong(&format!("unknown figure '{name}'")))?;
        let (operator, rest) = [
            (">=", Operator::AtLeast),
            (">", Operator::Above),
            ("<=", Operator::AtMost),
            ("<", Operator::Below),
        ]
        .into_iter()
        .find_map(|(sign, operator)| rest.strip_prefix(sign).map(|rest| (operator, rest)))
        .ok_or_else(|| wrong("no comparison"))?;
        let change = rest.starts_with(['+', '-']);
        let (number, percent) = rest.strip_suffix('%').map_or((rest, false), |rest| (rest, true));
        let unit = FIGURES[figure].1;
        let digits = number.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(number.len());
        let scale = match &number[digits..] {
            "" => 1.0,
            "k" | "kib" if unit == Unit::Bytes => 1024.0,
            "m" | "mib" if unit == Unit::Bytes => 1024.0 * 1024.0,
            "g" | "gib" if unit == Unit::Bytes => 1024.0 * 1024.0 * 1024.0,
            _ => return Err(wrong("no number")),
        };
        let value: f64 = number[..digits].parse().map_err(|_| wrong("no number"))?;
        if !value.is_finite() {
            return Err(wrong("no number"));
        }
        if (unit == Unit::Share) != percent && !(change && percent) {
            return Err(wrong(if percent {
                "a percentage of what?"
            } else {
                "a percentage is meant"
            }));
        }
        let value = if percent { value / 100.0 } else { value * scale };
        let compared = match (change, percent) {
            (false, _) => Compared::Value,
            (true, true) if unit != Unit::Share => Compared::Growth,
            (true, _) => Compared::Change,
        };
        Ok(Self { text, figure, operator, compared, value })
    }

    fn is_met(&self, before: &Figures, after: &Figures) -> bool {
        let (then, value) = (before.values[self.figure], after.values[self.figure]);
        let compared = match self.compared {
            Compared::Value => value,
            Compared::Change => then.zip(value).map(|(then, value)| value - then),
            Compared::Growth => then.zip(value).map(|(then, value)| {
                if then > 0.0 {
                    value / then - 1.0
                } else if value > 0.0 {
                    // From nothing to something is more than any share.
                    f64::INFINITY
                } else {
                    0.0
                }
            }),
        };
        compared.is_some_and(|compared| match self.operator {
            Operator::Above => compared > self.value,
            Operator::AtLeast => compared >= self.value,
            Operator::Below => compared < self.value,
            Operator::AtMost => compared <= self.value,
        })
    }
}

/// Prints the difference; status 3 if one of the conditions is met.
pub(crate) fn run(before: &Path, after: &Path, conditions: &[Condition]) -> Outcome<ExitCode> {
    let (from, to) = (load(before)?, load(after)?);
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
        for (name, figures) in [("BEFORE", &from), ("AFTER", &to)] {
            if !figures.consistent {
                writeln!(
                    stdout,
                    "\n{name} is not consistent: its figures are of different moments"
                )?;
            }
        }
        Ok(())
    })?;
    let met: Vec<&str> = conditions
        .iter()
        .filter(|condition| condition.is_met(&from, &to))
        .map(|condition| condition.text.as_str())
        .collect();
    if met.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    // With standard error closed too the status alone tells it.
    let _ = writeln!(io::stderr(), "lfinspect: met: {}", met.join(", "));
    Ok(ExitCode::from(MET))
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

/// Reads a snapshot.
fn load(path: &Path) -> Outcome<Figures> {
    let shown = printable_path(path);
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::new(format!("cannot read {shown}: {error}")))?;
    let schema: Schema = serde_json::from_str(&text).map_err(|error| {
        Failure::new(format!(
            "{shown} is no snapshot: {error}; `lfinspect snapshot PID -o FILE` makes one"
        ))
    })?;
    if schema.schema != SCHEMA {
        let found = schema.schema;
        return Err(Failure::new(format!(
            "{shown} is no snapshot that this lfinspect reads: its schema is '{found}', not '{SCHEMA}'"
        ))
        .into());
    }
    let snapshot = serde_json::from_str(&text)
        .map_err(|error| Failure::new(format!("{shown} is a damaged snapshot: {error}")))?;
    Ok(figures(&snapshot))
}

/// What stands in every document, whatever its schema.
#[derive(Deserialize)]
struct Schema {
    schema: String,
}

fn figures(snapshot: &Snapshot) -> Figures {
    let mut classes = Vec::new();
    let (mut in_use, mut bytes, mut savings) = (0, 0, 0);
    for class in &snapshot.classes {
        let states = &class.superblocks;
        let count = i64::from(states.active) + i64::from(states.full) + i64::from(states.partial);
        let size = i64::from(class.superblock_bytes);
        let needed = needed(class.live_blocks, i64::from(class.blocks_per_superblock));
        (in_use, bytes) = (in_use + count, bytes + count * size);
        savings += (count - needed) * size;
        if count > 0 {
            classes.push((class.block_bytes, (count * size) as f64));
        }
    }
    let maxcount = |class: u16| {
        let class = snapshot.classes.iter().find(|known| known.class == class);
        class.map_or(0, |class| i64::from(class.blocks_per_superblock))
    };
    let pins = |superblock: &&Superblock| {
        let maxcount = maxcount(superblock.class);
        let live = maxcount - i64::from(superblock.count) - i64::from(superblock.credits);
        superblock.state != state::name(state::EMPTY) && is_pinned(live, maxcount)
    };
    let totals = &snapshot.totals;
    let (mapped, live) = (totals.mapped_bytes, totals.live_bytes + totals.large_bytes);
    let count = |count: i64| Some(count as f64);
    Figures {
        values: [
            count(mapped),
            count(live),
            count(totals.free_bytes),
            count(totals.credit_bytes),
            count(totals.cached_bytes),
            count(totals.empty_bytes),
            count(totals.metadata_bytes),
            fraction(mapped - live, mapped),
            fraction(totals.free_bytes + totals.credit_bytes, bytes),
            count(in_use),
            count(snapshot.superblocks.iter().filter(pins).count() as i64),
            count(savings),
        ],
        classes,
        consistent: snapshot.consistent,
    }
}

#[cfg(test)]
mod tests {
    //! Aim: figures are those of the definitions, conditions mean what the module says, and what is wrong is named.
    use serde_json::{Value, json};

    use super::*;

    /// A class of 100 blocks of 600 bytes: 1 FULL superblock, one with 5 live, one ACTIVE with 64 reserved and 36 free.
    fn document() -> Value {
        let superblock = |state: &str, count: u32, credits: u32| {
            json!({
                "id": 0, "address": "0x0", "class": 0, "state": state, "avail": 0, "count": count, "tag": 0,
                "credits": credits, "age_ms": 0, "exact": true,
            })
        };
        json!({
            "schema": SCHEMA,
            "process": {
                "pid": 1, "name": "x", "uptime_ms": 0, "allocator_version": "0.1.0", "protocol": "1.1",
            },
            "totals": {
                "mapped_bytes": 400_000, "live_bytes": 63_000, "large_bytes": 37_000, "free_bytes": 78_600,
                "credit_bytes": 38_400, "cached_bytes": 0, "empty_bytes": 0, "large_cached_bytes": 0,
                "tail_bytes": 0, "unused_bytes": 0, "metadata_bytes": 1000,
            },
            "classes": [{
                "class": 0, "block_bytes": 600, "superblock_bytes": 65536, "blocks_per_superblock": 100,
                "superblocks": {"active": 1, "full": 1, "partial": 1, "empty": 1}, "live_blocks": 105,
                "free_blocks": 131, "credit_blocks": 64, "cached_blocks": 0, "allocations": 0, "frees": 0,
                "retries": 0,
            }],
            "heaps": [],
            "superblocks": [
                superblock("FULL", 0, 0),
                superblock("PARTIAL", 95, 0),
                superblock("ACTIVE", 36, 64),
                superblock("EMPTY", 100, 0),
            ],
            "large": [],
            "transitions": {"seen": 0, "dropped": 0},
            "in_hand": 0,
            "consistent": true,
        })
    }

    fn read() -> Figures {
        figures(&serde_json::from_value(document()).expect("a snapshot"))
    }

    fn figure(figures: &Figures, name: &str) -> f64 {
        let place = FIGURES.iter().position(|(known, _)| *known == name).expect("a figure");
        figures.values[place].expect("a value")
    }

    #[test]
    fn figures_follow_their_definitions() {
        let figures = read();
        for (name, value) in [
            ("mapped", 400_000.0),
            ("live", 100_000.0),
            ("waste", 0.75),
            ("external", (78_600.0 + 38_400.0) / (3.0 * 65_536.0)),
            ("superblocks", 3.0),
            ("pinned", 1.0),
            ("savings", 65_536.0),
        ] {
            assert!((figure(&figures, name) - value).abs() < 1e-9, "{name}");
        }
    }

    #[test]
    fn what_is_no_snapshot_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let loaded = |document: &Value| {
            let path = folder.path().join("a.json");
            fs::write(&path, document.to_string()).expect("a file");
            load(&path).map_err(|error| error.to_string())
        };
        assert_eq!(loaded(&document()), Ok(read()));
        let mut other = document();
        other["schema"] = json!("lfalloc-top/1");
        assert!(loaded(&other).unwrap_err().contains("lfalloc-top/1"));
        for key in ["totals", "classes", "superblocks"] {
            let mut broken = document();
            broken.as_object_mut().expect("an object").remove(key);
            assert!(loaded(&broken).unwrap_err().contains(key), "{key}");
        }
        assert!(loaded(&json!([1])).unwrap_err().contains("is no snapshot"));
    }

    #[test]
    fn conditions_compare_figures_and_changes() {
        let before = read();
        let mut after = before.clone();
        after.values[0] = Some(480_000.0);
        after.values[7] = Some(0.80);
        let met = |text: &str| Condition::parse(text).expect(text).is_met(&before, &after);
        for text in [
            "mapped>400k",
            "mapped > +10%",
            "mapped>=+80000",
            "waste>79%",
            "waste>+4%",
            "pinned<2",
            "live<=+0",
            "superblocks>=3",
        ] {
            assert!(met(text), "{text}");
        }
        for text in ["mapped>1m", "mapped>+20.1%", "waste>80%", "waste>+6%", "pinned>1", "live<-1"]
        {
            assert!(!met(text), "{text}");
        }
    }

    #[test]
    fn conditions_that_mean_nothing_are_refused_by_name() {
        for (text, word) in [
            ("externl>30%", "unknown figure 'externl'"),
            ("external", "no comparison"),
            ("external>", "no number"),
            ("external>30", "a percentage is meant"),
            ("mapped>30%", "a percentage of what?"),
            ("pinned>3m", "no number"),
            ("mapped>infg", "no number"),
        ] {
            let error = Condition::parse(text).unwrap_err();
            assert!(error.contains(word) && error.contains("savings"), "{text}: {error}");
        }
    }
}
