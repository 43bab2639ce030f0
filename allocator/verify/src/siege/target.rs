//! The program that is besieged: it allocates, reallocates, frees and hands blocks to its other threads, and reads back what it
//! wrote.
//!
//! It is this very program, started again under `liblfalloc.so`. A line `work PIECES` on its standard input makes it do
//! that many pieces, each in every thread, and answer with one line, [`Work`]. The work depends on nothing but the number: the sum over
//! all that was read back is the same whenever nobody interfered.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::str::FromStr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::system::{clock_ns, pin};

/// Threads at work.
const THREADS: u64 = 3;
/// Operations of a thread in a piece of work.
const OPERATIONS: u32 = 4_000;
/// Blocks that a thread holds, and places where threads leave blocks for each other.
const HELD: usize = 256;
const PLACES: usize = 16;

/// What a piece of work came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Sum over everything that was read back.
    pub sum: u64,
    /// Blocks that did not hold what was written to them.
    pub damaged: u64,
    /// Nanoseconds from beginning to end.
    pub wall_ns: u64,
    /// Processor time of the whole process meanwhile, its agent's included.
    pub process_ns: u64,
    /// Processor time of the threads at work.
    pub workers_ns: u64,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sum, damaged, wall_ns, process_ns, workers_ns } = self;
        write!(f, "{sum} {damaged} {wall_ns} {process_ns} {workers_ns}")
    }
}

impl FromStr for Work {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let numbers: Result<Vec<u64>, _> = line.split_whitespace().map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[sum, damaged, wall_ns, process_ns, workers_ns]) => {
                Ok(Self { sum, damaged, wall_ns, process_ns, workers_ns })
            }
            _ => Err(format!("the target answered {line:?}")),
        }
    }
}

/// A block as the C library gives it, with its number, size and a stamp in every 512 bytes.
#[repr(C)]
struct Head {
    number: u64,
    bytes: u64,
}

const HEAD: usize = size_of::<Head>();

/// A block of `bytes` with its stamps; null when there is no memory.
fn allocate(number: u64, bytes: usize) -> *mut Head {
    // SAFETY: any size may be asked for.
    let block: *mut Head = unsafe { libc::malloc(bytes) }.cast();
    if !block.is_null() {
        stamp(block, number, bytes);
    }
    block
}

fn stamp(block: *mut Head, number: u64, bytes: usize) {
    let head = Head { number, bytes: bytes as u64 };
    // SAFETY: the block is this thread's and has room for a head.
    unsafe { block.write(head) };
    for place in stamps(bytes) {
        // SAFETY: within the block's bytes, behind its head.
        let byte = unsafe { block.cast::<u8>().add(place) };
        // SAFETY: as above.
        unsafe { byte.write(number as u8) };
    }
}

/// Where a block of that size has stamps: its last byte, and one in every 512.
fn stamps(bytes: usize) -> impl Iterator<Item = usize> {
    (HEAD..bytes).step_by(512).chain((bytes > HEAD).then(|| bytes - 1))
}

