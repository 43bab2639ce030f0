//! Aim: the mouse hits what is drawn under it, at every size: panes and figures, edges, states and events, keys of
//! the footer, the header.
//!
//! Method: words are looked for in the picture and clicked where they stand, so that no test knows where things lie.

use crate::stage::{Case, Stage, draw, text};
use lfalloc_protocol::message::state;
use lfinspect::tui::edge::Edge;
use lfinspect::tui::figure::{Figure, Pane};
use lfinspect::tui::model::{Model, Overlay, Screen};
use lfinspect::tui::screens::heaps::Focus;
use lfinspect::tui::update::{Message, update};
use ratatui::crossterm::event::{KeyModifiers, MouseButton, MouseEvent, MouseEventKind};

const SIZES: [(u16, u16); 4] = [(200, 50), (120, 36), (80, 24), (60, 15)];

fn live(keys: &'static str, (width, height): (u16, u16)) -> Model {
    Case::new(Stage::Live).keys(keys).size(width, height).model()
}

/// The cell in the middle of `word`, which must be on screen, below its `rows`-th row.
fn place_below(model: &Model, rows: usize, word: &str) -> (u16, u16) {
    let text = text(&draw(model, model.size));
    let found = text.lines().enumerate().skip(rows).find_map(|(row, line)| {
        let column = line.find(word).map(|byte| line[..byte].chars().count());
        column.map(|column| ((column + word.chars().count() / 2) as u16, row as u16))
    });
    found.unwrap_or_else(|| panic!("{word:?} is on screen:\n{text}"))
}

fn place(model: &Model, word: &str) -> (u16, u16) {
    place_below(model, 0, word)
}

fn mouse(model: &mut Model, kind: MouseEventKind, (column, row): (u16, u16)) -> bool {
    let event = MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE };
    update(model, Message::Mouse(event)).redraw
}

fn click(model: &mut Model, at: (u16, u16)) -> bool {
    mouse(model, MouseEventKind::Down(MouseButton::Left), at)
}

#[test]
fn a_click_on_the_overview_picks_pane_and_figure_and_a_second_one_zooms() {
    for size in [(200, 50), (120, 36)] {
        for (word, pane, figure) in [
            ("credits ", Pane::Parts, Figure::Credit),
            ("RSS", Pane::Parts, Figure::Resident),
            ("magazines off", Pane::Parts, Figure::Front),
            ("outside", Pane::Parts, Figure::Resident),
            ("waste ", Pane::Fragmentation, Figure::Waste),
            ("EXT ", Pane::Fragmentation, Figure::External),
            ("70- 80%", Pane::Occupancy, Figure::Occupancy),
            ("P PARTIAL", Pane::States, Figure::State(state::PARTIAL)),
            ("CAS retries", Pane::States, Figure::Retries),
            ("   block  ", Pane::Worst, Figure::ClassWaste),
            ("in hand", Pane::Books, Figure::InHand),
        ] {
            let mut model = live("", size);
            let at = place(&model, word);
            assert!(click(&mut model, at), "{word}");
            assert_eq!((model.overview.pane, model.figure()), (pane, figure), "{word} {size:?}");
            assert!(!model.overview.zoomed, "{word}");
            let at = place(&model, word);
            assert!(click(&mut model, at) && model.overview.zoomed, "{word} {size:?}");
        }
    }
}

/// The pane that is clicked has the cursor from then on, and its headings sort it.
#[test]
fn a_click_on_heaps_goes_to_the_pane_under_it() {
    let mut model = Case::new(Stage::Front).keys("4").size(120, 36).model();
    assert_eq!(model.heaps.focus, Focus::Headers);
    let at = place(&model, "flush/s");
    assert!(click(&mut model, at));
    assert_eq!((model.heaps.focus, model.heaps.magazines.sorted_by), (Focus::Magazines, 8));
    let at = place(&model, "dry/s");
    assert!(click(&mut model, at));
    assert_eq!((model.heaps.focus, model.heaps.list.sorted_by), (Focus::Headers, 9));
    assert_eq!(model.heaps.magazines.sorted_by, 8);
    // Outside of both.
    assert!(!click(&mut model, (5, 35)) || model.heaps.focus == Focus::Headers);
}

#[test]
fn every_part_is_hit_in_the_legend_and_in_the_bar() {
    for size in SIZES {
        for (word, figure) in [
            ("free  ", Figure::Free),
            ("EMPTY kept", Figure::EmptyKept),
            ("large kept", Figure::LargeCached),
            ("metadata", Figure::Metadata),
            ("of live", Figure::Rounding),
            ("▚", Figure::Rounding),
        ] {
            let mut model = live("", size);
            // Below summary and bar.
            let at = place_below(&model, 6, word);
            assert!(click(&mut model, at), "{word} {size:?}");
            assert_eq!(model.figure(), figure, "{word} {size:?}");
        }
        let mut model = live("", size);
        let at = place(&model, " free ");
        assert_eq!(at.1, 4, "in the bar");
        assert!(click(&mut model, at));
        assert_eq!(model.figure(), Figure::Free);
    }
}

#[test]
fn a_click_elsewhere_in_a_pane_puts_the_cursor_there() {
    let mut model = live("j", (120, 36));
    let at = place(&model, "Books");
    assert!(click(&mut model, at));
    assert_eq!((model.overview.pane, model.overview.item), (Pane::Books, 0));
    assert!(!click(&mut model, (119, 35)), "nothing is there");
}

