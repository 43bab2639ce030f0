//! The terminal: set up, drawn to, and always given back as it was, be it by leaving, by an error, by
//! a panic of any thread, or by a signal (which ends the loop in the ordinary way).

use std::fs::File;
use std::io::{self, Stdout, Write};
use std::mem::ManuallyDrop;
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::{self, PanicHookInfo};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::clipboard::CopyToClipboard;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{DisableMouseCapture, EnableMouseCapture};
use ratatui::crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode,
};
use ratatui::crossterm::{execute, queue};
use ratatui::layout::Rect;

use super::Output;
use super::model::Model;
use super::view::view;

/// Whether the terminal is ours, so that exactly one of guard and panic hook gives it back.
static OURS: AtomicBool = AtomicBool::new(false);

/// How to open a terminal that may take no output.
const NEVER_WAIT: i32 = libc::O_NONBLOCK | libc::O_NOCTTY;

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Sync + Send>;

/// The terminal while it is ours. Dropped, it is given back.
pub(super) struct Screen {
    /// Never dropped: its own `drop` shows the cursor and, on a terminal that hung up, panics while
    /// it complains on standard error, which is that terminal. [`restore`] shows the cursor.
    terminal: ManuallyDrop<Terminal<CrosstermBackend<Stdout>>>,
    _hook: HookGuard,
}

impl Screen {
    /// Takes the terminal over: alternate screen, raw mode, no cursor, the mouse if wanted.
    pub(super) fn new(mouse: bool) -> io::Result<Self> {
        // The hook first: from here on a panic gives the terminal back before it is reported.
        let hook = HookGuard::install();
        OURS.store(true, Ordering::SeqCst);
        Self::enter(mouse).map(|terminal| Self { terminal, _hook: hook }).inspect_err(|_| restore())
    }

    fn enter(mouse: bool) -> io::Result<ManuallyDrop<Terminal<CrosstermBackend<Stdout>>>> {
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen)?;
        if mouse {
            execute!(io::stdout(), EnableMouseCapture)?;
        }
        let mut terminal = ManuallyDrop::new(Terminal::new(CrosstermBackend::new(io::stdout()))?);
        terminal.hide_cursor()?;
        blank(&mut terminal)?;
        Ok(terminal)
    }

    /// Columns and rows.
    pub(super) fn size(&self) -> io::Result<(u16, u16)> {
        let size = self.terminal.size()?;
        Ok((size.width, size.height))
    }
}

impl Output for Screen {
    /// As one update, which terminals that can show at once.
    fn draw(&mut self, model: &Model, clear: bool) -> io::Result<()> {
        if clear {
            blank(&mut self.terminal)?;
        }
        queue!(self.terminal.backend_mut(), BeginSynchronizedUpdate)?;
        self.terminal.draw(|frame| view(model, frame))?;
        execute!(self.terminal.backend_mut(), EndSynchronizedUpdate)
    }

    /// By OSC 52, which goes the way the output goes: over ssh, and through tmux if it lets programs set its
    /// clipboard. A terminal that does not know the sequence ignores it, and answers nothing in any case.
    fn copy(&mut self, text: &str) -> io::Result<()> {
        execute!(self.terminal.backend_mut(), CopyToClipboard::to_clipboard_from(text))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Clears every cell, and forgets what was drawn. `Terminal::clear` would ask the terminal where its
/// cursor is, and wait for an answer that the input thread may take, or that never comes.
fn blank(terminal: &mut Terminal<CrosstermBackend<Stdout>>) -> io::Result<()> {
    let size = terminal.size()?;
    terminal.resize(Rect::new(0, 0, size.width, size.height))
}

/// Gives the terminal back, if it is ours. Errors are of no use here: a terminal that is gone needs
/// nothing any more.
fn restore() {
    if !OURS.swap(false, Ordering::SeqCst) {
        return;
    }
    let mut stdout = io::stdout();
    let _ =
        execute!(stdout, EndSynchronizedUpdate, DisableMouseCapture, LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
    let _ = stdout.flush();
}

/// Gives the terminal back as far as that goes while another thread is stuck in writing to it: the
/// modes, which need no output, and what the terminal takes at once. Waits for nothing.
pub(super) fn restore_without_waiting() {
    let _ = disable_raw_mode();
    // Standard output is locked by whoever is stuck; another description of the terminal is not.
    let options = File::options().write(true).custom_flags(NEVER_WAIT).open("/dev/tty");
    if let Ok(mut terminal) = options {
        let mut bytes = Vec::new();
        // Writing to a Vec cannot fail.
        let _ =
            execute!(bytes, EndSynchronizedUpdate, DisableMouseCapture, LeaveAlternateScreen, Show);
        let _ = terminal.write(&bytes);
    }
}

/// A panic hook before the one that was there; dropped, it leaves that one alone again.
struct HookGuard {
    previous: Arc<Hook>,
}

impl HookGuard {
    fn install() -> Self {
        let previous: Arc<Hook> = Arc::new(panic::take_hook());
        let next = Arc::clone(&previous);
        panic::set_hook(Box::new(move |info| {
            restore();
            next(info);
        }));
        Self { previous }
    }
}

impl Drop for HookGuard {
    fn drop(&mut self) {
        // The hook cannot be changed while this thread panics.
        if !std::thread::panicking() {
            let previous = Arc::clone(&self.previous);
            panic::set_hook(Box::new(move |info| previous(info)));
        }
    }
}

/// Whether the error means that there is no terminal any more: no fault, the end.
pub(super) fn is_gone(error: &io::Error) -> bool {
    // A terminal that hung up answers EIO.
    error.kind() == io::ErrorKind::BrokenPipe || error.raw_os_error() == Some(5)
}
