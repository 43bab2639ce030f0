//! The operations in which the victim is frozen and killed: a set-up, then calls until one leads where it should.

use super::api::Api;
use super::{held, processors};

/// The call itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    Malloc(usize),
    Calloc(usize),
    Aligned(usize, usize),
    /// `posix_memalign(3)`.
    Memalign(usize, usize),
    /// Of the block that is held first.
    Free,
    /// Of the block that is held last.
    Realloc(usize),
    Trim,
    Look,
}

/// An operation.
#[derive(Clone, Copy)]
pub struct Operation {
    /// What it is called.
    pub name: &'static str,
    pub(super) set_up: fn(&Api),
    pub(super) call: Call,
    /// The function that the call must come to: calls before, which do not, belong to the set-up.
    pub(super) leads_to: Option<&'static str>,
    /// Functions that it must not come to.
    pub(super) not_to: &'static [&'static str],
    pub(super) environment: &'static [(&'static str, &'static str)],
    /// The library is opened by dlopen(3), and this is the first call of it in the process: nothing is made ready.
    pub(super) is_first: bool,
    /// It takes so many steps that a sample leaves it out.
    pub is_long: bool,
    /// What a thread that dies in it may take with it.
    pub(super) bound: Bound,
}

/// What a dead thread may strand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    /// Bytes that stay mapped.
    pub(super) bytes: u64,
    /// Of these, what the call's own blocks keep: without anything in hand no more may stay.
    pub(super) own_bytes: u64,
}

const fn bound(bytes: u64, own_bytes: u64) -> Bound {
    Bound { bytes, own_bytes }
}

const SUPERBLOCK: u64 = 64 << 10;
const MIDDLE_SUPERBLOCK: u64 = 1 << 20;
/// The mappings of large blocks: `LARGE`, and four times that.
const LARGE_BYTES: u64 = 5 * SUPERBLOCK;
const FOURFOLD_BYTES: u64 = 20 * SUPERBLOCK;

impl Bound {
    const NOTHING: Self = bound(0, 0);
    /// A superblock.
    const ONE: Self = bound(SUPERBLOCK, SUPERBLOCK);
    /// A superblock, and two batches: a batch of 64-byte blocks that were allocated one after the other lies in two superblocks.
    const BATCHES: Self = bound(5 * SUPERBLOCK, SUPERBLOCK);
    /// A run of superblocks that is mapped and not published yet: addresses, which were never touched.
    const RUN: Self = bound(RUN_BYTES + SUPERBLOCK, SUPERBLOCK);
    /// The same of superblocks of 1 MiB; batches are single blocks.
    const MIDDLE_RUN: Self = bound((4 << 20) + MIDDLE_SUPERBLOCK, MIDDLE_SUPERBLOCK);
    /// Two calls in one: a block of one class, and of another.
    const TWO: Self = bound(RUN_BYTES + 5 * SUPERBLOCK, 2 * SUPERBLOCK);
    /// The first call of all: a run, and a leaf of the map of pages (640 KiB).
    const FIRST: Self = bound(RUN_BYTES + SUPERBLOCK + (640 << 10), SUPERBLOCK);
    const LARGE: Self = bound(LARGE_BYTES, LARGE_BYTES);

    const fn large(bytes: u64) -> Self {
        bound(bytes, bytes)
    }
}

/// Of superblocks of 64 KiB, as soon as 8 MiB of them are mapped and huge pages are wanted; half of it before.
const RUN_BYTES: u64 = 2 << 20;

/// Sizes that are asked for: a class with superblocks of 64 KiB, with superblocks of 1 MiB, a large block.
const SMALL: usize = 64;
const MIDDLE: usize = 40_000;
const LARGE: usize = 300_000;
/// Classes that nothing else uses.
const APART: usize = 48;
const OTHER: usize = 80;
/// Blocks of `SMALL` in a superblock.
const IN_SUPERBLOCK: usize = 1024;
/// Two superblocks for this many calls: with magazines the map is reached soon.
const EIGHTH: usize = 8_192;

