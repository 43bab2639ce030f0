//! A growing array of shared records that never move: for descriptors.
//!
//! Chunk `k` holds `64 · 2^k` records and is mapped when the first of them is needed, so the table has no cap, needs
//! no large reservation, and finds a record with one load from a static array:
//!
//! ```text
//! id + 64 = 1xxxxxx…  →  chunk = position of the leading 1 − 6,  place = the bits behind it
//! ```
//!
//! Records start as zero bytes and are never unmapped. Numbers are handed out by a procedure that is generic over what it works
//! on, as the core is, and for the same reason: models.

use core::marker::PhantomData;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::accounting::{self, Purpose};
use crate::once::{self, MadeOnce};
use crate::os::PAGE_BYTES;
use crate::platform::Word;

const FIRST_CHUNK_SHIFT: u32 = 6;
const CHUNKS: usize = 26;

/// A type whose value is valid when all its bytes are zero, and that may be shared between threads.
///
/// # Safety
/// Both must hold.
pub(crate) unsafe trait ZeroRecord: Sync {}

/// Faults that models seed on purpose, to show that they would see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The code as it ships.
    None,
    /// Numbers are handed out before there are records.
    LengthFirst,
    /// The length is published with a relaxed compare-and-swap.
    LengthRelaxed,
    /// The length is stored, whoever has changed it meanwhile.
    LengthStored,
}

/// What a table is made of.
pub trait Records {
    /// The atomic word.
    type Word: Word;
    /// Where a chunk is.
    type Chunk: MadeOnce;
    /// The fault to seed; a constant, so that it costs nothing.
    const FAULT: Fault = Fault::None;

    /// How many records were handed out.
    fn length(&self) -> &Self::Word;
    /// Where the chunk `chunk` is; `None`: a table has no so many.
    fn chunk(&self, chunk: usize) -> Option<Self::Chunk>;
}

/// Chunk and place in it.
#[inline(always)]
#[must_use]
pub const fn locate(id: u32) -> (usize, usize) {
    let shifted = id as usize + (1 << FIRST_CHUNK_SHIFT);
    let top = shifted.ilog2();
    ((top - FIRST_CHUNK_SHIFT) as usize, shifted - (1 << top))
}

/// Number of records handed out; records below it may be read.
pub fn length<R: Records>(records: &R) -> u32 {
    // Acquire: pairs with the Release in `extend`, so that the chunks of all those records are seen.
    records.length().load(Ordering::Acquire) as u32
}

/// Hands out `count` new records, at least one; returns the number of the first. `None`: no memory for them.
pub fn extend<R: Records>(records: &R, count: u32) -> Option<u32> {
    let order =
        if R::FAULT == Fault::LengthRelaxed { Ordering::Relaxed } else { Ordering::Release };
    // Relaxed: only the value is used; the chunks are looked at below.
    let mut first = records.length().load(Ordering::Relaxed);
    loop {
        let end = u32::try_from(first + u64::from(count)).ok()?;
        let chunks = locate(first as u32).0..=locate(end - 1).0;
        if R::FAULT != Fault::LengthFirst {
            for chunk in chunks.clone() {
                once::get(&records.chunk(chunk)?)?;
            }
        }
        if R::FAULT == Fault::LengthStored {
            records.length().store(u64::from(end), order);
            return Some(first as u32);
        }
        // Release: pairs with the Acquire in `length`. Failure: another thread has taken those numbers.
        match records.length().compare_exchange(first, u64::from(end), order, Ordering::Relaxed) {
            Ok(_) => {
                if R::FAULT == Fault::LengthFirst {
                    for chunk in chunks {
                        once::get(&records.chunk(chunk)?)?;
                    }
                }
                return Some(first as u32);
            }
            Err(found) => first = found,
        }
    }
}

/// The table. Invariant: every chunk that holds a record below the length is mapped, and stays so.
pub(crate) struct Table<T> {
    /// Addresses.
    chunks: [AtomicU64; CHUNKS],
    length: AtomicU64,
    records: PhantomData<T>,
}

/// A chunk of a table in this process.
pub(crate) struct Chunk {
    word: &'static AtomicU64,
    bytes: usize,
}

impl MadeOnce for Chunk {
    type Word = AtomicU64;

    fn word(&self) -> &AtomicU64 {
        self.word
    }
    fn map(&self) -> Option<u64> {
        let address = accounting::map(self.bytes, PAGE_BYTES, Purpose::Metadata)?;
        Some(address as u64)
    }
    unsafe fn unmap(&self, made: u64) {
        // SAFETY: the caller's.
        unsafe { accounting::unmap(made as usize, self.bytes, Purpose::Metadata) };
    }
}

impl<T: ZeroRecord> Records for &'static Table<T> {
    type Word = AtomicU64;
    type Chunk = Chunk;

    fn length(&self) -> &AtomicU64 {
        &self.length
    }
    fn chunk(&self, chunk: usize) -> Option<Chunk> {
        let bytes = (size_of::<T>() << FIRST_CHUNK_SHIFT << chunk).next_multiple_of(PAGE_BYTES);
        Some(Chunk { word: self.chunks.get(chunk)?, bytes })
    }
}

impl<T: ZeroRecord> Table<T> {
    /// An empty table.
    pub(crate) const fn new() -> Self {
        Self {
            chunks: [const { AtomicU64::new(0) }; CHUNKS],
            length: AtomicU64::new(0),
            records: PhantomData,
        }
    }

    /// See [`length`].
    pub(crate) fn len(&'static self) -> u32 {
        length(&self)
    }

    /// See [`extend`].
    pub(crate) fn extend(&'static self, count: u32) -> Option<u32> {
        extend(&self, count)
    }

    /// Hands out records until `id` is one; whether there was memory.
    pub(crate) fn reach(&'static self, id: u32) -> bool {
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

    /// The record `id`, which [`Table::extend`] has handed out.
    #[inline(always)]
    pub(crate) fn get(&self, id: u32) -> &'static T {
        let (chunk, place) = locate(id);
        debug_assert!(u64::from(id) < self.length.load(Ordering::Relaxed));
        // SAFETY: `locate` is below CHUNKS for every u32 + 64: the largest is chunk 26 only for ids of 2^32 − 64 and
        // above, which `extend` cannot hand out, since there is no such chunk.
        let records = unsafe { self.chunks.get_unchecked(chunk) };
        // Acquire: pairs with the Release in `once::get`. (On x86-64 a plain load.)
        let records = records.load(Ordering::Acquire) as usize;
        let records = core::ptr::with_exposed_provenance::<T>(records);
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
