//! Linux on x86-64: raw system calls (syscalls(2)).

use core::arch::asm;
use core::ffi::{CStr, c_char};

use super::PAGE_BYTES;

const SYS_READ: usize = 0;
const SYS_WRITE: usize = 1;
const SYS_OPEN: usize = 2;
const SYS_CLOSE: usize = 3;
const SYS_MMAP: usize = 9;
const SYS_MUNMAP: usize = 11;
const SYS_SCHED_YIELD: usize = 24;
const SYS_MREMAP: usize = 25;
const SYS_MADVISE: usize = 28;
const SYS_GETPID: usize = 39;
const SYS_GETTID: usize = 186;
const SYS_CLOCK_GETTIME: usize = 228;
const SYS_TGKILL: usize = 234;
const SYS_PROCESS_VM_READV: usize = 310;
const SYS_GETRANDOM: usize = 318;
const SYS_MEMBARRIER: usize = 324;

const PROT_NONE: usize = 0;
const PROT_READ_WRITE: usize = 1 | 2;
const MAP_PRIVATE_ANONYMOUS: usize = 0x02 | 0x20;
const MAP_FIXED: usize = 0x10;
const MAP_NORESERVE: usize = 0x4000;
const MADV_DONTNEED: usize = 4;
const MADV_HUGEPAGE: usize = 14;
const MADV_NOHUGEPAGE: usize = 15;
const MREMAP_MAYMOVE_FIXED: usize = 1 | 2;
const CLOCK_MONOTONIC: usize = 1;
const GRND_NONBLOCK: usize = 1;
const SIGABRT: usize = 6;
const ENOMEM: isize = -12;
const O_RDONLY_CLOEXEC: usize = 0o2_000_000;
/// membarrier(2).
const MEMBARRIER_PRIVATE_EXPEDITED_RSEQ: usize = 1 << 7;
const MEMBARRIER_REGISTER_PRIVATE_EXPEDITED_RSEQ: usize = 1 << 8;
const MEMBARRIER_FLAG_CPU: usize = 1;
/// Processors if the system does not tell.
const ASSUMED_PROCESSORS: u32 = 64;

/// Makes a system call; returns what the kernel returns, −4095 … −1 for an error.
///
/// # Safety
/// As the call itself.
#[inline]
unsafe fn syscall(number: usize, arguments: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the kernel's calling convention (syscall(2)): it changes rax, rcx and r11 only.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") arguments[0], in("rsi") arguments[1], in("rdx") arguments[2],
            in("r10") arguments[3], in("r8") arguments[4], in("r9") arguments[5],
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}

fn mmap(bytes: usize, protection: usize, flags: usize) -> Option<usize> {
    let flags = MAP_PRIVATE_ANONYMOUS | flags;
    // SAFETY: a new anonymous mapping without a fixed address touches no existing one (mmap(2)).
    let result = unsafe { syscall(SYS_MMAP, [0, bytes, protection, flags, usize::MAX, 0]) };
    usize::try_from(result).ok()
}

/// Maps `bytes` (a multiple of the page size) of `protection` at a multiple of `align` (a power of two, at least
/// the page size).
fn map_with(bytes: usize, align: usize, protection: usize, flags: usize) -> Option<usize> {
    let address = mmap(bytes, protection, flags)?;
    if address & (align - 1) == 0 {
        return Some(address);
    }
    // SAFETY: mapped just now, known to nobody.
    let _ = unsafe { unmap(address, bytes) };
    // Map so much that an aligned piece lies within, and cut off the rest. Should that fail, at the mapping limit,
    // the rest stays mapped and untouched.
    let padded = bytes.checked_add(align - PAGE_BYTES)?;
    let start = mmap(padded, protection, flags)?;
    let address = (start + align - 1) & !(align - 1);
    let (head, tail) = (address - start, start + padded - (address + bytes));
    if head > 0 {
        // SAFETY: the unaligned head of the mapping made above, known to nobody.
        let _ = unsafe { unmap(start, head) };
    }
    if tail > 0 {
        // SAFETY: its tail, likewise.
        let _ = unsafe { unmap(address + bytes, tail) };
    }
    Some(address)
}

/// Maps `bytes` (a multiple of the page size) of zero pages, readable and writable, at a multiple of `align` (a
/// power of two, at least the page size). `None`: no memory, or no addresses.
pub(crate) fn map(bytes: usize, align: usize) -> Option<usize> {
    map_with(bytes, align, PROT_READ_WRITE, 0)
}

