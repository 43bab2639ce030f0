//! Everything the allocator asks of the operating system, in one list; the platform code of the crate.
//!
//! | function               | what it does                                                                   |
//! |------------------------|--------------------------------------------------------------------------------|
//! | [`map`]                | private zero pages at an alignment; `None` when there is no memory              |
//! | [`map_guarded`]        | the same with a page on either side that nobody can touch                      |
//! | [`unmap`], [`unmap_guarded`] | gives pages and their addresses back; fails at the mapping limit                |
//! | [`decommit`]           | gives pages back, keeps the addresses; fails on locked pages                    |
//! | [`remap_in_place`]     | grows or shrinks a mapping where it is                                          |
//! | [`remap_onto`]         | moves a mapping onto a reservation                                              |
//! | [`reserve`]            | addresses without memory                                                        |
//! | [`read_memory`]        | copies memory of this process that may be unmapped meanwhile                   |
//! | [`give_way`]           | lets other threads run                                                         |
//! | [`processor`]          | the processor this thread runs on, or a number for the thread                   |
//! | [`thread_pointer`]     | what tells the threads of this process apart                                    |
//! | [`process_id`]         | the process                                                                    |
//! | [`will_write`]         | has the processor get a cache line                                              |
//! | [`ticks`]              | a fast monotonic clock in ticks of its own                                      |
//! | [`random`]             | a number that nobody can guess                                                 |
//! | [`monotonic_ns`]       | the system's monotonic clock                                                    |
//! | [`sequence`]           | restartable sequences on per-processor arrays                                   |
//! | [`sequence_area`]      | where the kernel keeps a thread's processor, if sequences can be used           |
//! | [`fence_sequences`]    | waits until no sequence of before is under way on a processor                   |
//! | [`possible_processors`]| how many processors the machine may ever have                                   |
//! | [`huge_pages`]         | whether there are any, and whether memory gets them that nobody asked for       |
//! | [`advise_huge`]        | whether a mapping should have them                                              |
//! | [`decimal`]            | a number in digits                                                              |
//! | [`environment`]        | an environment variable                                                         |
//! | [`environment_is_there`] | whether it has been set up                                                    |
//! | [`has_raised_rights`]  | whether whoever started the program has fewer rights than it                    |
//! | [`print`]              | prints a line to standard error                                                 |
//! | [`fatal`]              | prints a line and ends the program                                              |
//!
//! System calls are made directly: `errno` stays as it is, and no interposed function of the C library is called.
//! Another system follows by adding a file with these functions.

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!("lfalloc runs on Linux x86-64; to add a system, write its file beside os/linux.rs");

/// The address of a symbol of the C library, 0 where nobody defines it: programs without one, or with an older one, work, too.
macro_rules! weak_symbol {
    ($name:literal) => {{
        let address: usize;
        // SAFETY: loads an address from the global offset table; the reference is weak.
        unsafe {
            core::arch::asm!(
                concat!(".weak ", $name),
                concat!("mov {address}, qword ptr [rip + ", $name, "@GOTPCREL]"),
                address = out(reg) address,
                options(nostack, preserves_flags, readonly, pure),
            );
        }
        address
    }};
}

mod linux;
mod processor;
pub(crate) mod sequence;

pub(crate) use linux::{
    Huge, Remapped, advise_huge, decimal, decommit, environment, environment_is_there, fatal,
    fence_sequences, give_way, has_raised_rights, huge_pages, map, map_guarded, monotonic_ns,
    possible_processors, print, process_id, random, read_memory, register_sequence_fence,
    remap_in_place, remap_onto, reserve, ticks, unmap, unmap_guarded,
};
pub(crate) use processor::{processor, sequence_area, thread_pointer, will_write};

/// Bytes of a page.
pub(crate) const PAGE_BYTES: usize = 4096;
