//! Renders a screen of lfinspect as it is shown for a running program, as SVG.
//!
//! Usage: `picture PID|NAME FILE [KEYS] [COLUMNSxROWS] [SECONDS]`, for example
//! `cargo run --release -p lfinspect --example picture -- fragment overview.svg 1 120x36 3`.
//!
//! It attaches as the terminal interface does, watches for some seconds, types KEYS, and writes what the terminal
//! would show: the same model, the same `update`, the same `view`.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use color_eyre::eyre::{ContextCompat as _, bail, eyre};
use lfinspect::source::live::LiveSource;
use lfinspect::source::{Source, SourceEvent};
use lfinspect::target::{Selector, find};
use lfinspect::tui::ThemeName;
use lfinspect::tui::model::Model;
use lfinspect::tui::theme::{Depth, Theme};
use lfinspect::tui::update::{Message, update};
use lfinspect::tui::view::view;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::{Buffer, Cell};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::{Color, Modifier};

/// States a second.
const RATE_HZ: f64 = 10.0;
/// A cell of the picture, in its units.
const CELL: (f64, f64) = (8.4, 18.0);
const FOREGROUND: &str = "#d8d8d8";
const BACKGROUND: &str = "#16181d";

fn main() -> color_eyre::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |place: usize| arguments.get(place).map(String::as_str);
    let usage = "usage: picture PID|NAME FILE [KEYS] [COLUMNSxROWS] [SECONDS]";
    let (target, file) = (argument(0).context(usage)?, argument(1).context(usage)?);
    let size = argument(3).unwrap_or("120x36");
    let (columns, rows) = size.split_once('x').context("a size is COLUMNSxROWS, such as 120x36")?;
    let size = (columns.parse()?, rows.parse()?);
    let watched = Duration::from_secs_f64(argument(4).unwrap_or("3").parse()?);

    let connection = find(&Selector::parse(target)).map_err(|failure| eyre!("{failure}"))?;
    let mut source = LiveSource::new(connection, RATE_HZ);
    let mut model = Model::new(Theme::new(Depth::True, false, ThemeName::Dark), RATE_HZ, size);
    watch(&mut model, &mut source, watched)?;
    for key in argument(2).unwrap_or("1").chars() {
        let code = if key == '\n' { KeyCode::Enter } else { KeyCode::Char(key) };
        let commands = update(&mut model, Message::Key(KeyEvent::new(code, KeyModifiers::NONE)));
        if let Some(id) = commands.superblock {
            source.request_superblock(id);
        }
        watch(&mut model, &mut source, Duration::from_millis(300))?;
    }
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1))?;
    terminal.draw(|frame| view(&model, frame))?;
    std::fs::write(file, svg(terminal.backend().buffer()))?;
    Ok(())
}

fn watch(model: &mut Model, source: &mut LiveSource, time: Duration) -> color_eyre::Result<()> {
    let until = Instant::now() + time;
    while Instant::now() < until {
        let event = source.poll(until.saturating_duration_since(Instant::now()));
        if let SourceEvent::Gone(reason) | SourceEvent::Failed(reason) = &event {
            bail!("{reason}");
        }
        if event != SourceEvent::Quiet {
            let _ = update(model, Message::Source(event));
        }
    }
    Ok(())
}

/// The buffer as SVG: rectangles for backgrounds, text for runs of equal style, each stretched to its cells so that
/// columns stay columns whatever font there is; blocks and lines that must meet are drawn as shapes.
fn svg(buffer: &Buffer) -> String {
    let area = buffer.area;
    let (width, height) = (f64::from(area.width) * CELL.0, f64::from(area.height) * CELL.1);
    let mut out = String::new();
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.1} {height:.1}\" \
         font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"14\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"{BACKGROUND}\"/>"
    );
    for y in 0..area.height {
        let mut x = 0;
        while x < area.width {
            let cell = &buffer[(x, y)];
            let start = x;
            let mut text = String::new();
            while x < area.width && same_style(cell, &buffer[(x, y)]) {
                text.push_str(buffer[(x, y)].symbol());
                x += 1;
            }
            run(&mut out, cell, &text, (start, y), x - start);
        }
    }
    out.push_str("</svg>\n");
    out
}

fn same_style(left: &Cell, right: &Cell) -> bool {
    (left.fg, left.bg, left.modifier) == (right.fg, right.bg, right.modifier)
}

/// One run of cells of the same style.
fn run(out: &mut String, cell: &Cell, text: &str, (x, y): (u16, u16), cells: u16) {
    let (mut foreground, mut background) = (color(cell.fg, FOREGROUND), color(cell.bg, BACKGROUND));
    if cell.modifier.contains(Modifier::REVERSED) {
        std::mem::swap(&mut foreground, &mut background);
    }
    let (left, top) = (f64::from(x) * CELL.0, f64::from(y) * CELL.1);
    let width = f64::from(cells) * CELL.0;
    if background != BACKGROUND {
        let _ = writeln!(
            out,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{}\" fill=\"{background}\"/>",
            CELL.1
        );
    }
    if text.trim().is_empty() {
        return;
    }
    let weight = if cell.modifier.contains(Modifier::BOLD) { " font-weight=\"bold\"" } else { "" };
    let dim = if cell.modifier.contains(Modifier::DIM) { " opacity=\"0.6\"" } else { "" };
    // Letters go word by word, so that no font's widths add up over a line.
    let characters: Vec<char> = text.chars().collect();
    let mut place = 0;
    while place < characters.len() {
        let start = place;
        let at = left + start as f64 * CELL.0;
        if let Some((from, to)) = block(characters[start]) {
            while place < characters.len() && characters[place] == characters[start] {
                place += 1;
            }
            let width = (place - start) as f64 * CELL.0;
            let (from, height) = (top + from * CELL.1, (to - from) * CELL.1);
            let _ = writeln!(
                out,
                "<rect x=\"{at:.1}\" y=\"{from:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{foreground}\"{dim}/>"
            );
            continue;
        }
        if characters[start] == ' ' {
            place += 1;
            continue;
        }
        while place < characters.len()
            && characters[place] != ' '
            && block(characters[place]).is_none()
        {
            place += 1;
        }
        let word: String = characters[start..place].iter().collect();
        let length = (place - start) as f64 * CELL.0;
        let _ = writeln!(
            out,
            "<text x=\"{at:.1}\" y=\"{:.1}\" textLength=\"{length:.1}\" lengthAdjust=\"spacingAndGlyphs\" \
             fill=\"{foreground}\"{weight}{dim}>{}</text>",
            top + CELL.1 * 0.76,
            escaped(&word)
        );
    }
}

/// The part of a cell, from the top, that a block character fills.
fn block(character: char) -> Option<(f64, f64)> {
    Some(match character {
        '█' => (0.0, 1.0),
        '▀' => (0.0, 0.5),
        '▁'..='▇' => {
            let eighths = f64::from(character as u32 - 0x2580);
            (1.0 - eighths / 8.0, 1.0)
        }
        _ => return None,
    })
}

fn color(color: Color, default: &'static str) -> String {
    match color {
        Color::Rgb(red, green, blue) => format!("#{red:02x}{green:02x}{blue:02x}"),
        Color::Black => "#000000".to_owned(),
        // The theme for true colour names all its colours.
        _ => default.to_owned(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
