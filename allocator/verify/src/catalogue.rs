//! The named races, how each is explored, and the seeded faults that each must find.

use lfalloc::platform::{Mutant, Reserve};

use crate::explore::{self, Explored};
use crate::machine::{MUTANTS, Size};
use crate::scenario::Step::{Batch, Free, FreeBatch, Give, Heap, Malloc, Purge, Release};
use crate::scenario::{Scenario, Step};

/// Two superblocks of five blocks: the least that shows an ABA of the anchor.
const FIVE: Size =
    Size { blocks: &[5], heaps: 1, superblocks: 2, run: 1, reserve: Reserve { high: 0, low: 0 } };
const THREE: Size = Size { blocks: &[3], ..FIVE };
const TWO: Size = Size { blocks: &[2], ..FIVE };

/// A reservation is popped while others pop and free: the anchor comes back with the same first block and count.
pub const RESERVE_AGAINST_POP: Scenario = Scenario {
    name: "reserve against pop",
    size: FIVE,
    setup: &[Malloc(0)],
    threads: &[&[Malloc(0)], &[Malloc(0), Malloc(0), Free]],
};

/// The last credit is taken while a block comes back: FULL, or more credits.
pub const LAST_CREDIT_AGAINST_FREE: Scenario = Scenario {
    name: "last credit against free",
    size: FIVE,
    setup: &[Malloc(0), Malloc(0), Malloc(0), Malloc(0), Give(1)],
    threads: &[&[Malloc(0)], &[Free, Malloc(0)]],
};

/// Two frees into a FULL superblock: one makes it PARTIAL and must push it only then; a third thread looks for it.
pub const FULL_TO_PARTIAL_BEFORE_PUSH: Scenario = Scenario {
    name: "FULL to PARTIAL before the push",
    size: FIVE,
    setup: &[Malloc(0), Malloc(0), Malloc(0), Malloc(0), Malloc(0), Give(0), Give(1)],
    threads: &[&[Free], &[Free], &[Malloc(0)]],
};

/// Two threads free the two blocks of a FULL superblock: one is about to push what the other empties.
pub const EMPTY_BEFORE_PUSH: Scenario = Scenario {
    name: "EMPTY before the push",
    size: TWO,
    setup: &[Malloc(0), Malloc(0), Give(0), Give(1)],
    threads: &[&[Free, Malloc(0)], &[Free, Malloc(0)]],
};

/// A superblock in a list is emptied while another thread takes it out.
pub const EMPTY_AGAINST_PARTIAL_POP: Scenario = Scenario {
    name: "EMPTY against PartialPop",
    size: TWO,
    setup: &[Malloc(0), Malloc(0), Free],
    threads: &[&[Free], &[Malloc(0), Malloc(0)]],
};

/// As before, with three blocks, so that the superblock is PARTIAL again when its link is read.
pub const EMPTY_AGAINST_LINK_READ: Scenario = Scenario {
    name: "EMPTY against a link read before anything is reserved",
    size: Size { superblocks: 3, ..THREE },
    setup: &[Malloc(0), Malloc(0), Malloc(0), Free, Free, Give(1)],
    threads: &[&[Malloc(0)], &[Free], &[Malloc(0)]],
};

/// The credits of the last malloc are renewed while another malloc installs a superblock: UpdateActive loses, or
/// MallocFromNewSB does.
pub const LOST_UPDATE_ACTIVE: Scenario = Scenario {
    name: "lost UpdateActive",
    size: FIVE,
    setup: &[Malloc(0), Malloc(0), Malloc(0), Malloc(0), Free],
    threads: &[&[Malloc(0)], &[Malloc(0), Malloc(0)]],
};

/// A retired superblock is used again, by another class, while its old one allocates.
pub const DESCRIPTOR_REUSE: Scenario = Scenario {
    name: "descriptor reuse",
    size: Size { blocks: &[3, 2], superblocks: 3, ..FIVE },
    setup: &[Malloc(1), Malloc(1)],
    threads: &[&[FreeBatch(2), Malloc(0)], &[Malloc(0), Malloc(1)]],
};

/// A superblock that was used before is published: nobody may see the marks of its former life.
pub const REUSE_IS_PUBLISHED: Scenario = Scenario {
    name: "reuse is published",
    size: Size { reserve: Reserve { high: 2, low: 1 }, superblocks: 1, ..THREE },
    setup: &[Malloc(0), Malloc(0), Malloc(0), Free, Free, Free],
    threads: &[&[Malloc(0)], &[Malloc(0)]],
};

/// A superblock that was used before is published for another class: whoever gets a block of it can look up which.
pub const CLASS_CHANGE: Scenario = Scenario {
    name: "another class",
    size: Size { blocks: &[3, 3], reserve: Reserve { high: 2, low: 1 }, superblocks: 1, ..THREE },
    setup: &[Malloc(1), Free, Purge(1)],
    threads: &[&[Malloc(0)], &[Malloc(0)]],
};

