//! The thread whose transitions are told apart from the program's: the observer.
//!
//! Whoever tells of transitions by way of the program (writes them to its log, say) allocates for that, and causes
//! transitions by it. To tell of those as well would never end. So one thread of a process can have its transitions
//! marked, as [`crate::observe::Transition::by_observer`].
//!
//! | word      | is                                               |
//! |-----------|--------------------------------------------------|
//! | `PROCESS` | the process whose thread is marked; 0: of none    |
//! | `THREAD`  | the thread pointer of that thread; 0: none        |
//!
//! `PROCESS` is the claim, and only its holder writes `THREAD`. A forked child inherits both, but not the thread: the
//! claim of another process keeps nobody from claiming. (Until somebody does, a thread of the child that got the place
//! of its parent's observer is marked; nobody is there to whom that matters.)

use core::marker::PhantomData;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::os;

static PROCESS: AtomicU64 = AtomicU64::new(0);
static THREAD: AtomicU64 = AtomicU64::new(0);

/// The mark on the transitions of the thread that claimed it, for as long as this lives.
///
/// What the thread allocates and frees itself is marked. When another thread frees a block that it allocated, what
/// comes of it is that thread's and is not marked.
#[derive(Debug)]
#[must_use = "the mark ends when this is dropped"]
pub struct Observer {
    /// It belongs to the thread that claimed it.
    _thread: PhantomData<*const ()>,
}

impl Observer {
    /// Marks what the calling thread does from now on; `None` if a thread of this process, be it this one, is marked
    /// already.
    pub fn claim() -> Option<Self> {
        let process = os::process_id();
        // Relaxed: the compare-and-swap checks it.
        let found = PROCESS.load(Ordering::Relaxed);
        // Acquire: pairs with the Release in `drop`; the former holder's last store to `THREAD` is behind us.
        if found == process
            || PROCESS
                .compare_exchange(found, process, Ordering::Acquire, Ordering::Relaxed)
                .is_err()
        {
            return None;
        }
        // Relaxed: only this thread will find itself there, see `is_calling`.
        THREAD.store(os::thread_pointer(), Ordering::Relaxed);
        Some(Self { _thread: PhantomData })
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        let thread = os::thread_pointer();
        // In a child that this very thread forked, another one may have the claim by now.
        // Relaxed, both: nothing is published by it.
        if THREAD.compare_exchange(thread, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            // Release: pairs with the Acquire in `claim`.
            PROCESS.store(0, Ordering::Release);
        }
    }
}

/// Whether the calling thread is the observer. One load and a comparison, for slow paths.
pub(crate) fn is_calling() -> bool {
    // Relaxed: the only store of a thread's own pointer is its own, which it sees. A new thread that got the place of
    // an observer that ended was made after that one had taken its pointer out, and sees that.
    THREAD.load(Ordering::Relaxed) == os::thread_pointer()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Aim: one thread is marked, no other, until it gives the mark back. Method: claims by two threads in turn. The
    /// only test here that claims, since there is one mark.
    #[test]
    fn one_thread_is_marked() {
        let elsewhere = |expected: bool| {
            let check = move || {
                assert!(!is_calling());
                assert_eq!(Observer::claim().is_some(), expected);
                assert!(!is_calling());
            };
            std::thread::spawn(check).join().unwrap();
        };
        assert!(!is_calling());
        elsewhere(true);
        let observer = Observer::claim().unwrap();
        assert!(is_calling());
        assert!(Observer::claim().is_none(), "not twice by one thread");
        elsewhere(false);
        assert!(is_calling(), "a claim that failed changes nothing");
        drop(observer);
        assert!(!is_calling());
        elsewhere(true);
        // What a forked child finds.
        PROCESS.store(u64::MAX, Ordering::Relaxed);
        THREAD.store(64, Ordering::Relaxed);
        let observer = Observer::claim().unwrap();
        assert!(is_calling());
        drop(observer);
        elsewhere(true);
    }
}
