//! `lfinspect explain WORD`: what the figures and the words of the algorithm mean.

use std::process::ExitCode;

use crate::failure::{Failure, Outcome, to_stdout};
use crate::tui::glossary;
use crate::tui::screens::paint::wrap;

/// Columns of the text.
const WIDTH: usize = 78;
/// Words that are suggested for one that is not known.
const SUGGESTIONS: usize = 5;
/// How alike a suggestion has to be, by Jaro and Winkler's measure.
const LEAST_LIKENESS: f64 = 0.75;

/// Prints what `words`, taken as one, mean; without any, the list of those that are known.
pub(crate) fn run(words: &[String]) -> Outcome<ExitCode> {
    if words.is_empty() {
        to_stdout(|stdout| {
            for word in glossary::words() {
                writeln!(stdout, "{word}")?;
            }
            Ok(())
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let word = words.join(" ");
    let Some(found) = glossary::look_up(&word) else {
        return Err(unknown(&word).into());
    };
    to_stdout(|stdout| {
        writeln!(stdout, "{}\n", found.title)?;
        let parts = [
            ("what", found.what),
            ("unit", found.unit),
            ("computed", found.how),
            ("exact", found.exact),
        ];
        for (name, text) in parts {
            for (place, line) in wrap(text, WIDTH - 10).into_iter().enumerate() {
                writeln!(stdout, "{:<9} {line}", if place == 0 { name } else { "" })?;
            }
        }
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

fn unknown(word: &str) -> Failure {
    let lower = word.to_lowercase();
    let mut alike: Vec<(f64, String)> = glossary::words()
        .into_iter()
        .map(|known| (likeness(&lower, &known), known))
        .filter(|(likeness, _)| *likeness >= LEAST_LIKENESS)
        .collect();
    alike.sort_by(|left, right| right.0.total_cmp(&left.0));
    let words: Vec<String> =
        alike.into_iter().take(SUGGESTIONS).map(|(_, word)| format!("'{word}'")).collect();
    let shown: String = word.chars().filter(|letter| !letter.is_control()).take(40).collect();
    Failure::new(if words.is_empty() {
        format!("'{shown}' is no word of lfinspect's: `lfinspect explain` lists those that are")
    } else {
        format!(
            "'{shown}' is no word of lfinspect's; did you mean {}? `lfinspect explain` lists all",
            words.join(", ")
        )
    })
}

/// How alike two words are, 0 to 1; one within the other is quite alike.
fn likeness(word: &str, known: &str) -> f64 {
    let within = word.chars().count() > 2 && (known.contains(word) || word.contains(known));
    strsim::jaro_winkler(word, known).max(if within { 0.9 } else { 0.0 })
}

#[cfg(test)]
mod tests {
    //! Aim: a word that is not known leads to one that is.
    use super::*;

    #[test]
    fn what_is_misspelt_is_suggested() {
        for (word, meant) in
            [("credts", "credit"), ("Partail", "partial"), ("superblok", "superblock")]
        {
            let said = unknown(word).to_string();
            assert!(said.contains(&format!("'{meant}'")), "{said}");
        }
        let said = unknown("zzzz\u{1b}[2J").to_string();
        assert!(said.contains("lists those that are") && !said.contains('\u{1b}'), "{said}");
    }
}