/// What a block says, mixed; `None` when it is not what was written.
fn read_back(block: *const Head) -> Option<u64> {
    // SAFETY: the block is this thread's and has a head.
    let Head { number, bytes } = unsafe { block.read() };
    for place in stamps(bytes as usize) {
        // SAFETY: within the block's bytes.
        let byte = unsafe { block.cast::<u8>().add(place) };
        // SAFETY: as above.
        if unsafe { byte.read() } != number as u8 {
            return None;
        }
    }
    let mixed = (number ^ bytes.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    Some(mixed ^ (mixed >> 29))
}

#[derive(Default)]
struct Sums {
    sum: u64,
    damaged: u64,
}

impl Sums {
    fn read_back_and_free(&mut self, block: *mut Head) {
        match read_back(block) {
            Some(said) => self.sum = self.sum.wrapping_add(said),
            None => self.damaged += 1,
        }
        // SAFETY: given out by malloc or realloc, and nobody else's.
        unsafe { libc::free(block.cast()) };
    }
}

/// A sequence that is always the same.
struct Sequence(u64);

impl Sequence {
    fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// Mostly small, some of pages, and one in a hundred large.
    fn bytes(&mut self) -> usize {
        let most = match self.next() % 100 {
            0 => 1_000_000,
            1..=9 => 60_000,
            10..=39 => 8_000,
            _ => 256,
        };
        HEAD + (self.next() % most) as usize
    }
}

/// What one thread does in one piece of work. Blocks that came from another thread are only read back and freed: what is
/// done to the others depends on the sequence alone.
fn one_thread(seed: u64, places: &[AtomicPtr<Head>; PLACES]) -> Sums {
    let mut sequence = Sequence(seed);
    let mut sums = Sums::default();
    let mut held = [std::ptr::null_mut::<Head>(); HELD];
    for number in 0..u64::from(OPERATIONS) {
        let slot = &mut held[sequence.next() as usize % HELD];
        let what = sequence.next() % 4;
        let (place, bytes) = (sequence.next() as usize % PLACES, sequence.bytes());
        let number = number ^ (seed << 20);
        if slot.is_null() {
            *slot = allocate(number, bytes);
        } else if what == 0 {
            // SAFETY: the block is this thread's.
            let moved: *mut Head = unsafe { libc::realloc((*slot).cast(), bytes) }.cast();
            if !moved.is_null() {
                stamp(moved, number, bytes);
                *slot = moved;
            }
        } else if what == 1 {
            let other =
                places[place].swap(std::mem::replace(slot, std::ptr::null_mut()), Ordering::AcqRel);
            if !other.is_null() {
                sums.read_back_and_free(other);
            }
        } else {
            sums.read_back_and_free(std::mem::replace(slot, std::ptr::null_mut()));
        }
    }
    for block in held.into_iter().filter(|block| !block.is_null()) {
        sums.read_back_and_free(block);
    }
    sums
}

/// Does `pieces` pieces of work.
///
/// # Panics
/// When a thread cannot be started.
#[must_use]
pub fn work(pieces: u64) -> Work {
    let places: [AtomicPtr<Head>; PLACES] = std::array::from_fn(|_| AtomicPtr::default());
    let (sum, damaged, workers_ns) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let add = |sums: &Sums| {
        sum.fetch_add(sums.sum, Ordering::Relaxed);
        damaged.fetch_add(sums.damaged, Ordering::Relaxed);
    };
    let (began, process) = (Instant::now(), clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID));
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (add, places, workers_ns) = (&add, &places, &workers_ns);
            scope.spawn(move || {
                for piece in 0..pieces {
                    add(&one_thread(piece * THREADS + number, places));
                }
                // The thread does nothing else from its first to its last moment.
                workers_ns.fetch_add(clock_ns(libc::CLOCK_THREAD_CPUTIME_ID), Ordering::Relaxed);
            });
        }
    });
    let process_ns = clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID) - process;
    let wall_ns = began.elapsed().as_nanos() as u64;
    let mut left = Sums::default();
    for place in &places {
        let block = place.swap(std::ptr::null_mut(), Ordering::AcqRel);
        if !block.is_null() {
            left.read_back_and_free(block);
        }
    }
    add(&left);
    Work {
        sum: sum.into_inner(),
        damaged: damaged.into_inner(),
        wall_ns,
        process_ns,
        workers_ns: workers_ns.into_inner(),
    }
}

/// The besieged program's `main`: obeys its standard input until that ends.
///
/// # Errors
/// Its input or output fails, or says something else.
pub fn serve() -> io::Result<()> {
    for line in io::stdin().lines() {
        let line = line?;
        match line.split_once(' ') {
            Some(("work", pieces)) => {
                let pieces = pieces.parse().map_err(io::Error::other)?;
                println!("{}", work(pieces));
            }
            Some(("fork", pieces)) => {
                let pieces = pieces.parse().map_err(io::Error::other)?;
                fork_and_work(pieces)?;
            }
            _ => return Err(io::Error::other(format!("unknown: {line}"))),
        }
        io::stdout().flush()?;
    }
    Ok(())
}

/// Does the work in a forked child and in itself at the same time; the child answers in the second line, behind its process
/// id, and lives on until its line was read and another one was sent.
fn fork_and_work(pieces: u64) -> io::Result<()> {
    // SAFETY: this process has one thread but its agent's, which holds nothing that the child needs.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let done = work(pieces);
            // In one piece: the parent writes to the same pipe.
            let line = format!("{} {done}\n", std::process::id());
            let status =
                io::stdout().write_all(line.as_bytes()).and_then(|()| io::stdout().flush());
            // Until the parent has closed its end of everything: it waits for this process.
            thread::sleep(Duration::from_secs(2));
            std::process::exit(i32::from(status.is_err()));
        }
        child => {
            let done = work(pieces);
            let mut status = 0;
            // SAFETY: there is room for a status.
            let ended = unsafe { libc::waitpid(child, &raw mut status, 0) };
            if ended != child || status != 0 {
                return Err(io::Error::other(format!("the child ended with {status}")));
            }
            println!("{done}");
            Ok(())
        }
    }
}

