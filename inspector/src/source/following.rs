//! Frames of one program after another: waits for a program, follows it over restarts, goes to another.
//!
//! ```text
//!            attach                         found                      it ended
//!   Idle ───────────────► Looking ─────────────────────────► Live ───────────────► Idle, or
//!                          │   ▲                                                     Waiting, if it
//!                          ▼   │ at most 1 s apart                                   is to be followed
//!                         Waiting
//! ```
//!
//! A look may take long, since programs may not answer: it is a thread of its own, so that
//! [`Source::poll`] keeps to its time. After a first program a further one is announced
//! ([`SourceEvent::Connected`]) not before it says something: an agent that greets and hangs up does not
//! wipe the last state from the screen, and does not make looks come faster.

use std::collections::VecDeque;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::connect::Connection;
use crate::seek::{Former, Look, Pace, Seeker, Whom};
use crate::source::live::LiveSource;
use crate::source::{Source, SourceEvent};

/// A connection that stood for so long was a good one: the next looks begin close to each other again.
const STEADY: Duration = Duration::from_secs(5);

/// The events of one connection after another.
#[derive(Debug)]
pub struct FollowingSource {
    /// Whether a program that has ended is waited for.
    follow: bool,
    rate_hz: f64,
    link: Link,
    pace: Pace,
    /// The program that was connected last.
    former: Option<Former>,
    /// What it waits for, and why.
    words: String,
    /// What was said last of that.
    said: Option<String>,
    /// What is to be said before anything new.
    due: VecDeque<SourceEvent>,
}

#[derive(Debug)]
enum Link {
    /// Nobody, and nobody is looked for.
    Idle,
    /// The next look is at this time.
    Waiting {
        seeker: Seeker,
        until: Instant,
    },
    Looking(Looking),
    Live(Box<Live>),
}

/// A look that goes on.
#[derive(Debug)]
struct Looking {
    answer: Receiver<(Seeker, Look)>,
    thread: JoinHandle<()>,
    /// Whether nobody is waited for afterwards.
    once: bool,
}

#[derive(Debug)]
struct Live {
    source: LiveSource,
    since: Instant,
    /// What it has said so far, while it is not announced.
    held: Option<VecDeque<SourceEvent>>,
}

impl FollowingSource {
    /// Begins with `connection`, if there is one; otherwise with nobody, until it is told whom to attach to.
    #[must_use]
    pub fn new(connection: Option<Connection>, rate_hz: f64, follow: bool) -> Self {
        let mut source = Self {
            follow,
            rate_hz,
            link: Link::Idle,
            pace: Pace::default(),
            former: None,
            words: String::new(),
            said: None,
            due: VecDeque::new(),
        };
        if let Some(connection) = connection {
            source.connect(connection);
        }
        source
    }

    /// Begins by waiting for `whom`.
    #[must_use]
    pub fn waiting_for(whom: Whom, rate_hz: f64, follow: bool) -> Self {
        let mut source = Self::new(None, rate_hz, follow);
        source.wait(whom.words(), None);
        source.look(Seeker::new(whom), false);
        source
    }

    /// Leaves everybody, and waits for `whom`.
    pub(crate) fn seek(&mut self, whom: Whom) {
        self.due.clear();
        self.pace = Pace::default();
        self.wait(whom.words(), None);
        self.look(Seeker::new(whom), false);
    }

    /// Leaves everybody, and looks for nobody.
    pub(crate) fn stop(&mut self) {
        self.due.clear();
        self.said = None;
        self.link = Link::Idle;
    }

    /// Who is connected now.
    pub(crate) fn connected_pid(&self) -> Option<u32> {
        let is_live = matches!(self.link, Link::Live(_));
        self.former.as_ref().filter(|_| is_live).map(|former| former.pid)
    }

    /// Announces that it waits for what `words` say; nothing if the same was said last.
    fn wait(&mut self, words: String, reason: Option<String>) {
        self.words = words;
        let words = with_reason(self.words.clone(), reason);
        if self.said.as_ref() != Some(&words) {
            self.said = Some(words.clone());
            self.due.push_back(SourceEvent::Waiting(words));
        }
    }

    fn look(&mut self, mut seeker: Seeker, once: bool) {
        let (sender, answer) = channel();
        let thread = thread::spawn(move || {
            let look = seeker.look();
            // Whoever asked may be gone, or want another by now.
            let _ = sender.send((seeker, look));
        });
        self.link = Link::Looking(Looking { answer, thread, once });
    }

    fn connect(&mut self, connection: Connection) {
        let is_first = self.former.is_none();
        if is_first {
            self.said = None;
        }
        self.former = Some(Former::of(&connection));
        self.link = Link::Live(Box::new(Live {
            source: LiveSource::new(connection, self.rate_hz),
            since: Instant::now(),
            held: (!is_first).then(VecDeque::new),
        }));
    }

