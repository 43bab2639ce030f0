//! Starting and stopping the thread.
//!
//! ```text
//!   program                                   agent's thread
//!   block all signals
//!   create the thread ──────────────────────► a descriptor table of its own, and an empty one
//!   signals as before                         directory, socket, buffers
//!   wait for the report ◄──────────────────── report: the socket's path, or why not
//!        ⋮                                    serve
//!   remove the socket, set the flag,
//!   send the thread a signal ───────────────► (blocked there: it makes a descriptor readable)
//!   wait until it has ended, 2 s at most ◄─── end
//! ```
//!
//! The program holds no descriptor of the agent's, so that it may close all of its own, and needs
//! none to stop it, so that it may have run out of them.

use std::num::NonZero;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SendError, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::StartError;
use crate::identity::{self, Uptime};
use crate::os::{self, SignalsBlocked};
use crate::outgoing::Outgoing;
use crate::place::{self, SocketFile};
use crate::registry::Registry;
use crate::server::Server;

/// The thread's name, at most 15 bytes.
const THREAD_NAME: &str = "lfalloc-agent";
/// How long stopping waits for the thread.
const STOP_TIME: Duration = Duration::from_secs(2);

type Report = Result<SocketFile, StartError>;

/// A thread that serves, and how to end it.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) file: SocketFile,
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
    /// Closed by the thread when it has ended.
    ended: Receiver<Report>,
}

/// Starts the thread and waits until it serves.
pub(crate) fn launch(directory: PathBuf, name: String) -> Result<Running, StartError> {
    let stop = Arc::new(AtomicBool::new(false));
    let (report, ended) = sync_channel(1);
    let thread = {
        let stop = Arc::clone(&stop);
        let _blocked = SignalsBlocked::new().map_err(StartError::Thread)?;
        Builder::new()
            .name(THREAD_NAME.to_owned())
            .spawn(move || {
                // Nothing in there is meant to panic; should it, the program loses its agent and
                // nothing else.
                let serve = AssertUnwindSafe(|| serve(&directory, name, stop, &report));
                drop(panic::catch_unwind(serve));
            })
            .map_err(StartError::Thread)?
    };
    match ended.recv() {
        Ok(Ok(file)) => Ok(Running { file, thread, stop, ended }),
        Ok(Err(error)) => {
            join(thread);
            Err(error)
        }
        Err(_) => {
            join(thread);
            Err(StartError::Thread(std::io::Error::other("it ended at once")))
        }
    }
}

/// The thread, from its first act to its last.
fn serve(
    directory: &std::path::Path,
    name: String,
    stop: Arc<AtomicBool>,
    report: &SyncSender<Report>,
) {
    let prepared = prepare(directory, name, stop);
    let (mut server, file, _standard) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            // The starter waits for this report: it cannot be gone.
            let _ = report.send(Err(error));
            return;
        }
    };
    if let Err(SendError(unsent)) = report.send(Ok(file)) {
        // Nobody waits any more: nobody would remove the socket either.
        let _ = unsent.map(|file| file.remove());
        return;
    }
    server.run();
}

/// Everything that can fail, and everything that allocates. The descriptors returned with the server
/// keep the numbers of the standard streams, so that nothing that is printed from within this thread
/// (by a panic, say) ends up in a viewer's socket.
fn prepare(
    directory: &std::path::Path,
    name: String,
    stop: Arc<AtomicBool>,
) -> Result<(Server, SocketFile, [std::os::fd::OwnedFd; 3]), StartError> {
    os::private_descriptor_table().map_err(StartError::Descriptors)?;
    let standard = || os::placeholder().map_err(StartError::Descriptors);
    let standard = [standard()?, standard()?, standard()?];
    let wake_up = os::wake_up_descriptor().map_err(StartError::Descriptors)?;

    let uptime = Uptime::read();
    let registry = Registry::new(uptime)?;
    let greeting = identity::greeting(name);
    let (listener, file) = place::listen(directory, &greeting.name, greeting.pid)?;
    let outgoing = Outgoing::new(greeting);
    // Those of its processors that a container lets it use; one where the system does not tell.
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let server = Server::new(stop, listener, wake_up, registry, outgoing, processors);
    Ok((server, file, standard))
}

impl Running {
    /// Ends the thread and removes the socket. Only in the process that started it.
    pub(crate) fn stop(self) {
        if let Err(error) = self.file.remove() {
            tracing::warn!(path = %self.file.path().display(), %error, "socket not removed");
        }
        // Release: pairs with the thread's Acquire.
        self.stop.store(true, Ordering::Release);
        os::wake(&self.thread);
        let deadline = Instant::now() + STOP_TIME;
        loop {
            match self.ended.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Err(RecvTimeoutError::Disconnected) => return join(self.thread),
                Err(RecvTimeoutError::Timeout) => {
                    tracing::warn!("the lfalloc agent did not end in time; it was left behind");
                    return;
                }
                // There is one report, and it was read.
                Ok(_) => {}
            }
        }
    }

    /// Lets go of it in a forked child, where the thread does not exist and the socket is the
    /// parent's: whatever refers to them is left alone.
    pub(crate) fn forget(self) {
        std::mem::forget(self);
    }
}

/// Waits for a thread that has nothing left to do.
fn join(thread: JoinHandle<()>) {
    // It catches its panics.
    let _ = thread.join();
}
