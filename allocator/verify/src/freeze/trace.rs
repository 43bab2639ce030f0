//! One thread of another process, held by ptrace(2).

use std::collections::HashMap;
use std::io;
use std::mem::{MaybeUninit, offset_of};

use super::image::{Image, Sequence};

/// `si_code` of an instruction `int3`.
const SI_KERNEL: i32 = 0x80;
const INT3: u64 = 0xCC;

/// Where the thread stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Before the instruction there.
    At(u64),
    /// Behind an `int3`, there.
    Breakpoint(u64),
    /// It is no more.
    Gone,
}

/// What becomes of restartable sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Every stop in one aborts it, as the kernel has it.
    Interrupted,
    /// As if the thread had not been stopped within them: nobody else may run meanwhile.
    Through,
}

/// An instruction of the library that the thread is about to execute.
pub(super) struct Step {
    pub(super) address: u64,
    /// How often it came here on this walk, this time included.
    pub(super) visits: u64,
    /// The sequence that it is in.
    pub(super) sequence: Option<Sequence>,
}

/// Whether a walk goes on.
pub(super) enum Next {
    Step,
    Leave,
}

/// The thread.
pub(super) struct Victim {
    thread: libc::pid_t,
    /// Where it keeps the address of the sequence it is in; 0: nowhere.
    sequence_word: u64,
    /// Where an instruction `syscall` lies.
    syscall: u64,
}

