//! The thread that re-emits: reads the ring like any viewer, and tells the subscriber.
//!
//! Every transition read is counted once: as the thread's own, emitted, or left out; every one that
//! could not be read as missed.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use lfalloc::observe::{Cause, Clock, RING_SLOTS, State, Transition, TransitionCursor, class_info};
use tracing::Level;

use super::limit::Limit;
use super::{Counters, TARGET};
use crate::identity::Uptime;

/// Transitions read at once.
const BATCH: usize = 256;
/// Readings in a row at most, before anything else is seen to: the whole ring.
const READINGS: usize = RING_SLOTS / BATCH;
/// Readings that bring nothing after which the ring is taken for read: a slot whose writer is at it
/// is given up at the third.
const LAST_READINGS: usize = 3;
/// Time between two looks at whether anybody wants events, while nobody does.
const UNWANTED_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two events of the same kind that say what is lacking.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Everything the thread works with.
#[derive(Debug)]
pub(super) struct Emission {
    cursor: TransitionCursor,
    batch: [Transition; BATCH],
    clock: Clock,
    uptime: Uptime,
    limit: Limit,
    counters: Arc<Counters>,
    left_out: Lacking,
    missed: Lacking,
}

/// What is to be said of transitions that were not emitted.
#[derive(Debug, Default)]
struct Lacking {
    /// Since it was last said.
    count: u64,
    said: Option<Instant>,
}

impl Emission {
    /// From the ring's newest end on.
    pub(super) fn new(limit: Limit, counters: Arc<Counters>) -> Self {
        Self {
            cursor: TransitionCursor::now(),
            batch: [Transition::NOTHING; BATCH],
            clock: Clock::start(),
            uptime: Uptime::read(),
            limit,
            counters,
            left_out: Lacking::default(),
            missed: Lacking::default(),
        }
    }

    /// Re-emits every `interval` until the other end of `stopped` is gone, and once more then.
    pub(super) fn run(&mut self, stopped: &Receiver<Infallible>, interval: Duration) {
        loop {
            let pause = if is_wanted() {
                self.re_emit(1);
                self.report(false);
                interval
            } else {
                self.cursor = TransitionCursor::now();
                interval.max(UNWANTED_INTERVAL)
            };
            if stopped.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
                break;
            }
        }
        if is_wanted() {
            self.re_emit(LAST_READINGS);
            self.report(true);
        }
    }

    /// Reads and re-emits until the ring has brought nothing `readings` times.
    fn re_emit(&mut self, readings: usize) {
        let mut nothing = 0;
        for _ in 0..READINGS + readings {
            let (read, lost) = self.cursor.read(&mut self.batch);
            add(&self.counters.missed, lost);
            self.missed.count += lost;
            if read > 0 {
                self.tell(read);
            } else {
                nothing += 1;
                if nothing == readings {
                    break;
                }
            }
        }
    }

    /// Re-emits the first `read` of the batch, as far as they are the program's and the limit allows.
    fn tell(&mut self, read: usize) {
        let now = Instant::now();
        self.limit.refill(now);
        let uptime_ns = self.uptime.at(now);
        let moment = self.clock.now();
        for transition in &self.batch[..read] {
            if transition.by_observer {
                add(&self.counters.own, 1);
            } else if self.limit.take() {
                emit(transition, uptime_ns.saturating_sub(moment.age_ns(transition.ticks)));
                add(&self.counters.emitted, 1);
            } else {
                add(&self.counters.left_out, 1);
                self.left_out.count += 1;
            }
        }
    }

    /// Says what is lacking: once an interval, and what remains in the end.
    fn report(&mut self, last: bool) {
        let now = Instant::now();
        if let Some(left_out) = self.left_out.due(now, last) {
            tracing::warn!(target: TARGET, left_out, "transitions left out by the limit");
        }
        if let Some(missed) = self.missed.due(now, last) {
            tracing::warn!(target: TARGET, missed, "transitions missed");
        }
    }
}

impl Lacking {
    /// How many are to be spoken of now; they are then taken for told.
    fn due(&mut self, now: Instant, last: bool) -> Option<u64> {
        let early = self
            .said
            .is_some_and(|said| now.saturating_duration_since(said) < REPORT_INTERVAL && !last);
        if self.count == 0 || early {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

/// Whether a subscriber wants transitions now.
fn is_wanted() -> bool {
    tracing::enabled!(target: TARGET, Level::DEBUG)
}

fn add(counter: &AtomicU64, count: u64) {
    // Relaxed: a counter.
    counter.fetch_add(count, Ordering::Relaxed);
}

fn emit(transition: &Transition, uptime_ns: u64) {
    let (cause, paragraph) = procedure(transition.cause);
    tracing::debug!(
        target: TARGET,
        superblock = transition.superblock,
        class = transition.class,
        block_bytes = class_info(transition.class.into()).block_bytes,
        from = name(transition.from),
        to = name(transition.to),
        cause,
        paragraph,
        tag = transition.tag,
        uptime_ns,
        "transition"
    );
}

fn name(state: State) -> &'static str {
    match state {
        State::Active => "ACTIVE",
        State::Full => "FULL",
        State::Partial => "PARTIAL",
        State::Empty => "EMPTY",
    }
}

/// A procedure as the inspector names it, and its paragraph in the patent; none where it is ours.
fn procedure(cause: Cause) -> (&'static str, Option<&'static str>) {
    match cause {
        Cause::MallocFromActive => ("MallocFromActive", Some("[0059]")),
        Cause::UpdateActive => ("UpdateActive", Some("[0063]")),
        Cause::MallocFromPartial => ("MallocFromPartial", Some("[0069]")),
        Cause::MallocFromNewSb => ("MallocFromNewSB", Some("[0073]")),
        Cause::Free => ("free", Some("[0046]")),
        Cause::FreeBatch => ("free (batch)", None),
        Cause::Purge => ("purge", None),
    }
}

#[cfg(test)]
mod tests {
    //! Aim: what is lacking is said at once, then once an interval, and in the end; and nothing is
    //! said twice. Method: times made up.
    use super::*;

    #[test]
    fn what_is_lacking_is_said_once_an_interval() {
        let start = Instant::now();
        let mut lacking = Lacking::default();
        let mut due = |added, ms, last| {
            lacking.count += added;
            lacking.due(start + Duration::from_millis(ms), last)
        };
        assert_eq!(due(0, 0, false), None);
        assert_eq!(due(5, 100, false), Some(5));
        assert_eq!(due(2, 200, false), None);
        assert_eq!(due(3, 1099, false), None);
        assert_eq!(due(0, 1100, false), Some(5));
        assert_eq!(due(0, 9000, false), None);
        assert_eq!(due(1, 9001, false), Some(1));
        assert_eq!(due(1, 9002, true), Some(1));
        assert_eq!(due(0, 9003, true), None);
    }
}
