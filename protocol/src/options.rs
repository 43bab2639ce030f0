//! The environment variables that a program with lfalloc obeys, as a table.
//!
//! `lfinspect doctor` prints it. The allocator and its library, which know nothing of this crate's, read their variables themselves; a test of
//! the library's holds both to the same. Nothing here allocates.
//!
//! ```
//! use lfalloc_protocol::options::{Verdict, check};
//!
//! assert_eq!(check(b"LFALLOC_KEEP_LARGE", b"512M"), Verdict::Valid);
//! assert_eq!(check(b"LFALLOC_KEEP_LARGE", b"half"), Verdict::Invalid);
//! assert_eq!(check(b"LFALLOC_KEEP_LAGRE", b"512M"), Verdict::Unknown);
//! // An empty value counts as none.
//! assert_eq!(check(b"LFALLOC_KEEP_LARGE", b""), Verdict::Valid);
//! ```

use crate::socket::{DIRECTORY_VARIABLE, MAX_PATH_BYTES};

/// What every name of the table begins with.
pub const PREFIX: &str = "LFALLOC_";
/// Whether the agent is started with the program.
pub const AGENT: &str = "LFALLOC_AGENT";
/// Where lfinspect finds the library to preload.
pub const LIBRARY: &str = "LFALLOC_SO";

/// Bytes that a directory leaves for the shortest name of a socket in it, `/p.1.sock`.
const SHORTEST_NAME_BYTES: usize = 9;

/// Which values a variable takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A number of bytes, as [`parse_bytes`] reads it.
    Bytes,
    /// A number of milliseconds, as [`parse_number`] reads it.
    Milliseconds,
    /// A directory for sockets.
    Directory,
    /// A file.
    File,
}

/// Who obeys a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// The program with lfalloc.
    Program,
    /// The program, and lfinspect.
    Both,
    /// lfinspect alone.
    Inspector,
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvironmentOption {
    /// The variable.
    pub name: &'static str,
    /// What it takes.
    pub values: Values,
    /// What it takes, in words.
    pub written: &'static str,
    /// What holds where it is not set, in words.
    pub default: &'static str,
    /// What it does.
    pub meaning: &'static str,
    /// Who obeys it.
    pub reader: Reader,
}

/// All of them.
pub const TABLE: &[EnvironmentOption] = &[
    EnvironmentOption {
        name: AGENT,
        values: Values::OneOf(&["0", "1", "children"]),
        written: "0, 1, children",
        default: "0",
        meaning: "start the agent with the program; children: in forked children, too",
        reader: Reader::Program,
    },
    EnvironmentOption {
        name: DIRECTORY_VARIABLE,
        values: Values::Directory,
        written: "directory",
        default: "of the user",
        meaning: "where sockets are, if not in $XDG_RUNTIME_DIR/lfalloc or /tmp/lfalloc-UID",
        reader: Reader::Both,
    },
    EnvironmentOption {
        name: "LFALLOC_HARDEN",
        values: Values::OneOf(&["0", "1"]),
        written: "0, 1",
        default: "0",
        meaning: "check every free and every block that is handed out; without magazines",
        reader: Reader::Program,
    },
    EnvironmentOption {
        name: "LFALLOC_MAGAZINES",
        values: Values::OneOf(&["0", "1"]),
        written: "0, 1",
        default: "1",
        meaning: "magazines per processor",
        reader: Reader::Program,
    },
    EnvironmentOption {
        name: "LFALLOC_THP",
        values: Values::OneOf(&["0", "1"]),
        written: "0, 1",
        default: "where there is much",
        meaning: "huge pages: nowhere, or everywhere",
        reader: Reader::Program,
    },
    EnvironmentOption {
        name: "LFALLOC_KEEP_LARGE",
        values: Values::Bytes,
        written: "bytes (K, M, G)",
        default: "256M",
        meaning: "freed large blocks that stay warm beside as many as are in use",
        reader: Reader::Program,
    },
    EnvironmentOption {
        name: "LFALLOC_RESERVE",
        values: Values::Bytes,
        written: "bytes (K, M, G)",
        default: "10M",
        meaning: "EMPTY superblocks kept at least",
        reader: Reader::Program,
    },
    EnvironmentOption {
        name: "LFALLOC_PURGE_MS",
        values: Values::Milliseconds,
        written: "milliseconds, 0: never",
        default: "about 700",
        meaning: "interval after which half of what nobody needed goes back",
        reader: Reader::Program,
    },
    EnvironmentOption {
        name: "LFALLOC_STATS",
        values: Values::OneOf(&["0", "1"]),
        written: "0, 1",
        default: "0",
        meaning: "statistics on standard error at exit",
        reader: Reader::Program,
    },
    EnvironmentOption {
        name: LIBRARY,
        values: Values::File,
        written: "file",
        default: "as installed",
        meaning: "of lfinspect: the library that lfinspect run preloads",
        reader: Reader::Inspector,
    },
];

/// What a value is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is obeyed; also an empty one, which counts as none.
    Valid,
    /// The variable takes no such value: its default holds.
    Invalid,
    /// There is no such variable.
    Unknown,
}

/// The line of the table for that variable.
#[must_use]
pub fn find(name: &[u8]) -> Option<&'static EnvironmentOption> {
    TABLE.iter().find(|option| option.name.as_bytes() == name)
}

