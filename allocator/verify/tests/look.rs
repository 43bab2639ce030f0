//! Aim: a close look at a superblock shows which blocks are free, and says so when it cannot. Method: what a test holds
//! it knows; every superblock of its classes is looked at and compared, block by block, at rest, inside a malloc, and
//! while threads churn in the same superblocks.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::RefCell;
use std::collections::HashSet;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lfalloc::LfAlloc;
use lfalloc::observe::{
    Backing, CLASS_COUNT, Look, Magnifier, Sight, State, SuperblockView, Tables, class_info,
    magazine_processors,
};
use lfalloc::study::Study;
use lfalloc_verify::shadow::Random;

/// How often a look is tried.
const ATTEMPTS: u32 = 4;
/// The tests take turns: one of them purges every heap.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn class_of(size: usize) -> u16 {
    (0..CLASS_COUNT).find(|&class| class_info(class).block_bytes as usize >= size).unwrap() as u16
}

fn superblocks_of(class: u16) -> Vec<SuperblockView> {
    let mut tables = Tables::new().unwrap();
    tables.take(8).unwrap();
    let of_class = |view: &&SuperblockView| view.class == class && view.backing == Backing::Mapped;
    tables.superblocks.iter().filter(of_class).copied().collect()
}

fn is_free(look: &Look<'_>, block: u32) -> bool {
    look.free[block as usize / 64] >> (block % 64) & 1 == 1
}

/// Addresses of the blocks of `look` that are not in the list.
fn taken(look: &Look<'_>) -> HashSet<usize> {
    let info = class_info(look.superblock.class.into());
    assert_eq!(look.free.len(), info.blocks_per_superblock.div_ceil(64) as usize);
    (0..info.blocks_per_superblock)
        .filter(|&block| !is_free(look, block))
        .map(|block| look.superblock.address as usize + (block * info.block_bytes) as usize)
        .collect()
}

/// Looks at every superblock of `class`, all of whose blocks in use are `held`.
fn compare(magnifier: &mut Magnifier, class: u16, held: &HashSet<usize>) -> [u32; 4] {
    let mut states = [0; 4];
    let mut found = HashSet::new();
    for view in superblocks_of(class) {
        let look = magnifier.look_at(view.id, ATTEMPTS).unwrap();
        assert_eq!((look.superblock, look.sight), (view, Sight::Exact));
        let set: u32 = look.free.iter().map(|word| word.count_ones()).sum();
        assert_eq!(set, u32::from(view.count) + u32::from(view.credits), "{view:?}");
        found.extend(taken(&look));
        states[view.state as usize] += 1;
    }
    assert_eq!(&found, held, "class {class}");
    states
}

#[test]
fn at_rest_it_is_the_truth() {
    let _turn = turn();
    let mut magnifier = Magnifier::new();
    let mut random = Random::new(11);
    let mut states = [0; 4];
    // Blocks that lie in one piece of memory and in several, and both geometries.
    for size in [16, 48, 640, 5000, 9000, 100_000] {
        let study = Study::on_heap(60);
        let class = class_of(size);
        let mut held: Vec<NonNull<u8>> = Vec::new();
        let per_superblock = class_info(class.into()).blocks_per_superblock as usize;
        for round in 0..40 {
            for _ in 0..per_superblock / 2 {
                if random.below(20) < if round < 20 { 15 } else { 3 } {
                    let block = study.malloc(size).unwrap();
                    // SAFETY: the block has that size. Links of the past are overwritten.
                    unsafe { block.write_bytes(0xEE, size) };
                    held.push(block);
                } else if !held.is_empty() {
                    let place = random.below(held.len() as u64) as usize;
                    // SAFETY: allocated above, and forgotten.
                    assert!(unsafe { study.free(held.swap_remove(place)) });
                }
            }
            let addresses = held.iter().map(|block| block.addr().get()).collect();
            let seen = compare(&mut magnifier, class, &addresses);
            states.iter_mut().zip(seen).for_each(|(sum, seen)| *sum += seen);
        }
        for block in held {
            // SAFETY: allocated above, and forgotten.
            assert!(unsafe { study.free(block) });
        }
        compare(&mut magnifier, class, &HashSet::new());
    }
    assert!(states.iter().all(|&count| count > 0), "{states:?}");
}

