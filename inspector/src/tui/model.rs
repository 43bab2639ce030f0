//! All that the interface knows. Changed by [`update`](super::update()) alone, drawn by
//! [`view`](mod@super::view) alone.

use super::class_table::ClassTable;
use super::data::Data;
use super::edge::Edge;
use super::events::Entry;
use super::figure::{Figure, Pane};
use super::launched::Launched;
use super::moments::{Moment, Moments};
use super::screens::{heaps, large, lints, map, overview, picker, stream};
use super::theme::Theme;

/// The screens, with the digits that call them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Screen {
    /// Where the memory is.
    Overview,
    /// One row per size class.
    Classes,
    /// Every superblock.
    Map,
    /// Heap headers and their credits.
    Heaps,
    /// The state diagram and the events.
    States,
    /// Large blocks.
    Large,
    /// The transitions, one by one.
    Events,
    /// What is amiss, why, and what to do.
    Lints,
}

impl Screen {
    /// All screens, in the order of their tabs.
    pub const ALL: [Self; 8] = [
        Self::Overview,
        Self::Classes,
        Self::Map,
        Self::Heaps,
        Self::States,
        Self::Large,
        Self::Events,
        Self::Lints,
    ];

    /// The key that calls it.
    #[must_use]
    pub fn digit(self) -> char {
        match self {
            Self::Overview => '1',
            Self::Classes => '2',
            Self::Map => '3',
            Self::Heaps => '4',
            Self::States => '5',
            Self::Large => '6',
            Self::Events => '7',
            Self::Lints => '8',
        }
    }

    /// Its name.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Classes => "Classes",
            Self::Map => "Map",
            Self::Heaps => "Heaps",
            Self::States => "States",
            Self::Large => "Large",
            Self::Events => "Events",
            Self::Lints => "Lints",
        }
    }
}

/// What lies over the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlay {
    /// Nothing.
    None,
    /// The keys, scrolled down by so many lines.
    Help(u16),
    /// What a figure means, scrolled down by so many lines.
    Explain(Figure, u16),
    /// What the program writes that was started here.
    Output,
    /// The question how to leave that program.
    Leave,
}

/// How the connection stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connection {
    /// No state has come yet.
    Connecting,
    /// States come.
    Live,
    /// There is none, and one is looked for; what for, and why.
    Waiting(String),
    /// The connection ended; why.
    Gone(String),
    /// There is none; why, and what to do.
    Failed(String),
}

/// That nothing has come for long, though the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// For so long.
    pub seconds: u64,
    /// Whether the process was stopped.
    pub stopped: bool,
}

/// The view that stands still, while the data behind it go on.
#[derive(Clone, Debug)]
pub struct Frozen {
    /// As it was.
    pub data: Data,
    /// States that had been applied when it was frozen.
    pub at_state: u64,
    /// Superblocks that came to (or left) each state by single steps through newer events.
    pub stepped: [i64; 4],
    /// How many single steps were taken beyond the freeze.
    pub steps: u64,
    /// Whether it was gone back to, rather than frozen when it was the present.
    pub is_past: bool,
}

/// The cursor of the Overview.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverviewCursor {
    /// The pane it is in.
    pub pane: Pane,
    /// The figure within the pane.
    pub item: usize,
    /// Whether the pane fills the screen.
    pub zoomed: bool,
}

/// What is picked on the States screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatesCursor {
    /// The edge that is picked; the log shows only its events, here and on the Events screen.
    pub edge: Option<Edge>,
    /// The event under the cursor; `None` follows the newest.
    pub event: Option<u64>,
    /// Rows of the log below it, if it was picked where it stood.
    pub below: Option<u16>,
    /// Whether the log fills the screen.
    pub zoomed: bool,
}

/// All that the interface knows.
#[derive(Clone, Debug)]
pub struct Model {
    /// How it looks.
    pub theme: Theme,
    /// Columns and rows of the terminal.
    pub size: (u16, u16),
    /// The screen shown.
    pub screen: Screen,
    /// What lies over it.
    pub overlay: Overlay,
    /// What was just done, in the footer until the next key or click.
    pub notice: Option<String>,
    /// How the connection stands.
    pub connection: Connection,
    /// That nothing has come for long; any frame ends it.
    pub silence: Option<Silence>,
    /// The data as they come.
    pub live: Option<Data>,
    /// What is shown instead, while frozen.
    pub frozen: Option<Box<Frozen>>,
    /// Past states of the connection.
    pub moments: Moments,
    /// What differences are taken to.
    pub baseline: Option<Moment>,
    /// Whether differences are shown.
    pub shows_difference: bool,
    /// States a second asked for.
    pub rate_hz: f64,
    /// Whether what is shown is past: a recording.
    pub replay: bool,
    /// The Overview's cursor.
    pub overview: OverviewCursor,
    /// The Classes table: cursor, order and filter.
    pub classes: ClassTable,
    /// The States screen's cursor.
    pub states: StatesCursor,
    /// The Map's cursor.
    pub map: map::Cursor,
    /// The Heaps screen's cursor.
    pub heaps: heaps::Cursor,
    /// The Large screen's cursor.
    pub large: large::Cursor,
    /// The Events screen's cursor.
    pub stream: stream::Cursor,
    /// The Lints screen's cursor.
    pub lints: lints::Cursor,
    /// The list of programs, which covers everything while it is open.
    pub picker: picker::Picker,
    /// The program that was started here, if one was.
    pub launched: Option<Launched>,
}

