//! One connection to an agent: the greeting, requests, and why there is none.
//!
//! ```text
//!   open(path) ─► CLIENT_HELLO ─► HELLO ─► Connection ─► send / receive ─► Closed
//!                              └► REFUSED, silence, nonsense ─► ConnectError
//! ```
//!
//! Every wait has an end: a stopped program must not stop its viewer. What the agent calls itself
//! is made fit for a terminal once, here, since the other end may be anybody's program.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use interprocess::ConnectWaitMode;
use interprocess::local_socket::{
    ConnectOptions, GenericFilePath, Stream, ToFsName as _,
    traits::{Stream as _, StreamCommon as _},
};
use lfalloc_protocol::codec::{self, MAX_PAYLOAD_BYTES};
use lfalloc_protocol::frame::{FrameReader, HEADER_BYTES, write_frame};
use lfalloc_protocol::message::{
    ClientHello, Hello, Kind, MAGIC, MAJOR, MINOR, Refused, StateRequest, Subscribe,
    SuperblockRequest, refusal,
};
use lfalloc_protocol::socket::MAX_PATH_BYTES;
use serde::Serialize;

use crate::picture::{Applied, Picture};
use crate::process;

pub use crate::connect_error::ConnectError;

/// How long an agent has to greet, and to answer a request.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Between two attempts to join a full queue of connections.
const QUEUE_RETRY: Duration = Duration::from_millis(10);

/// A greeted connection.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    reader: FrameReader,
    path: PathBuf,
    hello: Hello,
    peer_pid: Option<u32>,
    peer_uid: Option<u32>,
}

impl Connection {
    /// Connects to the socket at `path` and exchanges greetings, all within `timeout`.
    ///
    /// # Errors
    /// Every way in which there may be no agent to talk to, see [`ConnectError`].
    pub fn open(path: &Path, timeout: Duration) -> Result<Self, ConnectError> {
        let deadline = Instant::now() + timeout;
        let mut stream = join(path, deadline, timeout)?;
        let peer = stream.peer_creds().ok();
        greet(&mut stream)?;
        let mut connection = Self {
            stream,
            reader: FrameReader::with_capacity(HEADER_BYTES + MAX_PAYLOAD_BYTES),
            path: path.to_owned(),
            hello: unknown_hello(),
            // 0: a process that our process namespace does not hold.
            peer_pid: peer.and_then(|peer| u32::try_from(peer.pid()?).ok()).filter(|pid| *pid != 0),
            peer_uid: peer.and_then(|peer| peer.euid()),
        };
        connection.hello = connection.read_greeting(deadline, timeout)?;
        tracing::debug!(path = %path.display(), pid = connection.pid(), "connected");
        Ok(connection)
    }

    fn read_greeting(
        &mut self,
        deadline: Instant,
        timeout: Duration,
    ) -> Result<Hello, ConnectError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.receive(left)? {
                None if left.is_zero() => return Err(ConnectError::NoAnswer(timeout)),
                Some((Kind::HELLO, payload)) => return decode_hello(&payload),
                Some((Kind::REFUSED, payload)) => return Err(decode_refused(&payload)),
                // A kind of a later minor version: skipped, as the protocol demands.
                None | Some(_) => {}
            }
        }
    }

    /// The agent's greeting.
    #[must_use]
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Process id as our system sees it; the agent's own where the system does not tell.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.peer_pid.unwrap_or(self.hello.pid)
    }

    /// Process id by the peer credentials: `None` for a process outside of our process namespace.
    #[must_use]
    pub fn peer_pid(&self) -> Option<u32> {
        self.peer_pid
    }

    /// User of the program.
    #[must_use]
    pub fn peer_uid(&self) -> Option<u32> {
        self.peer_uid
    }

    /// The path it was opened with.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sends one message.
    ///
    /// # Errors
    /// When the connection is gone, or the agent reads nothing for [`ANSWER_TIMEOUT`].
    pub fn send<T: Serialize>(&mut self, kind: Kind, message: &T) -> Result<(), ConnectError> {
        write_frame(&mut self.stream, kind, message).map_err(ConnectError::from)
    }

    /// Asks for a full state now and one every `interval`, and for transitions as they happen.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn subscribe(&mut self, interval: Duration) -> Result<(), ConnectError> {
        let interval_ms = u32::try_from(interval.as_millis()).unwrap_or(u32::MAX).max(1);
        self.send(Kind::SUBSCRIBE, &Subscribe { interval_ms, transitions: true })
    }

    /// Asks for a close look at superblock `id`; nothing is sent to an agent that is too old to know the request.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn ask_for_superblock(&mut self, id: u32) -> Result<(), ConnectError> {
        if self.hello.minor < 1 {
            return Ok(());
        }
        self.send(Kind::SUPERBLOCK_REQUEST, &SuperblockRequest { id })
    }

    /// The next frame; `None` when there is none within `timeout`.
    ///
    /// # Errors
    /// When the connection ended, or what comes is not the protocol.
    pub fn receive(&mut self, timeout: Duration) -> Result<Option<(Kind, Vec<u8>)>, ConnectError> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some((kind, payload)) = self.reader.next()? {
                return Ok(Some((kind, payload.to_vec())));
            }
            // Zero would mean to wait for ever.
            let left = deadline.saturating_duration_since(Instant::now());
            self.stream.set_recv_timeout(Some(left.max(Duration::from_millis(1))))?;
            match self.stream.read(self.reader.space()) {
                Ok(0) => return Err(ConnectError::Closed),
                Ok(read) => self.reader.advance(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if timed_out(&error) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Asks for one full state and returns the picture of it.
    ///
    /// # Errors
    /// When the connection ended, or the state is not complete within `timeout`.
    pub fn state(&mut self, timeout: Duration) -> Result<Picture, ConnectError> {
        let deadline = Instant::now() + timeout;
        let mut picture = Picture::new(self.hello.clone());
        picture.pid = self.pid();
        self.send(Kind::STATE_REQUEST, &StateRequest {})?;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some((kind, payload)) = self.receive(left)? else {
                if left.is_zero() {
                    return Err(ConnectError::NoAnswer(timeout));
                }
                continue;
            };
            if picture.apply(kind, &payload)? == Applied::State {
                picture.rss_bytes = self.peer_pid.and_then(process::rss_bytes);
                return Ok(picture);
            }
        }
    }
}

