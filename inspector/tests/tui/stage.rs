//! Models of every stage of a connection, and their pictures as text and as styles.

use std::fmt::Write as _;
use std::time::Duration;

use lfalloc_protocol::codec::encode_into;
use lfalloc_protocol::message::{Kind, Transitions};
use lfinspect::source::synthetic::{Synthetic, SyntheticSource};
use lfinspect::source::{Source, SourceEvent};
use lfinspect::tui::ThemeName;
use lfinspect::tui::model::Model;
use lfinspect::tui::theme::{Depth, Theme};
use lfinspect::tui::update::{Message, update};
use lfinspect::tui::view::view;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::{Color, Modifier};

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing has been said.
    Connecting,
    /// Forty states have come.
    Live,
    /// Frozen, and five states later.
    Paused,
    /// The process has ended.
    Gone,
    /// The process has ended, and its successor is waited for.
    Waiting,
    /// A process is waited for that was never there.
    Awaited,
    /// The agent speaks another version.
    Mismatch,
    /// The process was stopped.
    Silent,
    /// Some transitions were missed.
    Missed,
    /// The connection broke after some states.
    Broken,
    /// A program that has allocated nothing.
    NoSuperblock,
    /// 100,000 superblocks.
    Many,
    /// Forty states of a program with magazines.
    Front,
}

impl Stage {
    /// All stages.
    pub(crate) const ALL: [Self; 13] = [
        Self::Connecting,
        Self::Live,
        Self::Paused,
        Self::Gone,
        Self::Waiting,
        Self::Awaited,
        Self::Mismatch,
        Self::Silent,
        Self::Missed,
        Self::Broken,
        Self::NoSuperblock,
        Self::Many,
        Self::Front,
    ];
}

/// The sizes that every property is checked at.
pub(crate) fn all_sizes() -> [(u16, u16); 4] {
    [(120, 36), (80, 24), (60, 15), (20, 5)]
}

/// What to draw, and how.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    stage: Stage,
    keys: &'static str,
    depth: Depth,
    name: ThemeName,
    ascii: bool,
    size: (u16, u16),
}

impl Case {
    /// That stage, in 256 colours.
    pub(crate) fn new(stage: Stage) -> Self {
        let name = ThemeName::Dark;
        Self { stage, keys: "", depth: Depth::Ansi256, name, ascii: false, size: (80, 24) }
    }

    /// After these keys.
    pub(crate) fn keys(self, keys: &'static str) -> Self {
        Self { keys, ..self }
    }

    /// In ASCII, and without colours.
    pub(crate) fn ascii(self) -> Self {
        Self { ascii: true, depth: Depth::None, ..self }
    }

    /// In these colours.
    pub(crate) fn depth(self, depth: Depth) -> Self {
        Self { depth, ..self }
    }

    /// In that palette.
    pub(crate) fn theme(self, name: ThemeName) -> Self {
        Self { name, ..self }
    }

    /// On a terminal of that size.
    pub(crate) fn size(self, width: u16, height: u16) -> Self {
        Self { size: (width, height), ..self }
    }

    /// The model as the keys left it.
    pub(crate) fn model(&self) -> Model {
        let theme = Theme::new(self.depth, self.ascii, self.name);
        let mut model = Model::new(theme, 4.0, self.size);
        match self.stage {
            Stage::Connecting => {}
            Stage::Mismatch => {
                let reason = "pid 4121 runs lfalloc 0.9.0 (protocol 2.0); this lfinspect speaks 1.0: \
                              install the lfinspect of lfalloc 0.9.0";
                say(&mut model, SourceEvent::Failed(reason.to_owned()));
            }
            Stage::NoSuperblock => feed(&mut model, &mut source(0, 0), 3),
            Stage::Many => feed(&mut model, &mut source(100_000, 300), 2),
            Stage::Live => feed(&mut model, &mut source(400, 4_000), 40),
            Stage::Front => {
                let options = Synthetic {
                    superblocks: 400,
                    operations: 20_000,
                    magazines: true,
                    ..Synthetic::default()
                };
                feed(&mut model, &mut SyntheticSource::new(options), 40);
            }
            Stage::Gone => {
                feed(&mut model, &mut source(400, 4_000), 16);
                say(&mut model, SourceEvent::Gone("the process ended".to_owned()));
            }
            Stage::Waiting => {
                feed(&mut model, &mut source(400, 4_000), 16);
                let reason = "pid 4121 (indexer) has ended; waiting for 'indexer' to start again";
                say(&mut model, SourceEvent::Waiting(reason.to_owned()));
            }
            Stage::Awaited => {
                let reason = "waiting for a program named 'indexer' that shows lfalloc \
                              (lfalloc_agent::start())";
                say(&mut model, SourceEvent::Waiting(reason.to_owned()));
            }
            Stage::Silent => {
                feed(&mut model, &mut source(400, 4_000), 16);
                say(&mut model, SourceEvent::Silent { seconds: 5, stopped: true });
            }
            Stage::Missed => {
                let mut source = source(400, 4_000);
                feed(&mut model, &mut source, 16);
                let missed = Transitions { missed: 1_234, records: Vec::new() };
                let mut payload = vec![0; 64];
                let written = encode_into(&missed, &mut payload).expect("fits");
                payload.truncate(written);
                say(&mut model, SourceEvent::Frame(Kind::TRANSITIONS, payload));
                feed(&mut model, &mut source, 1);
            }
            Stage::Broken => {
                feed(&mut model, &mut source(400, 4_000), 6);
                let reason = "malformed frame of kind 0x0107 from the agent: the payload ends before \
                              its message does; attach again, and report it if it happens again";
                say(&mut model, SourceEvent::Failed(reason.to_owned()));
            }
            Stage::Paused => {
                let mut source = source(400, 4_000);
                feed(&mut model, &mut source, 20);
                press(&mut model, " ");
                feed(&mut model, &mut source, 5);
            }
        }
        press(&mut model, self.keys);
        model
    }