impl Operation {
    /// Of blocks of that size.
    pub(super) fn size(&self) -> usize {
        match self.call {
            Call::Malloc(size) | Call::Calloc(size) | Call::Realloc(size) => size,
            Call::Aligned(align, size) | Call::Memalign(align, size) => size.max(align),
            Call::Free | Call::Trim | Call::Look => SMALL,
        }
    }
}

// A thread that is stepped is slow: without `NEVER`, intervals would end in the middle of anything.
const NEVER: (&str, &str) = ("LFALLOC_PURGE_MS", "0");
const ON: &[(&str, &str)] = &[NEVER];
const OFF: &[(&str, &str)] = &[NEVER, ("LFALLOC_MAGAZINES", "0")];
const COLD: &[(&str, &str)] = &[NEVER, ("LFALLOC_KEEP_LARGE", "0")];
const HASTY: &[(&str, &str)] = &[("LFALLOC_PURGE_MS", "1")];

const fn operation(name: &'static str, set_up: fn(&Api), call: Call, bound: Bound) -> Operation {
    let (leads_to, not_to): (_, &[&str]) = (None, &[]);
    Operation {
        name,
        set_up,
        call,
        leads_to,
        not_to,
        environment: ON,
        is_first: false,
        is_long: false,
        bound,
    }
}

impl Operation {
    const fn to(mut self, function: &'static str) -> Self {
        self.leads_to = Some(function);
        self
    }

    const fn not(mut self, functions: &'static [&'static str]) -> Self {
        self.not_to = functions;
        self
    }

    const fn under(mut self, environment: &'static [(&'static str, &'static str)]) -> Self {
        self.environment = environment;
        self
    }

    const fn long(mut self) -> Self {
        self.is_long = true;
        self
    }

    const fn first(mut self) -> Self {
        self.is_first = true;
        self
    }
}

fn nothing(_: &Api) {}

/// Allocates so many blocks and frees them: they lie in magazine and depot.
fn through(api: &Api, count: usize, size: usize) {
    held::add(api, count, size);
    held::free_all(api);
}

/// Superblocks of which every second block is free, all of them in their superblocks.
fn half_full(api: &Api) {
    held::add(api, 4 * IN_SUPERBLOCK, SMALL);
    held::free_each(api, 2);
    api.purge();
}

fn something_of_everything(api: &Api) {
    for (count, size) in [(2_000, SMALL), (300, 1_000), (20, EIGHTH), (5, MIDDLE), (3, LARGE)] {
        held::add(api, count, size);
    }
    held::free_all(api);
}

fn interval_is_over(api: &Api) {
    something_of_everything(api);
    held::add(api, 1, LARGE);
    std::thread::sleep(std::time::Duration::from_millis(5));
}

fn from_another_processor(api: &Api) {
    processors::stay_on_other();
    held::add(api, 10, SMALL);
    processors::stay_on_first();
}

/// Of the allocator's own functions; the others are named by the C library.
const MAP_RUN: &str = "Platform::map";

