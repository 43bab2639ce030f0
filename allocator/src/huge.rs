//! Transparent huge pages: where they save more than they can waste.
//!
//! A huge page makes translations of addresses cheaper, and 512 page faults one. But where everything gets them, one block in use can
//! hold 2 MiB resident, and what is decommitted comes back by the 2 MiB (khugepaged). So of themselves:
//!
//! * A process gets them only behind superblocks of 64 KiB, and only those that are mapped when it has [`MANY_BYTES`] already: what is
//!   mapped and never touched is one run: a fifth at most, and next to nothing where there is much.
//! * When the first superblock of such a run is decommitted the run is advised against them: what went stays away.
//! * Everything else that superblocks lie in is advised against them, where the system gives them to everybody. Large blocks are the
//!   system's to decide, as they would be without this allocator.
//!
//! The advice is given mapping by mapping, and never for the process. With `LFALLOC_THP=1` all superblocks and large blocks are
//! mapped with the advice for them, with `LFALLOC_THP=0` no superblock is.

use core::ops::Range;
use core::sync::atomic::{AtomicU8, Ordering};

use crate::accounting;
use crate::options;
use crate::os::{self, Huge};
use crate::platform::Geometry;

/// What is told to the system; 0: not decided.
static POLICY: AtomicU8 = AtomicU8::new(0);
/// The system has none, as far as can be seen.
const NOTHING: u8 = 1;
/// None behind superblocks.
const AGAINST: u8 = 2;
/// Everywhere.
const FOR: u8 = 3;
/// Where there is much, and nothing is said of the rest: nobody gets them unasked.
const SOME: u8 = 4;
/// Where there is much, and the rest is advised against them.
const SOME_BUT_NO_MORE: u8 = 5;

fn policy() -> u8 {
    // Relaxed, both: whoever decides at the same time decides the same.
    match POLICY.load(Ordering::Relaxed) {
        0 => {
            // Before it is known what is wished, nothing is decided. A wish counts also where it cannot be seen what the system does.
            let policy = match options::THP.if_read() {
                None => return NOTHING,
                Some(1) => FOR,
                Some(0) => AGAINST,
                Some(_) => match os::huge_pages() {
                    None => NOTHING,
                    Some(Huge::Wanted) => SOME_BUT_NO_MORE,
                    Some(Huge::Never) => SOME,
                },
            };
            POLICY.store(policy, Ordering::Relaxed);
            policy
        }
        policy => policy,
    }
}

/// Bytes of a huge page.
const BYTES: usize = 2 << 20;
/// Bytes that a process has mapped before it gets huge pages. (With four times as many, one in a thousand operations of 64 threads on
/// two processors, 24 MiB, took 523 ns instead of 461, and 200,000 objects in churn 7 % longer; half as many: nothing.)
const MANY_BYTES: i64 = 8 << 20;

/// What superblocks that are to be mapped now should be mapped by, and at multiples of: the bytes of a huge page, where they are
/// wanted.
pub(crate) fn superblock_run(geometry: Geometry) -> Option<usize> {
    let is_wanted = match policy() {
        FOR => true,
        SOME | SOME_BUT_NO_MORE => geometry.0 == 0 && accounting::mapped_bytes() >= MANY_BYTES,
        _ => false,
    };
    is_wanted.then_some(BYTES)
}

/// Superblocks were mapped there, `in_run` or not.
pub(crate) fn superblocks_mapped(address: usize, bytes: usize, in_run: bool) {
    match policy() {
        FOR | SOME | SOME_BUT_NO_MORE if in_run => os::advise_huge(address, bytes, Huge::Wanted),
        AGAINST | SOME_BUT_NO_MORE => os::advise_huge(address, bytes, Huge::Never),
        _ => {}
    }
}

/// The addresses of the run that `address` lies in.
pub(crate) fn run_around(address: usize) -> Range<usize> {
    let start = address & !(BYTES - 1);
    start..start + BYTES
}

/// The first superblock of the run around `address`, all of which is this crate's, is about to be decommitted.
pub(crate) fn end_run(address: usize) {
    if policy() != FOR {
        os::advise_huge(run_around(address).start, BYTES, Huge::Never);
    }
}

/// A large block was mapped there.
pub(crate) fn block_mapped(address: usize, bytes: usize) {
    if bytes >= BYTES && policy() == FOR {
        os::advise_huge(address, bytes, Huge::Wanted);
    }
}
