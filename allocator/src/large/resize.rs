//! Growing and shrinking large blocks, in place where possible.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use super::stock::{Hand, LargeDescriptor, Request, hand_out, live_bytes, release, rounded};
use super::{DESCRIPTORS, Ours, STOCKS};
use crate::accounting;
use crate::os::{self, PAGE_BYTES, Remapped};
use crate::page_map::{self, Entry};
use crate::size_class::GRANULE_BYTES;

/// Resizes the block with descriptor `id`, which the caller owns, from `old_size` to at least `size` bytes: in place where
/// possible. `None`: not possible, and the block is as it was.
pub(crate) fn resize(id: u32, old_size: usize, size: usize) -> Option<NonNull<u8>> {
    let descriptor = DESCRIPTORS.get(id);
    let old_bytes = descriptor.bytes();
    let new_bytes = rounded(size.checked_add(descriptor.colour())?)?;
    let asked = descriptor.asked.load(Ordering::Relaxed) as usize;
    // Growing into what a loose fit has needs no system call, and shrinking by less than a half is not worth one. (Who comes from C
    // knows no old size but that of the whole block: whether it grows only `asked` tells.)
    let grows = size >= old_size || new_bytes >= asked;
    if new_bytes <= old_bytes && (grows || new_bytes > old_bytes / 2) {
        if new_bytes > asked {
            STOCKS.cache.no_longer_wasted(new_bytes - asked);
            descriptor.asked.store(new_bytes as u64, Ordering::Relaxed);
        }
    } else {
        let _in_hand = Hand::take(&Ours);
        if new_bytes >= old_bytes + old_bytes / 4
            && let Some(moved) = copy_to_kept(id, old_size, size)
        {
            return Some(moved);
        }
        let address = descriptor.base();
        // SAFETY: the mapping belongs to the caller's block; what is cut off it gives up.
        match unsafe { os::remap_in_place(address, old_bytes, new_bytes) } {
            Remapped::InPlace => resized(descriptor, old_bytes, new_bytes),
            // It stays as large as it is.
            _ if new_bytes < old_bytes => {}
            Remapped::NoRoom => return move_onto(id, address, old_bytes, new_bytes),
            Remapped::Refused => return None,
        }
    }
    let address = descriptor.address.load(Ordering::Relaxed) as usize;
    NonNull::new(core::ptr::with_exposed_provenance_mut(address))
}

/// Grows by much: a block that is kept anyway has its pages, so that copying is cheaper than new ones behind the old.
fn copy_to_kept(id: u32, old_size: usize, size: usize) -> Option<NonNull<u8>> {
    let bytes = rounded(size)?;
    let kept = STOCKS.cache.take_warm_to_grow(&Ours, bytes, live_bytes(&Ours))?;
    let request = Request { size, align: 1, bytes };
    let old = DESCRIPTORS.get(id).address.load(Ordering::Relaxed) as usize;
    // The alignment of the old address may have been asked for.
    let align = if old.is_multiple_of(PAGE_BYTES) { PAGE_BYTES } else { 1 };
    let block = hand_out(&Ours, kept, Request { align, ..request }, false);
    // SAFETY: the caller's block, and a larger one that is nobody else's.
    unsafe {
        core::ptr::with_exposed_provenance::<u8>(old).copy_to_nonoverlapping(
            core::ptr::with_exposed_provenance_mut(block.address),
            old_size,
        );
    }
    release(&Ours, id);
    NonNull::new(core::ptr::with_exposed_provenance_mut(block.address))
}

fn resized(descriptor: &LargeDescriptor<AtomicU64>, old_bytes: usize, new_bytes: usize) {
    let change = new_bytes as i64 - old_bytes as i64;
    accounting::mapped(change);
    STOCKS.live_bytes.fetch_add(change.cast_unsigned(), Ordering::Relaxed);
    STOCKS.cache.no_longer_wasted(descriptor.wasted());
    descriptor.bytes.store(new_bytes as u64, Ordering::Relaxed);
    descriptor.asked.store(new_bytes as u64, Ordering::Relaxed);
}

/// Moves the pages, not their contents. A move of the kernel's choice would not be aligned to a granule, so it goes
/// onto a reservation; and the old address is taken out of the map first, since another thread may get it as soon
/// as the pages have left.
fn move_onto(id: u32, address: usize, old_bytes: usize, new_bytes: usize) -> Option<NonNull<u8>> {
    let target = os::reserve(new_bytes, GRANULE_BYTES)?;
    if page_map::prepare(target, GRANULE_BYTES).is_none() {
        // SAFETY: reserved above and known to nobody.
        unsafe { os::unmap(target, new_bytes) };
        return None;
    }
    page_map::set(address, 1, Entry::Foreign);
    // SAFETY: the mapping belongs to the caller's block, and the reservation is known to this thread only.
    if !unsafe { os::remap_onto(address, old_bytes, new_bytes, target) } {
        page_map::set(address, 1, Entry::Large(id));
        // The reservation stays: the kernel may have removed it before it failed, and by now those addresses may be
        // somebody else's. What is lost is address space, in a case of no memory.
        return None;
    }
    let descriptor = DESCRIPTORS.get(id);
    let moved = target + descriptor.colour();
    descriptor.address.store(moved as u64, Ordering::Relaxed);
    resized(descriptor, old_bytes, new_bytes);
    page_map::set(target, 1, Entry::Large(id));
    NonNull::new(core::ptr::with_exposed_provenance_mut(moved))
}
