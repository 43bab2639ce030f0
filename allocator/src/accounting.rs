//! Where bytes are mapped and unmapped, they are counted: the counters that the parts are compared with.
//!
//! `mapped` is everything this crate holds from the system: mappings, less what is decommitted. It is counted here
//! and nowhere derived, so that the sum of the parts, which a census finds by walking over descriptors, is checked
//! against something independent.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::os;

/// What a mapping is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Superblocks and large blocks, which a census finds itself.
    Blocks,
    /// Tables, and magazines: counted as metadata here. Between guards, which are not counted: whoever writes over the ends of blocks
    /// and goes on is ended by the processor before he comes to what decides which block is next.
    Metadata,
}

/// Bytes mapped and not decommitted.
static MAPPED: AtomicU64 = AtomicU64::new(0);
/// Of these, bytes of tables.
static METADATA: AtomicU64 = AtomicU64::new(0);
/// Superblocks, large blocks and batches that some thread holds between two containers, in cells with lines of their own:
/// what is counted in one is counted down there.
static IN_HAND: [Cell; CELLS] = [const { Cell(AtomicU64::new(0)) }; CELLS];
const CELLS: usize = 64;

#[repr(align(64))]
struct Cell(AtomicU64);

// All orderings here are Relaxed: counters publish nothing. A census compares them before and after.

/// Maps counted memory, see [`os::map`]; metadata at multiples of a page.
pub(crate) fn map(bytes: usize, align: usize, purpose: Purpose) -> Option<usize> {
    let address = match purpose {
        Purpose::Blocks => os::map(bytes, align)?,
        Purpose::Metadata => {
            debug_assert!(align <= os::PAGE_BYTES, "guarded pages are no better aligned");
            os::map_guarded(bytes)?
        }
    };
    mapped(bytes as i64);
    if purpose == Purpose::Metadata {
        METADATA.fetch_add(bytes as u64, Ordering::Relaxed);
    }
    Some(address)
}

/// Unmaps counted memory; whether that worked.
///
/// # Safety
/// As [`os::unmap`]; all of what one [`map`] returned, if it is metadata.
pub(crate) unsafe fn unmap(address: usize, bytes: usize, purpose: Purpose) -> bool {
    let done = match purpose {
        // SAFETY: the caller's.
        Purpose::Blocks => unsafe { os::unmap(address, bytes) },
        // SAFETY: the caller's.
        Purpose::Metadata => unsafe { os::unmap_guarded(address, bytes) },
    };
    if done {
        mapped(-(bytes as i64));
        if purpose == Purpose::Metadata {
            METADATA.fetch_sub(bytes as u64, Ordering::Relaxed);
        }
    }
    done
}

/// Counts memory that came or went otherwise.
pub(crate) fn mapped(change_bytes: i64) {
    MAPPED.fetch_add(change_bytes.cast_unsigned(), Ordering::Relaxed);
}

/// Bytes mapped and not decommitted.
pub(crate) fn mapped_bytes() -> i64 {
    MAPPED.load(Ordering::Relaxed).cast_signed()
}

/// Bytes of tables.
pub(crate) fn metadata_bytes() -> i64 {
    METADATA.load(Ordering::Relaxed).cast_signed()
}

/// A thread takes a superblock, a large block or a batch out of its container. Returns the cell for [`put`].
#[inline]
pub(crate) fn take() -> u32 {
    let cell = os::processor() % CELLS as u32;
    IN_HAND[cell as usize].0.fetch_add(1, Ordering::Relaxed);
    cell
}

/// It has put it back, or has found none.
#[inline]
pub(crate) fn put(cell: u32) {
    IN_HAND[cell as usize % CELLS].0.fetch_sub(1, Ordering::Relaxed);
}

/// Something counts as in hand until this is dropped.
#[must_use]
pub(crate) struct InHand(u32);

impl InHand {
    #[inline]
    pub(crate) fn take() -> Self {
        Self(take())
    }
}

impl Drop for InHand {
    #[inline]
    fn drop(&mut self) {
        put(self.0);
    }
}

/// Superblocks, large blocks and batches in the hands of threads: at least those that are all the while this reads.
pub(crate) fn in_hand() -> u64 {
    IN_HAND.iter().map(|cell| cell.0.load(Ordering::Relaxed)).sum()
}
