//! What can be pointed at. Drawing hands it out: what is drawn where is known once, by the drawing.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::tui::data::Data;
use crate::tui::model::Model;
use crate::tui::view;

/// Places on the terminal, each with what is there.
#[derive(Clone, Debug)]
pub struct Spots<T> {
    all: Vec<(Rect, T)>,
}

impl<T> Default for Spots<T> {
    fn default() -> Self {
        Self { all: Vec::new() }
    }
}

impl<T: Copy> Spots<T> {
    /// `what` is drawn at `place`, over what was there before.
    pub fn add(&mut self, place: Rect, what: T) {
        self.all.push((place, what));
    }

    /// `what` is drawn in `width` cells from a cell on that is counted from the upper left corner of `area`.
    pub fn add_within(&mut self, area: Rect, (x, y): (u16, u16), width: u16, what: T) {
        let place =
            Rect { x: area.x.saturating_add(x), y: area.y.saturating_add(y), width, height: 1 };
        self.add(place.intersection(area), what);
    }

    /// What is at that cell of the terminal: what was drawn there last.
    #[must_use]
    pub fn at(&self, column: u16, row: u16) -> Option<T> {
        let hit = |&&(place, _): &&(Rect, T)| place.contains((column, row).into());
        self.all.iter().rev().find(hit).map(|&(_, what)| what)
    }
}

/// What `draw`, a screen, draws at that cell of the terminal.
pub fn pointed_at<T: Copy>(
    model: &Model,
    (column, row): (u16, u16),
    draw: impl FnOnce(&mut Buffer, Rect, &Model, &Data) -> Spots<T>,
) -> Option<T> {
    let body = view::body(model);
    if !body.contains((column, row).into()) {
        return None;
    }
    // Drawn once more, for nobody to see: a click is rare.
    let mut unseen = Buffer::empty(Rect::new(0, 0, model.size.0, model.size.1));
    draw(&mut unseen, body, model, model.shown()?).at(column, row)
}

#[cfg(test)]
mod tests {
    //! Aim: the uppermost is hit, and nothing outside of its area.
    use super::*;

    #[test]
    fn the_last_drawn_is_hit_and_only_within_its_area() {
        let mut spots = Spots::default();
        let area = Rect::new(2, 2, 6, 3);
        spots.add(area, 'a');
        spots.add_within(area, (4, 1), 9, 'b');
        spots.add_within(area, (9, 1), 1, 'c');
        spots.add_within(area, (0, 7), 1, 'd');
        let row: String = (0..12).map(|x| spots.at(x, 3).unwrap_or('.')).collect();
        assert_eq!(row, "..aaaabb....");
        assert_eq!(spots.at(2, 5), None);
    }
}
