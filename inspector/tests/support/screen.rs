//! lfinspect in a pseudo-terminal.

use std::io::{Read as _, Write};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, ExitStatus, MasterPty, PtySize, native_pty_system};
use tempfile::TempDir;

use super::private_folder;

pub(crate) const ENTER_SCREEN: &str = "\u{1b}[?1049h";
pub(crate) const LEAVE_SCREEN: &str = "\u{1b}[?1049l";
/// "Where is the cursor?", and an answer.
const QUESTION: &str = "\u{1b}[6n";
const ANSWER: &str = "\u{1b}[1;1R";
pub(crate) const SHOW_CURSOR: &str = "\u{1b}[?25h";
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// lfinspect in a pseudo-terminal.
pub(crate) struct Screen {
    master: Box<dyn MasterPty + Send>,
    pub(crate) child: Box<dyn Child + Send + Sync>,
    keys: Box<dyn Write + Send>,
    output: Receiver<Vec<u8>>,
    pub(crate) seen: String,
    /// Whether it tells where the cursor is when it is asked; scripts and simple terminals do not.
    pub(crate) answers: bool,
    /// Where its sockets are.
    pub(crate) folder: TempDir,
}

impl Screen {
    pub(crate) fn start(columns: u16, rows: u16, arguments: &[&str]) -> Self {
        Self::start_in(private_folder(), columns, rows, arguments)
    }

    pub(crate) fn start_in(folder: TempDir, columns: u16, rows: u16, arguments: &[&str]) -> Self {
        Self::start_with(folder, (columns, rows), arguments, |_| {})
    }

    /// With more in its environment.
    pub(crate) fn start_with(
        folder: TempDir,
        (columns, rows): (u16, u16),
        arguments: &[&str],
        prepare: impl FnOnce(&mut CommandBuilder),
    ) -> Self {
        let size = PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_lfinspect"));
        command.args(arguments);
        command.env("LFALLOC_DIR", folder.path());
        command.env("TERM", "xterm-256color");
        command.env_remove("NO_COLOR");
        prepare(&mut command);
        let child = pair.slave.spawn_command(command).unwrap();
        let mut reader = pair.master.try_clone_reader().unwrap();
        let (sender, output) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // A closed pseudo-terminal reads as an error.
            while let Ok(read @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..read].to_vec()).is_err() {
                    break;
                }
            }
        });
        let keys = pair.master.take_writer().unwrap();
        Self {
            master: pair.master,
            child,
            keys,
            output,
            seen: String::new(),
            answers: true,
            folder,
        }
    }

    /// Reads until `text` has been written.
    pub(crate) fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.seen.contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            let bytes = self
                .output
                .recv_timeout(left)
                .unwrap_or_else(|error| panic!("{text:?}: {error}; seen: {:?}", self.seen));
            self.take(&bytes);
        }
    }

    /// Reads whatever comes within `time`.
    pub(crate) fn read_for(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while let Ok(bytes) =
            self.output.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            self.take(&bytes);
        }
    }

    /// Has everything drawn anew until `text` is there, words apart by one blank or more.
    pub(crate) fn wait_until_shown(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let before = self.seen.len();
            // Ctrl-L draws every cell again.
            self.press("\u{c}");
            self.read_for(Duration::from_millis(200));
            let shown = plain(&self.seen[before..]);
            if shown.contains(text) {
                return;
            }
            assert!(Instant::now() < deadline, "{text:?} is not shown: {shown}");
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes).into_owned();
        if self.answers && text.contains(QUESTION) {
            self.press(ANSWER);
        }
        self.seen.push_str(&text);
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Whether the terminal echoes and edits lines, as a shell expects it to.
    pub(crate) fn is_cooked(&self) -> bool {
        let modes = self.master.get_termios().unwrap().local_flags.bits();
        modes & libc::ICANON != 0 && modes & libc::ECHO != 0
    }

    /// Waits for the end, which must be a good one, with the terminal as it was.
    pub(crate) fn assert_ends_restored(&mut self) {
        let status = self.end_restored();
        assert!(status.success(), "{status:?}");
    }

    /// Waits for the end, with the terminal as it was.
    pub(crate) fn end_restored(&mut self) -> ExitStatus {
        self.wait_for(LEAVE_SCREEN);
        let status = self.end();
        assert!(self.is_cooked(), "the terminal was left raw");
        self.wait_for(SHOW_CURSOR);
        let entered = self.seen.find(ENTER_SCREEN).unwrap();
        assert!(self.seen.rfind(LEAVE_SCREEN).unwrap() > entered);
        status
    }

    /// Waits for the end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// What is written without its escape sequences; where the cursor is set there is a blank.
pub(crate) fn plain(written: &str) -> String {
    let mut text = String::new();
    let mut parts = written.split("\u{1b}[");
    text.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let end = part.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(part.len());
        if part[end..].starts_with('H') {
            text.push(' ');
        }
        text.push_str(part.get(end + 1..).unwrap_or_default());
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Where a test failed in between.
        let _ = self.child.kill();
    }
}
