//! Aim: what a viewer gets, and that no viewer, however it behaves, keeps another from getting it.
//! Method: real sockets; viewers that follow the protocol beside ones that break it in one way each.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::hint::black_box;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use common::{Fixture, PATIENCE, Viewer, wait_until};
use lfalloc::observe::{CLASS_COUNT, class_info};
use lfalloc_protocol::message::*;
use lfalloc_protocol::{FrameReader, decode};

#[global_allocator]
static ALLOCATOR: lfalloc::LfAlloc = lfalloc::LfAlloc;

/// Blocks that the compiler cannot leave out.
fn blocks_of(bytes: usize, count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|_| black_box(Vec::with_capacity(bytes))).collect()
}

#[test]
fn the_greeting_says_who_is_watched() {
    let fixture = Fixture::start();
    let hello = fixture.connect().greet();
    assert_eq!((hello.magic, hello.major, hello.minor), (MAGIC, MAJOR, MINOR));
    assert_eq!((hello.pid, hello.name.as_str()), (std::process::id(), "test"));
    assert_eq!(hello.allocator_version, env!("CARGO_PKG_VERSION"));
    assert_eq!(hello.classes.len(), CLASS_COUNT);
    for (number, class) in hello.classes.iter().enumerate() {
        let info = class_info(number);
        assert_eq!(class.block_bytes, info.block_bytes);
        assert_eq!(class.superblock_bytes, info.superblock_bytes);
        assert_eq!(class.blocks_per_superblock, info.blocks_per_superblock);
    }
    assert!(hello.uptime_ns < 600_000_000_000, "{}", hello.uptime_ns);
    assert_ne!(hello.features & feature::TRANSITIONS, 0);
}

#[test]
fn totals_count_on() {
    let fixture = Fixture::start();
    let mut viewer = fixture.attach();
    let before = viewer.totals();
    let blocks: Vec<Box<[u8; 5000]>> = (0..100).map(|_| Box::new([1; 5000])).collect();
    let after = viewer.totals();
    assert!(after.allocations >= before.allocations + 100, "{before:?} {after:?}");
    assert!(after.uptime_ns > before.uptime_ns);
    assert!(after.mapped_bytes >= after.superblock_bytes, "{after:?}");
    drop(blocks);
}

/// A full state holds what the program holds: 300 blocks of a size that nobody else uses, and one
/// large block.
#[test]
fn a_full_state_is_complete() {
    let fixture = Fixture::start();
    let mut viewer = fixture.attach();
    let blocks: Vec<Vec<u8>> = blocks_of(11_111, 300);
    let large: Vec<u8> = Vec::with_capacity(5_000_000);
    let state = viewer.request_state();
    assert!(state.begin.full);
    assert_eq!((state.begin.sequence, state.end.sequence), (1, 1));
    assert_eq!(state.classes.len(), CLASS_COUNT);

    let class = (0..CLASS_COUNT).find(|&class| class_info(class).block_bytes >= 11_111).unwrap();
    assert_eq!(state.classes[class].class, class as u16);
    assert_eq!(state.classes[class].live_blocks, 300);
    let in_superblocks: i64 = state
        .superblocks
        .iter()
        .filter(|superblock| superblock.class == class as u16)
        .filter(|superblock| superblock.state != state::EMPTY)
        .map(|superblock| {
            i64::from(class_info(class).blocks_per_superblock)
                - i64::from(superblock.count)
                - i64::from(superblock.credits)
        })
        .sum();
    assert_eq!(in_superblocks, 300);
    assert!(state.superblocks.iter().all(|superblock| superblock.backing == backing::MAPPED));
    let address = large.as_ptr() as u64;
    let holds = |record: &&LargeRecord| {
        !record.cached && (record.address..record.address + record.bytes).contains(&address)
    };
    assert_eq!(state.large.iter().filter(holds).count(), 1, "{:?}", state.large);
    assert!(state.end.viewers >= 1 && state.end.agent_bytes > 0 && state.end.agent_cpu_ns > 0);

    // A second one on the same connection is full again.
    let again = viewer.request_state();
    assert!(again.begin.full);
    assert_eq!(again.begin.sequence, 2);
    drop(blocks);
}

