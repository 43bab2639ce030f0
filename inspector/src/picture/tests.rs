//! Aim: whatever order frames come in, what is visible is one whole state; and no figure is
//! clamped, so that an inconsistent state shows as one.

use lfalloc_protocol::codec::{MAX_PAYLOAD_BYTES, encode_into};
use lfalloc_protocol::message::{ClassInfo, FrontClass, MAGIC, MAJOR, MINOR, bitmap, feature};
use serde::Serialize;

use super::*;

fn picture() -> Picture {
    let class = |block_bytes: u32| ClassInfo {
        block_bytes,
        superblock_bytes: 65_536,
        blocks_per_superblock: 65_536 / block_bytes,
    };
    Picture::new(Hello {
        magic: MAGIC,
        major: MAJOR,
        minor: MINOR,
        allocator_version: "0.1.0".to_owned(),
        pid: 7,
        name: "test".to_owned(),
        agent_started_unix_ns: 0,
        uptime_ns: 5,
        heaps_per_class: 1,
        classes: vec![class(1024), class(4096)],
        features: 0,
    })
}

fn apply<T: Serialize>(picture: &mut Picture, kind: Kind, message: &T) -> Applied {
    let mut buffer = vec![0; MAX_PAYLOAD_BYTES];
    let written = encode_into(message, &mut buffer).expect("fits");
    picture.apply(kind, &buffer[..written]).expect("well formed")
}

fn superblock(id: u32, state: u8, count: u16, credits: u16) -> SuperblockRecord {
    SuperblockRecord {
        id,
        class: 0,
        state,
        backing: backing::MAPPED,
        address: 0x1_0000 * u64::from(id),
        anchor: 0,
        avail: 0,
        count,
        credits,
        exact: true,
        tag: 1,
        age_ns: 0,
    }
}

fn begin(picture: &mut Picture, sequence: u64, full: bool) {
    let message = StateBegin { sequence, full, uptime_ns: sequence * 100 };
    assert_eq!(apply(picture, Kind::STATE_BEGIN, &message), Applied::Nothing);
}

fn send(picture: &mut Picture, records: Vec<SuperblockRecord>) {
    let applied = apply(picture, Kind::SUPERBLOCKS, &message::Superblocks { records });
    assert_eq!(applied, Applied::Nothing);
}

fn end(picture: &mut Picture, sequence: u64, parts: Parts) -> Applied {
    apply(picture, Kind::STATE_END, &StateEnd { sequence, parts, ..StateEnd::default() })
}

fn known(picture: &Picture, id: u32) -> &Superblock {
    picture.superblocks.get(id).expect("known")
}

fn ids(picture: &Picture) -> Vec<u32> {
    picture.superblocks.iter().map(|superblock| superblock.id).collect()
}

#[test]
fn a_state_is_visible_only_at_its_end() {
    let mut picture = picture();
    begin(&mut picture, 1, true);
    send(&mut picture, vec![superblock(1, state::FULL, 0, 0)]);
    let records = vec![ClassRecord { full: 1, ..ClassRecord::default() }];
    let _ = apply(&mut picture, Kind::CLASSES, &Classes { records });
    assert!(picture.superblocks.is_empty() && picture.classes.is_empty());
    assert_eq!(picture.books_balance(), None);
    assert_eq!(end(&mut picture, 1, Parts::default()), Applied::State);
    assert_eq!(ids(&picture), [1]);
    assert_eq!((picture.uptime_ns, picture.states), (100, 1));
}

#[test]
fn an_update_replaces_adds_and_drops_what_is_not_mapped() {
    let mut picture = picture();
    begin(&mut picture, 1, true);
    send(&mut picture, vec![superblock(1, state::FULL, 0, 0), superblock(2, state::FULL, 0, 0)]);
    send(&mut picture, vec![superblock(3, state::FULL, 0, 0)]);
    let _ = end(&mut picture, 1, Parts::default());
    begin(&mut picture, 2, false);
    let gone = |id, backing| SuperblockRecord { backing, ..superblock(id, state::EMPTY, 64, 0) };
    send(
        &mut picture,
        vec![
            superblock(1, state::PARTIAL, 3, 0),
            gone(2, backing::DECOMMITTED),
            gone(3, backing::UNUSED),
            superblock(9, state::ACTIVE, 0, 4),
        ],
    );
    assert_eq!(end(&mut picture, 2, Parts::default()), Applied::State);
    assert_eq!(ids(&picture), [1, 9]);
    assert_eq!(known(&picture, 1).state, state::PARTIAL);
}

