//! What the system says of a process, from `/proc`, and of a user, from the user database.
//!
//! Nothing here fails: a process may end between two reads, and another user's process hides some
//! of this. What cannot be read is `None`.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};

/// Process ids of all processes that are visible, in no special order.
#[must_use]
pub fn all_pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Whether there is such a process; true also for one that has ended and was not waited for.
#[must_use]
pub fn exists(pid: u32) -> bool {
    directory(pid).exists()
}

/// Name of the program (`comm`), [`printable`].
#[must_use]
pub fn name(pid: u32) -> Option<String> {
    let comm = fs::read_to_string(directory(pid).join("comm")).ok()?;
    Some(printable(comm.trim_end()))
}

/// Resident bytes.
#[must_use]
pub fn rss_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(directory(pid).join("status")).ok()?;
    rss_of_status(&status)
}

/// Effective user.
#[must_use]
pub fn user_id(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(directory(pid).join("status")).ok()?;
    field(&status, "Uid")?.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The ids of the process, from our process namespace to its own; one id where they are the same.
#[must_use]
pub fn namespace_pids(pid: u32) -> Vec<u32> {
    let status = fs::read_to_string(directory(pid).join("status")).unwrap_or_default();
    namespace_pids_of_status(&status)
}

/// Whether the process is a zombie or was stopped by a signal or a tracer: the letter of its state.
#[must_use]
pub fn state_letter(pid: u32) -> Option<char> {
    let status = fs::read_to_string(directory(pid).join("status")).ok()?;
    field(&status, "State")?.chars().next()
}

/// The parent of the process, its parent, and so on up to `root`; nothing if it does not descend from that. Where one of
/// them has ended, those that are in the session of `root` descend from it.
#[must_use]
pub fn ancestors(pid: u32, root: u32) -> Vec<u32> {
    /// More than this is a loop: ids may be given to others while they are read.
    const DEEPEST: usize = 64;
    let mut ancestors = Vec::new();
    let mut parent = pid;
    while ancestors.len() < DEEPEST {
        match family(parent) {
            Some((next, _)) if next > 1 => parent = next,
            _ => break,
        }
        ancestors.push(parent);
        if parent == root {
            return ancestors;
        }
    }
    let is_in_session = |pid: u32| family(pid).is_some_and(|(_, session)| session == root);
    if pid == root || !is_in_session(pid) {
        return Vec::new();
    }
    // Beyond its session is whoever has adopted orphans.
    ancestors.retain(|ancestor| is_in_session(*ancestor));
    ancestors.push(root);
    ancestors
}

/// Parent and session of a process.
fn family(pid: u32) -> Option<(u32, u32)> {
    let stat = fs::read_to_string(directory(pid).join("stat")).ok()?;
    family_of_stat(&stat)
}

/// Name of one of the namespaces of a process (`net`, `mnt`, `pid`), such as `mnt:[4026531841]`.
#[must_use]
pub fn namespace(pid: u32, kind: &str) -> Option<OsString> {
    fs::read_link(directory(pid).join("ns").join(kind)).ok().map(PathBuf::into_os_string)
}

/// Whether process `pid` of the process file system at `proc` has a thread called `name`.
#[must_use]
pub fn has_thread(proc: &Path, pid: u32, name: &str) -> bool {
    let Ok(threads) = fs::read_dir(proc.join(pid.to_string()).join("task")) else {
        return false;
    };
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("comm")).ok())
        .any(|comm| comm.trim_end() == name)
}

/// Value of a variable in the environment the process was started with.
#[must_use]
pub fn environment_variable(pid: u32, name: &str) -> Option<OsString> {
    let environment = fs::read(directory(pid).join("environ")).ok()?;
    variable_of(&environment, name)
}

/// All variables of the environment the process was started with.
#[must_use]
pub fn environment(pid: u32) -> Option<Vec<(OsString, OsString)>> {
    let environment = fs::read(directory(pid).join("environ")).ok()?;
    let variable = |entry: &[u8]| {
        let equals = entry.iter().position(|byte| *byte == b'=')?;
        let text = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
        Some((text(&entry[..equals]), text(&entry[equals + 1..])))
    };
    Some(environment.split(|byte| *byte == 0).filter_map(variable).collect())
}

/// Name of a user; the number where it has none.
///
/// Asks the C library, as `ls -l` does, so that users that are not in `/etc/passwd` have a name.
#[must_use]
pub fn user_name(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => printable(&user.name),
        _ => uid.to_string(),
    }
}

