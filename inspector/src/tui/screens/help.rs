//! `?`: the keys, out of the table that dispatches them.

use lfalloc_protocol::message::state;
use ratatui::text::{Line, Span};

use super::paint;
use crate::tui::keys::{Binding, Scope, TABLE, common_in_picker};
use crate::tui::model::{Model, Screen};
use crate::tui::theme::Theme;

/// Cells of the popup within its border.
const WIDTH: u16 = 78;
/// Cells of the column of keys.
const KEYS: usize = 11;

/// Cells of the popup's lines on a terminal of the model's size.
#[must_use]
pub fn width(model: &Model) -> u16 {
    WIDTH.min(model.size.0.saturating_sub(4))
}

/// All lines: what works on the screen shown, what works everywhere, the other screens.
#[must_use]
pub fn lines(model: &Model) -> Vec<Line<'static>> {
    let theme = &model.theme;
    let width = usize::from(width(model));
    let mut lines = Vec::new();
    if model.picker.open {
        let own = TABLE.iter().filter(|binding| binding.scope == Scope::Picker);
        let all = own.chain(common_in_picker());
        return all.flat_map(|binding| binding_lines(theme, binding, width)).collect();
    }
    let mut group = |title: &str, belongs: &dyn Fn(Scope) -> bool| {
        let mut bindings = TABLE.iter().filter(|binding| belongs(binding.scope)).peekable();
        if bindings.peek().is_none() {
            return;
        }
        if !lines.is_empty() {
            lines.push(Line::default());
        }
        lines.push(Line::styled(title.to_owned(), theme.strong()));
        for binding in bindings {
            lines.extend(binding_lines(theme, binding, width));
        }
    };
    let on = |screen: Screen| move |scope: Scope| scope == Scope::On(screen);
    let here = model.screen;
    group(&format!("On {}", here.title()), &on(here));
    group("Everywhere", &|scope| !matches!(scope, Scope::On(_)) && scope.includes(here));
    for screen in Screen::ALL.into_iter().filter(|&screen| screen != here) {
        group(&format!("On {}", screen.title()), &on(screen));
    }
    group("In the list of programs", &|scope| scope == Scope::Picker);
    group("When leaving a program that `run` started", &|scope| scope == Scope::Leaving);
    lines.push(Line::default());
    lines.extend(legend(theme, width));
    lines
}

fn binding_lines(theme: &Theme, binding: &Binding, width: usize) -> Vec<Line<'static>> {
    let mut written = binding.written.to_owned();
    if theme.glyphs.ascii {
        for (arrow, word) in [('↑', "Up"), ('↓', "Down"), ('←', "Left"), ('→', "Right")] {
            written = written.replace(arrow, word);
        }
    }
    let texts = paint::wrap(binding.help, width.saturating_sub(KEYS + 2));
    let mut lines = Vec::new();
    for (place, text) in texts.into_iter().enumerate() {
        let keys = if place == 0 { written.as_str() } else { "" };
        lines.push(Line::from(vec![
            Span::styled(format!("  {keys:<KEYS$}"), theme.key()),
            Span::raw(text),
        ]));
    }
    lines
}

/// What the glyphs mean.
fn legend(theme: &Theme, width: usize) -> Vec<Line<'static>> {
    let stories = [
        "a heap points to it",
        "no block is free",
        "some blocks are free, and no heap points to it",
        "all blocks are free, and no heap points to it",
    ];
    let mut lines = vec![Line::styled("States of a superblock", theme.strong())];
    for (code, story) in (0_u8..).zip(stories) {
        let texts = paint::wrap(story, width.saturating_sub(KEYS + 4));
        for (place, text) in texts.into_iter().enumerate() {
            let mut name = format!("  {:<3} {:<7}", theme.state_mark(code), state::name(code));
            if place > 0 {
                name = " ".repeat(name.chars().count());
            }
            lines.push(Line::from(vec![
                Span::styled(name, theme.state(code)),
                Span::raw(format!("  {text}")),
            ]));
        }
    }
    lines
}
