//! Every fault that the models seed, and what kills it: one list for the tests and for the table.

use std::fmt::Debug;

use lfalloc::platform::Mutant;

use crate::catalogue::{KILLS, Way};
use crate::explore::{fault, interleaved};
use crate::front::{self, DEPOT_FAULTS, DEPOT_RACES, DRAIN_FAULTS, DRAIN_RACES};
use crate::large::{self, RACES};
use crate::machine::{Loom, MUTANTS};
use crate::once::{self, DECAY_FAULTS, ONCE_FAULTS, PIECES_FAULTS, TABLE_FAULTS};
use crate::{lives, machine};

/// How a fault was found.
#[derive(Clone, Debug)]
pub struct Killed {
    /// The race.
    pub by: &'static str,
    /// Ways through it.
    pub how: String,
    /// What the oracle said.
    pub says: String,
}

/// A fault seeded into shipped procedures.
pub struct Seeded {
    /// The source file that has it, below `allocator/src`.
    pub home: &'static str,
    /// Its name in the enumeration there.
    pub name: String,
    kill: Box<dyn Fn() -> Option<Killed>>,
}

impl Debug for Seeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.name, self.home)
    }
}

impl Seeded {
    /// Explores until the fault is found.
    #[must_use]
    pub fn kill(&self) -> Option<Killed> {
        (self.kill)()
    }

    /// The test that must find it, in `tests/mutants.rs`.
    #[must_use]
    pub fn test(&self) -> String {
        let module = self.home.trim_end_matches(".rs").rsplit('/').next().unwrap_or_default();
        let mut name = String::new();
        for letter in self.name.chars() {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.extend(letter.to_lowercase());
        }
        format!("{module}::{name}_dies")
    }

    /// What the fault is, as its source says.
    #[must_use]
    pub fn what(&self) -> String {
        let path = std::path::Path::new(SOURCES).join(self.home);
        let source = std::fs::read_to_string(path).unwrap_or_default();
        let faults = faults_of(&source).into_iter();
        faults.filter(|(name, _)| *name == self.name).map(|(_, what)| what).collect()
    }
}

/// The sources of the allocator, each with its name below `allocator/src`.
///
/// # Errors
/// If one cannot be read.
pub fn sources() -> std::io::Result<Vec<(String, String)>> {
    let (mut folders, mut sources) = (vec![std::path::PathBuf::from(SOURCES)], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(name) = path.strip_prefix(SOURCES) {
                sources.push((name.display().to_string(), std::fs::read_to_string(&path)?));
            }
        }
    }
    Ok(sources)
}

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../src");

/// The variants of the enumeration of faults in a source file, with their documentation; none if it has no such enumeration.
#[must_use]
pub fn faults_of(source: &str) -> Vec<(String, String)> {
    let (mut faults, mut what) = (Vec::new(), Vec::new());
    let body = ["pub enum Fault {", "pub enum Mutant {"]
        .iter()
        .find_map(|start| source.split_once(start)?.1.split_once("\n}"));
    for line in body.map_or("", |(body, _)| body).lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            what.push(text.trim());
        } else if let Some(name) = line.strip_suffix(',') {
            faults.push((name.to_owned(), what.join(" ").replace('\\', "")));
            what.clear();
        }
    }
    faults
}

/// Runs an exploration; what fault it found.
fn found(by: &'static str, preemptions: usize, exploration: impl FnOnce()) -> Option<Killed> {
    let how = format!("loom, {preemptions} preemptions");
    fault(exploration).map(|says| Killed { by, how, says })
}

fn depot<const FAULT: usize>() -> Option<Killed> {
    if let Some(says) = front::interrupted::<FAULT>() {
        return Some(Killed { by: "a head that came back", how: "interrupted".to_owned(), says });
    }
    DEPOT_RACES.iter().find_map(|race| {
        found(race.name, race.preemptions, || {
            let _ = race.explore::<FAULT>();
        })
    })
}

fn drain<const FAULT: usize>() -> Option<Killed> {
    DRAIN_RACES.iter().find_map(|race| {
        found(race.name, race.preemptions, || {
            let _ = race.explore::<FAULT>();
        })
    })
}

fn large<const FAULT: usize>() -> Option<Killed> {
    RACES.iter().find_map(|race| {
        found(race.name, race.preemptions, || {
            let _ = interleaved(race.preemptions, || race.run::<Loom, FAULT>());
        })
    })
}

macro_rules! single {
    ($($kill:ident = $race:literal;)*) => {
        $(
            fn $kill<const FAULT: usize>() -> Option<Killed> {
                found($race, once::PREEMPTIONS, || {
                    let _ = interleaved(once::PREEMPTIONS, once::$kill::<FAULT>);
                })
            }
        )*
    };
}

single! {
    page_map = "leaves of the page map";
    table = "numbers of a table";
    decay = "the end of an interval";
    pieces = "a piece that comes back";
}

macro_rules! seeds {
    ($all:ident: $home:literal, $list:ident, $kill:ident, $($number:literal)*) => {
        assert_eq!([$($number),*].len() + 1, $list.len());
        $($all.push(Seeded {
            home: $home,
            name: format!("{:?}", $list[$number]),
            kill: Box::new($kill::<$number>),
        });)*
    };
}

/// All of them.
#[must_use]
pub fn all() -> Vec<Seeded> {
    let mut all = Vec::new();
    for mutant in MUTANTS.into_iter().filter(|mutant| *mutant != Mutant::None) {
        all.push(Seeded {
            home: "platform.rs",
            name: format!("{mutant:?}"),
            kill: Box::new(move || core(mutant)),
        });
    }
    seeds!(all: "front/depot.rs", DEPOT_FAULTS, depot, 1 2 3 4 5);
    seeds!(all: "front/drain.rs", DRAIN_FAULTS, drain, 1 2 3 4 5);
    let large_faults = large::FAULTS;
    seeds!(all: "large/stock.rs", large_faults, large, 1 2 3 4 5 6 7 8 9 10 11 12);
    seeds!(all: "once.rs", ONCE_FAULTS, page_map, 1 2 3 4 5);
    seeds!(all: "table.rs", TABLE_FAULTS, table, 1 2 3);
    seeds!(all: "decay.rs", DECAY_FAULTS, decay, 1 2 3 4);
    seeds!(all: "pieces.rs", PIECES_FAULTS, pieces, 1 2 3);
    all
}

fn core(mutant: Mutant) -> Option<Killed> {
    if mutant == Mutant::TagResetOnReuse {
        let says = lives::fault::<{ machine::TAG_RESET_ON_REUSE }>()?;
        return Some(Killed {
            by: "two lives of a superblock",
            how: "one thread".to_owned(),
            says,
        });
    }
    let kill = KILLS.iter().find(|kill| kill.mutant == mutant)?;
    let how = match kill.way {
        Way::Loom(preemptions) => format!("loom, {preemptions} preemptions"),
        Way::Interrupted => "interrupted".to_owned(),
    };
    kill.run().map(|says| Killed { by: kill.race.name, how, says })
}
