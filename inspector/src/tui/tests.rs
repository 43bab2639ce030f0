//! Aim: the loop draws on change only, and ends for every reason it should.

use std::sync::mpsc::{Sender, channel, sync_channel};
use std::time::Duration;

use lfalloc_protocol::message::Kind;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::*;
use crate::source::SourceEvent;
use crate::source::synthetic::{Synthetic, SyntheticSource};

fn model() -> Model {
    Model::new(Theme::new(Depth::None, false, ThemeName::Dark), 4.0, (80, 24))
}

fn key(code: KeyCode) -> Message {
    Message::Key(KeyEvent::new(code, KeyModifiers::NONE))
}

/// A terminal that counts, and tells of each drawing.
struct Seen {
    draws: usize,
    copies: Vec<String>,
    drawn: Sender<()>,
}

impl Output for Seen {
    fn draw(&mut self, _: &Model, _: bool) -> io::Result<()> {
        self.draws += 1;
        // A feeder that has fed everything does not listen any more.
        let _ = self.drawn.send(());
        Ok(())
    }

    fn copy(&mut self, text: &str) -> io::Result<()> {
        self.copies.push(text.to_owned());
        Ok(())
    }
}

/// How often the terminal was drawn, what was copied and asked for, and how it ended.
struct Driven {
    draws: usize,
    copies: Vec<String>,
    asked: Vec<Ask>,
    status: ExitStatus,
}

