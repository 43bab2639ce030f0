//! Aim: the newest part is kept within the limit, and whenever the recorder is killed what is on the disk replays: all
//! of it, in order, without a superblock that was not there.
//!
//! Method: a made-up program recorded into two real files, which are looked at after every chunk; every moment between
//! two looks is made of the two: each byte of what was appended, and the steps of a renaming. Then each byte of either
//! file cut off, and damaged.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeSet, VecDeque};

use super::*;
use crate::picture::{Applied, Picture, Superblocks};
use crate::recording::state::each_frame;
use crate::source::synthetic::{Synthetic, SyntheticSource};
use crate::source::{Source as _, SourceEvent};

const LIMIT: u64 = 96_000;

/// A program whose agent sends a full state when it is asked to.
struct Program {
    source: SyntheticSource,
    hello: Hello,
    picture: Picture,
    waiting: VecDeque<(Kind, Vec<u8>)>,
    wants_full: bool,
}

impl Program {
    fn new(superblocks: u32) -> Self {
        let options = Synthetic { superblocks, operations: 40, ..Synthetic::default() };
        let mut source = SyntheticSource::new(options);
        let SourceEvent::Connected(hello) = source.poll(Duration::ZERO) else {
            panic!("a greeting comes first")
        };
        let picture = Picture::new(hello.clone());
        Self { source, hello, picture, waiting: VecDeque::new(), wants_full: false }
    }

    fn next_frame(&mut self) -> (Kind, Vec<u8>) {
        let frame = self.waiting.pop_front().unwrap_or_else(|| {
            loop {
                if let SourceEvent::Frame(kind, payload) = self.source.poll(Duration::ZERO) {
                    break (kind, payload);
                }
            }
        });
        let applied = self.picture.apply(frame.0, &frame.1).unwrap();
        // What has begun is sent to its end.
        if applied == Applied::State && std::mem::take(&mut self.wants_full) {
            let queue = |kind, payload: &[u8]| {
                self.waiting.push_back((kind, payload.to_vec()));
                Ok(())
            };
            each_frame(&self.picture, self.picture.end.sequence, queue).unwrap();
        }
        frame
    }
}

/// What lies at the two paths.
#[derive(Clone, Debug, Default, PartialEq)]
struct Disk {
    older: Option<Vec<u8>>,
    newer: Option<Vec<u8>>,
}

impl Disk {
    fn look(path: &Path) -> Self {
        Self { older: fs::read(older_path(path)).ok(), newer: fs::read(path).ok() }
    }

    /// All chunks that are found, and how it ended.
    fn replay(&self) -> Option<(Vec<Chunk>, End)> {
        let mut recording = Recording::of(self.newer.as_deref(), self.older.as_deref()).ok()?;
        let mut chunks = Vec::new();
        loop {
            match recording.next_chunk() {
                Ok(chunk) => chunks.push(chunk),
                Err(end) => return Some((chunks, end)),
            }
        }
    }
}

type States = Vec<(u64, Superblocks)>;

/// The states that chunks show: the clock, and all superblocks.
fn states(hello: &Hello, chunks: &[Chunk]) -> States {
    let mut picture = Picture::new(hello.clone());
    let mut states = Vec::new();
    for chunk in chunks {
        if picture.apply(chunk.kind, &chunk.payload).unwrap() == Applied::State {
            states.push((picture.uptime_ns, picture.superblocks.clone()));
        }
    }
    states
}

/// That `chunks` are some of `stream`, in a row; where they begin.
fn place(stream: &[Chunk], chunks: &[Chunk]) -> usize {
    let Some(first) = chunks.first() else { return stream.len() };
    let start = stream.iter().position(|chunk| chunk == first).expect("a chunk of the stream");
    assert_eq!(stream.get(start..start + chunks.len()), Some(chunks));
    start
}

/// A recording, what was given to it, and the disk after each chunk.
struct Made {
    hello: Hello,
    stream: Vec<Chunk>,
    looks: Vec<(usize, Disk)>,
}

fn make(segments: u32) -> Made {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.lfrec");
    let mut program = Program::new(5);
    let hello = program.hello.clone();
    let mut recorder = Recorder::create(&path, &hello, 99, LIMIT, Keep::Newest).unwrap();
    let mut stream = Vec::new();
    let mut looks = vec![(0, Disk::look(&path))];
    while recorder.segment.number < segments || !recorder.has_state {
        let (kind, payload) = program.next_frame();
        let at = Duration::from_millis(stream.len() as u64);
        match recorder.write(at, kind, &payload).unwrap() {
            Written::Yes => {}
            Written::Renewed => program.wants_full = true,
            other => panic!("{other:?}"),
        }
        stream.push(Chunk { at, kind, payload });
        let disk = Disk::look(&path);
        let on_disk = |file: &Option<Vec<u8>>| file.as_ref().map_or(0, |bytes| bytes.len() as u64);
        assert!(on_disk(&disk.older) + on_disk(&disk.newer) <= LIMIT);
        assert_eq!(recorder.bytes(), on_disk(&disk.older) + on_disk(&disk.newer));
        looks.push((stream.len(), disk));
    }
    recorder.finish().unwrap();
    Made { hello, stream, looks }
}