/// A block that was reserved and not popped yet is still in the list: one more than the record accounts for.
#[test]
fn inside_a_malloc_it_is_the_list() {
    const SIZE: usize = 700;
    let _turn = turn();
    let study = Study::on_heap(59);
    let first = study.malloc(SIZE).unwrap();
    let id = study.superblock_of(first).unwrap();
    let seen = RefCell::new(Vec::new());
    let magnifier = RefCell::new(Magnifier::new());
    let hook = |point: &'static str| {
        if point == "active.reserved" || point == "active.popped" {
            let mut magnifier = magnifier.borrow_mut();
            let look = magnifier.look_at(id, ATTEMPTS).unwrap();
            let set: u32 = look.free.iter().map(|word| word.count_ones()).sum();
            let known = look.superblock.count + look.superblock.credits;
            seen.borrow_mut().push((point, look.sight, set - u32::from(known)));
        }
    };
    let second = Study::with_hook(59, &hook).malloc(SIZE).unwrap();
    let expected = [("active.reserved", Sight::Exact, 1), ("active.popped", Sight::Exact, 0)];
    assert_eq!(*seen.borrow(), expected);
    for block in [first, second] {
        // SAFETY: allocated above.
        assert!(unsafe { study.free(block) });
    }
}

/// Blocks that the test holds are never shown as free where the look says that it is exact.
#[test]
fn under_churn_it_is_never_wrong() {
    const SIZE: usize = 200;
    let _turn = turn();
    let study = Study::on_heap(58);
    let mut held = Vec::new();
    for number in 0..4000 {
        let block = study.malloc(SIZE).unwrap();
        if number % 3 == 0 {
            held.push(block);
        } else {
            // SAFETY: allocated just now.
            assert!(unsafe { study.free(block) });
        }
    }
    let ids: HashSet<u32> = held.iter().map(|&block| study.superblock_of(block).unwrap()).collect();
    let addresses: HashSet<usize> = held.iter().map(|block| block.addr().get()).collect();
    let done = AtomicBool::new(false);
    let mut sights = [0u32; 3];
    std::thread::scope(|scope| {
        for seed in 0..2 {
            let done = &done;
            scope.spawn(move || churn(seed, SIZE, done));
        }
        let mut magnifier = Magnifier::new();
        for round in 0..3000 {
            for &id in &ids {
                let look = magnifier.look_at(id, ATTEMPTS).unwrap();
                sights[look.sight as usize] += 1;
                if look.sight != Sight::Exact {
                    continue;
                }
                let taken = taken(&look);
                let base = look.superblock.address as usize;
                let mine = |address: &&usize| (base..base + (64 << 10)).contains(*address);
                for address in addresses.iter().filter(mine) {
                    assert!(taken.contains(address), "round {round}: {:?}", look.superblock);
                }
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(sights[Sight::Nothing as usize], 0, "{sights:?}");
    assert!(sights[Sight::Exact as usize] > 0, "{sights:?}");
    for block in held {
        // SAFETY: allocated above.
        assert!(unsafe { study.free(block) });
    }
}

/// Allocates and frees in the test's superblocks, and writes to what it gets.
fn churn(seed: u64, size: usize, done: &AtomicBool) {
    let study = Study::on_heap(58);
    let mut random = Random::new(seed);
    let mut held: Vec<NonNull<u8>> = Vec::new();
    while !done.load(Ordering::Relaxed) {
        for _ in 0..200 {
            if held.len() < 300 && random.below(2) == 0 {
                let block = study.malloc(size).unwrap();
                // SAFETY: the block has that size.
                unsafe { block.write_bytes(random.below(256) as u8, size) };
                held.push(block);
            } else if let Some(last) = held.len().checked_sub(1) {
                let place = random.below(last as u64 + 1) as usize;
                // SAFETY: allocated above, and forgotten.
                assert!(unsafe { study.free(held.swap_remove(place)) });
            }
        }
        std::thread::yield_now();
    }
    for block in held {
        // SAFETY: allocated above, and forgotten.
        assert!(unsafe { study.free(block) });
    }
}

/// Blocks pass through magazines and the depot, which are drained as well: whenever a look says that what it saw of them is of one
/// instant, no block that is held is called cached, and none is in two places.
#[test]
fn an_exact_look_calls_no_held_block_cached() {
    const SIZE: usize = 400;
    let _turn = turn();
    let layout = Layout::from_size_align(SIZE, 8).unwrap();
    // SAFETY: the layout has a size.
    let allocate = || NonNull::new(unsafe { LfAlloc.alloc(layout) }).unwrap();
    // SAFETY: allocated with that layout, and forgotten.
    let free = |block: NonNull<u8>| unsafe { LfAlloc.dealloc(block.as_ptr(), layout) };
    let class = class_of(SIZE);
    let all: Vec<NonNull<u8>> = (0..3000).map(|_| allocate()).collect();
    let (held, given): (Vec<_>, Vec<_>) =
        all.into_iter().enumerate().partition(|(number, _)| number % 3 == 0);
    for (_, block) in given {
        free(block);
    }
    let held: HashSet<usize> =
        held.into_iter().map(|(_, block)| block.as_ptr().expose_provenance()).collect();
    let done = AtomicBool::new(false);
    let (mut exact, mut cached) = (0, 0);
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let done = &done;
            scope.spawn(move || {
                let mut random = Random::new(thread);
                while !done.load(Ordering::Relaxed) {
                    let count = random.below(200);
                    let blocks: Vec<_> = (0..count).map(|_| allocate()).collect();
                    for block in blocks {
                        free(block);
                    }
                    if random.below(50) == 0 {
                        LfAlloc.purge();
                    }
                    std::thread::sleep(Duration::from_micros(random.below(300)));
                }
            });
        }
        let mut magnifier = Magnifier::new();
        let ids: Vec<u32> = superblocks_of(class).iter().map(|view| view.id).collect();
        for _ in 0..1000 {
            for &id in &ids {
                let look = magnifier.look_at(id, ATTEMPTS).unwrap();
                if look.cached_sight != Sight::Exact || look.superblock.class != class {
                    continue;
                }
                exact += 1;
                let info = class_info(class.into());
                for block in 0..info.blocks_per_superblock {
                    let bit = |words: &[u64]| words[block as usize / 64] >> (block % 64) & 1;
                    let in_front = bit(look.magazines) + bit(look.depot);
                    let address = look.superblock.address + u64::from(block * info.block_bytes);
                    cached += in_front;
                    assert!(in_front <= 1, "block {block} of {look:?}");
                    if in_front == 1 {
                        assert!(!held.contains(&(address as usize)), "block {block} of {look:?}");
                        assert!(
                            look.sight != Sight::Exact || bit(look.free) == 0,
                            "block {block} of {look:?}"
                        );
                    }
                }
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    if magazine_processors() > 0 {
        assert!(exact > 0 && cached > 0, "{exact} exact looks, {cached} cached blocks");
    } else {
        assert_eq!(exact, 0);
    }
    for address in held {
        free(NonNull::new(std::ptr::with_exposed_provenance_mut(address)).unwrap());
    }
}

/// What is not there is not looked into.
#[test]
fn nothing_is_seen_where_nothing_is() {
    const SIZE: usize = 120_000;
    let _turn = turn();
    let mut magnifier = Magnifier::new();
    assert!(magnifier.look_at(u32::MAX, ATTEMPTS).is_none());
    let study = Study::on_heap(57);
    let block = study.malloc(SIZE).unwrap();
    let id = study.superblock_of(block).unwrap();
    // SAFETY: allocated above.
    assert!(unsafe { study.free(block) });
    assert!(study.purge(SIZE));
    let look = magnifier.look_at(id, ATTEMPTS).unwrap();
    assert_eq!((look.superblock.state, look.sight), (State::Empty, Sight::Exact));
    assert_eq!(look.free, [0xFF], "eight blocks, all free");
    LfAlloc.purge();
    let look = magnifier.look_at(id, ATTEMPTS).unwrap();
    assert_eq!((look.superblock.backing, look.sight), (Backing::Decommitted, Sight::Nothing));
    assert!(look.free.is_empty());
}
