//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use lfalloc_bench::workload::MOST_THREADS;

use crate::compare::preload;
use crate::{busy, compare, watched};

/// What is printed for `--help`, and after a mistake.
pub(crate) const USAGE: &str = "usage: lfalloc-bench COMMAND
  compare [--only TEXT] [--rounds N] [--allocators A,B] [--threads N,M] [--files FOLDER] [--programs FOLDER]
          [--json FILE] [--svg FILE] [--quick]
                                   lfalloc against other allocators in programs of their own, N rounds (5);
                                   only the workloads whose name contains TEXT; --threads: how they scale;
                                   --programs: not built, but taken from there; --quick: a try of half a minute
  compare-preload [--only TEXT] [--rounds N] [--libraries A,B] [--json FILE] [--quick]
                                   liblfalloc.so (of LFALLOC_SO, or built) against other preloaded mallocs, in C programs
  core [--rounds N] [--only TEXT]  lfalloc against the system's allocator, N rounds each (41);
                                   only the workloads whose name contains TEXT
  snapshot [--superblocks N]       a census, and a state over the socket, with N superblocks (100000)
  attach [--lfinspect PATH]        from connecting to the first whole state of a small program;
                                   with PATH also how long that lfinspect takes for a snapshot
  watched --lfinspect PATH [--superblocks N] [--threads N] [--rate HZ] [--pairs N] [--seconds N] [--keys KEYS]
                                   what a busy program with N superblocks (100000) loses by being watched, in
                                   pairs (10) of N seconds (6), and what the viewer costs with KEYS typed
  busy [--superblocks N] [--seconds N] [--threads N] [--directory DIR]
                                   a program to attach to: holds N superblocks (100000), replaces objects
                                   in N threads (1) for N seconds (10), prints operations per second";

/// One run of the program.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    /// Prints [`USAGE`].
    Help,
    /// lfalloc against other allocators, in programs of their own.
    Compare(compare::Options),
    /// lfalloc against other allocators, preloaded to C programs.
    ComparePreload(preload::Options),
    /// lfalloc against the system's allocator, in this program.
    Core {
        /// Measurements of each pair of workload and allocator.
        rounds: usize,
        /// Part of the names of the workloads that are run.
        only: String,
    },
    /// Observing many superblocks.
    Snapshot {
        /// How many.
        superblocks: usize,
    },
    /// Observing a small program in another process.
    Attach {
        /// An `lfinspect` to measure as well.
        lfinspect: Option<PathBuf>,
    },
    /// A busy program, watched and not.
    Watched(watched::Options),
    /// Be a program that is busy, for somebody to attach to.
    Busy(busy::Options),
    /// Be that small program; not for people.
    Serve,
}

/// Reads the arguments after the program's name.
pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Command, String> {
    let mut arguments = arguments;
    let Some(name) = arguments.next() else {
        return Err("say what to measure".to_owned());
    };
    let mut command = match name.to_str() {
        Some("compare") => Command::Compare(compare::Options::new()),
        Some("compare-preload") => Command::ComparePreload(preload::Options::new()),
        Some("core") => Command::Core { rounds: 41, only: String::new() },
        Some("snapshot") => Command::Snapshot { superblocks: 100_000 },
        Some("attach") => Command::Attach { lfinspect: None },
        Some("watched") => Command::Watched(watched::Options {
            lfinspect: PathBuf::new(),
            keys: String::new(),
            superblocks: 100_000,
            threads: 1,
            rate: 10,
            pairs: 10,
            seconds: 6,
        }),
        Some("busy") => Command::Busy(busy::Options {
            superblocks: 100_000,
            threads: 1,
            seconds: 10,
            directory: None,
            is_counted: false,
        }),
        Some("serve") => Command::Serve,
        Some("help" | "--help" | "-h") => return Ok(Command::Help),
        _ => return Err(format!("there is no command {}", name.to_string_lossy())),
    };
    while let Some(option) = arguments.next() {
        let option = option.to_string_lossy().into_owned();
        let mut value = || arguments.next().ok_or_else(|| format!("{option} needs a value"));
        match (&mut command, option.as_str()) {
            (_, "--help" | "-h") => return Ok(Command::Help),
            (Command::Compare(options), option) => match option {
                "--only" => options.only = value()?.to_string_lossy().into_owned(),
                "--rounds" => options.rounds = number(option, &value()?, 1_000)?,
                "--allocators" => {
                    let names = value()?.to_string_lossy().into_owned();
                    options.allocators = names.split(',').map(str::to_owned).collect();
                }
                "--threads" => {
                    let counts = value()?.to_string_lossy().into_owned();
                    let count = |text: &str| number(option, &text.into(), MOST_THREADS);
                    options.threads = counts.split(',').map(count).collect::<Result<_, _>>()?;
                }
                "--programs" => options.programs = Some(value()?.into()),
                "--files" => options.files = value()?.into(),
                "--json" => options.json = Some(value()?.into()),
                "--svg" => options.svg = Some(value()?.into()),
                "--quick" => options.make_quick(),
                _ => return Err(format!("compare has no option {option}")),
            },
            (Command::ComparePreload(options), option) => {
                compare_preload(options, option, value)?;
            }
            (Command::Core { rounds, .. }, "--rounds") => {
                *rounds = number(&option, &value()?, 1_000)?;
            }
            (Command::Core { only, .. }, "--only") => {
                *only = value()?.to_string_lossy().into_owned();
            }
            (Command::Snapshot { superblocks }, "--superblocks") => {
                *superblocks = number(&option, &value()?, 10_000_000)?;
            }
            (Command::Busy(options), option) => match option {
                "--superblocks" => options.superblocks = number(option, &value()?, 10_000_000)?,
                "--threads" => options.threads = number(option, &value()?, 256)?,
                "--seconds" => options.seconds = number(option, &value()?, 3_600)?,
                "--directory" => options.directory = Some(value()?.into()),
                "--counted" => options.is_counted = true,
                _ => return Err(format!("busy has no option {option}")),
            },
            (Command::Attach { lfinspect }, "--lfinspect") => *lfinspect = Some(value()?.into()),
            (Command::Watched(options), option) => match option {
                "--lfinspect" => options.lfinspect = value()?.into(),
                "--keys" => options.keys = value()?.to_string_lossy().into_owned(),
                "--superblocks" => options.superblocks = number(option, &value()?, 1_000_000)?,
                "--threads" => options.threads = number(option, &value()?, 256)?,
                "--rate" => options.rate = number(option, &value()?, 50)?,
                "--pairs" => options.pairs = number(option, &value()?, 1_000)?,
                "--seconds" => options.seconds = number(option, &value()?, 3_600)?,
                _ => return Err(format!("watched has no option {option}")),
            },
            _ => return Err(format!("{} has no option {option}", name.to_string_lossy())),
        }
    }
    if let Command::Watched(options) = &command
        && options.lfinspect.as_os_str().is_empty()
    {
        return Err("watched needs --lfinspect PATH: the viewer".to_owned());
    }
    Ok(command)
}

