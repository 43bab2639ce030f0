//! `watched`: what a program with many superblocks loses by being watched, and what the viewer costs.
//!
//! This process is the program: threads that free and allocate at full speed, all over superblocks that each hold one
//! block for good. An `lfinspect` in a pseudo-terminal of 120 by 36 comes and goes; what the threads achieve with it and
//! without it is compared pair by pair, in the order ABBA, so that whatever else the machine does strikes both.

use std::alloc::Layout;
use std::error::Error;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lfalloc::LfAlloc;
use portable_pty::{CommandBuilder, PtySize, native_pty_system};

use crate::contender::Held;
use crate::statistics::Samples;
use crate::viewer::SocketDirectory;

/// Eight of these fill a superblock.
const BLOCK_BYTES: usize = 8192;
const SUPERBLOCK_BYTES: usize = 1 << 16;
/// Operations between two notes of how many were done.
const NOTED_EVERY: u64 = 256;
/// Seconds that the churn may take until it is steady, and what that means.
const WARMING_SECONDS: usize = 30;
const STEADY: f64 = 0.01;
/// From the viewer's start until what it does is measured.
const SETTLING: Duration = Duration::from_millis(500);

/// What is measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    /// The viewer.
    pub(crate) lfinspect: PathBuf,
    /// Keys typed into it.
    pub(crate) keys: String,
    pub(crate) superblocks: usize,
    pub(crate) threads: usize,
    /// States a second.
    pub(crate) rate: usize,
    /// Pairs of intervals without and with it.
    pub(crate) pairs: usize,
    /// Length of an interval.
    pub(crate) seconds: usize,
}

/// Measures and prints.
pub(crate) fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    // A terminal's child looks for relative names elsewhere.
    let options = Options { lfinspect: options.lfinspect.canonicalize()?, ..options.clone() };
    let directory = SocketDirectory::new();
    let agent = lfalloc_agent::Options::new().directory(directory.path()).start()?;
    let churn = Churn::start(options.superblocks, options.threads);
    let mapped = lfalloc::observe::totals().superblock_bytes / SUPERBLOCK_BYTES as i64;
    println!(
        "{} threads churn over {mapped} superblocks; lfinspect at {} Hz, keys {:?}; {} pairs of {} s",
        options.threads, options.rate, options.keys, options.pairs, options.seconds
    );
    churn.warm_up();
    let (mut alone, mut watched) = (Samples::default(), Samples::default());
    let (mut viewer_cpu, mut agent_cpu, mut peak_mib) =
        (Samples::default(), Samples::default(), Samples::default());
    for pair in 0..options.pairs {
        for is_watched in [pair % 2 == 1, pair % 2 == 0] {
            if !is_watched {
                alone.push(churn.rate_over(options.seconds));
                continue;
            }
            let viewer = Viewer::start(&options, agent.socket_path())?;
            thread::sleep(SETTLING);
            let (cpu, own) = (cpu_seconds(viewer.pid)?, agent_seconds());
            watched.push(churn.rate_over(options.seconds));
            let seconds = options.seconds as f64;
            viewer_cpu.push((cpu_seconds(viewer.pid)? - cpu) / seconds * 100.0);
            agent_cpu.push((agent_seconds() - own) / seconds * 100.0);
            peak_mib.push(peak_mib_of(viewer.pid)?);
        }
    }
    let (ratio, half) = watched.mean_ratio(&alone);
    println!("alone     {:8.3} M operations/s, median", alone.median() / 1e6);
    println!("watched   {:8.3} M operations/s, median", watched.median() / 1e6);
    println!(
        "ratio     {ratio:8.4} ± {half:.4} (mean of the pairs, 95 % interval); median {:.4}",
        watched.paired_ratio(&alone)
    );
    println!("viewer    {:8.2} % of a core, most {:.2}", viewer_cpu.median(), viewer_cpu.max());
    println!("          {:8.1} MiB resident at most", peak_mib.max());
    println!("agent     {:8.2} % of a core, most {:.2}", agent_cpu.median(), agent_cpu.max());
    Ok(())
}

/// The threads that allocate and free; they end with this value.
struct Churn {
    ending: Arc<AtomicBool>,
    counters: Vec<Arc<Counter>>,
    threads: Vec<thread::JoinHandle<()>>,
}

/// On a cache line of its own: nobody is slowed down by another's counting.
#[repr(align(128))]
#[derive(Default)]
struct Counter(AtomicU64);

