//! A growing array of shared records that never move: for descriptors.
//!
//! Chunk `k` holds `64 · 2^k` records and is mapped when the first of them is needed, so the table has no cap, needs
//! no large reservation, and finds a record with one load from a static array:
//!
//! ```text
//! id + 64 = 1xxxxxx…  →  chunk = position of the leading 1 − 6,  place = the bits behind it
//! ```
//!
//! Records start as zero bytes and are never unmapped.

use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use crate::accounting::{self, Purpose};

const FIRST_CHUNK_SHIFT: u32 = 6;
const CHUNKS: usize = 26;

/// A type whose value is valid when all its bytes are zero, and that may be shared between threads.
///
/// # Safety
/// Both must hold.
pub(crate) unsafe trait ZeroRecord: Sync {}

/// The table. Invariant: every chunk that holds a record below `len` is mapped, and stays so.
pub(crate) struct Table<T> {
    chunks: [AtomicPtr<T>; CHUNKS],
    len: AtomicU64,
}

/// Chunk and place in it.
#[inline(always)]
const fn locate(id: u32) -> (usize, usize) {
    let shifted = id as usize + (1 << FIRST_CHUNK_SHIFT);
    let top = shifted.ilog2();
    ((top - FIRST_CHUNK_SHIFT) as usize, shifted - (1 << top))
}

impl<T: ZeroRecord> Table<T> {
    /// An empty table.
    pub(crate) const fn new() -> Self {
        Self {
            chunks: [const { AtomicPtr::new(core::ptr::null_mut()) }; CHUNKS],
            len: AtomicU64::new(0),
        }
    }

    /// Number of records handed out; records below it may be read.
    pub(crate) fn len(&self) -> u32 {
        // Acquire: pairs with the Release in `extend`, so that the chunks of all those records are seen.
        self.len.load(Ordering::Acquire) as u32
    }

    /// Hands out `count` new records; returns the number of the first. `None`: no memory for them.
    pub(crate) fn extend(&self, count: u32) -> Option<u32> {
        // Relaxed: only the value is used; the chunks are looked at below.
        let mut first = self.len.load(Ordering::Relaxed);
        loop {
            let end = u32::try_from(first + u64::from(count)).ok()?;
            for chunk in locate(first as u32).0..=locate(end - 1).0 {
                self.map_chunk(chunk)?;
            }
            // Release: pairs with the Acquire in `len`. Failure: another thread has taken those numbers.
            match self.len.compare_exchange(
                first,
                u64::from(end),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(first as u32),
                Err(found) => first = found,
            }
        }
    }

    /// Hands out records until `id` is one; whether there was memory.
    pub(crate) fn reach(&self, id: u32) -> bool {
        loop {
            let len = self.len();
            if id < len {
                return true;
            }
            // Others may hand out some meanwhile: then these are more than are needed.
            if self.extend(id - len + 1).is_none() {
                return false;
            }
        }
    }

    fn map_chunk(&self, chunk: usize) -> Option<()> {
        // Acquire: pairs with the Release below.
        if !self.chunks.get(chunk)?.load(Ordering::Acquire).is_null() {
            return Some(());
        }
        let bytes =
            (size_of::<T>() << FIRST_CHUNK_SHIFT << chunk).next_multiple_of(crate::os::PAGE_BYTES);
        let address = accounting::map(bytes, crate::os::PAGE_BYTES, Purpose::Metadata)?;
        let records = core::ptr::with_exposed_provenance_mut::<T>(address);
        // Release: pairs with the Acquires above and in `get`; the kernel has zeroed the pages. Failure: another
        // thread has mapped this chunk.
        let published = self.chunks[chunk].compare_exchange(
            core::ptr::null_mut(),
            records,
            Ordering::Release,
            Ordering::Relaxed,
        );
        if published.is_err() {
            // SAFETY: mapped above and published nowhere.
            unsafe { accounting::unmap(address, bytes, Purpose::Metadata) };
        }
        Some(())
    }

    /// The record `id`, which [`Table::extend`] has handed out.
    #[inline(always)]
    pub(crate) fn get(&self, id: u32) -> &'static T {
        let (chunk, place) = locate(id);
        debug_assert!(u64::from(id) < self.len.load(Ordering::Relaxed));
        // SAFETY: `locate` is below CHUNKS for every u32 + 64: the largest is chunk 26 only for ids of 2^32 − 64 and
        // above, which `extend` cannot hand out, since `map_chunk` refuses that chunk.
        let records = unsafe { self.chunks.get_unchecked(chunk) };
        // Acquire: pairs with the Release in `map_chunk`. (On x86-64 a plain load.)
        let records = records.load(Ordering::Acquire);
        // SAFETY: the id was handed out, so its chunk is mapped, with room for `64 << chunk` records.
        let record = unsafe { records.add(place) };
        // SAFETY: mapped for ever, zero bytes are a valid T, and T is only used through shared references.
        unsafe { &*record }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Number(AtomicU64);
    // SAFETY: zero is a valid AtomicU64, which is Sync.
    unsafe impl ZeroRecord for Number {}

    /// Aim: every id has a place of its own within its chunk. Method: walk all ids of the first chunks in order,
    /// and look at the ends of the others.
    #[test]
    fn places_are_distinct() {
        let (mut chunk, mut place) = (0, 0);
        for id in 0..1 << 16 {
            assert_eq!(locate(id), (chunk, place));
            place += 1;
            if place == 64 << chunk {
                (chunk, place) = (chunk + 1, 0);
            }
        }
        assert_eq!(locate(u32::MAX - 64), (CHUNKS - 1, (1 << 31) - 1));
    }

    /// Aim: no number is handed out twice, and every record is usable at once. Method: 4 threads extend and write
    /// their numbers.
    #[test]
    fn hands_out_each_record_once() {
        static TABLE: Table<Number> = Table::new();
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                scope.spawn(move || {
                    for round in 0..2000 {
                        let count = 1 + round % 5;
                        let first = TABLE.extend(count).unwrap();
                        for id in first..first + count {
                            let before = TABLE.get(id).0.swap(thread + 1, Ordering::Relaxed);
                            assert_eq!(before, 0);
                        }
                    }
                });
            }
        });
        assert_eq!(TABLE.len(), 4 * 2000 * 3);
    }
}
