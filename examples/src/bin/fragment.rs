//! `fragment [SESSIONS] [--seconds S]`: a service whose memory is lost to fragmentation, and that knows why.
//!
//! A burst of requests fills superblocks with short-lived buffers, and each request leaves one long-lived session of one
//! of four sizes among them. When the burst is over all buffers are freed, but every superblock still holds a few
//! sessions, so none goes back to the system. From then on little happens: requests come and go, sessions are replaced.
//!
//! The same number of sessions gives the same heap, but for what the threads of the agent and of the system do.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: lfalloc::LfAlloc = lfalloc::LfAlloc;

const USAGE: &str = "usage: fragment [SESSIONS] [--seconds S]
  SESSIONS     long-lived objects, 4 to 100000 (8000); each keeps about 32 KiB of buffers from going back
  --seconds S  end after so many seconds (otherwise it runs until it is killed)";
/// What a session holds: a size class each.
const SESSION_BYTES: [usize; 4] = [112, 240, 496, 1008];
/// Bytes of short-lived buffers for each session, of the session's own size.
const BUFFERS_BYTES: usize = 32 << 10;
const PAUSE: Duration = Duration::from_millis(50);
/// Requests between two pauses, once the burst is over.
const REQUESTS: usize = 20;
/// So seldom that the heap stays as it is for hours.
const REQUESTS_PER_SESSION: usize = 400;
const STATUS: Duration = Duration::from_secs(10);

struct Arguments {
    sessions: usize,
    runtime: Option<Duration>,
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            // Nobody to tell if the reader of the help has gone.
            let _ = writeln!(io::stdout(), "{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("fragment: {message}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    // The program is worth running without its agent, too.
    let _agent = lfalloc_agent::start()
        .inspect_err(|error| eprintln!("fragment: runs without an agent: {error}"));
    run(&arguments);
    ExitCode::SUCCESS
}

/// `None` if help was asked for.
fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Arguments>, String> {
    let mut parsed = Arguments { sessions: 8000, runtime: None };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--help" | "-h" => return Ok(None),
            "--seconds" => {
                let seconds = arguments.next().and_then(|text| text.parse::<u32>().ok());
                let seconds = seconds.ok_or("--seconds needs a number of seconds")?;
                parsed.runtime = Some(Duration::from_secs(u64::from(seconds)));
            }
            text => match text.parse() {
                Ok(sessions @ 4..=100_000) => parsed.sessions = sessions,
                _ => return Err(format!("'{text}' is no number of sessions from 4 to 100000")),
            },
        }
    }
    Ok(Some(parsed))
}

/// A session of the `place`-th request.
fn session(place: usize) -> Vec<u8> {
    vec![0xA5; SESSION_BYTES[place % SESSION_BYTES.len()]]
}

fn run(arguments: &Arguments) {
    let start = Instant::now();
    let mut sessions = Vec::with_capacity(arguments.sessions);
    let buffers = burst(arguments.sessions, &mut sessions);
    report(&sessions, buffers);
    let mut said = Instant::now();
    let mut next = 0;
    while arguments.runtime.is_none_or(|runtime| start.elapsed() < runtime) {
        for _ in 0..REQUESTS {
            // A request: some buffers that live no longer than it, and now and then a new session for an old one.
            let buffers: Vec<Vec<u8>> = (0..8).map(session).collect();
            std::hint::black_box(&buffers);
            if next % REQUESTS_PER_SESSION == 0 {
                let place = next / REQUESTS_PER_SESSION % sessions.len();
                // Of the same size: what the program holds stays the same.
                sessions[place] = session(place);
            }
            next += 1;
        }
        if said.elapsed() >= STATUS {
            said = Instant::now();
            println!("{next} requests since the burst; still {} sessions", sessions.len());
        }
        std::thread::sleep(PAUSE);
    }
}

/// One request for each session: its buffers are freed when all requests have been answered. How many there were.
fn burst(count: usize, sessions: &mut Vec<Vec<u8>>) -> usize {
    let mut buffers: Vec<Vec<u8>> = Vec::new();
    for place in 0..count {
        let bytes = SESSION_BYTES[place % SESSION_BYTES.len()];
        for _ in 0..BUFFERS_BYTES / bytes {
            buffers.push(vec![0x5A; bytes]);
        }
        sessions.push(session(place));
    }
    buffers.len()
}

/// What this program knows of its own memory, to be compared with what lfinspect shows.
fn report(sessions: &[Vec<u8>], buffers: usize) {
    let bytes: usize = sessions.iter().map(Vec::len).sum();
    println!("pid {}", std::process::id());
    println!("a burst of {} requests is over: {buffers} buffers were freed", sessions.len());
    println!("{} sessions are held, {} KiB in all:", sessions.len(), bytes >> 10);
    for (place, size) in SESSION_BYTES.into_iter().enumerate() {
        let count = (sessions.len() + SESSION_BYTES.len() - 1 - place) / SESSION_BYTES.len();
        println!("  {count} of {size} bytes");
    }
    println!("where the rest of the memory is: `lfinspect fragment`");
}
