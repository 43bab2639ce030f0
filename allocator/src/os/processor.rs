//! Which processor does this thread run on?
//!
//! The C library (glibc 2.35 and later) registers every thread's restartable-sequence area with the kernel, which
//! keeps the processor's number in it: one load from the thread's own memory, no system call, no thread-local of
//! ours. Where there is no such area the thread's address stands in ("optionally the thread id", \[0049\]).

use core::arch::asm;

/// Offset of `cpu_id` in `struct rseq` (rseq(2)).
const CPU_ID_OFFSET: usize = 4;
/// More processors than any system has; an unregistered area holds −1 or −2 instead of a number.
const MAX_PROCESSORS: u32 = 1 << 16;

/// Offset of the thread's rseq area from the thread pointer (glibc manual, "Restartable Sequences").
#[inline]
fn area_offset() -> Option<isize> {
    let offset_of_area = core::ptr::with_exposed_provenance::<isize>(weak_symbol!("__rseq_offset"));
    // SAFETY: if not null it is glibc's `extern const ptrdiff_t __rseq_offset`, set before main.
    (!offset_of_area.is_null()).then(|| unsafe { offset_of_area.read() })
}

/// Offset of the rseq area, if this thread's is registered: then those of all threads are, or say that they are not.
pub(crate) fn sequence_area() -> Option<isize> {
    let offset = area_offset()?;
    (super::sequence::processor_at(offset) < MAX_PROCESSORS).then_some(offset)
}

/// The number of the processor this thread runs on, or some number for the thread. A hint: it may be out of date
/// by the time it is used.
#[inline]
pub(crate) fn processor() -> u32 {
    if let Some(offset) = area_offset() {
        let cpu_id: u32;
        // SAFETY: the area lies at that offset from the thread pointer (glibc manual, "Restartable Sequences"),
        // in every thread, registered or not.
        unsafe {
            asm!(
                "mov {cpu_id:e}, dword ptr fs:[{offset} + {field}]",
                offset = in(reg) offset,
                field = const CPU_ID_OFFSET,
                cpu_id = out(reg) cpu_id,
                options(nostack, preserves_flags, readonly),
            );
        }
        if cpu_id < MAX_PROCESSORS {
            return cpu_id;
        }
    }
    thread_number()
}

/// The thread pointer: never 0, and another one in every thread that lives.
#[inline]
pub(crate) fn thread_pointer() -> u64 {
    let thread: u64;
    // SAFETY: on Linux x86-64 the first word at the thread pointer is the thread pointer itself (System V ABI for
    // thread-local storage, variant II).
    unsafe {
        asm!("mov {thread}, qword ptr fs:[0]", thread = out(reg) thread,
            options(nostack, preserves_flags, readonly, pure));
    }
    thread
}

/// Has this processor get the cache line at `address`, to write to it soon; whatever lies there, nothing happens otherwise.
#[inline(always)]
pub(crate) fn will_write(address: usize) {
    // SAFETY: a hint, which never faults.
    unsafe {
        asm!("prefetchw [{address}]", address = in(reg) address,
            options(nostack, preserves_flags, readonly));
    }
}

/// A number that differs between most threads.
#[cold]
fn thread_number() -> u32 {
    let thread = thread_pointer();
    // Fibonacci hashing: thread control blocks are far apart and aligned, so the high bits of the product count.
    (thread.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Aim: the number is that of a processor this thread may run on. Method: compare with the kernel's list.
    #[test]
    fn names_the_processor() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let allowed = status.lines().find(|line| line.starts_with("Cpus_allowed_list")).unwrap();
        let highest = allowed.rsplit(['-', ',', '\t']).next().unwrap();
        let number = processor();
        let is_processor = number <= highest.trim().parse().unwrap();
        assert!(is_processor || number == thread_number(), "{number}, not within {allowed}");
    }

    /// Aim: the fallback tells threads apart. Method: 64 threads, at least half the numbers differ modulo 64.
    #[test]
    fn thread_numbers_differ() {
        let barrier = std::sync::Arc::new(std::sync::Barrier::new(64));
        let threads: Vec<_> = (0..64)
            .map(|_| {
                let barrier = barrier.clone();
                std::thread::spawn(move || {
                    barrier.wait();
                    let number = thread_number() % 64;
                    barrier.wait();
                    number
                })
            })
            .collect();
        let numbers: std::collections::HashSet<_> =
            threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(numbers.len() >= 24, "{numbers:?}");
    }
}
