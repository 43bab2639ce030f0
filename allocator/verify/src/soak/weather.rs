//! All of it at once: timers whose handlers allocate, threads that come and go, are moved and step themselves, drains, forks, and more
//! threads than processors.

use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::shadow::Random;
use crate::soak::block::Marked;
use crate::soak::board::board;
use crate::soak::books::Books;
use crate::soak::{NOTHING_MISSING, PLAIN, Run, SHARED, Soak, count, forks, settle, signals};
use crate::soak::{system, warm_up, workers};

pub(super) const WEATHER: Soak = Soak {
    name: "weather",
    what: "signals, forks, threads that come and go, drains, migrations and single steps at once",
    goal: 300_000,
    unit: "milliseconds",
    figures: &[
        "of fork",
        "of _Fork",
        "grandchildren",
        "children with threads",
        "threads",
        "drains",
        "requests to move",
        "signals inside the allocator",
    ],
    bound: NOTHING_MISSING,
    environment: PLAIN,
    run: weather,
};

fn weather(run: &Run) {
    signals::handle_timers();
    signals::handle_steps();
    let processors = system::processors();
    warm_up();
    let books = Books::open();
    let begun = Instant::now();
    let any = |random: &mut Random| [processors[random.below(processors.len() as u64) as usize]];
    // Every one of these threads does a little of everything, as it comes.
    let work = |random: &mut Random| {
        let timers = signals::some(random);
        (0..random.below(2000)).for_each(|_| SHARED.replace(random));
        match random.below(64) {
            0..8 => {
                // SAFETY: no conditions.
                unsafe { libc::malloc_trim(0) };
                count(5, 1);
            }
            8..24 => {
                system::run_on(0, &any(random));
                count(6, 1);
            }
            24..28 => {
                let thread = std::thread::Builder::new().stack_size(256 << 10);
                let mut theirs = Random::new(random.next());
                let thread = thread.spawn(move || {
                    let timers = signals::some(&mut theirs);
                    (0..300).for_each(|_| SHARED.replace(&mut theirs));
                    drop(timers);
                });
                if let Ok(thread) = thread {
                    let _ = thread.join();
                    count(4, 1);
                }
            }
            28..44 => system::pause(),
            _ => {}
        }
        drop(timers);
        board().figures[7].store(signals::inside(), Ordering::Relaxed);
        board().done.store(begun.elapsed().as_millis() as u64, Ordering::Relaxed);
    };
    workers(8, work, || {
        let lane = board().lane();
        let mut random = Random::new(run.seed);
        let mut number = 0;
        while run.goes_on() {
            let inherited = Marked::new(&mut random);
            forks::one(number, &mut random, inherited);
            number += 1;
            signals::stepped(&lane, || SHARED.replace_small(&mut random));
            lane.moved();
            system::pause();
        }
    });
    settle();
    books.close(0, 0, 0);
}
