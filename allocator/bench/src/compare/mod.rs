//! `compare`: lfalloc against other allocators, each in programs of its own.
//!
//! | file | what it knows |
//! |---|---|
//! | `allocators` | who is compared, and how its program is built |
//! | `machine` | what it was measured on |
//! | `runs` | one process, and all of them in turn |
//! | `results` | what came of it, and how the allocators compare |
//! | `page`, `table` | the results as tables |
//! | `chart` | the results as a picture |
//! | `preload` | the same for C programs: `compare-preload` |
//! | `libraries` | who is compared there, and how the program is built |
//! | `through_c` | its results as a section of the page |
//!
//! Every measurement is a process, so that no allocator sees memory that another one, or another workload, has left. The
//! allocators take turns within every round, in an order that rotates: whatever else the machine does strikes all.

pub(crate) mod allocators;
mod chart;
mod libraries;
mod machine;
mod page;
pub(crate) mod preload;
mod results;
mod runs;
mod table;
mod through_c;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use lfalloc_bench::workload;

use allocators::{ALLOCATORS, Allocator};
use machine::Machine;
use results::{Contender, Results};
use runs::Contestant;

/// What is compared, how long, and where the results go.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    /// Part of the names of the workloads that are run.
    pub(crate) only: String,
    /// Measurements of each pair of workload and allocator.
    pub(crate) rounds: usize,
    /// About how long one takes.
    pub(crate) milliseconds: u64,
    /// Names of allocators; none: all.
    pub(crate) allocators: Vec<String>,
    /// Numbers of threads: the workloads that there are for any number, instead of those that are rows. None: the rows.
    pub(crate) threads: Vec<usize>,
    /// Where the allocators' programs lie, if they are not to be built: for a machine that has no compiler.
    pub(crate) programs: Option<PathBuf>,
    /// The folder that `index` reads.
    pub(crate) files: PathBuf,
    pub(crate) json: Option<PathBuf>,
    pub(crate) svg: Option<PathBuf>,
}

impl Options {
    /// All allocators and workloads, 5 rounds of 0.3 s, on the sources of this project.
    pub(crate) fn new() -> Self {
        Self {
            only: String::new(),
            rounds: 5,
            milliseconds: 300,
            allocators: Vec::new(),
            threads: Vec::new(),
            programs: None,
            files: Path::new(env!("CARGO_MANIFEST_DIR")).join(".."),
            json: None,
            svg: None,
        }
    }

    /// 2 rounds of 60 ms: whether everything runs, and no more.
    pub(crate) fn make_quick(&mut self) {
        (self.rounds, self.milliseconds) = (2, 60);
    }
}

/// Builds, measures, prints, and writes the files that were asked for.
pub(crate) fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let measured = if options.threads.is_empty() {
        workload::all()
    } else {
        workload::scaled_to(&options.threads)
    };
    let names: Vec<_> = measured.into_iter().map(|workload| workload.name).collect();
    let workloads: Vec<_> =
        names.iter().map(String::as_str).filter(|name| name.contains(&options.only)).collect();
    if workloads.is_empty() {
        let names = names.join("; ");
        return Err(format!("no workload is called {}: {names}", options.only).into());
    }
    let files = fs::canonicalize(&options.files)
        .map_err(|error| format!("{}: {error}", options.files.display()))?;
    // Before the builds, which load it.
    let machine = Machine::this();
    let mut failures = Vec::new();
    let mut programs = Vec::new();
    for allocator in chosen(&options.allocators)? {
        let program = match &options.programs {
            Some(folder) => allocator.found_in(folder),
            None => allocator.build(),
        };
        match program {
            Ok(program) => programs.push((allocator, program)),
            // Nobody else is affected.
            Err(message) => {
                let failure = format!("{} has no program: {message}", allocator.name);
                eprintln!("{failure}");
                failures.push(failure);
            }
        }
    }
    if programs.is_empty() {
        return Err("no allocator has a program: nothing can be measured".into());
    }
    let contender = |(allocator, _): &(&Allocator, PathBuf)| Contender {
        name: allocator.name.to_owned(),
        version: allocator.version(),
        is_peer: allocator.is_peer,
    };
    let contenders = programs.iter().map(contender).collect();
    let contestant = |(allocator, program): (&Allocator, PathBuf)| Contestant {
        name: allocator.name.to_owned(),
        program,
        last: files.clone().into(),
        environment: allocator
            .environment
            .iter()
            .map(|(name, value)| (*name, value.into()))
            .collect(),
    };
    let contestants: Vec<_> = programs.into_iter().map(contestant).collect();
    let mut results = Results::new(machine, contenders, options.rounds, options.milliseconds);
    results.failures = failures;
    runs::measure(&contestants, &workloads, &mut results)?;
    print!("{}", page::page(&results));
    if let Some(path) = &options.json {
        write(path, &results.to_json()?)?;
    }
    if let Some(path) = &options.svg {
        write(path, &chart::chart(&results))?;
    }
    Ok(())
}

fn chosen(names: &[String]) -> Result<Vec<&'static Allocator>, String> {
    if names.is_empty() {
        return Ok(ALLOCATORS.iter().collect());
    }
    let find = |name: &String| {
        ALLOCATORS.iter().find(|allocator| allocator.name == name).ok_or_else(|| {
            let known: Vec<_> = ALLOCATORS.iter().map(|allocator| allocator.name).collect();
            format!("no allocator is called {name}: {}", known.join(", "))
        })
    };
    names.iter().map(find).collect()
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Aim: allocators are found by their names, in the order given, and unknown ones are told. Method: by hand.
    #[test]
    fn allocators_are_chosen() {
        assert_eq!(chosen(&[]).unwrap().len(), ALLOCATORS.len());
        let two = chosen(&["glibc".to_owned(), "lfalloc".to_owned()]).unwrap();
        assert_eq!((two[0].name, two[1].name), ("glibc", "lfalloc"));
        assert!(
            chosen(&["dlmalloc".to_owned()]).is_err_and(|message| message.contains("rpmalloc"))
        );
    }
}
