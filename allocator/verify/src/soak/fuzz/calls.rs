//! The entry points of the library, and faults that can be planted between it and the shadow, to see that the shadow finds them.

use std::alloc::{GlobalAlloc as _, Layout};
use std::ffi::{CStr, c_int, c_void};
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

use lfalloc::LfAlloc;

use super::operation::{Giver, Taker};
use crate::soak::books::function;
use crate::soak::system::set_errno;

type OfSize = unsafe extern "C" fn(usize) -> *mut c_void;
type OfBlock = unsafe extern "C" fn(*mut c_void);
type Sized = unsafe extern "C" fn(*mut c_void, usize);
type AlignedSized = unsafe extern "C" fn(*mut c_void, usize, usize);

/// Those that not every C library has: `None` where they are missing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Calls {
    cfree: Option<OfBlock>,
    free_sized: Option<Sized>,
    free_aligned_sized: Option<AlignedSized>,
    valloc: Option<OfSize>,
    pvalloc: Option<OfSize>,
    purge: Option<extern "C" fn() -> i64>,
}

unsafe extern "C" {
    fn malloc_info(options: c_int, stream: *mut libc::FILE) -> c_int;
}

/// A fault between the library and the shadow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Fault {
    /// Blocks of some sizes are the same block.
    Twice = 1,
    /// Zeroed blocks of some sizes are not.
    Dirty,
    /// What is given another size loses its last byte.
    Short,
    /// Blocks of some alignments are not aligned.
    Unaligned,
    /// Freeing some sizes changes `errno`.
    Errno,
    /// Blocks of some sizes are not freed.
    Lost,
}

/// Names of faults in [`FAULT`].
pub const FAULTS: [&str; 6] = ["twice", "dirty", "short", "unaligned", "errno", "lost"];
/// The variable of the environment that plants one.
pub const FAULT: &str = "LFALLOC_SOAK_FAULT";

static PLANTED: AtomicU8 = AtomicU8::new(0);
static SAME: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

/// Plants what the environment asks for.
pub(super) fn plant() {
    let wanted = std::env::var(FAULT).unwrap_or_default();
    let number = FAULTS.iter().position(|fault| *fault == wanted).map_or(0, |place| place + 1);
    PLANTED.store(number as u8, Ordering::Relaxed);
}

fn is_planted(fault: Fault) -> bool {
    PLANTED.load(Ordering::Relaxed) == fault as u8
}

impl Calls {
    /// Looks them up.
    pub(super) fn find() -> Self {
        /// A function of the C library's, by its name.
        fn named<F: Copy>(name: &CStr) -> Option<F> {
            // SAFETY: the types above are those of the manual, and of `lfalloc.h`.
            unsafe { function(name) }
        }
        Self {
            cfree: named(c"cfree"),
            free_sized: named(c"free_sized"),
            free_aligned_sized: named(c"free_aligned_sized"),
            valloc: named(c"valloc"),
            pvalloc: named(c"pvalloc"),
            purge: named(c"lfalloc_purge"),
        }
    }

