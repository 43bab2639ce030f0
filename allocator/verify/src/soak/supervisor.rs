//! Runs a soak in a process of its own, under the library, tells how far it is, and ends it when one of its threads does not go on.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::soak::Soak;
use crate::soak::board::Board;
use crate::soak::report::{grouped, minutes};
use crate::soak::stands::stands;

/// How soaks are run.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The program whose child is to be the soak: see [`crate::soak::arguments::main`].
    pub program: PathBuf,
    /// What it is preloaded with; `None`: the C library's own malloc.
    pub library: Option<PathBuf>,
    /// Factor of the goals.
    pub scale: f64,
    /// Ends a soak before its goal.
    pub time: Option<Duration>,
    /// How long a thread may stand still.
    pub patience: Duration,
    /// How often is told how far it is; `None`: never.
    pub tell_every: Option<Duration>,
    /// What random numbers begin with.
    pub seed: u64,
    /// More of the environment of soaks.
    pub environment: Vec<(OsString, OsString)>,
}

/// What came of a soak.
#[derive(Debug)]
pub struct Outcome {
    /// Which.
    pub soak: &'static Soak,
    /// The figures at the end.
    pub board: &'static Board,
    /// How long it took.
    pub time: Duration,
    /// What went wrong, if anything did.
    pub failure: Option<String>,
}

/// The variable that tells the child where its board is.
pub const DESCRIPTOR: &str = "LFALLOC_SOAK_BOARD";

/// Runs a soak to its end.
///
/// # Errors
/// When it cannot be started.
pub fn run(soak: &'static Soak, setting: &Setting) -> std::io::Result<Outcome> {
    let goal = scaled(soak.goal, setting.scale);
    let arguments = [
        "--child".to_owned(),
        soak.name.to_owned(),
        goal.to_string(),
        setting.time.map_or(0, |time| time.as_millis()).to_string(),
        setting.seed.to_string(),
    ];
    let (child, board) = start(&arguments, soak.environment, setting)?;
    board.goal.store(goal, Ordering::Relaxed);
    let begun = Instant::now();
    let failure = watch(child, board, setting, |board| tell(soak, board, begun))?;
    Ok(Outcome { soak, board, time: begun.elapsed(), failure })
}

#[expect(clippy::cast_sign_loss, reason = "negative factors come to the least goal")]
fn scaled(goal: u64, scale: f64) -> u64 {
    ((goal as f64 * scale) as u64).max(1)
}

/// Starts a child with a board.
///
/// # Errors
/// When the system does not.
pub fn start(
    arguments: &[String],
    environment: &[(&str, &str)],
    setting: &Setting,
) -> std::io::Result<(Child, &'static Board)> {
    // SAFETY: a name that ends with a zero byte (memfd_create(2)).
    let descriptor = unsafe { libc::memfd_create(c"board".as_ptr(), 0) };
    if descriptor < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: made just now.
    let file = std::fs::File::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
    file.set_len(size_of::<Board>() as u64)?;
    let board = Board::map(file.as_raw_fd())?;
    let mut command = Command::new(&setting.program);
    command.args(arguments).env(DESCRIPTOR, file.as_raw_fd().to_string());
    command.envs(environment.iter().copied()).envs(setting.environment.iter().cloned());
    // The agent is a thread of its own, and soaks wait until they have none.
    command.env_remove("LFALLOC_AGENT");
    if let Some(library) = &setting.library {
        command.env("LD_PRELOAD", library);
    }
    // A group of its own, so that its children can be ended with it; and none outlives its supervisor.
    command.process_group(0);
    let dies_with_parent = || {
        // SAFETY: numbers only (prctl(2)).
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        Ok(())
    };
    // SAFETY: makes a system call, and nothing else, in the child.
    unsafe { command.pre_exec(dies_with_parent) };
    Ok((command.spawn()?, board))
}

/// Waits for a child, until one of its lanes does not move; what went wrong, if anything did.
///
/// # Errors
/// When the child cannot be waited for.
pub fn watch(
    mut child: Child,
    board: &'static Board,
    setting: &Setting,
    tell: impl Fn(&Board),
) -> std::io::Result<Option<String>> {
    let mut watch = Watch::new(board);
    let mut told = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if let Some(what) = watch.stands_still(board, setting.patience) {
            let text =
                format!("{what} for {} s:\n{}", setting.patience.as_secs_f64(), stands(child.id()));
            end_group(&child);
            child.wait()?;
            return Ok(Some(board.failure().unwrap_or(text)));
        }
        if setting.tell_every.is_some_and(|every| told.elapsed() >= every) {
            told = Instant::now();
            tell(board);
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    // Children of its own that are left, if it failed.
    end_group(&child);
    Ok(board.failure().or_else(|| (!status.success()).then(|| ended(status))))
}

fn ended(status: ExitStatus) -> String {
    match status.signal() {
        Some(signal) => format!("killed by signal {signal}"),
        None => format!("ended with {status}"),
    }
}

fn end_group(child: &Child) {
    // SAFETY: the group that this child was made the first of (kill(2)).
    unsafe { libc::kill(-child.id().cast_signed(), libc::SIGKILL) };
}

/// When the lanes, and what is done, moved last.
#[derive(Debug)]
struct Watch {
    lanes: Vec<(u64, Instant)>,
    done: (u64, Instant),
}

impl Watch {
    fn new(board: &Board) -> Self {
        let now = Instant::now();
        Self { lanes: board.lanes().map(|lane| (lane, now)).collect(), done: (0, now) }
    }

    /// What does not move any more.
    fn stands_still(&mut self, board: &Board, patience: Duration) -> Option<String> {
        let now = Instant::now();
        let mut still = None;
        let found = board.done.load(Ordering::Relaxed);
        if found != self.done.0 {
            self.done = (found, now);
        } else if now - self.done.1 > patience {
            still = Some("nothing was done".to_owned());
        }
        for (number, (lane, found)) in self.lanes.iter_mut().zip(board.lanes()).enumerate() {
            if lane.0 != found || found & 1 == 0 {
                *lane = (found, now);
            } else if now - lane.1 > patience {
                still = Some(format!("thread {number} stood still"));
            }
        }
        still
    }
}

/// One line: what, how far, how fast, how long still.
fn tell(soak: &Soak, board: &Board, begun: Instant) {
    let read = |word: &AtomicU64| word.load(Ordering::Relaxed);
    let (done, goal) = (read(&board.done), read(&board.goal));
    let elapsed = begun.elapsed();
    let mut line = format!("{}: {} of {} {}", soak.name, grouped(done), grouped(goal), soak.unit);
    if done > 0 {
        let rest = elapsed.mul_f64(goal.saturating_sub(done) as f64 / done as f64);
        let rate = u128::from(done) * 1000 / elapsed.as_millis().max(1);
        let _ = write!(line, ", {}/s, {} left", grouped(rate as u64), minutes(rest));
    }
    println!("{line}");
}

/// The board of this process, which [`start`] started.
///
/// # Errors
/// When there is none.
pub fn own_board() -> Result<&'static Board, String> {
    let descriptor = std::env::var(DESCRIPTOR).map_err(|_| "no board: not for people")?;
    let descriptor = descriptor.parse().map_err(|_| format!("{DESCRIPTOR}={descriptor}"))?;
    let board = Board::map(descriptor).map_err(|error| error.to_string());
    // Programs that are run in this process do not get it.
    // SAFETY: flags of a descriptor (fcntl(2)).
    unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    board
}
