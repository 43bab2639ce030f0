//! A recording in two files, so that it may go on for ever: `FILE` grows, and `FILE.1` is what came before.
//!
//! ```text
//!   FILE.1  LFALREC1 HELLO SEGMENT n-1 │ chunks …                        whole, never written again
//!   FILE    LFALREC1 HELLO SEGMENT n   │ chunks … full state … chunks …  grows at its end
//!                                       ▲ FILE was renamed here, and a full state asked for
//! ```
//!
//! Each is a recording of its own, and both behind each other are what was received, without a gap: `FILE` begins with
//! what came before the full state was there, and a reader that has nothing else passes over it, as over everything that
//! has no base. Whoever is killed leaves one of:
//!
//! | `FILE.1` | `FILE` | what replays |
//! |---|---|---|
//! | none or whole | cut within a chunk | all before the cut |
//! | whole | none: killed between the renaming and the creation | `FILE.1` |
//! | whole | cut within HELLO or SEGMENT | `FILE.1` |
//!
//! `FILE.1` is replaced only when `FILE` holds a whole full state: there is always one to begin with.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use lfalloc_protocol::codec::{MAX_PAYLOAD_BYTES, decode, encode_into};
use lfalloc_protocol::message::{Gap, Hello, Kind, StateBegin};

use super::{Chunk, End, OpenError, Reader, SEGMENT, Segment, Writer};

/// Looks at the two files, should they be renamed between opening one and the other.
const LOOKS: u32 = 5;
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// `FILE.1`, for `FILE`.
#[must_use]
pub fn older_path(path: &Path) -> PathBuf {
    let mut older = OsString::from(path);
    older.push(".1");
    older.into()
}

/// What happens when the limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The older half goes.
    Newest,
    /// The recording ends.
    Oldest,
}

/// What became of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Written {
    /// It was written.
    Yes,
    /// It was written as the first of a new segment, which needs a full state: ask for one.
    Renewed,
    /// It was not: the limit is reached.
    Full,
    /// It was not: one full state is larger than a segment may be.
    StateTooLarge,
}

/// Writes a recording that keeps to its limit.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    keep: Keep,
    hello: Vec<u8>,
    segment: Segment,
    segment_limit: u64,
    /// To [`Self::path`].
    writer: Writer<File>,
    /// Bytes of the segment before.
    older_bytes: u64,
    /// Which file that is.
    older: Option<(u64, u64)>,
    /// Whether the frames of a full state are under way.
    in_full_state: bool,
    /// Whether the segment holds a full state, whole.
    has_state: bool,
}

