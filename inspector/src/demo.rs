//! `lfinspect demo`: watches a built-in program that walks through every state of a superblock.
//!
//! lfinspect starts itself as the program to watch, over the same socket as any other:
//!
//! ```text
//!   demo                                   demo-target
//!    │ start ──────────────────────────────► start the agent
//!    │ ◄────────────────────── "socket PATH" │
//!    │ connect, subscribe, first state       │ wait
//!    │ "go" ───────────────────────────────► │ walk, walk, ...
//!    │ ◄─────────────── frames ───────────── │ ("done" after the last of a number of rounds)
//!    │ close its standard input ───────────► │ remove the socket, end
//! ```
//!
//! With `--once` nothing is drawn: the transitions of a few rounds are collected, and the command
//! fails unless every edge of the state diagram was seen, in legal order for each superblock.

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use lfalloc_protocol::message::{Kind, TransitionRecord};

use crate::cli::Flags;
use crate::connect::{ANSWER_TIMEOUT, Connection};
use crate::failure::{Failure, Outcome, to_stdout};
use crate::picture::{Applied, Picture};
use crate::process;
use crate::report::Watched;
use crate::source::following::FollowingSource;
use crate::source::{Source, SourceEvent};
use crate::tui;
use child::{Child, Said};

mod check;
mod child;
pub mod target;

/// Rounds of `--once`: the later ones start from the superblocks that the first has left.
const ROUNDS: u32 = 3;
/// States a second of `--once`.
const ONCE_INTERVAL: Duration = Duration::from_millis(20);
/// How long the walk of `--once` may take.
const WALK_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the last transitions may take after the walk.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(3);

/// Runs the command.
///
/// # Errors
/// When the program cannot be started, reached or watched.
pub fn run(flags: &Flags, pace: Duration, once: bool) -> Outcome<ExitCode> {
    if once || !io::stdout().is_terminal() {
        return walk_once(flags);
    }
    let mut child = Child::start(pace, None)?;
    let connection = connect(&mut child)?;
    let live = FollowingSource::new(Some(connection), flags.rate_hz(), false);
    let source = DemoSource { live, child, told_to_go: false };
    Ok(tui::run(Box::new(source), flags.interface_options())?.into())
}

fn connect(child: &mut Child) -> Outcome<Connection> {
    let path = child.socket()?;
    Connection::open(&path, ANSWER_TIMEOUT)
        .map_err(|error| Failure::new(error.explain("the demo's program", &path)).into())
}

/// A live source that tells its program to go once nothing of the walk can be missed, and that ends
/// the program with itself.
struct DemoSource {
    live: FollowingSource,
    child: Child,
    told_to_go: bool,
}

impl Source for DemoSource {
    fn poll(&mut self, timeout: Duration) -> SourceEvent {
        let event = self.live.poll(timeout);
        match &event {
            SourceEvent::Frame(Kind::STATE_END, _) if !self.told_to_go => {
                self.told_to_go = true;
                self.child.go();
            }
            // The program knows better than its socket why it ended.
            SourceEvent::Gone(_) => {
                if let Some(Said::Failed(reason)) = self.child.listen(Duration::from_millis(100)) {
                    return SourceEvent::Gone(format!("the demo's walk failed: {reason}"));
                }
            }
            _ => {}
        }
        event
    }

    fn request_rate(&mut self, hz: f64) {
        self.live.request_rate(hz);
    }

    fn request_superblock(&mut self, id: u32) {
        self.live.request_superblock(id);
    }

    fn can_attach(&self) -> bool {
        true
    }

    fn attach(&mut self, socket: &Path) {
        self.live.attach(socket);
    }

    fn reconnect(&mut self) {
        self.live.reconnect();
    }
}

fn walk_once(flags: &Flags) -> Outcome<ExitCode> {
    let mut child = Child::start(Duration::ZERO, Some(ROUNDS))?;
    let mut connection = connect(&mut child)?;
    let mut observation = Observation::new(&connection);
    connection.subscribe(ONCE_INTERVAL)?;
    observation.read_first_state(&mut connection)?;
    child.go();
    observation.read_walk(&mut connection, &mut child)?;
    observation.read_rest(&mut connection)?;

    observation.picture.rss_bytes = connection.peer_pid().and_then(process::rss_bytes);
    let verdict = check::verdict(&observation.records, observation.missed);
    let last = observation.records.len().saturating_sub(10);
    let mut watched = Watched::still(observation.picture, observation.user);
    watched.transitions = VecDeque::from(observation.records[last..].to_vec());
    watched.missed = observation.missed;
    to_stdout(|stdout| {
        Ok(write!(stdout, "{}\n{}", watched.page(flags.ascii()), verdict.table())?)
    })?;
    match verdict.failure() {
        None => Ok(ExitCode::SUCCESS),
        Some(reason) => Err(Failure::new(format!("demo: {reason}")).into()),
    }
}

/// What is read of one walk.
struct Observation {
    picture: Picture,
    records: Vec<TransitionRecord>,
    missed: u64,
    user: String,
    /// Transitions that had happened before the first state.
    seen_before: u64,
}

impl Observation {
    fn new(connection: &Connection) -> Self {
        let mut picture = Picture::new(connection.hello().clone());
        picture.pid = connection.pid();
        Self {
            picture,
            records: Vec::new(),
            missed: 0,
            user: process::user_name(process::own_user_id()),
            seen_before: 0,
        }
    }

    /// Applies the next frame; whether a state became complete with it.
    fn read(&mut self, connection: &mut Connection) -> Outcome<bool> {
        let Some((kind, payload)) = connection.receive(ONCE_INTERVAL)? else {
            return Ok(false);
        };
        match self.picture.apply(kind, &payload)? {
            Applied::State => Ok(true),
            Applied::Transitions(more) => {
                self.missed += more.missed;
                self.records.extend(more.records);
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    fn read_first_state(&mut self, connection: &mut Connection) -> Outcome<()> {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        while !self.read(connection)? {
            if Instant::now() > deadline {
                return Err(Failure::new("demo: the agent sent no state").into());
            }
        }
        self.seen_before = self.picture.end.transitions_seen;
        Ok(())
    }

    fn read_walk(&mut self, connection: &mut Connection, child: &mut Child) -> Outcome<()> {
        let deadline = Instant::now() + WALK_TIMEOUT;
        loop {
            match child.listen(Duration::ZERO) {
                Some(Said::Done) => return Ok(()),
                Some(Said::Failed(reason)) => {
                    return Err(Failure::new(format!("demo: the walk failed: {reason}")).into());
                }
                Some(Said::Ended) => {
                    let words = child.last_words();
                    let line = format!("demo: the program ended before its walk did: {words}");
                    return Err(Failure::new(line).into());
                }
                Some(Said::Socket(_)) | None => {}
            }
            if Instant::now() > deadline {
                return Err(Failure::new("demo: the walk did not end").into());
            }
            self.read(connection)?;
        }
    }

    /// Reads until a state taken after the walk counts no more transitions than have come.
    fn read_rest(&mut self, connection: &mut Connection) -> Outcome<()> {
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        // The state after the next one was begun after the walk for certain.
        let enough = self.picture.states + 2;
        loop {
            let came = self.records.len() as u64 + self.missed;
            let happened = self.picture.end.transitions_seen - self.seen_before;
            if self.picture.states >= enough && came >= happened {
                return Ok(());
            }
            if Instant::now() > deadline {
                let line = format!("demo: of {happened} transitions only {came} came");
                return Err(Failure::new(line).into());
            }
            self.read(connection)?;
        }
    }
}
