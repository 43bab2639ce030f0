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
use core::mem::offset_of;
use core::sync::atomic::{AtomicIsize, AtomicU32, AtomicUsize, Ordering};

use crate::page_map::Map;
use crate::size_class::{KEY_COUNT, Key};

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

/// Where the magazines are: what sequences load for themselves, so that callers need as few instructions as can be. All
/// zero: nobody has one.
#[repr(C, align(64))]
pub(crate) struct Magazines {
    /// Offset of the threads' rseq areas from their thread pointers; 0, where something may be read, until it is known.
    area: AtomicIsize,
    /// Processors that have magazines. Stored last, and loaded first.
    limit: AtomicU32,
    /// By key: blocks of a magazine at most,
    capacities: [AtomicU32; KEY_COUNT],
    /// and its address for the first processor. Those of the others lie `1 << STRIDE_SHIFT` bytes apart.
    addresses: [AtomicUsize; KEY_COUNT],
    /// Which key a block at an address has: here, so that one address leads to everything that a free needs.
    pub(crate) map: Map,
}

/// The magazines of this process.
pub(crate) static MAGAZINES: Magazines = Magazines::new();

const AREA_OFFSET: usize = offset_of!(Magazines, area);
const LIMIT_OFFSET: usize = offset_of!(Magazines, limit);
const CAPACITIES_OFFSET: usize = offset_of!(Magazines, capacities);
const ADDRESSES_OFFSET: usize = offset_of!(Magazines, addresses);
const ROOTS_OFFSET: usize = offset_of!(Magazines, map) + Map::ROOTS_OFFSET;
const KEYS_OFFSET: usize = offset_of!(Magazines, map) + Map::KEYS_OFFSET;

impl Magazines {
    #[expect(clippy::large_stack_arrays, reason = "evaluated by the compiler, into a static")]
    const fn new() -> Self {
        Self {
            area: AtomicIsize::new(0),
            limit: AtomicU32::new(0),
            capacities: [const { AtomicU32::new(0) }; KEY_COUNT],
            addresses: [const { AtomicUsize::new(0) }; KEY_COUNT],
            map: Map::new(),
        }
    }

    /// Says where the magazine of a key is, and how much it holds at most; before [`Magazines::open`].
    pub(crate) fn set(&self, key: Key, address: usize, capacity: u32) {
        // Relaxed: published by the limit.
        self.addresses[usize::from(key.0)].store(address, Ordering::Relaxed);
        self.capacities[usize::from(key.0)].store(capacity, Ordering::Relaxed);
    }

    /// From now on the processors below `limit` have magazines.
    pub(crate) fn open(&self, area: isize, limit: u32) {
        self.area.store(area, Ordering::Relaxed);
        // Release: pairs with the Acquire in `limit`, and with the loads of sequences, which load it first: loads are
        // not reordered on this architecture.
        self.limit.store(limit, Ordering::Release);
    }

    /// Processors that have magazines.
    pub(crate) fn limit(&self) -> u32 {
        // Acquire: pairs with the Release in `open`.
        self.limit.load(Ordering::Acquire)
    }

    /// The processor that this thread runs on, if it has magazines.
    pub(crate) fn processor(&self) -> Option<u32> {
        let limit = self.limit();
        // Relaxed: seen by the Acquire above; before that 0.
        let processor = processor_at(self.area.load(Ordering::Relaxed));
        (processor < limit).then_some(processor)
    }
}

/// Why a sequence did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There are no magazines, or this processor has none.
    NoMagazine,
    /// There was nothing to pop, or no room to push; or the magazine is closed.
    Bounds,
    /// The thread was interrupted.
    Aborted,
}

