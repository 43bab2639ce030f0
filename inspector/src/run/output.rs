//! The file that the program's output goes to: the one that was named, or a temporary one.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::process;

/// Names of temporary files that are tried.
const ATTEMPTS: u32 = 100;

/// Where the program's output goes. What was in a file that was named stays before it.
#[derive(Debug)]
pub(super) struct Output {
    path: PathBuf,
    file: File,
    /// Bytes that are not the program's.
    before: u64,
    is_temporary: bool,
}

impl Output {
    /// The file that was named, or a temporary one that only this user may read.
    ///
    /// # Errors
    /// When it cannot be written to, or is something else than a file.
    pub(super) fn create(named: Option<&Path>) -> Result<Self, Failure> {
        match named {
            Some(path) => Self::append(path),
            None => Self::temporary(&std::env::temp_dir()),
        }
    }

    fn append(path: &Path) -> Result<Self, Failure> {
        let failure = |reason: &str| {
            let path = process::printable_path(path);
            Failure::new(format!("cannot write the program's output to {path}: {reason}"))
        };
        // Before it is opened: opening a pipe waits for its reader.
        if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(failure("it is no regular file"));
        }
        // Appending, both handles go on where the other has written.
        let opened = File::options().create(true).append(true).open(path);
        let file = opened.map_err(|error| failure(&error.to_string()))?;
        let before = file.metadata().map_err(|error| failure(&error.to_string()))?.len();
        // Absolute: it is told to the person.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        Ok(Self { path, file, before, is_temporary: false })
    }

    fn temporary(directory: &Path) -> Result<Self, Failure> {
        let pid = std::process::id();
        let mut options = File::options();
        options.create_new(true).append(true).mode(0o600);
        for attempt in 0..ATTEMPTS {
            let path = directory.join(format!("lfinspect-{pid}-{attempt}.log"));
            match options.open(&path) {
                Ok(file) => return Ok(Self { path, file, before: 0, is_temporary: true }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(Failure::new(format!(
                        "cannot make a file for the program's output in {}: {error}; name one with \
                         --log FILE",
                        process::printable_path(directory)
                    )));
                }
            }
        }
        let directory = process::printable_path(directory);
        Err(Failure::new(format!("{directory} is full of old output: remove lfinspect-*.log")))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Bytes that were there before the program.
    pub(super) fn before(&self) -> u64 {
        self.before
    }

    /// Writes what the program has written to `out`.
    pub(super) fn pass_on(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.before))?;
        // As long as it is now: others that it has left behind may go on writing.
        let length = file.metadata()?.len().saturating_sub(self.before);
        io::copy(&mut file.take(length), out)?;
        out.flush()
    }

    /// Nobody needs it any more: removed unless it was named.
    pub(super) fn remove(&self) {
        if self.is_temporary {
            // It may be gone already.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    //! Aim: what is there stays, what is no file is not written to, and temporary ones go.
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_was_in_a_named_file_stays_and_is_not_passed_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "old\n").unwrap();
        let output = Output::create(Some(&path)).unwrap();
        output.file().write_all(b"new\n").unwrap();
        output.file().try_clone().unwrap().write_all(b"more\n").unwrap();
        let mut passed = Vec::new();
        output.pass_on(&mut passed).unwrap();
        assert_eq!(passed, b"new\nmore\n");
        output.remove();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old\nnew\nmore\n");
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for (path, reason) in [
            (folder.path().to_owned(), "it is no regular file"),
            (PathBuf::from("/dev/tty"), "it is no regular file"),
            (folder.path().join("no/such"), "No such file or directory (os error 2)"),
        ] {
            let failure = Output::create(Some(&path)).unwrap_err().to_string();
            let path = path.display();
            assert_eq!(failure, format!("cannot write the program's output to {path}: {reason}"));
        }
    }

    #[test]
    fn temporary_files_are_private_and_go() {
        let folder = tempfile::tempdir().unwrap();
        let outputs = [(); 2].map(|()| Output::temporary(folder.path()).unwrap());
        assert_ne!(outputs[0].path(), outputs[1].path());
        for output in outputs {
            let mode = output.file().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            output.remove();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let failure = Output::temporary(&folder.path().join("no")).unwrap_err().to_string();
        assert!(failure.contains("--log FILE"), "{failure}");
    }
}
