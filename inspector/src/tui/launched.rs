//! A program that was started here: whether it runs, what it writes, and how it is left.
//!
//! ```text
//!            q                    t                      5 s                     k
//!   shown ──────► Asked ──────────────► Terminating ──────────► Stubborn ──────────────► Killed
//!     ▲             │ d, Enter: detach, in each of them            │                        │
//!     └─────────────┘ Esc                                          └── it ends: we leave ◄──┘
//! ```

use std::path::Path;

use super::ExitStatus;
use super::keys::Action;
use super::model::{Connection, Model, Overlay};
use super::output::{Chunk, Output};
use super::update::Commands;
use super::view;
use crate::source::Ask;
use crate::{process, target};

/// What is said where no program was started.
const NONE_HERE: &str = "no program was started here: `lfinspect run -- CMD` shows its output";

/// What happens to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It ended; how, in words that follow its name.
    Ended(String),
    /// It was asked to end, and has not.
    Stubborn,
    /// It has written something.
    Output(Chunk),
}

/// How far its end has come that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nobody has asked for it.
    Asked,
    /// It was asked to end.
    Terminating,
    /// It was, and has not for long.
    Stubborn,
    /// It was killed.
    Killed,
}

/// The program.
#[derive(Clone, Debug)]
pub struct Launched {
    /// Its process id.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// The file that it writes to, for people.
    pub file: String,
    /// How it ended.
    pub ended: Option<String>,
    /// How far its end has come.
    pub stage: Stage,
    /// What it has written.
    pub output: Output,
}

impl Launched {
    /// It runs.
    #[must_use]
    pub fn new(pid: u32, name: &str, file: &Path) -> Self {
        Self {
            pid,
            name: name.to_owned(),
            file: process::printable_path(file),
            ended: None,
            stage: Stage::Asked,
            output: Output::default(),
        }
    }

    /// "pid 4121 (indexer)".
    #[must_use]
    pub fn subject(&self) -> String {
        target::subject(self.pid, &self.name)
    }

    /// "pid 4121 (indexer) ended with status 3", once it has.
    #[must_use]
    pub fn end(&self) -> Option<String> {
        self.ended.as_ref().map(|words| format!("{} {words}", self.subject()))
    }
}

/// Takes in what has happened to it.
pub(super) fn take(model: &mut Model, event: Event) -> Commands {
    let was_seen = model.live.is_some();
    let overlay = model.overlay;
    let Some(launched) = &mut model.launched else { return Commands::NOTHING };
    match event {
        Event::Output(chunk) => {
            launched.output.take(&chunk);
            if overlay == Overlay::Output { Commands::REDRAW } else { Commands::NOTHING }
        }
        Event::Stubborn => {
            if launched.stage == Stage::Terminating {
                launched.stage = Stage::Stubborn;
            }
            Commands::REDRAW
        }
        Event::Ended(words) => {
            let was_asked = launched.stage != Stage::Asked;
            launched.ended = Some(words);
            let is_leaving = overlay == Overlay::Leave;
            // Nobody looks at anything: its output says more.
            let is_idle = overlay == Overlay::None && !model.picker.open;
            if is_leaving && was_asked || !was_seen && is_idle {
                return Commands::quit(ExitStatus::Done);
            }
            if is_leaving {
                model.overlay = Overlay::None;
            }
            if !tell_end(model) {
                model.notice = model.launched.as_ref().and_then(Launched::end);
            }
            Commands::REDRAW
        }
    }
}

/// Says how it ended in place of what its connection knows of that; false where it is not the program that is shown.
pub(super) fn tell_end(model: &mut Model) -> bool {
    let Some(launched) = &model.launched else { return false };
    let shown = model.live.as_ref().map(|live| live.picture.pid);
    if shown.is_some_and(|pid| pid != launched.pid) {
        return false;
    }
    let is_over = match &model.connection {
        Connection::Gone(_) => true,
        // Before its first state nothing may tell that it has ended.
        Connection::Waiting(_) | Connection::Connecting => shown.is_none(),
        Connection::Live | Connection::Failed(_) => false,
    };
    if let (Some(words), true) = (launched.end(), is_over) {
        model.connection = Connection::Gone(words);
    }
    true
}

/// Leaves; first asks how, while a program runs that was started here.
pub(super) fn leave(model: &mut Model) -> Commands {
    let is_never = model.live.is_none() && matches!(model.connection, Connection::Failed(_));
    match &model.launched {
        Some(launched) if launched.ended.is_none() => {
            model.overlay = Overlay::Leave;
            Commands::REDRAW
        }
        _ if is_never => Commands::quit(ExitStatus::NeverConnected),
        _ => Commands::quit(ExitStatus::Done),
    }
}

/// A key while it is asked how to leave.
pub(super) fn act(model: &mut Model, action: Action) -> Commands {
    let Some(launched) = &mut model.launched else { return Commands::NOTHING };
    match (action, launched.stage) {
        (Action::Detach, _) => Commands::quit(ExitStatus::Detached),
        (Action::Terminate, Stage::Asked) => {
            launched.stage = Stage::Terminating;
            Commands { asks: vec![Ask::End { kill: false }], ..Commands::REDRAW }
        }
        (Action::Kill, Stage::Stubborn) => {
            launched.stage = Stage::Killed;
            Commands { asks: vec![Ask::End { kill: true }], ..Commands::REDRAW }
        }
        (Action::Back, _) => {
            model.overlay = Overlay::None;
            Commands::REDRAW
        }
        (Action::Redraw, _) => Commands { clear: true, ..Commands::REDRAW },
        _ => Commands::NOTHING,
    }
}

/// Shows what it writes, or hides it again.
pub(super) fn toggle_output(model: &mut Model) {
    if model.launched.is_none() {
        model.notice = Some(NONE_HERE.to_owned());
    } else if model.overlay == Overlay::Output {
        model.overlay = Overlay::None;
    } else {
        model.overlay = Overlay::Output;
    }
}

/// A key that moves through what it has written.
pub(super) fn scroll(model: &mut Model, action: Action) {
    let height = usize::from(view::output_height(model));
    let page = height.saturating_sub(1).max(1) as i64;
    let Some(launched) = &mut model.launched else { return };
    let lines = match action {
        Action::Up => -1,
        Action::Down => 1,
        Action::PageUp => -page,
        Action::PageDown => page,
        Action::Top => i64::MIN,
        Action::Bottom => i64::MAX,
        _ => return,
    };
    launched.output.scroll(lines, height);
}
