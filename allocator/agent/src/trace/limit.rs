//! How many events there may be: a bucket that fills with time, and of which each event takes.

use std::time::Instant;

/// Of credit, one event.
const EVENT: u64 = 1_000_000_000;

/// Between any two moments, at most `burst` events and `per_second` for each second between them.
#[derive(Debug)]
pub(super) struct Limit {
    per_second: u64,
    /// The most credit, in billionths of an event.
    full: u64,
    credit: u64,
    refilled: Instant,
}

impl Limit {
    /// A full bucket.
    pub(super) fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let full = u64::from(burst) * EVENT;
        Self { per_second: u64::from(per_second), full, credit: full, refilled: now }
    }

    /// Adds what has fallen due.
    pub(super) fn refill(&mut self, now: Instant) {
        let since_ns = now.saturating_duration_since(self.refilled).as_nanos();
        // Nanoseconds × events a second are billionths of an event: nothing is rounded away.
        let due = u64::try_from(since_ns).unwrap_or(u64::MAX).saturating_mul(self.per_second);
        self.credit = self.credit.saturating_add(due).min(self.full);
        self.refilled = self.refilled.max(now);
    }

    /// Whether there may be an event now; it is then taken for made.
    pub(super) fn take(&mut self) -> bool {
        let left = self.credit.checked_sub(EVENT);
        self.credit = left.unwrap_or(self.credit);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    //! Aim: never more than burst and rate allow, and no less than they promise. Method: times made
    //! up.
    use super::*;
    use std::time::Duration;

    /// How many of `wanted` events there may be.
    fn taken(limit: &mut Limit, wanted: u32) -> u32 {
        (0..wanted).map(|_| u32::from(limit.take())).sum()
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut limit = Limit::new(100, 30, start);
        assert_eq!(taken(&mut limit, 50), 30);
        limit.refill(at(9));
        assert_eq!(taken(&mut limit, 50), 0);
        limit.refill(at(10));
        assert_eq!(taken(&mut limit, 50), 1);
        limit.refill(at(60));
        assert_eq!(taken(&mut limit, 3), 3);
        // The clock may seem to stand still or to run backwards.
        limit.refill(at(20));
        limit.refill(at(60));
        assert_eq!(taken(&mut limit, 50), 2);
        limit.refill(at(60_000));
        assert_eq!(taken(&mut limit, 50), 30);
    }

    /// Refilled in odd pieces it comes to the same.
    #[test]
    fn nothing_is_rounded_away() {
        let start = Instant::now();
        let mut limit = Limit::new(7, 1, start);
        assert!(limit.take());
        let mut events = 0;
        for step in 1..=10_000_000 / 37 {
            limit.refill(start + Duration::from_micros(step * 37));
            events += taken(&mut limit, 1);
        }
        assert_eq!(events, 69, "ten seconds at 7 a second, less one microsecond step");
    }

    #[test]
    fn the_largest_figures_do_not_overflow() {
        let start = Instant::now();
        let mut limit = Limit::new(u32::MAX, u32::MAX, start);
        assert!(limit.take());
        limit.refill(start + Duration::from_secs(1_000_000));
        assert_eq!(limit.credit, limit.full);
    }
}
