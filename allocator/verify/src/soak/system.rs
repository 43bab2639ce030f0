//! What soaks want of the system: signals, timers, processors, threads of the C library.

use std::ffi::{c_int, c_void};
use std::time::Duration;

use crate::require;

/// A handler with the context that it interrupts (sigaction(2)).
pub type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// Has a signal handled, without any other blocked meanwhile than itself.
pub fn handle(signal: c_int, handler: Handler) {
    // SAFETY: an empty set of signals, and no flags.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
    // SAFETY: the handlers of soaks call nothing but the allocator, which is what is tested, and atomics.
    let failed = unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    require!(failed == 0, "sigaction({signal}) failed");
}

/// The address at which a handler has interrupted its thread.
#[must_use]
pub fn interrupted_at(context: *mut c_void) -> usize {
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: what the kernel gave to a handler.
    let registers = unsafe { &(*context).uc_mcontext.gregs };
    registers[libc::REG_RIP as usize].cast_unsigned() as usize
}

/// `errno` of this thread.
#[must_use]
pub fn errno() -> c_int {
    // SAFETY: errno(3).
    let place = unsafe { libc::__errno_location() };
    // SAFETY: valid for as long as the thread lives.
    unsafe { place.read() }
}

/// Sets `errno` of this thread.
pub fn set_errno(number: c_int) {
    // SAFETY: errno(3).
    let place = unsafe { libc::__errno_location() };
    // SAFETY: valid for as long as the thread lives.
    unsafe { place.write(number) };
}

/// The number of this thread (gettid(2)).
#[must_use]
pub fn thread_id() -> libc::pid_t {
    // SAFETY: no arguments.
    unsafe { libc::gettid() }
}

/// A timer that sends a signal to the thread that made it.
#[derive(Debug)]
pub struct Timer(libc::timer_t);

impl Timer {
    /// Sends `signal` every `interval` from now on.
    #[must_use]
    pub fn new(signal: c_int, interval: Duration) -> Self {
        Self::set(signal, interval, interval)
    }

    /// Sends `signal` once.
    #[must_use]
    pub fn once(signal: c_int, after: Duration) -> Self {
        Self::set(signal, after, Duration::ZERO)
    }

    fn set(signal: c_int, first: Duration, interval: Duration) -> Self {
        // SAFETY: all zero is valid.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = signal;
        event.sigev_notify_thread_id = thread_id();
        let mut timer = std::ptr::null_mut();
        // SAFETY: both are valid (timer_create(2)).
        let failed =
            unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) };
        require!(failed == 0, "timer_create failed: {}", errno());
        let time = |time: Duration| libc::timespec {
            tv_sec: time.as_secs().cast_signed(),
            tv_nsec: time.subsec_nanos().into(),
        };
        let every = libc::itimerspec { it_interval: time(interval), it_value: time(first) };
        // SAFETY: a timer, and valid times (timer_settime(2)).
        let failed =
            unsafe { libc::timer_settime(timer, 0, &raw const every, std::ptr::null_mut()) };
        require!(failed == 0, "timer_settime failed: {}", errno());
        Self(timer)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: made by `new`.
        unsafe { libc::timer_delete(self.0) };
    }
}

/// The processors that this process may run on.
#[must_use]
pub fn processors() -> Vec<usize> {
    // SAFETY: a set of zeros is an empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: room for as many bytes (sched_getaffinity(2)).
    unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
    let most = libc::CPU_SETSIZE as usize;
    // SAFETY: within the set.
    (0..most).filter(|processor| unsafe { libc::CPU_ISSET(*processor, &set) }).collect()
}

/// Has a thread (0: this one) run on these processors alone. Of a thread that has ended nothing is changed.
pub fn run_on(thread: libc::pid_t, processors: &[usize]) {
    // SAFETY: a set of zeros is an empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for processor in processors {
        // SAFETY: within the set.
        unsafe { libc::CPU_SET(*processor, &mut set) };
    }
    // SAFETY: a valid set (sched_setaffinity(2)).
    unsafe { libc::sched_setaffinity(thread, size_of_val(&set), &raw const set) };
}

/// The processor that this thread runs on just now.
#[must_use]
pub fn processor() -> c_int {
    // SAFETY: no arguments.
    unsafe { libc::sched_getcpu() }
}

/// Has this thread scheduled by a policy (sched(7)); whether that is permitted.
#[must_use]
pub fn schedule(policy: c_int, priority: c_int) -> bool {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: this thread, and valid parameters.
    unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) == 0 }
}

/// How often this thread has slept, and how often it was preempted.
#[must_use]
pub fn switches() -> (i64, i64) {
    // SAFETY: all zero is valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: room for it (getrusage(2)).
    unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
    (usage.ru_nvcsw, usage.ru_nivcsw)
}

/// Waits for a child; its status.
#[must_use]
pub fn wait_for(child: libc::pid_t) -> c_int {
    let mut status = 0;
    loop {
        // SAFETY: room for the status (waitpid(2)).
        let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
        if waited == child {
            return status;
        }
        require!(errno() == libc::EINTR, "waitpid({child}) failed: {}", errno());
    }
}

/// Ends this process at once (_exit(2)).
pub fn leave(status: c_int) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(status) }
}

/// The time that a loop that waits lets pass.
pub fn pause() {
    std::thread::sleep(Duration::from_millis(1));
}
