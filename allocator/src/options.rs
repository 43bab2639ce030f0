//! What the environment sets: read when it is needed first, and then kept.
//!
//! | variable             | values                        | meaning                                                             |
//! |----------------------|-------------------------------|---------------------------------------------------------------------|
//! | `LFALLOC_MAGAZINES`  | 1, 0                          | whether processors have magazines ([`crate::front`])               |
//! | `LFALLOC_THP`        | 1, 0                          | huge pages everywhere, or behind no superblock (`huge`)             |
//! | `LFALLOC_KEEP_LARGE` | bytes, also with K, M or G    | freed large blocks that stay warm beside as many as are in use      |
//! | `LFALLOC_RESERVE`    | bytes, also with K, M or G    | EMPTY superblocks that are kept at least                            |
//! | `LFALLOC_PURGE_MS`   | milliseconds, about; 0: never | after which half of what nobody needed goes back (`decay`)          |
//!
//! A value that is none of these is reported once and ignored. Programs with raised rights (set-user-id, say) ignore all.

use core::ffi::CStr;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::os;

/// The value of an environment variable, if the environment is to be trusted.
#[must_use]
pub fn value(name: &CStr) -> Option<&'static CStr> {
    if os::has_raised_rights() { None } else { os::environment(name) }
}

/// A switch: `None` where it is not set.
pub(crate) fn switch(name: &CStr) -> Option<bool> {
    match value(name)?.to_bytes() {
        b"1" => Some(true),
        b"0" => Some(false),
        b"" => None,
        other => {
            report(name, other, "0 or 1");
            None
        }
    }
}

/// A number that is read once. 0: not read; else one more than the number.
pub(crate) struct Number {
    word: AtomicU64,
    name: &'static CStr,
    default: u64,
    unit: Unit,
}

/// See the table.
pub(crate) static KEEP_LARGE: Number = Number::bytes(c"LFALLOC_KEEP_LARGE", 256 << 20);
/// See the table.
pub(crate) static RESERVE: Number = Number::bytes(c"LFALLOC_RESERVE", 10 << 20);
/// See the table.
pub(crate) static PURGE_MS: Number = Number {
    word: AtomicU64::new(0),
    name: c"LFALLOC_PURGE_MS",
    default: 700,
    unit: Unit::Milliseconds,
};

#[derive(Clone, Copy)]
enum Unit {
    Bytes,
    Milliseconds,
}

impl Unit {
    fn parse(self, text: &[u8]) -> Option<u64> {
        match self {
            Self::Bytes => bytes(text),
            Self::Milliseconds => os::decimal(text),
        }
    }

    const fn expected(self) -> &'static str {
        match self {
            Self::Bytes => "a number of bytes, such as 64M",
            Self::Milliseconds => "a number of milliseconds",
        }
    }
}

impl Number {
    const fn bytes(name: &'static CStr, default: u64) -> Self {
        Self { word: AtomicU64::new(0), name, default, unit: Unit::Bytes }
    }

    /// The number; the default until there is an environment to read it from.
    #[inline]
    pub(crate) fn get(&self) -> u64 {
        // Relaxed, both: whoever reads the environment at the same time finds the same.
        match self.word.load(Ordering::Relaxed) {
            0 => self.read(),
            word => word - 1,
        }
    }

    #[cold]
    fn read(&self) -> u64 {
        if !os::environment_is_there() {
            return self.default;
        }
        let number = match value(self.name).map(CStr::to_bytes) {
            None | Some(b"") => self.default,
            Some(text) => {
                let number = self.unit.parse(text);
                if number.is_none() {
                    report(self.name, text, self.unit.expected());
                }
                number.unwrap_or(self.default).min(u64::MAX - 1)
            }
        };
        self.word.store(number + 1, Ordering::Relaxed);
        number
    }
}

fn report(name: &CStr, value: &[u8], expected: &str) {
    let value = value.get(..64).unwrap_or(value);
    let line = [
        b"lfalloc: ",
        name.to_bytes(),
        b"=",
        value,
        b" ignored: it should be ",
        expected.as_bytes(),
    ];
    os::print(line.into_iter());
}

fn bytes(text: &[u8]) -> Option<u64> {
    let (digits, shift) = match text {
        [digits @ .., b'K' | b'k'] => (digits, 10),
        [digits @ .., b'M' | b'm'] => (digits, 20),
        [digits @ .., b'G' | b'g'] => (digits, 30),
        digits => (digits, 0),
    };
    os::decimal(digits)?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Aim: sizes are read as people write them, and nothing else is. Method: both kinds.
    #[test]
    fn sizes() {
        for (text, bytes_meant) in
            [("0", 0), ("4096", 4096), ("64k", 65_536), ("3M", 3 << 20), ("2G", 2 << 30)]
        {
            assert_eq!(bytes(text.as_bytes()), Some(bytes_meant), "{text}");
        }
        for text in ["", "M", "-1", "1.5G", "1T", "64 M", "99999999999G", "1MM"] {
            assert_eq!(bytes(text.as_bytes()), None, "{text}");
        }
    }

    /// Aim: a number is its default where nothing is set, and is read once. Method: a variable nobody sets.
    #[test]
    fn unset_is_the_default() {
        let unset = Number::bytes(c"LFALLOC_TEST_NOBODY_SETS", 77);
        assert_eq!((unset.get(), unset.get()), (77, 77));
        assert_eq!(unset.word.load(Ordering::Relaxed), 78);
    }
}
