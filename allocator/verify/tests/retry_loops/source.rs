//! Loops of Rust source, found in its text: comments, strings and tests are taken out, then braces are counted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A function that repeats something, in the words of a table: `name`, or `module::name` or `Type::name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Repeats {
    pub(crate) file: PathBuf,
    pub(crate) module: String,
    /// The type of the `impl` that the function is in; empty outside of any.
    pub(crate) owner: String,
    pub(crate) name: String,
    pub(crate) how: How,
}

/// How a function repeats something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum How {
    /// `loop` or `while`, with a compare-and-swap in it; or an operation that the compiler makes such a loop of (x86-64 has no
    /// instruction for it).
    Retries,
    /// `loop` or `while` without one. (One that counts up to a constant is as good as a `for`.)
    Loops,
    /// `for`, with a compare-and-swap in it.
    Counts,
    /// An iterator, or a method, that need not end by itself.
    Endless,
}

impl Repeats {
    /// Whether a table's `module::name`, `Type::name` or `name` means this function.
    pub(crate) fn is_called(&self, called: &str) -> bool {
        match called.rsplit_once("::") {
            None => called == self.name,
            Some((place, name)) => {
                name == self.name && (place == self.module || place == self.owner)
            }
        }
    }
}

/// Everything in the files of these folders.
pub(crate) fn repeats_in(folders: &[PathBuf]) -> BTreeSet<Repeats> {
    sources(folders).iter().flat_map(|(path, text)| repeats(path, text)).collect()
}

/// The sources in these folders, and those below.
pub(crate) fn sources(folders: &[PathBuf]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut unread = folders.to_vec();
    while let Some(folder) = unread.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of sources") {
            let path = entry.expect("an entry of it").path();
            if path.is_dir() {
                unread.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source");
                found.push((path, text));
            }
        }
    }
    found
}

/// The code before the tests, which come last in every file.
pub(crate) fn without_tests(code: &str) -> String {
    code.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned()
}

/// A brace that is open.
struct Open {
    what: What,
    repeats: BTreeSet<How>,
}

enum What {
    Function(String),
    Impl(String),
    Test,
    /// A `loop` or `while`: whether it counts up to a constant.
    Loop(bool),
    For,
    Other,
}

/// What repeats in one file.
pub(crate) fn repeats(path: &Path, text: &str) -> BTreeSet<Repeats> {
    let code = without_comments_and_strings(text);
    let module = module(path);
    let mut found = BTreeSet::new();
    let mut open: Vec<Open> = Vec::new();
    // What stands between the last brace or semicolon and here.
    let mut head = String::new();
    for letter in code.chars() {
        match letter {
            '{' => {
                note(&head, &mut open);
                open.push(Open { what: what(&head), repeats: BTreeSet::new() });
                head.clear();
            }
            '}' => {
                note(&head, &mut open);
                head.clear();
                let Some(Open { what, repeats }) = open.pop() else { continue };
                let What::Function(name) = what else { continue };
                if open.iter().any(|around| matches!(around.what, What::Test)) {
                    continue;
                }
                let owner = open.iter().rev().find_map(|around| match &around.what {
                    What::Impl(owner) => Some(owner.clone()),
                    _ => None,
                });
                let owner = owner.unwrap_or_default();
                for how in repeats {
                    let (file, module) = (path.to_owned(), module.clone());
                    found.insert(Repeats {
                        file,
                        module,
                        owner: owner.clone(),
                        name: name.clone(),
                        how,
                    });
                }
            }
            ';' => {
                note(&head, &mut open);
                head.clear();
            }
            _ => head.push(letter),
        }
    }
    assert!(open.is_empty(), "{}: braces do not match", path.display());
    found
}

/// Operations on shared words that are loops, since x86-64 has no instruction for them.
const LOOPS: [&str; 6] =
    ["fetch_max", "fetch_min", "fetch_and", "fetch_or", "fetch_xor", "fetch_nand"];
/// What goes on until it is told to stop.
const ENDLESS: [&str; 6] =
    ["fetch_update", "try_update", "repeat", "repeat_with", "successors", "cycle"];

