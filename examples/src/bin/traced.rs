//! Superblock transitions in the program's own log: a walk over every edge of the state diagram, as `tracing` events
//! on standard error.
//!
//! `RUST_LOG=lfalloc::transition=off` turns them off.

use std::time::Duration;

use lfalloc_examples::walk::Walk;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: lfalloc::LfAlloc = lfalloc::LfAlloc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("lfalloc::transition=debug"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    // Dropped at the end: what is in the ring by then is still told.
    let _trace = lfalloc_agent::trace::start()?;
    Walk::new(Duration::from_millis(20)).run_once()?;
    Ok(())
}
