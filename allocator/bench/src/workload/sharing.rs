//! Small blocks of two threads on one cache line, which the allocator puts there or not.
//!
//! Hoard's cache-thrash and cache-scratch: whether an allocator gives parts of one line to two threads by itself (active), or
//! because one of them frees a block that it got from elsewhere (passive).

use super::block::{Block, LEAST_BYTES};
use super::{Round, Work, in_threads};

const THREADS: u32 = 2;
/// Writes to a block before it is freed.
const WRITES: u64 = 1000;

/// Two threads that allocate, write and free.
pub(super) struct Sharing {
    /// Whether each begins by freeing a block that the main thread had allocated beside the other's.
    pub(super) passive: bool,
}

impl Work for Sharing {
    fn round(&mut self, operations: u64) -> Round {
        let each = operations.div_ceil(u64::from(THREADS));
        let mut inherited: Vec<Option<Block>> = (0..THREADS)
            .map(|number| self.passive.then(|| Block::new(LEAST_BYTES, number)))
            .collect();
        in_threads(&mut inherited, |inherited| {
            drop(inherited.take());
            for number in 0..each {
                Block::new(LEAST_BYTES, number as u32).write_repeatedly(WRITES);
            }
            each
        })
    }
}