#[test]
fn superblocks_that_an_update_does_not_name_grow_older() {
    let mut picture = picture();
    begin(&mut picture, 1, true);
    let aged = |id| SuperblockRecord { age_ns: 30, ..superblock(id, state::FULL, 0, 0) };
    send(&mut picture, vec![aged(1), aged(2)]);
    let _ = end(&mut picture, 1, Parts::default());
    assert_eq!(picture.age_ns(known(&picture, 1)), 30);
    begin(&mut picture, 3, false);
    send(&mut picture, vec![aged(2)]);
    let _ = end(&mut picture, 3, Parts::default());
    // 200 ns later, of which one superblock was told anew.
    assert_eq!(picture.age_ns(known(&picture, 1)), 230);
    assert_eq!(picture.age_ns(known(&picture, 2)), 30);
}

#[test]
fn a_full_state_forgets_what_was_there() {
    let mut picture = picture();
    for sequence in 1..=2 {
        begin(&mut picture, sequence, true);
        send(&mut picture, vec![superblock(sequence as u32, state::FULL, 0, 0)]);
        let _ = end(&mut picture, sequence, Parts::default());
    }
    assert_eq!(ids(&picture), [2]);
}

#[test]
fn an_update_without_a_full_state_is_ignored() {
    let mut picture = picture();
    begin(&mut picture, 1, false);
    send(&mut picture, vec![superblock(1, state::FULL, 0, 0)]);
    assert_eq!(end(&mut picture, 1, Parts::default()), Applied::Nothing);
    assert_eq!((picture.states, picture.superblocks.len()), (0, 0));
}

#[test]
fn after_a_gap_updates_wait_for_a_full_state() {
    let mut picture = picture();
    begin(&mut picture, 1, true);
    let _ = end(&mut picture, 1, Parts::default());
    begin(&mut picture, 2, false);
    assert_eq!(apply(&mut picture, Kind::GAP, &Gap { lost: 4 }), Applied::Gap(4));
    send(&mut picture, vec![superblock(1, state::FULL, 0, 0)]);
    assert_eq!(end(&mut picture, 2, Parts::default()), Applied::Nothing);
    begin(&mut picture, 3, false);
    assert_eq!(end(&mut picture, 3, Parts::default()), Applied::Nothing);
    begin(&mut picture, 4, true);
    assert_eq!(end(&mut picture, 4, Parts::default()), Applied::State);
}

#[test]
fn an_end_of_another_state_drops_what_was_staged() {
    let mut picture = picture();
    begin(&mut picture, 1, true);
    send(&mut picture, vec![superblock(1, state::FULL, 0, 0)]);
    assert_eq!(end(&mut picture, 2, Parts::default()), Applied::Nothing);
    assert!(picture.superblocks.is_empty());
}

