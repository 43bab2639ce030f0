//! Aim: the screens Map, Heaps, Large, Events and Lints look as they should, at every size, in every state of the
//! connection, in colour, without, and in ASCII.
//!
//! Method: as in `screens`.

use crate::stage::{Case, Stage};
use lfinspect::tui::theme::Depth;

/// Name and keys of each screen.
const SCREENS: [(&str, &str); 5] =
    [("map", "3"), ("heaps", "4"), ("large", "6"), ("events", "7"), ("lints", "8")];

/// Keys that lead somewhere on these screens.
const WALKS: [&str; 15] = [
    "2\n",
    "3",
    "3jjl",
    "3sjj",
    "3ssij",
    "3eGk",
    "3/occ<50 partial",
    "3\n",
    "3\nGx",
    "4vs",
    "4j\n",
    "6si",
    "7kkk",
    "7/to:full",
    "8jx",
];

fn check(name: &str, case: &Case) {
    insta::assert_snapshot!(name, case.text());
}

#[test]
fn live() {
    for (name, keys) in SCREENS {
        for (width, height) in [(120, 36), (80, 24), (60, 15)] {
            let case = Case::new(Stage::Live).keys(keys).size(width, height);
            check(&format!("{name}_live_{width}x{height}"), &case);
        }
    }
    for (width, height) in [(120, 36), (80, 24), (60, 15)] {
        let case = Case::new(Stage::Live).keys("2\n").size(width, height);
        check(&format!("class_live_{width}x{height}"), &case);
    }
    check("superblock_live_120x36", &Case::new(Stage::Live).keys("3sss\n").size(120, 36));
    check("superblock_live_60x15", &Case::new(Stage::Live).keys("3sss\n").size(60, 15));
    check("map_zoomed_80x24", &Case::new(Stage::Many).keys("3eG").size(80, 24));
    check("map_filter_80x24", &Case::new(Stage::Live).keys("3/partial occ<50").size(80, 24));
    check("heaps_by_processor_80x24", &Case::new(Stage::Live).keys("4v").size(80, 24));
    check("events_picked_120x36", &Case::new(Stage::Live).keys("7kkk").size(120, 36));
    for (width, height) in [(120, 36), (60, 15)] {
        let case = Case::new(Stage::Live).keys("7nn/sb<60\n").size(width, height);
        check(&format!("events_edge_{width}x{height}"), &case);
    }
    check("events_filter_80x24", &Case::new(Stage::Live).keys("7/to:full").size(80, 24));
}

#[test]
fn other_states_of_the_connection() {
    let stages = [
        (Stage::Paused, "paused"),
        (Stage::Gone, "gone"),
        (Stage::NoSuperblock, "no_superblock"),
        (Stage::Many, "many"),
    ];
    for (name, keys) in SCREENS {
        for (stage, word) in stages {
            check(&format!("{name}_{word}_80x24"), &Case::new(stage).keys(keys).size(80, 24));
        }
    }
}

#[test]
fn ascii_is_ascii_and_without_colours_there_are_none() {
    for (name, keys) in SCREENS {
        check(
            &format!("{name}_ascii_80x24"),
            &Case::new(Stage::Live).keys(keys).ascii().size(80, 24),
        );
    }
    for (width, height) in [(120, 36), (60, 15)] {
        for stage in Stage::ALL {
            for keys in WALKS {
                let case = Case::new(stage).keys(keys).size(width, height);
                let text = case.clone().ascii().text();
                assert!(text.is_ascii(), "{stage:?} {keys} {width}x{height}:\n{text}");
                let plain = case.clone().depth(Depth::None);
                assert!(plain.is_colorless(), "{stage:?} {keys} {width}x{height}");
                assert_eq!(case.depth(Depth::Ansi256).text(), plain.text(), "{stage:?} {keys}");
            }
        }
    }
}

#[test]
fn styles() {
    for (name, depth) in [("true", Depth::True), ("16", Depth::Ansi16), ("plain", Depth::None)] {
        let case = Case::new(Stage::Live).keys("3").depth(depth).size(60, 15);
        insta::assert_snapshot!(format!("styles_map_{name}_60x15"), case.styles());
    }
}

#[test]
fn past_and_differences() {
    let past = |keys| Case::new(Stage::Live).keys(keys);
    check("past_overview_120x36", &past(",,,").size(120, 36));
    check("past_states_80x24", &past("1,,,5").size(80, 24));
    // Ten seconds back, where the baseline is, and forward again.
    for (screen, name) in [
        ("1", "overview"),
        ("2", "classes"),
        ("3", "map"),
        ("4", "heaps"),
        ("5", "states"),
        ("6", "large"),
        ("7", "events"),
        ("8", "lints"),
    ] {
        let keys = Box::leak(format!("<bD>{screen}").into_boxed_str());
        check(&format!("difference_{name}_120x36"), &past(keys).size(120, 36));
    }
    check("difference_overview_ascii_80x24", &past("<bD>").ascii().size(80, 24));
    check("difference_states_60x15", &past("<bD>5").size(60, 15));
    check("difference_none_60x15", &past("2D").size(60, 15));
    check("help_overview_120x50", &past("?").size(120, 50));
}
