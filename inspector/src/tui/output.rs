//! What a program that was started here has written: its last lines, made harmless.
//!
//! A line is what ends with a line feed. Of one that was written over (after a carriage return, as progress is told) what was
//! written last is kept. Escape sequences go, whatever they would have done; other control characters are shown as `?`.

use std::collections::VecDeque;

use crate::process;

/// Bytes that are kept; what came before them is in the file.
pub const KEPT_BYTES: usize = 4 << 20;
/// Lines that are kept.
const KEPT_LINES: usize = 50_000;
/// Bytes of a line that are looked at; the rest of it is left out.
const LINE_BYTES: usize = 16 << 10;
/// Between two tabulator stops.
const TAB: usize = 8;

/// A part of what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// As it is.
    pub bytes: Vec<u8>,
    /// Bytes before it that were left out.
    pub skipped: u64,
    /// Whether the file was cut off, and this is its beginning.
    pub begins: bool,
}

/// The last lines.
#[derive(Clone, Debug, Default)]
pub struct Output {
    lines: VecDeque<String>,
    /// Bytes of them.
    bytes: usize,
    /// How many lines came before those that are kept.
    dropped: u64,
    /// Whether some bytes were never read.
    has_gap: bool,
    /// The line that has not ended yet.
    rest: Vec<u8>,
    /// The line shown first; `None` follows the end.
    pub top: Option<u64>,
}

impl Output {
    /// Takes in what was written.
    pub fn take(&mut self, chunk: &Chunk) {
        if chunk.begins {
            *self = Self::default();
        }
        if chunk.skipped > 0 {
            self.has_gap = true;
            self.rest.clear();
        }
        let mut parts = chunk.bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            let room = LINE_BYTES.saturating_sub(self.rest.len());
            self.rest.extend_from_slice(&part[..part.len().min(room)]);
            if parts.peek().is_some() {
                let line = harmless(&self.rest);
                self.rest.clear();
                self.push(line);
            }
        }
    }

    fn push(&mut self, line: String) {
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.bytes > KEPT_BYTES || self.lines.len() > KEPT_LINES {
            let Some(line) = self.lines.pop_front() else { break };
            self.bytes -= line.len();
            self.dropped += 1;
        }
    }

    /// Number of the first line that is kept.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.dropped
    }

    /// Number after the last line, the one that has not ended included.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.dropped + self.lines.len() as u64 + u64::from(!self.rest.is_empty())
    }

    /// Whether something was written before what is kept.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.has_gap || self.dropped > 0
    }

    /// Number of the line that is shown first in `height` rows.
    #[must_use]
    pub fn begin(&self, height: usize) -> u64 {
        let last = self.end().saturating_sub(height as u64).max(self.first());
        self.top.map_or(last, |top| top.clamp(self.first(), last))
    }

    /// The lines in `height` rows.
    pub fn shown(&self, height: usize) -> impl Iterator<Item = String> {
        let skipped = (self.begin(height) - self.first()) as usize;
        let rest = (!self.rest.is_empty()).then(|| harmless(&self.rest));
        self.lines.iter().cloned().chain(rest).skip(skipped).take(height)
    }

    /// Moves by so many lines; at the end it is followed again.
    pub fn scroll(&mut self, lines: i64, height: usize) {
        let last = self.end().saturating_sub(height as u64).max(self.first());
        let top = self.begin(height).saturating_add_signed(lines).max(self.first());
        self.top = (top < last).then_some(top);
    }
}

/// A line as text that a terminal does not act on.
fn harmless(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end_matches('\r');
    let text = without_escapes(text);
    let text = text.rsplit('\r').next().unwrap_or_default();
    let (mut shown, mut column) = (String::new(), 0);
    for character in text.chars() {
        match character {
            '\t' => {
                let blanks = TAB - column % TAB;
                shown.extend(std::iter::repeat_n(' ', blanks));
                column += blanks;
            }
            '\u{8}' => {
                shown.pop();
                column = column.saturating_sub(1);
            }
            // Rings.
            '\u{7}' => {}
            character => {
                shown.push(character);
                column += 1;
            }
        }
    }
    process::printable(&shown)
}

