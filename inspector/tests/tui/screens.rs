//! Aim: every screen looks as it should, at every size and in every state of the connection, in
//! colour, without, and in ASCII.
//!
//! Method: a made-up process speaks to the model; the picture is compared with a stored one that a
//! person has looked at. Pictures of text do not see colour: some have their styles beside them, run by
//! run.

use std::fmt::Write as _;

use crate::stage::{Case, Stage, all_sizes};
use lfinspect::tui::ThemeName;
use lfinspect::tui::figure::Figure;
use lfinspect::tui::theme::Depth;
use ratatui::style::{Color, Modifier};

/// Compares the picture's text with the stored one of that name.
fn check(name: &str, case: &Case) {
    insta::assert_snapshot!(name, case.text());
}

fn live() -> Case {
    Case::new(Stage::Live)
}

#[test]
fn overview() {
    for (width, height) in [(120, 36), (80, 24), (60, 15)] {
        check(&format!("overview_live_{width}x{height}"), &live().size(width, height));
    }
    check("overview_occupancy_80x24", &live().keys("ll").size(80, 24));
    check("overview_explain_80x24", &live().keys("hhhx").size(80, 24));
}

#[test]
fn rounding_is_told_where_there_are_samples_alone() {
    let with = live().keys("G").size(80, 24).model();
    assert_eq!(with.figure(), Figure::Rounding);
    let without = Case::new(Stage::NoSuperblock).keys("G").size(80, 24);
    assert_eq!(without.model().figure(), Figure::Front);
    assert!(!without.text().contains("rounding"), "{}", without.text());
    // Where it would cost a pane it goes.
    let text = Case::new(Stage::Gone).size(80, 24).text();
    assert!(text.contains("Worst classes") && !text.contains("rounding"), "{text}");
}

#[test]
fn classes() {
    for (width, height) in [(120, 36), (80, 24), (60, 15)] {
        check(&format!("classes_live_{width}x{height}"), &live().keys("2jj").size(width, height));
    }
    check("classes_filter_80x24", &live().keys("2/kib p>0").size(80, 24));
    check("classes_filter_unfinished_60x15", &live().keys("2/util<").size(60, 15));
}

#[test]
fn states() {
    for (width, height) in [(120, 36), (80, 24), (60, 15), (200, 50)] {
        check(&format!("states_live_{width}x{height}"), &live().keys("5").size(width, height));
    }
    check("states_edge_120x36", &live().keys("5nnn").size(120, 36));
    check("states_log_80x24", &live().keys("5e").size(80, 24));
}

#[test]
fn help() {
    check("help_states_120x50", &live().keys("5?").size(120, 50));
    check("help_classes_80x24", &live().keys("2?").size(80, 24));
    check("help_bottom_60x15", &live().keys("?G").size(60, 15));
}

#[test]
fn below_the_smallest_size_there_is_one_line() {
    let mut lines = String::new();
    for stage in Stage::ALL {
        let text = Case::new(stage).size(59, 14).text();
        let _ = writeln!(
            lines,
            "{stage:?}:
{}",
            text.trim_end()
        );
    }
    insta::assert_snapshot!("summary_59x14", lines);
    for stage in Stage::ALL {
        check(&format!("summary_{stage:?}_20x5").to_lowercase(), &Case::new(stage).size(20, 5));
    }
}

#[test]
fn paused() {
    check("overview_paused_80x24", &Case::new(Stage::Paused).size(80, 24));
    check("states_stepped_80x24", &Case::new(Stage::Paused).keys("5....").size(80, 24));
    check("states_stepped_120x36", &Case::new(Stage::Paused).keys("5....").size(120, 36));
}

#[test]
fn gone() {
    for (width, height) in [(120, 36), (60, 15)] {
        check(
            &format!("overview_gone_{width}x{height}"),
            &Case::new(Stage::Gone).size(width, height),
        );
    }
    check("classes_gone_80x24", &Case::new(Stage::Gone).keys("2").size(80, 24));
    check("states_gone_80x24", &Case::new(Stage::Gone).keys("5").size(80, 24));
}

#[test]
fn waiting() {
    for (width, height) in [(120, 36), (60, 15)] {
        let case = Case::new(Stage::Waiting).size(width, height);
        check(&format!("overview_waiting_{width}x{height}"), &case);
        let case = Case::new(Stage::Awaited).size(width, height);
        check(&format!("awaited_{width}x{height}"), &case);
    }
}

#[test]
fn silent() {
    for (width, height) in [(120, 36), (60, 15)] {
        let case = Case::new(Stage::Silent).size(width, height);
        check(&format!("overview_silent_{width}x{height}"), &case);
    }
    check("states_silent_80x24", &Case::new(Stage::Silent).keys("5 ").size(80, 24));
}

#[test]
fn rates_are_lower_bounds_while_transitions_were_missed() {
    for (width, height) in [(120, 36), (60, 15)] {
        let case = Case::new(Stage::Missed).keys("5").size(width, height);
        check(&format!("states_missed_{width}x{height}"), &case);
    }
    check("classes_missed_120x36", &Case::new(Stage::Missed).keys("2").size(120, 36));
    let ascii = Case::new(Stage::Missed).keys("5").ascii().size(80, 24).text();
    assert!(ascii.contains(">="), "{ascii}");
}