/// Reserves addresses without memory behind them.
pub(crate) fn reserve(bytes: usize, align: usize) -> Option<usize> {
    map_with(bytes, align, PROT_NONE, MAP_NORESERVE)
}

/// As [`map`], at a multiple of the page size, with a page on either side that nobody can read or write.
pub(crate) fn map_guarded(bytes: usize) -> Option<usize> {
    let whole = bytes.checked_add(2 * PAGE_BYTES)?;
    let start = reserve(whole, PAGE_BYTES)?;
    let address = start + PAGE_BYTES;
    let flags = MAP_PRIVATE_ANONYMOUS | MAP_FIXED;
    let arguments = [address, bytes, PROT_READ_WRITE, flags, usize::MAX, 0];
    // SAFETY: replaces pages of the reservation made above, known to nobody (mmap(2)).
    let result = unsafe { syscall(SYS_MMAP, arguments) };
    if usize::try_from(result) == Ok(address) {
        return Some(address);
    }
    // SAFETY: the reservation, known to nobody. Should that fail, at the mapping limit, it stays, without memory.
    let _ = unsafe { unmap(start, whole) };
    None
}

/// [`unmap`] of what [`map_guarded`] mapped, with its guards.
///
/// # Safety
/// As there; `address` is what that returned for so many bytes.
pub(crate) unsafe fn unmap_guarded(address: usize, bytes: usize) -> bool {
    // SAFETY: the caller's, and the pages on either side, which nobody uses.
    unsafe { unmap(address - PAGE_BYTES, bytes + 2 * PAGE_BYTES) }
}

/// Unmaps pages; whether that worked. It fails when splitting a mapping would pass the limit of mappings.
///
/// # Safety
/// The range is part of mappings of this crate, and nobody uses it any more.
pub(crate) unsafe fn unmap(address: usize, bytes: usize) -> bool {
    // SAFETY: the caller's.
    unsafe { syscall(SYS_MUNMAP, [address, bytes, 0, 0, 0, 0]) == 0 }
}

/// Gives the pages back and keeps the addresses: they read as zero from then on. Whether that worked; it does not
/// on locked pages (mlock(2), madvise(2)), which keep their contents.
///
/// # Safety
/// The range is part of a mapping of this crate, and nobody uses its contents any more.
pub(crate) unsafe fn decommit(address: usize, bytes: usize) -> bool {
    // SAFETY: the caller's.
    unsafe { syscall(SYS_MADVISE, [address, bytes, MADV_DONTNEED, 0, 0, 0]) == 0 }
}

/// What became of [`remap_in_place`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remapped {
    /// It has the new size.
    InPlace,
    /// The addresses behind it are taken, or there is no memory.
    NoRoom,
    /// Not possible at all: the program has split the mapping, by protecting, locking or advising a part of it.
    Refused,
}

/// Lets other threads run.
pub(crate) fn give_way() {
    // SAFETY: no arguments (sched_yield(2)).
    unsafe { syscall(SYS_SCHED_YIELD, [0; 6]) };
}

/// Grows or shrinks a mapping without moving it.
///
/// # Safety
/// The range is a mapping of this crate; if it shrinks, nobody uses its end any more.
pub(crate) unsafe fn remap_in_place(
    address: usize,
    old_bytes: usize,
    new_bytes: usize,
) -> Remapped {
    // SAFETY: the caller's; without MREMAP_MAYMOVE the call grows into unused addresses or fails (mremap(2)).
    match unsafe { syscall(SYS_MREMAP, [address, old_bytes, new_bytes, 0, 0, 0]) } {
        0.. => Remapped::InPlace,
        ENOMEM => Remapped::NoRoom,
        _ => Remapped::Refused,
    }
}

/// Moves a mapping, with another size, onto the reservation at `target`; whether that worked. If not, the mapping
/// is as it was.
///
/// # Safety
/// `address` is a mapping of this crate that only this thread uses; `target` is a reservation of `new_bytes` that
/// only this thread knows.
pub(crate) unsafe fn remap_onto(
    address: usize,
    old_bytes: usize,
    new_bytes: usize,
    target: usize,
) -> bool {
    let arguments = [address, old_bytes, new_bytes, MREMAP_MAYMOVE_FIXED, target, 0];
    // SAFETY: the caller's; the kernel replaces the reservation.
    unsafe { syscall(SYS_MREMAP, arguments) >= 0 }
}