impl Model {
    /// Nothing known, nothing connected.
    #[must_use]
    pub fn new(theme: Theme, rate_hz: f64, size: (u16, u16)) -> Self {
        Self {
            theme,
            size,
            screen: Screen::Overview,
            overlay: Overlay::None,
            notice: None,
            connection: Connection::Connecting,
            silence: None,
            live: None,
            frozen: None,
            moments: Moments::default(),
            baseline: None,
            shows_difference: false,
            rate_hz,
            replay: false,
            overview: OverviewCursor { pane: Pane::Parts, item: 0, zoomed: false },
            classes: ClassTable::default(),
            states: StatesCursor::default(),
            map: map::Cursor::default(),
            heaps: heaps::Cursor::default(),
            large: large::Cursor::default(),
            stream: stream::Cursor::default(),
            lints: lints::Cursor::default(),
            picker: picker::Picker::default(),
            launched: None,
        }
    }

    /// What is to be shown: the frozen data if there are any, else the live ones. `None` until the
    /// first state is complete.
    #[must_use]
    pub fn shown(&self) -> Option<&Data> {
        self.frozen
            .as_ref()
            .map(|frozen| &frozen.data)
            .or(self.live.as_ref())
            .filter(|data| data.picture.states > 0)
    }

    /// What the figures shown are to be compared with, while differences are shown: of the same connection.
    #[must_use]
    pub fn before(&self) -> Option<&Data> {
        let before = self.baseline.as_ref().filter(|_| self.shows_difference)?.data();
        (before.epoch == self.shown()?.epoch).then_some(before)
    }

    /// How long the program has run on since what is shown, nanoseconds.
    #[must_use]
    pub fn ago_ns(&self) -> u64 {
        let now = self.live.as_ref().map_or(0, |live| live.picture.uptime_ns);
        self.shown().map_or(0, |shown| now.saturating_sub(shown.picture.uptime_ns))
    }

    /// Whether what is frozen was told by an earlier connection than the one there is.
    #[must_use]
    pub fn is_outlived(&self) -> bool {
        match (&self.frozen, &self.live) {
            (Some(frozen), Some(live)) => frozen.data.epoch != live.epoch,
            _ => false,
        }
    }

    /// States that came since the view was frozen.
    #[must_use]
    pub fn behind(&self) -> u64 {
        match (&self.frozen, &self.live) {
            (Some(frozen), Some(live)) if frozen.data.epoch == live.epoch => {
                live.picture.states.saturating_sub(frozen.at_state)
            }
            _ => 0,
        }
    }

    /// The edge of the event under the cursor of the States screen.
    #[must_use]
    pub fn event_edge(&self) -> Option<Edge> {
        match self.shown()?.events.get(self.states.event?)? {
            Entry::Transition(record) => Edge::between(record.from, record.to),
            Entry::Missed(_) => None,
        }
    }

    /// The figure under the cursor of the screen shown.
    #[must_use]
    pub fn figure(&self) -> Figure {
        match self.screen {
            Screen::Overview => {
                let has_rounding =
                    self.shown().is_some_and(|data| overview::rounding(data).is_some());
                let figures = self.overview.pane.present(has_rounding);
                figures
                    .get(self.overview.item)
                    .or(figures.last())
                    .copied()
                    .unwrap_or(Figure::Mapped)
            }
            Screen::Classes => Figure::Column(self.classes.column),
            Screen::States => {
                self.states.edge.or(self.event_edge()).map_or(Figure::Events, Figure::Edge)
            }
            Screen::Map => map::figure(self),
            Screen::Heaps => heaps::figure(self),
            Screen::Large => large::figure(self),
            Screen::Events => stream::figure(self),
            Screen::Lints => lints::figure(self),
        }
    }
}
