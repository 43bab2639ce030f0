//! A mapping that a word leads to: made once, by whoever needs it first, and there for ever.
//!
//! Leaves of the [page map](crate::page_map) and chunks of a [table](crate::table). Of threads that need one at the same time each
//! maps one; the first to say so has made it, and the others unmap theirs. So nobody waits for anybody, and a thread that
//! dies in between leaves a mapping that nobody will ever use.

use core::sync::atomic::Ordering;

use crate::platform::Word;

/// Faults that models seed on purpose, to show that they would see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The code as it ships.
    None,
    /// It is published with a relaxed compare-and-swap.
    PublishRelaxed,
    /// It is found with a relaxed load.
    FindRelaxed,
    /// Whoever comes second uses its own.
    LoserKeepsItsOwn,
    /// Whoever comes second does not unmap its own.
    LoserLeaks,
    /// Whoever comes second publishes its own over the first.
    PublishedOver,
}

/// Where such a mapping is, and how it is made.
pub trait MadeOnce {
    /// The atomic word.
    type Word: Word;
    /// The fault to seed; a constant, so that it costs nothing.
    const FAULT: Fault = Fault::None;

    /// The word that leads to it; 0 as long as there is none.
    fn word(&self) -> &Self::Word;
    /// Maps one, of zero bytes; what leads to it, which is not 0. `None`: no memory.
    fn map(&self) -> Option<u64>;
    /// Unmaps what [`MadeOnce::map`] has mapped.
    ///
    /// # Safety
    /// It was published nowhere.
    unsafe fn unmap(&self, made: u64);
}

/// What leads to the mapping, if it was made.
#[inline(always)]
pub fn find<O: MadeOnce>(once: &O) -> Option<u64> {
    let order =
        if matches!(O::FAULT, Fault::FindRelaxed) { Ordering::Relaxed } else { Ordering::Acquire };
    // Acquire: pairs with the Release in `get`. (On x86-64 a plain load.)
    match once.word().load(order) {
        0 => None,
        made => Some(made),
    }
}

/// What leads to the mapping, which is made if need be. `None`: no memory.
pub fn get<O: MadeOnce>(once: &O) -> Option<u64> {
    if let Some(made) = find(once) {
        return Some(made);
    }
    let made = once.map()?;
    if O::FAULT == Fault::PublishedOver {
        once.word().store(made, Ordering::Release);
        return Some(made);
    }
    let order =
        if O::FAULT == Fault::PublishRelaxed { Ordering::Relaxed } else { Ordering::Release };
    // Release: pairs with the Acquires here and in `find`; the kernel has zeroed the pages. Failure: another thread has
    // made it.
    match once.word().compare_exchange(0, made, order, Ordering::Acquire) {
        Ok(_) => Some(made),
        Err(_) if O::FAULT == Fault::LoserKeepsItsOwn => Some(made),
        Err(theirs) => {
            if O::FAULT != Fault::LoserLeaks {
                // SAFETY: mapped above and published nowhere.
                unsafe { once.unmap(made) };
            }
            Some(theirs)
        }
    }
}