/// The number of this process; in a forked child the child's.
pub(crate) fn process_id() -> u64 {
    // SAFETY: no arguments, no effect (getpid(2)).
    let process = unsafe { syscall(SYS_GETPID, [0; 6]) };
    process.cast_unsigned() as u64
}

/// Copies the memory of this process from `address` on into `out`, whatever is there; false if it is not mapped, or the
/// system does not allow it.
///
/// The system copies: nothing happens if the memory is unmapped, or written to, meanwhile.
pub(crate) fn read_memory(address: usize, out: &mut [u8]) -> bool {
    // Two of `struct iovec`: where to, and where from.
    let to = [out.as_mut_ptr().expose_provenance(), out.len()];
    let from = [address, out.len()];
    let (to, from) = (to.as_ptr().expose_provenance(), from.as_ptr().expose_provenance());
    let arguments = [process_id() as usize, to, 1, from, 1, 0];
    // SAFETY: the kernel writes to `out` only, at most its length, and checks what it reads (process_vm_readv(2)).
    let copied = unsafe { syscall(SYS_PROCESS_VM_READV, arguments) };
    usize::try_from(copied) == Ok(out.len())
}

/// The processor's time-stamp counter: constant in rate and common to all processors on every system that uses it
/// as its clock source.
#[inline]
pub(crate) fn ticks() -> u64 {
    // SAFETY: unprivileged on Linux.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// A number that nobody can guess, as far as the system has such a one (getrandom(2)); never waits for it.
pub(crate) fn random() -> u64 {
    let mut number = 0u64;
    let arguments =
        [(&raw mut number).expose_provenance(), size_of::<u64>(), GRND_NONBLOCK, 0, 0, 0];
    // SAFETY: the kernel writes no more than the number.
    let got = unsafe { syscall(SYS_GETRANDOM, arguments) };
    if got != size_of::<u64>() as isize {
        // Early at the system's start, or forbidden: where the stack lies, and when.
        number ^= ticks().wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (&raw const number).addr() as u64;
    }
    number
}

/// Nanoseconds of the system's monotonic clock.
pub(crate) fn monotonic_ns() -> u64 {
    let mut time = [0i64; 2];
    let arguments = [CLOCK_MONOTONIC, (&raw mut time).expose_provenance(), 0, 0, 0, 0];
    // SAFETY: `time` has the layout of `struct timespec` on x86-64, and the kernel writes no more than that
    // (clock_gettime(2)).
    unsafe { syscall(SYS_CLOCK_GETTIME, arguments) };
    // Never negative: the clock counts from start-up.
    time[0].cast_unsigned() * 1_000_000_000 + time[1].cast_unsigned()
}

/// Where the C library keeps the environment (environ(7)); `None` without a C library.
fn environ() -> Option<*const *const *const c_char> {
    let environ =
        core::ptr::with_exposed_provenance::<*const *const c_char>(weak_symbol!("environ"));
    (!environ.is_null()).then_some(environ)
}

/// Whether the environment has been set up: the dynamic linker may allocate before. (Also false once a program has cleared
/// it.)
pub(crate) fn environment_is_there() -> bool {
    // SAFETY: the C library's `char **environ`.
    environ().is_none_or(|environ| !unsafe { environ.read() }.is_null())
}

/// Whether the program was started with more rights than those of whoever started it, who has set the environment
/// (getauxval(3), `AT_SECURE`). Without a C library that tells: no.
pub(crate) fn has_raised_rights() -> bool {
    const AT_SECURE: u64 = 23;
    let getauxval = weak_symbol!("getauxval");
    if getauxval == 0 {
        return false;
    }
    // SAFETY: if it is there it is the C library's `unsigned long getauxval(unsigned long)`.
    let getauxval: extern "C" fn(u64) -> u64 =
        unsafe { core::mem::transmute::<usize, extern "C" fn(u64) -> u64>(getauxval) };
    getauxval(AT_SECURE) != 0
}

/// Value of an environment variable, as the program was started with it or has set it last.
pub(crate) fn environment(name: &CStr) -> Option<&'static CStr> {
    let environ = environ()?;
    // SAFETY: the C library's `char **environ`; null before it is set up.
    let mut entry = unsafe { environ.read() };
    while !entry.is_null() {
        // SAFETY: the array ends with a null pointer, which ends this loop.
        let variable = unsafe { entry.read() };
        if variable.is_null() {
            return None;
        }
        // SAFETY: a string that ends with a zero byte.
        let variable = unsafe { CStr::from_ptr(variable) };
        let value = variable.to_bytes_with_nul().strip_prefix(name.to_bytes());
        if let Some([b'=', value @ ..]) = value {
            // SAFETY: the end of a string that ends with the only zero byte in it.
            return Some(unsafe { CStr::from_bytes_with_nul_unchecked(value) });
        }
        entry = entry.wrapping_add(1);
    }
    None
}

