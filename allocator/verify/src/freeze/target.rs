//! The program under the library: one victim, `SURVIVORS` others, and the first thread, which keeps the books.
//!
//! It is this program again, since then nothing else has to be built. What matters of it is that its calls go through pointers
//! (`Api`), and that no thread of it waits for another one: each reads commands from a socket of its own.

use std::arch::asm;
use std::ffi::{c_int, c_long, c_void};
use std::mem::MaybeUninit;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use super::api::Api;
use super::battery::{self, Survivor};
use super::operation::{Call, OPERATIONS, Operation};
use super::wire::{Command, Reply, SURVIVORS};
use super::{held, mark, processors};

/// The first argument of a target.
pub const FLAG: &str = "--target";
/// Whoever forgets it: it ends by itself.
const LIFETIME_SECONDS: u32 = 900;
/// Calls that are looked through for one that leads where it should.
const MOST_CALLS: u64 = 20_000;
/// `SYS_SECCOMP` of siginfo and the numbers of seccomp(2) that libc lacks.
const SECCOMP_RET_TRAP: u32 = 0x0003_0000;
const SECCOMP_RET_ALLOW: u32 = 0x7FFF_0000;

/// What a target needs to know; the tracer passes it as arguments.
pub(super) struct Role {
    /// Number of the operation.
    pub(super) operation: usize,
    /// Calls before the one that is traced; `None`: until the tracer has found the call.
    pub(super) calls_before: Option<u64>,
    /// Whether futex(2) is a report, see [`watch`].
    pub(super) is_watched: bool,
    /// The library that is to be opened, unless this program runs under it.
    pub(super) opened: Option<PathBuf>,
    /// Sockets: of the first thread, the victim, the survivors.
    pub(super) sockets: [i32; 2 + SURVIVORS],
}

impl Role {
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![FLAG.to_owned(), self.operation.to_string()];
        arguments.push(self.calls_before.map_or("-".to_owned(), |calls| calls.to_string()));
        arguments.push(self.is_watched.to_string());
        arguments.extend(self.sockets.map(|socket| socket.to_string()));
        arguments.extend(self.opened.iter().map(|path| path.display().to_string()));
        arguments
    }

    fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let operation = arguments.next()?.parse().ok()?;
        let calls_before = arguments.next()?.parse().ok();
        let is_watched = arguments.next()?.parse().ok()?;
        let mut sockets = [0; 2 + SURVIVORS];
        for socket in &mut sockets {
            *socket = arguments.next()?.parse().ok()?;
        }
        let opened = arguments.next().map(PathBuf::from);
        Some(Self { operation, calls_before, is_watched, opened, sockets })
    }
}

/// What threads are started with; leaked.
struct Shared {
    api: Api,
    operation: &'static Operation,
    calls_before: u64,
    is_watched: bool,
    /// From a thread's pointer to where it keeps the address of the sequence that it is in.
    sequence_word: Option<i64>,
}

struct Thread {
    shared: &'static Shared,
    socket: i32,
    /// Of a survivor: which it is, and what it has.
    survivor: Option<(usize, Survivor)>,
}

/// Calls of the operation so far, which the tracer reads.
static CALLS: AtomicU64 = AtomicU64::new(0);

