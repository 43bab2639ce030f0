//! Transparent huge pages: none that a program did not ask for.
//!
//! Where the system gives them to everybody (`always` in `/sys/kernel/mm/transparent_hugepage/enabled`), one block in use can hold
//! 2 MiB resident, and what is decommitted comes back by the 2 MiB. So superblocks are mapped with the advice against them
//! there, mapping by mapping, and never for the process; with `LFALLOC_THP=1` they are mapped with the advice for them. Large blocks
//! are the system's to decide, as they would be without this allocator, unless that is set.

use core::sync::atomic::{AtomicU8, Ordering};

use crate::os::{self, Huge};

/// What is told to the system; 0: not decided.
static POLICY: AtomicU8 = AtomicU8::new(0);
const NOTHING: u8 = 1;
const AGAINST: u8 = 2;
const FOR: u8 = 3;

fn policy() -> u8 {
    // Relaxed, both: whoever decides at the same time decides the same.
    match POLICY.load(Ordering::Relaxed) {
        0 => {
            let policy = if os::environment(c"LFALLOC_THP").is_some_and(|value| value == c"1") {
                FOR
            } else if os::gives_huge_pages() {
                AGAINST
            } else {
                NOTHING
            };
            POLICY.store(policy, Ordering::Relaxed);
            policy
        }
        policy => policy,
    }
}

/// Bytes of a huge page.
const BYTES: usize = 2 << 20;

/// What superblocks should be mapped by, and at multiples of: the bytes of a huge page, where they are wanted.
pub(crate) fn superblock_run() -> Option<usize> {
    (policy() == FOR).then_some(BYTES)
}

/// Superblocks were mapped there.
pub(crate) fn superblocks_mapped(address: usize, bytes: usize) {
    match policy() {
        AGAINST => os::advise_huge(address, bytes, Huge::Never),
        FOR => os::advise_huge(address, bytes, Huge::Wanted),
        _ => {}
    }
}

/// A large block was mapped there.
pub(crate) fn block_mapped(address: usize, bytes: usize) {
    if bytes >= BYTES && policy() == FOR {
        os::advise_huge(address, bytes, Huge::Wanted);
    }
}