/// How many processors the machine may ever have: one more than the highest number.
pub(crate) fn possible_processors() -> u32 {
    let mut text = [0; 64];
    let text = read_file(c"/sys/devices/system/cpu/possible", &mut text);
    highest(text).map_or(ASSUMED_PROCESSORS, |highest| highest.saturating_add(1))
}

/// What the system does with memory that it was told nothing of: gives it huge pages, or not; `None`: it has none.
pub(crate) fn huge_pages() -> Option<Huge> {
    let mut text = [0; 64];
    let told = read_file(c"/sys/kernel/mm/transparent_hugepage/enabled", &mut text);
    match told {
        b"" => None,
        _ if told.starts_with(b"[always]") => Some(Huge::Wanted),
        _ if told.trim_ascii_end().ends_with(b"[never]") => None,
        _ => Some(Huge::Never),
    }
}

/// The beginning of a file, as much as `text` holds; nothing if it cannot be read.
fn read_file<'t>(path: &CStr, text: &'t mut [u8]) -> &'t [u8] {
    let path = path.as_ptr().expose_provenance();
    // SAFETY: opens for reading; the path ends with a zero byte (open(2)).
    let file = unsafe { syscall(SYS_OPEN, [path, O_RDONLY_CLOEXEC, 0, 0, 0, 0]) };
    let Ok(file) = usize::try_from(file) else { return &[] };
    let buffer = [file, text.as_mut_ptr().expose_provenance(), text.len(), 0, 0, 0];
    // SAFETY: writes to `text` at most as much as it holds (read(2)).
    let read = unsafe { syscall(SYS_READ, buffer) };
    // SAFETY: opened above, known to nobody else.
    unsafe { syscall(SYS_CLOSE, [file, 0, 0, 0, 0, 0]) };
    text.get(..usize::try_from(read).unwrap_or(0)).unwrap_or(&[])
}

/// What [`advise_huge`] tells of transparent huge pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Huge {
    /// They would do harm there.
    Never,
    /// They would be good there.
    Wanted,
}

/// Tells the system whether a mapping of this crate should have huge pages: advice (madvise(2)), which may be refused.
pub(crate) fn advise_huge(address: usize, bytes: usize, huge: Huge) {
    let advice = match huge {
        Huge::Never => MADV_NOHUGEPAGE,
        Huge::Wanted => MADV_HUGEPAGE,
    };
    // SAFETY: changes how pages are made, and not what is in them.
    unsafe { syscall(SYS_MADVISE, [address, bytes, advice, 0, 0, 0]) };
}

/// A number in decimal digits.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    let digit = |number: u64, byte: &u8| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    };
    if digits.is_empty() { None } else { digits.iter().try_fold(0, digit) }
}

/// The last number of a list such as `0-3,8-11`.
fn highest(list: &[u8]) -> Option<u32> {
    let list = list.trim_ascii_end();
    let digits = list.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let start = list.len() - digits;
    u32::try_from(decimal(list.get(start..)?)?).ok()
}

/// Makes [`fence_sequences`] possible; where the system does not know it, that fails.
pub(crate) fn register_sequence_fence() {
    let arguments = [MEMBARRIER_REGISTER_PRIVATE_EXPEDITED_RSEQ, 0, 0, 0, 0, 0];
    // SAFETY: no memory is involved (membarrier(2)).
    unsafe { syscall(SYS_MEMBARRIER, arguments) };
}

/// Aborts the restartable sequence that is under way on `processor` in a thread of this process, if there is one, and
/// orders memory against what ran there before. Whether that worked.
pub(crate) fn fence_sequences(processor: u32) -> bool {
    let arguments =
        [MEMBARRIER_PRIVATE_EXPEDITED_RSEQ, MEMBARRIER_FLAG_CPU, processor as usize, 0, 0, 0];
    // SAFETY: no memory is involved (membarrier(2)).
    unsafe { syscall(SYS_MEMBARRIER, arguments) == 0 }
}

