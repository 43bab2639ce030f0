//! The allocation functions of the library under test, looked up by name: no compiler knows what is behind them, and none leaves a
//! call out.

use std::ffi::{CStr, c_int, c_void};
use std::mem::MaybeUninit;
use std::path::Path;

use super::wire::Totals;

/// The functions.
#[derive(Clone, Copy)]
pub(super) struct Api {
    pub(super) malloc: extern "C" fn(usize) -> *mut c_void,
    pub(super) calloc: extern "C" fn(usize, usize) -> *mut c_void,
    pub(super) realloc: unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void,
    pub(super) free: unsafe extern "C" fn(*mut c_void),
    pub(super) aligned_alloc: extern "C" fn(usize, usize) -> *mut c_void,
    pub(super) posix_memalign: unsafe extern "C" fn(*mut *mut c_void, usize, usize) -> c_int,
    /// `malloc_trim(3)`, if it is the library's.
    trim: Option<extern "C" fn(usize) -> c_int>,
    /// mallinfo(3), likewise.
    information: Option<extern "C" fn() -> libc::mallinfo2>,
    /// What only lfalloc has (`lfalloc.h`).
    totals: Option<unsafe extern "C" fn(*mut c_void, usize)>,
    purge: Option<extern "C" fn() -> i64>,
}

/// `struct lfalloc_totals` (`lfalloc.h`).
#[repr(C)]
#[derive(Default)]
struct LfallocTotals {
    mapped_bytes: u64,
    live_bytes: u64,
    superblock_bytes: u64,
    allocations: u64,
    frees: u64,
    in_hand: u64,
    foreign_frees: u64,
    metadata_bytes: u64,
}

/// The function's address, and the file that it is in.
fn look_up(library: *mut c_void, name: &CStr) -> Option<(*mut c_void, &'static CStr)> {
    // SAFETY: a handle of dlopen(3), or the default one, and a string that ends with a zero byte.
    let address = unsafe { libc::dlsym(library, name.as_ptr()) };
    if address.is_null() {
        return None;
    }
    let mut about = MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: there is room for it (dladdr(3)).
    let found = unsafe { libc::dladdr(address, about.as_mut_ptr()) };
    if found == 0 {
        return None;
    }
    // SAFETY: `dladdr` has filled it in.
    let about = unsafe { about.assume_init() };
    // SAFETY: the name of a file that stays loaded.
    Some((address, unsafe { CStr::from_ptr(about.dli_fname) }))
}

impl Api {
    /// Those of the library that is opened now, or those that this program calls anyway.
    pub(super) fn of(opened: Option<&Path>) -> Result<Self, String> {
        let library = match opened {
            None => libc::RTLD_DEFAULT,
            Some(path) => {
                let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())
                    .map_err(|error| error.to_string())?;
                // SAFETY: a string that ends with a zero byte; the library's constructors are harmless.
                unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) }
            }
        };
        if opened.is_some() && library.is_null() {
            return Err("the library cannot be opened".to_owned());
        }
        let (malloc, file) = look_up(library, c"malloc").ok_or("there is no malloc")?;
        let own = |name: &CStr| {
            look_up(library, name).filter(|(_, of)| *of == file).map(|(address, _)| address)
        };
        let needed = |name: &CStr| own(name).ok_or_else(|| format!("the library has no {name:?}"));
        let [calloc, realloc, free, aligned_alloc, posix_memalign] =
            [c"calloc", c"realloc", c"free", c"aligned_alloc", c"posix_memalign"].map(needed);
        // SAFETY: each transmute, here and below, makes an address of the function of that name a pointer with its C prototype
        // (malloc(3), mallinfo(3), lfalloc.h), or keeps null as `None`.
        let malloc = unsafe {
            std::mem::transmute::<*mut c_void, extern "C" fn(usize) -> *mut c_void>(malloc)
        };
        Ok(Self {
            malloc,
            // SAFETY: as above.
            calloc: unsafe {
                std::mem::transmute::<*mut c_void, extern "C" fn(usize, usize) -> *mut c_void>(
                    calloc?,
                )
            },
            // SAFETY: as above.
            realloc: unsafe {
                std::mem::transmute::<
                    *mut c_void,
                    unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void,
                >(realloc?)
            },
            // SAFETY: as above.
            free: unsafe {
                std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void)>(free?)
            },
            // SAFETY: as above.
            aligned_alloc: unsafe {
                std::mem::transmute::<*mut c_void, extern "C" fn(usize, usize) -> *mut c_void>(
                    aligned_alloc?,
                )
            },
            // SAFETY: as above.
            posix_memalign: unsafe {
                std::mem::transmute::<
                    *mut c_void,
                    unsafe extern "C" fn(*mut *mut c_void, usize, usize) -> c_int,
                >(posix_memalign?)
            },
            trim: own(c"malloc_trim").map(|address| {
                // SAFETY: as above.
                unsafe {
                    std::mem::transmute::<*mut c_void, extern "C" fn(usize) -> c_int>(address)
                }
            }),
            information: own(c"mallinfo2").map(|address| {
                // SAFETY: as above.
                unsafe {
                    std::mem::transmute::<*mut c_void, extern "C" fn() -> libc::mallinfo2>(address)
                }
            }),
            totals: own(c"lfalloc_totals").map(|address| {
                // SAFETY: as above.
                unsafe {
                    std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void, usize)>(
                        address,
                    )
                }
            }),
            purge: own(c"lfalloc_purge").map(|address| {
                // SAFETY: as above.
                unsafe { std::mem::transmute::<*mut c_void, extern "C" fn() -> i64>(address) }
            }),
        })
    }

    /// `malloc_trim(0)`; whether there is one.
    pub(super) fn trim(&self) -> bool {
        self.trim.map(|trim| trim(0)).is_some()
    }

    /// Gives back all that can be given back: until nothing more goes, a few times at most.
    pub(super) fn purge(&self) {
        match self.purge {
            None => drop(self.trim()),
            Some(purge) => drop((0..4).take_while(|_| purge() != 0).count()),
        }
    }

    /// Reads what the library tells of itself; how many calls that were.
    pub(super) fn look(&self) -> u64 {
        self.totals();
        let is_any = self.information.map(|information| information()).is_some();
        u64::from(is_any) + u64::from(self.totals.is_some())
    }

    /// The library's figures.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = LfallocTotals::default();
        if let Some(read) = self.totals {
            // SAFETY: there is room for that many bytes.
            unsafe { read((&raw mut totals).cast(), size_of::<LfallocTotals>()) };
        }
        let LfallocTotals { mapped_bytes, metadata_bytes, live_bytes, in_hand, .. } = totals;
        Totals { kept_bytes: mapped_bytes - metadata_bytes, metadata_bytes, live_bytes, in_hand }
    }
}
