//! Aim: no allocation function waits for anybody: it takes no lock, asks the system for nothing that sleeps, tells the processor
//! of no wait, and changes shared words only where `ARCHITECTURE.md` says whose progress makes it try again. Method: the machine
//! code of every function that an exported allocation function can reach, and what its lines were written in.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::library;
use crate::facts::{Facts, written_in};
use crate::graph::{Graph, What};
use crate::{ALLOWED, EXCEPTIONS, NO_ALLOCATION, is_panic};

/// Parts of names of what waits for another thread, or can.
const LOCKS: &[&str] = &[
    "mutex",
    "rwlock",
    "cond_",
    "condvar",
    "once",
    "barrier",
    "semaphore",
    "sem_",
    "spin",
    "lock_",
    "futex",
    "park",
    "lazy",
    "tls_get_addr",
    "std::sync",
    "std::thread",
    "flockfile",
    "poll",
    "select",
    "sleep",
    "yield",
    "join",
    "wait",
];

/// The calls of `allocator/src/os/linux.rs`, by number. None of them waits for another thread; one lets others run.
const CALLS: &[(u64, &str)] = &[
    (0, "read"),
    (1, "write"),
    (2, "open"),
    (3, "close"),
    (9, "mmap"),
    (11, "munmap"),
    (24, "sched_yield"),
    (25, "mremap"),
    (28, "madvise"),
    (39, "getpid"),
    (186, "gettid"),
    (228, "clock_gettime"),
    (234, "tgkill"),
    (310, "process_vm_readv"),
    (318, "getrandom"),
    (324, "membarrier"),
];

/// Functions that change a word if it still is what it was, again and again: in the table of retry loops of `ARCHITECTURE.md`.
const RETRIED: &[&str] = &[
    "reserve",
    "purge_heap",
    "pop_reserved",
    "malloc_from_partial",
    "free_chain",
    "return_blocks",
    "push_chain",
    "pop",
    "extend",
    "finish_put",
    "begin_take",
    "raise_written",
    "gives",
];

/// Functions that try once, and do without if it fails.
const TRIED: &[(&str, &str)] = &[
    ("update_active", "another thread has installed a superblock"),
    ("malloc_from_new_sb", "the same"),
    ("changed_or_corrupted", "compares without changing"),
    ("look_for", "the same, a few times"),
    ("sweep", "another thread has swapped the lists"),
    ("drain", "the magazine's owner was there meanwhile"),
    ("finish", "the same"),
    ("closed", "the same"),
    ("empty", "the same"),
    ("get", "another thread has made that leaf or chunk"),
    ("make_secret", "another thread has made it"),
    ("release", "the block is free already: the program ends"),
    ("begins", "another thread has ended the interval"),
    ("record", "the slot is another thread's: the event is dropped"),
    ("read", "another thread has read the option"),
];

/// What every allocation function can reach, by name.
fn reached(graph: &Graph) -> BTreeMap<&str, &Facts> {
    let entries = graph.exports.keys().filter(|name| !NO_ALLOCATION.contains(&name.as_str()));
    entries.flat_map(|entry| graph.functions(entry, is_panic)).collect()
}

fn is_lock(name: &str) -> bool {
    // A block is no lock; and what `lfalloc::once` makes is made by as many as come, of whom one publishes it.
    let name = name
        .to_ascii_lowercase()
        .replace("block", "")
        .replace("lfalloc::once::madeonce", "")
        .replace("lfalloc::once::", "");
    LOCKS.iter().any(|lock| name.contains(lock))
}

/// Neither the library's own functions, nor what they call in others, has anything to do with a lock.
#[test]
fn no_lock_can_be_reached() {
    let graph = Graph::read(&library());
    let reached = reached(&graph);
    assert!(reached.len() > 50, "{reached:?}");
    let own: Vec<_> = reached.keys().filter(|name| is_lock(name)).collect();
    assert!(own.is_empty(), "{own:?}");
    for entry in graph.exports.keys().filter(|name| !NO_ALLOCATION.contains(&name.as_str())) {
        for found in graph.reachable(entry, is_panic) {
            if let What::Import(name) = &found.what {
                assert!(!is_lock(name), "{name}: {}", found.path.join(" "));
            }
        }
    }
    let allowed = ALLOWED.iter().chain(EXCEPTIONS.iter().flat_map(|(_, names)| *names));
    assert_eq!(allowed.filter(|name| is_lock(name)).collect::<Vec<_>>(), Vec::<&&str>::new());
}

/// Every system call that can be reached is in the list, and only a malloc that finds no memory lets others run.
#[test]
#[cfg_attr(debug_assertions, ignore = "only an optimised build has the numbers beside the calls")]
fn no_system_call_waits() {
    let graph = Graph::read(&library());
    let mut made = BTreeSet::new();
    let mut yields = BTreeSet::new();
    for (name, facts) in reached(&graph) {
        for (place, number) in &facts.calls {
            let number = number.unwrap_or_else(|| panic!("{name}: an unknown call at {place:#x}"));
            let known = CALLS.iter().find(|(known, _)| *known == number);
            let (_, call) = known.unwrap_or_else(|| panic!("{name}: call {number} at {place:#x}"));
            made.insert(*call);
            if *call == "sched_yield" {
                yields.insert(*place);
            }
        }
        assert!(facts.pauses.is_empty(), "{name} pauses at {:x?}", facts.pauses);
    }
    assert!(["mmap", "munmap", "madvise"].iter().all(|call| made.contains(call)), "{made:?}");
    for (place, frames) in written_in(&library(), &yields) {
        assert!(frames.contains(&"malloc_slow".to_owned()), "{place:#x}: {frames:?}");
    }
}

/// Every compare-and-swap was written in a function of one of the two lists.
#[test]
#[cfg_attr(debug_assertions, ignore = "only an optimised build has the atomics' methods inlined")]
fn every_compare_and_swap_is_known() {
    let graph = Graph::read(&library());
    let swaps: BTreeSet<u64> =
        reached(&graph).values().flat_map(|facts| facts.swaps.iter().copied()).collect();
    assert!(swaps.len() > 20, "{swaps:?}");
    let is_known = |name: &String| {
        RETRIED.contains(&name.as_str()) || TRIED.iter().any(|(known, _)| known == name)
    };
    let mut unknown = BTreeSet::new();
    for (place, frames) in written_in(&library(), &swaps) {
        // The atomics' own methods have the same names everywhere.
        let own = frames
            .iter()
            .find(|name| !["compare_exchange", "fetch_max", "fetch_min"].contains(&name.as_str()));
        if !own.is_some_and(is_known) {
            unknown.insert((own.cloned(), place));
        }
    }
    assert!(unknown.is_empty(), "in no list: {unknown:x?}");
}

#[test]
fn locks_are_told_by_their_names() {
    for name in [
        "pthread_mutex_lock",
        "pthread_once",
        "pthread_cond_wait",
        "sem_post",
        "<std::sync::poison::mutex::Mutex<u32>>::lock",
        "std::sys::sync::once::futex::Once::call",
        "parking_lot::RawMutex",
        "std::thread::local::LocalKey",
        "__tls_get_addr",
        "flockfile",
        "sched_yield",
    ] {
        assert!(is_lock(name), "{name}");
    }
    for name in ["memcpy", "lfalloc::front::refill_from_core", "lfalloc::partial::sweep", "abort"] {
        assert!(!is_lock(name), "{name}");
    }
}
