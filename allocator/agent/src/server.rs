//! The agent's thread: asleep until somebody has something to say, then one round.
//!
//! One round: read requests, answer them, take one census for all clients that are due, feed
//! transitions, send what the sockets take. Nothing in a round waits for a client, and nothing in
//! it allocates from the program's heap: slots and messages are made once, and what grows with the
//! heap lies in mapped pages.
//!
//! | bound | value |
//! |---|---|
//! | viewers | 16; further ones are refused after their greeting |
//! | connections, those that greet or are being refused included | 24 |
//! | a client's queue | one state and some replies |
//! | close looks that a client is owed | one; its further requests wait |
//! | share of the time spent on censuses | a quarter |
//! | processor time of all this together | a sixty-fourth of that of the processors that the program may use ([`Allowance`]) |

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use interprocess::os::unix::uds_local_socket::Listener;
use lfalloc_protocol::message::Kind;

use crate::allowance::Allowance;
use crate::client::{Connection, Grid, Incoming, Phase, Slot};
use crate::os;
use crate::outgoing::{AgentFigures, Knows, Outgoing, SINCE_1_1};
use crate::queue::{Full, Queue};
use crate::registry::Registry;
use crate::request::{Refusal, Request};

/// Viewers at a time.
pub(crate) const VIEWERS: usize = 16;
/// Connections at a time.
pub(crate) const SLOTS: usize = 24;
/// How long censuses rest after the system gave no memory for one.
const CENSUS_PAUSE: Duration = Duration::from_millis(100);
/// A census that took t is followed by at least this times t without one.
const CENSUS_REST: u32 = 3;

/// Everything the thread works with.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) listener: Listener,
    pub(crate) wake_up: OwnedFd,
    /// False after the wake-up descriptor was ready without a stop: somebody else's signal, which
    /// is not ours to take away, keeps it ready. The flag is then looked at periodically.
    pub(crate) wake_up_works: bool,
    pub(crate) slots: [Slot; SLOTS],
    registry: Registry,
    pub(crate) outgoing: Outgoing,
    grid: Grid,
    pub(crate) accept_after: Option<Instant>,
    pub(crate) census_after: Instant,
    allowance: Allowance,
}

impl Server {
    pub(crate) fn new(
        stop: Arc<AtomicBool>,
        listener: Listener,
        wake_up: OwnedFd,
        registry: Registry,
        outgoing: Outgoing,
        processors: usize,
    ) -> Self {
        let now = Instant::now();
        Self {
            stop,
            listener,
            wake_up,
            wake_up_works: true,
            slots: std::array::from_fn(|_| Slot::new()),
            registry,
            outgoing,
            grid: Grid::new(now),
            accept_after: None,
            census_after: now,
            allowance: Allowance::new(processors, now, os::thread_cpu_ns()),
        }
    }

    /// Serves until it is told to stop.
    pub(crate) fn run(&mut self) {
        // Acquire: pairs with the Release of the guard; nothing but the flag itself is handed over.
        while !self.stop.load(Ordering::Acquire) {
            let now = Instant::now();
            self.expire(now);
            self.answer_requests(now);
            self.send();
            self.send_states(now);
            self.send_details();
            self.send_transitions(now);
            self.send();
            if let Some(rest) = self.allowance.settle(Instant::now(), os::thread_cpu_ns()) {
                self.rest(rest);
            }
            self.wait();
        }
    }

    /// Ends the connections whose time is up.
    fn expire(&mut self, now: Instant) {
        for index in 0..SLOTS {
            let slot = &mut self.slots[index];
            let Some(connection) = &slot.connection else {
                continue;
            };
            if connection.deadline().is_some_and(|deadline| deadline <= now) {
                match connection.phase {
                    Phase::Greeting => self.refuse(index, Refusal::Silent, now),
                    Phase::Open | Phase::Closing => slot.close(),
                }
            }
        }
    }

    fn answer_requests(&mut self, now: Instant) {
        for index in 0..SLOTS {
            while let Some(incoming) = self.slots[index].next_request() {
                match incoming {
                    Incoming::Greeting { minor } => self.greet(index, minor, now),
                    Incoming::Request(request) => self.answer(index, request, now),
                    Incoming::Refused(refusal) => self.refuse(index, refusal, now),
                }
            }
            if self.slots[index].is_finished() {
                self.slots[index].close();
            }
        }
    }

    fn greet(&mut self, index: usize, minor: u16, now: Instant) {
        if self.viewers() >= VIEWERS {
            self.refuse(index, Refusal::Busy { viewers: VIEWERS }, now);
            return;
        }
        let slot = &mut self.slots[index];
        let Some(connection) = &mut slot.connection else {
            return;
        };
        connection.greeted(minor);
        if self.outgoing.hello(&mut slot.queue, &self.registry).is_err() {
            slot.close();
        }
    }

    fn answer(&mut self, index: usize, request: Request, now: Instant) {
        let slot = &mut self.slots[index];
        let Some(connection) = &mut slot.connection else {
            return;
        };
        match request {
            Request::Totals => {
                if Outgoing::totals(&mut slot.queue, &self.registry).is_err() {
                    slot.close();
                }
            }
            Request::State => connection.wants_state = true,
            Request::Subscribe { interval, transitions } => {
                connection.subscribe(interval, transitions, now, &self.grid);
            }
            Request::Unsubscribe => connection.subscription = None,
            // A viewer of version 1.0 would not know the answer.
            Request::Superblock { id } if connection.minor >= SINCE_1_1 => {
                connection.wants_superblock = Some(id);
            }
            Request::Superblock { .. } | Request::Skipped => {}
        }
    }

