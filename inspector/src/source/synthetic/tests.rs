//! Aim: the made-up heap may be trusted as a stand-in: its transitions are those of the state
//! diagram and continue each other, its books balance, and equal seeds give equal frames.
use std::collections::{BTreeMap, HashMap};

use lfalloc_protocol::codec::decode;
use lfalloc_protocol::message::{SuperblockCached, SuperblockDetail, bitmap};

use super::*;
use crate::picture::{Applied, Picture};

/// Runs `options` for `states` states, and hands every state and transition to `check`.
fn run(options: Synthetic, states: u64, mut check: impl FnMut(&Picture, Applied)) {
    let mut source = SyntheticSource::new(options);
    let mut picture = None;
    loop {
        match source.poll(Duration::ZERO) {
            SourceEvent::Connected(hello) => picture = Some(Picture::new(hello)),
            SourceEvent::Frame(kind, payload) => {
                let picture = picture.as_mut().expect("greeted first");
                let applied = picture.apply(kind, &payload).expect("well formed");
                check(picture, applied);
                if picture.states == states {
                    return;
                }
            }
            SourceEvent::Process { .. } | SourceEvent::Quiet => {}
            other => panic!("unexpected {other:?}"),
        }
    }
}

#[test]
fn transitions_are_legal_and_continue_each_other() {
    let legal = [
        (state::ACTIVE, state::FULL),
        (state::ACTIVE, state::PARTIAL),
        (state::ACTIVE, state::EMPTY),
        (state::FULL, state::PARTIAL),
        (state::FULL, state::EMPTY),
        (state::PARTIAL, state::EMPTY),
        (state::PARTIAL, state::ACTIVE),
        (state::PARTIAL, state::FULL),
        (state::EMPTY, state::ACTIVE),
    ];
    let mut seen = [[0_u64; 4]; 4];
    let mut last: HashMap<u32, (u64, u8)> = HashMap::new();
    run(
        Synthetic { superblocks: 0, operations: 6_000, ..Synthetic::default() },
        200,
        |_, applied| {
            let Applied::Transitions(transitions) = applied else {
                return;
            };
            assert_eq!(transitions.missed, 0, "the test must see all of them");
            for record in transitions.records {
                assert!(legal.contains(&(record.from, record.to)), "illegal {record:?}");
                if let Some((tag, state)) = last.insert(record.superblock, (record.tag, record.to))
                {
                    assert_eq!((record.tag, record.from), (tag + 1, state), "{record:?}");
                } else {
                    assert_eq!(record.from, state::EMPTY, "new memory is EMPTY");
                }
                seen[usize::from(record.from)][usize::from(record.to)] += 1;
            }
        },
    );
    for (from, to) in legal {
        let (from, to) = (usize::from(from), usize::from(to));
        assert!(seen[from][to] > 0, "never saw {from} -> {to}");
    }
}

#[test]
fn books_balance_whenever_the_state_is_consistent() {
    let options = Synthetic { magazines: true, ..Synthetic::default() };
    let mut inconsistent = 0;
    run(options, 40, |picture, applied| {
        if applied != Applied::State {
            return;
        }
        if picture.end.consistent {
            assert_eq!(picture.books_balance(), Some(0));
        } else {
            inconsistent += 1;
            assert_ne!(picture.books_balance(), Some(0));
        }
        for class in &picture.classes {
            let counted = class.allocations.cast_signed() - class.frees.cast_signed();
            assert_eq!(counted, class.live_blocks, "class {}", class.class);
        }
        let mut states = [0; 4];
        for record in picture.superblocks.iter() {
            states[usize::from(record.state)] += 1;
        }
        assert_eq!(states, picture.superblocks_by_state());
    });
    assert_eq!(inconsistent, 2);
}