/// Runs a target with the arguments behind [`FLAG`].
#[must_use]
pub fn run(arguments: impl Iterator<Item = String>) -> ExitCode {
    // SAFETY: no handler is set: the process ends (alarm(2)).
    unsafe { libc::alarm(LIFETIME_SECONDS) };
    let Some(role) = Role::parse(arguments) else { return ExitCode::FAILURE };
    let Some(operation) = OPERATIONS.get(role.operation) else { return ExitCode::FAILURE };
    let api = match Api::of(role.opened.as_deref()) {
        Ok(api) => api,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let [main, victim, survivors @ ..] = role.sockets;
    mark::tell(main);
    let calls_before = role.calls_before.unwrap_or(MOST_CALLS);
    // Symbols are looked up before there are threads: the dynamic linker has a lock.
    let sequence_word = sequence_word();
    let is_watched = role.is_watched;
    let shared = Shared { api, operation, calls_before, is_watched, sequence_word };
    let shared: &Shared = Box::leak(Box::new(shared));
    // Whatever the threads keep for themselves is allocated here, on one processor: then it lies in the same superblocks always.
    processors::learn();
    processors::stay_on_first();
    for (number, socket) in survivors.into_iter().enumerate() {
        let survivor = Survivor::new(number, api, operation.size());
        start(self::survivor, Thread { shared, socket, survivor: Some((number, survivor)) });
    }
    start(self::victim, Thread { shared, socket: victim, survivor: None });
    hello(main, shared);
    while let Some(command) = receive(main) {
        match command {
            Command::Settle => {
                held::check_all();
                held::free_all(&api);
                api.purge();
                reply(main, Reply::Settled(api.totals()));
            }
            Command::Another => {
                start(self::victim, Thread { shared, socket: victim, survivor: None });
            }
            _ => {}
        }
    }
    // SAFETY: ends all threads, the frozen included (_exit(2)).
    unsafe { libc::_exit(0) }
}

/// Starts a thread that nothing knows of but its stack: it may die any time.
fn start(body: extern "C" fn(*mut c_void) -> *mut c_void, thread: Thread) {
    let thread = Box::into_raw(Box::new(thread));
    let mut number = MaybeUninit::uninit();
    // SAFETY: there is room for the number; the body takes what it is given.
    let error =
        unsafe { libc::pthread_create(number.as_mut_ptr(), std::ptr::null(), body, thread.cast()) };
    if error != 0 {
        mark::wrong("a thread cannot be started");
    }
}

extern "C" fn victim(thread: *mut c_void) -> *mut c_void {
    // SAFETY: `start` passes a leaked `Thread`.
    let thread: &Thread = unsafe { &*thread.cast() };
    let Shared { api, operation, .. } = thread.shared;
    processors::stay_on_first();
    hello(thread.socket, thread.shared);
    while let Some(command) = receive(thread.socket) {
        if command == Command::Run {
            CALLS.store(0, Ordering::Relaxed);
            (operation.set_up)(api);
            breakpoint();
            for _ in 0..thread.shared.calls_before {
                let block = before(operation.call);
                let result = perform(api, operation.call, block);
                after(operation, result);
                CALLS.fetch_add(1, Ordering::Relaxed);
            }
            let block = before(operation.call);
            breakpoint();
            let result = perform(api, operation.call, block);
            breakpoint();
            after(operation, result);
            reply(thread.socket, Reply::Done { calls: CALLS.load(Ordering::Relaxed) });
        }
    }
    std::ptr::null_mut()
}

/// Stops under a tracer.
#[inline(always)]
fn breakpoint() {
    // SAFETY: without a tracer the program ends.
    unsafe { asm!("int3") };
}

/// The block that a call is about.
fn before(call: Call) -> usize {
    match call {
        Call::Free => held::take(true),
        Call::Realloc(_) => held::take(false),
        _ => 0,
    }
}

/// The call; the block that it returned, or 0.
#[inline(never)]
fn perform(api: &Api, call: Call, block: usize) -> usize {
    let block = std::ptr::with_exposed_provenance_mut(block);
    let result = match call {
        Call::Malloc(size) => (api.malloc)(size),
        Call::Calloc(size) => (api.calloc)(1, size),
        Call::Aligned(align, size) => (api.aligned_alloc)(align, size),
        Call::Memalign(align, size) => {
            let mut place = std::ptr::null_mut();
            // SAFETY: the place may be written to.
            unsafe { (api.posix_memalign)(&raw mut place, align, size) };
            place
        }
        Call::Free => {
            // SAFETY: nobody else has it.
            unsafe { (api.free)(block) };
            std::ptr::null_mut()
        }
        // SAFETY: nobody else has it.
        Call::Realloc(size) => unsafe { (api.realloc)(block, size) },
        Call::Trim => {
            api.trim();
            std::ptr::null_mut()
        }
        Call::Look => {
            api.look();
            std::ptr::null_mut()
        }
    };
    result.expose_provenance()
}

/// What the call returned is held from now on.
fn after(operation: &Operation, result: usize) {
    match operation.call {
        Call::Free | Call::Trim | Call::Look => {}
        _ if result == 0 => mark::wrong("the victim got no memory"),
        // SAFETY: just allocated, of that size.
        _ => unsafe { held::keep(result, operation.size()) },
    }
}

extern "C" fn survivor(thread: *mut c_void) -> *mut c_void {
    // SAFETY: `start` passes a leaked `Thread`, which is this thread's.
    let Thread { shared, socket, survivor } = unsafe { &mut *thread.cast::<Thread>() };
    let socket = *socket;
    let Some((number, survivor)) = survivor else { return std::ptr::null_mut() };
    // One beside the victim, one elsewhere, one anywhere.
    match *number {
        0 => processors::stay_on_first(),
        1 => processors::stay_on_other(),
        _ => processors::roam(),
    }
    if shared.is_watched {
        watch(*number, socket);
    }
    hello(socket, shared);
    while let Some(command) = receive(socket) {
        let calls = match command {
            Command::Battery => survivor.battery(),
            _ => survivor.settle(),
        };
        reply(socket, Reply::Done { calls });
    }
    std::ptr::null_mut()
}

/// Sockets and numbers of the survivors, for the handler.
static SOCKETS: [AtomicI32; SURVIVORS] = [const { AtomicI32::new(-1) }; SURVIVORS];
static THREADS: [AtomicI32; SURVIVORS] = [const { AtomicI32::new(-1) }; SURVIVORS];

fn thread_number() -> c_long {
    // SAFETY: always works (gettid(2)).
    unsafe { libc::syscall(libc::SYS_gettid) }
}

/// From now on futex(2) is a report, for this thread: a survivor that waits for another thread, or wakes one that waits for it.
fn watch(number: usize, socket: i32) {
    SOCKETS[number].store(socket, Ordering::Relaxed);
    THREADS[number].store(thread_number() as i32, Ordering::Relaxed);
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: zero bytes are a valid action.
    let action = unsafe { action.assume_init_mut() };
    let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = futex_called;
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: a valid action, whose handler calls nothing that may not be called.
    unsafe { libc::sigaction(libc::SIGSYS, &raw const *action, std::ptr::null_mut()) };
    // The number of the call; if it is futex, a trap, else allowed.
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let jump = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let end = (libc::BPF_RET | libc::BPF_K) as u16;
    let filter = [
        libc::sock_filter { code: load, jt: 0, jf: 0, k: 0 },
        libc::sock_filter { code: jump, jt: 0, jf: 1, k: libc::SYS_futex.cast_unsigned() as u32 },
        libc::sock_filter { code: end, jt: 0, jf: 0, k: SECCOMP_RET_TRAP },
        libc::sock_filter { code: end, jt: 0, jf: 0, k: SECCOMP_RET_ALLOW },
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    // SAFETY: changes this thread only (prctl(2)).
    unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: the filter is valid, and is copied (seccomp(2)).
    let failed =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    if failed != 0 {
        mark::wrong("futex(2) cannot be watched");
    }
}

extern "C" fn futex_called(_: c_int, information: *mut libc::siginfo_t, _: *mut c_void) {
    let thread = thread_number() as i32;
    let found = THREADS.iter().position(|of| of.load(Ordering::Relaxed) == thread);
    if let Some(number) = found {
        // SAFETY: the kernel's.
        let information = unsafe { &*information };
        // SAFETY: of SIGSYS: the address that the call came from lies where that of a fault lies (sigaction(2)).
        let from = unsafe { information.si_addr() }.addr() as u64;
        let call = battery::doing(number);
        reply(SOCKETS[number].load(Ordering::Relaxed), Reply::Futex { from, call });
    }
    loop {
        // SAFETY: waits for a signal: the tracer ends the process.
        unsafe { libc::pause() };
    }
}

fn hello(socket: i32, shared: &Shared) {
    let thread = thread_number().cast_unsigned();
    let counter = (&raw const CALLS).addr() as u64;
    let sequence_word =
        shared.sequence_word.map_or(0, |offset| thread_pointer().wrapping_add_signed(offset));
    reply(socket, Reply::Hello { thread, sequence_word, syscall: a_syscall(), counter });
}

/// From the pointer of any thread to where it keeps the address of the description of the restartable sequence that it is in
/// (rseq(2)), if the C library has registered such places.
fn sequence_word() -> Option<i64> {
    const FIELD: i64 = 8;
    // SAFETY: a string that ends with a zero byte (dlsym(3)).
    let offset = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr()) };
    // SAFETY: if not null it is glibc's `const ptrdiff_t __rseq_offset`.
    (!offset.is_null()).then(|| unsafe { offset.cast::<i64>().read() } + FIELD)
}

