//! The threads that feed the one bounded channel: input, source, signals, the survey of programs, and those of a program that
//! was started here.
//!
//! A full channel makes its senders wait: a slow terminal slows the source, which then leaves whole
//! states out, and nothing piles up here. All of them end when the receiver is gone, or when there is
//! nobody to wait for; an input thread that waits for a key ends with the process.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, channel, sync_channel,
};
use std::thread;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use super::update::Message;
use super::{Launch, terminal};
use crate::run::program::Program;
use crate::source::{Ask, Source, SourceEvent};
use crate::survey::{ROUND, Surveyor};

mod launched;

/// Messages that may wait.
const CAPACITY: usize = 256;
/// How long the source may go on without looking whether anybody listens.
const SOURCE_POLL: Duration = Duration::from_millis(200);

/// How long the loop has to end after a signal. A terminal that takes no output holds it up for ever.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(20);

/// What the loop listens to, and what it can ask for.
pub(super) struct Feed {
    pub(super) messages: Receiver<Message>,
    /// What the source is to be asked for.
    asks: Sender<Ask>,
    /// Whether programs are to be surveyed.
    surveys: Sender<bool>,
    signals: Handle,
    launched: Option<launched::Feed>,
}

impl Feed {
    /// Passes on what is asked for. Whoever has ended gives nothing.
    pub(super) fn ask(&self, ask: Ask) {
        match ask {
            Ask::Survey(wanted) => {
                let _ = self.surveys.send(wanted);
            }
            Ask::Output(_) | Ask::End { .. } => {
                if let Some(launched) = &self.launched {
                    launched.ask(&ask);
                }
            }
            ask => {
                let _ = self.asks.send(ask);
            }
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.signals.close();
    }
}

/// Starts all threads.
pub(super) fn start(
    source: Box<dyn Source + Send>,
    rate_hz: f64,
    launch: Option<Launch>,
    signals: Signals,
) -> io::Result<Feed> {
    let (sender, messages) = sync_channel(CAPACITY);
    let (asking, asked) = channel();
    let program = launch.as_ref().map(|launch| Arc::clone(&launch.program));
    let root = program.as_ref().map(|program| program.pid());
    let signals = listen_for_signals(signals, sender.clone(), program)?;
    let launched = launch.map(|launch| launched::start(launch, sender.clone())).transpose()?;
    let (surveys, wanted) = channel();
    let feed = Feed { messages, asks: asking, surveys, signals, launched };
    start_source(source, rate_hz, asked, sender.clone())?;
    start_surveys(wanted, root, sender.clone())?;
    thread::Builder::new()
        .name("lfinspect-input".to_owned())
        .spawn(move || guarded(&sender, || read_input(&sender)))?;
    Ok(feed)
}

/// A program that was started here gets the signals, too, and at once: the loop may be stuck.
fn listen_for_signals(
    mut signals: Signals,
    sender: SyncSender<Message>,
    program: Option<Arc<Program>>,
) -> io::Result<Handle> {
    let handle = signals.handle();
    let closing = handle.clone();
    thread::Builder::new().name("lfinspect-signals".to_owned()).spawn(move || {
        if let Some(number) = signals.forever().next() {
            if let Some(program) = program {
                // Of us alone: the program is in no terminal.
                program.signal(if number == SIGINT { SIGTERM } else { number });
            }
            end_in_time(&sender, &closing, number);
        }
    })?;
    Ok(handle)
}

/// Asks the loop to end as a signal demands; if it does not, ends the program.
fn end_in_time(sender: &SyncSender<Message>, closing: &Handle, number: i32) {
    let deadline = Instant::now() + PATIENCE;
    let mut asked = false;
    while Instant::now() < deadline {
        if !asked {
            // Not `send`: the channel of a loop that is stuck is full.
            let sent = sender.try_send(Message::Signal(number));
            asked = !matches!(sent, Err(TrySendError::Full(_)));
        }
        thread::sleep(LOOK);
        if closing.is_closed() {
            return;
        }
    }
    terminal::restore_without_waiting();
    std::process::exit(128 + number);
}

/// Drives the source until nobody listens any more.
pub(super) fn start_source(
    mut source: Box<dyn Source + Send>,
    rate_hz: f64,
    asked: Receiver<Ask>,
    sender: SyncSender<Message>,
) -> io::Result<()> {
    thread::Builder::new().name("lfinspect-source".to_owned()).spawn(move || {
        guarded(&sender, || {
            source.request_rate(rate_hz);
            // The other end of `asked` is dropped together with the receiver of messages.
            loop {
                match asked.try_recv() {
                    Ok(Ask::Rate(rate_hz)) => source.request_rate(rate_hz),
                    Ok(Ask::Superblock(id)) => source.request_superblock(id),
                    Ok(Ask::Attach(socket)) => source.attach(&socket),
                    Ok(Ask::Reconnect) => source.reconnect(),
                    Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
                    Ok(Ask::Survey(_) | Ask::Output(_) | Ask::End { .. })
                    | Err(std::sync::mpsc::TryRecvError::Empty) => {}
                }
                let event = source.poll(SOURCE_POLL);
                if event != SourceEvent::Quiet && sender.send(Message::Source(event)).is_err() {
                    return;
                }
            }
        });
    })?;
    Ok(())
}

/// Surveys programs while that is wanted; sleeps otherwise, and keeps no connection.
/// The tree of programs below `root` is told.
fn start_surveys(
    wanted: Receiver<bool>,
    root: Option<u32>,
    sender: SyncSender<Message>,
) -> io::Result<()> {
    thread::Builder::new().name("lfinspect-survey".to_owned()).spawn(move || {
        guarded(&sender, || {
            while let Ok(is_wanted) = wanted.recv() {
                if is_wanted {
                    survey(&wanted, root, &sender);
                }
            }
        });
    })?;
    Ok(())
}

fn survey(wanted: &Receiver<bool>, root: Option<u32>, sender: &SyncSender<Message>) {
    let mut surveyor = Surveyor::below(root);
    loop {
        let start = Instant::now();
        let survey = surveyor.round();
        let round = if survey.is_waiting { ROUND / 8 } else { ROUND };
        if sender.send(Message::Surveyed(survey)).is_err() {
            return;
        }
        match wanted.recv_timeout(round.saturating_sub(start.elapsed())) {
            Ok(true) | Err(RecvTimeoutError::Timeout) => {}
            Ok(false) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn read_input(sender: &SyncSender<Message>) {
    loop {
        let message = match event::read() {
            Ok(Event::Key(key)) => Message::Key(key),
            Ok(Event::Mouse(mouse)) => Message::Mouse(mouse),
            Ok(Event::Resize(columns, rows)) => Message::Resize(columns, rows),
            Ok(_) => continue,
            Err(_) => Message::InputClosed,
        };
        let closed = matches!(message, Message::InputClosed);
        if sender.send(message).is_err() || closed {
            return;
        }
    }
}

/// Runs a thread's work; a panic, reported by the hook already, ends the interface.
fn guarded(sender: &SyncSender<Message>, work: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(work)).is_err() {
        let _ = sender.send(Message::Panicked);
    }
}
