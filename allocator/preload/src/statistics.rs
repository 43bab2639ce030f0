//! Statistics at the program's end (`LFALLOC_STATS=1`).
//!
//! Many programs close standard error before they end, to see whether everything could be written (all of coreutils). So it is
//! kept, in a descriptor that programs which this one starts do not inherit. (Whoever reads from a pipe to its end waits for a
//! daemon that asked for this, too.) Where the program closes that as well, and opens something else under either number,
//! nothing is written there.

use core::ffi::{CStr, c_int};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

use lfalloc::options;

use crate::tuning;

const NAME: &CStr = c"LFALLOC_STATS";
const STANDARD_ERROR: c_int = 2;
/// The least number to keep it under: programs count on the low ones, since a file that they open gets the lowest that is free.
/// The second is for those that may not have so many.
const LEAST_KEPT: [c_int; 2] = [200, 20];

// All orderings are Relaxed: set before there are threads.

/// Whether statistics are wanted.
static IS_ON: AtomicBool = AtomicBool::new(false);
/// The descriptor that is kept, or -1,
static KEPT: AtomicI32 = AtomicI32::new(-1);
/// and what it is of: device and inode.
static FILE: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// The program starts.
pub(crate) fn begin() {
    match options::value(NAME).map(CStr::to_bytes) {
        None | Some(b"" | b"0") => {}
        Some(b"1") => {
            if let Some(file) = file_at(STANDARD_ERROR) {
                // SAFETY: changes no memory (fcntl(2)); -1 without a number for it.
                let keep = |least: c_int| unsafe {
                    libc::fcntl(STANDARD_ERROR, libc::F_DUPFD_CLOEXEC, least)
                };
                // Without any the program's has to do.
                let kept = LEAST_KEPT.into_iter().map(keep).find(|kept| *kept >= 0).unwrap_or(-1);
                KEPT.store(kept, Ordering::Relaxed);
                for (word, value) in FILE.iter().zip(file) {
                    word.store(value, Ordering::Relaxed);
                }
                IS_ON.store(true, Ordering::Relaxed);
            }
        }
        Some(other) => options::report(NAME, other, "0 or 1"),
    }
}

/// The program ends.
pub(crate) fn end() {
    if !IS_ON.load(Ordering::Relaxed) {
        return;
    }
    let file = FILE.each_ref().map(|word| word.load(Ordering::Relaxed));
    if let Some(descriptor) = [KEPT.load(Ordering::Relaxed), STANDARD_ERROR]
        .into_iter()
        .find(|descriptor| file_at(*descriptor) == Some(file))
    {
        tuning::statistics().print_to(descriptor);
    }
}

/// Which file an open descriptor is of.
fn file_at(descriptor: c_int) -> Option<[u64; 2]> {
    let mut about = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: there is room for it (fstat(2)).
    let failed = unsafe { libc::fstat(descriptor, about.as_mut_ptr()) };
    // SAFETY: initialised, unless it failed.
    (failed == 0).then(|| unsafe { about.assume_init() }).map(|about| [about.st_dev, about.st_ino])
}
