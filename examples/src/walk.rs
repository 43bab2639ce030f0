//! A walk along every edge of the superblock state diagram, in one thread and without luck.
//!
//! It uses a class of 8 blocks on a heap of its own, so that nothing else blurs the picture; and where the diagram
//! needs two threads (UpdateActive loses only if another thread installs a superblock at the right moment), the
//! other operation runs *inside* the first, at that point, just as a signal's handler could.
//!
//! Shared by the `transitions` example and by `lfinspect demo`.

use std::ptr::NonNull;
use std::time::Duration;

use lfalloc::observe::{Cause, State};
use lfalloc::study::Study;

use crate::scenery::Scenery;

/// Bytes of a block: a class of 8 blocks in a superblock of 64 KiB.
pub const BLOCK_BYTES: usize = 8 << 10;
/// Blocks of a superblock of that class.
pub const BLOCKS: usize = 8;
/// The heap the walk uses: the last one, which only the 64th processor would share.
const HEAP: usize = 63;

/// Every edge of the state diagram with the procedure that follows it.
pub const EDGES: &[(State, State, Cause)] = &[
    (State::Empty, State::Active, Cause::MallocFromNewSb),
    (State::Active, State::Full, Cause::MallocFromActive),
    (State::Full, State::Partial, Cause::Free),
    (State::Partial, State::Full, Cause::MallocFromPartial),
    (State::Partial, State::Active, Cause::MallocFromPartial),
    (State::Active, State::Partial, Cause::UpdateActive),
    (State::Partial, State::Empty, Cause::Free),
    (State::Full, State::Empty, Cause::FreeBatch),
    (State::Active, State::Partial, Cause::Purge),
    (State::Active, State::Empty, Cause::Purge),
];

/// What a narrator is told before each step.
pub type Narrator = Box<dyn FnMut(&str)>;

/// The walk.
pub struct Walk {
    pace: Duration,
    narrator: Option<Narrator>,
    scenery: Option<Scenery>,
    held: Vec<NonNull<u8>>,
}

impl std::fmt::Debug for Walk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Walk").field("pace", &self.pace).finish_non_exhaustive()
    }
}

impl Walk {
    /// A walk that waits for `pace` after each step.
    #[must_use]
    pub fn new(pace: Duration) -> Self {
        Self { pace, narrator: None, scenery: None, held: Vec::new() }
    }

    /// The same with a narrator, who is told of each step before it is made.
    #[must_use]
    pub fn narrated(mut self, narrator: Narrator) -> Self {
        self.narrator = Some(narrator);
        self
    }

    /// The same with life in other classes around it: some thousand blocks that come and go at every step.
    #[must_use]
    pub fn with_scenery(mut self) -> Self {
        self.scenery = Some(Scenery::new());
        self
    }

    /// Walks along every edge of [`EDGES`] once, and frees all it used.
    ///
    /// # Errors
    /// When the system gives no memory, with the step it was needed for.
    pub fn run_once(&mut self) -> Result<(), String> {
        let result = self.walk();
        // Nothing of a walk that failed may stand in the way of the next one.
        let study = Study::on_heap(HEAP);
        for block in self.held.drain(..) {
            // SAFETY: allocated by the walk, and held by nobody else.
            let _ = unsafe { study.free(block) };
        }
        study.purge(BLOCK_BYTES);
        result
    }