    /// A block, with the alignment that `giver` promises.
    pub(super) fn give(&self, giver: Giver, size: usize, align: usize) -> *mut c_void {
        let block = self.really_give(giver, size, align);
        if is_planted(Fault::Twice) && giver == Giver::Malloc && (1000..1100).contains(&size) {
            let same = SAME.compare_exchange(
                std::ptr::null_mut(),
                block,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            return same.err().unwrap_or(block);
        }
        if is_planted(Fault::Dirty) && giver == Giver::Calloc && (500..600).contains(&size) {
            let last = block.wrapping_byte_add(size - 1).cast::<u8>();
            // SAFETY: within the block.
            unsafe { last.write(1) };
        }
        if is_planted(Fault::Unaligned) && giver == Giver::AlignedAlloc && align == 64 {
            return block.wrapping_byte_add(16);
        }
        block
    }

    fn really_give(&self, giver: Giver, size: usize, align: usize) -> *mut c_void {
        match giver {
            // SAFETY: no conditions.
            Giver::Malloc => unsafe { libc::malloc(size) },
            // SAFETY: no conditions.
            Giver::Calloc => unsafe { libc::calloc(1, size) },
            // SAFETY: null.
            Giver::Realloc => unsafe { libc::realloc(std::ptr::null_mut(), size) },
            // SAFETY: null.
            Giver::ReallocArray => unsafe { libc::reallocarray(std::ptr::null_mut(), size, 1) },
            Giver::PosixMemalign => {
                let mut block = std::ptr::null_mut();
                // SAFETY: room for the address.
                unsafe { libc::posix_memalign(&raw mut block, align, size) };
                block
            }
            // SAFETY: no conditions.
            Giver::AlignedAlloc => unsafe { libc::aligned_alloc(align, size) },
            // SAFETY: no conditions.
            Giver::Memalign => unsafe { libc::memalign(align, size) },
            Giver::Valloc => of_size(self.valloc, size),
            Giver::Pvalloc => of_size(self.pvalloc, size),
            // SAFETY: the size is not zero.
            Giver::Alloc => unsafe { LfAlloc.alloc(layout(size, align)) }.cast(),
            // SAFETY: the size is not zero.
            Giver::AllocZeroed => unsafe { LfAlloc.alloc_zeroed(layout(size, align)) }.cast(),
        }
    }

    /// Gives a block of the C functions back.
    ///
    /// # Safety
    /// It is held, has that size and alignment, and is given up.
    pub(super) unsafe fn take(&self, taker: Taker, block: *mut c_void, size: usize, align: usize) {
        if is_planted(Fault::Twice) && block == SAME.load(Ordering::Relaxed)
            || is_planted(Fault::Lost) && (700..800).contains(&size)
        {
            return;
        }
        match (taker, self.cfree, self.free_sized, self.free_aligned_sized) {
            // SAFETY: the caller's.
            (Taker::Cfree, Some(call), _, _) => unsafe { call(block) },
            // SAFETY: the caller's.
            (Taker::FreeSized, _, Some(call), _) => unsafe { call(block, size) },
            (Taker::FreeAlignedSized, _, _, Some(call)) => {
                // SAFETY: the caller's.
                unsafe { call(block, align, size) };
            }
            (Taker::ReallocToNothing, ..) => {
                // SAFETY: the caller's.
                unsafe { libc::realloc(block, 0) };
            }
            // SAFETY: the caller's.
            _ => unsafe { libc::free(block) },
        }
        if is_planted(Fault::Errno) && (1000..2000).contains(&size) {
            set_errno(libc::EAGAIN);
        }
    }

    /// Another size for a block of the C functions, by realloc(3) or, for several of a size, by reallocarray(3).
    ///
    /// # Safety
    /// It is held; if the result is not null, it is given up.
    pub(super) unsafe fn resize(
        block: *mut c_void,
        (old, count, size): (usize, usize, usize),
    ) -> *mut c_void {
        let moved = if count == 1 {
            // SAFETY: the caller's.
            unsafe { libc::realloc(block, size) }
        } else {
            // SAFETY: the caller's.
            unsafe { libc::reallocarray(block, count, size) }
        };
        if is_planted(Fault::Short) && !moved.is_null() && old.min(count * size) > 0 {
            let last = moved.wrapping_byte_add(old.min(count * size) - 1).cast::<u8>();
            // SAFETY: within the block.
            let byte = unsafe { last.read() };
            // SAFETY: within the block.
            unsafe { last.write(!byte) };
        }
        moved
    }

    /// Gives back what is kept.
    pub(super) fn purge(&self) {
        if let Some(purge) = self.purge {
            purge();
        }
    }
}

/// A block by a call that there may be.
fn of_size(call: Option<OfSize>, size: usize) -> *mut c_void {
    // SAFETY: no conditions.
    call.map_or(std::ptr::null_mut(), |call| unsafe { call(size) })
}

/// The layout of a block that Rust asks for; the size is not zero.
pub(super) fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("sizes and alignments are small")
}

/// What `malloc_info(3)` returns, for a stream that goes nowhere.
pub(super) fn write_info() -> c_int {
    // SAFETY: both end with a zero byte (fopen(3)).
    let stream = unsafe { libc::fopen(c"/dev/null".as_ptr(), c"w".as_ptr()) };
    if stream.is_null() {
        return 0;
    }
    // SAFETY: an open stream.
    let result = unsafe { malloc_info(0, stream) };
    // SAFETY: opened above.
    unsafe { libc::fclose(stream) };
    result
}
