//! Screen 6: large blocks.

use ratatui::buffer::Buffer;
use ratatui::crossterm::event::KeyEvent;
use ratatui::layout::Rect;

use super::paint;
use crate::tui::data::Data;
use crate::tui::figure::Figure;
use crate::tui::glossary::Term;
use crate::tui::keys::Action;
use crate::tui::model::Model;
use crate::tui::update::Commands;

/// What `x` explains on this screen.
pub const TERMS: &[Term] = &[];

/// What the screen remembers.
#[derive(Clone, Debug, Default)]
pub struct Cursor {}

/// The figure under the cursor.
#[must_use]
pub fn figure(_model: &Model) -> Figure {
    Figure::Mapped
}

/// Draws the screen.
pub fn draw(buf: &mut Buffer, area: Rect, model: &Model, _data: &Data) {
    paint::pane(buf, area, &model.theme, paint::heading(&model.theme, "Large", true), true);
}

/// A key of the screen, `e` and Enter (both [`Action::Zoom`]) included.
pub fn act(_model: &mut Model, _action: Action) -> Commands {
    Commands::NOTHING
}

/// Undoes the innermost thing that can be undone.
pub fn back(_model: &mut Model) {}

/// A click at that cell of the terminal.
pub fn click(_model: &mut Model, _column: u16, _row: u16) -> Commands {
    Commands::NOTHING
}

/// Whether keys are text for a filter.
#[must_use]
pub fn is_typing(_model: &Model) -> bool {
    false
}

/// A key of that text.
pub fn edit(_model: &mut Model, _key: KeyEvent) {}
