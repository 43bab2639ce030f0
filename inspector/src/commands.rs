//! The commands that look at a program: `ls`, `attach`, `top`, `snapshot`.
//!
//! Each takes a [`Choice`], connects, and prints or shows. A choice of a person who picks nothing
//! is no failure.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use crate::cli::{Flags, Stay};
use crate::connect::{ConnectError, Connection};
use crate::discover::Candidate;
use crate::failure::{Failure, Outcome, to_stdout};
use crate::linting::{self, Denied, Raised};
use crate::listing::Listing;
use crate::picture::Picture;
use crate::report::Watched;
use crate::seek::Whom;
use crate::snapshot::{self, Snapshot};
use crate::source::following::FollowingSource;
use crate::target::{self, Choice};
use crate::tui::{self, Begin};
use crate::{record, recorded, recording};

/// Prints the programs that can be watched.
pub(crate) fn list(choice: &Choice, json: bool) -> Outcome<ExitCode> {
    let listing = match choice {
        Choice::Socket(path) => Listing::of(vec![target::by_socket(path)?], &[]),
        _ => Listing::take(),
    };
    if json {
        print_json_line(&listing)?;
    } else {
        to_stdout(|stdout| listing.write_table(stdout))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens the terminal interface, or prints a page where there is no terminal.
pub(crate) fn attach(flags: &Flags, choice: &Choice, stay: Stay) -> Outcome<ExitCode> {
    let has_screen = io::stdout().is_terminal();
    match choice {
        Choice::Selected(selector) if stay.wait && has_screen => {
            let whom = Whom::Selected(selector.clone());
            show(
                flags,
                FollowingSource::waiting_for(whom, flags.rate_hz(), stay.follow),
                Begin::Screens,
            )
        }
        Choice::Selected(selector) if stay.wait => {
            print_page(flags, &mut target::wait_for(selector)?)
        }
        choice => match reach(choice)? {
            Reached::One(mut connection) if !has_screen => print_page(flags, &mut connection),
            Reached::One(connection) => {
                let source = FollowingSource::new(Some(connection), flags.rate_hz(), stay.follow);
                show(flags, source, Begin::Screens)
            }
            Reached::None(_) | Reached::Several(_) if is_interactive() => show(
                flags,
                FollowingSource::new(None, flags.rate_hz(), stay.follow),
                Begin::Programs,
            ),
            Reached::None(failure) | Reached::Several(failure) => Err(failure.into()),
        },
    }
}

/// The terminal interface on `source`.
fn show(flags: &Flags, source: FollowingSource, begin: Begin) -> Outcome<ExitCode> {
    let options = tui::Options { begin, ..flags.interface_options() };
    Ok(tui::run(Box::new(source), options)?.into())
}

/// Records a program.
pub(crate) fn record(
    flags: &Flags,
    choice: &Choice,
    path: &Path,
    limits: record::Limits,
) -> Outcome<ExitCode> {
    match connect(flags, choice)? {
        Ok(mut connection) => record::record(flags, &mut connection, path, limits),
        Err(status) => Ok(status),
    }
}

/// Watches a program and tells what is amiss.
pub(crate) fn lint(
    flags: &Flags,
    choice: &Choice,
    time: Duration,
    denied: &Denied,
    json: bool,
) -> Outcome<ExitCode> {
    let mut connection = match connect(flags, choice)? {
        Ok(connection) => connection,
        Err(status) => return Ok(status),
    };
    let data =
        linting::watch(&mut connection, time).map_err(|error| explained(&connection, &error))?;
    let raised: Vec<Raised> = data
        .lints
        .raised()
        .map(|finding| Raised { finding: finding.clone(), when: None })
        .collect();
    linting::report(&data.picture, &raised, time, denied, json)
}

/// Prints one page, or one line of JSON.
pub(crate) fn top(flags: &Flags, choice: &Choice, json: bool) -> Outcome<ExitCode> {
    let mut connection = match connect(flags, choice)? {
        Ok(connection) => connection,
        Err(status) => return Ok(status),
    };
    if !json {
        return print_page(flags, &mut connection);
    }
    let picture = snapshot::settled_state(&mut connection, snapshot::ATTEMPTS)
        .map_err(|error| explained(&connection, &error))?;
    print_top(&picture, None)?;
    Ok(ExitCode::SUCCESS)
}

/// The line of `top --json`; `recorded` where it is of a recording.
pub(crate) fn print_top(picture: &Picture, recorded: Option<recorded::Note>) -> Outcome<()> {
    print_json_line(&Top::of(Snapshot::of(picture), recorded))
}

/// What `top --json` prints: a snapshot without its lists of heaps, superblocks and large blocks.
#[derive(Debug, Serialize)]
struct Top {
    schema: &'static str,
    process: snapshot::Process,
    totals: snapshot::Totals,
    classes: Vec<snapshot::Class>,
    transitions: snapshot::Transitions,
    in_hand: u64,
    consistent: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded: Option<recorded::Note>,
}

impl Top {
    fn of(snapshot: Snapshot, recorded: Option<recorded::Note>) -> Self {
        Self {
            schema: "lfalloc-top/1",
            process: snapshot.process,
            totals: snapshot.totals,
            classes: snapshot.classes,
            transitions: snapshot.transitions,
            in_hand: snapshot.in_hand,
            consistent: snapshot.consistent,
            recorded,
        }
    }
}

/// How a snapshot is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SnapshotFormat {
    /// The documented schema
    Json,
    /// A recording of one state, for `replay`, `top`, `snapshot` and `diff`
    Recording,
}

impl SnapshotFormat {
    /// The one that was asked for, or that the name of the file asks for.
    pub(crate) fn chosen(asked: Option<Self>, output: Option<&Path>) -> Self {
        let is_recording = output.is_some_and(recorded::is_named_so);
        asked.unwrap_or(if is_recording { Self::Recording } else { Self::Json })
    }
}

/// Writes a snapshot to `output`, or to standard output.
pub(crate) fn take_snapshot(
    flags: &Flags,
    choice: &Choice,
    output: Option<&Path>,
    format: SnapshotFormat,
) -> Outcome<ExitCode> {
    let mut connection = match connect(flags, choice)? {
        Ok(connection) => connection,
        Err(status) => return Ok(status),
    };
    let picture = snapshot::settled_state(&mut connection, snapshot::ATTEMPTS)
        .map_err(|error| explained(&connection, &error))?;
    write_snapshot(&picture, record::unix_ns(), output, format)?;
    if !picture.end.consistent {
        let _ = writeln!(
            io::stderr(),
            "lfinspect: note: pid {} went on while it was read (or held something in hand), {} times; \
             the snapshot says \"consistent\": false",
            picture.pid,
            snapshot::ATTEMPTS
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes `picture`, which was taken at `unix_ns`, to `output` or to standard output.
pub(crate) fn write_snapshot(
    picture: &Picture,
    unix_ns: u64,
    output: Option<&Path>,
    format: SnapshotFormat,
) -> Outcome<()> {
    let write = |out: &mut dyn io::Write| match format {
        SnapshotFormat::Json => snapshot::write_json(out, &Snapshot::of(picture)),
        SnapshotFormat::Recording => Ok(recording::state::write(picture, unix_ns, out)?),
    };
    match output.filter(|path| path.as_os_str() != "-") {
        Some(path) => snapshot::save(path, write),
        None if format == SnapshotFormat::Recording && io::stdout().is_terminal() => {
            Err(Failure::new("a recording is not for a terminal: name a file, -o FILE").into())
        }
        None => to_stdout(write),
    }
}

/// What a choice leads to.
enum Reached {
    One(Connection),
    /// None of the programs there are; why.
    None(Failure),
    /// Several, of which one is to be named.
    Several(Failure),
}

fn reach(choice: &Choice) -> Outcome<Reached> {
    match choice {
        Choice::Socket(path) => return Ok(Reached::One(target::by_socket(path)?)),
        Choice::Selected(selector) => return Ok(Reached::One(target::find(selector)?)),
        Choice::Any => {}
    }
    let (mut reached, unreached) = target::all();
    Ok(match (reached.len(), reached.pop()) {
        (1, Some(connection)) => Reached::One(connection),
        (count, Some(last)) => {
            reached.push(last);
            let names = target::names_of(&reached);
            let line = format!("{count} programs can be watched: {names}; name one");
            Reached::Several(Failure::new(line))
        }
        (_, None) => Reached::None(nothing_to_watch(&unreached)),
    })
}

/// The program that was asked for, or that the person picks; the exit status if they pick none.
fn connect(flags: &Flags, choice: &Choice) -> Outcome<Result<Connection, ExitCode>> {
    match reach(choice)? {
        Reached::One(connection) => Ok(Ok(connection)),
        Reached::Several(_) if is_interactive() => match tui::pick(flags.interface_options())? {
            (Some(socket), _) => Ok(Ok(target::by_socket(&socket)?)),
            (None, status) => Ok(Err(status.into())),
        },
        Reached::None(failure) | Reached::Several(failure) => Err(failure.into()),
    }
}

/// Whether a person can see and answer.
fn is_interactive() -> bool {
    io::stdout().is_terminal() && io::stdin().is_terminal()
}

fn nothing_to_watch(unreached: &[(Candidate, ConnectError)]) -> Failure {
    Failure::new(match unreached {
        [] => "no program can be watched: none runs with lfalloc_agent::start(); start one with \
               `lfinspect demo`"
            .to_owned(),
        [(candidate, error)] => {
            let name = &candidate.name;
            error.explain(&target::subject(name.pid, &name.name), &candidate.path)
        }
        several => format!(
            "no program can be watched: {} sockets were found and none answered; `lfinspect ls` \
             gives their reasons",
            several.len()
        ),
    })
}

/// The page of `top --once`.
fn print_page(flags: &Flags, connection: &mut Connection) -> Outcome<ExitCode> {
    let watched = Watched::take(connection).map_err(|error| explained(connection, &error))?;
    to_stdout(|stdout| Ok(stdout.write_all(watched.page(flags.ascii()).as_bytes())?))?;
    Ok(ExitCode::SUCCESS)
}

fn print_json_line<T: Serialize>(document: &T) -> Outcome<()> {
    to_stdout(|stdout| {
        serde_json::to_writer(&mut *stdout, document)?;
        Ok(stdout.write_all(b"\n")?)
    })
}

fn explained(connection: &Connection, error: &ConnectError) -> Failure {
    let subject = target::subject(connection.pid(), &connection.hello().name);
    Failure::new(error.explain(&subject, connection.path()))
}