/// One option of `compare-preload`.
fn compare_preload(
    options: &mut preload::Options,
    option: &str,
    mut value: impl FnMut() -> Result<OsString, String>,
) -> Result<(), String> {
    match option {
        "--only" => options.only = value()?.to_string_lossy().into_owned(),
        "--rounds" => options.rounds = number(option, &value()?, 1_000)?,
        "--libraries" => {
            let names = value()?.to_string_lossy().into_owned();
            options.libraries = names.split(',').map(str::to_owned).collect();
        }
        "--json" => options.json = Some(value()?.into()),
        "--quick" => options.make_quick(),
        _ => return Err(format!("compare-preload has no option {option}")),
    }
    Ok(())
}

fn number(option: &str, value: &OsString, most: usize) -> Result<usize, String> {
    value
        .to_str()
        .and_then(|text| text.parse().ok())
        .filter(|number| (1..=most).contains(number))
        .ok_or_else(|| format!("{option} takes a number from 1 to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    /// Aim: every option arrives where it belongs, and mistakes are told. Method: by hand.
    #[test]
    fn reads_a_line() {
        assert_eq!(
            parsed("core --rounds 3 --only pair"),
            Ok(Command::Core { rounds: 3, only: "pair".to_owned() })
        );
        let Ok(Command::Compare(options)) =
            parsed("compare --only pair --allocators lfalloc,glibc --json a --svg b --files c")
        else {
            panic!("compare");
        };
        assert_eq!((options.only.as_str(), options.rounds), ("pair", 5));
        assert_eq!(options.allocators, ["lfalloc", "glibc"]);
        assert_eq!((options.json, options.svg), (Some("a".into()), Some("b".into())));
        assert_eq!(options.files.to_str(), Some("c"));
        let Ok(Command::Compare(options)) = parsed("compare --threads 1,16 --programs d") else {
            panic!("compare --threads");
        };
        assert_eq!((options.threads, options.programs), (vec![1, 16], Some("d".into())));
        let Ok(Command::Compare(options)) = parsed("compare --quick --rounds 3") else {
            panic!("compare --quick");
        };
        assert_eq!((options.rounds, options.milliseconds), (3, 60));
        let Ok(Command::ComparePreload(options)) =
            parsed("compare-preload --quick --only pair --libraries glibc,lfalloc --json a")
        else {
            panic!("compare-preload");
        };
        assert_eq!((options.rounds, options.milliseconds, options.only.as_str()), (2, 60, "pair"));
        assert_eq!((options.libraries.len(), options.json), (2, Some("a".into())));
        assert_eq!(parsed("snapshot"), Ok(Command::Snapshot { superblocks: 100_000 }));
        assert_eq!(
            parsed("attach --lfinspect /x"),
            Ok(Command::Attach { lfinspect: Some("/x".into()) })
        );
        let Ok(Command::Watched(options)) = parsed("watched --pairs 3 --lfinspect x --keys 3")
        else {
            panic!("watched");
        };
        assert_eq!((options.pairs, options.seconds, options.keys.as_str()), (3, 6, "3"));
        assert!(parsed("watched --pairs 3").is_err(), "without a viewer");
        let Ok(Command::Busy(options)) = parsed("busy --threads 2 --superblocks 7") else {
            panic!("busy");
        };
        assert_eq!((options.superblocks, options.seconds, options.threads), (7, 10, 2));
        assert!(!options.is_counted && options.directory.is_none());
        assert_eq!(parsed("core --help"), Ok(Command::Help));
        for wrong in [
            "",
            "cores",
            "core --rounds",
            "core --rounds 0",
            "core --superblocks 1",
            "compare --seconds 1",
            "compare-preload --threads 2",
            "compare --json",
            "compare --threads 2,",
            "compare --threads 0",
            "serve x",
            "busy --threads 257",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
