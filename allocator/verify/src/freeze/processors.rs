//! Which processors there are for the target, and how a thread stays on one.

use std::fs;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The first two that the program may run on; the same where there is one. Set before there are threads.
static CHOSEN: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

type Set = libc::cpu_set_t;

fn empty() -> Set {
    // SAFETY: zero bytes are the empty set.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// Looks which there are.
pub(super) fn learn() {
    let mut set = empty();
    // SAFETY: there is room for a set (sched_getaffinity(2)).
    unsafe { libc::sched_getaffinity(0, size_of::<Set>(), &raw mut set) };
    let is_in = |processor: &usize| {
        // SAFETY: below the size of a set.
        unsafe { libc::CPU_ISSET(*processor, &set) }
    };
    let mut all = (0..libc::CPU_SETSIZE as usize).filter(is_in);
    let first = all.next().unwrap_or(0);
    let other = all.next().unwrap_or(first);
    for (place, processor) in CHOSEN.iter().zip([first, other]) {
        place.store(processor, Ordering::Relaxed);
    }
}

/// Bytes of the mapping for the magazines of all processors that the machine may ever have.
pub(super) fn magazines_bytes() -> u64 {
    const OF_A_PROCESSOR: u64 = 128 << 10;
    let possible = fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    let highest = possible.trim().rsplit(['-', ',']).next().and_then(|number| number.parse().ok());
    (highest.unwrap_or(0_u64) + 1) * OF_A_PROCESSOR
}

/// This thread runs on the victim's processor from now on.
pub(super) fn stay_on_first() {
    stay_on(0..=0);
}

/// This thread runs on another one, if there is one.
pub(super) fn stay_on_other() {
    stay_on(1..=1);
}

/// This thread runs on either.
pub(super) fn roam() {
    stay_on(0..=1);
}

fn stay_on(chosen: std::ops::RangeInclusive<usize>) {
    let mut set = empty();
    for processor in &CHOSEN[chosen] {
        // SAFETY: below the size of a set.
        unsafe { libc::CPU_SET(processor.load(Ordering::Relaxed), &mut set) };
    }
    // SAFETY: reads a set (sched_setaffinity(2)). Where it is not permitted the thread stays where it is.
    unsafe { libc::sched_setaffinity(0, size_of::<Set>(), &raw const set) };
}
