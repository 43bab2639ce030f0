//! Restartable sequences: per-processor arrays of blocks that are popped and pushed without an atomic instruction.
//!
//! The kernel restarts nothing by itself: if the thread is preempted, migrated or gets a signal between the first
//! instruction of a sequence and its last, it goes on at the sequence's abort address instead (rseq(2)). So what lies
//! before the last instruction, the *commit*, may have happened or not, and counts only if the commit has. A commit here
//! is one store of the magazine's word:
//!
//! ```text
//!  63                                16 15        0
//! ┌────────────────────────────────────┬───────────┐
//! │ blocks popped ever : 48            │ blocks    │   then the header's counters, then the slots
//! └────────────────────────────────────┴───────────┘
//! ```
//!
//! A pop adds 2^16 − 1 to it, a push 1. `CLOSED` or more blocks say that somebody else is emptying the magazine: a pop
//! finds it empty then, and a push full.
//!
//! Every sequence is tried once. Aborted is told apart from empty and full: it is no reason to refill or to flush.

use core::arch::asm;

/// Offsets in `struct rseq` (rseq(2)).
const CPU_ID_OFFSET: usize = 4;
const RSEQ_CS_OFFSET: usize = 8;

/// Bytes between the magazines of one processor and those of the next.
pub(crate) const STRIDE_SHIFT: u32 = 17;
/// The part of a word that is `blocks`.
pub(crate) const BLOCKS: u64 = 0xFFFF;
/// This bit of `blocks` says that the magazine is being drained; the bits below tell the drainers apart. More than any
/// capacity.
pub(crate) const CLOSED: u64 = 0x8000;
/// Bytes before a magazine's slots: its word, and the header's counters.
pub(crate) const HEADER_BYTES: usize = 64;

/// A magazine of the first processor: its address, and how many blocks it holds at most. Those of the others lie
/// `1 << STRIDE_SHIFT` bytes apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) address: usize,
    pub(crate) capacity: u32,
}

/// Why a sequence did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There was nothing to pop, or no room to push; or the magazine is closed.
    Bounds,
    /// The thread was interrupted.
    Aborted,
}

/// Number of the processor in the rseq area at `area` bytes from the thread pointer; unregistered areas hold −1 or −2.
#[inline(always)]
pub(crate) fn processor_at(area: isize) -> u32 {
    let processor: u32;
    // SAFETY: the offset is that of the area (glibc), or 0: the thread control block, which is readable.
    unsafe {
        asm!(
            "mov {processor:e}, dword ptr fs:[{area} + {field}]",
            area = in(reg) area,
            field = const CPU_ID_OFFSET,
            processor = out(reg) processor,
            options(nostack, preserves_flags, readonly),
        );
    }
    processor
}

/// The description of a sequence from label 4 to label 5 that is aborted at label 6, at label 3; and what is at label 6:
/// the signature that the kernel looks for (`RSEQ_SIG`), and a jump to label 9 with `result` telling that it was aborted.
macro_rules! described {
    () => {
        ".pushsection .data.rel.ro.lfalloc_rseq, \"aw\", @progbits
         .balign 32
         3:
         .long 0, 0
         .quad 4f, 5f - 4f, 6f
         .popsection
         .pushsection .text.unlikely.lfalloc_rseq, \"ax\", @progbits
         .byte 0x0f, 0xb9, 0x3d
         .long 0x53053053
         6:
         mov {result:e}, -1
         jmp 9f
         8:
         mov {result:e}, -2
         jmp 9f
         .popsection"
    };
}

/// What stands in `result` after a failure, as 32 bits.
const ABORTED: i32 = -1;

#[inline(always)]
const fn refused(result: u32) -> Refused {
    if result.cast_signed() == ABORTED { Refused::Aborted } else { Refused::Bounds }
}

/// Takes the block pushed last from the magazine of this processor.
///
/// # Safety
/// `area` is the offset of a registered rseq area, whose processor has a magazine at `place`. The caller owns the block.
#[inline(always)]
pub(crate) unsafe fn pop(area: isize, place: Place) -> Result<usize, Refused> {
    let result: usize;
    // SAFETY: as above; only the last instruction changes anything that others see.
    unsafe {
        asm!(
            described!(),
            "lea {magazine}, [rip + 3b]",
            "mov qword ptr fs:[{area} + {cs}], {magazine}",
            "4:",
            "mov {magazine:e}, dword ptr fs:[{area} + {cpu}]",
            "shl {magazine}, {stride}",
            "add {magazine}, {address}",
            "mov {word}, qword ptr [{magazine}]",
            "movzx {result:e}, {word:x}",
            "dec {result:e}",
            "cmp {result:e}, {capacity:e}",
            "jae 8b",
            "mov {result}, qword ptr [{magazine} + 8*{result:r} + {slots}]",
            "add {word}, 0xffff",
            "mov qword ptr [{magazine}], {word}",
            "5:",
            "9:",
            area = in(reg) area,
            address = in(reg) place.address,
            capacity = in(reg) place.capacity,
            magazine = out(reg) _,
            word = out(reg) _,
            result = out(reg) result,
            cs = const RSEQ_CS_OFFSET,
            cpu = const CPU_ID_OFFSET,
            stride = const STRIDE_SHIFT,
            slots = const HEADER_BYTES,
            options(nostack),
        );
    }
    // Blocks lie at multiples of 16, and what tells of a failure does not.
    if result.is_multiple_of(16) { Ok(result) } else { Err(refused(result as u32)) }
}

