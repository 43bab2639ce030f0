//! Aim: the sizes that `PROTOCOL.md` states are those on the wire. Method: every heading of the form
//! "NAME, N bytes" and every row of the table of records, read from the page and compared with an
//! encoded message; a name that is not known here fails.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use lfalloc_protocol::encode_into;
use lfalloc_protocol::message::*;
use serde::Serialize;

const PAGE: &str = include_str!("../PROTOCOL.md");

fn encoded<T: Serialize>(message: &T) -> usize {
    encode_into(message, &mut [0; 512]).unwrap()
}

/// The encoded length of the fixed-size message or record that the page calls `name`.
fn bytes(name: &str) -> usize {
    let (class, heap, superblock, id, credits) = (0, 0, 0, 0, 0);
    match name {
        "TOTALS_REQUEST" => encoded(&TotalsRequest {}),
        "STATE_REQUEST" => encoded(&StateRequest {}),
        "SUBSCRIBE" => encoded(&Subscribe { interval_ms: 0, transitions: false }),
        "TOTALS" => encoded(&Totals::default()),
        "STATE_BEGIN" => encoded(&StateBegin { sequence: 0, full: false, uptime_ns: 0 }),
        "STATE_END" => encoded(&StateEnd::default()),
        "SUPERBLOCK_REQUEST" => encoded(&SuperblockRequest { id }),
        "SizeSample" => encoded(&SizeSample::default()),
        "HeapCounter" => encoded(&HeapCounter::default()),
        "FrontClass" => encoded(&FrontClass::default()),
        "DepotRecord" => encoded(&DepotRecord::default()),
        "MagazineRecord" => encoded(&MagazineRecord::default()),
        "GAP" => encoded(&Gap { lost: 0 }),
        "ClassInfo" => {
            encoded(&ClassInfo { block_bytes: 0, superblock_bytes: 0, blocks_per_superblock: 0 })
        }
        "ClassRecord" => encoded(&ClassRecord {
            class,
            allocations: 0,
            frees: 0,
            retries: 0,
            active: 0,
            full: 0,
            partial: 0,
            empty: 0,
            live_blocks: 0,
            free_blocks: 0,
            credit_blocks: 0,
            cached_blocks: 0,
        }),
        "HeapRecord" => encoded(&HeapRecord { class, heap, superblock, credits: 0 }),
        "SuperblockRecord" => encoded(&SuperblockRecord {
            id,
            class,
            state: 0,
            backing: 0,
            address: 0,
            anchor: 0,
            avail: 0,
            count: 0,
            credits,
            exact: false,
            tag: 0,
            age_ns: 0,
        }),
        "SuperblockChange" => encoded(&SuperblockChange::default()),
        "LargeRecord" => {
            encoded(&LargeRecord { id, address: 0, bytes: 0, age_ns: 0, cached: false })
        }
        "TransitionRecord" => encoded(&TransitionRecord {
            uptime_ns: 0,
            superblock,
            class,
            from: 0,
            to: 0,
            cause: 0,
            tag: 0,
        }),
        name => panic!("{name} has a size on the page and none here"),
    }
}

/// "### NAME, N bytes".
fn heading(line: &str) -> Option<(&str, usize)> {
    let (name, size) = line.strip_prefix('#')?.trim_start_matches('#').trim().split_once(", ")?;
    Some((name, size.strip_suffix(" bytes")?.parse().ok()?))
}

/// "| NAME | N | fields |" in the table of records.
fn row(line: &str) -> Option<(&str, usize)> {
    let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
    let (name, size) = (cells.next()?, cells.next()?);
    Some((name, size.parse().ok()?))
}

#[test]
fn sizes_of_headings() {
    let headings: Vec<_> = PAGE.lines().filter_map(heading).collect();
    assert!(headings.iter().any(|(name, _)| *name == "STATE_END"), "{headings:?}");
    for (name, size) in headings {
        assert_eq!(size, bytes(name), "{name}");
    }
}

#[test]
fn sizes_of_records() {
    let table = PAGE.lines().skip_while(|line| *line != "| record | bytes | fields |").skip(2);
    let rows: Vec<_> = table.map_while(row).collect();
    assert_eq!(rows.len(), 12, "{rows:?}");
    for (name, size) in rows {
        assert_eq!(size, bytes(name), "{name}");
    }
}
