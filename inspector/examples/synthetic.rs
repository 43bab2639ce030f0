//! The terminal interface on a made-up process: to look at screens, and to work on them, without a
//! program to watch.
//!
//! ```text
//! cargo run -p lfinspect --example synthetic -- [SUPERBLOCKS] [OPERATIONS] [STATES]
//! ```
//! `STATES`: the process is gone after so many states. `--ascii`, `--no-color`, `--no-mouse`, `--light`
//! and `--magazines` do what they say; `--panic` lets the source panic after a second, which must leave
//! the terminal as it was.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use lfinspect::source::synthetic::{Synthetic, SyntheticSource};
use lfinspect::source::{Source, SourceEvent};
use lfinspect::tui::{self, Color, Options, ThemeName};

/// Quiet for a second, and then no more.
struct Panicking(Instant);

impl Source for Panicking {
    fn poll(&mut self, timeout: Duration) -> SourceEvent {
        assert!(self.0.elapsed() < Duration::from_secs(1), "a panic on purpose");
        std::thread::sleep(timeout);
        SourceEvent::Quiet
    }

    fn request_rate(&mut self, _: f64) {}

    fn request_superblock(&mut self, _: u32) {}
}

fn main() -> color_eyre::Result<ExitCode> {
    let (flags, numbers): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|argument| argument.starts_with("--"));
    let number = |place: usize| numbers.get(place).and_then(|text| text.parse::<u64>().ok());
    let flag = |name: &str| flags.iter().any(|flag| flag == name);
    let default = Synthetic::default();
    let source = SyntheticSource::new(Synthetic {
        superblocks: number(0).and_then(|n| u32::try_from(n).ok()).unwrap_or(default.superblocks),
        operations: number(1).and_then(|n| u32::try_from(n).ok()).unwrap_or(default.operations),
        states: number(2),
        magazines: flag("--magazines"),
        paced: true,
        ..default
    });
    let source: Box<dyn Source + Send> =
        if flag("--panic") { Box::new(Panicking(Instant::now())) } else { Box::new(source) };
    let options = Options {
        mouse: !flag("--no-mouse"),
        theme: if flag("--light") { ThemeName::Light } else { ThemeName::Dark },
        ascii: flag("--ascii"),
        color: if flag("--no-color") { Color::Never } else { Color::Auto },
        ..Options::default()
    };
    Ok(tui::run(source, options)?.into())
}