impl Recorder {
    /// Begins a recording of at most `limit` bytes in all, at a path at which nothing is yet.
    ///
    /// # Errors
    /// When there is something, there or at [`older_path`], or it cannot be written.
    pub fn create(
        path: &Path,
        hello: &Hello,
        began_unix_ns: u64,
        limit: u64,
        keep: Keep,
    ) -> io::Result<Self> {
        if keep == Keep::Newest && fs::symlink_metadata(older_path(path)).is_ok() {
            // An older half of something else is as little to be replaced as a whole recording.
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let mut payload = vec![0; MAX_PAYLOAD_BYTES];
        let used = encode_into(hello, &mut payload).map_err(io::Error::other)?;
        payload.truncate(used);
        let segment = Segment { began_unix_ns, number: 0 };
        let segment_limit = match keep {
            Keep::Newest => limit / 2,
            Keep::Oldest => limit,
        };
        let writer = begin(path, &payload, segment, Duration::ZERO, segment_limit)?;
        Ok(Self {
            path: path.to_owned(),
            keep,
            hello: payload,
            segment,
            segment_limit,
            writer,
            older_bytes: 0,
            older: None,
            in_full_state: false,
            has_state: false,
        })
    }

    /// Appends a chunk, and makes room for it where that is needed.
    ///
    /// # Errors
    /// When it cannot be written, or the files cannot be renamed.
    pub fn write(&mut self, at: Duration, kind: Kind, payload: &[u8]) -> io::Result<Written> {
        if self.writer.write(at, kind, payload)? {
            self.look_at(kind, payload);
            return Ok(Written::Yes);
        }
        if self.keep == Keep::Oldest {
            return Ok(Written::Full);
        }
        if !self.has_state {
            return Ok(Written::StateTooLarge);
        }
        // A full state that is under way goes on in the new segment, which alone does not have its beginning.
        self.in_full_state = false;
        self.renew(at)?;
        if !self.writer.write(at, kind, payload)? {
            return Ok(Written::StateTooLarge);
        }
        self.look_at(kind, payload);
        Ok(Written::Renewed)
    }

    fn look_at(&mut self, kind: Kind, payload: &[u8]) {
        match kind {
            Kind::STATE_BEGIN => {
                self.in_full_state = decode::<StateBegin>(payload).is_ok_and(|begin| begin.full);
            }
            Kind::GAP => self.in_full_state = false,
            Kind::STATE_END => self.has_state |= std::mem::take(&mut self.in_full_state),
            _ => {}
        }
    }

    /// Whether both files are those that were written here: another program may have taken their places meanwhile.
    fn check_ours(&self) -> io::Result<()> {
        let is_at = |path: &Path, file: Option<(u64, u64)>| {
            fs::symlink_metadata(path).ok().map(|found| identity(&found)) == file
        };
        let own = identity(&self.writer.out.metadata()?);
        if is_at(&self.path, Some(own)) && is_at(&older_path(&self.path), self.older) {
            return Ok(());
        }
        Err(io::Error::other(
            "its file, or the one with .1, was replaced by another; neither is touched",
        ))
    }

    fn renew(&mut self, at: Duration) -> io::Result<()> {
        self.check_ours()?;
        self.older = Some(identity(&self.writer.out.metadata()?));
        // The renaming must not reach the disk before what is renamed.
        self.writer.out.sync_data()?;
        fs::rename(&self.path, older_path(&self.path))?;
        self.older_bytes = self.writer.bytes();
        self.segment.number = self.segment.number.saturating_add(1);
        self.writer = begin(&self.path, &self.hello, self.segment, at, self.segment_limit)?;
        self.has_state = false;
        Ok(())
    }

    /// Bytes in both files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.older_bytes + self.writer.bytes()
    }

    /// Whether there is an older file.
    #[must_use]
    pub fn has_older(&self) -> bool {
        self.older_bytes > 0
    }

    /// Waits until everything is on the disk.
    ///
    /// # Errors
    /// When it cannot be written there.
    pub fn finish(self) -> io::Result<()> {
        self.writer.finish()?.sync_all()
    }
}

/// What a file is, wherever it is moved: its device and its number there.
fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// A new file with all that a segment begins with.
fn begin(
    path: &Path,
    hello: &[u8],
    segment: Segment,
    at: Duration,
    limit: u64,
) -> io::Result<Writer<File>> {
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let mut writer = Writer::new(file, limit)?;
    if writer.write(at, Kind::HELLO, hello)? && writer.write(at, SEGMENT, &segment.to_bytes())? {
        return Ok(writer);
    }
    Err(io::Error::other("the greeting alone is larger than the limit"))
}

/// Reads a recording of one file, or of two.
#[derive(Debug)]
pub struct Recording<R> {
    hello: Hello,
    began: Duration,
    segment: Option<Segment>,
    /// Until it is read to its end.
    older: Option<Reader<R>>,
    newer: Newer<R>,
    /// Time of the last chunk.
    at: Duration,
}

#[derive(Debug)]
enum Newer<R> {
    There(Reader<R>),
    /// It was begun, no further than into its greeting, or is not there.
    Ended(End),
}

/// A recording in the file system.
pub type FileRecording = Recording<BufReader<File>>;

impl FileRecording {
    /// Opens the recording at `path`, also while it is being written.
    ///
    /// # Errors
    /// When there is none that this lfinspect reads.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let older_path = older_path(path);
        for look in 1.. {
            let newer = open_if_there(path)?;
            let older = open_if_there(&older_path);
            let is_last = look == LOOKS;
            let older = match older {
                // What lies there may be anything, as long as the recording itself is readable.
                Err(_) if newer.is_some() => None,
                older => older?,
            };
            let is_renaming = match (&newer, &older) {
                (Some((_, newer)), Some((_, older))) => {
                    (newer.dev(), newer.ino()) == (older.dev(), older.ino())
                }
                (None, Some(_)) => true,
                _ => false,
            };
            if is_renaming && !is_last {
                thread::sleep(BETWEEN_LOOKS);
                continue;
            }
            let input =
                |opened: Option<(File, Metadata)>| opened.map(|(file, _)| BufReader::new(file));
            return Self::of(input(newer), input(older));
        }
        unreachable!("the last look returns")
    }
}

