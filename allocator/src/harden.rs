//! `LFALLOC_HARDEN=1`: every free is checked, against a bit for every block.
//!
//! | bit      | set                                   | cleared                                                           |
//! |----------|---------------------------------------|-------------------------------------------------------------------|
//! | `live`   | when a block leaves its superblock    | by the free that gives it back: a second one finds it cleared     |
//! | `filled` | when a freed block was filled         | when it leaves again, and what stands in it was found unchanged   |
//!
//! So a block that is freed twice, by two threads at the same time even, an address that was never handed out, and writing to a freed
//! block are told with certainty, at the next thing that happens to the block; and whatever was written to its list, no block is handed
//! out while it is in use. There are no magazines then, since what lies in one is no
//! longer looked at, and no keys in the page map, so that everything that comes by address comes here.
//!
//! Before the environment is there nothing is decided (see [`crate::options`]); until then the bits are kept.

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::descriptor::Block;
use crate::live::{Live, hex};
use crate::os;
use crate::page_map;
use crate::platform::{Class, SuperblockId};
use crate::size_class::{CLASS_COUNT, CLASSES, Key, in_bounds, size_class, superblock_bytes};
use crate::table::{Table, ZeroRecord};

const UNDECIDED: u8 = 0;
const OFF: u8 = 1;
const ON: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(UNDECIDED);

/// Words of bits for the superblock that has the most blocks.
const WORDS: usize = 64;
const _: () = {
    let mut class = 0;
    while class < CLASS_COUNT {
        assert!(CLASSES[class].shape.blocks as usize <= 64 * WORDS);
        class += 1;
    }
};
/// Bytes of a freed block that are filled at most, behind its link.
const FILLED_BYTES: usize = 4096;
/// What with: as an address none that a program can have, as a number none that it expects.
const FILL: u64 = 0xDFDF_DFDF_DFDF_DFDF;
const LINK_BYTES: usize = size_of::<u64>();

/// The bits of a superblock.
#[repr(C, align(64))]
struct Bits {
    /// 1 if they are kept: there may have been no memory for them when the superblock's generation began, and be some now.
    kept: AtomicU64,
    live: [AtomicU64; WORDS],
    filled: [AtomicU64; WORDS],
}

// SAFETY: atomics only; zero bytes are a valid value of each.
unsafe impl ZeroRecord for Bits {}

/// By the number of the descriptor.
static BITS: Table<Bits> = Table::new();

/// Whether every free is checked.
#[inline]
pub(crate) fn is_on() -> bool {
    // Relaxed: set before there are threads, or by one that nothing is promised to.
    STATE.load(Ordering::Relaxed) == ON
}

/// Whether bits are kept.
#[inline]
pub(crate) fn is_kept() -> bool {
    // Relaxed: as in `is_on`.
    STATE.load(Ordering::Relaxed) != OFF
}

/// What the environment says: from now on everything is checked, or nothing is kept.
pub(crate) fn decide(is_on: bool) {
    STATE.store(if is_on { ON } else { OFF }, Ordering::Relaxed);
    if is_on {
        // Those that came before.
        for id in (0..Live::superblocks()).map(SuperblockId) {
            let base = Live::base(id);
            if base != 0 {
                page_map::set_key(base, superblock_bytes(Live::geometry(id)), Key::NONE);
            }
        }
    }
}

/// A superblock that only this thread holds begins a new generation: none of its blocks has been handed out.
pub(crate) fn begin(id: SuperblockId) {
    if !BITS.reach(id.0) {
        // Of this generation nothing is known.
        return;
    }
    let bits = BITS.get(id.0);
    for word in bits.live.iter().chain(&bits.filled) {
        // Relaxed: published with the superblock.
        word.store(0, Ordering::Relaxed);
    }
    bits.kept.store(1, Ordering::Relaxed);
}

fn bits(id: SuperblockId) -> Option<&'static Bits> {
    let bits = (id.0 < BITS.len()).then(|| BITS.get(id.0))?;
    // Relaxed: published with the superblock.
    (bits.kept.load(Ordering::Relaxed) == 1).then_some(bits)
}

