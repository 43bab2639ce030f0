//! Aim: the bytes on the socket never change. Method: every kind of message, with a different value
//! in every field, against its bytes written out; they were packed field by field from `PROTOCOL.md`
//! by a program that shares nothing with this crate, so that a field that is added, moved or widened
//! fails here.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::{Debug, Write};

use lfalloc_protocol::message::*;
use lfalloc_protocol::{decode, encode_frame, read_frame};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Encodes `message`, compares with `golden` (hex, blanks ignored) and decodes it again.
fn assert_golden<T>(kind: Kind, message: &T, golden: &str)
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let golden: String = golden.split_whitespace().collect();
    let mut out = [0; 512];
    let used = encode_frame(kind, message, &mut out).unwrap();
    let mut hex = String::new();
    for byte in &out[..used] {
        write!(hex, "{byte:02x}").unwrap();
    }
    assert_eq!(hex, golden, "{message:?}");

    let mut payload = Vec::new();
    assert_eq!(read_frame(&mut &out[..used], &mut payload).unwrap(), kind);
    assert_eq!(decode::<T>(&payload).unwrap(), *message);
}

#[test]
fn client_hello() {
    let client = "lfinspect 0.1.0".to_owned();
    assert_golden(
        Kind::CLIENT_HELLO,
        &ClientHello { magic: MAGIC, major: 1, minor: 0, client },
        "1f00000001000000 \
         4c46414c010000000f000000000000006c66696e737065637420302e312e30",
    );
}

#[test]
fn requests() {
    assert_golden(Kind::TOTALS_REQUEST, &TotalsRequest {}, "0000000002000000");
    assert_golden(Kind::STATE_REQUEST, &StateRequest {}, "0000000004000000");
    assert_golden(
        Kind::SUPERBLOCK_REQUEST,
        &SuperblockRequest { id: 0x0102_0304 },
        "0400000005000000 \
         04030201",
    );
    assert_golden(
        Kind::SUBSCRIBE,
        &Subscribe { interval_ms: 50, transitions: true },
        "0500000003000000 \
         3200000001",
    );
}

#[test]
fn hello() {
    let class = |block_bytes, blocks_per_superblock| ClassInfo {
        block_bytes,
        superblock_bytes: 0x10000,
        blocks_per_superblock,
    };
    assert_golden(
        Kind::HELLO,
        &Hello {
            magic: MAGIC,
            major: 1,
            minor: 0,
            allocator_version: "0.1.0".to_owned(),
            pid: 4242,
            name: "indexer".to_owned(),
            agent_started_unix_ns: 1_700_000_000_123_456_789,
            uptime_ns: 5_000_000_000,
            heaps_per_class: 64,
            classes: vec![class(16, 4096), class(32, 2048)],
            features: feature::TRANSITIONS,
        },
        "6400000001010000 \
         4c46414c010000000500000000000000302e312e309210000007000000000000 \
         00696e646578657215cd853dfe9c971700f2052a010000004000000002000000 \
         0000000010000000000001000010000020000000000001000008000001000000 \
         00000000",
    );
}

#[test]
fn refused() {
    assert_golden(
        Kind::REFUSED,
        &Refused { reason: refusal::VERSION, major: 1, minor: 0, message: "no".to_owned() },
        "1000000002010000 \
         01000100000002000000000000006e6f",
    );
}

#[test]
fn totals() {
    assert_golden(
        Kind::TOTALS,
        &Totals {
            mapped_bytes: 0x10001,
            live_bytes: -2,
            superblock_bytes: 0x30003,
            allocations: 0x40004,
            frees: 0x50005,
            in_hand: 6,
            uptime_ns: 0x70007,
        },
        "3800000003010000 \
         0100010000000000feffffffffffffff03000300000000000400040000000000 \
         050005000000000006000000000000000700070000000000",
    );
}

#[test]
fn state_begin() {
    assert_golden(
        Kind::STATE_BEGIN,
        &StateBegin { sequence: 3, full: true, uptime_ns: 0x0102_0304_0506_0708 },
        "1100000004010000 \
         0300000000000000010807060504030201",
    );
}

#[test]
fn classes() {
    assert_golden(
        Kind::CLASSES,
        &Classes {
            records: vec![ClassRecord {
                class: 7,
                allocations: 0x101,
                frees: 0x102,
                retries: 0x103,
                active: 0x104,
                full: 0x105,
                partial: 0x106,
                empty: 0x107,
                live_blocks: 0x108,
                free_blocks: -1,
                credit_blocks: 0x10A,
                cached_blocks: 0x10B,
            }],
        },
        "5200000005010000 \
         0100000000000000070001010000000000000201000000000000030100000000 \
         0000040100000501000006010000070100000801000000000000ffffffffffff \
         ffff0a010000000000000b01000000000000",
    );
}

