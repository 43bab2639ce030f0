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
    /// Tables: counted as metadata here.
    Metadata,
}

/// Bytes mapped and not decommitted.
static MAPPED: AtomicU64 = AtomicU64::new(0);
/// Of these, bytes of tables.
static METADATA: AtomicU64 = AtomicU64::new(0);
/// Superblocks and large blocks that some thread holds between two containers.
static IN_HAND: AtomicU64 = AtomicU64::new(0);

// All orderings here are Relaxed: counters publish nothing. A census compares them before and after.

/// Maps counted memory, see [`os::map`].
pub(crate) fn map(bytes: usize, align: usize, purpose: Purpose) -> Option<usize> {
    let address = os::map(bytes, align)?;
    mapped(bytes as i64);
    if purpose == Purpose::Metadata {
        METADATA.fetch_add(bytes as u64, Ordering::Relaxed);
    }
    Some(address)
}

/// Unmaps counted memory; whether that worked.
///
/// # Safety
/// As [`os::unmap`].
pub(crate) unsafe fn unmap(address: usize, bytes: usize, purpose: Purpose) -> bool {
    // SAFETY: the caller's.
    let done = unsafe { os::unmap(address, bytes) };
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

/// A thread takes a superblock or large block out of its container (`1`), or has put it back (`-1`).
#[inline]
pub(crate) fn hold(change: i64) {
    IN_HAND.fetch_add(change.cast_unsigned(), Ordering::Relaxed);
}

/// Superblocks and large blocks in the hands of threads.
pub(crate) fn in_hand() -> u64 {
    IN_HAND.load(Ordering::Relaxed)
}
