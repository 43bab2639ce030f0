//! Recordings of one file and of two, with bytes that only a checksum keeps out.
//!
//! The first byte of an input says what the rest is:
//!
//! | bit | meaning |
//! |---|---|
//! | 0 | chunks, which are written with a right checksum; otherwise the bytes of the files themselves |
//! | 1 | the newer file is there |
//! | 2 | the older file is there |
//! | 3 | a greeting is written, and the input holds what follows it |
//! | 4 | of the files that were written some bytes are cut off, and one is changed |
//!
//! Whatever is read: it ends, and what is given of it comes from one of the two files, in order.
#![no_main]
#![forbid(unsafe_code)]

use std::time::Duration;

use lfalloc_fuzz::{Input, greeting};
use lfalloc_protocol::message::{Hello, Kind};
use lfinspect::diff::Figures;
use lfinspect::picture::Picture;
use lfinspect::recording::segments::Recording;
use lfinspect::recording::state;
use lfinspect::recording::{Chunk, MAGIC, SEGMENT, Segment, Writer, process};
use lfinspect::report::Watched;
use lfinspect::tui::data::Data;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let mode = input.byte();
    let older_share = usize::from(input.byte());
    let total = input.0.len();
    let older_input = Input(input.bytes(total * older_share / 256));
    let file = |input: Input<'_>, number: u32| {
        let mut bytes =
            if mode & 1 == 0 { [&MAGIC, input.0].concat() } else { written(input, number, mode) };
        if mode & 16 != 0 {
            let cut = older_share * 7 % (bytes.len() + 1);
            bytes.truncate(bytes.len() - cut.min(bytes.len() / 2));
            let place = total * 31 % bytes.len().max(1);
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= mode >> 3;
            }
        }
        bytes
    };
    let older = (mode & 4 != 0).then(|| file(older_input, 4));
    let newer = (mode & 2 != 0).then(|| file(input, 5));
    let given = (newer.as_deref(), older.as_deref());
    let Ok(recording) = Recording::of(given.0, given.1) else {
        return;
    };
    let hello = recording.hello().clone();
    let chunks = read(recording);
    // Either alone gives the same, as far as it belongs to it: only a gap is made up.
    let alone = |bytes: Option<&[u8]>| {
        let recording = bytes.and_then(|bytes| Recording::of(Some(bytes), None).ok());
        recording.map_or_else(Vec::new, read)
    };
    let (newer, older) = (alone(given.0), alone(given.1));
    let joined = [&older[..], &newer[..]].concat();
    let without_gap = |chunks: &[Chunk]| -> Vec<Chunk> {
        chunks.iter().filter(|chunk| chunk.kind != Kind::GAP).cloned().collect()
    };
    assert!(
        chunks == newer || chunks == older || without_gap(&chunks) == without_gap(&joined),
        "what was read is in neither file"
    );
    take_in(hello, &chunks);
});

/// Chunks of an input, with right checksums.
fn written(mut input: Input<'_>, number: u32, mode: u8) -> Vec<u8> {
    let Ok(mut writer) = Writer::new(Vec::new(), u64::MAX) else { return Vec::new() };
    let mut at = Duration::ZERO;
    if mode & 8 != 0 {
        let _ = writer.write(at, Kind::HELLO, &greeting());
        let segment = Segment { began_unix_ns: 7, number };
        let _ = writer.write(at, SEGMENT, &segment.to_bytes());
    }
    while !input.is_empty() {
        let step = input.byte();
        // Times go back as well, and to the ends of their range.
        at = if step == 255 {
            Duration::MAX
        } else {
            at.saturating_add(Duration::from_millis(step.into()))
        };
        let (kind, payload) = input.frame();
        let _ = writer.write(at, kind, payload);
    }
    writer.finish().unwrap_or_default()
}

fn read(mut recording: Recording<&[u8]>) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    while let Ok(chunk) = recording.next_chunk() {
        chunks.push(chunk);
    }
    assert!(recording.next_chunk().is_err(), "nothing follows an end");
    chunks
}

/// What every reader of a recording does with its chunks.
fn take_in(hello: Hello, chunks: &[Chunk]) {
    let mut picture = Picture::new(hello.clone());
    let mut data = Data::new(hello, 0);
    for chunk in chunks {
        let _ = process(&chunk.payload);
        let applied = picture.apply(chunk.kind, &chunk.payload).is_ok();
        assert_eq!(data.apply(chunk.kind, &chunk.payload).is_ok(), applied);
    }
    assert_eq!(data.picture.states, picture.states);
    if picture.states > 0 {
        // The page of `top`, and the figures of `diff`.
        let page = Watched::still(picture.clone(), String::new()).page(true);
        assert!(
            page.lines().all(|line| !line.contains(char::is_control)),
            "it speaks to the terminal"
        );
        let _ = Figures::of(&picture);
        // What `snapshot` writes of it holds the same.
        let mut one_state = Vec::new();
        if state::write(&picture, 1, &mut one_state).is_ok() {
            let Ok(mut recording) = Recording::of(Some(&one_state[..]), None) else {
                panic!("what was written cannot be read")
            };
            let mut again = Picture::new(recording.hello().clone());
            while let Ok(chunk) = recording.next_chunk() {
                assert!(again.apply(chunk.kind, &chunk.payload).is_ok());
            }
            assert_eq!(again.states, 1);
            // By their ages: a clock that went back may stand before a superblock's time.
            let told = |picture: &Picture| -> Vec<_> {
                let uptime_ns = picture.uptime_ns;
                picture.superblocks.iter().map(|known| known.record(uptime_ns)).collect()
            };
            assert_eq!(told(&again), told(&picture));
            assert_eq!(again.counters, picture.counters);
            assert_eq!((&again.front, &again.depots), (&picture.front, &picture.depots));
            assert_eq!(again.magazines, picture.magazines);
        }
    }
}
