//! Operations: what is called, with what. The seed, the lane and the place in it tell which: so a sequence is known by its seed, and what
//! is left of it when some are taken out is a sequence again.

use crate::shadow::Random;

/// Who gives a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Giver {
    Malloc,
    Calloc,
    /// Of null.
    Realloc,
    ReallocArray,
    PosixMemalign,
    AlignedAlloc,
    Memalign,
    Valloc,
    Pvalloc,
    /// Rust's `LfAlloc`: a second heap of the process, linked into it.
    Alloc,
    AllocZeroed,
}

/// Who takes a block of the C functions back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taker {
    Free,
    Cfree,
    FreeSized,
    FreeAlignedSized,
    ReallocToNothing,
}

/// What has to be refused, and what must change nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Malloc,
    Calloc,
    Realloc,
    ReallocArray,
    PosixMemalignSize,
    PosixMemalignAlign,
    AlignedAllocAlign,
    Memalign,
    Pvalloc,
    Null,
}

/// What has nothing to do with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Other {
    Trim,
    Purge,
    Mallinfo,
    Mallinfo2,
    Mallopt,
    MallocInfo,
}

/// One operation. Where a slot is named, the nearest one after it is meant that is empty, or that is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Give {
        slot: usize,
        giver: Giver,
        size: usize,
        align: usize,
    },
    Resize {
        slot: usize,
        size: usize,
        count: usize,
    },
    Take {
        slot: usize,
        taker: Taker,
    },
    /// Changes blocks with whoever was there last: so others free them.
    Pass {
        slot: usize,
        place: usize,
    },
    Usable {
        slot: usize,
    },
    Refuse {
        slot: usize,
        refusal: Refusal,
        size: usize,
    },
    Other(Other),
}

/// Blocks that a lane holds at most.
pub(super) const SLOTS: usize = 64;
/// Places through which lanes pass blocks on.
pub(super) const PLACES: usize = 32;

impl Operation {
    /// The operation at `place` of a lane.
    pub(super) fn of(seed: u64, lane: usize, place: u64) -> Self {
        let mut random = Random::new(seed ^ (lane as u64) << 56 ^ place << 20);
        // The first numbers of neighbouring seeds are alike.
        random.next();
        random.next();
        let random = &mut random;
        let slot = random.below(SLOTS as u64) as usize;
        match random.below(1000) {
            0..390 => {
                Self::Give { slot, giver: giver(random), size: size(random), align: align(random) }
            }
            390..560 => {
                let count = [1, 1, 1, 2, 7][random.below(5) as usize];
                Self::Resize { slot, size: size(random).div_ceil(count), count }
            }
            560..880 => Self::Take { slot, taker: taker(random) },
            880..960 => Self::Pass { slot, place: random.below(PLACES as u64) as usize },
            960..980 => Self::Usable { slot },
            980..998 => {
                let refusal = refusal(random);
                Self::Refuse { slot, refusal, size: random.next() as usize >> random.below(64) }
            }
            _ => Self::Other(other(random)),
        }
    }
}

fn giver(random: &mut Random) -> Giver {
    match random.below(32) {
        0..11 => Giver::Malloc,
        11..15 => Giver::Calloc,
        15 => Giver::Realloc,
        16 => Giver::ReallocArray,
        17..19 => Giver::PosixMemalign,
        19..21 => Giver::AlignedAlloc,
        21 => Giver::Memalign,
        22 => Giver::Valloc,
        23 => Giver::Pvalloc,
        24..29 => Giver::Alloc,
        _ => Giver::AllocZeroed,
    }
}

fn taker(random: &mut Random) -> Taker {
    match random.below(16) {
        0..10 => Taker::Free,
        10..12 => Taker::FreeSized,
        12..14 => Taker::FreeAlignedSized,
        14 => Taker::Cfree,
        _ => Taker::ReallocToNothing,
    }
}

fn refusal(random: &mut Random) -> Refusal {
    [
        Refusal::Malloc,
        Refusal::Calloc,
        Refusal::Realloc,
        Refusal::ReallocArray,
        Refusal::PosixMemalignSize,
        Refusal::PosixMemalignAlign,
        Refusal::AlignedAllocAlign,
        Refusal::Memalign,
        Refusal::Pvalloc,
        Refusal::Null,
    ][random.below(10) as usize]
}

fn other(random: &mut Random) -> Other {
    match random.below(64) {
        0 => Other::Trim,
        1 => Other::Purge,
        2..16 => Other::Mallinfo,
        16..32 => Other::Mallinfo2,
        32..60 => Other::Mallopt,
        _ => Other::MallocInfo,
    }
}

/// Sizes of all classes, and around the ends of each; nothing; and now and then large ones.
fn size(random: &mut Random) -> usize {
    let around =
        |size: usize, random: &mut Random| (size + random.below(5) as usize).saturating_sub(2);
    match random.below(1000) {
        0..480 => random.below(257) as usize,
        480..700 => random.below(2049) as usize,
        700..850 => {
            // Four classes for each doubling, from 16 bytes to 128 KiB.
            let class = (4 + random.below(4) as usize) << (2 + random.below(13));
            around(class, random)
        }
        850..950 => random.below(9000) as usize,
        950..985 => random.below(40_000) as usize,
        985..997 => random.below(150_000) as usize,
        997 => around(random.below(64) as usize * 65_536, random),
        _ => random.below(1 << 20) as usize,
    }
}

/// Powers of two up to 1 MiB, mostly small ones.
fn align(random: &mut Random) -> usize {
    match random.below(16) {
        0 => 1 << random.below(21),
        1..6 => 1 << random.below(13),
        _ => 1 << random.below(8),
    }
}
