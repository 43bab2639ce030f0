//! Size classes of the shipped allocator, all known at compile time.
//!
//! * 16-byte steps up to 256 bytes, then four classes per doubling (at most 25 % apart) up to 128 KiB. Eight would waste 5 %
//!   less of the blocks, but each class has an ACTIVE superblock, magazines and batches of its own: with eight above 1 KiB,
//!   objects of 8 bytes to 32 KiB took more memory (27 MiB against 25) and 1.6 times as long; with eight from 256 bytes to
//!   1 KiB, 200,000 small objects took 2 % less, and blocks that grow by steps moved a third more often.
//! * Up to 8 KiB in superblocks of 64 KiB, above in superblocks of 1 MiB: every superblock holds at least 8 blocks.
//! * Every block size is a multiple of 16, and superblocks are aligned to 64 KiB; so a class whose block size is a
//!   multiple of some alignment (up to 64 KiB) yields blocks with that alignment.

use crate::anchor::Anchor;
use crate::platform::{Class, Geometry, Shape};

/// Number of classes.
pub const CLASS_COUNT: usize = FINE_CLASSES + COARSE_CLASSES;
/// Multiples of 16 bytes up to 256.
const FINE_CLASSES: usize = 16;
/// Four per doubling up to 128 KiB.
const COARSE_CLASSES: usize = 9 * 4;
/// Number of geometries.
pub(crate) const GEOMETRY_COUNT: usize = 2;
/// Smallest block.
pub(crate) const SMALLEST_BYTES: usize = 16;
/// Largest regular block; anything above is a large block.
pub(crate) const MAX_BLOCK_BYTES: usize = 128 << 10;
/// Granule of the page map, and alignment of superblocks and large blocks.
pub(crate) const GRANULE_BYTES: usize = 64 << 10;

const SMALL_SUPERBLOCK_BYTES: usize = 64 << 10;
const MIDDLE_SUPERBLOCK_BYTES: usize = 1 << 20;
const MAX_SMALL_BLOCK_BYTES: usize = 8 << 10;

/// One row of the class table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SizeClass {
    /// Bytes of one block.
    pub(crate) block_bytes: u32,
    /// Blocks and geometry.
    pub(crate) shape: Shape,
    /// `ceil(2^RECIPROCAL_SHIFT / block_bytes)`.
    reciprocal: u64,
}

const RECIPROCAL_SHIFT: u32 = 40;

impl SizeClass {
    /// Which block of its superblock lies at `offset_bytes` (less than a superblock): exact, by multiplication with
    /// the reciprocal, whose error is under `block_bytes / 2^40` per byte of offset.
    #[inline]
    #[must_use]
    pub(crate) const fn index_at(&self, offset_bytes: usize) -> u32 {
        ((offset_bytes as u64 * self.reciprocal) >> RECIPROCAL_SHIFT) as u32
    }

    /// Whether a block of its superblock begins at `offset_bytes` (less than a superblock).
    #[inline]
    #[must_use]
    pub(crate) const fn begins_at(&self, offset_bytes: usize) -> bool {
        let index = self.index_at(offset_bytes);
        index * self.block_bytes == offset_bytes as u32 && index < self.shape.blocks
    }

    /// Bytes of one superblock.
    #[inline]
    #[must_use]
    pub(crate) const fn superblock_bytes(&self) -> usize {
        superblock_bytes(self.shape.geometry)
    }
}

/// Bytes of a superblock of that geometry.
#[inline]
#[must_use]
pub(crate) const fn superblock_bytes(geometry: Geometry) -> usize {
    if geometry.0 == 0 { SMALL_SUPERBLOCK_BYTES } else { MIDDLE_SUPERBLOCK_BYTES }
}

const fn block_bytes(class: usize) -> usize {
    if class < FINE_CLASSES {
        return 16 * (class + 1);
    }
    let class = class - FINE_CLASSES;
    (5 + class % 4) << (6 + class / 4)
}

/// The class table.
pub(crate) static CLASSES: [SizeClass; CLASS_COUNT] = {
    let mut table = [SizeClass {
        block_bytes: 0,
        shape: Shape { blocks: 0, geometry: Geometry(0) },
        reciprocal: 0,
    }; CLASS_COUNT];
    let mut class = 0;
    while class < CLASS_COUNT {
        let bytes = block_bytes(class);
        let geometry = Geometry(if bytes <= MAX_SMALL_BLOCK_BYTES { 0 } else { 1 });
        let blocks = superblock_bytes(geometry) / bytes;
        // [0073] line 9 underflows with one block; we want at least 8, and `avail` must be able to say "none".
        assert!(blocks >= 8 && blocks <= Anchor::MAX_BLOCKS as usize);
        assert!(bytes.is_multiple_of(16));
        table[class] = SizeClass {
            block_bytes: bytes as u32,
            shape: Shape { blocks: blocks as u32, geometry },
            reciprocal: (1u64 << RECIPROCAL_SHIFT).div_ceil(bytes as u64),
        };
        class += 1;
    }
    assert!(table[CLASS_COUNT - 1].block_bytes as usize == MAX_BLOCK_BYTES);
    table
};

