//! Frames from the socket of a running program.
//!
//! One connection, never a second: a program that has ended does not come back under its process
//! id. The subscription starts with the first call of [`Source::poll`], so that nothing is sent
//! before somebody reads.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crate::connect::{ConnectError, Connection};
use crate::process;
use crate::source::{Source, SourceEvent};
use crate::target::subject;

/// Without a frame for so long, and for so many intervals, a program is silent.
const LEAST_SILENCE: Duration = Duration::from_secs(2);
const SILENT_INTERVALS: u32 = 3;
/// Between two looks at the resident bytes.
const PROCESS_INTERVAL: Duration = Duration::from_secs(1);
/// Rates that an agent knows; others it would bring into this range itself.
const RATE_HZ_RANGE: (f64, f64) = (1.0 / 60.0, 50.0);

/// The events of one connection.
#[derive(Debug)]
pub struct LiveSource {
    /// `None` once the connection has ended.
    connection: Option<Connection>,
    said_hello: bool,
    /// What is to be subscribed to before the next frame is read.
    wanted_interval: Option<Duration>,
    wanted_superblock: Option<u32>,
    next_process: Instant,
    silence: Silence,
}

impl LiveSource {
    /// Events of `connection`, with `rate_hz` states a second.
    #[must_use]
    pub fn new(connection: Connection, rate_hz: f64) -> Self {
        Self {
            connection: Some(connection),
            said_hello: false,
            wanted_interval: Some(interval_of(rate_hz)),
            wanted_superblock: None,
            next_process: Instant::now(),
            silence: Silence::new(Instant::now(), interval_of(rate_hz)),
        }
    }

    fn next_event(&mut self, timeout: Duration) -> Result<SourceEvent, ConnectError> {
        let Some(connection) = &mut self.connection else {
            // Whoever drives us may do so without a pause.
            thread::sleep(timeout);
            return Ok(SourceEvent::Quiet);
        };
        if !self.said_hello {
            self.said_hello = true;
            return Ok(SourceEvent::Connected(connection.hello().clone()));
        }
        if let Some(interval) = self.wanted_interval.take() {
            connection.subscribe(interval)?;
            self.silence.expect_every(Instant::now(), interval);
        }
        if let Some(id) = self.wanted_superblock.take() {
            connection.ask_for_superblock(id)?;
        }
        if Instant::now() >= self.next_process {
            self.next_process = Instant::now() + PROCESS_INTERVAL;
            return Ok(SourceEvent::Process {
                pid: connection.pid(),
                rss_bytes: connection.peer_pid().and_then(process::rss_bytes),
            });
        }
        Ok(match connection.receive(timeout)? {
            Some((kind, payload)) => {
                self.silence.broken(Instant::now());
                SourceEvent::Frame(kind, payload)
            }
            // Measured only after nothing was there to be read: a viewer that was slow itself
            // finds its frames waiting.
            None => self.silence.lasts(Instant::now()).map_or(SourceEvent::Quiet, |seconds| {
                let state = connection.peer_pid().and_then(process::state_letter);
                SourceEvent::Silent { seconds, stopped: matches!(state, Some('T' | 't')) }
            }),
        })
    }

    fn ended(&mut self, error: &ConnectError) -> SourceEvent {
        let Some(connection) = self.connection.take() else {
            return SourceEvent::Quiet;
        };
        let subject = subject(connection.pid(), &connection.hello().name);
        tracing::info!(%error, %subject, "connection ended");
        let path: PathBuf = connection.path().to_owned();
        SourceEvent::Gone(match error {
            ConnectError::Closed if is_running(&connection) => {
                format!("{subject} runs on, but its agent was stopped")
            }
            ConnectError::Closed => format!("{subject} has ended"),
            other => other.explain(&subject, &path),
        })
    }
}

impl Source for LiveSource {
    fn poll(&mut self, timeout: Duration) -> SourceEvent {
        match self.next_event(timeout) {
            Ok(event) => event,
            Err(error) => self.ended(&error),
        }
    }

    fn request_rate(&mut self, hz: f64) {
        self.wanted_interval = Some(interval_of(hz));
    }

    fn request_superblock(&mut self, id: u32) {
        self.wanted_superblock = Some(id);
    }
}

/// How long nothing has come, and when that is to be said.
#[derive(Clone, Copy, Debug)]
struct Silence {
    since: Instant,
    limit: Duration,
    next: Duration,
}

impl Silence {
    fn new(now: Instant, interval: Duration) -> Self {
        let limit = LEAST_SILENCE.max(interval * SILENT_INTERVALS);
        Self { since: now, limit, next: limit }
    }

    /// Frames are to come once an `interval` from now on; a silence that lasts already goes on.
    fn expect_every(&mut self, now: Instant, interval: Duration) {
        let since = if self.next > self.limit { self.since } else { now };
        *self = Self { since, ..Self::new(now, interval) };
    }

    fn broken(&mut self, now: Instant) {
        self.since = now;
        self.next = self.limit;
    }

    /// The whole seconds it has lasted, where that is long and was not said a second ago.
    fn lasts(&mut self, now: Instant) -> Option<u64> {
        let lasted = now.saturating_duration_since(self.since);
        if lasted < self.next {
            return None;
        }
        self.next = Duration::from_secs(lasted.as_secs() + 1);
        Some(lasted.as_secs())
    }
}

/// Whether the process still runs code. The kernel closes its sockets a moment before it is gone.
fn is_running(connection: &Connection) -> bool {
    const LAST_MOMENT: Duration = Duration::from_millis(50);
    let Some(pid) = connection.peer_pid() else {
        return false;
    };
    thread::sleep(LAST_MOMENT);
    process::state_letter(pid).is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

fn interval_of(rate_hz: f64) -> Duration {
    let (slowest, fastest) = RATE_HZ_RANGE;
    // A rate that is no number counts as the slowest.
    let rate = if rate_hz.is_nan() { slowest } else { rate_hz.clamp(slowest, fastest) };
    Duration::from_secs_f64(1.0 / rate)
}

#[cfg(test)]
mod tests {
    //! Aim: no rate gives an interval outside of what the protocol allows; silence is told from
    //! slowness, and said once a second.

    use super::*;

    #[test]
    fn silence_is_said_once_a_second_until_it_is_broken() {
        let start = Instant::now();
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut silence = Silence::new(start, Duration::from_millis(250));
        let said: Vec<_> = (0..50).filter_map(|step| silence.lasts(after(step * 100))).collect();
        assert_eq!(said, [2, 3, 4]);
        silence.broken(after(5000));
        assert_eq!(silence.lasts(after(6900)), None);
        assert_eq!(silence.lasts(after(7000)), Some(2));
        silence.expect_every(after(8000), Duration::from_millis(20));
        assert_eq!(silence.lasts(after(8000)), Some(3), "another rate is no sign of life");
        let mut slow = Silence::new(start, Duration::from_secs(10));
        assert_eq!(slow.lasts(after(29_900)), None);
        slow.expect_every(after(29_900), Duration::from_millis(250));
        assert_eq!(slow.lasts(after(30_000)), None);
        assert_eq!(slow.lasts(after(31_900)), Some(2));
    }

    #[test]
    fn intervals_stay_within_the_protocol() {
        assert_eq!(interval_of(4.0), Duration::from_millis(250));
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-300, 1e300] {
            let interval = interval_of(rate);
            assert!(interval >= Duration::from_millis(20), "{rate}: {interval:?}");
            assert!(interval <= Duration::from_secs(61), "{rate}: {interval:?}");
        }
    }
}
