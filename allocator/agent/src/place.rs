//! Where the socket lies: a directory that only its owner can write to, and a name of its own in it.
//!
//! | rule | how |
//! |---|---|
//! | directory 0700, ours, no symbolic link | made so; an existing one is opened without following and checked on the open descriptor |
//! | socket 0600 | set on the socket before it is bound, so that it never has another mode |
//! | a stale socket is replaced | stale means that connecting is refused; the check and the bind are under a lock on the directory, since a bound socket refuses as well until it listens |
//! | a live socket is left alone | the next suffix is tried |
//! | a file that is no socket is left alone | likewise |
//! | what dead programs left is removed | under the lock: names of sockets only, ours, stale, of a process that is gone, and not new |
//!
//! All of this runs in the agent's thread, behind its private descriptor table, so that not even a
//! passing descriptor appears in the program.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use interprocess::local_socket::ListenerNonblockingMode;
use interprocess::local_socket::traits::Stream as _;
use interprocess::local_socket::{ConnectOptions, GenericFilePath, ListenerOptions, ToFsName};
use interprocess::os::unix::local_socket::ListenerOptionsExt;
use interprocess::os::unix::uds_local_socket::{Listener, Stream};
use lfalloc_protocol::socket;

use crate::error::StartError;
use crate::os;

/// Permission bits of the directory.
const DIRECTORY_MODE: u32 = 0o700;
/// Permission bits of the socket.
const SOCKET_MODE: u16 = 0o600;
/// Suffixes that are tried before giving up.
const MAX_SUFFIX: u32 = 99;
/// Sockets of other programs that are looked at at most, and files passed over to find them.
const MAX_LEFTOVERS: usize = 64;
const MAX_FILES: usize = 1024;
/// A socket of another program that is younger is no leftover: the program may have gone on without
/// the lock and be about to listen, and its process may be in a container where we cannot see it.
const LEFTOVER_AGE: Duration = Duration::from_secs(10);
/// How often the lock on the directory is tried, and how long lies between.
const LOCK_ATTEMPTS: u32 = 200;
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// The socket's file, recognised by more than its name.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the file, unless something else has taken its place or it is gone already.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match std::fs::symlink_metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) == (self.device, self.inode) => {
                std::fs::remove_file(&self.path)
            }
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Makes a listening socket for process `pid` called `name` in `directory`.
pub(crate) fn listen(
    directory: &Path,
    name: &str,
    pid: u32,
) -> Result<(Listener, SocketFile), StartError> {
    // Absolute, so that the file is still found when the program has changed its directory; without
    // a slash or a dot at its end, which would make the system follow a link after all.
    let directory: PathBuf = std::path::absolute(directory)
        .map_err(|source| StartError::Directory { path: directory.to_owned(), source })?
        .components()
        .collect();
    let plain = directory.join(socket::socket_file_name(name, pid, 0));
    // Before the directory is made: a path that cannot be used leaves nothing behind.
    socket::check_path_length(&plain).map_err(StartError::Path)?;

    let handle = open_directory(&directory)?;
    if lock(&handle) {
        remove_leftovers(&directory);
    }
    for suffix in 0..=MAX_SUFFIX {
        let path = directory.join(socket::socket_file_name(name, pid, suffix));
        socket::check_path_length(&path).map_err(StartError::Path)?;
        if let Some(listener) = listen_at(&path)? {
            let file = identify(&path)
                .map_err(|source| StartError::Socket { path: path.clone(), source })?;
            return Ok((listener, file));
        }
    }
    Err(StartError::NamesTaken { path: directory })
}

/// Makes the directory if need be and opens it, if it is one that can be trusted.
fn open_directory(path: &Path) -> Result<File, StartError> {
    let failed = |source| StartError::Directory { path: path.to_owned(), source };
    match DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    let found = std::fs::symlink_metadata(path).map_err(failed)?;
    if !found.is_dir() {
        return Err(StartError::NotADirectory { path: path.to_owned() });
    }
    let directory = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(path)
        .map_err(failed)?;
    check_owner(path, &directory.metadata().map_err(failed)?)?;
    Ok(directory)
}

