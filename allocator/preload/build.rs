//! How the library is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // The kernel keeps the address of the last restartable sequence of each thread: the library must stay where it is, whoever
    // closes it (dlclose(3)).
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // No symbol is looked up during a call, where a lock of the dynamic linker might be held by the interrupted thread.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,now");
}
