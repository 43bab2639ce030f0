//! Who is attacked: libraries with a malloc, each with what is set in its environment.
//!
//! mimalloc and snmalloc are compiled here, twice each, from the sources that their crates bring (the same ones that the benchmark
//! measures): as they are, and with all that guards them. Debian's packages have the former only.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Folder, compile};
use crate::shipped;

/// A library with a malloc, in an environment.
#[derive(Clone, Debug)]
pub struct Contender {
    /// As in the tables.
    pub name: &'static str,
    /// How it is guarded, if it is more than it usually is: the name of the one that it is compared with.
    pub guards: Option<&'static str>,
    /// Whether it is lfalloc.
    pub is_ours: bool,
    preload: Option<PathBuf>,
    environment: &'static [(&'static str, &'static str)],
}

enum Origin {
    /// The library that ships.
    Shipped,
    /// The C library's own, perhaps with another file of its.
    CLibrary(Option<&'static str>),
    /// A file of a Debian package.
    Debian(&'static str),
    /// Compiled from a crate's sources.
    Crate(&'static Crate),
}

/// How a library is compiled from what a crate brings.
struct Crate {
    feature: &'static str,
    package: &'static str,
    compiler: &'static str,
    /// Below the crate's folder.
    include: &'static str,
    sources: &'static [&'static str],
    flags: &'static [&'static str],
}

const SHARED: [&str; 5] = ["-O3", "-DNDEBUG", "-fPIC", "-shared", "-ftls-model=initial-exec"];

const MIMALLOC: Crate = Crate {
    feature: "mimalloc",
    package: "libmimalloc-sys",
    compiler: "gcc",
    include: "c_src/mimalloc/v3/include",
    sources: &["c_src/mimalloc/v3/src/static.c"],
    flags: &[
        "-DMI_BUILD_RELEASE",
        "-DMI_DEBUG=0",
        "-DMI_MALLOC_OVERRIDE",
        "-DMI_SHARED_LIB",
        "-DMI_SHARED_LIB_EXPORT",
        "-fno-builtin-malloc",
        "-fvisibility=hidden",
        "-Wno-date-time",
    ],
};

/// 4: all but a guard page behind every page of blocks.
const MIMALLOC_SECURE: Crate = Crate {
    flags: &[
        "-DMI_SECURE=4",
        "-DMI_BUILD_RELEASE",
        "-DMI_DEBUG=0",
        "-DMI_MALLOC_OVERRIDE",
        "-DMI_SHARED_LIB",
        "-DMI_SHARED_LIB_EXPORT",
        "-fno-builtin-malloc",
        "-fvisibility=hidden",
        "-Wno-date-time",
    ],
    ..MIMALLOC
};

const SNMALLOC: Crate = Crate {
    feature: "snmalloc",
    package: "snmalloc-sys",
    compiler: "g++",
    include: "upstream/src",
    sources: &["upstream/src/snmalloc/override/malloc.cc", "upstream/src/snmalloc/override/new.cc"],
    flags: &["-std=c++20", "-mcx16", "-fvisibility=hidden", "-DSNMALLOC_USE_WAIT_ON_ADDRESS=1"],
};

const SNMALLOC_CHECKS: Crate = Crate {
    flags: &[
        "-DSNMALLOC_CHECK_CLIENT",
        "-std=c++20",
        "-mcx16",
        "-fvisibility=hidden",
        "-DSNMALLOC_USE_WAIT_ON_ADDRESS=1",
    ],
    ..SNMALLOC
};

/// Name, what it guards, where it comes from, and its environment.
type Row = (&'static str, Option<&'static str>, Origin, &'static [(&'static str, &'static str)]);

const JEMALLOC_SO: &str = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2";

const ALL: [Row; 12] = [
    ("lfalloc", None, Origin::Shipped, &[]),
    ("lfalloc hardened", Some("lfalloc"), Origin::Shipped, &[("LFALLOC_HARDEN", "1")]),
    ("glibc", None, Origin::CLibrary(None), &[]),
    (
        "glibc without tcache",
        Some("glibc"),
        Origin::CLibrary(None),
        &[("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0")],
    ),
    (
        "glibc MALLOC_CHECK_",
        Some("glibc"),
        Origin::CLibrary(Some("libc_malloc_debug.so.0")),
        &[("MALLOC_CHECK_", "3")],
    ),
    ("jemalloc", None, Origin::Debian(JEMALLOC_SO), &[]),
    (
        "jemalloc junk",
        Some("jemalloc"),
        Origin::Debian(JEMALLOC_SO),
        &[("MALLOC_CONF", "junk:true,abort:true,abort_conf:true")],
    ),
    ("mimalloc", None, Origin::Crate(&MIMALLOC), &[]),
    (
        "mimalloc-secure",
        Some("mimalloc"),
        Origin::Crate(&MIMALLOC_SECURE),
        // It would say nothing.
        &[("MIMALLOC_SHOW_ERRORS", "1")],
    ),
    ("tcmalloc", None, Origin::Debian("/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4"), &[]),
    ("snmalloc", None, Origin::Crate(&SNMALLOC), &[]),
    ("snmalloc-checks", Some("snmalloc"), Origin::Crate(&SNMALLOC_CHECKS), &[]),
];

/// Those that could be had, and the files of those that were compiled.
#[derive(Debug)]
pub struct Contenders {
    /// In the order of the table.
    pub all: Vec<Contender>,
    /// Why others are missing.
    pub missing: Vec<String>,
    _compiled: Folder,
}

impl Contenders {
    /// Those with these names; without names, all. What cannot be built or is not installed is missing, and nobody else is
    /// affected.
    ///
    /// # Errors
    /// If there is nobody of that name, or nowhere to build.
    pub fn find(names: &[String]) -> Result<Self, String> {
        if let Some(name) = names.iter().find(|name| ALL.iter().all(|row| row.0 != **name)) {
            let known = ALL.map(|row| row.0).join(", ");
            return Err(format!("nobody is called {name}: {known}"));
        }
        let compiled = Folder::new()?;
        let (mut all, mut missing) = (Vec::new(), Vec::new());
        for (name, guards, origin, environment) in &ALL {
            if !names.is_empty() && names.iter().all(|wanted| wanted != name) {
                continue;
            }
            match origin.file(compiled.path(), name) {
                Ok(preload) => {
                    let is_ours = matches!(origin, Origin::Shipped);
                    all.push(Contender { name, guards: *guards, is_ours, preload, environment });
                }
                Err(why) => missing.push(format!("{name} is left out: {why}")),
            }
        }
        Ok(Self { all, missing, _compiled: compiled })
    }
}

impl Contender {
    /// lfalloc as it ships, and hardened.
    ///
    /// # Errors
    /// Why the library cannot be built.
    pub fn ours() -> Result<[Self; 2], String> {
        let library = shipped::library()?;
        let with = |(name, guards, _, environment): &Row| Self {
            name,
            guards: *guards,
            is_ours: true,
            preload: Some(library.clone()),
            environment,
        };
        Ok([with(&ALL[0]), with(&ALL[1])])
    }

    /// Makes a program that is about to be started run on it, and know of nothing else that is set here.
    pub fn prepare(&self, command: &mut Command) {
        command.env_clear();
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        if let Some(preload) = &self.preload {
            command.env("LD_PRELOAD", preload);
        }
        command.envs(self.environment.iter().copied());
    }

    /// The file that malloc comes from; `-` is the C library.
    pub(super) fn library(&self) -> OsString {
        match &self.preload {
            Some(file) if file.is_absolute() => file.into(),
            _ => "-".into(),
        }
    }
}

impl Origin {
    /// What is to be preloaded, if anything.
    fn file(&self, folder: &Path, name: &str) -> Result<Option<PathBuf>, String> {
        let found = match self {
            Self::Shipped => shipped::library()?,
            Self::CLibrary(other) => return Ok(other.map(PathBuf::from)),
            Self::Debian(file) => PathBuf::from(file),
            Self::Crate(from) => from.build(&folder.join(format!("{name}.so")))?,
        };
        // The dynamic linker only warns of a file that is not there.
        let canonical = found.canonicalize();
        canonical.map(Some).map_err(|error| format!("{}: {error}", found.display()))
    }
}

impl Crate {
    fn build(&self, to: &Path) -> Result<PathBuf, String> {
        let folder = self.folder()?;
        let mut compiler = Command::new(self.compiler);
        compiler
            .args(SHARED)
            .args(self.flags)
            .arg("-I")
            .arg(folder.join(self.include))
            .args(self.sources.iter().map(|source| folder.join(source)))
            .args(["-pthread", "-o"])
            .arg(to);
        compile(&mut compiler)?;
        Ok(to.to_owned())
    }

    /// Where cargo keeps the crate: that of the version which the benchmark's peers are locked to.
    fn folder(&self) -> Result<PathBuf, String> {
        let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/peers");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .current_dir(peers)
            .args(["metadata", "--locked", "--format-version=1", "--features", self.feature])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("cargo does not start: {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        let metadata: Value =
            serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
        let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
        let manifest = packages.iter().find(|package| package["name"] == self.package);
        manifest
            .and_then(|package| Path::new(package["manifest_path"].as_str()?).parent())
            .map(Path::to_owned)
            .ok_or_else(|| format!("cargo knows of no {}", self.package))
    }
}
