//! Aim: whatever is written comes back, whatever arrives does no harm. Method: random messages, random
//! bytes and random cuts; an allocator that watches how much a thread asks for at a time.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use lfalloc_protocol::message::*;
use lfalloc_protocol::socket::{
    MAX_NAME_BYTES, SocketName, parse_socket_file_name, socket_file_name,
};
use lfalloc_protocol::{
    FrameReader, HEADER_BYTES, MAX_PAYLOAD_BYTES, decode, decode_changes, encode_frame,
    encode_into, read_frame,
};
use proptest::collection::vec;
use proptest::prelude::*;

thread_local! {
    /// Largest request of this thread since it was last set to 0.
    static LARGEST_BYTES: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, watched.
struct Watched;

// SAFETY: every call is passed on unchanged; the thread-local is constant-initialised and has no
// destructor, so that using it allocates nothing.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST_BYTES.with(|largest| largest.set(largest.get().max(layout.size())));
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: `block` came from `System` with this layout, as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// The most that decoding asks for at a time: the 1 MiB documented in `codec`.
const DECODE_LIMIT_BYTES: usize = 1 << 20;

/// Runs `f` and returns the largest request it made.
fn largest_request(f: impl FnOnce()) -> usize {
    LARGEST_BYTES.with(|largest| largest.set(0));
    f();
    LARGEST_BYTES.with(Cell::get)
}

/// Decodes `payload` as every message there is and returns how many it was.
fn decode_as_everything(payload: &[u8]) -> usize {
    [
        decode::<ClientHello>(payload).is_ok(),
        decode::<TotalsRequest>(payload).is_ok(),
        decode::<Subscribe>(payload).is_ok(),
        decode::<StateRequest>(payload).is_ok(),
        decode::<Hello>(payload).is_ok(),
        decode::<Refused>(payload).is_ok(),
        decode::<Totals>(payload).is_ok(),
        decode::<StateBegin>(payload).is_ok(),
        decode::<Classes>(payload).is_ok(),
        decode::<Heaps>(payload).is_ok(),
        decode::<Superblocks>(payload).is_ok(),
        decode::<LargeBlocks>(payload).is_ok(),
        decode::<StateEnd>(payload).is_ok(),
        decode::<Transitions>(payload).is_ok(),
        decode::<Gap>(payload).is_ok(),
        decode::<SuperblockRequest>(payload).is_ok(),
        decode::<SuperblockDetail>(payload).is_ok(),
        decode::<SizeSamples>(payload).is_ok(),
        decode::<HeapCounters>(payload).is_ok(),
        decode::<SuperblockChanges>(payload).is_ok(),
        decode::<Front>(payload).is_ok(),
        decode::<Depots>(payload).is_ok(),
        decode::<Magazines>(payload).is_ok(),
        decode::<SuperblockCached>(payload).is_ok(),
    ]
    .into_iter()
    .filter(|ok| *ok)
    .count()
}

prop_compose! {
    fn superblock()(
        numbers in any::<(u32, u16, u8, u8, u64, u64)>(),
        more in any::<(u16, u16, u16, bool, u64, u64)>(),
    ) -> SuperblockRecord {
        let (id, class, state, backing, address, anchor) = numbers;
        let (avail, count, credits, exact, tag, age_ns) = more;
        SuperblockRecord {
            id, class, state, backing, address, anchor, avail, count, credits, exact, tag, age_ns,
        }
    }
}

prop_compose! {
    fn transition()(
        numbers in any::<(u64, u32, u16, u8, u8, u8, u64)>(),
    ) -> TransitionRecord {
        let (uptime_ns, superblock, class, from, to, cause, tag) = numbers;
        TransitionRecord { uptime_ns, superblock, class, from, to, cause, tag }
    }
}

prop_compose! {
    fn detail()(
        id in any::<u32>(),
        uptime_ns in any::<u64>(),
        record in prop::option::of(superblock()),
        bitmap_is in any::<u8>(),
        free in vec(any::<u64>(), 0..64),
        transitions in vec(transition(), 0..100),
    ) -> SuperblockDetail {
        SuperblockDetail { id, uptime_ns, record, bitmap_is, free, transitions }
    }
}

prop_compose! {
    fn sample()(numbers in any::<(u16, u64, u64, u64)>()) -> SizeSample {
        let (class, samples, slack_sum, slack_squares) = numbers;
        SizeSample { class, samples, slack_sum, slack_squares }
    }
}

prop_compose! {
    fn change()(numbers in any::<(u32, u64, u16, bool)>()) -> SuperblockChange {
        let (id, anchor, credits, exact) = numbers;
        SuperblockChange { id, anchor, credits, exact }
    }
}

prop_compose! {
    fn counter()(numbers in any::<(u16, u16, u64, u64, u64, u64)>()) -> HeapCounter {
        let (class, heap, allocations, frees, refills, ran_dry) = numbers;
        HeapCounter { class, heap, allocations, frees, refills, ran_dry }
    }
}

prop_compose! {
    fn front()(
        processors in any::<u32>(),
        table in vec(any::<(u16, u16, u16, u32)>(), 0..100),
    ) -> Front {
        let record = |(class, capacity, batch, depot_batches)| {
            FrontClass { class, capacity, batch, depot_batches }
        };
        Front { processors, records: table.into_iter().map(record).collect() }
    }
}

prop_compose! {
    fn magazine()(
        numbers in any::<(u16, u16, u16, u64, u64, u64, u64, u64)>(),
    ) -> MagazineRecord {
        let (class, processor, blocks, pops, pushes, refills, flushes, aborts) = numbers;
        MagazineRecord { class, processor, blocks, pops, pushes, refills, flushes, aborts }
    }
}

prop_compose! {
    fn cached()(
        id in any::<u32>(),
        cached_is in any::<u8>(),
        magazines in vec(any::<u64>(), 0..64),
        depot in vec(any::<u64>(), 0..64),
    ) -> SuperblockCached {
        SuperblockCached { id, cached_is, magazines, depot }
    }
}

prop_compose! {
    fn large()(numbers in any::<(u32, u64, u64, u64, bool)>()) -> LargeRecord {
        let (id, address, bytes, age_ns, cached) = numbers;
        LargeRecord { id, address, bytes, age_ns, cached }
    }
}

prop_compose! {
    fn hello()(
        strings in (".{0,40}", ".{0,40}"),
        numbers in any::<(u32, u16, u16, u32, u64, u64, u32, u64)>(),
        table in vec(any::<(u32, u32, u32)>(), 0..100),
    ) -> Hello {
        let (magic, major, minor, pid, agent_started_unix_ns, uptime_ns, heaps_per_class, features) =
            numbers;
        let classes = table
            .into_iter()
            .map(|(block_bytes, superblock_bytes, blocks_per_superblock)| ClassInfo {
                block_bytes,
                superblock_bytes,
                blocks_per_superblock,
            })
            .collect();
        Hello {
            magic, major, minor, allocator_version: strings.0, pid, name: strings.1,
            agent_started_unix_ns, uptime_ns, heaps_per_class, classes, features,
        }
    }
}

/// Encodes, decodes and compares.
fn round_trip<T>(message: &T) -> Result<(), TestCaseError>
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let mut out = vec![0; 64 * 1024];
    let used = encode_into(message, &mut out).unwrap();
    prop_assert_eq!(&decode::<T>(&out[..used]).unwrap(), message);
    // No prefix of a message is a message: a cut is always noticed.
    for cut in [0, used / 2, used.saturating_sub(1)] {
        prop_assert!(cut == used || decode::<T>(&out[..cut]).is_err());
    }
    Ok(())
}

