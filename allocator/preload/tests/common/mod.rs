//! Compiles the C and C++ programs beside it, runs them on liblfalloc.so, and judges how they ended.
//!
//! Every program checks first that it runs on lfalloc, so a library that is not loaded, or does not
//! come first, fails every test. A missing compiler fails them, too.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "every test file uses its part")]
#![allow(clippy::disallowed_types, reason = "what waits here is no allocator")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;

/// How long a program may take. Most need less than a second; one that waits for itself never ends.
const PATIENCE: Duration = Duration::from_secs(60);

/// The folder with the programs' sources.
pub(crate) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c")
}

/// The library under test, in the build that the test itself belongs to.
///
/// Cargo builds no library for a test that cannot link to it. So it is built here when it is missing
/// or older than what it is made of: nothing else would notice that an old one is tested.
pub(crate) fn library() -> PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(up_to_date_library).clone()
}

fn up_to_date_library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let build = test.parent().and_then(Path::parent).unwrap();
    let library = build.join("liblfalloc.so");
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let preload = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made_of = ["src", "build.rs", "../src", "../agent/src", "../../protocol/src"];
    let newest = made_of.iter().filter_map(|path| newest_in(&preload.join(path))).max();
    if modified(&library) < newest {
        // The profile of tests has the folder of the one for development.
        let profile = match build.file_name().and_then(OsStr::to_str) {
            Some("debug") | None => "test",
            Some(profile) => profile,
        };
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args(["build", "--quiet", "--package", "lfalloc-preload", "--profile", profile])
            .arg("--target-dir")
            .arg(build.parent().unwrap())
            .current_dir(preload)
            .status()
            .unwrap();
        assert!(status.success(), "the library cannot be built: {status}");
    }
    assert!(library.exists(), "no {}", library.display());
    library
}

/// When the youngest file of a folder was last changed.
fn newest_in(path: &Path) -> Option<SystemTime> {
    if path.is_dir() {
        fs::read_dir(path).ok()?.filter_map(|entry| newest_in(&entry.ok()?.path())).max()
    } else {
        fs::metadata(path).ok()?.modified().ok()
    }
}

/// Which of the compiler's habits a program is built with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Optimisation {
    /// `-O1 -fno-builtin`: every call that is written is made.
    Literal,
    /// `-O2`: the compiler believes what the standard says about malloc.
    Believing,
}

/// A compiled program, in a folder of its own that goes when this is dropped.
pub(crate) struct Program {
    folder: TempDir,
    path: PathBuf,
}

impl Program {
    /// The program of `tests/c/SOURCE` as most tests want it.
    pub(crate) fn compile(source: &str) -> Self {
        Self::compile_with(source, Optimisation::Literal, &[])
    }

    /// The same with more arguments behind the source's name.
    pub(crate) fn compile_with(source: &str, optimisation: Optimisation, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(Path::new(source).file_stem().unwrap());
        compile_to(&path, source, optimisation, flags);
        Self { folder, path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A folder that only this program's test uses.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A run of it with the library preloaded and none of lfalloc's variables set.
    pub(crate) fn run(&self) -> Run {
        Run::new(&self.path).env("LD_PRELOAD", library())
    }

    /// Runs it with these arguments; it must succeed.
    pub(crate) fn passes(&self, arguments: &[&str]) -> Outcome {
        self.run().args(arguments).outcome().succeeded()
    }
}

/// Compiles `tests/c/SOURCE` to `path`, as C or as C++.
pub(crate) fn compile_to(path: &Path, source: &str, optimisation: Optimisation, flags: &[&str]) {
    let cpp = Path::new(source).extension() == Some(OsStr::new("cpp"));
    let mut compiler = Command::new(if cpp { "g++" } else { "gcc" });
    compiler.arg(if cpp { "-std=c++20" } else { "-std=gnu17" });
    compiler.args(["-Wall", "-Wextra", "-Werror", "-pthread"]);
    match optimisation {
        Optimisation::Literal => compiler.args(["-O1", "-fno-builtin"]),
        Optimisation::Believing => compiler.arg("-O2"),
    };
    compiler.arg("-o").arg(path).arg(sources().join(source)).args(flags);
    let output = compiler.output().expect("gcc and g++ are needed, and must run");
    assert!(
        output.status.success(),
        "{compiler:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Compiles a program both ways and runs it on magazines and on the core alone; all must succeed.
pub(crate) fn passes_every_way(source: &str) {
    for optimisation in [Optimisation::Literal, Optimisation::Believing] {
        let program = Program::compile_with(source, optimisation, &[]);
        program.passes(&[]);
        program.run().env("LFALLOC_MAGAZINES", "0").outcome().succeeded();
    }
}

/// A run of a program that is being prepared.
pub(crate) struct Run {
    command: Command,
    output: TempDir,
}

impl Run {
    /// A run of the program at `path` as it is, without the library.
    pub(crate) fn new(path: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(path);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("LFALLOC_") {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::null());
        Self { command, output: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.command.args(arguments);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Gives the command to somebody who knows more of it.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Command)) -> Self {
        change(&mut self.command);
        self
    }

    /// Runs it to its end. Its output goes to files, so that a grandchild which keeps them open
    /// holds up nothing.
    pub(crate) fn outcome(mut self) -> Outcome {
        let out = self.output.path().join("out");
        let err = self.output.path().join("err");
        self.command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        let said = format!("{:?}", self.command);
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("{said}: {error}"));
        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            if started.elapsed() > PATIENCE {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let read = |path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        let (stdout, stderr) = (read(&out), read(&err));
        let Some(status) = status else {
            panic!("{said}: did not end within {PATIENCE:?}\n{stdout}{stderr}");
        };
        Outcome { said, status, stdout, stderr }
    }
}

/// How a program ended and what it wrote.
pub(crate) struct Outcome {
    pub(crate) said: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// It must have ended with status 0.
    pub(crate) fn succeeded(self) -> Self {
        assert!(
            self.status.success(),
            "{}: {}\nstdout: {}\nstderr: {}",
            self.said,
            self.status,
            self.stdout,
            self.stderr
        );
        self
    }

    /// It must have succeeded and written nothing on standard error.
    pub(crate) fn quietly(self) -> Self {
        let outcome = self.succeeded();
        assert_eq!(outcome.stderr, "", "{}", outcome.said);
        outcome
    }

    /// It must have ended itself by SIGABRT after exactly one line on standard error, which this
    /// returns.
    pub(crate) fn aborted(&self) -> &str {
        assert_eq!(
            self.status.signal(),
            Some(libc::SIGABRT),
            "{}: {}\nstdout: {}\nstderr: {}",
            self.said,
            self.status,
            self.stdout,
            self.stderr
        );
        self.only_line()
    }

    /// The one line it wrote on standard error.
    pub(crate) fn only_line(&self) -> &str {
        let lines: Vec<&str> = self.stderr.lines().collect();
        assert_eq!(lines.len(), 1, "{}: one line was expected: {:?}", self.said, self.stderr);
        assert!(self.stderr.ends_with('\n'), "{}: half a line: {:?}", self.said, self.stderr);
        lines[0]
    }
}

/// The whole output of a tool that must succeed.
pub(crate) fn tool(name: &str, arguments: &[&str]) -> String {
    let output = Command::new(name)
        .args(arguments)
        .env("LC_ALL", "C")
        .output()
        .unwrap_or_else(|error| panic!("{name} is needed: {error}"));
    assert!(
        output.status.success(),
        "{name}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
