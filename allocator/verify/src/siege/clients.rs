//! Clients that wish the target ill, by kind.
//!
//! A kind is one function that goes on until it is told to stop; it opens as many connections as it can, and opens new ones for
//! those that the agent ends. All of it is counted.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use lfalloc_protocol::encode_frame;
use lfalloc_protocol::message::{
    ClientHello, Kind, MAGIC, MAJOR, MINOR, StateRequest, Subscribe, SuperblockRequest,
    TotalsRequest,
};

/// Viewers that an agent serves at once, and connections that it holds at once.
const VIEWERS: usize = 16;
const CONNECTIONS: usize = 24;
/// How long a client without anything to do rests.
const REST: Duration = Duration::from_micros(200);
/// How long one waits for an answer.
const WAIT: Duration = Duration::from_millis(50);

/// What clients did, all together.
#[derive(Debug, Default)]
pub struct Tally {
    /// Connections made.
    pub connections: AtomicU64,
    /// Bytes sent.
    pub sent: AtomicU64,
    /// Bytes received.
    pub received: AtomicU64,
}

/// Where a siege takes place.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// The agent's socket.
    pub socket: &'a Path,
    /// This program, of which clients in processes of their own are made.
    pub program: &'a Path,
    /// Set when it is over.
    pub stop: &'a AtomicBool,
    /// What is counted.
    pub tally: &'a Tally,
}

/// A kind of clients.
#[derive(Clone, Copy, Debug)]
pub struct Siege {
    /// How it is called.
    pub name: &'static str,
    /// What the clients do.
    pub about: &'static str,
    besiege: fn(Field),
}

/// Every kind.
pub const SIEGES: &[Siege] = &[
    Siege {
        name: "garbage",
        about: "random bytes, from the start or behind a greeting",
        besiege: garbage,
    },
    Siege { name: "half-open", about: "48 that connect and say nothing", besiege: half_open },
    Siege {
        name: "half-frame",
        about: "24 that stop within a greeting or a request",
        besiege: half_frame,
    },
    Siege { name: "lengths", about: "frames of up to 4 GiB, announced", besiege: lengths },
    Siege {
        name: "never-reading",
        about: "16 viewers with the highest rate, and transitions, that do not read",
        besiege: never_reading,
    },
    Siege {
        name: "stopped",
        about: "a process of 16 reading viewers, stopped (SIGSTOP)",
        besiege: stopped,
    },
    Siege {
        name: "reconnecting",
        about: "4 that connect again and again, at four stages of a conversation",
        besiege: reconnecting,
    },
    Siege { name: "crowd", about: "64 that greet at once", besiege: crowd },
    Siege {
        name: "looks",
        about: "16 viewers that ask for close looks at random superblocks",
        besiege: looks,
    },
    Siege {
        name: "requests",
        about: "16 viewers that ask everything as fast as possible",
        besiege: requests,
    },
    Siege { name: "together", about: "all of them at the same time", besiege: together },
];

impl Siege {
    /// Besieges until it is over.
    pub fn lay(&self, field: Field) {
        (self.besiege)(field);
    }
}

impl<'a> Field<'a> {
    fn goes_on(&self) -> bool {
        // Relaxed: says no more than that it is over.
        !self.stop.load(Ordering::Relaxed)
    }

    fn connect(&self) -> Option<Client<'a>> {
        let stream = UnixStream::connect(self.socket).ok()?;
        stream.set_read_timeout(Some(WAIT)).ok()?;
        stream.set_write_timeout(Some(WAIT)).ok()?;
        self.tally.connections.fetch_add(1, Ordering::Relaxed);
        Some(Client { stream, tally: self.tally, unsent: Vec::new() })
    }

    /// Keeps `count` clients, each of which does `first` when it has connected, and then `then` from time to time; one whose
    /// connection has ended is replaced.
    fn keep(
        &self,
        count: usize,
        first: impl Fn(&mut Client<'a>, usize),
        then: impl Fn(&mut Client<'a>) -> io::Result<()>,
    ) {
        let mut clients: Vec<Option<Client>> = (0..count).map(|_| None).collect();
        while self.goes_on() {
            for (number, place) in clients.iter_mut().enumerate() {
                match place {
                    None => {
                        *place = self.connect();
                        if let Some(client) = place {
                            // What a refused one is told is read later.
                            let _ = client.stream.set_nonblocking(true);
                            first(client, number);
                        }
                    }
                    Some(client) => {
                        if then(client).is_err() {
                            *place = None;
                        }
                    }
                }
            }
            thread::sleep(REST);
        }
    }
}

/// One connection.
struct Client<'a> {
    stream: UnixStream,
    tally: &'a Tally,
    /// The rest of what could not be sent at once.
    unsent: Vec<u8>,
}

