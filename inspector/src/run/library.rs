//! Where the library to preload is, and how the loader is told.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use lfalloc_protocol::options::LIBRARY;

use crate::failure::Failure;
use crate::process;

/// What the library is called.
pub const FILE: &str = "liblfalloc.so";
/// The variable that the loader obeys.
pub(super) const PRELOAD: &str = "LD_PRELOAD";
/// How to get one.
const BUILD: &str = "cargo build --release -p lfalloc-preload";

/// The library: the one that `LFALLOC_SO` names, or the first of those places where it is installed.
///
/// # Errors
/// When there is none, or `LFALLOC_SO` names no file.
pub fn find() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().ok();
    find_by(|name| std::env::var_os(name), own.as_deref())
}

fn find_by(env: impl Fn(&str) -> Option<OsString>, own: Option<&Path>) -> Result<PathBuf, Failure> {
    let set = |name| env(name).filter(|value| !value.is_empty());
    if let Some(named) = set(LIBRARY).map(PathBuf::from) {
        // Absolute: the program may look for it from another directory.
        return match named.canonicalize() {
            Ok(path) if path.is_file() => Ok(path),
            _ => Err(Failure::new(format!(
                "{LIBRARY} names {}, which is no file: unset it, or build one with `{BUILD}`",
                process::printable_path(&named)
            ))),
        };
    }
    let mut places = Vec::new();
    if let Some(directory) = own.and_then(Path::parent) {
        places.push(directory.to_owned());
        if let Some(prefix) = directory.parent() {
            places.push(prefix.join("lib"));
            places.push(prefix.join("lib/lfalloc"));
        }
    }
    places.extend(set("HOME").map(|home| Path::new(&home).join(".local/lib/lfalloc")));
    let found = places.iter().map(|place| place.join(FILE)).find(|path| path.is_file());
    found.and_then(|path| path.canonicalize().ok()).ok_or_else(|| {
        let places: Vec<_> = places.iter().map(|place| process::printable_path(place)).collect();
        Failure::new(format!(
            "there is no {FILE} in {}: build it with `{BUILD}`, or name it in {LIBRARY}",
            places.join(", ")
        ))
    })
}

/// What the loader is told: `library` before everything that was to be preloaded already.
///
/// # Errors
/// When the path of the library cannot be said to it.
pub(super) fn preload(library: &Path, before: Option<OsString>) -> Result<OsString, Failure> {
    let path = library.as_os_str();
    if path.as_bytes().iter().any(|byte| matches!(byte, b' ' | b':')) {
        return Err(Failure::new(format!(
            "{} cannot be preloaded, since {PRELOAD} is split at blanks and colons: move it, and \
             name it in {LIBRARY}",
            process::printable_path(library)
        )));
    }
    let mut told = path.to_owned();
    if let Some(before) = before.filter(|before| !before.is_empty()) {
        told.push(OsStr::new(":"));
        told.push(before);
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    //! Aim: every place is looked at, in order, and what is missing is said with them all.
    use std::fs;

    use super::*;

    #[test]
    fn places_are_looked_at_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let own = root.join("bin/lfinspect");
        let home = root.join("home");
        let env = |name: &str| (name == "HOME").then(|| home.clone().into_os_string());
        let failure = find_by(env, Some(&own)).unwrap_err().to_string();
        let root = root.display();
        assert_eq!(
            failure,
            format!(
                "there is no liblfalloc.so in {root}/bin, {root}/lib, {root}/lib/lfalloc, \
                 {root}/home/.local/lib/lfalloc: build it with `cargo build --release -p \
                 lfalloc-preload`, or name it in LFALLOC_SO"
            )
        );
        for place in ["home/.local/lib/lfalloc", "lib/lfalloc", "lib", "bin"] {
            let directory = folder.path().join(place);
            fs::create_dir_all(&directory).unwrap();
            let path = directory.canonicalize().unwrap().join(FILE);
            fs::write(&path, "").unwrap();
            assert_eq!(find_by(env, Some(&own)), Ok(path), "{place} goes before what was there");
        }
    }

    #[test]
    fn a_library_that_is_named_is_the_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap().join("other.so");
        let env = |name: &str| (name == LIBRARY).then(|| path.clone().into_os_string());
        let failure = find_by(env, None).unwrap_err().to_string();
        assert!(failure.starts_with(&format!("LFALLOC_SO names {}, which", path.display())));
        fs::write(&path, "").unwrap();
        assert_eq!(find_by(env, None), Ok(path.clone()));
        let directory = |name: &str| (name == LIBRARY).then(|| folder.path().into());
        assert!(find_by(directory, None).is_err());
    }

    #[test]
    fn what_was_to_be_preloaded_stays() {
        let told = |before: Option<&str>| preload(Path::new("/a.so"), before.map(OsString::from));
        assert_eq!(told(None), Ok("/a.so".into()));
        assert_eq!(told(Some("")), Ok("/a.so".into()));
        assert_eq!(told(Some("/b.so /c.so")), Ok("/a.so:/b.so /c.so".into()));
        assert!(preload(Path::new("/a b.so"), None).is_err());
        assert!(preload(Path::new("/a:b.so"), None).is_err());
    }
}
