//! `update`: what every message does to the model. Nothing here draws, waits or talks to anybody;
//! what is to be done outside comes back as [`Commands`].

use lfalloc_protocol::message::{Hello, Kind, MAJOR, MINOR};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseEvent};

use super::class_table;
use super::copy;
use super::data::Data;
use super::events;
use super::keys::{self, Action};
use super::launched;
use super::model::{Connection, Frozen, Model, Overlay, Screen, Silence};
use super::screens::{explain, heaps, help, large, lints, map, picker, stream};
use super::view;
use super::{ExitStatus, RATES_HZ};
use crate::source::{Ask, SourceEvent};
use crate::survey::Survey;

mod cursor;
mod mouse;
mod past;

/// What happened.
#[derive(Clone, Debug)]
pub enum Message {
    /// A key.
    Key(KeyEvent),
    /// The mouse.
    Mouse(MouseEvent),
    /// The terminal has this many columns and rows now.
    Resize(u16, u16),
    /// The source said something.
    Source(SourceEvent),
    /// Something happened to the program that was started here.
    Launched(launched::Event),
    /// So the programs stand that can be watched.
    Surveyed(Survey),
    /// The system asks for the end, with a signal of this number.
    Signal(i32),
    /// Nobody can type any more: the terminal is gone.
    InputClosed,
    /// A thread that fed the interface panicked; the terminal has been given back already.
    Panicked,
}

impl Message {
    /// Whether nobody waits for its effect to be seen: what the source tells by itself, again and again.
    #[must_use]
    pub fn can_wait(&self) -> bool {
        matches!(
            self,
            Self::Source(SourceEvent::Frame(..) | SourceEvent::Process { .. } | SourceEvent::Quiet)
        )
    }
}

/// What is to be done outside of the model.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Commands {
    /// Something that is shown has changed.
    pub redraw: bool,
    /// The screen may be spoilt: draw every cell.
    pub clear: bool,
    /// Ask the source for so many states a second.
    pub rate_hz: Option<f64>,
    /// Ask the source for a close look at this superblock.
    pub superblock: Option<u32>,
    /// Put this text on the clipboard.
    pub copy: Option<String>,
    /// Ask for another connection, or for the programs there are.
    pub asks: Vec<Ask>,
    /// Leave.
    pub quit: Option<ExitStatus>,
}

impl Commands {
    /// Nothing.
    pub const NOTHING: Self = Self::redraw_if(false);
    /// Draw what has changed.
    pub const REDRAW: Self = Self::redraw_if(true);

    pub(super) fn quit(status: ExitStatus) -> Self {
        Self { quit: Some(status), ..Self::NOTHING }
    }

    const fn redraw_if(redraw: bool) -> Self {
        Self {
            redraw,
            clear: false,
            rate_hz: None,
            superblock: None,
            copy: None,
            asks: Vec::new(),
            quit: None,
        }
    }

    /// These, and those of a later message.
    pub fn and(mut self, later: Self) -> Self {
        self.asks.extend(later.asks);
        Self {
            redraw: self.redraw || later.redraw,
            clear: self.clear || later.clear,
            rate_hz: later.rate_hz.or(self.rate_hz),
            superblock: later.superblock.or(self.superblock),
            copy: later.copy.or(self.copy),
            asks: self.asks,
            quit: self.quit.or(later.quit),
        }
    }
}

/// Lets `message` change `model`.
pub fn update(model: &mut Model, message: Message) -> Commands {
    let reads = |model: &Model| model.overlay == Overlay::Output;
    let before = reads(model);
    let mut commands = take(model, message);
    if reads(model) != before {
        commands.asks.push(Ask::Output(!before));
    }
    commands
}

fn take(model: &mut Model, message: Message) -> Commands {
    match message {
        Message::Key(key) if key.kind == KeyEventKind::Release => Commands::NOTHING,
        Message::Key(key) => {
            let had_notice = model.notice.take().is_some();
            let commands = on_key(model, key);
            commands.and(Commands::redraw_if(had_notice))
        }
        Message::Mouse(mouse) => mouse::on_mouse(model, mouse),
        Message::Resize(columns, rows) => {
            model.size = (columns, rows);
            Commands::REDRAW
        }
        Message::Source(event) => {
            let before = states(model);
            // Behind the list of programs nothing is seen.
            let redraw = on_source(model, event) && !model.picker.open;
            let superblock = if states(model) == before { None } else { map::look_again(model) };
            Commands { superblock, ..Commands::redraw_if(redraw) }
        }
        Message::Launched(event) => launched::take(model, event),
        Message::Surveyed(survey) => Commands::redraw_if(picker::take(model, survey)),
        Message::Signal(number) => Commands::quit(ExitStatus::Signal(number)),
        Message::InputClosed => Commands::quit(ExitStatus::Done),
        Message::Panicked => Commands::quit(ExitStatus::Panicked),
    }
}

