//! What became of one trial, and of all trials of an attack.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// What an attack leaves in its file: `struct report` of `c/attacks/attacks.h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    phase: u64,
    operations: u64,
    from: u64,
    to: u64,
}

impl Report {
    /// The one in those bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut words = bytes
            .chunks_exact(8)
            .map(|word| word.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)));
        let mut next = || words.next().unwrap_or_default();
        Self { phase: next(), operations: next(), from: next(), to: next() }
    }
}

/// How the process ended, from what an attacker likes most to what he likes least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// He got what he wanted: a block that is somebody else's, an address of his choice, another's contents spoiled without a word.
    WentThrough,
    /// The process never came back from the allocator.
    Hangs,
    /// A signal, and no message.
    Crashed,
    /// malloc finds no memory from then on.
    NoMemory,
    /// The program was ended, with a message that does not name the address.
    Aborted,
    /// The program was ended, with a message that names the address.
    Stopped,
    /// No block was handed out twice, and nothing else came of it.
    Ignored,
    /// Likewise, and it was told.
    IgnoredTold,
    /// There is nothing here that this could be tried on.
    NotHere,
}

impl How {
    /// As in the table.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::WentThrough => "**through**",
            Self::Hangs => "hangs",
            Self::Crashed => "crashed",
            Self::NoMemory => "no memory",
            Self::Aborted => "aborted",
            Self::Stopped => "stopped",
            Self::Ignored => "ignored",
            Self::IgnoredTold => "ignored, told",
            Self::NotHere => "–",
        }
    }
}

/// What became of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// How it ended.
    pub how: How,
    /// If it was ended: calls of the allocator that went well since the wrong thing was done; 0 as well if that call itself did not.
    pub later: u64,
    /// What the attack has to add.
    pub remark: String,
    /// What the allocator said.
    pub message: String,
}

/// `enum outcome` of `c/attacks/attacks.h`.
const IGNORED: i32 = 0;
const WENT_THROUGH: i32 = 20;
const NO_MEMORY: i32 = 10;
const NOT_HERE: i32 = 30;
/// `enum phase` there.
const PREPARING: u64 = 0;

impl Ending {
    /// What a process' end says: its status, none if it had to be killed, what it wrote, what was written to standard error, and its
    /// report.
    ///
    /// # Errors
    /// If it does not show anything: it ended before it attacked, or the program says that it is wrong.
    pub fn of(
        status: Option<ExitStatus>,
        said: &[u8],
        told: &[u8],
        report: &Report,
    ) -> Result<Self, String> {
        let message = String::from_utf8_lossy(told).trim().to_owned();
        let how = match status.map(|status| (status.code(), status.signal())) {
            None => How::Hangs,
            Some((Some(NOT_HERE), _)) => How::NotHere,
            Some((Some(NO_MEMORY), _)) => How::NoMemory,
            Some((Some(WENT_THROUGH), _)) => How::WentThrough,
            Some((Some(IGNORED), _)) if message.is_empty() => How::Ignored,
            Some((Some(IGNORED), _)) => How::IgnoredTold,
            Some((None, Some(_))) if report.phase != PREPARING => match &message[..] {
                "" => How::Crashed,
                message
                    if addresses(message)
                        .any(|address| (report.from..report.to).contains(&address)) =>
                {
                    How::Stopped
                }
                _ => How::Aborted,
            },
            Some(other) => return Err(format!("{other:?}: {message}")),
        };
        let was_ended =
            matches!(how, How::Hangs | How::Crashed | How::NoMemory | How::Aborted | How::Stopped);
        Ok(Self {
            how,
            later: if was_ended { report.operations } else { 0 },
            remark: String::from_utf8_lossy(said).into_owned(),
            message,
        })
    }
}

/// The addresses in a text.
fn addresses(text: &str) -> impl Iterator<Item = u64> {
    text.split("0x").skip(1).filter_map(|text| {
        let end = text.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(text.len());
        u64::from_str_radix(text.get(..end)?, 16).ok()
    })
}

/// What became of all trials of an attack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endings {
    by_how: BTreeMap<How, u32>,
    later: Vec<u64>,
    remark: String,
    /// A message of each kind of ending that had one.
    pub messages: BTreeMap<How, String>,
}