#[test]
fn a_subscription_sends_a_full_state_and_then_updates() {
    let fixture = Fixture::start();
    let mut viewer = fixture.attach();
    let start = Instant::now();
    viewer.subscribe(20, false);
    for sequence in 1..=20 {
        let state = viewer.state();
        assert_eq!(state.begin.sequence, sequence);
        assert_eq!(state.begin.full, sequence == 1);
    }
    // 19 updates of 20 ms, the first of which may come at once.
    assert!(start.elapsed() >= Duration::from_millis(18 * 20), "{:?}", start.elapsed());

    // Interval 0 ends it: what was under way arrives, and then only what is asked for.
    viewer.subscribe(0, false);
    viewer.send(Kind::TOTALS_REQUEST, &TotalsRequest {});
    while viewer.next_frame().unwrap() != Kind::TOTALS {}
    viewer.stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(viewer.next_frame().is_err());
}

/// Transitions arrive, in order per superblock, and can be told from the states in between.
#[test]
fn transitions_are_sent_as_they_happen() {
    let fixture = Fixture::start();
    let mut viewer = fixture.attach();
    viewer.subscribe(50, true);
    assert!(viewer.state().begin.full);
    let class = (0..CLASS_COUNT).find(|&class| class_info(class).block_bytes >= 23_456).unwrap();
    let mut seen = [[false; 4]; 4];
    let deadline = Instant::now() + PATIENCE;
    // From ACTIVE to FULL by malloc; by free from FULL to PARTIAL, to EMPTY where it was not ACTIVE.
    while !(seen[0][1] && seen[1][2] && seen[2][3]) {
        assert!(Instant::now() < deadline, "{seen:?}");
        // Again and again: the ring holds a few thousand, and other tests write to it as well.
        drop(blocks_of(23_456, 100));
        if viewer.next_frame().unwrap() != Kind::TRANSITIONS {
            continue;
        }
        let transitions: Transitions = decode(&viewer.payload).unwrap();
        assert!(transitions.missed > 0 || !transitions.records.is_empty());
        for record in transitions.records.iter().filter(|r| r.class == class as u16) {
            assert!(record.uptime_ns > 0);
            seen[usize::from(record.from)][usize::from(record.to)] = true;
        }
    }
}

#[test]
fn unknown_kinds_are_skipped() {
    let fixture = Fixture::start();
    let mut viewer = fixture.attach();
    viewer.send(Kind(0x0FFF), &"whatever it may be");
    viewer.send(Kind(0x0109), &[7_u64; 20]);
    viewer.totals();
}

/// Requests that were sent together, before anything was read, are all answered in order.
#[test]
fn requests_may_be_sent_ahead() {
    let fixture = Fixture::start();
    let mut viewer = fixture.connect();
    viewer.send_greeting(MAJOR);
    for _ in 0..5 {
        viewer.send(Kind::STATE_REQUEST, &StateRequest {});
        viewer.send(Kind::TOTALS_REQUEST, &TotalsRequest {});
    }
    viewer.stream.shutdown(std::net::Shutdown::Write).unwrap();
    let _: Hello = viewer.expect(Kind::HELLO);
    for sequence in 1..=5 {
        assert_eq!(viewer.state().begin.sequence, sequence);
        let _: Totals = viewer.expect(Kind::TOTALS);
    }
    viewer.expect_end();
}

#[test]
fn another_version_is_refused_with_both_versions() {
    let fixture = Fixture::start();
    let mut viewer = fixture.connect();
    viewer.send_greeting(MAJOR + 41);
    let refused: Refused = viewer.expect(Kind::REFUSED);
    assert_eq!((refused.reason, refused.major, refused.minor), (refusal::VERSION, MAJOR, MINOR));
    let theirs = format!("{}.{MINOR}", MAJOR + 41);
    let ours = format!("{MAJOR}.{MINOR}");
    assert!(refused.message.contains(&theirs), "{}", refused.message);
    assert!(refused.message.contains(&ours), "{}", refused.message);
    viewer.expect_end();
}

