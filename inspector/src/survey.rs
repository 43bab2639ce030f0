//! Which programs can be watched, looked at again and again for the list to pick from.
//!
//! | of each program | how often | what it costs there |
//! |---|---|---|
//! | whether it is there | every round | nothing; its greeting once |
//! | MAPPED, LIVE, UPTIME | every round | the cheap totals |
//! | EXT% | every 10 s | an update with the superblocks that have changed; a full state once |
//!
//! One connection to each is held while the list is shown. A program that does not answer delays no other:
//! greetings are waited for by threads of their own, and answers within one round's patience together.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use lfalloc_protocol::codec;
use lfalloc_protocol::message::{Kind, Subscribe, Totals, TotalsRequest};

use crate::connect::{ConnectError, Connection};
use crate::discover::{self, Candidate, SURVEY_TIMEOUT};
use crate::listing::{Row, Unreachable};
use crate::picture::{Applied, Picture};
use crate::process;

/// Between two rounds.
pub const ROUND: Duration = Duration::from_secs(1);
/// How long a round waits for greetings, and how long for answers.
const PATIENCE: Duration = Duration::from_millis(200);
/// How long a program that does not stop talking is listened to beyond that.
const LISTENING: Duration = Duration::from_millis(50);
/// Between two whole states.
const STATE_INTERVAL_MS: u32 = 10_000;
/// Greetings that are waited for at the same time.
const GREETINGS_AT_ONCE: usize = 32;
/// Between two attempts to reach a program that could not be reached.
const RETRY: Duration = Duration::from_secs(3);
/// For so long a program that has ended is still listed.
const REMEMBERED: Duration = Duration::from_secs(5);
/// Without an answer for so long a program is silent.
const SILENCE: Duration = Duration::from_secs(2);
/// Past figures kept of each program, one a round.
pub const TREND: usize = 10;

/// What one round has found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Survey {
    /// Programs that have shown themselves.
    pub programs: Vec<Program>,
    /// Sockets that lead to none, with their numbers.
    pub unreachable: Vec<(u64, Unreachable)>,
    /// Whether some have been asked for the first time and have not answered yet.
    pub is_waiting: bool,
}

/// A program that can be watched, or could.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// Tells programs apart, for as long as the survey goes on.
    pub id: u64,
    /// Its socket, as we reach it.
    pub path: PathBuf,
    /// Its figures, as `ls` shows them.
    pub row: Row,
    /// Live bytes of the last rounds, the oldest first.
    pub trend: Vec<i64>,
    /// Change of the live bytes a second, over those rounds.
    pub growth: Option<f64>,
    /// How it stands.
    pub standing: Standing,
    /// Of a descendant of the program that was started here: its parent, the parent of that, and so on up to that program.
    pub ancestors: Vec<u32>,
}

/// How a program stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It answers.
    Answers,
    /// It has not answered for long.
    Silent,
    /// It has ended.
    Ended,
}

/// Looks at all programs.
#[derive(Debug)]
pub struct Surveyor {
    known: BTreeMap<PathBuf, Known>,
    /// The program that was started here.
    root: Option<u32>,
    next_id: u64,
    greetings: Receiver<(PathBuf, Result<Connection, ConnectError>)>,
    greeted: Sender<(PathBuf, Result<Connection, ConnectError>)>,
}

#[derive(Debug)]
struct Known {
    id: u64,
    candidate: Candidate,
    stand: Stand,
}

#[derive(Debug)]
enum Stand {
    /// It was never asked.
    New,
    /// Its greeting is waited for; what it failed with before.
    Greeting(Option<ConnectError>),
    Unreached(ConnectError, Instant),
    Open(Box<Watched>),
    Ended(Box<Program>, Instant),
}

/// A program with an open connection.
#[derive(Debug)]
struct Watched {
    connection: Connection,
    picture: Picture,
    /// As [`Program::ancestors`], as long as they lived.
    ancestors: Vec<u32>,
    /// `None` until a first state is complete.
    row: Option<Row>,
    /// By the clock of the program: nanoseconds, live bytes.
    past: VecDeque<(u64, i64)>,
    is_asked: bool,
    answered: Instant,
}

impl Default for Surveyor {
    fn default() -> Self {
        Self::new()
    }
}

