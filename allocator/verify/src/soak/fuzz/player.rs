//! Performs operations and compares what comes of each with a shadow: which memory is whose ([`Intervals`]), and what it holds.

use std::alloc::GlobalAlloc as _;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use lfalloc::LfAlloc;

use super::calls::{Calls, layout, write_info};
use super::intervals::Intervals;
use super::operation::{Giver, Operation, Other, PLACES, Refusal, SLOTS, Taker};
use crate::soak::board::fail;
use crate::soak::system::{errno, set_errno};

/// Ends the process with what was under way, unless something holds.
macro_rules! expect {
    ($lane:expr, $holds:expr, $($text:tt)+) => {
        if !$holds {
            $lane.fail(format_args!($($text)+));
        }
    };
}

/// A block, as its holder knows it.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// 0: none.
    address: usize,
    size: usize,
    usable: usize,
    align: usize,
    is_rust: bool,
    pattern: u64,
}

/// The same in words that can go from thread to thread: whoever has its number has it alone.
#[derive(Debug, Default)]
struct Entry([AtomicU64; 5]);

impl Entry {
    fn get(&self) -> Held {
        // Relaxed: the number was had by an AcqRel.
        let word = |place: usize| self.0[place].load(Ordering::Relaxed);
        Held {
            address: word(0) as usize,
            size: word(1) as usize,
            usable: word(2) as usize,
            align: (word(3) >> 1) as usize,
            is_rust: word(3) & 1 == 1,
            pattern: word(4),
        }
    }

    fn set(&self, held: &Held) {
        let align = (held.align as u64) << 1 | u64::from(held.is_rust);
        let words =
            [held.address as u64, held.size as u64, held.usable as u64, align, held.pattern];
        for (word, value) in self.0.iter().zip(words) {
            word.store(value, Ordering::Relaxed);
        }
    }
}

/// What lanes share.
#[derive(Debug)]
pub(super) struct Table {
    entries: Vec<Entry>,
    places: [AtomicUsize; PLACES],
    intervals: Intervals,
    calls: Calls,
}

impl Table {
    /// For so many lanes.
    pub(super) fn new(lanes: usize) -> Self {
        let mut entries = Vec::new();
        entries.resize_with(lanes * SLOTS + PLACES, Entry::default);
        Self {
            entries,
            places: std::array::from_fn(|place| AtomicUsize::new(lanes * SLOTS + place)),
            intervals: Intervals::new(),
            calls: Calls::find(),
        }
    }

    /// Frees what lies in the places, after the lanes have ended; all entries are where they were at first.
    pub(super) fn clear(&self, seed: u64, lanes: usize) {
        let last = Lane::new(self, seed, lanes);
        for (number, place) in self.places.iter().enumerate() {
            let entry = place.swap(lanes * SLOTS + number, Ordering::AcqRel);
            last.take(&self.entries[entry], Taker::Free);
        }
    }
}

/// One sequence of operations, and what it holds.
#[derive(Debug)]
pub(super) struct Lane<'a> {
    table: &'a Table,
    /// Numbers of entries.
    slots: [usize; SLOTS],
    /// A bit for each that has a block.
    occupied: u64,
    seed: u64,
    number: usize,
    place: u64,
}

/// What `errno` is before each call, and after it unless the call says otherwise.
const KEPT: c_int = 12_345;

impl<'a> Lane<'a> {
    pub(super) fn new(table: &'a Table, seed: u64, lane: usize) -> Self {
        // The lane that only clears has none of its own.
        let own = |slot: usize| (lane * SLOTS + slot).min(table.entries.len() - 1);
        Self { table, slots: std::array::from_fn(own), occupied: 0, seed, number: lane, place: 0 }
    }

    #[cold]
    fn fail(&self, what: std::fmt::Arguments) -> ! {
        let (seed, lane, place) = (self.seed, self.number, self.place);
        let operation = Operation::of(seed, lane, place);
        fail(format_args!("seed {seed}, lane {lane}, operation {place}, {operation:?}: {what}"))
    }

