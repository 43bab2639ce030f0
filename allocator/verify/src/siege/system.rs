//! What the kernel tells of a process from outside, and which processor it may run on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The name of the agent's thread.
const AGENT: &str = "lfalloc-agent";

/// Lets this process, as far as it has one thread, and all that it starts run on `processor` only.
///
/// # Errors
/// There is no such processor, or this process may not use it.
pub fn pin(processor: usize) -> io::Result<()> {
    // SAFETY: a set of no processors is all zeros.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is initialised; a number that is too large is passed over.
    unsafe { libc::CPU_SET(processor, &mut set) };
    // SAFETY: the pointer and the size are those of one set.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The processors that this process may use.
#[must_use]
pub fn processors() -> Vec<usize> {
    // SAFETY: a set of no processors is all zeros.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer and the size are those of one set.
    unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
    // SAFETY: the set is initialised, and the numbers lie within it.
    (0..libc::CPU_SETSIZE as usize)
        .filter(|&number| unsafe { libc::CPU_ISSET(number, &set) })
        .collect()
}

/// A clock of the kernel, in nanoseconds.
#[must_use]
pub fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: there is room for one `timespec`.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// What a process has of the system at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    /// Resident memory, in bytes.
    pub resident: u64,
    /// Threads.
    pub threads: usize,
    /// Descriptors of the program.
    pub descriptors: usize,
    /// Descriptors of its agent's thread, which has a table of its own.
    pub agent_descriptors: usize,
    /// Processor time that the agent's thread has used, in nanoseconds.
    pub agent_cpu_ns: u64,
}

impl Held {
    /// Of process `pid`; zeros where it is gone.
    #[must_use]
    pub fn by(pid: u32) -> Self {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let agent = agent_thread(&process);
        let statm = fs::read_to_string(process.join("statm")).unwrap_or_default();
        let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok());
        Self {
            resident: pages.unwrap_or(0u64) * 4096,
            threads: count(&process.join("task")),
            descriptors: count(&process.join("fd")),
            agent_descriptors: agent.as_ref().map_or(0, |agent| count(&agent.join("fd"))),
            agent_cpu_ns: agent.map_or(0, |agent| {
                let stat = fs::read_to_string(agent.join("schedstat")).unwrap_or_default();
                stat.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
            }),
        }
    }

    /// The larger of both, figure by figure.
    #[must_use]
    pub fn most(self, other: Self) -> Self {
        Self {
            resident: self.resident.max(other.resident),
            threads: self.threads.max(other.threads),
            descriptors: self.descriptors.max(other.descriptors),
            agent_descriptors: self.agent_descriptors.max(other.agent_descriptors),
            agent_cpu_ns: self.agent_cpu_ns.max(other.agent_cpu_ns),
        }
    }
}

/// The agent's thread of a process, if there is one.
fn agent_thread(process: &Path) -> Option<PathBuf> {
    let tasks = fs::read_dir(process.join("task")).ok()?;
    tasks.filter_map(|task| Some(task.ok()?.path())).find(|task| {
        fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim_end() == AGENT)
    })
}

fn count(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}
