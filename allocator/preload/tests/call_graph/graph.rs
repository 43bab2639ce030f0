//! The call graph of a shared object, read from its disassembly and its relocations.
//!
//! A function has an edge to every function that it calls or jumps to, directly or through a slot
//! of the global offset table, and to every one whose address it takes: whatever it calls through a
//! register can only be one of those, one of a table, or one that it was given. Such calls are kept, too.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use crate::common::tool;
use crate::facts::Facts;

/// What a slot of the global offset table holds once the object is loaded.
#[derive(Clone, Debug, PartialEq)]
enum Slot {
    /// A symbol of another object, or one that another object may come before.
    Symbol(String),
    /// A place in this object.
    Local(u64),
    /// Something about a thread-local variable.
    ThreadLocal(String),
}

#[derive(Debug, Default)]
struct Function {
    name: String,
    /// Where its last instruction begins.
    last: u64,
    /// Places in the code that are called, jumped to, or whose address is taken.
    targets: BTreeSet<u64>,
    /// Places in the data that an instruction names.
    references: BTreeSet<u64>,
    /// Calls and jumps to where a register or a pointer in memory says, unless an instruction just
    /// before named the slot or function that the register was filled from.
    indirect: Vec<String>,
    /// Which registers hold what an instruction named, in the order of the listing.
    known: BTreeSet<String>,
    facts: Facts,
}

/// One step that must not be reachable, and how it is reached.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) what: What,
    /// From the entry point to the function that takes the step.
    pub(crate) path: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    /// A function of another object.
    Import(String),
    /// A thread-local variable of this object.
    ThreadLocal(String),
    /// A call that leads wherever a register says.
    Indirect(String),
    /// A function that is not looked into.
    Closed(String),
}

pub(crate) struct Graph {
    /// By their first address.
    functions: BTreeMap<u64, Function>,
    slots: HashMap<u64, Slot>,
    /// Stubs of the procedure linkage table, and what they lead to.
    stubs: HashMap<u64, String>,
    /// Where each exported function begins.
    pub(crate) exports: BTreeMap<String, u64>,
}

impl Graph {
    pub(crate) fn read(object: &Path) -> Self {
        let object = object.to_str().expect("a path in UTF-8");
        let mut graph = Self {
            functions: BTreeMap::new(),
            slots: slots(&tool("readelf", &["-rW", object])),
            stubs: HashMap::new(),
            exports: exports(&tool("nm", &["-D", "--defined-only", object])),
        };
        graph.add_code(&tool("objdump", &["-dC", "--no-show-raw-insn", object]));
        assert!(!graph.functions.is_empty(), "{object} has no code");
        graph
    }

    fn add_code(&mut self, listing: &str) {
        let mut current = Function::default();
        let mut start = 0;
        let mut recent = String::new();
        for line in listing.lines() {
            if let Some(name) = line.strip_prefix("Disassembly of section ") {
                // Code may lie in a section without any symbol.
                self.end(start, std::mem::take(&mut current));
                current.name = format!("(section {name})");
                start = 0;
            } else if let Some((address, name)) = header(line) {
                self.end(start, std::mem::take(&mut current));
                (start, current.name) = (address, name.to_owned());
            } else if let Some((address, instruction)) = line.trim_start().split_once(":\t") {
                current.last = u64::from_str_radix(address, 16).unwrap_or(0);
                if start == 0 {
                    start = current.last;
                }
                current.facts.add(current.last, instruction);
                current.add(instruction, &recent);
                instruction.clone_into(&mut recent);
            }
        }
        self.end(start, current);
    }

    fn end(&mut self, start: u64, function: Function) {
        if let Some((name, _)) = function.name.split_once("@plt") {
            let name = name.split('@').next().unwrap_or(name);
            self.stubs.insert(start, name.to_owned());
        } else if start != 0 {
            self.functions.insert(start, function);
        }
    }

    /// The function that a place in the code belongs to.
    fn containing(&self, place: u64) -> Option<u64> {
        let (start, function) = self.functions.range(..=place).next_back()?;
        (place <= function.last).then_some(*start)
    }

    /// Everything that can be reached from an exported function and is not of this object or not
    /// known. A function that `is_closed` says yes to is told, and not looked into.
    pub(crate) fn reachable(&self, entry: &str, is_closed: impl Fn(&str) -> bool) -> Vec<Found> {
        let (found, from) = self.walk(entry, is_closed);
        found.into_iter().map(|(what, at)| Found { what, path: self.path(&from, at) }).collect()
    }

