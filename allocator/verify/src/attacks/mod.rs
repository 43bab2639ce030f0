//! What becomes of attacks on lfalloc and on other allocators: programs that free what they must not and write where they must not,
//! and look themselves whether they got what an attacker wants. The attacks are in `c/attacks`.
//!
//! * [`program`] — the program with all attacks, a process for each trial.
//! * [`ending`] — what became of one, and of many.
//! * [`contender`] — who is attacked: libraries, each with its environment.
//! * [`table`] — every attack on everybody.
//! * [`cost`] — what it costs to be on one's guard.

pub mod contender;
pub mod cost;
pub mod ending;
pub mod program;
pub mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder of its own, that goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // Relaxed: no two get the same number.
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("lfalloc-attacks-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // A folder that is there already is somebody else's.
        fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It is in the folder for what is temporary: somebody else removes it, if this fails.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The C files of a folder.
pub(crate) fn c_files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let in_folder = |error| format!("{}: {error}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(in_folder)? {
        let path = entry.map_err(in_folder)?.path();
        if path.extension().is_some_and(|end| end == "c") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Runs a compiler; an error is the end of what it said.
pub(crate) fn compile(compiler: &mut Command) -> Result<(), String> {
    let output = compiler.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{compiler:?} does not start: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = said.lines().collect();
    Err(lines.get(lines.len().saturating_sub(10)..).unwrap_or_default().join("\n"))
}
