//! Large blocks and their descriptors: who holds which, and what becomes of those that are freed.
//!
//! ```text
//!           allocate                free                 too many, or not needed        the same
//! UNUSED ─────────────▶ LIVE ◀────────────▶ CACHED (warm) ─────────────▶ COLD ─────────────▶ UNUSED
//!                         ▲                                               │
//!                         └───────────────────────────────────────────────┘
//! ```
//!
//! What cannot be unmapped, at the limit of mappings, is *parked*: COLD, in a stack of its own, until somebody can use it.
//!
//! The procedures are generic over what they work on, as the core is, and for the same reason: models.

use core::sync::atomic::{AtomicU64, Ordering};

use super::cache::{self, COUNT, Cache};
use crate::list::{self, Links};
use crate::os::PAGE_BYTES;
use crate::page_map::Entry;
use crate::platform::Word;
use crate::size_class::GRANULE_BYTES;

/// Bits of an address that a program can have: no larger block is worth an effort.
const ADDRESS_BITS: u32 = 47;

/// A line of the processor's caches: the unit of colours.
const LINE_BYTES: usize = 64;
/// Colours differ within a page.
const COLOURS: usize = PAGE_BYTES / LINE_BYTES;

/// States of a descriptor.
pub(super) const UNUSED: u64 = 0;
pub(super) const LIVE: u64 = 1;
pub(super) const CACHED: u64 = 2;
/// Without pages, its addresses kept for reuse.
pub(super) const COLD: u64 = 3;

/// Faults that models seed on purpose, to show that they would see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The code as it ships.
    None,
    /// The heads of the stacks do not count their changes.
    TagKept,
    /// The addresses are taken out of the page map after they were given back.
    ForeignAfterUnmap,
    /// The page map says that a block was freed after others can have it.
    FreedAfterPut,
    /// An eviction gives back a block that it has seen, but not taken out.
    EvictUnpopped,
    /// A descriptor can be had before its block was unmapped.
    UnusedBeforeUnmap,
    /// A block that was decommitted is still counted as mapped.
    StaysCached,
    /// The pages of a cold block that is handed out are not counted.
    RecommitForgotten,
    /// A warm block is handed out as zeroed, although it was not decommitted.
    ZeroedWarm,
    /// What a loose fit wasted is wasted for ever.
    WasteKept,
    /// What cannot be unmapped is forgotten.
    ParkedForgotten,
    /// A block counts as handed out before it is known where it is.
    LiveBeforePlaced,
    /// The state is stored with a relaxed access.
    StateRelaxed,
}

/// The descriptor of a large block, type-stable. Its words are Relaxed: it changes hands through a stack (Release and Acquire
/// there) or its block's owner; a view reads `state` first, and what follows may be newer.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct LargeDescriptor<W> {
    pub(super) next: W,
    pub(super) state: W,
    /// Of the block, not of its mapping, which begins at the multiple of a granule below.
    pub(super) address: W,
    /// Of the mapping.
    pub(super) bytes: W,
    /// What the mapping would have at least: `bytes` exceed it by what a loose fit wastes.
    pub(super) asked: W,
    pub(super) since: W,
}

impl<W: Word> LargeDescriptor<W> {
    /// One without a block.
    pub fn unused(word: impl Fn() -> W) -> Self {
        Self {
            next: word(),
            state: word(),
            address: word(),
            bytes: word(),
            asked: word(),
            since: word(),
        }
    }

    /// Where its mapping begins.
    pub(super) fn base(&self) -> usize {
        self.address.load(Ordering::Relaxed) as usize & !(GRANULE_BYTES - 1)
    }

    /// Bytes from the beginning of its mapping to the block.
    pub(super) fn colour(&self) -> usize {
        self.address.load(Ordering::Relaxed) as usize & (GRANULE_BYTES - 1)
    }