/// The connection, and the states it has told.
fn states(model: &Model) -> Option<(u64, u64)> {
    model.live.as_ref().map(|live| (live.epoch, live.picture.states))
}

/// Takes in what the source said; whether anything shown has changed.
fn on_source(model: &mut Model, event: SourceEvent) -> bool {
    match event {
        SourceEvent::Connected(hello) => connect(model, hello),
        SourceEvent::Frame(kind, payload) => {
            let was_silent = model.silence.take().is_some();
            return on_frame(model, kind, &payload) || was_silent;
        }
        SourceEvent::Silent { seconds, stopped } => {
            if !matches!(model.connection, Connection::Connecting | Connection::Live) {
                return false;
            }
            model.silence = Some(Silence { seconds, stopped });
            return true;
        }
        SourceEvent::Process { pid, rss_bytes } => {
            let Some(live) = &mut model.live else {
                return false;
            };
            let picture = &mut live.picture;
            let changed = (picture.pid, picture.rss_bytes) != (pid, rss_bytes);
            (picture.pid, picture.rss_bytes) = (pid, rss_bytes);
            return changed && model.frozen.is_none();
        }
        SourceEvent::Waiting(reason) => model.connection = Connection::Waiting(reason),
        SourceEvent::Failed(reason) => model.connection = Connection::Failed(reason),
        SourceEvent::Gone(reason) => {
            model.connection = Connection::Gone(reason);
            launched::tell_end(model);
        }
        SourceEvent::Quiet => return false,
    }
    model.silence = None;
    true
}

fn connect(model: &mut Model, hello: Hello) {
    if hello.major != MAJOR {
        // A source checks this before it says that it is connected; if it did not, no frame of
        // the other version may be decoded.
        model.connection = Connection::Failed(format!(
            "pid {} runs lfalloc {} (protocol {}.{}); this lfinspect speaks {MAJOR}.{MINOR}: \
             install the lfinspect of lfalloc {}",
            hello.pid, hello.allocator_version, hello.major, hello.minor, hello.allocator_version
        ));
        return;
    }
    let epoch = model.live.as_ref().map_or(0, |live| live.epoch + 1);
    let before = model.live.replace(Data::new(hello, epoch));
    model.moments.clear();
    model.connection = Connection::Connecting;
    if model.frozen.is_none() {
        leave(model, before.as_ref());
    }
}

/// What is shown was that of `before`, and is now that of another connection: numbers of events mean nothing there, those
/// of superblocks only if it is the same program.
fn leave(model: &mut Model, before: Option<&Data>) {
    model.states.event = None;
    model.stream.event = None;
    let program = |data: &Data| {
        let hello = &data.picture.hello;
        (hello.pid, hello.agent_started_unix_ns)
    };
    if before.map(program) != model.live.as_ref().map(program) {
        model.map.open = None;
    }
}

fn on_frame(model: &mut Model, kind: Kind, payload: &[u8]) -> bool {
    if !matches!(model.connection, Connection::Connecting | Connection::Live) {
        return false;
    }
    let Some(live) = &mut model.live else {
        return false;
    };
    let states = live.picture.states;
    match live.apply(kind, payload) {
        Ok(changed) => {
            // One without news is the one before, later.
            if live.picture.states > states && changed {
                model.moments.keep(live);
            }
            if live.picture.states > 0 {
                model.connection = Connection::Live;
            }
            changed
        }
        Err(error) => {
            let cause = std::error::Error::source(&error)
                .map(|cause| format!(": {cause}"))
                .unwrap_or_default();
            model.connection = Connection::Failed(format!(
                "{error}{cause}; attach again, and report it if it happens again"
            ));
            true
        }
    }
}

