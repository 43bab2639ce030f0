//! What tracer and target say to each other: fixed messages over sockets, so that a thread of the target neither allocates nor
//! waits for another one to say it.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

/// Threads of the target that go on while the victim does not.
pub(super) const SURVIVORS: usize = 3;

/// What a thread of the target is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Command {
    /// Victim: the set-up, and then the operation.
    Run = 1,
    /// Survivor: a battery.
    Battery,
    /// Survivor: give back everything that it holds. Main: what the victim holds, purge, and tell the totals.
    Settle,
    /// Main: start another victim, in place of a dead one.
    Another,
}

impl Command {
    pub(super) fn from_word(word: u64) -> Option<Self> {
        [Self::Run, Self::Battery, Self::Settle, Self::Another]
            .into_iter()
            .find(|command| *command as u64 == word)
    }
}

/// Words of a [`Reply`].
const WORDS: usize = 8;

/// What a thread of the target answers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reply {
    /// At its start: its number, where it keeps the address of the sequence that it is in (0: nowhere), where an instruction
    /// `syscall` lies, and where the calls of [`Command::Run`] are counted.
    Hello { thread: u64, sequence_word: u64, syscall: u64, counter: u64 },
    /// Done, with so many calls of the allocator.
    Done { calls: u64 },
    /// Main: nothing is held any more.
    Settled(Totals),
    /// A survivor called futex(2), from there, within that call of the allocator: it would have waited.
    Futex { from: u64, call: u64 },
    /// Contents or addresses were wrong; the target has said on standard error what.
    Wrong,
}

/// The library's figures, of `lfalloc_totals`; all 0 for another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Bytes that are mapped for blocks,
    pub(super) kept_bytes: u64,
    /// and for the library's own tables, which only grow.
    pub(super) metadata_bytes: u64,
    pub(super) live_bytes: u64,
    pub(super) in_hand: u64,
}

impl Reply {
    fn words(self) -> [u64; WORDS] {
        match self {
            Self::Hello { thread, sequence_word, syscall, counter } => {
                [1, thread, sequence_word, syscall, counter, 0, 0, 0]
            }
            Self::Done { calls } => [2, calls, 0, 0, 0, 0, 0, 0],
            Self::Settled(totals) => {
                let Totals { kept_bytes, metadata_bytes, live_bytes, in_hand } = totals;
                [3, kept_bytes, metadata_bytes, live_bytes, in_hand, 0, 0, 0]
            }
            Self::Futex { from, call } => [4, from, call, 0, 0, 0, 0, 0],
            Self::Wrong => [5, 0, 0, 0, 0, 0, 0, 0],
        }
    }

    /// The bytes that [`receive`] reads.
    pub(super) fn bytes(self) -> [u8; 8 * WORDS] {
        let mut bytes = [0; 8 * WORDS];
        for (place, word) in bytes.chunks_exact_mut(8).zip(self.words()) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }
}

/// Waits for the next reply; `Ok(None)`: none within the stream's time limit.
pub(super) fn receive(mut stream: &UnixStream) -> io::Result<Option<Reply>> {
    let mut bytes = [0; 8 * WORDS];
    match stream.read_exact(&mut bytes) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        done => done?,
    }
    let mut words = [0; WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_ne_bytes(bytes.try_into().unwrap_or_default());
    }
    let [kind, a, b, c, d, ..] = words;
    match kind {
        1 => Ok(Some(Reply::Hello { thread: a, sequence_word: b, syscall: c, counter: d })),
        2 => Ok(Some(Reply::Done { calls: a })),
        3 => Ok(Some(Reply::Settled(Totals {
            kept_bytes: a,
            metadata_bytes: b,
            live_bytes: c,
            in_hand: d,
        }))),
        4 => Ok(Some(Reply::Futex { from: a, call: b })),
        5 => Ok(Some(Reply::Wrong)),
        _ => Err(io::Error::other("an unknown message")),
    }
}

/// Tells a thread what to do.
pub(super) fn send(mut stream: &UnixStream, command: Command) -> io::Result<()> {
    stream.write_all(&(command as u64).to_ne_bytes())
}
