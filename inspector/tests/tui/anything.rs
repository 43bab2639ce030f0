//! Aim: any size, any order of messages, any contents of frames: never a panic, and the terminal is
//! always drawable.
//!
//! Method: random sequences of keys, clicks, sizes and events, of which the frames are those of a
//! made-up process: in order, out of order, cut off, with a byte changed, or with figures at the ends of
//! their ranges. The model is drawn after every message, at its own size and at another one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::stage::{draw, feed, press, source};
use lfalloc_protocol::codec::{MAX_PAYLOAD_BYTES, encode_into};
use lfalloc_protocol::message::{
    ClassInfo, ClassRecord, Classes, DepotRecord, Depots, Front, FrontClass, Hello, Kind, MAGIC,
    MAJOR, MINOR, MagazineRecord, Magazines, Parts, StateBegin, StateEnd, SuperblockCached,
    SuperblockDetail, SuperblockRecord, Superblocks, TransitionRecord, Transitions,
};
use lfinspect::listing::{Row, Unreachable};
use lfinspect::source::synthetic::{Synthetic, SyntheticSource};
use lfinspect::source::{Source, SourceEvent};
use lfinspect::survey::{Program, Standing, Survey};
use lfinspect::tui::ThemeName;
use lfinspect::tui::copy;
use lfinspect::tui::launched::{Event, Launched};
use lfinspect::tui::model::Model;
use lfinspect::tui::output::Chunk;
use lfinspect::tui::theme::{Depth, Theme};
use lfinspect::tui::update::{Message, update};
use proptest::prelude::*;
use ratatui::crossterm::event::{
    KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};
use serde::Serialize;

/// One step of a random life.
#[derive(Clone, Debug)]
enum Step {
    Key(KeyCode),
    Click(u16, u16),
    Wheel(bool),
    Resize(u16, u16),
    /// So many events of the made-up process, in order.
    Flow(u8),
    /// One event from anywhere among the first ones.
    Jump(u8),
    /// A frame cut off at a share of its length, or with a byte changed.
    Broken(u8, u8, u8),
    /// Figures at the ends of their ranges.
    Extreme(i64, u64, u32),
    Say(SourceEvent),
    /// What a survey of programs tells, of so many, with figures like these.
    Survey(u8, i64, u64),
    /// What happens to a program that was started here.
    Launched(Event),
}

fn edge_i64() -> impl Strategy<Value = i64> {
    prop_oneof![Just(0), Just(1), Just(-1), Just(i64::MIN), Just(i64::MAX), any::<i64>()]
}

fn edge_u64() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(1), Just(u64::MAX), Just(i64::MAX.unsigned_abs()), any::<u64>()]
}

fn edge_u32() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(1), Just(u32::MAX), any::<u32>()]
}

