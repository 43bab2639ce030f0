//! A close look at one superblock: which of its blocks are in the list of free ones.
//!
//! The list hangs on the anchor: `avail` is its first block, every block leads to the next, and the last one leads to
//! `maxcount`. Every pop gives the anchor a new tag, and a free without a pop raises its count; so if the anchor is the
//! same before and after the links were read, the list was the same all the time, and no block on it had an owner who
//! could have written to it. Blocks that a heap has reserved are in the list, and so are those that a thread has
//! reserved and not popped yet.
//!
//! The links are copied by the system ([`os::read_memory`]): the superblock may be given back at any moment, and then
//! there is nothing to be read, but no fault either. Only links below the mark of written links are read, so that
//! memory that was never touched stays untouched.

use core::sync::atomic::{Ordering, fence};

use super::census::{SuperblockView, read_superblock};
use super::{CLASS_COUNT, HEAPS_PER_CLASS};
use crate::active::Active;
use crate::anchor::State;
use crate::descriptor::Backing;
use crate::live::{CORE, Live};
use crate::os;
use crate::platform::{Class, Heap, Platform, SuperblockId};
use crate::size_class::{CLASSES, size_class};

/// Blocks of the superblock that has the most.
const MAX_BLOCKS: usize = {
    let mut most = 0;
    let mut class = 0;
    while class < CLASS_COUNT {
        if CLASSES[class].shape.blocks > most {
            most = CLASSES[class].shape.blocks;
        }
        class += 1;
    }
    most as usize
};

/// Bytes copied at a time.
const PIECE_BYTES: usize = 16 << 10;
/// Bytes of a link.
const LINK_BYTES: usize = size_of::<u32>();

/// How far a look got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Sight {
    /// No bits: the superblock is not mapped, or its memory could not be read.
    Nothing = 0,
    /// The bits are those of one instant, that of the record.
    Exact = 1,
    /// It changed while it was read, as often as that was tried: bits may be wrong.
    Racing = 2,
}

/// One superblock, block by block.
#[derive(Clone, Copy, Debug)]
pub struct Look<'m> {
    /// Its descriptor, with the credits of the heap that points to it.
    pub superblock: SuperblockView,
    /// What the bits are worth.
    pub sight: Sight,
    /// Bit `i % 64` of word `i / 64` is set if block `i` is in the list of free blocks; empty if nothing was seen.
    ///
    /// Where the sight is exact there are at least `count + credits` of them (all, if EMPTY); more are blocks that
    /// threads have reserved and not popped yet.
    pub free: &'m [u64],
}

/// Room for a look: made once, it is enough for every superblock.
pub struct Magnifier {
    free: [u64; MAX_BLOCKS.div_ceil(64)],
    links: [u32; MAX_BLOCKS],
    memory: [u8; PIECE_BYTES],
}

impl core::fmt::Debug for Magnifier {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Magnifier").finish_non_exhaustive()
    }
}

impl Default for Magnifier {
    fn default() -> Self {
        Self::new()
    }
}

impl Magnifier {
    /// Most words that [`Look::free`] has.
    pub const MAX_WORDS: usize = MAX_BLOCKS.div_ceil(64);

    /// Room for a look.
    #[must_use]
    pub const fn new() -> Self {
        Self { free: [0; Self::MAX_WORDS], links: [0; MAX_BLOCKS], memory: [0; PIECE_BYTES] }
    }

