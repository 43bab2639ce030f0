//! What a state costs the viewer, in processor time: taking its frames in, and drawing each screen.
//!
//! ```text
//! cargo run --release -p lfinspect --example cost -- [SUPERBLOCKS] [OPERATIONS] [STATES]
//! ```
//! A made-up process of 100,000 superblocks, of which nearly all change between two states (2,000,000 operations).
//! Medians over 20 states; frames are made before anything is measured.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use lfalloc_protocol::message::Kind;
use lfinspect::source::synthetic::{Synthetic, SyntheticSource};
use lfinspect::source::{Source as _, SourceEvent};
use lfinspect::tui::ThemeName;
use lfinspect::tui::model::{Model, Screen};
use lfinspect::tui::theme::{Depth, Theme};
use lfinspect::tui::update::{Message, update};
use lfinspect::tui::view::view;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent};

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let number = |place: usize, default: u64| numbers.get(place).copied().unwrap_or(default);
    let states = number(2, 20).max(1);
    let mut source = SyntheticSource::new(Synthetic {
        superblocks: u32::try_from(number(0, 100_000)).unwrap_or(u32::MAX),
        operations: u32::try_from(number(1, 2_000_000)).unwrap_or(u32::MAX),
        ..Synthetic::default()
    });
    let theme = Theme::new(Depth::True, false, ThemeName::Dark);
    let mut model = Model::new(theme, 10.0, (120, 36));
    let mut terminal = Terminal::new(TestBackend::new(120, 36)).expect("a made-up terminal");
    let (mut apply, mut bytes) = (Vec::new(), Vec::new());
    let mut draw = vec![Vec::new(); Screen::ALL.len()];
    for state in 0..=states {
        let mut events = Vec::new();
        loop {
            let event = source.poll(Duration::ZERO);
            let is_end = matches!(event, SourceEvent::Frame(Kind::STATE_END, _));
            events.push(event);
            if is_end {
                break;
            }
        }
        let size: usize = events
            .iter()
            .map(|event| match event {
                SourceEvent::Frame(_, payload) => payload.len(),
                _ => 0,
            })
            .sum();
        let start = Instant::now();
        for event in events {
            let _ = update(&mut model, Message::Source(event));
        }
        // The first state is the whole one.
        if state > 0 {
            apply.push(start.elapsed());
            bytes.push(size);
        }
        for (screen, times) in Screen::ALL.into_iter().zip(&mut draw) {
            let key = KeyEvent::from(KeyCode::Char(screen.digit()));
            let _ = update(&mut model, Message::Key(key));
            let start = Instant::now();
            terminal.draw(|frame| view(&model, frame)).expect("a made-up terminal");
            times.push(start.elapsed());
        }
    }
    bytes.sort_unstable();
    println!("a state of {} KiB", bytes[bytes.len() / 2] / 1024);
    println!("  taken in         {:8.2} ms", median(apply));
    for (screen, times) in Screen::ALL.into_iter().zip(draw) {
        println!("  drawn {:10} {:8.2} ms", screen.title(), median(times));
    }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e3
}
