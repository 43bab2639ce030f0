//! What glibc has beside the allocation functions: mallopt(3), mallinfo(3), `malloc_trim(3)`, `malloc_stats(3)`,
//! `malloc_info(3)`.

use core::ffi::{c_char, c_int};
use core::fmt::{self, Write};

use lfalloc::LfAlloc;
use lfalloc::observe::{self, Totals};

use crate::{misuse, set_errno};

/// Text without an allocation, cut where it is too long.
pub(crate) struct Line {
    text: [u8; Line::MOST],
    bytes: usize,
}

impl Line {
    const MOST: usize = 2048;

    pub(crate) const fn new() -> Self {
        Self { text: [0; Self::MOST], bytes: 0 }
    }

    /// Appends a text, as much of it as there is room for; whether that was all.
    pub(crate) fn add(&mut self, text: &str) -> bool {
        let room = self.text.get_mut(self.bytes..Self::MOST - 1).unwrap_or_default();
        for (place, byte) in room.iter_mut().zip(text.as_bytes()) {
            *place = *byte;
        }
        let count = room.len().min(text.len());
        self.bytes += count;
        count == text.len()
    }

    /// Writes it to standard error; `errno` stays as it is.
    pub(crate) fn print(&self) {
        self.print_to(2);
    }

    /// Writes it to a descriptor, likewise.
    pub(crate) fn print_to(&self, descriptor: c_int) {
        // SAFETY: the C library's `errno` of this thread (errno(3)).
        let errno = unsafe { libc::__errno_location() };
        // SAFETY: valid for as long as the thread lives.
        let before = unsafe { errno.read() };
        // SAFETY: reads as many bytes as there are (write(2)); whether it succeeds does not matter.
        unsafe { libc::write(descriptor, self.text.as_ptr().cast(), self.bytes) };
        set_errno(before);
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.add(text) { Ok(()) } else { Err(fmt::Error) }
    }
}

/// What the program's heap looks like, from counters: the same for everything here.
struct Figures {
    totals: Totals,
    /// Large blocks, and their bytes.
    large: (u64, i64),
}

impl Figures {
    fn take() -> Self {
        Self { totals: observe::totals(), large: observe::large_in_use() }
    }

    /// Bytes mapped for anything but large blocks in use.
    fn arena(&self) -> i64 {
        self.totals.mapped_bytes - self.large.1
    }

    /// Bytes in blocks that are not large.
    fn used(&self) -> i64 {
        self.totals.live_bytes - self.large.1
    }
}

/// Gives back what can be given back; whether anything was. The pad that is to be kept is not: `malloc_trim(3)`.
#[unsafe(no_mangle)]
pub extern "C" fn malloc_trim(_pad: usize) -> c_int {
    c_int::from(LfAlloc.purge() > 0)
}

/// mallopt(3): 1 for the parameters that glibc knows and that are hints, which have no effect here; else 0.
#[unsafe(no_mangle)]
pub extern "C" fn mallopt(parameter: c_int, _value: c_int) -> c_int {
    // M_MXFAST, M_NLBLKS, M_GRAIN, M_KEEP; M_TRIM_THRESHOLD to M_CHECK_ACTION; M_ARENA_TEST, M_ARENA_MAX. M_PERTURB (-6) is
    // no hint: it promises contents.
    c_int::from(matches!(parameter, 1..=4 | -5..=-1 | -8..=-7))
}

/// `struct mallinfo2` (mallinfo(3)).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "the manual page's names")]
pub struct Mallinfo2 {
    pub arena: usize,
    pub ordblks: usize,
    pub smblks: usize,
    pub hblks: usize,
    pub hblkhd: usize,
    pub usmblks: usize,
    pub fsmblks: usize,
    pub uordblks: usize,
    pub fordblks: usize,
    pub keepcost: usize,
}

/// `struct mallinfo` (mallinfo(3)).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "the manual page's names")]
pub struct Mallinfo {
    pub arena: c_int,
    pub ordblks: c_int,
    pub smblks: c_int,
    pub hblks: c_int,
    pub hblkhd: c_int,
    pub usmblks: c_int,
    pub fsmblks: c_int,
    pub uordblks: c_int,
    pub fordblks: c_int,
    pub keepcost: c_int,
}

