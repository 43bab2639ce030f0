//! Aim: superblocks and large blocks are advised to have huge pages with `LFALLOC_THP=1`, and not otherwise; they work as ever.
//! Method: the mappings' flags as the kernel tells them, in processes of their own.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::alloc::{GlobalAlloc, Layout};
use std::path::Path;
use std::process::Command;

use lfalloc::LfAlloc;

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

fn child() {
    let wanted = std::env::var(CHILD).unwrap() == "1";
    for bytes in [64, 5000, 100_000, 8 << 20] {
        let layout = Layout::from_size_align(bytes, 16).unwrap();
        // SAFETY: not no bytes.
        let blocks: Vec<_> = (0..50).map(|_| unsafe { LfAlloc.alloc(layout) }).collect();
        for block in &blocks {
            // SAFETY: the block has that many bytes.
            unsafe { block.write_bytes(7, bytes) };
            let flags = flags(block.addr() + bytes / 2);
            assert_eq!(flags.iter().any(|flag| flag == "hg"), wanted, "{bytes}: {flags:?}");
        }
        for block in blocks {
            // SAFETY: allocated with that layout.
            unsafe { LfAlloc.dealloc(block, layout) };
        }
    }
    LfAlloc.purge();
}

#[test]
fn huge_pages_are_had_on_request() {
    if std::env::var_os(CHILD).is_some() {
        return child();
    }
    if !Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
        return;
    }
    for wanted in ["1", "0"] {
        let output = Command::new(std::env::current_exe().unwrap())
            .arg("huge_pages_are_had_on_request")
            .env(CHILD, wanted)
            .env("LFALLOC_THP", wanted)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "LFALLOC_THP={wanted}: {told}");
    }
}
