//! Finding programs that can be watched.
//!
//! A socket is lfalloc's if its file name is one that [`lfalloc_protocol::socket`] makes and its
//! directory is one that the protocol names. Three places are looked at, in this order:
//!
//! 1. `/proc/net/unix`: what listens in our own network namespace;
//! 2. `/proc/PID/net/unix` once for every other pair of network and mount namespace: what listens in
//!    containers, reached by way of `/proc/PID/root`;
//! 3. the directories themselves: what nobody listens on any more.
//!
//! A file that several ways lead to is found once (by device and inode). In any other directory (one
//! that the program's own `LFALLOC_DIR` names, say) a socket that listens counts if the process of
//! its file name has an agent's thread. Who is behind a socket is told by the connection alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lfalloc_protocol::socket::{SocketName, directories_from_env, parse_socket_file_name};

use crate::connect::{ConnectError, Connection};
use crate::process;

/// How long a survey waits for a greeting: one stopped program must not hold up the list for long.
pub const SURVEY_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a whole survey may take, however many programs there are that do not answer.
pub const SURVEY_LIMIT: Duration = Duration::from_secs(5);
/// Connections opened at the same time.
const PROBES_AT_ONCE: usize = 32;
/// What an agent calls its thread.
pub const AGENT_THREAD: &str = "lfalloc-agent";
/// `SO_ACCEPTCON` among the flags in `/proc/net/unix`: the socket listens.
const LISTENING: u32 = 0x0001_0000;

/// A socket that looks like an agent's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where we reach it.
    pub path: PathBuf,
    /// What its file name says.
    pub name: SocketName,
}

/// A candidate, and what came of connecting to it.
#[derive(Debug)]
pub struct Surveyed {
    /// The socket.
    pub candidate: Candidate,
    /// The greeted connection, or why there is none.
    pub result: Result<Connection, ConnectError>,
}

/// The directory in which our own user's sockets lie.
#[must_use]
pub fn own_directory() -> PathBuf {
    directories_from_env(|name| std::env::var_os(name), process::own_user_id())
}

/// Every socket that looks like an agent's, ordered by process id.
#[must_use]
pub fn candidates() -> Vec<Candidate> {
    let mut search = Search::new();
    search.add_table_file(Path::new("/proc/net/unix"), Path::new(""));
    search.look_into_namespaces();
    search.look_into_directories();
    search.finish()
}

/// Connects to all of `candidates`, many at once, within [`SURVEY_LIMIT`]; in their order.
#[must_use]
pub fn survey(candidates: &[Candidate]) -> Vec<Surveyed> {
    survey_within(candidates, SURVEY_LIMIT)
}

