//! The conditions of `--fail-if`, see the table in [`diff`](super).

use super::{FIGURES, Figures, Unit};

/// A condition of `--fail-if`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Condition {
    text: String,
    figure: usize,
    operator: Operator,
    compared: Compared,
    value: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Above,
    AtLeast,
    Below,
    AtMost,
}

/// What of a figure is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compared {
    /// It itself.
    Value,
    /// What it has grown by.
    Change,
    /// What it has grown by, as a share of what it was.
    Growth,
}

impl Condition {
    /// Understands `external>30%` and the like.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what there is.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text: String = text.split_whitespace().collect::<String>().to_lowercase();
        let wrong = |what: &str| {
            let names: Vec<&str> = FIGURES.iter().map(|(name, _)| *name).collect();
            format!(
                "{what} in '{text}': a condition is FIGURE, one of > >= < <=, and a number such as 30%, 1.5g or +100; \
                 figures are {}",
                names.join(", ")
            )
        };
        let place = text.find(['<', '>']).ok_or_else(|| wrong("no comparison"))?;
        let (name, rest) = text.split_at(place);
        let figure = FIGURES
            .iter()
            .position(|(known, _)| *known == name)
            .ok_or_else(|| wrong(&format!("unknown figure '{name}'")))?;
        let (operator, rest) = [
            (">=", Operator::AtLeast),
            (">", Operator::Above),
            ("<=", Operator::AtMost),
            ("<", Operator::Below),
        ]
        .into_iter()
        .find_map(|(sign, operator)| rest.strip_prefix(sign).map(|rest| (operator, rest)))
        .ok_or_else(|| wrong("no comparison"))?;
        let change = rest.starts_with(['+', '-']);
        let (number, percent) = rest.strip_suffix('%').map_or((rest, false), |rest| (rest, true));
        let unit = FIGURES[figure].1;
        let digits = number.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(number.len());
        let scale = match &number[digits..] {
            "" => 1.0,
            "k" | "kib" if unit == Unit::Bytes => 1024.0,
            "m" | "mib" if unit == Unit::Bytes => 1024.0 * 1024.0,
            "g" | "gib" if unit == Unit::Bytes => 1024.0 * 1024.0 * 1024.0,
            _ => return Err(wrong("no number")),
        };
        let value: f64 = number[..digits].parse().map_err(|_| wrong("no number"))?;
        if !value.is_finite() {
            return Err(wrong("no number"));
        }
        if (unit == Unit::Share) != percent && !(change && percent) {
            return Err(wrong(if percent {
                "a percentage of what?"
            } else {
                "a percentage is meant"
            }));
        }
        let value = if percent { value / 100.0 } else { value * scale };
        let compared = match (change, percent) {
            (false, _) => Compared::Value,
            (true, true) if unit != Unit::Share => Compared::Growth,
            (true, _) => Compared::Change,
        };
        Ok(Self { text, figure, operator, compared, value })
    }

    /// As it was written, without blanks.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn is_met(&self, before: &Figures, after: &Figures) -> bool {
        let (then, value) = (before.values[self.figure], after.values[self.figure]);
        let compared = match self.compared {
            Compared::Value => value,
            Compared::Change => then.zip(value).map(|(then, value)| value - then),
            Compared::Growth => then.zip(value).map(|(then, value)| {
                if then > 0.0 {
                    value / then - 1.0
                } else if value > 0.0 {
                    // From nothing to something is more than any share.
                    f64::INFINITY
                } else {
                    0.0
                }
            }),
        };
        compared.is_some_and(|compared| match self.operator {
            Operator::Above => compared > self.value,
            Operator::AtLeast => compared >= self.value,
            Operator::Below => compared < self.value,
            Operator::AtMost => compared <= self.value,
        })
    }
}

#[cfg(test)]
mod tests {
    //! Aim: what means nothing is refused, and what is wrong is named.
    use super::*;

    #[test]
    fn conditions_that_mean_nothing_are_refused_by_name() {
        for (text, word) in [
            ("externl>30%", "unknown figure 'externl'"),
            ("external", "no comparison"),
            ("external>", "no number"),
            ("external>30", "a percentage is meant"),
            ("mapped>30%", "a percentage of what?"),
            ("pinned>3m", "no number"),
            ("mapped>infg", "no number"),
        ] {
            let error = Condition::parse(text).unwrap_err();
            assert!(error.contains(word) && error.contains("savings"), "{text}: {error}");
        }
    }
}
