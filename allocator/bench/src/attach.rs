//! `attach`: from connecting to the first whole state of a small program.
//!
//! The program is this one again, in a process of its own, with 10,000 blocks of 100 bytes.

use std::alloc::Layout;
use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use lfalloc::LfAlloc;

use crate::contender::Held;
use crate::snapshot::{milliseconds, summary};
use crate::statistics::Samples;
use crate::viewer::{SocketDirectory, Viewer};

const REPETITIONS: usize = 50;
const BLOCKS: usize = 10_000;
const DIRECTORY_VARIABLE: &str = "LFALLOC_DIR";

/// Measures and prints.
pub(crate) fn run(lfinspect: Option<&Path>) -> Result<(), Box<dyn Error>> {
    let directory = SocketDirectory::new();
    let watched = Watched::start(directory.path())?;
    let mut greetings = Samples::default();
    let mut states = Samples::default();
    let mut superblocks = 0;
    for _ in 0..REPETITIONS {
        let start = Instant::now();
        let (mut viewer, _hello) = Viewer::connect(&watched.socket)?;
        greetings.push(milliseconds(start));
        let state = viewer.state()?;
        states.push(milliseconds(start));
        superblocks = state.superblocks.len();
    }
    println!(
        "a program with {BLOCKS} blocks in {superblocks} superblocks, {REPETITIONS} viewers one by one"
    );
    println!("greeting    {} (connect to Hello)", summary(&greetings));
    println!("first state {} (connect to StateEnd, decoded)", summary(&states));
    if let Some(lfinspect) = lfinspect {
        let times = whole_runs(lfinspect, &watched, directory.path())?;
        println!("lfinspect   {} (`snapshot`, from its start to its end)", summary(&times));
    }
    Ok(())
}

fn whole_runs(
    lfinspect: &Path,
    watched: &Watched,
    directory: &Path,
) -> Result<Samples, Box<dyn Error>> {
    let mut times = Samples::default();
    for _ in 0..REPETITIONS {
        let start = Instant::now();
        let output = Command::new(lfinspect)
            .args(["snapshot", &watched.child.id().to_string()])
            .env(DIRECTORY_VARIABLE, directory)
            .stdin(Stdio::null())
            .output()?;
        times.push(milliseconds(start));
        if !output.status.success() || output.stdout.is_empty() {
            let message = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{} failed: {message}", lfinspect.display()).into());
        }
    }
    Ok(times)
}

/// The program that is watched; it ends with this value.
struct Watched {
    child: Child,
    socket: PathBuf,
}

impl Watched {
    fn start(directory: &Path) -> Result<Self, Box<dyn Error>> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("serve")
            .env(DIRECTORY_VARIABLE, directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        // Its end is awaited in any case.
        let watched = Self { child, socket: PathBuf::from(line.trim_end()) };
        if watched.socket.as_os_str().is_empty() {
            return Err("the program to watch did not start".into());
        }
        Ok(watched)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // The end of its input is the sign to end.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Is the program that is watched: tells where its socket is and waits for the end of its input.
pub(crate) fn serve() -> Result<(), Box<dyn Error>> {
    let layout = Layout::new::<[u8; 100]>();
    let blocks: Vec<Held<LfAlloc>> = (0..BLOCKS).map(|_| Held::new(layout)).collect();
    let agent = lfalloc_agent::start()?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}", agent.socket_path().display())?;
    stdout.flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    drop(blocks);
    Ok(())
}
