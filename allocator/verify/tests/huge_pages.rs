//! Aim: superblocks have huge pages where there are many and all of them are in use, and not otherwise; with `LFALLOC_THP=1` all
//! have, and large blocks, with `LFALLOC_THP=0` none. Method: the mappings' flags as the kernel tells them, in processes of their own.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::alloc::{GlobalAlloc, Layout};
use std::process::Command;

use lfalloc::LfAlloc;
use lfalloc::study::end_interval;

const CHILD: &str = "LFALLOC_TEST_HUGE_PAGES";

/// Flags of the mapping that `address` lies in.
fn flags(address: usize) -> Vec<String> {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut is_inside = false;
    for line in smaps.lines() {
        let range = line.split(' ').next().unwrap().split_once('-');
        let number = |text| usize::from_str_radix(text, 16).ok();
        if let Some((Some(start), Some(end))) = range.map(|(a, b)| (number(a), number(b))) {
            is_inside = (start..end).contains(&address);
        } else if let Some(flags) = line.strip_prefix("VmFlags: ")
            && is_inside
        {
            return flags.split_whitespace().map(str::to_owned).collect();
        }
    }
    panic!("{address:#x} is not mapped");
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, 16).unwrap()
}

fn allocate(bytes: usize) -> *mut u8 {
    // SAFETY: not no bytes.
    let block = unsafe { LfAlloc.alloc(layout(bytes)) };
    // SAFETY: the block has that many bytes.
    unsafe { block.write_bytes(7, bytes) };
    block
}

fn free(block: *mut u8, bytes: usize) {
    // SAFETY: allocated with that layout.
    unsafe { LfAlloc.dealloc(block, layout(bytes)) };
}

/// Whether `address` lies where huge pages were asked for, and where they were advised against.
fn advice(address: usize) -> (bool, bool) {
    let flags = flags(address);
    let has = |name| flags.iter().any(|flag| flag == name);
    (has("hg"), has("nh"))
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    4096 * statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap()
}

/// A few blocks of several sizes.
fn few(wanted: bool) {
    for bytes in [64, 5000, 100_000, 8 << 20] {
        let blocks: Vec<_> = (0..50).map(|_| allocate(bytes)).collect();
        for block in &blocks {
            assert_eq!(advice(block.addr() + bytes / 2).0, wanted, "{bytes}");
        }
        for block in blocks {
            free(block, bytes);
        }
    }
    LfAlloc.purge();
}

/// 128 MiB of small blocks, of which one in 2 MiB stays.
fn many(wanted: bool) {
    const BYTES: usize = 1024;
    const MIB: usize = 1 << 20;
    let blocks: Vec<_> = (0..128 * MIB / BYTES).map(|_| allocate(BYTES)).collect();
    // From 8 MiB mapped on, to the next run.
    let (early, late) = (&blocks[..4 * MIB / BYTES], &blocks[12 * MIB / BYTES..]);
    assert!(early.iter().step_by(1000).all(|block| !advice(block.addr()).0));
    assert!(late.iter().step_by(1000).all(|block| advice(block.addr()).0 == wanted));
    let full = resident();
    // Of the first, too: they were mapped before there were many.
    let kept: Vec<_> = blocks.iter().copied().step_by(2 * MIB / BYTES).collect();
    for (number, block) in blocks.iter().enumerate() {
        if number % (2 * MIB / BYTES) != 0 {
            free(*block, BYTES);
        }
    }
    for _ in 0..3 {
        end_interval();
    }
    let left = resident();
    assert!(left + 100 * MIB < full, "{full} bytes resident, then {left}");
    let (huge, never) = kept.iter().fold((0, 0), |(huge, never), block| {
        let (is_huge, is_never) = advice(block.addr());
        (huge + usize::from(is_huge), never + usize::from(is_never))
    });
    // Nothing that was decommitted may come back by itself: but in a few runs that were kept whole, for who comes next.
    assert!(huge <= 4 && (never >= 40 || !wanted), "{huge} huge, {never} never of {}", kept.len());
    for block in kept {
        free(block, BYTES);
    }
}

/// Memory of the program in a place that superblocks of a run have left is not advised.
fn neighbours_are_left_alone() {
    const BYTES: usize = 1024;
    const MIB: usize = 1 << 20;
    let blocks: Vec<_> = (0..256 * MIB / BYTES).map(|_| allocate(BYTES)).collect();
    // Of each MiB one stays.
    let is_kept = |number: usize| number.is_multiple_of(MIB / BYTES);
    let kept: Vec<_> = (0..blocks.len()).filter(|number| is_kept(*number)).collect();
    for (number, block) in blocks.iter().enumerate() {
        if !is_kept(number) {
            free(*block, BYTES);
        }
    }
    LfAlloc.purge();
    let mut others = Vec::new();
    for number in &kept {
        let superblock = blocks[*number].addr() & !0xFFFF;
        // Most of the superblocks behind it were unmapped.
        let place: *mut libc::c_void = std::ptr::without_provenance_mut(superblock + (128 << 10));
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: replaces nothing.
        let other = unsafe { libc::mmap(place, 4096, protection, flags, -1, 0) };
        if other == place {
            others.push(other.addr());
        }
    }
    assert!(others.len() > 100, "{} places", others.len());
    let before = resident();
    for number in kept {
        free(blocks[number], BYTES);
    }
    // Each decommits 16 at most.
    for _ in 0..12 {
        end_interval();
    }
    let after = resident();
    assert!(
        after + 8 * MIB < before,
        "{before} bytes resident, then {after}: nothing was decommitted"
    );
    for other in others {
        assert_eq!(advice(other), (false, false), "{other:#x}");
    }
}

fn child(wish: &str) {
    if wish == "neighbours" {
        return neighbours_are_left_alone();
    }
    few(wish == "1");
    if wish != "1" {
        many(wish != "0");
    }
}

#[test]
fn huge_pages_are_had_where_they_do_good() {
    if let Ok(wish) = std::env::var(CHILD) {
        return child(&wish);
    }
    match std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled") {
        Ok(told) if !told.contains("[never]") => {}
        // There are none.
        _ => return,
    }
    for (wish, part) in [(None, "many"), (None, "neighbours"), (Some("0"), "0"), (Some("1"), "1")] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("huge_pages_are_had_where_they_do_good").env(CHILD, part);
        match wish {
            Some(wish) => command.env("LFALLOC_THP", wish),
            None => command.env_remove("LFALLOC_THP"),
        };
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "LFALLOC_THP={wish:?}, {part}: {told}");
    }
}