#[test]
fn no_connection() {
    check("connecting_80x24", &Case::new(Stage::Connecting).size(80, 24));
    for (width, height) in [(120, 36), (60, 15)] {
        check(
            &format!("mismatch_{width}x{height}"),
            &Case::new(Stage::Mismatch).size(width, height),
        );
    }
}

#[test]
fn a_broken_connection_says_why_above_the_last_state() {
    for (width, height) in [(120, 36), (60, 15)] {
        let case = Case::new(Stage::Broken).keys("2").size(width, height);
        check(&format!("classes_broken_{width}x{height}"), &case);
    }
}

#[test]
fn no_superblock() {
    for (screen, keys) in [("overview", "1"), ("classes", "2"), ("states", "5")] {
        let case = Case::new(Stage::NoSuperblock).keys(keys).size(120, 36);
        check(&format!("{screen}_no_superblock_120x36"), &case);
    }
}

#[test]
fn a_hundred_thousand_superblocks() {
    check("overview_many_120x36", &Case::new(Stage::Many).size(120, 36));
    check("classes_many_80x24", &Case::new(Stage::Many).keys("2").size(80, 24));
    check("states_many_80x24", &Case::new(Stage::Many).keys("5").size(80, 24));
}

#[test]
fn ascii_is_ascii() {
    for (screen, keys) in [("overview", "1"), ("classes", "2"), ("states", "5")] {
        let case = live().keys(keys).ascii().size(120, 36);
        check(&format!("{screen}_ascii_120x36"), &case);
    }
    for size in all_sizes() {
        for stage in Stage::ALL {
            for keys in ["1", "1l", "1ll", "2/x<", "5n", "5e", "?", "x", "5x", "2x"] {
                let text = Case::new(stage).keys(keys).ascii().size(size.0, size.1).text();
                assert!(text.is_ascii(), "{stage:?} {keys} {size:?}:\n{text}");
            }
        }
    }
}

#[test]
fn without_colours_there_are_none() {
    check("overview_plain_120x36", &live().depth(Depth::None).size(120, 36));
    for size in all_sizes() {
        for stage in Stage::ALL {
            for keys in ["1", "2", "5n", "5.", "?", "x"] {
                let case = Case::new(stage).keys(keys).depth(Depth::None).size(size.0, size.1);
                assert!(case.is_colorless(), "{stage:?} {keys} {size:?}");
            }
        }
    }
}

#[test]
fn styles() {
    for (name, depth) in [("true", Depth::True), ("16", Depth::Ansi16), ("plain", Depth::None)] {
        let case = live().keys("5n").depth(depth).size(80, 24);
        insta::assert_snapshot!(format!("styles_states_{name}_80x24"), case.styles());
    }
    let case = Case::new(Stage::Gone).depth(Depth::Ansi256).size(80, 24);
    insta::assert_snapshot!("styles_overview_gone_256_80x24", case.styles());
}

#[test]
fn high_contrast() {
    for (name, depth) in [
        ("true", Depth::True),
        ("256", Depth::Ansi256),
        ("16", Depth::Ansi16),
        ("plain", Depth::None),
    ] {
        let case = live().theme(ThemeName::HighContrast).depth(depth).size(80, 24);
        insta::assert_snapshot!(format!("styles_contrast_{name}_80x24"), case.styles());
    }
    let case = live().theme(ThemeName::HighContrast).depth(Depth::Ansi16).size(60, 15);
    insta::assert_snapshot!("styles_contrast_map_60x15", case.clone().keys("3").styles());
    check("overview_contrast_80x24", &case.size(80, 24));
    for stage in Stage::ALL {
        for keys in ["1", "2", "2\n", "3", "3\n", "4", "5n", "6", "7k", "8", "?", "x"] {
            for depth in [Depth::None, Depth::Ansi16, Depth::Ansi256, Depth::True] {
                let case = Case::new(stage).keys(keys).theme(ThemeName::HighContrast);
                let buffer = case.depth(depth).size(80, 24).buffer();
                let dim = buffer.content.iter().find(|cell| cell.modifier.contains(Modifier::DIM));
                assert_eq!(dim, None, "{stage:?} {keys} {depth:?}");
                // Every cell is on black, or black on something bright.
                let unpainted = |cell: &&ratatui::buffer::Cell| {
                    depth != Depth::None && [cell.fg, cell.bg].contains(&Color::Reset)
                };
                assert_eq!(buffer.content.iter().find(unpainted), None, "{stage:?} {keys}");
            }
        }
    }
}

#[test]
fn colours_change_no_text() {
    for stage in Stage::ALL {
        for keys in ["2", "5"] {
            let case = Case::new(stage).keys(keys).size(120, 36);
            let plain = case.clone().depth(Depth::None).text();
            assert_eq!(case.depth(Depth::Ansi256).text(), plain, "{stage:?} {keys}");
        }
    }
}
