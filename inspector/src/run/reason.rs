//! Why a program that was started with the library shows nothing: what can be told from outside.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use lfalloc_protocol::options;

use crate::preloaded::{self, Loaded};
use crate::process;

/// Bits of a file's mode: it runs as its owner, or as its group.
const SET_USER_ID: u32 = 0o4000;
const SET_GROUP_ID: u32 = 0o2000;
/// Where programs are loaded by the C library that the library is made for.
const LOADER: &str = "/ld-linux-x86-64.so.2";

/// Why the process, which was started from `file`, shows nothing; in words that follow its name.
pub(crate) fn why_silent(pid: u32, file: &Path) -> String {
    match preloaded::loaded(pid) {
        Some(Loaded::Yes) => with_library(pid),
        Some(Loaded::No) => format!("it runs without the library: {}", why_not_loaded(pid, file)),
        // What it has mapped may be hidden because it runs as another user.
        None => match identity_of(file) {
            Some(reason) => format!("it runs without the library: {reason}"),
            None => "the system does not tell whether it has loaded the library".to_owned(),
        },
    }
}

fn with_library(pid: u32) -> String {
    let variable = |name| process::environment_variable(pid, name);
    let agent = variable(options::AGENT).unwrap_or_default();
    let agent = process::printable(&agent.to_string_lossy());
    match agent.as_str() {
        "1" | "children" => {
            "it has loaded the library, but its agent does not listen (LFALLOC_DIR, or it was \
             stopped)"
                .to_owned()
        }
        "" | "0" => {
            format!("{} is {agent:?} in its environment, so it starts no agent", options::AGENT)
        }
        _ => format!("{} is {agent:?}, which is none of its values", options::AGENT),
    }
}

fn why_not_loaded(pid: u32, file: &Path) -> String {
    // The file that runs now: the one that was started may have run another in its place.
    let running = process::directory(pid).join("exe");
    let file = if running.exists() { running } else { file.to_owned() };
    if let Some(reason) = why_never(&file) {
        return reason;
    }
    match interpreter_of(&file) {
        Interpreter::Is(_) if process::environment_variable(pid, "LD_PRELOAD").is_none() => {
            "LD_PRELOAD was taken out of its environment".to_owned()
        }
        _ => "the loader did not take it; what it said of that is in the output".to_owned(),
    }
}

/// Why nothing is ever preloaded into what runs from that file.
pub(super) fn why_never(file: &Path) -> Option<String> {
    if let Some(reason) = identity_of(file) {
        return Some(reason);
    }
    match interpreter_of(file) {
        Interpreter::None => {
            Some("it is statically linked, so that nothing can be preloaded".to_owned())
        }
        Interpreter::Other(what) => Some(format!("it is no 64-bit program for x86 ({what})")),
        Interpreter::Is(loader) if !loader.ends_with(LOADER) => {
            let loader = process::printable(&loader);
            Some(format!("{loader} loads it, which is not the loader of glibc"))
        }
        Interpreter::Is(_) | Interpreter::Unknown => None,
    }
}

/// Whether the loader ignores what is to be preloaded, since the file runs as somebody else.
fn identity_of(file: &Path) -> Option<String> {
    let metadata = fs::metadata(file).ok()?;
    let ids = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
    if metadata.mode() & SET_USER_ID != 0 && metadata.uid() != ids.0 {
        let user = process::user_name(metadata.uid());
        return Some(format!("it is set-user-id ({user}), and nothing is preloaded into such"));
    }
    if metadata.mode() & SET_GROUP_ID != 0 && metadata.gid() != ids.1 {
        return Some("it is set-group-id, and nothing is preloaded into such".to_owned());
    }
    None
}