impl Churn {
    /// Fills superblocks, one block of each to stay, and starts the threads on the others.
    fn start(superblocks: usize, threads: usize) -> Self {
        let layout = Layout::from_size_align(BLOCK_BYTES, 16).unwrap_or(Layout::new::<u128>());
        let per_superblock = SUPERBLOCK_BYTES / BLOCK_BYTES;
        let all: Vec<Held<LfAlloc>> =
            (0..superblocks * per_superblock).map(|_| Held::untouched(layout)).collect();
        let (kept, loose): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|held| held.address() % SUPERBLOCK_BYTES < BLOCK_BYTES);
        // Kept to the end of the process.
        std::mem::forget(kept);
        let mut shares: Vec<Vec<Held<LfAlloc>>> = (0..threads).map(|_| Vec::new()).collect();
        for (place, held) in loose.into_iter().enumerate() {
            // Half of them are free in the beginning, and at any time.
            if place % 2 == 0 {
                shares[place / 2 % threads].push(held);
            }
        }
        let ending = Arc::new(AtomicBool::new(false));
        let counters: Vec<_> = (0..threads).map(|_| Arc::new(Counter::default())).collect();
        let threads = shares
            .into_iter()
            .zip(counters.clone())
            .zip(1..)
            .map(|((mut share, counter), seed)| {
                let ending = Arc::clone(&ending);
                thread::spawn(move || {
                    let mut random: u64 = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed);
                    // Relaxed, as the counter: neither hands over anything but itself.
                    while !ending.load(Ordering::Relaxed) {
                        for _ in 0..NOTED_EVERY {
                            random ^= random << 13;
                            random ^= random >> 7;
                            random ^= random << 17;
                            let place = (random % share.len() as u64) as usize;
                            // Freed first, so that what is allocated comes from elsewhere.
                            drop(share.swap_remove(place));
                            share.push(Held::untouched(layout));
                        }
                        counter.0.fetch_add(2 * NOTED_EVERY, Ordering::Relaxed);
                    }
                    std::mem::forget(share);
                })
            })
            .collect();
        Self { ending, counters, threads }
    }

    fn operations(&self) -> u64 {
        self.counters.iter().map(|counter| counter.0.load(Ordering::Relaxed)).sum()
    }

    /// Waits until a second is like the one before: pages are touched for the first time, lists find their length.
    fn warm_up(&self) {
        let mut before = 0.0;
        for _ in 0..WARMING_SECONDS {
            let now = self.rate_over(1);
            if (now / before - 1.0_f64).abs() < STEADY {
                break;
            }
            before = now;
        }
    }

    /// Operations a second, over so many seconds from now on.
    fn rate_over(&self, seconds: usize) -> f64 {
        let (start, before) = (Instant::now(), self.operations());
        thread::sleep(Duration::from_secs(seconds as u64));
        (self.operations() - before) as f64 / start.elapsed().as_secs_f64()
    }
}

impl Drop for Churn {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// An lfinspect on a pseudo-terminal; it ends with this value.
struct Viewer {
    child: Box<dyn portable_pty::Child + Send + Sync>,
    pid: u32,
    /// Its other end: closed, it would end the viewer.
    _terminal: Box<dyn portable_pty::MasterPty + Send>,
}

impl Viewer {
    fn start(options: &Options, socket: &Path) -> Result<Self, Box<dyn Error>> {
        let pty = native_pty_system().openpty(PtySize {
            rows: 36,
            cols: 120,
            pixel_width: 0,
            pixel_height: 0,
        })?;
        let mut command = CommandBuilder::new(&options.lfinspect);
        command.args(["--rate", &options.rate.to_string(), "--socket"]);
        command.arg(socket);
        command.env("TERM", "xterm-256color");
        let child = pty.slave.spawn_command(command)?;
        let pid = child.process_id().ok_or("lfinspect did not start")?;
        let mut output = pty.master.try_clone_reader()?;
        // Somebody has to read what is drawn.
        thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            while output.read(&mut buffer).is_ok_and(|read| read > 0) {}
        });
        let mut input = pty.master.take_writer()?;
        input.write_all(options.keys.as_bytes())?;
        input.flush()?;
        Ok(Self { child, pid, _terminal: pty.master })
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processor time of a process so far.
fn cpu_seconds(pid: u32) -> Result<f64, Box<dyn Error>> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        nanoseconds += schedule_ns(&task?.path());
    }
    Ok(nanoseconds as f64 / 1e9)
}

/// Processor time of this process's agent.
fn agent_seconds() -> f64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return f64::NAN };
    let is_agent = |path: &PathBuf| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "lfalloc-agent")
    };
    let agents = tasks.flatten().map(|task| task.path()).filter(is_agent);
    agents.map(|path| schedule_ns(&path)).sum::<u64>() as f64 / 1e9
}

/// Time on a processor, the first number of schedstat.
fn schedule_ns(task: &Path) -> u64 {
    let text = std::fs::read_to_string(task.join("schedstat")).unwrap_or_default();
    text.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(0)
}

/// The most that was ever resident of a process.
fn peak_mib_of(pid: u32) -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<f64>().ok());
    Ok(kib.ok_or("no VmHWM")? / 1024.0)
}