#[test]
fn heaps() {
    assert_golden(
        Kind::HEAPS,
        &Heaps {
            first: true,
            records: vec![
                HeapRecord { class: 7, heap: 2, superblock: 0x0102_0304, credits: 64 },
                HeapRecord { class: 8, heap: 3, superblock: 9, credits: 10 },
            ],
        },
        "2100000006010000 \
         01020000000000000007000200040302014000000008000300090000000a0000 \
         00",
    );
}

#[test]
fn superblocks() {
    assert_golden(
        Kind::SUPERBLOCKS,
        &Superblocks {
            records: vec![SuperblockRecord {
                id: 9,
                class: 7,
                state: state::PARTIAL,
                backing: backing::MAPPED,
                address: 0x7F00_0001_0000,
                anchor: 0x1122_3344_5566_7788,
                avail: 0x0A0B,
                count: 0x0C0D,
                credits: 5,
                exact: true,
                tag: 0x2_2334,
                age_ns: 0x5566_7788,
            }],
        },
        "3700000007010000 \
         0100000000000000090000000700020100000100007f00008877665544332211 \
         0b0a0d0c05000134230200000000008877665500000000",
    );
}

#[test]
fn large_blocks() {
    assert_golden(
        Kind::LARGE_BLOCKS,
        &LargeBlocks {
            first: false,
            records: vec![LargeRecord {
                id: 3,
                address: 0x7F00_0020_0000,
                bytes: 0x10_0000,
                age_ns: 77,
                cached: true,
            }],
        },
        "2600000008010000 \
         0001000000000000000300000000002000007f000000001000000000004d0000 \
         000000000001",
    );
}

#[test]
fn state_end() {
    assert_golden(
        Kind::STATE_END,
        &StateEnd {
            sequence: 3,
            consistent: false,
            attempts: 8,
            parts: Parts {
                mapped: 0x1000,
                live: 0x1001,
                large: 0x1002,
                free: 0x1003,
                credit: 0x1004,
                cached: 0x1005,
                empty: 0x1006,
                large_cached: 0x1007,
                tail: 0x1008,
                unused: 0x1009,
                metadata: -5,
            },
            in_hand: 0x2000,
            allocations_before: 0x2001,
            frees_before: 0x2002,
            allocations_after: 0x2003,
            frees_after: 0x2004,
            large_allocations: 0x2005,
            large_frees: 0x2006,
            transitions_seen: 0x2007,
            transitions_dropped: 0x2008,
            agent_cpu_ns: 0x2009,
            agent_bytes: 0x200A,
            viewers: 16,
        },
        "c100000009010000 \
         0300000000000000000800000000100000000000000110000000000000021000 \
         0000000000031000000000000004100000000000000510000000000000061000 \
         0000000000071000000000000008100000000000000910000000000000fbffff \
         ffffffffff002000000000000001200000000000000220000000000000032000 \
         0000000000042000000000000005200000000000000620000000000000072000 \
         0000000000082000000000000009200000000000000a20000000000000100000 \
         00",
    );
}

#[test]
fn transitions() {
    assert_golden(
        Kind::TRANSITIONS,
        &Transitions {
            missed: 12,
            records: vec![TransitionRecord {
                uptime_ns: 0x99,
                superblock: 9,
                class: 7,
                from: state::ACTIVE,
                to: state::FULL,
                cause: cause::FREE,
                tag: 0x2_2335,
            }],
        },
        "290000000a010000 \
         0c00000000000000010000000000000099000000000000000900000007000001 \
         043523020000000000",
    );
}

#[test]
fn gap() {
    assert_golden(
        Kind::GAP,
        &Gap { lost: 5 },
        "080000000b010000 \
         0500000000000000",
    );
}

