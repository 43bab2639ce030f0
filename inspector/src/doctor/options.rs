//! The environment variables that lfalloc obeys, as a table: with the values that they have in a process, or with what holds
//! without them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use lfalloc_protocol::options::{self, EnvironmentOption, PREFIX, Reader, Verdict};

use crate::process;

/// Cells of the longest value that is shown whole.
const LONGEST: usize = 40;
/// What there is no such option for.
const UNKNOWN: &str = "there is no such option";

/// The table; of that process, if there is one whose environment can be read.
pub(super) fn table(pid: Option<u32>) -> Vec<String> {
    let environment = pid.map(process::environment);
    let (title, environment) = match (pid, environment) {
        (Some(pid), Some(Some(variables))) => {
            (format!("options in the environment that pid {pid} was started with:"), variables)
        }
        (Some(pid), _) => {
            let title = format!("options; the environment of pid {pid} cannot be read:");
            (title, Vec::new())
        }
        (None, _) => {
            ("options in a program's environment, and their defaults:".to_owned(), Vec::new())
        }
    };
    let mut rows = vec![
        ["OPTION", if pid.is_some() { "VALUE" } else { "DEFAULT" }, "TAKES", ""].map(str::to_owned),
    ];
    rows.extend(options::TABLE.iter().map(|option| row(option, &environment)));
    rows.extend(environment.iter().filter_map(unknown_row));
    let mut lines = vec![String::new(), title];
    lines.extend(aligned(&rows));
    lines
}

fn row(option: &EnvironmentOption, environment: &[(OsString, OsString)]) -> [String; 4] {
    let own = || std::env::var_os(option.name);
    let theirs = || {
        let set = environment.iter().find(|(name, _)| name == option.name);
        set.map(|(_, value)| value.clone())
    };
    let value = if option.reader == Reader::Inspector { own() } else { theirs() };
    // An empty one counts as none.
    let value = value.filter(|value| !value.is_empty());
    let written = match value {
        None => format!("({})", option.default),
        Some(value) => {
            let text = shown(&value);
            match options::check(option.name.as_bytes(), value.as_bytes()) {
                Verdict::Valid => text,
                Verdict::Invalid | Verdict::Unknown => format!("{text} INVALID"),
            }
        }
    };
    [option.name, &written, option.written, option.meaning].map(str::to_owned)
}

fn unknown_row((name, value): &(OsString, OsString)) -> Option<[String; 4]> {
    let is_ours = name.as_bytes().starts_with(PREFIX.as_bytes());
    (is_ours && options::find(name.as_bytes()).is_none()).then(|| {
        [shown(name), format!("{} UNKNOWN", shown(value)), String::new(), UNKNOWN.to_owned()]
    })
}

fn shown(value: &OsString) -> String {
    let text = process::printable(&value.to_string_lossy());
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// Rows with columns below each other, and what each means in a line of its own.
fn aligned(rows: &[[String; 4]]) -> Vec<String> {
    let length = |cell: &String| cell.chars().count();
    let width = |column: usize| rows.iter().map(|row| length(&row[column])).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    let lines = |row: &[String; 4]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        let first = format!("  {}", cells.collect::<Vec<_>>().join("  ").trim_end());
        let meaning = (!row[3].is_empty()).then(|| format!("      {}", row[3]));
        std::iter::once(first).chain(meaning).collect::<Vec<_>>()
    };
    rows.iter().flat_map(lines).collect()
}

#[cfg(test)]
mod tests {
    //! Aim: every option has a line, and what is wrong is marked.
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        variables.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn defaults_are_told_where_nothing_is_set() {
        let lines = table(None);
        assert_eq!(lines.len(), 3 + 2 * options::TABLE.len());
        for option in options::TABLE {
            assert!(lines.iter().any(|line| line.trim().starts_with(option.name)), "{option:?}");
        }
        assert!(lines.iter().any(|line| line.contains("(256M)")), "{lines:?}");
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:?}");
        assert!(table(Some(u32::MAX))[1].contains("cannot be read"));
    }

    #[test]
    fn values_are_judged() {
        let set = environment(&[
            ("LFALLOC_RESERVE", "2x"),
            ("LFALLOC_KEEP_LARGE", "1G"),
            ("LFALLOC_THP", ""),
            ("LFALLOC_STATSS", "1\u{1b}"),
            ("PATH", "/bin"),
        ]);
        let value = |name: &str| row(options::find(name.as_bytes()).unwrap(), &set)[1].clone();
        assert_eq!(value("LFALLOC_RESERVE"), "2x INVALID");
        assert_eq!(value("LFALLOC_KEEP_LARGE"), "1G");
        assert_eq!(value("LFALLOC_THP"), "(where there is much)");
        let unknown: Vec<_> = set.iter().filter_map(unknown_row).collect();
        assert_eq!(unknown.len(), 1);
        assert_eq!(unknown[0][..2], ["LFALLOC_STATSS", "1? UNKNOWN"]);
        assert_eq!(shown(&"x".repeat(50).into()).len(), LONGEST + 3);
    }
}