/// The head of a list leaves, its successor leaves, and the head comes back while a thread holds the old link.
pub const LIST_ABA: Scenario = Scenario {
    name: "list ABA",
    size: Size {
        blocks: &[2],
        heaps: 3,
        superblocks: 4,
        run: 4,
        reserve: Reserve { high: 0, low: 0 },
    },
    setup: &[Malloc(0), Malloc(0)],
    threads: &[&[Malloc(0)], &[Heap(1), Malloc(0), Heap(2), Malloc(0), Free, Heap(1), Purge(0)]],
};

/// A batch is popped while a single reservation is.
pub const BATCH_POP: Scenario = Scenario {
    name: "batch pop",
    size: FIVE,
    setup: &[Malloc(0)],
    threads: &[&[Malloc(0)], &[Batch(0, 2), Free]],
};

/// A batch completes a FULL superblock while another thread allocates.
pub const BATCH_FREE_COMPLETES: Scenario = Scenario {
    name: "batch free completes a FULL superblock",
    size: THREE,
    setup: &[Malloc(0), Malloc(0), Malloc(0)],
    threads: &[&[FreeBatch(3)], &[Malloc(0), Malloc(0)]],
};

/// A batch and a single free race for the last place.
pub const BATCH_FREE_AGAINST_FREE: Scenario = Scenario {
    name: "batch free against free",
    size: THREE,
    setup: &[Malloc(0), Malloc(0), Malloc(0), Give(1)],
    threads: &[&[FreeBatch(2)], &[Free, Malloc(0)]],
};

/// An active superblock is taken out of its heap while others reserve and free.
pub const PURGE_AGAINST_MALLOC: Scenario = Scenario {
    name: "purge against malloc",
    size: FIVE,
    setup: &[Malloc(0)],
    threads: &[&[Purge(0)], &[Malloc(0), Free]],
};

/// A block freed by one thread is popped by another: its link and its mark are seen.
pub const REMOTE_FREE: Scenario = Scenario {
    name: "remote free",
    size: FIVE,
    setup: &[Malloc(0), Malloc(0)],
    threads: &[&[Free], &[Malloc(0), Malloc(0)]],
};

/// All but one block are free, and that one is reserved.
pub const RESERVED_IS_NOT_EMPTY: Scenario = Scenario {
    name: "a reserved block keeps the superblock",
    size: THREE,
    setup: &[Malloc(0), Malloc(0)],
    threads: &[&[Free, Free], &[Malloc(0), Malloc(0)]],
};

/// Superblocks are emptied, and the third sweep meets one that is PARTIAL.
pub const SWEEP: Scenario = Scenario {
    name: "sweep meets PARTIAL",
    size: Size { superblocks: 4, ..TWO },
    setup: &[
        Malloc(0),
        Malloc(0),
        Malloc(0),
        Malloc(0),
        Malloc(0),
        Malloc(0),
        Malloc(0),
        Malloc(0),
        Free,
        Free,
        Give(0),
        Give(0),
        Give(1),
        Give(1),
        Give(0),
        Give(0),
    ],
    threads: &[&[Free, Free, Free, Free], &[Free, Malloc(0)]],
};

/// Retired superblocks go back to the system, addresses included, while others are retired and taken.
pub const RELEASE: Scenario = Scenario {
    name: "release against reuse",
    size: Size { superblocks: 2, reserve: Reserve { high: 1, low: 0 }, ..TWO },
    setup: &[Malloc(0), Malloc(0), Malloc(0), Malloc(0), Free, Free, Give(1), Give(1)],
    threads: &[&[Release, Malloc(0)], &[FreeBatch(2), Malloc(0)]],
};

/// Everything at once, for long random runs.
pub const MEDLEY: Scenario = Scenario {
    name: "medley",
    size: Size {
        blocks: &[5, 2],
        heaps: 2,
        superblocks: 5,
        run: 2,
        reserve: Reserve { high: 2, low: 1 },
    },
    setup: &[Malloc(0), Malloc(0), Malloc(1), Give(1), Give(2)],
    threads: &[
        &[Malloc(0), Malloc(0), Free, Batch(0, 3), FreeBatch(2), Free],
        &[Free, Malloc(1), Heap(1), Malloc(0), Free, Purge(0)],
        &[Malloc(1), Malloc(1), Free, Free, Purge(1), Release, Malloc(0)],
        &[Heap(1), Batch(0, 4), FreeBatch(4), Malloc(1), Malloc(0), Step::FreeNewest],
    ],
};

/// Threads that fight for one heap, for long random runs.
pub const CROWD: Scenario = Scenario {
    name: "crowd",
    size: Size { superblocks: 4, ..THREE },
    setup: &[Malloc(0), Malloc(0), Malloc(0), Malloc(0), Give(0), Give(1), Give(2), Give(3)],
    threads: &[
        &[Free, Malloc(0), Malloc(0), Free, Malloc(0), Free],
        &[Malloc(0), Free, Free, Malloc(0), Malloc(0), Free],
        &[Batch(0, 2), FreeBatch(3), Malloc(0), Free, Purge(0), Malloc(0)],
        &[Free, Purge(0), Release, Malloc(0), Batch(0, 3), FreeBatch(2), Free],
    ],
};