fn survey_within(candidates: &[Candidate], limit: Duration) -> Vec<Surveyed> {
    let deadline = Instant::now() + limit;
    // Whoever has an answer takes the next one: those that do not answer hold up no others but at
    // the end of all patience.
    let next = AtomicUsize::new(0);
    let probe = || {
        let mut surveyed = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(candidate) = candidates.get(place) else {
                return surveyed;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            let result = if left.is_zero() {
                Err(ConnectError::NoAnswer(Duration::ZERO))
            } else {
                Connection::open(&candidate.path, SURVEY_TIMEOUT.min(left))
            };
            surveyed.push((place, Surveyed { candidate: candidate.clone(), result }));
        }
    };
    let mut surveyed = thread::scope(|scope| {
        let count = candidates.len().min(PROBES_AT_ONCE);
        let probes: Vec<_> = (0..count).map(|_| scope.spawn(probe)).collect();
        let mut surveyed = Vec::with_capacity(candidates.len());
        for probe in probes {
            // A panic is a fault of ours and goes on as one.
            surveyed.extend(probe.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        surveyed
    });
    surveyed.sort_by_key(|(place, _)| *place);
    surveyed.into_iter().map(|(_, surveyed)| surveyed).collect()
}

/// What makes two paths the same socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Identity {
    Inode(u64, u64),
    /// We may not look at it: the path has to do.
    Path(PathBuf),
}

struct Search {
    own_directory: PathBuf,
    found: BTreeMap<Identity, Candidate>,
    /// Listening sockets of our own table without a file that we can see.
    missing: Vec<Candidate>,
}

impl Search {
    fn new() -> Self {
        Self { own_directory: own_directory(), found: BTreeMap::new(), missing: Vec::new() }
    }

    /// Adds what listens by the table at `file`; nothing if it cannot be read.
    ///
    /// The kernel hands it out page by page and finds its place again by counting: what listens may
    /// be passed over while other sockets come and go. It is read twice.
    fn add_table_file(&mut self, file: &Path, root: &Path) {
        for _ in 0..2 {
            if let Ok(table) = fs::read_to_string(file) {
                self.add_table(&table, root);
            }
        }
    }

    /// Adds what listens by `table`, a text of the form of `/proc/net/unix`; its paths are seen
    /// below `root`, which is empty for our own.
    fn add_table(&mut self, table: &str, root: &Path) {
        for path in listening_paths(table) {
            let Some(name) = self.name_of(path, root) else {
                continue;
            };
            let own = root.as_os_str().is_empty();
            let path = if own { path.to_owned() } else { below(root, path) };
            match path.symlink_metadata() {
                Ok(metadata) if metadata.file_type().is_socket() => {
                    let identity = Identity::Inode(metadata.dev(), metadata.ino());
                    self.found.entry(identity).or_insert(Candidate { path, name });
                }
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                    let identity = Identity::Path(path.clone());
                    self.found.entry(identity).or_insert(Candidate { path, name });
                }
                // A socket of another mount namespace, which is met again there, or a removed one.
                _ if own => self.missing.push(Candidate { path, name }),
                _ => {}
            }
        }
    }

    /// What the file name of `path` says if it is lfalloc's; `root` is as for `add_table`.
    fn name_of(&self, path: &Path, root: &Path) -> Option<SocketName> {
        let name = parse_socket_file_name(path.file_name()?.to_str()?)?;
        let directory = path.parent()?;
        let is_known = directory == self.own_directory || is_default_directory(directory);
        // The process id in the name is that of the program's own namespace, and so is the `/proc`
        // that it sees.
        let proc = root.join(if root.as_os_str().is_empty() { "/proc" } else { "proc" });
        let is_ours = is_known || process::has_thread(&proc, name.pid, AGENT_THREAD);
        is_ours.then_some(name)
    }

    fn look_into_namespaces(&mut self) {
        let spaces = |pid| Some((process::namespace(pid, "net")?, process::namespace(pid, "mnt")?));
        let mut seen: BTreeSet<(OsString, OsString)> = BTreeSet::new();
        seen.extend(spaces(std::process::id()));
        for pid in process::all_pids() {
            let Some(pair) = spaces(pid) else { continue };
            if !seen.insert(pair) {
                continue;
            }
            let directory = process::directory(pid);
            self.add_table_file(&directory.join("net/unix"), &directory.join("root"));
        }
    }

    fn look_into_directories(&mut self) {
        for directory in self.default_directories() {
            let Ok(entries) = fs::read_dir(&directory) else {
                continue;
            };
            for entry in entries.flatten() {
                let path = entry.path();
                let Some(name) = entry.file_name().to_str().and_then(parse_socket_file_name) else {
                    continue;
                };
                if let Ok(metadata) = path.symlink_metadata()
                    && metadata.file_type().is_socket()
                {
                    let identity = Identity::Inode(metadata.dev(), metadata.ino());
                    self.found.entry(identity).or_insert(Candidate { path, name });
                }
            }
        }
    }

    /// Our own directory and those of all users; those we may not read hold nothing for us.
    fn default_directories(&self) -> BTreeSet<PathBuf> {
        let children = |directory: &str| {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect::<Vec<_>>()
        };
        let mut directories = BTreeSet::from([self.own_directory.clone()]);
        directories.extend(children("/tmp").into_iter().filter(|path| is_default_directory(path)));
        directories.extend(children("/run/user").into_iter().map(|path| path.join("lfalloc")));
        directories
    }

    fn finish(mut self) -> Vec<Candidate> {
        let met: BTreeSet<SocketName> = self.found.values().map(|c| c.name.clone()).collect();
        self.missing.retain(|candidate| !met.contains(&candidate.name));
        let mut all: Vec<_> = self.found.into_values().chain(self.missing).collect();
        all.sort_by(|a, b| {
            let key = |c: &Candidate| (c.name.pid, c.name.suffix);
            key(a).cmp(&key(b)).then_with(|| a.path.cmp(&b.path))
        });
        // What is missing was found missing twice.
        all.dedup();
        all
    }
}

/// `/tmp/lfalloc-<uid>`, or `lfalloc` below a run-time directory.
fn is_default_directory(directory: &Path) -> bool {
    let Some(name) = directory.file_name().and_then(|name| name.to_str()) else {
        return false;
    };
    match name.strip_prefix("lfalloc-") {
        Some(uid) => {
            directory.parent() == Some(Path::new("/tmp"))
                && !uid.is_empty()
                && uid.bytes().all(|byte| byte.is_ascii_digit())
        }
        None => name == "lfalloc",
    }
}