impl Client<'_> {
    /// Sends it all, or as much as the agent takes before it ends the connection or [`WAIT`] is over.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut unsent = bytes;
        while !unsent.is_empty() {
            let sent = self.stream.write(unsent)?;
            self.tally.sent.fetch_add(sent as u64, Ordering::Relaxed);
            unsent = &unsent[sent..];
        }
        Ok(())
    }

    /// Reads once and forgets it. An error: the connection has ended.
    fn read(&mut self) -> io::Result<()> {
        let mut bytes = [0; 16_384];
        match self.stream.read(&mut bytes) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                self.tally.received.fetch_add(read as u64, Ordering::Relaxed);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sends as much as the socket takes of what was left, or of what `more` says; and reads.
    fn pump(&mut self, more: impl Fn() -> Vec<u8>) -> io::Result<()> {
        if self.unsent.is_empty() {
            self.unsent = more();
        }
        match self.stream.write(&self.unsent) {
            Ok(sent) => {
                self.tally.sent.fetch_add(sent as u64, Ordering::Relaxed);
                self.unsent.drain(..sent);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        self.read()
    }
}

/// One frame.
fn frame<T: serde::Serialize>(kind: Kind, message: &T) -> Vec<u8> {
    let mut bytes = vec![0; 1100];
    let length = encode_frame(kind, message, &mut bytes).unwrap_or(0);
    bytes.truncate(length);
    bytes
}

fn greeting() -> Vec<u8> {
    let hello =
        ClientHello { magic: MAGIC, major: MAJOR, minor: MINOR, client: "hostile".to_owned() };
    frame(Kind::CLIENT_HELLO, &hello)
}

fn subscription() -> Vec<u8> {
    frame(Kind::SUBSCRIBE, &Subscribe { interval_ms: 20, transitions: true })
}

fn greet(client: &mut Client, _number: usize) {
    // A refused one is replaced later.
    let _ = client.send(&greeting());
}

/// Greets, and asks for updates at the highest rate.
fn follow(client: &mut Client, number: usize) {
    greet(client, number);
    let _ = client.send(&subscription());
}

/// The system's random bytes.
fn noise<const BYTES: usize>() -> [u8; BYTES] {
    let mut bytes = [0xA5; BYTES];
    // Without them the constant is as much no protocol.
    let _ = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    bytes
}

fn random() -> u32 {
    u32::from_le_bytes(noise())
}

fn garbage(field: Field) {
    let mut round = 0u32;
    while field.goes_on() {
        let Some(mut client) = field.connect() else { continue };
        round += 1;
        if round.is_multiple_of(2) {
            let _ = client.send(&greeting());
        }
        // Until the agent has enough of it.
        while field.goes_on() && client.send(&noise::<4096>()).is_ok() && client.read().is_ok() {}
    }
}

fn half_open(field: Field) {
    field.keep(2 * CONNECTIONS, |_, _| {}, Client::read);
}

/// Half a greeting, half of its header, or half a request behind it.
fn begin(client: &mut Client, number: usize) {
    let greeting = greeting();
    // A refused one is replaced later.
    let _ = match number % 3 {
        0 => client.send(&greeting[..greeting.len() / 2]),
        1 => client.send(&greeting[..5]),
        _ => client.send(&greeting).and_then(|()| client.send(&subscription()[..9])),
    };
}

fn half_frame(field: Field) {
    field.keep(CONNECTIONS, begin, Client::read);
}

fn lengths(field: Field) {
    let mut round = 0usize;
    while field.goes_on() {
        let Some(mut client) = field.connect() else { continue };
        round += 1;
        if round.is_multiple_of(2) {
            let _ = client.send(&greeting());
        }
        let length = [1025, 1 << 20, u32::MAX / 2, u32::MAX][round % 4];
        let mut header = length.to_le_bytes().to_vec();
        header.extend(Kind::SUBSCRIBE.0.to_le_bytes());
        header.extend([0; 2]);
        let _ = client.send(&header);
        // A refusal, and the end.
        while field.goes_on() && client.send(&[0; 1024]).is_ok() && client.read().is_ok() {}
    }
}

fn never_reading(field: Field) {
    field.keep(VIEWERS, follow, |_| Ok(()));
}

/// Viewers with the highest rate that read, until they are stopped: `main` of the process that `stopped` starts.
pub fn read_until_stopped(socket: &Path) {
    let (stop, tally) = (AtomicBool::new(false), Tally::default());
    let field = Field { socket, program: Path::new(""), stop: &stop, tally: &tally };
    field.keep(VIEWERS, follow, Client::read);
}

fn stopped(field: Field) {
    let mut command = Command::new(field.program);
    command.arg("client").arg(field.socket).stdin(Stdio::null());
    let Ok(mut child) = command.spawn() else { return };
    field.tally.connections.fetch_add(VIEWERS as u64, Ordering::Relaxed);
    thread::sleep(WAIT);
    let pid = child.id() as libc::pid_t;
    // SAFETY: a child of this process that was not waited for.
    unsafe { libc::kill(pid, libc::SIGSTOP) };
    while field.goes_on() {
        thread::sleep(REST);
    }
    // A stopped process dies of SIGKILL; nothing can be done about one that does not.
    let _ = child.kill();
    let _ = child.wait();
}

fn reconnecting(field: Field) {
    let one = || {
        let mut round = 0u32;
        while field.goes_on() {
            let Some(mut client) = field.connect() else { continue };
            round += 1;
            // Gone without a word, within the greeting, with answers under way, and politely.
            let _ = match round % 4 {
                0 => Ok(()),
                1 => client.send(b"\x1f\0\0\0LFAL"),
                2 => client.send(&greeting()).and_then(|()| client.send(&subscription())),
                _ => client
                    .send(&greeting())
                    .and_then(|()| client.read())
                    .and_then(|()| client.send(&frame(Kind::TOTALS_REQUEST, &TotalsRequest {})))
                    .and_then(|()| client.read())
                    .and_then(|()| client.stream.shutdown(Shutdown::Both)),
            };
        }
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(one);
        }
    });
}