proptest! {
    #[test]
    fn messages_come_back(
        superblocks in vec(superblock(), 0..200),
        transitions in vec(transition(), 0..200),
        large in vec(large(), 0..200),
        hello in hello(),
        client in ".{0,64}",
        flag in any::<bool>(),
        number in any::<u64>(),
    ) {
        round_trip(&Superblocks { records: superblocks })?;
        round_trip(&Transitions { missed: number, records: transitions })?;
        round_trip(&LargeBlocks { first: flag, records: large })?;
        round_trip(&hello)?;
        round_trip(&ClientHello { magic: MAGIC, major: MAJOR, minor: MINOR, client })?;
        round_trip(&Subscribe { interval_ms: number as u32, transitions: flag })?;
    }

    #[test]
    fn messages_since_version_1_1_come_back(
        detail in detail(),
        changes in vec(change(), 0..200),
        samples in vec(sample(), 0..200),
        counters in vec(counter(), 0..200),
        id in any::<u32>(),
    ) {
        round_trip(&detail)?;
        round_trip(&SizeSamples { records: samples })?;
        round_trip(&HeapCounters { records: counters })?;
        round_trip(&SuperblockChanges { records: changes })?;
        round_trip(&SuperblockRequest { id })?;
    }

    #[test]
    fn messages_since_version_1_3_come_back(
        front in front(),
        depots in vec(any::<(u16, u32)>(), 0..100),
        magazines in vec(magazine(), 0..200),
        cached in cached(),
    ) {
        round_trip(&front)?;
        let record = |(class, batches)| DepotRecord { class, batches };
        round_trip(&Depots { records: depots.into_iter().map(record).collect() })?;
        round_trip(&Magazines { records: magazines })?;
        round_trip(&cached)?;
    }

    /// Two decoders of one message: what the one makes of bytes, whole, cut, added to or damaged, so does the other.
    #[test]
    fn changes_are_read_as_everything_else_is(
        records in vec(change(), 0..200),
        added in vec(any::<u8>(), 0..20),
        keep in any::<prop::sample::Index>(),
        damage in proptest::option::of(any::<(prop::sample::Index, u8)>()),
    ) {
        let mut payload = vec![0; 8 + 15 * records.len()];
        encode_into(&SuperblockChanges { records: records.clone() }, &mut payload).unwrap();
        prop_assert_eq!(decode_changes(&payload).unwrap().records, records);
        if let Some((index, byte)) = damage {
            let place = index.index(payload.len());
            payload[place] = byte;
        }
        let cut = payload[..keep.index(payload.len() + 1)].to_vec();
        let longer = [payload.as_slice(), &added].concat();
        for payload in [payload, cut, longer] {
            let plain = decode::<SuperblockChanges>(&payload).map_err(|error| error.to_string());
            prop_assert_eq!(decode_changes(&payload).map_err(|error| error.to_string()), plain);
        }
    }

    #[test]
    fn random_payloads_do_no_harm(payload in vec(any::<u8>(), 0..600)) {
        let largest = largest_request(|| { decode_as_everything(&payload); });
        prop_assert!(largest <= DECODE_LIMIT_BYTES, "{largest} bytes at a time");
    }

    /// A valid payload with a few bytes changed gets further into the decoder than noise does.
    #[test]
    fn damaged_payloads_do_no_harm(
        hello in hello(),
        records in vec(superblock(), 0..20),
        detail in detail(),
        magazines in vec(magazine(), 0..20),
        cached in cached(),
        damage in vec(any::<(prop::sample::Index, u8)>(), 1..8),
    ) {
        let mut out = vec![0; 64 * 1024];
        for message in 0..5 {
            let used = match message {
                0 => encode_into(&hello, &mut out).unwrap(),
                1 => encode_into(&detail, &mut out).unwrap(),
                2 => encode_into(&Magazines { records: magazines.clone() }, &mut out).unwrap(),
                3 => encode_into(&cached, &mut out).unwrap(),
                _ => encode_into(&Superblocks { records: records.clone() }, &mut out).unwrap(),
            };
            for (index, byte) in &damage {
                out[index.index(used)] = *byte;
            }
            let largest = largest_request(|| { decode_as_everything(&out[..used]); });
            prop_assert!(largest <= DECODE_LIMIT_BYTES, "{largest} bytes at a time");
        }
    }

    /// Random bytes as a stream: every reader ends, and none reserves more than a frame may have.
    #[test]
    fn random_streams_do_no_harm(stream in vec(any::<u8>(), 0..4096)) {
        let mut payload = Vec::new();
        let largest = largest_request(|| {
            let mut rest = stream.as_slice();
            while read_frame(&mut rest, &mut payload).is_ok() {}
        });
        prop_assert!(largest <= MAX_PAYLOAD_BYTES, "{largest} bytes at a time");

        let mut reader = FrameReader::with_capacity(1024);
        let largest = largest_request(|| {
            let mut rest = stream.as_slice();
            loop {
                match reader.next() {
                    Ok(Some((_, payload))) => assert!(payload.len() <= 1024 - HEADER_BYTES),
                    Ok(None) if rest.is_empty() => break,
                    Ok(None) => {
                        let space = reader.space();
                        assert!(!space.is_empty(), "no frame, no error and no space");
                        let read = space.len().min(rest.len());
                        space[..read].copy_from_slice(&rest[..read]);
                        reader.advance(read);
                        rest = &rest[read..];
                    }
                    Err(_) => break,
                }
            }
        });
        prop_assert_eq!(largest, 0);
    }

    /// The same frames come out, wherever the stream is cut.
    #[test]
    fn cut_streams_are_reassembled(
        frames in vec((any::<u16>(), vec(any::<u64>(), 0..30)), 1..20),
        cuts in vec(1..200_usize, 1..50),
        capacity in 300..1000_usize,
    ) {
        let mut stream = Vec::new();
        let mut out = [0; 512];
        for (kind, numbers) in &frames {
            let used = encode_frame(Kind(*kind), numbers, &mut out).unwrap();
            stream.extend_from_slice(&out[..used]);
        }
        let mut reader = FrameReader::with_capacity(capacity);
        let mut arrived = Vec::new();
        let mut rest = stream.as_slice();
        let mut cuts = cuts.iter().cycle();
        loop {
            while let Some((kind, payload)) = reader.next().unwrap() {
                arrived.push((kind.0, decode::<Vec<u64>>(payload).unwrap()));
            }
            if rest.is_empty() {
                break;
            }
            let space = reader.space();
            let read = rest.len().min(space.len()).min(*cuts.next().unwrap());
            space[..read].copy_from_slice(&rest[..read]);
            reader.advance(read);
            rest = &rest[read..];
        }
        prop_assert_eq!(arrived, frames);
    }

    #[test]
    fn file_names_parse_back(name in ".{0,50}", pid in 1..=u32::MAX, suffix in any::<u32>()) {
        let file_name = socket_file_name(&name, pid, suffix);
        let parsed = parse_socket_file_name(&file_name).unwrap();
        prop_assert!(parsed.name.len() <= MAX_NAME_BYTES);
        prop_assert!(!file_name.contains('/'));
        prop_assert_eq!(&parsed, &SocketName { name: parsed.name.clone(), pid, suffix });
    }

    #[test]
    fn other_file_names_do_no_harm(file_name in ".{0,50}(\\.[0-9]{0,12}){0,4}(\\.sock)?") {
        if let Some(SocketName { name, pid, suffix }) = parse_socket_file_name(&file_name) {
            prop_assert_eq!(socket_file_name(&name, pid, suffix), file_name);
        }
    }
}
