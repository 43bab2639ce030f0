//! The state diagram: four boxes and nine edges, none of which cross.
//!
//! ```text
//!      ┌────────────── MallocFromActive ──────────────┐
//!      │                                              ▼
//!   ┌──┴─────┐  UpdateActive   ┌─────────┐  free   ┌────────┐
//!   │ ACTIVE ├────────────────▶│ PARTIAL │◀────────┤ FULL   │
//!   │        │◀────────────────┤         ├────────▶│        │
//!   └─▲──┬───┘ MallocFromPart. └────┬────┘ M.F.P.  └───┬────┘
//!     │  │                          ▼ free             │
//!     │  │        purge        ┌─────────┐ free (batch)│
//!     │  └────────────────────▶│ EMPTY   │◀────────────┘
//!     └────────────────────────┤         │◀─ ─ ─ system
//!            MallocFromNewSB   └─────────┘
//! ```

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use super::paint;
use super::spots::Spots;
use super::states::Hit;
use crate::format;
use crate::tui::data::Data;
use crate::tui::edge::{Edge, EdgeCounts};
use crate::tui::theme::Theme;
use lfalloc_protocol::message::state;

/// Cells and rows that it needs at least.
pub const LEAST: (u16, u16) = (79, HEIGHT);
/// Rows that it takes.
pub const HEIGHT: u16 = 15;

/// Cells of the widest label that must fit between two boxes, `MallocFromPartial`.
const LEAST_GAP: u16 = 17;
const MOST_GAP: u16 = 27;
const LEAST_BOX: u16 = 15;
const MOST_BOX: u16 = 24;
/// From this gap on there is room for a label in one line, and for totals beside the rates.
const WIDE_GAP: u16 = 26;
/// Rows of the boxes: the upper three, and EMPTY.
const UPPER: (u16, u16) = (2, 6);
const LOWER: (u16, u16) = (10, 5);

/// What of the diagram stands out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Emphasis {
    /// The edge that is picked.
    pub picked: Option<Edge>,
    /// The edge of the event under the cursor.
    pub event: Option<Edge>,
    /// Superblocks that came to each state by single steps.
    pub stepped: [i64; 4],
    /// What differences are taken to, while they are shown.
    pub before: Option<Before>,
}

/// What was counted at the baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before {
    /// Transitions seen.
    pub edges: EdgeCounts,
    /// Superblocks by state.
    pub counts: [u64; 4],
    /// Bytes of them.
    pub bytes: [i64; 4],
}

/// Everything that drawing one part needs.
struct Canvas<'a> {
    buf: &'a mut Buffer,
    /// The diagram alone, in the middle of the area it was given.
    area: Rect,
    theme: &'a Theme,
    data: &'a Data,
    emphasis: Emphasis,
    /// Cells of a box.
    width: u16,
    /// Cells between two boxes.
    gap: u16,
    /// Where the edges and the boxes are.
    spots: &'a mut Spots<Hit>,
}

/// Draws the diagram into `area`, which must be at least [`LEAST`] for all of it to be seen; what can be pointed at
/// is added to `spots`.
pub fn draw(
    buf: &mut Buffer,
    area: Rect,
    theme: &Theme,
    data: &Data,
    emphasis: Emphasis,
    spots: &mut Spots<Hit>,
) {
    let gap = (area.width.saturating_sub(3 * LEAST_BOX) / 2).clamp(LEAST_GAP, MOST_GAP);
    let width = (area.width.saturating_sub(2 * gap) / 3).clamp(LEAST_BOX, MOST_BOX);
    let total = 3 * width + 2 * gap;
    let area = Rect {
        x: area.x + area.width.saturating_sub(total) / 2,
        width: total.min(area.width),
        ..area
    };
    let mut canvas = Canvas { buf, area, theme, data, emphasis, width, gap, spots };
    canvas.upper_edges();
    canvas.lower_edges();
    canvas.boxes();
    canvas.joints();
}

