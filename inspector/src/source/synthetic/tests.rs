//! Aim: the made-up heap may be trusted as a stand-in: its transitions are those of the state
//! diagram and continue each other, its books balance, and equal seeds give equal frames.
use std::collections::HashMap;

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
        for record in picture.superblocks.values() {
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
