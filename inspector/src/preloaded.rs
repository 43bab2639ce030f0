//! Processes that have the preloaded library, seen from outside.

use std::fs;

use crate::process;
use crate::run::library::FILE;

/// Whether a process has the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// It has.
    Yes,
    /// It has not.
    No,
}

/// Whether the process has the library mapped; `None` where the system does not say.
#[must_use]
pub fn loaded(pid: u32) -> Option<Loaded> {
    let maps = fs::read_to_string(process::directory(pid).join("maps")).ok()?;
    // A process that has ended has nothing mapped.
    if maps.is_empty() {
        return None;
    }
    Some(if maps.lines().any(is_library) { Loaded::Yes } else { Loaded::No })
}

/// Whether a line of `/proc/PID/maps` is of the library, under its name or with a version behind it.
fn is_library(line: &str) -> bool {
    let Some((_, path)) = line.split_once('/') else { return false };
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let name = path.rsplit('/').next().unwrap_or(path);
    name.strip_prefix(FILE).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The command that starts the agent of a process that has the library.
#[must_use]
pub fn start_agent(pid: u32) -> String {
    format!("gdb -p {pid} -batch -ex 'call (int)lfalloc_agent_start()'")
}

#[cfg(test)]
mod tests {
    //! Aim: the library is known by its name alone, whole.
    use super::*;

    #[test]
    fn lines_of_maps() {
        let line = |path: &str| is_library(&format!("7f00-7f01 r-xp 00000000 08:01 42    {path}"));
        for yes in
            ["/usr/lib/liblfalloc.so", "/a b/liblfalloc.so.1", "/tmp/liblfalloc.so (deleted)"]
        {
            assert!(line(yes), "{yes}");
        }
        for no in ["", "[heap]", "/usr/lib/xliblfalloc.so", "/liblfalloc.so/x", "/liblfalloc.sox"] {
            assert!(!line(no), "{no}");
        }
        assert_eq!(loaded(std::process::id()), Some(Loaded::No));
        assert_eq!(loaded(u32::MAX), None);
    }
}
