//! Why there is no connection to an agent, and what to do about it.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use lfalloc_protocol::message::{MAJOR, MINOR};

use crate::{picture, process};

/// Why there is no connection, or no longer.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// There is no such socket.
    Missing,
    /// There is a socket, and nobody listens: what a killed program leaves behind.
    Stale,
    /// The system does not let this user reach the socket.
    Permission,
    /// The agent speaks another major version of the protocol.
    Version {
        /// Its protocol version.
        major: u16,
        /// Its protocol version.
        minor: u16,
        /// Version of its allocator, where it said so.
        allocator: Option<String>,
    },
    /// The agent does not talk to this user.
    User,
    /// The agent has no place for another viewer; its own words.
    Busy(String),
    /// The agent refused for another reason; its own words.
    Refused(String),
    /// No answer within this time.
    NoAnswer(Duration),
    /// Whoever listens there is not an agent.
    NotLfalloc,
    /// The connection ended.
    Closed,
    /// What came is not the protocol.
    Wire(lfalloc_protocol::Error),
    /// What came is the protocol, and makes no sense.
    Picture(picture::Error),
    /// The system refused something else.
    Io(io::Error),
}

impl ConnectError {
    /// What a failed `connect()` to `path` within `timeout` means.
    pub(crate) fn of_connect(error: io::Error, path: &Path, timeout: Duration) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Missing,
            // Also what the system says of a path that is no socket.
            io::ErrorKind::ConnectionRefused if is_socket(path) => Self::Stale,
            io::ErrorKind::ConnectionRefused => Self::NotLfalloc,
            io::ErrorKind::PermissionDenied => Self::Permission,
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::NoAnswer(timeout),
            _ => Self::Io(error),
        }
    }

    /// One line about `subject` ("pid 4121 (indexer)"), whose socket is `path`: reason and next step.
    #[must_use]
    pub fn explain(&self, subject: &str, path: &Path) -> String {
        let path = process::printable_path(path);
        match self {
            Self::Missing => format!(
                "{subject}: there is no socket {path}; the program ended, or its socket was \
                 removed: list what can be watched with `lfinspect ls`"
            ),
            Self::Stale => format!(
                "{subject}: nobody listens on {path}, which a killed program left behind: \
                 `rm {path}`"
            ),
            Self::Permission => format!(
                "{subject}: no permission for {path}: run lfinspect as the user of the program, \
                 or as root"
            ),
            Self::User => format!(
                "{subject} shows itself only to its own user and to root: run lfinspect as one \
                 of them"
            ),
            Self::Version { major, minor, allocator } => {
                let (runs, install) = match allocator {
                    Some(version) => {
                        (format!("lfalloc {version}"), format!("install lfinspect {version}"))
                    }
                    None => (
                        "another lfalloc".to_owned(),
                        "install the lfinspect of the version it was built with".to_owned(),
                    ),
                };
                format!(
                    "{subject} runs {runs} (protocol {major}.{minor}); this lfinspect {own} \
                     speaks {MAJOR}.{MINOR}: {install}",
                    own = env!("CARGO_PKG_VERSION")
                )
            }
            Self::Busy(words) => {
                format!("{subject} has no place for another viewer ({words}): close one first")
            }
            Self::Refused(words) => format!("{subject} refused the connection: {words}"),
            Self::NoAnswer(time) => format!(
                "{subject} did not answer within {:.1} s: it may be stopped (by a signal or a \
                 debugger); continue it, or look closer with `lfinspect doctor`",
                time.as_secs_f64()
            ),
            Self::NotLfalloc => {
                format!("{subject}: whoever owns {path} is not an lfalloc agent: check the path")
            }
            Self::Closed => format!("{subject} closed the connection: the program has ended"),
            Self::Wire(error) => format!(
                "{subject} sent what is not the protocol ({error}): install the lfinspect of the \
                 version it was built with"
            ),
            Self::Picture(error) => format!("{subject}: {error}"),
            Self::Io(error) => format!("{subject}: {path}: {error}"),
        }
    }

    /// A few words, for a column of a table.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Missing => "its socket was removed".to_owned(),
            Self::Stale => "stale: left by a killed program, may be removed".to_owned(),
            Self::Permission => "no permission: another user's".to_owned(),
            Self::User => "refused: another user's".to_owned(),
            Self::Version { major, minor, .. } => {
                format!("speaks protocol {major}.{minor}, not {MAJOR}.{MINOR}")
            }
            Self::Busy(_) => "all places for viewers are taken".to_owned(),
            Self::Refused(words) => format!("refused: {words}"),
            Self::NoAnswer(time) if time.is_zero() => {
                "not asked: too many others did not answer".to_owned()
            }
            Self::NoAnswer(time) => format!("no answer within {:.1} s", time.as_secs_f64()),
            Self::NotLfalloc => "not an lfalloc agent".to_owned(),
            Self::Closed => "ended meanwhile".to_owned(),
            Self::Wire(error) => error.to_string(),
            Self::Picture(error) => error.to_string(),
            Self::Io(error) => error.to_string(),
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason())
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Wire(error) => Some(error),
            Self::Picture(error) => Some(error),
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<lfalloc_protocol::Error> for ConnectError {
    fn from(error: lfalloc_protocol::Error) -> Self {
        match error {
            lfalloc_protocol::Error::Closed => Self::Closed,
            lfalloc_protocol::Error::Io(error) => error.into(),
            other => Self::Wire(other),
        }
    }
}

impl From<picture::Error> for ConnectError {
    fn from(error: picture::Error) -> Self {
        Self::Picture(error)
    }
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotConnected => Self::Closed,
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                Self::NoAnswer(crate::connect::ANSWER_TIMEOUT)
            }
            _ => Self::Io(error),
        }
    }
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    path.symlink_metadata().is_ok_and(|metadata| metadata.file_type().is_socket())
}
