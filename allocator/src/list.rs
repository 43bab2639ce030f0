//! A lock-free stack of descriptors (Treiber), for the lists of PARTIAL and of retired superblocks (\[0028\]).
//!
//! The head is one word, `tag : 32 | id + 1 : 32` (0: empty); the links are the descriptors' `next` words. The tag
//! counts changes of the head, so that a thread that read a head and its link, and then slept while the same
//! descriptor left and came back, fails to swing the head to the stale link (the ABA problem). A descriptor is in
//! at most one stack, so one `next` word serves all of them.

use core::sync::atomic::Ordering;

use crate::Core;
use crate::platform::{Mutant, Platform, SuperblockId, Word};

#[derive(Clone, Copy, PartialEq, Eq)]
struct Head(u64);

impl Head {
    const fn first(self) -> Option<u32> {
        (self.0 as u32).checked_sub(1)
    }

    /// The next head, whose first descriptor has link word `link`.
    const fn changed_to(self, link: u32, tag_bits: u32) -> Self {
        let tag = ((self.0 >> 32) + 1) & ((1 << tag_bits) - 1);
        Self(tag << 32 | link as u64)
    }
}

/// Descriptors of some kind that can be linked: where their links are.
pub(crate) trait Links {
    type Word: Word;
    /// Bits of the head's tag in use.
    const TAG_BITS: u32;
    /// The link word of a descriptor.
    fn link_of(&self, id: u32) -> &Self::Word;
    /// See [`Platform::point`].
    fn point(&self, _name: &'static str) {}
    /// See [`Platform::pause`].
    fn pause(&self) {}
    /// That descriptor may be taken next: a hint.
    fn may_take(&self, _id: u32) {}
}

/// Pushes a chain of descriptors that this thread holds, linked from `first` to `last`.
pub(crate) fn push_chain<L: Links>(links: &L, head: &L::Word, first: u32, last: u32) {
    // Relaxed: the value is only compared; the descriptor it names is not looked at.
    let mut old = Head(head.load(Ordering::Relaxed));
    loop {
        // Relaxed: published by the Release below.
        links.link_of(last).store(old.0 & 0xFFFF_FFFF, Ordering::Relaxed);
        links.point("list.linked");
        let new = old.changed_to(first + 1, L::TAG_BITS);
        // Release: pairs with the Acquire in `pop`; the link and everything this thread did to the descriptors
        // come before. Failure: another push or pop succeeded.
        match head.compare_exchange(old.0, new.0, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => {
                links.point("list.pushed");
                return;
            }
            Err(found) => old = Head(found),
        }
        links.pause();
    }
}

/// Takes the descriptor pushed last; this thread holds it from then on. `None`: the stack was empty.
pub(crate) fn pop<L: Links>(links: &L, head: &L::Word) -> Option<u32> {
    // Acquire: pairs with the Release in `push_chain`: the link read below was written before.
    let mut old = Head(head.load(Ordering::Acquire));
    loop {
        let first = old.first()?;
        // Relaxed and optimistic: if the descriptor has left meanwhile this link may be of another list; the tag
        // then makes the compare-and-swap fail.
        let link = links.link_of(first).load(Ordering::Relaxed) as u32;
        links.point("list.link_read");
        let new = old.changed_to(link, L::TAG_BITS);
        // Acquire as above, for the descriptor taken: what its former holders did is seen. The release sequences of
        // the pushes below the top go on, since this is a read-modify-write. Failure: another push or pop succeeded.
        match head.compare_exchange(old.0, new.0, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => {
                links.point("list.popped");
                if link > 0 {
                    links.may_take(link - 1);
                }
                return Some(first);
            }
            Err(found) => old = Head(found),
        }
        links.pause();
    }
}

impl<P: Platform> Links for Core<P> {
    type Word = P::Word;
    const TAG_BITS: u32 =
        if matches!(P::MUTANT, Mutant::ListTagKept) { 0 } else { P::LIST_TAG_BITS };

    fn link_of(&self, id: u32) -> &P::Word {
        &self.platform.descriptor(SuperblockId(id)).next
    }

    fn point(&self, name: &'static str) {
        self.platform.point(name);
    }

    fn pause(&self) {
        self.platform.pause();
    }

    fn may_take(&self, id: u32) {
        self.platform.may_take(SuperblockId(id));
    }
}

impl<P: Platform> Core<P> {
    /// Pushes a superblock that this thread holds.
    pub(crate) fn push(&self, head: &P::Word, id: SuperblockId) {
        push_chain(self, head, id.0, id.0);
    }

    /// Takes the superblock pushed last.
    pub(crate) fn pop(&self, head: &P::Word) -> Option<SuperblockId> {
        pop(self, head).map(SuperblockId)
    }
}