/// Puts a block into the magazine of this processor.
///
/// # Safety
/// As [`pop`]; the caller owns the block and gives it up if this succeeds.
#[inline(always)]
pub(crate) unsafe fn push(area: isize, place: Place, block: usize) -> Result<(), Refused> {
    let result: u32;
    // SAFETY: as above; a slot above `blocks` means nothing to anybody.
    unsafe {
        asm!(
            described!(),
            "lea {magazine}, [rip + 3b]",
            "mov qword ptr fs:[{area} + {cs}], {magazine}",
            "4:",
            "mov {magazine:e}, dword ptr fs:[{area} + {cpu}]",
            "shl {magazine}, {stride}",
            "add {magazine}, {address}",
            "mov {word}, qword ptr [{magazine}]",
            "movzx {result:e}, {word:x}",
            "cmp {result:e}, {capacity:e}",
            "jae 8b",
            "mov qword ptr [{magazine} + 8*{result:r} + {slots}], {block}",
            "inc {word}",
            "mov qword ptr [{magazine}], {word}",
            "5:",
            "9:",
            area = in(reg) area,
            address = in(reg) place.address,
            capacity = in(reg) place.capacity,
            block = in(reg) block,
            magazine = out(reg) _,
            word = out(reg) _,
            result = out(reg) result,
            cs = const RSEQ_CS_OFFSET,
            cpu = const CPU_ID_OFFSET,
            stride = const STRIDE_SHIFT,
            slots = const HEADER_BYTES,
            options(nostack),
        );
    }
    if result.cast_signed() < 0 { Err(refused(result)) } else { Ok(()) }
}

/// Takes the last `out.len()` blocks from the magazine of this processor, all or none.
///
/// # Safety
/// As [`pop`].
pub(crate) unsafe fn pop_batch(
    area: isize,
    place: Place,
    out: &mut [usize],
) -> Result<(), Refused> {
    let result: u32;
    // SAFETY: as `pop`; an aborted copy leaves `out` in any state, and the caller does not look at it then.
    unsafe {
        asm!(
            described!(),
            "lea {magazine}, [rip + 3b]",
            "mov qword ptr fs:[{area} + {cs}], {magazine}",
            "4:",
            "mov {magazine:e}, dword ptr fs:[{area} + {cpu}]",
            "shl {magazine}, {stride}",
            "add {magazine}, {address}",
            "mov {word}, qword ptr [{magazine}]",
            "movzx {result:e}, {word:x}",
            "cmp {result:e}, {capacity:e}",
            "ja 8b",
            "sub {result:e}, ecx",
            "jb 8b",
            "sub {word}, rcx",
            "lea rsi, [{magazine} + 8*{result:r} + {slots}]",
            "rep movsq",
            "mov qword ptr [{magazine}], {word}",
            "5:",
            "9:",
            area = in(reg) area,
            address = in(reg) place.address,
            capacity = in(reg) place.capacity,
            inout("rcx") out.len() => _,
            inout("rdi") out.as_mut_ptr() => _,
            out("rsi") _,
            magazine = out(reg) _,
            word = out(reg) _,
            result = out(reg) result,
            cs = const RSEQ_CS_OFFSET,
            cpu = const CPU_ID_OFFSET,
            stride = const STRIDE_SHIFT,
            slots = const HEADER_BYTES,
            options(nostack),
        );
    }
    if result.cast_signed() < 0 { Err(refused(result)) } else { Ok(()) }
}

/// Puts `blocks` into the magazine of this processor, all or none, and counts `popped` pops of blocks that were never in
/// it.
///
/// # Safety
/// As [`push`], for each.
pub(crate) unsafe fn push_batch(
    area: isize,
    place: Place,
    blocks: &[usize],
    popped: u64,
) -> Result<(), Refused> {
    let result: u32;
    // SAFETY: as `push`.
    unsafe {
        asm!(
            described!(),
            "lea {magazine}, [rip + 3b]",
            "mov qword ptr fs:[{area} + {cs}], {magazine}",
            "4:",
            "mov {magazine:e}, dword ptr fs:[{area} + {cpu}]",
            "shl {magazine}, {stride}",
            "add {magazine}, {address}",
            "mov {word}, qword ptr [{magazine}]",
            "movzx {result:e}, {word:x}",
            "lea rdi, [{result:r} + rcx]",
            "cmp edi, {capacity:e}",
            "ja 8b",
            "add {word}, {change}",
            "lea rdi, [{magazine} + 8*{result:r} + {slots}]",
            "rep movsq",
            "mov qword ptr [{magazine}], {word}",
            "5:",
            "9:",
            area = in(reg) area,
            address = in(reg) place.address,
            capacity = in(reg) place.capacity,
            change = in(reg) blocks.len() as u64 + (popped << 16),
            inout("rcx") blocks.len() => _,
            inout("rsi") blocks.as_ptr() => _,
            out("rdi") _,
            magazine = out(reg) _,
            word = out(reg) _,
            result = out(reg) result,
            cs = const RSEQ_CS_OFFSET,
            cpu = const CPU_ID_OFFSET,
            stride = const STRIDE_SHIFT,
            slots = const HEADER_BYTES,
            options(nostack),
        );
    }
    if result.cast_signed() < 0 { Err(refused(result)) } else { Ok(()) }
}
