//! Pages for whoever lives beside the allocator and must not allocate from it: counted as its metadata.

use core::ptr::NonNull;

use crate::accounting::{self, Purpose};
use crate::os::PAGE_BYTES;

/// Maps at least `bytes` of zero bytes; `None` without memory.
#[must_use]
pub fn map(bytes: usize) -> Option<NonNull<u8>> {
    let bytes = bytes.checked_next_multiple_of(PAGE_BYTES)?;
    let address = accounting::map(bytes, PAGE_BYTES, Purpose::Metadata)?;
    NonNull::new(core::ptr::with_exposed_provenance_mut(address))
}

/// Gives pages back.
///
/// # Safety
/// `pages` came from [`map`] for as many `bytes`, and nobody uses them any more.
pub unsafe fn unmap(pages: NonNull<u8>, bytes: usize) {
    let bytes = bytes.next_multiple_of(PAGE_BYTES);
    // SAFETY: the caller's. Should it fail, they stay mapped, and counted.
    unsafe { accounting::unmap(pages.as_ptr().expose_provenance(), bytes, Purpose::Metadata) };
}
