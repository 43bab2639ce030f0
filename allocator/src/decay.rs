//! Kept memory that nobody needs goes back to the system by and by.
//!
//! Large blocks that were freed, and batches in the depot, are kept for the next one who wants them. Each container
//! remembers the least it has held since the last interval began: so much of it was needed by nobody, and half of that goes
//! back. Of EMPTY superblocks as many are kept as were taken in this interval and the last, which is what a program that
//! fills and empties them takes again; more go back at once, and what an interval's end makes too many, a few at a time.
//!
//! There is no thread for this: the events that cost more than reading a clock drive it (a superblock is taken or becomes
//! EMPTY, a large block is freed). So a process that does nothing keeps what it has, until [`crate::LfAlloc::purge`].

use core::sync::atomic::{AtomicU64, Ordering};

use crate::platform::Word;
use crate::{front, large, live, options, os};

/// Ticks of a millisecond, about: of processors of 2 to 4 GHz. The default of [`options::PURGE_MS`] is then half a second to a
/// second.
const TICKS_PER_MS: u64 = 3_000_000;

/// Faults that models seed on purpose, to show that they would see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The code as it ships.
    None,
    /// The next interval begins with a store: whoever sees that one has ended ends it.
    BeganStored,
    /// What an interval left is taken by a load and a store.
    EndedLoaded,
    /// That nothing is due is said after what was due was looked for.
    DueClearedAfter,
    /// That something is due is said with a relaxed store, and that nothing is, too.
    DueRelaxed,
}

/// What is shared; 0 and 1 but for the first.
#[derive(Debug, Default)]
pub struct Words<W> {
    /// When the interval began; 0: none has.
    pub began: W,
    /// Whether an interval has ended, and nobody has given back what was not needed in it yet.
    pub has_ended: W,
    /// Whether the end of an interval found more EMPTY superblocks than are to be kept, and they are not given back yet.
    pub is_surplus: W,
    /// Whether there was an event, and something is to be done.
    pub is_due: W,
}

/// What intervals are of.
pub trait Intervals {
    /// The atomic word.
    type Word: Word;
    /// The fault to seed; a constant, so that it costs nothing.
    const FAULT: Fault = Fault::None;

    /// What is shared.
    fn words(&self) -> &Words<Self::Word>;
    /// A clock in ticks of its own.
    fn now_ticks(&self) -> u64;
    /// The length of an interval; 0: none ever ends.
    fn interval_ticks(&self) -> u64;
    /// Gives back half of what was not needed.
    fn end(&self);
    /// Gives back a bounded amount of what is too much; whether there may be more.
    fn give_back_surplus(&self) -> bool;
}

/// An event has come that may cost a little: what is to be done is left to whoever finds that it [`is_due`].
pub fn event_in<I: Intervals>(intervals: &I) {
    let now = intervals.now_ticks();
    let words = intervals.words();
    // Relaxed, here and below, but for what is due: one thread gets the interval, and nothing else hangs on it.
    let began = words.began.load(Ordering::Relaxed);
    let interval = intervals.interval_ticks();
    if now.wrapping_sub(began) >= interval
        && interval > 0
        // Failure: another thread was faster, and has said so.
        && begins(intervals, began, now)
        && began != 0
    {
        // A read-modify-write, as what takes it: loom lets one that does not know of a store find what was there before.
        words.has_ended.swap(1, Ordering::Relaxed);
        say_due(intervals);
    } else if words.is_surplus.load(Ordering::Relaxed) != 0 {
        say_due(intervals);
    }
}

fn say_due<I: Intervals>(intervals: &I) {
    let word = &intervals.words().is_due;
    if I::FAULT == Fault::DueRelaxed {
        return word.store(1, Ordering::Relaxed);
    }
    // Release: pairs with the Acquire in `give_back`, so that whoever takes this word back sees what is due. A read-modify-write,
    // so that it goes on to publish what others have said before.
    word.swap(1, Ordering::Release);
}

/// The next interval begins; whether that was this thread's doing.
fn begins<I: Intervals>(intervals: &I, began: u64, now: u64) -> bool {
    let word = &intervals.words().began;
    if I::FAULT == Fault::BeganStored {
        word.store(now, Ordering::Relaxed);
        return true;
    }
    word.compare_exchange(began, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

/// Whether something is to be given back by [`give_back`].
#[inline(always)]
pub fn is_due<I: Intervals>(intervals: &I) -> bool {
    intervals.words().is_due.load(Ordering::Relaxed) != 0
}

/// Gives back what is due.
pub fn give_back<I: Intervals>(intervals: &I) {
    let words = intervals.words();
    if I::FAULT == Fault::DueRelaxed {
        words.is_due.store(0, Ordering::Relaxed);
    } else if I::FAULT != Fault::DueClearedAfter {
        // Acquire: pairs with the Release in `say_due`. A plain store might come after one of that word whose interval is not seen
        // below: nobody would end it.
        words.is_due.swap(0, Ordering::Acquire);
    }
    // Whoever gets it does it.
    let has_ended = if I::FAULT == Fault::EndedLoaded {
        let has_ended = words.has_ended.load(Ordering::Relaxed);
        words.has_ended.store(0, Ordering::Relaxed);
        has_ended
    } else {
        words.has_ended.swap(0, Ordering::Relaxed)
    };
    if I::FAULT == Fault::DueClearedAfter {
        words.is_due.swap(0, Ordering::Acquire);
    }
    if has_ended != 0 {
        intervals.end();
        words.is_surplus.store(1, Ordering::Relaxed);
    }
    if words.is_surplus.load(Ordering::Relaxed) != 0 && !intervals.give_back_surplus() {
        words.is_surplus.store(0, Ordering::Relaxed);
    }
}

static WORDS: Words<AtomicU64> = Words {
    began: AtomicU64::new(0),
    has_ended: AtomicU64::new(0),
    is_surplus: AtomicU64::new(0),
    is_due: AtomicU64::new(0),
};

/// The intervals of this process.
struct Ours;

impl Intervals for Ours {
    type Word = AtomicU64;

    #[inline(always)]
    fn words(&self) -> &Words<AtomicU64> {
        &WORDS
    }
    fn now_ticks(&self) -> u64 {
        os::ticks()
    }
    fn interval_ticks(&self) -> u64 {
        options::PURGE_MS.get().saturating_mul(TICKS_PER_MS)
    }
    fn end(&self) {
        end_interval();
    }
    fn give_back_surplus(&self) -> bool {
        live::cool_surplus()
    }
}

/// An event has come that may cost a little. It may be deep within the core: what is to be done is left to [`settle`].
pub(crate) fn event() {
    event_in(&Ours);
}

/// Gives back what was not needed, a bounded amount of it, after an operation that events may have come in: where no superblock, no
/// large block and no batch is in hand, and not within itself.
#[inline]
pub(crate) fn settle() {
    if is_due(&Ours) {
        give_back_ours();
    }
}

#[cold]
#[inline(never)]
fn give_back_ours() {
    give_back(&Ours);
}

fn end_interval() {
    front::end_interval();
    large::end_interval();
    live::end_interval();
}

/// The interval ends now, and everything that is too much goes back at once.
pub(crate) fn end_now() {
    end_interval();
    while live::cool_surplus() {}
}
