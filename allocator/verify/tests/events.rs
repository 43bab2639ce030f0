//! Aim: the transitions of a superblock can be put in order by their tags, over reuse, too. Method: one superblock
//! through several lives on a model machine, with few enough changes that the tags do not wrap.

use std::sync::Arc;

use lfalloc::Core;
use lfalloc::anchor::{Anchor, State};
use lfalloc::platform::{Platform, Reserve, SuperblockId, Word};
use lfalloc_verify::explore::fault;
use lfalloc_verify::machine::{MUTANTS, Machine, Plain, Size};
use lfalloc_verify::scenario::{Actor, Step};

const TAG_RESET_ON_REUSE: usize = 2;

/// The tags after each of two lives of a superblock of two blocks.
fn tags<const MUTANT: usize>() -> [u64; 2] {
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
        Anchor::from_word(word.load(std::sync::atomic::Ordering::Relaxed))
    };
    [(); 2].map(|()| {
        actor.play(&[Step::Malloc(0), Step::Free, Step::Purge(0)]);
        assert_eq!(anchor().state(), State::Empty);
        anchor().tag()
    })
}

#[test]
fn the_tag_survives_reuse() {
    // Each life: initialised, emptied.
    assert_eq!(tags::<0>(), [2, 4]);
}

#[test]
fn tag_reset_on_reuse_dies() {
    assert_eq!(format!("{:?}", MUTANTS[TAG_RESET_ON_REUSE]), "TagResetOnReuse");
    assert!(fault(|| assert_eq!(tags::<TAG_RESET_ON_REUSE>(), [2, 4])).is_some());
}