#[test]
fn equal_seeds_give_equal_frames_and_others_do_not() {
    let frames = |seed| {
        let mut source =
            SyntheticSource::new(Synthetic { seed, superblocks: 50, ..Synthetic::default() });
        (0..60).map(|_| source.poll(Duration::ZERO)).collect::<Vec<_>>()
    };
    assert_eq!(frames(7), frames(7));
    assert_ne!(frames(7), frames(8));
}

#[test]
fn a_hundred_thousand_superblocks_come_in_frames_within_the_limit() {
    let options = Synthetic { superblocks: 100_000, operations: 0, ..Synthetic::default() };
    run(options, 1, |picture, applied| {
        if applied == Applied::State {
            assert_eq!(picture.superblocks.len(), 100_000);
        }
    });
}

/// Aim: heap counters and samples say the same as the classes, and an update holds only what
/// changed. Method: compare sums in every state; compare each update with the records before.
#[test]
fn counters_and_samples_agree_with_the_classes() {
    let mut before = BTreeMap::new();
    let mut unchanged = 0;
    run(Synthetic::default(), 30, |picture, applied| {
        if applied != Applied::State {
            return;
        }
        for class in &picture.classes {
            let heaps = picture.counters.range((class.class, 0)..=(class.class, u16::MAX));
            let sum = heaps.fold((0, 0), |(allocations, frees), (_, counter)| {
                assert!(counter.ran_dry <= counter.allocations, "{counter:?}");
                (allocations + counter.allocations, frees + counter.frees)
            });
            assert_eq!(sum, (class.allocations, class.frees), "class {}", class.class);
        }
        for sample in &picture.samples {
            let class = usize::from(sample.class);
            let bytes = |class: usize| u64::from(picture.hello.classes[class].block_bytes);
            let sizes = bytes(class) - class.checked_sub(1).map_or(0, bytes);
            assert!(sample.slack_sum <= sample.samples * (sizes - 1), "{sample:?}");
            // Cauchy and Schwarz: a variance is not negative.
            assert!(
                u128::from(sample.slack_sum).pow(2)
                    <= u128::from(sample.samples) * u128::from(sample.slack_squares),
                "{sample:?}"
            );
            let heaps = picture.counters.range((sample.class, 0)..=(sample.class, u16::MAX));
            let refills: u64 = heaps.map(|(_, counter)| counter.refills).sum();
            assert_eq!(refills, sample.samples, "every refill is sampled");
        }
        unchanged += before.iter().filter(|(key, old)| picture.counters[*key] == **old).count();
        before.clone_from(&picture.counters);
    });
    assert!(unchanged > 0, "some heap must rest now and then");
}

/// The answer about superblock `id`; the source must be between two states.
fn look(source: &mut SyntheticSource, id: u32) -> SuperblockDetail {
    source.request_superblock(id);
    loop {
        match source.poll(Duration::ZERO) {
            SourceEvent::Frame(Kind::SUPERBLOCK_DETAIL, payload) => {
                return decode(&payload).expect("well formed");
            }
            SourceEvent::Quiet | SourceEvent::Gone(_) => panic!("no answer"),
            _ => {}
        }
    }
}

/// Aim: a close look agrees with the superblock's record, whatever its state. Method: look at every
/// superblock of a heap in motion, and at one that does not exist.
#[test]
fn a_close_look_agrees_with_the_record() {
    let mut source = SyntheticSource::new(Synthetic { superblocks: 200, ..Synthetic::default() });
    for _ in 0..400 {
        source.poll(Duration::ZERO);
    }
    let (mut kinds, mut transitions) = ([0; 3], 0);
    for id in 0..source.heap.superblocks.len() as u32 {
        let detail = look(&mut source, id);
        let record = detail.record.expect("it exists");
        kinds[usize::from(detail.bitmap_is)] += 1;
        if record.backing == backing::MAPPED {
            let blocks = source.heap.classes[usize::from(record.class)].blocks_per_superblock;
            assert_eq!(detail.free.len(), blocks.div_ceil(64) as usize);
            let set: u32 = detail.free.iter().map(|word| word.count_ones()).sum();
            assert_eq!(set, u32::from(record.count) + u32::from(record.credits), "{record:?}");
            let avail = usize::from(record.avail);
            assert!(set == 0 || detail.free[avail / 64] >> (avail % 64) & 1 == 1);
        } else {
            assert_eq!((detail.bitmap_is, detail.free.len()), (bitmap::NONE, 0));
        }
        transitions += detail.transitions.len();
        assert!(detail.transitions.iter().all(|transition| transition.superblock == id));
        assert!(detail.transitions.is_sorted_by_key(|transition| transition.tag));
        if let Some(last) = detail.transitions.last() {
            assert_eq!((last.tag, last.to), (record.tag, record.state));
        }
    }
    assert!(kinds.iter().all(|&count| count > 0), "{kinds:?}");
    assert!(transitions > 0);
    let nothing = look(&mut source, u32::MAX);
    assert_eq!((nothing.record, nothing.bitmap_is), (None, bitmap::NONE));
}

