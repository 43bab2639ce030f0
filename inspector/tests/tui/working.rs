//! Aim: the screens Map, Heaps, Large, Events and Lints look as they should, at every size, in every state of the
//! connection, in colour, without, and in ASCII.
//!
//! Method: as in `screens`.

use std::time::Duration;

use crate::stage::{self, Case, Stage, draw, feed, press, say};
use lfinspect::source::Source as _;
use lfinspect::source::synthetic::{Synthetic, SyntheticSource};
use lfinspect::tui::ThemeName;
use lfinspect::tui::model::Model;
use lfinspect::tui::theme::{Depth, Theme};

/// Name and keys of each screen.
const SCREENS: [(&str, &str); 5] =
    [("map", "3"), ("heaps", "4"), ("large", "6"), ("events", "7"), ("lints", "8")];

/// Keys that lead somewhere on these screens.
const WALKS: [&str; 19] = [
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
    "4m",
    "4mvli",
    "4mej\n",
    "4m/hit<99",
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

/// Magazines, the depot and what of a superblock they hold.
#[test]
fn front() {
    let front = |keys| Case::new(Stage::Front).keys(keys);
    for (width, height) in [(120, 36), (80, 24), (60, 15)] {
        check(&format!("overview_front_{width}x{height}"), &front("1").size(width, height));
        check(&format!("heaps_front_{width}x{height}"), &front("4m").size(width, height));
    }
    check("heaps_front_headers_120x36", &front("4").size(120, 36));
    check("heaps_front_by_processor_120x36", &front("4vm").size(120, 36));
    check("heaps_front_by_class_80x24", &front("4vvm").size(80, 24));
    check("heaps_front_zoomed_120x36", &front("4mes").size(120, 36));
    check("heaps_front_filter_80x24", &front("4m/cpu=2 hit<95\n").size(80, 24));
    check("heaps_front_ascii_80x24", &front("4m").ascii().size(80, 24));
    check("heaps_front_difference_120x36", &front("<bD>4m").size(120, 36));
    check("heaps_off_80x24", &Case::new(Stage::Live).keys("4m").size(80, 24));
    check("overview_front_ascii_80x24", &front("1").ascii().size(80, 24));
    check("explain_hit_rate_80x24", &front("4mllx").size(80, 24));
}

/// A close look tells live blocks from those in magazines and in the depot.
#[test]
fn cached_blocks_of_a_superblock() {
    for (ascii, size) in [(false, (120, 36)), (true, (80, 24)), (false, (60, 15))] {
        let options = Synthetic { operations: 20_000, magazines: true, ..Synthetic::default() };
        let mut source = SyntheticSource::new(options);
        let theme = Theme::new(Depth::Ansi256, ascii, ThemeName::Dark);
        let mut model = Model::new(theme, 4.0, size);
        feed(&mut model, &mut source, 40);
        let id = (0..400)
            .find(|&id| {
                source.request_superblock(id);
                say(&mut model, source.poll(Duration::ZERO));
                say(&mut model, source.poll(Duration::ZERO));
                let cached = model.live.as_ref().and_then(|data| data.cached.clone());
                let any = |bits: &[u64]| bits.iter().any(|&word| word != 0);
                cached.is_some_and(|cached| any(&cached.magazines) && any(&cached.depot))
            })
            .expect("the first superblocks of a class");
        press(&mut model, &format!("3/#{id}\n\n"));
        let text = stage::text(&draw(&model, size));
        assert!(!ascii || text.is_ascii(), "{text}");
        insta::assert_snapshot!(format!("superblock_front_{}x{}", size.0, size.1), text);
    }
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