    /// The picture.
    pub(crate) fn buffer(&self) -> Buffer {
        draw(&self.model(), self.size)
    }

    /// The picture's text, a line for each row.
    pub(crate) fn text(&self) -> String {
        text(&self.buffer())
    }

    /// Whether no cell has a colour.
    pub(crate) fn is_colorless(&self) -> bool {
        self.buffer().content.iter().all(|cell| (cell.fg, cell.bg) == (Color::Reset, Color::Reset))
    }

    /// Every run of cells of one style that is not the plain one: row, columns, text, style.
    pub(crate) fn styles(&self) -> String {
        let buffer = self.buffer();
        let area = buffer.area;
        let mut lines = String::new();
        for y in 0..area.height {
            let mut x = 0;
            while x < area.width {
                let style = |x: u16| {
                    let cell = &buffer[(x, y)];
                    (cell.fg, cell.bg, cell.modifier)
                };
                let (first, run) = (x, style(x));
                let mut words = String::new();
                while x < area.width && style(x) == run {
                    words.push_str(buffer[(x, y)].symbol());
                    x += 1;
                }
                if run != (Color::Reset, Color::Reset, Modifier::empty())
                    && !words.trim().is_empty()
                {
                    let (fg, bg, modifier) = run;
                    let _ = writeln!(
                        lines,
                        "{y:>2} {first:>3} {words:?} {fg:?} on {bg:?} {modifier:?}"
                    );
                }
            }
        }
        lines
    }
}

/// A made-up process.
pub(crate) fn source(superblocks: u32, operations: u32) -> SyntheticSource {
    SyntheticSource::new(Synthetic { superblocks, operations, ..Synthetic::default() })
}

/// Lets the model have events until it has applied `states` further states.
pub(crate) fn feed(model: &mut Model, source: &mut SyntheticSource, states: u64) {
    let seen = |model: &Model| model.live.as_ref().map_or(0, |live| live.picture.states);
    let target = seen(model) + states;
    while seen(model) < target {
        say(model, source.poll(Duration::ZERO));
    }
    // What the viewer's own system says follows each state.
    say(model, source.poll(Duration::ZERO));
}

/// Lets the source say something.
pub(crate) fn say(model: &mut Model, event: SourceEvent) {
    let _ = update(model, Message::Source(event));
}

/// Presses keys; a line feed stands for Enter.
pub(crate) fn press(model: &mut Model, keys: &str) {
    for key in keys.chars() {
        let code = if key == '\n' { KeyCode::Enter } else { KeyCode::Char(key) };
        let key = KeyEvent::new(code, KeyModifiers::NONE);
        let _ = update(model, Message::Key(key));
    }
}

/// Draws the model on a terminal of that size.
pub(crate) fn draw(model: &Model, (width, height): (u16, u16)) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a test terminal");
    terminal.draw(|frame| view(model, frame)).expect("drawing to memory");
    terminal.backend().buffer().clone()
}

/// The text of a picture.
pub(crate) fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width).max(1);
    let rows = buffer.content.chunks(width);
    rows.map(|row| {
        let row: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        row.trim_end().to_owned() + "\n"
    })
    .collect()
}