impl Endings {
    /// Adds a trial.
    pub fn add(&mut self, ending: Ending) {
        *self.by_how.entry(ending.how).or_default() += 1;
        if ending.later > 0 {
            self.later.push(ending.later);
        }
        if !ending.message.is_empty() {
            self.messages.entry(ending.how).or_insert(ending.message);
        }
        if !ending.remark.is_empty() {
            self.remark = ending.remark;
        }
    }

    /// How many were added.
    #[must_use]
    pub fn trials(&self) -> u32 {
        self.by_how.values().sum()
    }

    /// How many ended so.
    #[must_use]
    pub fn count(&self, how: How) -> u32 {
        self.by_how.get(&how).copied().unwrap_or_default()
    }

    /// Most calls of the allocator that went well in a trial before the program was ended.
    #[must_use]
    pub fn latest(&self) -> u64 {
        self.later.iter().copied().max().unwrap_or_default()
    }

    /// Every way that one ended, the attacker's favourite first.
    pub fn ways(&self) -> impl Iterator<Item = How> {
        self.by_how.keys().copied()
    }
}

/// `stopped`; of more trials, if they ended in more ways, `**through** 3 of 40, stopped 37`; and, if the program went on for
/// a while, how long.
impl fmt::Display for Endings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trials = self.trials();
        for (number, (how, count)) in self.by_how.iter().enumerate() {
            let separator = if number == 0 { "" } else { ", " };
            write!(f, "{separator}{}", how.word())?;
            if *count < trials {
                write!(f, " {count}")?;
            }
        }
        if self.by_how.len() > 1 {
            write!(f, " of {trials}")?;
        }
        let mut later = self.later.clone();
        later.sort_unstable();
        if let Some(middle) = later.get(later.len() / 2) {
            write!(f, " (+{middle})")?;
        }
        if !self.remark.is_empty() {
            write!(f, " ({})", self.remark)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(phase: u64, operations: u64) -> Report {
        let words = [phase, operations, 0x7000, 0x7040];
        Report::from_bytes(&words.map(u64::to_le_bytes).concat())
    }

    fn ending(status: i32, told: &str, report: Report) -> Result<Ending, String> {
        Ending::of(Some(ExitStatus::from_raw(status)), b"", told.as_bytes(), &report)
    }

    /// Aim: endings are told apart, and what shows nothing is an error. Method: all kinds, by hand.
    #[test]
    fn endings_are_told_apart() {
        let aborted = libc::SIGABRT;
        for (status, told, how) in [
            (0, "", How::Ignored),
            (0, "lfalloc: free(0x7000) ignored", How::IgnoredTold),
            (20 << 8, "", How::WentThrough),
            (10 << 8, "", How::NoMemory),
            (30 << 8, "", How::NotHere),
            (aborted, "", How::Crashed),
            (libc::SIGSEGV, "", How::Crashed),
            (aborted, "free(): invalid pointer", How::Aborted),
            (aborted, "0x7040 was freed twice", How::Aborted),
            (aborted, "0x703f was freed twice", How::Stopped),
            (aborted, "lfalloc: 0x0000000000007000 was freed twice", How::Stopped),
        ] {
            assert_eq!(
                ending(status, told, report(1, 0)).map(|ending| ending.how),
                Ok(how),
                "{told}"
            );
        }
        assert!(ending(aborted, "free(): invalid pointer", report(PREPARING, 0)).is_err());
        assert!(ending(40 << 8, "no memory", report(2, 0)).is_err());
        assert_eq!(
            Ending::of(None, b"", b"", &report(1, 0)).map(|ending| ending.how),
            Ok(How::Hangs)
        );
    }

    /// Aim: cells say the worst first, and how many operations later the program was ended. Method: three trials.
    #[test]
    fn cells() {
        let mut endings = Endings::default();
        endings.add(
            ending(libc::SIGABRT, "0x7000", report(2, 7)).unwrap_or_else(|why| panic!("{why}")),
        );
        assert_eq!(endings.to_string(), "stopped (+7)");
        for status in [20 << 8, 0] {
            endings.add(ending(status, "", report(2, 9)).unwrap_or_else(|why| panic!("{why}")));
        }
        assert_eq!(endings.to_string(), "**through** 1, stopped 1, ignored 1 of 3 (+7)");
        assert_eq!((endings.trials(), endings.count(How::Ignored)), (3, 1));
    }
}