    fn walk(&mut self) -> Result<(), String> {
        let study = Study::on_heap(HEAP);
        self.step("malloc: the heap has no active superblock, so MallocFromNewSB takes an EMPTY one: EMPTY → ACTIVE");
        self.malloc(&study)?;
        self.step("malloc ×7: MallocFromActive takes the last credit, and no block is left: ACTIVE → FULL");
        for _ in 1..BLOCKS {
            self.malloc(&study)?;
        }
        self.step("free: the first block to come back makes it FULL → PARTIAL, and it goes to the class's list");
        self.free(&study);
        self.step("malloc: MallocFromPartial takes it from the list for its one free block: PARTIAL → FULL");
        self.malloc(&study)?;
        self.step("free ×2, malloc: MallocFromPartial takes one block and keeps the other as a credit: PARTIAL → ACTIVE");
        self.free(&study);
        self.free(&study);
        self.malloc(&study)?;
        self.step("free, malloc: while the last credit is being renewed another malloc installs a superblock; UpdateActive loses: ACTIVE → PARTIAL");
        self.free(&study);
        self.lose_update_active()?;
        self.step("free all: the last block to come back makes it PARTIAL → EMPTY, and a sweep retires it");
        // The last block held is the interrupting malloc's, of the other superblock.
        let other = self.held.pop();
        self.free_all(&study);
        self.held.extend(other);
        self.step("malloc ×7: the other superblock becomes FULL, too");
        while self.held.len() < BLOCKS {
            self.malloc(&study)?;
        }
        self.step("batch free of all its blocks at once: FULL → EMPTY");
        // SAFETY: allocated by the walk, all of one superblock, and held by nobody else.
        if !unsafe { study.free_batch(&self.held) } {
            return Err("the blocks to be freed at once are not of one superblock".to_owned());
        }
        self.held.clear();
        self.step("malloc, purge: the superblock is taken out of its heap, its credits return to it: ACTIVE → PARTIAL");
        self.malloc(&study)?;
        study.purge(BLOCK_BYTES);
        self.step("free: PARTIAL → EMPTY");
        self.free(&study);
        self.step("malloc, free, purge: all blocks of an ACTIVE superblock are free, nobody would look there: ACTIVE → EMPTY");
        self.malloc(&study)?;
        self.free(&study);
        study.purge(BLOCK_BYTES);
        self.step("the walk is complete");
        Ok(())
    }

    /// A malloc that, just before it would install the superblock it has renewed, is interrupted by another malloc
    /// on the same heap. Holds both blocks, the interrupting malloc's last.
    fn lose_update_active(&mut self) -> Result<(), String> {
        let interrupting = Study::on_heap(HEAP);
        let second = std::cell::Cell::new(None);
        let hook = |point: &'static str| {
            if point == "update_active.before_install" && second.get().is_none() {
                second.set(interrupting.malloc(BLOCK_BYTES));
            }
        };
        let first = Study::with_hook(HEAP, &hook).malloc(BLOCK_BYTES);
        self.held.extend(first);
        self.held.extend(second.get());
        match (first, second.get()) {
            (Some(_), Some(_)) => Ok(()),
            _ => Err("no memory for the malloc that interrupts another".to_owned()),
        }
    }

    fn malloc(&mut self, study: &Study<'_>) -> Result<(), String> {
        let block = study.malloc(BLOCK_BYTES).ok_or("no memory for a block of 8 KiB")?;
        // SAFETY: just allocated, and larger than that.
        unsafe { block.write_bytes(0x5A, BLOCK_BYTES) };
        self.held.push(block);
        Ok(())
    }

    /// Frees the block held longest: the last ones are of the superblock that came last.
    fn free(&mut self, study: &Study<'_>) {
        if !self.held.is_empty() {
            let block = self.held.remove(0);
            // SAFETY: allocated by the walk, and held by nobody else.
            let _ = unsafe { study.free(block) };
        }
    }

    fn free_all(&mut self, study: &Study<'_>) {
        while !self.held.is_empty() {
            self.free(study);
        }
    }

    fn step(&mut self, text: &str) {
        if let Some(scenery) = &mut self.scenery {
            scenery.churn();
        }
        if let Some(narrator) = &mut self.narrator {
            narrator(text);
        }
        if !self.pace.is_zero() {
            std::thread::sleep(self.pace);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lfalloc::observe::{Transition, TransitionCursor};

    /// Aim: the walk follows every edge, by the procedure it names, and legally per superblock. Method: read the
    /// transitions of three walks and compare.
    #[test]
    fn follows_every_edge() {
        let mut cursor = TransitionCursor::now();
        let mut walk = Walk::new(Duration::ZERO);
        for _ in 0..3 {
            walk.run_once().unwrap();
        }
        let mut events = vec![Transition::NOTHING; 4096];
        let (count, missed) = cursor.read(&mut events);
        assert_eq!(missed, 0);
        events.truncate(count);
        for edge in EDGES {
            let times =
                events.iter().filter(|event| (event.from, event.to, event.cause) == *edge).count();
            assert!(times >= 3, "{edge:?} was followed {times} times");
        }
        events.sort_by_key(|event| (event.superblock, event.tag));
        for pair in events.windows(2) {
            if pair[0].superblock == pair[1].superblock {
                assert_eq!(pair[0].to, pair[1].from, "{pair:?}");
            }
        }
    }
}
