//! No hidden lock: the system calls of a contended program, counted under one allocator after the other.
//!
//! * [`contended`] — the program: threads that do nothing but allocate, hand each other blocks, and free.
//! * [`tracer`] — runs it under ptrace(2) and counts what it asks of the system, and from where.
//! * [`retries`] — how often a single operation must try again, at most.

pub mod contended;
pub mod retries;
pub mod tracer;

use tracer::{Calls, WAITING, name};

/// What the shipped library may ask of the system while a program allocates: memory, the time, and once how many processors there
/// are.
const ALLOWED: &[i64] = &[
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_membarrier,
    libc::SYS_clock_gettime,
    libc::SYS_open,
    libc::SYS_read,
    libc::SYS_close,
];

/// What is wrong with the calls of a program under the shipped library.
#[must_use]
pub fn judge(calls: &Calls) -> Vec<String> {
    let mut faults = Vec::new();
    for (call, times) in calls {
        let called = name(call.number);
        if WAITING.contains(&call.number) {
            faults.push(format!("{called} from {}, {times} times: it waits", call.from));
        } else if !ALLOWED.contains(&call.number) {
            faults.push(format!("{called} from {}, {times} times", call.from));
        } else if call.from != "liblfalloc.so" {
            faults
                .push(format!("{called} not from liblfalloc.so but {}, {times} times", call.from));
        }
    }
    faults
}
