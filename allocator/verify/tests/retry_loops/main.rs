//! Aim: every loop of the allocator is known, with what makes it end: either each failure is another thread's progress, or its rounds are
//! bounded. Method: the sources' loops by function, against the two tables in ARCHITECTURE.md; what is in one and not in the other
//! fails.
//!
//! It is the text that is read: a loop that a macro or a function of the standard library hides is seen in the machine code only
//! (`allocator/preload/tests/call_graph`).

mod source;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use source::{
    How, Repeats, repeats, repeats_in, sources, without_comments_and_strings, without_tests, words,
};

const SECTION: &str = "## Retry loops, and whose progress makes each fail";

fn allocator() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a folder above").to_owned()
}

fn all() -> BTreeSet<Repeats> {
    // The agent's loops are its own thread's: no allocation goes through them.
    repeats_in(&[allocator().join("src"), allocator().join("preload/src")])
}

/// The functions in the first columns of the section's tables: that of retries, and that of bounded loops.
fn documented() -> [Vec<String>; 2] {
    let page = allocator().parent().expect("the repository").join("ARCHITECTURE.md");
    let page = std::fs::read_to_string(page).expect("ARCHITECTURE.md");
    let (_, section) = page.split_once(SECTION).expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut tables = [Vec::new(), Vec::new()];
    let mut table = 0;
    for line in section.lines() {
        if line.starts_with("| bounded loop") {
            table = 1;
        }
        let Some(first) = line.strip_prefix("| ").and_then(|line| line.split(" |").next()) else {
            continue;
        };
        tables[table].extend(first.split('`').skip(1).step_by(2).map(str::to_owned));
    }
    tables
}

fn text(repeats: &Repeats) -> String {
    let Repeats { file, owner, name, how, .. } = repeats;
    format!("{}: {owner}::{name}: {how:?}", file.display())
}

/// What repeats and is in no table, and what is in a table and does not repeat.
fn differences(all: &BTreeSet<Repeats>, [retries, bounded]: &[Vec<String>; 2]) -> Vec<String> {
    let is_in =
        |table: &[String], repeats: &Repeats| table.iter().any(|called| repeats.is_called(called));
    let mut found = Vec::new();
    for repeats in all {
        let is_known = match repeats.how {
            How::Retries => is_in(retries, repeats),
            How::Loops | How::Counts => is_in(retries, repeats) || is_in(bounded, repeats),
            How::Endless => false,
        };
        if !is_known {
            found.push(format!("in no table: {}", text(repeats)));
        }
    }
    for called in retries.iter().chain(bounded) {
        match all
            .iter()
            .filter(|repeats| repeats.is_called(called))
            .map(|repeats| &repeats.file)
            .collect::<BTreeSet<_>>()
            .len()
        {
            0 => found.push(format!("no loop: {called}")),
            1 => {}
            _ => found.push(format!("several: {called}")),
        }
    }
    found
}

