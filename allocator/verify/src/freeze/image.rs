//! What the tracer knows of the library in the target: where its instructions lie, what its functions are called, and where its
//! restartable sequences are.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What the kernel wants before the place where an aborted sequence goes on (rseq(2)).
const SIGNATURE: u32 = 0x5305_3053;
/// Bytes of a description, and what they are aligned to.
const DESCRIPTION_BYTES: usize = 32;

/// A restartable sequence.
#[derive(Clone, Debug)]
pub(super) struct Sequence {
    /// Its instructions: aborted if the thread is interrupted there.
    pub(super) instructions: Range<u64>,
}

/// A function: offset, bytes, name as the linker knows it.
struct Function {
    offset: u64,
    bytes: u64,
    name: String,
}

/// A library as a file.
pub(super) struct Library {
    path: PathBuf,
    /// By offset.
    functions: Vec<Function>,
}

impl Library {
    /// The library at `path`.
    pub(super) fn at(path: &Path) -> Result<Self, String> {
        let failed = |error| format!("{}: {error}", path.display());
        let path = path.canonicalize().map_err(failed)?;
        let functions = functions(&fs::read(&path).map_err(failed)?);
        Ok(Self { path, functions: functions.ok_or("the library has no symbols")? })
    }
}

/// A library in a process.
pub(super) struct Image<'a> {
    text: Range<u64>,
    base: u64,
    library: &'a Library,
    pub(super) sequences: Vec<Sequence>,
}

fn word(bytes: &[u8], at: usize, count: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + count)?;
    Some(bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)))
}

/// The functions in a file's table of symbols (elf(5)): the full one, or what is left in a stripped file.
fn functions(file: &[u8]) -> Option<Vec<Function>> {
    const SYMBOLS: u64 = 2;
    const DYNAMIC_SYMBOLS: u64 = 11;
    const FUNCTION: u64 = 2;
    const INDIRECT_FUNCTION: u64 = 10;
    let headers = word(file, 40, 8)? as usize;
    let (bytes, count) = (word(file, 58, 2)? as usize, word(file, 60, 2)? as usize);
    let header = |index: usize| headers + index * bytes;
    let table = [SYMBOLS, DYNAMIC_SYMBOLS].into_iter().find_map(|kind| {
        (0..count).map(header).find(|header| word(file, header + 4, 4) == Some(kind))
    })?;
    let (start, length) =
        (word(file, table + 24, 8)? as usize, word(file, table + 32, 8)? as usize);
    let names = word(file, header(word(file, table + 40, 4)? as usize) + 24, 8)? as usize;
    let mut functions: Vec<_> =
        file.get(start..start + length)?
            .chunks_exact(24)
            .filter_map(|symbol| {
                let kind = word(symbol, 4, 1)? & 0xF;
                let (offset, bytes) = (word(symbol, 8, 8)?, word(symbol, 16, 8)?);
                let name = file.get(names + word(symbol, 0, 4)? as usize..)?;
                let name = name.split(|byte| *byte == 0).next()?;
                let name = String::from_utf8_lossy(name).into_owned();
                (offset != 0 && (kind == FUNCTION || kind == INDIRECT_FUNCTION))
                    .then_some(Function { offset, bytes, name })
            })
            .collect();
    functions.sort_by_key(|function| function.offset);
    Some(functions)
}

impl<'a> Image<'a> {
    /// The library in a process.
    pub(super) fn of(process: u32, library: &'a Library) -> Result<Self, String> {
        let path = &library.path;
        let maps = fs::read_to_string(format!("/proc/{process}/maps"))
            .map_err(|error| format!("the target's mappings: {error}"))?;
        let mappings: Vec<(Range<u64>, bool, u64)> = maps
            .lines()
            .filter(|line| line.ends_with(&*path.to_string_lossy()))
            .filter_map(|line| {
                let mut fields = line.split_whitespace();
                let (start, end) = fields.next()?.split_once('-')?;
                let is_text = fields.next()?.contains('x');
                let number = |text| u64::from_str_radix(text, 16).ok();
                Some((number(start)?..number(end)?, is_text, number(fields.next()?)?))
            })
            .collect();
        let missing = || format!("{} is not in the target", path.display());
        let base = mappings.iter().find(|(_, _, offset)| *offset == 0).ok_or_else(missing)?.0.start;
        let text = mappings.iter().find(|(_, is_text, _)| *is_text).ok_or_else(missing)?.0.clone();
        let mut image = Self { text, base, library, sequences: Vec::new() };
        for (range, is_text, _) in &mappings {
            if !is_text {
                image.find_sequences(process, range.clone());
            }
        }
        Ok(image)
    }