#[test]
fn superblock_detail() {
    assert_golden(
        Kind::SUPERBLOCK_DETAIL,
        &SuperblockDetail {
            id: 9,
            uptime_ns: 0x0102_0304_0506_0708,
            record: Some(SuperblockRecord {
                id: 9,
                class: 7,
                state: state::PARTIAL,
                backing: backing::MAPPED,
                address: 0x7F00_0001_0000,
                anchor: 0x1122_3344_5566_7788,
                avail: 0x0A0B,
                count: 0x0C0D,
                credits: 5,
                exact: true,
                tag: 0x2_2334,
                age_ns: 0x5566_7788,
            }),
            bitmap_is: bitmap::EXACT,
            free: vec![0xF0F1_F2F3_F4F5_F6F7, 0x0E],
            transitions: vec![TransitionRecord {
                uptime_ns: 0x99,
                superblock: 9,
                class: 7,
                from: state::ACTIVE,
                to: state::FULL,
                cause: cause::FREE,
                tag: 0x2_2335,
            }],
        },
        "760000000c010000 \
         09000000080706050403020101090000000700020100000100007f0000887766 \
         55443322110b0a0d0c0500013423020000000000887766550000000001020000 \
         0000000000f7f6f5f4f3f2f1f00e000000000000000100000000000000990000 \
         00000000000900000007000001043523020000000000",
    );
    assert_golden(
        Kind::SUPERBLOCK_DETAIL,
        &SuperblockDetail {
            id: u32::MAX,
            uptime_ns: 0x1234,
            record: None,
            bitmap_is: bitmap::NONE,
            free: vec![],
            transitions: vec![],
        },
        "1e0000000c010000 \
         ffffffff3412000000000000000000000000000000000000000000000000",
    );
}

#[test]
fn size_samples() {
    let sample = |class, samples, slack_sum, slack_squares| SizeSample {
        class,
        samples,
        slack_sum,
        slack_squares,
    };
    assert_golden(
        Kind::SIZE_SAMPLES,
        &SizeSamples {
            records: vec![sample(7, 0x101, 0x102, 0x103), sample(8, 0x201, 0x202, 0x203)],
        },
        "3c0000000d010000 \
         0200000000000000070001010000000000000201000000000000030100000000 \
         00000800010200000000000002020000000000000302000000000000",
    );
}

#[test]
fn heap_counters() {
    assert_golden(
        Kind::HEAP_COUNTERS,
        &HeapCounters {
            records: vec![HeapCounter {
                class: 7,
                heap: 2,
                allocations: 0x301,
                frees: 0x302,
                refills: 0x303,
                ran_dry: 0x304,
            }],
        },
        "2c0000000e010000 \
         0100000000000000070002000103000000000000020300000000000003030000 \
         000000000403000000000000",
    );
}

#[test]
fn superblock_changes() {
    assert_golden(
        Kind::SUPERBLOCK_CHANGES,
        &SuperblockChanges {
            records: vec![SuperblockChange {
                id: 7,
                anchor: 0x1234_5678_9ABC_DEF0,
                credits: 0x102,
                exact: true,
            }],
        },
        "170000000f010000 \
         010000000000000007000000f0debc9a78563412020101",
    );
}

#[test]
fn front() {
    assert_golden(
        Kind::FRONT,
        &Front {
            processors: 0x0102_0304,
            records: vec![FrontClass {
                class: 7,
                capacity: 0x7E,
                batch: 0x3F,
                depot_batches: 0x0506_0708,
            }],
        },
        "1600000010010000 \
         04030201010000000000000007007e003f0008070605",
    );
    assert_golden(
        Kind::DEPOTS,
        &Depots { records: vec![DepotRecord { class: 7, batches: 0x0102_0304 }] },
        "0e00000011010000 \
         0100000000000000070004030201",
    );
    assert_golden(
        Kind::MAGAZINES,
        &Magazines {
            records: vec![MagazineRecord {
                class: 7,
                processor: 2,
                blocks: 0x401,
                pops: 0x402,
                pushes: 0x403,
                refills: 0x404,
                flushes: 0x405,
                aborts: 0x406,
            }],
        },
        "3600000012010000 \
         0100000000000000070002000104020400000000000003040000000000000404 \
         00000000000005040000000000000604000000000000",
    );
    assert_golden(
        Kind::SUPERBLOCK_CACHED,
        &SuperblockCached {
            id: 9,
            cached_is: bitmap::EXACT,
            magazines: vec![0x0102],
            depot: vec![0x0304],
        },
        "2500000013010000 \
         0900000001010000000000000002010000000000000100000000000000040300 \
         0000000000",
    );
}

#[test]
fn an_anchor_has_these_fields() {
    let word = 5 | 6 << 13 | 2 << 26 | ((1 << 36) - 1) << 28;
    let fields = (anchor::avail(word), anchor::count(word), anchor::state(word), anchor::tag(word));
    assert_eq!(fields, (5, 6, state::PARTIAL, (1 << 36) - 1));
    assert_eq!((anchor::avail(u64::MAX), anchor::count(u64::MAX)), (0x1FFF, 0x1FFF));
}