    /// Of its mapping.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed) as usize
    }

    pub(super) fn wasted(&self) -> usize {
        self.bytes() - self.asked.load(Ordering::Relaxed) as usize
    }

    pub(super) fn place(&self, base: usize, bytes: usize) {
        self.address.store(base as u64, Ordering::Relaxed);
        self.bytes.store(bytes as u64, Ordering::Relaxed);
    }

    /// Whether the block begins at `address`.
    pub fn begins_at(&self, address: usize) -> bool {
        self.address.load(Ordering::Relaxed) as usize == address
    }
}

/// Which descriptors are in no owner's hands, and counters. All words are Relaxed but the heads of stacks, see
/// `list`.
#[derive(Debug)]
pub struct Stocks<W, const SIZES: usize> {
    /// Descriptors without a block.
    pub(super) unused: W,
    /// Descriptors whose mapping could not be unmapped.
    pub(super) parked: W,
    pub(super) cache: Cache<W, SIZES>,
    pub(super) allocations: W,
    pub(super) frees: W,
    pub(super) live_bytes: W,
}

impl Stocks<AtomicU64, COUNT> {
    /// Without any descriptor.
    pub(super) const fn new() -> Self {
        Self {
            unused: AtomicU64::new(0),
            parked: AtomicU64::new(0),
            cache: Cache::new(),
            allocations: AtomicU64::new(0),
            frees: AtomicU64::new(0),
            live_bytes: AtomicU64::new(0),
        }
    }
}

impl<W: Word, const SIZES: usize> Stocks<W, SIZES> {
    /// Without any descriptor.
    pub fn empty(word: impl Fn() -> W) -> Self {
        Self {
            unused: word(),
            parked: word(),
            cache: Cache::empty_one(&word),
            allocations: word(),
            frees: word(),
            live_bytes: word(),
        }
    }

    /// Bytes in use, and those of them that loose fits waste.
    pub fn bytes(&self) -> (u64, u64) {
        (self.live_bytes.load(Ordering::Relaxed), self.cache.wasted())
    }
}

/// What large blocks are made of, with stacks of so many sizes in the cache.
pub trait Stock<const SIZES: usize> {
    /// The atomic word.
    type Word: Word;
    /// The fault to seed; a constant, so that it costs nothing.
    const FAULT: Fault = Fault::None;
    /// Bits of the stacks' tags that are used; models shrink it.
    const TAG_BITS: u32 = 32;
    /// From this size on a block that is wanted zeroed is given back and read anew, instead of being written to.
    const DECOMMIT_BYTES: usize = 4 << 20;

    /// Stacks and counters.
    fn stocks(&self) -> &Stocks<Self::Word, SIZES>;
    /// A descriptor that [`Stock::extend`] has made.
    fn descriptor(&self, id: u32) -> &LargeDescriptor<Self::Word>;
    /// Makes another descriptor. `None`: no memory.
    fn extend(&self) -> Option<u32>;
    /// Whether freed blocks are kept at all.
    fn keeps(&self) -> bool {
        true
    }
    /// Bytes that are kept with their pages, beside as many as are in use.
    fn keep_warm(&self) -> u64;
    /// Bytes that are kept without.
    fn keep_cold(&self) -> u64;

    /// Maps memory, and counts it.
    fn map(&self, bytes: usize, align: usize) -> Option<usize>;
    /// Gives memory and its addresses back, and counts nothing; whether that worked.
    ///
    /// # Safety
    /// It was mapped, and belongs to the caller.
    unsafe fn unmap(&self, address: usize, bytes: usize) -> bool;
    /// Gives memory back, keeps its addresses, and counts nothing; whether that worked.
    ///
    /// # Safety
    /// As [`Stock::unmap`].
    unsafe fn decommit(&self, address: usize, bytes: usize) -> bool;
    /// Counts memory that came or went.
    fn mapped(&self, change_bytes: i64);
    /// Memory was mapped for a block.
    fn block_mapped(&self, address: usize, bytes: usize) {
        let _ = (address, bytes);
    }
    /// Gives back whatever else can be given back.
    fn relieve(&self) {}

