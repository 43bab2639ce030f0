//! Differential fuzzing: random sequences of all entry points of the library, and of Rust's `LfAlloc` linked into the same process,
//! against a shadow.
//!
//! | after each operation | |
//! |---|---|
//! | no two blocks overlap | of all threads, over their usable sizes ([`intervals`]) |
//! | contents are kept | until a block is freed, and over every change of its size, by whomever |
//! | zeroed where that is promised | every byte |
//! | aligned | up to 1 MiB |
//! | the usable size can be used | up to its last byte |
//! | `errno` is left alone | by what succeeds, and by every free; what fails says why, and changes nothing |
//! | nothing is lost | at the end of each sequence, by the library's figures |
//!
//! A sequence is known by its seed: four *lanes*, each a thread's, which pass blocks on to each other. What fails is played again from the
//! seed, lane by lane in turn in one thread if that fails, too, and cut down as far as it still fails.

mod calls;
pub mod intervals;
mod operation;
mod player;
mod shrink;

pub use calls::{FAULT, FAULTS};
pub use shrink::shrink;

use std::sync::atomic::Ordering;

use lfalloc::observe;

use crate::require;
use crate::soak::board::board;
use crate::soak::books::Books;
use crate::soak::{CORE, NO_RSEQ, PLAIN, Run, Soak, done, settle, warm_up};
use operation::Operation;
use player::{Lane, Table};

pub(super) const FUZZ: Soak = Soak {
    name: "fuzz",
    what: "random sequences of all entry points in 4 threads, which pass blocks on, against a shadow",
    goal: 100_000_000,
    unit: "operations",
    figures: &["sequences"],
    bound: "0 wrong; 0 blocks missing, 0 in hand after each sequence",
    environment: PLAIN,
    run: fuzz,
};

pub(super) const FUZZ_CORE: Soak =
    Soak { name: "fuzz-core", goal: 20_000_000, environment: CORE, ..FUZZ };

pub(super) const FUZZ_NO_RSEQ: Soak =
    Soak { name: "fuzz-no-rseq", goal: 10_000_000, environment: NO_RSEQ, ..FUZZ };

/// Threads of a sequence.
const LANES: usize = 4;
/// Operations of each.
const LENGTH: u64 = 25_000;
/// The figure that tells the supervisor which sequence is under way: its seed, and one.
const SEED: usize = 7;

/// What is played of a sequence: places in the order in which one thread would play it, in ascending ranges.
type Kept = Vec<(u64, u64)>;

/// A whole sequence.
const WHOLE: (u64, u64) = (0, LENGTH * LANES as u64);

fn fuzz(run: &Run) {
    calls::plant();
    warm_up();
    let table = Table::new(LANES);
    let books = Books::open();
    let mut round = 0;
    while run.goes_on() {
        let seed = run.seed.wrapping_mul(1_000_000).wrapping_add(round);
        round += 1;
        board().figures[SEED].store(seed + 1, Ordering::Relaxed);
        play(&table, seed, &[WHOLE], true);
        settle();
        balance(&books, seed);
        board().figures[0].store(round, Ordering::Relaxed);
    }
    books.close(0, 0, 0);
}

/// Plays what is kept of a sequence, and frees everything.
fn play(table: &Table, seed: u64, kept: &[(u64, u64)], at_once: bool) {
    let places = |lane: usize| {
        let all = kept.iter().flat_map(|(from, to)| *from..*to);
        all.filter(move |place| *place % LANES as u64 == lane as u64)
    };
    if at_once {
        std::thread::scope(|scope| {
            for lane in 0..LANES {
                scope.spawn(move || {
                    let moves = board().lane();
                    let mut own = Lane::new(table, seed, lane);
                    let mut unreported = 0;
                    for place in places(lane) {
                        own.perform(place / LANES as u64);
                        unreported += 1;
                        if unreported == 100 {
                            done(std::mem::take(&mut unreported));
                            moves.moved();
                        }
                    }
                    done(unreported);
                    own.clear();
                });
            }
        });
    } else {
        let moves = board().lane();
        let mut lanes: [Lane; LANES] = std::array::from_fn(|lane| Lane::new(table, seed, lane));
        for place in kept.iter().flat_map(|(from, to)| *from..*to) {
            lanes[place as usize % LANES].perform(place / LANES as u64);
            moves.moved();
        }
        lanes.iter_mut().for_each(Lane::clear);
    }
    table.clear(seed, LANES);
}

/// Looks whether everything that was freed is free: by the library's figures, and by those of the `LfAlloc` in this program.
fn balance(books: &Books, seed: u64) {
    let (live, in_hand) = books.difference();
    require!(live == 0 && in_hand == 0, "seed {seed}: {live} blocks missing, {in_hand} in hand");
    let own = observe::totals();
    let live = own.allocations.wrapping_sub(own.frees);
    require!(
        live == 0 && own.in_hand == 0,
        "seed {seed}: {live} blocks missing of LfAlloc, {} in hand",
        own.in_hand
    );
}

/// The argument that makes a child play a sequence again.
pub(super) const REPLAY: &str = "fuzz-replay";

/// Plays a sequence again as its supervisor says: seed, how, and ranges of places.
///
/// # Errors
/// When what it says makes no sense.
pub(super) fn replay(arguments: &[String]) -> Result<(), String> {
    let [seed, how, ranges] = arguments else {
        return Err("a seed, how, and ranges".to_owned());
    };
    let number = |text: &str| text.parse().map_err(|_| format!("`{text}` is no number"));
    let seed = number(seed)?;
    let kept = ranges
        .split(',')
        .map(|range| {
            let (from, to) = range.split_once('-').ok_or("a range is two numbers")?;
            Ok((number(from)?, number(to)?))
        })
        .collect::<Result<Kept, String>>()?;
    calls::plant();
    warm_up();
    let table = Table::new(LANES);
    let books = Books::open();
    play(&table, seed, &kept, how == shrink::AT_ONCE);
    settle();
    balance(&books, seed);
    Ok(())
}

/// What is at a place of a sequence, for people.
fn described(seed: u64, place: u64) -> String {
    let lane = place as usize % LANES;
    format!("lane {lane}: {:?}", Operation::of(seed, lane, place / LANES as u64))
}
