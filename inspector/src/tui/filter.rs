//! The filter of the Classes table: terms apart by blanks, all of which must hold.
//!
//! | term | admits a class if |
//! |---|---|
//! | `kib`, `64 B` | its block size, as shown, contains the text |
//! | `waste>1m`, `util<50`, `p=0` | the figure of that column compares so; `k m g` are IEC units |

use super::class_table::{Column, Row};

/// A filter, and the text it was made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    text: String,
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq)]
enum Term {
    Text(String),
    Compare(Column, char, f64),
    /// Looks like a comparison and is none; admits everything while it is being typed.
    Unfinished,
}

impl Filter {
    /// Understands `text`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let terms = text.split_whitespace().map(Term::new).collect();
        Self { text: text.to_owned(), terms }
    }

    /// The text it was made of.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether there is nothing to filter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether every term was understood.
    #[must_use]
    pub fn is_understood(&self) -> bool {
        !self.terms.contains(&Term::Unfinished)
    }

    /// Whether the row is to be shown.
    #[must_use]
    pub fn admits(&self, row: &Row) -> bool {
        self.terms.iter().all(|term| term.admits(row))
    }
}

impl Term {
    fn new(term: &str) -> Self {
        let term = term.to_lowercase();
        let Some(place) = term.find(['<', '>', '=']) else {
            return Self::Text(term);
        };
        let (name, rest) = term.split_at(place);
        let mut rest = rest.chars();
        let operator = rest.next().unwrap_or('=');
        let column = Column::ALL.into_iter().find(|column| column.name() == name);
        match (column, number(rest.as_str())) {
            (Some(column), Some(value)) => Self::Compare(column, operator, value),
            _ => Self::Unfinished,
        }
    }

    fn admits(&self, row: &Row) -> bool {
        match self {
            Self::Text(text) => Column::Block.text(row).to_lowercase().contains(text),
            Self::Unfinished => true,
            Self::Compare(column, operator, value) => {
                column.value(row).is_some_and(|figure| match operator {
                    '<' => figure < *value,
                    '>' => figure > *value,
                    _ => (figure - value).abs() < 1e-9,
                })
            }
        }
    }
}

/// `12`, `1.5m`, `64kib`, `50%`; all of the text, or it is no number.
pub(super) fn number(text: &str) -> Option<f64> {
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
    use lfalloc_protocol::message::{ClassInfo, ClassRecord};

    use super::*;
    use crate::picture::ClassFigures;

    fn row() -> Row {
        let figures = ClassFigures {
            info: ClassInfo {
                block_bytes: 2048,
                superblock_bytes: 65_536,
                blocks_per_superblock: 32,
            },
            record: ClassRecord { partial: 2, live_blocks: 16, ..ClassRecord::default() },
        };
        Row {
            figures,
            fragmentation: crate::fragmentation::Fragmentation::default(),
            allocations: Some(12.0),
            transitions: None,
            transitions_missed: false,
        }
    }

    #[test]
    fn terms_are_texts_or_comparisons() {
        // 2 superblocks of 32 blocks, 16 live: 25 %, 96 KiB wasted.
        for admitting in
            ["", "kib", "2.00", "util=25", "util<26%", "waste>95k waste<97kib waste<97kb", "p=2"]
        {
            assert!(Filter::new(admitting).admits(&row()), "{admitting}");
        }
        for refusing in ["mib", "util>25", "waste>1m", "kib p>2", "trans<5", "ALLOC<3"] {
            assert!(!Filter::new(refusing).admits(&row()), "{refusing}");
        }
    }

    #[test]
    fn what_is_not_understood_hides_nothing_and_says_so() {
        for unfinished in [
            "util<",
            "nonsense>5",
            "waste>1x",
            "waste>1kx",
            "waste>1ki",
            "util<50%%",
            "=",
            "waste>nan",
            "waste>inf",
        ] {
            let filter = Filter::new(unfinished);
            assert!(filter.admits(&row()) && !filter.is_understood(), "{unfinished}");
        }
        assert!(Filter::new("util<5 kib").is_understood());
    }
}
