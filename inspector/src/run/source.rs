//! The states of the program that was started: looked for by its process id, also after it has run another program in its
//! place, until it has ended.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lfalloc_protocol::message::Kind;

use super::program::Program;
use super::reason::Launch;
use crate::seek::Whom;
use crate::source::following::FollowingSource;
use crate::source::{Source, SourceEvent};
use crate::target;

/// How long after its connection a program may have ended.
const LAST_MOMENT: Duration = Duration::from_millis(300);

/// The source behind `lfinspect run`.
pub(super) struct LaunchedSource {
    program: Arc<Program>,
    live: FollowingSource,
    /// Whether the program is the one that is looked for or watched; another one may have been picked.
    is_own: bool,
    told_end: bool,
    seen: Arc<AtomicBool>,
}

impl LaunchedSource {
    /// Begins to look for it.
    pub(super) fn new(program: Arc<Program>, rate_hz: f64) -> Self {
        let live = FollowingSource::waiting_for(whom(&program), rate_hz, false);
        let seen = Arc::new(AtomicBool::new(false));
        Self { program, live, is_own: true, told_end: false, seen }
    }

    /// Whether a state of any program was seen.
    pub(super) fn seen(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.seen)
    }

    fn is_connected_to_it(&self) -> bool {
        self.live.connected_pid() == Some(self.program.pid())
    }

    /// It has ended: said once.
    fn tell_end(&mut self) -> Option<SourceEvent> {
        let end = self.program.end()?;
        self.told_end = true;
        let subject = target::subject(self.program.pid(), self.program.name());
        Some(SourceEvent::Gone(format!("{subject} {}", end.words())))
    }
}

fn whom(program: &Program) -> Whom {
    Whom::Launched(Launch {
        pid: program.pid(),
        name: program.name().to_owned(),
        file: program.file().to_owned(),
    })
}

impl Source for LaunchedSource {
    fn poll(&mut self, timeout: Duration) -> SourceEvent {
        let is_waited_for = self.is_own && self.live.connected_pid().is_none();
        if is_waited_for
            && !self.told_end
            && let Some(gone) = self.tell_end()
        {
            self.live.stop();
            return gone;
        }
        let was_it = self.is_connected_to_it();
        let event = self.live.poll(timeout);
        match &event {
            SourceEvent::Frame(Kind::STATE_END, _) => {
                // Relaxed: it is read when this thread has nothing more to say.
                self.seen.store(true, Ordering::Relaxed);
            }
            SourceEvent::Gone(_) if was_it => {
                self.is_own = true;
                let _ = self.program.wait_for(LAST_MOMENT);
                if let Some(gone) = self.tell_end() {
                    return gone;
                }
                // Its agent has ended, and it has not: it may have run another program in its place.
                self.live.seek(whom(&self.program));
                return SourceEvent::Quiet;
            }
            _ => {}
        }
        event
    }

    fn request_rate(&mut self, hz: f64) {
        self.live.request_rate(hz);
    }

    fn request_superblock(&mut self, id: u32) {
        self.live.request_superblock(id);
    }

    fn can_attach(&self) -> bool {
        true
    }

    fn attach(&mut self, socket: &Path) {
        self.is_own = false;
        self.live.attach(socket);
    }

    fn reconnect(&mut self) {
        self.live.reconnect();
    }
}
