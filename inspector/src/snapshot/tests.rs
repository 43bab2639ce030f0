//! Aim: the document has exactly the documented keys, and a file is replaced whole or not at all.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;

use lfalloc_protocol::message::{
    self, ClassInfo, ClassRecord, DepotRecord, Hello, MAGIC, MAJOR, MINOR, SuperblockRecord,
    backing,
};
use serde_json::Value;

use super::*;

fn snapshot() -> Snapshot {
    let class = ClassInfo { block_bytes: 16, superblock_bytes: 65536, blocks_per_superblock: 4096 };
    let mut picture = Picture::new(Hello {
        magic: MAGIC,
        major: MAJOR,
        minor: MINOR,
        allocator_version: "0.1.0".to_owned(),
        pid: 4121,
        name: "indexer".to_owned(),
        agent_started_unix_ns: 0,
        uptime_ns: 1_234_567_890,
        heaps_per_class: 2,
        classes: vec![class; 3],
        features: 1,
    });
    picture.classes = vec![ClassRecord { class: 1, live_blocks: 7, ..ClassRecord::default() }];
    picture.heaps = vec![HeapRecord { class: 1, heap: 0, superblock: 5, credits: 9 }];
    let counter =
        HeapCounter { class: 1, heap: 0, allocations: 8, frees: 1, refills: 2, ran_dry: 3 };
    picture.counters.insert((1, 0), counter);
    picture.samples = vec![SizeSample { class: 1, samples: 2, slack_sum: 10, slack_squares: 50 }];
    let rule = FrontClass { class: 1, capacity: 126, batch: 63, depot_batches: 260 };
    picture.front = Some(message::Front { processors: 2, records: vec![rule] });
    picture.depots = vec![DepotRecord { class: 1, batches: 3 }];
    let magazine = MagazineRecord { class: 1, blocks: 5, pops: 6, ..MagazineRecord::default() };
    picture.magazines.insert((1, 0), magazine);
    let superblock = SuperblockRecord {
        id: 5,
        class: 1,
        state: state::PARTIAL,
        backing: backing::MAPPED,
        address: 0x7f00_0001_0000,
        anchor: 0,
        avail: 1,
        count: 2,
        credits: 9,
        exact: true,
        tag: 3,
        age_ns: 5_000_000,
    };
    picture.superblocks.apply(&[superblock], picture.uptime_ns);
    let large =
        LargeRecord { id: 2, address: 0x7f00_0100_0000, bytes: 65536, age_ns: 0, cached: false };
    picture.large.insert(2, large);
    Snapshot::of(&picture)
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// The keys of the table in `SNAPSHOT.md` below the heading `heading`.
fn documented(heading: &str) -> BTreeSet<&'static str> {
    let text = include_str!("../../../protocol/SNAPSHOT.md");
    let section = text
        .split("\n## ")
        .find(|section| section.lines().next() == Some(heading))
        .unwrap_or_else(|| panic!("SNAPSHOT.md has no section {heading}"));
    section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(key, _)| key)
        .collect()
}

#[test]
fn every_key_is_documented_and_every_documented_key_is_there() {
    let value = serde_json::to_value(snapshot()).unwrap();
    for (heading, part) in [
        ("The document", &value),
        ("`process`", &value["process"]),
        ("`totals`", &value["totals"]),
        ("`classes`", &value["classes"][0]),
        ("`classes[].superblocks`", &value["classes"][0]["superblocks"]),
        ("`heaps`", &value["heaps"][0]),
        ("`heap_counters`", &value["heap_counters"][0]),
        ("`size_samples`", &value["size_samples"][0]),
        ("`front`", &value["front"]),
        ("`front.classes`", &value["front"]["classes"][0]),
        ("`magazines`", &value["magazines"][0]),
        ("`superblocks`", &value["superblocks"][0]),
        ("`large`", &value["large"][0]),
        ("`transitions`", &value["transitions"]),
    ] {
        assert_eq!(keys(part), documented(heading), "{heading}");
    }
}

#[test]
fn every_class_is_listed_even_an_unused_one() {
    let snapshot = snapshot();
    let classes: Vec<_> = snapshot.classes.iter().map(|c| (c.class, c.live_blocks)).collect();
    assert_eq!(classes, [(0, 0), (1, 7), (2, 0)]);
}

#[test]
fn the_front_is_summed_up() {
    let front = snapshot().front.unwrap();
    // One processor has used it.
    assert_eq!((front.processors, front.processors_in_use), (2, 1));
    assert_eq!(front.bytes, (5 + 3 * 63) * 16);
    assert_eq!(front.most_bytes, (126 + 260 * 63) * 16);
    assert_eq!((front.classes[0].depot_batches, front.classes[0].depot_most), (3, 260));
}

#[test]
fn addresses_are_hexadecimal_and_states_named() {
    let snapshot = snapshot();
    assert_eq!(snapshot.superblocks[0].address, "0x7f0000010000");
    assert_eq!(snapshot.superblocks[0].state, "PARTIAL");
    assert_eq!(snapshot.large[0].address, "0x7f0001000000");
    assert_eq!(snapshot.process.uptime_ms, 1234);
}

#[test]
fn what_is_written_reads_back() {
    let snapshot = snapshot();
    let mut text = Vec::new();
    write_json(&mut text, &snapshot).unwrap();
    assert_eq!(serde_json::from_slice::<Snapshot>(&text).unwrap(), snapshot);
    assert!(text.ends_with(b"\n"));
}

/// Aim: documents of older versions are still read. Method: without the keys that came later.
#[test]
fn a_document_without_the_newer_keys_reads_back() {
    let mut value = serde_json::to_value(snapshot()).unwrap();
    for key in ["heap_counters", "size_samples", "front", "magazines"] {
        assert!(value.as_object_mut().unwrap().remove(key).is_some());
    }
    let read: Snapshot = serde_json::from_value(value).unwrap();
    let older = Snapshot {
        heap_counters: vec![],
        size_samples: vec![],
        front: None,
        magazines: vec![],
        ..snapshot()
    };
    assert_eq!(read, older);
}

#[test]
fn a_file_is_replaced_and_a_link_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("file"), folder.path().join("link"));
    fs::write(&file, "old").unwrap();
    symlink(&file, &link).unwrap();
    save(&link, |out| write_json(out, &snapshot())).unwrap();
    assert!(link.symlink_metadata().unwrap().is_symlink());
    let read: Snapshot = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(read, snapshot());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "a temporary file is left");
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().join("no/such/file"), folder.path().to_owned()] {
        let error = save(&path, |out| write_json(out, &snapshot())).unwrap_err();
        let line = error.downcast_ref::<Failure>().unwrap().to_string();
        assert!(line.starts_with(&format!("cannot write {}: ", path.display())), "{line}");
    }
}
