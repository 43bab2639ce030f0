//! What the environment sets: read once, when the first block is allocated that finds an environment, or earlier by whoever calls
//! [`read`]. Never later: another thread may be changing the environment then (setenv(3)), or this one, within the very call that
//! reads it.
//!
//! | variable             | values                        | meaning                                                             |
//! |----------------------|-------------------------------|---------------------------------------------------------------------|
//! | `LFALLOC_HARDEN`     | 0, 1                          | whether every free is checked (`harden`)                            |
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

/// The value of an environment variable, if the environment is to be trusted. For the time before there are threads.
#[must_use]
pub fn value(name: &CStr) -> Option<&'static CStr> {
    if os::has_raised_rights() { None } else { os::environment(name) }
}

/// Reads all options that were not read yet.
pub fn read() {
    for option in [&HARDEN, &MAGAZINES, &THP, &KEEP_LARGE, &RESERVE, &PURGE_MS] {
        option.read();
    }
}

/// An option. 0: not read; else one more than the number.
pub(crate) struct Number {
    word: AtomicU64,
    name: &'static CStr,
    default: u64,
    unit: Unit,
}

/// See the table. 1 or 0.
pub(crate) static HARDEN: Number = Number::new(c"LFALLOC_HARDEN", 0, Unit::Switch);
/// See the table. 1 or 0.
pub(crate) static MAGAZINES: Number = Number::new(c"LFALLOC_MAGAZINES", 1, Unit::Switch);
/// See the table. 1, 0, or [`UNSET`].
pub(crate) static THP: Number = Number::new(c"LFALLOC_THP", UNSET, Unit::Switch);
/// See the table.
pub(crate) static KEEP_LARGE: Number = Number::new(c"LFALLOC_KEEP_LARGE", 256 << 20, Unit::Bytes);
/// See the table.
pub(crate) static RESERVE: Number = Number::new(c"LFALLOC_RESERVE", 10 << 20, Unit::Bytes);
/// See the table.
pub(crate) static PURGE_MS: Number = Number::new(c"LFALLOC_PURGE_MS", 700, Unit::Milliseconds);

/// A switch that is not set.
pub(crate) const UNSET: u64 = 2;

#[derive(Clone, Copy)]
enum Unit {
    Switch,
    Bytes,
    Milliseconds,
}

impl Unit {
    fn parse(self, text: &[u8]) -> Option<u64> {
        match (self, text) {
            (Self::Switch, b"0") => Some(0),
            (Self::Switch, b"1") => Some(1),
            (Self::Switch, _) => None,
            (Self::Bytes, text) => bytes(text),
            (Self::Milliseconds, text) => os::decimal(text),
        }
    }

    const fn expected(self) -> &'static str {
        match self {
            Self::Switch => "0 or 1",
            Self::Bytes => "a number of bytes, such as 64M",
            Self::Milliseconds => "a number of milliseconds",
        }
    }
}

impl Number {
    const fn new(name: &'static CStr, default: u64, unit: Unit) -> Self {
        Self { word: AtomicU64::new(0), name, default, unit }
    }

    /// The number; the default until it is read.
    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.if_read().unwrap_or(self.default)
    }

    /// The number, if it is read.
    #[inline]
    pub(crate) fn if_read(&self) -> Option<u64> {
        // Relaxed: says no more than the number.
        self.word.load(Ordering::Relaxed).checked_sub(1)
    }

    fn read(&self) {
        if self.if_read().is_some() {
            return;
        }
        let (number, nonsense) = match value(self.name).map(CStr::to_bytes) {
            None | Some(b"") => (self.default, None),
            Some(text) => match self.unit.parse(text) {
                Some(number) => (number.min(u64::MAX - 1), None),
                None => (self.default, Some(text)),
            },
        };
        // Relaxed, both: as in `if_read`. Failure: another thread has read it, or this one, below getauxval(3) if that is a function
        // of the program's that allocates.
        let is_first =
            self.word.compare_exchange(0, number + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_first && let Some(text) = nonsense {
            report(self.name, text, self.unit.expected());
        }
    }
}

/// Says on standard error that a value is ignored.
pub fn report(name: &CStr, value: &[u8], expected: &str) {
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
        let unset = Number::new(c"LFALLOC_TEST_NOBODY_SETS", 77, Unit::Bytes);
        assert_eq!((unset.get(), unset.if_read()), (77, None));
        unset.read();
        assert_eq!((unset.get(), unset.if_read()), (77, Some(77)));
    }
}
