//! Aim: the calls of `lfalloc.h` do what it says: the totals are true to the block, a purge gives
//! back, the agent starts and stops and costs the program nothing. Method: a C program that includes
//! the header and is linked to the library, one case a run.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_types, reason = "what waits here is no allocator")]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::OnceLock;

use common::{Optimisation, Outcome, Program, Run, compile_to, library};
use tempfile::TempDir;

fn program() -> &'static Program {
    static PROGRAM: OnceLock<Program> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let library = library();
        let rpath = format!("-Wl,-rpath,{}", library.parent().unwrap().display());
        let flags = [library.to_str().unwrap(), &rpath];
        Program::compile_with("own_calls.c", Optimisation::Literal, &flags)
    })
}

/// A folder for sockets, as private as the agent wants it.
fn sockets() -> TempDir {
    let folder = tempfile::Builder::new().prefix("lf").tempdir_in("/tmp").unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
    folder
}

/// Runs a case on the library it is linked to.
fn run(case: &str, sockets: &Path, magazines: &str) -> Outcome {
    Run::new(program().path())
        .args([case.as_ref(), sockets.as_os_str()])
        .env("LFALLOC_DIR", sockets)
        .env("LFALLOC_MAGAZINES", magazines)
        .outcome()
}

fn passes(case: &str) {
    for magazines in ["1", "0"] {
        let sockets = sockets();
        run(case, sockets.path(), magazines).quietly();
        assert_eq!(fs::read_dir(sockets.path()).unwrap().count(), 0, "{case} left something");
    }
}

#[test]
fn the_figures_are_true() {
    passes("figures");
}

#[test]
fn any_size_of_the_struct() {
    passes("sizes");
}

#[test]
fn a_purge_gives_back() {
    passes("purge");
}

#[test]
fn the_agent_starts_and_stops() {
    passes("agent");
}

#[test]
fn the_program_goes_on_beside_the_agent() {
    passes("beside");
}

/// The error is returned, and said in one line.
#[test]
fn the_agent_finds_no_folder() {
    let sockets = sockets();
    let file = sockets.path().join("file");
    fs::write(&file, "").unwrap();
    let outcome = run("no-folder", &file.join("folder"), "1").succeeded();
    assert!(outcome.only_line().starts_with("lfalloc"), "{}", outcome.stderr);
}

/// The header is good C of every age, and good C++.
#[test]
fn the_header_is_self_contained() {
    let folder = tempfile::tempdir().unwrap();
    let header = Path::new(env!("CARGO_MANIFEST_DIR")).join("lfalloc.h");
    let header = header.to_str().unwrap();
    for (compiler, standard) in
        [("gcc", "c99"), ("gcc", "c11"), ("gcc", "c2x"), ("g++", "c++11"), ("g++", "c++20")]
    {
        let language = if compiler == "gcc" { "c" } else { "c++" };
        let object = folder.path().join("header.o");
        let (standard, object) = (format!("-std={standard}"), object.to_str().unwrap());
        common::tool(
            compiler,
            &[
                &standard,
                "-Wall",
                "-Wextra",
                "-Wpedantic",
                "-Werror",
                "-x",
                language,
                "-c",
                header,
                "-o",
                object,
            ],
        );
    }
}

/// Linked or preloaded, it is one library.
#[test]
fn linked_and_preloaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own_calls");
    let library = library();
    compile_to(&path, "own_calls.c", Optimisation::Believing, &[library.to_str().unwrap()]);
    let run = Run::new(&path).args(["figures"]).env("LD_PRELOAD", library);
    run.outcome().quietly();
}
