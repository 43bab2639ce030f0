//! Aim: wrong programs are told. A pointer that is no block's is said on standard error, counted and
//! ignored, and never followed; a free that would spoil the books ends the program with one line
//! that names the address. Method: one program, one fault a run, told to it by name.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_types, reason = "what waits here is no allocator")]

mod common;

use std::sync::OnceLock;

use common::{Outcome, Program};

fn program() -> &'static Program {
    static PROGRAM: OnceLock<Program> = OnceLock::new();
    PROGRAM.get_or_init(|| Program::compile("misuse.c"))
}

/// A variable of the environment and its value: the magazines notice other things than the core does, and whoever checks every
/// free notices more.
type Setting = (&'static str, &'static str);
const MAGAZINES: Setting = ("LFALLOC_MAGAZINES", "1");
const CORE: Setting = ("LFALLOC_MAGAZINES", "0");
const HARDENED: Setting = ("LFALLOC_HARDEN", "1");

fn run(case: &str, (name, value): Setting) -> Outcome {
    program().run().args([case]).env(name, value).outcome()
}

/// The addresses in a text, in the order they stand there.
fn addresses(text: &str) -> Vec<u64> {
    let digits = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(text.len());
        u64::from_str_radix(&text[..end], 16).ok()
    };
    text.split("0x").skip(1).filter_map(digits).collect()
}

/// The addresses that the program says it used.
fn announced(outcome: &Outcome) -> Vec<u64> {
    addresses(&outcome.stdout)
}

fn is_foreign(case: &str) {
    for setting in [MAGAZINES, CORE] {
        let outcome = run(case, setting).succeeded();
        let line = outcome.only_line();
        assert!(line.contains("free"), "{case}: {line:?}");
        assert_eq!(addresses(line), announced(&outcome), "{case}: {line:?}");
    }
    ends(case, HARDENED);
}

fn is_fatal(case: &str) {
    for setting in [MAGAZINES, CORE, HARDENED] {
        ends(case, setting);
    }
}

/// It ends, and says where.
fn ends(case: &str, setting: Setting) {
    let outcome = run(case, setting);
    let line = outcome.aborted();
    let address = announced(&outcome)[0];
    assert!(addresses(line).contains(&address), "{case}: {address:#x} is not in {line:?}");
}

#[test]
fn a_pointer_into_the_stack_is_ignored() {
    is_foreign("stack");
    is_foreign("stack-odd");
}

#[test]
fn a_pointer_to_a_static_is_ignored() {
    is_foreign("static");
    is_foreign("code");
}

#[test]
fn a_pointer_into_a_mapping_is_ignored() {
    is_foreign("mapping");
}

/// It would fault if it were followed.
#[test]
fn a_foreign_pointer_is_not_followed() {
    is_foreign("inaccessible");
    is_foreign("one");
    is_foreign("no-address");
    is_foreign("kernel");
}

#[test]
fn a_small_block_freed_twice_ends_the_program() {
    is_fatal("twice-small");
    is_fatal("often-small");
}

#[test]
fn a_middle_block_freed_twice_ends_the_program() {
    is_fatal("twice-middle");
    is_fatal("often-middle");
}

#[test]
fn a_large_block_freed_twice_ends_the_program() {
    is_fatal("twice-large");
    is_fatal("often-large");
}

#[test]
fn a_pointer_into_a_small_block_ends_the_program() {
    is_fatal("interior-small");
    is_fatal("interior-odd");
    is_fatal("interior-popped");
}

#[test]
fn a_pointer_into_a_middle_block_ends_the_program() {
    is_fatal("interior-middle");
}

#[test]
fn a_pointer_into_a_large_block_ends_the_program() {
    is_fatal("interior-large");
}

/// A megabyte behind its beginning lies another granule of the map of pages, which knows nothing of it.
#[test]
fn a_pointer_far_into_a_large_block_is_ignored() {
    is_foreign("interior-end");
}

/// Links lie in freed blocks. What was written over them is not followed: the program ends, and the
/// message names an address among the blocks.
fn spoils_the_list(case: &str, setting: Setting) {
    const AROUND: u64 = 1 << 20;
    let outcome = run(case, setting);
    let line = outcome.aborted();
    let [lowest, highest] = announced(&outcome)[..] else { panic!("{}", outcome.stdout) };
    let near = lowest - AROUND..highest + AROUND;
    assert!(addresses(line).iter().any(|address| near.contains(address)), "{case}: {line:?}");
}

#[test]
fn a_free_list_that_was_written_over_ends_the_program() {
    for setting in [CORE, HARDENED] {
        spoils_the_list("written-few", setting);
        spoils_the_list("written-small", setting);
        spoils_the_list("written-middle", setting);
    }
}

/// Blocks in magazines hold no links; beyond what those hold they do.
#[test]
fn a_free_list_behind_the_magazines_that_was_written_over_ends_the_program() {
    spoils_the_list("written-small", MAGAZINES);
    spoils_the_list("written-middle", MAGAZINES);
}

/// A block that is back in its superblock holds its link, which nobody else can make.
#[test]
fn a_block_freed_again_later_ends_the_program() {
    is_fatal("later-small");
    is_fatal("later-middle");
}

/// A link is one in its own block only.
#[test]
fn a_link_of_another_block_ends_the_program() {
    for setting in [MAGAZINES, CORE, HARDENED] {
        spoils_the_list("forged", setting);
    }
}

/// Anywhere in a freed block, if every free is checked.
#[test]
fn a_write_behind_the_link_ends_the_program_if_hardened() {
    ends("behind-small", HARDENED);
    ends("behind-middle", HARDENED);
}

#[test]
fn a_freed_block_that_is_resized_or_measured_ends_the_program_if_hardened() {
    ends("resized", HARDENED);
    ends("measured", HARDENED);
}

#[test]
fn two_threads_that_free_a_small_block_at_once_end_the_program_if_hardened() {
    run("raced-small", HARDENED).succeeded();
}

#[test]
fn two_threads_that_free_a_large_block_at_once_end_the_program() {
    for setting in [MAGAZINES, HARDENED] {
        run("raced-large", setting).succeeded();
    }
}

/// Aim: no program is ended that did nothing wrong. Method: one that leaves everything in its blocks as it was.
#[test]
fn blocks_that_nobody_touched_are_freed() {
    for setting in [MAGAZINES, CORE, HARDENED] {
        run("untouched", setting).succeeded();
    }
}