/// Tells the function around it what a statement, or the head of a block, says.
fn note(head: &str, open: &mut [Open]) {
    let (mut loops, mut counts) = (false, false);
    let inner = open.iter().rposition(|around| matches!(around.what, What::Function(_)));
    let Some(inner) = inner else { return };
    for around in &open[inner + 1..] {
        loops |= matches!(around.what, What::Loop(_));
        counts |= matches!(around.what, What::For);
    }
    let mut how = BTreeSet::new();
    let words = words(head);
    // The condition of a `while` is evaluated in every round.
    let heads_loop = matches!(what(head), What::Loop(_));
    if words.iter().any(|word| word.starts_with("compare_exchange")) {
        if loops || heads_loop {
            how.insert(How::Retries);
        } else if counts {
            how.insert(How::Counts);
        }
    }
    if matches!(what(head), What::Loop(false)) {
        how.insert(How::Loops);
    }
    if matches!(what(head), What::For) && ends_never(head) {
        how.insert(How::Endless);
    }
    // Not within the wrapper of the operation itself.
    let What::Function(name) = &open[inner].what else { return };
    if words.iter().any(|word| LOOPS.contains(word) && word != name) {
        how.insert(How::Retries);
    }
    if words.iter().any(|word| ENDLESS.contains(word)) || head.contains("iter::from_fn") {
        how.insert(How::Endless);
    }
    open[inner].repeats.extend(how);
}

/// Whether a `for` goes over a range without an end, and nothing that ends goes with it.
fn ends_never(head: &str) -> bool {
    let over = head.rsplit_once(" in ").map_or("", |(_, over)| over.trim());
    over.ends_with("..") || over.ends_with("..)")
}

/// What the text before a brace begins.
fn what(head: &str) -> What {
    let head = head.trim();
    let words = words(head);
    let is_test = head.contains("cfg(test)") || head.contains("cfg(all(test");
    if is_test && words.contains(&"mod") {
        return What::Test;
    }
    // `fn(u64)` is a type.
    if let Some((_, behind)) = head.split_once("fn ")
        && words.contains(&"fn")
        && let Some(name) = self::words(behind).first()
    {
        return What::Function((*name).to_owned());
    }
    if words.first().is_some_and(|first| *first == "impl") || words.starts_with(&["unsafe", "impl"])
    {
        return What::Impl(implemented(head));
    }
    // The head of the innermost block comes last: `let x = loop`.
    match words.iter().rev().find(|word| ["loop", "while", "for", "match", "if"].contains(word)) {
        Some(&"loop") if head.ends_with("loop") => What::Loop(false),
        _ if words.contains(&"while") => What::Loop(counts_to_a_constant(head)),
        _ if words.contains(&"for") && words.contains(&"in") => What::For,
        _ => What::Other,
    }
}

/// `while class < CLASS_COUNT`
fn counts_to_a_constant(head: &str) -> bool {
    let Some((_, condition)) = head.rsplit_once("while ") else { return false };
    let parts: Vec<&str> = condition.split_whitespace().collect();
    let is_constant = |word: &str| {
        word.len() > 1
            && word.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    };
    matches!(parts[..], [_, "<", most] if is_constant(most))
}

/// The type of `impl<…> Trait for Type<…> where …`, without its parameters.
fn implemented(head: &str) -> String {
    let mut depth = 0usize;
    let mut text = String::new();
    for letter in head.chars() {
        match letter {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            _ if depth == 0 => text.push(letter),
            _ => {}
        }
    }
    let text = text.split(" where ").next().unwrap_or_default();
    let of = text.rsplit_once(" for ").map_or(text, |(_, of)| of);
    of.split_whitespace()
        .last()
        .unwrap_or_default()
        .rsplit("::")
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn module(path: &Path) -> String {
    let stem = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    match stem(path).unwrap_or_default().as_str() {
        "mod" => path.parent().and_then(stem).unwrap_or_default(),
        name => name.to_owned(),
    }
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

pub(crate) fn words(text: &str) -> Vec<&str> {
    text.split(|letter| !is_word(letter)).filter(|word| !word.is_empty()).collect()
}

/// The text with spaces in the place of comments, and nothing within the quotes of strings and characters.
pub(crate) fn without_comments_and_strings(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if first == '"' {
            string_end(rest)
        } else if let Some(raw) = rest.strip_prefix("r#\"") {
            raw.find("\"#").map_or(rest.len(), |end| end + 5)
        } else if first == '\'' {
            character_end(rest)
        } else {
            0
        };
        if skipped > 0 {
            code.push(' ');
            rest = &rest[skipped..];
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    code
}

/// Behind the quote that ends the string at the beginning.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (place, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return place + 1,
            _ => {}
        }
    }
    text.len()
}

/// Behind a character in quotes; 0 for a lifetime.
fn character_end(text: &str) -> usize {
    let letters: Vec<char> = text.chars().take(3).collect();
    match letters[..] {
        [_, '\\', _] => text[3..].find('\'').map_or(0, |end| end + 4),
        [_, letter, '\''] => 2 + letter.len_utf8(),
        _ => 0,
    }
}
