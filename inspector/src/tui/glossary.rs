//! Words that are explained: by `x` on a figure, and by `lfinspect explain WORD`.
//!
//! Each screen keeps the terms of its own figures beside its drawing; this module gathers them, and
//! adds the words of the algorithm and of the books.

use super::class_table::Column;
use super::edge::Edge;
use super::figure::{Figure, Pane};
use super::screens::explain::{Explanation, explain};
use super::screens::{heaps, large, lints, magazines, map, overview, stream};

/// A word with what there is to say about it.
#[derive(Debug, PartialEq, Eq)]
pub struct Term {
    /// The words that ask for it, in lower case; the first is its name.
    pub words: &'static [&'static str],
    /// Its title.
    pub title: &'static str,
    /// What it is.
    pub what: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// How it is computed.
    pub how: &'static str,
    /// Whether it is exact.
    pub exact: &'static str,
}

/// Words that belong to no screen.
const GENERAL: &[Term] = &[
    Term {
        words: &["superblock", "superblocks"],
        title: "superblock",
        what: "A stretch of 64 KiB or 1 MiB that is cut into blocks of one size class. It is ACTIVE, FULL, PARTIAL or \
               EMPTY, and goes back to the system only as a whole: one live block keeps all of it [0029].",
        unit: "one superblock",
        how: "Every superblock has a descriptor, whose number it keeps for ever; lfinspect shows it as #number.",
        exact: "Each is read in one piece; a set of them is one instant only if the state is consistent.",
    },
    Term {
        words: &["descriptor", "descriptors"],
        title: "descriptor",
        what: "What the allocator knows about one superblock: its anchor, its class, where it lies. Descriptors are \
               never unmapped, so that a thread may look at one at any time [0032].",
        unit: "one descriptor",
        how: "Kept apart from the blocks, so that no program error overwrites it.",
        exact: "Read word by word; a class and an anchor that do not belong together are marked.",
    },
    Term {
        words: &["anchor", "avail", "count"],
        title: "anchor",
        what: "The word of a descriptor that every malloc and free changes by one compare-and-swap: the first free \
               block (avail), how many are free and not reserved (count), the state, and a tag [0033].",
        unit: "13 bits avail, 13 bits count, 2 bits state, 36 bits tag",
        how: "Read with one load.",
        exact: "Always: it is one word.",
    },
    Term {
        words: &["tag"],
        title: "tag",
        what: "A number in the anchor that grows with each block taken, so that a thread which was asleep cannot mistake \
               a word that came back for one that never changed (the ABA problem) [0033].",
        unit: "36 bits, wraps",
        how: "Also gives the order of a superblock's transitions.",
        exact: "Always.",
    },
    Term {
        words: &["credit", "reservation", "reserved"],
        title: "credits",
        what: "Blocks of the active superblock that a heap has reserved for the next allocations. They are free, but \
               only allocations of that heap can take them [0031].",
        unit: "blocks, or bytes of them",
        how: "The credits field of the heap's active word plus one; at most 64 for each heap and class.",
        exact: "Read with one load for each heap.",
    },
    Term {
        words: &["heap", "heaps", "heap header", "active word"],
        title: "heap",
        what: "One header for each processor and size class: it points to the ACTIVE superblock from which threads on \
               that processor allocate [0030]. Any thread may use any heap; the processor only picks one.",
        unit: "one heap header",
        how: "The active word holds the superblock's number and the credits.",
        exact: "One load.",
    },
    Term {
        words: &["magazine", "front", "cache"],
        title: "magazine",
        what: "An array of free blocks of one class for each processor, the front before the heaps. Most allocations pop a block \
               and most frees push one, in a few instructions of which none is atomic (a restartable sequence): who is interrupted \
               in the middle has done nothing.",
        unit: "blocks: 64 KiB of the class, at least 2 and at most 254",
        how: "To the superblock a block in a magazine is taken: it is counted as cached, not as live. LFALLOC_MAGAZINES=0 leaves the \
              front out; the core alone is then the allocator.",
        exact: "What a magazine holds and has counted is exact at rest.",
    },
    Term {
        words: &["depot"],
        title: "depot",
        what: "Full batches of blocks that one processor had too many of and another may need: a lock-free stack for each class, \
               bounded. A batch changes hands whole, as an array of addresses.",
        unit: "batches: 256 KiB of the class, at least 2",
        how: "An empty magazine takes a batch here before it asks the core; a full one puts one here before it gives it back.",
        exact: "Its head says how many batches there are: one word.",
    },
    Term {
        words: &["batch", "batches"],
        title: "batch",
        what: "As many blocks as a magazine gets or gives at once: half of what it holds at most.",
        unit: "blocks, 1 to 127",
        how: "From the core it takes two compare-and-swaps, back to the core one for each superblock it has blocks of.",
        exact: "Fixed when lfalloc was built.",
    },
    Term {
        words: &["drained", "drain", "closed", "purge"],
        title: "drained",
        what: "Magazines and depot are emptied into the superblocks by LfAlloc.purge(), and by an allocation that finds no memory. A \
               magazine is closed for that moment: pops find it empty, and pushes full.",
        unit: "blocks",
        how: "It is closed, its processor is told to abort what it has begun, and what is in it is taken if nobody was faster. Blocks of a closed \
              magazine are in hand.",
        exact: "A thread that dies in the middle leaves the magazines of one processor closed, which in hand shows.",
    },
    Term {
        words: &["partial list", "partial lists"],
        title: "partial list",
        what: "Where PARTIAL superblocks wait for a heap that needs one. A heap without an ACTIVE superblock looks \
               here before it takes a new one [0064].",
        unit: "superblocks",
        how: "A lock-free list for each class.",
        exact: "The census counts states, not lists: a superblock between two lists is in hand.",
    },
    Term {
        words: &["size class", "class", "classes"],
        title: "size class",
        what: "Requests are rounded up to one of 60 block sizes; all blocks of a superblock have one size. What is \
               larger than 128 KiB gets a mapping of its own.",
        unit: "bytes of a block",
        how: "The smallest class that fits the request and its alignment.",
        exact: "Fixed when lfalloc was built.",
    },
    Term {
        words: &["fragmentation", "external fragmentation", "external"],
        title: "external fragmentation",
        what: "Free memory in superblocks that cannot go back to the system, since other blocks of the same superblock \
               are live. It is lost unless the program asks for blocks of that class again.",
        unit: "bytes; EXT% is its share",
        how: "EXT% = (free + credits) / bytes of superblocks that are not EMPTY.",
        exact: "Exact when the state is consistent.",
    },
    Term {
        words: &["internal fragmentation", "internal", "rounding", "slack"],
        title: "internal fragmentation",
        what: "What a block is larger than the request: rounding up to the size class. It counts as live, since the \
               block is the program's.",
        unit: "bytes",
        how: "Requested sizes are sampled when a heap reserves new blocks; the mean is applied to the live blocks.",
        exact: "An estimate: its error is that of a mean over samples of allocations, not of live blocks.",
    },
    Term {
        words: &["pin", "pinned", "pins", "pinned superblock"],
        title: "pinned superblock",
        what: "A superblock that few live blocks keep from going back to the system: less than a tenth of it is in use. \
               Typical causes are caches and sessions whose entries were allocated among short-lived objects.",
        unit: "superblocks, and the bytes they hold",
        how: "Live blocks of each superblock against the blocks it has. Cached ones count as live, since they pin it as well.",
        exact: "Exact when the state is consistent.",
    },
    Term {
        words: &["compaction", "savings"],
        title: "compaction savings",
        what: "What would be free if the live blocks of a class lay in as few superblocks as possible. No allocator for C or \
               Rust can move blocks: it is a measure of what is lost, and of what a restart would give back.",
        unit: "superblocks, or bytes of them",
        how: "Superblocks in use less live and cached blocks divided by blocks of a superblock, rounded up.",
        exact: "Exact when the state is consistent.",
    },
    Term {
        words: &["census", "snapshot", "state"],
        title: "census",
        what: "One walk over every class, heap, superblock and large block. Nothing is stopped for it: if something moved \
               meanwhile it is repeated, and then shown as it was read.",
        unit: "one state",
        how: "The agent takes one for all viewers that are due.",
        exact: "Consistent: one instant, to the block. Otherwise every figure is right for some moment.",
    },
    Term {
        words: &["agent"],
        title: "agent",
        what: "The thread within the program that answers viewers over a local socket. It asks for no memory of the \
               program's heap, and sleeps while nobody is attached.",
        unit: "one thread",
        how: "Started by lfalloc_agent::start(), ended when its guard is dropped.",
        exact: "Its own cost is shown in the header.",
    },
    Term {
        words: &["gap", "drops", "lost"],
        title: "gap",
        what: "States or transitions that this viewer did not get: it was too slow, or they were overwritten before they \
               were read. The program never waits for a viewer.",
        unit: "states, transitions",
        how: "Counted by the agent and told in the stream; a full state follows a gap.",
        exact: "The number is exact; what was lost is not known.",
    },
    Term {
        words: &["lock-free", "lockfree"],
        title: "lock-free",
        what: "Whatever one thread does – crash, sleep, be interrupted anywhere – every other thread still gets its \
               memory. A failed compare-and-swap means that another thread got on.",
        unit: "a property",
        how: "Every retry loop names whose progress makes it fail: see ARCHITECTURE.md.",
        exact: "Checked by models of every race, and by threads that are stopped at every step.",
    },
];