fn crowd(field: Field) {
    field.keep(4 * VIEWERS, greet, Client::read);
}

fn looks(field: Field) {
    let ask = || {
        let mut bytes = Vec::new();
        for _ in 0..32 {
            // Mostly such as there are.
            let id = if random().is_multiple_of(8) { random() } else { random() % 256 };
            bytes.extend(frame(Kind::SUPERBLOCK_REQUEST, &SuperblockRequest { id }));
        }
        bytes
    };
    field.keep(VIEWERS, greet, |client| client.pump(ask));
}

fn requests(field: Field) {
    let ask = || {
        let mut bytes = Vec::new();
        for _ in 0..32 {
            bytes.extend(match random() % 6 {
                0 => frame(Kind::STATE_REQUEST, &StateRequest {}),
                1 => subscription(),
                2 => frame(Kind::SUPERBLOCK_REQUEST, &SuperblockRequest { id: random() % 256 }),
                // A kind that nobody knows is skipped.
                3 => frame(Kind(0x0FFF), &[7u64; 20]),
                _ => frame(Kind::TOTALS_REQUEST, &TotalsRequest {}),
            });
        }
        bytes
    };
    field.keep(VIEWERS, greet, |client| client.pump(ask));
}

fn together(field: Field) {
    thread::scope(|scope| {
        for siege in SIEGES.iter().filter(|siege| siege.name != "together") {
            scope.spawn(move || siege.lay(field));
        }
    });
}