/// The user lfinspect runs as.
#[must_use]
pub fn own_user_id() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// `text` without anything a terminal might act on, and without what makes it look like another
/// text: what a watched program calls itself is printed by lfinspect, possibly by root's.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if is_treacherous(c) { '?' } else { c }).collect()
}

/// `path` as [`printable`] text: any user may make files of any name below `/tmp`.
#[must_use]
pub fn printable_path(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

/// Control characters, those without width, and those that turn the direction of writing.
fn is_treacherous(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// `/proc/PID`.
#[must_use]
pub fn directory(pid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn rss_of_status(status: &str) -> Option<u64> {
    let kib: u64 = field(status, "VmRSS")?.strip_suffix(" kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// `pid (name) state parent group session …`; the name may hold anything.
fn family_of_stat(stat: &str) -> Option<(u32, u32)> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split_ascii_whitespace().skip(1);
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some((parent, session))
}

fn namespace_pids_of_status(status: &str) -> Vec<u32> {
    let ids = field(status, "NSpid").unwrap_or_default();
    ids.split_ascii_whitespace().filter_map(|id| id.parse().ok()).collect()
}

fn variable_of(environment: &[u8], name: &str) -> Option<OsString> {
    environment.split(|byte| *byte == 0).find_map(|entry| {
        let value = entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(OsString::from_vec(OsStr::from_bytes(value).as_bytes().to_vec()))
    })
}

#[cfg(test)]
mod tests {
    //! Aim: the texts of `/proc` are read as they are, and what lfinspect reads of itself is right.

    use std::thread;

    use super::*;

    const STATUS: &str = "Name:\tindexer\nState:\tT (stopped)\nUid:\t1000\t1001\t1000\t1000\n\
                          NSpid:\t4121\t7\nVmHWM:\t   99 kB\nVmRSS:\t  2048 kB\n";

    #[test]
    fn fields_of_status_are_found() {
        assert_eq!(rss_of_status(STATUS), Some(2048 * 1024));
        assert_eq!(namespace_pids_of_status(STATUS), [4121, 7]);
        assert_eq!(field(STATUS, "State"), Some("T (stopped)"));
        assert_eq!(rss_of_status("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn families_are_read() {
        assert_eq!(family_of_stat("7 (a) b) (c) S 5 6 4 0 -1"), Some((5, 4)));
        assert_eq!(family_of_stat("7"), None);
        let own = std::process::id();
        let parent = std::os::unix::process::parent_id();
        assert_eq!(ancestors(own, parent), [parent]);
        assert_eq!(ancestors(parent, own), [0; 0]);
        assert_eq!(ancestors(own, own), [0; 0]);
        assert_eq!(ancestors(u32::MAX, own), [0; 0]);
    }

    #[test]
    fn variables_are_matched_whole() {
        let environment = b"XLFALLOC_DIR=/no\0LFALLOC_DIR=/a=b\0LFALLOC_DIRECTORY=/no\0";
        assert_eq!(variable_of(environment, "LFALLOC_DIR"), Some("/a=b".into()));
        assert_eq!(variable_of(environment, "LFALLOC"), None);
    }

    #[test]
    fn this_process_is_read_right() {
        let pid = std::process::id();
        assert!(exists(pid));
        assert!(all_pids().contains(&pid));
        assert_eq!(user_id(pid), Some(own_user_id()));
        assert_eq!(namespace_pids(pid).first(), Some(&pid));
        assert!(rss_bytes(pid).is_some_and(|bytes| bytes > 64 * 1024));
        assert!(namespace(pid, "mnt").is_some());
        let own = thread::current().name().unwrap()[..15].to_owned();
        assert!(has_thread(Path::new("/proc"), pid, &own));
        assert!(!has_thread(Path::new("/proc"), pid, "no such thread"));
    }

    #[test]
    fn names_lose_what_a_terminal_would_act_on() {
        assert_eq!(printable("a\u{1b}[31mb\n\u{9b}c"), "a?[31mb??c");
        assert_eq!(printable("größe"), "größe");
        assert_eq!(printable("a\u{202e}kcos.b\u{200b}\u{2066}\u{feff}c"), "a?kcos.b???c");
        let path = OsStr::from_bytes(b"/tmp/lfalloc-1/\x1b]0;x\x07\xff.1.sock");
        assert_eq!(printable_path(Path::new(path)), "/tmp/lfalloc-1/?]0;x?\u{fffd}.1.sock");
    }
}
