//! One target under the tracer.

use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::battery::name_of;
use super::image::{self, Image};
use super::operation::OPERATIONS;
use super::target::Role;
use super::trace::{Next, Step, Stop, Victim, Way};
use super::wire::{Command, Reply, SURVIVORS, Totals, receive, send};

/// Which allocator is under test.
#[derive(Clone, Debug)]
pub enum Library {
    /// lfalloc's, there.
    Own(PathBuf),
    /// Another one, there, under which the target runs.
    Other(PathBuf),
    /// The C library's.
    C,
}

/// What holds for all targets.
pub struct Setting {
    /// The program that can be a target: its first argument is then [`super::target::FLAG`].
    pub program: PathBuf,
    /// The allocator.
    pub library: Library,
    /// How long a survivor may take for a battery.
    pub patience: Duration,
}

/// Why a run came to no good end.
#[derive(Debug)]
pub enum Failure {
    /// The others did not go on: a finding.
    Blocked(String),
    /// The target saw wrong contents, or crashed: a finding.
    Wrong(String),
    /// The tracer cannot go on.
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blocked(what) => write!(f, "blocked: {what}"),
            Self::Wrong(what) => write!(f, "wrong: {what}"),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

/// What survivors did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Battery {
    pub(super) calls: u64,
    pub(super) took: Duration,
}

/// A target that is ready; it ends with this.
pub(super) struct Session<'a> {
    child: Child,
    main: UnixStream,
    victim_socket: UnixStream,
    survivors: Vec<UnixStream>,
    /// The numbers of their threads.
    threads: Vec<u64>,
    pub(super) victim: Victim,
    pub(super) image: Image<'a>,
    counter: u64,
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        // A process is not gone before its traced threads were waited for.
        self.victim.reap();
        let _ = self.child.wait();
    }
}

fn wrong(what: impl Into<String>) -> Failure {
    Failure::Wrong(what.into())
}

impl<'a> Session<'a> {
    /// Starts a target for an operation, see [`Role`].
    pub(super) fn start(
        setting: &Setting,
        library: &'a image::Library,
        operation: usize,
        calls_before: Option<u64>,
    ) -> Result<Self, Failure> {
        let about = &OPERATIONS[operation];
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..2 + SURVIVORS {
            let (here, there) = UnixStream::pair()?;
            here.set_read_timeout(Some(setting.patience))?;
            ours.push(here);
            theirs.push(there);
        }
        let mut sockets = [0; 2 + SURVIVORS];
        for (number, socket) in sockets.iter_mut().zip(&theirs) {
            *number = socket.as_raw_fd();
        }
        let mut command = std::process::Command::new(&setting.program);
        let mut opened = None;
        // Others wait for a moment now and then: of interest is whether they do for good.
        let is_watched = matches!(setting.library, Library::Own(_));
        match &setting.library {
            Library::Own(path) if about.is_first => opened = Some(path.clone()),
            Library::Own(path) | Library::Other(path) => {
                command.env("LD_PRELOAD", path);
            }
            Library::C => {}
        }
        command.args(Role { operation, calls_before, is_watched, opened, sockets }.arguments());
        command.envs(about.environment.iter().copied()).stdin(Stdio::null());
        let before_exec = move || {
            // Nothing lies elsewhere from run to run; where that is not permitted, it does.
            // SAFETY: changes this process only (personality(2)).
            unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong) };
            for socket in sockets {
                // SAFETY: the target's ends of the sockets stay open there (fcntl(2)).
                if unsafe { libc::fcntl(socket, libc::F_SETFD, 0) } < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: only system calls are made in the child.
        unsafe { command.pre_exec(before_exec) };
        let child = command.spawn()?;
        drop(theirs);
        let mut streams = ours.into_iter();
        let (Some(main), Some(victim_socket)) = (streams.next(), streams.next()) else {
            return Err(wrong("no sockets"));
        };
        let survivors: Vec<_> = streams.collect();
        let greet = |stream: &UnixStream| match receive(stream)? {
            Some(Reply::Hello { thread, sequence_word, syscall, counter }) => {
                Ok((thread, sequence_word, syscall, counter))
            }
            _ => Err(wrong("the target does not start")),
        };
        greet(&main)?;
        let threads = survivors.iter().map(|survivor| Ok(greet(survivor)?.0));
        let threads: Vec<u64> = threads.collect::<Result<_, Failure>>()?;
        let (thread, sequence_word, syscall, counter) = greet(&victim_socket)?;
        let victim = Victim::seize(thread, sequence_word, syscall)?;
        let image = Image::of(child.id(), library).map_err(wrong)?;
        Ok(Self { child, main, victim_socket, survivors, threads, victim, image, counter })
    }

    /// Lets the victim come to the call that is to be traced.
    pub(super) fn prepare(&self, is_first: bool) -> Result<(), Failure> {
        if !is_first {
            self.battery()?;
            self.settle()?;
        }
        self.begin()?;
        self.come_to_call()
    }

    /// Lets a victim that has done its set-up come to the call.
    pub(super) fn come_to_call(&self) -> Result<(), Failure> {
        expect_breakpoint(self.victim.go()?)
    }

    /// Lets the victim do its set-up.
    pub(super) fn begin(&self) -> Result<(), Failure> {
        send(&self.victim_socket, Command::Run)?;
        expect_breakpoint(self.victim.stopped()?)
    }

