//! Atomics that count accesses: a thread can be stopped before each of them, and one that needs too many is found.
//!
//! Everything runs in one thread: whoever is stopped waits below on the stack, while others do what they have to do in the
//! middle of it. Then it goes on, or never does: its stack is unwound, which nobody sees, since the execution is judged before.
//! To others a thread that is stopped for ever and one that is dead are the same: nothing of the allocator hangs on a
//! thread's end.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use lfalloc::platform::Word;

use crate::machine::Atomics;

/// What becomes of the thread that was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It goes on.
    GoesOn,
    /// It never does: stopped for ever, or dead.
    Never,
}

type Action<'a> = Box<dyn FnOnce() -> Then + 'a>;

thread_local! {
    /// Accesses that may be made yet, and those that were made.
    static LEFT: Cell<u64> = const { Cell::new(u64::MAX) };
    static MADE: Cell<u64> = const { Cell::new(0) };
    /// Before which access something is to be done.
    static STOP: RefCell<Option<(u64, Action<'static>)>> = const { RefCell::new(None) };
}

/// The payload of the unwinding that takes a thread away which never goes on.
struct Gone;

fn step() {
    let made = MADE.get();
    MADE.set(made + 1);
    assert!(made < LEFT.get(), "not done after {made} accesses: it waits for somebody");
    let stop = STOP.with_borrow_mut(|stop| stop.take_if(|(at, _)| *at == made));
    if let Some((_, action)) = stop
        && action() == Then::Never
    {
        resume_unwind(Box::new(Gone));
    }
}

/// Runs `body` with a count of its own; what it returns, and how many accesses it made: `most` at most.
///
/// # Panics
/// In `body`, if it makes more.
pub fn within<R>(most: u64, body: impl FnOnce() -> R) -> (R, u64) {
    let outer = (MADE.replace(0), LEFT.replace(most));
    let result = body();
    let made = MADE.replace(outer.0);
    LEFT.set(outer.1);
    (result, made)
}

/// Runs `body`, and `action` before its access number `place`. `None`: it was stopped there, and never goes on.
pub fn stopped_at<R>(
    place: u64,
    action: impl FnOnce() -> Then,
    body: impl FnOnce() -> R,
) -> Option<R> {
    let action: Action<'_> = Box::new(action);
    // SAFETY: the action is taken out again below, before anything that it borrows ends, whether `body` returns or unwinds.
    let action = unsafe { std::mem::transmute::<Action<'_>, Action<'static>>(action) };
    let outer = STOP.replace(Some((place, action)));
    let made = MADE.replace(0);
    let result = catch_unwind(AssertUnwindSafe(body));
    STOP.set(outer);
    MADE.set(made);
    match result {
        Ok(result) => Some(result),
        Err(payload) if payload.is::<Gone>() => None,
        Err(payload) => resume_unwind(payload),
    }
}

/// The kind of atomics.
#[derive(Debug)]
pub struct Stepped;

/// A word that counts accesses.
#[derive(Debug)]
pub struct SteppedWord(AtomicU64);

impl SteppedWord {
    /// Counts as an access, and is none: for what an instruction does that looks at more than this word.
    pub fn come_to(&self) {
        step();
    }

    /// The rest of that instruction.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

impl Atomics for Stepped {
    type Word = SteppedWord;
    const LAST_ROUNDS: u32 = 2;

    fn word(value: u64) -> Self::Word {
        SteppedWord(AtomicU64::new(value))
    }
    fn yield_now() {}
    fn spawn(body: Box<dyn FnOnce() + Send>) -> Box<dyn FnOnce()> {
        // One after the other.
        Box::new(body)
    }
}

impl Word for SteppedWord {
    fn load(&self, order: Ordering) -> u64 {
        step();
        self.0.load(order)
    }
    fn store(&self, value: u64, order: Ordering) {
        step();
        self.0.store(value, order);
    }
    fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        step();
        self.0.compare_exchange(current, new, success, failure)
    }
    fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        step();
        self.0.fetch_add(value, order)
    }
    fn fetch_sub(&self, value: u64, order: Ordering) -> u64 {
        step();
        self.0.fetch_sub(value, order)
    }
    fn fetch_max(&self, value: u64, order: Ordering) -> u64 {
        step();
        self.0.fetch_max(value, order)
    }
    fn fetch_min(&self, value: u64, order: Ordering) -> u64 {
        step();
        self.0.fetch_min(value, order)
    }
    fn swap(&self, value: u64, order: Ordering) -> u64 {
        step();
        self.0.swap(value, order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Aim: who waits for somebody that is stopped is found. Method: a lock, taken by the first, and waited for by the other.
    #[test]
    fn who_waits_is_found() {
        let lock = Stepped::word(0);
        let take =
            || while lock.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {};
        let body = || {
            take();
            lock.store(0, Ordering::Release);
        };
        let other = || {
            within(100, take);
            Then::Never
        };
        // Before the lock is taken it may be stopped; while it is held it may not.
        assert!(stopped_at(0, other, body).is_none());
        lock.store(0, Ordering::Relaxed);
        let found = catch_unwind(AssertUnwindSafe(|| stopped_at(1, other, body)));
        assert!(found.is_err());
    }
}
