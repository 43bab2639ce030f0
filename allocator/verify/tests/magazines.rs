//! Aim: magazines hand out no block twice and lose none, whatever interrupts a sequence. Method: threads write their own
//! mark into every block they hold and look at it before they free, while signals arrive whose handlers allocate, threads
//! are moved from processor to processor, magazines are drained, and the process forks.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc as _, Layout};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lfalloc::LfAlloc;
use lfalloc::observe::{Tables, class_counters, in_hand, magazine_processors};
use lfalloc_verify::shadow::Random;

/// A block with its holder's mark at both ends.
struct Marked {
    block: *mut u64,
    layout: Layout,
    mark: u64,
}

impl Marked {
    fn new(size: usize, mark: u64) -> Self {
        let layout = Layout::from_size_align(size, 16).unwrap();
        // SAFETY: the size is not zero.
        let block: *mut u64 = unsafe { LfAlloc.alloc(layout) }.cast();
        assert!(!block.is_null());
        let held = Self { block, layout, mark };
        for end in held.ends() {
            // SAFETY: within the block.
            unsafe { end.write_volatile(mark) };
        }
        held
    }

    fn ends(&self) -> [*mut u64; 2] {
        [self.block, self.block.wrapping_byte_add(self.layout.size() - 8)]
    }
}

impl Drop for Marked {
    fn drop(&mut self) {
        for end in self.ends() {
            // SAFETY: within the block.
            let found = unsafe { end.read_volatile() };
            if found != self.mark {
                // Also in a signal's handler.
                std::process::abort();
            }
        }
        // SAFETY: allocated with that layout.
        unsafe { LfAlloc.dealloc(self.block.cast(), self.layout) };
    }
}

static MARKS: AtomicU64 = AtomicU64::new(1);
static HANDLED: AtomicU64 = AtomicU64::new(0);

extern "C" fn handler(_signal: libc::c_int) {
    let mark = MARKS.fetch_add(1, Ordering::Relaxed);
    let one = Marked::new(64, mark);
    let other = Marked::new(16 + (mark % 40) as usize * 16, mark);
    drop(one);
    drop(other);
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

/// Replaces objects of random sizes until told to stop; how often.
fn churn(seed: u64, stop: &AtomicBool) -> u64 {
    let mut random = Random::new(seed);
    let mut held: Vec<Marked> = Vec::with_capacity(300);
    let mut operations = 0;
    while !stop.load(Ordering::Relaxed) {
        let size = 16 + random.below(64) as usize * 16;
        if held.len() == 300 {
            let place = random.below(300) as usize;
            drop(held.swap_remove(place));
        }
        held.push(Marked::new(size, MARKS.fetch_add(1, Ordering::Relaxed)));
        operations += 1;
    }
    operations
}

fn run_on(processor: usize) {
    // SAFETY: a set of zeros is an empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: within the set.
    unsafe { libc::CPU_SET(processor, &mut set) };
    // SAFETY: this thread, and a valid set. Where the processor may not be used nothing changes.
    unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
}

#[test]
fn nothing_is_lost_or_there_twice() {
    const THREADS: u64 = 4;
    let mut action = libc::sigaction {
        sa_sigaction: handler as *const () as usize,
        // SAFETY: an empty set.
        sa_mask: unsafe { std::mem::zeroed() },
        sa_flags: libc::SA_RESTART,
        sa_restorer: None,
    };
    // SAFETY: a handler that is safe in signals if the allocator is, which is what is tested.
    assert_eq!(unsafe { libc::sigaction(libc::SIGUSR1, &raw mut action, std::ptr::null_mut()) }, 0);
    let processors = std::thread::available_parallelism().unwrap().get();
    let stop = AtomicBool::new(false);
    let operations: u64 = std::thread::scope(|scope| {
        let workers: Vec<_> = (1..=THREADS)
            .map(|seed| {
                let stop = &stop;
                scope.spawn(move || churn(seed, stop))
            })
            .collect();
        // Signals, to whatever thread is running.
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // SAFETY: no arguments.
                let process = unsafe { libc::getpid() };
                // SAFETY: this process.
                unsafe { libc::kill(process, libc::SIGUSR1) };
                std::thread::sleep(Duration::from_micros(20));
            }
        });
        // Threads that are moved.
        scope.spawn(|| {
            let mut random = Random::new(99);
            while !stop.load(Ordering::Relaxed) {
                run_on(random.below(processors as u64) as usize);
                for size in [24, 64, 504] {
                    drop(Marked::new(size, MARKS.fetch_add(1, Ordering::Relaxed)));
                }
            }
        });
        // Drains.
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                LfAlloc.purge();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        // Forks: the child allocates at once, in the magazines as they were.
        let start = Instant::now();
        let mut forks = 0;
        while start.elapsed() < Duration::from_secs(3) {
            // SAFETY: the child calls nothing but the allocator and _exit.
            let child = unsafe { libc::fork() };
            if child == 0 {
                for number in 0..200 {
                    drop(Marked::new(16 + number % 30 * 16, number as u64));
                }
                // SAFETY: ends the child.
                unsafe { libc::_exit(0) };
            }
            let mut status = 0;
            // SAFETY: waits for the child made above.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0, "a child found a block that was another's");
            forks += 1;
        }
        stop.store(true, Ordering::Relaxed);
        let operations = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
        println!(
            "{operations} operations, {} signals handled, {forks} forks",
            HANDLED.load(Ordering::Relaxed)
        );
        operations
    });
    assert!(operations > 1000 && HANDLED.load(Ordering::Relaxed) > 10);

    // Everything was freed, and all of it is where the books say.
    let mut tables = Tables::new().unwrap();
    let census = tables.take(16).unwrap();
    assert!(census.consistent, "{census:?}");
    assert_eq!(in_hand(), 0);
    assert_eq!(census.parts.sum(), census.parts.mapped);
    assert_eq!(census.parts.live, 0, "{:?}", census.parts);
    for class in 0..tables.classes.len() {
        let counters = class_counters(class);
        assert_eq!(counters.allocations, counters.frees, "class {class}");
    }
    if magazine_processors() > 0 {
        let pops: u64 = tables.magazines.iter().map(|magazine| magazine.pops).sum();
        let aborts: u64 = tables.magazines.iter().map(|magazine| magazine.aborts).sum();
        println!("{pops} pops, {aborts} aborts");
        assert!(pops > 0, "the magazines were used");
    }
    LfAlloc.purge();
    let census = tables.take(16).unwrap();
    assert_eq!(census.parts.cached, 0, "{:?}", census.parts);
}
