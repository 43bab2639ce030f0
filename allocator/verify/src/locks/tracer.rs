//! Counts the system calls of a program's threads between their marks, by number and by the object that they are made from
//! (ptrace(2), `PTRACE_GET_SYSCALL_INFO`).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::contended::MARK;

/// A system call, and the file name of the object whose code made it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// Its number.
    pub number: i64,
    /// The object's file name; empty for code that is in none.
    pub from: String,
}

/// How often each call was made between the marks.
pub type Calls = BTreeMap<Call, u64>;

/// Names of the calls that allocators make.
const NAMES: &[(i64, &str)] = &[
    (libc::SYS_mmap, "mmap"),
    (libc::SYS_munmap, "munmap"),
    (libc::SYS_madvise, "madvise"),
    (libc::SYS_mremap, "mremap"),
    (libc::SYS_mprotect, "mprotect"),
    (libc::SYS_brk, "brk"),
    (libc::SYS_futex, "futex"),
    (libc::SYS_sched_yield, "sched_yield"),
    (libc::SYS_nanosleep, "nanosleep"),
    (libc::SYS_clock_nanosleep, "clock_nanosleep"),
    (libc::SYS_poll, "poll"),
    (libc::SYS_clock_gettime, "clock_gettime"),
    (libc::SYS_membarrier, "membarrier"),
    (libc::SYS_open, "open"),
    (libc::SYS_openat, "openat"),
    (libc::SYS_read, "read"),
    (libc::SYS_close, "close"),
    (libc::SYS_write, "write"),
    (libc::SYS_getpid, "getpid"),
    (libc::SYS_gettid, "gettid"),
    (libc::SYS_getrandom, "getrandom"),
    (libc::SYS_prctl, "prctl"),
];

/// Calls that wait, or let others go first.
pub const WAITING: &[i64] = &[
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_pause,
    libc::SYS_semop,
    libc::SYS_semtimedop,
];

/// A call's name, or its number.
#[must_use]
pub fn name(number: i64) -> String {
    let known = NAMES.iter().find(|(known, _)| *known == number);
    known.map_or_else(|| format!("call {number}"), |(_, name)| (*name).to_owned())
}

/// A request of ptrace(2) that needs no more than numbers.
fn ptrace(request: libc::c_uint, thread: i32, data: libc::c_int) -> io::Result<()> {
    // SAFETY: none of the requests that are made here reads or writes memory of this process.
    let result = unsafe { libc::ptrace(request, thread, 0, libc::c_long::from(data)) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The system call that a stopped thread is about to make: number, first two arguments, and where its code lies; `None`
/// when it comes back from one.
fn entered(thread: i32) -> io::Result<Option<(i64, [u64; 2], u64)>> {
    // SAFETY: plain numbers, of which zeros are some.
    let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
    let bytes = size_of_val(&info);
    // SAFETY: the kernel writes at most so many bytes to `info`.
    let result =
        unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, thread, bytes, &raw mut info) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return Ok(None);
    }
    // SAFETY: `op` says that it is this one of the union.
    let entry = unsafe { info.u.entry };
    Ok(Some((entry.nr.cast_signed(), [entry.args[0], entry.args[1]], info.instruction_pointer)))
}

/// The program that is traced.
struct Traced {
    pid: i32,
    /// Threads between their marks.
    marked: BTreeSet<i32>,
    /// Code of the program, by address: its end, and the name of the object.
    objects: BTreeMap<u64, (u64, String)>,
    calls: Calls,
}

impl Traced {
    /// The object that the code at `place` belongs to.
    fn object(&mut self, place: u64) -> String {
        let known = |objects: &BTreeMap<u64, (u64, String)>| {
            let (_, (end, name)) = objects.range(..=place).next_back()?;
            (place < *end).then(|| name.clone())
        };
        if let Some(name) = known(&self.objects) {
            return name;
        }
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", self.pid)).unwrap_or_default();
        self.objects = maps.lines().filter_map(mapping).collect();
        known(&self.objects).unwrap_or_default()
    }

    fn enters(&mut self, thread: i32) -> io::Result<()> {
        let Some((number, arguments, place)) = entered(thread)? else { return Ok(()) };
        if number == libc::SYS_prctl && arguments[0] == MARK {
            if arguments[1] == 1 {
                self.marked.insert(thread);
            } else {
                self.marked.remove(&thread);
            }
        } else if self.marked.contains(&thread) {
            let from = self.object(place);
            *self.calls.entry(Call { number, from }).or_default() += 1;
        }
        Ok(())
    }
}

/// A line of `/proc/PID/maps`.
fn mapping(line: &str) -> Option<(u64, (u64, String))> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    let name = words.nth(4).unwrap_or_default().rsplit('/').next().unwrap_or_default();
    Some((number(start)?, (number(end)?, name.to_owned())))
}

/// Runs the command to its end and counts what its threads ask of the system between their marks.
///
/// # Errors
/// It cannot be started or traced, or does not end well.
pub fn trace(command: &mut Command) -> io::Result<Calls> {
    // SAFETY: one system call, which touches nothing that another thread could hold. The program stops when it is loaded.
    unsafe { command.pre_exec(|| ptrace(libc::PTRACE_TRACEME, 0, 0)) };
    let mut child = command.spawn()?;
    let pid = child.id() as i32;
    let (marked, objects, calls) = (BTreeSet::new(), BTreeMap::new(), Calls::new());
    let mut traced = Traced { pid, marked, objects, calls };
    let followed = follow(&mut traced);
    if followed.is_err() {
        // Whoever is not traced to its end is of no use.
        let _ = child.kill();
        let _ = child.wait();
    }
    followed.map(|()| traced.calls)
}

/// Waits for the threads of the program, and lets each go on to its next system call, until the program has ended.
fn follow(traced: &mut Traced) -> io::Result<()> {
    let mut is_begun = false;
    loop {
        let mut status = 0;
        // Children of this thread only: others may have some of their own.
        let flags = libc::__WALL | libc::__WNOTHREAD;
        // SAFETY: there is room for a status.
        let thread = unsafe { libc::waitpid(-1, &raw mut status, flags) };
        if thread == -1 {
            return Err(io::Error::last_os_error());
        }
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            traced.marked.remove(&thread);
            if thread == traced.pid {
                let well = status == 0;
                return if well {
                    Ok(())
                } else {
                    Err(io::Error::other(format!("it ended with {status}")))
                };
            }
            continue;
        }
        let signal = libc::WSTOPSIG(status);
        let mut deliver = 0;
        if !is_begun && thread == traced.pid {
            is_begun = true;
            let options =
                libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;
            ptrace(libc::PTRACE_SETOPTIONS, thread, options)?;
        } else if signal == libc::SIGTRAP | 0x80 {
            traced.enters(thread)?;
        } else if signal != libc::SIGTRAP && signal != libc::SIGSTOP {
            deliver = signal;
        }
        match ptrace(libc::PTRACE_SYSCALL, thread, deliver) {
            // Killed meanwhile, as all threads are when one ends the program.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            result => result?,
        }
    }
}
