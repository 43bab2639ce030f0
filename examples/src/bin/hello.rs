//! The smallest program worth inspecting: lfalloc as the global allocator, and the agent.
//!
//! Run it, leave it waiting, and look at it from another terminal with `lfinspect hello`.

#[global_allocator]
static ALLOCATOR: lfalloc::LfAlloc = lfalloc::LfAlloc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let _agent = lfalloc_agent::start()?;
    let blocks: Vec<Box<[u8; 100]>> = (0..10_000).map(|_| Box::new([1; 100])).collect();
    println!("{} blocks of 100 bytes are live in pid {}", blocks.len(), std::process::id());
    println!("look at them with `lfinspect hello`; Enter ends the program");
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}