fn on_key(model: &mut Model, key: KeyEvent) -> Commands {
    if model.overlay == Overlay::None && is_typing(model) {
        if key.modifiers == KeyModifiers::CONTROL && key.code == KeyCode::Char('c') {
            return launched::leave(model);
        }
        match model.screen {
            _ if model.picker.open => picker::edit(model, key),
            Screen::Map => map::edit(model, key),
            Screen::Heaps => heaps::edit(model, key),
            Screen::Large => large::edit(model, key),
            Screen::Events => stream::edit(model, key),
            Screen::Lints => lints::edit(model, key),
            Screen::Classes => model.classes.filter.edit(key, &class_table::names()),
            Screen::Overview | Screen::States => {}
        }
        return Commands::REDRAW;
    }
    if model.overlay == Overlay::Leave {
        return match keys::leaving_action(key) {
            Some(action) => launched::act(model, action),
            None => Commands::NOTHING,
        };
    }
    let action =
        if model.picker.open { keys::picker_action(key) } else { keys::action(model.screen, key) };
    match action {
        Some(action) => perform(model, action),
        None => Commands::NOTHING,
    }
}

/// Whether keys are text on the screen shown.
fn is_typing(model: &Model) -> bool {
    match model.screen {
        _ if model.picker.open => picker::is_typing(model),
        Screen::Map => map::is_typing(model),
        Screen::Heaps => heaps::is_typing(model),
        Screen::Large => large::is_typing(model),
        Screen::Events => stream::is_typing(model),
        Screen::Lints => lints::is_typing(model),
        Screen::Classes => model.classes.filter.typing,
        Screen::Overview | Screen::States => false,
    }
}

fn perform(model: &mut Model, action: Action) -> Commands {
    match action {
        Action::Quit => return launched::leave(model),
        Action::Redraw => {
            return Commands { clear: true, ..Commands::REDRAW };
        }
        Action::Freeze => freeze(model),
        Action::Show(screen) => show(model, screen),
        Action::NextScreen => show(model, neighbour(model.screen, 1)),
        Action::PreviousScreen => show(model, neighbour(model.screen, Screen::ALL.len() - 1)),
        Action::Help => {
            model.overlay = match model.overlay {
                Overlay::Help(_) => Overlay::None,
                _ => Overlay::Help(0),
            };
        }
        Action::Explain => {
            model.overlay = match model.overlay {
                Overlay::Explain(..) => Overlay::None,
                _ => Overlay::Explain(model.figure(), 0),
            };
        }
        Action::Back if model.picker.open && model.overlay == Overlay::None => {
            return picker::back(model);
        }
        Action::Copy => return copy(model, copy::under_cursor(model)),
        Action::CopyAll => return copy(model, copy::all(model)),
        Action::Back => back(model),
        Action::ScrubBack | Action::ScrubForward | Action::LeapBack | Action::LeapForward => {
            return Commands::redraw_if(past::scrub(model, action));
        }
        Action::Baseline => {
            past::set_baseline(model);
            past::tell_baseline(model);
        }
        Action::Difference => past::toggle_difference(model),
        Action::Programs if model.picker.open => return picker::close(model),
        Action::Programs | Action::Reconnect | Action::Faster | Action::Slower if model.replay => {
            model.notice =
                Some("a recording is what it is: replay has --speed and --from".to_owned());
        }
        Action::Output => launched::toggle_output(model),
        Action::Programs => return picker::open(model),
        Action::Reconnect => return reconnect(model),
        Action::Faster => return change_rate(model, 2.0),
        Action::Slower => return change_rate(model, 0.5),
        _ if model.overlay != Overlay::None => scroll_overlay(model, action),
        action if model.picker.open => return picker::act(model, action),
        Action::Open if model.screen == Screen::States => return cursor::open_states(model),
        Action::Zoom | Action::Open => match model.screen {
            Screen::Overview => model.overview.zoomed = !model.overview.zoomed,
            Screen::States => model.states.zoomed = !model.states.zoomed,
            Screen::Classes => cursor::on_classes(model, action),
            _ => return act(model, action),
        },
        action => match model.screen {
            Screen::Overview => cursor::on_overview(model, action),
            Screen::Classes => cursor::on_classes(model, action),
            Screen::States => cursor::on_states(model, action),
            _ => return act(model, action),
        },
    }
    Commands::REDRAW
}

/// An action on a screen that takes its own.
fn act(model: &mut Model, action: Action) -> Commands {
    match model.screen {
        Screen::Map => map::act(model, action),
        Screen::Heaps => heaps::act(model, action),
        Screen::Large => large::act(model, action),
        Screen::Events => stream::act(model, action),
        Screen::Lints => lints::act(model, action),
        Screen::Overview | Screen::Classes | Screen::States => Commands::NOTHING,
    }
}

