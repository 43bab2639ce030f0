//! Aim: whatever the program does to itself, the agent does no harm and comes to none. Method: each
//! test runs itself again in a process of its own, since what it does there would harm the others.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{
    Fixture, Viewer, agent_task, is_alone, private_directory, run_alone, run_command, wait_until,
};
use lfalloc_agent::Options;
use lfalloc_protocol::message::*;

#[global_allocator]
static ALLOCATOR: lfalloc::LfAlloc = lfalloc::LfAlloc;

/// Environment variable with the socket that a child is to connect to.
const SOCKET: &str = "LFALLOC_AGENT_TEST_SOCKET";

/// The numbers of the descriptors that this process has open.
fn open_descriptors() -> Vec<i32> {
    let listed: Vec<i32> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .collect();
    // The listing's own descriptor is gone by now.
    // SAFETY: asking for a descriptor's flags changes nothing, whether it is open or not.
    listed.into_iter().filter(|&fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } != -1).collect()
}

/// Closes every descriptor but the standard ones, as daemons do.
fn close_all() {
    // SAFETY: nothing in this process uses a descriptor over 2 at this moment.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, 3 as libc::c_uint, libc::c_uint::MAX, 0) };
    assert_eq!(result, 0);
}

#[test]
fn the_program_has_none_of_the_agents_descriptors() {
    if !is_alone() {
        return run_alone("the_program_has_none_of_the_agents_descriptors");
    }
    let before = open_descriptors();
    let fixture = Fixture::start();
    assert_eq!(open_descriptors(), before);
    let viewer = fixture.attach();
    assert_eq!(open_descriptors().len(), before.len() + 1, "the viewer's own end");
    drop(viewer);
    drop(fixture);
    assert_eq!(open_descriptors(), before);
}

/// The program closes everything; the agent serves on, and what the program opens then, under the
/// very numbers that the agent uses in its own table, is left alone.
#[test]
fn closing_all_descriptors() {
    if !is_alone() {
        return run_alone("closing_all_descriptors");
    }
    let fixture = Fixture::start();
    close_all();
    let mut viewer = fixture.attach();
    viewer.subscribe(20, true);
    assert!(viewer.state().begin.full);
    for _ in 0..10 {
        drop(viewer);
        close_all();
        let mut files: Vec<File> = (0..40)
            .map(|_| {
                let path = fixture.directory.path().join("file");
                File::options().create(true).append(true).read(true).open(path).unwrap()
            })
            .collect();
        viewer = fixture.attach();
        viewer.subscribe(20, true);
        assert!(viewer.state().begin.full);
        viewer.state();
        for file in &mut files {
            // Still open, still files, and nobody else wrote to them.
            assert!(file.metadata().unwrap().is_file());
            file.write_all(b"x").unwrap();
        }
    }
    let mut written = Vec::new();
    File::open(fixture.directory.path().join("file")).unwrap().read_to_end(&mut written).unwrap();
    assert_eq!(written, vec![b'x'; 400]);
}

/// A child that the program executes gets none of the agent's descriptors either.
#[test]
fn executed_programs_inherit_nothing() {
    if !is_alone() {
        return run_alone("executed_programs_inherit_nothing");
    }
    let fixture = Fixture::start();
    let _viewer = fixture.attach();
    let output = Command::new("ls").args(["-l", "/proc/self/fd"]).output().unwrap();
    let listing = String::from_utf8(output.stdout).unwrap();
    assert!(listing.contains("/proc/"), "{listing}");
    assert!(!listing.contains("socket:") && !listing.contains("anon_inode"), "{listing}");
}

/// `setuid()` waits until every thread has followed; the agent's thread must let the C library's
/// signal through. Afterwards the program's new user and root may attach.
#[test]
fn setuid() {
    if !is_alone() {
        return run_alone("setuid");
    }
    let fixture = Fixture::start();
    let mut viewer = fixture.attach();
    let start = Instant::now();
    // SAFETY: plain integers; the test process is nobody else's.
    let own = unsafe { libc::getuid() };
    let target = if own == 0 { 65534 } else { own };
    // So that the new user can remove it.
    std::os::unix::fs::chown(fixture.directory.path(), Some(target), None).unwrap();
    // SAFETY: as above.
    assert_eq!(unsafe { libc::setuid(target) }, 0);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    viewer.totals();
    let status = fs::read_to_string(agent_task().join("status")).unwrap();
    assert!(status.contains(&format!("Uid:\t{target}")), "the agent's thread followed: {status}");
}

