//! The thread that shows a running lfalloc to its inspectors over a local socket.
//!
//! ```no_run
//! let _agent = lfalloc_agent::start()?;
//! # Ok::<(), lfalloc_agent::StartError>(())
//! ```
//!
//! It works in any program that links lfalloc, whether or not lfalloc is its global allocator.
//!
//! # What it promises the program
//!
//! | | |
//! |---|---|
//! | processor | none while nobody is attached: the thread sleeps in the kernel without a time-out |
//! | memory | after [`start`] it allocates nothing from the program's heap |
//! | descriptors | none appear in the program: closing them all, or running out of them, harms neither side |
//! | signals | all are blocked in the thread; none of the program's handlers is touched |
//! | `fork` | the child has no agent, and dropping its copy of the guard does nothing there; it may call [`start`] for one of its own |
//! | failure | a failed start is an error value, never the end of the program |
//!
//! Dropping the guard removes the socket and ends the thread. It waits for the thread for two
//! seconds at most; should the thread not end by then it is left behind, without its socket.
//!
//! # Transitions in the program's own log
//!
//! With the feature `trace`, which is off unless asked for, the module `trace` re-emits superblock
//! transitions as `tracing` events: from a thread of its own, so that the promises above stay as they
//! are.
//!
//! # Where the socket is
//!
//! In `$LFALLOC_DIR`, else `$XDG_RUNTIME_DIR/lfalloc`, else `/tmp/lfalloc-<user id>`, as
//! `<name>.<process id>.sock`. A program with raised rights (set-user-id, say) ignores both
//! variables. The directory is made with mode 0700; one that exists must belong to the program's user
//! and be writable for nobody else. The socket has mode 0600, and only the program's own user and
//! root are answered. Clients can only read. Sockets that killed programs left in the directory are
//! removed when an agent starts.
//!
//! Linux only: elsewhere [`start`] returns [`StartError::Unsupported`].
#![deny(unsafe_code)]

mod error;

#[cfg(target_os = "linux")]
mod allowance;
#[cfg(target_os = "linux")]
mod client;
#[cfg(target_os = "linux")]
mod convert;
#[cfg(target_os = "linux")]
mod identity;
#[cfg(target_os = "linux")]
mod launch;
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "the system calls that no safe interface offers")]
mod os;
#[cfg(target_os = "linux")]
mod outgoing;
#[cfg(target_os = "linux")]
mod place;
#[cfg(target_os = "linux")]
mod queue;
#[cfg(target_os = "linux")]
mod reception;
#[cfg(target_os = "linux")]
mod registry;
#[cfg(target_os = "linux")]
mod request;
#[cfg(target_os = "linux")]
mod server;
#[cfg(all(target_os = "linux", feature = "trace"))]
pub mod trace;

use std::path::{Path, PathBuf};

pub use error::StartError;

/// Starts the agent with the [`Options`] that the environment gives.
///
/// # Errors
/// What failed, and what to do about it; the program can go on without an agent.
pub fn start() -> Result<Agent, StartError> {
    Options::new().start()
}

/// How an agent is to be started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    directory: Option<PathBuf>,
    name: Option<String>,
}

impl Options {
    /// What [`start`] uses: directory from the environment, name from the system.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The directory for the socket, instead of the one from the environment. Viewers find it there
    /// if they are given the same `LFALLOC_DIR`, or by process id.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// The name that viewers see, instead of the program's. In the socket's file name everything
    /// but letters, digits, `-` and `_` becomes `_`, and it is cut to 32 bytes.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Starts the agent.
    ///
    /// # Errors
    /// What failed, and what to do about it; the program can go on without an agent.
    pub fn start(self) -> Result<Agent, StartError> {
        let result = self.launch();
        match &result {
            Ok(agent) => {
                tracing::info!(socket = %agent.socket_path().display(), "lfalloc agent started");
            }
            Err(error) => tracing::warn!(%error, "lfalloc agent not started"),
        }
        result
    }

