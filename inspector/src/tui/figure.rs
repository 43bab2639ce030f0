//! The figures that `x` explains, and the panes of the Overview that hold them.

use super::class_table::Column;
use super::edge::Edge;
use super::glossary::Term;
use super::screens::{lints, overview};

/// A figure on screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "every figure is explained in words in explain.rs")]
pub enum Figure {
    Mapped,
    Live,
    Large,
    Free,
    Credit,
    Cached,
    EmptyKept,
    LargeCached,
    Tail,
    Unused,
    Metadata,
    Front,
    Rounding,
    Resident,
    State(u8),
    Allocations,
    Frees,
    Retries,
    Transitions,
    External,
    Waste,
    Occupancy,
    ClassWaste,
    Balance,
    Consistent,
    InHand,
    Difference,
    Missed,
    AgentCost,
    Column(Column),
    Edge(Edge),
    Events,
    /// Explained by an entry of the glossary.
    Term(&'static Term),
}

/// The panes of the Overview, in the order of the cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pane {
    /// The bar of parts.
    Parts,
    /// Superblocks by state, and rates.
    States,
    /// Classes that waste most.
    Worst,
    /// Whether the books balance.
    Books,
    /// Fragmentation over time.
    Fragmentation,
    /// PARTIAL superblocks by occupancy.
    Occupancy,
}

impl Pane {
    /// All panes.
    pub const ALL: [Self; 6] =
        [Self::Parts, Self::Fragmentation, Self::Occupancy, Self::States, Self::Worst, Self::Books];

    /// The pane's heading.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Parts => "Where the mapped bytes are",
            Self::States => "Superblocks and rates",
            Self::Worst => "Worst classes by waste",
            Self::Books => "Books",
            Self::Fragmentation => "Fragmentation",
            Self::Occupancy => "PARTIAL by occupancy",
        }
    }

    /// The figures in it, in the order of the cursor.
    #[must_use]
    pub fn figures(self) -> &'static [Figure] {
        match self {
            Self::Parts => &PARTS,
            Self::States => &[
                Figure::State(0),
                Figure::State(1),
                Figure::State(2),
                Figure::State(3),
                Figure::Allocations,
                Figure::Frees,
                Figure::Retries,
                Figure::Transitions,
            ],
            Self::Worst => &[Figure::ClassWaste],
            Self::Books => &BOOKS,
            Self::Fragmentation => &[Figure::External, Figure::Waste],
            Self::Occupancy => &[Figure::Occupancy],
        }
    }

    /// Those of them that are there: nothing is said of rounding without samples.
    #[must_use]
    pub fn present(self, has_rounding: bool) -> &'static [Figure] {
        match self.figures() {
            [before @ .., Figure::Rounding] if !has_rounding => before,
            all => all,
        }
    }

    /// The pane after (or before) this one.
    #[must_use]
    pub fn next(self, forward: bool) -> Self {
        let place = Self::ALL.iter().position(|&pane| pane == self).unwrap_or(0);
        let step = if forward { 1 } else { Self::ALL.len() - 1 };
        Self::ALL[(place + step) % Self::ALL.len()]
    }
}

const BOOKS: [Figure; 8] = [
    Figure::Balance,
    Figure::Consistent,
    Figure::InHand,
    Figure::Difference,
    Figure::Missed,
    Figure::AgentCost,
    Figure::Term(&lints::TERMS[0]),
    Figure::Term(&overview::HISTORY),
];

const PARTS: [Figure; 14] = [
    Figure::Mapped,
    Figure::Resident,
    Figure::Live,
    Figure::Large,
    Figure::Free,
    Figure::Credit,
    Figure::Cached,
    Figure::EmptyKept,
    Figure::LargeCached,
    Figure::Tail,
    Figure::Unused,
    Figure::Metadata,
    Figure::Front,
    Figure::Rounding,
];
