//! Aim: the socket appears where it should, with the modes it should have, replaces nothing that
//! lives, and is gone afterwards. Method: private directories, prepared in one bad way each.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::ffi::CString;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{Fixture, Viewer, private_directory};
use lfalloc_agent::{Agent, Options, StartError};

fn start_in(directory: &Path) -> Result<Agent, StartError> {
    Options::new().directory(directory).name("life").start()
}

fn file_name(agent: &Agent) -> &str {
    agent.socket_path().file_name().unwrap().to_str().unwrap()
}

#[test]
fn the_modes_are_private_and_nothing_is_left() {
    let parent = private_directory();
    let directory = parent.path().join("made");
    let agent = start_in(&directory).unwrap();
    assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(fs::metadata(agent.socket_path()).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(file_name(&agent), format!("life.{}.sock", std::process::id()));
    let mut viewer = Viewer::connect(agent.socket_path());
    viewer.greet();
    drop(agent);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    viewer.expect_end();
}

#[test]
fn a_second_agent_gets_a_suffix() {
    let directory = private_directory();
    let pid = std::process::id();
    let first = start_in(directory.path()).unwrap();
    let second = start_in(directory.path()).unwrap();
    let third = start_in(directory.path()).unwrap();
    assert_eq!(file_name(&second), format!("life.{pid}.1.sock"));
    assert_eq!(file_name(&third), format!("life.{pid}.2.sock"));
    for agent in [&first, &second, &third] {
        Viewer::connect(agent.socket_path()).greet();
    }
    drop(second);
    let again = start_in(directory.path()).unwrap();
    assert_eq!(file_name(&again), format!("life.{pid}.1.sock"));
}

/// Many at once: every one gets a socket of its own, and every socket works.
#[test]
fn agents_that_start_together_do_not_take_each_others_socket() {
    let directory = private_directory();
    for round in 0..40 {
        let barrier = Barrier::new(8);
        let start = || {
            barrier.wait();
            start_in(directory.path()).unwrap()
        };
        let agents: Vec<Agent> = std::thread::scope(|scope| {
            let starters: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            starters.into_iter().map(|starter| starter.join().unwrap()).collect()
        });
        for agent in &agents {
            Viewer::connect(agent.socket_path()).greet();
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 8, "round {round}");
        drop(agents);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "round {round}");
    }
}

#[test]
fn a_stale_socket_is_replaced_and_a_file_is_not() {
    let directory = private_directory();
    let pid = std::process::id();
    let plain = directory.path().join(format!("life.{pid}.sock"));
    // Closed without being removed: what a killed program leaves.
    drop(UnixListener::bind(&plain).unwrap());
    let agent = start_in(directory.path()).unwrap();
    assert_eq!(agent.socket_path(), plain);
    Viewer::connect(&plain).greet();
    drop(agent);

    fs::write(&plain, "precious").unwrap();
    let agent = start_in(directory.path()).unwrap();
    assert_eq!(file_name(&agent), format!("life.{pid}.1.sock"));
    drop(agent);
    assert_eq!(fs::read_to_string(&plain).unwrap(), "precious");

    fs::remove_file(&plain).unwrap();
    let elsewhere = directory.path().join("elsewhere");
    symlink(&elsewhere, &plain).unwrap();
    let agent = start_in(directory.path()).unwrap();
    assert_eq!(file_name(&agent), format!("life.{pid}.1.sock"));
    assert!(!elsewhere.exists());
}

/// Makes the file at `path` a minute old.
fn age(path: &Path) {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let minute_ago = SystemTime::now() - Duration::from_secs(60);
    let seconds = minute_ago.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let time = libc::timespec { tv_sec: seconds.try_into().unwrap(), tv_nsec: 0 };
    let times = [time, time];
    // SAFETY: the path ends in a zero and there are two times.
    let result = unsafe { libc::utimensat(libc::AT_FDCWD, path.as_ptr(), times.as_ptr(), 0) };
    assert_eq!(result, 0);
}

/// The id of a process that has been and gone.
fn gone_pid() -> u32 {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    child.id()
}

#[test]
fn what_dead_programs_left_is_removed_and_nothing_else() {
    let directory = private_directory();
    let (gone, own) = (gone_pid(), std::process::id());
    let path = |name: String| directory.path().join(name);
    let left = [path(format!("dead.{gone}.sock")), path(format!("dead.{gone}.3.sock"))];
    let kept_stale = [
        // A process of this number lives.
        path(format!("other.{own}.sock")),
        // No name of ours, and a number that no process can have.
        path(format!("dead.{gone}.socket")),
        path("dead.4294967295.sock".to_owned()),
    ];
    for stale in left.iter().chain(&kept_stale) {
        drop(UnixListener::bind(stale).unwrap());
        age(stale);
    }
    // Stale, but so new that its program, in another container, may be about to listen.
    let new = path(format!("new.{gone}.sock"));
    drop(UnixListener::bind(&new).unwrap());
    // Somebody listens, whom we cannot see.
    let live = path(format!("live.{gone}.sock"));
    let _listener = UnixListener::bind(&live).unwrap();
    age(&live);
    let file = path(format!("file.{gone}.sock"));
    fs::write(&file, "precious").unwrap();
    age(&file);

    let agent = start_in(directory.path()).unwrap();
    for path in &left {
        assert!(!path.exists(), "{}", path.display());
    }
    for path in kept_stale.iter().chain([&new, &live, &file]) {
        assert!(path.exists(), "{}", path.display());
    }
    assert_eq!(file_name(&agent), format!("life.{own}.sock"));
}