/// What `value` is worth for the variable `name`.
#[must_use]
pub fn check(name: &[u8], value: &[u8]) -> Verdict {
    match find(name) {
        None => Verdict::Unknown,
        Some(option) if value.is_empty() || option.values.admit(value) => Verdict::Valid,
        Some(_) => Verdict::Invalid,
    }
}

impl Values {
    /// Whether this is one of them; an empty value is none.
    #[must_use]
    pub fn admit(self, value: &[u8]) -> bool {
        match self {
            Self::OneOf(words) => words.iter().any(|word| word.as_bytes() == value),
            Self::Bytes => parse_bytes(value).is_some(),
            Self::Milliseconds => parse_number(value).is_some(),
            Self::Directory => {
                let most = MAX_PATH_BYTES - SHORTEST_NAME_BYTES;
                !value.is_empty() && value.len() <= most
            }
            Self::File => !value.is_empty(),
        }
    }
}

/// Bytes: digits, and K, M or G (k, m, g) for 2^10, 2^20 or 2^30 of them. `None` for anything else, and for what 64 bits do not hold.
///
/// ```
/// use lfalloc_protocol::options::parse_bytes;
///
/// assert_eq!(parse_bytes(b"10M"), Some(10 << 20));
/// assert_eq!(parse_bytes(b"4096"), Some(4096));
/// assert_eq!(parse_bytes(b"M"), None);
/// ```
#[must_use]
pub fn parse_bytes(text: &[u8]) -> Option<u64> {
    let (digits, shift) = match text {
        [digits @ .., b'K' | b'k'] => (digits, 10),
        [digits @ .., b'M' | b'm'] => (digits, 20),
        [digits @ .., b'G' | b'g'] => (digits, 30),
        digits => (digits, 0),
    };
    parse_number(digits)?.checked_mul(1 << shift)
}

/// A number in plain digits. `None` for anything else, and for what 64 bits do not hold.
#[must_use]
pub fn parse_number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    //! Aim: the rules above, and that the table agrees with itself. Method: examples.
    use super::*;

    #[test]
    fn names_are_whole_and_there_once() {
        for (place, option) in TABLE.iter().enumerate() {
            assert!(option.name.starts_with(PREFIX), "{option:?}");
            assert_eq!(find(option.name.as_bytes()), Some(&TABLE[place]));
            assert!(!option.meaning.is_empty() && !option.default.is_empty(), "{option:?}");
            assert_eq!(check(option.name.as_bytes(), b""), Verdict::Valid);
        }
        assert_eq!(find(b"LFALLOC_"), None);
        assert_eq!(find(b"LFALLOC_AGENTS"), None);
        assert_eq!(check(b"lfalloc_agent", b"1"), Verdict::Unknown);
    }

    #[test]
    fn words_are_told_as_they_are_taken() {
        for option in TABLE {
            if let Values::OneOf(words) = option.values {
                assert_eq!(option.written, words.join(", "));
                assert!(words.iter().all(|word| option.values.admit(word.as_bytes())));
                assert!(!option.values.admit(b"yes"), "{option:?}");
            }
        }
        assert_eq!(check(b"LFALLOC_AGENT", b"children"), Verdict::Valid);
        assert_eq!(check(b"LFALLOC_AGENT", b"child"), Verdict::Invalid);
        assert_eq!(check(b"LFALLOC_MAGAZINES", b"children"), Verdict::Invalid);
        assert_eq!(check(b"LFALLOC_THP", b"2"), Verdict::Invalid);
    }

    #[test]
    fn bytes_have_one_unit_at_most() {
        assert_eq!(parse_bytes(b"0"), Some(0));
        assert_eq!(parse_bytes(b"3K"), Some(3 << 10));
        assert_eq!(parse_bytes(b"3k"), Some(3 << 10));
        assert_eq!(parse_bytes(b"2G"), Some(2 << 30));
        assert_eq!(parse_bytes(b"17179869183G"), Some(17_179_869_183 << 30));
        for no in
            ["", "K", "1X", "1KB", "1KK", "-1", "+1", " 1", "1 ", "1.5M", "0x10", "17179869184G"]
        {
            assert_eq!(parse_bytes(no.as_bytes()), None, "{no}");
        }
        assert_eq!(parse_bytes(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_bytes(b"18446744073709551616"), None);
    }

    #[test]
    fn milliseconds_have_no_unit() {
        assert_eq!(check(b"LFALLOC_PURGE_MS", b"0"), Verdict::Valid);
        assert_eq!(check(b"LFALLOC_PURGE_MS", b"250"), Verdict::Valid);
        assert_eq!(check(b"LFALLOC_PURGE_MS", b"1K"), Verdict::Invalid);
        assert_eq!(check(b"LFALLOC_PURGE_MS", b"never"), Verdict::Invalid);
    }

    #[test]
    fn a_directory_leaves_room_for_a_socket() {
        let of = |bytes| vec![b'/'; bytes];
        let most = MAX_PATH_BYTES - SHORTEST_NAME_BYTES;
        assert_eq!(check(b"LFALLOC_DIR", &of(most)), Verdict::Valid);
        assert_eq!(check(b"LFALLOC_DIR", &of(most + 1)), Verdict::Invalid);
        assert_eq!(check(b"LFALLOC_SO", &of(500)), Verdict::Valid);
    }
}
