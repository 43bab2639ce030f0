//! Several lives of a superblock: its transitions can be put in order by their tags, over reuse, too.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use lfalloc::Core;
use lfalloc::anchor::{Anchor, State};
use lfalloc::platform::{Platform, Reserve, SuperblockId, Word};

use crate::machine::{Machine, Plain, Size};
use crate::scenario::{Actor, Step};

/// The tags after each of two lives of a superblock of two blocks: few enough changes that they do not wrap.
///
/// # Panics
/// If a life does not end.
#[must_use]
pub fn tags<const MUTANT: usize>() -> [u64; 2] {
    let size = Size {
        blocks: &[2],
        heaps: 1,
        superblocks: 1,
        run: 1,
        reserve: Reserve { high: 1, low: 0 },
    };
    let core = Arc::new(Core::new(Machine::<Plain, MUTANT>::new(size, None)));
    let mut actor = Actor::new(&core);
    let anchor = || {
        let word = &core.platform().descriptor(SuperblockId(0)).anchor;
        Anchor::from_word(word.load(Ordering::Relaxed))
    };
    [(); 2].map(|()| {
        actor.play(&[Step::Malloc(0), Step::Free, Step::Purge(0)]);
        assert_eq!(anchor().state(), State::Empty);
        anchor().tag()
    })
}

/// What is wrong with them.
#[must_use]
pub fn fault<const MUTANT: usize>() -> Option<String> {
    // Each life: initialised, emptied.
    let tags = tags::<MUTANT>();
    (tags != [2, 4]).then(|| format!("the tags do not go on: {tags:?}"))
}