    /// Makes sure that [`Stock::enter`] works for an address. `None`: no memory.
    fn prepare(&self, address: usize) -> Option<()>;
    /// What lies at the granule at `base` from now on.
    fn enter(&self, base: usize, entry: Entry);

    /// A block was freed that is not in use. Reports and ends the program.
    fn freed_twice(&self, address: usize) -> ! {
        crate::global_alloc::freed_twice(address)
    }
    /// A clock in ticks of its own.
    fn now_ticks(&self) -> u64;
    /// A thread takes something out of its container; returns what [`Stock::put_in_place`] needs to know.
    fn take_in_hand(&self) -> u32;
    /// It has put it back, or has found none.
    fn put_in_place(&self, taken: u32);
    /// Called when a compare-and-swap failed, before the next try.
    fn pause(&self) {}
}

/// Something counts as in hand until this is dropped.
#[must_use]
pub(super) struct Hand<'s, const SIZES: usize, S: Stock<SIZES>>(&'s S, u32);

impl<'s, const SIZES: usize, S: Stock<SIZES>> Hand<'s, SIZES, S> {
    pub(super) fn take(stock: &'s S) -> Self {
        Self(stock, stock.take_in_hand())
    }
}

impl<const SIZES: usize, S: Stock<SIZES>> Drop for Hand<'_, SIZES, S> {
    fn drop(&mut self) {
        self.0.put_in_place(self.1);
    }
}

/// The descriptors, as stacks link them.
pub(super) struct Descriptors<'s, const SIZES: usize, S>(pub(super) &'s S);

impl<const SIZES: usize, S: Stock<SIZES>> Links for Descriptors<'_, SIZES, S> {
    type Word = S::Word;
    const TAG_BITS: u32 = if matches!(S::FAULT, Fault::TagKept) { 0 } else { S::TAG_BITS };

    fn link_of(&self, id: u32) -> &S::Word {
        &self.0.descriptor(id).next
    }
    fn pause(&self) {
        self.0.pause();
    }
}

/// A large block as it is handed out.
#[derive(Clone, Copy, Debug)]
pub struct LargeBlock {
    /// Where it begins.
    pub address: usize,
    /// Whether its bytes are known to be zero.
    pub zeroed: bool,
}

/// What a block is wanted for.
#[derive(Clone, Copy)]
pub(super) struct Request {
    pub(super) size: usize,
    pub(super) align: usize,
    /// Of a mapping for it.
    pub(super) bytes: usize,
}

/// `size` rounded up to the bytes of a mapping.
pub(super) fn rounded(size: usize) -> Option<usize> {
    size.max(1).checked_next_multiple_of(GRANULE_BYTES).map(cache::rounded)
}

/// Bytes before a block in its mapping. Only what rounding leaves is used, and not what a loose fit does: a size that fills
/// its mapping, as powers of two do, may grow into the rest.
fn colour(id: u32, Request { size, align, bytes }: Request) -> usize {
    // Neighbours in the table are far apart, so that a few blocks use all places.
    let colour = (id as usize * 21 % COLOURS) * LINE_BYTES;
    if align <= LINE_BYTES && colour + size <= bytes { colour } else { 0 }
}

