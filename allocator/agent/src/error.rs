//! Why an agent did not start.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why an agent did not start: what failed and what to do about it. The program goes on without one.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The agent works on Linux only.
    Unsupported,
    /// The system gave no thread, or the thread ended before it could say why.
    Thread(io::Error),
    /// The thread could not get descriptors of its own.
    Descriptors(io::Error),
    /// The system gave no memory for the agent's tables.
    NoMemory,
    /// The directory for the socket cannot be made or opened.
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is in the directory's place is not a directory, or only a symbolic link to one.
    NotADirectory {
        /// What was to be the directory.
        path: PathBuf,
    },
    /// The directory belongs to another user.
    ForeignDirectory {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// Other users may write to the directory.
    OpenDirectory {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The socket's path does not fit the system's socket address.
    Path(lfalloc_protocol::Error),
    /// The socket cannot be made.
    Socket {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Every name for the socket is taken by a living one.
    NamesTaken {
        /// The directory.
        path: PathBuf,
    },
}

/// The remedy that fits most failures.
const ELSEWHERE: &str = "set LFALLOC_DIR to a directory of your own";

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported => f.write_str(
                "the lfalloc agent works on Linux only: leave it out on this system, the allocator \
                 does not need it",
            ),
            Self::Thread(source) => write!(
                f,
                "the lfalloc agent got no thread ({source}): raise the limit of processes \
                 (ulimit -u) or of memory (ulimit -v)",
            ),
            Self::Descriptors(source) => write!(
                f,
                "the lfalloc agent got no descriptors of its own ({source}): it needs Linux 5.9, a \
                 sandbox that permits close_range, signalfd and eventfd, and eight descriptors \
                 (ulimit -n)",
            ),
            Self::NoMemory => f.write_str(
                "the lfalloc agent got no memory for its tables: raise the limit (ulimit -v)",
            ),
            Self::Directory { path, source } => write!(
                f,
                "the directory {} for the socket cannot be used ({source}): {ELSEWHERE} (only its \
                 last part is created)",
                path.display(),
            ),
            Self::NotADirectory { path } => write!(
                f,
                "{} is not a directory (symbolic links are not followed): remove it, or {ELSEWHERE}",
                path.display(),
            ),
            Self::ForeignDirectory { path, owner } => {
                write!(f, "the directory {} belongs to user {owner}: {ELSEWHERE}", path.display())
            }
            Self::OpenDirectory { path, mode } => write!(
                f,
                "the directory {} (mode {mode:04o}) can be written to by others: chmod 0700 it, or \
                 {ELSEWHERE}",
                path.display(),
            ),
            Self::Path(error) => error.fmt(f),
            Self::Socket { path, source } => write!(
                f,
                "the socket {} cannot be made ({source}): {ELSEWHERE} on a local file system",
                path.display(),
            ),
            Self::NamesTaken { path } => write!(
                f,
                "every name for a socket of this process in {} is taken: drop agents that are no \
                 longer needed, or {ELSEWHERE}",
                path.display(),
            ),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Thread(source)
            | Self::Descriptors(source)
            | Self::Directory { source, .. }
            | Self::Socket { source, .. } => Some(source),
            Self::Path(source) => Some(source),
            _ => None,
        }
    }
}
