//! Aim: figures are those of the definitions, conditions mean what the module says, and what is wrong is named.
use serde_json::{Value, json};

use super::*;

/// A class of 100 blocks of 600 bytes: 1 FULL superblock, one with 5 live, one ACTIVE with 64 reserved and 36 free.
fn document() -> Value {
    let superblock = |id: u32, state: &str, count: u32, credits: u32| {
        json!({
            "id": id, "address": "0x0", "class": 0, "state": state, "avail": 0, "count": count, "tag": 0,
            "credits": credits, "age_ms": 0, "exact": true,
        })
    };
    json!({
        "schema": SCHEMA,
        "process": {
            "pid": 1, "name": "x", "uptime_ms": 0, "allocator_version": "0.1.0", "protocol": "1.1",
        },
        "totals": {
            "mapped_bytes": 400_000, "live_bytes": 63_000, "large_bytes": 37_000, "free_bytes": 78_600,
            "credit_bytes": 38_400, "cached_bytes": 0, "empty_bytes": 0, "large_cached_bytes": 0,
            "tail_bytes": 0, "unused_bytes": 0, "metadata_bytes": 1000,
        },
        "classes": [{
            "class": 0, "block_bytes": 600, "superblock_bytes": 65536, "blocks_per_superblock": 100,
            "superblocks": {"active": 1, "full": 1, "partial": 1, "empty": 1}, "live_blocks": 105,
            "free_blocks": 131, "credit_blocks": 64, "cached_blocks": 0, "allocations": 0, "frees": 0,
            "retries": 0,
        }],
        "heaps": [],
        "superblocks": [
            superblock(0, "FULL", 0, 0),
            superblock(1, "PARTIAL", 95, 0),
            superblock(2, "ACTIVE", 36, 64),
            superblock(3, "EMPTY", 100, 0),
        ],
        "large": [],
        "transitions": {"seen": 0, "dropped": 0},
        "in_hand": 0,
        "consistent": true,
    })
}

fn read() -> Figures {
    Figures::of_snapshot(document().to_string().as_bytes()).expect("a snapshot")
}

fn figure(figures: &Figures, name: &str) -> f64 {
    let place = FIGURES.iter().position(|(known, _)| *known == name).expect("a figure");
    figures.values[place].expect("a value")
}

#[test]
fn figures_follow_their_definitions() {
    let figures = read();
    for (name, value) in [
        ("mapped", 400_000.0),
        ("live", 100_000.0),
        ("waste", 0.75),
        ("external", (78_600.0 + 38_400.0) / (3.0 * 65_536.0)),
        ("superblocks", 3.0),
        ("pinned", 1.0),
        ("savings", 65_536.0),
    ] {
        assert!((figure(&figures, name) - value).abs() < 1e-9, "{name}");
    }
}

#[test]
fn what_is_no_snapshot_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let loaded = |document: &Value| {
        let path = folder.path().join("a.json");
        fs::write(&path, document.to_string()).expect("a file");
        load(&path).map_err(|error| error.to_string())
    };
    assert_eq!(loaded(&document()), Ok(read()));
    let mut other = document();
    other["schema"] = json!("lfalloc-top/1");
    assert!(loaded(&other).unwrap_err().contains("lfalloc-top/1"));
    for key in ["totals", "classes", "superblocks"] {
        let mut broken = document();
        broken.as_object_mut().expect("an object").remove(key);
        assert!(loaded(&broken).unwrap_err().contains(key), "{key}");
    }
    assert!(loaded(&json!([1])).unwrap_err().contains("is no snapshot"));
}

#[test]
fn conditions_compare_figures_and_changes() {
    let before = read();
    let mut after = before.clone();
    after.values[0] = Some(480_000.0);
    after.values[7] = Some(0.80);
    let met = |text: &str| Condition::parse(text).expect(text).is_met(&before, &after);
    for text in [
        "mapped>400k",
        "mapped > +10%",
        "mapped>=+80000",
        "waste>79%",
        "waste>+4%",
        "pinned<2",
        "live<=+0",
        "superblocks>=3",
    ] {
        assert!(met(text), "{text}");
    }
    for text in ["mapped>1m", "mapped>+20.1%", "waste>80%", "waste>+6%", "pinned>1", "live<-1"] {
        assert!(!met(text), "{text}");
    }
}