#[test]
fn files_of_others_are_not_replaced() {
    for foreign in ["a.lfrec.1", "a.lfrec"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lfrec");
        let mut program = Program::new(5);
        let hello = program.hello.clone();
        let mut recorder = Recorder::create(&path, &hello, 99, LIMIT, Keep::Newest).unwrap();
        if foreign == "a.lfrec" {
            std::fs::remove_file(&path).unwrap();
        }
        std::fs::write(folder.path().join(foreign), "precious").unwrap();
        let refused = (0..100_000).find_map(|step| {
            let (kind, payload) = program.next_frame();
            recorder.write(Duration::from_millis(step), kind, &payload).err()
        });
        assert!(refused.expect("it must make room").to_string().contains("replaced by another"));
        assert_eq!(std::fs::read(folder.path().join(foreign)).unwrap(), b"precious", "{foreign}");
    }
}

#[test]
fn the_newest_are_kept_and_the_oldest_go() {
    let made = make(4);
    let mut renewed = 0;
    for looks in made.looks.windows(2) {
        let [(_, before), (written, after)] = looks else { unreachable!() };
        let (chunks, end) = after.replay().unwrap();
        assert!(matches!(end, End::Whole));
        assert_eq!(place(&made.stream[..*written], &chunks) + chunks.len(), *written);
        assert!(!states(&made.hello, &chunks).is_empty() || *written < 10, "{written}");
        if after.older != before.older {
            assert_eq!(after.older, before.newer);
            renewed += 1;
        }
    }
    assert_eq!(renewed, 4);
    let (_, last) = made.looks.last().unwrap();
    let (chunks, _) = last.replay().unwrap();
    let kept = states(&made.hello, &chunks);
    let all = states(&made.hello, &made.stream);
    assert_eq!(kept, all[all.len() - kept.len()..]);
    assert!(kept.len() > 2 && kept.len() < all.len() / 2);
    // Either file is a recording of its own.
    for alone in [&last.older, &last.newer] {
        let disk = Disk { newer: alone.clone(), older: None };
        let (chunks, _) = disk.replay().unwrap();
        assert!(states(&made.hello, &chunks).iter().all(|state| all.contains(state)));
        assert!(!states(&made.hello, &chunks).is_empty());
    }
}

#[test]
fn killed_at_any_moment_it_replays_up_to_there() {
    let made = make(2);
    for looks in made.looks.windows(2) {
        let [(before_count, before), (_, after)] = looks else { unreachable!() };
        let mut moments = Vec::new();
        let new = after.newer.as_ref().unwrap();
        // What was renamed has everything that was written before, too.
        let at_least = *before_count;
        if after.older == before.older {
            let known = before.newer.as_ref().unwrap().len();
            // The first and last bytes of the chunk and of its header, and one within.
            let lengths = [known, known + 1, known + 19, known + 20, known + 21, new.len() - 1];
            for length in lengths.into_iter().filter(|length| *length < new.len()) {
                moments.push(Disk { newer: Some(new[..length].to_vec()), ..before.clone() });
            }
        } else {
            let older = before.newer.clone();
            moments.push(Disk { older: older.clone(), newer: None });
            for length in 0..new.len() {
                moments.push(Disk { older: older.clone(), newer: Some(new[..length].to_vec()) });
            }
        }
        for moment in moments {
            let Some((chunks, end)) = moment.replay() else {
                assert_eq!(at_least, 0);
                continue;
            };
            assert!(matches!(end, End::Whole | End::Cut), "{end:?}");
            let start = place(&made.stream[..], &chunks);
            assert!(start + chunks.len() >= at_least);
            assert!(at_least == 0 || !chunks.is_empty());
        }
    }
}