const fn place(index: u32) -> (usize, u64) {
    (index as usize / 64 % WORDS, 1 << (index % 64))
}

/// Blocks have left their superblock for the caller, who may not use them before this.
#[cold]
pub(crate) fn took(class: Class, blocks: &[Block]) {
    for block in blocks {
        let Some(bits) = bits(block.superblock) else { continue };
        let (word, bit) = place(block.index);
        // Relaxed: seen through the anchor, as the link; only the holder of the block changes it.
        let is_filled = in_bounds(&bits.filled, word).load(Ordering::Relaxed) & bit != 0;
        if is_filled {
            in_bounds(&bits.filled, word).fetch_and(!bit, Ordering::Relaxed);
            let address = address(block.superblock, class, block.index);
            if is_on() && !is_unchanged(address, class) {
                overwritten(address);
            }
        }
        // Relaxed: a free of this block comes from whom the caller gives it to.
        let before = in_bounds(&bits.live, word).fetch_or(bit, Ordering::Relaxed);
        if is_on() && before & bit != 0 {
            handed_out_twice(address(block.superblock, class, block.index));
        }
    }
}

/// Blocks are about to be freed: ends the program if one is not in use.
#[cold]
pub(crate) fn gives(id: SuperblockId, class: Class, blocks: &[u32]) {
    let Some(bits) = bits(id) else { return };
    for &index in blocks {
        let (word, bit) = place(index);
        // Relaxed: of several that free the same block one finds it set.
        let before = in_bounds(&bits.live, word).fetch_and(!bit, Ordering::Relaxed);
        if !is_on() {
            continue;
        }
        let address = address(id, class, index);
        if before & bit == 0 {
            not_in_use(address);
        }
        for (place, fill) in filled(address, class) {
            // SAFETY: within the block, which is this thread's.
            unsafe { place.write(fill) };
        }
        // Relaxed: published by the Release of the free, as the link.
        in_bounds(&bits.filled, word).fetch_or(bit, Ordering::Relaxed);
    }
}

/// Ends the program if the block that begins at an address is not in use.
pub(crate) fn check_live(id: SuperblockId, class: Class, index: u32) {
    if !is_on() {
        return;
    }
    let Some(bits) = bits(id) else { return };
    let (word, bit) = place(index);
    // Relaxed: the caller says that the block is its own.
    if in_bounds(&bits.live, word).load(Ordering::Relaxed) & bit == 0 {
        not_in_use(address(id, class, index));
    }
}

fn address(id: SuperblockId, class: Class, index: u32) -> usize {
    Live::base(id) + index as usize * size_class(class).block_bytes as usize
}

/// The words of a freed block that are filled, and with what.
fn filled(address: usize, class: Class) -> impl Iterator<Item = (*mut u64, u64)> {
    let bytes = (size_class(class).block_bytes as usize).min(FILLED_BYTES);
    let places = (LINK_BYTES..bytes).step_by(size_of::<u64>());
    places.map(move |place| (core::ptr::with_exposed_provenance_mut(address + place), FILL))
}

fn is_unchanged(address: usize, class: Class) -> bool {
    // SAFETY: within the block, which is this thread's.
    filled(address, class).all(|(place, fill)| unsafe { place.read() } == fill)
}

#[cold]
fn handed_out_twice(address: usize) -> ! {
    os::fatal(&[
        "lfalloc: the block at ",
        hex(address, &mut [0; 18]),
        " is in use and on the list of free ones: a link was overwritten",
    ])
}

#[cold]
fn not_in_use(address: usize) -> ! {
    os::fatal(&[
        "lfalloc: the block at ",
        hex(address, &mut [0; 18]),
        " is not in use: it was freed twice, or before this, or was never handed out",
    ])
}

/// Ends the program: something wrote to a free block.
#[cold]
pub(crate) fn overwritten(address: usize) -> ! {
    os::fatal(&[
        "lfalloc: the free block at ",
        hex(address, &mut [0; 18]),
        " was overwritten: something wrote to memory after freeing it, or beyond the end of the block before",
    ])
}
