//! What the code of one function does that might take long: system calls, pauses, and compare-and-swaps.

use std::collections::BTreeSet;
use std::path::Path;

use crate::common::tool;

/// What was seen in the listing of one function.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// What the register for the number of a system call holds, if an instruction said.
    number: Option<u64>,
    /// System calls: where, and the number, if it is known.
    pub(crate) calls: Vec<(u64, Option<u64>)>,
    /// Where it tells the processor that it waits.
    pub(crate) pauses: Vec<u64>,
    /// Compare-and-swaps.
    pub(crate) swaps: Vec<u64>,
}

impl Facts {
    /// Takes an instruction of the listing, the next of its function.
    pub(crate) fn add(&mut self, address: u64, instruction: &str) {
        let instruction = instruction.split(['#', '<']).next().unwrap_or_default().trim();
        let (mnemonic, operands) = instruction.split_once(' ').unwrap_or((instruction, ""));
        let operands = operands.trim();
        let target = operands.rsplit(',').next().unwrap_or_default();
        match mnemonic {
            "syscall" => {
                self.calls.push((address, self.number.take()));
                return;
            }
            "pause" => self.pauses.push(address),
            "lock" if operands.starts_with("cmpxchg") => self.swaps.push(address),
            _ if mnemonic.starts_with("call") => self.number = None,
            _ if mnemonic.starts_with("cmp") || mnemonic.starts_with("test") => return,
            _ => {}
        }
        if ["%eax", "%rax", "%al", "%ax"].contains(&target) {
            self.number = match operands.split_once(',') {
                Some((from, _)) if mnemonic.starts_with("mov") => {
                    from.strip_prefix("$0x").and_then(|number| u64::from_str_radix(number, 16).ok())
                }
                Some((from, to)) if mnemonic == "xor" && from == to => Some(0),
                _ => None,
            };
        }
    }
}

/// The functions of the allocator and of the library that the code at each place was written in, the innermost first.
pub(crate) fn written_in(object: &Path, places: &BTreeSet<u64>) -> Vec<(u64, Vec<String>)> {
    let object = object.to_str().expect("a path in UTF-8");
    let mut found = Vec::new();
    // As many as fit a command line.
    for places in places.iter().copied().collect::<Vec<u64>>().chunks(500) {
        let addresses: Vec<String> = places.iter().map(|place| format!("{place:#x}")).collect();
        let mut arguments = vec!["-aCife", object];
        arguments.extend(addresses.iter().map(String::as_str));
        let text = tool("addr2line", &arguments);
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let place = u64::from_str_radix(line.trim_start_matches("0x"), 16).expect("an address");
            let mut own = Vec::new();
            while let Some(name) = lines.next_if(|line| !line.starts_with("0x0")) {
                let file = lines.next().unwrap_or_default();
                if file.contains("allocator/src/") || file.contains("preload/src/") {
                    own.push(plain(name));
                }
            }
            found.push((place, own));
        }
    }
    found
}

/// The last part of a function's path, without parameters: `pop` of `lfalloc::list::pop<…>`. A closure has the name of the
/// function that it is in.
fn plain(name: &str) -> String {
    let mut depth = 0usize;
    let mut text = String::new();
    for letter in name.chars() {
        match letter {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            _ if depth == 0 => text.push(letter),
            _ => {}
        }
    }
    let mut parts = text.rsplit("::").filter(|part| !part.is_empty() && !part.starts_with('{'));
    parts.next().unwrap_or_default().to_owned()
}

#[test]
fn what_code_does_is_read() {
    let mut facts = Facts::default();
    for (address, instruction) in [
        (0x10, "mov    $0x9,%eax"),
        (0x15, "mov    %rsi,%rdi"),
        (0x18, "syscall"),
        (0x1a, "xor    %eax,%eax"),
        (0x1c, "syscall"),
        (0x1e, "mov    $0xca,%eax"),
        (0x20, "mov    %ecx,%eax"),
        (0x22, "syscall"),
        (0x24, "lock cmpxchg %rcx,(%rdi)"),
        (0x29, "pause"),
    ] {
        facts.add(address, instruction);
    }
    assert_eq!(facts.calls, [(0x18, Some(9)), (0x1c, Some(0)), (0x22, None)]);
    assert_eq!((facts.swaps, facts.pauses), (vec![0x24], vec![0x29]));
}

#[test]
fn names_are_plain() {
    for (name, expected) in [
        ("pop<lfalloc::large::Descriptors>", "pop"),
        ("<lfalloc::Core<P>>::malloc_slow", "malloc_slow"),
        ("lfalloc::front::depot::take::{{closure}}", "take"),
        ("{closure#0}<core::option::Option<u32>>", ""),
    ] {
        assert_eq!(plain(name), expected);
    }
}
