//! Aim: a malloc and a free that find what they look for stay as short as they are. Method: the machine code of a release
//! build, from the entry point on, as it is executed if no conditional jump is taken: what is rare lies elsewhere, and the path
//! ends with a `ret`. Measured in time it would be lost among what else a machine does.
//!
//! A build with debug assertions has all of them on its way, and is not counted.

mod common;

use common::{library, tool};

/// Instructions of both together: 26 and 29 when this was written.
const MOST: usize = 55;

/// Bytes of a line of the processor's instruction cache.
const LINE_BYTES: u64 = 64;

/// Where an exported function begins.
fn address(library: &str, function: &str) -> u64 {
    let symbols = tool("nm", &["-D", "--defined-only", library]);
    let address = symbols.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let (address, name) = (words.next()?, words.nth(1)?);
        (name == function).then(|| u64::from_str_radix(address, 16).ok())?
    });
    address.unwrap_or_else(|| panic!("no {function}"))
}

/// The instructions of an exported function to its first `ret`, if no jump is taken.
fn straight_path(library: &str, function: &str) -> Vec<String> {
    let address = address(library, function);
    let (start, stop) = (
        format!("--start-address={address:#x}"),
        // Longer than any path that passes.
        format!("--stop-address={:#x}", address + 1024),
    );
    let listing = tool("objdump", &["-d", "--no-show-raw-insn", &start, &stop, library]);
    let mut path = Vec::new();
    for line in listing.lines() {
        let Some((_, instruction)) = line.trim_start().split_once(":\t") else { continue };
        let name = instruction.split_whitespace().next().unwrap_or_default();
        assert!(
            !matches!(name, "jmp" | "call"),
            "{function} leaves the straight way to its ret: {path:#?}\n{instruction}"
        );
        path.push(instruction.to_owned());
        if name == "ret" {
            return path;
        }
    }
    panic!("{function} has no ret: {path:#?}");
}

#[test]
#[cfg_attr(debug_assertions, ignore = "assertions are not counted")]
fn hit_path_is_short() {
    let library = library();
    let library = library.to_str().unwrap_or_default();
    let paths = ["malloc", "free"].map(|function| straight_path(library, function));
    for path in &paths {
        // The sequence is there: the processor's number is read, and the last but a few stores the magazine's word.
        assert!(path.iter().any(|instruction| instruction.contains("%fs:0x4(")), "{path:#?}");
        assert!(path.iter().all(|instruction| !instruction.contains("lock ")), "{path:#?}");
    }
    let counts = paths.each_ref().map(Vec::len);
    assert!(counts.iter().sum::<usize>() <= MOST, "{counts:?}: {paths:#?}");
}

#[test]
#[cfg_attr(debug_assertions, ignore = "where nothing is measured, nothing has to lie well")]
fn hit_path_begins_with_a_line() {
    let library = library();
    let library = library.to_str().unwrap_or_default();
    for function in ["malloc", "free"] {
        assert_eq!(address(library, function) % LINE_BYTES, 0, "{function}");
    }
}