/// `text` without escape sequences: ESC [ … letter, ESC ] … BEL or ESC \, and the like; one that does not end takes the rest.
fn without_escapes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let kind = match character {
            '\u{1b}' => characters.next(),
            // The same in one character.
            '\u{9b}' => Some('['),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => Some(']'),
            character => {
                plain.push(character);
                continue;
            }
        };
        match kind {
            Some('[') => {
                let is_within = |c: &char| !matches!(c, '\u{40}'..='\u{7e}');
                while characters.next_if(is_within).is_some() {}
                characters.next();
            }
            Some(']' | 'P' | 'X' | '^' | '_') => {
                while let Some(character) = characters.next() {
                    match character {
                        '\u{7}' | '\u{9c}' => break,
                        '\u{1b}' => {
                            characters.next_if_eq(&'\\');
                            break;
                        }
                        _ => {}
                    }
                }
            }
            // ESC ( B and the like: one more follows.
            Some(' '..='/') => {
                characters.next();
            }
            Some(_) | None => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    //! Aim: nothing that a program writes reaches the terminal as more than text, and what is kept is bounded.
    use super::*;

    fn chunk(text: &str) -> Chunk {
        Chunk { bytes: text.as_bytes().to_vec(), skipped: 0, begins: false }
    }

    fn all(output: &Output) -> Vec<String> {
        output.shown(usize::MAX).collect()
    }

    #[test]
    fn lines_come_in_pieces() {
        let mut output = Output::default();
        for piece in ["on", "e\ntw", "o\n\nthr"] {
            output.take(&chunk(piece));
        }
        assert_eq!(all(&output), ["one", "two", "", "thr"]);
        output.take(&chunk("ee"));
        assert_eq!(all(&output), ["one", "two", "", "three"]);
        assert_eq!((output.first(), output.end()), (0, 4));
    }

    #[test]
    fn what_a_terminal_would_act_on_is_gone() {
        let cases = [
            ("plain größe", "plain größe"),
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("a\u{1b}]0;title\u{7}b\u{1b}]52;c;eA==\u{1b}\\c", "abc"),
            ("a\u{1b}Pq#0\u{1b}\\b\u{1b}(Bc\u{1b}7d", "abcd"),
            ("a\u{9b}2Jb\u{9d}0;x\u{9c}c", "abc"),
            ("cut \u{1b}[12;", "cut "),
            ("cut \u{1b}]0;no end", "cut "),
            ("cut \u{1b}", "cut "),
            (" 10%\r 20%\r100%", "100%"),
            ("dos\r", "dos"),
            ("a\tb\t\tc", "a       b               c"),
            ("ab\u{8}c\u{7}\u{0}\u{202e}", "ac??"),
        ];
        for (written, shown) in cases {
            assert_eq!(harmless(written.as_bytes()), shown, "{written:?}");
        }
        assert_eq!(harmless(b"\xff\xfe x"), "\u{fffd}\u{fffd} x");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut output = Output::default();
        output.take(&chunk(&"x\n".repeat(KEPT_LINES + 10)));
        assert_eq!((output.first(), output.end()), (10, KEPT_LINES as u64 + 10));
        assert!(output.is_cut());
        let line = "y".repeat(LINE_BYTES) + "rest\n";
        for _ in 0..2 * KEPT_BYTES / LINE_BYTES {
            output.take(&chunk(&line));
        }
        assert!(output.bytes <= KEPT_BYTES);
        assert!(all(&output).iter().all(|line| !line.ends_with("rest")));
        output.take(&Chunk { begins: true, ..chunk("new") });
        assert_eq!(all(&output), ["new"]);
        output.take(&Chunk { skipped: 7, ..chunk("er") });
        assert_eq!((all(&output), output.is_cut()), (vec!["er".to_owned()], true));
    }

    #[test]
    fn scrolling_stays_within_and_follows_at_the_end() {
        let mut output = Output::default();
        output.take(&chunk(&(0..100).map(|line| line.to_string() + "\n").collect::<String>()));
        let first = |output: &Output| output.shown(10).next().unwrap_or_default();
        assert_eq!(first(&output), "90");
        output.scroll(-5, 10);
        assert_eq!((first(&output).as_str(), output.top), ("85", Some(85)));
        output.take(&chunk("100\n"));
        assert_eq!(first(&output), "85", "it stays where it is");
        output.scroll(i64::MIN, 10);
        assert_eq!(first(&output), "0");
        output.scroll(i64::MAX, 10);
        assert_eq!((first(&output).as_str(), output.top), ("91", None));
        output.scroll(-1, 10);
        output.scroll(1, 10);
        assert_eq!(output.top, None);
        let mut short = Output::default();
        short.take(&chunk("a\nb"));
        short.scroll(-1, 10);
        assert_eq!((short.top, short.begin(10)), (None, 0));
        assert_eq!(Output::default().shown(10).count(), 0);
    }
}