/// A block of at least `size` bytes at a multiple of `align` (a power of two); `zeroed`: of zero bytes if that is to be
/// had cheaper than by writing them. `None`: no memory.
pub fn allocate<const SIZES: usize, S: Stock<SIZES>>(
    stock: &S,
    size: usize,
    align: usize,
    zeroed: bool,
) -> Option<LargeBlock> {
    let bytes = rounded(size)?;
    if bytes >> ADDRESS_BITS != 0 || align >> ADDRESS_BITS != 0 {
        return None;
    }
    let _in_hand = Hand::take(stock);
    let request = Request { size, align, bytes };
    let stocks = stock.stocks();
    if align <= GRANULE_BYTES {
        if let Some(id) = stocks.cache.take_warm(stock, bytes, live_bytes(stock)) {
            let descriptor = stock.descriptor(id);
            let is_zero = zeroed
                && descriptor.bytes() >= S::DECOMMIT_BYTES
                && (S::FAULT == Fault::ZeroedWarm
                    // SAFETY: the mapping belongs to the descriptor, which only this thread holds.
                    || unsafe { stock.decommit(descriptor.base(), descriptor.bytes()) });
            return Some(hand_out(stock, id, request, is_zero));
        }
        if let Some(id) = stocks.cache.take_cold(stock, bytes, live_bytes(stock)) {
            return Some(hand_out(stock, id, request, recommit(stock, id)));
        }
        if let Some((id, zeroed)) = take_parked(stock, bytes) {
            // The cache knows nothing of it: no fit of its own.
            let bytes = stock.descriptor(id).bytes();
            return Some(hand_out(stock, id, Request { bytes, ..request }, zeroed));
        }
    }
    let address = map_or_relieve(stock, bytes, align.max(GRANULE_BYTES))?;
    stock.block_mapped(address, bytes);
    let entered = stock.prepare(address).and_then(|()| {
        list::pop(&Descriptors::<SIZES, _>(stock), &stocks.unused).or_else(|| stock.extend())
    });
    let Some(id) = entered else {
        // SAFETY: mapped above and known to nobody. Should that fail, address space is lost, and nothing else.
        if unsafe { stock.unmap(address, bytes) } {
            stock.mapped(-(bytes as i64));
        }
        return None;
    };
    if S::FAULT == Fault::LiveBeforePlaced {
        stock.descriptor(id).state.store(LIVE, Ordering::Release);
    }
    stock.descriptor(id).place(address, bytes);
    Some(hand_out(stock, id, request, true))
}

fn map_or_relieve<const SIZES: usize, S: Stock<SIZES>>(
    stock: &S,
    bytes: usize,
    align: usize,
) -> Option<usize> {
    stock
        .map(bytes, align)
        .or_else(|| {
            empty_cache(stock);
            stock.map(bytes, align)
        })
        .or_else(|| {
            // Superblocks that nobody uses keep their addresses, and under strict overcommit their charge.
            stock.relieve();
            stock.map(bytes, align)
        })
}

/// Stores a state. Release: pairs with the Acquire in [`view`].
fn set_state<const SIZES: usize, S: Stock<SIZES>>(stock: &S, id: u32, state: u64) {
    let order = if S::FAULT == Fault::StateRelaxed { Ordering::Relaxed } else { Ordering::Release };
    stock.descriptor(id).state.store(state, order);
}

/// Hands out a block that this thread holds.
pub(super) fn hand_out<const SIZES: usize, S: Stock<SIZES>>(
    stock: &S,
    id: u32,
    request: Request,
    zeroed: bool,
) -> LargeBlock {
    let descriptor = stock.descriptor(id);
    let (base, bytes) = (descriptor.base(), descriptor.bytes());
    let address = base + colour(id, request);
    descriptor.address.store(address as u64, Ordering::Relaxed);
    descriptor.asked.store(request.bytes as u64, Ordering::Relaxed);
    descriptor.since.store(stock.now_ticks(), Ordering::Relaxed);
    stock.stocks().live_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    stock.enter(base, Entry::Large(id));
    set_state(stock, id, LIVE);
    stock.stocks().allocations.fetch_add(1, Ordering::Relaxed);
    LargeBlock { address, zeroed }
}

/// Frees the block with descriptor `id`, which the caller owns.
pub fn free<const SIZES: usize, S: Stock<SIZES>>(stock: &S, id: u32) {
    let _in_hand = Hand::take(stock);
    release(stock, id);
}

