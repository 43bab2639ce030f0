//! The program that `lfinspect demo` watches, started by a test.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};

use super::lfinspect;

/// A running program; it ends when dropped.
pub(crate) struct DemoTarget {
    process: Child,
    stdout: BufReader<ChildStdout>,
    pub(crate) socket: PathBuf,
}

impl DemoTarget {
    /// Starts it with its socket in `directory`, and waits until its agent listens.
    pub(crate) fn start(directory: &Path, arguments: &[&str]) -> Self {
        let mut process = lfinspect(directory)
            .arg("demo-target")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let mut target = Self { process, stdout, socket: PathBuf::new() };
        let line = target.line();
        target.socket = line.strip_prefix("socket ").unwrap_or_else(|| panic!("{line}")).into();
        target
    }

    /// Lets it walk.
    pub(crate) fn go(&mut self) {
        self.process.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }

    /// The next line it says.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Ends it as a closed standard input does; whether it ended well.
    pub(crate) fn end(&mut self) -> bool {
        drop(self.process.stdin.take());
        self.process.wait().unwrap().success()
    }

    /// Kills it, so that its socket is left behind.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for DemoTarget {
    fn drop(&mut self) {
        // Where a test failed in between; otherwise it has ended long ago.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
