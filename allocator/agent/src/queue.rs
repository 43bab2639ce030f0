//! What waits to be sent to one client, as finished frames.
//!
//! The bytes lie in pages of their own, outside the observed heap, which grow to the largest state
//! that was ever queued and are given back when the client leaves. What bounds it is its user: a
//! state is queued only onto an empty queue, so that it never holds more than one of them and some
//! short replies.

use std::io::{self, Write};

use lfalloc::observe::MappedVec;
use lfalloc_protocol::message::Kind;
use lfalloc_protocol::{Error, encode_frame};
use serde::Serialize;

/// Room is made in pieces of this.
const PIECE_BYTES: usize = 4096;
/// How many pieces a queue has at first.
const FIRST_PIECES: usize = 16;
/// No queue grows beyond this: a state of five million superblocks.
const MAX_PIECES: usize = 256 * 1024 * 1024 / PIECE_BYTES;

/// The frame does not fit: the system gives no memory, or the bound is reached. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// Frames in the order they are sent.
#[derive(Debug)]
pub(crate) struct Queue {
    store: MappedVec<[u8; PIECE_BYTES]>,
    /// First byte that was not sent.
    start: usize,
    /// Behind the last byte of the last frame.
    end: usize,
}

impl Queue {
    pub(crate) const fn new() -> Self {
        Self { store: MappedVec::new(), start: 0, end: 0 }
    }

    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Bytes mapped.
    pub(crate) fn bytes(&self) -> usize {
        self.store.bytes()
    }

    /// Appends one frame.
    pub(crate) fn push<T: Serialize>(&mut self, kind: Kind, message: &T) -> Result<(), Full> {
        loop {
            match encode_frame(kind, message, &mut self.store.as_flattened_mut()[self.end..]) {
                Ok(bytes) => {
                    self.end += bytes;
                    return Ok(());
                }
                Err(Error::BufferFull { .. }) => self.make_room()?,
                Err(_) => return Err(Full),
            }
        }
    }

    /// Takes back everything beyond the first `len` waiting bytes: frames of a state that could not
    /// be queued to its end. Nothing may have been sent since the queue had that length.
    pub(crate) fn truncate(&mut self, len: usize) {
        debug_assert!(len <= self.len());
        self.end = self.start + len;
    }

    /// Writes as much as `stream` takes without waiting. An error means that the client is gone.
    pub(crate) fn send(&mut self, mut stream: impl Write) -> io::Result<()> {
        while !self.is_empty() {
            match stream.write(&self.store.as_flattened()[self.start..self.end]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => self.start += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.start = 0;
        self.end = 0;
        Ok(())
    }

    /// Forgets everything and gives the pages back.
    pub(crate) fn release(&mut self) {
        *self = Self::new();
    }

    fn make_room(&mut self) -> Result<(), Full> {
        if self.start > 0 {
            self.store.as_flattened_mut().copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            return Ok(());
        }
        let pieces = (self.store.len() * 2).max(FIRST_PIECES);
        let made = pieces <= MAX_PIECES && self.store.resize(pieces, [0; PIECE_BYTES]);
        if made { Ok(()) } else { Err(Full) }
    }
}

#[cfg(test)]
mod tests {
    //! Aim: frames leave in order and whole, whatever the stream takes at a time. Method: a stream
    //! that takes three bytes, then none, in turn.
    use lfalloc_protocol::message::Gap;
    use lfalloc_protocol::{HEADER_BYTES, decode, read_frame};

    use super::*;

    #[derive(Default)]
    struct Reluctant {
        taken: Vec<u8>,
        calls: usize,
    }

    impl Write for &mut Reluctant {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.calls += 1;
            if self.calls.is_multiple_of(2) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let taken = bytes.len().min(3);
            self.taken.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn frames_leave_in_order_and_whole() {
        let mut queue = Queue::new();
        let mut stream = Reluctant::default();
        let frame = HEADER_BYTES + 8;
        for lost in 0..20_000 {
            queue.push(Kind::GAP, &Gap { lost }).unwrap();
            if lost % 4 == 0 {
                queue.send(&mut stream).unwrap();
            }
        }
        // Taken back whole, and only that.
        let len = queue.len();
        queue.push(Kind::GAP, &Gap { lost: u64::MAX }).unwrap();
        queue.truncate(len);
        while !queue.is_empty() {
            queue.send(&mut stream).unwrap();
        }
        assert_eq!(stream.taken.len(), 20_000 * frame);
        let mut rest = stream.taken.as_slice();
        let mut payload = Vec::new();
        for lost in 0..20_000 {
            assert_eq!(read_frame(&mut rest, &mut payload).unwrap(), Kind::GAP);
            assert_eq!(decode::<Gap>(&payload).unwrap().lost, lost);
        }
    }

    #[test]
    fn pages_are_given_back() {
        let mut queue = Queue::new();
        queue.push(Kind::GAP, &Gap { lost: 0 }).unwrap();
        assert!(queue.bytes() >= FIRST_PIECES * PIECE_BYTES);
        queue.release();
        assert_eq!((queue.bytes(), queue.len()), (0, 0));
    }
}
