//! The program with all attacks; see `c/attacks/attacks.h`.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::contender::Contender;
use super::ending::{Ending, Report};
use super::{Folder, c_files, compile};

/// How long an attack may take. Most need some milliseconds; one that ran into a list without an end, or a lock that nobody
/// leaves, never comes back.
const PATIENCE: Duration = Duration::from_secs(5);

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

    /// Whether an allocator knows a variable of the environment: whether it says that nonsense in it is ignored.
    ///
    /// # Errors
    /// If the program does not run.
    pub fn is_option(&self, variable: &str, on: &Contender) -> Result<bool, String> {
        let mut command = Command::new(self.path());
        on.prepare(&mut command);
        let output = command.arg("list").env(variable, "nonsense").output();
        let output = output.map_err(|error| format!("attacks list: {error}"))?;
        Ok(String::from_utf8_lossy(&output.stderr).contains(variable))
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
        let (status, files) = trial.run(&mut command)?;
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
    fn run(&self, command: &mut Command) -> Result<(Option<ExitStatus>, [Vec<u8>; 3]), String> {
        let file = |name: &str| File::create(self.path(name)).map_err(|error| error.to_string());
        let child =
            command.stdin(Stdio::null()).stdout(file("said")?).stderr(file("told")?).spawn();
        let mut child = child.map_err(|error| format!("{command:?}: {error}"))?;
        let start = Instant::now();
        let status = loop {
            match child.try_wait().map_err(|error| error.to_string())? {
                Some(status) => break Some(status),
                None if start.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(1)),
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