/// Every term.
pub fn terms() -> impl Iterator<Item = &'static Term> {
    let history = std::slice::from_ref(&overview::HISTORY);
    [
        GENERAL,
        map::TERMS,
        heaps::TERMS,
        magazines::TERMS,
        large::TERMS,
        stream::TERMS,
        lints::TERMS,
        history,
    ]
    .into_iter()
    .flatten()
}

impl Term {
    /// What there is to say about it.
    #[must_use]
    pub fn explanation(&self) -> Explanation {
        let Self { title, what, unit, how, exact, .. } = *self;
        Explanation { title: title.to_owned(), what, unit, how, exact }
    }
}

/// Every figure of the screens that has no term of its own.
fn figures() -> impl Iterator<Item = Figure> {
    let panes = Pane::ALL.into_iter().flat_map(|pane| pane.figures().iter().copied());
    let columns = Column::ALL.into_iter().map(Figure::Column);
    let edges = Edge::ALL.into_iter().map(Figure::Edge);
    panes.chain(columns).chain(edges).chain([Figure::Events])
}

/// Lower case, with a plain minus and single spaces.
fn plain(word: &str) -> String {
    let word = word.replace('−', "-").to_lowercase();
    word.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The words by which the figure of that title is asked for: `partial`, `active to full`.
fn name_of(title: &str) -> String {
    let title = plain(title);
    let name = title.split(':').next().unwrap_or_default();
    name.strip_suffix(" superblocks").unwrap_or(name).to_owned()
}

/// What `word` means: a term by one of its words, else a figure by its title. Upper and lower case
/// are the same.
#[must_use]
pub fn look_up(word: &str) -> Option<Explanation> {
    let word = plain(word);
    let figure = || {
        let mut explained = figures().map(explain);
        explained.find(|explanation| name_of(&explanation.title) == word)
    };
    let term = terms().find(|term| term.words.contains(&word.as_str()));
    term.map(Term::explanation).or_else(figure)
}

/// Every word that [`look_up`] knows by its first name, in alphabetical order.
#[must_use]
pub fn words() -> Vec<String> {
    let titles = figures().map(|figure| name_of(&explain(figure).title));
    let mut words: Vec<String> =
        terms().map(|term| term.words[0].to_owned()).chain(titles).collect();
    words.sort_unstable();
    words.dedup();
    words
}

#[cfg(test)]
mod tests {
    //! Aim: every word that is listed is known, and no two terms claim the same one.
    use super::*;

    #[test]
    fn every_listed_word_is_known() {
        for word in words() {
            let found = look_up(&word).unwrap_or_else(|| panic!("{word} is listed"));
            for text in [found.what, found.unit, found.how, found.exact] {
                assert!(!text.is_empty(), "{word}");
            }
        }
        assert!(words().len() > 50, "{}", words().len());
    }

    #[test]
    fn words_are_claimed_once_and_in_lower_case() {
        let mut all: Vec<&str> = terms().flat_map(|term| term.words.iter().copied()).collect();
        assert!(all.iter().all(|word| plain(word) == *word), "{all:?}");
        let before = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), before);
    }

    #[test]
    fn words_are_found_however_they_are_written() {
        for word in ["PARTIAL", "partial", "Credits", "EXT%", "allocations - frees", "Anchor"] {
            assert!(look_up(word).is_some(), "{word}");
        }
        assert_eq!(look_up("external").unwrap().title, "external fragmentation");
        assert_eq!(look_up("no such word"), None);
    }
}
