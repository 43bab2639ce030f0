//! Every attack on everybody.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::contender::Contender;
use super::ending::{Ending, Endings, How};
use super::program::{Attack, Program};

/// What became of every attack on every contender.
#[derive(Debug)]
pub struct Table {
    attacks: Vec<Attack>,
    names: Vec<&'static str>,
    /// By attack and contender.
    cells: Vec<Vec<Endings>>,
    /// Trials that showed nothing, and why.
    pub failures: Vec<String>,
}

impl Table {
    /// Tries all of them, as often as `trials` says, some at a time.
    pub fn make(
        program: &Program,
        attacks: Vec<Attack>,
        on: &[Contender],
        trials: impl Fn(&Attack, &Contender) -> u32,
    ) -> Self {
        let mut all_trials = Vec::new();
        for (row, attack) in attacks.iter().enumerate() {
            for (column, contender) in on.iter().enumerate() {
                let count = trials(attack, contender);
                all_trials.extend((1..=count).map(|seed| (row, column, seed)));
            }
        }
        let mut cells = vec![vec![Endings::default(); on.len()]; attacks.len()];
        let mut failures = Vec::new();
        for (&(row, column, _), ending) in
            all_trials.iter().zip(all(program, &attacks, on, &all_trials))
        {
            match ending {
                Ok(ending) => {
                    if let Some(cell) = cells.get_mut(row).and_then(|row| row.get_mut(column)) {
                        cell.add(ending);
                    }
                }
                Err(why) => failures.push(why),
            }
        }
        let names = on.iter().map(|contender| contender.name).collect();
        Self { attacks, names, cells, failures }
    }

    /// What became of an attack on a contender.
    #[must_use]
    pub fn cell(&self, attack: &str, contender: &str) -> Option<&Endings> {
        let row = self.attacks.iter().position(|known| known.name == attack)?;
        let column = self.names.iter().position(|known| *known == contender)?;
        self.cells.get(row)?.get(column)
    }

    /// As a table in Markdown, with a line at its end that adds up how many attacks went through, at least once.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut text = format!("| attack | {} |\n|---|", self.names.join(" | "));
        text.push_str(&"---|".repeat(self.names.len()));
        for (attack, cells) in self.attacks.iter().zip(&self.cells) {
            let _ = write!(text, "\n| `{}`: {} |", attack.name, attack.what);
            for cell in cells {
                let _ = write!(text, " {cell} |");
            }
        }
        for (how, what) in [
            (How::WentThrough, "attacks that went through"),
            (How::Crashed, "that crashed"),
            (How::Hangs, "after which it hung"),
        ] {
            let _ = write!(text, "\n| *{what}, once at least* |");
            for column in 0..self.names.len() {
                let is_so =
                    |row: &&Vec<Endings>| row.get(column).is_some_and(|cell| cell.count(how) > 0);
                let _ = write!(text, " {} |", self.cells.iter().filter(is_so).count());
            }
        }
        text.push('\n');
        text
    }
}

/// What became of each, in their order.
fn all(
    program: &Program,
    attacks: &[Attack],
    on: &[Contender],
    trials: &[(usize, usize, u32)],
) -> Vec<Result<Ending, String>> {
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut done = Vec::new();
        loop {
            // Relaxed: hands out numbers, and nothing else.
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(&(row, column, seed)) = trials.get(number) else { return done };
            let (Some(attack), Some(contender)) = (attacks.get(row), on.get(column)) else {
                return done;
            };
            done.push((number, program.attempt(&attack.name, contender, seed)));
        }
    };
    let mut done: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .flat_map(|thread| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, ending)| ending).collect()
}
