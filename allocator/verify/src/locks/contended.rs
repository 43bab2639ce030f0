//! A program whose threads do nothing between their marks but allocate, exchange blocks, and free. Whatever it asks
//! of the system between them, its allocator asks.

use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::thread;

/// A call of prctl(2) that the system refuses: the tracer takes it for a mark.
pub const MARK: u64 = 0x6C66_616C;
/// Threads.
pub const THREADS: u32 = 8;
/// Operations of each thread: an allocation and a free.
pub const OPERATIONS: u32 = 150_000;

const PLACES: usize = 32;

fn mark(begins: bool) {
    // SAFETY: an operation that does not exist: the call fails.
    unsafe { libc::syscall(libc::SYS_prctl, MARK, u64::from(begins)) };
}

/// Small blocks of many sizes, some of pages, and one in 500 large.
fn bytes(random: u64) -> usize {
    match random % 500 {
        0 => 200_000,
        1..=20 => 20_000,
        _ => 16 + (random % 1000) as usize,
    }
}

fn one_thread(
    number: u32,
    places: &[AtomicPtr<u8>; PLACES],
    locked: Option<&std::sync::Mutex<()>>,
) {
    let mut random = u64::from(number) + 1;
    let mut held = [std::ptr::null_mut::<u8>(); 64];
    for _ in 0..OPERATIONS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let drawn = random >> 33;
        // Held until the end of the operation, so that others come while it is held.
        let _locked = locked.map(std::sync::Mutex::lock);
        // SAFETY: any size may be asked for.
        let block: *mut u8 = unsafe { libc::malloc(bytes(drawn)) }.cast();
        if !block.is_null() {
            // SAFETY: the block is this thread's, and not of size 0.
            unsafe { block.write(1) };
        }
        // Every other block goes to another thread, which frees it.
        let other = if drawn % 2 == 0 {
            places[drawn as usize / 2 % PLACES].swap(block, Ordering::AcqRel)
        } else {
            std::mem::replace(&mut held[drawn as usize / 2 % 64], block)
        };
        // SAFETY: null, or given out by malloc and nobody else's.
        unsafe { libc::free(other.cast()) };
    }
    for block in held {
        // SAFETY: as above.
        unsafe { libc::free(block.cast()) };
    }
}

/// The program's `main`. With `locks`, every operation takes a lock of the program's own as well: what the tracer must find.
pub fn run(locks: bool) {
    let places: [AtomicPtr<u8>; PLACES] = std::array::from_fn(|_| AtomicPtr::default());
    let (arrived, lock) = (AtomicU32::new(0), std::sync::Mutex::new(()));
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (places, arrived, locked) = (&places, &arrived, locks.then_some(&lock));
            scope.spawn(move || {
                arrived.fetch_add(1, Ordering::AcqRel);
                // Before the mark; all work at the same time.
                while arrived.load(Ordering::Acquire) < THREADS {
                    thread::yield_now();
                }
                mark(true);
                one_thread(number, places, locked);
                mark(false);
            });
        }
    });
}