/// Without the lock a socket that refuses may be one that is about to listen.
#[test]
fn nothing_is_removed_without_the_lock() {
    let directory = private_directory();
    let left = directory.path().join(format!("dead.{}.sock", gone_pid()));
    drop(UnixListener::bind(&left).unwrap());
    age(&left);
    let handle = fs::File::open(directory.path()).unwrap();
    handle.lock().unwrap();
    drop(start_in(directory.path()).unwrap());
    assert!(left.exists());
    drop(handle);
    drop(start_in(directory.path()).unwrap());
    assert!(!left.exists());
}

/// A live socket whose queue is full refuses nobody: it is not stale.
#[test]
fn a_live_socket_with_a_full_queue_is_left_alone() {
    let directory = private_directory();
    let plain = directory.path().join(format!("life.{}.sock", std::process::id()));
    let busy = UnixListener::bind(&plain).unwrap();
    // SAFETY: the descriptor is a listening socket; listening again only sets the queue's length.
    let result = unsafe { libc::listen(std::os::fd::AsRawFd::as_raw_fd(&busy), 0) };
    assert_eq!(result, 0);
    let _waiting = std::os::unix::net::UnixStream::connect(&plain).unwrap();
    let agent = start_in(directory.path()).unwrap();
    assert_ne!(agent.socket_path(), plain);
    assert!(plain.exists());
}

#[test]
fn directories_that_cannot_be_trusted_are_refused() {
    let parent = private_directory();
    let real = parent.path().join("real");
    fs::create_dir(&real).unwrap();
    fs::set_permissions(&real, Permissions::from_mode(0o700)).unwrap();

    let link = parent.path().join("link");
    symlink(&real, &link).unwrap();
    let error = start_in(&link).unwrap_err();
    assert!(matches!(error, StartError::NotADirectory { .. }), "{error}");
    assert!(error.to_string().contains("LFALLOC_DIR"), "{error}");
    // The system follows a link that a slash or a dot stands behind.
    for end in ["/", "/.", "//"] {
        let mut link = link.clone().into_os_string();
        link.push(end);
        let error = start_in(Path::new(&link)).unwrap_err();
        assert!(matches!(error, StartError::NotADirectory { .. }), "{end}: {error}");
    }
    let mut slash = real.clone().into_os_string();
    slash.push("/");
    drop(start_in(Path::new(&slash)).unwrap());

    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(start_in(&file), Err(StartError::NotADirectory { .. })));

    for mode in [0o720, 0o702, 0o1777] {
        fs::set_permissions(&real, Permissions::from_mode(mode)).unwrap();
        let error = start_in(&real).unwrap_err();
        assert!(matches!(error, StartError::OpenDirectory { .. }), "{mode:o}: {error}");
    }
    // Others may look at the list of sockets if the owner allows it.
    fs::set_permissions(&real, Permissions::from_mode(0o755)).unwrap();
    drop(start_in(&real).unwrap());
    assert_eq!(fs::metadata(&real).unwrap().mode() & 0o7777, 0o755);

    let missing = parent.path().join("missing/below");
    let error = start_in(&missing).unwrap_err();
    assert!(matches!(error, StartError::Directory { .. }), "{error}");
}

#[test]
fn a_directory_of_another_user_is_refused() {
    let parent = private_directory();
    let foreign = parent.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    if std::os::unix::fs::chown(&foreign, Some(65534), None).is_err() {
        eprintln!("skipped: only root can make a directory of another user");
        return;
    }
    let error = start_in(&foreign).unwrap_err();
    assert!(matches!(error, StartError::ForeignDirectory { owner: 65534, .. }), "{error}");
}

#[test]
fn a_path_that_is_too_long_names_the_way_out() {
    let parent = private_directory();
    let long = parent.path().join("d".repeat(100));
    let error = start_in(&long).unwrap_err();
    assert!(matches!(error, StartError::Path(_)), "{error}");
    assert!(error.to_string().contains("LFALLOC_DIR"), "{error}");
    assert!(!long.exists());
}

#[test]
fn stopping_works_without_the_socket_and_leaves_what_took_its_place() {
    let fixture = Fixture::start();
    let path = fixture.agent.socket_path().to_owned();
    let mut viewer = fixture.attach();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "something else").unwrap();
    drop(fixture.agent);
    viewer.expect_end();
    assert_eq!(fs::read_to_string(&path).unwrap(), "something else");

    let fixture = Fixture::start();
    fs::remove_dir_all(fixture.directory.path()).unwrap();
    drop(fixture.agent);
}

#[test]
fn starting_and_stopping_many_times_leaves_no_thread() {
    let directory = private_directory();
    for _ in 0..100 {
        let agent = start_in(directory.path()).unwrap();
        Viewer::connect(agent.socket_path()).greet();
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}