/// The races that loom explores, with the bound on preemptions.
pub const LOOM: &[(Scenario, usize)] = &[
    (RESERVE_AGAINST_POP, 4),
    (LAST_CREDIT_AGAINST_FREE, 4),
    (FULL_TO_PARTIAL_BEFORE_PUSH, 2),
    (EMPTY_BEFORE_PUSH, 3),
    (EMPTY_AGAINST_PARTIAL_POP, 4),
    (EMPTY_AGAINST_LINK_READ, 2),
    (LOST_UPDATE_ACTIVE, 4),
    (DESCRIPTOR_REUSE, 4),
    (REUSE_IS_PUBLISHED, 4),
    (CLASS_CHANGE, 4),
    (LIST_ABA, 3),
    (BATCH_POP, 4),
    (BATCH_FREE_COMPLETES, 4),
    (BATCH_FREE_AGAINST_FREE, 3),
    (PURGE_AGAINST_MALLOC, 4),
    (REMOTE_FREE, 4),
    (RESERVED_IS_NOT_EMPTY, 4),
    (SWEEP, 3),
    (RELEASE, 3),
];

/// How a seeded fault is found.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// Under loom with that bound on preemptions.
    Loom(usize),
    /// By interrupting the first thread at each of its points.
    Interrupted,
}

/// A seeded fault and the race that must find it.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    /// The fault.
    pub mutant: Mutant,
    /// The race.
    pub race: Scenario,
    /// How.
    pub way: Way,
}

const fn kill(mutant: Mutant, race: Scenario, way: Way) -> Kill {
    Kill { mutant, race, way }
}

/// Each fault with the race that finds it.
pub const KILLS: &[Kill] = &[
    kill(Mutant::TagKept, RESERVE_AGAINST_POP, Way::Loom(2)),
    kill(Mutant::ListTagKept, LIST_ABA, Way::Loom(2)),
    kill(Mutant::RetireUnheld, EMPTY_BEFORE_PUSH, Way::Loom(2)),
    kill(Mutant::PrintedRetireAndRead, EMPTY_AGAINST_LINK_READ, Way::Loom(2)),
    kill(Mutant::TouchAfterEmpty, EMPTY_AGAINST_PARTIAL_POP, Way::Interrupted),
    kill(Mutant::CreditsLost, LOST_UPDATE_ACTIVE, Way::Loom(2)),
    kill(Mutant::CountOffByOne, FULL_TO_PARTIAL_BEFORE_PUSH, Way::Loom(2)),
    kill(Mutant::LinkRelaxed, REMOTE_FREE, Way::Loom(2)),
    kill(Mutant::PublishRelaxed, REUSE_IS_PUBLISHED, Way::Loom(2)),
    kill(Mutant::EmptyWhileReserved, RESERVED_IS_NOT_EMPTY, Way::Loom(2)),
    kill(Mutant::PushBeforePartial, FULL_TO_PARTIAL_BEFORE_PUSH, Way::Loom(2)),
    kill(Mutant::StrandCompleted, BATCH_FREE_COMPLETES, Way::Loom(2)),
    kill(Mutant::SweepRetiresAll, SWEEP, Way::Loom(2)),
    kill(Mutant::LoserForgets, LOST_UPDATE_ACTIVE, Way::Loom(2)),
    kill(Mutant::MarkAfterFree, REMOTE_FREE, Way::Loom(2)),
    kill(Mutant::PurgeLosesOne, PURGE_AGAINST_MALLOC, Way::Loom(2)),
    kill(Mutant::BatchTagKept, BATCH_POP, Way::Loom(2)),
    kill(Mutant::ClassAfterInstall, CLASS_CHANGE, Way::Loom(2)),
];

impl Kill {
    /// Runs the race on the faulty core; what fault it found.
    #[must_use]
    pub fn run(&self) -> Option<String> {
        let (race, way) = (self.race, self.way);
        explore::fault(move || {
            let _ = explore_mutant(self.mutant, race, way);
        })
    }
}

/// Explores `race` on the core with `mutant`.
///
/// # Panics
/// If a fault is found, or the mutant is not in [`MUTANTS`].
#[must_use]
pub fn explore_mutant(mutant: Mutant, race: Scenario, way: Way) -> Explored {
    macro_rules! dispatch {
        ($($number:literal)*) => {
            match MUTANTS.iter().position(|known| *known == mutant) {
                $(Some($number) => match way {
                    Way::Loom(preemptions) => explore::loom::<$number>(race, preemptions),
                    Way::Interrupted => explore::interrupted::<$number>(race),
                },)*
                _ => panic!("{mutant:?} is not in the list of mutants"),
            }
        };
    }
    dispatch!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19)
}