pub(super) fn release<const SIZES: usize, S: Stock<SIZES>>(stock: &S, id: u32) {
    let descriptor = stock.descriptor(id);
    let order = if S::FAULT == Fault::StateRelaxed { Ordering::Relaxed } else { Ordering::Release };
    // Release: as in `set_state`. Of several threads that free the block one succeeds, and for the others it is none any more.
    if descriptor.state.compare_exchange(LIVE, CACHED, order, Ordering::Relaxed).is_err() {
        stock.freed_twice(descriptor.address.load(Ordering::Relaxed) as usize);
    }
    let (base, bytes) = (descriptor.base(), descriptor.bytes());
    if S::FAULT != Fault::FreedAfterPut {
        stock.enter(base, Entry::FreedLarge);
    }
    descriptor.since.store(stock.now_ticks(), Ordering::Relaxed);
    let stocks = stock.stocks();
    if S::FAULT != Fault::WasteKept {
        stocks.cache.no_longer_wasted(descriptor.wasted());
    }
    stocks.live_bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
    stocks.frees.fetch_add(1, Ordering::Relaxed);
    if bytes > cache::MAX_BYTES || !stock.keeps() {
        return give_back(stock, id);
    }
    stocks.cache.put(stock, (id, bytes), live_bytes(stock), |id| cool(stock, id));
    if S::FAULT == Fault::FreedAfterPut {
        stock.enter(base, Entry::FreedLarge);
    }
}

/// Keeps a block that was warm without its pages, or gives it back.
fn cool<const SIZES: usize, S: Stock<SIZES>>(stock: &S, id: u32) {
    let descriptor = stock.descriptor(id);
    let bytes = descriptor.bytes();
    // SAFETY: the mapping belongs to the descriptor, which only this thread holds.
    if !unsafe { stock.decommit(descriptor.base(), bytes) } {
        return give_back(stock, id);
    }
    stock.mapped(-(bytes as i64));
    if S::FAULT != Fault::StaysCached {
        set_state(stock, id, COLD);
    }
    let cache = &stock.stocks().cache;
    cache.put_cold(stock, (id, bytes), live_bytes(stock), |id| give_back(stock, id));
}

/// Accounts for the pages of a block that this thread has taken from where it may have had none; whether it had none, and
/// hence is zero.
fn recommit<const SIZES: usize, S: Stock<SIZES>>(stock: &S, id: u32) -> bool {
    let is_cold = is_cold(stock, id);
    if is_cold && S::FAULT != Fault::RecommitForgotten {
        stock.mapped(stock.descriptor(id).bytes() as i64);
    }
    is_cold
}

/// Whether a block that this thread holds has no pages.
fn is_cold<const SIZES: usize, S: Stock<SIZES>>(stock: &S, id: u32) -> bool {
    stock.descriptor(id).state.load(Ordering::Relaxed) == COLD
}

/// Bytes in use.
pub(super) fn live_bytes<const SIZES: usize, S: Stock<SIZES>>(stock: &S) -> u64 {
    stock.stocks().live_bytes.load(Ordering::Relaxed)
}

/// Once an interval of [`crate::decay`]: gives half of what was not needed in it back to the system.
pub fn end_interval<const SIZES: usize, S: Stock<SIZES>>(stock: &S) {
    let _in_hand = Hand::take(stock);
    stock.stocks().cache.unneeded(stock, |id| {
        if is_cold(stock, id) {
            give_back(stock, id);
        } else {
            cool(stock, id);
        }
    });
}

/// Gives a block that this thread holds back to the system.
fn give_back<const SIZES: usize, S: Stock<SIZES>>(stock: &S, id: u32) {
    if unmap(stock, id) {
        return;
    }
    let descriptor = stock.descriptor(id);
    let bytes = descriptor.bytes();
    // At the limit of mappings: keep the addresses without memory. Locked pages stay as they are, still counted.
    // SAFETY: the mapping belongs to the descriptor, and only this thread holds that.
    if !is_cold(stock, id) && unsafe { stock.decommit(descriptor.base(), bytes) } {
        stock.mapped(-(bytes as i64));
        set_state(stock, id, COLD);
    }
    if S::FAULT != Fault::ParkedForgotten {
        list::push_chain(&Descriptors::<SIZES, _>(stock), &stock.stocks().parked, id, id);
    }
}

