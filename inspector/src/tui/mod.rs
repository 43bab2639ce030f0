//! The terminal interface.
//!
//! ```text
//!   input thread ──┐                                        ┌─► view(&Model, &mut Frame) ─► terminal
//!   source thread ─┼─► one bounded channel ─► update(&mut Model, Message) ─► Commands ─► source
//!   signals ───────┤
//!   survey ────────┤ (while the list of programs is open)
//!   launched ──────┘ (the end of a program that `run` started, and what it writes)
//! ```
//!
//! `update` alone changes the model, `view` only reads it, and neither waits or talks to anybody. The
//! terminal is drawn when something that is shown has changed, and never otherwise: an idle view draws
//! nothing. How soon, `pace` tells.
#![forbid(unsafe_code)]

use std::io;
use std::mem::discriminant;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::run::program::Program;
use crate::source::following::FollowingSource;
use crate::source::{Ask, Source};

pub mod class_table;
pub mod copy;
pub mod data;
pub mod edge;
pub mod events;
mod feed;
pub mod figure;
pub mod glossary;
pub mod history;
pub mod keys;
pub mod launched;
pub mod model;
pub mod moments;
pub mod output;
mod pace;
pub mod screens;
mod terminal;
pub mod terms;
pub mod theme;
pub mod update;
pub mod view;

use self::model::Model;
use self::pace::Pace;
use self::theme::{Depth, Theme};
use self::update::{Commands, Message, update};

/// Messages that are taken in before the terminal is drawn again, so that a flood of them does not
/// keep it from being drawn for ever.
const MAX_BATCH: usize = 512;

/// States a second that may be asked for, on the command line and with keys.
pub const RATES_HZ: std::ops::RangeInclusive<f64> = 0.1..=50.0;

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Color {
    /// As the terminal says (`NO_COLOR`, `COLORTERM`, `TERM`).
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never: bold, reverse and dim instead.
    Never,
}

/// A palette.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ThemeName {
    /// For dark backgrounds.
    #[default]
    Dark,
    /// For light backgrounds.
    Light,
    /// For low vision and projectors: bright and bold on black, nothing dim.
    HighContrast,
}

/// How to show.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// States a second to ask for.
    pub rate_hz: f64,
    /// When to use colours.
    pub color: Color,
    /// Only ASCII characters.
    pub ascii: bool,
    /// Whether clicks are listened to (the terminal's own selection then needs Shift).
    pub mouse: bool,
    /// The palette.
    pub theme: ThemeName,
    /// Whether what is shown is past: a recording.
    pub replay: bool,
    /// What it begins with.
    pub begin: Begin,
}

/// What the interface begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Begin {
    /// The screens of what the source tells.
    #[default]
    Screens,
    /// The list of programs, to watch one of them.
    Programs,
    /// The same; picking one is all.
    Pick,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rate_hz: 4.0,
            color: Color::Auto,
            ascii: false,
            mouse: true,
            theme: ThemeName::Dark,
            replay: false,
            begin: Begin::Screens,
        }
    }
}

/// How the interface ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// The person left, or the terminal went away.
    Done,
    /// The person left a program that was started here, which runs on.
    Detached,
    /// The person left, and there had never been a connection: what the source said last.
    NeverConnected,
    /// A signal of this number asked for the end.
    Signal(i32),
    /// A thread of the interface panicked, which has been reported.
    Panicked,
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        match status {
            ExitStatus::Done | ExitStatus::Detached => Self::SUCCESS,
            ExitStatus::NeverConnected => Self::from(1),
            ExitStatus::Panicked => Self::from(101),
            ExitStatus::Signal(number) => Self::from(u8::try_from(128 + number).unwrap_or(1)),
        }
    }
}

/// Shows what `source` tells until the person leaves.
///
/// # Errors
/// When the terminal cannot be set up or written to. One that goes away meanwhile is no error.
pub fn run(source: Box<dyn Source + Send>, options: Options) -> color_eyre::Result<ExitStatus> {
    start(source, options, None, feed::Feed::ask)
}

/// Takes the signals that end the interface: before a program is started that they are for, too.
///
/// # Errors
/// When the system does not let it.
pub fn take_signals() -> io::Result<Signals> {
    Signals::new([SIGTERM, SIGHUP, SIGINT])
}

/// A program that was started to be watched.
#[derive(Debug)]
pub struct Launch {
    /// The program.
    pub program: Arc<Program>,
    /// The file that it writes to.
    pub output: PathBuf,
    /// Where in that file it has begun.
    pub output_from: u64,
}

/// As [`run`], of a program that was started after `signals` were taken: shows what it writes, asks before it is left, and passes signals on to it.
///
/// # Errors
/// As [`run`].
pub fn run_launched(
    source: Box<dyn Source + Send>,
    options: Options,
    launch: Launch,
    signals: Signals,
) -> color_eyre::Result<ExitStatus> {
    start(source, options, Some((launch, signals)), feed::Feed::ask)
}

