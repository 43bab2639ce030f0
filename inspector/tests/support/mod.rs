//! What the tests of the real binary share: running it, and an agent of our own making.

#![allow(dead_code, reason = "each test program uses its own part")]
#![allow(clippy::unwrap_used, reason = "a failed expectation ends the test")]

#[cfg(feature = "demo")]
pub(crate) mod demo_target;
pub(crate) mod fake;
pub(crate) mod launch;
pub(crate) mod screen;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// The binary under test, with its sockets' directory set and nothing else of our environment that
/// it reads.
pub(crate) fn lfinspect(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lfinspect"));
    command
        .env("LFALLOC_DIR", directory)
        .env_remove("XDG_RUNTIME_DIR")
        .env_remove("LFINSPECT_LOG")
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) fn run(directory: &Path, arguments: &[&str]) -> Output {
    lfinspect(directory).args(arguments).output().unwrap()
}

/// Standard output of a run that must succeed, and say nothing else.
pub(crate) fn stdout_of(directory: &Path, arguments: &[&str]) -> String {
    let output = run(directory, arguments);
    let stderr = text(&output.stderr);
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}{stdout}");
    assert_eq!(stderr, "", "{arguments:?}");
    stdout
}

/// The one line of a run that must fail with status 1 and print nothing.
pub(crate) fn failure_of(directory: &Path, arguments: &[&str]) -> String {
    let output = run(directory, arguments);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
    assert_eq!(text(&output.stdout), "", "{arguments:?}");
    let mut lines = stderr.lines();
    let line = lines.next().unwrap_or_default().to_owned();
    assert_eq!(lines.next(), None, "more than one line: {stderr}");
    line.strip_prefix("lfinspect: ").unwrap_or_else(|| panic!("{line}")).to_owned()
}

/// Output as text; anything else is a failure of the test.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A folder for sockets. An agent accepts no directory that others may write to.
pub(crate) fn private_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    folder
}
