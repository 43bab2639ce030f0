//! The workloads on the C library's allocator.

#[global_allocator]
static ALLOCATOR: std::alloc::System = std::alloc::System;

fn main() -> std::process::ExitCode {
    lfalloc_bench::contender("glibc", None)
}
