//! The processor time that the agent may use: a small part of what its program may, whatever clients ask for.
//!
//! Time is saved as it passes, up to a little, and spent by rounds; whoever has spent more than was saved rests until that
//! is made up for. A round is never cut short, and no rest is longer than [`MOST_REST`]. So in any time t the agent uses at most
//! `t × processors / SHARE + processors × AHEAD` and one round; or, where heaps are so large that a round takes more than can be made up for
//! in that rest, a round and that rest in turn.

use std::time::{Duration, Instant};

/// The agent uses at most one part in this many of the processors' time.
const SHARE: u64 = 64;
/// What can be saved, for each processor: the first state of a viewer comes without a rest.
const AHEAD: Duration = Duration::from_millis(4);

/// The longest rest, so that no viewer takes the agent for dead.
const MOST_REST: Duration = Duration::from_secs(1);

/// What was saved.
#[derive(Debug)]
pub(crate) struct Allowance {
    processors: u64,
    /// Negative: spent before it was saved.
    saved_ns: i64,
    /// What the thread had used, in nanoseconds, and when that was.
    used_ns: u64,
    at: Instant,
}

impl Allowance {
    /// For a program that may use so many processors at once. The thread has used `used_ns` until `now`.
    pub(crate) fn new(processors: usize, now: Instant, used_ns: u64) -> Self {
        let processors = processors.clamp(1, 1 << 16) as u64;
        let mut allowance = Self { processors, saved_ns: 0, used_ns, at: now };
        allowance.saved_ns = allowance.most_ns();
        allowance
    }

    /// Accounts for what the thread has used until `now`; how long it must rest, if it must.
    pub(crate) fn settle(&mut self, now: Instant, used_ns: u64) -> Option<Duration> {
        let passed_ns = now.saturating_duration_since(self.at).as_nanos();
        let passed_ns = u64::try_from(passed_ns).unwrap_or(u64::MAX);
        let earned_ns = (passed_ns / SHARE).saturating_mul(self.processors);
        let spent_ns = used_ns.saturating_sub(self.used_ns);
        (self.at, self.used_ns) = (now, used_ns);
        self.saved_ns = self
            .saved_ns
            .saturating_add_unsigned(earned_ns)
            .saturating_sub_unsigned(spent_ns)
            .clamp(-self.most_owed_ns(), self.most_ns());
        let owed_ns = self.saved_ns.checked_neg().filter(|owed_ns| *owed_ns > 0)?;
        Some(Duration::from_nanos(owed_ns.unsigned_abs().saturating_mul(SHARE) / self.processors))
    }

    /// What a rest makes up for at most.
    fn most_owed_ns(&self) -> i64 {
        (MOST_REST * self.processors as u32 / SHARE as u32).as_nanos() as i64
    }

    fn most_ns(&self) -> i64 {
        (AHEAD * self.processors as u32).as_nanos() as i64
    }
}

#[cfg(test)]
mod tests {
    //! Aim: no pattern of rounds uses more than the share. Method: made-up clocks, on which rounds of any length are followed by
    //! the rest that is asked for.
    use super::*;

    /// Runs rounds of `round_us`, each followed by its rest and by `pause_us` more; the processor time used in `seconds`, and in the busiest
    /// second of them.
    fn used(processors: usize, round_us: u64, pause_us: u64, seconds: u64) -> (Duration, Duration) {
        let start = Instant::now();
        let mut allowance = Allowance::new(processors, start, 7);
        let (mut passed, mut used) = (Duration::ZERO, Duration::ZERO);
        let (mut second, mut before, mut most) = (1, Duration::ZERO, Duration::ZERO);
        while passed < Duration::from_secs(seconds) {
            let round = Duration::from_micros(round_us);
            passed += round;
            used += round;
            let rest = allowance.settle(start + passed, 7 + used.as_nanos() as u64);
            passed += rest.unwrap_or_default() + Duration::from_micros(pause_us);
            if passed >= Duration::from_secs(second) {
                most = most.max(used.saturating_sub(before));
                (second, before) = (second + 1, used);
            }
        }
        (used, most)
    }

    #[test]
    fn whoever_never_stops_gets_the_share() {
        for processors in [1, 2, 8] {
            for round_us in [1, 20, 700, 15_000] {
                let (used, _) = used(processors, round_us, 0, 20);
                let share = Duration::from_secs(20) * processors as u32 / SHARE as u32;
                let most = share + AHEAD * processors as u32 + Duration::from_micros(round_us);
                // Parts of nanoseconds are not saved.
                assert!(
                    used * 101 / 100 >= share && used <= most,
                    "{processors} {round_us}: {used:?}"
                );
            }
        }
    }

    #[test]
    fn no_rest_is_too_long() {
        let start = Instant::now();
        let mut allowance = Allowance::new(2, start, 0);
        for second in 1..10 {
            // Nothing is left to be made up for after it.
            let now = start + Duration::from_secs(second);
            assert_eq!(allowance.settle(now, second * 900_000_000), Some(MOST_REST));
        }
        assert_eq!(allowance.settle(start + Duration::from_secs(10), 8_100_000_000), None);
    }

    /// Saving for a second does not buy more than a moment.
    #[test]
    fn little_is_saved() {
        let (_, most) = used(1, 5_000, 3_000, 20);
        assert!(
            most <= Duration::from_secs(1) / SHARE as u32 + AHEAD + Duration::from_millis(5),
            "{most:?}"
        );
        let start = Instant::now();
        let mut allowance = Allowance::new(1, start, 0);
        let later = start + Duration::from_secs(3600);
        assert_eq!(allowance.settle(later, 0), None);
        assert_eq!(allowance.settle(later, 3_000_000), None);
        let rest = allowance.settle(later, 5_000_000);
        assert_eq!(rest, Some(Duration::from_millis(SHARE)));
    }

    #[test]
    fn whoever_asks_little_never_waits() {
        let start = Instant::now();
        let mut allowance = Allowance::new(1, start, 0);
        for second in 1..100 {
            let now = start + Duration::from_secs(second);
            assert_eq!(allowance.settle(now, second * 15_000_000), None);
        }
    }
}
