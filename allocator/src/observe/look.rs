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
//!
//! # Cached blocks
//!
//! To its superblock a block in a magazine or in the depot has an owner. Which they are is found by reading the slots of every
//! magazine of the class, and the batches of its depot, while they are in use: an address that is not that of a block of this
//! superblock is passed over. What was read is of one instant if the front counted nothing meanwhile, no batch was on its
//! way before or after, and the superblock stayed as it was; at rest, that is. Of a class that is in use it is a
//! close guess, and says so.

use core::sync::atomic::{Ordering, fence};

use super::census::{SuperblockView, read_superblock};
use super::{CLASS_COUNT, HEAPS_PER_CLASS, in_hand};
use crate::active::Active;
use crate::anchor::State;
use crate::descriptor::Backing;
use crate::front::{self, view};
use crate::link::Seal;
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
const LINK_BYTES: usize = size_of::<u64>();

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
    /// What the bits of `magazines` and `depot` are worth: nothing without a front.
    pub cached_sight: Sight,
    /// Bit `i % 64` of word `i / 64` is set if block `i` is in a magazine; empty if nothing was seen.
    pub magazines: &'m [u64],
    /// The same for the depot.
    pub depot: &'m [u64],
}

/// Room for a look: made once, it is enough for every superblock.
pub struct Magnifier {
    free: [u64; MAX_BLOCKS.div_ceil(64)],
    magazines: [u64; MAX_BLOCKS.div_ceil(64)],
    depot: [u64; MAX_BLOCKS.div_ceil(64)],
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
        let none = [0; Self::MAX_WORDS];
        Self {
            free: none,
            magazines: none,
            depot: none,
            links: [0; MAX_BLOCKS],
            memory: [0; PIECE_BYTES],
        }
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
        let cached_sight = self.look_for_cached(&superblock, max_attempts);
        let words = |sight| match sight {
            Sight::Nothing => 0,
            _ => size_class(Class(superblock.class)).shape.blocks.div_ceil(64) as usize,
        };
        let cached = words(cached_sight);
        Some(Look {
            superblock,
            sight,
            free: &self.free[..words(sight)],
            cached_sight,
            magazines: &self.magazines[..cached],
            depot: &self.depot[..cached],
        })
    }

    /// Marks the blocks of `seen` that the front holds, at most `max_attempts` times until nothing moved meanwhile.
    fn look_for_cached(&mut self, seen: &SuperblockView, max_attempts: u32) -> Sight {
        if front::processors() == 0 || seen.backing != Backing::Mapped {
            return Sight::Nothing;
        }
        let class = Class(seen.class);
        let row = size_class(class);
        let place = |address: usize| {
            let offset = (address as u64).checked_sub(seen.address)?;
            let (block, rest) =
                (offset / u64::from(row.block_bytes), offset % u64::from(row.block_bytes));
            (block < u64::from(row.shape.blocks) && rest == 0).then_some(block as usize)
        };
        let mark = |bits: &mut [u64], address| {
            if let Some(block) = place(address) {
                bits[block / 64] |= 1 << (block % 64);
            }
        };
        for _ in 0..max_attempts.max(1) {
            // Before and after each stamp: see `Stamp` of the census.
            let mut held = in_hand();
            let before = view::stamp(class);
            held = held.max(in_hand());
            self.magazines.fill(0);
            self.depot.fill(0);
            for processor in 0..front::processors() {
                view::each_in_magazine(processor, class, |at| mark(&mut self.magazines, at));
            }
            view::each_in_depot(class, |at| mark(&mut self.depot, at));
            // Acquire: what is compared is read after the slots.
            fence(Ordering::Acquire);
            held = held.max(in_hand());
            let after = view::stamp(class);
            held = held.max(in_hand());
            if *seen != read_with_credits(seen.id) {
                // It cannot become again what it was when the list was read.
                return Sight::Racing;
            }
            if before == after && held == 0 && seen.exact {
                return Sight::Exact;
            }
            core::hint::spin_loop();
        }
        Sight::Racing
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
        } else if !self.read_links(
            (before.address as usize, Live::seal(descriptor)),
            row.block_bytes as usize,
            written,
        ) {
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
    fn read_links(&mut self, (base, seal): (usize, Seal), block_bytes: usize, count: u32) -> bool {
        let per_piece = (PIECE_BYTES / block_bytes).max(1);
        let mut start = base;
        for links in self.links[..count as usize].chunks_mut(per_piece) {
            let piece = &mut self.memory[..(links.len() - 1) * block_bytes + LINK_BYTES];
            if !os::read_memory(start, piece) {
                return false;
            }
            let blocks = (start..).step_by(block_bytes).zip(piece.chunks(block_bytes));
            for (link, (address, block)) in links.iter_mut().zip(blocks) {
                let word = block.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
                // What is no link leads nowhere: the list is not one then.
                *link = word.and_then(|word| seal.open(address, word)).unwrap_or(u32::MAX);
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