/// Connects, and tries again while the queue of the listening socket is full.
fn join(path: &Path, deadline: Instant, timeout: Duration) -> Result<Stream, ConnectError> {
    let (reachable, _directory) = within_length(path)?;
    loop {
        let name = reachable.as_path().to_fs_name::<GenericFilePath>()?;
        let left = deadline.saturating_duration_since(Instant::now());
        let stream = ConnectOptions::new()
            .name(name)
            .wait_mode(ConnectWaitMode::Timeout(left))
            .connect_sync()
            .map_err(|error| ConnectError::of_connect(error, path, timeout))?;
        stream.set_send_timeout(Some(ANSWER_TIMEOUT))?;
        // A full queue does not make connect() wait here but leaves a socket without a peer.
        match stream.peer_creds().map(|peer| peer.euid()) {
            Ok(Some(uid)) if uid != u32::MAX => return Ok(stream),
            _ if left.is_zero() => return Err(ConnectError::NoAnswer(timeout)),
            _ => thread::sleep(QUEUE_RETRY),
        }
    }
}

/// A path to the same socket that the system accepts: one that is too long (they get long below
/// `/proc/PID/root`) is reached through a descriptor of its directory, which must stay open.
fn within_length(path: &Path) -> Result<(PathBuf, Option<File>), ConnectError> {
    if path.as_os_str().len() <= MAX_PATH_BYTES {
        return Ok((path.to_owned(), None));
    }
    let (Some(parent), Some(file_name)) = (path.parent(), path.file_name()) else {
        return Err(ConnectError::Missing);
    };
    let directory = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
        .open(parent)
        .map_err(|error| ConnectError::of_connect(error, path, Duration::ZERO))?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(file_name);
    Ok((short, Some(directory)))
}

fn greet(stream: &mut Stream) -> Result<(), ConnectError> {
    let hello = ClientHello {
        magic: MAGIC,
        major: MAJOR,
        minor: MINOR,
        client: concat!("lfinspect ", env!("CARGO_PKG_VERSION")).to_owned(),
    };
    // An agent that has no place for us may have said so and closed before it reads: then what it
    // said counts, and not that this could not be sent.
    match write_frame(stream, Kind::CLIENT_HELLO, &hello) {
        Err(lfalloc_protocol::Error::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(())
        }
        other => other.map_err(ConnectError::from),
    }
}

/// The fields that every version of the greeting starts with are read first: those of another major
/// version say nothing more to us.
fn decode_hello(payload: &[u8]) -> Result<Hello, ConnectError> {
    let prefix = GreetingPrefix::read(payload).ok_or(ConnectError::NotLfalloc)?;
    if prefix.major != MAJOR {
        return Err(ConnectError::Version {
            major: prefix.major,
            minor: prefix.minor,
            allocator: prefix.allocator,
        });
    }
    let mut hello: Hello = codec::decode(payload)?;
    hello.name = process::printable(&hello.name);
    hello.allocator_version = process::printable(&hello.allocator_version);
    Ok(hello)
}

fn decode_refused(payload: &[u8]) -> ConnectError {
    let refused: Refused = match codec::decode(payload) {
        Ok(refused) => refused,
        Err(error) => return error.into(),
    };
    let message = process::printable(&refused.message);
    match refused.reason {
        refusal::VERSION => {
            ConnectError::Version { major: refused.major, minor: refused.minor, allocator: None }
        }
        refusal::USER => ConnectError::User,
        refusal::BUSY => ConnectError::Busy(message),
        _ => ConnectError::Refused(message),
    }
}

/// What a greeting of any version starts with.
struct GreetingPrefix {
    major: u16,
    minor: u16,
    allocator: Option<String>,
}

impl GreetingPrefix {
    /// `None` if this is no greeting of an agent.
    fn read(payload: &[u8]) -> Option<Self> {
        let (magic, rest) = payload.split_first_chunk()?;
        let (major, rest) = rest.split_first_chunk()?;
        let (minor, rest) = rest.split_first_chunk()?;
        if u32::from_le_bytes(*magic) != MAGIC {
            return None;
        }
        // The place of the allocator's version is not promised by another major version: it is
        // taken only if it reads like one.
        let allocator = rest.split_first_chunk().and_then(|(length, rest)| {
            let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
            let text = std::str::from_utf8(rest.get(..length)?).ok()?;
            let plain = |c: char| c.is_ascii_alphanumeric() || ".+-".contains(c);
            let starts = text.starts_with(|c: char| c.is_ascii_digit());
            (starts && text.len() <= 32 && text.chars().all(plain)).then(|| text.to_owned())
        });
        let (major, minor) = (u16::from_le_bytes(*major), u16::from_le_bytes(*minor));
        Some(Self { major, minor, allocator })
    }
}

fn unknown_hello() -> Hello {
    Hello {
        magic: MAGIC,
        major: MAJOR,
        minor: MINOR,
        allocator_version: String::new(),
        pid: 0,
        name: String::new(),
        agent_started_unix_ns: 0,
        uptime_ns: 0,
        heaps_per_class: 0,
        classes: Vec::new(),
        features: 0,
    }
}

fn timed_out(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
