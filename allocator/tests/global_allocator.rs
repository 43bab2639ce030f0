//! Aim: `LfAlloc` is a complete global allocator. Method: this test program runs on it, and each test uses the
//! `GlobalAlloc` interface as a program would.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::alloc::{GlobalAlloc, Layout};

use lfalloc::LfAlloc;

#[global_allocator]
static ALLOCATOR: LfAlloc = LfAlloc;

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

/// Aim: every size and alignment yields a block that is aligned, writable to its end, and alone. Method: all
/// combinations around class borders, filled with a pattern each, checked after all are made.
#[test]
fn any_size_and_alignment() {
    let mut blocks = Vec::new();
    for shift in 0..=22 {
        for size in
            [1, 8, 16, 17, 100, 128, 129, 1000, 4096, 8192, 8193, 70_000, 131_072, 131_073, 1 << 20]
        {
            let layout = layout(size, 1 << shift);
            // SAFETY: the size is not zero.
            let block = unsafe { ALLOCATOR.alloc(layout) };
            assert!(!block.is_null());
            assert_eq!(block.addr() % layout.align(), 0, "{layout:?}");
            let pattern = blocks.len() as u8;
            // SAFETY: `size` bytes at `block` are ours.
            unsafe { block.write_bytes(pattern, size) };
            blocks.push((block, layout, pattern));
        }
    }
    for (block, layout, pattern) in blocks {
        // SAFETY: written above.
        let bytes = unsafe { std::slice::from_raw_parts(block, layout.size()) };
        assert!(bytes.iter().all(|byte| *byte == pattern), "{layout:?}");
        // SAFETY: allocated above with that layout.
        unsafe { ALLOCATOR.dealloc(block, layout) };
    }
}

/// Aim: `alloc_zeroed` is zero, also where memory is used again. Method: dirty blocks of every class and beyond,
/// free them, and ask for zeroed ones.
#[test]
fn zeroed_is_zero() {
    for round in 0..3 {
        for size in (1..140_000).step_by(997).chain([200_000, 1 << 20]) {
            let layout = layout(size, 8);
            for _ in 0..4 {
                // SAFETY: the size is not zero.
                let block = unsafe { ALLOCATOR.alloc_zeroed(layout) };
                // SAFETY: `size` bytes at `block` are ours, and initialised.
                let bytes = unsafe { std::slice::from_raw_parts(block, size) };
                assert!(bytes.iter().all(|byte| *byte == 0), "size {size} round {round}");
                // SAFETY: likewise.
                unsafe { block.write_bytes(0xAB, size) };
                // SAFETY: allocated above with that layout.
                unsafe { ALLOCATOR.dealloc(block, layout) };
            }
        }
    }
}

/// Aim: `realloc` keeps the contents whatever it does. Method: walk through growing and shrinking sizes over class,
/// superblock and large borders.
#[test]
fn realloc_keeps_contents() {
    let sizes = [
        1,
        16,
        24,
        129,
        140,
        5000,
        9000,
        131_072,
        131_073,
        200_000,
        5 << 20,
        300_000,
        64 << 20,
        90_000,
        7,
    ];
    let mut size = 3;
    // SAFETY: the size is not zero.
    let mut block = unsafe { ALLOCATOR.alloc(layout(size, 8)) };
    for number in 0..size {
        // SAFETY: within the block.
        let byte = unsafe { block.add(number) };
        // SAFETY: within the block, which is ours.
        unsafe { byte.write(number as u8) };
    }
    for new_size in sizes.into_iter().chain(sizes) {
        // SAFETY: allocated with that layout; the new size is not zero.
        block = unsafe { ALLOCATOR.realloc(block, layout(size, 8), new_size) };
        assert!(!block.is_null());
        // SAFETY: the shorter length is initialised.
        let kept = unsafe { std::slice::from_raw_parts(block, size.min(new_size)) };
        for (number, byte) in kept.iter().enumerate() {
            assert_eq!(*byte, ((number % 251) as u8), "{size} to {new_size}");
        }
        for number in 0..new_size {
            // SAFETY: within the block.
            let byte = unsafe { block.add(number) };
            // SAFETY: within the block, which is ours.
            unsafe { byte.write((number % 251) as u8) };
        }
        size = new_size;
    }
    // SAFETY: allocated with that layout.
    unsafe { ALLOCATOR.dealloc(block, layout(size, 8)) };
}

/// Aim: what cannot be had is null. Method: sizes and alignments near the end of the address space.
#[test]
fn impossible_requests_are_null() {
    for (size, align) in
        [(isize::MAX as usize - 7, 8), (1 << 47, 16), (1, 1 << 47), (1 << 46, 1 << 46)]
    {
        // SAFETY: the size is not zero.
        assert!(unsafe { ALLOCATOR.alloc(layout(size, align)) }.is_null());
        // SAFETY: the size is not zero.
        assert!(unsafe { ALLOCATOR.alloc_zeroed(layout(size, align)) }.is_null());
    }
}

/// Aim: blocks freed by other threads come back. Method: a producer and a consumer exchange 200,000 blocks; the
/// mapped memory stays small.
#[test]
fn remote_frees_come_back() {
    let (sender, receiver) = std::sync::mpsc::sync_channel::<Vec<Box<[u8; 200]>>>(16);
    let consumer = std::thread::spawn(move || {
        let mut sum = 0u64;
        for batch in receiver {
            sum += batch.iter().map(|item| u64::from(item[7])).sum::<u64>();
        }
        sum
    });
    let mut expected = 0;
    for round in 0..2000u64 {
        let batch: Vec<_> = (0..100).map(|_| Box::new([round as u8; 200])).collect();
        expected += 100 * u64::from(round as u8);
        sender.send(batch).unwrap();
    }
    drop(sender);
    assert_eq!(consumer.join().unwrap(), expected);
    assert!(lfalloc::observe::totals().superblock_bytes < 256 << 20);
}

