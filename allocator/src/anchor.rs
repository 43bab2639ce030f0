//! The anchor word of a descriptor (\[0030\], \[0034\], \[0037\]).
//!
//! ```text
//!  63                                    28 27 26 25          13 12           0
//! ┌────────────────────────────────────────┬─────┬──────────────┬──────────────┐
//! │ tag : 36                               │state│ count : 13   │ avail : 13   │
//! └────────────────────────────────────────┴─────┴──────────────┴──────────────┘
//! ```
//!
//! * `avail` — index of the first free block; `maxcount` or any older value where there is none.
//! * `count` — free blocks, *less* those reserved by a heap's credits or by a thread on its way to pop one.
//! * `state` — one of [`State`].
//! * `tag` — counts pops, state changes and re-initialisations, modulo its width ("proven modulo wrap").
//!
//! The patent's 10-bit fields (\[0037\]) cap a superblock at 1,024 blocks; 64 KiB of 16-byte blocks are 4,096. \[0030\]
//! lists "active, count and state"; \[0034\] and \[0037\] are right: avail, count, state, tag.
//!
//! Invariant, for a superblock of `maxcount` blocks: `owned + reserved + count = maxcount`, where a block is
//! *reserved* by the credits of a heap, or by a thread that took a credit and has not popped its block yet. And:
//!
//! | state   | count          | reserved by a heap | in which container                              |
//! |---------|----------------|--------------------|-------------------------------------------------|
//! | ACTIVE  | 0 … maxcount−1 | ≥ 1                | a heap's active word, or the hands of a thread  |
//! | FULL    | 0              | 0                  | none                                            |
//! | PARTIAL | 1 … maxcount−1 | 0                  | a partial list, or the hands of a thread        |
//! | EMPTY   | maxcount       | 0                  | partial or retired list, or a thread's hands    |
//!
//! A reservation in flight may find any state but EMPTY, which it excludes: `count` is short of it. This file holds
//! values only: transitions are pure functions; who may apply which is told where the compare-and-swap is.

/// State of a superblock (\[0036\]); the codes are those of \[0037\].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum State {
    /// A heap points to it, or a thread has taken it out to make one do so.
    Active = 0,
    /// Not ACTIVE, and every block is handed out.
    Full = 1,
    /// Neither ACTIVE nor FULL, and at least one block is handed out.
    Partial = 2,
    /// Not ACTIVE, and no block is handed out.
    Empty = 3,
}

impl State {
    /// The state with that code (its two low bits).
    #[inline]
    #[must_use]
    pub const fn from_code(code: u64) -> Self {
        match code & 3 {
            0 => Self::Active,
            1 => Self::Full,
            2 => Self::Partial,
            _ => Self::Empty,
        }
    }
}

/// A value of the anchor word.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Anchor(u64);

/// What a free did to the superblock, and hence what the freeing thread must do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Freed {
    /// Nothing more: it was ACTIVE or PARTIAL and stays so.
    Counted,
    /// It left FULL for PARTIAL; it is in no container, and this thread must push it (\[0046\] line 22).
    LeftFull,
    /// It was PARTIAL and is EMPTY now; whoever holds it retires it, and this thread must not touch it again.
    Emptied,
    /// It went from FULL straight to EMPTY; it is in no container, and this thread retires it.
    EmptiedFromFull,
}

const AVAIL_BITS: u32 = 13;
const COUNT_BITS: u32 = 13;
const STATE_BITS: u32 = 2;
const COUNT_SHIFT: u32 = AVAIL_BITS;
const STATE_SHIFT: u32 = COUNT_SHIFT + COUNT_BITS;
const TAG_SHIFT: u32 = STATE_SHIFT + STATE_BITS;

impl Anchor {
    /// Bits of the tag.
    pub const TAG_BITS: u32 = 64 - TAG_SHIFT;
    /// Most blocks a superblock can have: `avail` must be able to say `maxcount`.
    pub const MAX_BLOCKS: u32 = (1 << AVAIL_BITS) - 1;

    /// Packs the fields; each must fit its width.
    #[inline]
    #[must_use]
    pub const fn new(avail: u32, count: u32, state: State, tag: u64) -> Self {
        debug_assert!(avail < 1 << AVAIL_BITS && count < 1 << COUNT_BITS);
        Self(
            avail as u64
                | (count as u64) << COUNT_SHIFT
                | (state as u64) << STATE_SHIFT
                | tag << TAG_SHIFT,
        )
    }

    /// The value of a loaded word.
    #[inline]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// The word to store.
    #[inline]
    #[must_use]
    pub const fn word(self) -> u64 {
        self.0
    }

