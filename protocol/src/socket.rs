//! Where sockets lie and what they are called.
//!
//! ```text
//!   directory   $LFALLOC_DIR, else $XDG_RUNTIME_DIR/lfalloc, else /tmp/lfalloc-<user id>
//!   file        <name>.<process id>.sock, or <name>.<process id>.<suffix>.sock
//! ```
//!
//! A name is made of ASCII letters, digits, `-` and `_`, so that a dot always ends it. The suffix is
//! used when a live socket already has the plain name: a second agent in one program, or the same
//! process id in another container that shares the directory. The process id in the file name is
//! the program's own view of it; viewers on the other side of a container take the one from the
//! peer credentials of the connection.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Environment variable that names the directory of the sockets.
pub const DIRECTORY_VARIABLE: &str = "LFALLOC_DIR";
/// The most bytes a socket's path has: the system's field for it holds 108, one of them zero.
pub const MAX_PATH_BYTES: usize = 107;
/// The most bytes of the sanitised name within a file name.
pub const MAX_NAME_BYTES: usize = 32;

/// What a socket's file name says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketName {
    /// The sanitised name of the program.
    pub name: String,
    /// The process id as the program sees it.
    pub pid: u32,
    /// 0 for the plain name.
    pub suffix: u32,
}

/// The directory of the sockets of the user `uid`, by the variables that `env` looks up.
///
/// An empty variable counts as absent, and a relative `XDG_RUNTIME_DIR` is ignored, as its
/// specification demands.
pub fn directories_from_env(env: impl Fn(&str) -> Option<OsString>, uid: u32) -> PathBuf {
    if let Some(directory) = env(DIRECTORY_VARIABLE).filter(|value| !value.is_empty()) {
        return PathBuf::from(directory);
    }
    match env("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute()) {
        Some(runtime) => runtime.join("lfalloc"),
        None => PathBuf::from(format!("/tmp/lfalloc-{uid}")),
    }
}

/// The file name of a socket: `<sanitised name>.<pid>.sock`, with a suffix over 0
/// `<sanitised name>.<pid>.<suffix>.sock`.
#[must_use]
pub fn socket_file_name(name: &str, pid: u32, suffix: u32) -> String {
    let name = sanitise(name);
    match suffix {
        0 => format!("{name}.{pid}.sock"),
        _ => format!("{name}.{pid}.{suffix}.sock"),
    }
}

/// Reads a file name that [`socket_file_name`] made; `None` for any other.
#[must_use]
pub fn parse_socket_file_name(file_name: &str) -> Option<SocketName> {
    let mut parts = file_name.strip_suffix(".sock")?.split('.');
    let name = parts.next()?;
    let pid = parse_number(parts.next()?)?;
    let suffix = match parts.next() {
        Some(suffix) => parse_number(suffix)?,
        None => 0,
    };
    // Made again and compared: this refuses everything the maker would not have written.
    let parsed = SocketName { name: name.to_owned(), pid, suffix };
    (socket_file_name(name, pid, suffix) == file_name).then_some(parsed)
}

/// Refuses a path that does not fit the system's socket address.
///
/// # Errors
/// [`Error::PathTooLong`], which names the way out.
pub fn check_path_length(path: &Path) -> Result<(), Error> {
    let bytes = path.as_os_str().len();
    if bytes > MAX_PATH_BYTES {
        return Err(Error::PathTooLong { path: path.to_owned(), bytes });
    }
    Ok(())
}

/// A name fit for a file name; `program` when nothing is left of it.
fn sanitise(name: &str) -> String {
    let name: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' })
        .take(MAX_NAME_BYTES)
        .collect();
    if name.is_empty() { "program".to_owned() } else { name }
}

/// A number over 0 in plain digits.
fn parse_number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|&number| number > 0)
}

#[cfg(test)]
mod tests {
    //! Aim: the rules above. Method: examples; that every name parses back is in
    //! `tests/properties.rs`.
    use super::*;

    fn directory(variables: &[(&str, &str)]) -> PathBuf {
        directories_from_env(
            |name| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v)),
            1000,
        )
    }

    #[test]
    fn directories() {
        let runtime = ("XDG_RUNTIME_DIR", "/run/user/1000");
        assert_eq!(directory(&[]), Path::new("/tmp/lfalloc-1000"));
        assert_eq!(directory(&[runtime]), Path::new("/run/user/1000/lfalloc"));
        assert_eq!(directory(&[("LFALLOC_DIR", "/d"), runtime]), Path::new("/d"));
        assert_eq!(directory(&[("LFALLOC_DIR", ""), runtime]), Path::new("/run/user/1000/lfalloc"));
        assert_eq!(directory(&[("XDG_RUNTIME_DIR", "run")]), Path::new("/tmp/lfalloc-1000"));
        assert_eq!(directory(&[("XDG_RUNTIME_DIR", "")]), Path::new("/tmp/lfalloc-1000"));
    }

    #[test]
    fn file_names() {
        assert_eq!(socket_file_name("indexer", 42, 0), "indexer.42.sock");
        assert_eq!(socket_file_name("indexer", 42, 3), "indexer.42.3.sock");
        assert_eq!(socket_file_name("../a b.c\n", 1, 0), "___a_b_c_.1.sock");
        assert_eq!(socket_file_name("", 1, 0), "program.1.sock");
        assert_eq!(socket_file_name("größe", 1, 0), "gr__e.1.sock");
        assert_eq!(socket_file_name(&"x".repeat(99), 1, 0).len(), MAX_NAME_BYTES + 7);
    }

    #[test]
    fn file_names_are_read_strictly() {
        let parsed = parse_socket_file_name("indexer.42.3.sock").unwrap();
        assert_eq!(parsed, SocketName { name: "indexer".to_owned(), pid: 42, suffix: 3 });
        for other in [
            "",
            ".sock",
            "a.sock",
            ".1.sock",
            "a.b.sock",
            "a.0.sock",
            "a.+1.sock",
            "a.01.sock",
            "a.1.0.sock",
            "a.1.2.3.sock",
            "a.1.sock.bak",
            "a b.1.sock",
            "a.99999999999.sock",
        ] {
            assert_eq!(parse_socket_file_name(other), None, "{other}");
        }
    }

    #[test]
    fn long_paths_name_the_way_out() {
        let path = PathBuf::from("/".to_owned() + &"d".repeat(MAX_PATH_BYTES - 1));
        assert!(check_path_length(&path).is_ok());
        let error = check_path_length(&path.join("s")).unwrap_err();
        assert!(error.to_string().contains("LFALLOC_DIR"), "{error}");
    }
}
