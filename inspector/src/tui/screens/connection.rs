//! What is shown while there is no state to show, and the lines above a state that is the last.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::paint;
use crate::process::printable;
use crate::tui::model::{Connection, Model, Silence};

/// Rows that a reason may take above the state.
const BANNER_ROWS: usize = 3;

/// Heading and text for a connection that shows nothing yet (or nothing any more).
fn words(model: &Model) -> (&'static str, String) {
    match &model.connection {
        Connection::Connecting => match &model.live {
            None => ("Connecting", "Waiting for the agent's greeting.".to_owned()),
            Some(data) => {
                let hello = &data.picture.hello;
                let text = format!(
                    "{} (pid {}) has greeted with lfalloc {}; its first state is on the way.",
                    hello.name, data.picture.pid, hello.allocator_version
                );
                ("Connecting", text)
            }
        },
        Connection::Live => ("Live", String::new()),
        Connection::Waiting(reason) => ("Waiting", format!("{reason}.")),
        Connection::Gone(reason) => {
            ("Gone", format!("{reason}. It ended before a first state was complete."))
        }
        Connection::Failed(reason) => ("No connection", reason.clone()),
    }
}

/// What a silence means, and what to do about it.
fn silence(model: &Model) -> Option<String> {
    let Silence { seconds, stopped } = model.silence?;
    let pid = model.live.as_ref().map_or(0, |live| live.picture.pid);
    Some(if stopped {
        format!("no state for {seconds} s: pid {pid} is stopped (kill -CONT {pid})")
    } else {
        format!("no state for {seconds} s: pid {pid} is very busy, or stuck")
    })
}

/// What is watched now, though something else is shown.
fn outlived(model: &Model) -> String {
    let watched = model.live.as_ref().map(|live| (live.picture.pid, &live.picture.hello.name));
    let (pid, name) = watched.map_or((0, ""), |(pid, name)| (pid, name.as_str()));
    format!("pid {pid} ({}) is watched now, Space shows it", printable(name))
}

/// A page in the middle of the body.
pub fn draw(buf: &mut Buffer, area: Rect, model: &Model) {
    let theme = &model.theme;
    let (title, mut text) = words(model);
    if let Some(silence) = silence(model) {
        text = format!("{text} But {silence}.");
    }
    let width = area.width.saturating_sub(4).min(76);
    let lines = paint::wrap(&text, usize::from(width.saturating_sub(4)));
    let failed = matches!(model.connection, Connection::Failed(_) | Connection::Gone(_));
    let launched = if model.launched.is_some() { "; L shows its output" } else { "" };
    let hint = match (failed, model.picker.available) {
        (_, true) if model.launched.is_some() => "q leaves; p lists the programs",
        (true, true) => "q leaves; p lists the programs; lfinspect doctor looks for the cause",
        (true, false) => "q leaves; lfinspect doctor looks for the cause",
        (false, true) => "q leaves; p lists the programs",
        (false, false) => "q leaves",
    };
    let height = (lines.len() as u16).saturating_add(4).min(area.height);
    let page = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 3,
        width,
        height,
    };
    let style = if failed { theme.alarm() } else { theme.strong() };
    let inner = paint::pane(buf, page, theme, Line::styled(format!(" {title} "), style), failed);
    let mut row = 0;
    for text in lines {
        paint::text(buf, inner, (1, row), &text, ratatui::style::Style::new());
        row += 1;
    }
    paint::text(buf, inner, (1, row + 1), &format!("{hint}{launched}"), theme.faint());
}

/// Whether the program that is shown was started here and has ended.
fn is_over(model: &Model) -> bool {
    let shown = model.live.as_ref().map(|live| live.picture.pid);
    let launched = model.launched.as_ref();
    launched.is_some_and(|launched| launched.ended.is_some() && shown == Some(launched.pid))
}

/// The lines that say that what is below is the last state, and why; none while states come.
#[must_use]
pub fn banner(model: &Model) -> Vec<Line<'static>> {
    let (word, reason) = match (&model.connection, silence(model)) {
        (Connection::Waiting(reason), _) => ("WAITING", reason.clone()),
        (Connection::Gone(reason), _) if is_over(model) => {
            ("GONE", format!("{reason} (L shows its output)"))
        }
        (Connection::Gone(reason), _) if model.picker.available => {
            ("GONE", format!("{reason} (r looks for it again)"))
        }
        (Connection::Gone(reason), _) => ("GONE", reason.clone()),
        (Connection::Failed(reason), _) => ("FAILED", reason.clone()),
        (Connection::Connecting | Connection::Live, Some(silence)) => ("SILENT", silence),
        (Connection::Connecting | Connection::Live, None) if model.is_outlived() => {
            ("PAUSED", outlived(model))
        }
        (Connection::Connecting | Connection::Live, None) => return Vec::new(),
    };
    let is_earlier = model.frozen.as_ref().is_some_and(|frozen| frozen.is_past);
    let state = if is_earlier || model.is_outlived() || model.behind() > 0 {
        "A state before that:"
    } else {
        "The last state seen:"
    };
    let text = format!("{word}: {reason}. {state}");
    let lines = paint::wrap(&text, usize::from(model.size.0.saturating_sub(2)));
    let styled = |text: String| Line::styled(format!(" {text}"), model.theme.alarm());
    lines.into_iter().take(BANNER_ROWS).map(styled).collect()
}
