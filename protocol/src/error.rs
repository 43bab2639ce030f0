//! The one error type of the protocol.
//!
//! It is built without allocating (but for the owned path of [`Error::PathTooLong`]), so that the
//! agent may meet malformed input and still allocate nothing.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::codec::Cause;

/// Why a message could not be written, read or placed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A frame announces (or a message would need) more payload than is accepted.
    PayloadTooLong {
        /// Payload bytes announced or needed.
        bytes: usize,
        /// Payload bytes accepted.
        limit: usize,
    },
    /// The reserved field of a frame header is not zero: this is no frame.
    ReservedNotZero(u16),
    /// The message does not fit the buffer it was to be written to.
    BufferFull {
        /// Bytes the buffer has.
        bytes: usize,
    },
    /// The payload is not a message of the expected kind.
    Decode(Cause),
    /// The payload holds a message of the expected kind and then something else.
    TrailingBytes {
        /// Bytes behind the message.
        bytes: usize,
    },
    /// The message cannot be represented.
    Encode(Cause),
    /// The other side closed the connection between two frames.
    Closed,
    /// Reading or writing failed, or the connection ended within a frame.
    Io(io::Error),
    /// A socket's path is longer than the system accepts.
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        bytes: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PayloadTooLong { bytes, limit } => {
                write!(f, "a frame of {bytes} bytes is over the limit of {limit} bytes")
            }
            Self::ReservedNotZero(value) => {
                write!(f, "the reserved field of a frame header is {value:#06x}, not zero")
            }
            Self::BufferFull { bytes } => {
                write!(f, "the message does not fit a buffer of {bytes} bytes")
            }
            Self::Decode(_) => f.write_str("the payload is not a message of its kind"),
            Self::TrailingBytes { bytes } => {
                write!(f, "{bytes} bytes follow the message in its payload")
            }
            Self::Encode(_) => f.write_str("the message cannot be encoded"),
            Self::Closed => f.write_str("the connection was closed"),
            Self::Io(error) => write!(f, "the connection failed: {error}"),
            Self::PathTooLong { path, bytes } => write!(
                f,
                "the socket path {} has {bytes} bytes, and the system accepts {}: \
                 set LFALLOC_DIR to a shorter directory",
                path.display(),
                crate::socket::MAX_PATH_BYTES
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Decode(cause) | Self::Encode(cause) => Some(cause),
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
