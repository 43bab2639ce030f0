//! One client: its connection, what it asked for, and what it is owed.
//!
//! ```text
//!   connect ──► Greeting ──► Open ──► (gone)
//!                  │           │
//!                  └─ refused ─┴──► Closing ──► (gone)
//! ```
//!
//! | phase | ends by itself after |
//! |---|---|
//! | Greeting | 5 s without a complete greeting |
//! | Open | never; 5 s after the client has ended its side and is still owed something |
//! | Closing | 1 s: enough for the client to read why |
//!
//! A client that reads slowly gets its next update when it has read the last. One that takes nothing
//! for a whole interval keeps what is queued for it and loses whole states: `lost` counts them, and
//! the next thing it gets is a gap and a full state.

use std::io::{self, Read};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use interprocess::os::unix::uds_local_socket::Stream;
use lfalloc::observe::{RING_SLOTS, TransitionCursor};
use lfalloc_protocol::frame::MAX_REQUEST_BYTES;
use lfalloc_protocol::{FrameReader, HEADER_BYTES};

use crate::outgoing::Fed;
use crate::queue::Queue;
use crate::request::{self, Refusal, Request};

/// How long a client may take to greet.
const GREETING_TIME: Duration = Duration::from_secs(5);
/// How long a client that has ended its side may take to read what it is owed.
const DRAIN_TIME: Duration = Duration::from_secs(5);
/// How long a refused client may take to read why.
const CLOSING_TIME: Duration = Duration::from_secs(1);
/// Further requests are left in the socket while more than this waits to be sent.
const MAX_REPLY_BYTES: usize = 16 * 1024;
/// Transitions are sent at least this often, and more often while the ring fills faster: see
/// [`paced`].
const MAX_FEED_INTERVAL: Duration = Duration::from_millis(100);
/// Transitions are sent at most this often.
const MIN_FEED_INTERVAL: Duration = Duration::from_millis(10);

/// A place for a client: buffers that are made once, and a connection now and then.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) reader: FrameReader,
    pub(crate) queue: Queue,
    pub(crate) connection: Option<Connection>,
    /// Requests were left in the reader since the client was owed too much.
    stalled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Greeting,
    Open,
    /// Refused: what is queued is sent, then nothing.
    Closing,
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    pub(crate) phase: Phase,
    /// Minor version that the client speaks: it is sent no kinds of a later one.
    pub(crate) minor: u16,
    /// When the phase ends by itself.
    deadline: Option<Instant>,
    /// The client has ended its side: there is nothing more to read.
    input_ended: bool,
    /// We have ended our side.
    output_ended: bool,
    /// States sent.
    pub(crate) sequence: u64,
    /// The census that the client knows.
    pub(crate) have: Option<u64>,
    /// A full state is owed, however long it takes.
    pub(crate) wants_state: bool,
    /// A close look at this superblock is owed.
    pub(crate) wants_superblock: Option<u32>,
    /// States left out since the last gap was told.
    pub(crate) lost: u64,
    pub(crate) subscription: Option<Subscription>,
}

#[derive(Debug)]
pub(crate) struct Subscription {
    interval: Duration,
    pub(crate) due: Instant,
    /// The client has taken something since an update was last due.
    pub(crate) progressed: bool,
    pub(crate) feed: Option<Feed>,
}

/// A client's place in the transition ring.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) cursor: TransitionCursor,
    pub(crate) due: Instant,
    interval: Duration,
    /// Lost before they could be queued.
    pub(crate) missed: u64,
}

/// What [`Slot::next_request`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    Greeting { minor: u16 },
    Request(Request),
    Refused(Refusal),
}

impl Slot {
    pub(crate) fn new() -> Self {
        Self {
            reader: FrameReader::with_capacity(HEADER_BYTES + MAX_REQUEST_BYTES),
            queue: Queue::new(),
            connection: None,
            stalled: false,
        }
    }

    pub(crate) fn open(&mut self, stream: Stream, now: Instant) {
        self.connection = Some(Connection {
            stream,
            phase: Phase::Greeting,
            minor: 0,
            deadline: Some(now + GREETING_TIME),
            input_ended: false,
            output_ended: false,
            sequence: 0,
            have: None,
            wants_state: false,
            wants_superblock: None,
            lost: 0,
            subscription: None,
        });
    }

    /// Ends the connection and gives back what it used.
    pub(crate) fn close(&mut self) {
        self.connection = None;
        self.stalled = false;
        self.reader.clear();
        self.queue.release();
    }

