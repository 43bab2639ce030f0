//! What does not depend on a program: the directory of the sockets and our own terminal.

use std::env;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io::{self, IsTerminal as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use lfalloc_protocol::socket::{DIRECTORY_VARIABLE, MAX_NAME_BYTES, MAX_PATH_BYTES};

use super::Check;
use crate::{discover, process};

/// Bytes of the longest file name that an agent needs: name, process id, suffix, `.sock`.
const LONGEST_FILE_NAME: usize = MAX_NAME_BYTES + ".4294967295".len() + ".16".len() + ".sock".len();

/// The directory in which our user's sockets lie.
pub(super) fn directory() -> Vec<Check> {
    let directory = discover::own_directory();
    let mut checks = vec![length(&directory)];
    if let Some(value) = env::var_os(DIRECTORY_VARIABLE).filter(|value| !value.is_empty()) {
        checks.push(variable(Path::new(&value)));
    }
    let metadata = fs::symlink_metadata(&directory);
    checks.push(state(&directory, &metadata, process::own_user_id()));
    checks
}

fn length(directory: &Path) -> Check {
    let bytes = directory.as_os_str().len();
    let longest = bytes + 1 + LONGEST_FILE_NAME;
    if longest <= MAX_PATH_BYTES {
        Check::ok(format!(
            "sockets lie in {}, a path of {bytes} bytes",
            process::printable_path(directory)
        ))
    } else {
        Check::warn(
            format!(
                "a socket's path has at most {MAX_PATH_BYTES} bytes; with {} it may need {longest}",
                process::printable_path(directory)
            ),
            format!("set {DIRECTORY_VARIABLE} to a shorter directory"),
        )
    }
}

fn variable(value: &Path) -> Check {
    if value.is_absolute() {
        Check::info(format!(
            "{DIRECTORY_VARIABLE} is set: programs without it use another directory"
        ))
    } else {
        Check::warn(
            format!("{DIRECTORY_VARIABLE} is the relative path {}", process::printable_path(value)),
            "make it absolute: every program would read it from its own working directory",
        )
    }
}

/// Whether an agent of the user `uid` would use it, and nobody else could meddle with it.
fn state(directory: &Path, metadata: &io::Result<Metadata>, uid: u32) -> Check {
    let path = process::printable_path(directory);
    let metadata = match metadata {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Check::info(format!("{path} does not exist; the first agent makes it"));
        }
        Err(error) => {
            return Check::fail(
                format!("{path} cannot be looked at: {error}"),
                format!("set {DIRECTORY_VARIABLE} to a directory of your own"),
            );
        }
    };
    let mode = metadata.mode() & 0o7777;
    if metadata.is_symlink() || !metadata.is_dir() {
        let kind = if metadata.is_symlink() { "a symbolic link" } else { "no directory" };
        Check::fail(format!("{path} is {kind}: agents do not use it"), format!("`rm {path}`"))
    } else if metadata.uid() != uid {
        Check::fail(
            format!("{path} belongs to {}", process::user_name(metadata.uid())),
            format!("remove it, or set {DIRECTORY_VARIABLE} to a directory of your own"),
        )
    } else if mode & 0o022 != 0 {
        Check::fail(
            format!("{path} has mode {mode:04o}, others may write to it: agents do not use it"),
            format!("`chmod 700 {path}`"),
        )
    } else if mode & 0o055 != 0 {
        Check::warn(
            format!("{path} has mode {mode:04o}: others may look into it"),
            format!("`chmod 700 {path}`"),
        )
    } else {
        Check::ok(format!("{path} is yours alone (mode {mode:04o})"))
    }
}

/// Size, colours and characters of the terminal.
pub(super) fn terminal() -> Vec<Check> {
    if !io::stdout().is_terminal() {
        return vec![Check::info(
            "standard output is no terminal: the page of `top --once` stands in for the interface",
        )];
    }
    vec![size(crossterm::terminal::size().ok()), characters(|name| env::var_os(name))]
}

