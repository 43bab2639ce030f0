//! The mouse: a click picks what it points at, and a click on what is picked does what Enter does; the wheel moves
//! through what is under it.

use ratatui::crossterm::event::{MouseButton, MouseEvent, MouseEventKind};

use super::{Commands, cursor, perform, show};
use crate::tui::edge::Edge;
use crate::tui::keys::Action;
use crate::tui::model::{Model, Overlay, Screen};
use crate::tui::screens::{classes, heaps, large, lints, map, overview, picker, states, stream};
use crate::tui::view;

/// What a movement of the mouse does.
pub(super) fn on_mouse(model: &mut Model, mouse: MouseEvent) -> Commands {
    let at = (mouse.column, mouse.row);
    match mouse.kind {
        MouseEventKind::ScrollDown => scroll(model, at, Action::Down),
        MouseEventKind::ScrollUp => scroll(model, at, Action::Up),
        MouseEventKind::Down(MouseButton::Left) => {
            let had_notice = model.notice.take().is_some();
            let commands = click(model, at);
            if had_notice { commands.and(Commands::REDRAW) } else { commands }
        }
        _ => Commands::NOTHING,
    }
}

fn click(model: &mut Model, (column, row): (u16, u16)) -> Commands {
    if model.overlay != Overlay::None {
        model.overlay = Overlay::None;
        return Commands::REDRAW;
    }
    if model.picker.open {
        return picker::click(model, column, row);
    }
    match view::hit(model, column, row) {
        Some(view::Hit::Tab(screen)) => {
            show(model, screen);
            return Commands::REDRAW;
        }
        Some(view::Hit::Key(action)) => return perform(model, action),
        Some(view::Hit::Figure(figure)) => {
            model.overlay = Overlay::Explain(figure, 0);
            return Commands::REDRAW;
        }
        None => {}
    }
    match model.screen {
        Screen::Overview => on_overview(model, column, row),
        Screen::Classes => on_classes(model, column, row),
        Screen::Map => map::click(model, column, row),
        Screen::Heaps => heaps::click(model, column, row),
        Screen::States => on_states(model, column, row),
        Screen::Large => large::click(model, column, row),
        Screen::Events => stream::click(model, column, row),
        Screen::Lints => lints::click(model, column, row),
    }
}

fn on_overview(model: &mut Model, column: u16, row: u16) -> Commands {
    let Some(hit) = overview::hit(model, column, row) else { return Commands::NOTHING };
    let figures = hit.pane.figures();
    let item = hit.figure.and_then(|figure| figures.iter().position(|&other| other == figure));
    let cursor = &mut model.overview;
    let picked = cursor.pane == hit.pane && item.is_none_or(|item| item == cursor.item);
    if picked {
        return perform(model, Action::Open);
    }
    if cursor.pane != hit.pane {
        (cursor.pane, cursor.item) = (hit.pane, 0);
    }
    cursor.item = item.unwrap_or(cursor.item);
    Commands::REDRAW
}

fn on_states(model: &mut Model, column: u16, row: u16) -> Commands {
    let cursor = &mut model.states;
    let picked = *cursor;
    match states::hit(model, column, row) {
        Some(states::Hit::Edge(edge)) => {
            (model.states.edge, model.states.event) = (Some(edge), None);
        }
        Some(states::Hit::State(code)) => {
            // Again and again: one edge of the state after the other.
            let touches = |edge: &Edge| edge.from() == code || edge.to() == code;
            let mut edges = Edge::ALL.into_iter().filter(touches).cycle();
            let before = picked.edge.filter(touches);
            let next = match before {
                Some(before) => edges.skip_while(|&edge| edge != before).nth(1),
                None => edges.next(),
            };
            (model.states.edge, model.states.event) = (next, None);
        }
        Some(states::Hit::Event(event, _)) if picked.event == Some(event) => {}
        Some(states::Hit::Event(event, below)) => {
            // It stays under the mouse.
            (model.states.event, model.states.below) = (Some(event), Some(below));
        }
        Some(states::Hit::Diagram | states::Hit::Log) | None => return Commands::NOTHING,
    }
    if model.states == picked {
        return perform(model, Action::Open);
    }
    Commands::REDRAW
}

fn on_classes(model: &mut Model, column: u16, row: u16) -> Commands {
    match classes::hit(model, column, row) {
        Some(classes::Hit::Row(class)) if model.classes.selected == Some(class) => {
            return perform(model, Action::Open);
        }
        Some(classes::Hit::Row(class)) => model.classes.selected = Some(class),
        Some(classes::Hit::Column(column)) if model.classes.sorted_by == column => {
            model.classes.descending = !model.classes.descending;
        }
        Some(classes::Hit::Column(column)) => {
            model.classes.column = column;
            model.classes.sorted_by = column;
        }
        None => return Commands::NOTHING,
    }
    Commands::REDRAW
}

/// The wheel: of a popup, else of the pane under the mouse, else of the screen.
fn scroll(model: &mut Model, (column, row): (u16, u16), action: Action) -> Commands {
    if model.overlay != Overlay::None || model.picker.open {
        return perform(model, action);
    }
    match model.screen {
        Screen::Overview => {
            let Some(hit) = overview::hit(model, column, row) else { return Commands::NOTHING };
            if model.overview.pane != hit.pane {
                (model.overview.pane, model.overview.item) = (hit.pane, 0);
            }
        }
        Screen::States => match states::hit(model, column, row) {
            Some(states::Hit::Event(..) | states::Hit::Log) => {}
            Some(_) => {
                let step = if action == Action::Down { Action::Right } else { Action::Left };
                cursor::on_states(model, step);
                return Commands::REDRAW;
            }
            None => return Commands::NOTHING,
        },
        _ => {}
    }
    perform(model, action)
}