impl Surveyor {
    /// Knows nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self::below(None)
    }

    /// Knows nobody yet, and will tell who descends from the process `root`.
    #[must_use]
    pub fn below(root: Option<u32>) -> Self {
        let (greeted, greetings) = channel();
        Self { known: BTreeMap::new(), root, next_id: 0, greetings, greeted }
    }

    /// Looks at every socket there is.
    #[must_use]
    pub fn round(&mut self) -> Survey {
        self.round_of(discover::candidates())
    }

    /// Looks at `candidates`, and at those of earlier rounds while they answer.
    #[must_use]
    pub fn round_of(&mut self, candidates: Vec<Candidate>) -> Survey {
        self.meet(candidates);
        self.greet();
        self.take_greetings(Instant::now() + PATIENCE);
        self.ask();
        self.take_answers(Instant::now() + PATIENCE);
        self.survey()
    }

    /// Takes in new sockets, and forgets what has ended and was shown long enough.
    fn meet(&mut self, candidates: Vec<Candidate>) {
        let now = Instant::now();
        self.known.retain(|path, known| match &known.stand {
            Stand::Greeting(_) | Stand::Open(_) => true,
            Stand::Ended(_, since) => now.duration_since(*since) < REMEMBERED,
            Stand::New | Stand::Unreached(..) => {
                candidates.iter().any(|candidate| candidate.path == *path)
            }
        });
        for candidate in candidates {
            let id = self.next_id;
            self.known.entry(candidate.path.clone()).or_insert_with(|| {
                self.next_id += 1;
                Known { id, candidate, stand: Stand::New }
            });
        }
    }

    /// Lets threads of their own wait for the greetings of those that are due.
    fn greet(&mut self) {
        let waiting = |known: &&Known| matches!(known.stand, Stand::Greeting(_));
        let mut places =
            GREETINGS_AT_ONCE.saturating_sub(self.known.values().filter(waiting).count());
        for (path, known) in &mut self.known {
            let is_due = match &known.stand {
                Stand::New => true,
                Stand::Unreached(_, since) => since.elapsed() >= RETRY,
                Stand::Greeting(_) | Stand::Open(_) | Stand::Ended(..) => false,
            };
            if !is_due || places == 0 {
                continue;
            }
            places -= 1;
            known.stand = match std::mem::replace(&mut known.stand, Stand::New) {
                Stand::Unreached(error, _) => Stand::Greeting(Some(error)),
                _ => Stand::Greeting(None),
            };
            let (path, greeted) = (path.clone(), self.greeted.clone());
            thread::spawn(move || {
                let result = Connection::open(&path, SURVEY_TIMEOUT);
                // Whoever asked may be gone.
                let _ = greeted.send((path, result));
            });
        }
    }

    fn take_greetings(&mut self, deadline: Instant) {
        while self.known.values().any(|known| matches!(known.stand, Stand::Greeting(_))) {
            let left = deadline.saturating_duration_since(Instant::now());
            let (path, result) = match self.greetings.recv_timeout(left) {
                Ok(greeting) => greeting,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            };
            let Some(known) = self.known.get_mut(&path) else { continue };
            known.stand = match result {
                Ok(connection) => Watched::begin(connection, self.root)
                    .map_or_else(|error| Stand::Unreached(error, Instant::now()), Stand::Open),
                Err(error) => Stand::Unreached(error, Instant::now()),
            };
        }
    }

    /// Asks everybody for the totals who owes none.
    fn ask(&mut self) {
        self.each_open(|watched| {
            if watched.is_asked {
                return Ok(());
            }
            watched.is_asked = true;
            watched.connection.send(Kind::TOTALS_REQUEST, &TotalsRequest {})
        });
    }

    fn take_answers(&mut self, deadline: Instant) {
        self.each_open(|watched| watched.take_answers(deadline));
    }

    /// Does something with every connection; those that it fails on have ended.
    fn each_open(&mut self, mut act: impl FnMut(&mut Watched) -> Result<(), ConnectError>) {
        for known in self.known.values_mut() {
            let Stand::Open(watched) = &mut known.stand else { continue };
            let Err(error) = act(watched) else { continue };
            known.stand = match watched.program(known.id) {
                Some(program) if matches!(error, ConnectError::Closed) => {
                    let program = Program { standing: Standing::Ended, ..program };
                    Stand::Ended(Box::new(program), Instant::now())
                }
                _ => Stand::Unreached(error, Instant::now()),
            };
        }
    }

    fn survey(&self) -> Survey {
        let mut survey = Survey::default();
        for known in self.known.values() {
            let mut unreachable = |error: &ConnectError| {
                survey.unreachable.push((known.id, Unreachable::new(&known.candidate, error)));
            };
            match &known.stand {
                Stand::New | Stand::Greeting(None) => survey.is_waiting = true,
                Stand::Greeting(Some(error)) | Stand::Unreached(error, _) => unreachable(error),
                Stand::Open(watched) => match watched.program(known.id) {
                    Some(program) => survey.programs.push(program),
                    None if watched.answered.elapsed() < SILENCE => survey.is_waiting = true,
                    None => unreachable(&ConnectError::NoAnswer(SILENCE)),
                },
                Stand::Ended(program, _) => survey.programs.push(Program::clone(program)),
            }
        }
        survey
    }
}