fn step() -> impl Strategy<Value = Step> {
    let keys = "x?12345678 .,nsieyYv/+-hjklgG<>k0%mubDppprqqtdLLL";
    let key = prop_oneof![
        8 => proptest::sample::select(keys.chars().collect::<Vec<_>>())
            .prop_map(KeyCode::Char),
        1 => any::<char>().prop_map(KeyCode::Char),
        2 => proptest::sample::select(vec![
            KeyCode::Tab,
            KeyCode::BackTab,
            KeyCode::Esc,
            KeyCode::Enter,
            KeyCode::Backspace,
            KeyCode::PageUp,
            KeyCode::PageDown,
            KeyCode::Home,
            KeyCode::End,
        ]),
    ];
    let said = proptest::sample::select(vec![
        SourceEvent::Quiet,
        SourceEvent::Gone("the process ended".to_owned()),
        SourceEvent::Waiting("for another \u{7f}".to_owned()),
        SourceEvent::Failed("refused: a reason\nof two lines, \u{1b}[31mred\u{7f}".to_owned()),
        SourceEvent::Process { pid: u32::MAX, rss_bytes: Some(u64::MAX) },
        SourceEvent::Silent { seconds: u64::MAX, stopped: false },
        SourceEvent::Silent { seconds: 2, stopped: true },
        SourceEvent::Process { pid: 0, rss_bytes: None },
    ]);
    let bytes = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        "(\\PC|\u{1b}|\\[|\n|\r|\t|[0-9;m]){0,100}".prop_map(String::into_bytes),
    ];
    let chunk = (bytes, edge_u64(), any::<bool>())
        .prop_map(|(bytes, skipped, begins)| Event::Output(Chunk { bytes, skipped, begins }));
    let event = prop_oneof![
        6 => chunk,
        1 => Just(Event::Stubborn),
        1 => Just(Event::Ended("was killed\u{1b} by signal 9".to_owned())),
    ];
    prop_oneof![
        4 => event.prop_map(Step::Launched),
        12 => key.prop_map(Step::Key),
        2 => (0..220_u16, 0..70_u16).prop_map(|(x, y)| Step::Click(x, y)),
        1 => any::<bool>().prop_map(Step::Wheel),
        3 => (0..220_u16, 0..70_u16).prop_map(|(width, height)| Step::Resize(width, height)),
        4 => any::<u8>().prop_map(Step::Flow),
        2 => any::<u8>().prop_map(Step::Jump),
        1 => any::<(u8, u8, u8)>().prop_map(|(place, cut, change)| Step::Broken(place, cut, change)),
        2 => (edge_i64(), edge_u64(), edge_u32()).prop_map(|(a, b, c)| Step::Extreme(a, b, c)),
        1 => said.prop_map(Step::Say),
        2 => (0..40_u8, edge_i64(), edge_u64()).prop_map(|(n, a, b)| Step::Survey(n, a, b)),
    ]
}

/// The first events of a made-up process.
fn events() -> Vec<SourceEvent> {
    let mut plain = source(120, 2_000);
    let mut front = SyntheticSource::new(Synthetic {
        superblocks: 120,
        operations: 2_000,
        magazines: true,
        ..Synthetic::default()
    });
    let mut events: Vec<_> = (0..200).map(|_| plain.poll(Duration::ZERO)).collect();
    events.extend((0..100).map(|_| front.poll(Duration::ZERO)));
    events
}

fn frame<T: Serialize>(kind: Kind, message: &T) -> SourceEvent {
    let mut buffer = vec![0; MAX_PAYLOAD_BYTES];
    let written = encode_into(message, &mut buffer).expect("fits");
    SourceEvent::Frame(kind, buffer[..written].to_vec())
}

fn extreme_hello(counter: u64, count: u32) -> Hello {
    let info =
        ClassInfo { block_bytes: count, superblock_bytes: count, blocks_per_superblock: count };
    Hello {
        magic: MAGIC,
        major: MAJOR,
        minor: MINOR,
        allocator_version: "\u{1b}[2J very long version indeed".to_owned(),
        pid: count,
        name: "名前\u{0}\u{1b}[31m and more of it".to_owned(),
        agent_started_unix_ns: counter,
        uptime_ns: counter,
        heaps_per_class: count,
        classes: vec![info; 3],
        features: counter,
    }
}

fn extreme_parts(signed: i64) -> Parts {
    Parts {
        mapped: signed,
        live: signed,
        large: signed,
        free: signed,
        credit: signed,
        cached: signed,
        empty: signed,
        large_cached: signed,
        tail: signed,
        unused: signed,
        metadata: signed,
    }
}

