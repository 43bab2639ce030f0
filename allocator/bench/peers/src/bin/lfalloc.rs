//! The workloads on lfalloc.

#[global_allocator]
static ALLOCATOR: lfalloc::LfAlloc = lfalloc::LfAlloc;

fn main() -> std::process::ExitCode {
    lfalloc_bench::contender("lfalloc", Some(|| _ = ALLOCATOR.purge()))
}
