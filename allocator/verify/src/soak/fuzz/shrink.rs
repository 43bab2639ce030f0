//! The shortest sequence that still fails: first its shortest beginning, then without whatever can be left out.
//!
//! Every try is a process of its own, since what fails may have overwritten anything.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Kept, REPLAY, SEED, WHOLE, described};
use crate::soak::supervisor::{self, Outcome, Setting};

/// In the threads that the sequence had.
pub(super) const AT_ONCE: &str = "at-once";
/// In one thread, each time the same.
const IN_TURN: &str = "in-turn";

/// How long all tries may take.
const TIME: Duration = Duration::from_secs(120);
/// How often a sequence of several threads is played before it counts as one that does not fail.
const TRIES: usize = 8;
/// Operations that are shown at most.
const SHOWN: usize = 40;

struct Shrinking<'a> {
    seed: u64,
    how: &'static str,
    tries: usize,
    environment: &'static [(&'static str, &'static str)],
    setting: &'a Setting,
    end: Instant,
    said: String,
    /// What is looked for; `None`: any failure.
    kind: Option<String>,
    played: usize,
}

impl Shrinking<'_> {
    fn fails(&mut self, kept: &Kept) -> bool {
        let mut ranges = String::new();
        for (from, to) in kept {
            let comma = if ranges.is_empty() { "" } else { "," };
            let _ = write!(ranges, "{comma}{from}-{to}");
        }
        let arguments =
            ["--child", REPLAY, &self.seed.to_string(), self.how, &ranges].map(str::to_owned);
        for _ in 0..self.tries {
            self.played += 1;
            let Ok((child, board)) = supervisor::start(&arguments, self.environment, self.setting)
            else {
                return false;
            };
            let ended = supervisor::watch(child, board, self.setting, |_| {});
            if let Ok(Some(said)) = ended
                && self.kind.as_ref().is_none_or(|wanted| *wanted == kind(&said))
            {
                self.said = said;
                return true;
            }
        }
        false
    }

    fn has_time(&self) -> bool {
        Instant::now() < self.end
    }

    /// The shortest beginning that fails.
    fn beginning(&mut self) -> u64 {
        let (mut passes, mut fails) = (0, WHOLE.1);
        while fails - passes > 1 && self.has_time() {
            let middle = passes.midpoint(fails);
            if self.fails(&vec![(0, middle)]) {
                fails = middle;
            } else {
                passes = middle;
            }
        }
        fails
    }

    /// Without what can be left out: halves first, then ever smaller pieces.
    fn without(&mut self, length: u64) -> Vec<u64> {
        let mut left: Vec<u64> = (0..length).collect();
        let mut piece = left.len().div_ceil(2);
        loop {
            let mut from = 0;
            while from < left.len() && self.has_time() {
                let mut fewer = left.clone();
                fewer.drain(from..(from + piece).min(left.len()));
                if !fewer.is_empty() && self.fails(&ranges(&fewer)) {
                    left = fewer;
                } else {
                    from += piece;
                }
            }
            if piece == 1 || !self.has_time() {
                return left;
            }
            piece = piece.div_ceil(2);
        }
    }
}

/// What a failure says, without where and with what: another one is not shrunk to.
fn kind(said: &str) -> String {
    let what = said.rsplit(": ").next().unwrap_or_default();
    let words = what.split(' ').filter(|word| !word.contains(|char: char| char.is_ascii_digit()));
    words.collect::<Vec<_>>().join(" ")
}

fn ranges(places: &[u64]) -> Kept {
    places
        .chunk_by(|one, next| one + 1 == *next)
        .map(|run| (run[0], run[0] + run.len() as u64))
        .collect()
}

/// What is known of a failure of a soak that fuzzes: the seed, and the shortest sequence that fails. `None`: it is none.
#[must_use]
pub fn shrink(outcome: &Outcome, setting: &Setting) -> Option<String> {
    let seed = outcome.board.figures[SEED].load(Ordering::Relaxed).checked_sub(1)?;
    outcome.failure.as_ref().filter(|_| outcome.soak.name.starts_with("fuzz"))?;
    let mut shrinking = Shrinking {
        seed,
        how: IN_TURN,
        tries: 1,
        environment: outcome.soak.environment,
        setting,
        end: Instant::now() + TIME,
        said: String::new(),
        kind: None,
        played: 0,
    };
    if !shrinking.fails(&vec![WHOLE]) {
        (shrinking.how, shrinking.tries) = (AT_ONCE, TRIES);
        if !shrinking.fails(&vec![WHOLE]) {
            return Some(format!(
                "seed {seed}: does not fail again, in one thread or in {TRIES} tries"
            ));
        }
    }
    shrinking.kind = Some(kind(&shrinking.said));
    let length = shrinking.beginning();
    let left = shrinking.without(length);
    // What it says of the shortest.
    shrinking.fails(&ranges(&left));
    let mut text = format!(
        "seed {seed}, played {}: {} of {} operations are enough ({} tries):\n",
        shrinking.how,
        left.len(),
        WHOLE.1,
        shrinking.played
    );
    for place in left.iter().take(SHOWN) {
        let _ = writeln!(text, "  {}", described(seed, *place));
    }
    if left.len() > SHOWN {
        let _ = writeln!(text, "  … {} more", left.len() - SHOWN);
    }
    let _ = write!(text, "  {}", shrinking.said);
    Some(text)
}