    /// Of a target that was started without a number of calls: how many come before the one that leads to a function; `None`
    /// if none does.
    pub(super) fn find_call(&self, is_first: bool, function: &str) -> Result<Option<u64>, Failure> {
        if !is_first {
            self.battery()?;
            self.settle()?;
        }
        self.begin()?;
        let addresses = self.image.named(function);
        if addresses.is_empty() {
            return Err(wrong(format!("the library has no function {function}")));
        }
        let is_there = self.victim.go_to(&addresses)?;
        Ok(if is_there { Some(self.victim.peek(self.counter)?) } else { None })
    }

    /// Steps the victim through its call.
    pub(super) fn walk(
        &self,
        way: Way,
        see: impl FnMut(&Step) -> io::Result<Next>,
    ) -> Result<(), Failure> {
        match self.victim.walk(&self.image, way, see)? {
            Stop::Gone => Err(wrong("the victim is gone")),
            _ => Ok(()),
        }
    }

    /// The victim, which stands anywhere, finishes its call and holds what it got.
    pub(super) fn finish(&self, is_at_end: bool) -> Result<(), Failure> {
        if !is_at_end {
            expect_breakpoint(self.victim.go()?)?;
        }
        self.victim.go_on()?;
        match receive(&self.victim_socket)? {
            Some(Reply::Done { .. }) => Ok(()),
            Some(_) => Err(wrong("the victim answers something else")),
            None => Err(Failure::Blocked("the victim does not finish".to_owned())),
        }
    }

    /// Every survivor carries out a battery.
    pub(super) fn battery(&self) -> Result<Battery, Failure> {
        self.survivors_do(Command::Battery)
    }

    fn survivors_do(&self, command: Command) -> Result<Battery, Failure> {
        let begun = Instant::now();
        for survivor in &self.survivors {
            send(survivor, command)?;
        }
        let mut battery = Battery::default();
        for (number, survivor) in self.survivors.iter().enumerate() {
            battery.calls += self.done(survivor, number)?;
        }
        battery.took = begun.elapsed();
        Ok(battery)
    }

    fn done(&self, stream: &UnixStream, number: usize) -> Result<u64, Failure> {
        match receive(stream) {
            Ok(Some(Reply::Done { calls })) => Ok(calls),
            Ok(Some(Reply::Futex { from, call })) => Err(Failure::Blocked(format!(
                "survivor {number} waits in {}: futex(2) at {}",
                name_of(call),
                self.image.place(from)
            ))),
            Ok(None) => Err(Failure::Blocked(format!(
                "survivor {number} does not go on: {}",
                self.whereabouts(self.threads[number])
            ))),
            Ok(Some(_)) | Err(_) => {
                Err(wrong("contents or addresses (see standard error), or a crash"))
            }
        }
    }

    /// Which system call a thread is in, and where it came from (`proc_pid_syscall(5)`).
    fn whereabouts(&self, thread: u64) -> String {
        let path = format!("/proc/{}/task/{thread}/syscall", self.child.id());
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut fields = text.split_whitespace();
        let call = match fields.next() {
            Some(number) if number == libc::SYS_futex.to_string() => "in futex(2)".to_owned(),
            Some("running") | None => return "it runs".to_owned(),
            Some(number) => format!("in system call {number}"),
        };
        let from = fields
            .next_back()
            .and_then(|from| u64::from_str_radix(from.trim_start_matches("0x"), 16).ok());
        format!("{call}, from {}", self.image.place(from.unwrap_or(0)))
    }

    /// Everything is given back, and the library's figures are read.
    pub(super) fn settle(&self) -> Result<Totals, Failure> {
        self.survivors_do(Command::Settle)?;
        send(&self.main, Command::Settle)?;
        match receive(&self.main) {
            Ok(Some(Reply::Settled(totals))) => Ok(totals),
            Ok(None) => Err(Failure::Blocked("the first thread does not go on".to_owned())),
            _ => Err(wrong("contents or addresses (see standard error), or a crash")),
        }
    }

    /// Another victim in place of a dead one.
    pub(super) fn replace_victim(&mut self) -> Result<(), Failure> {
        send(&self.main, Command::Another)?;
        match receive(&self.victim_socket)? {
            Some(Reply::Hello { thread, sequence_word, syscall, .. }) => {
                self.victim = Victim::seize(thread, sequence_word, syscall)?;
                Ok(())
            }
            _ => Err(wrong("there is no other victim")),
        }
    }
}

fn expect_breakpoint(stop: Stop) -> Result<(), Failure> {
    match stop {
        Stop::Breakpoint(_) => Ok(()),
        stop => Err(wrong(format!("the victim did not come to its call: {stop:?}"))),
    }
}

impl Library {
    /// The library at `path`: lfalloc's, if it has calls that only lfalloc has.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn at(path: PathBuf) -> Result<Self, String> {
        let file = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let own = b"lfalloc_totals";
        let is_own = file.windows(own.len()).any(|bytes| bytes == own);
        Ok(if is_own { Self::Own(path) } else { Self::Other(path) })
    }

    /// The file that it is in.
    pub(super) fn path(&self) -> Result<PathBuf, String> {
        match self {
            Self::Own(path) | Self::Other(path) => Ok(path.clone()),
            // This program and the target have the same.
            Self::C => {
                let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
                let is_c = |path: &&str| {
                    Path::new(path).file_name().is_some_and(|name| name == "libc.so.6")
                };
                let mut paths = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
                paths.find(is_c).map(PathBuf::from).ok_or("there is no libc.so.6".to_owned())
            }
        }
    }
}