fn request(request: libc::c_uint, thread: libc::pid_t, address: u64, data: u64) -> io::Result<()> {
    // SAFETY: every caller passes what the request takes (ptrace(2)): numbers, or the address of a structure of the right type.
    let result = unsafe { libc::ptrace(request, thread, address, data) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

impl Victim {
    /// Takes hold of a thread, which ends with this program.
    pub(super) fn seize(thread: u64, sequence_word: u64, syscall: u64) -> io::Result<Self> {
        let thread = thread as libc::pid_t;
        request(libc::PTRACE_SEIZE, thread, 0, libc::PTRACE_O_EXITKILL as u64)?;
        Ok(Self { thread, sequence_word, syscall })
    }

    /// Waits until it is gone, with its process, say.
    pub(super) fn reap(&self) {
        while self.wait().is_ok_and(|status| libc::WIFSTOPPED(status)) {}
    }

    fn wait(&self) -> io::Result<i32> {
        let mut status = 0;
        // SAFETY: there is room for the status (waitpid(2)).
        let waited = unsafe { libc::waitpid(self.thread, &raw mut status, libc::__WALL) };
        if waited < 0 { Err(io::Error::last_os_error()) } else { Ok(status) }
    }

    /// Waits until it stands behind an `int3`, or is gone, without having been resumed by this call.
    pub(super) fn stopped(&self) -> io::Result<Stop> {
        self.stopped_after(libc::PTRACE_CONT)
    }

    fn stopped_after(&self, resumed_by: libc::c_uint) -> io::Result<Stop> {
        loop {
            let status = self.wait()?;
            if !libc::WIFSTOPPED(status) {
                return Ok(Stop::Gone);
            }
            let signal = libc::WSTOPSIG(status);
            let event = status >> 16;
            if signal == libc::SIGTRAP && event == 0 {
                let address = self.address()?;
                let is_breakpoint = self.code()? == SI_KERNEL;
                return Ok(if is_breakpoint {
                    Stop::Breakpoint(address)
                } else {
                    Stop::At(address)
                });
            }
            // Another signal, which it gets; or an event, of which nothing is wanted.
            let passed = if event == 0 { signal.cast_unsigned().into() } else { 0 };
            request(resumed_by, self.thread, 0, passed)?;
        }
    }

    fn code(&self) -> io::Result<i32> {
        let mut information = MaybeUninit::<libc::siginfo_t>::zeroed();
        request(libc::PTRACE_GETSIGINFO, self.thread, 0, information.as_mut_ptr().addr() as u64)?;
        // SAFETY: zero bytes are valid, and the kernel has filled it in.
        Ok(unsafe { information.assume_init() }.si_code)
    }

    /// Lets it execute one instruction.
    fn step(&self) -> io::Result<Stop> {
        request(libc::PTRACE_SINGLESTEP, self.thread, 0, 0)?;
        self.stopped_after(libc::PTRACE_SINGLESTEP)
    }

    /// Lets it go until it stands behind an `int3`, or is gone.
    pub(super) fn go(&self) -> io::Result<Stop> {
        self.go_on()?;
        self.stopped()
    }

    /// Lets it go.
    pub(super) fn go_on(&self) -> io::Result<()> {
        request(libc::PTRACE_CONT, self.thread, 0, 0)
    }

    fn user_word(&self, offset: usize) -> io::Result<u64> {
        self.peek_by(libc::PTRACE_PEEKUSER, offset as u64)
    }

    fn peek_by(&self, peek: libc::c_uint, address: u64) -> io::Result<u64> {
        // SAFETY: the C library's `errno` of this thread.
        let errno = unsafe { libc::__errno_location() };
        // SAFETY: valid for as long as the thread lives.
        unsafe { errno.write(0) };
        // SAFETY: reads a word of the thread's (ptrace(2)).
        let word = unsafe { libc::ptrace(peek, self.thread, address, 0_u64) };
        // SAFETY: as above.
        match unsafe { errno.read() } {
            0 => Ok(word.cast_unsigned()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// The word at an address of its memory.
    pub(super) fn peek(&self, address: u64) -> io::Result<u64> {
        self.peek_by(libc::PTRACE_PEEKDATA, address)
    }

    fn poke(&self, address: u64, word: u64) -> io::Result<()> {
        request(libc::PTRACE_POKEDATA, self.thread, address, word)
    }

    fn address(&self) -> io::Result<u64> {
        self.user_word(offset_of!(libc::user, regs) + offset_of!(libc::user_regs_struct, rip))
    }

    fn set(&self, register: usize, value: u64) -> io::Result<()> {
        let offset = offset_of!(libc::user, regs) + register;
        request(libc::PTRACE_POKEUSER, self.thread, offset as u64, value)
    }

    /// As if it had not been stopped in the sequence that it is in.
    fn unstop(&self) -> io::Result<()> {
        self.poke(self.sequence_word, 0)
    }

    /// Steps it from one `int3` to the next, and shows where it stands whenever that is in the library.
    pub(super) fn walk(
        &self,
        image: &Image,
        way: Way,
        mut see: impl FnMut(&Step) -> io::Result<Next>,
    ) -> io::Result<Stop> {
        let mut visits = HashMap::new();
        // The stack when the library was called: within it there is more.
        let mut stack_before = None;
        loop {
            let mut stop = self.step()?;
            if let Some(before) = stack_before {
                stop = self.return_from_elsewhere(image, before, stop)?;
            }
            let Stop::At(address) = stop else { return Ok(stop) };
            if !image.contains(address) {
                stack_before = None;
                continue;
            }
            if stack_before.is_none() {
                stack_before = Some(self.stack()?);
            }
            let visits = visits.entry(address).or_insert(0_u64);
            *visits += 1;
            let sequence = image.sequence_at(address).cloned();
            let in_sequence = sequence.is_some();
            let is_unstopped = way == Way::Through && in_sequence && self.sequence_word != 0;
            if is_unstopped {
                self.unstop()?;
            }
            if let Next::Leave = see(&Step { address, visits: *visits, sequence })? {
                return Ok(stop);
            }
        }
    }

    fn stack(&self) -> io::Result<u64> {
        self.user_word(offset_of!(libc::user, regs) + offset_of!(libc::user_regs_struct, rsp))
    }

    /// If the library, which was called with this stack, has just called somebody else (memcpy(3), say, which takes many steps),
    /// lets it go until that returns.
    fn return_from_elsewhere(&self, image: &Image, before: u64, stop: Stop) -> io::Result<Stop> {
        let Stop::At(address) = stop else { return Ok(stop) };
        let stack = self.stack()?;
        if image.contains(address) || stack >= before {
            return Ok(stop);
        }
        let back = self.peek(stack)?;
        if !image.contains(back) {
            return Ok(stop);
        }
        if self.go_to(&[back])? { Ok(Stop::At(back)) } else { Ok(Stop::Gone) }
    }

    /// Lets it go to one of these instructions; whether it came there, and not to an `int3` of its own.
    pub(super) fn go_to(&self, addresses: &[u64]) -> io::Result<bool> {
        let mut before = Vec::new();
        for &address in addresses {
            let word = self.peek(address)?;
            before.push((address, word));
            self.poke(address, word & !0xFF | INT3)?;
        }
        let stop = self.go()?;
        let Stop::Breakpoint(behind) = stop else { return Ok(false) };
        for (address, word) in before.into_iter().rev() {
            self.poke(address, word)?;
        }
        let is_there = addresses.contains(&(behind - 1));
        if is_there {
            self.set(offset_of!(libc::user_regs_struct, rip), behind - 1)?;
        }
        Ok(is_there)
    }

    /// Ends it where it stands, as exit(2) does, and nothing of the process else.
    pub(super) fn kill(&self) -> io::Result<()> {
        self.set(offset_of!(libc::user_regs_struct, rip), self.syscall)?;
        self.set(offset_of!(libc::user_regs_struct, rax), libc::SYS_exit as u64)?;
        self.set(offset_of!(libc::user_regs_struct, rdi), 0)?;
        // No system call is to be restarted.
        self.set(offset_of!(libc::user_regs_struct, orig_rax), u64::MAX)?;
        match self.go()? {
            Stop::Gone => Ok(()),
            stop => Err(io::Error::other(format!("the thread did not end: {stop:?}"))),
        }
    }
}
