//! The program that was started: waited for by a thread of its own, so that it never is a zombie for longer than a moment.
//!
//! Whoever sends it a signal holds the lock under which it is waited for: a process id that has been given to another process by
//! then is never signalled.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lfalloc_protocol::options;
use nix::errno::Errno;
use nix::sys::signal::{self, Signal};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::library::PRELOAD;
use crate::process;

/// In forked children, too.
const AGENT: &str = "children";

/// What is to be started, and how.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// The program and its arguments.
    pub words: &'a [OsString],
    /// The value of `LD_PRELOAD`.
    pub preload: &'a OsStr,
    /// Where standard output and standard error go, if not where ours do.
    pub output: Option<&'a File>,
    /// Whether it gets a session of its own, and nothing to read: the terminal is somebody else's.
    pub apart: bool,
}

/// A program that was started.
#[derive(Debug)]
pub struct Program {
    pid: u32,
    name: String,
    file: PathBuf,
    apart: bool,
    started: Instant,
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug)]
struct State {
    child: Child,
    end: Option<End>,
}

/// How a program ended, and when.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// Its status.
    pub status: ExitStatus,
    /// When that was known.
    pub at: Instant,
}

impl Program {
    /// Starts it.
    ///
    /// # Errors
    /// When there is no such program, or the system does not start it.
    pub fn start(start: &Start<'_>) -> io::Result<Arc<Self>> {
        let [program, arguments @ ..] = start.words else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let mut command = Command::new(program);
        command.args(arguments).env(PRELOAD, start.preload);
        if std::env::var_os(options::AGENT).is_none_or(|value| value.is_empty()) {
            command.env(options::AGENT, AGENT);
        }
        if let Some(output) = start.output {
            command.stdout(output.try_clone()?).stderr(output.try_clone()?);
        }
        if start.apart {
            command.stdin(Stdio::null());
            let leave_session = || {
                nix::unistd::setsid()?;
                Ok(())
            };
            // SAFETY: what runs between fork and exec is one system call, which is safe there; it allocates nothing and takes no
            // lock, and an error is passed on as its number.
            unsafe { command.pre_exec(leave_session) };
        }
        let child = command.spawn()?;
        let program = Arc::new(Self {
            pid: child.id(),
            name: name_of(program),
            file: file_of(program),
            apart: start.apart,
            started: Instant::now(),
            state: Mutex::new(State { child, end: None }),
            ended: Condvar::new(),
        });
        let waiter = Arc::clone(&program);
        let started = thread::Builder::new()
            .name("lfinspect-waiter".to_owned())
            .spawn(move || waiter.wait_for_end());
        if let Err(error) = started {
            // Nobody would wait for it.
            let mut state = program.lock();
            let _ = state.child.kill();
            let _ = state.child.wait();
            return Err(error);
        }
        Ok(program)
    }

