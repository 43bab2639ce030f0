//! Clock ticks in nanoseconds.

use crate::os;

/// Turns the allocator's clock ticks into nanoseconds, by measuring both since it was started.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start_ticks: u64,
    start_ns: u64,
}

/// Below this the ratio of the two clocks is too coarse to be used.
const MEASURABLE_NS: u64 = 1_000_000;

impl Clock {
    /// Starts measuring.
    #[must_use]
    pub fn start() -> Self {
        Self { start_ticks: os::ticks(), start_ns: os::monotonic_ns() }
    }

    /// The clock's ticks now.
    #[must_use]
    pub fn now_ticks() -> u64 {
        os::ticks()
    }

    /// Nanoseconds since the clock was started, of the system's monotonic clock.
    #[must_use]
    pub fn elapsed_ns(&self) -> u64 {
        os::monotonic_ns().saturating_sub(self.start_ns)
    }

    /// Reads both clocks once: what is compared with one moment shares its "now", and costs no further system call.
    #[must_use]
    pub fn now(&self) -> Moment {
        let ticks = os::ticks();
        Moment {
            ticks,
            elapsed_ticks: ticks.saturating_sub(self.start_ticks),
            elapsed_ns: self.elapsed_ns(),
        }
    }

    /// Nanoseconds between `ticks` and now: see [`Moment::age_ns`].
    #[must_use]
    pub fn age_ns(&self, ticks: u64) -> u64 {
        self.now().age_ns(ticks)
    }
}

/// One reading of a [`Clock`].
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    ticks: u64,
    elapsed_ticks: u64,
    elapsed_ns: u64,
}

impl Moment {
    /// Nanoseconds from the clock's start to this moment.
    #[must_use]
    pub fn elapsed_ns(&self) -> u64 {
        self.elapsed_ns
    }

    /// Nanoseconds between `ticks` and this moment: best effort, and 0 for later ticks or when the clock was started
    /// less than a millisecond before. Never less for earlier ticks than for later ones.
    #[must_use]
    pub fn age_ns(&self, ticks: u64) -> u64 {
        if self.elapsed_ns < MEASURABLE_NS || self.elapsed_ticks == 0 {
            return 0;
        }
        let age = u128::from(self.ticks.saturating_sub(ticks)) * u128::from(self.elapsed_ns);
        u64::try_from(age / u128::from(self.elapsed_ticks)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Aim: ages are nanoseconds. Method: sleep a known time; only a lower bound and a factor are asked for.
    #[test]
    fn ages_are_nanoseconds() {
        let clock = Clock::start();
        let ticks = Clock::now_ticks();
        std::thread::sleep(std::time::Duration::from_millis(50));
        let age = clock.age_ns(ticks);
        let elapsed = clock.elapsed_ns();
        assert!(age >= 45_000_000 && age <= elapsed + elapsed / 10, "{age} of {elapsed}");
        assert_eq!(clock.age_ns(u64::MAX), 0);
    }

    /// Aim: a moment stands still, and ages by it keep the order of their ticks. Method: adjoining ticks, closer than
    /// the time it takes to read the clock.
    #[test]
    fn ages_by_one_moment_keep_their_order() {
        let clock = Clock::start();
        let first = Clock::now_ticks();
        std::thread::sleep(std::time::Duration::from_millis(5));
        let moment = clock.now();
        let before = (moment.age_ns(first), moment.elapsed_ns());
        let ages: std::vec::Vec<u64> =
            (first..first + 1000).map(|ticks| moment.age_ns(ticks)).collect();
        assert!(ages.is_sorted_by(|earlier, later| earlier >= later), "{ages:?}");
        assert!(ages[999] > 4_000_000, "{ages:?}");
        assert_eq!((moment.age_ns(first), moment.elapsed_ns()), before);
    }
}