    fn entry(&self, slot: usize) -> &'a Entry {
        &self.table.entries[self.slots[slot]]
    }

    /// The first slot from `slot` on, around the end, that is occupied, or that is not.
    fn nearest(&self, slot: usize, occupied: bool) -> Option<usize> {
        let mask = if occupied { self.occupied } else { !self.occupied };
        let behind = mask.rotate_right(slot as u32).trailing_zeros() as usize;
        (behind < SLOTS).then_some((slot + behind) % SLOTS)
    }

    /// Performs one.
    pub(super) fn perform(&mut self, place: u64) {
        self.place = place;
        match Operation::of(self.seed, self.number, place) {
            Operation::Give { slot, giver, size, align } => {
                let slot = self.nearest(slot, false).unwrap_or_else(|| {
                    self.take(self.entry(slot), Taker::Free);
                    slot
                });
                self.occupied |= u64::from(self.give(slot, giver, size, align)) << slot;
            }
            Operation::Resize { slot, size, count } => {
                if let Some(slot) = self.nearest(slot, true) {
                    self.resize(slot, size, count);
                }
            }
            Operation::Take { slot, taker } => {
                if let Some(slot) = self.nearest(slot, true) {
                    self.take(self.entry(slot), taker);
                    self.occupied &= !(1 << slot);
                }
            }
            Operation::Pass { slot, place } => {
                // AcqRel: publishes the entry and what was written to the block, and sees the same of the other.
                let other = self.table.places[place].swap(self.slots[slot], Ordering::AcqRel);
                self.slots[slot] = other;
                self.occupied &= !(1 << slot);
                self.occupied |= u64::from(self.entry(slot).get().address != 0) << slot;
            }
            Operation::Usable { slot } => {
                if let Some(slot) = self.nearest(slot, true) {
                    self.look_at_usable(&self.entry(slot).get());
                }
            }
            Operation::Refuse { slot, refusal, size } => self.refuse(slot, refusal, size),
            Operation::Other(other) => self.other(other),
        }
    }

    /// Frees all that it holds.
    pub(super) fn clear(&mut self) {
        for slot in 0..SLOTS {
            self.take(self.entry(slot), Taker::Free);
        }
    }

    /// Calls something that is to leave `errno` alone.
    fn quietly<T>(&self, call: impl FnOnce() -> T) -> T {
        set_errno(KEPT);
        let result = call();
        expect!(self, errno() == KEPT, "errno became {}", errno());
        result
    }

    fn give(&self, slot: usize, giver: Giver, size: usize, align: usize) -> bool {
        let is_rust = matches!(giver, Giver::Alloc | Giver::AllocZeroed);
        let size = if is_rust { size.max(1) } else { size };
        let align = match giver {
            Giver::PosixMemalign => align.max(8),
            Giver::AlignedAlloc | Giver::Memalign | Giver::Alloc | Giver::AllocZeroed => align,
            Giver::Valloc | Giver::Pvalloc => 4096,
            Giver::Malloc | Giver::Calloc | Giver::Realloc | Giver::ReallocArray => 16,
        };
        let block = self.quietly(|| self.table.calls.give(giver, size, align));
        expect!(self, !block.is_null(), "no memory for {size} bytes");
        if matches!(giver, Giver::Calloc | Giver::AllocZeroed) && !is_zero(block, size) {
            self.fail(format_args!("{size} bytes at {block:?} are not zero"));
        }
        self.enter(
            slot,
            block,
            Held { address: 0, size, usable: size, align, is_rust, pattern: 0 },
        );
        if giver == Giver::Pvalloc {
            let (usable, pages) = (self.entry(slot).get().usable, size.next_multiple_of(4096));
            expect!(self, usable >= pages, "{usable} bytes are no whole pages for {size}");
        }
        true
    }

    /// A block that was had just now is this slot's.
    fn enter(&self, slot: usize, block: *mut c_void, mut held: Held) {
        held.address = block.expose_provenance();
        expect!(
            self,
            held.address.is_multiple_of(held.align),
            "{block:?} is no multiple of {}",
            held.align
        );
        if !held.is_rust {
            held.usable = usable(block);
            expect!(self, held.usable >= held.size, "{} bytes of {}", held.usable, held.size);
        }
        let is_free = self.table.intervals.enter(held.address, held.usable);
        expect!(self, is_free, "{} bytes at {block:?} overlap another block", held.usable);
        held.pattern = (self.seed << 32 ^ self.place).wrapping_mul(0x9E37_79B9_7F4A_7C15)
            ^ held.address as u64;
        for (offset, count) in pieces(held.size) {
            let from = word(held.pattern, offset).to_le_bytes();
            let to = block.wrapping_byte_add(offset).cast::<u8>();
            // SAFETY: within the block, which is held.
            unsafe { from.as_ptr().copy_to_nonoverlapping(to, count) };
        }
        if held.usable > held.size {
            let last = block.wrapping_byte_add(held.usable - 1).cast::<u8>();
            // SAFETY: every usable byte may be written to.
            unsafe { last.write(0xA5) };
        }
        self.entry(slot).set(&held);
    }

    /// Looks whether the first `size` bytes, of a block that `block` is now, are what was written.
    fn check(&self, block: *mut c_void, held: &Held, size: usize) {
        for (offset, count) in pieces(held.size).filter(|(offset, _)| *offset < size) {
            let count = count.min(size - offset);
            let mut found = [0; 8];
            let from = block.wrapping_byte_add(offset).cast::<u8>();
            // SAFETY: within the block, and written by `enter`.
            unsafe { from.copy_to_nonoverlapping(found.as_mut_ptr(), count) };
            let wanted = word(held.pattern, offset).to_le_bytes();
            expect!(
                self,
                found[..count] == wanted[..count],
                "at byte {offset} of {} of block {block:?} are {:?} instead of {:?}",
                held.size,
                &found[..count],
                &wanted[..count]
            );
        }
    }

    /// Looks at a block, and takes it out of the shadow.
    fn leave(&self, held: &Held) -> *mut c_void {
        let block = std::ptr::with_exposed_provenance_mut(held.address);
        self.check(block, held, held.size);
        let was_there = self.table.intervals.take_out(held.address, held.usable);
        expect!(self, was_there, "{block:?} was somebody else's, too");
        block
    }

    fn take(&self, entry: &Entry, taker: Taker) {
        let held = entry.get();
        if held.address == 0 {
            return;
        }
        let block = self.leave(&held);
        self.quietly(|| {
            if held.is_rust {
                // SAFETY: held, of that layout, and given up now.
                unsafe { LfAlloc.dealloc(block.cast(), layout(held.size, held.align)) };
            } else {
                // SAFETY: held, and given up now.
                unsafe { self.table.calls.take(taker, block, held.size, held.align) };
            }
        });
        entry.set(&Held { address: 0, ..held });
    }

    fn resize(&mut self, slot: usize, size: usize, count: usize) {
        let held = self.entry(slot).get();
        if size == 0 && !held.is_rust {
            self.take(self.entry(slot), Taker::ReallocToNothing);
            self.occupied &= !(1 << slot);
            return;
        }
        let new = (size * count).max(1);
        let block = self.leave(&held);
        let moved = self.quietly(|| {
            if held.is_rust {
                let layout = layout(held.size, held.align);
                // SAFETY: held, of that layout, and given up if it moves.
                unsafe { LfAlloc.realloc(block.cast(), layout, new) }.cast()
            } else {
                // SAFETY: held, and given up if it moves.
                unsafe { Calls::resize(block, (held.size, count, size)) }
            }
        });
        expect!(self, !moved.is_null(), "no memory for {new} bytes");
        self.check(moved, &held, new.min(held.size));
        let align = if held.is_rust { held.align } else { 16 };
        self.enter(slot, moved, Held { size: new, usable: new, align, ..held });
    }

    fn look_at_usable(&self, held: &Held) {
        let block: *mut c_void = std::ptr::with_exposed_provenance_mut(held.address);
        if !held.is_rust {
            let usable = self.quietly(|| usable(block));
            expect!(self, usable == held.usable, "{usable} bytes, before {}", held.usable);
            for offset in held.size..usable {
                // SAFETY: every usable byte may be written to.
                unsafe { block.wrapping_byte_add(offset).cast::<u8>().write(0x5A) };
            }
        }
        self.check(block, held, held.size);
    }

    fn refuse(&self, slot: usize, refusal: Refusal, size: usize) {
        // More than `PTRDIFF_MAX`, by any number.
        let huge = size | 1 << 63;
        let held = self.nearest(slot, true).map(|slot| self.entry(slot).get());
        let held = held.filter(|held| !held.is_rust);
        let block = held.map_or(std::ptr::null_mut(), |held| {
            std::ptr::with_exposed_provenance_mut(held.address)
        });
        let mut place: *mut c_void = std::ptr::without_provenance_mut(KEPT as usize);
        let at = &raw mut place;
        set_errno(KEPT);
        let (result, error) = match refusal {
            // SAFETY: no conditions.
            Refusal::Malloc => (unsafe { libc::malloc(huge) }, libc::ENOMEM),
            // SAFETY: no conditions.
            Refusal::Calloc => (unsafe { libc::calloc(huge, 2) }, libc::ENOMEM),
            // SAFETY: held, or null; it cannot be given up.
            Refusal::Realloc => (unsafe { libc::realloc(block, huge) }, libc::ENOMEM),
            // SAFETY: likewise.
            Refusal::ReallocArray => (unsafe { libc::reallocarray(block, huge, 2) }, libc::ENOMEM),
            Refusal::PosixMemalignSize => {
                // SAFETY: room for an address.
                let error = unsafe { libc::posix_memalign(at, 64, huge) };
                expect!(self, error == libc::ENOMEM, "error {error}");
                (std::ptr::null_mut(), KEPT)
            }
            Refusal::PosixMemalignAlign => {
                let align = [0, 1, 4, 24, 4097][size % 5];
                // SAFETY: room for an address.
                let error = unsafe { libc::posix_memalign(at, align, 100) };
                expect!(self, error == libc::EINVAL, "error {error} for alignment {align}");
                (std::ptr::null_mut(), KEPT)
            }
            Refusal::AlignedAllocAlign => {
                // SAFETY: no conditions.
                (unsafe { libc::aligned_alloc([0, 3, 24][size % 3], 96) }, libc::EINVAL)
            }
            // SAFETY: no conditions.
            Refusal::Memalign => (unsafe { libc::memalign(64, huge) }, libc::ENOMEM),
            Refusal::Pvalloc => {
                (self.table.calls.give(Giver::Pvalloc, usize::MAX - size % 4000, 0), libc::ENOMEM)
            }
            Refusal::Null => {
                // SAFETY: null is freed without an effect.
                unsafe { libc::free(std::ptr::null_mut()) };
                (std::ptr::without_provenance_mut(usable(std::ptr::null_mut())), KEPT)
            }
        };
        let found = errno();
        expect!(self, result.is_null(), "gave {result:?}");
        expect!(self, found == error, "errno is {found} instead of {error}");
        expect!(self, place.addr() == KEPT as usize, "wrote to the place of the address");
        if let Some(held) = held {
            self.check(block, &held, held.size);
        }
    }

    fn other(&self, other: Other) {
        match other {
            Other::Trim => {
                // SAFETY: no conditions.
                self.quietly(|| unsafe { libc::malloc_trim(0) });
            }
            Other::Purge => self.quietly(|| self.table.calls.purge()),
            Other::Mallinfo => {
                #[allow(deprecated, reason = "programs call it all the same")]
                // SAFETY: no conditions.
                let info = self.quietly(|| unsafe { libc::mallinfo() });
                expect!(self, info.arena >= 0 && info.uordblks >= 0, "{info:?}");
            }
            Other::Mallinfo2 => {
                // SAFETY: no conditions.
                let info = self.quietly(|| unsafe { libc::mallinfo2() });
                let (parts, sum) = (info.uordblks.wrapping_add(info.fordblks), info.arena);
                // Read one after the other while others allocate.
                expect!(self, parts.abs_diff(sum) < 1 << 30, "{info:?}");
            }
            Other::Mallopt => {
                // SAFETY: no conditions.
                let known =
                    self.quietly(|| unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 17) });
                expect!(self, known == 1, "mallopt says {known}");
            }
            Other::MallocInfo => {
                let result = write_info();
                expect!(self, result == 0, "malloc_info says {result}");
            }
        }
    }
}

