//! Resident memory of this process, as the kernel counts it.

/// Resident bytes now; 0 where `/proc` cannot be read.
#[must_use]
pub fn resident_bytes() -> u64 {
    // Counted page by page: `VmRSS` is a sum over processors that lags behind, by megabytes.
    bytes_of("smaps_rollup", "Rss:")
}

/// The most bytes that were ever resident, as of the kernel's last look; 0 where `/proc` cannot be read.
#[must_use]
pub fn peak_resident_bytes() -> u64 {
    bytes_of("status", "VmHWM:")
}

fn bytes_of(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Aim: both figures are there and in order. Method: touch 8 MiB and look before and after.
    #[test]
    fn memory_is_counted() {
        let before = resident_bytes();
        let touched = std::hint::black_box(vec![1_u8; 8 << 20]);
        assert!(resident_bytes() >= before + (7 << 20), "{before}");
        assert!(peak_resident_bytes() > 6 << 20);
        drop(touched);
    }
}