impl Watched {
    fn begin(mut connection: Connection, root: Option<u32>) -> Result<Box<Self>, ConnectError> {
        let request = Subscribe { interval_ms: STATE_INTERVAL_MS, transitions: false };
        connection.send(Kind::SUBSCRIBE, &request)?;
        let mut picture = Picture::new(connection.hello().clone());
        picture.pid = connection.pid();
        let ancestors = match (root, connection.peer_pid()) {
            (Some(root), Some(pid)) => process::ancestors(pid, root),
            _ => Vec::new(),
        };
        Ok(Box::new(Self {
            connection,
            picture,
            ancestors,
            row: None,
            past: VecDeque::new(),
            is_asked: false,
            answered: Instant::now(),
        }))
    }

    /// Takes in what has come, and waits for what is owed no longer than until `deadline`.
    fn take_answers(&mut self, deadline: Instant) -> Result<(), ConnectError> {
        // Those that were asked after others have no time left, but what they said is there.
        let end = deadline.max(Instant::now() + LISTENING);
        while Instant::now() < end {
            let owes = self.is_asked || self.row.is_none();
            let left = if owes {
                deadline.saturating_duration_since(Instant::now())
            } else {
                Duration::ZERO
            };
            let Some((kind, payload)) = self.connection.receive(left)? else {
                return Ok(());
            };
            self.answered = Instant::now();
            if kind == Kind::TOTALS {
                self.is_asked = false;
                self.take_totals(&codec::decode(&payload)?);
            } else if self.picture.apply(kind, &payload)? == Applied::State {
                self.picture.rss_bytes = self.connection.peer_pid().and_then(process::rss_bytes);
                self.row = Some(Row::new(&self.connection, &self.picture));
                self.remember(self.picture.uptime_ns, self.picture.live_bytes());
            }
        }
        Ok(())
    }

    fn take_totals(&mut self, totals: &Totals) {
        self.remember(totals.uptime_ns, totals.live_bytes);
        if let Some(row) = &mut self.row {
            row.uptime_ms = totals.uptime_ns / 1_000_000;
            row.mapped_bytes = totals.mapped_bytes;
            row.live_bytes = totals.live_bytes;
            row.rss_bytes = self.connection.peer_pid().and_then(process::rss_bytes);
        }
    }

    fn remember(&mut self, uptime_ns: u64, live_bytes: i64) {
        // State and totals of one round count as one. The clock is the program's, and may stand at its end.
        let next = |last: u64| last.saturating_add(ROUND.as_nanos() as u64 / 2);
        if self.past.back().is_some_and(|(last, _)| uptime_ns < next(*last)) {
            return;
        }
        if self.past.len() == TREND {
            self.past.pop_front();
        }
        self.past.push_back((uptime_ns, live_bytes));
    }

    fn program(&self, id: u64) -> Option<Program> {
        let is_silent = self.is_asked && self.answered.elapsed() >= SILENCE;
        let growth = match (self.past.front(), self.past.back()) {
            (Some((from, less)), Some((to, more))) if to > from => {
                Some((more.saturating_sub(*less)) as f64 / ((to - from) as f64 / 1e9))
            }
            _ => None,
        };
        Some(Program {
            id,
            path: self.connection.path().to_owned(),
            row: self.row.clone()?,
            trend: self.past.iter().map(|(_, live)| *live).collect(),
            growth,
            standing: if is_silent { Standing::Silent } else { Standing::Answers },
            ancestors: self.ancestors.clone(),
        })
    }
}