    /// The names of the functions of this object that can be reached, the exported one included, and what their code does; those
    /// that are not looked into are not among them.
    pub(crate) fn functions(
        &self,
        entry: &str,
        is_closed: impl Fn(&str) -> bool,
    ) -> Vec<(&str, &Facts)> {
        let (_, from) = self.walk(entry, &is_closed);
        let functions = from.keys().map(|at| &self.functions[at]);
        let open = functions.filter(|function| !is_closed(&function.name));
        open.map(|function| (function.name.as_str(), &function.facts)).collect()
    }

    /// The steps that lead out of what is known, with the function that takes each; and every function that was
    /// reached, with the one that it was reached from.
    fn walk(
        &self,
        entry: &str,
        is_closed: impl Fn(&str) -> bool,
    ) -> (BTreeMap<What, u64>, HashMap<u64, u64>) {
        let first = self.exports[entry];
        let mut from: HashMap<u64, u64> = HashMap::from([(first, first)]);
        let mut queue = vec![first];
        let mut found: BTreeMap<What, u64> = BTreeMap::new();
        while let Some(at) = queue.pop() {
            let function = &self.functions[&at];
            if is_closed(&function.name) {
                found.entry(What::Closed(function.name.clone())).or_insert(at);
                continue;
            }
            let mut next = |place: u64, found: &mut BTreeMap<What, u64>| {
                if let Some(name) = self.stubs.get(&place) {
                    found.entry(What::Import(name.clone())).or_insert(at);
                } else if let Some(start) = self.containing(place)
                    && !from.contains_key(&start)
                {
                    from.insert(start, at);
                    queue.push(start);
                }
            };
            for target in &function.targets {
                next(*target, &mut found);
            }
            for reference in &function.references {
                match self.slots.get(reference) {
                    // An exported symbol of this object: whoever comes first has the same name.
                    Some(Slot::Symbol(name)) => match self.exports.get(name) {
                        Some(own) => next(*own, &mut found),
                        None => {
                            found.entry(What::Import(name.clone())).or_insert(at);
                        }
                    },
                    Some(Slot::Local(place)) => next(*place, &mut found),
                    Some(Slot::ThreadLocal(name)) => {
                        found.entry(What::ThreadLocal(name.clone())).or_insert(at);
                    }
                    None => {}
                }
            }
            for _ in &function.indirect {
                found.entry(What::Indirect(function.name.clone())).or_insert(at);
            }
        }
        (found, from)
    }

    fn path(&self, from: &HashMap<u64, u64>, mut at: u64) -> Vec<String> {
        let mut path = vec![self.functions[&at].name.clone()];
        while from[&at] != at {
            at = from[&at];
            path.push(self.functions[&at].name.clone());
        }
        path.reverse();
        path
    }
}

impl Function {
    fn add(&mut self, instruction: &str, recent: &str) {
        const PREFIXES: &[&str] =
            &["bnd", "notrack", "lock", "rep", "repz", "data16", "cs", "rex.W"];
        let mut words =
            instruction.split_whitespace().skip_while(|word| PREFIXES.contains(word)).peekable();
        let mnemonic = words.next().unwrap_or_default();
        let operand = words.next().unwrap_or_default();
        // objdump works out where an operand relative to the instruction lies.
        let comment = instruction.split_once("# ").map(|(_, comment)| comment);
        let place = comment.and_then(address);
        let branches = mnemonic.starts_with('j') || mnemonic.starts_with("call");
        match place {
            // Without knowing whether it is code or data: the graph asks for what it needs.
            Some(place) if mnemonic.starts_with("lea") => {
                self.references.insert(place);
                self.targets.extend(taken(place, comment));
            }
            Some(place) => {
                self.references.insert(place);
            }
            None if branches && operand.starts_with('*') => {
                // A switch: the address comes from a table of offsets beside the code.
                let table = mnemonic.starts_with('j') && recent.starts_with("add");
                if !table && !self.known.contains(&register(&operand[1..])) {
                    self.indirect.push(instruction.to_owned());
                }
            }
            None if branches => self.targets.extend(address(operand)),
            None => {}
        }
        // Whatever the instruction is, its last operand is what it may write to.
        let operands = operand.rsplit(',').next().unwrap_or_default();
        if operands.starts_with('%')
            && !branches
            && !mnemonic.starts_with("cmp")
            && !mnemonic.starts_with("test")
        {
            let copied = operand.split_once(',').is_some_and(|(from, _)| {
                mnemonic == "mov" && from.starts_with('%') && self.known.contains(&register(from))
            });
            let named = place.is_some() && (mnemonic == "mov" || mnemonic == "lea") || copied;
            let register = register(operands);
            if named {
                self.known.insert(register);
            } else {
                self.known.remove(&register);
            }
        }
    }
}

