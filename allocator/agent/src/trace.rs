//! Superblock transitions as [`tracing`] events in the program's own log; the feature `trace`.
//!
//! ```no_run
//! let _trace = lfalloc_agent::trace::start()?;   // until it is dropped
//! # Ok::<(), lfalloc_agent::trace::Error>(())
//! ```
//!
//! It needs no agent and no viewer, and takes nothing from them. All events have the target
//! [`TARGET`]:
//!
//! | event | level | fields |
//! |---|---|---|
//! | `transition` | DEBUG | `superblock`, `class`, `block_bytes`, `from`, `to`, `cause`, `paragraph` (of the patent, where it has one), `tag`, `uptime_ns` (of the process) |
//! | `transitions left out by the limit` | WARN | `left_out`: how many since the last such event |
//! | `transitions missed` | WARN | `missed`: overwritten in the ring before they were read, or dropped by their writers |
//!
//! Events come in the order in which the transitions were recorded; `tag` has the last word on the
//! order of those of one superblock. Each of the last two comes at most once a second.
//!
//! # What it promises the program
//!
//! | | |
//! |---|---|
//! | threads | one of its own: a subscriber that is slow or blocks holds up nobody else, and the ring is overwritten meanwhile (`missed`) |
//! | processor | the ring is read every 100 ms ([`Options::interval`]), and nothing else is done while nothing happens; while no subscriber wants DEBUG events of the target, once a second |
//! | amount | [`Options::per_second`] events after a burst of [`Options::burst`] at most, and the two that say what is lacking |
//! | signals | all are blocked in the thread |
//! | `fork` | the child has no such thread, and dropping its copy of the guard does nothing there; it may call [`start`] for one of its own |
//! | failure | a subscriber that panics ends the thread, not the program |
//!
//! # It does not feed itself
//!
//! A subscriber allocates, and so causes transitions. Those of the thread that re-emits are marked in
//! the ring ([`lfalloc::observe::Observer`]), counted ([`Counts::own`]) and not re-emitted: the
//! events of one superblock need not join up. Viewers see them as any others.
//!
//! What a subscriber hands to *another* thread, which frees it, is beyond that: those transitions are
//! the other thread's, and each event may cause further ones without end. The limit bounds how many;
//! choose it accordingly, or a writer that works in the thread of the event.

mod emission;
mod limit;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use lfalloc::observe::Observer;

use crate::os::SignalsBlocked;
use emission::Emission;
use limit::Limit;

/// The target of all events.
pub const TARGET: &str = "lfalloc::transition";
/// The thread's name, at most 15 bytes.
const THREAD_NAME: &str = "lfalloc-trace";
/// How long stopping waits for the thread.
const STOP_TIME: Duration = Duration::from_secs(2);
/// Shortest and longest time between two readings of the ring.
const INTERVALS: [Duration; 2] = [Duration::from_millis(1), Duration::from_secs(10)];

/// Starts to re-emit transitions with [`Options::new`], from now on.
///
/// The subscriber may be set before or after.
///
/// # Errors
/// What failed; the program can go on without.
pub fn start() -> Result<Trace, Error> {
    Options::new().start()
}

/// How transitions are to be re-emitted.
#[derive(Clone, Debug)]
pub struct Options {
    per_second: u32,
    burst: u32,
    interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { per_second: 1000, burst: 1000, interval: Duration::from_millis(100) }
    }
}

impl Options {
    /// What [`start`] uses: 1,000 events a second, as many in a burst, a reading every 100 ms.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Events a second in the long run, at least 1.
    #[must_use]
    pub fn per_second(mut self, events: u32) -> Self {
        self.per_second = events.max(1);
        self
    }

    /// Events at once after a time without any, at least 1. What falls due between two readings and
    /// exceeds this is left out as well.
    #[must_use]
    pub fn burst(mut self, events: u32) -> Self {
        self.burst = events.max(1);
        self
    }