/// mallinfo(3): `arena` is what is mapped for all but large blocks, `hblks` and `hblkhd` are large blocks and their bytes,
/// `uordblks` and `fordblks` what of `arena` is in use and what is not. There are no fastbins and no top: their fields are 0.
#[unsafe(no_mangle)]
pub extern "C" fn mallinfo2() -> Mallinfo2 {
    let figures = Figures::take();
    // Counters that are read one after the other while they change may be off a little, and below zero then.
    let bytes = |bytes: i64| usize::try_from(bytes).unwrap_or(0);
    Mallinfo2 {
        arena: bytes(figures.arena()),
        hblks: figures.large.0 as usize,
        hblkhd: bytes(figures.large.1),
        uordblks: bytes(figures.used()),
        fordblks: bytes(figures.arena() - figures.used()),
        ..Mallinfo2::default()
    }
}

/// mallinfo(3): as [`mallinfo2`]; what does not fit is the largest number that does.
#[unsafe(no_mangle)]
pub extern "C" fn mallinfo() -> Mallinfo {
    let wide = mallinfo2();
    let fit = |number: usize| c_int::try_from(number).unwrap_or(c_int::MAX);
    Mallinfo {
        arena: fit(wide.arena),
        hblks: fit(wide.hblks),
        hblkhd: fit(wide.hblkhd),
        uordblks: fit(wide.uordblks),
        fordblks: fit(wide.fordblks),
        ..Mallinfo::default()
    }
}

/// `malloc_stats(3)`: a few lines on standard error.
#[unsafe(no_mangle)]
pub extern "C" fn malloc_stats() {
    statistics().print();
}

/// What [`malloc_stats`] writes.
pub(crate) fn statistics() -> Line {
    let figures = Figures::take();
    let Totals { mapped_bytes, live_bytes, superblock_bytes, allocations, frees, in_hand } =
        figures.totals;
    let (large, large_bytes) = figures.large;
    let waste = if mapped_bytes > 0 { 100 - 100 * live_bytes / mapped_bytes } else { 0 };
    let mut line = Line::new();
    // A text that is too long is cut.
    let _ = write!(
        line,
        "lfalloc {version} (process {process})\n\
         mapped           = {mapped_bytes:>14} bytes\n\
         in use           = {live_bytes:>14} bytes ({waste} % of what is mapped is not)\n\
         in superblocks   = {superblock_bytes:>14} bytes\n\
         large blocks     = {large_bytes:>14} bytes in {large}\n\
         allocations      = {allocations:>14}\n\
         frees            = {frees:>14}\n\
         in hand          = {in_hand:>14}\n\
         foreign pointers = {foreign:>14}\n",
        version = env!("CARGO_PKG_VERSION"),
        process = std::process::id(),
        foreign = misuse::foreign_frees(),
    );
    line
}

/// `malloc_info(3)`: the same as XML.
///
/// # Safety
/// `stream` is an open stream of the C library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc_info(options: c_int, stream: *mut libc::FILE) -> c_int {
    if options != 0 {
        set_errno(libc::EINVAL);
        return -1;
    }
    let figures = Figures::take();
    let mut line = Line::new();
    // A text that is too long is cut.
    let _ = write!(
        line,
        "<malloc version=\"lfalloc-1\">\n\
         <total type=\"inuse\" size=\"{}\"/>\n\
         <total type=\"mmap\" count=\"{}\" size=\"{}\"/>\n\
         <system type=\"current\" size=\"{}\"/>\n\
         <operations allocations=\"{}\" frees=\"{}\"/>\n\
         </malloc>\n\0",
        figures.used(),
        figures.large.0,
        figures.large.1,
        figures.totals.mapped_bytes,
        figures.totals.allocations,
        figures.totals.frees,
    );
    // SAFETY: the text ends with a zero byte: it is shorter than the longest line. The stream is the caller's.
    let result = unsafe { libc::fputs(line.text.as_ptr().cast::<c_char>(), stream) };
    if result < 0 { -1 } else { 0 }
}

/// As [`mallopt`].
#[unsafe(no_mangle)]
pub extern "C" fn __libc_mallopt(parameter: c_int, value: c_int) -> c_int {
    mallopt(parameter, value)
}

/// As [`mallinfo`].
#[unsafe(no_mangle)]
pub extern "C" fn __libc_mallinfo() -> Mallinfo {
    mallinfo()
}
