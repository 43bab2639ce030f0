//! Aim: no allocation function can reach anything that takes a lock, allocates, or is not yet there
//! when the first program code runs: neither the dynamic linker, the environment, threads, stdio,
//! another malloc, nor thread-local storage. Method: the call graph of the library as it was built,
//! walked from every exported allocation function.
//!
//! The ways into a panic, behind which all of that lies, are not looked into, and are a test of their own: a
//! build with debug assertions has them, and a failed assertion is a fault of its own.

#[path = "../common/mod.rs"]
mod common;
mod facts;
mod graph;
mod waits;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use common::{Optimisation, compile_to, library, tool};
use graph::{Found, Graph, What};

/// What an allocation function may call in other objects.
const ALLOWED: &[&str] = &[
    // Moves and compares bytes.
    "bcmp",
    "memcmp",
    "memcpy",
    "memmove",
    "memset",
    "strlen",
    // A thread's errno: a load.
    "__errno_location",
    // What the kernel told at the program's start: loads.
    "getauxval",
    // Ends the program with a message.
    "abort",
    "write",
    // The environment as it is: loads.
    "environ",
    // Where the C library registered the area for restartable sequences: two constants.
    "__rseq_offset",
    "__rseq_size",
];

/// What single entry points may call besides, and why.
const EXCEPTIONS: &[(&str, &[&str])] = &[
    // Writes to a stream that it is given.
    ("malloc_info", &["fprintf", "fputs", "fputc", "fwrite", "fflush", "putc"]),
    // Names the process.
    ("malloc_stats", &["getpid"]),
    // Makes a process.
    ("vfork", &["syscall"]),
    ("__vfork", &["syscall"]),
];

/// Functions with calls through a register, by a part of their names, and where those can lead.
const INDIRECT: &[(&str, &str)] = &[
    ("by_address::allocate_missed_or", "what the entry point does without memory: sets errno"),
    ("by_address::allocate_other_or", "the same"),
    ("by_address::allocate_missed_zeroed_or", "the same"),
    ("by_address::allocate_other_zeroed_or", "the same"),
    ("by_address::move_small", "the same"),
    ("by_address::resize_other", "the first two of these"),
    ("by_address::refuse", "what the entry point does with a foreign pointer"),
    ("by_address::free_refused", "what the entry point does with a foreign pointer: says so"),
    (
        "lfalloc::Core<P>>::relieve",
        "its own functions, whose addresses stay in registers in a loop",
    ),
    ("options::Number::read", "a function that reads one option's value"),
    ("core::fmt::write", "the message about a foreign pointer, which goes to a line on the stack"),
    ("core::fmt::Formatter>::pad", "the same"),
    ("malloc_stats", "the same for the statistics"),
];

/// Tell figures: they format numbers, which may panic for all the compiler knows.
const STATISTICS: &[&str] = &[
    "lfalloc_totals",
    "mallinfo",
    "mallinfo2",
    "__libc_mallinfo",
    "malloc_info",
    "malloc_stats",
    "malloc_trim",
    "lfalloc_purge",
];

/// Start and end a thread and a socket, and say so: no allocation functions.
const NO_ALLOCATION: &[&str] = &["lfalloc_agent_start", "lfalloc_agent_stop"];

/// What ends in a panic.
fn is_panic(function: &str) -> bool {
    function.starts_with("core::panicking::")
        || function.starts_with("core::slice::index::slice_")
        || function.starts_with("core::str::slice_error_fail")
        || function.starts_with("core::option::expect_failed")
        || function.starts_with("core::option::unwrap_failed")
        || function.starts_with("core::result::unwrap_failed")
}

/// What only happens after a panic.
fn is_after_panic(what: &What) -> bool {
    match what {
        What::Closed(_) => true,
        What::Import(name) => name == "_Unwind_Resume",
        What::Indirect(_) | What::ThreadLocal(_) => false,
    }
}

