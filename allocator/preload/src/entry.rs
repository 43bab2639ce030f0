//! The allocation functions (malloc(3), `posix_memalign(3)`, `malloc_usable_size(3)`, C23 7.24.3), with glibc's semantics where
//! standards leave a choice:
//!
//! | case                         | what happens                                                                   |
//! |------------------------------|--------------------------------------------------------------------------------|
//! | size 0                       | a block of its own                                                             |
//! | more than `PTRDIFF_MAX`      | null, `ENOMEM`, before anything is rounded                                     |
//! | `realloc(block, 0)`          | frees the block, null                                                          |
//! | failed `realloc`             | the block is as it was                                                         |
//! | `free`                       | leaves `errno` alone                                                           |
//! | a size given to a free       | is not trusted: the address tells                                              |
//! | an address of somebody else  | is counted, reported once and ignored, and never read (`misuse`)               |

use core::ffi::{c_int, c_void};

use lfalloc::LfAlloc;

use crate::{misuse, set_errno};

/// Bytes of a page (x86-64).
const PAGE_BYTES: usize = 4096;

#[cold]
extern "C" fn no_memory() -> *mut u8 {
    set_errno(libc::ENOMEM);
    core::ptr::null_mut()
}

#[cold]
fn invalid() -> *mut c_void {
    set_errno(libc::EINVAL);
    core::ptr::null_mut()
}

fn or_no_memory(block: *mut u8) -> *mut c_void {
    if block.is_null() { no_memory().cast() } else { block.cast() }
}

#[inline(always)]
unsafe fn give_back(block: *mut c_void) {
    // SAFETY: the program's: null, or a block that it gives up. What is foreign is left alone.
    unsafe { LfAlloc.free_or(block.cast(), misuse::foreign_free) };
}

/// A block at a multiple of `align`, a power of two.
fn aligned(align: usize, size: usize) -> *mut c_void {
    or_no_memory(LfAlloc.allocate_aligned(size, align))
}

// `malloc` and `free` begin at lines of the processor's instruction cache, and so take two each, not three: the sections that they
// lie in are aligned. (Interleaved: a malloc and a free of 64 bytes 5.7 to 5.2 ns, 1,000 of each 6.8 to 6.2.)
core::arch::global_asm!(
    ".pushsection .text.lfalloc_malloc, \"ax\", @progbits",
    ".balign 64",
    ".popsection",
    ".pushsection .text.lfalloc_free, \"ax\", @progbits",
    ".balign 64",
    ".popsection",
);

/// malloc(3).
#[unsafe(no_mangle)]
#[unsafe(link_section = ".text.lfalloc_malloc")]
pub extern "C" fn malloc(size: usize) -> *mut c_void {
    LfAlloc.allocate_or(size, no_memory).cast()
}

/// calloc(3).
#[unsafe(no_mangle)]
pub extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    match count.checked_mul(size) {
        Some(bytes) => LfAlloc.allocate_zeroed_or(bytes, no_memory).cast(),
        None => no_memory().cast(),
    }
}

/// realloc(3).
///
/// # Safety
/// `block` is null or a block that the caller holds.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
    if block.is_null() {
        return malloc(size);
    }
    if size == 0 {
        // SAFETY: the caller's.
        unsafe { give_back(block) };
        return core::ptr::null_mut();
    }
    // SAFETY: the caller's.
    unsafe { LfAlloc.resize_or(block.cast(), size, no_memory, misuse::foreign_realloc) }.cast()
}

/// reallocarray(3).
///
/// # Safety
/// As [`realloc`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn reallocarray(
    block: *mut c_void,
    count: usize,
    size: usize,
) -> *mut c_void {
    match count.checked_mul(size) {
        // SAFETY: the caller's.
        Some(bytes) => unsafe { realloc(block, bytes) },
        None => no_memory().cast(),
    }
}

/// free(3); `errno` stays as it is.
///
/// # Safety
/// `block` is null or a block that the caller gives up.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".text.lfalloc_free")]
pub unsafe extern "C" fn free(block: *mut c_void) {
    // SAFETY: the caller's.
    unsafe { give_back(block) };
}