#[test]
fn garbage_is_refused() {
    let fixture = Fixture::start();
    let mut good = fixture.attach();
    let mut noise = 0x9E37_79B9_7F4A_7C15_u64;
    for round in 0..200 {
        let mut bytes = Vec::new();
        for _ in 0..round {
            noise = noise.wrapping_mul(0xD129_0D3E_5B63_7A1D).wrapping_add(1);
            bytes.extend(noise.to_be_bytes());
        }
        // Even rounds: noise from the start. Odd: noise behind a greeting.
        let mut bad = if round % 2 == 0 { fixture.connect() } else { fixture.attach() };
        bytes.extend([0xFF; 16]);
        bad.send_bytes(&bytes);
        let refused: Refused = bad.expect(Kind::REFUSED);
        assert_eq!(refused.reason, refusal::MALFORMED);
        bad.expect_end();
    }
    good.totals();
}

#[test]
fn a_second_greeting_and_a_damaged_request_are_refused() {
    let fixture = Fixture::start();
    let mut viewer = fixture.attach();
    viewer.send_greeting(MAJOR);
    let refused: Refused = viewer.expect(Kind::REFUSED);
    assert_eq!(refused.reason, refusal::MALFORMED);
    viewer.expect_end();

    let mut viewer = fixture.attach();
    viewer.send(Kind::SUBSCRIBE, &[0_u8; 2]);
    let refused: Refused = viewer.expect(Kind::REFUSED);
    assert_eq!(refused.reason, refusal::MALFORMED);
    viewer.expect_end();
}

/// A frame that never ends holds up nobody; without a greeting the connection ends after 5 s.
#[test]
fn half_a_frame_holds_up_nobody() {
    let fixture = Fixture::start();
    let start = Instant::now();
    let mut silent = fixture.connect();
    let mut half = fixture.connect();
    half.send_bytes(&[31, 0, 0, 0, 1, 0, 0, 0, b'L', b'F']);
    let mut late = fixture.attach();
    late.send_bytes(&[5, 0, 0, 0, 3, 0]);
    let mut good = fixture.attach();
    for _ in 0..50 {
        good.totals();
    }
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());

    for viewer in [&mut silent, &mut half] {
        let refused: Refused = viewer.expect(Kind::REFUSED);
        assert_eq!(refused.reason, refusal::MALFORMED);
        viewer.expect_end();
    }
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(4900) && waited < Duration::from_secs(9), "{waited:?}");
    // One that has greeted may be slow with its requests.
    late.send_bytes(&[0, 0, 20, 0, 0, 0, 0]);
    assert!(late.state().begin.full);
}

/// A viewer that does not read loses whole states, is told how many, and starts from a full one;
/// another one misses nothing meanwhile.
#[test]
fn a_viewer_that_never_reads_loses_states_and_nobody_else_does() {
    let fixture = Fixture::start();
    // Enough superblocks that a state does not fit a socket's buffer many times.
    let ballast: Vec<Vec<u8>> = blocks_of(4000, 40_000);
    let mut lazy = fixture.attach();
    lazy.subscribe(20, true);
    let mut good = fixture.attach();
    good.subscribe(20, false);
    let mut churn = Vec::new();
    for sequence in 1..=100 {
        assert_eq!(good.state().begin.sequence, sequence);
        churn = blocks_of(4000, 500);
    }
    drop((churn, ballast));

    // Complete states first, then the gap.
    let mut sequence = 0;
    let lost = loop {
        match lazy.next_frame().unwrap() {
            Kind::STATE_BEGIN => {
                let begin: StateBegin = decode(&lazy.payload).unwrap();
                sequence += 1;
                assert_eq!(begin.sequence, sequence);
                assert!(sequence < 50, "state after state, and no word of those left out");
            }
            Kind::STATE_END => {
                assert_eq!(decode::<StateEnd>(&lazy.payload).unwrap().sequence, sequence);
            }
            Kind::GAP => break decode::<Gap>(&lazy.payload).unwrap().lost,
            _ => {}
        }
    };
    assert!(lost > 0 && lost < 200, "{lost}");
    let state = lazy.state();
    assert!(state.begin.full);
    assert_eq!(state.begin.sequence, sequence + 1);
    // And from there it goes on as usual.
    let state = lazy.state();
    assert!(!state.begin.full);
}

