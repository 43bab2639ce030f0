//! Picks one of several programs, on a terminal.

use std::io;
use std::mem::ManuallyDrop;

use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Row as TableRow, Table, TableState};

use crate::failure::Outcome;
use crate::listing::Row;

/// What a key led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Stay,
    Chosen(usize),
    Left,
}

/// Lets the person choose one of `rows`; `None` when they choose none.
///
/// # Errors
/// When the terminal cannot be set up, read or written to.
pub fn pick(rows: &[Row], ascii: bool) -> Outcome<Option<&Row>> {
    // Never dropped: on a terminal that hung up its `drop` would panic.
    let mut terminal = ManuallyDrop::new(ratatui::try_init()?);
    let picked = (|| -> io::Result<Option<usize>> {
        let mut selected = 0;
        loop {
            terminal.draw(|frame| draw(frame, rows, selected, ascii))?;
            let Event::Key(key) = event::read()? else {
                continue;
            };
            match step(key, &mut selected, rows.len()) {
                Step::Stay => {}
                Step::Chosen(row) => return Ok(Some(row)),
                Step::Left => return Ok(None),
            }
        }
    })();
    let restored = terminal.show_cursor().and_then(|()| ratatui::try_restore());
    let picked = picked?;
    restored?;
    Ok(picked.and_then(|row| rows.get(row)))
}

fn step(key: KeyEvent, selected: &mut usize, count: usize) -> Step {
    if key.kind == KeyEventKind::Release {
        return Step::Stay;
    }
    let last = count.saturating_sub(1);
    match key.code {
        KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => {
            return Step::Left;
        }
        KeyCode::Char('q') | KeyCode::Esc => return Step::Left,
        KeyCode::Enter => return Step::Chosen(*selected),
        KeyCode::Down | KeyCode::Char('j') => *selected = (*selected + 1).min(last),
        KeyCode::Up | KeyCode::Char('k') => *selected = selected.saturating_sub(1),
        KeyCode::Home | KeyCode::Char('g') => *selected = 0,
        KeyCode::End | KeyCode::Char('G') => *selected = last,
        _ => {}
    }
    Step::Stay
}

fn draw(frame: &mut Frame, rows: &[Row], selected: usize, ascii: bool) {
    let [head, list, foot] =
        Layout::vertical([Constraint::Length(2), Constraint::Fill(1), Constraint::Length(1)])
            .areas(frame.area());
    frame.render_widget(Line::raw("Which program?").style(Modifier::BOLD), head);
    let header = ["PID", "USER", "NAME", "UPTIME", "RSS", "MAPPED", "LIVE", "EXT%", "PROTO"];
    let widths = [8, 12, 20, 8, 10, 10, 10, 7, 5].map(Constraint::Length);
    let table = Table::new(rows.iter().map(|row| TableRow::new(row.cells())), widths)
        .header(TableRow::new(header).style(Modifier::DIM))
        .highlight_symbol(if ascii { "> " } else { "▸ " })
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::default().with_selected(selected);
    frame.render_stateful_widget(table, list, &mut state);
    let keys = if ascii { "j k choose" } else { "↑ ↓ choose" };
    let keys = format!("{keys}   Enter watch   q leave");
    frame.render_widget(Line::raw(keys).style(Modifier::DIM), foot);
}

#[cfg(test)]
mod tests {
    //! Aim: keys never leave the list, the chosen row is the marked one, no size panics.

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn press(code: KeyCode, selected: &mut usize) -> Step {
        step(KeyEvent::from(code), selected, 3)
    }

    #[test]
    fn keys_stay_within_the_list() {
        let mut selected = 0;
        assert_eq!(press(KeyCode::Up, &mut selected), Step::Stay);
        assert_eq!(selected, 0);
        for _ in 0..5 {
            let _ = press(KeyCode::Char('j'), &mut selected);
        }
        assert_eq!(press(KeyCode::Enter, &mut selected), Step::Chosen(2));
        assert_eq!(press(KeyCode::Esc, &mut selected), Step::Left);
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(step(control_c, &mut selected, 3), Step::Left);
    }

    #[test]
    fn any_size_is_drawn() {
        for (width, height) in [(0, 0), (1, 1), (20, 5), (120, 36)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| draw(frame, &[], 0, false)).unwrap();
        }
    }
}
