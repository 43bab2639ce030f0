//! Soaks of the library as it ships: hours of what a program can do to its allocator, in seconds.
//!
//! Each soak is a process of its own that runs under `liblfalloc.so`: malloc(3) and Rust's `System` are the library's. What it holds
//! is marked ([`block`]), what it did it tells on a page that its supervisor maps, too ([`mod@board`]), and at its end the library's own
//! figures have to say that nothing is missing ([`books`]). The supervisor ([`supervisor`]) ends it and says where its threads
//! stand when one of them does not go on.
//!
//! | file | soaks |
//! |---|---|
//! | `signals` | handlers that allocate whatever they interrupt; a thread that steps itself |
//! | `forks` | children of all kinds |
//! | `ends` | every way in which a thread ends, inside the allocator, too |
//! | `scheduling` | more threads than processors, priorities, migrations, drains |
//! | `weather` | all of it at once |
//! | `fuzz` | random sequences of all entry points against a shadow |
//! | `wrong` | none: what must be noticed |

pub mod arguments;
pub mod block;
pub mod board;
pub mod books;
mod ends;
mod forks;
pub mod fuzz;
pub mod report;
mod scheduling;
mod signals;
pub mod stands;
pub mod supervisor;
pub mod system;
mod weather;
mod wrong;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::shadow::Random;
use block::Exchange;
use board::board;

/// One soak: what it is called, and what it does.
#[derive(Debug)]
pub struct Soak {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it does.
    pub what: &'static str,
    /// How many of which
    pub goal: u64,
    /// are done in full.
    pub unit: &'static str,
    /// What its own figures are.
    pub figures: &'static [&'static str],
    /// What must hold at the end beside the contents of all blocks.
    pub bound: &'static str,
    /// The environment that makes the library what it is here.
    pub environment: &'static [(&'static str, &'static str)],
    run: fn(&Run),
}

/// Only what it frees itself is to be missing in the library's figures: so the C library keeps no stacks of threads, which have
/// blocks with them.
const PLAIN: &[(&str, &str)] = &[("GLIBC_TUNABLES", "glibc.pthread.stack_cache_size=0")];
/// The core alone.
const CORE: &[(&str, &str)] =
    &[("GLIBC_TUNABLES", "glibc.pthread.stack_cache_size=0"), ("LFALLOC_MAGAZINES", "0")];
/// As where the C library registers no areas for restartable sequences.
const NO_RSEQ: &[(&str, &str)] =
    &[("GLIBC_TUNABLES", "glibc.pthread.stack_cache_size=0:glibc.pthread.rseq=0")];

const NOTHING_MISSING: &str = "0 blocks missing, 0 in hand";

/// All of them, in the order in which they run.
pub const SOAKS: &[Soak] = &[
    signals::SIGNALS,
    signals::SIGNALS_CORE,
    signals::SIGNALS_NO_RSEQ,
    signals::STEPPING,
    forks::FORKS,
    forks::FORKS_CORE,
    forks::SPAWNS,
    ends::THREAD_ENDS,
    ends::THREAD_ENDS_CORE,
    scheduling::CROWD,
    scheduling::CROWD_CORE,
    scheduling::PRIORITIES,
    scheduling::PRIORITIES_CORE,
    scheduling::MIGRATIONS,
    scheduling::DRAINS,
    weather::WEATHER,
    fuzz::FUZZ,
    fuzz::FUZZ_CORE,
    fuzz::FUZZ_NO_RSEQ,
];

/// The soak of that name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Soak> {
    SOAKS.iter().chain(wrong::WRONG).find(|soak| soak.name == name)
}

/// How much of a soak is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// What random numbers begin with.
    pub seed: u64,
    goal: u64,
    deadline: Option<Instant>,
}

impl Run {
    /// Whether it is to go on; at least one is done, however late that is.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        let done = board().done.load(Ordering::Relaxed);
        let has_time = || self.deadline.is_none_or(|deadline| Instant::now() < deadline);
        done < self.goal && (done == 0 || has_time())
    }

    /// Waits for its end, as a thread that has nothing else to do.
    pub fn wait(&self) {
        while self.goes_on() {
            system::pause();
        }
    }
}

/// Runs a soak, in the process of its own.
pub fn child(soak: &Soak, goal: u64, time: Option<Duration>, seed: u64) {
    books::find_text();
    board().goal.store(goal, Ordering::Relaxed);
    let deadline = time.map(|time| Instant::now() + time);
    (soak.run)(&Run { seed, goal, deadline });
}

/// As many are done.
fn done(more: u64) {
    board().done.fetch_add(more, Ordering::Relaxed);
}

/// One of the soak's own figures grows.
fn count(figure: usize, more: u64) {
    board().figures[figure].fetch_add(more, Ordering::Relaxed);
}

/// What threads of all soaks pass on to each other.
static SHARED: Exchange<256> = Exchange::new();

/// Runs `work` over and over in `count` threads, each with a lane, until `main` returns.
fn workers(count: u64, work: impl Fn(&mut Random) + Sync, main: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for number in 0..count {
            let (stop, work) = (&stop, &work);
            scope.spawn(move || {
                let lane = board().lane();
                let mut random = Random::new(number + 1);
                while !stop.load(Ordering::Relaxed) {
                    work(&mut random);
                    lane.moved();
                }
            });
        }
        main();
        stop.store(true, Ordering::Relaxed);
    });
}

/// Whatever is done once in a process is done, before books are opened.
fn warm_up() {
    workers(2, |random| SHARED.replace(random), system::pause);
    settle();
}

/// Waits until all other threads have gone, with all that was theirs (Rust's scopes end before their threads do), and frees what they
/// passed on.
fn settle() {
    while std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count) > 1 {
        system::pause();
    }
    // Of threads that nobody joins the C library keeps the stacks until the next one ends, and with each a table that it has
    // allocated: when several end at the same time, that of more than one. Whoever joins a thread frees them all.
    let _ = std::thread::spawn(|| {}).join();
    SHARED.clear();
}
