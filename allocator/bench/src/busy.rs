//! `busy`: a program to be watched, which holds very many superblocks and works as fast as it can.
//!
//! It does the same whether or not somebody looks on: of two runs, one with a viewer attached, the
//! difference is what looking costs the program. When it ends it prints one line of JSON.

use std::error::Error;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lfalloc::LfAlloc;

use crate::population::Population;
use crate::snapshot::resident_bytes;
use crate::workloads::Churn;

/// Operations between two looks at the time.
const BLOCK: u32 = 1000;

/// Holds `superblocks` superblocks and, in `threads` threads, replaces objects for `seconds`.
pub(crate) fn run(
    superblocks: usize,
    seconds: usize,
    threads: usize,
) -> Result<(), Box<dyn Error>> {
    let population = Population::new(superblocks);
    let agent = lfalloc_agent::start()?;
    let resident = resident_bytes();
    // Told before it begins, so that a viewer can attach.
    eprintln!(
        "pid {}, {}: busy for {seconds} s",
        std::process::id(),
        agent.socket_path().display(),
    );
    let stop = AtomicBool::new(false);
    let (operations, elapsed) = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|number| {
                scope.spawn({
                    let stop = &stop;
                    move || churn(number, stop)
                })
            })
            .collect();
        let start = Instant::now();
        thread::sleep(Duration::from_secs(seconds as u64));
        // Relaxed: only the flag itself is handed over.
        stop.store(true, Ordering::Relaxed);
        let elapsed = start.elapsed();
        let operations: Option<Vec<u64>> =
            workers.into_iter().map(|worker| worker.join().ok()).collect();
        (operations, elapsed)
    });
    let operations = operations.ok_or("a thread has panicked")?;
    let per_second: Vec<_> = operations
        .iter()
        .map(|&operations| format!("{:.0}", operations as f64 / elapsed.as_secs_f64()))
        .collect();
    let all = operations.iter().sum::<u64>();
    writeln!(
        std::io::stdout(),
        "{{\"superblocks\":{},\"threads\":{threads},\"seconds\":{:.3},\"operations\":{all},\
         \"operations_per_second\":{:.0},\"per_thread\":[{}],\"resident_bytes\":{}}}",
        population.superblocks,
        elapsed.as_secs_f64(),
        all as f64 / elapsed.as_secs_f64(),
        per_second.join(","),
        resident.map_or_else(|| "null".to_owned(), |bytes| bytes.to_string()),
    )?;
    drop(agent);
    Ok(())
}

/// Replaces objects until it is told to stop; how many.
fn churn(number: usize, stop: &AtomicBool) -> u64 {
    let mut churn = Churn::<LfAlloc>::new(number as u64 + 1);
    let mut operations = 0;
    // Relaxed: as the store.
    while !stop.load(Ordering::Relaxed) {
        churn.replace(BLOCK);
        operations += u64::from(BLOCK);
    }
    operations
}
