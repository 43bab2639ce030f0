//! The filter of a screen: terms apart by blanks, all of which must hold.
//!
//! A term is a comparison of a named figure (`occ<10`, `bytes>1m`, `class=12`), or a word that the screen
//! understands (`partial`, `#4711`). A comparison that is not finished, or names no figure, admits everything, and
//! is said to be not understood. `k m g` are IEC units, `%` may stand behind percentages.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Characters a filter may have.
const MAX_TEXT: usize = 200;

/// A filter, the text it was made of, and whether that is being typed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Terms {
    text: String,
    all: Vec<Term>,
    /// Whether keys are text for it.
    pub typing: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Term {
    Word(String),
    Compare(String, char, f64),
    Unfinished,
}

impl Terms {
    /// Understands `text`; comparisons may name the figures `names`.
    #[must_use]
    pub fn new(text: &str, names: &[&str]) -> Self {
        let all = text.split_whitespace().map(|term| Term::new(term, names)).collect();
        Self { text: text.to_owned(), all, typing: false }
    }

    /// The text it was made of.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether there is nothing to filter, and nothing typed.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.all.is_empty() && !self.typing
    }

    /// Whether every comparison was understood.
    #[must_use]
    pub fn is_understood(&self) -> bool {
        !self.all.contains(&Term::Unfinished)
    }

    /// Whether something is to be shown of which `figure` gives the named figures and `word` says whether a word fits.
    #[must_use]
    pub fn admits(
        &self,
        figure: impl Fn(&str) -> Option<f64>,
        word: impl Fn(&str) -> bool,
    ) -> bool {
        self.all.iter().all(|term| match term {
            Term::Word(text) => word(text),
            Term::Unfinished => true,
            Term::Compare(name, operator, value) => {
                figure(name).is_some_and(|figure| match operator {
                    '<' => figure < *value,
                    '>' => figure > *value,
                    _ => (figure - value).abs() < 1e-9,
                })
            }
        })
    }

    /// Takes in a key while it is typed: Enter ends that, Esc clears the filter.
    pub fn edit(&mut self, key: KeyEvent, names: &[&str]) {
        let mut text = std::mem::take(&mut self.text);
        let mut typing = true;
        match key.code {
            KeyCode::Enter | KeyCode::Tab => typing = false,
            KeyCode::Esc => {
                typing = false;
                text.clear();
            }
            KeyCode::Backspace => {
                text.pop();
            }
            KeyCode::Char('u') if key.modifiers == KeyModifiers::CONTROL => text.clear(),
            KeyCode::Char(character)
                if !key.modifiers.contains(KeyModifiers::CONTROL)
                    && !character.is_control()
                    && text.chars().count() < MAX_TEXT =>
            {
                text.push(character);
            }
            _ => {}
        }
        *self = Self { typing, ..Self::new(&text, names) };
    }

    /// Clears it; false if there was nothing to clear.
    pub fn clear(&mut self) -> bool {
        let there = !self.is_idle();
        *self = Self::default();
        there
    }
}

impl Term {
    fn new(term: &str, names: &[&str]) -> Self {
        let term = term.to_lowercase();
        let Some(place) = term.find(['<', '>', '=']) else {
            return Self::Word(term);
        };
        let (name, rest) = term.split_at(place);
        let mut rest = rest.chars();
        let operator = rest.next().unwrap_or('=');
        match number(rest.as_str()) {
            Some(value) if names.contains(&name) => Self::Compare(name.to_owned(), operator, value),
            _ => Self::Unfinished,
        }
    }
}

/// `12`, `1.5m`, `64kib`, `50%`; all of the text, or it is no number.
fn number(text: &str) -> Option<f64> {
    let digits = text.find(|c: char| c.is_ascii_alphabetic() || c == '%').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "" | "%" | "b" => 1.0,
        "k" | "kb" | "kib" => 1024.0,
        "m" | "mb" | "mib" => 1024.0 * 1024.0,
        "g" | "gb" | "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    number.parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| number * scale)
}

#[cfg(test)]
mod tests {
    //! Aim: terms mean what the module says, and half-typed ones hide nothing.
    use super::*;

    const NAMES: &[&str] = &["bytes", "occ"];

    fn admits(text: &str, bytes: f64) -> bool {
        let figure = |name: &str| (name == "bytes").then_some(bytes);
        Terms::new(text, NAMES).admits(figure, |word| word == "cached")
    }

    #[test]
    fn all_terms_must_hold() {
        assert!(admits("", 1.0) && admits("bytes>1k cached", 1025.0) && admits("CACHED", 0.0));
        assert!(!admits("bytes>1k", 1024.0) && !admits("bytes<5 live", 1.0));
        assert!(admits("bytes=512", 512.0) && !admits("bytes=512", 513.0));
        assert!(!admits("occ>0", 1.0), "a figure that is not known admits nothing");
    }

    #[test]
    fn half_typed_terms_hide_nothing() {
        for text in ["bytes>", "occ<x", "nothing=3"] {
            assert!(admits(text, 1.0), "{text}");
            assert!(!Terms::new(text, NAMES).is_understood(), "{text}");
        }
    }

    #[test]
    fn keys_make_the_text() {
        let mut terms = Terms { typing: true, ..Terms::default() };
        let key = |code| KeyEvent::new(code, KeyModifiers::NONE);
        for character in "occ<5x".chars() {
            terms.edit(key(KeyCode::Char(character)), NAMES);
        }
        terms.edit(key(KeyCode::Backspace), NAMES);
        assert!(terms.typing && terms.text() == "occ<5" && terms.is_understood());
        terms.edit(key(KeyCode::Enter), NAMES);
        assert!(!terms.typing && !terms.is_idle());
        assert!(terms.clear() && !terms.clear());
    }
}
