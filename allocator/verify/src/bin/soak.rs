//! `soak`: everything that a program can do to its allocator, for long, on the library as it ships. See [`lfalloc_verify::soak`].

use std::process::ExitCode;

fn main() -> ExitCode {
    lfalloc_verify::soak::arguments::main()
}