/// A connection whose figures are all at the ends of their ranges.
fn extreme(signed: i64, counter: u64, count: u32) -> Vec<SourceEvent> {
    let class = ClassRecord {
        class: 0,
        allocations: counter,
        frees: !counter,
        retries: counter,
        active: count,
        full: count,
        partial: count,
        empty: count,
        live_blocks: signed,
        free_blocks: signed,
        credit_blocks: signed,
        cached_blocks: signed,
    };
    let superblock = SuperblockRecord {
        id: count,
        class: 0,
        state: (count % 5) as u8,
        backing: 1,
        address: counter,
        anchor: counter,
        avail: u16::MAX,
        count: u16::MAX,
        credits: u16::MAX,
        exact: false,
        tag: counter,
        age_ns: counter,
    };
    let partial = SuperblockRecord { id: count / 2, state: 2, ..superblock };
    let transition = TransitionRecord {
        uptime_ns: counter,
        superblock: count,
        class: u16::MAX,
        from: 255,
        to: (count % 4) as u8,
        cause: 255,
        tag: counter,
    };
    let end = |sequence| StateEnd {
        sequence,
        consistent: count.is_multiple_of(2),
        attempts: count,
        parts: extreme_parts(signed),
        in_hand: counter,
        allocations_after: counter.wrapping_mul(sequence),
        frees_after: counter,
        transitions_seen: counter,
        transitions_dropped: counter,
        agent_cpu_ns: counter.wrapping_mul(sequence),
        agent_bytes: counter,
        viewers: count,
        ..StateEnd::default()
    };
    let mut events = vec![SourceEvent::Connected(extreme_hello(counter, count))];
    for sequence in 1..=3 {
        let uptime_ns = counter.wrapping_add(sequence);
        let begin = StateBegin { sequence, full: sequence == 1, uptime_ns };
        events.push(frame(Kind::STATE_BEGIN, &begin));
        events.push(frame(Kind::CLASSES, &Classes { records: vec![class; 2] }));
        let records = vec![superblock, partial];
        events.push(frame(Kind::SUPERBLOCKS, &Superblocks { records }));
        let rule = FrontClass { class: 0, capacity: count as u16, batch: 7, depot_batches: count };
        if sequence == 1 {
            let front = Front { processors: count, records: vec![rule; 2] };
            events.push(frame(Kind::FRONT, &front));
        }
        let depot = DepotRecord { class: (count % 2) as u16, batches: count };
        events.push(frame(Kind::DEPOTS, &Depots { records: vec![depot; 2] }));
        let magazine = MagazineRecord {
            class: (count % 3) as u16,
            processor: counter as u16,
            blocks: count as u16,
            pops: counter.wrapping_mul(sequence),
            pushes: counter,
            refills: !counter,
            flushes: counter.wrapping_mul(sequence),
            aborts: counter,
        };
        let other = MagazineRecord { class: u16::MAX, processor: u16::MAX, ..magazine };
        events.push(frame(Kind::MAGAZINES, &Magazines { records: vec![magazine, other] }));
        let transitions = Transitions { missed: counter, records: vec![transition; 3] };
        events.push(frame(Kind::TRANSITIONS, &transitions));
        events.push(frame(Kind::STATE_END, &end(sequence)));
    }
    // A close look that contradicts itself.
    let bits = vec![counter; 3];
    let (id, cached_is) = (count, (count % 3) as u8);
    let cached = SuperblockCached { id, cached_is, magazines: bits.clone(), depot: bits.clone() };
    events.push(frame(Kind::SUPERBLOCK_CACHED, &cached));
    events.push(frame(
        Kind::SUPERBLOCK_DETAIL,
        &SuperblockDetail {
            id,
            uptime_ns: counter,
            record: Some(superblock),
            bitmap_is: cached_is,
            free: bits,
            transitions: vec![transition; 2],
        },
    ));
    events
}

/// Programs whose figures are at the ends of their ranges.
fn survey(count: u8, signed: i64, counter: u64) -> Survey {
    let name = "名前\u{1b}[31m".to_owned();
    let row = |pid| Row {
        pid,
        namespace_pid: pid,
        user: name.clone(),
        name: name.clone(),
        uptime_ms: counter,
        rss_bytes: Some(counter),
        mapped_bytes: signed,
        live_bytes: signed,
        external_fraction: Some(signed as f64),
        cached_bytes: 0,
        cached_most_bytes: None,
        hit_fraction: None,
        consistent: false,
        allocator_version: String::new(),
        protocol: "9.\u{7}".to_owned(),
        socket: String::new(),
    };
    let program = |place: u8| Program {
        id: place.into(),
        path: PathBuf::new(),
        row: row(u32::MAX - u32::from(place)),
        trend: vec![signed, 0, i64::MIN, i64::MAX],
        growth: Some(counter as f64),
        standing: [Standing::Answers, Standing::Silent, Standing::Ended][usize::from(place % 3)],
        ancestors: vec![u32::MAX - u32::from(place / 2), u32::MAX, u32::from(place)],
    };
    let socket = Unreachable {
        pid: 1,
        name: name.clone(),
        socket: String::new(),
        reason: name.clone(),
        stale: count.is_multiple_of(2),
    };
    let programs = (0..count).map(program).collect();
    Survey { programs, unreachable: vec![(counter, socket)], is_waiting: count > 30 }
}