impl Canvas<'_> {
    /// Left cell of a state's box.
    fn left(&self, code: u8) -> u16 {
        match code {
            state::ACTIVE => 0,
            state::FULL => 2 * (self.width + self.gap),
            _ => self.width + self.gap,
        }
    }

    fn middle(&self, code: u8) -> u16 {
        self.left(code) + self.width / 2
    }

    /// Where the edge from EMPTY enters ACTIVE from below, and where the one to EMPTY leaves it.
    fn feet(&self) -> (u16, u16) {
        (self.width / 3, 2 * self.width / 3)
    }

    fn edge_style(&self, edge: Edge) -> Style {
        let busy = self.data.history.edge_rate(edge).is_some_and(|rate| rate > 0.0);
        let style = if busy { self.theme.state(edge.to()) } else { self.theme.faint() };
        if self.emphasis.picked == Some(edge) || self.emphasis.event == Some(edge) {
            self.theme.state(edge.to()).add_modifier(Modifier::BOLD).remove_modifier(Modifier::DIM)
        } else {
            style
        }
    }

    fn label_style(&self, edge: Edge) -> Style {
        if self.emphasis.picked == Some(edge) {
            self.theme.selected().add_modifier(Modifier::BOLD)
        } else if self.emphasis.event == Some(edge) {
            self.theme.strong().add_modifier(Modifier::UNDERLINED)
        } else {
            Style::new()
        }
    }

    /// `12.3/s` (`≥12.3/s` where transitions were missed lately), and how many were seen in all where there is room.
    fn rate(&self, edge: Edge, room: u16) -> String {
        let history = &self.data.history;
        let at_least = self.theme.at_least(history.edges_missed());
        let rate = format!(" {at_least}{}/s", format::rate(history.edge_rate(edge)));
        let seen = self.data.edges.get(edge);
        let total = match self.emphasis.before {
            None => format!(", {}", format::count(seen)),
            // Of differences the count is what matters, and stands alone where there is no room for both.
            Some(before) => {
                let change = seen.wrapping_sub(before.edges.get(edge)).cast_signed();
                format!(", {at_least}{}", format::count_change(change))
            }
        };
        let fits = rate.chars().count() + total.chars().count() + 7 <= usize::from(room);
        if self.emphasis.before.is_some() && !fits {
            return total.replace(", ", " ") + " ";
        }
        let room = rate.chars().count() + total.len() + 7 <= usize::from(room);
        if room { rate + &total + " " } else { rate + " " }
    }

    /// The edge is drawn in `width` cells from `at` on.
    fn mark(&mut self, edge: Edge, at: (u16, u16), width: u16) {
        self.spots.add_within(self.area, at, width, Hit::Edge(edge));
    }

    fn horizontal(&mut self, edge: Edge, row: u16, (from, to): (u16, u16)) {
        let style = self.edge_style(edge);
        self.mark(edge, (from, row), to.saturating_sub(from));
        for x in from..to {
            paint::cell(self.buf, self.area, (x, row), self.theme.glyphs.horizontal, style);
        }
        let room = to.saturating_sub(from);
        let text = self.rate(edge, room);
        let indent = room.saturating_sub(text.chars().count() as u16) / 2;
        let style = self.label_style(edge).patch(self.theme.strong());
        paint::text(self.buf, self.area, (from + indent, row), &text, style);
    }

    fn vertical(&mut self, edge: Edge, x: u16, (from, to): (u16, u16)) {
        let style = self.edge_style(edge);
        for row in from..to {
            paint::cell(self.buf, self.area, (x, row), self.theme.glyphs.vertical, style);
            self.mark(edge, (x, row), 1);
        }
    }

    fn put(&mut self, edge: Edge, at: (u16, u16), symbol: char) {
        let style = self.edge_style(edge);
        self.mark(edge, at, 1);
        paint::cell(self.buf, self.area, at, symbol, style);
    }

    fn label(&mut self, edge: Edge, at: (u16, u16), text: &str) {
        let style = self.label_style(edge);
        self.mark(edge, at, text.chars().count() as u16);
        paint::text(self.buf, self.area, at, text, style);
    }

    /// Between the upper boxes, and over them.
    fn upper_edges(&mut self) {
        let [left, right, _, down] = self.theme.glyphs.arrows;
        let [top_left, top_right, ..] = self.theme.glyphs.corners;
        let (row, back) = (4, 5);

        let (from, to) = (self.middle(state::ACTIVE), self.middle(state::FULL));
        self.horizontal(Edge::ActiveFull, 0, (from + 1, to));
        self.put(Edge::ActiveFull, (from, 0), top_left);
        self.put(Edge::ActiveFull, (to, 0), top_right);
        self.vertical(Edge::ActiveFull, from, (1, 2));
        self.put(Edge::ActiveFull, (to, 1), down);
        self.label(Edge::ActiveFull, (from + 2, 1), "MallocFromActive [0059]");

        let (from, to) = (self.width, self.left(state::PARTIAL));
        self.horizontal(Edge::ActivePartial, row, (from, to - 1));
        self.put(Edge::ActivePartial, (to - 1, row), right);
        self.horizontal(Edge::PartialActive, back, (from + 1, to));
        self.put(Edge::PartialActive, (from, back), left);
        if self.gap >= WIDE_GAP {
            self.label(Edge::ActivePartial, (from + 1, row - 1), "UpdateActive [0063]/purge");
            self.label(Edge::PartialActive, (from + 1, back + 1), "MallocFromPartial [0069]");
        } else {
            self.label(Edge::ActivePartial, (from, row - 2), "UpdateActive");
            self.label(Edge::ActivePartial, (from, row - 1), "[0063], purge");
            self.label(Edge::PartialActive, (from, back + 1), "MallocFromPartial");
            self.label(Edge::PartialActive, (from, back + 2), "[0069]");
        }

        let (from, to) = (self.left(state::PARTIAL) + self.width, self.left(state::FULL));
        self.horizontal(Edge::FullPartial, row, (from + 1, to));
        self.put(Edge::FullPartial, (from, row), left);
        self.horizontal(Edge::PartialFull, back, (from, to - 1));
        self.put(Edge::PartialFull, (to - 1, back), right);
        if self.gap >= WIDE_GAP {
            self.label(Edge::FullPartial, (from + 1, row - 1), "free [0046]");
            self.label(Edge::PartialFull, (from + 1, back + 1), "MallocFromPartial [0069]");
        } else {
            self.label(Edge::FullPartial, (from, row - 1), "free [0046]");
            self.label(Edge::PartialFull, (from, back + 1), "MallocFromPartial");
            self.label(Edge::PartialFull, (from, back + 2), "[0069]");
        }
    }

    /// Down to EMPTY, and from there up to ACTIVE.
    fn lower_edges(&mut self) {
        let [left, right, up, down] = self.theme.glyphs.arrows;
        let [_, _, bottom_left, bottom_right] = self.theme.glyphs.corners;
        let below = UPPER.0 + UPPER.1;
        let (enter, leave) = (11, 13);

        let x = self.middle(state::PARTIAL);
        self.vertical(Edge::PartialEmpty, x, (below, LOWER.0 - 1));
        self.put(Edge::PartialEmpty, (x, LOWER.0 - 1), down);
        self.label(Edge::PartialEmpty, (x + 2, below), "free [0046]");
        let style = self.label_style(Edge::PartialEmpty).patch(self.theme.strong());
        let rate = self.rate(Edge::PartialEmpty, self.gap);
        let at = (x + 2, below + 1);
        paint::text(self.buf, self.area, at, rate.trim_start(), style);
        self.mark(Edge::PartialEmpty, at, rate.trim_start().chars().count() as u16);

        let (outer, inner) = self.feet();
        let to = self.left(state::EMPTY);
        self.vertical(Edge::EmptyActive, outer, (below + 1, leave));
        self.put(Edge::EmptyActive, (outer, below), up);
        self.put(Edge::EmptyActive, (outer, leave), bottom_left);
        self.horizontal(Edge::EmptyActive, leave, (outer + 1, to));
        self.label(Edge::EmptyActive, (outer + 2, leave - 1), "MallocFromNewSB [0073]");

        self.vertical(Edge::ActiveEmpty, inner, (below, enter));
        self.put(Edge::ActiveEmpty, (inner, enter), bottom_left);
        self.horizontal(Edge::ActiveEmpty, enter, (inner + 1, to - 1));
        self.put(Edge::ActiveEmpty, (to - 1, enter), right);
        self.label(Edge::ActiveEmpty, (inner + 2, enter - 1), "purge");

        let (from, x) = (self.left(state::EMPTY) + self.width, self.middle(state::FULL));
        self.vertical(Edge::FullEmpty, x, (below, enter));
        self.put(Edge::FullEmpty, (x, enter), bottom_right);
        self.horizontal(Edge::FullEmpty, enter, (from + 1, x));
        self.put(Edge::FullEmpty, (from, enter), left);
        self.label(Edge::FullEmpty, (from + 2, enter - 1), "free (batch)");

        self.system(from, leave);
    }

    /// Where memory comes from and goes to: no transition, so no rate.
    fn system(&mut self, from: u16, row: u16) {
        let (glyphs, faint) = (self.theme.glyphs, self.theme.faint());
        let to = self.left(state::FULL);
        for x in from..to {
            let symbol = if (x - from).is_multiple_of(2) { glyphs.horizontal } else { ' ' };
            paint::cell(self.buf, self.area, (x, row), symbol, faint);
        }
        paint::cell(self.buf, self.area, (from, row), glyphs.arrows[0], faint);
        paint::cell(self.buf, self.area, (to - 1, row), glyphs.arrows[1], faint);
        let text = "mapped, returned";
        paint::text(self.buf, self.area, (from + 1, row + 1), text, faint);
        self.frame((to, row - 1), (12, 3), faint);
        paint::text(self.buf, self.area, (to + 2, row), "system", faint);
    }

    fn frame(&mut self, (x, y): (u16, u16), (width, height): (u16, u16), style: Style) {
        let glyphs = self.theme.glyphs;
        let [top_left, top_right, bottom_left, bottom_right] = glyphs.corners;
        let (right, bottom) = (x + width - 1, y + height - 1);
        for column in x..=right {
            paint::cell(self.buf, self.area, (column, y), glyphs.horizontal, style);
            paint::cell(self.buf, self.area, (column, bottom), glyphs.horizontal, style);
        }
        for row in y..=bottom {
            paint::cell(self.buf, self.area, (x, row), glyphs.vertical, style);
            paint::cell(self.buf, self.area, (right, row), glyphs.vertical, style);
        }
        paint::cell(self.buf, self.area, (x, y), top_left, style);
        paint::cell(self.buf, self.area, (right, y), top_right, style);
        paint::cell(self.buf, self.area, (x, bottom), bottom_left, style);
        paint::cell(self.buf, self.area, (right, bottom), bottom_right, style);
    }

    fn boxes(&mut self) {
        let counts = self.data.picture.superblocks_by_state();
        let bytes = self.data.bytes_by_state();
        let stories =
            ["a heap points here", "no block is free", "some blocks free", "all blocks free"];
        let short = ["in a heap", "none free", "some free", "all free"];
        for code in [state::ACTIVE, state::FULL, state::PARTIAL, state::EMPTY] {
            let place = usize::from(code);
            let (y, height) = if code == state::EMPTY { LOWER } else { UPPER };
            let x = self.left(code);
            let touched = [self.emphasis.event, self.emphasis.picked]
                .into_iter()
                .flatten()
                .any(|edge| edge.from() == code || edge.to() == code);
            let mut style = self.theme.state(code);
            if touched {
                style = style.add_modifier(Modifier::BOLD).remove_modifier(Modifier::DIM);
            }
            self.frame((x, y), (self.width, height), style);
            for row in y..y + height {
                self.spots.add_within(self.area, (x, row), self.width, Hit::State(code));
            }
            let inner = usize::from(self.width - 2);
            let mut count = format::thousands(counts[place]);
            let mut size = format::bytes(bytes[place]);
            if let Some(before) = self.emphasis.before {
                let change = counts[place].wrapping_sub(before.counts[place]).cast_signed();
                count = format!("{count} ({})", format::count_change(change));
                size = format::bytes_change(bytes[place].saturating_sub(before.bytes[place]));
            }
            if self.emphasis.stepped[place] != 0 {
                let change = self.emphasis.stepped[place];
                let (long, short) = (format!(" {change:+} stepped"), format!(" ({change:+})"));
                let room = inner.saturating_sub(1);
                count += if count.len() + long.len() <= room { &long } else { &short };
            }
            let story = if inner >= 19 { stories[place] } else { short[place] };
            let lines = [
                (format!("{}  {}", self.theme.state_mark(code), state::name(code)), style),
                (count, self.theme.strong()),
                (size, Style::new()),
                (story.to_owned(), self.theme.faint()),
            ];
            let shown = lines.into_iter().take(usize::from(height - 2));
            for (row, (text, style)) in (y + 1..).zip(shown) {
                let text: String = text.chars().take(inner.saturating_sub(1)).collect();
                paint::text(self.buf, self.area, (x + 2, row), &text, style);
            }
        }
    }

    /// Where edges leave the boxes; drawn last, over the frames.
    fn joints(&mut self) {
        let [right, left, down, up] = self.theme.glyphs.tees;
        let bottom = UPPER.0 + UPPER.1 - 1;
        let (_, inner) = self.feet();
        let end = |code: u8| self.left(code) + self.width - 1;
        let joints = [
            (Edge::ActiveFull, (self.middle(state::ACTIVE), UPPER.0), up),
            (Edge::ActivePartial, (end(state::ACTIVE), 4), right),
            (Edge::PartialActive, (self.left(state::PARTIAL), 5), left),
            (Edge::FullPartial, (self.left(state::FULL), 4), left),
            (Edge::PartialFull, (end(state::PARTIAL), 5), right),
            (Edge::PartialEmpty, (self.middle(state::PARTIAL), bottom), down),
            (Edge::ActiveEmpty, (inner, bottom), down),
            (Edge::FullEmpty, (self.middle(state::FULL), bottom), down),
            (Edge::EmptyActive, (self.left(state::EMPTY), 13), left),
        ];
        for (edge, at, symbol) in joints {
            let style = self.theme.state(edge.from());
            paint::cell(self.buf, self.area, at, symbol, style);
        }
    }
}
