//! Aim: version 1.1 over the socket: a viewer that asks for a superblock is shown the truth or told that it is not, and
//! a viewer of version 1.0 gets nothing that it does not know. Method: blocks of sizes that only one test uses, whose
//! addresses it knows; threads that churn among them; a viewer that greets with minor version 0.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_types, reason = "the tests are not the allocator: they take turns")]

mod common;

use std::collections::HashSet;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::{Fixture, Viewer, is_alone, run_alone, wait_until};
use lfalloc::observe::{
    CLASS_COUNT, MagazineView, Tables, class_info, front_info, magazine_processors,
};
use lfalloc_protocol::decode;
use lfalloc_protocol::message::*;

#[global_allocator]
static ALLOCATOR: lfalloc::LfAlloc = lfalloc::LfAlloc;

/// For the test that purges every heap, and those that count on nobody else's touching theirs.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn class_of(bytes: usize) -> u16 {
    (0..CLASS_COUNT).find(|&class| class_info(class).block_bytes as usize >= bytes).unwrap() as u16
}

/// Blocks that the compiler cannot leave out.
fn blocks_of(bytes: usize, count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|_| black_box(Vec::with_capacity(bytes))).collect()
}

fn addresses(blocks: &[Vec<u8>]) -> HashSet<u64> {
    blocks.iter().map(|block| block.as_ptr() as u64).collect()
}

fn superblocks_of(viewer: &mut Viewer, class: u16) -> Vec<u32> {
    let state = viewer.request_state();
    state
        .superblocks
        .iter()
        .filter(|record| record.class == class)
        .map(|record| record.id)
        .collect()
}

/// Addresses of the blocks that `detail` does not show as free.
fn taken(detail: &SuperblockDetail) -> HashSet<u64> {
    let record = detail.record.unwrap();
    let info = class_info(record.class.into());
    assert_eq!(detail.free.len(), info.blocks_per_superblock.div_ceil(64) as usize);
    (0..info.blocks_per_superblock)
        .filter(|&block| detail.free[block as usize / 64] >> (block % 64) & 1 == 0)
        .map(|block| record.address + u64::from(block * info.block_bytes))
        .collect()
}

#[test]
fn a_quiet_superblock_is_shown_block_by_block() {
    const BYTES: usize = 55_555;
    // What other tests free stays in magazines, and is taken as far as its superblock knows.
    if !is_alone() {
        return run_alone("a_quiet_superblock_is_shown_block_by_block");
    }
    let _turn = turn();
    let fixture = Fixture::start();
    let mut viewer = fixture.attach();
    let mut blocks = blocks_of(BYTES, 100);
    let mut number = 0;
    blocks.retain(|_| {
        number += 1;
        number % 3 > 0
    });
    // Out of magazines, in which a block is not free to its superblock.
    lfalloc::LfAlloc.purge();
    let mut found = HashSet::new();
    let mut moved = 0;
    for id in superblocks_of(&mut viewer, class_of(BYTES)) {
        let detail = viewer.superblock(id);
        assert_eq!((detail.id, detail.bitmap_is), (id, bitmap::EXACT), "{detail:?}");
        let record = detail.record.unwrap();
        let set: u32 = detail.free.iter().map(|word| word.count_ones()).sum();
        assert_eq!(set, u32::from(record.count) + u32::from(record.credits), "{detail:?}");
        assert!(record.exact && record.age_ns < detail.uptime_ns, "{detail:?}");
        found.extend(taken(&detail));
        assert!(detail.transitions.iter().all(|transition| transition.superblock == id));
        assert!(detail.transitions.is_sorted_by_key(|transition| transition.tag));
        if let Some(last) = detail.transitions.last() {
            assert_eq!((last.to, last.class), (record.state, record.class), "{detail:?}");
            moved += 1;
        }
    }
    assert_eq!(found, addresses(&blocks));
    assert!(moved > 0, "the ring is large enough for what this test did");
}

