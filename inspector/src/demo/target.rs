//! The program that `demo` watches, from the inside.
//!
//! Its own allocations go to the system's allocator: lfalloc holds nothing but the walk's blocks and
//! those of its scenery, so that the runtime does not blur the picture. It speaks in lines on standard output
//! (`socket PATH`, `done`, `failed REASON`) and ends when its standard input does, even in the
//! middle of a step.

use std::io::{self, BufRead as _, Write as _};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use lfalloc_agent::Agent;
use lfalloc_examples::walk::Walk;
use signal_hook::consts::{SIGHUP, SIGINT};

/// Calls itself `name` in lists, and walks `rounds` times, or until standard input ends. Returns only after it has said what failed.
#[must_use]
pub fn run(name: &str, pace: Duration, rounds: Option<u32>) -> ExitCode {
    outlive_the_terminal();
    let agent = match lfalloc_agent::Options::new().name(name).start() {
        Ok(agent) => agent,
        Err(error) => return failed(&error.to_string()),
    };
    say(&format!("socket {}", agent.socket_path().display()));
    let agent = Arc::new(Mutex::new(Some(agent)));
    let go = follow_standard_input(Arc::clone(&agent));
    if go.recv().is_err() {
        // Standard input ended: the other thread is ending the process.
        park_for_ever();
    }
    let mut walk = Walk::new(pace);
    if rounds.is_none() {
        // For a person to look at; a walk that is checked is alone.
        walk = walk.with_scenery();
    }
    let mut walked = 0;
    while rounds.is_none_or(|rounds| walked < rounds) {
        if let Err(reason) = walk.run_once() {
            // Said first: a viewer whose connection ends asks for the reason.
            let status = failed(&reason);
            end_agent(&agent);
            return status;
        }
        walked += 1;
    }
    say("done");
    park_for_ever();
}

/// A window that is closed sends its signal to lfinspect and to this program alike. The end of
/// standard input follows, which leaves no socket behind.
fn outlive_the_terminal() {
    for signal in [SIGHUP, SIGINT] {
        // Without it the socket may stay: no reason to show nothing.
        let _ = signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)));
    }
}

/// The agent, which whichever thread ends the process ends first.
type SharedAgent = Arc<Mutex<Option<Agent>>>;

/// Signals the first line, and ends the process at the end of standard input.
fn follow_standard_input(agent: SharedAgent) -> mpsc::Receiver<()> {
    let (sender, go) = mpsc::channel();
    thread::spawn(move || {
        let mut sender = Some(sender);
        for _line in io::stdin().lock().lines().map_while(Result::ok) {
            if let Some(sender) = sender.take() {
                // The receiver lives as long as the walk.
                let _ = sender.send(());
            }
        }
        end_agent(&agent);
        std::process::exit(0);
    });
    go
}

/// Removes the socket.
fn end_agent(agent: &SharedAgent) {
    drop(agent.lock().unwrap_or_else(PoisonError::into_inner).take());
}

fn failed(reason: &str) -> ExitCode {
    say(&format!("failed {}", reason.replace('\n', " ")));
    ExitCode::FAILURE
}

/// Writes a line; with nobody listening, standard input has ended as well.
fn say(line: &str) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

fn park_for_ever() -> ! {
    loop {
        thread::park();
    }
}