/// What loads a program.
#[derive(Debug, PartialEq, Eq)]
enum Interpreter {
    /// Nothing: it is linked statically.
    None,
    /// This file.
    Is(String),
    /// It is of another kind.
    Other(&'static str),
    /// It cannot be read.
    Unknown,
}

fn interpreter_of(path: &Path) -> Interpreter {
    let Ok(file) = File::open(path) else { return Interpreter::Unknown };
    let mut header = [0; 64];
    if (&file).read_exact(&mut header).is_err() || header[..4] != *b"\x7fELF" {
        return Interpreter::Unknown;
    }
    // Class: 2 is 64 bits; data: 1 is little-endian; machine: 62 is x86-64.
    let machine = u16::from_le_bytes([header[18], header[19]]);
    match (header[4], header[5], machine) {
        (2, 1, 62) => {}
        (1, ..) => return Interpreter::Other("32-bit"),
        _ => return Interpreter::Other("another machine"),
    }
    read_interpreter(&file, &header).unwrap_or(Interpreter::Unknown)
}

/// Looks through the program headers: there is one of the kind `PT_INTERP` where there is a loader.
fn read_interpreter(file: &File, header: &[u8; 64]) -> Option<Interpreter> {
    const PT_INTERP: u32 = 3;
    const LONGEST: u64 = 4096;
    let number =
        |bytes: &[u8], at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let offset = number(header, 32)?;
    let size = u64::from(u16::from_le_bytes([header[54], header[55]]));
    let count = u64::from(u16::from_le_bytes([header[56], header[57]]));
    for place in 0..count {
        let mut entry = [0; 56];
        let at = offset.checked_add(place * size)?;
        file.read_exact_at(&mut entry, at).ok()?;
        if u32::from_le_bytes(entry[..4].try_into().ok()?) == PT_INTERP {
            let mut name = vec![0; number(&entry, 32)?.min(LONGEST) as usize];
            file.read_exact_at(&mut name, number(&entry, 8)?).ok()?;
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
            return Some(Interpreter::Is(String::from_utf8_lossy(&name[..end]).into_owned()));
        }
    }
    Some(Interpreter::None)
}

/// What a program that was started is looked for by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Its process id.
    pub pid: u32,
    /// What it is called.
    pub name: String,
    /// The file that was started.
    pub file: PathBuf,
}

#[cfg(test)]
mod tests {
    //! Aim: programs of every kind are told apart. Method: files made by hand, and this very program.
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A header, and as many program headers of that kind as asked for; the loader's name behind them.
    fn image(class: u8, machine: u16, kinds: &[u32], name: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 64 + 56 * kinds.len()];
        image[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, 1]);
        image[18..20].copy_from_slice(&machine.to_le_bytes());
        image[32..40].copy_from_slice(&64_u64.to_le_bytes());
        image[54..56].copy_from_slice(&56_u16.to_le_bytes());
        image[56..58].copy_from_slice(&(kinds.len() as u16).to_le_bytes());
        let behind = image.len() as u64;
        for (place, kind) in kinds.iter().enumerate() {
            let entry = &mut image[64 + 56 * place..];
            entry[..4].copy_from_slice(&kind.to_le_bytes());
            entry[8..16].copy_from_slice(&behind.to_le_bytes());
            entry[32..40].copy_from_slice(&(name.len() as u64).to_le_bytes());
        }
        image.extend_from_slice(name);
        image
    }

    #[test]
    fn loaders_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        let of = |image: &[u8]| {
            fs::write(&path, image).unwrap();
            interpreter_of(&path)
        };
        let musl = "/lib/ld-musl-x86_64.so.1";
        assert_eq!(of(&image(2, 62, &[1, 2], b"")), Interpreter::None);
        let dynamic = image(2, 62, &[1, 3], b"/lib/ld-musl-x86_64.so.1\0");
        assert_eq!(of(&dynamic), Interpreter::Is(musl.to_owned()));
        assert_eq!(of(&dynamic[..170]), Interpreter::Unknown, "cut off");
        assert_eq!(of(&image(1, 3, &[3], b"x")), Interpreter::Other("32-bit"));
        assert_eq!(of(&image(2, 183, &[3], b"x")), Interpreter::Other("another machine"));
        let reason = why_never(&path).unwrap();
        assert!(reason.starts_with("it is no 64-bit program"), "{reason}");
        assert_eq!(of(b"#!/bin/sh\n"), Interpreter::Unknown);
        assert_eq!(why_never(&path), None);
        assert_eq!(interpreter_of(Path::new("/no/such")), Interpreter::Unknown);
        let own = std::env::current_exe().unwrap();
        assert!(matches!(interpreter_of(&own), Interpreter::Is(name) if name.ends_with(LOADER)));
    }

    #[test]
    fn a_file_of_somebody_else_that_runs_as_them_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
        assert_eq!(identity_of(&path), None, "it runs as who we are");
        // Only root may give files away.
        if std::os::unix::fs::chown(&path, Some(65_534), None).is_ok() {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
            let reason = identity_of(&path).unwrap();
            assert!(reason.starts_with("it is set-user-id"), "{reason}");
        }
    }

    #[test]
    fn this_very_program_runs_without_the_library() {
        let own = std::env::current_exe().unwrap();
        let reason = why_silent(std::process::id(), &own);
        assert!(reason.starts_with("it runs without the library: "), "{reason}");
    }
}
