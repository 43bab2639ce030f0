//! Address → descriptor in two dependent loads, and without touching the memory at the address.
//!
//! A root of 2^15 pointers covers the 47 bits of user addresses; a leaf covers 4 GiB in 2^16 granules of 64 KiB and
//! is mapped when the first of them is used (512 KiB, of which only touched pages cost memory). No cap on the heap,
//! no reservation that would fail under a limit, and a *foreign* address is recognised without being read.
//!
//! The patent's prefix before each block (\[0039\], \[0046\] line 2) breaks 16-byte alignment and can be overwritten.

use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use crate::accounting::{self, Purpose};
use crate::os::PAGE_BYTES;
use crate::platform::SuperblockId;
use crate::size_class::{GRANULE_BYTES, Key};

const GRANULE_SHIFT: u32 = GRANULE_BYTES.ilog2();
const LEAF_SHIFT: u32 = 16;
const ROOT_SHIFT: u32 = 15;
const ADDRESS_BITS: u32 = GRANULE_SHIFT + LEAF_SHIFT + ROOT_SHIFT;
const _: () = assert!(ADDRESS_BITS == 47);

type Leaf = [AtomicU64; 1 << LEAF_SHIFT];

static ROOT: [AtomicPtr<Leaf>; 1 << ROOT_SHIFT] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; 1 << ROOT_SHIFT];

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
/// Above the descriptor stands the key of the class that the superblock is of, so that a free needs nothing else.
const KEY_SHIFT: u32 = 48;

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
    // Acquire: pairs with the Release in `leaf_for`. (On x86-64 a plain load.)
    let leaf = ROOT[address >> (GRANULE_SHIFT + LEAF_SHIFT)].load(Ordering::Acquire);
    if leaf.is_null() {
        return Entry::Foreign;
    }
    // SAFETY: leaves are published complete and stay for ever.
    let leaf = unsafe { &*leaf };
    // Relaxed: whoever owns a block at this address got it in a way that orders this after the store in `set`.
    Entry::from_word(
        leaf[address >> GRANULE_SHIFT & ((1 << LEAF_SHIFT) - 1)].load(Ordering::Relaxed),
    )
}

/// The key of the class of the superblock that `address` lies in; [`Key::NONE`] in one that no class has taken yet, in large
/// blocks and, mostly, elsewhere; `None` for the rest.
#[inline(always)]
pub(crate) fn key_at(address: usize) -> Option<Key> {
    let root = address >> (GRANULE_SHIFT + LEAF_SHIFT);
    // Acquire: pairs with the Release in `leaf_for`.
    let leaf = ROOT.get(root)?.load(Ordering::Acquire);
    if leaf.is_null() {
        return None;
    }
    // SAFETY: leaves are published complete and stay for ever.
    let leaf = unsafe { &*leaf };
    // Relaxed: as in `lookup`.
    let word = leaf[address >> GRANULE_SHIFT & ((1 << LEAF_SHIFT) - 1)].load(Ordering::Relaxed);
    Some(Key((word >> KEY_SHIFT) as u16))
}

/// The superblock `id` in that range is of the class of `key` from now on: before any block of it is handed out.
pub(crate) fn set_key(address: usize, bytes: usize, id: SuperblockId, key: Key) {
    if key_at(address) != Some(key) {
        set_word(address, bytes, Entry::Superblock(id).word() | u64::from(key.0) << KEY_SHIFT);
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
    set_word(address, bytes, entry.word());
}

fn set_word(address: usize, bytes: usize, word: u64) {
    for granule in (address..address + bytes).step_by(GRANULE_BYTES) {
        if let Some(leaf) = leaf_for(granule >> (GRANULE_SHIFT + LEAF_SHIFT)) {
            // Relaxed: published with the block, see `lookup`.
            leaf[granule >> GRANULE_SHIFT & ((1 << LEAF_SHIFT) - 1)]
                .store(word, Ordering::Relaxed);
        }
    }
}

fn leaf_for(root: usize) -> Option<&'static Leaf> {
    let slot = &ROOT[root];
    // Acquire: pairs with the Release below.
    let mut leaf = slot.load(Ordering::Acquire);
    if leaf.is_null() {
        let bytes = size_of::<Leaf>();
        let address = accounting::map(bytes, PAGE_BYTES, Purpose::Metadata)?;
        let new = core::ptr::with_exposed_provenance_mut::<Leaf>(address);
        // Release: pairs with the Acquires here and in `lookup`; the kernel has zeroed the pages, and zero is
        // `Foreign`. Failure: another thread has mapped this leaf.
        match slot.compare_exchange(
            core::ptr::null_mut(),
            new,
            Ordering::Release,
            Ordering::Acquire,
        ) {
            Ok(_) => leaf = new,
            Err(found) => {
                // SAFETY: mapped above and published nowhere.
                unsafe { accounting::unmap(address, bytes, Purpose::Metadata) };
                leaf = found;
            }
        }
    }
    // SAFETY: leaves are published complete and stay for ever.
    Some(unsafe { &*leaf })
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