fn is_allowed(entry: &str, what: &What) -> bool {
    match what {
        What::Import(name) => {
            let excepted = |(of, names): &(&str, &[&str])| *of == entry && names.contains(&&**name);
            ALLOWED.contains(&&**name) || EXCEPTIONS.iter().any(excepted)
        }
        What::Indirect(function) => INDIRECT.iter().any(|(part, _)| function.contains(part)),
        What::Closed(_) | What::ThreadLocal(_) => false,
    }
}

/// Everything forbidden that an entry point can reach.
fn violations(graph: &Graph, entry: &str) -> Vec<Found> {
    let mut found = graph.reachable(entry, is_panic);
    found.retain(|found| !is_allowed(entry, &found.what));
    found
}

/// The steps among those of all allocation functions that `concerns` says yes to, each once, with the
/// way to it.
fn steps(but: &[&str], concerns: impl Fn(&What) -> bool) -> String {
    let graph = Graph::read(&library());
    let mut text = String::new();
    let mut said = BTreeSet::new();
    let concerned = |name: &&String| !NO_ALLOCATION.contains(&&***name) && !but.contains(&&***name);
    for entry in graph.exports.keys().filter(concerned) {
        for Found { what, path } in violations(&graph, entry) {
            // The same step of the same function from elsewhere tells nothing new.
            if concerns(&what) && said.insert((what.clone(), path.last().cloned())) {
                let _ = writeln!(text, "{what:?}\n    {}", path.join("\n    "));
            }
        }
    }
    text
}

#[test]
fn what_an_allocation_can_reach() {
    let steps = steps(&[], |what| !is_after_panic(what));
    assert!(steps.is_empty(), "reachable:\n{steps}");
}

/// No index is checked, nothing is unwrapped, and nothing unwinds on the way of an allocation.
#[test]
#[cfg_attr(debug_assertions, ignore = "a build with debug assertions panics where one fails")]
fn no_panic_can_be_reached() {
    let steps = steps(STATISTICS, is_after_panic);
    assert!(steps.is_empty(), "reachable:\n{steps}");
}

/// Whoever closes the library does not unload it, and no call looks up a symbol.
#[test]
fn it_stays_and_is_bound_at_once() {
    let library = library();
    let dynamic = tool("readelf", &["-dW", library.to_str().unwrap_or_default()]);
    assert!(dynamic.contains("NODELETE"), "{dynamic}");
    assert!(dynamic.contains("BIND_NOW") || dynamic.contains("NOW"), "{dynamic}");
}

/// The test can find what it looks for: in a library made for it, each forbidden step is found, through
/// slots and through stubs.
#[test]
fn forbidden_steps_are_found() {
    let folder = tempfile::tempdir().expect("a folder");
    for (number, more) in
        [&["-fno-plt", "-Wl,-z,now"][..], &["-fplt", "-Wl,-z,lazy"], &["-mtls-dialect=gnu2"]]
            .into_iter()
            .enumerate()
    {
        let object = folder.path().join(format!("forbidden{number}.so"));
        let flags = [&["-shared", "-fPIC"], more].concat();
        compile_to(&object, "forbidden.c", Optimisation::Literal, &flags);
        let graph = Graph::read(&object);
        let imports = |entry: &str| -> BTreeSet<String> {
            let name = |found: Found| match found.what {
                What::Import(name) => Some(name),
                What::ThreadLocal(_) => Some("a thread-local variable".to_owned()),
                What::Indirect(function) => Some(format!("from {function}")),
                What::Closed(_) => None,
            };
            violations(&graph, entry).into_iter().filter_map(name).collect()
        };
        let expect = |entry: &str, names: &[&str]| {
            let found = imports(entry);
            for name in names {
                assert!(found.contains(*name), "{more:?}: {entry}: {name} is not among {found:?}");
            }
        };
        // Three calls deep.
        expect("malloc", &["getenv"]);
        // The last call of a function is a jump.
        expect("calloc", &["pthread_mutex_lock"]);
        // Through a pointer to a function of the object itself, and on from there.
        expect("realloc", &["dlsym", "from realloc"]);
        expect("aligned_alloc", &["a thread-local variable"]);
        // What is harmless is not found.
        assert_eq!(imports("free"), BTreeSet::new(), "{more:?}");
    }
}
