//! Aim: the list of programs looks as it should at every size and in every manner; keys, clicks and surveys do what
//! the help says, and what looks the same is not drawn again.
//!
//! Method: surveys made by hand; pictures are compared with stored ones that a person has looked at.

use std::path::PathBuf;

use crate::stage::{all_sizes, draw, feed, press, say, source, text};
use lfinspect::listing::{Row, Unreachable};
use lfinspect::source::{Ask, SourceEvent};
use lfinspect::survey::{Program, Standing, Survey};
use lfinspect::tui::model::{Connection, Model};
use lfinspect::tui::theme::{Depth, Theme};
use lfinspect::tui::update::{Commands, Message, update};
use lfinspect::tui::{ExitStatus, ThemeName};
use ratatui::crossterm::event::{
    KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};
use ratatui::style::Color;

const MIB: i64 = 1 << 20;

fn program(id: u64, name: &str, live_mib: i64, trend: &[i64], standing: Standing) -> Program {
    let pid = 4000 + id as u32;
    let row = Row {
        pid,
        namespace_pid: pid,
        user: if id.is_multiple_of(2) { "alice" } else { "bob" }.to_owned(),
        name: name.to_owned(),
        uptime_ms: 61_000 * (id + 1),
        rss_bytes: (id != 2).then_some(300 << 20),
        mapped_bytes: 2 * live_mib * MIB,
        live_bytes: live_mib * MIB,
        external_fraction: Some(0.125 * id as f64),
        cached_bytes: 0,
        cached_most_bytes: None,
        hit_fraction: None,
        consistent: true,
        allocator_version: "0.1.0".to_owned(),
        protocol: "1.3".to_owned(),
        socket: format!("/run/{name}.{pid}.sock"),
    };
    let growth = match trend {
        [first, .., last] => Some((last - first) as f64 * MIB as f64 / (trend.len() - 1) as f64),
        _ => None,
    };
    let path = PathBuf::from(&row.socket);
    let trend = trend.iter().map(|mib| mib * MIB).collect();
    Program { id, path, row, trend, growth, standing, ancestors: Vec::new() }
}

/// Four programs of all kinds, one that cannot be watched, and two sockets that were left behind.
fn survey() -> Survey {
    let socket = |pid, name: &str, reason: &str, stale| Unreachable {
        pid,
        name: name.to_owned(),
        socket: format!("/run/{name}.{pid}.sock"),
        reason: reason.to_owned(),
        stale,
    };
    let rising: Vec<i64> = (90..100).collect();
    let programs = vec![
        program(0, "indexer", 99, &rising, Standing::Answers),
        program(1, "a-program-with-a-long-name", 4, &[300, 300, 4], Standing::Answers),
        program(2, "hello", 1, &[1; 10], Standing::Silent),
        program(3, "gone", 7, &[], Standing::Ended),
    ];
    let unreachable = vec![
        (4, socket(12, "old", "speaks protocol 2.0, not 1.3", false)),
        (5, socket(13, "dead", "stale", true)),
        (6, socket(14, "dead", "stale", true)),
    ];
    Survey { programs, unreachable, is_waiting: false }
}

fn model(depth: Depth, ascii: bool, size: (u16, u16)) -> Model {
    let mut model = Model::new(Theme::new(depth, ascii, ThemeName::Dark), 4.0, size);
    model.picker.available = true;
    model.picker.open = true;
    let _ = update(&mut model, Message::Surveyed(survey()));
    model
}

