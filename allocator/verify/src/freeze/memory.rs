//! Another process's memory.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// What lies there; `None` where nothing can be read.
pub(super) fn read(process: u32, range: Range<u64>) -> Option<Vec<u8>> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    let file = File::open(format!("/proc/{process}/mem")).ok()?;
    file.read_exact_at(&mut bytes, range.start).ok()?;
    Some(bytes)
}