/// As [`free`]; C23 7.24.3.4. The size is not trusted.
///
/// # Safety
/// As [`free`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free_sized(block: *mut c_void, _size: usize) {
    // SAFETY: the caller's.
    unsafe { give_back(block) };
}

/// As [`free`]; C23 7.24.3.5. Neither alignment nor size is trusted.
///
/// # Safety
/// As [`free`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free_aligned_sized(block: *mut c_void, _align: usize, _size: usize) {
    // SAFETY: the caller's.
    unsafe { give_back(block) };
}

/// As [`free`]; what programs of long ago call.
///
/// # Safety
/// As [`free`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cfree(block: *mut c_void) {
    // SAFETY: the caller's.
    unsafe { give_back(block) };
}

/// `posix_memalign(3)`: returns the error, and leaves `errno` and, without a block, `*place` alone.
///
/// # Safety
/// `place` may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_memalign(
    place: *mut *mut c_void,
    align: usize,
    size: usize,
) -> c_int {
    if !align.is_power_of_two() || align < size_of::<*mut c_void>() {
        return libc::EINVAL;
    }
    let block = LfAlloc.allocate_aligned(size, align);
    if block.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: the caller's.
    unsafe { place.write(block.cast()) };
    0
}

/// `posix_memalign(3)`: any size, and an alignment that is a power of two.
#[unsafe(no_mangle)]
pub extern "C" fn aligned_alloc(align: usize, size: usize) -> *mut c_void {
    if align.is_power_of_two() { aligned(align, size) } else { invalid() }
}

/// `posix_memalign(3)`: an alignment that is no power of two is rounded up to one.
#[unsafe(no_mangle)]
pub extern "C" fn memalign(align: usize, size: usize) -> *mut c_void {
    match align.checked_next_power_of_two() {
        Some(align) => aligned(align, size),
        None => invalid(),
    }
}

/// `posix_memalign(3)`: at a multiple of a page.
#[unsafe(no_mangle)]
pub extern "C" fn valloc(size: usize) -> *mut c_void {
    aligned(PAGE_BYTES, size)
}

/// `posix_memalign(3)`: whole pages.
#[unsafe(no_mangle)]
pub extern "C" fn pvalloc(size: usize) -> *mut c_void {
    match size.checked_next_multiple_of(PAGE_BYTES) {
        Some(bytes) => aligned(PAGE_BYTES, bytes),
        None => no_memory().cast(),
    }
}

/// `malloc_usable_size(3)`: every byte of it may be written to; 0 for null.
///
/// # Safety
/// `block` is null or a block that the caller holds.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc_usable_size(block: *mut c_void) -> usize {
    // SAFETY: the caller's.
    unsafe { LfAlloc.usable_size(block.cast()) }
}

/// Further names that glibc has for its functions, and that programs and libraries call.
macro_rules! aliases {
    ($($alias:ident = $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {$(
        #[doc = concat!("As [`", stringify!($name), "`].")]
        ///
        /// # Safety
        /// As there.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $alias($($argument: $type),*) $(-> $result)? {
            // SAFETY: the caller's, where it needs any.
            #[allow(unused_unsafe, reason = "some of them are safe")]
            unsafe { $name($($argument),*) }
        }
    )*};
}

aliases! {
    __libc_malloc = malloc(size: usize) -> *mut c_void;
    __libc_calloc = calloc(count: usize, size: usize) -> *mut c_void;
    __libc_realloc = realloc(block: *mut c_void, size: usize) -> *mut c_void;
    __libc_reallocarray = reallocarray(block: *mut c_void, count: usize, size: usize) -> *mut c_void;
    __libc_free = free(block: *mut c_void);
    __libc_cfree = cfree(block: *mut c_void);
    __libc_memalign = memalign(align: usize, size: usize) -> *mut c_void;
    __libc_valloc = valloc(size: usize) -> *mut c_void;
    __libc_pvalloc = pvalloc(size: usize) -> *mut c_void;
    __posix_memalign = posix_memalign(place: *mut *mut c_void, align: usize, size: usize) -> c_int;
}
