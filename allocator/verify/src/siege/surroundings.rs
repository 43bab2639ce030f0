//! What may be around an agent that it cannot change: the program goes on with the same results, and whoever can be
//! served is served.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::target::{Start, Target, Work, work};
use super::viewer::{PATIENCE, Viewer, is_served};

/// Pieces of work that a target does.
const PIECES: u64 = 20;

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct Surrounding {
    /// How it is called.
    pub name: &'static str,
    /// What it is like.
    pub about: &'static str,
    check: fn(&Place) -> Result<Verdict, String>,
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should, and what was seen.
    Held(String),
    /// It cannot be had here, and why.
    Skipped(String),
}

/// Every one of them.
pub const SURROUNDINGS: &[Surrounding] = &[
    Surrounding { name: "closed", about: "the program closes every descriptor", check: closed },
    Surrounding { name: "fork", about: "it forks, and its child works, too", check: fork },
    Surrounding {
        name: "fork-children",
        about: "the same; children have agents of their own",
        check: fork_children,
    },
    Surrounding {
        name: "no-sockets",
        about: "socket(2) is forbidden (seccomp)",
        check: no_sockets,
    },
    Surrounding {
        name: "no-folder",
        about: "LFALLOC_DIR is where nothing can be made",
        check: no_folder,
    },
    Surrounding {
        name: "full-folder",
        about: "LFALLOC_DIR is on a file system that is full",
        check: full_folder,
    },
    Surrounding {
        name: "deleted",
        about: "the socket's file is deleted while a viewer is there",
        check: deleted,
    },
];

/// The program and the library.
struct Place<'a> {
    program: &'a Path,
    library: &'a Path,
    /// The sum of the work, done by this process without the library.
    sum: u64,
}

impl Surrounding {
    /// Runs a target in it.
    ///
    /// # Errors
    /// What is not as it should be.
    pub fn check(&self, program: &Path, library: &Path) -> Result<Verdict, String> {
        let sum = work(PIECES).sum;
        (self.check)(&Place { program, library, sum })
    }
}

#[allow(clippy::needless_pass_by_value, reason = "what map_err gives")]
fn said(error: io::Error) -> String {
    error.to_string()
}

impl<'a> Place<'a> {
    fn start(&self, agent: &'a str) -> Start<'a> {
        Start { program: self.program, library: self.library, agent, processor: None }
    }

    /// That work came to what it should.
    fn same(&self, who: &str, done: Work) -> Result<(), String> {
        if (done.sum, done.damaged) == (self.sum, 0) {
            Ok(())
        } else {
            Err(format!("{who}: the results changed: {done} instead of {}", self.sum))
        }
    }

    /// A target that can have no agent goes on without, and says why on standard error.
    fn without_agent(&self, change: impl FnOnce(&mut Command, &Path)) -> Result<Verdict, String> {
        let (mut command, folder) = self.start("1").command().map_err(said)?;
        let errors = tempfile::NamedTempFile::new().map_err(said)?;
        command.stderr(File::create(errors.path()).map_err(said)?);
        change(&mut command, folder.path());
        let mut target = match Target::of(command, folder) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Ok(Verdict::Skipped(error.to_string()));
            }
            target => target.map_err(said)?,
        };
        self.same("the target", target.work(PIECES).map_err(said)?)?;
        if !target.end().map_err(said)? {
            return Err("the target did not end well".to_owned());
        }
        let line = fs::read_to_string(errors.path()).map_err(said)?;
        if line.starts_with("lfalloc: ") && line.lines().count() == 1 {
            Ok(Verdict::Held(format!("goes on without, and says: {}", line.trim_end())))
        } else {
            Err(format!("it said {line:?}"))
        }
    }

    fn forks(&self, agent: &'static str) -> Result<Verdict, String> {
        let mut target = self.start(agent).start().map_err(said)?;
        let socket = target.socket().ok_or("the target has no socket")?;
        target.order("fork", PIECES).map_err(said)?;
        let line = target.line().map_err(said)?;
        let (pid, done) = line.trim_end().split_once(' ').ok_or("no answer of the child")?;
        let pid: u32 = pid.parse().map_err(|_| format!("no process id: {line}"))?;
        self.same("the child", done.parse()?)?;
        // It sleeps a while now, and its parent waits for it.
        let own = if agent == "children" {
            let socket = target.socket_of(pid).ok_or("the child has no socket")?;
            is_served(&socket, pid).map_err(|error| format!("the child: {error}"))?;
            "both are served"
        } else {
            let ending = format!(".{pid}.sock");
            let files = fs::read_dir(target.folder.path()).map_err(said)?;
            let mut names = files.filter_map(|file| Some(file.ok()?.file_name()));
            if names.any(|name| name.to_string_lossy().ends_with(&ending)) {
                return Err("the child has a socket".to_owned());
            }
            "the parent is served, the child has no agent"
        };
        is_served(&socket, target.pid())?;
        self.same("the parent", target.answer().map_err(said)?)?;
        if !target.end().map_err(said)? {
            return Err("the target did not end well".to_owned());
        }
        Ok(Verdict::Held(own.to_owned()))
    }
}

