//! Who is compared: a program of the package in `peers/` for each, and what is set in its environment.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::machine::first_line;

/// One of those that are compared.
#[derive(Debug)]
pub(crate) struct Allocator {
    /// As in the tables.
    pub(crate) name: &'static str,
    /// Its program, and the feature that program needs.
    pub(crate) program: &'static str,
    /// The crate that it comes from.
    pub(crate) package: Option<&'static str>,
    /// What is set in the environment of its processes.
    pub(crate) environment: &'static [(&'static str, &'static str)],
    /// Whether lfalloc is compared with it.
    pub(crate) is_peer: bool,
}

/// All of them, lfalloc first. A variant of it is another line, with another environment.
pub(crate) const ALLOCATORS: [Allocator; 8] = [
    ours("lfalloc", &[]),
    ours("lfalloc core", &[("LFALLOC_MAGAZINES", "0")]),
    peer("glibc", None),
    peer("mimalloc", Some("mimalloc")),
    peer("jemalloc", Some("tikv-jemallocator")),
    peer("snmalloc", Some("snmalloc-rs")),
    peer("rpmalloc", Some("rpmalloc")),
    Allocator {
        // Its caches per processor need the thread's area of restartable sequences for themselves.
        environment: &[("GLIBC_TUNABLES", "glibc.pthread.rseq=0")],
        ..peer("tcmalloc", Some("tcmalloc-better"))
    },
];

const fn ours(
    name: &'static str,
    environment: &'static [(&'static str, &'static str)],
) -> Allocator {
    let package = Some("lfalloc");
    Allocator { name, program: "lfalloc", package, environment, is_peer: false }
}

const fn peer(name: &'static str, package: Option<&'static str>) -> Allocator {
    Allocator { name, program: name, package, environment: &[], is_peer: true }
}

/// The folder of the package.
fn peers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

impl Allocator {
    /// Builds its program and returns where it is; an error is the end of what the build said.
    pub(crate) fn build(&self) -> Result<PathBuf, String> {
        eprintln!("building {}", self.name);
        let mut which = vec!["--bin", self.program];
        if self.package.is_some() {
            which.extend(["--features", self.program]);
        }
        build(&peers(), &which, self.program)
    }

    /// Its program in a folder that somebody has built them to.
    pub(crate) fn found_in(&self, folder: &Path) -> Result<PathBuf, String> {
        // Canonical: a name without a folder would be looked for elsewhere.
        let program = folder.join(self.program);
        program.canonicalize().map_err(|error| format!("{}: {error}", program.display()))
    }

    /// Its crate, or the C library, with the version that is used.
    pub(crate) fn version(&self) -> String {
        let Some(package) = self.package else {
            return first_line("getconf", &["GNU_LIBC_VERSION"]);
        };
        let lock = std::fs::read_to_string(peers().join("Cargo.lock")).unwrap_or_default();
        format!("{package} {}", locked_version(&lock, package).unwrap_or_default())
    }
}

/// The version of a package in the text of a `Cargo.lock`.
fn locked_version(lock: &str, package: &str) -> Option<String> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    let version = lines.nth(1)?.strip_prefix("version = \"")?;
    Some(version.trim_end_matches('"').to_owned())
}

/// Builds what cargo calls `target` from the package or workspace in that folder, and returns where it is; an error is the end of what
/// the build said.
pub(super) fn build(folder: &Path, which: &[&str], target: &str) -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(folder)
        .args(["build", "--release", "--locked", "--message-format=json-render-diagnostics"])
        .args(which)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cargo does not start: {error}"))?;
    if !output.status.success() {
        return Err(last_lines(&String::from_utf8_lossy(&output.stderr)));
    }
    built(&String::from_utf8_lossy(&output.stdout), target)
        .ok_or_else(|| format!("cargo does not tell where {target} is"))
}

/// Where cargo's messages, one a line, say that a program, or the library of a package that has but one, lies.
fn built(messages: &str, target: &str) -> Option<PathBuf> {
    messages.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        if message["target"]["name"] != target {
            return None;
        }
        let file = |name: &Value| name.as_str().map(PathBuf::from);
        let is_library = |path: &PathBuf| path.extension().is_some_and(|end| end == "so");
        file(&message["executable"]).or_else(|| file(&message["filenames"][0]).filter(is_library))
    })
}

/// The end of what a command said.
pub(super) fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join(" / ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Aim: the names are the programs', each has its program, and its version is locked. Method: the package's own files.
    #[test]
    fn everyone_has_a_program() {
        for allocator in &ALLOCATORS {
            let source = peers().join(format!("src/bin/{}.rs", allocator.program));
            assert!(source.exists(), "{allocator:?}");
            let found = allocator.found_in(source.parent().unwrap());
            assert!(found.is_err_and(|message| message.contains(allocator.program)));
            if allocator.package.is_some() {
                assert!(allocator.version().contains('.'), "{allocator:?}");
            }
        }
    }

    /// Aim: what cargo says is read. Method: messages as it writes them, others among them.
    #[test]
    fn messages_are_read() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"lfalloc"},"executable":null}
not JSON
{"reason":"compiler-artifact","target":{"name":"lfalloc"},"executable":"/there/lfalloc"}
{"reason":"compiler-artifact","target":{"name":"a"},"filenames":["/there/liba.rlib"],"executable":null}
{"reason":"compiler-artifact","target":{"name":"a"},"filenames":["/there/liba.so"],"executable":null}
{"reason":"build-finished","success":true}"#;
        assert_eq!(built(messages, "lfalloc"), Some("/there/lfalloc".into()));
        assert_eq!(built(messages, "a"), Some("/there/liba.so".into()));
        assert_eq!(built(messages, "glibc"), None);
        assert_eq!(last_lines("one\n\n two\n"), "one / two");
        let lock = "[[package]]\nname = \"b\"\nversion = \"1.2\"\n";
        assert_eq!(
            (locked_version(lock, "b"), locked_version(lock, "c")),
            (Some("1.2".into()), None)
        );
    }
}
