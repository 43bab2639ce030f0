//! Blocks that one thread allocates and another frees, and threads that come and go.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use super::block::Block;
use super::churn::{Objects, Sizes};
use super::{Round, Work, in_threads, join};

const BYTES: u32 = 64;
/// Blocks that change hands together, so that the channel costs little beside them.
const BATCH: u32 = 256;
/// Batches that may wait for a consumer.
const WAITING: usize = 8;

/// Some threads allocate, others free.
pub(super) struct HandOver {
    pub(super) producers: usize,
    pub(super) consumers: usize,
}

enum Side {
    Producer { consumers: Vec<SyncSender<Vec<Block>>>, batches: u64 },
    Consumer(Receiver<Vec<Block>>),
}

impl Work for HandOver {
    fn round(&mut self, operations: u64) -> Round {
        let batches = operations.div_ceil(u64::from(BATCH) * self.producers as u64);
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..self.consumers).map(|_| sync_channel(WAITING)).unzip();
        let mut sides: Vec<Side> = receivers.into_iter().map(Side::Consumer).collect();
        for _ in 0..self.producers {
            sides.push(Side::Producer { consumers: senders.clone(), batches });
        }
        // The consumers end with the last producer.
        drop(senders);
        in_threads(&mut sides, |side| match side {
            Side::Producer { consumers, batches } => {
                for batch in 0..*batches {
                    let blocks = (0..BATCH).map(|number| Block::new(BYTES, number)).collect();
                    // Fails only if the consumer panicked, which its end tells.
                    let _ = consumers[batch as usize % consumers.len()].send(blocks);
                }
                consumers.clear();
                *batches * u64::from(BATCH)
            }
            Side::Consumer(batches) => {
                batches.iter().for_each(drop);
                0
            }
        })
    }
}

/// Threads that leave their objects to a successor, as in Larson's benchmark of a server.
pub(super) struct Larson {
    shares: Vec<Option<Objects>>,
}

impl Larson {
    /// Operations of one thread.
    const LIFE: u64 = 10_000;

    /// So many threads at a time with so many objects each.
    pub(super) fn new(threads: usize, objects: u32) -> Self {
        let share = |seed| Some(Objects::new(seed as u64, objects, Sizes::small()));
        Self { shares: (0..threads).map(share).collect() }
    }
}

impl Work for Larson {
    fn round(&mut self, operations: u64) -> Round {
        let each = operations.div_ceil(self.shares.len() as u64);
        in_threads(&mut self.shares, |share| {
            let mut left = each;
            while left > 0 {
                let life = left.min(Self::LIFE);
                let Some(mut objects) = share.take() else { break };
                *share = std::thread::scope(|scope| {
                    let successor = scope.spawn(move || {
                        for number in 0..life {
                            objects.replace(number);
                        }
                        objects
                    });
                    Some(join(successor))
                });
                left -= life;
            }
            each
        })
    }

    fn live_bytes(&self) -> u64 {
        self.shares.iter().flatten().map(Objects::bytes).sum()
    }
}

/// Short threads, each of which leaves some blocks to the next.
#[derive(Default)]
pub(super) struct ThreadChurn {
    left: Vec<Block>,
}

impl ThreadChurn {
    const BLOCKS: u32 = 100;
    const LEFT: usize = 10;
}

impl Work for ThreadChurn {
    fn round(&mut self, operations: u64) -> Round {
        let start = Instant::now();
        for _ in 0..operations {
            let predecessors = std::mem::take(&mut self.left);
            self.left = std::thread::scope(|scope| {
                join(scope.spawn(move || {
                    let mut blocks: Vec<_> =
                        (0..Self::BLOCKS).map(|number| Block::new(BYTES, number)).collect();
                    drop(predecessors);
                    blocks.truncate(Self::LEFT);
                    blocks
                }))
            });
        }
        Round { operations, elapsed: start.elapsed() }
    }
}
