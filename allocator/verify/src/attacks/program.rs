//! The program with all attacks; see `c/attacks/attacks.h`.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::contender::Contender;
use super::ending::{Ending, Report};
use super::{Folder, c_files, compile};

/// How long a process may take.
#[derive(Clone, Copy)]
struct Patience {
    /// Processor time, in hundredths of a second.
    ticks: u64,
    /// Waiting without using any. (Other things may keep the machine busy: time that passes while it could run says nothing.)
    idle: Duration,
}

/// Most attacks need some milliseconds; one that runs around in a list without an end, or waits for a lock that nobody leaves, never
/// comes back.
const PATIENCE: Patience = Patience { ticks: 300, idle: Duration::from_secs(10) };
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// One of the attacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attack {
    /// As the program knows it.
    pub name: String,
    /// How often it is tried: more than once where chance decides.
    pub trials: u32,
    /// A few words.
    pub what: String,
}

/// The compiled program.
#[derive(Debug)]
pub struct Program {
    folder: Folder,
}

impl Program {
    /// Compiles it.
    ///
    /// # Errors
    /// What the compiler says.
    pub fn compile() -> Result<Self, String> {
        let program = Self { folder: Folder::new()? };
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("c/attacks");
        // The compiler is to do what is written, and to believe nothing of malloc. C++'s operators come from the allocator, or else
        // from the C++ library.
        let mut compiler = Command::new("gcc");
        compiler
            .args(["-std=gnu17", "-O0", "-g", "-fno-builtin", "-Wall", "-Wextra", "-Werror"])
            .args(["-pthread", "-o"])
            .arg(program.path())
            .args(c_files(&sources)?)
            .args(["-Wl,--no-as-needed", "-lstdc++", "-ldl"]);
        compile(&mut compiler)?;
        Ok(program)
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("attacks")
    }

    /// All attacks, in the order of the table.
    ///
    /// # Errors
    /// If the program does not run.
    pub fn attacks(&self) -> Result<Vec<Attack>, String> {
        let output = Command::new(self.path()).arg("list").output();
        let output = output.map_err(|error| format!("attacks list: {error}"))?;
        let attacks = String::from_utf8_lossy(&output.stdout).lines().map(attack).collect();
        if output.status.success() {
            attacks
        } else {
            Err(format!("attacks list: {}", output.status))
        }
    }

    /// One trial.
    ///
    /// # Errors
    /// If nothing is shown by it.
    pub fn attempt(&self, attack: &str, on: &Contender, seed: u32) -> Result<Ending, String> {
        let trial = Trial::new()?;
        let mut command = Command::new(self.path());
        command.args([attack, &seed.to_string()]).arg(trial.path("report"));
        on.prepare(&mut command);
        let (status, files) = trial.run(&mut command, PATIENCE)?;
        let [said, told, report] = files;
        Ending::of(status, &said, &told, &Report::from_bytes(&report))
            .map_err(|why| format!("{attack} on {}, trial {seed}: {why}", on.name))
    }
}

fn attack(line: &str) -> Result<Attack, String> {
    let fields: Vec<_> = line.split('\t').collect();
    match fields[..] {
        [name, trials, what] => {
            let trials = trials.parse().map_err(|_| format!("trials: {line}"))?;
            Ok(Attack { name: name.to_owned(), trials, what: what.to_owned() })
        }
        _ => Err(format!("no attack: {line}")),
    }
}

/// What one process leaves. In files, since a pipe is full some time, and whoever waits for both would wait for ever.
struct Trial(Folder);

impl Trial {
    fn new() -> Result<Self, String> {
        let trial = Self(Folder::new()?);
        fs::write(trial.path("report"), [0; 4096]).map_err(|error| error.to_string())?;
        Ok(trial)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    /// How it ended, none if it did not; what it wrote, what was written to standard error, and its report.
    fn run(
        &self,
        command: &mut Command,
        patience: Patience,
    ) -> Result<(Option<ExitStatus>, [Vec<u8>; 3]), String> {
        let file = |name: &str| File::create(self.path(name)).map_err(|error| error.to_string());
        let child =
            command.stdin(Stdio::null()).stdout(file("said")?).stderr(file("told")?).spawn();
        let mut child = child.map_err(|error| format!("{command:?}: {error}"))?;
        let mut watch = Watch::new(child.id(), patience);
        let status = loop {
            match child.try_wait().map_err(|error| error.to_string())? {
                Some(status) => break Some(status),
                None if !watch.hangs() => std::thread::sleep(Duration::from_millis(1)),
                None => {
                    // If it has ended just now there is nothing to kill.
                    let _ = child.kill();
                    child.wait().map_err(|error| error.to_string())?;
                    break None;
                }
            }
        };
        let read = |name: &str| fs::read(self.path(name)).map_err(|error| error.to_string());
        Ok((status, [read("said")?, read("told")?, read("report")?]))
    }
}

/// Looks now and then what a process does.
struct Watch {
    process: u32,
    patience: Patience,
    looked: Instant,
    /// When it had used another number of ticks, or could have gone on.
    alive: Instant,
    ticks: u64,
}

impl Watch {
    fn new(process: u32, patience: Patience) -> Self {
        Self { process, patience, looked: Instant::now(), alive: Instant::now(), ticks: 0 }
    }

    /// Whether it has run, or waited, for too long.
    fn hangs(&mut self) -> bool {
        if self.looked.elapsed() < LOOK {
            return false;
        }
        self.looked = Instant::now();
        // Of a process that has ended: whoever waits for it will see that.
        let Some((is_runnable, ticks)) = state(self.process) else { return false };
        if is_runnable || ticks != self.ticks {
            self.alive = self.looked;
        }
        self.ticks = ticks;
        ticks > self.patience.ticks || self.alive.elapsed() > self.patience.idle
    }
}

/// Whether a process could go on if there were a processor for it, and the ticks that it has used (proc(5)).
fn state(process: u32) -> Option<(bool, u64)> {
    let line = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // Its name is in brackets, and may be anything.
    let mut fields = line.rsplit_once(')')?.1.split_whitespace();
    let is_runnable = fields.next()? == "R";
    let mut times = fields.skip(10);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    Some((is_runnable, user + system))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Aim: who runs for ever, and who waits for ever, is told, and what it says is kept. Method: a shell that does either.
    #[test]
    fn what_never_comes_back_is_told() {
        let patience = Patience { ticks: 20, idle: Duration::from_secs(1) };
        for (script, hangs) in [
            ("echo x; while :; do :; done", true),
            ("echo x; exec sleep 1000", true),
            ("echo x", false),
        ] {
            let ended = Trial::new()
                .and_then(|trial| trial.run(Command::new("sh").args(["-c", script]), patience));
            let (status, [said, ..]) = ended.unwrap_or_else(|why| panic!("{why}"));
            assert_eq!((status.is_none(), &said[..]), (hangs, &b"x\n"[..]), "{script}");
        }
    }
}
