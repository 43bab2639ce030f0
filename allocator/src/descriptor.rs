//! The superblock descriptor (\[0030\], \[0034\], \[0037\]), one per superblock.
//!
//! Descriptors are type-stable: once made, a descriptor stays one, and stays where it is, so that a thread that lags behind may read it at any time; the tag makes its compare-and-swap fail.
//!
//! | word      | written by                                                             | read by         |
//! |-----------|------------------------------------------------------------------------|-----------------|
//! | `anchor`  | everybody, by compare-and-swap; by its only holder at initialisation   | everybody       |
//! | `next`    | the holder, before it pushes the descriptor on a list                  | poppers, optimistically |
//! | `meta`    | the only holder, at initialisation and retirement                      | everybody       |
//! | `written` | whoever frees a block, upwards only; the only holder resets it         | poppers         |
//! | `since`   | the only holder, at initialisation                                     | views           |
//! | `base`    | the platform, while nobody else holds the descriptor                   | everybody       |
//!
//! `written` is the *mark of written links*: no block at or above it has been freed since the superblock was
//! initialised. Fresh blocks leave the list in ascending order, so every block below the mark that is on the list
//! got there by a free and holds a link, and every block at or above it has the implicit link *self + 1*. Fresh
//! memory therefore is not initialised (\[0011\]), not even read; what it holds does not matter, and a superblock
//! passes from one class to another without being cleared. The patent's "organize blocks in a linked list"
//! (\[0073\] line 3) is thereby void.

use crate::Core;
use crate::platform::{Class, Platform, SuperblockId, Word};

/// A superblock's descriptor. See the module's documentation for who may write what.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Descriptor<W> {
    /// The anchor, [`crate::anchor::Anchor`].
    pub anchor: W,
    /// Link in the one list that holds it: id + 1 of the next descriptor, 0 at the end.
    pub next: W,
    /// Generation, class and backing, [`Meta`].
    pub meta: W,
    /// No block at or above this index has been freed in this generation.
    pub written: W,
    /// Clock ticks when the current generation began.
    pub since: W,
    /// Address of the superblock; for the platform alone.
    pub base: W,
}

/// What stands behind the superblock's range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Backing {
    /// Mapped, and never used.
    Unused = 0,
    /// In use, or EMPTY and kept.
    Mapped = 1,
    /// Given back to the system.
    Decommitted = 2,
}

/// A value of the `meta` word: `generation : 44 | unsettled : 1 | zeroed : 1 | backing : 2 | class : 16`.
///
/// The generation counts re-initialisations; a reader that finds the same settled value before and after it read the
/// anchor has read both of the same generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Meta(u64);

const BACKING_SHIFT: u32 = 16;
const ZEROED_SHIFT: u32 = 18;
const UNSETTLED_SHIFT: u32 = 19;
const GENERATION_SHIFT: u32 = 20;

impl Meta {
    /// The value of a loaded word; 0 is that of a superblock never used.
    #[inline]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// The word to store.
    #[inline]
    #[must_use]
    pub const fn word(self) -> u64 {
        self.0
    }

    /// The class, or the last one of a superblock that is retired.
    #[inline]
    #[must_use]
    pub const fn class(self) -> Class {
        Class(self.0 as u16)
    }

    /// What stands behind the addresses.
    #[inline]
    #[must_use]
    pub const fn backing(self) -> Backing {
        match self.0 >> BACKING_SHIFT & 3 {
            0 => Backing::Unused,
            1 => Backing::Mapped,
            _ => Backing::Decommitted,
        }
    }

    /// Whether the memory was all zero when this generation began.
    #[inline]
    #[must_use]
    pub const fn zeroed(self) -> bool {
        self.0 >> ZEROED_SHIFT & 1 == 1
    }

    /// How often the superblock has been initialised.
    #[inline]
    #[must_use]
    pub const fn generation(self) -> u64 {
        self.0 >> GENERATION_SHIFT
    }

