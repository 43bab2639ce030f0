//! Aim: a program that was started here is shown with its output and its end, and is left only as the person says.
//!
//! Method: events made by hand; pictures are compared with stored ones that a person has looked at.

use std::path::Path;

use crate::stage::{all_sizes, draw, feed, press, say, source, text};
use lfinspect::source::{Ask, SourceEvent};
use lfinspect::tui::launched::{Event, Launched, Stage};
use lfinspect::tui::model::{Connection, Model, Overlay};
use lfinspect::tui::output::Chunk;
use lfinspect::tui::theme::{Depth, Theme};
use lfinspect::tui::update::{Commands, Message, update};
use lfinspect::tui::{ExitStatus, ThemeName};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

const SIZES: [(u16, u16); 3] = [(120, 36), (80, 24), (60, 15)];

/// A program that has been seen, unless it is `new`.
fn model(size: (u16, u16), is_new: bool) -> Model {
    let mut model = Model::new(Theme::new(Depth::Ansi256, false, ThemeName::Dark), 4.0, size);
    model.picker.available = true;
    let mut source = source(50, 100);
    let mut pid = 4121;
    if !is_new {
        feed(&mut model, &mut source, 5);
        pid = model.live.as_ref().map_or(0, |live| live.picture.pid);
    }
    model.launched = Some(Launched::new(pid, "indexer", Path::new("/tmp/lfinspect-4120-0.log")));
    model
}

fn picture(model: &Model) -> String {
    text(&draw(model, model.size))
}

