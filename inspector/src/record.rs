//! `lfinspect record` and `lfinspect replay`.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use lfalloc_protocol::message::Kind;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::cli::Flags;
use crate::connect::{ConnectError, Connection};
use crate::failure::{Failure, Outcome};
use crate::format;
use crate::process::{self, printable_path};
use crate::recorded;
use crate::recording::segments::{Keep, Recorder, Written, older_path};
use crate::recording::{PROCESS, process_payload};
use crate::source::replay::ReplaySource;
use crate::{target, tui};

/// Between two looks whether it is time to end.
const STEP: Duration = Duration::from_millis(200);
/// Between two looks at the resident bytes, and two lines about how far it is.
const SECOND: Duration = Duration::from_secs(1);

/// How much, and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) bytes: u64,
    pub(crate) keep: Keep,
    pub(crate) time: Option<Duration>,
}

/// Nanoseconds since 1970, by the system's clock.
pub(crate) fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.ok().and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or(0)
}

/// Why a recording ends that did not have to.
const NO_ROOM: &str = "one state needs more than half of --max-size, so that no older one can be dropped for it: \
                       use a larger one, or --stop-at-limit";

/// Records `connection` into a new file until a limit, a signal or the program's end.
pub(crate) fn record(
    flags: &Flags,
    connection: &mut Connection,
    path: &Path,
    limits: Limits,
) -> Outcome<ExitCode> {
    let name = printable_path(path);
    let older = printable_path(&older_path(path));
    let cannot = |error: io::Error| -> color_eyre::Report {
        let hint = if error.kind() != io::ErrorKind::AlreadyExists {
            String::new()
        } else if path.exists() {
            ": a recording is never written over; name another file".to_owned()
        } else {
            format!(": {older} would become the older half of it; name another file")
        };
        Failure::new(format!("cannot write {name}: {error}{hint}")).into()
    };
    let ending = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&ending))?;
    }
    let mut recorder =
        Recorder::create(path, connection.hello(), unix_ns(), limits.bytes, limits.keep)
            .map_err(cannot)?;
    let start = Instant::now();
    let interval = Duration::from_secs_f64(1.0 / flags.rate_hz());
    connection.subscribe(interval)?;
    let mut states = 0_u64;
    let mut next_second = start;
    let is_watched = io::stderr().is_terminal();
    let why = loop {
        // Relaxed: the flag hands over nothing but itself.
        if ending.load(Ordering::Relaxed) {
            break "stopped by a signal".to_owned();
        }
        let elapsed = start.elapsed();
        if limits.time.is_some_and(|time| elapsed >= time) {
            break "the time is over".to_owned();
        }
        let left = limits.time.map_or(STEP, |time| time.saturating_sub(elapsed).min(STEP));
        let (kind, payload) = if Instant::now() >= next_second {
            next_second += SECOND;
            if is_watched {
                say(format_args!(
                    "\r{}  {states} states  {} ",
                    format::duration(elapsed.as_nanos() as u64),
                    bytes(&recorder)
                ));
            }
            let rss = connection.peer_pid().and_then(process::rss_bytes);
            (PROCESS, process_payload(connection.pid(), rss).to_vec())
        } else {
            match connection.receive(left.max(Duration::from_millis(1))) {
                Ok(Some(frame)) => frame,
                Ok(None) => continue,
                Err(error) => break ended(connection, &error),
            }
        };
        match recorder.write(start.elapsed(), kind, &payload).map_err(cannot)? {
            Written::Yes => {}
            // A subscription begins with a full state, which the new segment needs; and so it does what the system says.
            Written::Renewed => match connection.subscribe(interval) {
                Ok(()) => next_second = Instant::now(),
                Err(error) => break ended(connection, &error),
            },
            Written::Full => break "the size limit is reached".to_owned(),
            Written::StateTooLarge => {
                recorder.finish().map_err(cannot)?;
                return Err(Failure::new(format!("cannot go on with {name}: {NO_ROOM}")).into());
            }
        }
        states += u64::from(kind == Kind::STATE_END);
    };
    if is_watched {
        say(format_args!("\r"));
    }
    let size = bytes(&recorder);
    let files = if recorder.has_older() {
        format!(", the newest of them in {older} and {name}")
    } else {
        format!(" in {name}")
    };
    recorder.finish().map_err(cannot)?;
    let elapsed = format::duration(start.elapsed().as_nanos() as u64);
    say(format_args!("{why}: {states} states of {elapsed}{files}, {size}\n"));
    Ok(if states > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Why nothing more comes.
fn ended(connection: &Connection, error: &ConnectError) -> String {
    match error {
        ConnectError::Closed => "the program, or its agent, has ended".to_owned(),
        error => {
            let subject = target::subject(connection.pid(), &connection.hello().name);
            error.explain(&subject, connection.path())
        }
    }
}

/// On standard error; whoever closed it does not want to know.
fn say(text: fmt::Arguments<'_>) {
    let _ = io::stderr().write_fmt(text);
}

fn bytes(recorder: &Recorder) -> String {
    format::bytes(i64::try_from(recorder.bytes()).unwrap_or(i64::MAX))
}

/// Shows a recording; without a terminal prints a page about its last state.
pub(crate) fn replay(flags: &Flags, path: &Path, speed: f64, from: Duration) -> Outcome<ExitCode> {
    if !io::stdout().is_terminal() {
        return recorded::top(flags, path, false);
    }
    let source = ReplaySource::new(recorded::open(path)?, speed, from);
    let options = tui::Options { replay: true, ..flags.interface_options() };
    Ok(tui::run(Box::new(source), options)?.into())
}