    pub(crate) fn refuse(&mut self, index: usize, refusal: Refusal, now: Instant) {
        let slot = &mut self.slots[index];
        let Some(connection) = &mut slot.connection else {
            return;
        };
        connection.refuse(now);
        if slot.queue.push(Kind::REFUSED, self.outgoing.refused(refusal)).is_err() {
            slot.close();
        }
    }

    /// Sends the state to those who are due and can take it, and counts it as lost for those who
    /// are due and have taken nothing since they were due before.
    fn send_states(&mut self, now: Instant) {
        let mut somebody = false;
        for slot in &mut self.slots {
            let Some(connection) = &mut slot.connection else {
                continue;
            };
            let idle = slot.queue.is_empty();
            let Some(subscription) = &mut connection.subscription else {
                somebody |= connection.wants_state && idle;
                continue;
            };
            if subscription.due <= now && !idle {
                // An update brings all that changed, however late it comes: one that is put off for
                // a client that is reading loses nothing.
                if !std::mem::take(&mut subscription.progressed) {
                    connection.lost += 1;
                    connection.have = None;
                }
                subscription.schedule(now, &self.grid);
            }
            somebody |= idle && is_due(connection, now);
        }
        if !somebody || now < self.census_after {
            return;
        }
        let is_asked_for = self
            .slots
            .iter()
            .any(|slot| slot.connection.as_ref().is_some_and(|connection| connection.wants_state));
        let taken = self.registry.take(is_asked_for);
        let end = Instant::now();
        if taken {
            self.census_after = end + (end - now) * CENSUS_REST;
            self.send_census(now);
        } else {
            self.census_after = end + CENSUS_PAUSE;
        }
    }

    fn send_census(&mut self, now: Instant) {
        let figures = self.figures();
        for slot in &mut self.slots {
            let Some(connection) = &mut slot.connection else {
                continue;
            };
            if !slot.queue.is_empty() || !is_due(connection, now) {
                continue;
            }
            let have = if connection.wants_state { None } else { connection.have };
            let result = announce(&mut slot.queue, connection.lost).and_then(|()| {
                let sequence = connection.sequence + 1;
                let viewer = Knows { minor: connection.minor, have };
                self.outgoing.state(&mut slot.queue, &self.registry, viewer, sequence, figures)
            });
            if result.is_ok() {
                connection.sequence += 1;
                connection.have = Some(self.registry.number);
                connection.wants_state = false;
                connection.lost = 0;
            } else {
                // No memory for the queue: tried again a little later.
                slot.queue.truncate(0);
                connection.have = None;
                connection.lost += 1;
                self.census_after = now + CENSUS_PAUSE;
            }
            if let Some(subscription) = &mut connection.subscription {
                subscription.schedule(now, &self.grid);
            }
        }
    }

    /// Sends close looks to those who asked for one, each onto an empty queue and after a state that
    /// is due: one at a time, and whoever asks for many gets its updates all the same.
    fn send_details(&mut self) {
        for slot in &mut self.slots {
            let Some(connection) = &mut slot.connection else {
                continue;
            };
            if !slot.queue.is_empty() {
                continue;
            }
            let Some(id) = connection.wants_superblock.take() else {
                continue;
            };
            if self.outgoing.detail(&mut slot.queue, &self.registry, id, connection.minor).is_err()
            {
                slot.close();
            }
        }
    }

    fn send_transitions(&mut self, now: Instant) {
        for slot in &mut self.slots {
            let Some(connection) = &mut slot.connection else {
                continue;
            };
            // The first state comes first.
            if connection.have.is_none() {
                continue;
            }
            let Some(subscription) = &mut connection.subscription else {
                continue;
            };
            let Some(feed) = &mut subscription.feed else {
                continue;
            };
            // While something waits to be sent, transitions stay in the ring, which overwrites them
            // in time; they follow as soon as the queue is empty.
            if feed.due > now || !slot.queue.is_empty() {
                continue;
            }
            let found = self.outgoing.transitions(
                &mut slot.queue,
                &self.registry,
                &mut feed.cursor,
                feed.missed,
            );
            feed.missed = found.missed;
            subscription.schedule_feed(found, now, &self.grid);
        }
    }

    fn send(&mut self) {
        for slot in &mut self.slots {
            if slot.send().is_err() || slot.is_finished() {
                slot.close();
            }
        }
    }

    fn viewers(&self) -> usize {
        self.slots.iter().filter(|slot| slot.is_viewer()).count()
    }

    fn figures(&self) -> AgentFigures {
        let queues: usize = self.slots.iter().map(|slot| slot.queue.bytes()).sum();
        AgentFigures {
            cpu_ns: os::thread_cpu_ns(),
            bytes: (self.registry.bytes() + queues) as u64,
            viewers: self.viewers() as u32,
        }
    }
}

/// Whether a client that can take a state is to get one now.
pub(crate) fn is_due(connection: &Connection, now: Instant) -> bool {
    connection.wants_state
        || connection
            .subscription
            .as_ref()
            .is_some_and(|subscription| subscription.due <= now || connection.lost > 0)
}

/// Tells of what was left out, if something was.
fn announce(queue: &mut Queue, lost: u64) -> Result<(), Full> {
    if lost == 0 { Ok(()) } else { Outgoing::gap(queue, lost) }
}
