//! Aim: the shipped allocator under load: contents survive, nothing overlaps, nothing is lost. Method: threads with
//! shadows of what they hold; blocks change hands.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicUsize, Ordering};

use lfalloc::LfAlloc;
use lfalloc_verify::shadow::{Random, Shadow};

const THREADS: u64 = 8;

fn layout(random: &mut Random) -> Layout {
    // Mostly small; some of every class and beyond; alignments up to a page.
    let size = match random.below(64) {
        0 => 1 + random.below(1 << 20),
        1..=4 => 1 + random.below(1 << 14),
        5..=20 => 1 + random.below(1 << 10),
        _ => 1 + random.below(1 << 7),
    };
    let align = if random.below(16) == 0 { 1 << random.below(13) } else { 8 };
    Layout::from_size_align(size as usize, align).unwrap()
}

/// Aim: contents and addresses under churn from 8 threads. Method: 8 × 400,000 operations of every entry point, each
/// block checked when it is freed; shadows are handed from thread to thread between rounds, so that frees are remote.
#[test]
fn contents_survive_churn() {
    let mut shadows: Vec<Shadow> = (0..THREADS).map(|_| Shadow::default()).collect();
    for round in 0..4u64 {
        let threads: Vec<_> = (0..THREADS)
            .zip(shadows.drain(..))
            .map(|(number, mut shadow)| {
                std::thread::spawn(move || {
                    let mut random = Random::new(round * THREADS + number);
                    for _ in 0..100_000 {
                        match random.below(8) {
                            0..=3 if shadow.len() < 2000 => {
                                let layout = layout(&mut random);
                                assert!(shadow.allocate(layout, random.below(8) == 0));
                            }
                            4 => {
                                let size = layout(&mut random).size();
                                shadow.reallocate(random.next(), size);
                            }
                            _ => shadow.free(random.next()),
                        }
                    }
                    shadow
                })
            })
            .collect();
        shadows = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        shadows.rotate_left(1);
    }
    // No two threads hold the same memory: adopting keeps every block, and each is checked when it is freed.
    let total: usize = shadows.iter().map(Shadow::len).sum();
    let mut all = Shadow::default();
    for mut shadow in shadows {
        all.adopt(&mut shadow);
    }
    assert_eq!(all.len(), total, "two threads hold a block at the same address");
}

/// Aim: 50 million operations over 8 threads without a block in two hands. Method: every block holds its owner's
/// mark, written when it is taken and checked when it is freed; most blocks are freed by another thread.
#[test]
fn fifty_million_operations() {
    const OPERATIONS: usize = 50_000_000;
    const SLOTS: usize = 1 << 12;
    // A table that threads swap blocks through: what one puts in another takes out and frees.
    static TABLE: [AtomicUsize; SLOTS] = [const { AtomicUsize::new(0) }; SLOTS];
    let layout = |size| Layout::from_size_align(size, 16).unwrap();
    let mark = |block: usize, size: usize| (block as u64).rotate_left(17) ^ size as u64;
    let check_and_free = move |block: usize| {
        let pointer: *mut u64 = std::ptr::with_exposed_provenance_mut(block);
        // SAFETY: the first word of a live block holds its size.
        let size = unsafe { pointer.read() } as usize;
        // SAFETY: the second word holds its mark; every block has at least 16 bytes.
        let second = unsafe { pointer.add(1) };
        // SAFETY: as above.
        let found = unsafe { second.read() };
        assert_eq!(found, mark(block, size), "block {block:#x} was overwritten");
        // SAFETY: clears the mark of a block that is ours.
        unsafe { second.write(0) };
        // SAFETY: allocated with that layout and held by this thread alone.
        unsafe { LfAlloc.dealloc(pointer.cast(), layout(size)) };
    };
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let mut random = Random::new(thread + 100);
                // An operation is a malloc or a free: two a round.
                for _ in 0..OPERATIONS / 2 / THREADS as usize {
                    let size = 16 << random.below(5) | (random.below(2) as usize) << 4;
                    // SAFETY: the size is not zero.
                    let block: *mut u64 = unsafe { LfAlloc.alloc(layout(size)) }.cast();
                    assert!(!block.is_null());
                    let address = block.expose_provenance();
                    // SAFETY: at least 16 bytes, just allocated.
                    unsafe { block.write(size as u64) };
                    // SAFETY: as above.
                    let second = unsafe { block.add(1) };
                    // SAFETY: as above.
                    unsafe { second.write(mark(address, size)) };
                    let slot = &TABLE[random.below(SLOTS as u64) as usize];
                    // AcqRel: publishes what was written to the block, and sees what its owner wrote.
                    match slot.swap(address, Ordering::AcqRel) {
                        0 => {}
                        other => check_and_free(other),
                    }
                }
            });
        }
    });
    for slot in &TABLE {
        match slot.load(Ordering::Relaxed) {
            0 => {}
            block => check_and_free(block),
        }
    }
}