#[test]
fn a_forked_child_leaves_the_parents_agent_alone() {
    if !is_alone() {
        return run_alone("a_forked_child_leaves_the_parents_agent_alone");
    }
    let fixture = Fixture::start();
    let mut viewer = fixture.attach();
    viewer.subscribe(20, true);
    for round in 0..20 {
        // SAFETY: the child only does what is asked of it below, and ends with `_exit`.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let blocks: Vec<Vec<u8>> = (0..1000).map(|size| vec![1; size]).collect();
            drop(blocks);
            let Fixture { agent, directory } = fixture;
            drop(agent);
            // An agent of its own, beside the parent's.
            let own = Options::new().directory(directory.path()).start().unwrap();
            assert!(Viewer::connect(own.socket_path()).greet().pid == std::process::id());
            let path = own.socket_path().to_owned();
            drop(own);
            assert!(!path.exists());
            std::mem::forget(directory);
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(7) };
        }
        assert!(child > 0);
        let mut status = 0;
        // SAFETY: the child is this process's, and there is room for its status.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7, "{round}: {status:#x}");
        assert!(fixture.agent.socket_path().exists());
        viewer.state();
    }
    assert_eq!(fixture.attach().totals().in_hand, 0);
}

/// Stopping needs no descriptor.
#[test]
fn stopping_without_descriptors() {
    if !is_alone() {
        return run_alone("stopping_without_descriptors");
    }
    let Fixture { agent, directory } = Fixture::start();
    let path = agent.socket_path().to_owned();
    limit_descriptors(64);
    let mut files = Vec::new();
    while let Ok(file) = File::open("/proc/self/comm") {
        files.push(file);
    }
    let start = Instant::now();
    drop(agent);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(!path.exists());
    drop(files);
    drop(directory);
    wait_until_no_agent_is_left();
}

/// A program that forbids itself descriptors keeps its agent from accepting; that must neither spin
/// nor keep it from stopping.
#[test]
fn no_descriptors_allowed() {
    if !is_alone() {
        return run_alone("no_descriptors_allowed");
    }
    let Fixture { agent, directory } = Fixture::start();
    let mut viewer = Viewer::connect(agent.socket_path());
    viewer.greet();
    let waiting = [0; 3].map(|_| Viewer::connect(agent.socket_path()));
    let schedstat = File::open(agent_task().join("schedstat")).unwrap();
    for allowed in [5, 0] {
        limit_descriptors(allowed);
        let before = cpu_ns(&schedstat);
        std::thread::sleep(Duration::from_secs(2));
        let used = cpu_ns(&schedstat) - before;
        assert!(used < 100_000_000, "{used} ns of 2 s with {allowed} descriptors");
        viewer.totals();
    }
    let start = Instant::now();
    drop(agent);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    // The directory's removal needs some.
    limit_descriptors(64);
    drop((waiting, directory));
}

/// A signal that pends in the whole process is not the agent's: it is not taken away, the agent does
/// not spin on it, and it can be stopped.
#[test]
fn a_pending_signal_of_the_programs_own() {
    if !is_alone() {
        return run_alone("a_pending_signal_of_the_programs_own");
    }
    let Fixture { agent, directory } = Fixture::start();
    let task = agent_task();
    let tid: i32 = task.file_name().unwrap().to_str().unwrap().parse().unwrap();
    // Sent to the agent's thread alone: to its wake-up descriptor one that pends in the whole process
    // looks the same, but would end this one, whose other threads do not block it.
    // SAFETY: plain integers; the signal is blocked in that thread.
    let result =
        unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), tid, libc::SIGSTKFLT) };
    assert_eq!(result, 0);
    let schedstat = File::open(task.join("schedstat")).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let before = cpu_ns(&schedstat);
    std::thread::sleep(Duration::from_secs(1));
    let used = cpu_ns(&schedstat) - before;
    assert!(used < 50_000_000, "{used} ns of 1 s");
    Viewer::connect(agent.socket_path()).greet();
    let start = Instant::now();
    drop(agent);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    drop(directory);
    wait_until_no_agent_is_left();
}