/// Aim: the batch interface hands out each block once and takes all of them back. Method: batches of every length
/// in several classes, freed in another order.
#[test]
fn batches() {
    for size in [16, 100, 4096, 60_000] {
        let mut all = Vec::new();
        for length in (1..=lfalloc::MAX_BATCH).chain([1000]) {
            let mut blocks = vec![None; length];
            let count = ALLOCATOR.allocate_batch(size, &mut blocks);
            assert!(count >= 1 && count <= length.min(lfalloc::MAX_BATCH));
            assert!(blocks[..count].iter().all(Option::is_some));
            assert!(blocks[count..].iter().all(Option::is_none));
            all.extend(blocks.into_iter().flatten());
        }
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        all.sort_by_key(|block| block.addr().get().wrapping_mul(0x9E37_79B9_7F4A_7C15));
        // SAFETY: allocated above, each named once.
        unsafe { ALLOCATOR.free_batch(&all) };
    }
}

extern "C" fn no_memory() -> *mut u8 {
    panic!("no memory");
}

extern "C" fn foreign(block: *mut u8) {
    panic!("{block:?} is foreign");
}

/// Aim: a block that grows and is known by its address alone goes on growing in the room that a loose fit gave it: nothing is cut
/// off, since who grows does not shrink. Method: a large block that is freed, a smaller one in its place, which grows by steps.
#[test]
fn growing_keeps_the_room_there_is() {
    const KIB: usize = 1 << 10;
    let before = LfAlloc.allocate_or(896 * KIB, no_memory);
    // SAFETY: allocated above.
    unsafe { LfAlloc.free_or(before, foreign) };
    let block = LfAlloc.allocate_or(256 * KIB, no_memory);
    // SAFETY: allocated above.
    let room = unsafe { LfAlloc.usable_size(block) };
    assert!(room >= 896 * KIB, "another block: {room}");
    for size in [384, 448, 640, 896].map(|kib| kib * KIB) {
        // SAFETY: it stays allocated.
        let grown = unsafe { LfAlloc.resize_or(block, size, no_memory, foreign) };
        // SAFETY: allocated, wherever it is.
        assert_eq!((grown, unsafe { LfAlloc.usable_size(grown) }), (block, room), "{size}");
    }
    // Less than half of what was asked for is given back.
    // SAFETY: as above.
    let shrunk = unsafe { LfAlloc.resize_or(block, 256 * KIB, no_memory, foreign) };
    // SAFETY: allocated, wherever it is.
    assert!(unsafe { LfAlloc.usable_size(shrunk) } < room);
    // SAFETY: allocated, and given up.
    unsafe { LfAlloc.free_or(shrunk, foreign) };
}

/// Aim: bytes that are to be zero are, whatever was there. Method: every size to some beyond those that are written to apart, in
/// blocks that were filled.
#[test]
fn zeroed_blocks_are_zero() {
    for size in (0..=600).chain([4096, 32 << 10, (32 << 10) + 1, 128 << 10, (128 << 10) + 1]) {
        for _ in 0..2 {
            let block = LfAlloc.allocate_zeroed_or(size, no_memory);
            // SAFETY: `size` bytes at `block` are ours.
            let bytes = unsafe { std::slice::from_raw_parts(block, size) };
            assert!(bytes.iter().all(|byte| *byte == 0), "{size}");
            // SAFETY: allocated above.
            let usable = unsafe { LfAlloc.usable_size(block) };
            // SAFETY: so many bytes at `block` are ours.
            unsafe { block.write_bytes(0xAA, usable) };
            // SAFETY: allocated above, and given up.
            unsafe { LfAlloc.free_or(block, foreign) };
        }
    }
}

/// Aim: an aligned block lies where it should and has a neighbour that it does not reach into. Method: all small sizes and
/// alignments, two blocks each, whose whole memory is written to.
#[test]
fn aligned_blocks_are_aligned() {
    for align in (0..=17).map(|shift| 1_usize << shift) {
        for size in (0..300).chain([1000, 4095, 4097, 32 << 10, (32 << 10) + 1]) {
            let blocks = [0x11_u8, 0x22].map(|pattern| {
                let block = LfAlloc.allocate_aligned(size, align);
                assert!(!block.is_null() && block.addr().is_multiple_of(align.max(16)));
                // SAFETY: allocated above.
                let usable = unsafe { LfAlloc.usable_size(block) };
                assert!(usable >= size, "{size} {align}");
                // SAFETY: so many bytes at `block` are ours.
                unsafe { block.write_bytes(pattern, usable) };
                (block, usable, pattern)
            });
            for (block, usable, pattern) in blocks {
                // SAFETY: written above.
                let bytes = unsafe { std::slice::from_raw_parts(block, usable) };
                assert!(bytes.iter().all(|byte| *byte == pattern), "{size} {align}");
            }
            for (block, ..) in blocks {
                // SAFETY: allocated above, and given up.
                unsafe { LfAlloc.free_or(block, foreign) };
            }
        }
    }
}
