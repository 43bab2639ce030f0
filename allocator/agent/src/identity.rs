//! Who is being watched: name, process id, since when.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use lfalloc::observe::{CLASS_COUNT, HEAPS_PER_CLASS, class_info};
use lfalloc_protocol::message::{ClassInfo, Hello, MAGIC, MAJOR, MINOR, feature};

use crate::os;

/// How long the process has run, from one reading of the system's record and a steady clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Uptime {
    read_at: Instant,
    uptime_ns: u64,
}

impl Uptime {
    /// Reads it; a system that does not tell makes the process as old as its agent.
    pub(crate) fn read() -> Self {
        Self { read_at: Instant::now(), uptime_ns: process_age_ns().unwrap_or(0) }
    }

    /// Nanoseconds the process has run at `now`.
    pub(crate) fn at(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.read_at);
        self.uptime_ns.saturating_add(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// The greeting of this process, complete but for its uptime.
pub(crate) fn greeting(name: String) -> Hello {
    Hello {
        magic: MAGIC,
        major: MAJOR,
        minor: MINOR,
        // Allocator and agent are released together under one number.
        allocator_version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        name,
        agent_started_unix_ns: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|since| u64::try_from(since.as_nanos()).ok())
            .unwrap_or(0),
        uptime_ns: 0,
        heaps_per_class: HEAPS_PER_CLASS as u32,
        classes: (0..CLASS_COUNT)
            .map(|class| {
                let info = class_info(class);
                ClassInfo {
                    block_bytes: info.block_bytes,
                    superblock_bytes: info.superblock_bytes,
                    blocks_per_superblock: info.blocks_per_superblock,
                }
            })
            .collect(),
        // Whether there are magazines is found out when it is said.
        features: feature::TRANSITIONS,
    }
}

/// What the system calls this program.
pub(crate) fn program_name() -> String {
    match std::fs::read("/proc/self/comm") {
        Ok(name) => String::from_utf8_lossy(name.trim_ascii_end()).into_owned(),
        Err(_) => String::new(),
    }
}

/// Nanoseconds since this process started, as exact as the system's record (10 ms).
fn process_age_ns() -> Option<u64> {
    let ticks = start_ticks(&std::fs::read_to_string("/proc/self/stat").ok()?)?;
    let started_ns = u128::from(ticks) * 1_000_000_000 / u128::from(os::ticks_per_second().max(1));
    os::since_boot_ns().checked_sub(u64::try_from(started_ns).ok()?)
}

/// Field 22, the start time. The name in field 2 may hold blanks and brackets: fields are counted
/// from the last bracket on.
fn start_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    //! Aim: the age is that of the process. Method: a hostile name; our own record.
    use super::*;

    #[test]
    fn names_with_brackets_do_not_shift_fields() {
        let stat = format!("7 (a) S 9 (x)) S {} 4242 1 2", ["1"; 18].join(" "));
        assert_eq!(start_ticks(&stat), Some(4242));
        assert_eq!(start_ticks("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_is_young_and_grows_older() {
        let uptime = Uptime::read();
        assert!(uptime.uptime_ns < 3_600_000_000_000, "{uptime:?}");
        let later = Instant::now() + std::time::Duration::from_secs(1);
        assert!(uptime.at(later) >= uptime.uptime_ns + 1_000_000_000);
    }
}
