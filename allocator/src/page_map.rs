//! Address → descriptor in two dependent loads, and without touching the memory at the address.
//!
//! A root of 2^15 pointers covers the 47 bits of user addresses; a leaf covers 4 GiB in 2^16 granules of 64 KiB and
//! is mapped when the first of them is used (640 KiB, of which only touched pages cost memory). No cap on the heap,
//! no reservation that would fail under a limit, and a *foreign* address is recognised without being read.
//!
//! The procedures are generic over what they work on, as the core is, and for the same reason: models.
//!
//! The patent's prefix before each block (\[0039\], \[0046\] line 2) breaks 16-byte alignment and can be overwritten.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use crate::accounting::{self, Purpose};
use crate::once::{self, MadeOnce};
use crate::os::PAGE_BYTES;
use crate::os::sequence::MAGAZINES;
use crate::platform::{SuperblockId, Word};
use crate::size_class::{GRANULE_BYTES, Key, in_bounds};

const GRANULE_SHIFT: u32 = GRANULE_BYTES.ilog2();
const LEAF_SHIFT: u32 = 16;
const ROOT_SHIFT: u32 = 15;
const ROOT_ADDRESS_SHIFT: u32 = GRANULE_SHIFT + LEAF_SHIFT;
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
    roots: [AtomicU64; 1 << ROOT_SHIFT],
    /// The keys of 4 GiB without a leaf. Never written to.
    no_keys: [AtomicU16; 1 << LEAF_SHIFT],
}

impl Map {
    pub(crate) const ROOTS: usize = 1 << ROOT_SHIFT;
    /// How far an address is to be shifted to tell its root,
    pub(crate) const ROOT_ADDRESS_SHIFT: u32 = ROOT_ADDRESS_SHIFT;
    /// and, its lower half, its granule in the leaf.
    pub(crate) const GRANULE_ADDRESS_SHIFT: u32 = GRANULE_SHIFT;
    pub(crate) const ROOTS_OFFSET: usize = offset_of!(Map, roots);
    pub(crate) const KEYS_OFFSET: usize = offset_of!(Map, no_keys);

    #[expect(clippy::large_stack_arrays, reason = "evaluated by the compiler, into a static")]
    pub(crate) const fn new() -> Self {
        Self {
            roots: [const { AtomicU64::new(0) }; 1 << ROOT_SHIFT],
            no_keys: [const { AtomicU16::new(0) }; 1 << LEAF_SHIFT],
        }
    }

    fn origin(&self) -> usize {
        self.no_keys.as_ptr().expose_provenance()
    }
}

/// What a map is made of: leaves, each for 4 GiB, which are published complete and stay for ever.
pub trait Tree {
    /// The atomic word.
    type Word: Word;
    /// Where a leaf is.
    type Root: MadeOnce;

    /// Where the leaf is for addresses that begin with `root`; `None` for addresses that no program has.
    fn root(&self, root: usize) -> Option<Self::Root>;
    /// An entry of the leaf that [`MadeOnce`] leads to.
    fn entry(&self, leaf: u64, granule: usize) -> &Self::Word;
    /// A key of it, read with a relaxed load,
    fn key(&self, leaf: u64, granule: usize) -> u16;
    /// and written with a relaxed store.
    fn set_key(&self, leaf: u64, granule: usize, key: u16);
}

/// The map of this process.
struct Ours;

/// A root of it.
struct OurRoot(&'static AtomicU64);

impl MadeOnce for OurRoot {
    type Word = AtomicU64;

    #[inline(always)]
    fn word(&self) -> &AtomicU64 {
        self.0
    }
    fn map(&self) -> Option<u64> {
        let address = accounting::map(size_of::<Leaf>(), PAGE_BYTES, Purpose::Metadata)?;
        Some(address.wrapping_sub(MAGAZINES.map.origin()) as u64)
    }
    unsafe fn unmap(&self, made: u64) {
        let address = (made as usize).wrapping_add(MAGAZINES.map.origin());
        // SAFETY: the caller's.
        unsafe { accounting::unmap(address, size_of::<Leaf>(), Purpose::Metadata) };
    }
}

impl Ours {
    #[inline(always)]
    fn leaf(leaf: u64) -> &'static Leaf {
        let address = (leaf as usize).wrapping_add(MAGAZINES.map.origin());
        let leaf = core::ptr::with_exposed_provenance::<Leaf>(address);
        // SAFETY: only what a root led to is asked for: leaves are published complete and stay for ever.
        unsafe { &*leaf }
    }
}

impl Tree for Ours {
    type Word = AtomicU64;
    type Root = OurRoot;