fn thread_pointer() -> u64 {
    let thread: u64;
    // SAFETY: the first word at the thread pointer is the thread pointer (System V ABI).
    unsafe { asm!("mov {}, qword ptr fs:[0]", out(reg) thread, options(nostack, readonly)) };
    thread
}

/// The address of an instruction `syscall`.
fn a_syscall() -> u64 {
    let address: u64;
    // SAFETY: the instruction is jumped over.
    unsafe {
        asm!("lea {}, [rip + 2f]", "jmp 3f", "2:", "syscall", "3:", out(reg) address,
            options(nostack, preserves_flags, nomem));
    }
    address
}

fn receive(socket: i32) -> Option<Command> {
    let mut word = [0_u8; 8];
    // SAFETY: there is room for that many bytes (read(2)). Whole words are sent.
    let count = unsafe { libc::read(socket, word.as_mut_ptr().cast(), word.len()) };
    if count == word.len() as isize { Command::from_word(u64::from_ne_bytes(word)) } else { None }
}

fn reply(socket: i32, reply: Reply) {
    let bytes = reply.bytes();
    // SAFETY: reads as many bytes as there are (write(2)). If the tracer is gone nobody needs it.
    unsafe { libc::write(socket, bytes.as_ptr().cast(), bytes.len()) };
}
