//! The depot of this process: what its procedures work on.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::depot::{MAX_BATCH, MAX_BATCHES, Shelf};
use super::magazine::batch_blocks;
use crate::platform::Class;
use crate::size_class::{CLASS_COUNT, CLASSES, in_bounds};
use crate::table::{Table, ZeroRecord};

/// Bytes of blocks that the depot keeps of each class.
const CLASS_BYTES: usize = 1 << 18;
const MIN_BATCHES: u32 = 2;

struct Batch {
    link: AtomicU64,
    blocks: [AtomicU64; MAX_BATCH],
}

// SAFETY: atomics only; zero bytes are a valid value of each.
unsafe impl ZeroRecord for Batch {}

static BATCHES: Table<Batch> = Table::new();

/// What a class's refills and flushes change: a cache line, so that they disturb those of no other class, and take one line from
/// the processor that was here before, and not several. Empty batches are a class's own for that reason.
#[repr(C, align(64))]
struct Stacks {
    full: AtomicU64,
    empty: AtomicU64,
    least: AtomicU64,
    crosses: AtomicBool,
}

static STACKS: [Stacks; CLASS_COUNT] = [const {
    Stacks {
        full: AtomicU64::new(0),
        empty: AtomicU64::new(0),
        least: AtomicU64::new(0),
        crosses: AtomicBool::new(false),
    }
}; CLASS_COUNT];

/// The batches of a class.
pub(super) struct Of(pub(super) Class);

impl Of {
    fn stacks(&self) -> &'static Stacks {
        in_bounds(&STACKS, usize::from(self.0.0))
    }

    /// Least number of full batches since the interval of [`crate::decay`] began.
    pub(super) fn least(&self) -> &'static AtomicU64 {
        &self.stacks().least
    }

    /// Whether the batch that was taken last had been put there by another processor.
    pub(super) fn crosses(&self) -> &'static AtomicBool {
        &self.stacks().crosses
    }

    /// The places of a batch that this thread has taken, or is about to put: nobody else looks at them.
    pub(super) fn places(batch: u32) -> *mut usize {
        BATCHES.get(batch).blocks.as_ptr().cast_mut().cast()
    }
}

impl Shelf for Of {
    type Word = AtomicU64;

    fn full(&self) -> &AtomicU64 {
        &self.stacks().full
    }

    fn empty(&self) -> &AtomicU64 {
        &self.stacks().empty
    }

    fn link(&self, batch: u32) -> &AtomicU64 {
        &BATCHES.get(batch).link
    }

    fn place(&self, batch: u32, place: usize) -> &AtomicU64 {
        in_bounds(&BATCHES.get(batch).blocks, place)
    }

    // As those of the trait, but the batch is looked up once.
    fn store(&self, batch: u32, blocks: &[usize]) {
        for (place, block) in BATCHES.get(batch).blocks.iter().zip(blocks) {
            place.store(*block as u64, Ordering::Relaxed);
        }
    }

    fn load(&self, batch: u32, out: &mut [usize]) {
        for (place, block) in BATCHES.get(batch).blocks.iter().zip(out) {
            *block = place.load(Ordering::Relaxed) as usize;
        }
    }

    fn extend(&self) -> Option<u32> {
        BATCHES.extend(1)
    }

    #[inline]
    fn most(&self) -> u32 {
        *in_bounds(&MOST, usize::from(self.0.0))
    }
}

/// Batches that are kept of each class.
static MOST: [u32; CLASS_COUNT] = {
    let mut most = [0; CLASS_COUNT];
    let mut class = 0;
    while class < CLASS_COUNT {
        let bytes = CLASSES[class].block_bytes as usize * batch_blocks(Class(class as u16));
        let fit = (CLASS_BYTES / bytes) as u32;
        most[class] = if fit < MIN_BATCHES { MIN_BATCHES } else { fit };
        assert!(most[class] <= MAX_BATCHES);
        class += 1;
    }
    most
};
