//! Writes inputs to start from, made of the made-up heap: `cargo fuzz run`'s corpus of every target.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Duration;

use lfalloc_fuzz::push_frame;
use lfalloc_protocol::message::Kind;
use lfalloc_protocol::{decode, encode_frame};
use lfinspect::picture::Picture;
use lfinspect::recording::{MAGIC, SEGMENT, Segment, Writer};
use lfinspect::snapshot::Snapshot;
use lfinspect::source::synthetic::{Synthetic, SyntheticSource};
use lfinspect::source::{Source as _, SourceEvent};

/// What a small program's agent says in `states` states, one frame each.
fn frames(superblocks: u32, operations: u32, states: u64) -> Vec<(Kind, Vec<u8>)> {
    let mut source = SyntheticSource::new(Synthetic {
        superblocks,
        operations,
        states: Some(states),
        magazines: true,
        ..Synthetic::default()
    });
    let mut frames = Vec::new();
    loop {
        match source.poll(Duration::ZERO) {
            SourceEvent::Connected(hello) => {
                let mut out = vec![0; 1 << 16];
                let used = encode_frame(Kind::HELLO, &hello, &mut out).unwrap_or_default();
                frames.push((Kind::HELLO, out[8..used].to_vec()));
                source.request_superblock(0);
            }
            SourceEvent::Frame(kind, payload) => frames.push((kind, payload)),
            SourceEvent::Gone(_) => return frames,
            _ => {}
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("seed-{name}")), bytes)
    };
    let all = [("idle", frames(1, 0, 1)), ("small", frames(4, 30, 2)), ("busy", frames(8, 60, 4))];
    for (name, frames) in &all {
        let mut stream = vec![0xff, 0xff, 3, 0, 200, 17, 255, 1, 60, 90];
        for (kind, payload) in frames {
            stream.extend(u32::try_from(payload.len())?.to_le_bytes());
            stream.extend(kind.0.to_le_bytes());
            stream.extend([0; 2]);
            stream.extend(payload);
        }
        write("decoder", name, &stream)?;
        write("recording", &format!("{name}-chunks"), &chunks(frames))?;
        write("recording", &format!("{name}-bytes"), &recording(frames)?)?;
        write("picture", name, &screen(frames))?;
        write("snapshot", name, &snapshot(frames)?)?;
    }
    Ok(())
}

/// For `recording`: two files of chunks, half of them in each, behind greetings.
fn chunks(frames: &[(Kind, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, payload) in &frames[1..] {
        body.push(50);
        push_frame(&mut body, *kind, payload);
    }
    [&[1 | 2 | 4 | 8, 128], &body[..]].concat()
}

/// For `recording`: the bytes of one file, behind its first eight.
fn recording(frames: &[(Kind, Vec<u8>)]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut writer = Writer::new(Vec::new(), u64::MAX)?;
    for (place, (kind, payload)) in frames.iter().enumerate() {
        writer.write(Duration::from_millis(place as u64), *kind, payload)?;
        if place == 0 {
            let segment = Segment { began_unix_ns: 1, number: 0 };
            writer.write(Duration::ZERO, SEGMENT, &segment.to_bytes())?;
        }
    }
    Ok([&[2, 0], &writer.finish()?[MAGIC.len()..]].concat())
}

/// Every screen, and what may lie on one.
const KEYS: &[u8] = b"12345678?x\r/ndei";

/// For `picture`: every screen's key between the frames.
fn screen(frames: &[(Kind, Vec<u8>)]) -> Vec<u8> {
    let mut out = vec![2, 120, 36];
    for (place, (kind, payload)) in frames.iter().enumerate() {
        out.push(0);
        push_frame(&mut out, *kind, payload);
        out.extend([200, KEYS[place % KEYS.len()]]);
    }
    out
}

/// For `snapshot`: the document of the last state.
fn snapshot(frames: &[(Kind, Vec<u8>)]) -> Result<Vec<u8>, Box<dyn Error>> {
    let (_, hello) = frames.first().ok_or("nothing was said")?;
    let mut picture = Picture::new(decode(hello)?);
    for (kind, payload) in &frames[1..] {
        let _ = picture.apply(*kind, payload)?;
    }
    let mut document = Snapshot::of(&picture);
    // Most classes are unused here, and all alike.
    document.classes.retain(|class| class.allocations > 0);
    document.classes.truncate(6);
    Ok(serde_json::to_vec(&document)?)
}