    /// Looks at superblock `id`, at most `max_attempts` times (at least once) until it did not change meanwhile; `None`
    /// if there never was one. Allocates nothing, waits for nobody and changes nothing.
    pub fn look_at(&mut self, id: u32, max_attempts: u32) -> Option<Look<'_>> {
        if id >= Live::superblocks() {
            return None;
        }
        let mut attempts = 0;
        let (superblock, sight) = loop {
            let (superblock, sight, stable) = self.attempt(id);
            attempts += 1;
            if stable || attempts >= max_attempts {
                break (superblock, sight);
            }
            core::hint::spin_loop();
        };
        let blocks = match sight {
            Sight::Nothing => 0,
            _ => size_class(Class(superblock.class)).shape.blocks as usize,
        };
        Some(Look { superblock, sight, free: &self.free[..blocks.div_ceil(64)] })
    }

    /// One look; whether another one cannot do better.
    fn attempt(&mut self, id: u32) -> (SuperblockView, Sight, bool) {
        let before = read_with_credits(id);
        if before.backing != Backing::Mapped {
            return (before, Sight::Nothing, before.exact);
        }
        let row = size_class(Class(before.class));
        let blocks = row.shape.blocks;
        // Relaxed: read after the anchor (Acquire), hence above every block that a free had put on its list. A free that
        // is under way may have raised the mark further, above a block that was popped before: those below it that
        // are on the list were freed, since fresh blocks are popped in ascending order.
        let descriptor = CORE.platform().descriptor(SuperblockId(id));
        let written = (descriptor.written.load(Ordering::Relaxed) as u32).min(blocks);
        self.free.fill(0);
        let sight = if before.state == State::Empty {
            (0..blocks).for_each(|block| self.mark(block));
            Sight::Exact
        } else if !self.read_links(before.address as usize, row.block_bytes as usize, written) {
            Sight::Nothing
        } else if self.walk(&before, blocks, written) {
            Sight::Exact
        } else {
            Sight::Racing
        };
        // Acquire: the second reading of the descriptor comes after whatever was read of the list.
        fence(Ordering::Acquire);
        let stable = before.exact && before == read_with_credits(id);
        match sight {
            Sight::Exact if !stable => (before, Sight::Racing, false),
            // A list that makes no sense under an unchanged anchor was overwritten by the program; that stays so.
            _ => (before, sight, stable),
        }
    }

    /// Copies the links of the first `count` blocks; false if the memory cannot be read.
    fn read_links(&mut self, base: usize, block_bytes: usize, count: u32) -> bool {
        let per_piece = (PIECE_BYTES / block_bytes).max(1);
        let mut start = base;
        for links in self.links[..count as usize].chunks_mut(per_piece) {
            let piece = &mut self.memory[..(links.len() - 1) * block_bytes + LINK_BYTES];
            if !os::read_memory(start, piece) {
                return false;
            }
            for (link, block) in links.iter_mut().zip(piece.chunks(block_bytes)) {
                if let Some(bytes) = block.first_chunk() {
                    *link = u32::from_ne_bytes(*bytes);
                }
            }
            start += links.len() * block_bytes;
        }
        true
    }

    /// Marks the blocks of the list; whether it is one, and long enough.
    fn walk(&mut self, view: &SuperblockView, blocks: u32, written: u32) -> bool {
        let mut listed = 0;
        let mut next = u32::from(view.avail);
        while next < blocks {
            if self.is_marked(next) {
                return false;
            }
            self.mark(next);
            listed += 1;
            // As in `Core::walk`: the implicit link above the mark.
            next = if next < written { self.links[next as usize] } else { next + 1 };
        }
        next == blocks && listed >= u32::from(view.count) + u32::from(view.credits)
    }

    fn mark(&mut self, block: u32) {
        self.free[block as usize / 64] |= 1 << (block % 64);
    }

    fn is_marked(&self, block: u32) -> bool {
        self.free[block as usize / 64] >> (block % 64) & 1 == 1
    }
}

/// The descriptor's view, with the blocks that heaps of its class have reserved.
fn read_with_credits(id: u32) -> SuperblockView {
    let mut view = read_superblock(id);
    for heap in (0..HEAPS_PER_CLASS as u16).map(Heap) {
        // Acquire: the descriptor's second reading of a look comes after.
        let word = CORE.platform().active(heap, Class(view.class)).load(Ordering::Acquire);
        let active = Active::from_word(word);
        if active.superblock() == Some(SuperblockId(id)) {
            view.credits += active.blocks() as u16;
        }
    }
    view
}
