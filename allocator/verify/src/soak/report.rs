//! What soaks came to, as a table.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::soak::supervisor::Outcome;

/// A number with its digits in groups.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time as minutes and seconds.
#[must_use]
pub fn minutes(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

/// The head of the table.
pub const HEAD: &str =
    "| soak | done | bound | found | time | verdict |\n|---|---|---|---|---:|---|";

/// One row of the table.
#[must_use]
pub fn row(outcome: &Outcome) -> String {
    let read = |word: &AtomicU64| word.load(Ordering::Relaxed);
    let (soak, board) = (outcome.soak, outcome.board);
    let mut done = format!("{} {}", grouped(read(&board.done)), soak.unit);
    for (name, figure) in soak.figures.iter().zip(&board.figures) {
        let _ = write!(done, "; {name}: {}", grouped(read(figure)));
    }
    let checked = read(&board.checked);
    if checked > 0 {
        let _ = write!(done, "; {} blocks checked", grouped(checked));
    }
    let found = match (&outcome.failure, read(&board.balanced)) {
        (Some(_), _) => "see below".to_owned(),
        (None, 0) => "contents right; no figures without the library".to_owned(),
        (None, _) => format!(
            "contents right; {} blocks missing, {} in hand, {} KiB more mapped",
            grouped(read(&board.live)),
            grouped(read(&board.in_hand)),
            grouped(read(&board.mapped) / 1024)
        ),
    };
    let verdict = match &outcome.failure {
        Some(_) => "**failed**",
        None if read(&board.done) < read(&board.goal) => "passed, cut short",
        None => "passed",
    };
    let time = minutes(outcome.time);
    format!("| `{}` | {done} | {} | {found} | {time} | {verdict} |", soak.name, soak.bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Aim: numbers can be read. Method: around the places of the commas.
    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(minutes(Duration::from_secs(125)), "2:05");
    }
}
