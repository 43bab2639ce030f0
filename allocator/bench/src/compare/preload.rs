//! `compare-preload`: liblfalloc.so against other libraries with a malloc, each preloaded to the same C program.
//!
//! As in `compare` every measurement is a process, which refuses to measure where malloc is not the library's.

use std::error::Error;
use std::ffi::OsString;
use std::path::PathBuf;

use super::libraries::{LIBRARIES, Library, Program};
use super::machine::Machine;
use super::results::{Contender, Results};
use super::runs::{self, Contestant};
use super::through_c;

/// What is compared, how long, and where the results go.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    /// Part of the names of the workloads that are run.
    pub(crate) only: String,
    /// Measurements of each pair of workload and library.
    pub(crate) rounds: usize,
    /// About how long one takes.
    pub(crate) milliseconds: u64,
    /// Names of libraries; none: all.
    pub(crate) libraries: Vec<String>,
    pub(crate) json: Option<PathBuf>,
}

impl Options {
    /// All libraries and workloads, 5 rounds of 0.3 s.
    pub(crate) fn new() -> Self {
        Self {
            only: String::new(),
            rounds: 5,
            milliseconds: 300,
            libraries: Vec::new(),
            json: None,
        }
    }

    /// 2 rounds of 60 ms: whether everything runs, and no more.
    pub(crate) fn make_quick(&mut self) {
        (self.rounds, self.milliseconds) = (2, 60);
    }
}

/// Compiles, measures, prints, and writes the file that was asked for.
pub(crate) fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let libraries = chosen(&options.libraries)?;
    // Before the builds, which load it.
    let machine = Machine::this();
    let program = Program::compile()?;
    let names = program.workloads()?;
    let workloads: Vec<_> =
        names.iter().map(String::as_str).filter(|name| name.contains(&options.only)).collect();
    if workloads.is_empty() {
        let names = names.join("; ");
        return Err(format!("no workload is called {}: {names}", options.only).into());
    }
    let (mut contestants, mut contenders, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for library in libraries {
        match library.file() {
            Ok(file) => {
                contestants.push(contestant(library, &program, file));
                contenders.push(Contender {
                    name: library.name.to_owned(),
                    version: library.version(),
                    is_peer: library.is_peer(),
                });
            }
            // Nobody else is affected.
            Err(message) => {
                let failure = format!("{} is left out: {message}", library.name);
                eprintln!("{failure}");
                failures.push(failure);
            }
        }
    }
    if contestants.is_empty() {
        return Err("there is no library: nothing can be measured".into());
    }
    let mut results = Results::new(machine, contenders, options.rounds, options.milliseconds);
    results.failures = failures;
    runs::measure(&contestants, &workloads, &mut results)?;
    print!("{}", through_c::section(&results));
    if let Some(path) = &options.json {
        super::write(path, &results.to_json()?)?;
    }
    Ok(())
}

/// The program with that library; without a file, with none.
fn contestant(library: &Library, program: &Program, file: Option<PathBuf>) -> Contestant {
    // What this process was started with is not the contestants'.
    let preloaded = file.clone().map_or_else(OsString::new, PathBuf::into_os_string);
    Contestant {
        name: library.name.to_owned(),
        program: program.path(),
        last: file.map_or_else(|| "-".into(), PathBuf::into_os_string),
        environment: vec![("LD_PRELOAD", preloaded)],
    }
}

fn chosen(names: &[String]) -> Result<Vec<&'static Library>, String> {
    if names.is_empty() {
        return Ok(LIBRARIES.iter().collect());
    }
    let find = |name: &String| {
        LIBRARIES.iter().find(|library| library.name == name).ok_or_else(|| {
            let known: Vec<_> = LIBRARIES.iter().map(|library| library.name).collect();
            format!("no library is called {name}: {}", known.join(", "))
        })
    };
    names.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Aim: every workload runs and tells what it measured, nothing is measured with another malloc than the named one, and
    /// names differ. Method: all of them on the C library for a moment, one with a library that is not loaded.
    #[test]
    fn each_is_measured() {
        let program = Program::compile().unwrap();
        let names = program.workloads().unwrap();
        let unique: std::collections::HashSet<_> = names.iter().collect();
        assert!(names.len() > 20 && unique.len() == names.len(), "{names:?}");
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let results = |last: &str, names: &[&str]| {
            let glibc = chosen(&["glibc".to_owned()]).unwrap();
            let mut contestant = contestant(glibc[0], &program, None);
            contestant.last = last.into();
            let contender =
                Contender { name: "glibc".into(), version: String::new(), is_peer: true };
            let mut results = Results::new(Machine::default(), vec![contender], 1, 1);
            let measured = runs::measure(&[contestant], names, &mut results);
            (measured, results)
        };
        let (measured, all) = results("-", &names);
        assert!(measured.is_ok() && all.failures.is_empty(), "{:?}", all.failures);
        for row in &all.rows {
            let cell = &row.cells[0][0];
            assert!(cell.ns > 0.0 && cell.least_ns <= cell.ns && cell.operations > 0, "{row:?}");
            assert!(cell.memory.start > 0 && cell.memory.peak >= cell.memory.held, "{row:?}");
        }
        for (last, name, why) in [
            ("/usr/lib/libother.so", names[0], "not those of the library"),
            ("-", "pair 65 B", "no such workload"),
        ] {
            let (measured, none) = results(last, &[name]);
            assert!(measured.is_err() && none.failures[0].contains(why), "{:?}", none.failures);
        }
    }

    /// Aim: libraries are found by their names, and unknown ones are told; a file that is not there is told, too. Method: by
    /// hand.
    #[test]
    fn libraries_are_chosen() {
        assert_eq!(chosen(&[]).unwrap().len(), LIBRARIES.len());
        let glibc = chosen(&["glibc".to_owned()]).unwrap();
        assert_eq!((glibc[0].file(), glibc[0].is_peer()), (Ok(None), true));
        assert!(!LIBRARIES[0].is_peer());
        assert!(chosen(&["dlmalloc".to_owned()]).is_err_and(|message| message.contains("glibc")));
    }
}
