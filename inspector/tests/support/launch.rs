//! What `lfinspect run` is tried with: a library that does nothing, and a program that has an agent without one.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The name of a library that can be preloaded and does nothing, made anew in `folder`.
pub(crate) fn library(folder: &Path) -> PathBuf {
    let library = folder.join("liblfalloc.so");
    compile("int lfalloc_nothing;\n", &library, &["-shared", "-fPIC"]);
    library
}

/// Compiles a C program, or a library; whether that could be done.
pub(crate) fn try_compile(source: &str, output: &Path, flags: &[&str]) -> bool {
    let file = output.with_extension("c");
    std::fs::write(&file, source).unwrap();
    let mut compiler = Command::new("gcc");
    compiler.args(flags).arg("-o").arg(output).arg(file);
    compiler.output().unwrap().status.success()
}

/// Compiles a C program, or a library.
pub(crate) fn compile(source: &str, output: &Path, flags: &[&str]) {
    assert!(try_compile(source, output, flags), "gcc has not made {}", output.display());
}

/// What `lfinspect demo-target` reads: it walks, and ends when this is dropped.
pub(crate) struct Lease {
    path: PathBuf,
    _pipe: File,
}

impl Lease {
    pub(crate) fn new(folder: &Path) -> Self {
        let path = folder.join("lease");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        // For both, so that neither this nor the program waits for the other.
        let mut pipe = File::options().read(true).write(true).open(&path).unwrap();
        pipe.write_all(b"go\n").unwrap();
        Self { path, _pipe: pipe }
    }

    /// The words that start the program: a shell that lets it take its place, since under the interface a program has nothing
    /// to read.
    pub(crate) fn words(&self) -> Vec<String> {
        let script = "exec \"$0\" demo-target --pace=20 --name=launched < \"$1\"";
        let own = env!("CARGO_BIN_EXE_lfinspect");
        let words = ["sh", "-c", script, own, self.path.to_str().unwrap()];
        words.map(str::to_owned).to_vec()
    }
}