#[test]
fn a_busy_superblock_is_never_shown_wrong() {
    const BYTES: usize = 333;
    let fixture = Fixture::start();
    let mut viewer = fixture.attach();
    let mut held = blocks_of(BYTES, 900);
    let mut number = 0;
    held.retain(|_| {
        number += 1;
        number % 3 == 0
    });
    let ids = superblocks_of(&mut viewer, class_of(BYTES));
    let mine = addresses(&held);
    let done = AtomicBool::new(false);
    let mut sights = [0; 3];
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    drop(blocks_of(BYTES, 100));
                    std::thread::yield_now();
                }
            });
        }
        for _ in 0..300 {
            for &id in &ids {
                let (detail, cached) = viewer.superblock_and_cached(id);
                sights[usize::from(detail.bitmap_is)] += 1;
                // Another class may have it by now, if this one left it EMPTY.
                let Some(record) = detail.record.filter(|record| record.class == class_of(BYTES))
                else {
                    continue;
                };
                if detail.bitmap_is == bitmap::EXACT {
                    let taken = taken(&detail);
                    let span = record.address..record.address + 65_536;
                    let wrong = mine.iter().find(|at| span.contains(*at) && !taken.contains(*at));
                    assert_eq!(wrong, None, "{detail:?}");
                }
                let Some(cached) = cached.filter(|cached| cached.cached_is == bitmap::EXACT) else {
                    continue;
                };
                for bits in [&cached.magazines, &cached.depot] {
                    assert!(marked(&detail, bits).is_disjoint(&mine), "{detail:?} {cached:?}");
                }
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(sights[usize::from(bitmap::EXACT)] > 0, "{sights:?}");
}

#[test]
fn there_are_no_bits_where_there_is_no_memory() {
    let _turn = turn();
    let fixture = Fixture::start();
    let mut viewer = fixture.attach();
    let nothing = viewer.superblock(u32::MAX);
    assert_eq!((nothing.record, nothing.bitmap_is), (None, bitmap::NONE));
    assert_eq!((nothing.free, nothing.transitions), (vec![], vec![]));
    wait_until("a superblock is decommitted", || {
        let blocks = blocks_of(77_777, 50);
        let ids = superblocks_of(&mut viewer, class_of(77_777));
        drop(blocks);
        lfalloc::LfAlloc.purge();
        let mut decommitted = 0;
        for id in ids {
            let detail = viewer.superblock(id);
            if detail.record.unwrap().backing == backing::DECOMMITTED {
                assert_eq!((detail.bitmap_is, detail.free.len()), (bitmap::NONE, 0));
                decommitted += 1;
            }
        }
        decommitted > 0
    });
}

/// Requests that were sent together are answered one by one, in order, and not within a state.
#[test]
fn looks_may_be_asked_for_ahead() {
    let fixture = Fixture::start();
    let mut viewer = fixture.attach();
    for id in 0..300 {
        viewer.ask_for_superblock(id);
        if id % 50 == 0 {
            viewer.send(Kind::STATE_REQUEST, &StateRequest {});
            viewer.send(Kind::TOTALS_REQUEST, &TotalsRequest {});
        }
    }
    viewer.stream.shutdown(std::net::Shutdown::Write).unwrap();
    for id in 0..300 {
        if magazine_processors() > 0 {
            let cached: SuperblockCached = viewer.expect(Kind::SUPERBLOCK_CACHED);
            assert_eq!(cached.id, id);
        }
        let detail: SuperblockDetail = viewer.expect(Kind::SUPERBLOCK_DETAIL);
        assert_eq!(detail.id, id);
        if id % 50 == 0 {
            assert!(viewer.state().begin.full);
            let _: Totals = viewer.expect(Kind::TOTALS);
        }
    }
    viewer.expect_end();
}

/// Whoever asks for one look after the other gets its updates all the same.
#[test]
fn looks_do_not_keep_updates_away() {
    let fixture = Fixture::start();
    let mut viewer = fixture.attach();
    viewer.subscribe(20, false);
    let (mut states, mut looks) = (0, 0);
    viewer.ask_for_superblock(0);
    while states < 20 {
        assert!(looks < 1_000_000, "{states} states");
        match viewer.next_frame().unwrap() {
            Kind::SUPERBLOCK_CACHED => {}
            Kind::SUPERBLOCK_DETAIL => {
                looks += 1;
                viewer.ask_for_superblock(0);
            }
            Kind::STATE_END => states += 1,
            kind => assert_ne!(kind, Kind::GAP),
        }
    }
    assert!(looks > 20, "{looks}");
}

#[test]
fn an_old_viewer_gets_no_kinds_that_it_does_not_know() {
    for (minor, last) in [(0, Kind::GAP), (1, Kind::HEAP_COUNTERS), (2, Kind::SUPERBLOCK_CHANGES)] {
        let fixture = Fixture::start();
        let mut viewer = fixture.connect();
        viewer.send_greeting_of(MAJOR, minor);
        let hello: Hello = viewer.expect(Kind::HELLO);
        assert_eq!(hello.minor, MINOR);
        // One of 1.0 gets no answer; those of 1.1 and 1.2 get one without the front.
        viewer.ask_for_superblock(0);
        viewer.subscribe(20, true);
        let (mut sequence, mut told) = (0, 0);
        while sequence < 5 {
            drop(blocks_of(555, 1000));
            let kind = viewer.next_frame().unwrap();
            let known = (Kind::TOTALS..=last).contains(&kind);
            assert!(known, "{kind:?} is none of version 1.{minor}");
            if kind == Kind::SUPERBLOCKS && sequence > 0 {
                told += 1;
            }
            if kind == Kind::STATE_END {
                sequence = decode::<StateEnd>(&viewer.payload).unwrap().sequence;
            }
        }
        assert!(told > 0 || minor >= 2, "what changed is told in whole records");
    }
}

/// What a heap has counted is told whole once, and then where it changed.
#[test]
fn counters_and_samples_are_those_of_the_allocator() {
    const BYTES: usize = 44_444;
    // What other tests free stays in magazines, and is taken as far as its superblock knows.
    if !is_alone() {
        return run_alone("counters_and_samples_are_those_of_the_allocator");
    }
    let _turn = turn();
    let fixture = Fixture::start();
    let mut viewer = fixture.attach();
    let class = class_of(BYTES);
    let blocks = blocks_of(BYTES, 200);
    let state = viewer.request_state();
    let of_class = state.counters.iter().filter(|record| record.class == class);
    let sums = of_class.fold([0; 3], |sum, record| {
        [sum[0] + record.allocations, sum[1] + record.refills, sum[2] + record.ran_dry]
    });
    // All but the first block of a superblock are reserved at once, when it is installed.
    let whole = class_info(class.into()).blocks_per_superblock;
    assert_eq!((sums[0], whole), (200, 21));
    assert!(sums[1] >= 9 && sums[2] >= sums[1], "{sums:?}");
    let sample = state.samples.iter().find(|record| record.class == class).unwrap();
    let slack = u64::from(class_info(class.into()).block_bytes) - BYTES as u64;
    assert_eq!(sample.samples, sums[1]);
    assert_eq!(sample.slack_sum, sums[1] * slack);
    assert_eq!(sample.slack_squares, sums[1] * slack * slack);
    drop(blocks);
}

/// Blocks of `detail` whose bits are set.
fn marked(detail: &SuperblockDetail, bits: &[u64]) -> HashSet<u64> {
    let record = detail.record.unwrap();
    let info = class_info(record.class.into());
    assert_eq!(bits.len(), info.blocks_per_superblock.div_ceil(64) as usize);
    (0..info.blocks_per_superblock)
        .filter(|&block| bits[block as usize / 64] >> (block % 64) & 1 == 1)
        .map(|block| record.address + u64::from(block * info.block_bytes))
        .collect()
}

/// Every block of the class is held, in a magazine, in the depot, or free, and the look says which.
#[test]
fn cached_blocks_are_told_from_live_ones() {
    const BYTES: usize = 7000;
    if !is_alone() {
        return run_alone("cached_blocks_are_told_from_live_ones");
    }
    let fixture = Fixture::start();
    let mut viewer = fixture.attach();
    let class = class_of(BYTES);
    // More than magazine and depot together take, of which every third stays.
    let info = front_info(class.into());
    let batches = info.depot_batches + 3;
    let count = 3 * (usize::from(info.capacity) + usize::from(info.batch) * batches as usize);
    let mut blocks = blocks_of(BYTES, count);
    let mut number = 0;
    blocks.retain(|_| {
        number += 1;
        number % 3 == 0
    });
    let held = addresses(&blocks);
    let mut live = HashSet::new();
    let state = viewer.request_state();
    let (mut in_magazines, mut in_depot) = (HashSet::new(), HashSet::new());
    for id in superblocks_of(&mut viewer, class) {
        let (detail, cached) = viewer.superblock_and_cached(id);
        assert_eq!(detail.bitmap_is, bitmap::EXACT);
        let Some(cached) = cached else {
            assert_eq!((magazine_processors(), state.front.is_none()), (0, true));
            continue;
        };
        assert_eq!((cached.id, cached.cached_is), (id, bitmap::EXACT));
        let taken = taken(&detail);
        let (magazines, depot) =
            (marked(&detail, &cached.magazines), marked(&detail, &cached.depot));
        assert!(magazines.is_subset(&taken) && depot.is_subset(&taken), "none of them is free");
        assert!(magazines.is_disjoint(&depot));
        live.extend(
            taken.iter().filter(|block| !magazines.contains(block) && !depot.contains(block)),
        );
        in_magazines.extend(magazines);
        in_depot.extend(depot);
    }
    let Some(front) = &state.front else { return };
    assert_eq!(live, held, "what is left is the program's");
    let in_depots: u32 =
        state.depots.unwrap().iter().filter(|depot| depot.class == class).map(|d| d.batches).sum();
    let rule = front.records[usize::from(class)];
    assert_eq!(in_depots, rule.depot_batches, "it is full");
    assert_eq!(in_depot.len(), (in_depots * u32::from(rule.batch)) as usize);
    let blocks_there = |record: &MagazineRecord| usize::from(record.blocks);
    let of_class = state.magazines.iter().filter(|record| record.class == class);
    assert_eq!(in_magazines.len(), of_class.map(blocks_there).sum());
    assert!(!in_magazines.is_empty());
    drop(blocks);
}

/// What the front holds and has counted is told as the allocator knows it, and adds up.
#[test]
fn the_front_is_told_as_it_is() {
    if !is_alone() {
        return run_alone("the_front_is_told_as_it_is");
    }
    let fixture = Fixture::start();
    let mut viewer = fixture.attach();
    // Nothing is freed behind these: whatever the test itself does is done before the census.
    let mut tables = Tables::new().unwrap();
    for bytes in [24, 13_000, 9000, 24, 13_000, 9000] {
        drop(blocks_of(bytes, 700));
    }
    let features = fixture.connect().greet().features;
    assert_eq!(features & feature::MAGAZINES != 0, magazine_processors() > 0);
    let state = viewer.request_state();
    if magazine_processors() == 0 {
        assert_eq!((state.front, state.depots, state.magazines), (None, None, vec![]));
        return;
    }
    let front = state.front.unwrap();
    assert_eq!((front.processors, front.records.len()), (magazine_processors(), CLASS_COUNT));
    for record in &front.records {
        let info = front_info(record.class.into());
        let told = (record.capacity, record.batch, record.depot_batches);
        assert_eq!(told, (info.capacity, info.batch, info.depot_batches));
    }
    let depots = state.depots.unwrap();
    for class in &state.classes {
        let rule = front.records[usize::from(class.class)];
        let batches =
            depots.iter().find(|depot| depot.class == class.class).map_or(0, |d| d.batches);
        assert!(batches <= rule.depot_batches);
        let of_class = state.magazines.iter().filter(|record| record.class == class.class);
        let blocks: i64 = of_class.map(|record| i64::from(record.blocks)).sum();
        let in_depot = i64::from(batches) * i64::from(rule.batch);
        assert_eq!(class.cached_blocks, blocks + in_depot, "class {}", class.class);
    }
    // Sizes that the test alone uses: nothing of them moves while the allocator is asked.
    assert!(tables.take(8).is_some());
    for bytes in [13_000, 9000] {
        let class = class_of(bytes);
        let told: Vec<_> =
            state.magazines.iter().filter(|record| record.class == class).copied().collect();
        let seen = tables.magazines.iter().filter(|view| view.class == class).map(|view| {
            let MagazineView { class, processor, blocks, pops, pushes, .. } = *view;
            let MagazineView { refills, flushes, aborts, .. } = *view;
            MagazineRecord { class, processor, blocks, pops, pushes, refills, flushes, aborts }
        });
        assert_eq!(told, seen.collect::<Vec<_>>());
        assert!(told.iter().any(|record| record.pops > 0 && record.pushes > 0));
        assert!(told.iter().any(|record| record.refills > 0 && record.flushes > 0));
    }
}