#[test]
fn edges_are_hit_by_label_and_by_line() {
    for size in SIZES {
        // Where the diagram is not drawn, edges are a list.
        let words = [
            ("MallocFromActive", Edge::ActiveFull),
            ("MallocFromNewSB", Edge::EmptyActive),
            ("free (batch)", Edge::FullEmpty),
            ("UpdateActive", Edge::ActivePartial),
        ];
        for (word, edge) in words {
            let mut model = live("5", size);
            let at = place(&model, word);
            assert!(click(&mut model, at), "{word}");
            assert_eq!(model.states.edge, Some(edge), "{word} {size:?}");
            assert_eq!(model.screen, Screen::States);
        }
    }
    let mut model = live("5", (120, 36));
    // The line below the label of the edge from EMPTY to ACTIVE, and the arrow head at its end.
    let label = place(&model, "MallocFromNewSB");
    assert!(click(&mut model, (label.0, label.1 + 1)));
    assert_eq!(model.states.edge, Some(Edge::EmptyActive));
    let head = place(&model, "▼");
    assert!(click(&mut model, head));
    assert_eq!(model.states.edge, Some(Edge::ActiveFull));
}

#[test]
fn a_state_picks_its_edges_one_after_the_other() {
    for size in SIZES {
        let mut model = live("5", size);
        let at = place(&model, if size.0 == 60 { "· E" } else { "E  EMPTY" });
        let mut picked = Vec::new();
        for _ in 0..5 {
            assert!(click(&mut model, at), "{size:?}");
            picked.push(model.states.edge.expect("picked"));
        }
        let touching = [
            Edge::EmptyActive,
            Edge::PartialEmpty,
            Edge::FullEmpty,
            Edge::ActiveEmpty,
            Edge::EmptyActive,
        ];
        assert_eq!(picked, touching, "{size:?}");
    }
}

#[test]
fn an_event_is_picked_and_the_wheel_moves_through_what_is_under_it() {
    for size in [(120, 36), (80, 24)] {
        let mut model = live("5", size);
        let at = place(&model, "tag ");
        assert!(click(&mut model, at));
        let event = model.states.event.expect("picked");
        assert!(mouse(&mut model, MouseEventKind::ScrollDown, at));
        assert!(model.states.event.is_some_and(|next| next > event), "{size:?}");
        let edge = place(&model, "MallocFromActive");
        let event = model.states.event;
        assert!(mouse(&mut model, MouseEventKind::ScrollDown, edge));
        assert_eq!((model.states.edge, model.states.event), (Some(Edge::ALL[0]), event));
    }
    let mut model = live("", (120, 36));
    let at = place(&model, "Books");
    assert!(mouse(&mut model, MouseEventKind::ScrollDown, at));
    assert_eq!((model.overview.pane, model.figure()), (Pane::Books, Figure::Consistent));
}

#[test]
fn words_of_the_footer_do_what_their_keys_do() {
    for size in SIZES {
        let mut model = live("", size);
        for word in ["? help", "x explain", "Space freeze"] {
            let at = place(&model, word);
            assert_eq!(at.1, size.1 - 1);
            assert!(click(&mut model, at), "{word} {size:?}");
            match word {
                "? help" => assert_eq!(model.overlay, Overlay::Help(0)),
                "x explain" => assert!(matches!(model.overlay, Overlay::Explain(..))),
                _ => assert!(model.frozen.is_some()),
            }
            model.overlay = Overlay::None;
        }
        // Between two words nothing is hit.
        let at = place(&model, "? help");
        assert!(!click(&mut model, (at.0 - 4, at.1)));
    }
}

#[test]
fn the_header_freezes_and_explains() {
    for size in [(120, 36), (80, 24)] {
        let mut model = live("", size);
        let at = place(&model, "LIVE");
        assert!(click(&mut model, at) && model.frozen.is_some());
        let at = place(&model, "PAUSED");
        assert!(click(&mut model, at) && model.frozen.is_none());
        let at = place(&model, "drops");
        assert!(click(&mut model, at));
        assert_eq!(model.overlay, Overlay::Explain(Figure::Missed, 0));
        model.overlay = Overlay::None;
        let at = place(&model, "agent ");
        assert!(click(&mut model, at));
        assert_eq!(model.overlay, Overlay::Explain(Figure::AgentCost, 0));
    }
}

#[test]
fn a_click_on_what_is_picked_opens_it_on_every_list() {
    let size = (120, 36);
    let mut model = live("2", size);
    let at = (20, 8);
    assert!(click(&mut model, at) && model.classes.open.is_none());
    assert!(click(&mut model, at) && model.classes.open.is_some());
    let mut model = live("7", size);
    let at = place(&model, "tag ");
    assert!(click(&mut model, at) && model.map.open.is_none());
    assert!(click(&mut model, at));
    assert!(model.screen == Screen::Map && model.map.open.is_some());
    let mut model = live("4", size);
    let at = (20, 8);
    assert!(click(&mut model, at) && model.screen == Screen::Heaps);
    assert!(click(&mut model, at));
    assert!(model.screen == Screen::Map && model.map.open.is_some());
}