/// Prints `parts` and a newline to standard error, in one piece, without allocating or locking.
#[cold]
pub(crate) fn print<'p>(parts: impl Iterator<Item = &'p [u8]>) {
    let mut line = [0; 256];
    let bytes = parts.chain([&b"\n"[..]]).flatten();
    let mut count = 0;
    for (place, byte) in line.iter_mut().zip(bytes) {
        *place = *byte;
        count += 1;
    }
    let text = line.as_ptr().expose_provenance();
    // SAFETY: reads the line only (write(2)); whether it succeeds does not matter.
    unsafe { syscall(SYS_WRITE, [2, text, count, 0, 0, 0]) };
}

/// Prints `parts` and a newline to standard error and ends the program with SIGABRT, without allocating or locking.
#[cold]
pub(crate) fn fatal(parts: &[&str]) -> ! {
    print(parts.iter().map(|part| part.as_bytes()));
    let process = process_id() as usize;
    // SAFETY: no arguments, no effect (gettid(2)).
    let thread = unsafe { syscall(SYS_GETTID, [0; 6]) };
    let arguments = [process, thread.cast_unsigned(), SIGABRT, 0, 0, 0];
    // SAFETY: sends this thread a signal (tgkill(2)).
    unsafe { syscall(SYS_TGKILL, arguments) };
    // SIGABRT was blocked, ignored or handled.
    // SAFETY: traps; never returns.
    unsafe { asm!("ud2", options(noreturn)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Aim: who runs over either end of guarded pages meets what nobody can touch, and guards go with their pages. Method: has the
    /// system read the bytes at the ends and beside them, before and after.
    #[test]
    fn guards_are_at_both_ends() {
        let bytes = 3 * PAGE_BYTES;
        let address = map_guarded(bytes).unwrap();
        let is_readable = |address: usize| read_memory(address, &mut [0]);
        assert!(is_readable(address) && is_readable(address + bytes - 1));
        assert!(!is_readable(address - 1) && !is_readable(address - PAGE_BYTES));
        assert!(!is_readable(address + bytes) && !is_readable(address + bytes + PAGE_BYTES - 1));
        // SAFETY: mapped above, and used by nobody.
        assert!(unsafe { unmap_guarded(address, bytes) });
        assert!(!is_readable(address) && !is_readable(address + bytes - 1));
        assert!(map_guarded(usize::MAX - PAGE_BYTES + 1).is_none(), "sizes do not wrap");
    }

    /// Aim: mappings have the alignment asked for and are zero. Method: alignments from a page to 4 MiB, kept so
    /// that the kernel cannot hand the same place out again.
    #[test]
    fn maps_aligned() {
        for shift in [12, 16, 20, 22] {
            for pages in [1, 3, 17] {
                let address = map(pages * PAGE_BYTES, 1 << shift).unwrap();
                assert_eq!(address % (1 << shift), 0);
                let last = (address + pages * PAGE_BYTES - 8) as *mut u64;
                // SAFETY: within the mapping made above.
                assert_eq!(unsafe { last.read() }, 0);
            }
        }
    }

    /// Aim: no memory is `None`, not a crash. Method: ask for more than the address space.
    #[test]
    fn no_memory_is_none() {
        assert_eq!(map(1 << 48, PAGE_BYTES), None);
        assert_eq!(map(PAGE_BYTES, 1 << 47), None);
    }

    /// Aim: memory is copied whole, and what is not mapped is refused and does no harm. Method: two pages, the second of
    /// which is given back.
    #[test]
    fn reads_what_is_mapped() {
        let address = map(2 * PAGE_BYTES, PAGE_BYTES).unwrap();
        let last = (address + PAGE_BYTES - 4) as *mut u8;
        // SAFETY: the end of the first page of the mapping made above.
        unsafe { last.write_bytes(7, 4) };
        // SAFETY: the second page of the mapping made above.
        assert!(unsafe { unmap(address + PAGE_BYTES, PAGE_BYTES) });
        let mut out = [0; 8];
        assert!(read_memory(address + PAGE_BYTES - 8, &mut out));
        assert_eq!(out, [0, 0, 0, 0, 7, 7, 7, 7]);
        assert!(!read_memory(address + PAGE_BYTES - 4, &mut out), "half of it is not mapped");
        assert!(!read_memory(address + PAGE_BYTES, &mut out));
        assert!(!read_memory(0, &mut out));
    }

    /// Aim: the clock runs. Method: two readings.
    #[test]
    fn clock_runs() {
        let before = monotonic_ns();
        assert!(before > 0);
        assert!(monotonic_ns() >= before);
    }
}
