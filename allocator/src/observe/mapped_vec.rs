//! A growable array in pages of its own.

use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use crate::accounting::{self, Purpose};
use crate::os::PAGE_BYTES;

/// A growable array in pages mapped from the system, outside every heap and counted as metadata.
///
/// Dereferences to a slice. Growing maps a larger piece and copies; nothing else maps or unmaps until it is dropped.
#[derive(Debug)]
pub struct MappedVec<T: Copy> {
    items: NonNull<T>,
    len: usize,
    mapped_bytes: usize,
    owns: PhantomData<T>,
}

// SAFETY: it owns its pages, which nobody else refers to.
unsafe impl<T: Copy + Send> Send for MappedVec<T> {}
// SAFETY: a shared reference only reads.
unsafe impl<T: Copy + Sync> Sync for MappedVec<T> {}

impl<T: Copy> MappedVec<T> {
    /// Empty; maps nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(size_of::<T>() > 0 && align_of::<T>() <= PAGE_BYTES) };
        Self { items: NonNull::dangling(), len: 0, mapped_bytes: 0, owns: PhantomData }
    }

    const fn capacity(&self) -> usize {
        self.mapped_bytes / size_of::<T>()
    }

    /// Makes room for `capacity` items; `false`, and nothing is changed, when the system gives no memory.
    #[must_use]
    pub fn reserve(&mut self, capacity: usize) -> bool {
        if capacity <= self.capacity() {
            return true;
        }
        let wanted = capacity.max(2 * self.capacity());
        let Some(bytes) = wanted
            .checked_mul(size_of::<T>())
            .and_then(|bytes| bytes.checked_next_multiple_of(PAGE_BYTES))
        else {
            return false;
        };
        let Some(address) = accounting::map(bytes, PAGE_BYTES, Purpose::Metadata) else {
            return false;
        };
        let Some(items) = NonNull::new(core::ptr::with_exposed_provenance_mut::<T>(address)) else {
            return false;
        };
        // SAFETY: the old pages hold `len` items, and the new ones have room for more.
        unsafe { items.copy_from_nonoverlapping(self.items, self.len) };
        self.unmap();
        self.items = items;
        self.mapped_bytes = bytes;
        true
    }

    /// Appends an item; `false`, and nothing is changed, when the system gives no memory.
    #[must_use]
    pub fn push(&mut self, item: T) -> bool {
        if !self.reserve(self.len + 1) {
            return false;
        }
        // SAFETY: there is room for one more.
        let place = unsafe { self.items.add(self.len) };
        // SAFETY: within this vector's own pages.
        unsafe { place.write(item) };
        self.len += 1;
        true
    }

    /// Makes it `len` long, new places holding `item`; `false`, and nothing is changed, when the system gives no
    /// memory.
    #[must_use]
    pub fn resize(&mut self, len: usize, item: T) -> bool {
        if !self.reserve(len) {
            return false;
        }
        self.len = self.len.min(len);
        while self.len < len {
            let _ = self.push(item);
        }
        true
    }

    /// Forgets all items, keeps the pages.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Bytes mapped.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.mapped_bytes
    }

    fn unmap(&mut self) {
        if self.mapped_bytes > 0 {
            // SAFETY: the pages are this vector's own. Should it fail, they stay mapped, and counted.
            unsafe {
                accounting::unmap(
                    self.items.as_ptr().expose_provenance(),
                    self.mapped_bytes,
                    Purpose::Metadata,
                )
            };
            self.mapped_bytes = 0;
        }
    }
}

impl<T: Copy> Default for MappedVec<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Copy> Drop for MappedVec<T> {
    fn drop(&mut self) {
        self.unmap();
    }
}

impl<T: Copy> Deref for MappedVec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `len` items have been written; dangling only while `len` is 0.
        unsafe { core::slice::from_raw_parts(self.items.as_ptr(), self.len) }
    }
}

impl<T: Copy> DerefMut for MappedVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and borrowed exclusively.
        unsafe { core::slice::from_raw_parts_mut(self.items.as_ptr(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Aim: it behaves like a `Vec` and gives its pages back. Method: the same operations on both.
    #[test]
    fn behaves_like_a_vec() {
        let (mut mapped, mut plain) = (MappedVec::<[u32; 3]>::new(), Vec::new());
        for number in 0..5000u32 {
            let item = [number, number * 2, number * 3];
            assert!(mapped.push(item));
            plain.push(item);
            if number % 997 == 0 {
                assert!(mapped.resize(plain.len() / 2, item));
                plain.resize(plain.len() / 2, item);
            }
        }
        assert_eq!(*mapped, *plain);
        assert!(mapped.bytes() >= size_of_val(&*plain) && mapped.bytes() % PAGE_BYTES == 0);
        assert!(!mapped.reserve(usize::MAX / 2));
        assert_eq!(*mapped, *plain);
        mapped.clear();
        assert!(mapped.is_empty() && mapped.bytes() > 0);
    }
}