    /// Time between two readings of the ring, 1 ms to 10 s. The ring holds
    /// [`lfalloc::observe::RING_SLOTS`] transitions; what is overwritten between two readings is
    /// missed.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval.clamp(INTERVALS[0], INTERVALS[1]);
        self
    }

    /// Starts to re-emit transitions, from now on.
    ///
    /// # Errors
    /// What failed; the program can go on without.
    pub fn start(self) -> Result<Trace, Error> {
        let counters = Arc::new(Counters::default());
        let (stop, stopped) = channel();
        let (report, ended) = sync_channel(1);
        let thread = {
            let counters = Arc::clone(&counters);
            let _blocked = SignalsBlocked::new().map_err(Error::Thread)?;
            Builder::new()
                .name(THREAD_NAME.to_owned())
                .spawn(move || {
                    let Some(observer) = Observer::claim() else {
                        // The starter waits for it.
                        let _ = report.send(false);
                        return;
                    };
                    let limit = Limit::new(self.per_second, self.burst, Instant::now());
                    let mut emission = Emission::new(limit, counters);
                    let _ = report.send(true);
                    // The subscriber is not ours, and may panic.
                    let emit = AssertUnwindSafe(|| emission.run(&stopped, self.interval));
                    drop(panic::catch_unwind(emit));
                    // Another start may follow as soon as the guard has seen the end of `report`.
                    drop(observer);
                    drop(report);
                })
                .map_err(Error::Thread)?
        };
        match ended.recv() {
            Ok(true) => Ok(Trace {
                pid: std::process::id(),
                counters,
                running: Some(Running { thread, stop, ended }),
            }),
            Ok(false) => {
                join(thread);
                Err(Error::AlreadyStarted)
            }
            Err(_) => {
                join(thread);
                Err(Error::Thread(io::Error::other("it ended at once")))
            }
        }
    }
}

/// Re-emits transitions until it is dropped.
///
/// Dropping it re-emits what is in the ring by then, within the limit, and ends the thread. It waits
/// for the subscriber for two seconds at most; should the thread not end by then it is left behind,
/// and ends when the subscriber lets it.
#[derive(Debug)]
#[must_use = "nothing is re-emitted any more when this is dropped"]
pub struct Trace {
    pid: u32,
    counters: Arc<Counters>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    thread: JoinHandle<()>,
    /// Nothing is ever sent; its end is the sign to stop.
    stop: Sender<Infallible>,
    /// Closed by the thread when it has ended.
    ended: Receiver<bool>,
}

impl Trace {
    /// What became of the transitions read so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        // Relaxed: counters publish nothing.
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { emitted, left_out, missed, own } = &*self.counters;
        Counts {
            emitted: read(emitted),
            left_out: read(left_out),
            missed: read(missed),
            own: read(own),
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        if std::process::id() == self.pid {
            running.stop();
        } else {
            // In a forked child: the thread does not exist.
            std::mem::forget(running);
        }
    }
}

impl Running {
    fn stop(self) {
        let Self { thread, stop, ended } = self;
        drop(stop);
        // Nothing more is reported: either the channel is closed, or the time is up.
        if ended.recv_timeout(STOP_TIME) == Err(RecvTimeoutError::Disconnected) {
            join(thread);
        }
    }
}

/// Waits for a thread that has nothing left to do.
fn join(thread: JoinHandle<()>) {
    // It catches its panics.
    let _ = thread.join();
}

/// What became of transitions since the start. Their sum is what was recorded by then, but for what
/// was recorded while no subscriber wanted any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Re-emitted.
    pub emitted: u64,
    /// Left out because of the limit.
    pub left_out: u64,
    /// Overwritten before they were read, or dropped by their writers; marked ones among them.
    pub missed: u64,
    /// Caused by the thread that re-emits.
    pub own: u64,
}

/// [`Counts`] as the thread keeps them.
#[derive(Debug, Default)]
struct Counters {
    emitted: AtomicU64,
    left_out: AtomicU64,
    missed: AtomicU64,
    own: AtomicU64,
}

/// Why transitions are not re-emitted: what failed and what to do about it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A thread of this process re-emits them, or is an [`Observer`] for another reason.
    AlreadyStarted,
    /// The system gave no thread, or the thread ended before it could say why.
    Thread(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyStarted => f.write_str(
                "a thread of this process re-emits lfalloc's transitions already: one is enough for \
                 every subscriber; drop the first guard before another start",
            ),
            Self::Thread(source) => write!(
                f,
                "no thread to re-emit lfalloc's transitions ({source}): raise the limit of processes \
                 (ulimit -u) or of memory (ulimit -v)",
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::AlreadyStarted => None,
            Self::Thread(source) => Some(source),
        }
    }
}