/// A viewer that takes longer to read a state than its interval is, but reads, gets updates as fast
/// as it takes them, and neither gaps nor full states again and again.
#[test]
fn a_slow_reader_gets_updates() {
    let fixture = Fixture::start();
    // Several times what a socket takes at once.
    let ballast = blocks_of(8000, 80_000);
    let mut slow = fixture.attach();
    slow.subscribe(20, false);
    let mut reader = FrameReader::with_capacity(300_000);
    let (mut states, mut longest) = (0, Duration::ZERO);
    let mut last = Instant::now();
    while states < 6 {
        let space = reader.space();
        let piece = space.len().min(8192);
        let read = slow.stream.read(&mut space[..piece]).unwrap();
        assert!(read > 0);
        reader.advance(read);
        while let Some((kind, payload)) = reader.next().unwrap() {
            assert_ne!(kind, Kind::GAP);
            if kind == Kind::STATE_BEGIN {
                assert_eq!(decode::<StateBegin>(payload).unwrap().full, states == 0);
            }
            if kind == Kind::STATE_END {
                states += 1;
                longest = longest.max(std::mem::replace(&mut last, Instant::now()).elapsed());
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(longest > Duration::from_millis(60), "not slow enough to show anything: {longest:?}");
    drop(ballast);
}

#[test]
fn a_thousand_reconnects() {
    let fixture = Fixture::start();
    let mut steady = fixture.attach();
    for round in 0..1000 {
        let mut viewer = fixture.connect();
        match round % 4 {
            // Gone without a word, within the greeting, with an answer under way, and politely.
            0 => {}
            1 => viewer.send_bytes(b"LFAL"),
            2 => {
                viewer.send_greeting(MAJOR);
                viewer.subscribe(20, true);
            }
            _ => {
                viewer.greet();
                viewer.totals();
            }
        }
    }
    steady.totals();
    wait_until("all places are free again", || steady.request_state().end.viewers == 1);
}

#[test]
fn sixteen_viewers_are_served_and_a_seventeenth_is_told_why_not() {
    let fixture = Fixture::start();
    let mut viewers: Vec<Viewer> = (0..16).map(|_| fixture.attach()).collect();
    for viewer in &mut viewers {
        viewer.subscribe(50, true);
    }
    for _ in 0..4 {
        let mut late = fixture.connect();
        late.send_greeting(MAJOR);
        let refused: Refused = late.expect(Kind::REFUSED);
        assert_eq!(refused.reason, refusal::BUSY);
        late.expect_end();
    }
    for viewer in &mut viewers {
        assert!(viewer.state().begin.full);
        assert_eq!(viewer.state().begin.sequence, 2);
    }
    viewers.pop();
    wait_until("a place is free", || {
        let mut late = fixture.connect();
        late.send_greeting(MAJOR);
        late.next_frame().unwrap() == Kind::HELLO
    });
}

/// Connections that do not even greet cannot take the places of viewers; beyond a bound they are
/// sent away at once.
#[test]
fn a_crowd_that_does_not_greet() {
    let fixture = Fixture::start();
    let mut good = fixture.attach();
    let crowd: Vec<UnixStream> =
        (0..60).map(|_| UnixStream::connect(fixture.agent.socket_path()).unwrap()).collect();
    let mut refused = 0;
    for stream in crowd {
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut viewer = Viewer { stream, payload: Vec::new() };
        if let Ok(kind) = viewer.next_frame() {
            assert_eq!(kind, Kind::REFUSED);
            assert_eq!(decode::<Refused>(&viewer.payload).unwrap().reason, refusal::BUSY);
            refused += 1;
        }
    }
    assert!((60 - 23..60).contains(&refused), "{refused}");
    good.totals();
    wait_until("there is room again", || {
        let mut late = fixture.connect();
        late.send_greeting(MAJOR);
        late.next_frame().is_ok_and(|kind| kind == Kind::HELLO)
    });
}