fn key(model: &mut Model, code: KeyCode) -> Commands {
    update(model, Message::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

fn click(model: &mut Model, column: u16, row: u16) -> Commands {
    let kind = MouseEventKind::Down(MouseButton::Left);
    let mouse = MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE };
    update(model, Message::Mouse(mouse))
}

fn picture(model: &Model) -> String {
    text(&draw(model, model.size))
}

#[test]
fn sizes() {
    for (width, height) in all_sizes() {
        let model = model(Depth::Ansi256, false, (width, height));
        insta::assert_snapshot!(format!("picker_{width}x{height}"), picture(&model));
    }
}

#[test]
fn manners() {
    let mut filtered = model(Depth::None, true, (80, 24));
    press(&mut filtered, "ll/bob live>1m");
    insta::assert_snapshot!("picker_filter_ascii_80x24", picture(&filtered));
    let mut help = model(Depth::Ansi16, false, (80, 24));
    press(&mut help, "?");
    insta::assert_snapshot!("picker_help_80x24", picture(&help));
    let mut empty = model(Depth::Ansi16, false, (60, 15));
    let _ = update(&mut empty, Message::Surveyed(Survey::default()));
    insta::assert_snapshot!("picker_empty_60x15", picture(&empty));
    for size in all_sizes() {
        for keys in ["", "?", "/x<", "jjjj"] {
            let mut plain = model(Depth::None, true, size);
            press(&mut plain, keys);
            assert!(picture(&plain).is_ascii(), "{}", picture(&plain));
            let buffer = draw(&plain, size);
            let plain =
                |cell: &ratatui::buffer::Cell| (cell.fg, cell.bg) == (Color::Reset, Color::Reset);
            assert!(buffer.content.iter().all(plain), "{keys} {size:?}");
        }
    }
}

/// A program with children and grandchildren, one of them below a process that has no agent, between others.
fn family() -> Survey {
    let child = |id, ancestors: &[u32]| Program {
        ancestors: ancestors.to_vec(),
        ..program(id, "worker", 10 + id as i64, &[1, 2], Standing::Answers)
    };
    let mut survey = survey();
    survey.programs.truncate(2);
    survey.programs.extend([
        program(10, "make", 5, &[], Standing::Answers),
        child(11, &[4010]),
        child(12, &[4011, 4010]),
        child(13, &[77, 4010]),
        child(14, &[4012, 4011, 4010]),
        program(15, "other", 5, &[], Standing::Answers),
        child(16, &[4014, 4012, 4011, 4010]),
        // Its root shows no agent.
        child(17, &[99]),
    ]);
    survey
}

#[test]
fn descendants_stand_below_the_one_that_they_descend_from() {
    for (width, height) in [(120, 36), (80, 24), (60, 15)] {
        let mut model = model(Depth::Ansi256, false, (width, height));
        let _ = update(&mut model, Message::Surveyed(family()));
        insta::assert_snapshot!(format!("picker_tree_{width}x{height}"), picture(&model));
    }
    let mut model = model(Depth::None, true, (80, 24));
    let _ = update(&mut model, Message::Surveyed(family()));
    press(&mut model, "i");
    assert!(picture(&model).is_ascii(), "{}", picture(&model));
    let pids = |model: &Model| -> Vec<u32> {
        let shown = picture(model);
        shown.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect()
    };
    let tree = [4017, 4015, 4010, 4013, 4011, 4012, 4014, 4016, 4001, 4000, 12];
    assert_eq!(pids(&model), tree, "siblings the other way round");
    // Enter watches the one under the cursor, where it stands now.
    press(&mut model, "gjjjjj");
    let socket = PathBuf::from("/run/worker.4012.sock");
    assert_eq!(key(&mut model, KeyCode::Enter).asks[1], Ask::Attach(socket));
    model.picker.open = true;
    // What the filter leaves out takes nothing with it.
    press(&mut model, "/worker\n");
    let _ = update(&mut model, Message::Surveyed(family()));
    assert_eq!(pids(&model)[..4], [4017, 4013, 4011, 4012]);
}

#[test]
fn rows_are_sorted_and_those_that_cannot_be_watched_come_last() {
    let names = |model: &Model| -> Vec<String> {
        let rows = picture(model);
        let name = |line: &str| line.split_whitespace().nth(2).map(str::to_owned);
        rows.lines().skip(3).take(4).filter_map(name).collect()
    };
    let mut model = model(Depth::None, true, (120, 36));
    assert_eq!(names(&model)[..2], ["indexer", "a-program-with-a"]);
    press(&mut model, "lls");
    assert_eq!(names(&model)[..2], ["a-program-with-a", "indexer"], "by name");
    press(&mut model, "i");
    assert_eq!(names(&model)[..2], ["indexer", "a-program-with-a"]);
    press(&mut model, "lllls");
    assert_eq!(names(&model)[..2], ["indexer", "a-program-with-a"], "by LIVE, the largest first");
    let last = picture(&model).lines().nth(7).unwrap_or_default().to_owned();
    assert!(last.contains("speaks protocol 2.0"), "{last}");
}

#[test]
fn what_looks_the_same_is_not_drawn_again() {
    let mut model = model(Depth::Ansi256, false, (80, 24));
    let again = |model: &mut Model, survey| update(model, Message::Surveyed(survey)).redraw;
    assert!(!again(&mut model, survey()));
    let mut unseen = survey();
    unseen.programs[0].row.live_bytes += 1;
    unseen.programs[0].row.uptime_ms += 1000;
    assert!(!again(&mut model, unseen), "too small to be seen, or in a column that is not shown");
    let mut seen = survey();
    seen.programs[0].row.live_bytes += 10 * MIB;
    assert!(again(&mut model, seen));
    model.picker.open = false;
    assert!(!again(&mut model, survey()), "told too late");
    // Nor is what happens behind it.
    model.picker.open = true;
    let gone = SourceEvent::Gone("it ended".to_owned());
    assert!(!update(&mut model, Message::Source(gone)).redraw);
    assert_eq!(model.connection, Connection::Gone("it ended".to_owned()));
}

#[test]
fn enter_watches_what_is_under_the_cursor() {
    let mut model = model(Depth::Ansi256, false, (80, 24));
    press(&mut model, "j");
    let commands = key(&mut model, KeyCode::Enter);
    let path = PathBuf::from("/run/a-program-with-a-long-name.4001.sock");
    assert_eq!(commands.asks, [Ask::Survey(false), Ask::Attach(path)]);
    assert!(commands.redraw && commands.quit.is_none() && !model.picker.open);
    assert!(picture(&model).contains("connecting to pid 4001"), "{}", picture(&model));
}

#[test]
fn what_cannot_be_watched_is_not_opened() {
    let mut model = model(Depth::Ansi256, false, (80, 24));
    for keys in ["jj", "G"] {
        press(&mut model, keys);
        let at = picture(&model);
        assert_eq!(key(&mut model, KeyCode::Enter), Commands::NOTHING, "{at}");
    }
    press(&mut model, "k");
    assert_eq!(
        key(&mut model, KeyCode::Enter).asks.len(),
        2,
        "one that is silent may answer again"
    );
    model.picker.open = true;
    let _ = update(&mut model, Message::Surveyed(Survey::default()));
    assert_eq!(key(&mut model, KeyCode::Enter), Commands::NOTHING);
    assert!(model.picker.open);
}

#[test]
fn a_second_click_on_a_row_opens_it_and_one_on_another_does_not() {
    let mut model = model(Depth::Ansi256, false, (80, 24));
    assert!(click(&mut model, 5, 3).asks.is_empty(), "the row of the cursor, clicked once");
    assert!(click(&mut model, 5, 4).asks.is_empty());
    press(&mut model, "k");
    assert!(click(&mut model, 5, 4).asks.is_empty(), "a key came between them");
    assert!(matches!(click(&mut model, 5, 4).asks[..], [Ask::Survey(false), Ask::Attach(_)]));
    model.picker.open = true;
    // The heading of NAME sorts by it.
    let _ = click(&mut model, 12, 2);
    assert_eq!(model.picker.list.sorted_by, 2);
}

#[test]
fn where_nothing_is_behind_it_escape_leaves() {
    let mut model = model(Depth::Ansi256, false, (80, 24));
    press(&mut model, "/x\n");
    assert_eq!(key(&mut model, KeyCode::Esc).quit, None, "the filter first");
    assert!(model.picker.list.filter.is_idle());
    assert_eq!(key(&mut model, KeyCode::Char('p')), Commands::NOTHING);
    assert_eq!(key(&mut model, KeyCode::Esc).quit, Some(ExitStatus::Done));
}

#[test]
fn it_opens_over_a_program_and_goes_back_to_it() {
    let mut model = model(Depth::Ansi256, false, (80, 24));
    model.picker.open = false;
    feed(&mut model, &mut source(10, 100), 2);
    let before = picture(&model);
    let commands = key(&mut model, KeyCode::Char('p'));
    assert_eq!((commands.asks, commands.redraw), (vec![Ask::Survey(true)], true));
    assert!(picture(&model).contains("looking for programs"), "{}", picture(&model));
    for back in [KeyCode::Esc, KeyCode::Char('p')] {
        model.picker.open = true;
        assert_eq!(key(&mut model, back).asks, [Ask::Survey(false)]);
        assert_eq!(picture(&model), before);
    }
    // The program that is shown is not connected anew.
    let _ = key(&mut model, KeyCode::Char('p'));
    let mut programs = survey();
    programs.programs[0].row.pid = model.live.as_ref().map_or(0, |live| live.picture.pid);
    let _ = update(&mut model, Message::Surveyed(programs));
    press(&mut model, "G/indexer\n");
    assert_eq!(key(&mut model, KeyCode::Enter).asks, [Ask::Survey(false)]);
    assert_eq!(picture(&model), before);
}

#[test]
fn a_recording_has_no_neighbours_and_is_not_reconnected() {
    let mut model = model(Depth::Ansi256, false, (80, 24));
    (model.picker.available, model.picker.open) = (false, false);
    feed(&mut model, &mut source(10, 100), 2);
    assert_eq!(key(&mut model, KeyCode::Char('p')), Commands::NOTHING);
    say(&mut model, SourceEvent::Gone("the recording ends".to_owned()));
    assert_eq!(key(&mut model, KeyCode::Char('r')), Commands::NOTHING);
    assert!(!picture(&model).contains("looks for it"), "{}", picture(&model));
}

#[test]
fn r_asks_for_a_program_that_is_gone_and_for_no_other() {
    let mut model = model(Depth::Ansi256, false, (80, 24));
    model.picker.open = false;
    feed(&mut model, &mut source(10, 100), 2);
    assert_eq!(key(&mut model, KeyCode::Char('r')), Commands::NOTHING);
    for said in [SourceEvent::Gone, SourceEvent::Failed, SourceEvent::Waiting] {
        say(&mut model, said("it ended".to_owned()));
        assert_eq!(key(&mut model, KeyCode::Char('r')).asks, [Ask::Reconnect]);
    }
}

#[test]
fn where_only_a_choice_is_wanted_it_ends_with_one() {
    let mut model = model(Depth::Ansi256, false, (80, 24));
    model.picker.picked_leaves = true;
    let Commands { asks, quit, .. } = key(&mut model, KeyCode::Enter);
    assert_eq!(quit, Some(ExitStatus::Done));
    assert_eq!(asks, [Ask::Attach("/run/indexer.4000.sock".into())]);
}