/// Aim: what the front is told to hold is what the classes say is cached, within its bounds, and close looks find all of it.
/// Method: sums in every state, and over all superblocks at the end.
#[test]
fn the_front_agrees_with_the_classes() {
    let options = Synthetic { magazines: true, operations: 8000, ..Synthetic::default() };
    let mut source = SyntheticSource::new(options);
    let SourceEvent::Connected(hello) = source.poll(Duration::ZERO) else {
        panic!("a greeting comes first")
    };
    let mut picture = Picture::new(hello);
    let mut flushes = 0;
    while picture.states < 60 || !source.queue.is_empty() {
        let SourceEvent::Frame(kind, payload) = source.poll(Duration::ZERO) else { continue };
        if picture.apply(kind, &payload).expect("well formed") != Applied::State {
            continue;
        }
        let front = picture.front.as_ref().expect("there is a front");
        for class in &picture.classes {
            let rule = front.records[usize::from(class.class)];
            let of_class = picture.magazines.range((class.class, 0)..=(class.class, u16::MAX));
            let mut cached = 0;
            for (_, magazine) in of_class {
                assert!(magazine.blocks <= rule.capacity, "{magazine:?}");
                cached += i64::from(magazine.blocks);
                flushes += magazine.flushes;
            }
            let depot = picture.depots.iter().find(|depot| depot.class == class.class);
            let batches = depot.map_or(0, |depot| depot.batches);
            assert!(batches <= rule.depot_batches);
            cached += i64::from(batches) * i64::from(rule.batch);
            assert_eq!(cached, class.cached_blocks, "class {}", class.class);
            assert!(class.live_blocks >= 0, "{class:?}");
        }
    }
    assert!(flushes > 0);
    let mut found = vec![0_i64; picture.classes.len()];
    for id in 0..source.heap.superblocks.len() as u32 {
        source.request_superblock(id);
        let mut cached = None;
        let detail = loop {
            match source.poll(Duration::ZERO) {
                SourceEvent::Frame(Kind::SUPERBLOCK_CACHED, payload) => {
                    cached = Some(decode::<SuperblockCached>(&payload).expect("well formed"));
                }
                SourceEvent::Frame(Kind::SUPERBLOCK_DETAIL, payload) => {
                    break decode::<SuperblockDetail>(&payload).expect("well formed");
                }
                _ => {}
            }
        };
        let cached = cached.expect("it comes first");
        assert_eq!((cached.id, cached.cached_is), (id, detail.bitmap_is));
        for ((free, magazines), depot) in
            detail.free.iter().zip(&cached.magazines).zip(&cached.depot)
        {
            assert_eq!((free & magazines, free & depot, magazines & depot), (0, 0, 0));
            let class = usize::from(detail.record.expect("it exists").class);
            found[class] += i64::from(magazines.count_ones() + depot.count_ones());
        }
    }
    let told: Vec<i64> = picture.classes.iter().map(|class| class.cached_blocks).collect();
    assert_eq!(found, told);
}
