//! The workloads on tcmalloc.

#[global_allocator]
static ALLOCATOR: tcmalloc_better::TCMalloc = tcmalloc_better::TCMalloc;

fn main() -> std::process::ExitCode {
    lfalloc_bench::contender("tcmalloc", None)
}
