//! Address → descriptor in two dependent loads, and without touching the memory at the address.
//!
//! A root of 2^15 pointers covers the 47 bits of user addresses; a leaf covers 4 GiB in 2^16 granules of 64 KiB and
//! is mapped when the first of them is used (640 KiB, of which only touched pages cost memory). No cap on the heap,
//! no reservation that would fail under a limit, and a *foreign* address is recognised without being read.
//!
//! The patent's prefix before each block (\[0039\], \[0046\] line 2) breaks 16-byte alignment and can be overwritten.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU16, AtomicU64, AtomicUsize, Ordering};

use crate::accounting::{self, Purpose};
use crate::os::PAGE_BYTES;
use crate::os::sequence::MAGAZINES;
use crate::platform::SuperblockId;
use crate::size_class::{GRANULE_BYTES, Key};

const GRANULE_SHIFT: u32 = GRANULE_BYTES.ilog2();
const LEAF_SHIFT: u32 = 16;
const ROOT_SHIFT: u32 = 15;
const ADDRESS_BITS: u32 = GRANULE_SHIFT + LEAF_SHIFT + ROOT_SHIFT;
const _: () = assert!(ADDRESS_BITS == 47 && GRANULE_SHIFT + LEAF_SHIFT == 32);

/// What is known of 4 GiB.
#[repr(C)]
struct Leaf {
    /// Of every granule, the key of the class that its superblock is of, so that a free by address needs nothing else:
    /// [`Key::NONE`] where there is none. First: see [`Map::roots`].
    keys: [AtomicU16; 1 << LEAF_SHIFT],
    entries: [AtomicU64; 1 << LEAF_SHIFT],
}

/// The beginning of the map, part of [`MAGAZINES`]: one sequence of instructions looks up a key and pushes a block.
#[repr(C)]
pub(crate) struct Map {
    /// Addresses of leaves, less the address of `no_keys`: 0 leads there, so that nobody has to ask whether there is a leaf.
    roots: [AtomicUsize; 1 << ROOT_SHIFT],
    /// The keys of 4 GiB without a leaf. Never written to.
    no_keys: [AtomicU16; 1 << LEAF_SHIFT],
}

impl Map {
    pub(crate) const ROOTS: usize = 1 << ROOT_SHIFT;
    /// How far an address is to be shifted to tell its root,
    pub(crate) const ROOT_ADDRESS_SHIFT: u32 = GRANULE_SHIFT + LEAF_SHIFT;
    /// and, its lower half, its granule in the leaf.
    pub(crate) const GRANULE_ADDRESS_SHIFT: u32 = GRANULE_SHIFT;
    pub(crate) const ROOTS_OFFSET: usize = offset_of!(Map, roots);
    pub(crate) const KEYS_OFFSET: usize = offset_of!(Map, no_keys);

    #[expect(clippy::large_stack_arrays, reason = "evaluated by the compiler, into a static")]
    pub(crate) const fn new() -> Self {
        Self {
            roots: [const { AtomicUsize::new(0) }; 1 << ROOT_SHIFT],
            no_keys: [const { AtomicU16::new(0) }; 1 << LEAF_SHIFT],
        }
    }

    fn origin(&self) -> usize {
        self.no_keys.as_ptr().expose_provenance()
    }

    /// The leaf of `root`, if there is one.
    #[inline]
    fn leaf(&self, root: usize) -> Option<&'static Leaf> {
        // Acquire: pairs with the Release in `leaf_for`. (On x86-64 a plain load, as in the sequence.)
        let leaf = self.roots.get(root)?.load(Ordering::Acquire);
        if leaf == 0 {
            return None;
        }
        let leaf = core::ptr::with_exposed_provenance::<Leaf>(leaf.wrapping_add(self.origin()));
        // SAFETY: leaves are published complete and stay for ever.
        Some(unsafe { &*leaf })
    }
}

/// What lies at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Nothing of this allocator.
    Foreign,
    /// Part of a superblock.
    Superblock(SuperblockId),
    /// The first granule of the large block with that descriptor.
    Large(u32),
    /// Where a large block began that was freed, and that is kept: whoever frees it again is told.
    FreedLarge,
}

const SUPERBLOCK: u64 = 1;
const LARGE: u64 = 2;
const FREED_LARGE: u64 = 3;
impl Entry {
    const fn word(self) -> u64 {
        match self {
            Self::Foreign => 0,
            Self::Superblock(id) => (id.0 as u64) << 2 | SUPERBLOCK,
            Self::Large(id) => (id as u64) << 2 | LARGE,
            Self::FreedLarge => FREED_LARGE,
        }
    }

    #[inline]
    const fn from_word(word: u64) -> Self {
        match word & 3 {
            SUPERBLOCK => Self::Superblock(SuperblockId((word >> 2) as u32)),
            LARGE => Self::Large((word >> 2) as u32),
            FREED_LARGE => Self::FreedLarge,
            _ => Self::Foreign,
        }
    }
}