/// Without a single descriptor: does `pieces` pieces of work, writes [`Work`] to a file at `report`, and ends when that is gone.
///
/// # Errors
/// The file cannot be written.
pub fn serve_without_descriptors(pieces: u64, report: &Path) -> io::Result<()> {
    // SAFETY: nothing of this process reads or writes any more but files that it opens below.
    unsafe { libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, 0) };
    let done = work(pieces);
    let unfinished = report.with_extension("part");
    std::fs::write(&unfinished, format!("{done}\n"))?;
    std::fs::rename(&unfinished, report)?;
    while report.exists() {
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// A running target, which is killed when this is dropped.
#[derive(Debug)]
pub struct Target {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// Its agent's folder.
    pub folder: TempDir,
}

/// How a target is started.
#[derive(Debug)]
pub struct Start<'a> {
    /// This program, whose `target` the target is.
    pub program: &'a Path,
    /// The library that it runs on.
    pub library: &'a Path,
    /// What `LFALLOC_AGENT` is set to.
    pub agent: &'a str,
    /// The only processor that it may use.
    pub processor: Option<usize>,
}

impl Start<'_> {
    /// The command, with standard input and output in pipes, and the folder that its agent is told.
    ///
    /// # Errors
    /// There is no place for a folder.
    pub fn command(&self) -> io::Result<(Command, TempDir)> {
        // Paths of sockets are short.
        let folder = tempfile::Builder::new().prefix("siege").tempdir_in("/tmp")?;
        let mut command = Command::new(self.program);
        command.arg("target").env("LD_PRELOAD", self.library).env("LFALLOC_AGENT", self.agent);
        command.env("LFALLOC_DIR", folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(processor) = self.processor {
            // SAFETY: one system call, which touches nothing that another thread could hold.
            unsafe { command.pre_exec(move || pin(processor)) };
        }
        Ok((command, folder))
    }

    /// Starts it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self) -> io::Result<Target> {
        let (command, folder) = self.command()?;
        Target::of(command, folder)
    }
}

impl Target {
    /// Starts a command that [`Start::command`] made.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn of(mut command: Command, folder: TempDir) -> io::Result<Self> {
        let mut child = command.spawn()?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or_else(|| io::Error::other("no pipe"))?;
        Ok(Self { child, input, output: BufReader::new(output), folder })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Has it begin to do something; [`Self::answer`] waits for it.
    ///
    /// # Errors
    /// It has ended.
    pub fn order(&mut self, what: &str, pieces: u64) -> io::Result<()> {
        let input = self.input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        writeln!(input, "{what} {pieces}")
    }

    /// The next line that it says.
    ///
    /// # Errors
    /// It has ended.
    pub fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.output.read_line(&mut line)? {
            0 => Err(io::Error::other("the target has ended")),
            _ => Ok(line),
        }
    }

    /// What the work that was ordered came to.
    ///
    /// # Errors
    /// It has ended, or said something else.
    pub fn answer(&mut self) -> io::Result<Work> {
        self.line()?.parse().map_err(io::Error::other)
    }

    /// Does `pieces` pieces of work.
    ///
    /// # Errors
    /// As [`Self::answer`].
    pub fn work(&mut self, pieces: u64) -> io::Result<Work> {
        self.order("work", pieces)?;
        self.answer()
    }

    /// The socket of process `pid`'s agent in its folder, once there is one.
    #[must_use]
    pub fn socket_of(&self, pid: u32) -> Option<PathBuf> {
        let deadline = Instant::now() + Duration::from_secs(10);
        let ending = format!(".{pid}.sock");
        loop {
            let files = std::fs::read_dir(self.folder.path()).ok()?;
            let mut paths = files.filter_map(|file| Some(file.ok()?.path()));
            let found = paths.find(|path| path.to_string_lossy().ends_with(&ending));
            if found.is_some() || Instant::now() > deadline {
                return found;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Its own agent's socket.
    #[must_use]
    pub fn socket(&self) -> Option<PathBuf> {
        self.socket_of(self.pid())
    }

    /// Ends it; whether it ended well.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn end(mut self) -> io::Result<bool> {
        self.input = None;
        Ok(self.child.wait()?.success())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // It has ended already, or is of no use any more: nobody asks how this went.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    //! Aim: the sum tells whether the work was disturbed. Method: the same work twice, other work, and a damaged block.
    use super::*;

    #[test]
    fn the_sum_is_of_the_work_alone() {
        let [a, b, other] = [3, 3, 4].map(work);
        assert_eq!((a.sum, a.damaged), (b.sum, 0));
        assert_ne!(a.sum, other.sum);
    }

    #[test]
    fn damage_is_seen() {
        let block = allocate(7, 3000);
        assert!(read_back(block).is_some());
        // SAFETY: the last byte of the block.
        let last = unsafe { block.cast::<u8>().add(2999) };
        // SAFETY: as above.
        unsafe { last.write(8) };
        let mut sums = Sums::default();
        sums.read_back_and_free(block);
        assert_eq!((sums.sum, sums.damaged), (0, 1));
    }
}