#[test]
fn chunks_follow_on_and_a_first_chunk_starts_afresh() {
    let mut picture = picture();
    begin(&mut picture, 1, true);
    let heap = |heap| HeapRecord { class: 0, heap, superblock: 1, credits: 2 };
    let large = |id| LargeRecord { id, address: 0, bytes: 1, age_ns: 0, cached: false };
    for (first, number) in [(true, 1), (true, 2), (false, 3)] {
        let records = vec![heap(number)];
        let _ = apply(&mut picture, Kind::HEAPS, &Heaps { first, records });
        let records = vec![large(u32::from(number))];
        let _ = apply(&mut picture, Kind::LARGE_BLOCKS, &LargeBlocks { first, records });
    }
    let _ = end(&mut picture, 1, Parts::default());
    assert_eq!(picture.heaps, [heap(2), heap(3)]);
    assert_eq!(picture.large.keys().copied().collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn unknown_kinds_mean_nothing_and_malformed_frames_leave_the_picture_alone() {
    let mut picture = picture();
    begin(&mut picture, 1, true);
    send(&mut picture, vec![superblock(1, state::FULL, 0, 0)]);
    let _ = end(&mut picture, 1, Parts::default());
    assert_eq!(picture.apply(Kind(0x7777), b"anything").expect("skipped"), Applied::Nothing);
    begin(&mut picture, 2, true);
    let error = picture.apply(Kind::SUPERBLOCKS, b"nonsense").expect_err("refused");
    assert!(matches!(error, Error::Malformed { kind: Kind::SUPERBLOCKS, .. }), "{error}");
    assert!(std::error::Error::source(&error).is_some());
    assert_eq!(end(&mut picture, 2, Parts::default()), Applied::Nothing);
    assert_eq!(ids(&picture), [1]);
}

#[test]
fn inconsistent_figures_are_never_clamped() {
    let mut picture = picture();
    begin(&mut picture, 1, true);
    let class = ClassRecord {
        active: 1,
        live_blocks: -3,
        free_blocks: 80,
        credit_blocks: 4,
        ..ClassRecord::default()
    };
    let _ = apply(&mut picture, Kind::CLASSES, &Classes { records: vec![class] });
    // 64 blocks of 1,024 bytes: count and credits were read at different times.
    send(&mut picture, vec![superblock(1, state::PARTIAL, 60, 10)]);
    let parts =
        Parts { mapped: 65_536, live: -4096, large: 1024, free: 80_000, ..Parts::default() };
    let _ = end(&mut picture, 1, parts);

    assert_eq!(picture.live_bytes(), -3072);
    assert_eq!(picture.live_fraction(), Some(-3072.0 / 65_536.0));
    assert!(picture.waste_fraction().expect("mapped") > 1.0);
    assert!(picture.external_fraction().expect("a superblock") > 1.0);
    assert_eq!(picture.books_balance(), Some(65_536 + 4096 - 1024 - 80_000));
    assert_eq!(picture.superblock_live_blocks(known(&picture, 1)), -6);
    let figures = picture.figures().next().expect("a class");
    assert_eq!(figures.live_bytes(), -3072);
    assert_eq!(figures.waste_bytes(), 65_536 + 3072);
    assert_eq!(figures.utilisation(), Some(-3.0 / 64.0));
    assert_eq!(figures.external_fraction(), Some(84.0 / 64.0));
    // It has no place of its own on a scale from 0 to 100 %.
    assert_eq!(picture.partial_occupancy()[0], 1);
}

#[test]
fn figures_exist_for_every_class_of_the_greeting_and_for_no_other() {
    let mut picture = picture();
    begin(&mut picture, 1, true);
    let record = |class, full| ClassRecord { class, full, live_blocks: 5, ..Default::default() };
    let records = vec![record(1, 2), record(40, 1)];
    let _ = apply(&mut picture, Kind::CLASSES, &Classes { records });
    let stray = SuperblockRecord { class: 40, ..superblock(1, state::PARTIAL, 3, 0) };
    send(&mut picture, vec![stray]);
    let _ = end(&mut picture, 1, Parts::default());
    let figures: Vec<_> = picture.figures().collect();
    assert_eq!(figures.len(), 2);
    assert_eq!(figures[0].record.full, 0);
    assert_eq!((figures[1].superblocks(), figures[1].live_bytes()), (2, 5 * 4096));
    assert_eq!(picture.superblock_live_blocks(known(&picture, 1)), 0);
    assert_eq!(picture.partial_occupancy(), [0; OCCUPANCY_STEPS]);
}

#[test]
fn updates_together_are_bounded_too() {
    let mapped = |id| superblock(id, state::FULL, 0, 0);
    let unmapped = |id| SuperblockRecord { backing: backing::MAPPED + 1, ..mapped(id) };
    let mut known = Superblocks::default();
    known.apply(&[mapped(0), mapped(1), mapped(2)], 0);
    assert!(!overflows(&known, &[mapped(0), mapped(1), mapped(2), mapped(3)], 4));
    assert!(!overflows(&known, &[mapped(3), mapped(3), unmapped(4)], 4), "one is new");
    assert!(overflows(&known, &[mapped(3), mapped(4)], 4));
}

#[test]
fn nothing_mapped_has_no_shares() {
    let picture = picture();
    assert_eq!(picture.live_fraction(), None);
    assert_eq!(picture.external_fraction(), None);
    assert_eq!(picture.waste_fraction(), None);
    assert_eq!(picture.superblocks_by_state(), [0; 4]);
}

fn front() -> Front {
    let class = |class| FrontClass { class, capacity: 16, batch: 8, depot_batches: 4 };
    Front { processors: 64, records: vec![class(0), class(1)] }
}

fn magazine(class: u16, processor: u16, blocks: u16, pops: u64) -> MagazineRecord {
    MagazineRecord { class, processor, blocks, pops, ..MagazineRecord::default() }
}

/// The shape stays until the next full state, magazines are replaced one by one, the depot is told whole.
#[test]
fn the_front_is_updated_record_by_record() {
    let mut picture = picture();
    begin(&mut picture, 1, true);
    let _ = apply(&mut picture, Kind::FRONT, &front());
    let depot = |batches| Depots { records: vec![DepotRecord { class: 1, batches }] };
    let _ = apply(&mut picture, Kind::DEPOTS, &depot(3));
    let records = vec![magazine(0, 0, 5, 10), magazine(1, 2, 6, 20)];
    let _ = apply(&mut picture, Kind::MAGAZINES, &Magazines { records });
    assert!(picture.front.is_none() && picture.magazines.is_empty(), "not yet");
    let _ = end(&mut picture, 1, Parts::default());
    let figures = picture.front_figures().expect("told");
    assert_eq!(figures.magazine_bytes, 5 * 1024 + 6 * 4096);
    assert_eq!((figures.depot_bytes, figures.depot_most_bytes), (3 * 8 * 4096, 32 * (1024 + 4096)));
    assert_eq!((figures.processors, figures.processor_most_bytes), (2, 16 * (1024 + 4096)));
    assert_eq!(figures.most_bytes(), 2 * 16 * 5120 + 32 * 5120);
    assert_eq!((figures.pops, picture.front_is()), (30, FrontIs::Told));

    begin(&mut picture, 2, false);
    let _ = apply(&mut picture, Kind::DEPOTS, &Depots { records: vec![] });
    let _ =
        apply(&mut picture, Kind::MAGAZINES, &Magazines { records: vec![magazine(1, 2, 0, 26)] });
    let _ = end(&mut picture, 2, Parts::default());
    let figures = picture.front_figures().expect("told once, and still there");
    assert_eq!((figures.bytes(), figures.pops), (5 * 1024, 36));
    assert_eq!((picture.depot_batches(1), picture.magazines.len()), (0, 2));

    begin(&mut picture, 3, true);
    let _ = end(&mut picture, 3, Parts::default());
    assert!(picture.front_figures().is_none() && picture.magazines.is_empty());
    assert_eq!(picture.front_is(), FrontIs::Off);
    picture.hello.features = feature::MAGAZINES;
    picture.hello.minor = 2;
    assert_eq!(picture.front_is(), FrontIs::NotTold);
}

/// What is cached of one superblock is not taken for that of another.
#[test]
fn cached_blocks_belong_to_the_look_that_follows() {
    let mut picture = picture();
    let detail = |id| SuperblockDetail {
        id,
        uptime_ns: 1,
        record: None,
        bitmap_is: bitmap::NONE,
        free: vec![],
        transitions: vec![],
    };
    let cached = |id| SuperblockCached { id, ..SuperblockCached::default() };
    assert_eq!(apply(&mut picture, Kind::SUPERBLOCK_CACHED, &cached(7)), Applied::Nothing);
    let applied = apply(&mut picture, Kind::SUPERBLOCK_DETAIL, &detail(7));
    assert_eq!(applied, Applied::Detail(detail(7), Some(cached(7))));
    let applied = apply(&mut picture, Kind::SUPERBLOCK_DETAIL, &detail(7));
    assert_eq!(applied, Applied::Detail(detail(7), None), "an older agent tells nothing");
    let _ = apply(&mut picture, Kind::SUPERBLOCK_CACHED, &cached(8));
    let applied = apply(&mut picture, Kind::SUPERBLOCK_DETAIL, &detail(9));
    assert_eq!(applied, Applied::Detail(detail(9), None));
}

#[test]
fn hit_rates_are_between_nothing_and_all() {
    assert_eq!(hit_fraction(0.0, 0.0), None);
    assert_eq!(hit_fraction(0.0, 3.0), Some(0.0));
    assert_eq!(hit_fraction(3.0, 3.0), Some(0.0), "a batch is one block");
    assert_eq!(hit_fraction(4.0, 1.0), Some(0.75));
    assert_eq!(hit_fraction(5.0, 0.0), Some(1.0));
}
