//! What a term is: a run of letters, digits and underscores, in lower case, of 2 to 64 bytes.
//!
//! Shorter ones say nothing; longer ones are nearly always encoded data, each occurring once.

use std::collections::HashMap;

const TERM_BYTES: std::ops::RangeInclusive<usize> = 2..=64;

/// Calls `visit` with every term of the text, in order, and its line, counted from 1. Lines beyond
/// `u32::MAX` all count as the last.
pub(super) fn for_each_term(text: &str, mut visit: impl FnMut(&str, u32)) {
    let mut lower_case = String::new();
    let mut line_number = 0_u32;
    for line in text.lines() {
        line_number = line_number.saturating_add(1);
        for word in line.split(|c: char| !c.is_alphanumeric() && c != '_') {
            // Tested before the change of case too: it spares copying a megabyte without a space.
            if !TERM_BYTES.contains(&word.len()) {
                continue;
            }
            lower_case.clear();
            lower_case.extend(word.chars().flat_map(char::to_lowercase));
            // The change of case can change the length.
            if TERM_BYTES.contains(&lower_case.len()) {
                visit(&lower_case, line_number);
            }
        }
    }
}

/// The lines of every occurrence of every term, ascending.
pub(super) fn lines_by_term(text: &str) -> HashMap<String, Vec<u32>> {
    let mut lines_by_term: HashMap<String, Vec<u32>> = HashMap::new();
    for_each_term(text, |term, line| {
        if let Some(lines) = lines_by_term.get_mut(term) {
            lines.push(line);
        } else {
            lines_by_term.insert(term.to_owned(), vec![line]);
        }
    });
    lines_by_term
}

#[cfg(test)]
mod tests {
    //! Aim: the definition of a term, at its borders. Method: texts with known terms.

    use super::*;

    fn terms(text: &str) -> Vec<(String, u32)> {
        let mut found = Vec::new();
        for_each_term(text, |term, line| found.push((term.to_owned(), line)));
        found
    }

    #[test]
    fn terms_are_lower_case_runs_with_their_lines() {
        let expected = [("the_anchor", 1), ("cas", 1), ("x86_64", 2), ("übermaß", 4), ("cas", 4)];
        let expected: Vec<_> = expected.iter().map(|&(t, l)| (t.to_owned(), l)).collect();
        assert_eq!(terms("The_Anchor: CAS(a)\r\n x86_64;\n\nÜbermaß—cas"), expected);
    }

    #[test]
    fn only_lengths_from_2_to_64_bytes_count() {
        let (longest, longer) = ("a".repeat(64), "b".repeat(65));
        assert_eq!(terms(&format!("x yy {longest} {longer}")), [("yy".into(), 1), (longest, 1)]);
        // 32 letters of two bytes that become three bytes each in lower case.
        assert!(terms(&"Ⱥ".repeat(32)).is_empty());
        assert!(terms("").is_empty() && terms("\n\n .,;").is_empty());
    }

    #[test]
    fn every_occurrence_is_listed() {
        let lines = lines_by_term("aa bb aa\nAA");
        assert_eq!(lines.len(), 2);
        assert_eq!(lines["aa"], [1, 1, 2]);
        assert_eq!(lines["bb"], [1]);
    }
}
