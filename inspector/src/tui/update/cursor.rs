//! How the cursors of the screens move, and the single steps through the events.

use super::{Commands, freeze};
use crate::tui::class_table::Column;
use crate::tui::edge::Edge;
use crate::tui::events::Entry;
use crate::tui::keys::Action;
use crate::tui::model::{Model, Screen};
use crate::tui::screens::{map, overview};
use crate::tui::view;

pub(super) fn on_overview(model: &mut Model, action: Action) {
    let has_rounding = model.shown().is_some_and(|data| overview::rounding(data).is_some());
    let cursor = &mut model.overview;
    let last = cursor.pane.present(has_rounding).len().saturating_sub(1);
    match action {
        Action::Up => cursor.item = cursor.item.saturating_sub(1),
        Action::Down => cursor.item = (cursor.item + 1).min(last),
        Action::Top | Action::PageUp => cursor.item = 0,
        Action::Bottom | Action::PageDown => cursor.item = last,
        Action::Left | Action::Right => {
            cursor.pane = cursor.pane.next(action == Action::Right);
            cursor.item = 0;
        }
        _ => {}
    }
}

pub(super) fn on_classes(model: &mut Model, action: Action) {
    let columns = Column::fitting(model.size.0.saturating_sub(2));
    let page = usize::from(view::page_height(model));
    let rows =
        model.shown().map(|data| model.classes.rows(data, model.before())).unwrap_or_default();
    let table = &mut model.classes;
    if table.open.is_some() {
        return;
    }
    let here = table.position(&rows);
    match action {
        Action::Up => table.select(&rows, here.saturating_sub(1)),
        Action::Down => table.select(&rows, here + 1),
        Action::PageUp => table.select(&rows, here.saturating_sub(page)),
        Action::PageDown => table.select(&rows, here + page),
        Action::Top => table.select(&rows, 0),
        Action::Bottom => table.select(&rows, rows.len().saturating_sub(1)),
        Action::Left | Action::Right => table.move_column(&columns, action == Action::Right),
        Action::Sort => table.sort(&columns),
        Action::Invert => table.descending = !table.descending,
        Action::Filter => table.filter.typing = true,
        Action::Open => table.open = rows.get(here).map(|row| row.figures.record.class),
        _ => {}
    }
}

pub(super) fn on_states(model: &mut Model, action: Action) {
    let page = usize::from(view::page_height(model));
    match action {
        Action::PickEdge | Action::Right => pick_edge(model, true),
        Action::Left => pick_edge(model, false),
        Action::StepForward => step(model),
        Action::StepBack => {
            if model.frozen.is_none() {
                freeze(model);
            }
            move_event(model, false, 1);
        }
        Action::Up => move_event(model, false, 1),
        Action::Down => move_event(model, true, 1),
        Action::PageUp => move_event(model, false, page),
        Action::PageDown => move_event(model, true, page),
        Action::Top => move_event(model, false, usize::MAX),
        Action::Bottom => model.states.event = None,
        _ => {}
    }
}

fn pick_edge(model: &mut Model, forward: bool) {
    model.states.edge = Edge::next(model.states.edge, forward);
}

/// Enter on States: the superblock of the event under the cursor, the events of the picked edge, or else the log alone.
pub(super) fn open_states(model: &mut Model) -> Commands {
    let event = model.states.event.and_then(|event| model.shown()?.events.get(event));
    if let Some(Entry::Transition(record)) = event {
        let superblock = record.superblock;
        model.screen = Screen::Map;
        return map::open(model, superblock);
    }
    if model.states.edge.is_some() {
        model.screen = Screen::Events;
        model.stream.event = None;
    } else {
        model.states.zoomed = !model.states.zoomed;
    }
    Commands::REDRAW
}

/// Moves the cursor through the log that is shown; past its end it follows the newest again,
/// unless the view is frozen.
fn move_event(model: &mut Model, forward: bool, count: usize) {
    let Some(data) = model.shown() else { return };
    let (cursor, edge) = (model.states.event, model.states.edge);
    let stands_still = model.frozen.is_some();
    let shows = |entry: &Entry| entry.matches(edge);
    model.states.event = data.events.moved(cursor, forward, count, stands_still, shows);
}

/// Freezes the view first; then one event forward: through what the frozen log holds, and then
/// one by one through what has come since.
fn step(model: &mut Model) {
    let edge = model.states.edge;
    let shows = |entry: &Entry| entry.matches(edge);
    if model.frozen.is_none() {
        freeze(model);
        model.states.event = model.frozen.as_ref().and_then(|frozen| {
            let log = &frozen.data.events;
            log.seek(log.end(), false, shows)
        });
        return;
    }
    let Some(frozen) = &mut model.frozen else {
        return;
    };
    let log = &frozen.data.events;
    let here = model.states.event.unwrap_or_else(|| log.end().saturating_sub(1));
    if let Some(next) = log.seek(here, true, shows) {
        model.states.event = Some(next);
        return;
    }
    let Some(live) = model.live.as_ref().filter(|live| live.epoch == frozen.data.epoch) else {
        return;
    };
    while frozen.data.events.step_from(&live.events) {
        let number = frozen.data.events.end() - 1;
        let Some(entry) = frozen.data.events.get(number).copied() else {
            return;
        };
        frozen.steps += 1;
        if let Entry::Transition(record) = entry {
            frozen.data.edges.add(record.from, record.to);
            if let Some(left) = frozen.stepped.get_mut(usize::from(record.from)) {
                *left -= 1;
            }
            if let Some(entered) = frozen.stepped.get_mut(usize::from(record.to)) {
                *entered += 1;
            }
        }
        if entry.matches(edge) {
            model.states.event = Some(number);
            return;
        }
    }
}