    fn wait_for_end(&self) {
        // Not reaped yet: until then nobody else has its process id.
        let id = || Id::Pid(Pid::from_raw(self.pid.cast_signed()));
        while waitid(id(), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
        let mut state = self.lock();
        let status = state.child.wait().unwrap_or_else(|error| {
            // Somebody has told the system that nobody waits for children here.
            tracing::warn!(%error, pid = self.pid, "its status is not known");
            ExitStatus::from_raw(1 << 8)
        });
        state.end = Some(End { status, at: Instant::now() });
        self.ended.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its name, fit for a terminal.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that was started, as far as that can be told.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// When it was started.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.lock().end
    }

    /// Waits until it has ended, for ever.
    #[must_use]
    pub fn wait(&self) -> End {
        let mut state = self.lock();
        loop {
            if let Some(end) = state.end {
                return end;
            }
            state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for its end no longer than that.
    #[must_use]
    pub fn wait_for(&self, time: Duration) -> Option<End> {
        let running = |state: &mut State| state.end.is_none();
        let waited = self.ended.wait_timeout_while(self.lock(), time, running);
        waited.unwrap_or_else(PoisonError::into_inner).0.end
    }

    /// Sends it that signal: to all of its process group where it has one of its own. Nothing once it has ended.
    pub fn signal(&self, number: i32) {
        let Ok(signal) = Signal::try_from(number) else { return };
        let state = self.lock();
        if state.end.is_some() {
            return;
        }
        let pid = Pid::from_raw(self.pid.cast_signed());
        let sent = if self.apart { signal::killpg(pid, signal) } else { signal::kill(pid, signal) };
        if let Err(error) = sent {
            tracing::warn!(%error, %signal, pid = self.pid, "a signal was not delivered");
        }
    }
}

impl End {
    /// "ended with status 3", "was killed by signal 11 (SIGSEGV)".
    #[must_use]
    pub fn words(&self) -> String {
        let dump = if self.status.core_dumped() { ", core dumped" } else { "" };
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("ended with status {code}"),
            (None, Some(number)) => match Signal::try_from(number) {
                Ok(signal) => format!("was killed by signal {number} ({signal}{dump})"),
                Err(_) => format!("was killed by signal {number}{dump}"),
            },
            (None, None) => "ended".to_owned(),
        }
    }

    /// Whether a signal killed it.
    #[must_use]
    pub fn was_killed(&self) -> bool {
        self.status.signal().is_some()
    }

    /// Its status as a shell gives it: 128 + n where signal n killed it.
    #[must_use]
    pub fn code(&self) -> u8 {
        let code = self.status.code().or(self.status.signal().map(|number| 128 + number));
        code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
    }
}

/// What a program is called by the word that starts it.
pub(super) fn name_of(word: &OsStr) -> String {
    let name = Path::new(word).file_name().unwrap_or(word);
    process::printable(&name.to_string_lossy())
}

/// The file that the word stands for: by itself, or in the first directory of `PATH` that has one.
fn file_of(word: &OsStr) -> PathBuf {
    let named = PathBuf::from(word);
    if named.components().count() > 1 || word.is_empty() {
        return named;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut files = std::env::split_paths(&path).map(|directory| directory.join(&named));
    files.find(|file| file.is_file()).unwrap_or(named)
}

#[cfg(test)]
mod tests {
    //! Aim: statuses and signals are told as a shell tells them, nothing is left behind, and a signal reaches the group.
    use super::*;

    fn start(words: &[&str], apart: bool) -> Arc<Program> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let preload = OsStr::new("");
        Program::start(&Start { words: &words, preload, output: None, apart }).unwrap()
    }

    #[test]
    fn statuses_are_those_of_a_shell() {
        let end = start(&["sh", "-c", "exit 7"], true).wait();
        assert_eq!((end.code(), end.words().as_str()), (7, "ended with status 7"));
        assert!(!end.was_killed());
        let end = start(&["sh", "-c", "kill -SEGV $$"], true).wait();
        assert!(end.words().starts_with("was killed by signal 11 (SIGSEGV"), "{}", end.words());
        assert_eq!((end.code(), end.was_killed()), (139, true));
    }

    #[test]
    fn no_zombie_is_left_and_no_signal_goes_astray() {
        let program = start(&["true"], true);
        let _ = program.wait();
        assert!(!process::exists(program.pid()));
        program.signal(libc::SIGTERM);
        assert!(program.end().is_some());
    }

    #[test]
    fn a_signal_reaches_all_of_the_session() {
        let program = start(&["sh", "-c", "sleep 100 & sleep 100"], true);
        assert!(program.wait_for(Duration::from_millis(100)).is_none());
        program.signal(libc::SIGTERM);
        assert_eq!(program.wait().code(), 143);
        let path = process::directory(program.pid());
        assert!(!path.exists());
    }

    #[test]
    fn what_is_not_there_is_not_started() {
        let words = [OsString::from("/no/such/program")];
        let start = Start { words: &words, preload: OsStr::new(""), output: None, apart: true };
        let error = Program::start(&start).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn programs_have_names_and_files() {
        assert_eq!(name_of(OsStr::new("/usr/bin/true")), "true");
        assert_eq!(name_of(OsStr::new("a\u{1b}b")), "a?b");
        assert_eq!(file_of(OsStr::new("./true")), Path::new("./true"));
        assert!(file_of(OsStr::new("sh")).is_absolute());
        assert_eq!(file_of(OsStr::new("no-such-program")), Path::new("no-such-program"));
    }
}