fn messages(step: &Step, events: &[SourceEvent], next: &mut usize) -> Vec<Message> {
    let mouse = |kind, column, row| {
        Message::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE })
    };
    let told = |event: &SourceEvent| Message::Source(event.clone());
    match step {
        Step::Key(code) => vec![Message::Key(KeyEvent::new(*code, KeyModifiers::NONE))],
        Step::Click(x, y) => vec![mouse(MouseEventKind::Down(MouseButton::Left), *x, *y)],
        Step::Wheel(true) => vec![mouse(MouseEventKind::ScrollDown, 1, 1)],
        Step::Wheel(false) => vec![mouse(MouseEventKind::ScrollUp, 1, 1)],
        Step::Resize(width, height) => vec![Message::Resize(*width, *height)],
        Step::Flow(count) => {
            let flow = events.iter().cycle().skip(*next).take(usize::from(*count)).map(told);
            *next += usize::from(*count);
            flow.collect()
        }
        Step::Jump(place) => vec![told(&events[usize::from(*place) % events.len()])],
        Step::Broken(place, cut, change) => {
            let event = &events[usize::from(*place) % events.len()];
            let SourceEvent::Frame(kind, payload) = event else {
                return vec![told(event)];
            };
            let mut payload = payload.clone();
            payload.truncate(payload.len() * usize::from(*cut) / 255);
            if let Some(byte) = payload.first_mut() {
                *byte ^= change;
            }
            vec![Message::Source(SourceEvent::Frame(*kind, payload))]
        }
        Step::Extreme(signed, counter, count) => {
            extreme(*signed, *counter, *count).iter().map(told).collect()
        }
        Step::Say(event) => vec![told(event)],
        Step::Launched(event) => vec![Message::Launched(event.clone())],
        Step::Survey(count, signed, counter) => {
            vec![Message::Surveyed(survey(*count, *signed, *counter))]
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn nothing_panics(
        steps in proptest::collection::vec(step(), 1..60),
        depth in proptest::sample::select(vec![Depth::None, Depth::Ansi16, Depth::True]),
        ascii in any::<bool>(),
        launched in proptest::option::of(edge_u32()),
    ) {
        let events = events();
        let theme = Theme::new(depth, ascii, ThemeName::Light);
        let mut model = Model::new(theme, 4.0, (120, 36));
        model.picker.available = true;
        model.launched = launched
            .map(|pid| Launched::new(pid, "名前 of it", Path::new("/tmp/\u{1b}a/long/path.log")));
        let mut next = 0;
        for step in &steps {
            for message in messages(step, &events, &mut next) {
                let copied = update(&mut model, message).copy.unwrap_or_default();
                prop_assert!(copied.len() <= copy::MAX_BYTES, "{}", copied.len());
                let harmful = |c: char| c.is_control() && c != '\n' && c != '\t';
                prop_assert!(!copied.contains(harmful), "{copied:?}");
            }
            let (width, height) = model.size;
            let buffer = draw(&model, model.size);
            // The terminal may have another size already than the model knows of.
            let _ = draw(&model, (height, width.min(70)));
            let control = |cell: &ratatui::buffer::Cell| cell.symbol().chars().any(char::is_control);
            prop_assert!(!buffer.content.iter().any(control), "control characters on screen");
        }
    }
}

#[test]
fn every_size_can_be_drawn() {
    let mut model = Model::new(Theme::new(Depth::None, false, ThemeName::Dark), 4.0, (120, 36));
    feed(&mut model, &mut source(120, 2_000), 4);
    for keys in ["1", "1l", "1l", "1l", "1l", "1l", "2/k", "\n5", "5n.", "?", "?x"] {
        press(&mut model, keys);
        for width in (0..130).step_by(3) {
            for height in 0..45 {
                let _ = update(&mut model, Message::Resize(width, height));
                let _ = draw(&model, (width, height));
            }
        }
    }
}