#[test]
fn cut_or_damaged_at_any_byte_of_either_file_nothing_appears_that_was_not_there() {
    let made = make(2);
    let all = states(&made.hello, &made.stream);
    let (_, disk) = made.looks.last().unwrap().clone();
    let (whole, _) = disk.replay().unwrap();
    let (older, newer) = (disk.older.clone().unwrap(), disk.newer.clone().unwrap());
    let newer_alone = Disk { older: None, newer: disk.newer.clone() }.replay().unwrap().0;
    let mut seen = BTreeSet::new();
    let mut check = |moment: &Disk| {
        let (chunks, end) = moment.replay().expect("one of the two can be read");
        // What was looked at once need not be again: most bytes are within the same chunk.
        let gaps = chunks.iter().filter(|chunk| chunk.kind == Kind::GAP).count();
        if seen.insert((chunks.len(), gaps)) {
            assert!(states(&made.hello, &chunks).iter().all(|state| all.contains(state)));
        }
        (chunks, end)
    };
    for place in 0..newer.len() {
        let cut = Disk { newer: Some(newer[..place].to_vec()), ..disk.clone() };
        let (chunks, end) = check(&cut);
        assert_eq!(chunks, whole[..chunks.len()]);
        assert!(matches!(end, End::Cut | End::Whole));
        assert!(chunks.len() >= whole.len() - newer_alone.len());
    }
    for place in (0..older.len()).step_by(3) {
        let cut = Disk { older: Some(older[..place].to_vec()), ..disk.clone() };
        let mut damaged = disk.clone();
        damaged.older.as_mut().unwrap()[place] ^= 0x10;
        for moment in [cut, damaged] {
            let (chunks, end) = check(&moment);
            assert!(matches!(end, End::Whole));
            // All of the newer one is there, behind a gap where one is.
            assert!(chunks.ends_with(&newer_alone));
        }
    }
}

#[test]
fn a_state_that_does_not_fit_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let mut program = Program::new(3000);
    let mut recorder = Recorder::create(&path, &program.hello, 1, 64 << 10, Keep::Newest).unwrap();
    let written = loop {
        let (kind, payload) = program.next_frame();
        match recorder.write(Duration::ZERO, kind, &payload).unwrap() {
            Written::Yes => {}
            other => break other,
        }
    };
    assert_eq!(written, Written::StateTooLarge);
    assert!(!older_path(&path).exists());
}

#[test]
fn nothing_is_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let hello = Program::new(1).hello;
    let create = |keep| Recorder::create(&path, &hello, 1, 64 << 10, keep).map_err(|e| e.kind());
    fs::write(older_path(&path), "something else").unwrap();
    assert_eq!(create(Keep::Newest).unwrap_err(), io::ErrorKind::AlreadyExists);
    create(Keep::Oldest).unwrap();
    fs::remove_file(older_path(&path)).unwrap();
    assert_eq!(create(Keep::Newest).unwrap_err(), io::ErrorKind::AlreadyExists);
}

#[test]
fn an_older_file_of_something_else_is_left_out() {
    let made = make(2);
    let (_, disk) = made.looks.last().unwrap();
    let newer_alone = Disk { older: None, newer: disk.newer.clone() }.replay().unwrap().0;
    // The same recording, but not the part before; another recording; no recording.
    let early = made.looks.iter().find_map(|(_, disk)| disk.older.clone()).unwrap();
    let other = {
        let mut bytes = Vec::new();
        super::super::state::write(&Program::new(1).picture, 5, &mut bytes).unwrap();
        bytes
    };
    let strange: [&[u8]; 3] = [&early, &other, b"text"];
    for older in strange {
        let disk = Disk { older: Some(older.to_vec()), newer: disk.newer.clone() };
        assert_eq!(disk.replay().unwrap().0, newer_alone);
    }
}

#[test]
fn files_are_opened_while_they_are_renamed_and_after_a_crash() {
    let made = make(2);
    let (_, disk) = made.looks.last().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.lfrec");
    let count = || {
        let mut recording = FileRecording::open(&path)?;
        Ok::<_, OpenError>(std::iter::from_fn(|| recording.next_chunk().ok()).count())
    };
    assert!(
        matches!(count(), Err(OpenError::Io(error)) if error.kind() == io::ErrorKind::NotFound)
    );
    fs::write(older_path(&path), disk.older.as_ref().unwrap()).unwrap();
    let older = count().unwrap();
    fs::write(&path, b"").unwrap();
    assert_eq!(count().unwrap(), older);
    fs::write(&path, disk.newer.as_ref().unwrap()).unwrap();
    assert_eq!(count().unwrap(), disk.replay().unwrap().0.len());
    // One file under both names, as between the two looks at a renaming: read once.
    fs::remove_file(older_path(&path)).unwrap();
    fs::hard_link(&path, older_path(&path)).unwrap();
    let newer_alone = Disk { older: None, newer: disk.newer.clone() };
    assert_eq!(count().unwrap(), newer_alone.replay().unwrap().0.len());
}
