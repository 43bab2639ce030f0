//! The program that `demo` watches, from the outside: lfinspect itself in another process.
//!
//! Its standard input is its lease: whatever ends us closes it, and the program ends itself then.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::PathBuf;
use std::process::{self, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::failure::{Failure, Outcome};

/// How long the program may take to start its agent.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes kept of what it writes to its standard error.
const LAST_WORDS_BYTES: u64 = 4096;

/// A line of the program's standard output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The agent listens here.
    Socket(PathBuf),
    /// All rounds were walked.
    Done,
    /// The agent could not start, or a step had another effect than it should.
    Failed(String),
    /// There is no more to come.
    Ended,
}

impl Said {
    fn parse(line: &str) -> Option<Self> {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("socket", path) => Some(Self::Socket(PathBuf::from(path))),
            ("done", "") => Some(Self::Done),
            ("failed", reason) => Some(Self::Failed(reason.to_owned())),
            _ => None,
        }
    }
}

/// The running program. Ended when dropped.
pub(super) struct Child {
    process: process::Child,
    stdin: Option<ChildStdin>,
    said: Receiver<Said>,
    stderr: Option<JoinHandle<String>>,
}

impl Child {
    /// Starts the program; it waits for [`go`](Self::go).
    pub(super) fn start(pace: Duration, rounds: Option<u32>) -> Outcome<Self> {
        let own = std::env::current_exe().map_err(|error| {
            Failure::new(format!("demo: cannot find lfinspect itself: {error}"))
        })?;
        let mut command = Command::new(&own);
        command.arg("demo-target").arg(format!("--pace={}", pace.as_millis()));
        command.args(rounds.map(|rounds| format!("--rounds={rounds}")));
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| {
                Failure::new(format!("demo: cannot start {}: {error}", own.display()))
            })?;
        let (sender, said) = mpsc::channel();
        if let Some(stdout) = process.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    let Some(said) = Said::parse(&line) else {
                        continue;
                    };
                    if sender.send(said).is_err() {
                        break;
                    }
                }
            });
        }
        let stderr = process.stderr.take().map(|mut stderr| {
            thread::spawn(move || {
                let mut words = String::new();
                // What is no text is not worth more than what came before it.
                let _ = stderr.by_ref().take(LAST_WORDS_BYTES).read_to_string(&mut words);
                let _ = std::io::copy(&mut stderr, &mut std::io::sink());
                words
            })
        });
        Ok(Self { stdin: process.stdin.take(), process, said, stderr })
    }

    /// Waits for the agent; where it listens.
    pub(super) fn socket(&mut self) -> Outcome<PathBuf> {
        let reason = match self.listen(START_TIMEOUT) {
            Some(Said::Socket(path)) => return Ok(path),
            Some(Said::Failed(reason)) => reason,
            Some(Said::Done | Said::Ended) => self.last_words(),
            None => "it said nothing".to_owned(),
        };
        Err(Failure::new(format!(
            "demo: the program to watch did not start: {reason}; look with `lfinspect doctor`"
        ))
        .into())
    }

    /// What the program says within `timeout`.
    pub(super) fn listen(&self, timeout: Duration) -> Option<Said> {
        match self.said.recv_timeout(timeout) {
            Ok(said) => Some(said),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Said::Ended),
        }
    }

    /// Lets the program walk. That it has ended is learnt from its socket.
    pub(super) fn go(&mut self) {
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin.write_all(b"go\n");
        }
    }

    /// The last line of the program's standard error. Ends it if it has not ended.
    pub(super) fn last_words(&mut self) -> String {
        self.end();
        let words = self.stderr.take().and_then(|reader| reader.join().ok()).unwrap_or_default();
        let line = words.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        if line.is_empty() { "it gave no reason".to_owned() } else { line.trim().to_owned() }
    }

    fn end(&mut self) {
        self.stdin = None;
        let deadline = Instant::now() + END_TIMEOUT;
        while Instant::now() < deadline {
            match self.process.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(5)),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        tracing::warn!("the demo's program did not end by itself");
        // It may have ended this moment; either way it is waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    //! Aim: lines are read as the program writes them, and anything else is passed over.

    use super::*;

    #[test]
    fn lines_are_read() {
        let socket = Said::Socket(PathBuf::from("/tmp/a b/x.1.sock"));
        assert_eq!(Said::parse("socket /tmp/a b/x.1.sock"), Some(socket));
        assert_eq!(Said::parse("done"), Some(Said::Done));
        assert_eq!(Said::parse("failed step 3"), Some(Said::Failed("step 3".to_owned())));
        assert_eq!(Said::parse(""), None);
        assert_eq!(Said::parse("hello world"), None);
    }
}
