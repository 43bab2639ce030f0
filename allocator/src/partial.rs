//! The lists of PARTIAL superblocks of a class (\[0028\], \[0044\], \[0064\]): PartialPush and PartialPop.
//!
//! Two stacks per class. A superblock that becomes EMPTY while it is in a list stays there (only a thread that takes
//! it out may retire it), and a stack would bury it. So each thread that empties one sweeps: it takes descriptors from
//! the list that is being drained, retires those that are EMPTY and pushes the others on the other list, holding one at
//! a time, until it has pushed two or looked at sixteen. New ones go to the other list, too; when the drained list is
//! empty the two swap roles. So EMPTY superblocks are found after at most half as many emptyings as the list is long,
//! with a fixed bound on the work of each (constant on average: each emptying is retired once), and a thread that
//! dies while it sweeps strands one superblock.

use core::sync::atomic::Ordering;

use crate::Core;
use crate::anchor::{Anchor, State};
use crate::descriptor::Hand;
use crate::platform::{Class, Mutant, Platform, SuperblockId, Word, point};

/// The partial lists of one class.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct PartialLists<W> {
    /// Heads of the two stacks.
    pub lists: [W; 2],
    /// Which of them is being drained, 0 or 1.
    pub drained: W,
}

/// How many descriptors a sweep looks at.
const MOST_LOOKED_AT: u32 = 16;
/// How many that are not EMPTY it moves.
const MOST_MOVED: u32 = 2;

impl<P: Platform> Core<P> {
    /// PartialPush: puts a superblock that this thread holds on the list that is not being drained.
    pub(crate) fn partial_push(&self, class: Class, id: SuperblockId, hand: Hand<'_, P>) {
        let partial = self.platform.partial(class);
        self.push(&partial.lists[self.drained(class) ^ 1], id);
        hand.put();
    }

    /// PartialPop: takes a superblock that was PARTIAL when it was pushed and may be EMPTY by now.
    pub(crate) fn partial_pop(&self, class: Class) -> Option<SuperblockId> {
        let partial = self.platform.partial(class);
        let drained = self.drained(class);
        self.pop(&partial.lists[drained]).or_else(|| self.pop(&partial.lists[drained ^ 1]))
    }

    /// Looks for EMPTY superblocks in the lists of `class` and retires them; a bounded amount of work. Whether it came
    /// to the end of the list being drained.
    pub(crate) fn sweep(&self, class: Class) -> bool {
        let partial = self.platform.partial(class);
        let mut ended = false;
        let mut moved = 0;
        for _ in 0..MOST_LOOKED_AT {
            let hand = Hand::take(self);
            let drained = self.drained(class);
            let Some(id) = self.pop(&partial.lists[drained]) else {
                // Relaxed: a hint; which list is which does not matter for correctness. Failure: swapped already.
                let _ = partial.drained.compare_exchange(
                    drained as u64,
                    drained as u64 ^ 1,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
                hand.put();
                if ended {
                    break;
                }
                ended = true;
                continue;
            };
            // Acquire: pairs with the frees' Release; what the owners of the blocks did comes before the reuse.
            let anchor =
                Anchor::from_word(self.platform.descriptor(id).anchor.load(Ordering::Acquire));
            point!(self, "sweep.read");
            if anchor.state() == State::Empty || P::MUTANT == Mutant::SweepRetiresAll {
                self.desc_retire(self.platform.shape(class).geometry, id, hand);
            } else {
                self.push(&partial.lists[drained ^ 1], id);
                hand.put();
                moved += 1;
                if moved == MOST_MOVED {
                    break;
                }
            }
        }
        ended
    }

    /// Retires the EMPTY superblocks in the lists of `class`, holding one at a time.
    pub(crate) fn retire_empty(&self, class: Class) {
        // The one list into the other, and that one, too. Each round ends: what it pushes goes to the other list.
        for _ in 0..2 {
            while !self.sweep(class) {}
        }
    }

    /// The list being drained, 0 or 1.
    fn drained(&self, class: Class) -> usize {
        // Relaxed: a hint, see `sweep`.
        (self.platform.partial(class).drained.load(Ordering::Relaxed) & 1) as usize
    }
}