    /// Index of the first free block, if `count` or a reservation says there is one.
    #[inline]
    #[must_use]
    pub const fn avail(self) -> u32 {
        (self.0 & ((1 << AVAIL_BITS) - 1)) as u32
    }

    /// Free blocks that nobody has reserved.
    #[inline]
    #[must_use]
    pub const fn count(self) -> u32 {
        (self.0 >> COUNT_SHIFT & ((1 << COUNT_BITS) - 1)) as u32
    }

    /// The state.
    #[inline]
    #[must_use]
    pub const fn state(self) -> State {
        State::from_code(self.0 >> STATE_SHIFT)
    }

    /// The tag.
    #[inline]
    #[must_use]
    pub const fn tag(self) -> u64 {
        self.0 >> TAG_SHIFT
    }

    /// The same with the next tag, of `bits` bits.
    #[inline]
    #[must_use]
    const fn bumped(self, bits: u32) -> Self {
        let tag = self.tag().wrapping_add(1) & (u64::MAX >> (64 - bits));
        Self(self.0 & ((1 << TAG_SHIFT) - 1) | tag << TAG_SHIFT)
    }

    /// The same with another tag.
    #[inline]
    #[must_use]
    pub const fn with_tag(self, tag: u64) -> Self {
        Self(self.0 & ((1 << TAG_SHIFT) - 1) | tag << TAG_SHIFT)
    }

    /// Reserved blocks leave the list, `next` becomes the first (\[0059\] lines 11–12).
    #[inline]
    #[must_use]
    pub const fn popped(self, next: u32, tag_bits: u32) -> Self {
        Self::new(next, self.count(), self.state(), self.tag()).bumped(tag_bits)
    }

    /// As [`Anchor::popped`] by the thread that took the heap's last credit (\[0059\] lines 13–17): takes up to
    /// `max_credits` more, or leaves the superblock FULL. Returns the credits taken; 0 means FULL.
    #[inline]
    #[must_use]
    pub const fn popped_last(self, next: u32, max_credits: u32, tag_bits: u32) -> (Self, u32) {
        if self.count() == 0 {
            (Self::new(next, 0, State::Full, self.tag()).bumped(tag_bits), 0)
        } else {
            let more = if self.count() < max_credits { self.count() } else { max_credits };
            let count = self.count() - more;
            (Self::new(next, count, self.state(), self.tag()).bumped(tag_bits), more)
        }
    }

    /// `blocks` blocks (at most `count`) of a PARTIAL superblock leave the list (\[0069\] lines 9–18): it becomes
    /// ACTIVE with the returned credits, or FULL with 0.
    #[inline]
    #[must_use]
    pub const fn popped_partial(
        self,
        next: u32,
        blocks: u32,
        max_credits: u32,
        tag_bits: u32,
    ) -> (Self, u32) {
        let rest = self.count() - blocks;
        let credits = if rest < max_credits { rest } else { max_credits };
        let state = if rest == 0 { State::Full } else { State::Active };
        (Self::new(next, rest - credits, state, self.tag()).bumped(tag_bits), credits)
    }

    /// A chain of `blocks` blocks whose first is `first` comes back (\[0046\] lines 9–18).
    #[inline]
    pub const fn freed(
        self,
        first: u32,
        blocks: u32,
        maxcount: u32,
        tag_bits: u32,
    ) -> (Self, Freed) {
        let full = matches!(self.state(), State::Full);
        let count = if full { blocks } else { self.count() + blocks };
        // An ACTIVE superblock has a reserved block, so its count cannot become complete here.
        if count == maxcount {
            let emptied = Self::new(first, count, State::Empty, self.tag()).bumped(tag_bits);
            (emptied, if full { Freed::EmptiedFromFull } else { Freed::Emptied })
        } else if full {
            (Self::new(first, count, State::Partial, self.tag()).bumped(tag_bits), Freed::LeftFull)
        } else {
            (Self::new(first, count, self.state(), self.tag()), Freed::Counted)
        }
    }

    /// Reserved blocks go back to `count` and no heap points here any more (\[0063\] lines 5–6): PARTIAL, or EMPTY
    /// if that completes it.
    #[inline]
    #[must_use]
    pub const fn returned(self, blocks: u32, maxcount: u32, tag_bits: u32) -> Self {
        let count = self.count() + blocks;
        let state = if count == maxcount { State::Empty } else { State::Partial };
        Self::new(self.avail(), count, state, self.tag()).bumped(tag_bits)
    }

    /// A superblock taken anew by a class of `maxcount` blocks, of which the first `blocks` are handed out at once
    /// (\[0073\] lines 5–11); returns the credits. Counts as a pop: the tag survives reuse.
    #[inline]
    #[must_use]
    pub const fn initialised(
        self,
        blocks: u32,
        maxcount: u32,
        max_credits: u32,
        tag_bits: u32,
    ) -> (Self, u32) {
        let rest = maxcount - blocks;
        let credits = if rest < max_credits { rest } else { max_credits };
        (Self::new(blocks, rest - credits, State::Active, self.tag()).bumped(tag_bits), credits)
    }

