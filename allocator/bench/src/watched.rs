//! `watched`: what a program with many superblocks loses by being watched, and what the viewer costs.
//!
//! `busy` in a process of its own is the program. An `lfinspect` in a pseudo-terminal of 120 by 36 comes and goes; what
//! the program achieves with it and without it is compared pair by pair, in the order ABBA, so that whatever else the
//! machine does strikes both.
//!
//! The program must not be the one that starts the viewer: a fork marks all its pages to be copied when they are written,
//! which made it three times slower for two seconds.

use std::error::Error;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use portable_pty::{CommandBuilder, PtySize, native_pty_system};

use crate::busy::schedule_ns;
use crate::statistics::Samples;
use crate::viewer::SocketDirectory;

/// Seconds that the program may take until it is steady, and what that means.
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
    let mut program = Program::start(&options, directory.path())?;
    println!(
        "{} threads churn over {} superblocks; lfinspect at {} Hz, keys {:?}; {} pairs of {} s",
        options.threads,
        program.superblocks,
        options.rate,
        options.keys,
        options.pairs,
        options.seconds
    );
    program.warm_up()?;
    let (mut alone, mut watched) = (Samples::default(), Samples::default());
    let (mut viewer_cpu, mut agent_cpu, mut peak_mib) =
        (Samples::default(), Samples::default(), Samples::default());
    for pair in 0..options.pairs {
        for is_watched in [pair % 2 == 1, pair % 2 == 0] {
            if !is_watched {
                alone.push(program.over(options.seconds)?.rate);
                continue;
            }
            let viewer = Viewer::start(&options, &program.socket)?;
            thread::sleep(SETTLING);
            let cpu = cpu_seconds(viewer.pid)?;
            let interval = program.over(options.seconds)?;
            watched.push(interval.rate);
            viewer_cpu.push((cpu_seconds(viewer.pid)? - cpu) / options.seconds as f64 * 100.0);
            agent_cpu.push(interval.agent * 100.0);
            peak_mib.push(peak_mib_of(viewer.pid)?);
        }
    }
    let (ratio, half) = watched.mean_ratio(&alone);
    println!("alone     {:8.3} M operations/s, median", alone.median() / 1e6);
    println!("watched   {:8.3} M operations/s, median", watched.median() / 1e6);
    let (low, high) = watched.paired_ratio_interval(&alone);
    println!(
        "ratio     {:8.4}, {low:.4} to {high:.4} (median of the pairs, 95 % interval); mean {ratio:.4} ± {half:.4}",
        watched.paired_ratio(&alone)
    );
    println!("viewer    {:8.2} % of a core, most {:.2}", viewer_cpu.median(), viewer_cpu.max());
    println!("          {:8.1} MiB resident at most", peak_mib.max());
    println!("agent     {:8.2} % of a core, most {:.2}", agent_cpu.median(), agent_cpu.max());
    Ok(())
}

/// The program; it ends with this value.
struct Program {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    superblocks: i64,
    socket: PathBuf,
}

/// What it did in an interval.
struct Interval {
    /// Operations a second.
    rate: f64,
    /// Share of the time that its agent took.
    agent: f64,
}

impl Program {
    fn start(options: &Options, directory: &Path) -> Result<Self, Box<dyn Error>> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["busy", "--counted", "--superblocks", &options.superblocks.to_string()])
            .args(["--threads", &options.threads.to_string(), "--directory"])
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take();
        let mut output = BufReader::new(child.stdout.take().ok_or("the program has no output")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let (superblocks, socket) =
            line.trim_end().split_once(' ').ok_or("the program did not start")?;
        let (superblocks, socket) = (superblocks.parse()?, socket.into());
        Ok(Self { child, input, output, superblocks, socket })
    }

    /// Operations so far, and processor time of the agent, in seconds.
    fn counts(&mut self) -> Result<(u64, f64), Box<dyn Error>> {
        self.input.as_mut().ok_or("the program has no input")?.write_all(b"\n")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let (operations, agent) = line.trim_end().split_once(' ').ok_or("the program has ended")?;
        Ok((operations.parse()?, agent.parse()?))
    }

    /// What it does in so many seconds from now on.
    fn over(&mut self, seconds: usize) -> Result<Interval, Box<dyn Error>> {
        let (start, before) = (Instant::now(), self.counts()?);
        thread::sleep(Duration::from_secs(seconds as u64));
        let (elapsed, after) = (start.elapsed().as_secs_f64(), self.counts()?);
        Ok(Interval {
            rate: (after.0 - before.0) as f64 / elapsed,
            agent: (after.1 - before.1) / elapsed,
        })
    }

    /// Waits until a second is like the one before: pages are touched for the first time, lists find their length.
    fn warm_up(&mut self) -> Result<(), Box<dyn Error>> {
        let mut before = 0.0;
        for _ in 0..WARMING_SECONDS {
            let now = self.over(1)?.rate;
            if (now / before - 1.0_f64).abs() < STEADY {
                break;
            }
            before = now;
        }
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The end of its input ends it.
        self.input = None;
        let _ = self.child.wait();
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

/// The most that was ever resident of a process.
fn peak_mib_of(pid: u32) -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<f64>().ok());
    Ok(kib.ok_or("no VmHWM")? / 1024.0)
}