    /// A look is over.
    fn looked(&mut self, seeker: Seeker, look: Look, once: bool) {
        match look {
            Look::Found(connection) => self.connect(*connection),
            Look::Failed(failure) => {
                self.link = Link::Idle;
                self.said = None;
                self.due.push_back(SourceEvent::Failed(failure.to_string()));
            }
            Look::Nobody(reason) if once => {
                self.link = Link::Idle;
                self.said = None;
                let name = self.former.as_ref().map_or("", |former| former.name.as_str());
                let words = format!("no program named '{name}' shows lfalloc now");
                self.due.push_back(SourceEvent::Gone(with_reason(words, reason)));
            }
            Look::Nobody(reason) => {
                self.wait(self.words.clone(), reason);
                self.link =
                    Link::Waiting { seeker, until: Instant::now() + self.pace.next_pause() };
            }
        }
    }

    /// The connection said `event`: what is to be said of it.
    fn pass(&mut self, event: SourceEvent) -> SourceEvent {
        let Link::Live(live) = &mut self.link else {
            return event;
        };
        if let SourceEvent::Gone(reason) = event {
            if live.since.elapsed() >= STEADY {
                self.pace = Pace::default();
            }
            return self.ended(reason);
        }
        let Some(held) = &mut live.held else {
            return event;
        };
        match event {
            SourceEvent::Quiet => SourceEvent::Quiet,
            SourceEvent::Connected(_) | SourceEvent::Process { .. } => {
                held.push_back(event);
                SourceEvent::Quiet
            }
            event => {
                self.due.append(held);
                live.held = None;
                self.said = None;
                self.due.push_back(event);
                self.due.pop_front().unwrap_or(SourceEvent::Quiet)
            }
        }
    }

    fn ended(&mut self, reason: String) -> SourceEvent {
        let (true, Some(former)) = (self.follow, self.former.clone()) else {
            self.link = Link::Idle;
            self.said = None;
            return SourceEvent::Gone(reason);
        };
        let seeker = Seeker::new(Whom::Successor(former));
        let words = format!("{reason}; {}", seeker.whom().words());
        self.link = Link::Waiting { seeker, until: Instant::now() + self.pace.next_pause() };
        self.wait(words, None);
        self.due.pop_front().unwrap_or(SourceEvent::Quiet)
    }
}

impl Source for FollowingSource {
    fn poll(&mut self, timeout: Duration) -> SourceEvent {
        if let Some(event) = self.due.pop_front() {
            return event;
        }
        match std::mem::replace(&mut self.link, Link::Idle) {
            Link::Idle => {
                // Whoever drives us may do so without a pause.
                thread::sleep(timeout);
            }
            Link::Waiting { seeker, until } => {
                let left = until.saturating_duration_since(Instant::now());
                thread::sleep(left.min(timeout));
                if left <= timeout {
                    self.look(seeker, false);
                } else {
                    self.link = Link::Waiting { seeker, until };
                }
            }
            Link::Looking(looking) => match looking.answer.recv_timeout(timeout) {
                Ok((seeker, look)) => {
                    self.looked(seeker, look, looking.once);
                    return self.due.pop_front().unwrap_or(SourceEvent::Quiet);
                }
                Err(RecvTimeoutError::Timeout) => self.link = Link::Looking(looking),
                // A panic is a fault of ours and goes on as one.
                Err(RecvTimeoutError::Disconnected) => {
                    if let Err(panic) = looking.thread.join() {
                        resume_unwind(panic);
                    }
                }
            },
            Link::Live(mut live) => {
                let event = live.source.poll(timeout);
                self.link = Link::Live(live);
                return self.pass(event);
            }
        }
        SourceEvent::Quiet
    }

    fn request_rate(&mut self, hz: f64) {
        self.rate_hz = hz;
        if let Link::Live(live) = &mut self.link {
            live.source.request_rate(hz);
        }
    }

    fn request_superblock(&mut self, id: u32) {
        if let Link::Live(live) = &mut self.link {
            live.source.request_superblock(id);
        }
    }

    fn can_attach(&self) -> bool {
        true
    }

    fn attach(&mut self, socket: &Path) {
        self.due.clear();
        self.pace = Pace::default();
        let whom = Whom::Socket(socket.to_owned());
        self.wait(whom.words(), None);
        self.look(Seeker::new(whom), true);
    }

    fn reconnect(&mut self) {
        self.pace = Pace::default();
        match std::mem::replace(&mut self.link, Link::Idle) {
            // It is waited for: now is the time.
            Link::Waiting { seeker, .. } => self.look(seeker, false),
            Link::Looking(looking) => self.link = Link::Looking(looking),
            // A connection that is live here has said what makes no sense to the interface: it ends.
            Link::Idle | Link::Live(_) => {
                let Some(former) = self.former.clone() else {
                    return;
                };
                // Whoever has the name will do, also one that was there before.
                let former = Former { started_unix_ns: 0, ..former };
                self.due.clear();
                self.wait(format!("looking for '{}'", former.name), None);
                self.look(Seeker::new(Whom::Successor(former)), !self.follow);
            }
        }
    }
}

fn with_reason(words: String, reason: Option<String>) -> String {
    match reason {
        Some(reason) => format!("{words}; {reason}"),
        None => words,
    }
}
