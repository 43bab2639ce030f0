//! Aim: what is copied is what is under the cursor, exact, and all of a screen is its table.
//!
//! Method: keys on the made-up process; the texts are compared with stored ones that a person has looked at, and with
//! the figures they are made of.

use std::fmt::Write as _;

use crate::stage::{Case, Stage, press, text};
use lfinspect::tui::copy;
use lfinspect::tui::model::Model;
use lfinspect::tui::update::{Message, update};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

fn live(keys: &'static str) -> Model {
    Case::new(Stage::Live).keys(keys).size(120, 36).model()
}

/// What pressing `key` copies.
fn copied(model: &mut Model, key: char) -> Option<String> {
    let key = KeyEvent::new(KeyCode::Char(key), KeyModifiers::NONE);
    update(model, Message::Key(key)).copy
}

#[test]
fn what_is_under_the_cursor() {
    let mut all = String::new();
    for keys in [
        "", "jj", "llljjjj", "lll", "ll", "lllll", "2jj", "2\n", "3ll", "3sss\n", "4j", "5", "5nn",
        "5kk", "6", "7", "7kkk", "8", "x",
    ] {
        let mut model = live(keys);
        let text = copied(&mut model, 'y').unwrap_or_else(|| "-".to_owned());
        let notice = model.notice.unwrap_or_default();
        let _ = writeln!(all, "{keys:?} {notice}\n{text}\n");
    }
    insta::assert_snapshot!("copied_under_the_cursor", all);
}

#[test]
fn all_of_a_screen() {
    let mut all = String::new();
    for keys in ["", "2", "3", "3sss\n", "4", "5", "5e", "6", "7", "7n/sb<60\n", "8"] {
        let mut model = live(keys);
        let text = copied(&mut model, 'Y').unwrap_or_else(|| "-".to_owned());
        let (notice, lines) = (model.notice.unwrap_or_default(), text.lines().count());
        let columns = text.lines().next().unwrap_or_default().split('\t').count();
        if !keys.ends_with("sss\n") && !keys.starts_with(['5', '7']) {
            assert!(text.lines().all(|line| line.split('\t').count() == columns), "{text}");
        }
        let head: Vec<&str> = text.lines().take(4).collect();
        let _ = writeln!(all, "{keys:?} {notice}, {lines} lines\n{}\n", head.join("\n"));
    }
    insta::assert_snapshot!("copied_all", all);
}

#[test]
fn figures_are_those_of_the_state_to_the_byte() {
    let mut model = live("");
    let parts = model.shown().expect("a state").picture.parts;
    assert_eq!(copied(&mut model, 'y').as_deref(), Some(&*format!("mapped: {} B", parts.mapped)));
    let all = copied(&mut model, 'Y').expect("figures");
    assert!(all.contains(&format!("\nlive\t{}\tB\n", parts.live)), "{all}");
    let mut model = live("3");
    let superblocks = &model.shown().expect("a state").picture.superblocks;
    let lowest = superblocks.iter().min_by_key(|superblock| superblock.address);
    let anchor = lowest.expect("a superblock").anchor;
    let row = copied(&mut model, 'y').expect("a superblock");
    assert!(row.contains(&format!("anchor: {anchor:#018x}")), "{row}");
}

#[test]
fn the_notice_stays_until_the_next_key() {
    let mut model = live("jj");
    let footer = |model: &Model| {
        let text = text(&crate::stage::draw(model, model.size));
        text.lines().last().unwrap_or_default().to_owned()
    };
    let keys = footer(&model);
    assert!(keys.contains("y copy"), "{keys}");
    press(&mut model, "y");
    let notice = footer(&model);
    assert!(notice.starts_with(" copied: live: ") && notice.ends_with(" B"), "{notice}");
    // Not bound to anything.
    let key = KeyEvent::new(KeyCode::Char('Z'), KeyModifiers::NONE);
    assert!(update(&mut model, Message::Key(key)).redraw);
    assert_eq!(footer(&model), keys);
}

#[test]
fn a_hundred_thousand_superblocks_are_cut_and_it_is_said() {
    let mut model = Case::new(Stage::Many).keys("3").size(120, 36).model();
    let text = copied(&mut model, 'Y').expect("superblocks");
    assert!(text.len() <= copy::MAX_BYTES && text.len() > copy::MAX_BYTES - 200);
    let rows = lfinspect::format::thousands(text.lines().count() as u64 - 1);
    let data = model.shown().expect("a state");
    let all = lfinspect::format::thousands(data.picture.superblocks.len() as u64);
    let said = model.notice.clone().unwrap_or_default();
    assert_eq!(said, format!("copied: the first {rows} superblocks of {all}"));
    let columns = |line: &str| line.split('\t').count();
    assert!(text.lines().all(|line| columns(line) == 13));
}