    pub(crate) fn is_viewer(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.phase == Phase::Open)
    }

    /// Whether the next request may be looked at: everything the client is owed before it is
    /// queued, and little of that waits to be sent.
    fn accepts_requests(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| {
            connection.phase != Phase::Closing
                && !connection.is_owed()
                && self.queue.len() <= MAX_REPLY_BYTES
        })
    }

    /// Whether reading makes sense: there is somebody to read from and something to do with it.
    pub(crate) fn wants_input(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| {
            !connection.input_ended
                && (connection.phase == Phase::Closing || self.accepts_requests())
        })
    }

    /// Reads once. An error means that the client is gone.
    pub(crate) fn receive(&mut self, now: Instant) -> io::Result<()> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        let mut discarded = [0; 512];
        let space = match connection.phase {
            // Read, so that the end of the other side is seen, and thrown away.
            Phase::Closing => &mut discarded[..],
            _ => self.reader.space(),
        };
        match connection.stream.read(space) {
            Ok(0) => {
                connection.input_ended = true;
                connection.subscription = None;
                if connection.phase != Phase::Closing {
                    connection.deadline = Some(now + DRAIN_TIME);
                }
            }
            Ok(read) if connection.phase != Phase::Closing => self.reader.advance(read),
            Ok(_) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The next complete request, if it may be looked at now.
    pub(crate) fn next_request(&mut self) -> Option<Incoming> {
        self.stalled = !self.accepts_requests();
        if self.stalled {
            return None;
        }
        let greeting = self.connection.as_ref()?.phase == Phase::Greeting;
        Some(match self.reader.next() {
            Ok(None) => return None,
            Ok(Some((kind, payload))) if greeting => match request::check_greeting(kind, payload) {
                Ok(minor) => Incoming::Greeting { minor },
                Err(refusal) => Incoming::Refused(refusal),
            },
            Ok(Some((kind, payload))) => match request::parse(kind, payload) {
                Ok(request) => Incoming::Request(request),
                Err(refusal) => Incoming::Refused(refusal),
            },
            Err(_) => Incoming::Refused(Refusal::Malformed),
        })
    }

    /// Whether requests that were left in the reader may be looked at now.
    pub(crate) fn can_continue(&self) -> bool {
        self.stalled && self.accepts_requests()
    }

    /// Sends what the socket takes. An error means that the client is gone.
    pub(crate) fn send(&mut self) -> io::Result<()> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        let before = self.queue.len();
        self.queue.send(&connection.stream)?;
        if let Some(subscription) = &mut connection.subscription {
            subscription.progressed |= self.queue.len() < before;
        }
        if connection.phase == Phase::Closing && self.queue.is_empty() && !connection.output_ended {
            connection.output_ended = true;
            connection.stream.inner().shutdown(Shutdown::Write)?;
        }
        Ok(())
    }

    /// Whether the connection has nothing left to do.
    pub(crate) fn is_finished(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| {
            connection.input_ended
                && match connection.phase {
                    // No greeting can come any more.
                    Phase::Greeting => true,
                    Phase::Open => self.queue.is_empty() && !connection.is_owed() && !self.stalled,
                    Phase::Closing => connection.output_ended,
                }
        })
    }
}

impl Connection {
    pub(crate) fn greeted(&mut self, minor: u16) {
        self.phase = Phase::Open;
        self.minor = minor;
        if !self.input_ended {
            self.deadline = None;
        }
    }

    /// Whether an answer is owed that waits for the queue to be empty.
    fn is_owed(&self) -> bool {
        self.wants_state || self.wants_superblock.is_some()
    }

    /// What is queued, the reason last, is still sent.
    pub(crate) fn refuse(&mut self, now: Instant) {
        self.phase = Phase::Closing;
        self.deadline = Some(now + CLOSING_TIME);
        self.wants_state = false;
        self.wants_superblock = None;
        self.subscription = None;
    }

    /// When the phase ends by itself, if it does.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Starts or changes the subscription; the full state that comes first is owed at once.
    pub(crate) fn subscribe(
        &mut self,
        interval: Duration,
        transitions: bool,
        now: Instant,
        grid: &Grid,
    ) {
        let before = self.subscription.take().and_then(|subscription| subscription.feed);
        let feed = transitions.then(|| {
            before.unwrap_or_else(|| Feed {
                cursor: TransitionCursor::now(),
                due: now,
                interval: MAX_FEED_INTERVAL,
                missed: 0,
            })
        });
        self.wants_state = true;
        self.subscription =
            Some(Subscription { interval, due: grid.next(now, interval), progressed: true, feed });
    }
}

impl Subscription {
    /// Moves on to the next update.
    pub(crate) fn schedule(&mut self, now: Instant, grid: &Grid) {
        self.due = grid.next(now, self.interval);
    }

    /// Moves on to the next time for transitions, by what the last one brought.
    pub(crate) fn schedule_feed(&mut self, fed: Fed, now: Instant, grid: &Grid) {
        if let Some(feed) = &mut self.feed {
            feed.interval = paced(feed.interval, self.interval, fed);
            feed.due = grid.next(now, feed.interval);
        }
    }
}

