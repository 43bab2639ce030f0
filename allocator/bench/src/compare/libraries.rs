//! Who is compared through the C ABI: a library each that has a malloc, and the program that they are preloaded to.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::allocators::{build, last_lines};
use super::machine::first_line;

/// A library with a malloc.
#[derive(Debug, PartialEq)]
pub(super) struct Library {
    /// As in the tables.
    pub(super) name: &'static str,
    origin: Origin,
}

/// Where it comes from.
#[derive(Debug, PartialEq)]
enum Origin {
    /// `allocator/preload`, or the file that `LFALLOC_SO` names.
    Workspace,
    /// It is there without being preloaded.
    CLibrary,
    /// A package of Debian's, and the file.
    Debian { package: &'static str, file: &'static str },
}

/// All of them, lfalloc first.
pub(super) const LIBRARIES: [Library; 5] = [
    Library { name: "lfalloc", origin: Origin::Workspace },
    Library { name: "glibc", origin: Origin::CLibrary },
    debian("mimalloc", "libmimalloc2.0", "/usr/lib/x86_64-linux-gnu/libmimalloc.so.2.0"),
    debian("jemalloc", "libjemalloc2", "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"),
    debian(
        "tcmalloc",
        "libtcmalloc-minimal4",
        "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4",
    ),
];

const fn debian(name: &'static str, package: &'static str, file: &'static str) -> Library {
    Library { name, origin: Origin::Debian { package, file } }
}

impl Library {
    /// Whether lfalloc is compared with it.
    pub(super) fn is_peer(&self) -> bool {
        self.origin != Origin::Workspace
    }

    /// The file to preload, none for the C library's own; an error says why there is none.
    pub(super) fn file(&self) -> Result<Option<PathBuf>, String> {
        let found = match self.origin {
            Origin::CLibrary => return Ok(None),
            Origin::Workspace => match std::env::var_os("LFALLOC_SO") {
                Some(file) => file.into(),
                None => build_lfalloc()?,
            },
            Origin::Debian { file, .. } => PathBuf::from(file),
        };
        // The dynamic linker only warns of a file that is not there.
        let canonical = found.canonicalize();
        canonical.map(Some).map_err(|error| format!("{}: {error}", found.display()))
    }

    /// Its name with the version that is measured.
    pub(super) fn version(&self) -> String {
        match self.origin {
            Origin::Workspace => format!("liblfalloc.so {}", env!("CARGO_PKG_VERSION")),
            Origin::CLibrary => first_line("getconf", &["GNU_LIBC_VERSION"]),
            Origin::Debian { package, .. } => {
                first_line("dpkg-query", &["-W", "-f=${Package} ${Version}\n", package])
            }
        }
    }
}

fn build_lfalloc() -> Result<PathBuf, String> {
    eprintln!("building liblfalloc.so");
    build(Path::new(env!("CARGO_MANIFEST_DIR")), &["-p", "lfalloc-preload"], "lfalloc")
}

/// The sources of the program that runs the workloads; see `bench.h` there.
const SOURCES: [&str; 6] = ["main.c", "small.c", "churn.c", "resize.c", "memory.c", "threads.c"];

/// The compiled program, in a folder of its own that goes when this is dropped.
pub(super) struct Program {
    folder: PathBuf,
}

impl Program {
    /// Compiles it.
    pub(super) fn compile() -> Result<Self, String> {
        let name = format!("lfalloc-bench-c-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        // A folder that is there already is somebody else's.
        std::fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let program = Self { folder };
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("c");
        // What the compiler believes of malloc it may believe here, as in any program: bench.h keeps the calls.
        let output = Command::new("gcc")
            .args(["-O2", "-g", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"])
            .arg(program.path())
            .args(SOURCES.map(|source| sources.join(source)))
            .arg("-ldl")
            .output()
            .map_err(|error| format!("gcc does not start: {error}"))?;
        if output.status.success() {
            Ok(program)
        } else {
            Err(last_lines(&String::from_utf8_lossy(&output.stderr)))
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.join("workloads")
    }

    /// The names of its workloads.
    pub(super) fn workloads(&self) -> Result<Vec<String>, String> {
        let output = Command::new(self.path()).arg("list").output();
        let output = output.map_err(|error| error.to_string())?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It is in the folder for what is temporary: somebody else removes it, if this fails.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