fn size(size: Option<(u16, u16)>) -> Check {
    match size {
        None => Check::warn("the terminal does not tell its size", "try another one"),
        Some((columns, rows)) if columns < 60 || rows < 15 => Check::warn(
            format!("the terminal is {columns}x{rows}: room for one line"),
            "make it 80x24 or larger; it is laid out for 120x36",
        ),
        Some((columns, rows)) if columns < 120 || rows < 36 => {
            Check::ok(format!("the terminal is {columns}x{rows}; 120x36 shows more at once"))
        }
        Some((columns, rows)) => Check::ok(format!("the terminal is {columns}x{rows}")),
    }
}

fn characters(variable: impl Fn(&str) -> Option<OsString>) -> Check {
    let text = |name: &str| {
        variable(name).and_then(|value| value.into_string().ok()).filter(|value| !value.is_empty())
    };
    let (terminal, color) = (text("TERM").unwrap_or_default(), text("COLORTERM"));
    let colours = if text("NO_COLOR").is_some() {
        "none, as NO_COLOR says"
    } else if color.is_some_and(|value| value == "truecolor" || value == "24bit") {
        "true colour"
    } else if terminal.contains("256color") {
        "256"
    } else {
        "16"
    };
    // The first that is set counts.
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(text).unwrap_or_default();
    let plain = locale.to_lowercase().replace('-', "");
    if plain.contains("utf8") {
        Check::ok(format!("colours: {colours}; the locale {locale} has UTF-8"))
    } else {
        Check::warn(
            format!("colours: {colours}; the locale '{locale}' does not say UTF-8"),
            "if boxes and bars look wrong use --ascii, or set LC_ALL=C.UTF-8",
        )
    }
}

#[cfg(test)]
mod tests {
    //! Aim: each state of the directory and the terminal gets the level it deserves.

    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::super::Level;
    use super::*;

    fn level_of(path: &Path, uid: u32) -> Level {
        state(path, &fs::symlink_metadata(path), uid).level
    }

    #[test]
    fn a_directory_is_judged_by_kind_owner_and_mode() {
        let folder = tempfile::tempdir().unwrap();
        let own = process::own_user_id();
        let directory = folder.path().join("lfalloc");
        assert_eq!(level_of(&directory, own), Level::Info);
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(level_of(&directory, own), Level::Ok);
        assert_eq!(level_of(&directory, own + 1), Level::Fail);
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o750)).unwrap();
        assert_eq!(level_of(&directory, own), Level::Warn);
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o770)).unwrap();
        assert_eq!(level_of(&directory, own), Level::Fail);
        let link = folder.path().join("link");
        symlink(&directory, &link).unwrap();
        assert_eq!(level_of(&link, own), Level::Fail);
    }

    #[test]
    fn a_directory_must_leave_room_for_the_longest_name() {
        let room = MAX_PATH_BYTES - LONGEST_FILE_NAME - 1;
        let fits = "/".to_owned() + &"d".repeat(room - 1);
        assert_eq!(length(Path::new(&fits)).level, Level::Ok);
        assert_eq!(length(Path::new(&(fits + "d"))).level, Level::Warn);
    }

    #[test]
    fn terminals_are_judged_by_size_and_locale() {
        assert_eq!(size(Some((120, 36))).level, Level::Ok);
        assert_eq!(size(Some((80, 24))).level, Level::Ok);
        assert_eq!(size(Some((59, 15))).level, Level::Warn);
        assert_eq!(size(None).level, Level::Warn);
        let locale = |value: &'static str| {
            characters(move |name| (name == "LANG").then(|| OsString::from(value))).level
        };
        assert_eq!(locale("de_DE.utf8"), Level::Ok);
        assert_eq!(locale("C.UTF-8"), Level::Ok);
        assert_eq!(locale("POSIX"), Level::Warn);
    }
}
