//! Where frames come from: a socket ([`live`]), one after another ([`following`]), a recording ([`replay`]) or a
//! made-up heap ([`synthetic`]).
//!
//! A source is driven by one thread. It says at most one thing per call and blocks no longer than it
//! was told to, so that its driver can end it between calls.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lfalloc_protocol::message::{Hello, Kind};

pub mod following;
pub mod live;
pub mod replay;
pub mod synthetic;

/// What a source has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceEvent {
    /// The agent greeted: a new connection, nothing of an older one holds any more.
    Connected(Hello),
    /// A frame of the connection.
    Frame(Kind, Vec<u8>),
    /// What the viewer's own system says of the process; sent now and then, or never.
    Process {
        /// Process id as the viewer's system sees it.
        pid: u32,
        /// Resident bytes of the process, if they could be read.
        rss_bytes: Option<u64>,
    },
    /// No connection: the reason and the next step, for people. More may follow if the source tries
    /// again by itself.
    Failed(String),
    /// The connection ended, normally since the process did. The reason, for people.
    Gone(String),
    /// No connection, and the source looks for one by itself: for what, and why it has none. Said again when the words
    /// change.
    Waiting(String),
    /// No frame for long, though the connection stands; said again once a second until one comes.
    Silent {
        /// Since the last frame, or since frames were asked for.
        seconds: u64,
        /// Whether a signal or a tracer has stopped the process.
        stopped: bool,
    },
    /// Nothing within the time given.
    Quiet,
}

/// A stream of events about one process.
pub trait Source: Send {
    /// The next event; waits for it no longer than `timeout`.
    fn poll(&mut self, timeout: Duration) -> SourceEvent;

    /// Asks for `hz` states a second; takes effect some time later, and the agent may choose a rate
    /// near it.
    fn request_rate(&mut self, hz: f64);

    /// Asks for a close look at superblock `id`; the answer, if this source can give one, comes as a
    /// frame of kind `SUPERBLOCK_DETAIL`.
    fn request_superblock(&mut self, id: u32);

    /// Whether [`attach`](Self::attach) and [`reconnect`](Self::reconnect) do anything: a recording is what it is.
    fn can_attach(&self) -> bool {
        false
    }

    /// Leaves the program for the one behind this socket.
    fn attach(&mut self, _socket: &Path) {}

    /// Looks once for the program that was connected last, or the one that has taken its place; for one that is waited
    /// for, at once.
    fn reconnect(&mut self) {}
}

/// What the interface asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// So many states a second.
    Rate(f64),
    /// A close look at this superblock.
    Superblock(u32),
    /// The program behind this socket instead.
    Attach(PathBuf),
    /// The program that was connected last, or the one that has taken its place.
    Reconnect,
    /// To look which programs there are, or no longer to; the source is not concerned.
    Survey(bool),
    /// To read what the program writes that was started here, or no longer to; likewise.
    Output(bool),
    /// To end the program that was started here: to ask it, or to kill it; likewise.
    End {
        /// Whether it is not asked.
        kill: bool,
    },
}
