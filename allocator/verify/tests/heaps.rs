//! Aim: in the core alone every processor has heaps of its own ("one heap per processor", \[0049\]); under magazines eight share
//! one of classes with large superblocks, and two one of the others. Method: allocate on each processor in turn, and see which
//! heaps have counted.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::alloc::{GlobalAlloc, Layout};
use std::collections::BTreeSet;

use lfalloc::LfAlloc;
use lfalloc::observe::{HEAPS_PER_CLASS, Tables, class_info, magazine_processors};

/// The processors that this thread may run on.
fn allowed() -> (libc::cpu_set_t, Vec<usize>) {
    // SAFETY: all bits clear is a set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    let bytes = size_of::<libc::cpu_set_t>();
    // SAFETY: the set has that many bytes.
    assert_eq!(unsafe { libc::sched_getaffinity(0, bytes, &raw mut set) }, 0);
    // SAFETY: below the size of the set.
    let processors = (0..1024).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect();
    (set, processors)
}

fn run_on(set: &libc::cpu_set_t) {
    // SAFETY: the set has that many bytes.
    assert_eq!(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set) }, 0);
}

#[test]
fn processors_have_heaps() {
    if std::env::var("GLIBC_TUNABLES").is_ok_and(|value| value.contains("rseq=0")) {
        // Nobody tells the processor: threads have heaps then.
        return;
    }
    let (all, processors) = allowed();
    for (bytes, shared) in [(7000, 1), (100_000, 3)] {
        let layout = Layout::from_size_align(bytes, 8).unwrap();
        let mut blocks = Vec::new();
        for &processor in &processors {
            // SAFETY: all bits clear is a set.
            let mut one: libc::cpu_set_t = unsafe { std::mem::zeroed() };
            // SAFETY: below the size of the set.
            unsafe { libc::CPU_SET(processor, &mut one) };
            run_on(&one);
            // SAFETY: not no bytes.
            blocks.extend((0..50).map(|_| unsafe { LfAlloc.alloc(layout) }));
        }
        run_on(&all);
        let mut tables = Tables::new().unwrap();
        tables.take(8).unwrap();
        let class = |class: u16| class_info(class.into()).block_bytes as usize;
        let found: BTreeSet<_> = tables
            .counters
            .iter()
            .filter(|view| class(view.class) >= bytes && class(view.class) < bytes + bytes / 4)
            // Frees count where they happen; there is one if a preempted thread gives back a batch that its magazine did not take.
            .filter(|view| view.allocations > 0)
            .map(|view| usize::from(view.heap))
            .collect();
        let shift = if magazine_processors() > 0 { shared } else { 0 };
        let expected = processors.iter().map(|cpu| (cpu >> shift) % HEAPS_PER_CLASS).collect();
        assert_eq!(found, expected, "{bytes} bytes");
        for block in blocks {
            // SAFETY: allocated with that layout.
            unsafe { LfAlloc.dealloc(block, layout) };
        }
    }
}