    #[cfg(target_os = "linux")]
    fn launch(self) -> Result<Agent, StartError> {
        let Self { directory, name } = self;
        let directory = directory.unwrap_or_else(default_directory);
        let mut name = name.unwrap_or_else(identity::program_name);
        while name.len() > MAX_NAME_BYTES {
            name.pop();
        }
        let running = launch::launch(directory, name)?;
        Ok(Agent {
            socket_path: running.file.path().to_owned(),
            pid: std::process::id(),
            running: Some(running),
        })
    }

    #[cfg(not(target_os = "linux"))]
    fn launch(self) -> Result<Agent, StartError> {
        Err(StartError::Unsupported)
    }
}

/// The directory that the environment gives, unless the environment is not to be trusted.
#[cfg(target_os = "linux")]
fn default_directory() -> PathBuf {
    let trusted = !os::has_raised_rights();
    lfalloc_protocol::socket::directories_from_env(
        |variable| trusted.then(|| std::env::var_os(variable)).flatten(),
        os::effective_uid(),
    )
}

/// The most bytes of a program's name in the greeting.
#[cfg(target_os = "linux")]
const MAX_NAME_BYTES: usize = 256;

/// A running agent; dropping it ends the thread and removes the socket.
///
/// In a forked child the thread does not exist and the socket is the parent's: there, dropping this
/// does nothing.
#[derive(Debug)]
#[must_use = "the agent ends when this is dropped"]
pub struct Agent {
    socket_path: PathBuf,
    #[cfg(target_os = "linux")]
    pid: u32,
    #[cfg(target_os = "linux")]
    running: Option<launch::Running>,
}

impl Agent {
    /// Where viewers connect.
    #[must_use]
    pub fn socket_path(&self) -> &Path {
        &self.socket_path
    }
}

#[cfg(target_os = "linux")]
impl Agent {
    /// Removes the socket and waits for nothing: for a process that is about to end. The thread is left alone; viewers
    /// that are connected may read until the end.
    pub fn leave(mut self) {
        if let Some(running) = self.running.take() {
            if std::process::id() == self.pid {
                // Whoever comes next removes it otherwise.
                let _ = running.file.remove();
            }
            running.forget();
        }
    }
}

#[cfg(target_os = "linux")]
impl Drop for Agent {
    fn drop(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        if std::process::id() == self.pid {
            running.stop();
        } else {
            running.forget();
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    //! Aim: whoever starts a set-user-id program does not say where its socket lies. Method: this
    //! test program, made set-user-id for one user and started by another.
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    use std::os::unix::process::CommandExt;
    use std::path::Path;
    use std::process::Command;

    use super::*;

    /// Set in the process that is started: whether it is to have raised rights.
    const RAISED: &str = "LFALLOC_AGENT_TEST_RAISED";
    const OWNER: u32 = 65_533;
    const CALLER: u32 = 65_534;

    #[test]
    fn programs_with_raised_rights_ignore_the_environment() {
        if let Some(raised) = std::env::var_os(RAISED) {
            let expected = if raised == "yes" {
                if os::effective_uid() == CALLER {
                    eprintln!("skipped: set-user-id has no effect here");
                    return;
                }
                format!("/tmp/lfalloc-{OWNER}")
            } else {
                "/elsewhere".to_owned()
            };
            assert_eq!(default_directory(), Path::new(&expected));
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("program");
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        if fs::metadata(&program).unwrap().uid() != 0 || chown(&program, Some(OWNER), None).is_err()
        {
            eprintln!("skipped: only root can make a program of another user");
            return;
        }
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        for (mode, raised) in [(0o755, "no"), (0o4755, "yes")] {
            fs::set_permissions(&program, Permissions::from_mode(mode)).unwrap();
            let status = Command::new(&program)
                .args(["tests::programs_with_raised_rights_ignore_the_environment", "--exact"])
                .args(["--nocapture", "--test-threads=1"])
                .env(RAISED, raised)
                .env("LFALLOC_DIR", "/elsewhere")
                .env("XDG_RUNTIME_DIR", "/elsewhere")
                .current_dir("/")
                .uid(CALLER)
                .status()
                .unwrap();
            assert!(status.success(), "raised: {raised}: {status}");
        }
    }
}
