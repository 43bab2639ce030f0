//! The library as it ships, for what is shown of it from outside: `liblfalloc.so` under programs.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `liblfalloc.so` of the profile that the calling program was built with, built now if it is not up to date.
///
/// # Errors
/// Why it cannot be built.
pub fn library() -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    // Tests lie in a folder `deps` of the others'.
    let folder = program.ancestors().skip(1).find(|folder| !folder.ends_with("deps"));
    let folder = folder.ok_or("this program lies in no folder")?;
    // The profiles for development and for tests have one folder; the library's own tests build it for tests.
    let profile = match folder.file_name().and_then(OsStr::to_str) {
        Some("debug") | None => "test",
        Some(profile) => profile,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--package", "lfalloc-preload", "--profile", profile])
        .arg("--target-dir")
        .arg(folder.parent().unwrap_or(Path::new(".")))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .map_err(|error| format!("cargo does not start: {error}"))?;
    let library = folder.join("liblfalloc.so");
    if status.success() && library.exists() {
        Ok(library)
    } else {
        Err(format!("{} could not be built: {status}", library.display()))
    }
}