/// An entry of a table whose index is in bounds, which the compiler is told: no panic can be reached from an allocation, so that
/// nothing unwinds into C.
#[inline(always)]
pub(crate) const fn in_bounds<T, const N: usize>(table: &[T; N], index: usize) -> &T {
    &table[if index < N { index } else { N - 1 }]
}

/// The row of `class`.
#[inline]
#[must_use]
pub(crate) const fn size_class(class: Class) -> &'static SizeClass {
    in_bounds(&CLASSES, class.0 as usize)
}

/// Requests up to so many bytes find their magazine without their class, and without a jump that depends on their size: what is above
/// goes another way. (10,000 objects of 8 bytes to 32 KiB in churn: 26.4 ns with 1 KiB here, 22.2 with 8 and 20.7 with 32; 128 brings
/// nothing more, and a table four times as large. Sizes by Zipf's law up to 2 KiB: at best 13.7 with 1 KiB, 11.4.)
pub(crate) const MAX_SMALL_BYTES: usize = 32 << 10;
const SMALL_STEP_BYTES: usize = 16;
const SMALL_KEYS: usize = MAX_SMALL_BYTES / SMALL_STEP_BYTES + 1;

/// Above, all blocks are of multiples of so many bytes.
const MIDDLE_STEP_BYTES: usize = 8 << 10;
const MIDDLE_KEYS: usize = (MAX_BLOCK_BYTES - MAX_SMALL_BYTES) / MIDDLE_STEP_BYTES;

/// What tells where the magazines of a request are: one number for all requests of the same 16 bytes, or, if they are
/// not small, of the same 8 KiB. Several keys may be those of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(pub(crate) u16);

/// Number of keys.
pub(crate) const KEY_COUNT: usize = SMALL_KEYS + MIDDLE_KEYS;

impl Key {
    /// The key of no bytes, which no block is freed by: its magazine is that of the first class, and takes nothing.
    pub(crate) const NONE: Self = Self(0);

    /// The key of a request of at most [`MAX_SMALL_BYTES`].
    #[inline(always)]
    pub(crate) const fn of_small(size: usize) -> Self {
        Self(size.div_ceil(SMALL_STEP_BYTES) as u16)
    }

    /// The key of a request of more than [`MAX_SMALL_BYTES`] and at most [`MAX_BLOCK_BYTES`].
    #[inline]
    pub(crate) const fn of_middle(size: usize) -> Self {
        Self((SMALL_KEYS + (size - MAX_SMALL_BYTES - 1) / MIDDLE_STEP_BYTES) as u16)
    }

    /// A key of a class.
    #[inline]
    pub(crate) const fn of_class(class: Class) -> Self {
        let bytes = size_class(class).block_bytes as usize;
        if bytes > MAX_SMALL_BYTES { Self::of_middle(bytes) } else { Self::of_small(bytes) }
    }

    /// The class of a key.
    #[inline]
    pub(crate) const fn class(self) -> Class {
        *in_bounds(&CLASS_OF_KEY, self.0 as usize)
    }

    /// Bytes of the blocks of a key's class.
    #[inline]
    pub(crate) const fn block_bytes(self) -> usize {
        *in_bounds(&BYTES_OF_KEY, self.0 as usize) as usize
    }

    /// All keys.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..KEY_COUNT as u16).map(Self)
    }
}

static CLASS_OF_KEY: [Class; KEY_COUNT] = {
    let mut classes = [Class(0); KEY_COUNT];
    let mut key = 0;
    while key < KEY_COUNT {
        let most = if key < SMALL_KEYS {
            SMALL_STEP_BYTES * key
        } else {
            MAX_SMALL_BYTES + MIDDLE_STEP_BYTES * (key - SMALL_KEYS + 1)
        };
        classes[key] = match computed_class(most) {
            Some(class) => class,
            None => panic!(),
        };
        key += 1;
    }
    classes
};

static BYTES_OF_KEY: [u32; KEY_COUNT] = {
    let mut bytes = [0; KEY_COUNT];
    let mut key = 0;
    while key < KEY_COUNT {
        bytes[key] = CLASSES[CLASS_OF_KEY[key].0 as usize].block_bytes;
        key += 1;
    }
    bytes
};

/// The smallest class whose blocks hold `size` bytes; `None` for a large block.
#[inline]
#[must_use]
pub(crate) const fn class_of(size: usize) -> Option<Class> {
    if size <= MAX_SMALL_BYTES { Some(Key::of_small(size).class()) } else { computed_class(size) }
}