/// The thread blocks all signals, and starting it leaves the starter's mask as it was.
#[test]
fn signals_are_blocked_in_the_thread_only() {
    if !is_alone() {
        return run_alone("signals_are_blocked_in_the_thread_only");
    }
    let blocked = |path: &Path| signals(&fs::read_to_string(path).unwrap(), "SigBlk:");
    let own = || blocked(Path::new("/proc/thread-self/status"));
    let before = own();
    let fixture = Fixture::start();
    assert_eq!(own(), before);
    let agent = blocked(&agent_task().join("status"));
    // All but KILL and STOP, which nobody can block, and the C library's two (or three).
    for signal in (1..32).filter(|signal| ![libc::SIGKILL, libc::SIGSTOP].contains(signal)) {
        assert!(agent & 1 << (signal - 1) != 0, "{signal} in {agent:016x}");
    }
    assert_eq!(agent & 1 << (33 - 1), 0, "the one that setuid() needs: {agent:016x}");
    drop(fixture);
}

/// Viewers that vanish while something is sent to them: the signal for it would end the program.
#[test]
fn broken_pipes_do_not_end_the_program() {
    if !is_alone() {
        return run_alone("broken_pipes_do_not_end_the_program");
    }
    // SAFETY: sets the default disposition, as in a program that is not written in Rust.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let fixture = Fixture::start();
    let mut watcher = fixture.attach();
    for _ in 0..100 {
        let mut viewer = fixture.attach();
        // From here on it cannot be sent anything, while it still asks and is still there.
        viewer.stream.shutdown(std::net::Shutdown::Read).unwrap();
        viewer.send(Kind::STATE_REQUEST, &StateRequest {});
        wait_until("the agent has tried", || watcher.request_state().end.viewers == 1);
    }
    fixture.attach().totals();
}

/// Another user's connection is refused, even where the modes would let it through; root's is not.
#[test]
fn another_user_is_refused() {
    if is_alone() {
        let path = std::env::var_os(SOCKET).unwrap();
        let mut viewer = Viewer::connect(path.as_ref());
        let refused: Refused = viewer.expect(Kind::REFUSED);
        assert_eq!(refused.reason, refusal::USER);
        assert!(refused.message.contains("65534"), "{}", refused.message);
        viewer.expect_end();
        return;
    }
    // SAFETY: no argument, cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: only root can act as another user");
        return;
    }
    let fixture = Fixture::start();
    let open = |path: &Path, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    open(fixture.directory.path(), 0o755);
    open(fixture.agent.socket_path(), 0o666);
    // A copy of this program where the other user can read it.
    let place = private_directory();
    open(place.path(), 0o755);
    let program = place.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    open(&program, 0o755);
    let mut command = Command::new(&program);
    command.uid(65534).gid(65534).current_dir("/").env(SOCKET, fixture.agent.socket_path());
    run_command(command, "another_user_is_refused");
    // And nobody else is worse off.
    fixture.attach().totals();
}

/// Where nothing else is said the directory comes from the environment.
#[test]
fn the_directory_comes_from_the_environment() {
    if is_alone() {
        let agent = lfalloc_agent::start().unwrap();
        let directory = std::env::var_os("LFALLOC_DIR").unwrap();
        assert_eq!(agent.socket_path().parent().unwrap(), directory);
        // Relative or not, it is found again after the program has changed its directory.
        std::env::set_current_dir("/").unwrap();
        Viewer::connect(agent.socket_path()).greet();
        return;
    }
    let directory = private_directory();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env("LFALLOC_DIR", directory.path());
    run_command(command, "the_directory_comes_from_the_environment");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

/// Limits the numbers that descriptors of this process may have.
fn limit_descriptors(allowed: u64) {
    let limit = libc::rlimit { rlim_cur: allowed, rlim_max: 1024 };
    // SAFETY: the pointer is that of an initialised limit.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(result, 0);
}

/// One of the signal sets in a thread's `status`.
fn signals(status: &str, field: &str) -> u64 {
    let set = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    u64::from_str_radix(set.trim(), 16).unwrap()
}

/// Processor time of a thread, from an open `schedstat`.
fn cpu_ns(schedstat: &File) -> u64 {
    let mut text = [0; 128];
    // SAFETY: the descriptor is open and the pointer and length are those of one array.
    let read =
        unsafe { libc::pread(schedstat.as_raw_fd(), text.as_mut_ptr().cast(), text.len(), 0) };
    let text = std::str::from_utf8(&text[..usize::try_from(read).unwrap()]).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// A thread that was joined may be listed for a moment more.
fn wait_until_no_agent_is_left() {
    wait_until("the agent's thread is gone", || {
        fs::read_dir("/proc/self/task").unwrap().all(|task| {
            let name = fs::read_to_string(task.unwrap().path().join("comm"));
            name.is_ok_and(|name| name != "lfalloc-agent\n")
        })
    });
}
