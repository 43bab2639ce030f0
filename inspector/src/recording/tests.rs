//! Aim: a recording that ends anywhere gives all that is whole before; no bytes whatever upset the reader.
//! Method: a recording of the made-up heap, cut at every byte and damaged at every byte; arbitrary bytes.
use proptest::prelude::*;

use super::*;
use crate::picture::{Applied, Picture};
use crate::source::synthetic::{Synthetic, SyntheticSource};
use crate::source::{Source as _, SourceEvent};

/// A recording of `states` states of a small heap.
fn recording(states: u64, limit: u64) -> Vec<u8> {
    let options =
        Synthetic { superblocks: 6, operations: 40, states: Some(states), ..Synthetic::default() };
    let mut source = SyntheticSource::new(options);
    let mut writer = Writer::new(Vec::new(), limit).unwrap();
    for step in 0.. {
        let at = Duration::from_millis(step);
        let is_written = match source.poll(Duration::ZERO) {
            SourceEvent::Connected(hello) => {
                let mut payload = vec![0; MAX_PAYLOAD_BYTES];
                let used = lfalloc_protocol::codec::encode_into(&hello, &mut payload).unwrap();
                writer.write(at, Kind::HELLO, &payload[..used])
            }
            SourceEvent::Frame(kind, payload) => writer.write(at, kind, &payload),
            SourceEvent::Process { pid, rss_bytes } => {
                writer.write(at, PROCESS, &process_payload(pid, rss_bytes))
            }
            SourceEvent::Gone(_) => break,
            _ => Ok(true),
        };
        if !is_written.unwrap() {
            break;
        }
    }
    writer.finish().unwrap()
}

fn chunks(bytes: &[u8]) -> Option<(Vec<Chunk>, End)> {
    let mut reader = Reader::new(bytes).ok()?;
    let mut chunks = Vec::new();
    loop {
        match reader.next_chunk() {
            Ok(chunk) => chunks.push(chunk),
            Err(end) => return Some((chunks, end)),
        }
    }
}

/// The end messages of the states in a recording.
fn states(bytes: &[u8]) -> Vec<u64> {
    let Some((chunks, _)) = chunks(bytes) else { return Vec::new() };
    let mut picture = Picture::new(Reader::new(bytes).unwrap().hello().clone());
    let mut states = Vec::new();
    for chunk in chunks {
        if let Ok(Applied::State) = picture.apply(chunk.kind, &chunk.payload) {
            states.push(picture.end.allocations_after);
        }
    }
    states
}

#[test]
fn what_is_written_is_read() {
    let bytes = recording(3, u64::MAX);
    let (chunks, end) = chunks(&bytes).unwrap();
    assert!(matches!(end, End::Whole));
    assert!(chunks.iter().any(|chunk| chunk.kind == PROCESS));
    assert!(chunks.is_sorted_by_key(|chunk| chunk.at));
    assert_eq!(states(&bytes).len(), 3);
    assert_eq!(process(&chunks[0].payload), Some((4121, None)));
}

#[test]
fn cut_at_any_byte_it_replays_up_to_the_cut() {
    let bytes = recording(3, u64::MAX);
    let (whole, _) = chunks(&bytes).unwrap();
    let whole_states = states(&bytes);
    let mut longest = 0;
    for length in 0..bytes.len() {
        let Some((part, end)) = chunks(&bytes[..length]) else {
            assert_eq!(longest, 0, "what could be opened once can be opened");
            continue;
        };
        assert!(matches!(end, End::Whole | End::Cut), "{length}: {end:?}");
        assert!(part.len() >= longest, "{length}");
        assert_eq!(part, whole[..part.len()], "{length}");
        if part.len() > longest {
            longest = part.len();
            let seen = states(&bytes[..length]);
            assert_eq!(seen, whole_states[..seen.len()], "{length}");
        }
    }
    assert_eq!(longest, whole.len() - 1);
}

#[test]
fn damaged_at_any_byte_it_replays_up_to_the_damage() {
    let bytes = recording(1, u64::MAX);
    let (whole, _) = chunks(&bytes).unwrap();
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0x10;
        if let Some((part, end)) = chunks(&damaged) {
            assert!(part.len() < whole.len(), "{place}");
            assert!(matches!(end, End::Damaged | End::Cut), "{place}: {end:?}");
            assert_eq!(part, whole[..part.len()], "{place}");
        }
    }
}

#[test]
fn nothing_follows_a_damaged_chunk() {
    let bytes = recording(2, u64::MAX);
    let mut reader = Reader::new(&bytes[..]).unwrap();
    let first = reader.next_chunk().unwrap();
    // The last byte of the second chunk behind the greeting: those behind it are whole.
    let second = reader.next_chunk().unwrap();
    let place = bytes.len() - reader.input.len() - 1;
    assert!(second.payload.len() > 1);
    let mut damaged = bytes.clone();
    damaged[place] ^= 1;
    let mut reader = Reader::new(&damaged[..]).unwrap();
    assert_eq!(reader.next_chunk().unwrap(), first);
    assert!(matches!(reader.next_chunk(), Err(End::Damaged)));
    for _ in 0..3 {
        assert!(reader.next_chunk().is_err());
    }
}

#[test]
fn it_stays_below_its_limit() {
    let whole = recording(3, u64::MAX);
    for limit in [2000, 5000, whole.len() as u64 - 1] {
        let bytes = recording(3, limit);
        assert!(bytes.len() as u64 <= limit);
        assert_eq!(bytes, whole[..bytes.len()]);
        assert!(matches!(chunks(&bytes), None | Some((_, End::Whole))));
    }
}

#[test]
fn what_is_no_recording_is_told_apart() {
    let error = |bytes: &[u8]| Reader::new(bytes).unwrap_err().to_string();
    assert!(
        error(b"{}").contains("no recording") && error(b"{\"schema\"").contains("no recording")
    );
    for length in 0..=MAGIC.len() {
        assert!(error(&MAGIC[..length]).contains("holds nothing"), "{length}");
    }
    let mut other = recording(1, u64::MAX);
    other[MAGIC.len() + HEADER_BYTES + 4] = 9;
    assert!(error(&other).contains("damaged"), "the checksum comes first");
}

proptest! {
    #[test]
    fn no_bytes_upset_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..2000), with_start: bool) {
        let mut input = if with_start { recording(1, u64::MAX)[..600].to_vec() } else { MAGIC.to_vec() };
        input.extend(bytes);
        if let Some((chunks, _)) = chunks(&input) {
            let mut picture = Picture::new(Reader::new(&input[..]).unwrap().hello().clone());
            for chunk in chunks {
                let _ = picture.apply(chunk.kind, &chunk.payload);
            }
        }
    }
}