fn open_if_there(path: &Path) -> Result<Option<(File, Metadata)>, OpenError> {
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    match opened {
        Ok((metadata, file)) => Ok(Some((file, metadata))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(OpenError::Io(error)),
    }
}

impl<R: Read> Recording<R> {
    /// Begins to read `FILE` and `FILE.1`, as far as they are there. An older one that does not belong to the newer one
    /// is left out.
    ///
    /// # Errors
    /// When neither is a recording that this lfinspect reads.
    pub fn of(newer: Option<R>, older: Option<R>) -> Result<Self, OpenError> {
        let older = older.map(Reader::new);
        let mut newer = newer.map(Reader::new);
        if let (Some(Ok(reader)), Some(Ok(older))) = (&mut newer, &older)
            && reader.hello() == older.hello()
            && let Some(end) = reader.only_greets()
        {
            newer = Some(Err(OpenError::NoGreeting(end)));
        }
        match (newer, older) {
            (None, None) => Err(OpenError::Io(io::ErrorKind::NotFound.into())),
            (None, Some(older)) => Ok(Self::both(older?, Newer::Ended(End::Whole))),
            (Some(Err(OpenError::NoGreeting(end))), Some(Ok(older))) => {
                Ok(Self::both(older, Newer::Ended(end)))
            }
            (Some(newer), older) => {
                let newer = newer?;
                let goes_on = |older: &Reader<R>| {
                    let segments = older.segment().zip(newer.segment());
                    segments.is_some_and(|(older, newer)| older.is_followed_by(newer))
                };
                match older {
                    Some(Ok(older)) if goes_on(&older) => {
                        Ok(Self::both(older, Newer::There(newer)))
                    }
                    _ => Ok(Self {
                        hello: newer.hello().clone(),
                        began: newer.began(),
                        segment: newer.segment(),
                        older: None,
                        at: newer.began(),
                        newer: Newer::There(newer),
                    }),
                }
            }
        }
    }

    fn both(older: Reader<R>, newer: Newer<R>) -> Self {
        Self {
            hello: older.hello().clone(),
            began: older.began(),
            segment: older.segment(),
            at: older.began(),
            older: Some(older),
            newer,
        }
    }

    /// The agent's greeting.
    #[must_use]
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// When it begins, by its own clock: later than 0 if something older was dropped.
    #[must_use]
    pub fn began(&self) -> Duration {
        self.began
    }

    /// When its clock stood at 0, nanoseconds since 1970, if it says so.
    #[must_use]
    pub fn began_unix_ns(&self) -> Option<u64> {
        self.segment.map(|segment| segment.began_unix_ns)
    }

    /// The next chunk; greetings of later segments are left out.
    ///
    /// # Errors
    /// Why there is none. Nothing follows.
    pub fn next_chunk(&mut self) -> Result<Chunk, End> {
        if let Some(older) = &mut self.older {
            let end = match older.next_chunk() {
                Ok(chunk) => {
                    self.at = chunk.at;
                    return Ok(chunk);
                }
                Err(end) => end,
            };
            self.older = None;
            if !matches!(end, End::Whole) {
                if matches!(self.newer, Newer::There(_)) {
                    // What is missing is told as an agent tells it: updates have no base until the next full state.
                    return Ok(self.gap());
                }
                self.newer = Newer::Ended(end);
            }
        }
        match &mut self.newer {
            Newer::There(newer) => newer.next_chunk(),
            Newer::Ended(end) => Err(std::mem::replace(end, End::Whole)),
        }
    }

    fn gap(&self) -> Chunk {
        let mut payload = vec![0; size_of::<u64>()];
        // The buffer is as large as the message.
        let _ = encode_into(&Gap { lost: 1 }, &mut payload);
        Chunk { at: self.at, kind: Kind::GAP, payload }
    }
}

#[cfg(test)]
mod tests;