#[test]
fn every_loop_is_in_the_tables_and_every_line_has_its_loop() {
    let [retries, bounded] = documented();
    assert!(retries.len() >= 10 && bounded.len() >= 5, "{retries:?} {bounded:?}");
    let found = differences(&all(), &[retries, bounded]);
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// What waits for another thread, or can.
const LOCKS: &[&str] = &[
    "Mutex",
    "RwLock",
    "Condvar",
    "Once",
    "OnceLock",
    "LazyLock",
    "Barrier",
    "ReentrantLock",
    "LocalKey",
    "thread_local",
    "mpsc",
    "park",
    "sleep",
    "yield_now",
    "spin_loop",
    "parking_lot",
    "pthread_mutex_t",
    "pthread_once_t",
];

/// Where one of them is named all the same, and why.
const NAMED: &[(&str, &str, &str)] = &[
    (
        "preload/src/agent.rs",
        "mpsc",
        "the program's start waits for its agent, half a second at most",
    ),
    ("preload/src/agent.rs", "sleep", "an agent's own thread"),
    ("src/observe/census.rs", "spin_loop", "a view tries again, as often as its caller allows"),
    ("src/observe/look.rs", "spin_loop", "the same"),
];

/// No lock is named in the allocator or the library, and clippy forbids the types by their paths.
#[test]
fn no_lock_is_named() {
    let mut named = BTreeSet::new();
    for (path, text) in sources(&[allocator().join("src"), allocator().join("preload/src")]) {
        let code = without_tests(&without_comments_and_strings(&text));
        for word in words(&code).into_iter().filter(|word| LOCKS.contains(word)) {
            let path = path.strip_prefix(allocator()).expect("below it");
            named.insert((path.display().to_string(), word.to_owned()));
        }
    }
    let expected = NAMED.iter().map(|(path, word, _)| ((*path).to_owned(), (*word).to_owned()));
    assert_eq!(named, expected.collect());

    let clippy = std::fs::read_to_string(allocator().join("clippy.toml")).expect("clippy.toml");
    for path in ["Mutex", "RwLock", "Condvar", "Once", "OnceLock", "LazyLock"] {
        assert!(clippy.contains(&format!("\"std::sync::{path}\"")), "{path}");
    }
    assert!(clippy.contains("\"std::thread::LocalKey\""));
}

/// A loop that is added is found, whatever its form, and so is a line that nothing stands behind.
#[test]
fn what_is_missing_is_found() {
    let path = Path::new("src/place.rs");
    let found = |code: &str| -> Vec<(String, How)> {
        repeats(path, code)
            .into_iter()
            .map(|repeats| (format!("{}::{}", repeats.owner, repeats.name), repeats.how))
            .collect()
    };
    let one = |owner: &str, how| vec![(format!("{owner}::f"), how)];
    for code in [
        "impl<T: A<B>> Owner<T> { fn f() { let x = loop { match w.compare_exchange(a, b) { Ok(_) => {} } }; } }",
        "unsafe impl Word for Owner { fn f() { while w.compare_exchange_weak(a, b).is_err() {} } }",
        "impl Owner { fn f() { while old < most { if ok { return w.compare_exchange(a, b); } } } }",
    ] {
        let mut expected =
            vec![("Owner::f".to_owned(), How::Retries), ("Owner::f".to_owned(), How::Loops)];
        expected.sort();
        let mut found = found(code);
        found.sort();
        assert_eq!(found, expected, "{code}");
    }
    for (code, how) in [
        ("fn f() { while flag.load(o) {} }", How::Loops),
        ("fn f() { let x = loop { if a { break 1; } }; }", How::Loops),
        ("fn f() { for x in 0..9 { w.compare_exchange(a, b); } }", How::Counts),
        ("fn f() { w.fetch_max(1, o); }", How::Retries),
        ("fn f() { w.fetch_update(o, o, |x| Some(x)); }", How::Endless),
        ("fn f() { for x in 0.. { if g(x) { return; } } }", How::Endless),
        ("fn f() { iter::repeat(1).find(|x| g()); }", How::Endless),
    ] {
        assert_eq!(found(code), one("", how), "{code}");
    }
    for code in [
        "fn f() { while class < CLASS_COUNT { class += 1; } }",
        "fn f() { for x in 0..9 { g(x); } }",
        "fn f() { /* loop { */ g(\"loop {\", '{'); // while x {\n }",
        "#[cfg(test)] mod tests { fn f() { loop {} } }",
        "fn f() { w.compare_exchange(a, b); }",
    ] {
        assert_eq!(found(code), vec![], "{code}");
    }
    let [retries, mut bounded] = documented();
    bounded.push("nowhere::to_be_found".to_owned());
    let gone = retries.iter().skip(1).cloned().collect();
    let found = differences(&all(), &[gone, bounded]);
    assert!(found.iter().any(|line| line.starts_with("in no table")), "{found:?}");
    assert!(found.contains(&"no loop: nowhere::to_be_found".to_owned()), "{found:?}");
}
