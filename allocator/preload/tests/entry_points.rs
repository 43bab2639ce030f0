//! Aim: every exported name of the C library's malloc keeps its promises at its edges: sizes of
//! nothing and of too much, alignments, errno, what realloc keeps, what calloc clears, and which
//! bytes are the caller's. Method: C programs, each built as written and as optimised, each on
//! magazines and on the core alone.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeSet;

use common::{Program, library, passes_every_way, tool};

#[test]
fn zero_sizes_alignment_errno_and_realloc() {
    passes_every_way("entry_basics.c");
}

#[test]
fn sizes_and_alignments_that_nobody_can_have() {
    passes_every_way("entry_limits.c");
}

#[test]
fn every_usable_byte_is_the_callers() {
    passes_every_way("entry_usable.c");
}

#[test]
fn calloc_clears_what_was_dirty() {
    passes_every_way("entry_zero.c");
}

#[test]
fn every_name_works() {
    passes_every_way("entry_names.c");
}

/// `malloc_stats` writes on standard error, and writes something.
#[test]
fn statistics_go_to_standard_error() {
    let outcome = Program::compile("entry_names.c").passes(&[]);
    assert_eq!(outcome.stdout, "");
    let (_, rest) = outcome.stderr.split_once("<<<\n").unwrap();
    let (statistics, _) = rest.split_once(">>>\n").unwrap();
    assert!(statistics.lines().count() >= 2, "{statistics:?}");
    assert!(statistics.chars().any(|c| c.is_ascii_digit()), "{statistics:?}");
}

/// The library exports the C library's names and its own, and nothing else: neither a C++ operator,
/// which would keep a program's own from being called by the C++ library's other forms, nor what it
/// is made of.
#[test]
fn what_is_exported() {
    const REQUIRED: &[&str] = &[
        "__libc_calloc",
        "__libc_cfree",
        "__libc_free",
        "__libc_mallinfo",
        "__libc_malloc",
        "__libc_mallopt",
        "__libc_memalign",
        "__libc_pvalloc",
        "__libc_realloc",
        "__libc_reallocarray",
        "__libc_valloc",
        "__posix_memalign",
        "__vfork",
        "aligned_alloc",
        "calloc",
        "cfree",
        "free",
        "free_aligned_sized",
        "free_sized",
        "lfalloc_agent_start",
        "lfalloc_agent_stop",
        "lfalloc_purge",
        "lfalloc_totals",
        "mallinfo",
        "mallinfo2",
        "malloc",
        "malloc_info",
        "malloc_stats",
        "malloc_trim",
        "malloc_usable_size",
        "mallopt",
        "memalign",
        "posix_memalign",
        "pvalloc",
        "realloc",
        "reallocarray",
        "valloc",
        "vfork",
    ];
    let listing = tool("nm", &["-D", "--defined-only", library().to_str().unwrap()]);
    let exported: BTreeSet<&str> =
        listing.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    let missing: Vec<_> = REQUIRED.iter().filter(|name| !exported.contains(*name)).collect();
    assert!(missing.is_empty(), "not exported: {missing:?}");
    let foreign: Vec<_> = exported
        .iter()
        .filter(|name| !REQUIRED.contains(name) && !name.starts_with("lfalloc_"))
        .collect();
    assert!(foreign.is_empty(), "exported besides: {foreign:?}");
}