    /// EMPTY with all of `maxcount` blocks free; the listing stores a count of 0 (\[0046\] line 15).
    #[inline]
    #[must_use]
    pub const fn emptied(self, maxcount: u32, tag_bits: u32) -> Self {
        Self::new(0, maxcount, State::Empty, self.tag()).bumped(tag_bits)
    }
}

impl core::fmt::Debug for Anchor {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Anchor")
            .field("avail", &self.avail())
            .field("count", &self.count())
            .field("state", &self.state())
            .field("tag", &self.tag())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Aim: fields cannot overlap. Method: every field at its extremes, all others at theirs.
    #[test]
    fn fields_do_not_overlap() {
        let ends = |bits: u32| [0, 1, (1u64 << (bits - 1)) + 1, (1 << bits) - 1];
        for avail in ends(AVAIL_BITS) {
            for count in ends(COUNT_BITS) {
                for tag in ends(Anchor::TAG_BITS) {
                    for code in 0..4 {
                        let state = State::from_code(code);
                        let anchor = Anchor::new(avail as u32, count as u32, state, tag);
                        assert_eq!(u64::from(anchor.avail()), avail);
                        assert_eq!(u64::from(anchor.count()), count);
                        assert_eq!(anchor.state(), state);
                        assert_eq!(anchor.tag(), tag);
                        assert_eq!(Anchor::from_word(anchor.word()), anchor);
                    }
                }
            }
        }
    }

    /// Aim: tags wrap within the given width and touch nothing else. Method: exhaustive for two bits and at the end
    /// of the full width.
    #[test]
    fn tags_wrap() {
        let mut anchor = Anchor::new(3, 4, State::Partial, 0);
        let tags: [u64; 5] = core::array::from_fn(|_| {
            anchor = anchor.bumped(2);
            assert_eq!((anchor.avail(), anchor.count()), (3, 4));
            anchor.tag()
        });
        assert_eq!(tags, [1, 2, 3, 0, 1]);
        let last = Anchor::new(1, 2, State::Full, (1 << Anchor::TAG_BITS) - 1);
        assert_eq!(last.bumped(Anchor::TAG_BITS), Anchor::new(1, 2, State::Full, 0));
    }

    /// Aim: `owned + reserved + count = maxcount` under every transition. Method: exhaustive over all values of
    /// superblocks of 2 to 6 blocks.
    #[test]
    fn transitions_conserve_blocks() {
        for maxcount in 2..=6u32 {
            for blocks in 1..maxcount {
                let fresh = Anchor::new(0, maxcount, State::Empty, 7);
                let (active, credits) = fresh.initialised(blocks, maxcount, 2, 36);
                assert_eq!(blocks + credits + active.count(), maxcount);
                assert!(credits >= 1 && active.state() == State::Active && active.tag() == 8);
            }
            for count in 0..maxcount {
                let active = Anchor::new(0, count, State::Active, 7);
                let (last, more) = active.popped_last(1, 2, 36);
                assert_eq!(last.count() + more, count);
                assert_eq!(last.state() == State::Full, more == 0);
                for blocks in 1..=maxcount - count {
                    let returned = active.returned(blocks, maxcount, 36);
                    assert_eq!(returned.count(), count + blocks);
                    assert_eq!(returned.state() == State::Empty, count + blocks == maxcount);
                }
            }
            for count in 1..maxcount {
                let partial = Anchor::new(0, count, State::Partial, 7);
                for blocks in 1..=count {
                    let (taken, credits) = partial.popped_partial(1, blocks, 2, 36);
                    assert_eq!(taken.count() + credits + blocks, count);
                    assert_eq!(taken.state() == State::Full, credits == 0);
                }
                for blocks in 1..=maxcount - count {
                    let (freed, what) = partial.freed(0, blocks, maxcount, 36);
                    assert_eq!(freed.count(), count + blocks);
                    assert_eq!(what == Freed::Emptied, count + blocks == maxcount);
                    assert_eq!(freed.state() == State::Empty, what == Freed::Emptied);
                }
            }
            for blocks in 1..=maxcount {
                let full = Anchor::new(0, 0, State::Full, 7);
                let (freed, what) = full.freed(1, blocks, maxcount, 36);
                assert_eq!(freed.count(), blocks);
                assert_eq!(what == Freed::EmptiedFromFull, blocks == maxcount);
                assert_eq!(what == Freed::LeftFull, blocks < maxcount);
            }
        }
    }
}
