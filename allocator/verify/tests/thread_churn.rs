//! Aim: threads that come and go leave nothing behind. Method: 4,000 short threads, some of whose blocks outlive
//! them; what is mapped after the last generations is what was mapped after the first. Alone in its process, so that
//! the figures are its own.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::alloc::Layout;

use lfalloc::LfAlloc;
use lfalloc::observe::{Tables, in_hand, totals};
use lfalloc_verify::shadow::{Random, Shadow};

const THREADS: u64 = 8;

fn generation(number: u64) -> Vec<Shadow> {
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            std::thread::spawn(move || {
                let mut random = Random::new(number * THREADS + thread);
                let mut shadow = Shadow::default();
                for _ in 0..200 {
                    let size = 1 + random.below(2000) as usize;
                    assert!(shadow.allocate(Layout::from_size_align(size, 8).unwrap(), false));
                }
                while shadow.len() > 20 {
                    shadow.free(random.next());
                }
                shadow
            })
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

#[test]
fn threads_leave_nothing_behind() {
    let mut left = Vec::new();
    let mut peak_at_first = 0;
    let mut peak = 0;
    for number in 0..500 {
        left.extend(generation(number));
        let mapped = totals().mapped_bytes;
        if number < 50 {
            peak_at_first = peak_at_first.max(mapped);
        }
        peak = peak.max(mapped);
        if number % 10 == 9 {
            left.clear();
        }
    }
    assert!(peak <= peak_at_first + peak_at_first / 4, "{peak_at_first} grew to {peak} bytes");
    left.clear();
    assert_eq!(in_hand(), 0);
    LfAlloc.purge();
    let mut tables = Tables::new().unwrap();
    let census = tables.take(8).unwrap();
    assert!(census.consistent);
    assert_eq!((census.parts.live, census.parts.free, census.parts.credit), (0, 0, 0));
    assert_eq!(census.parts.sum(), census.parts.mapped);
}