    #[inline(always)]
    fn root(&self, root: usize) -> Option<OurRoot> {
        MAGAZINES.map.roots.get(root).map(OurRoot)
    }
    #[inline(always)]
    fn entry(&self, leaf: u64, granule: usize) -> &AtomicU64 {
        in_bounds(&Self::leaf(leaf).entries, granule)
    }
    #[inline(always)]
    fn key(&self, leaf: u64, granule: usize) -> u16 {
        in_bounds(&Self::leaf(leaf).keys, granule).load(Ordering::Relaxed)
    }
    fn set_key(&self, leaf: u64, granule: usize, key: u16) {
        in_bounds(&Self::leaf(leaf).keys, granule).store(key, Ordering::Relaxed);
    }
}

/// What lies at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
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
    lookup_in(&Ours, address)
}

/// The key of the class of the superblock at `address`; [`Key::NONE`] if there is none.
#[inline]
pub(crate) fn key_at(address: usize) -> Key {
    Key(key_in(&Ours, address))
}

/// The superblock in that range is of the class of `key` from now on, and no block of it has been handed out; or of none.
pub(crate) fn set_key(address: usize, bytes: usize, key: Key) {
    set_key_in(&Ours, address, bytes, key.0);
}

/// Makes sure that [`set`] works for the range. `None`: no memory for a leaf.
pub(crate) fn prepare(address: usize, bytes: usize) -> Option<()> {
    prepare_in(&Ours, address, bytes)
}

/// Sets the entry of every granule that begins in the range, which [`prepare`] has made ready.
pub(crate) fn set(address: usize, bytes: usize, entry: Entry) {
    set_in(&Ours, address, bytes, entry);
}

/// What lies at `address`.
#[inline(always)]
pub fn lookup_in<T: Tree>(tree: &T, address: usize) -> Entry {
    match leaf(tree, address) {
        // Relaxed: whoever owns a block at this address got it in a way that orders this after the store in `set`.
        Some(leaf) => Entry::from_word(tree.entry(leaf, in_leaf(address)).load(Ordering::Relaxed)),
        None => Entry::Foreign,
    }
}

/// The number of the key of the class of the superblock at `address`.
#[inline(always)]
pub fn key_in<T: Tree>(tree: &T, address: usize) -> u16 {
    match leaf(tree, address) {
        // Relaxed: as in `lookup_in`.
        Some(leaf) => tree.key(leaf, in_leaf(address)),
        None => Key::NONE.0,
    }
}

/// Sets the keys of the granules that begin in the range.
pub fn set_key_in<T: Tree>(tree: &T, address: usize, bytes: usize, key: u16) {
    for granule in (address..address + bytes).step_by(GRANULE_BYTES) {
        if let Some(leaf) = leaf_for(tree, granule)
            // Relaxed, both: published with the blocks, as in `lookup_in`.
            && tree.key(leaf, in_leaf(granule)) != key
        {
            tree.set_key(leaf, in_leaf(granule), key);
        }
    }
}

/// Makes sure that [`set_in`] works for the range. `None`: no memory for a leaf.
pub fn prepare_in<T: Tree>(tree: &T, address: usize, bytes: usize) -> Option<()> {
    let (first, last) = (address, address.checked_add(bytes - 1)?);
    if last >> ADDRESS_BITS != 0 {
        return None;
    }
    for root in first >> ROOT_ADDRESS_SHIFT..=last >> ROOT_ADDRESS_SHIFT {
        leaf_for(tree, root << ROOT_ADDRESS_SHIFT)?;
    }
    Some(())
}

/// Sets the entry of every granule that begins in the range, which [`prepare_in`] has made ready.
pub fn set_in<T: Tree>(tree: &T, address: usize, bytes: usize, entry: Entry) {
    for granule in (address..address + bytes).step_by(GRANULE_BYTES) {
        if let Some(leaf) = leaf_for(tree, granule) {
            // Relaxed: published with the block, see `lookup_in`.
            tree.entry(leaf, in_leaf(granule)).store(entry.word(), Ordering::Relaxed);
        }
    }
}

/// The leaf for an address, if there is one.
#[inline(always)]
fn leaf<T: Tree>(tree: &T, address: usize) -> Option<u64> {
    once::find(&tree.root(address >> ROOT_ADDRESS_SHIFT)?)
}

fn leaf_for<T: Tree>(tree: &T, address: usize) -> Option<u64> {
    once::get(&tree.root(address >> ROOT_ADDRESS_SHIFT)?)
}

/// Which granule of its leaf an address lies in.
#[inline]
const fn in_leaf(address: usize) -> usize {
    address >> GRANULE_SHIFT & ((1 << LEAF_SHIFT) - 1)
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