/// All of them.
pub const OPERATIONS: &[Operation] = &[
    operation("first call ever: malloc", nothing, Call::Malloc(SMALL), Bound::FIRST)
        .to("magazine::decide")
        .first(),
    operation(
        "malloc: from the magazine",
        |api| through(api, 4, SMALL),
        Call::Malloc(SMALL),
        Bound::ONE,
    )
    .not(&["front::allocate"]),
    operation(
        "malloc: magazine empty, from the depot",
        |api| through(api, 1_500, SMALL),
        Call::Malloc(SMALL),
        Bound::BATCHES,
    )
    .to("front::allocate")
    .not(&["front::refill_from_core"]),
    operation(
        "malloc: depot empty, from the active superblock",
        |api| held::add(api, 1, SMALL),
        Call::Malloc(SMALL),
        Bound::BATCHES,
    )
    .to("front::refill_from_core")
    .not(&["malloc_slow"]),
    operation("malloc: from a partial superblock", half_full, Call::Malloc(SMALL), Bound::BATCHES)
        .to("malloc_slow")
        .not(&[MAP_RUN]),
    operation(
        "malloc: from an EMPTY superblock",
        |api| through(api, 20_000, APART),
        Call::Malloc(OTHER),
        Bound::BATCHES,
    )
    .to("malloc_slow")
    .not(&[MAP_RUN]),
    operation("malloc: from a new superblock", nothing, Call::Malloc(EIGHTH), Bound::RUN)
        .to(MAP_RUN),
    operation(
        "malloc: of 1 MiB superblocks, magazine empty",
        nothing,
        Call::Malloc(MIDDLE),
        Bound::MIDDLE_RUN,
    )
    .to("malloc_slow"),
    operation("malloc: large, new", nothing, Call::Malloc(LARGE), Bound::LARGE)
        .to("linux::map_with"),
    operation(
        "malloc: large, kept with its pages",
        |api| through(api, 1, LARGE),
        Call::Malloc(LARGE),
        Bound::LARGE,
    )
    .to("large::allocate|stock::allocate")
    .not(&["linux::map_with"]),
    operation(
        "malloc: large, kept as addresses",
        |api| through(api, 1, LARGE),
        Call::Malloc(LARGE),
        Bound::LARGE,
    )
    .to("large::allocate|stock::allocate")
    .not(&["linux::map_with"])
    .under(COLD),
    operation(
        "calloc: from the magazine",
        |api| through(api, 4, SMALL),
        Call::Calloc(SMALL),
        Bound::ONE,
    )
    .not(&["front::allocate"]),
    operation(
        "calloc: large, kept with its pages",
        |api| through(api, 1, 5 << 20),
        Call::Calloc(5 << 20),
        Bound::large(5 << 20),
    )
    .to("large::allocate|stock::allocate"),
    operation("aligned_alloc: 256, magazine empty", nothing, Call::Aligned(256, 1_024), Bound::RUN)
        .to("front::allocate"),
    operation(
        "posix_memalign: page, magazine empty",
        nothing,
        Call::Memalign(4_096, 5_000),
        Bound::RUN,
    )
    .to("front::allocate"),
    operation(
        "aligned_alloc: 128 KiB, large",
        nothing,
        Call::Aligned(1 << 17, 1 << 18),
        Bound::large(1 << 18),
    )
    .to("large::allocate|stock::allocate"),
    operation("free: to the magazine", |api| held::add(api, 4, SMALL), Call::Free, Bound::ONE)
        .not(&["by_address::free_slow"]),
    operation(
        "free: magazine full, to the depot",
        |api| held::add(api, 1_500, SMALL),
        Call::Free,
        Bound::BATCHES,
    )
    .to("front::free_slow")
    .not(&["front::to_core"]),
    operation(
        "free: depot full, to the superblocks",
        |api| held::add(api, 6_000, SMALL),
        Call::Free,
        Bound::BATCHES,
    )
    .to("front::to_core"),
    operation(
        "free: large, kept with its pages",
        |api| held::add(api, 1, LARGE),
        Call::Free,
        Bound::LARGE,
    )
    .to("stock::release")
    .not(&["stock::cool", "stock::unmap"]),
    operation(
        "free: large, kept as addresses",
        |api| held::add(api, 1, LARGE),
        Call::Free,
        Bound::LARGE,
    )
    .to("stock::cool")
    .under(COLD),
    operation(
        "free: large, unmapped",
        |api| held::add(api, 1, 40 << 20),
        Call::Free,
        Bound::large(40 << 20),
    )
    .to("stock::unmap"),
    operation("free: at the end of an interval", interval_is_over, Call::Free, Bound::LARGE)
        .to("decay::end_interval|decay::give_back_ours")
        .under(HASTY),
    operation("realloc: in place", |api| held::add(api, 1, 60), Call::Realloc(SMALL), Bound::ONE)
        .not(&["by_address::move_small"]),
    operation(
        "realloc: to another class",
        |api| held::add(api, 1, SMALL),
        Call::Realloc(200),
        Bound::TWO,
    )
    .to("by_address::move_small"),
    operation(
        "realloc: small to large",
        |api| held::add(api, 1, 1_000),
        Call::Realloc(LARGE),
        Bound::large(LARGE_BYTES + SUPERBLOCK),
    )
    .to("large::allocate|stock::allocate"),
    operation(
        "realloc: large, in place",
        |api| held::add(api, 1, LARGE),
        Call::Realloc(LARGE + 10_000),
        Bound::LARGE,
    )
    .to("resize::resize"),
    operation(
        "realloc: large, pages moved",
        |api| held::add(api, 2, LARGE),
        Call::Realloc(4 * LARGE),
        Bound::large(LARGE_BYTES + FOURFOLD_BYTES),
    )
    .to("resize::resize"),
    operation(
        "realloc: large, to one that is kept",
        |api| {
            through(api, 1, 4 * LARGE);
            held::add(api, 1, LARGE);
        },
        Call::Realloc(4 * LARGE),
        Bound::large(LARGE_BYTES + FOURFOLD_BYTES),
    )
    .to("resize::resize"),
    operation(
        "realloc: large, shrinks",
        |api| held::add(api, 1, 5 << 20),
        Call::Realloc(LARGE),
        Bound::large(5 << 20),
    )
    .to("resize::resize"),
    operation(
        "malloc_trim: magazines, depot, everything kept",
        something_of_everything,
        Call::Trim,
        bound(MIDDLE_SUPERBLOCK + 10 * SUPERBLOCK, 0),
    )
    .to("front::drain_all")
    .long(),
    operation("statistics", nothing, Call::Look, Bound::NOTHING).long(),
    operation(
        "core malloc: from the active superblock",
        |api| held::add(api, 1, SMALL),
        Call::Malloc(SMALL),
        Bound::ONE,
    )
    .not(&["update_active", "malloc_slow"])
    .under(OFF),
    operation(
        "core malloc: the last credit",
        |api| held::add(api, 1, SMALL),
        Call::Malloc(SMALL),
        Bound::ONE,
    )
    .to("update_active")
    .not(&["malloc_slow"])
    .under(OFF),
    operation(
        "core malloc: the last block",
        |api| held::add(api, IN_SUPERBLOCK - 1, SMALL),
        Call::Malloc(SMALL),
        Bound::ONE,
    )
    .not(&["update_active", "malloc_slow"])
    .under(OFF),
    operation("core malloc: from a partial superblock", half_full, Call::Malloc(SMALL), Bound::ONE)
        .to("malloc_slow")
        .not(&[MAP_RUN])
        .under(OFF),
    operation(
        "core malloc: from an EMPTY superblock",
        |api| through(api, 6_000, APART),
        Call::Malloc(OTHER),
        Bound::ONE,
    )
    .to("malloc_slow")
    .not(&[MAP_RUN])
    .under(OFF),
    operation("core malloc: from a new superblock", nothing, Call::Malloc(EIGHTH), Bound::RUN)
        .to(MAP_RUN)
        .under(OFF),
    operation("core free", |api| held::add(api, 10, SMALL), Call::Free, Bound::ONE)
        .not(&["after_free"])
        .under(OFF),
    operation(
        "core free: of another processor's block",
        from_another_processor,
        Call::Free,
        Bound::ONE,
    )
    .not(&["after_free"])
    .under(OFF),
    operation(
        "core free: FULL to PARTIAL",
        |api| held::add(api, 1_500, SMALL),
        Call::Free,
        Bound::ONE,
    )
    .to("after_free")
    .under(OFF),
    operation("core free: to EMPTY", |api| held::add(api, 3_000, SMALL), Call::Free, Bound::ONE)
        .to("sweep")
        .under(OFF),
    operation(
        "core realloc: to another class",
        |api| held::add(api, 1, SMALL),
        Call::Realloc(200),
        Bound::TWO,
    )
    .to("by_address::move_small")
    .under(OFF),
    operation("core malloc_trim", something_of_everything, Call::Trim, bound(MIDDLE_SUPERBLOCK, 0))
        .to("stock::empty_cache")
        .long()
        .under(OFF),
];
