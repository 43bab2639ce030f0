//! The files below a folder, and reading one of them as text.
//!
//! Symbolic links below the folder are not followed (the folder itself may be one), so a loop of
//! links cannot catch the walk; pipes, sockets and devices are passed over without being opened.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A larger file is left out: it would be a log or a dump, and one alone could fill the memory.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// What a walk found.
#[derive(Debug, Default)]
pub struct Corpus {
    /// Every regular file, in the order of their paths; not yet known to be text.
    pub files: Vec<PathBuf>,
    /// Folders and entries that could not be read.
    pub unreadable: usize,
    /// Symbolic links, none of which was followed.
    pub links: usize,
}

impl Corpus {
    /// Walks the folder.
    ///
    /// # Errors
    /// If `folder` itself is missing, is no folder, or cannot be read. What cannot be read further
    /// down is only counted.
    pub fn below(folder: &Path) -> io::Result<Self> {
        let mut corpus = Self::default();
        let mut folders = corpus.enter(fs::read_dir(folder)?);
        while let Some(folder) = folders.pop() {
            match fs::read_dir(folder) {
                Ok(entries) => folders.extend(corpus.enter(entries)),
                Err(_) => corpus.unreadable += 1,
            }
        }
        corpus.files.sort_unstable();
        Ok(corpus)
    }

    /// Notes the files of one folder and returns the folders in it.
    fn enter(&mut self, entries: fs::ReadDir) -> Vec<PathBuf> {
        let mut folders = Vec::new();
        for entry in entries {
            // The type is the entry's own: a link is a link, whatever it leads to.
            let typed = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)));
            match typed {
                Ok((path, kind)) if kind.is_dir() => folders.push(path),
                Ok((path, kind)) if kind.is_file() => self.files.push(path),
                Ok((_, kind)) => self.links += usize::from(kind.is_symlink()),
                Err(_) => self.unreadable += 1,
            }
        }
        folders
    }
}

/// What reading one file gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Content {
    /// Its text; bytes that are not UTF-8 became U+FFFD.
    Text(String),
    /// No text: it has a zero byte.
    Binary,
    /// Above [`MAX_FILE_BYTES`].
    TooLarge,
    /// It is gone, or may not be read.
    Unreadable,
}

/// Reads a file; whatever is wrong with it is an answer, not an error.
#[must_use]
pub fn read(path: &Path) -> Content {
    read_up_to(path, MAX_FILE_BYTES)
}

fn read_up_to(path: &Path, max_bytes: u64) -> Content {
    let mut bytes = Vec::new();
    // One byte beyond the bound is asked for, since a length in the file system can be wrong
    // (/proc) or change while the file is read.
    let read = File::open(path).and_then(|file| file.take(max_bytes + 1).read_to_end(&mut bytes));
    if read.is_err() {
        return Content::Unreadable;
    }
    if bytes.len() as u64 > max_bytes {
        return Content::TooLarge;
    }
    if bytes.contains(&0) {
        return Content::Binary;
    }
    Content::Text(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    //! Aim: odd folders and odd files give answers, never panics or endless walks. Method: real
    //! ones in a temporary folder.

    use super::*;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    #[test]
    fn finds_every_regular_file_once_and_follows_no_link() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a/b/c");
        fs::create_dir_all(&deep).unwrap();
        fs::create_dir(root.path().join("empty")).unwrap();
        fs::write(deep.join("two.txt"), "two").unwrap();
        fs::write(root.path().join("one.txt"), "one").unwrap();
        symlink(root.path(), deep.join("loop")).unwrap();
        symlink("self", root.path().join("self")).unwrap();
        symlink(root.path().join("one.txt"), root.path().join("again.txt")).unwrap();
        let _socket = UnixListener::bind(root.path().join("socket")).unwrap();

        let corpus = Corpus::below(root.path()).unwrap();
        assert_eq!(corpus.files, [deep.join("two.txt"), root.path().join("one.txt")]);
        assert_eq!((corpus.links, corpus.unreadable), (3, 0));
    }

    #[test]
    fn the_folder_itself_must_be_one_but_may_be_a_link() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "text").unwrap();
        assert!(Corpus::below(&root.path().join("missing")).is_err());
        assert!(Corpus::below(&file).is_err());
        let elsewhere = tempfile::tempdir().unwrap();
        symlink(root.path(), elsewhere.path().join("link")).unwrap();
        assert_eq!(Corpus::below(&elsewhere.path().join("link")).unwrap().files.len(), 1);
    }

    #[test]
    fn says_what_a_file_is() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("file");
        let content_of = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            read_up_to(&path, 8)
        };
        assert_eq!(content_of(b""), Content::Text(String::new()));
        assert_eq!(content_of(b"12345678"), Content::Text("12345678".into()));
        assert_eq!(content_of(b"123456789"), Content::TooLarge);
        assert_eq!(content_of(b"elf\0"), Content::Binary);
        assert_eq!(content_of(b"gr\xfcn"), Content::Text("gr\u{fffd}n".into()));
        assert_eq!(read(&root.path().join("missing")), Content::Unreadable);
        assert_eq!(read(root.path()), Content::Unreadable);
    }
}