    /// Whether the anchor is of this generation, too: it is stored after the generation began.
    #[inline]
    #[must_use]
    pub const fn is_settled(self) -> bool {
        self.0 >> UNSETTLED_SHIFT & 1 == 0
    }

    /// The same, its anchor stored.
    #[inline]
    #[must_use]
    pub const fn settled(self) -> Self {
        Self(self.0 & !(1 << UNSETTLED_SHIFT))
    }

    /// The next generation, in use by `class`; its anchor is still to be stored.
    #[inline]
    #[must_use]
    pub const fn initialised(self, class: Class) -> Self {
        let zeroed = !matches!(self.backing(), Backing::Mapped);
        Self(
            (self.generation() + 1) << GENERATION_SHIFT
                | 1 << UNSETTLED_SHIFT
                | (zeroed as u64) << ZEROED_SHIFT
                | (Backing::Mapped as u64) << BACKING_SHIFT
                | class.0 as u64,
        )
    }

    /// The same generation, with new memory that was never used.
    #[inline]
    #[must_use]
    pub const fn unused(self) -> Self {
        Self(self.0 & !(3 << BACKING_SHIFT))
    }

    /// The same generation, its memory given back.
    #[inline]
    #[must_use]
    pub const fn decommitted(self) -> Self {
        Self(self.0 & !(3 << BACKING_SHIFT) | (Backing::Decommitted as u64) << BACKING_SHIFT)
    }
}

/// A superblock in the hands of a thread, between two containers.
///
/// Raised before the compare-and-swap that takes, lowered after the one that puts: at most `in_hand` superblocks
/// are out of every container, and a thread that dies meanwhile leaves its share in the count for good.
#[must_use]
pub(crate) struct Hand<'c, P: Platform> {
    core: &'c Core<P>,
    taken: u32,
}

impl<'c, P: Platform> Hand<'c, P> {
    /// Announces that this thread is about to take a superblock.
    #[inline]
    pub(crate) fn take(core: &'c Core<P>) -> Self {
        Self { core, taken: core.platform.take_in_hand() }
    }

    /// The superblock is in a container again, or none was taken.
    #[inline]
    pub(crate) fn put(self) {
        drop(self);
    }
}

impl<P: Platform> Drop for Hand<'_, P> {
    #[inline]
    fn drop(&mut self) {
        self.core.platform.put_in_place(self.taken);
    }
}

/// A block: its superblock and index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block {
    /// The superblock.
    pub superblock: SuperblockId,
    /// Its index there.
    pub index: u32,
    /// Whether no one has held it since its superblock was initialised.
    pub fresh: bool,
}

impl Block {
    /// A place to be filled.
    pub const NOTHING: Self = Self { superblock: SuperblockId(0), index: 0, fresh: false };
}

impl<P: Platform> Core<P> {
    /// Generation, class and backing of a superblock.
    #[inline]
    pub fn meta(&self, id: SuperblockId) -> Meta {
        // Relaxed: stable while the caller owns or has reserved a block, or holds the descriptor; for anyone else
        // it is an optimistic read.
        Meta::from_word(
            self.platform.descriptor(id).meta.load(core::sync::atomic::Ordering::Relaxed),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Aim: a superblock's life in its `meta` word. Method: walk it once.
    #[test]
    fn meta_tells_the_life_of_a_superblock() {
        let unused = Meta::from_word(0);
        assert_eq!((unused.backing(), unused.generation()), (Backing::Unused, 0));
        let first = unused.initialised(Class(5));
        assert_eq!(
            (first.backing(), first.generation(), first.class()),
            (Backing::Mapped, 1, Class(5))
        );
        assert!(first.zeroed(), "memory fresh from the system is zero");
        let second = first.initialised(Class(65_535));
        assert_eq!((second.generation(), second.class()), (2, Class(65_535)));
        assert!(!second.zeroed(), "memory kept mapped holds what its owners wrote");
        let gone = second.decommitted();
        assert_eq!((gone.backing(), gone.generation()), (Backing::Decommitted, 2));
        assert!(gone.initialised(Class(1)).zeroed(), "decommitted memory comes back zero");
    }
}
