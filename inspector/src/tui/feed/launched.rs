//! The threads behind a program that was started here: one waits for its end, one reads what it writes while that is shown, and
//! one waits for a while after it was asked to end.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGKILL, SIGTERM};

use super::guarded;
use crate::run::program::Program;
use crate::source::Ask;
use crate::tui::Launch;
use crate::tui::launched::Event;
use crate::tui::output::{Chunk, KEPT_BYTES};
use crate::tui::update::Message;

/// Between two looks at the file.
const LOOK: Duration = Duration::from_millis(150);
/// Bytes that are passed on at once.
const MOST: u64 = 256 << 10;
/// How long a program has that was asked to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// What can be asked of them.
pub(super) struct Feed {
    program: Arc<Program>,
    sender: SyncSender<Message>,
    /// Whether its output is wanted.
    outputs: Sender<bool>,
}

/// Starts them.
pub(super) fn start(launch: Launch, sender: SyncSender<Message>) -> io::Result<Feed> {
    let mut reader = Reader::new(File::open(&launch.output)?, launch.output_from);
    let (outputs, wanted) = channel();
    let output = sender.clone();
    thread::Builder::new().name("lfinspect-output".to_owned()).spawn(move || {
        guarded(&output, || {
            while let Ok(is_wanted) = wanted.recv() {
                if is_wanted {
                    read(&mut reader, &wanted, &output);
                }
            }
        });
    })?;
    let (program, ended) = (Arc::clone(&launch.program), sender.clone());
    thread::Builder::new().name("lfinspect-program".to_owned()).spawn(move || {
        let end = program.wait();
        // Whoever listened may be gone.
        let _ = ended.send(Message::Launched(Event::Ended(end.words())));
    })?;
    Ok(Feed { program: launch.program, sender, outputs })
}

impl Feed {
    /// Does what is asked, if it is for them.
    pub(super) fn ask(&self, ask: &Ask) {
        match *ask {
            Ask::Output(wanted) => {
                let _ = self.outputs.send(wanted);
            }
            Ask::End { kill: true } => self.program.signal(SIGKILL),
            Ask::End { kill: false } => {
                self.program.signal(SIGTERM);
                let (program, sender) = (Arc::clone(&self.program), self.sender.clone());
                let wait = move || {
                    if program.wait_for(PATIENCE).is_none() {
                        let _ = sender.send(Message::Launched(Event::Stubborn));
                    }
                };
                let waiter = thread::Builder::new().name("lfinspect-patience".to_owned());
                if let Err(error) = waiter.spawn(wait) {
                    tracing::warn!(%error, "nobody waits for the program to end");
                }
            }
            _ => {}
        }
    }
}

/// Passes on what is written, until that is not wanted any more.
fn read(reader: &mut Reader, wanted: &Receiver<bool>, sender: &SyncSender<Message>) {
    loop {
        let mut pause = LOOK;
        match reader.next() {
            Ok(None) => {}
            Ok(Some(chunk)) => {
                let is_all = chunk.bytes.len() < MOST as usize;
                if sender.send(Message::Launched(Event::Output(chunk))).is_err() {
                    return;
                }
                pause = if is_all { LOOK } else { Duration::ZERO };
            }
            Err(error) => tracing::warn!(%error, "what the program writes cannot be read"),
        }
        match wanted.recv_timeout(pause) {
            Ok(true) | Err(RecvTimeoutError::Timeout) => {}
            Ok(false) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Reads a file that grows.
struct Reader {
    file: File,
    at: u64,
    from: u64,
}

impl Reader {
    fn new(file: File, from: u64) -> Self {
        Self { file, at: from, from }
    }

    /// What has been written since; what nobody would keep is left out.
    fn next(&mut self) -> io::Result<Option<Chunk>> {
        let length = self.file.metadata()?.len();
        // Somebody has cut the file off: what is there now is new.
        let begins = length < self.at;
        if begins {
            self.at = self.from.min(length);
        }
        let skipped = (length - self.at).saturating_sub(KEPT_BYTES as u64);
        self.at += skipped;
        self.file.seek(SeekFrom::Start(self.at))?;
        let mut bytes = Vec::new();
        (&self.file).take(MOST).read_to_end(&mut bytes)?;
        self.at += bytes.len() as u64;
        let is_news = !bytes.is_empty() || begins;
        Ok(is_news.then_some(Chunk { bytes, skipped, begins }))
    }
}

#[cfg(test)]
mod tests {
    //! Aim: what is written is read once, from where the program began, and not more than is kept.
    use std::fs;
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_that_grows_is_read_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "old").unwrap();
        let mut reader = Reader::new(File::open(&path).unwrap(), 3);
        let mut file = File::options().append(true).open(&path).unwrap();
        assert_eq!(reader.next().unwrap(), None);
        for words in ["one", "two"] {
            file.write_all(words.as_bytes()).unwrap();
            let chunk = Chunk { bytes: words.into(), skipped: 0, begins: false };
            assert_eq!(reader.next().unwrap(), Some(chunk));
        }
        file.set_len(0).unwrap();
        let chunk = Chunk { bytes: Vec::new(), skipped: 0, begins: true };
        assert_eq!(reader.next().unwrap(), Some(chunk));
        assert_eq!(reader.next().unwrap(), None);
    }

    #[test]
    fn what_nobody_would_keep_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, vec![b'x'; KEPT_BYTES + 1000]).unwrap();
        let mut reader = Reader::new(File::open(&path).unwrap(), 0);
        let chunk = reader.next().unwrap().unwrap();
        assert_eq!((chunk.skipped, chunk.bytes.len()), (1000, MOST as usize));
        let mut read = chunk.bytes.len();
        while let Some(chunk) = reader.next().unwrap() {
            assert_eq!(chunk.skipped, 0);
            read += chunk.bytes.len();
        }
        assert_eq!(read, KEPT_BYTES);
    }
}