/// Unmaps a block that this thread holds, whose descriptor is unused then; whether that worked.
fn unmap<const SIZES: usize, S: Stock<SIZES>>(stock: &S, id: u32) -> bool {
    let descriptor = stock.descriptor(id);
    let (base, bytes) = (descriptor.base(), descriptor.bytes());
    let unused = &stock.stocks().unused;
    // Before the addresses are anybody else's.
    if S::FAULT != Fault::ForeignAfterUnmap {
        stock.enter(base, Entry::Foreign);
    }
    if S::FAULT == Fault::UnusedBeforeUnmap {
        list::push_chain(&Descriptors::<SIZES, _>(stock), unused, id, id);
    }
    // SAFETY: the mapping belongs to the descriptor, and only this thread holds that.
    if !unsafe { stock.unmap(descriptor.base(), bytes) } {
        stock.enter(base, Entry::FreedLarge);
        return false;
    }
    if S::FAULT == Fault::ForeignAfterUnmap {
        stock.enter(base, Entry::Foreign);
    }
    if !is_cold(stock, id) {
        stock.mapped(-(bytes as i64));
    }
    set_state(stock, id, UNUSED);
    if S::FAULT != Fault::UnusedBeforeUnmap {
        list::push_chain(&Descriptors::<SIZES, _>(stock), unused, id, id);
    }
    true
}

/// A block of `bytes` to a quarter more that could not be unmapped, and whether it is zero.
fn take_parked<const SIZES: usize, S: Stock<SIZES>>(
    stock: &S,
    bytes: usize,
) -> Option<(u32, bool)> {
    let parked = &stock.stocks().parked;
    // Relaxed: usually empty. Only the one parked last is looked at.
    if parked.load(Ordering::Relaxed) as u32 == 0 {
        return None;
    }
    let id = list::pop(&Descriptors::<SIZES, _>(stock), parked)?;
    let kept = stock.descriptor(id).bytes();
    if kept < bytes || kept > bytes + bytes / 4 {
        list::push_chain(&Descriptors::<SIZES, _>(stock), parked, id, id);
        return None;
    }
    Some((id, recommit(stock, id)))
}

/// Gives every block in the cache back to the system, and those that could not be given back before.
pub fn empty_cache<const SIZES: usize, S: Stock<SIZES>>(stock: &S) {
    retry_parked(stock);
    let _in_hand = Hand::take(stock);
    stock.stocks().cache.empty(stock, |id| give_back(stock, id));
}

/// Unmaps what could not be unmapped before, until that fails again.
fn retry_parked<const SIZES: usize, S: Stock<SIZES>>(stock: &S) {
    let parked = &stock.stocks().parked;
    loop {
        let _in_hand = Hand::take(stock);
        let Some(id) = list::pop(&Descriptors::<SIZES, _>(stock), parked) else { return };
        if !unmap(stock, id) {
            list::push_chain(&Descriptors::<SIZES, _>(stock), parked, id, id);
            return;
        }
    }
}

/// A large block as a view reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where its mapping begins.
    pub address: u64,
    /// How long that is.
    pub bytes: u64,
    /// When it was handed out or freed.
    pub since: u64,
    /// Whether it is kept, and nobody's.
    pub cached: bool,
}

/// The block with descriptor `id`; `None` if it has none, or none with memory, now.
pub fn view<const SIZES: usize, S: Stock<SIZES>>(stock: &S, id: u32) -> Option<Seen> {
    let descriptor = stock.descriptor(id);
    // Acquire: pairs with the Releases of `state`.
    let state = descriptor.state.load(Ordering::Acquire);
    (state == LIVE || state == CACHED).then(|| Seen {
        address: descriptor.base() as u64,
        bytes: descriptor.bytes.load(Ordering::Relaxed),
        since: descriptor.since.load(Ordering::Relaxed),
        cached: state == CACHED,
    })
}
