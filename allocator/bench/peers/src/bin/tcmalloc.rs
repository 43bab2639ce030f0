//! The workloads on tcmalloc.

#[global_allocator]
static ALLOCATOR: tcmalloc_better::TCMalloc = tcmalloc_better::TCMalloc;

unsafe extern "C" {
    fn TCMalloc_Internal_ForceCpuCacheActivation();
}

fn main() -> std::process::ExitCode {
    // Its caches per processor activate themselves before main if their object file is linked, to which nothing else refers.
    // Without them a pair takes 15 ns, with them 7.
    // SAFETY: may be called at any time, and does nothing if they are active.
    unsafe { TCMalloc_Internal_ForceCpuCacheActivation() };
    lfalloc_bench::contender("tcmalloc", None)
}