fn closed(place: &Place) -> Result<Verdict, String> {
    let (mut command, folder) = place.start("1").command().map_err(said)?;
    let report = folder.path().join("report");
    command.arg(PIECES.to_string()).arg(&report).stdout(Stdio::piped());
    let target = Target::of(command, folder).map_err(said)?;
    let socket = target.socket().ok_or("the target has no socket")?;
    let deadline = Instant::now() + 3 * PATIENCE;
    while !report.exists() {
        if Instant::now() > deadline {
            return Err("the target did not finish its work".to_owned());
        }
        thread::sleep(Duration::from_millis(5));
    }
    place.same("the target", fs::read_to_string(&report).map_err(said)?.parse()?)?;
    is_served(&socket, target.pid())?;
    fs::remove_file(&report).map_err(said)?;
    if target.end().map_err(said)? {
        Ok(Verdict::Held("it is served: its agent has descriptors of its own".to_owned()))
    } else {
        Err("the target did not end well".to_owned())
    }
}

fn fork(place: &Place) -> Result<Verdict, String> {
    place.forks("1")
}

fn fork_children(place: &Place) -> Result<Verdict, String> {
    place.forks("children")
}

/// From here on this process, and what it executes, cannot make a socket (seccomp(2)).
fn forbid_sockets() -> io::Result<()> {
    const fn step(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
        libc::sock_filter { code: code as u16, jt, jf, k }
    }
    // The number of the call is the first word of what a filter is given.
    let mut filter = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_socket as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: plain numbers go in.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel copies the program, which is as long as it says.
    let result =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn no_sockets(place: &Place) -> Result<Verdict, String> {
    place.without_agent(|command, _| {
        // SAFETY: system calls only, over memory of this function's own.
        unsafe { command.pre_exec(forbid_sockets) };
    })
}

fn no_folder(place: &Place) -> Result<Verdict, String> {
    place.without_agent(|command, _| {
        command.env("LFALLOC_DIR", "/proc/nothing/can/be/made");
    })
}

/// Mounts a file system without room for a single file over `folder`, for this process and what it executes.
fn mount_full(folder: &CStr) -> io::Result<()> {
    let checked = |result| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: plain numbers go in.
    checked(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    let none = c"none".as_ptr();
    // SAFETY: strings that end with a zero byte, or null where they do not matter.
    checked(unsafe {
        libc::mount(none, c"/".as_ptr(), std::ptr::null(), private, std::ptr::null())
    })?;
    // The folder itself is the one.
    let options = c"nr_inodes=1,mode=0700".as_ptr().cast();
    // SAFETY: as above.
    checked(unsafe { libc::mount(none, folder.as_ptr(), c"tmpfs".as_ptr(), 0, options) })
}

fn full_folder(place: &Place) -> Result<Verdict, String> {
    place.without_agent(|command, folder| {
        let folder = CString::new(folder.as_os_str().as_encoded_bytes()).unwrap_or_default();
        // SAFETY: system calls only; the string was made before.
        unsafe { command.pre_exec(move || mount_full(&folder)) };
    })
}

fn deleted(place: &Place) -> Result<Verdict, String> {
    let mut target = place.start("1").start().map_err(said)?;
    let socket = target.socket().ok_or("the target has no socket")?;
    let mut viewer = Viewer::attach(&socket)?;
    viewer.full_state()?;
    fs::remove_file(&socket).map_err(said)?;
    place.same("the target", target.work(PIECES).map_err(said)?)?;
    viewer.full_state()?;
    viewer.totals()?;
    if !target.end().map_err(said)? {
        return Err("the target did not end well".to_owned());
    }
    Ok(Verdict::Held("whoever was there before is served".to_owned()))
}