impl Refused {
    /// The one that is this number.
    pub(crate) const fn from_number(number: u32) -> Self {
        match number {
            0 => Self::NoMagazine,
            1 => Self::Bounds,
            _ => Self::Aborted,
        }
    }
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

/// The description of a sequence from label 4 to label 5 that is aborted at label 6, at label 3; what is at label 6: the
/// signature that the kernel looks for (`RSEQ_SIG`), and `$landing`; and the first instructions of every sequence, until `magazine`
/// is the address of this processor's magazine, `word` its word, and `result` the blocks in it, or a jump to `$none`.
///
/// The very first loads the address of [`MAGAZINES`] to r11, spelled in bytes: with this kind of relocation linkers make a `lea` of it
/// where the address is known, as in every executable. (What the compiler writes loads it from the global offset table, always.)
macro_rules! begun {
    ($landing:literal, $none:literal) => {
        begun!(
            $landing,
            $none,
            ".byte 0x4c, 0x8b, 0x1d
             .reloc ., R_X86_64_REX_GOTPCRELX, {MAGAZINES} - 4
             .long 0"
        )
    };
    ($landing:literal, $none:literal, $key:literal) => {
        concat!(
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
             ",
            $landing,
            "
             .popsection
             ",
            $key,
            "
             mov {word:e}, dword ptr [r11 + {LIMIT}]
             mov {area}, qword ptr [r11 + {AREA}]
             cmp dword ptr fs:[{area} + {CPU}], {word:e}
             jae ",
            $none,
            "
             lea {magazine}, [rip + 3b]
             mov qword ptr fs:[{area} + {CS}], {magazine}
             4:
             mov {magazine:e}, dword ptr fs:[{area} + {CPU}]
             shl {magazine}, {STRIDE}
             add {magazine}, qword ptr [r11 + 8*{key} + {ADDRESSES}]
             mov {word}, qword ptr [{magazine}]
             movzx {result:e}, {word:x}"
        )
    };
}

/// A sequence: its instructions after [`begun`], and its operands beside those that all have. The last instruction commits.
macro_rules! sequence {
    ($begun:expr, $key:ident => $result:tt; $($instruction:literal),+; $($operands:tt)*) => {
        asm!(
            $begun,
            $($instruction,)+
            "5:",
            "9:",
            out("r11") _,
            MAGAZINES = sym MAGAZINES,
            key = in(reg) usize::from($key.0),
            area = out(reg) _,
            magazine = out(reg) _,
            word = out(reg) _,
            result = out(reg) $result,
            AREA = const AREA_OFFSET,
            LIMIT = const LIMIT_OFFSET,
            ADDRESSES = const ADDRESSES_OFFSET,
            CS = const RSEQ_CS_OFFSET,
            CPU = const CPU_ID_OFFSET,
            STRIDE = const STRIDE_SHIFT,
            SLOTS = const HEADER_BYTES,
            $($operands)*
            options(nostack),
        )
    };
}

/// The beginning of a sequence that tells in `result` what happened: -1 aborted; at label 7, -2, no magazine; at label 8, -3, bounds.
macro_rules! begun_with_result {
    () => {
        begun!(
            "mov {result:e}, -1
             jmp 9f
             7:
             mov {result:e}, -2
             jmp 9f
             8:
             mov {result:e}, -3
             jmp 9f",
            "7b"
        )
    };
}

/// What stands in `result` after a failure, as 32 bits.
#[inline(always)]
const fn refused(result: u32) -> Refused {
    match result.cast_signed() {
        -1 => Refused::Aborted,
        -2 => Refused::NoMagazine,
        _ => Refused::Bounds,
    }
}

/// Somebody has freed what is no block, and C's free does not look. (With C's calling convention nothing unwinds from here.)
#[cold]
#[inline(never)]
extern "C" fn no_block(address: usize) -> ! {
    crate::global_alloc::foreign(address)
}

/// Takes the block pushed last from the magazine of this processor.
///
/// # Safety
/// The magazines of every processor below the limit are mapped. The caller owns the block.
#[inline(always)]
pub(crate) unsafe fn pop(key: Key) -> Result<usize, Refused> {
    let result: usize;
    // SAFETY: as above; only the last instruction changes anything that others see.
    unsafe {
        sequence!(begun_with_result!(), key => result;
            // One less of no blocks, or of a closed magazine's, is negative in 16 bits.
            "dec {result:x}",
            "js 8b",
            // Of the block below this one, which the next pop takes: its owner will write to it. (Below the first slot lies a
            // number, which is no address, and a hint never faults.)
            "mov r11, qword ptr [{magazine} + 8*{result:r} + {SLOTS} - 8]",
            "mov {result}, qword ptr [{magazine} + 8*{result:r} + {SLOTS}]",
            "prefetchw [r11]",
            "add {word}, 0xffff",
            "mov qword ptr [{magazine}], {word}";
        );
    }
    // Blocks lie at multiples of 16, and what tells of a failure, 32 bits of it, does not.
    if result.is_multiple_of(16) {
        Ok(result)
    } else if result > u32::MAX as usize {
        no_block(result)
    } else {
        Err(refused(result as u32))
    }
}

/// Puts a block into the magazine of this processor.
///
/// # Safety
/// As [`pop`]; the caller owns the block and gives it up if this succeeds.
#[inline(always)]
pub(crate) unsafe fn push(key: Key, block: usize) -> Result<(), Refused> {
    // SAFETY: as above; a slot above `blocks` means nothing to anybody.
    unsafe {
        sequence!(begun!("jmp {aborted}", "{none}"), key => _;
            "cmp {result:e}, dword ptr [r11 + 4*{key} + {CAPACITIES}]",
            "jae {bounds}",
            "mov qword ptr [{magazine} + 8*{result:r} + {SLOTS}], {block}",
            "inc {word}",
            "mov qword ptr [{magazine}], {word}";
            block = in(reg) block,
            CAPACITIES = const CAPACITIES_OFFSET,
            aborted = label { return Err(Refused::Aborted) },
            none = label { return Err(Refused::NoMagazine) },
            bounds = label { return Err(Refused::Bounds) },
        );
    }
    Ok(())
}

/// Looks up the key of the block at an address, and puts it into the magazine of this processor, unless it is the one that was
/// put in last: `Err` is `None` then. Where there is no block, nothing takes it.
///
/// # Safety
/// As [`push`], if there is a block.
#[inline(always)]
pub(crate) unsafe fn push_by_address(block: usize) -> Result<(), Option<Refused>> {
    // SAFETY: as `push`. The map leads to keys from all addresses that a program can have, and to `Key::NONE`, whose magazine takes
    // nothing, where there are no superblocks.
    unsafe {
        asm!(
            begun!(
                "jmp {aborted}",
                "{none}",
                // The leaf that knows of the address, relative to r11.
                "mov {key}, {block}
                 shr {key}, {LEAF}
                 .byte 0x4c, 0x8b, 0x1d
                 .reloc ., R_X86_64_REX_GOTPCRELX, {MAGAZINES} - 4
                 .long 0
                 cmp {key:e}, {ROOTS}
                 jae {none}
                 mov {magazine}, qword ptr [r11 + 8*{key} + {ROOTS_OFFSET}]
                 add {magazine}, r11
                 mov {key:e}, {block:e}
                 shr {key:e}, {GRANULE}
                 movzx {key:e}, word ptr [{magazine} + 2*{key} + {KEYS_OFFSET}]"
            ),
            "cmp {result:e}, dword ptr [r11 + 4*{key} + {CAPACITIES}]",
            "jae {bounds}",
            // (Below the first slot lies a number, which is no address.)
            "cmp qword ptr [{magazine} + 8*{result:r} + {SLOTS} - 8], {block}",
            "je {twice}",
            "mov qword ptr [{magazine} + 8*{result:r} + {SLOTS}], {block}",
            "inc {word}",
            "mov qword ptr [{magazine}], {word}",
            "5:",
            "9:",
            out("r11") _,
            MAGAZINES = sym MAGAZINES,
            block = in(reg) block,
            key = out(reg) _,
            area = out(reg) _,
            magazine = out(reg) _,
            word = out(reg) _,
            result = out(reg) _,
            AREA = const AREA_OFFSET,
            LIMIT = const LIMIT_OFFSET,
            ADDRESSES = const ADDRESSES_OFFSET,
            CAPACITIES = const CAPACITIES_OFFSET,
            ROOTS = const Map::ROOTS,
            ROOTS_OFFSET = const ROOTS_OFFSET,
            KEYS_OFFSET = const KEYS_OFFSET,
            LEAF = const Map::ROOT_ADDRESS_SHIFT,
            GRANULE = const Map::GRANULE_ADDRESS_SHIFT,
            CS = const RSEQ_CS_OFFSET,
            CPU = const CPU_ID_OFFSET,
            STRIDE = const STRIDE_SHIFT,
            SLOTS = const HEADER_BYTES,
            aborted = label { return Err(Some(Refused::Aborted)) },
            none = label { return Err(Some(Refused::NoMagazine)) },
            bounds = label { return Err(Some(Refused::Bounds)) },
            twice = label { return Err(None) },
            options(nostack),
        );
    }
    Ok(())
}

/// Takes the last `count` blocks from the magazine of this processor to `out`, all or none.
///
/// # Safety
/// As [`pop`]; `out` has room for that many, for this thread alone.
pub(crate) unsafe fn pop_batch(key: Key, out: *mut usize, count: usize) -> Result<(), Refused> {
    let result: u32;
    // SAFETY: as `pop`; an aborted copy leaves `out` in any state, and the caller does not look at it then.
    unsafe {
        sequence!(begun_with_result!(), key => result;
            "cmp {result:e}, dword ptr [r11 + 4*{key} + {CAPACITIES}]",
            "ja 8b",
            "sub {result:e}, ecx",
            "jb 8b",
            "sub {word}, rcx",
            "lea rsi, [{magazine} + 8*{result:r} + {SLOTS}]",
            "rep movsq",
            "mov qword ptr [{magazine}], {word}";
            CAPACITIES = const CAPACITIES_OFFSET,
            inout("rcx") count => _,
            inout("rdi") out => _,
            out("rsi") _,
        );
    }
    if result.cast_signed() < 0 { Err(refused(result)) } else { Ok(()) }
}

/// Puts the `count` blocks at `blocks` into the magazine of this processor, all or none, and counts `popped` pops of blocks
/// that were never in it.
///
/// # Safety
/// As [`push`], for each; nobody changes what is at `blocks` meanwhile.
pub(crate) unsafe fn push_batch(
    key: Key,
    (blocks, count): (*const usize, usize),
    popped: u64,
) -> Result<(), Refused> {
    let result: u32;
    // SAFETY: as `push`.
    unsafe {
        sequence!(begun_with_result!(), key => result;
            "lea edi, [{result:r} + rcx]",
            "cmp edi, dword ptr [r11 + 4*{key} + {CAPACITIES}]",
            "ja 8b",
            "add {word}, {change}",
            "lea rdi, [{magazine} + 8*{result:r} + {SLOTS}]",
            "rep movsq",
            "mov qword ptr [{magazine}], {word}";
            change = in(reg) count as u64 + (popped << 16),
            CAPACITIES = const CAPACITIES_OFFSET,
            inout("rcx") count => _,
            inout("rsi") blocks => _,
            out("rdi") _,
        );
    }
    if result.cast_signed() < 0 { Err(refused(result)) } else { Ok(()) }
}
