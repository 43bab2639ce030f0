//! A completely lock-free general-purpose memory allocator after Michael's patent ("Method for completely lock-free
//! user-level dynamic memory allocation"; PLDI 2004), with a registry that can be read at any time.
//!
//! ```
//! #[global_allocator]
//! static ALLOCATOR: lfalloc::LfAlloc = lfalloc::LfAlloc;
//! # fn main() {}
//! ```
//!
//! # Layers, each using only those below
//!
//! | layer                                                        | files                                           |
//! |--------------------------------------------------------------|-------------------------------------------------|
//! | [`LfAlloc`]; [`study`], the algorithm by hand                  | `global_alloc`, `by_address`, `study`           |
//! | [`front`]: magazines per processor, depot                     | `front/`                                        |
//! | [`observe`]: read-only views                                 | `observe/`, `transition`, `observer`            |
//! | the shipped platform: statics, tables, large blocks          | `live`, `large`, `huge`, `decay`, `options`, `page_map`, `pages`, `table`, `once`, `pieces`, `size_class`, `accounting` |
//! | the core: [`Core`], Michael's algorithm over a [`platform::Platform`] | `malloc`, `free`, `active`, `anchor`, `descriptor`, `partial`, `superblock`, `list` |
//! | the operating system                                         | `os/`                                           |
//!
//! # Where the patent's procedures are
//!
//! | procedure                                 | paragraphs   | home                                  |
//! |-------------------------------------------|--------------|---------------------------------------|
//! | malloc                                    | \[0047\]–\[0049\] | `malloc.rs`                           |
//! | MallocFromActive                          | \[0050\]–\[0059\] | `active.rs` (reserve), `malloc.rs` (pop) |
//! | UpdateActive                              | \[0060\]–\[0063\] | `active.rs`                           |
//! | MallocFromPartial, MallocFromNewSB        | \[0064\]–\[0073\] | `malloc.rs`                           |
//! | free                                      | \[0039\]–\[0046\] | `free.rs`                             |
//! | PartialPush, PartialPop                   | \[0044\], \[0064\] | `partial.rs`                          |
//! | DescAlloc, DescRetire                     | \[0044\], \[0073\] | `superblock.rs`                       |
//! | large blocks                              | \[0039\], \[0047\] | `large/`                              |
#![no_std]

#[cfg(test)]
extern crate std;

mod accounting;
pub mod active;
pub mod anchor;
mod by_address;
pub mod decay;
pub mod descriptor;
mod free;
pub mod front;
mod global_alloc;
mod harden;
mod huge;
pub mod large;
mod link;
mod list;
mod live;
mod malloc;
pub mod observe;
mod observer;
pub mod once;
pub mod options;
mod os;
pub mod page_map;
pub mod pages;
pub mod partial;
pub mod pieces;
pub mod platform;
mod size_class;
pub mod study;
pub mod superblock;
pub mod table;
mod transition;

pub use by_address::{OnFailure, OnForeign};
pub use global_alloc::LfAlloc;
pub use malloc::MAX_BATCH;

/// Michael's allocator over some [`platform::Platform`]; the shipped one is behind [`LfAlloc`].
///
/// The procedures are spread over the files as the patent's figures are: see the table in the crate's documentation.
#[derive(Debug)]
pub struct Core<P> {
    platform: P,
}

impl<P: platform::Platform> Core<P> {
    /// An allocator over `platform`.
    pub const fn new(platform: P) -> Self {
        Self { platform }
    }

    /// What it stands on.
    #[inline(always)]
    pub const fn platform(&self) -> &P {
        &self.platform
    }
}
