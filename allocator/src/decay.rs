//! Kept memory that nobody needs goes back to the system by and by.
//!
//! Large blocks that were freed, and batches in the depot, are kept for the next one who wants them. Each container
//! remembers the least it has held since the last interval began: so much of it was needed by nobody, and half of that goes
//! back. Of EMPTY superblocks as many are kept as were taken in this interval and the last, which is what a program that
//! fills and empties them takes again; more go back at once, and what an interval's end makes too many, a few at a time.
//!
//! There is no thread for this: the events that cost more than reading a clock drive it (a superblock is taken or becomes
//! EMPTY, a large block is freed). So a process that does nothing keeps what it has, until [`crate::LfAlloc::purge`].

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::{front, large, live, options, os};

/// Ticks of a millisecond, about: of processors of 2 to 4 GHz. The default of [`options::PURGE_MS`] is then half a second to a
/// second.
const TICKS_PER_MS: u64 = 3_000_000;

/// When the interval began; 0: none has.
static BEGAN: AtomicU64 = AtomicU64::new(0);

/// Whether an interval has ended, and nobody has given back what was not needed in it yet.
static HAS_ENDED: AtomicBool = AtomicBool::new(false);
/// Whether the end of an interval found more EMPTY superblocks than are to be kept, and they are not given back yet.
static IS_SURPLUS: AtomicBool = AtomicBool::new(false);
/// Whether there was an event, and something is to be done.
static IS_DUE: AtomicBool = AtomicBool::new(false);

/// An event has come that may cost a little. It may be deep within the core: what is to be done is left to [`settle`].
pub(crate) fn event() {
    let now = os::ticks();
    // Relaxed, all here: one thread gets the interval, and nothing else hangs on it.
    let began = BEGAN.load(Ordering::Relaxed);
    let interval = options::PURGE_MS.get().saturating_mul(TICKS_PER_MS);
    if now.wrapping_sub(began) >= interval
        && interval > 0
        // Failure: another thread was faster, and has said so.
        && BEGAN.compare_exchange(began, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        && began != 0
    {
        HAS_ENDED.store(true, Ordering::Relaxed);
        IS_DUE.store(true, Ordering::Relaxed);
    } else if IS_SURPLUS.load(Ordering::Relaxed) {
        IS_DUE.store(true, Ordering::Relaxed);
    }
}

/// Gives back what was not needed, a bounded amount of it, after an operation that events may have come in: where no superblock, no
/// large block and no batch is in hand, and not within itself.
#[inline]
pub(crate) fn settle() {
    // Relaxed: as above.
    if IS_DUE.load(Ordering::Relaxed) {
        give_back();
    }
}

#[cold]
#[inline(never)]
fn give_back() {
    // Relaxed, all: whoever gets `true` does it.
    IS_DUE.store(false, Ordering::Relaxed);
    if HAS_ENDED.swap(false, Ordering::Relaxed) {
        end_interval();
    }
    if IS_SURPLUS.load(Ordering::Relaxed) && !live::cool_surplus() {
        IS_SURPLUS.store(false, Ordering::Relaxed);
    }
}

fn end_interval() {
    front::end_interval();
    large::end_interval();
    live::end_interval();
    IS_SURPLUS.store(true, Ordering::Relaxed);
}

/// The interval ends now, and everything that is too much goes back at once.
pub(crate) fn end_now() {
    end_interval();
    while live::cool_surplus() {}
}