#[inline]
const fn computed_class(size: usize) -> Option<Class> {
    if size > MAX_BLOCK_BYTES {
        return None;
    }
    let below = size.saturating_sub(1);
    if size <= 256 {
        return Some(Class((below / 16) as u16));
    }
    Some(Class((FINE_CLASSES + coarse_class(size)) as u16))
}

/// Which of the coarse classes a size above 256 bytes is of.
#[inline(always)]
const fn coarse_class(size: usize) -> usize {
    let below = size - 1;
    let doubling = below.ilog2() as usize;
    // The leading bit of the shifted number is always set: it counts four.
    4 * (doubling - 8) + (below >> (doubling - 2)) - 4
}

/// The smallest class whose blocks hold `size` bytes at a multiple of `align` (a power of two); `None` for a large
/// block.
#[inline]
#[must_use]
pub(crate) fn class_for(size: usize, align: usize) -> Option<Class> {
    if align <= 16 { class_of(size) } else { class_for_aligned(size, align) }
}

fn class_for_aligned(size: usize, align: usize) -> Option<Class> {
    if align > GRANULE_BYTES || size > MAX_BLOCK_BYTES {
        return None;
    }
    // The class of the next multiple has blocks of just that, or is so far up that its blocks are of multiples of twice as much.
    class_of((size.max(1) + (align - 1)) & !(align - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Aim: each size gets the smallest class that holds it, and neighbours are at most 16 bytes or a quarter apart.
    /// Method: exhaustive over all sizes.
    #[test]
    fn every_size_gets_the_smallest_class() {
        for size in 0..=MAX_BLOCK_BYTES {
            let class = class_of(size).unwrap();
            assert!(size_class(class).block_bytes as usize >= size, "size {size}");
            if class.0 > 0 {
                assert!(
                    (size_class(Class(class.0 - 1)).block_bytes as usize) < size,
                    "size {size}"
                );
            }
        }
        assert_eq!(class_of(MAX_BLOCK_BYTES + 1), None);
        for pair in CLASSES.windows(2) {
            let (low, high) = (pair[0].block_bytes, pair[1].block_bytes);
            let most = low / 4;
            assert!(high - low == 16 || high - low <= most, "{low} to {high}");
        }
    }

    /// Aim: keys and classes fit together. Method: all keys, all classes, all small sizes.
    #[test]
    fn keys_lead_to_classes() {
        for class in (0..CLASS_COUNT as u16).map(Class) {
            assert_eq!(Key::of_class(class).class(), class);
        }
        for key in Key::all() {
            assert_eq!(Key::of_class(key.class()).class(), key.class());
        }
        for size in 0..=MAX_BLOCK_BYTES {
            let key =
                if size > MAX_SMALL_BYTES { Key::of_middle(size) } else { Key::of_small(size) };
            assert_eq!(Some(key.class()), class_of(size), "{size}");
        }
    }

    /// Aim: the reciprocal divides exactly. Method: exhaustive over every byte of a superblock of every class.
    #[test]
    fn index_is_exact() {
        for class in &CLASSES {
            for offset in 0..class.superblock_bytes() {
                assert_eq!(class.index_at(offset) as usize, offset / class.block_bytes as usize);
            }
        }
    }

    /// Aim: an aligned request gets the smallest class whose blocks are so large and so aligned. Method: a search, for all powers of
    /// two and all sizes up to 32 KiB, and some above.
    #[test]
    fn aligned_classes_are_the_smallest() {
        for align in (5..=16).map(|shift| 1usize << shift) {
            for size in
                (0..=MAX_SMALL_BYTES).chain((MAX_SMALL_BYTES..=MAX_BLOCK_BYTES + 1).step_by(61))
            {
                let fits = |class: &SizeClass| {
                    let bytes = class.block_bytes as usize;
                    bytes >= size && bytes.is_multiple_of(align)
                };
                let wanted = CLASSES.iter().position(fits).map(|class| Class(class as u16));
                assert_eq!(class_for(size, align), wanted, "size {size} align {align}");
            }
        }
    }

    /// Aim: alignments are honoured and not overdone. Method: all powers of two with sizes around class borders.
    #[test]
    fn aligned_classes_hold_and_align() {
        for shift in 0..20 {
            let align = 1usize << shift;
            for size in [0, 1, 15, 16, 17, 100, 4096, 5000, 65_536, 65_537, 131_072, 131_073] {
                match class_for(size, align) {
                    Some(class) => {
                        let bytes = size_class(class).block_bytes as usize;
                        assert!(bytes >= size && (align <= 16 || bytes.is_multiple_of(align)));
                    }
                    None => assert!(size.max(align) > GRANULE_BYTES, "size {size} align {align}"),
                }
            }
        }
    }
}