/// One name for a register's parts: `%eax`, `%ax` and `%al` are `ax`, `%r9d` is `r9`.
fn register(operand: &str) -> String {
    let name = operand.trim_start_matches('%');
    if let Some(number) = name.strip_prefix('r')
        && number.starts_with(|c: char| c.is_ascii_digit())
    {
        return format!("r{}", number.trim_end_matches(['d', 'w', 'b']));
    }
    match name.as_bytes() {
        // rax, eax
        [b'r' | b'e', word @ ..] => String::from_utf8_lossy(word).into_owned(),
        // sil, bpl
        [_, b'i' | b'p', b'l'] => name[..2].to_owned(),
        // al, ah
        [letter @ b'a'..=b'd', b'l' | b'h'] => format!("{}x", char::from(*letter)),
        _ => name.to_owned(),
    }
}

/// The function whose address an instruction takes, if it is the beginning of one.
fn taken(place: u64, comment: Option<&str>) -> Option<u64> {
    let (_, symbol) = comment?.split_once('<')?;
    // What lies within something is data or a part of a table.
    (!symbol.contains("+0x")).then_some(place)
}

/// A hexadecimal number at the beginning of a text.
fn address(text: &str) -> Option<u64> {
    let text = text.strip_prefix("0x").unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(text.len());
    u64::from_str_radix(&text[..end], 16).ok()
}

/// `000000000003a0f0 <name>:`
fn header(line: &str) -> Option<(u64, &str)> {
    let (address, name) = line.split_once(" <")?;
    let name = name.strip_suffix(">:")?;
    Some((u64::from_str_radix(address, 16).ok()?, name))
}

fn slots(relocations: &str) -> HashMap<u64, Slot> {
    let mut slots = HashMap::new();
    for line in relocations.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [offset, _, kind, rest @ ..] = &words[..] else { continue };
        let Ok(offset) = u64::from_str_radix(offset, 16) else { continue };
        let name = || {
            rest.get(1).map_or("(of this object)", |name| name.split('@').next().unwrap_or(name))
        };
        let slot = match *kind {
            "R_X86_64_GLOB_DAT" | "R_X86_64_JUMP_SLOT" | "R_X86_64_64" => {
                Slot::Symbol(name().to_owned())
            }
            "R_X86_64_RELATIVE" => {
                let Some(place) = rest.first().and_then(|place| address(place)) else { continue };
                Slot::Local(place)
            }
            kind if ["DTPMOD", "DTPOFF", "TPOFF", "TLSDESC"]
                .iter()
                .any(|tls| kind.contains(tls)) =>
            {
                Slot::ThreadLocal(format!("{kind} {}", name()))
            }
            _ => continue,
        };
        slots.insert(offset, slot);
    }
    slots
}

fn exports(symbols: &str) -> BTreeMap<String, u64> {
    let mut exports = BTreeMap::new();
    for line in symbols.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [address, kind, name] = &words[..]
            && matches!(*kind, "T" | "W" | "i")
            && let Ok(address) = u64::from_str_radix(address, 16)
        {
            exports.insert(name.split('@').next().unwrap_or(name).to_owned(), address);
        }
    }
    exports
}

#[test]
fn parts_of_a_register_have_one_name() {
    for (whole, parts) in [
        ("%rbx", &["%ebx", "%bx", "%bl", "%bh"][..]),
        ("%rdx", &["%edx", "%dx", "%dl", "%dh"]),
        ("%rbp", &["%ebp", "%bp", "%bpl"]),
        ("%rsi", &["%esi", "%si", "%sil"]),
        ("%r9", &["%r9d", "%r9w", "%r9b"]),
        ("%r12", &["%r12d", "%r12w", "%r12b"]),
    ] {
        assert!(parts.iter().all(|part| register(part) == register(whole)), "{whole}");
    }
    assert_ne!(register("%rbx"), register("%rdx"));
}