    /// Descriptions are told by what they say: a range of instructions, and an address elsewhere behind a signature.
    fn find_sequences(&mut self, process: u32, range: Range<u64>) {
        let Some(memory) = super::memory::read(process, range.clone()) else { return };
        for bytes in memory.chunks_exact(DESCRIPTION_BYTES) {
            let field = |at| word(bytes, at, 8).unwrap_or(0);
            let (start, length, abort) = (field(8), field(16), field(24));
            let is_sequence = field(0) == 0
                && (1..4_096).contains(&length)
                && self.contains(start)
                && self.contains(abort)
                && super::memory::read(process, abort - 4..abort)
                    .and_then(|bytes| word(&bytes, 0, 4))
                    == Some(u64::from(SIGNATURE));
            if is_sequence {
                self.sequences.push(Sequence { instructions: start..start + length });
            }
        }
    }

    /// Whether an address is that of an instruction of the library.
    pub(super) fn contains(&self, address: u64) -> bool {
        self.text.contains(&address)
    }

    /// An address relative to the library, which lies elsewhere in every process.
    pub(super) fn offset(&self, address: u64) -> u64 {
        address.wrapping_sub(self.base)
    }

    /// The address of what lies there, relative to the library.
    pub(super) fn address(&self, offset: u64) -> u64 {
        self.base.wrapping_add(offset)
    }

    /// The sequence that an instruction is in.
    pub(super) fn sequence_at(&self, address: u64) -> Option<&Sequence> {
        self.sequences.iter().find(|sequence| sequence.instructions.contains(&address))
    }

    /// Where the functions begin that are called so: the last parts of the path, such as `front::allocate`, or a whole name.
    pub(super) fn named(&self, path: &str) -> Vec<u64> {
        self.library
            .functions
            .iter()
            .filter(|function| is_called(&function.name, path))
            .map(|function| self.base + function.offset)
            .collect()
    }

    /// Whether an instruction belongs to a function that is called so, see [`Image::named`].
    pub(super) fn is_in(&self, address: u64, path: &str) -> bool {
        let offset = self.offset(address);
        let within = |function: &Function| {
            (function.offset..function.offset + function.bytes).contains(&offset)
        };
        self.library
            .functions
            .iter()
            .any(|function| within(function) && is_called(&function.name, path))
    }

    /// The function at an address, and the instruction's distance from its beginning.
    pub(super) fn place(&self, address: u64) -> String {
        if !self.contains(address) {
            return "elsewhere".to_owned();
        }
        let offset = self.offset(address);
        let next = self.library.functions.partition_point(|function| function.offset <= offset);
        match next.checked_sub(1).map(|before| &self.library.functions[before]) {
            Some(function) if offset < function.offset + function.bytes.max(1) => {
                format!("{}+{:#x}", readable(&function.name), offset - function.offset)
            }
            _ => format!("{offset:#x}"),
        }
    }
}

/// Whether a symbol stands for a path, or for one of several with `|` between them: of a function and the only one that calls it, one may be
/// part of the other, as the compiler likes.
fn is_called(symbol: &str, paths: &str) -> bool {
    paths.split('|').any(|path| is_path(symbol, path))
}

/// Both ways of mangling keep the parts of a path in order, each behind its length.
fn is_path(symbol: &str, path: &str) -> bool {
    let parts =
        path.split("::").fold(String::new(), |parts, part| parts + &part.len().to_string() + part);
    let symbol = symbol.replace("$GT$", "");
    // The type of an implementation is written otherwise.
    let in_implementation = parts.trim_start_matches(|character: char| character.is_ascii_digit());
    symbol == path
        || ends(&symbol, &parts)
        || path.contains("::") && ends(&symbol, in_implementation)
}

/// Whether a symbol's path ends so: behind it come a hash, or arguments.
fn ends(symbol: &str, parts: &str) -> bool {
    symbol.find(parts).is_some_and(|at| {
        let rest = &symbol[at + parts.len()..];
        rest.is_empty()
            || rest.starts_with("17h")
            || !rest.starts_with(|c: char| c.is_ascii_digit())
    })
}

/// A symbol as people write it: the parts of its path.
fn readable(symbol: &str) -> String {
    let Some(mut rest) = symbol.strip_prefix("_ZN").or_else(|| symbol.strip_prefix("_R")) else {
        return symbol.to_owned();
    };
    let mut parts: Vec<String> = Vec::new();
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let digits = rest[at..].chars().take_while(char::is_ascii_digit).count();
        let length: usize = rest[at..at + digits].parse().unwrap_or(0);
        let Some(part) = rest.get(at + digits..at + digits + length) else { break };
        let is_hash = part.len() == 17 && part.starts_with('h');
        if !is_hash {
            parts.push(
                part.replace("$LT$", "<")
                    .replace("$GT$", ">")
                    .replace("$u20$", " ")
                    .replace("..", "::"),
            );
        }
        rest = &rest[at + digits + length..];
    }
    let parts: Vec<_> = parts.into_iter().filter(|part| part != "lfalloc").collect();
    parts.join("::")
}
