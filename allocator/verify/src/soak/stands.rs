//! Where the threads of a process stand that does not go on: for whoever looks for the reason.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// A line for each thread of the processes of a group: its name, state, what it waits for in the kernel, and the address of its next
/// instruction, in the file that it lies in.
#[must_use]
pub fn stands(group: u32) -> String {
    let mut text = String::new();
    for process in numbers(Path::new("/proc")) {
        let folder = Path::new("/proc").join(process.to_string());
        if field(&folder, 2) != Some(group.to_string()) {
            continue;
        }
        let maps = fs::read_to_string(folder.join("maps")).unwrap_or_default();
        for thread in numbers(&folder.join("task")) {
            let folder = folder.join("task").join(thread.to_string());
            let name = read(&folder, "comm");
            let state = field(&folder, 0).unwrap_or_default();
            let (waits, call) = (read(&folder, "wchan"), read(&folder, "syscall"));
            // "running", or the number of the call, its arguments, stack pointer and instruction pointer.
            let at = call.split(' ').nth(8).and_then(|at| usize::from_str_radix(&at[2..], 16).ok());
            let at = at.map_or_else(|| "in its own code".to_owned(), |at| in_file(&maps, at));
            let call = call.split(' ').next().unwrap_or_default().to_owned();
            let _ = writeln!(
                text,
                "  process {process} thread {thread} {name}: state {state}, system call {call}, waits in {waits}, {at}"
            );
        }
    }
    text
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_default().trim().to_owned()
}

/// A field of `stat` (proc(5)), counted from behind the name, which may hold anything.
fn field(folder: &Path, number: usize) -> Option<String> {
    let stat = read(folder, "stat");
    let (_, behind) = stat.rsplit_once(") ")?;
    behind.split(' ').nth(number).map(str::to_owned)
}

fn numbers(folder: &Path) -> Vec<u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut numbers: Vec<u32> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

/// An address as one of a file that is mapped there.
fn in_file(maps: &str, at: usize) -> String {
    let found = maps.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let (begin, end) = fields.next()?.split_once('-')?;
        let begin = usize::from_str_radix(begin, 16).ok()?;
        let end = usize::from_str_radix(end, 16).ok()?;
        let offset = usize::from_str_radix(fields.nth(1)?, 16).ok()?;
        let file = fields.nth(2).unwrap_or("memory");
        let name = Path::new(file).file_name().unwrap_or_default().to_string_lossy().into_owned();
        (begin..end).contains(&at).then(|| format!("at {name}+{:#x}", at - begin + offset))
    });
    found.unwrap_or_else(|| format!("at {at:#x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Aim: threads are found with what they wait for. Method: this process, with a thread that sleeps.
    #[test]
    fn threads_are_found() {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let sleeper = std::thread::Builder::new().name("sleeper".to_owned());
        let sleeper = sleeper.spawn(move || stopped.recv()).unwrap();
        // SAFETY: no arguments.
        let group = unsafe { libc::getpgrp() }.cast_unsigned();
        let text = loop {
            let text = stands(group);
            if text.lines().any(|line| line.contains("sleeper: state S")) {
                break text;
            }
        };
        assert!(text.lines().any(|line| line.contains(" at libc")), "{text}");
        drop(stop);
        let _ = sleeper.join();
    }
}
