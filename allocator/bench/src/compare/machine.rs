//! What it was measured on.

use std::fs;
use std::process::Command;

use serde::Serialize;

/// The machine and its software; what cannot be found out is empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) rustc: String,
    pub(crate) cc: String,
    /// Processes that wanted to run in the minute before.
    pub(crate) load: f64,
}

impl Machine {
    /// This one, now.
    pub(crate) fn this() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = cpuinfo.lines().find(|line| line.starts_with("model name"));
        let processor = processor.and_then(|line| line.split_once(": ")).map(|(_, name)| name);
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            processor: processor.unwrap_or_default().to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            rustc: first_line("rustc", &["--version"]),
            cc: first_line("c++", &["--version"]),
            load: load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
        }
    }
}

/// The first line that a command prints; nothing if it does not run.
pub(super) fn first_line(command: &str, arguments: &[&str]) -> String {
    let output = Command::new(command).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}