/// What lies at `address`.
#[inline]
pub(crate) fn lookup(address: usize) -> Entry {
    if address >> ADDRESS_BITS != 0 {
        return Entry::Foreign;
    }
    let Some(leaf) = MAGAZINES.map.leaf(address >> (GRANULE_SHIFT + LEAF_SHIFT)) else {
        return Entry::Foreign;
    };
    // Relaxed: whoever owns a block at this address got it in a way that orders this after the store in `set`.
    Entry::from_word(leaf.entries[in_leaf(address)].load(Ordering::Relaxed))
}

/// The key of the class of the superblock at `address`; [`Key::NONE`] if there is none.
#[inline]
pub(crate) fn key_at(address: usize) -> Key {
    match MAGAZINES.map.leaf(address >> (GRANULE_SHIFT + LEAF_SHIFT)) {
        // Relaxed: as in `lookup`.
        Some(leaf) => Key(leaf.keys[in_leaf(address)].load(Ordering::Relaxed)),
        None => Key::NONE,
    }
}

/// Which granule of its leaf an address lies in.
#[inline]
const fn in_leaf(address: usize) -> usize {
    address >> GRANULE_SHIFT & ((1 << LEAF_SHIFT) - 1)
}

/// The superblock in that range is of the class of `key` from now on, and no block of it has been handed out; or of none.
pub(crate) fn set_key(address: usize, bytes: usize, key: Key) {
    for granule in (address..address + bytes).step_by(GRANULE_BYTES) {
        if let Some(leaf) = leaf_for(granule >> (GRANULE_SHIFT + LEAF_SHIFT)) {
            // Relaxed, both: published with the blocks, as in `lookup`.
            let place = &leaf.keys[in_leaf(granule)];
            if place.load(Ordering::Relaxed) != key.0 {
                place.store(key.0, Ordering::Relaxed);
            }
        }
    }
}

/// Makes sure that [`set`] works for the range. `None`: no memory for a leaf.
pub(crate) fn prepare(address: usize, bytes: usize) -> Option<()> {
    let (first, last) = (address, address.checked_add(bytes - 1)?);
    if last >> ADDRESS_BITS != 0 {
        return None;
    }
    for root in first >> (GRANULE_SHIFT + LEAF_SHIFT)..=last >> (GRANULE_SHIFT + LEAF_SHIFT) {
        leaf_for(root)?;
    }
    Some(())
}

/// Sets the entry of every granule that begins in the range, which [`prepare`] has made ready.
pub(crate) fn set(address: usize, bytes: usize, entry: Entry) {
    for granule in (address..address + bytes).step_by(GRANULE_BYTES) {
        if let Some(leaf) = leaf_for(granule >> (GRANULE_SHIFT + LEAF_SHIFT)) {
            // Relaxed: published with the block, see `lookup`.
            leaf.entries[in_leaf(granule)].store(entry.word(), Ordering::Relaxed);
        }
    }
}

fn leaf_for(root: usize) -> Option<&'static Leaf> {
    let map = &MAGAZINES.map;
    if let Some(leaf) = map.leaf(root) {
        return Some(leaf);
    }
    let bytes = size_of::<Leaf>();
    let address = accounting::map(bytes, PAGE_BYTES, Purpose::Metadata)?;
    let relative = address.wrapping_sub(map.origin());
    // Release: pairs with the Acquire in `leaf`; the kernel has zeroed the pages, and zero is `Foreign`. Failure: another
    // thread has mapped this leaf.
    let published =
        map.roots.get(root)?.compare_exchange(0, relative, Ordering::Release, Ordering::Relaxed);
    if published.is_err() {
        // SAFETY: mapped above and published nowhere.
        unsafe { accounting::unmap(address, bytes, Purpose::Metadata) };
    }
    map.leaf(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Aim: foreign addresses are told apart without being read. Method: addresses nobody maps, at all borders.
    #[test]
    fn foreign_addresses() {
        for address in [0, 1, 0xFFFF, 1 << 46, (1 << 47) - 1, 1 << 47, usize::MAX] {
            assert_eq!(lookup(address), Entry::Foreign);
        }
    }

    /// Aim: an entry covers its range and nothing else, also across a leaf's border. Method: a range that nobody
    /// can map (the last 4 GiB border below the stack).
    #[test]
    fn ranges_are_exact() {
        let start = (0x7FF0usize << 32) - 2 * GRANULE_BYTES;
        prepare(start, 4 * GRANULE_BYTES).unwrap();
        set(start, 4 * GRANULE_BYTES, Entry::Superblock(SuperblockId(u32::MAX - 1)));
        for granule in 0..4 {
            let inside = start + granule * GRANULE_BYTES + 12_345;
            assert_eq!(lookup(inside), Entry::Superblock(SuperblockId(u32::MAX - 1)));
        }
        assert_eq!(lookup(start - 1), Entry::Foreign);
        assert_eq!(lookup(start + 4 * GRANULE_BYTES), Entry::Foreign);
        set(start, 4 * GRANULE_BYTES, Entry::Foreign);
        assert_eq!(lookup(start), Entry::Foreign);
    }
}