/// Refuses a directory in which somebody else could replace our socket by his.
fn check_owner(path: &Path, found: &Metadata) -> Result<(), StartError> {
    if found.uid() != os::effective_uid() {
        return Err(StartError::ForeignDirectory { path: path.to_owned(), owner: found.uid() });
    }
    let mode = found.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(StartError::OpenDirectory { path: path.to_owned(), mode });
    }
    Ok(())
}

/// Locks the directory until it is closed. Agents hold it for a moment only; a stopped process that
/// holds it longer, or a file system without locks, does not keep us from starting: the lock only
/// makes the replacing of stale sockets free of races. Says whether it was obtained.
fn lock(directory: &File) -> bool {
    for _ in 0..LOCK_ATTEMPTS {
        match os::try_lock(directory) {
            Ok(true) => return true,
            Ok(false) => thread::sleep(LOCK_PAUSE),
            Err(_) => return false,
        }
    }
    false
}

/// Removes the sockets of programs that were killed. Only in our own directory and under its lock;
/// nothing depends on it, so that what cannot be read or removed is left.
fn remove_leftovers(directory: &Path) {
    let Ok(files) = std::fs::read_dir(directory) else {
        return;
    };
    let sockets = files.take(MAX_FILES).filter_map(|file| {
        let name = file.ok()?.file_name();
        let pid = socket::parse_socket_file_name(name.to_str()?)?.pid;
        Some((directory.join(name), pid))
    });
    for (path, pid) in sockets.take(MAX_LEFTOVERS) {
        // Connecting comes last: it wakes up those who live.
        if os::is_gone(pid) && is_old_and_ours(&path) && is_stale(&path) {
            // Gone already, or not to be removed: both are as good.
            let _ = std::fs::remove_file(&path);
        }
    }
}

/// Whether the file at `path` belongs to our user and was made a while ago.
fn is_old_and_ours(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| {
        let age = found.modified().ok().and_then(|made| made.elapsed().ok());
        found.uid() == os::effective_uid() && age.is_some_and(|age| age >= LEFTOVER_AGE)
    })
}

/// Listens at `path`; `None` when that name is taken.
fn listen_at(path: &Path) -> Result<Option<Listener>, StartError> {
    let failed = |source| StartError::Socket { path: path.to_owned(), source };
    match bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
        result => return result.map(Some).map_err(failed),
    }
    if !is_stale(path) {
        return Ok(None);
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    match bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
        result => result.map(Some).map_err(failed),
    }
}

/// Binds and listens, if nothing lies at `path`.
fn bind(path: &Path) -> io::Result<Listener> {
    let listener = ListenerOptions::new()
        .name(path.to_fs_name::<GenericFilePath>()?)
        .mode(SOCKET_MODE.into())
        .nonblocking(ListenerNonblockingMode::Both)
        .reclaim_name(false)
        .create_sync_as::<Listener>()?;
    // A umask that takes permissions from the owner would lock the owner out.
    if std::fs::symlink_metadata(path)?.mode() & 0o7777 != u32::from(SOCKET_MODE) {
        std::fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE.into()))?;
    }
    Ok(listener)
}

/// Whether a socket lies at `path` that nobody listens to, or nothing at all.
fn is_stale(path: &Path) -> bool {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return false,
        Ok(_) => {}
        Err(error) => return error.kind() == io::ErrorKind::NotFound,
    }
    let Ok(name) = path.to_fs_name::<GenericFilePath>() else {
        return false;
    };
    // Does not wait: a live socket whose queue is full answers `WouldBlock` and is no stale one.
    let options =
        ConnectOptions::new().name(name).wait_mode(interprocess::ConnectWaitMode::Deferred);
    match Stream::from_options(&options) {
        Err(error) => {
            matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
        }
        Ok(_) => false,
    }
}

/// What makes the file at `path` this one.
fn identify(path: &Path) -> io::Result<SocketFile> {
    let found = std::fs::symlink_metadata(path)?;
    Ok(SocketFile { path: path.to_owned(), device: found.dev(), inode: found.ino() })
}