fn key(model: &mut Model, code: KeyCode) -> Commands {
    update(model, Message::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

fn tell(model: &mut Model, event: Event) -> Commands {
    update(model, Message::Launched(event))
}

fn ended() -> Event {
    Event::Ended("ended with status 3".to_owned())
}

fn write(model: &mut Model, text: &str) -> Commands {
    let chunk = Chunk { bytes: text.as_bytes().to_vec(), skipped: 0, begins: false };
    tell(model, Event::Output(chunk))
}

fn lines() -> String {
    let line = |line: usize| {
        let long =
            if line.is_multiple_of(7) { "which is a long one ".repeat(9) } else { String::new() };
        format!("{line}: \u{1b}[3{}mindexed\u{1b}[0m größe\t{line} files {long}", line % 8)
    };
    (1..=40).map(line).collect::<Vec<_>>().join("\n") + "\n"
}

#[test]
fn output() {
    for size in SIZES {
        let mut model = model(size, false);
        let _ = write(&mut model, &lines());
        let asks = key(&mut model, KeyCode::Char('L')).asks;
        assert_eq!(asks, [Ask::Output(true)]);
        insta::assert_snapshot!(format!("output_{}x{}", size.0, size.1), picture(&model));
        press(&mut model, "gjj");
        let _ = tell(&mut model, ended());
        insta::assert_snapshot!(format!("output_top_{}x{}", size.0, size.1), picture(&model));
        press(&mut model, "G");
        assert!(picture(&model).contains("40: indexed größe"), "{}", picture(&model));
        let asks = key(&mut model, KeyCode::Esc).asks;
        assert_eq!(asks, [Ask::Output(false)]);
        assert_eq!(model.overlay, Overlay::None);
    }
}

#[test]
fn output_is_shown_at_any_size_and_in_ascii() {
    for size in all_sizes().into_iter().chain([(1, 1), (3, 2)]) {
        let mut model = model(size, false);
        model.theme = Theme::new(Depth::None, true, ThemeName::Dark);
        press(&mut model, "L");
        if size.0 >= 20 {
            assert!(picture(&model).contains("nothing was writ"), "{}", picture(&model));
        }
        let _ = write(&mut model, &lines());
        assert!(picture(&model).is_ascii(), "{}", picture(&model));
        press(&mut model, "gGkjq");
        assert!(picture(&model).is_ascii(), "{}", picture(&model));
        assert!(size.1 < 5 || picture(&model).contains("detach"), "{}", picture(&model));
    }
}

#[test]
fn what_is_written_is_drawn_only_while_it_is_seen() {
    let mut model = model((80, 24), false);
    assert!(!write(&mut model, "a\n").redraw);
    press(&mut model, "L");
    assert!(write(&mut model, "b\n").redraw);
    // The page before it moves by a page, and back to the end.
    let _ = write(&mut model, &lines());
    let end = picture(&model);
    let _ = key(&mut model, KeyCode::PageUp);
    assert_ne!(picture(&model), end);
    let _ = key(&mut model, KeyCode::PageDown);
    assert_eq!(picture(&model), end);
    // A screen's digit closes it.
    assert_eq!(key(&mut model, KeyCode::Char('2')).asks, [Ask::Output(false)]);
}

#[test]
fn without_a_program_there_is_no_output() {
    let mut model = model((80, 24), false);
    model.launched = None;
    assert!(key(&mut model, KeyCode::Char('L')).asks.is_empty());
    assert!(picture(&model).contains("no program was started here"), "{}", picture(&model));
    assert_eq!(key(&mut model, KeyCode::Char('q')).quit, Some(ExitStatus::Done));
}

#[test]
fn leaving() {
    for size in SIZES {
        let name = |stage: &str| format!("leave_{stage}_{}x{}", size.0, size.1);
        let mut model = model(size, false);
        assert_eq!(key(&mut model, KeyCode::Char('q')).quit, None);
        insta::assert_snapshot!(name("asked"), picture(&model));
        assert_eq!(key(&mut model, KeyCode::Char('t')).asks, [Ask::End { kill: false }]);
        insta::assert_snapshot!(name("terminating"), picture(&model));
        assert_eq!(key(&mut model, KeyCode::Char('k')), Commands::NOTHING, "not yet");
        let _ = tell(&mut model, Event::Stubborn);
        insta::assert_snapshot!(name("stubborn"), picture(&model));
        assert_eq!(key(&mut model, KeyCode::Char('t')), Commands::NOTHING);
        assert_eq!(key(&mut model, KeyCode::Char('k')).asks, [Ask::End { kill: true }]);
        insta::assert_snapshot!(name("killed"), picture(&model));
        assert_eq!(tell(&mut model, ended()).quit, Some(ExitStatus::Done));
    }
}

#[test]
fn detaching_is_what_enter_does_and_escape_goes_back() {
    for code in [KeyCode::Enter, KeyCode::Char('d')] {
        let mut model = model((80, 24), false);
        press(&mut model, "q");
        assert_eq!(key(&mut model, code).quit, Some(ExitStatus::Detached));
    }
    let mut model = model((80, 24), false);
    let before = picture(&model);
    press(&mut model, "q2x?L");
    assert_eq!(key(&mut model, KeyCode::Esc).quit, None);
    assert_eq!(picture(&model), before, "no other key does anything");
    // Once it was asked to end it is not forgotten that it was, but nobody is thrown out who went back.
    press(&mut model, "qt");
    let _ = key(&mut model, KeyCode::Esc);
    press(&mut model, "q");
    assert_eq!(model.launched.as_ref().map(|launched| launched.stage), Some(Stage::Terminating));
    let _ = key(&mut model, KeyCode::Esc);
    assert_eq!(tell(&mut model, ended()).quit, None);
    assert_eq!(key(&mut model, KeyCode::Char('q')).quit, Some(ExitStatus::Done));
}

#[test]
fn the_end_is_told_with_its_status_whoever_tells_it_first() {
    for end_first in [true, false] {
        let mut model = model((80, 24), false);
        let gone = SourceEvent::Gone("pid 4121 (indexer) has ended".to_owned());
        if end_first {
            assert_eq!(tell(&mut model, ended()).quit, None);
            say(&mut model, gone);
        } else {
            say(&mut model, gone);
            assert_eq!(tell(&mut model, ended()).quit, None);
        }
        let shown = picture(&model);
        assert!(shown.contains("GONE") && shown.contains("ended with status 3"), "{shown}");
        assert!(shown.contains("L shows its output"), "{shown}");
        assert_eq!(key(&mut model, KeyCode::Char('q')).quit, Some(ExitStatus::Done));
    }
}

#[test]
fn one_that_ends_unseen_ends_the_interface_unless_somebody_reads() {
    let mut model = model((80, 24), true);
    say(&mut model, SourceEvent::Waiting("waiting for pid 4121 (indexer)".to_owned()));
    let mut reading = model.clone();
    assert_eq!(tell(&mut model, ended()).quit, Some(ExitStatus::Done));
    press(&mut reading, "L");
    assert_eq!(tell(&mut reading, ended()).quit, None);
    press(&mut reading, "L");
    assert!(matches!(&reading.connection, Connection::Gone(words) if words.contains("status 3")));
    assert!(picture(&reading).contains("q leaves"), "{}", picture(&reading));
}

#[test]
fn while_another_program_is_shown_its_end_is_a_notice() {
    let mut model = model((80, 24), false);
    if let Some(launched) = &mut model.launched {
        launched.pid += 1;
    }
    assert_eq!(tell(&mut model, ended()).quit, None);
    assert_eq!(model.connection, Connection::Live);
    assert!(picture(&model).contains("(indexer) ended with status 3"), "{}", picture(&model));
}

#[test]
fn where_one_was_started_the_list_of_programs_leads_back() {
    let mut model = model((80, 24), true);
    press(&mut model, "p");
    assert!(model.picker.open);
    assert_eq!(key(&mut model, KeyCode::Char('q')).quit, None, "it is asked about");
    assert!(picture(&model).contains("What is to become of it?"), "{}", picture(&model));
    let _ = key(&mut model, KeyCode::Esc);
    assert_eq!(key(&mut model, KeyCode::Esc).quit, None);
    assert!(!model.picker.open);
}