/// Lets the person pick a program: the socket of the one they picked, if they did.
///
/// # Errors
/// As [`run`].
pub fn pick(options: Options) -> color_eyre::Result<(Option<PathBuf>, ExitStatus)> {
    let mut picked = None;
    let nobody = FollowingSource::new(None, options.rate_hz, false);
    let options = Options { begin: Begin::Pick, ..options };
    let status = start(Box::new(nobody), options, None, |feed, ask| match ask {
        Ask::Attach(socket) => picked = Some(socket),
        ask => feed.ask(ask),
    })?;
    Ok((picked, status))
}

fn start(
    source: Box<dyn Source + Send>,
    options: Options,
    launch: Option<(Launch, Signals)>,
    mut ask: impl FnMut(&feed::Feed, Ask),
) -> color_eyre::Result<ExitStatus> {
    let depth = Depth::detect(options.color, |name| std::env::var(name).ok());
    let theme = Theme::new(depth, options.ascii, options.theme);
    let mut screen = terminal::Screen::new(options.mouse)?;
    let mut model = Model::new(theme, options.rate_hz, screen.size()?);
    model.replay = options.replay;
    model.picker.available = source.can_attach();
    model.picker.open = options.begin != Begin::Screens;
    model.picker.picked_leaves = options.begin == Begin::Pick;
    model.launched = launch.as_ref().map(|(launch, _)| {
        let program = &launch.program;
        launched::Launched::new(program.pid(), program.name(), &launch.output)
    });
    let (launch, signals) = match launch {
        Some((launch, signals)) => (Some(launch), signals),
        None => (None, take_signals()?),
    };
    let feed = feed::start(source, options.rate_hz, launch, signals)?;
    if model.picker.open {
        feed.ask(Ask::Survey(true));
    }
    let ended = drive(&mut model, &feed.messages, |asked| ask(&feed, asked), &mut screen);
    // In this order: giving the terminal back may have to wait for it, and a signal ends that too.
    drop(screen);
    drop(feed);
    match ended {
        Ok(status) => Ok(status),
        Err(error) if terminal::is_gone(&error) => Ok(ExitStatus::Done),
        Err(error) => Err(error.into()),
    }
}

/// Where the loop shows the model, and where a text is copied to.
trait Output {
    /// Draws the model; `clear`: every cell, not only those that changed.
    fn draw(&mut self, model: &Model, clear: bool) -> io::Result<()>;
    /// Puts `text` on the clipboard of the person who looks.
    fn copy(&mut self, text: &str) -> io::Result<()>;
}

/// The loop: takes in what there is, and draws if something that is shown has changed.
fn drive(
    model: &mut Model,
    messages: &Receiver<Message>,
    mut ask: impl FnMut(Ask),
    output: &mut impl Output,
) -> io::Result<ExitStatus> {
    let mut pace = Pace::new(Instant::now());
    draw(output, model, &mut pace, false)?;
    loop {
        if pace.is_due(Instant::now()) {
            // Not left to the wait below, which gives what is there before it looks at the time: there may always be
            // something.
            draw(output, model, &mut pace, false)?;
        }
        let message = match pace.wait(Instant::now()) {
            None => messages.recv().map_err(RecvTimeoutError::from),
            Some(wait) => messages.recv_timeout(wait),
        };
        let message = match message {
            Ok(message) => message,
            // It is due.
            Err(RecvTimeoutError::Timeout) => continue,
            // With every sender gone nothing can happen any more.
            Err(RecvTimeoutError::Disconnected) => return Ok(ExitStatus::Done),
        };
        let mut is_urgent = false;
        let mut take = |model: &mut Model, message: Message| {
            let (can_wait, connection) = (message.can_wait(), discriminant(&model.connection));
            let commands = update(model, message);
            // The first state is waited for.
            let is_new = connection != discriminant(&model.connection);
            is_urgent |= commands.redraw && (!can_wait || is_new);
            commands
        };
        let mut commands = take(model, message);
        for message in messages.try_iter().take(MAX_BATCH) {
            commands = commands.and(take(model, message));
        }
        let Commands { redraw, clear, rate_hz, superblock, copy, asks, quit } = commands;
        [rate_hz.map(Ask::Rate), superblock.map(Ask::Superblock)]
            .into_iter()
            .flatten()
            .chain(asks)
            .for_each(&mut ask);
        if let Some(status) = quit {
            return Ok(status);
        }
        if let Some(text) = copy {
            output.copy(&text)?;
        }
        if is_urgent {
            draw(output, model, &mut pace, clear)?;
        } else if redraw {
            pace.want();
        }
    }
}

/// Draws now, and says so to `pace`.
fn draw(output: &mut impl Output, model: &Model, pace: &mut Pace, clear: bool) -> io::Result<()> {
    let start = Instant::now();
    output.draw(model, clear)?;
    pace.drawn(start, Instant::now(), model.rate_hz);
    Ok(())
}

#[cfg(test)]
mod tests;