/// `path`, which is absolute, as seen from outside of its root directory.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// The paths of listening sockets in a text of the form of `/proc/net/unix`.
///
/// `Num RefCount Protocol Flags Type St Inode Path`; a path may hold spaces, an abstract name starts
/// with `@` and is no path.
fn listening_paths(table: &str) -> impl Iterator<Item = &Path> {
    table.lines().skip(1).filter_map(|line| {
        let mut rest = line.trim_start();
        let mut fields = [""; 7];
        for field in &mut fields {
            (*field, rest) = rest.split_once(' ')?;
            rest = rest.trim_start_matches(' ');
        }
        let flags = u32::from_str_radix(fields[3], 16).ok()?;
        (flags & LISTENING != 0 && rest.starts_with('/')).then(|| Path::new(rest))
    })
}

#[cfg(test)]
mod tests {
    //! Aim: the table of sockets is read as the kernel writes it, only lfalloc's directories count,
    //! and a listening socket is found by way of it; a stale one by way of its directory.

    use std::os::unix::net::UnixListener;

    use super::*;

    const TABLE: &str = "\
Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 15953 /run/user/1000/lfalloc/a.1.sock
0000000000000000: 00000003 00000000 00000000 0001 03 15954 /run/user/1000/lfalloc/a.1.sock
0000000000000000: 00000002 00000000 00010000 0001 01    17 /tmp/a b/lfalloc/c.2.sock
0000000000000000: 00000002 00000000 00010000 0001 01 15956 @/tmp/lfalloc-0/x.1.sock
0000000000000000: 00000003 00000000 00000000 0002 01 15957
";

    #[test]
    fn only_listening_paths_are_read() {
        let paths: Vec<_> = listening_paths(TABLE).collect();
        let expected = ["/run/user/1000/lfalloc/a.1.sock", "/tmp/a b/lfalloc/c.2.sock"];
        assert_eq!(paths, expected.map(Path::new));
        assert_eq!(listening_paths("").count(), 0);
    }

    #[test]
    fn directories_are_matched_whole() {
        for yes in ["/tmp/lfalloc-0", "/tmp/lfalloc-1000", "/run/user/7/lfalloc", "/x/lfalloc"] {
            assert!(is_default_directory(Path::new(yes)), "{yes}");
        }
        for no in ["/tmp", "/tmp/lfalloc-", "/tmp/lfalloc-me", "/x/lfalloc-0", "/tmp/xlfalloc"] {
            assert!(!is_default_directory(Path::new(no)), "{no}");
        }
    }

    #[test]
    fn paths_of_a_container_are_reached_below_its_root() {
        let seen = below(Path::new("/proc/7/root"), Path::new("/tmp/lfalloc-0/a.1.sock"));
        assert_eq!(seen, Path::new("/proc/7/root/tmp/lfalloc-0/a.1.sock"));
    }

    #[test]
    fn a_survey_of_many_that_do_not_answer_ends_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("silent.4000003.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        let name = SocketName { name: "silent".to_owned(), pid: 4_000_003, suffix: 0 };
        let many = vec![Candidate { path, name }; 3 * PROBES_AT_ONCE];
        let start = Instant::now();
        let surveyed = survey_within(&many, Duration::from_millis(300));
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        assert_eq!(surveyed.len(), many.len());
        let unanswered = |s: &Surveyed| matches!(s.result, Err(ConnectError::NoAnswer(_)));
        assert!(surveyed.iter().all(unanswered));
    }

    #[test]
    fn listening_and_stale_sockets_are_found_once() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("lfalloc");
        fs::create_dir(&directory).unwrap();
        let live = UnixListener::bind(directory.join("live.4000000.sock")).unwrap();
        drop(UnixListener::bind(directory.join("stale.4000001.sock")).unwrap());
        fs::write(directory.join("file.4000002.sock"), "no socket").unwrap();

        let mut search = Search::new();
        search.own_directory.clone_from(&directory);
        search.add_table(&fs::read_to_string("/proc/net/unix").unwrap(), Path::new(""));
        search.look_into_directories();
        let mut found = search.finish();
        found.retain(|candidate| candidate.path.starts_with(&directory));
        let pids: Vec<_> = found.iter().map(|candidate| candidate.name.pid).collect();
        assert_eq!(pids, [4_000_000, 4_000_001]);

        let stale = survey(&found[1..]).remove(0);
        assert!(matches!(stale.result, Err(ConnectError::Stale)), "{:?}", stale.result);
        drop(live);
    }
}