/// Looks for a program that is gone; where one is connected there is nothing to look for.
fn reconnect(model: &Model) -> Commands {
    let connected = matches!(model.connection, Connection::Connecting | Connection::Live);
    if connected || !model.picker.available {
        return Commands::NOTHING;
    }
    Commands { asks: vec![Ask::Reconnect], ..Commands::NOTHING }
}

/// Says in the footer what is copied.
fn copy(model: &mut Model, copied: Option<copy::Copied>) -> Commands {
    let (notice, text) = match copied {
        Some(copied) => (format!("copied: {}", copied.what), Some(copied.text)),
        None => ("nothing to copy here".to_owned(), None),
    };
    model.notice = Some(notice);
    Commands { copy: text, ..Commands::REDRAW }
}

fn show(model: &mut Model, screen: Screen) {
    model.screen = screen;
    model.overlay = Overlay::None;
}

fn neighbour(screen: Screen, step: usize) -> Screen {
    let place = Screen::ALL.iter().position(|&other| other == screen).unwrap_or(0);
    Screen::ALL[(place + step) % Screen::ALL.len()]
}

fn change_rate(model: &mut Model, factor: f64) -> Commands {
    let rate_hz = (model.rate_hz * factor).clamp(*RATES_HZ.start(), *RATES_HZ.end());
    // Whoever made the model may have gone beyond the range: no key moves the rate against itself.
    let moves = if factor > 1.0 { rate_hz > model.rate_hz } else { rate_hz < model.rate_hz };
    if !moves {
        return Commands::NOTHING;
    }
    model.rate_hz = rate_hz;
    Commands { rate_hz: Some(rate_hz), ..Commands::REDRAW }
}

/// Freezes the view, or lets it go on.
fn freeze(model: &mut Model) {
    let is_outlived = model.is_outlived();
    if let Some(frozen) = model.frozen.take() {
        model.states.event = None;
        if is_outlived {
            leave(model, Some(&frozen.data));
        }
        if let Some(live) = &mut model.live {
            live.events.set_capacity(events::CAPACITY);
        }
        return;
    }
    let Some(mut data) = model.shown().cloned() else {
        return;
    };
    data.events.set_capacity(events::FROZEN_CAPACITY);
    if let Some(live) = &mut model.live {
        live.events.set_capacity(events::FROZEN_CAPACITY);
    }
    let at_state = data.picture.states;
    model.frozen =
        Some(Box::new(Frozen { data, at_state, stepped: [0; 4], steps: 0, is_past: false }));
}

/// Undoes the innermost thing that can be undone.
fn back(model: &mut Model) {
    if model.overlay != Overlay::None {
        model.overlay = Overlay::None;
        return;
    }
    match model.screen {
        Screen::Overview => model.overview.zoomed = false,
        Screen::Classes => {
            if model.classes.open.take().is_none() {
                model.classes.filter.clear();
            }
        }
        Screen::States if model.states.edge.is_some() => model.states.edge = None,
        Screen::States if model.states.zoomed => model.states.zoomed = false,
        Screen::States => model.states.event = None,
        Screen::Map => map::back(model),
        Screen::Heaps => heaps::back(model),
        Screen::Large => large::back(model),
        Screen::Events => stream::back(model),
        Screen::Lints => lints::back(model),
    }
}

fn scroll_overlay(model: &mut Model, action: Action) {
    let length = match model.overlay {
        Overlay::None | Overlay::Leave => return,
        Overlay::Output => return launched::scroll(model, action),
        Overlay::Help(_) => help::lines(model).len(),
        Overlay::Explain(figure, _) => explain::lines(model, figure).len(),
    };
    let height = usize::from(view::overlay_height(model));
    let most = u16::try_from(length.saturating_sub(height)).unwrap_or(u16::MAX);
    let page = view::overlay_height(model).max(1);
    let (Overlay::Help(scroll) | Overlay::Explain(_, scroll)) = &mut model.overlay else {
        return;
    };
    *scroll = match action {
        Action::Up => scroll.saturating_sub(1),
        Action::Down => scroll.saturating_add(1),
        Action::PageUp => scroll.saturating_sub(page),
        Action::PageDown => scroll.saturating_add(page),
        Action::Top => 0,
        Action::Bottom => most,
        _ => *scroll,
    }
    .min(most);
}

#[cfg(test)]
mod tests;
