//! Aim: where the surroundings are hostile, an allocation fails with `ENOMEM` at worst: no
//! descriptors, no address space, no mappings, no root folder, no system calls, no clock, pages that
//! cannot be given back, tiny stacks, no thread-local storage, another user's rights, a library that
//! is opened by hand. Method: a C program each, with magazines and on the core alone.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_types, reason = "what waits here is no allocator")]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::sync::OnceLock;

use common::{Optimisation, Outcome, Program, Run, compile_to, library};

fn program() -> &'static Program {
    static PROGRAM: OnceLock<Program> = OnceLock::new();
    PROGRAM.get_or_init(|| Program::compile("hostile.c"))
}

/// It succeeds, and what it says besides is why it could not try.
fn survives(arguments: &[&str]) {
    for magazines in ["1", "0"] {
        let run = program().run().args(arguments).env("LFALLOC_MAGAZINES", magazines);
        let outcome = run.outcome().succeeded();
        if !outcome.stderr.is_empty() {
            assert!(outcome.only_line().starts_with("skipped: "), "{}", outcome.stderr);
            println!("{arguments:?}: {}", outcome.stderr);
        }
    }
}

fn is_root() -> bool {
    // SAFETY: no argument, cannot fail.
    unsafe { libc::geteuid() == 0 }
}

#[test]
fn no_descriptors() {
    survives(&["descriptors"]);
}

#[test]
fn no_address_space() {
    survives(&["address-space"]);
}

/// Runs the program with so many bytes of address space; how many blocks it got if it started.
fn starts_within(limit: u64, crashes: &mut Vec<u64>) -> Option<u32> {
    let run = program().run().args(["nearly-nothing"]).with(|command| {
        let limits = libc::rlimit { rlim_cur: limit, rlim_max: limit };
        // SAFETY: setrlimit(2) may be called between fork and exec, and the pointer is valid.
        let set = move || match unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limits) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        };
        // SAFETY: the closure allocates nothing and makes one system call.
        unsafe { command.pre_exec(set) };
    });
    let outcome = run.outcome();
    if outcome.status.success() {
        return Some(outcome.stdout.trim().parse().unwrap());
    }
    if outcome.status.signal().is_some() {
        crashes.push(limit);
        return None;
    }
    // The dynamic linker has words for what it cannot map.
    let fits_not = outcome.stderr.contains("cannot be preloaded")
        || outcome.stderr.contains("error while loading shared libraries");
    assert!(fits_not, "{limit}: {} {:?}", outcome.status, outcome.stderr);
    None
}

/// From the limit under which the dynamic linker cannot map the library up to one that is ample: as
/// soon as it is mapped the program runs. In between glibc's dynamic linker itself crashes where its
/// own first allocation fails, which is a matter of two pages.
#[test]
fn nearly_no_address_space_from_the_start() {
    const KIB: u64 = 1 << 10;
    let mut crashes = Vec::new();
    let started = (2..16 * KIB)
        .step_by(256)
        .map(|kibibytes| kibibytes * KIB)
        .find(|limit| starts_within(*limit, &mut crashes).is_some())
        .expect("16 MiB are enough");
    crashes.clear();
    let below: Vec<_> = (started - 300 * KIB..started).step_by(4096).collect();
    let first = below.iter().position(|limit| starts_within(*limit, &mut crashes).is_some());
    assert!(crashes.len() <= 2, "started within {started}; crashed within {crashes:?}");
    for limit in below.into_iter().skip(first.unwrap_or(usize::MAX)) {
        assert!(starts_within(limit, &mut crashes).is_some(), "{limit}: {crashes:?}");
    }
    let mut blocks = 0;
    for limit in (started..=started + 8192 * KIB).step_by(128 << 10) {
        blocks =
            starts_within(limit, &mut crashes).unwrap_or_else(|| panic!("{limit}: {crashes:?}"));
    }
    assert_eq!(blocks, 1000, "no block within {started} and 8 MiB");
}

#[test]
fn no_more_mappings() {
    survives(&["mapping-limit"]);
}

#[test]
fn no_root_folder() {
    let empty = tempfile::tempdir().unwrap();
    survives(&["chroot", empty.path().to_str().unwrap()]);
}

#[test]
fn few_system_calls() {
    survives(&["filtered"]);
}

#[test]
fn locked_pages() {
    survives(&["locked"]);
}

#[test]
fn the_smallest_stacks() {
    survives(&["small-stacks"]);
}

#[test]
fn strict_accounting() {
    survives(&["overcommit"]);
}

/// As many plugins find room for their static thread-local storage as without the library: it has
/// none itself.
#[test]
fn no_thread_local_storage() {
    let program = Program::compile("plugins.c");
    let shared = ["-shared", "-fPIC"];
    for (kind, flags) in
        [("static", &["-DSTATIC_TLS", "-ftls-model=initial-exec"][..]), ("dynamic", &[][..])]
    {
        let first = program.folder().join(format!("{kind}0.so"));
        let flags = [&shared[..], flags].concat();
        compile_to(&first, "plugin.c", Optimisation::Believing, &flags);
        // The dynamic linker tells them apart by their inodes.
        for number in 1..80 {
            fs::copy(&first, program.folder().join(format!("{kind}{number}.so"))).unwrap();
        }
    }
    let folder = program.folder().to_str().unwrap();
    let without = Run::new(program.path()).args([folder, "--glibc"]).outcome().succeeded();
    let with = program.passes(&[folder]);
    assert_eq!(with.stdout, without.stdout);
    assert!(with.stdout.contains("dynamic 80"), "{}", with.stdout);
}

#[test]
fn opened_and_closed_by_hand() {
    let program = Program::compile("opened.c");
    let library = library();
    let library = library.to_str().unwrap();
    program.passes(&[library]);
    Run::new(program.path()).args([library, "alone"]).outcome().quietly();
}

/// A program that runs with another user's rights ignores what the environment asks of the library:
/// no agent, no statistics. The same program with nobody's special rights heeds it.
#[test]
fn another_users_rights() {
    if !is_root() {
        println!("skipped: it needs root to make a set-user-id program");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let here = folder.path().join("liblfalloc.so");
    fs::copy(library(), &here).unwrap();
    fs::set_permissions(&here, Permissions::from_mode(0o755)).unwrap();
    let path = folder.path().join("set_user_id");
    let rpath = format!("-Wl,-rpath,{}", folder.path().display());
    let flags = ["-Wl,--no-as-needed", here.to_str().unwrap(), &rpath];
    compile_to(&path, "set_user_id.c", Optimisation::Literal, &flags);
    let sockets = tempfile::tempdir().unwrap();
    chown(sockets.path(), Some(65534), Some(65534)).unwrap();
    fs::set_permissions(sockets.path(), Permissions::from_mode(0o700)).unwrap();
    let run = || -> Outcome {
        Run::new(&path)
            .env("LFALLOC_AGENT", "1")
            .env("LFALLOC_STATS", "1")
            .env("LFALLOC_DIR", sockets.path())
            .with(|command| {
                command.uid(65534).gid(65534);
            })
            .outcome()
            .succeeded()
    };

    let heeding = run();
    assert_eq!(heeding.stdout, "threads 2 secure 0\n", "{}", heeding.stderr);
    assert!(!heeding.stderr.is_empty(), "no statistics");

    chown(&path, Some(1), Some(1)).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o4755)).unwrap();
    let ignoring = run();
    assert_eq!(ignoring.stdout, "threads 1 secure 1\n", "{}", ignoring.stderr);
    assert_eq!(ignoring.stderr, "");
    assert_eq!(fs::read_dir(sockets.path()).unwrap().count(), 0);
}