/// `malloc_usable_size(3)`.
fn usable(block: *mut c_void) -> usize {
    // SAFETY: held, or null.
    unsafe { libc::malloc_usable_size(block) }
}

fn is_zero(block: *mut c_void, bytes: usize) -> bool {
    // SAFETY: a zeroed block is initialised, and held.
    let content = unsafe { std::slice::from_raw_parts(block.cast::<u8>(), bytes) };
    content.chunks(64).all(|piece| piece.iter().fold(0, |any, byte| any | byte) == 0)
}

/// What lies at a multiple of 8 bytes.
fn word(pattern: u64, offset: usize) -> u64 {
    pattern.rotate_left(offset as u32 / 8) ^ offset as u64
}

/// Offsets that are written and looked at, multiples of 8, and how many bytes there: all of small blocks; of others the first 64, some in
/// every 512, and the last.
fn pieces(size: usize) -> impl Iterator<Item = (usize, usize)> {
    let all = if size <= 256 { size } else { 64 };
    let last = size.saturating_sub(1) & !7;
    let tail = (size > 256).then_some(last);
    (0..all)
        .step_by(8)
        .chain((512..if size > 256 { last } else { 0 }).step_by(512))
        .chain(tail)
        .map(move |offset| (offset, 8.min(size - offset)))
}
