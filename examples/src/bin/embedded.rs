//! A program that looks at itself: the census without an agent, a socket, or a second process.
//!
//! Usage: `embedded [BLOCKS]` (default 100,000). It holds that many small blocks, frees nine of ten, and prints where
//! its memory is before and after. Looking changes nothing: the tables of a census are mapped pages of
//! their own, so the counters of the heaps stay as they are, which the last line shows.

use std::process::ExitCode;

use lfalloc::observe::{self, Tables};

#[global_allocator]
static ALLOCATOR: lfalloc::LfAlloc = lfalloc::LfAlloc;

/// How often a census is repeated if something moved meanwhile.
const ATTEMPTS: u32 = 8;
const MIB: f64 = (1 << 20) as f64;

fn main() -> ExitCode {
    let blocks = match std::env::args().nth(1).map(|text| text.parse::<usize>()) {
        None => 100_000,
        Some(Ok(blocks)) => blocks,
        Some(Err(_)) => {
            eprintln!("embedded: the argument is how many blocks to hold, such as 100000");
            return ExitCode::from(2);
        }
    };
    // Mapped once, used for every census.
    let Some(mut tables) = Tables::new() else {
        eprintln!("embedded: no memory for the tables of a census");
        return ExitCode::FAILURE;
    };
    let mut held: Vec<Option<Box<[u8; 200]>>> =
        (0..blocks).map(|_| Some(Box::new([1; 200]))).collect();
    let mut seen = print_census(&mut tables, &format!("{blocks} blocks of 200 bytes are live"));
    for (place, block) in held.iter_mut().enumerate() {
        if place % 10 != 0 {
            *block = None;
        }
    }
    seen &=
        print_census(&mut tables, "nine of ten were freed, and every superblock still holds some");

    let before = observe::totals();
    let looked = (0..100).filter(|_| tables.take(ATTEMPTS).is_some()).count();
    let after = observe::totals();
    println!(
        "{looked} more censuses made {} allocations and {} frees",
        after.allocations - before.allocations,
        after.frees - before.frees
    );
    if seen { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Takes a census and prints it under `title`; false if there was no memory for it.
fn print_census(tables: &mut Tables, title: &str) -> bool {
    let Some(census) = tables.take(ATTEMPTS) else {
        eprintln!("embedded: no memory for a census");
        return false;
    };
    let parts = census.parts;
    println!("{title}:");
    let named = [
        ("mapped", parts.mapped),
        ("live", parts.live + parts.large),
        ("free in superblocks", parts.free + parts.credit),
        ("EMPTY, kept", parts.empty),
        ("the allocator's own", parts.metadata),
    ];
    for (name, bytes) in named {
        println!("  {name:<20} {:>9.2} MiB", bytes as f64 / MIB);
    }
    let in_use = tables.classes.iter().filter(|class| class.live_blocks > 0);
    let Some(largest) = in_use.max_by_key(|class| {
        class.live_blocks * i64::from(observe::class_info(usize::from(class.class)).block_bytes)
    }) else {
        return true;
    };
    let info = observe::class_info(usize::from(largest.class));
    println!(
        "  most of it in blocks of {} bytes: {} live, {} free, in {} ACTIVE, {} FULL and {} PARTIAL superblocks",
        info.block_bytes,
        largest.live_blocks,
        largest.free_blocks + largest.credit_blocks,
        largest.active,
        largest.full,
        largest.partial
    );
    let moved =
        if census.consistent { "nothing moved meanwhile" } else { "blocks moved meanwhile" };
    println!("  {moved}\n");
    true
}
