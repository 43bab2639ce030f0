//! `snapshot`: what it costs to observe a program with very many superblocks.
//!
//! Agent and viewer are threads of one process: the census, the frames, the socket and the decoding
//! are the real ones.

use std::error::Error;
use std::time::Instant;

use lfalloc::observe::{Backing, State, Tables};
use lfalloc_protocol::message::bitmap;

use crate::population::Population;
use crate::statistics::Samples;
use crate::viewer::{SocketDirectory, Viewer};

const REPETITIONS: usize = 20;
/// Walks of one census at most, until nothing moved meanwhile.
const ATTEMPTS: u32 = 4;

/// Measures and prints.
pub(crate) fn run(superblocks: usize) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let population = Population::new(superblocks);
    println!(
        "{} superblocks made in {:.0} ms; resident {} MiB",
        population.superblocks,
        milliseconds(start),
        resident_bytes().map_or_else(|| "?".to_owned(), |bytes| (bytes >> 20).to_string()),
    );
    census()?;
    over_the_socket()?;
    drop(population);
    Ok(())
}

fn census() -> Result<(), Box<dyn Error>> {
    let mut tables = Tables::new().ok_or("no memory for tables")?;
    let start = Instant::now();
    let mut last = tables.take(ATTEMPTS).ok_or("no memory for tables")?;
    let first_ms = milliseconds(start);
    let mut times = Samples::default();
    for _ in 0..REPETITIONS {
        let start = Instant::now();
        last = tables.take(ATTEMPTS).ok_or("no memory for tables")?;
        times.push(milliseconds(start));
    }
    if !last.consistent || last.parts.sum() != last.parts.mapped {
        return Err(format!("a census at rest is not consistent: {last:?}").into());
    }
    let in_state = |state| {
        let mapped = tables.superblocks.iter().filter(|view| view.backing == Backing::Mapped);
        mapped.filter(|view| view.state == state).count()
    };
    println!(
        "states      ACTIVE {}, FULL {}, PARTIAL {}, EMPTY {}; {} descriptors",
        in_state(State::Active),
        in_state(State::Full),
        in_state(State::Partial),
        in_state(State::Empty),
        tables.superblocks.len(),
    );
    println!("census      {}, the first {first_ms:.2} ms", summary(&times));
    println!("            tables {:.1} MiB", mebibytes(tables.bytes()));
    Ok(())
}

fn over_the_socket() -> Result<(), Box<dyn Error>> {
    let directory = SocketDirectory::new();
    let agent = lfalloc_agent::Options::new().directory(directory.path()).start()?;
    let mut greetings = Samples::default();
    let mut states = Samples::default();
    let mut firsts = Samples::default();
    let mut agent_times = Samples::default();
    let mut looks = Samples::default();
    let mut last = None;
    for _ in 0..REPETITIONS {
        let start = Instant::now();
        let (mut viewer, _hello) = Viewer::connect(agent.socket_path())?;
        greetings.push(milliseconds(start));
        let first = viewer.state()?;
        firsts.push(milliseconds(start));
        let start = Instant::now();
        let state = viewer.state()?;
        states.push(milliseconds(start));
        agent_times.push((state.end.agent_cpu_ns - first.end.agent_cpu_ns) as f64 / 1e6);
        let id = state.superblocks.first().ok_or("there are no superblocks")?.id;
        let start = Instant::now();
        let look = viewer.superblock(id)?;
        looks.push(milliseconds(start));
        if look.bitmap_is != bitmap::EXACT {
            return Err(format!("a look at rest is not exact: {look:?}").into());
        }
        last = Some(state);
    }
    let last = last.ok_or("nothing was measured")?;
    println!("greeting    {} (connect to Hello)", summary(&greetings));
    println!("first state {} (connect to StateEnd, decoded)", summary(&firsts));
    println!("state       {} (StateRequest to StateEnd, decoded)", summary(&states));
    println!("            of it {} processor time of the agent", summary(&agent_times));
    println!(
        "            {:.2} MiB on the wire: {} superblocks, {} heaps, {} classes, {} large blocks; \
         consistent: {}",
        mebibytes(last.wire_bytes),
        last.superblocks.len(),
        last.heaps.len(),
        last.classes.records.len(),
        last.large.len(),
        last.end.consistent,
    );
    println!(
        "            of it {} classes with samples, counters of {} heaps",
        last.samples.len(),
        last.counters.len(),
    );
    println!("            agent's buffers {:.1} MiB", last.end.agent_bytes as f64 / 1_048_576.0);
    println!("close look  {} (SuperblockRequest to detail, decoded)", summary(&looks));
    drop(agent);
    Ok(())
}

/// Milliseconds since `start`.
pub(crate) fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// Median and extremes of times in milliseconds.
pub(crate) fn summary(times: &Samples) -> String {
    format!("median {:.2} ms, min {:.2}, max {:.2}", times.median(), times.min(), times.max())
}

fn mebibytes(bytes: usize) -> f64 {
    bytes as f64 / 1_048_576.0
}

/// Resident memory of this process, from the system.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
}
