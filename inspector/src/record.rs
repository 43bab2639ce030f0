//! `lfinspect record` and `lfinspect replay`.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lfalloc_protocol::codec::{MAX_PAYLOAD_BYTES, encode_into};
use lfalloc_protocol::message::Kind;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::cli::Flags;
use crate::connect::{ConnectError, Connection};
use crate::failure::{Failure, Outcome, to_stdout};
use crate::format;
use crate::picture::Picture;
use crate::process::{self, printable_path};
use crate::recording::{Reader, Writer};
use crate::report::Watched;
use crate::source::replay::ReplaySource;
use crate::source::{Source as _, SourceEvent};
use crate::{target, tui};

/// Between two looks whether it is time to end.
const STEP: Duration = Duration::from_millis(200);
/// Between two looks at the resident bytes, and two lines about how far it is.
const SECOND: Duration = Duration::from_secs(1);

/// How much, and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) bytes: u64,
    pub(crate) time: Option<Duration>,
}

/// Records `connection` into a new file until a limit, a signal or the program's end.
pub(crate) fn record(
    flags: &Flags,
    connection: &mut Connection,
    path: &Path,
    limits: Limits,
) -> Outcome<ExitCode> {
    let name = printable_path(path);
    let cannot = |error: io::Error| -> color_eyre::Report {
        let hint = if error.kind() == io::ErrorKind::AlreadyExists {
            ": a recording is never written over; name another file"
        } else {
            ""
        };
        Failure::new(format!("cannot write {name}: {error}{hint}")).into()
    };
    let ending = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&ending))?;
    }
    let file = OpenOptions::new().write(true).create_new(true).open(path).map_err(cannot)?;
    let mut writer = Writer::new(file, limits.bytes).map_err(cannot)?;
    let start = Instant::now();
    let mut hello = vec![0; MAX_PAYLOAD_BYTES];
    let used = encode_into(connection.hello(), &mut hello)?;
    writer.write(Duration::ZERO, Kind::HELLO, &hello[..used]).map_err(cannot)?;
    connection.subscribe(Duration::from_secs_f64(1.0 / flags.rate_hz()))?;
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
        if Instant::now() >= next_second {
            next_second += SECOND;
            let rss = connection.peer_pid().and_then(process::rss_bytes);
            if !writer.write_process(elapsed, connection.pid(), rss).map_err(cannot)? {
                break "the size limit is reached".to_owned();
            }
            if is_watched {
                say(format_args!(
                    "\r{}  {states} states  {} ",
                    format::duration(elapsed.as_nanos() as u64),
                    bytes(&writer)
                ));
            }
        }
        match connection.receive(left.max(Duration::from_millis(1))) {
            Ok(Some((kind, payload))) => {
                if !writer.write(start.elapsed(), kind, &payload).map_err(cannot)? {
                    break "the size limit is reached".to_owned();
                }
                states += u64::from(kind == Kind::STATE_END);
            }
            Ok(None) => {}
            Err(ConnectError::Closed) => break "the program, or its agent, has ended".to_owned(),
            Err(error) => {
                let subject = target::subject(connection.pid(), &connection.hello().name);
                break error.explain(&subject, connection.path());
            }
        }
    };
    if is_watched {
        say(format_args!("\r"));
    }
    let size = bytes(&writer);
    writer.finish().and_then(|file| file.sync_all()).map_err(cannot)?;
    let elapsed = format::duration(start.elapsed().as_nanos() as u64);
    say(format_args!("{why}: {states} states of {elapsed} in {name}, {size}\n"));
    Ok(if states > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// On standard error; whoever closed it does not want to know.
fn say(text: fmt::Arguments<'_>) {
    let _ = io::stderr().write_fmt(text);
}

fn bytes<W: io::Write>(writer: &Writer<W>) -> String {
    format::bytes(i64::try_from(writer.bytes()).unwrap_or(i64::MAX))
}

/// Shows a recording; without a terminal prints a page about its last state.
pub(crate) fn replay(flags: &Flags, path: &Path, speed: f64) -> Outcome<ExitCode> {
    let name = printable_path(path);
    let file =
        File::open(path).map_err(|error| Failure::new(format!("cannot read {name}: {error}")))?;
    let reader = Reader::new(BufReader::new(file))
        .map_err(|error| Failure::new(format!("cannot replay {name}: {error}")))?;
    if io::stdout().is_terminal() {
        let source = ReplaySource::new(reader, speed);
        let options = tui::Options { replay: true, ..flags.interface_options() };
        return Ok(tui::run(Box::new(source), options)?.into());
    }
    let mut picture = Picture::new(reader.hello().clone());
    let mut source = ReplaySource::new(reader, f64::INFINITY);
    let end = loop {
        match source.poll(Duration::ZERO) {
            SourceEvent::Frame(kind, payload) => {
                let _ = picture.apply(kind, &payload).map_err(|error| {
                    Failure::new(format!("cannot replay {name} further: {error}"))
                })?;
            }
            SourceEvent::Process { pid, rss_bytes } => {
                (picture.pid, picture.rss_bytes) = (pid, rss_bytes);
            }
            SourceEvent::Gone(end) => break end,
            _ => {}
        }
    };
    if picture.states == 0 {
        return Err(Failure::new(format!("{name} holds no whole state: {end}")).into());
    }
    let states = picture.states;
    let page = Watched::still(picture, "recorded".to_owned()).page(flags.ascii());
    to_stdout(|stdout| {
        stdout.write_all(page.as_bytes())?;
        writeln!(stdout, "\n{states} states; {end}")?;
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}
