//! The protocol's frames and messages, in arbitrary pieces.
//!
//! An input is the size of the reader's buffer, the sizes of the pieces, and a stream. The incremental reader has to find
//! the same frames as the one that blocks; every payload that is a message has to be exactly the bytes of that message,
//! since the encoding has only one way to write each.
#![no_main]
#![forbid(unsafe_code)]

use lfalloc_fuzz::Input;
use lfalloc_protocol::message::{
    Classes, ClientHello, Depots, Front, Gap, HeapCounters, Heaps, Hello, Kind, LargeBlocks,
    Magazines, Refused, SizeSamples, StateBegin, StateEnd, StateRequest, Subscribe,
    SuperblockCached, SuperblockChanges, SuperblockDetail, SuperblockRequest, Superblocks, Totals,
    TotalsRequest, Transitions,
};
use lfalloc_protocol::{
    FrameReader, HEADER_BYTES, MAX_PAYLOAD_BYTES, decode, encode_into, read_frame,
};
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Most that is decoded at once: what an input of libFuzzer's default length may hold.
const BUFFER_BYTES: usize = 1 << 16;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let capacity = HEADER_BYTES + usize::from(input.word());
    let pieces = input.bytes(8);
    let stream = input.0;
    let mut reader = FrameReader::with_capacity(capacity);
    let limit = reader.limit();
    let mut rest = stream;
    let mut blocking = stream;
    let mut payload = Vec::new();
    let mut piece = 0;
    'stream: loop {
        loop {
            match reader.next() {
                Ok(Some((kind, found))) => {
                    let expected = read_frame(&mut blocking, &mut payload);
                    assert_eq!(expected.ok(), Some(kind));
                    assert_eq!(found, payload);
                    look_at(kind, found);
                }
                Ok(None) => break,
                Err(_) => {
                    // What one of them refuses the other refuses as well, but for the smaller limit.
                    let refused = read_frame(&mut blocking, &mut payload);
                    assert!(refused.is_err() || payload.len() > limit);
                    assert!(reader.next().is_err(), "a stream that is lost stays lost");
                    break 'stream;
                }
            }
        }
        if rest.is_empty() {
            // Nothing whole is left for the other one either.
            assert!(read_frame(&mut blocking, &mut payload).is_err());
            break;
        }
        let size = pieces.get(piece % pieces.len().max(1)).map_or(1, |size| usize::from(*size) + 1);
        piece += 1;
        let space = reader.space();
        assert!(!space.is_empty(), "a frame never fills more than the buffer");
        let read = size.min(space.len()).min(rest.len());
        space[..read].copy_from_slice(&rest[..read]);
        reader.advance(read);
        rest = &rest[read..];
    }
});

fn look_at(kind: Kind, payload: &[u8]) {
    match kind {
        Kind::CLIENT_HELLO => one_way::<ClientHello>(payload),
        Kind::TOTALS_REQUEST => one_way::<TotalsRequest>(payload),
        Kind::SUBSCRIBE => one_way::<Subscribe>(payload),
        Kind::STATE_REQUEST => one_way::<StateRequest>(payload),
        Kind::SUPERBLOCK_REQUEST => one_way::<SuperblockRequest>(payload),
        Kind::HELLO => one_way::<Hello>(payload),
        Kind::REFUSED => one_way::<Refused>(payload),
        Kind::TOTALS => one_way::<Totals>(payload),
        Kind::STATE_BEGIN => one_way::<StateBegin>(payload),
        Kind::CLASSES => one_way::<Classes>(payload),
        Kind::HEAPS => one_way::<Heaps>(payload),
        Kind::SUPERBLOCKS => one_way::<Superblocks>(payload),
        Kind::LARGE_BLOCKS => one_way::<LargeBlocks>(payload),
        Kind::STATE_END => one_way::<StateEnd>(payload),
        Kind::TRANSITIONS => one_way::<Transitions>(payload),
        Kind::GAP => one_way::<Gap>(payload),
        Kind::SUPERBLOCK_DETAIL => one_way::<SuperblockDetail>(payload),
        Kind::SIZE_SAMPLES => one_way::<SizeSamples>(payload),
        Kind::HEAP_COUNTERS => one_way::<HeapCounters>(payload),
        Kind::SUPERBLOCK_CHANGES => one_way::<SuperblockChanges>(payload),
        Kind::FRONT => one_way::<Front>(payload),
        Kind::DEPOTS => one_way::<Depots>(payload),
        Kind::MAGAZINES => one_way::<Magazines>(payload),
        Kind::SUPERBLOCK_CACHED => one_way::<SuperblockCached>(payload),
        _ => {}
    }
}

/// What can be decoded has no other encoding.
fn one_way<T: DeserializeOwned + Serialize>(payload: &[u8]) {
    let Ok(message) = decode::<T>(payload) else { return };
    let mut out = vec![0; BUFFER_BYTES.max(payload.len()).min(MAX_PAYLOAD_BYTES)];
    let used = encode_into(&message, &mut out);
    assert_eq!(used.ok().map(|used| &out[..used]), Some(payload));
}