/// The time between two readings of the ring, after one that brought `fed`.
///
/// | the reading | next interval |
/// |---|---|
/// | lost something, or more than half of the ring | half of it, [`MIN_FEED_INTERVAL`] at least |
/// | less than an eighth | twice as long, the slowest at most |
/// | between | the same |
///
/// The slowest is the client's own interval or [`MAX_FEED_INTERVAL`], whichever is shorter. Twice an
/// eighth is less than half: a steady rate comes to rest at one interval.
fn paced(interval: Duration, subscribed: Duration, fed: Fed) -> Duration {
    let interval = if fed.lost > 0 || fed.read > RING_SLOTS / 2 {
        (interval / 2).max(MIN_FEED_INTERVAL)
    } else if fed.read < RING_SLOTS / 8 {
        interval * 2
    } else {
        interval
    };
    interval.min(subscribed).min(MAX_FEED_INTERVAL)
}

/// Multiples of an interval since the agent started: clients of equal intervals are due together
/// and share one census.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    start: Instant,
}

impl Grid {
    pub(crate) fn new(start: Instant) -> Self {
        Self { start }
    }

    /// The first multiple after `now`.
    pub(crate) fn next(&self, now: Instant, interval: Duration) -> Instant {
        let interval_ns = interval.as_nanos().max(1);
        let since_ns = now.saturating_duration_since(self.start).as_nanos();
        let next_ns = (since_ns / interval_ns + 1) * interval_ns;
        self.start + Duration::from_nanos(u64::try_from(next_ns).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    //! Aim: equal intervals meet; the feed is as fast as the ring fills. Method: two clients that
    //! subscribe at different moments; a burst and its end.
    use super::*;

    #[test]
    fn equal_intervals_are_due_together() {
        let start = Instant::now();
        let grid = Grid::new(start);
        let interval = Duration::from_millis(50);
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(grid.next(at(0), interval), at(50));
        assert_eq!(grid.next(at(49), interval), at(50));
        assert_eq!(grid.next(at(50), interval), at(100));
        assert_eq!(grid.next(at(77), interval), grid.next(at(99), interval));
        assert_eq!(grid.next(at(77), interval * 2), at(100));
    }

    /// The intervals, µs, that readings of `feds` lead to.
    fn pace(from_ms: u64, subscribed_ms: u64, feds: &[Fed]) -> Vec<u64> {
        let mut interval = Duration::from_millis(from_ms);
        let subscribed = Duration::from_millis(subscribed_ms);
        let next = feds.iter().map(|fed| {
            interval = paced(interval, subscribed, *fed);
            interval.as_micros() as u64
        });
        next.collect()
    }

    #[test]
    fn the_feed_follows_the_ring() {
        let read = |read| Fed { read, ..Fed::default() };
        let (much, little) = (read(RING_SLOTS / 2 + 1), read(RING_SLOTS / 8 - 1));
        assert_eq!(pace(100, 1000, &[much; 5]), [50_000, 25_000, 12_500, 10_000, 10_000]);
        assert_eq!(pace(10, 1000, &[little; 5]), [20_000, 40_000, 80_000, 100_000, 100_000]);
        // One that was lost is enough, however little was read.
        assert_eq!(pace(100, 1000, &[Fed { lost: 1, ..little }]), [50_000]);
        // Between the two nothing changes.
        assert_eq!(pace(25, 1000, &[read(RING_SLOTS / 2), read(RING_SLOTS / 8)]), [25_000; 2]);
        // Never slower than the client's own interval, also when that has become shorter.
        assert_eq!(pace(10, 30, &[little; 3]), [20_000, 30_000, 30_000]);
        assert_eq!(pace(100, 20, &[read(RING_SLOTS / 2)]), [20_000]);
        assert_eq!(pace(100, 20, &[much; 2]), [20_000, 10_000]);
    }

    #[test]
    fn the_next_reading_is_due_by_what_the_last_one_brought() {
        let start = Instant::now();
        let grid = Grid::new(start);
        let feed = Feed {
            cursor: TransitionCursor::now(),
            due: start,
            interval: MAX_FEED_INTERVAL,
            missed: 0,
        };
        let interval = Duration::from_secs(1);
        let mut subscription =
            Subscription { interval, due: start, progressed: true, feed: Some(feed) };
        for due_ms in [50, 25] {
            subscription.schedule_feed(Fed { lost: 1, ..Fed::default() }, start, &grid);
            let due = subscription.feed.as_ref().map(|feed| feed.due);
            assert_eq!(due, Some(start + Duration::from_millis(due_ms)));
        }
    }
}
