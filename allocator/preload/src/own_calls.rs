//! What `lfalloc.h` declares: the calls that only this library has.

use core::ffi::{c_int, c_longlong, c_void};

use lfalloc::LfAlloc;
use lfalloc::observe;

use crate::{agent, misuse};

/// Starts the agent; 0 when it runs (also if it did before), else an `errno`.
#[unsafe(no_mangle)]
pub extern "C" fn lfalloc_agent_start() -> c_int {
    agent::start()
}

/// Ends the agent, if it runs.
#[unsafe(no_mangle)]
pub extern "C" fn lfalloc_agent_stop() {
    agent::stop();
}

/// Gives back what can be given back; how many bytes fewer are mapped.
#[unsafe(no_mangle)]
pub extern "C" fn lfalloc_purge() -> c_longlong {
    LfAlloc.purge()
}

/// `struct lfalloc_totals`. New members are only ever added at the end.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Totals {
    mapped_bytes: u64,
    live_bytes: u64,
    superblock_bytes: u64,
    allocations: u64,
    frees: u64,
    in_hand: u64,
    foreign_frees: u64,
    metadata_bytes: u64,
}

/// Writes the totals to `out`, the first `size` bytes of them.
///
/// # Safety
/// `out` has room for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lfalloc_totals(out: *mut c_void, size: usize) {
    let observe::Totals { mapped_bytes, live_bytes, superblock_bytes, allocations, frees, in_hand } =
        observe::totals();
    // Counters that are read one after the other while they change may be below zero for a moment.
    let bytes = |bytes: i64| u64::try_from(bytes).unwrap_or(0);
    let totals = Totals {
        mapped_bytes: bytes(mapped_bytes),
        live_bytes: bytes(live_bytes),
        superblock_bytes: bytes(superblock_bytes),
        allocations,
        frees,
        in_hand,
        foreign_frees: misuse::foreign_frees(),
        metadata_bytes: bytes(observe::metadata_bytes()),
    };
    let from = (&raw const totals).cast::<u8>();
    // SAFETY: no more than there is, and no more than the caller has room for.
    unsafe { from.copy_to_nonoverlapping(out.cast(), size.min(size_of::<Totals>())) };
}
