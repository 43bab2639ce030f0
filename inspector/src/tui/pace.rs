//! When the terminal is drawn again.
//!
//! What a person does is drawn at once. What the source tells is drawn so seldom that drawing takes at most a
//! twentieth of the time, and not more than twice for each state: transitions come a hundred times a second from a
//! busy program, and nobody can read that. But a drawing that took long, since the terminal took no output for hours,
//! say, is not made up for: the next is two seconds later at most. What came last is always drawn in the end, and nothing
//! is when nothing has changed.

use std::time::{Duration, Instant};

/// Times that a drawing took between the end of it and the next.
const REST: u32 = 20;
/// Between two drawings at most, whatever the one before cost.
const LONGEST: Duration = Duration::from_secs(2);
/// Between two drawings, by the rate of states.
const LEAST: Duration = Duration::from_millis(20);
const MOST: Duration = Duration::from_millis(100);

/// What has been drawn, and what waits for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Not before, unless a person waits for it.
    next: Instant,
    is_wanted: bool,
}

impl Pace {
    /// Nothing has been drawn, and nothing waits.
    pub(super) fn new(now: Instant) -> Self {
        Self { next: now, is_wanted: false }
    }

    /// Something that is shown has changed.
    pub(super) fn want(&mut self) {
        self.is_wanted = true;
    }

    /// How long to wait for something else to happen before drawing; `None`: for ever, since nothing is to be drawn.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        self.is_wanted.then(|| self.next.saturating_duration_since(now))
    }

    /// Whether what has changed is to be drawn now, before anything else is taken in.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.is_wanted && self.next <= now
    }

    /// It was drawn from `start` to `end`, with `rate_hz` states a second.
    pub(super) fn drawn(&mut self, start: Instant, end: Instant, rate_hz: f64) {
        let half = Duration::try_from_secs_f64(0.5 / rate_hz).unwrap_or(MOST).clamp(LEAST, MOST);
        let cost = end.saturating_duration_since(start);
        let rest = cost.saturating_mul(REST).min(LONGEST);
        *self = Self { next: end + half.max(rest), is_wanted: false };
    }
}

#[cfg(test)]
mod tests {
    //! Aim: nothing waits for ever, nothing is drawn for nothing, and drawing stays cheap. Method: a clock made by hand.
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_has_changed_is_drawn_once() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert_eq!(pace.wait(start), None);
        pace.want();
        assert_eq!(pace.wait(start), Some(Duration::ZERO), "the first at once");
        pace.drawn(start, start + MS, 10.0);
        assert_eq!(pace.wait(start + MS), None);
        pace.want();
        assert_eq!(pace.wait(start + MS), Some(50 * MS));
        assert_eq!(pace.wait(start + 41 * MS), Some(10 * MS));
        assert!(!pace.is_due(start + 50 * MS) && pace.is_due(start + 51 * MS));
        assert_eq!(pace.wait(start + 500 * MS), Some(Duration::ZERO));
    }

    #[test]
    fn a_costly_picture_is_drawn_less_often_and_rates_have_bounds() {
        let start = Instant::now();
        let rests = |cost: Duration, rate_hz: f64| {
            let mut pace = Pace::new(start);
            pace.drawn(start, start + cost, rate_hz);
            pace.want();
            pace.wait(start + cost).expect("wanted")
        };
        assert_eq!(rests(30 * MS, 10.0), 600 * MS);
        assert_eq!(rests(3_600_000 * MS, 10.0), LONGEST, "a terminal that was stopped for an hour");
        assert_eq!(rests(MS, 50.0), LEAST);
        for slow in [0.1, 0.0, f64::NAN, -1.0] {
            assert_eq!(rests(MS, slow), MOST, "{slow}");
        }
    }
}
