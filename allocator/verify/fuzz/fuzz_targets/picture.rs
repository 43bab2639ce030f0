//! Arbitrary frames and keys, and a terminal of an arbitrary size on which what came of them is drawn.
//!
//! An input is the size, the looks, and then steps: a frame (with a greeting at any time), a key, or another size. What is
//! drawn is drawn once, at the end: the states before it were taken in by the model all the same.
#![no_main]
#![forbid(unsafe_code)]

use lfalloc_fuzz::{Input, greeting};
use lfalloc_protocol::decode;
use lfalloc_protocol::message::{Hello, Kind};
use lfinspect::source::SourceEvent;
use lfinspect::tui::ThemeName;
use lfinspect::tui::model::Model;
use lfinspect::tui::theme::{Depth, Theme};
use lfinspect::tui::update::{Message, update};
use lfinspect::tui::view::view;
use libfuzzer_sys::fuzz_target;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Keys that are no characters.
const NAMED_KEYS: [KeyCode; 8] = [
    KeyCode::Tab,
    KeyCode::BackTab,
    KeyCode::Esc,
    KeyCode::Enter,
    KeyCode::Up,
    KeyCode::Down,
    KeyCode::PageDown,
    KeyCode::End,
];

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let looks = input.byte();
    let depth = [Depth::None, Depth::Ansi16, Depth::Ansi256, Depth::True][usize::from(looks & 3)];
    let theme = Theme::new(depth, looks & 4 != 0, ThemeName::Dark);
    let mut size = (u16::from(input.byte()), u16::from(input.byte()) % 80);
    let mut model = Model::new(theme, 4.0, size);
    model.replay = looks & 8 != 0;
    if let Ok(hello) = decode::<Hello>(&greeting()) {
        let _ = update(&mut model, Message::Source(SourceEvent::Connected(hello)));
    }
    while !input.is_empty() {
        // Most of an input is frames, and most of these are in the order in which they lie there.
        let step = input.byte();
        let message = match step {
            0..=199 => {
                let (kind, payload) = input.frame();
                if kind == Kind::HELLO {
                    let Ok(hello) = decode::<Hello>(payload) else { continue };
                    Message::Source(SourceEvent::Connected(hello))
                } else {
                    Message::Source(SourceEvent::Frame(kind, payload.to_vec()))
                }
            }
            200..=239 => Message::Key(KeyEvent::new(
                // `q` would only end it.
                match input.byte() {
                    b'q' => KeyCode::Char('?'),
                    key @ b' '..=b'~' => KeyCode::Char(char::from(key)),
                    other => NAMED_KEYS[usize::from(other) % NAMED_KEYS.len()],
                },
                KeyModifiers::NONE,
            )),
            240..=247 => {
                let rss_bytes = (step & 1 != 0).then_some(u64::from(input.word()) << 16);
                Message::Source(SourceEvent::Process { pid: step.into(), rss_bytes })
            }
            248..=251 => {
                size = (u16::from(input.byte()), u16::from(input.byte()) % 80);
                Message::Resize(size.0, size.1)
            }
            _ => Message::Source(SourceEvent::Gone("it ended".to_owned())),
        };
        let _ = update(&mut model, message);
    }
    let Ok(mut terminal) = Terminal::new(TestBackend::new(size.0, size.1));
    let drawn = terminal.draw(|frame| view(&model, frame)).map(drop);
    assert!(drawn.is_ok());
    let control = |cell: &ratatui::buffer::Cell| cell.symbol().chars().any(char::is_control);
    assert!(!terminal.backend().buffer().content.iter().any(control), "control characters");
});
