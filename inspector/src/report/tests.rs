//! Aim: the page shows what the picture says, whatever it says. Method: pictures fed with frames of
//! our own making.

use lfalloc_protocol::codec::encode_into;
use lfalloc_protocol::message::{
    ClassInfo, ClassRecord, Classes, DepotRecord, Front, FrontClass, HeapRecord, Heaps, Hello,
    MAGIC, MAJOR, MINOR, MagazineRecord, Parts, StateBegin, StateEnd, feature,
};
use serde::Serialize;

use super::*;

fn apply<T: Serialize>(picture: &mut Picture, kind: Kind, message: &T) {
    let mut payload = vec![0; 4096];
    let length = encode_into(message, &mut payload).unwrap();
    let _ = picture.apply(kind, &payload[..length]).unwrap();
}

fn hello() -> Hello {
    Hello {
        magic: MAGIC,
        major: MAJOR,
        minor: MINOR,
        allocator_version: "0.1.0".to_owned(),
        pid: 4121,
        name: "indexer".to_owned(),
        agent_started_unix_ns: 0,
        uptime_ns: 0,
        heaps_per_class: 2,
        classes: vec![ClassInfo {
            block_bytes: 8192,
            superblock_bytes: 65536,
            blocks_per_superblock: 8,
        }],
        features: 1,
    }
}

fn watched(consistent: bool, unused: i64) -> Watched {
    let mut picture = Picture::new(hello());
    let begin = StateBegin { sequence: 1, full: true, uptime_ns: 61_000_000_000 };
    apply(&mut picture, Kind::STATE_BEGIN, &begin);
    let class = ClassRecord {
        class: 0,
        allocations: 5,
        frees: 1,
        active: 1,
        live_blocks: 4,
        free_blocks: 1,
        credit_blocks: 3,
        ..ClassRecord::default()
    };
    apply(&mut picture, Kind::CLASSES, &Classes { records: vec![class] });
    let heap = HeapRecord { class: 0, heap: 1, superblock: 7, credits: 3 };
    apply(&mut picture, Kind::HEAPS, &Heaps { first: true, records: vec![heap] });
    let parts = Parts {
        mapped: 65536 + 4096,
        live: 4 * 8192,
        free: 8192,
        credit: 3 * 8192,
        unused,
        ..Parts::default()
    };
    let end = StateEnd {
        sequence: 1,
        consistent,
        attempts: 1,
        parts,
        allocations_after: 5,
        frees_after: 1,
        transitions_seen: 1,
        ..StateEnd::default()
    };
    apply(&mut picture, Kind::STATE_END, &end);
    let mut watched = Watched::still(picture, "alice".to_owned());
    let record = TransitionRecord {
        uptime_ns: 12_345_678,
        superblock: 7,
        class: 0,
        from: state::EMPTY,
        to: state::ACTIVE,
        cause: cause::MALLOC_FROM_NEW_SB,
        tag: 1,
    };
    watched.remember(0, vec![record]);
    watched
}

#[test]
fn the_page_of_a_balanced_state() {
    insta::assert_snapshot!(watched(true, 4096).page(true));
}

/// Aim: hit rate, and what is cached of the stated bound. Method: two processors, one of them with a full magazine.
#[test]
fn the_front_is_told_with_its_bound() {
    let mut watched = watched(true, 0);
    assert!(watched.page(true).contains("  magazines off: the core alone\n"));
    watched.picture.hello.features |= feature::MAGAZINES;
    watched.picture.hello.minor = 2;
    assert!(watched.page(true).contains("not told by agents before protocol 1.3"));
    watched.picture.hello.minor = 3;
    let rule = FrontClass { class: 0, capacity: 2, batch: 1, depot_batches: 32 };
    watched.picture.front = Some(Front { processors: 64, records: vec![rule] });
    watched.picture.depots = vec![DepotRecord { class: 0, batches: 4 }];
    let magazine = MagazineRecord { pops: 50, refills: 5, blocks: 2, ..MagazineRecord::default() };
    watched.picture.magazines.insert((0, 0), magazine);
    let other = MagazineRecord { processor: 7, flushes: 3, aborts: 1, blocks: 0, ..magazine };
    watched.picture.magazines.insert((0, 7), other);
    let page = watched.page(true);
    let lines = "  hit rate 90.0% ever, of 100 pops  refills 10  flushes 3  aborts 1\n  \
                 cached 48.0 KiB of at most 288 KiB:\n    \
                 magazines 16.0 KiB, at most 16.0 KiB for each of 2 processors; depot 32.0 KiB of 256 KiB\n";
    assert!(page.contains(lines), "{page}");
    assert!(page.lines().all(|line| line.len() <= 100), "{page}");
}

#[test]
fn books_that_do_not_balance_are_cried_out_only_for_one_instant() {
    let page = watched(true, 0).page(true);
    assert!(page.contains("THE BOOKS DO NOT BALANCE"), "{page}");
    let page = watched(false, 0).page(true);
    assert!(!page.contains("BALANCE"), "{page}");
    assert!(page.contains("not one instant"), "{page}");
}

#[test]
fn a_program_without_a_state_has_a_page() {
    let page = Watched::still(Picture::new(hello()), "alice".to_owned()).page(false);
    assert!(page.contains("nothing was read yet"), "{page}");
}

#[test]
fn lines_have_at_most_100_columns_and_ascii_is_ascii() {
    let page = watched(true, 4096).page(true);
    assert!(page.is_ascii());
    assert!(page.lines().all(|line| line.len() <= 100), "{page}");
    assert!(watched(true, 4096).page(false).contains('█'));
}

#[test]
fn only_the_last_transitions_are_kept() {
    let mut watched = watched(true, 0);
    let record = watched.transitions[0];
    let more = |tag| TransitionRecord { tag, ..record };
    watched.remember(2, (2..=30).map(more).collect());
    watched.remember(1, vec![more(31)]);
    let tags: Vec<_> = watched.transitions.iter().map(|record| record.tag).collect();
    assert_eq!(tags, (22..=31).collect::<Vec<_>>());
    assert_eq!(watched.missed, 3);
}

#[test]
fn reserved_bytes_at_the_end_of_their_range_have_a_page() {
    let mut watched = watched(true, 0);
    watched.picture.hello.classes[0].block_bytes = u32::MAX;
    let heap = HeapRecord { class: 0, heap: 0, superblock: 1, credits: u32::MAX };
    watched.picture.heaps = vec![heap; 3];
    assert!(watched.page(true).contains("(3 with an active superblock, 8.00 EiB reserved)"));
}

#[test]
fn bars_never_exceed_their_whole() {
    assert_eq!(bar(1, 1, true).len(), 40);
    assert_eq!(bar(i64::MAX, i64::MAX, true).len(), 40);
    for (part, whole) in [(0, 1), (-1, 1), (2, 1), (1, 0), (i64::MIN, i64::MAX)] {
        assert_eq!(bar(part, whole, true), "");
    }
}