/// Feeds the messages one at a time: those that are to be drawn, each only after the one before was.
fn drive_slowly(drawn: Vec<Message>, silent: Vec<Message>) -> Driven {
    let (sender, receiver) = sync_channel(0);
    let (rates, asked) = channel();
    let (drawing, drawings) = channel();
    let feeder = std::thread::spawn(move || {
        // The loop drains what is waiting: only a drawing tells that it has taken one in. One that never comes is counted.
        let wait = || drawings.recv_timeout(Duration::from_secs(10));
        let _ = wait();
        for message in drawn {
            if sender.send(message).is_err() {
                return;
            }
            let _ = wait();
        }
        for message in silent {
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    let mut seen = Seen { draws: 0, copies: Vec::new(), drawn: drawing };
    let ask = |ask| {
        let _ = rates.send(ask);
    };
    let status = drive(&mut model(), &receiver, ask, &mut seen).expect("drawing does not fail");
    drop((receiver, rates));
    feeder.join().expect("the feeder does not panic");
    let asked = asked.into_iter().collect();
    Driven { draws: seen.draws, copies: seen.copies, asked, status }
}

#[test]
fn nothing_is_drawn_when_nothing_has_changed() {
    let quiet = || Message::Source(SourceEvent::Quiet);
    let unbound = key(KeyCode::Char('Z'));
    let Driven { draws, status, .. } =
        drive_slowly(vec![], vec![quiet(), unbound, quiet(), key(KeyCode::Char('q'))]);
    assert_eq!((draws, status), (1, ExitStatus::Done), "the first picture alone");
}

#[test]
fn what_changes_is_drawn_and_rates_are_passed_on() {
    let messages = vec![key(KeyCode::Tab), key(KeyCode::Char('+')), Message::Resize(100, 40)];
    let Driven { draws, asked, status, .. } = drive_slowly(messages, vec![Message::Signal(15)]);
    assert_eq!((draws, asked, status), (4, vec![Ask::Rate(8.0)], ExitStatus::Signal(15)));
}

#[test]
fn a_text_is_copied_once_and_shown_to_be() {
    let failed = Message::Source(SourceEvent::Failed("no such process".to_owned()));
    let Driven { draws, copies, .. } = drive_slowly(vec![failed, key(KeyCode::Char('y'))], vec![]);
    assert_eq!((draws, copies), (3, vec!["no such process".to_owned()]));
    assert!(
        drive_slowly(vec![key(KeyCode::Char('y'))], vec![]).copies.is_empty(),
        "nothing to copy"
    );
}

/// A terminal that hangs up when it has shown a state.
struct HangsUp {
    draws: u64,
    after: u64,
}

impl Output for HangsUp {
    fn draw(&mut self, model: &Model, _: bool) -> io::Result<()> {
        self.draws += 1;
        let shown = model.shown().map_or(0, |data| data.picture.states);
        if shown == self.after { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }

    fn copy(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_flood_of_frames_is_drawn_in_the_end_and_not_frame_by_frame() {
    const STATES: u64 = 300;
    let mut source =
        SyntheticSource::new(Synthetic { superblocks: 10, operations: 50, ..Synthetic::default() });
    let (sender, receiver) = sync_channel(0);
    let mut model = model();
    let feeder = std::thread::spawn(move || {
        let mut ends = 0;
        while ends < STATES {
            let event = source.poll(Duration::ZERO);
            ends += u64::from(matches!(event, SourceEvent::Frame(Kind::STATE_END, _)));
            sender.send(Message::Source(event)).expect("the loop listens");
        }
        sender
    });
    let mut terminal = HangsUp { draws: 0, after: STATES };
    let status = drive(&mut model, &receiver, |_| {}, &mut terminal);
    let draws = terminal.draws;
    assert!(status.is_err(), "the last state is drawn though nothing follows it");
    assert!(draws < STATES, "{draws} drawings of {STATES} states, several frames each");
    drop(feeder.join().expect("the feeder does not panic"));
}

#[test]
fn a_flood_that_does_not_end_is_drawn_meanwhile() {
    let mut source =
        SyntheticSource::new(Synthetic { superblocks: 10, operations: 50, ..Synthetic::default() });
    let (sender, receiver) = channel();
    // There is always more than is taken in before the next look at the time.
    for _ in 0..200_000 {
        let event = source.poll(Duration::ZERO);
        sender.send(Message::Source(event)).expect("the loop listens");
    }
    sender.send(Message::Signal(15)).expect("the loop listens");
    let (mut model, mut seen) =
        (model(), Seen { draws: 0, copies: Vec::new(), drawn: channel().0 });
    let status = drive(&mut model, &receiver, |_| {}, &mut seen).expect("drawing does not fail");
    assert_eq!(status, ExitStatus::Signal(15));
    assert!(
        seen.draws > 5,
        "the first picture, the connection, and as time goes by: {}",
        seen.draws
    );
}

#[test]
fn it_ends_when_nobody_can_say_anything_any_more() {
    assert_eq!(drive_slowly(vec![], vec![]).status, ExitStatus::Done);
    assert_eq!(drive_slowly(vec![], vec![Message::InputClosed]).status, ExitStatus::Done);
    assert_eq!(drive_slowly(vec![], vec![Message::Panicked]).status, ExitStatus::Panicked);
    let failed = Message::Source(SourceEvent::Failed("no such process".to_owned()));
    let status = drive_slowly(vec![failed], vec![key(KeyCode::Char('q'))]).status;
    assert_eq!(status, ExitStatus::NeverConnected);
}

#[test]
fn the_source_thread_ends_with_its_listener() {
    let (sender, messages) = sync_channel(4);
    let (rates, asked) = channel();
    let source = SyntheticSource::new(Synthetic { superblocks: 10, ..Synthetic::default() });
    feed::start_source(Box::new(source), 4.0, asked, sender).expect("a thread");
    let first = messages.recv().expect("a greeting");
    assert!(matches!(first, Message::Source(SourceEvent::Connected(_))));
    drop(messages);
    // The thread drops its end of the rates when it ends.
    let ended = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        rates.send(Ask::Rate(1.0)).is_err()
    });
    assert!(ended);
}

#[test]
fn a_source_that_panics_ends_the_interface() {
    struct Broken;
    impl Source for Broken {
        fn poll(&mut self, _: Duration) -> SourceEvent {
            panic!("a source that panics, on purpose")
        }
        fn request_rate(&mut self, _: f64) {}
        fn request_superblock(&mut self, _: u32) {}
    }
    let (sender, messages) = sync_channel(4);
    let (_rates, asked) = channel();
    feed::start_source(Box::new(Broken), 4.0, asked, sender).expect("a thread");
    assert!(matches!(messages.recv(), Ok(Message::Panicked)));
}

#[test]
fn exit_codes_are_those_of_a_shell() {
    let code = |status: ExitStatus| format!("{:?}", ExitCode::from(status));
    let number = |number: u8| format!("{:?}", ExitCode::from(number));
    assert_eq!(code(ExitStatus::Done), number(0));
    assert_eq!(code(ExitStatus::NeverConnected), number(1));
    assert_eq!(code(ExitStatus::Signal(15)), number(143));
}
