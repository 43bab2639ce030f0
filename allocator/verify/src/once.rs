//! Models of what is small: leaves of the page map, chunks of tables, the intervals after which memory goes back, and the
//! preload library's arena. The shipped procedures over model atomics; what is mapped is made up, and zeroed by the kernel with plain stores, so that
//! only what publishes it makes that seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use lfalloc::decay::{self, Intervals, Words};
use lfalloc::once::{self, MadeOnce};
use lfalloc::page_map::{self, Entry, Tree};
use lfalloc::pieces::{self, Pieces};
use lfalloc::platform::{SuperblockId, Word};
use lfalloc::table::{self, Records};
use loom::cell::UnsafeCell;

use crate::machine::{Atomics, Loom};

/// Bound on preemptions of the models here.
pub const PREEMPTIONS: usize = 3;

type LoomWord = <Loom as Atomics>::Word;

/// Faults of what is made once, by number.
pub const ONCE_FAULTS: [once::Fault; 6] = [
    once::Fault::None,
    once::Fault::PublishRelaxed,
    once::Fault::FindRelaxed,
    once::Fault::LoserKeepsItsOwn,
    once::Fault::LoserLeaks,
    once::Fault::PublishedOver,
];

/// Faults of tables, by number.
pub const TABLE_FAULTS: [table::Fault; 4] = [
    table::Fault::None,
    table::Fault::LengthFirst,
    table::Fault::LengthRelaxed,
    table::Fault::LengthStored,
];

/// Faults of the arena's stacks, by number.
pub const PIECES_FAULTS: [pieces::Fault; 4] = [
    pieces::Fault::None,
    pieces::Fault::TagKept,
    pieces::Fault::PushRelaxed,
    pieces::Fault::PopRelaxed,
];

/// Faults of intervals, by number.
pub const DECAY_FAULTS: [decay::Fault; 5] = [
    decay::Fault::None,
    decay::Fault::BeganStored,
    decay::Fault::EndedLoaded,
    decay::Fault::DueClearedAfter,
    decay::Fault::DueRelaxed,
];

/// Memory that the kernel maps: pages with a place for each thread that maps one.
struct Pages {
    /// Where a page leads to: its number + 1.
    words: Vec<LoomWord>,
    /// What lies in the pages: two words each; and whether the kernel has zeroed them.
    places: Vec<[LoomWord; 2]>,
    zeroed: Vec<UnsafeCell<bool>>,
    mapped: AtomicUsize,
    unmapped: AtomicUsize,
}

// SAFETY: loom's cells check every access.
unsafe impl Sync for Pages {}
// SAFETY: as above.
unsafe impl Send for Pages {}

impl Pages {
    fn new(words: usize, pages: usize) -> Self {
        Self {
            words: (0..words).map(|_| Loom::word(0)).collect(),
            places: (0..pages).map(|_| [Loom::word(0), Loom::word(0)]).collect(),
            zeroed: (0..pages).map(|_| UnsafeCell::new(false)).collect(),
            mapped: AtomicUsize::new(0),
            unmapped: AtomicUsize::new(0),
        }
    }

    /// The page that a word led to; what it held before must be seen to be gone.
    fn page(&self, made: u64) -> usize {
        let page = made as usize - 1;
        // SAFETY: checked by loom: only the kernel writes, before anybody knows of the page.
        let is_zeroed = self.zeroed[page].with(|zeroed| unsafe { *zeroed });
        assert!(is_zeroed, "a page is used that is not there any more, or not yet");
        page
    }

    /// At rest there is one page for every word that leads to one.
    fn check(&self) {
        let led_to = self.words.iter().filter(|word| word.load(Ordering::Relaxed) != 0).count();
        let left = self.mapped.load(Ordering::Relaxed) - self.unmapped.load(Ordering::Relaxed);
        assert_eq!(led_to, left, "pages that are led to, and pages that are mapped");
    }
}

/// A word of those pages that leads to one. `FAULT` is an index into [`ONCE_FAULTS`].
pub struct Lead<const FAULT: usize> {
    pages: Arc<Pages>,
    word: usize,
}

impl<const FAULT: usize> MadeOnce for Lead<FAULT> {
    type Word = LoomWord;
    const FAULT: once::Fault = ONCE_FAULTS[FAULT];

    fn word(&self) -> &LoomWord {
        &self.pages.words[self.word]
    }
    fn map(&self) -> Option<u64> {
        let page = self.pages.mapped.fetch_add(1, Ordering::Relaxed);
        // SAFETY: checked by loom.
        self.pages.zeroed[page].with_mut(|zeroed| unsafe { *zeroed = true });
        Some(page as u64 + 1)
    }
    unsafe fn unmap(&self, made: u64) {
        self.pages.unmapped.fetch_add(1, Ordering::Relaxed);
        // SAFETY: checked by loom.
        self.pages.zeroed[made as usize - 1].with_mut(|zeroed| unsafe { *zeroed = false });
    }
}

/// A page map of one leaf, of which the granules 0 and 1 are used. `FAULT` is an index into [`ONCE_FAULTS`].
struct Map<const FAULT: usize>(Arc<Pages>);

impl<const FAULT: usize> Tree for Map<FAULT> {
    type Word = LoomWord;
    type Root = Lead<FAULT>;

    fn root(&self, root: usize) -> Option<Lead<FAULT>> {
        (root == 0).then(|| Lead { pages: Arc::clone(&self.0), word: root })
    }
    fn entry(&self, leaf: u64, granule: usize) -> &LoomWord {
        let page = self.0.page(leaf);
        &self.0.places[page][granule]
    }
    fn key(&self, leaf: u64, granule: usize) -> u16 {
        self.entry(leaf, granule).load(Ordering::Relaxed) as u16
    }
    fn set_key(&self, leaf: u64, granule: usize, key: u16) {
        self.entry(leaf, granule).store(u64::from(key), Ordering::Relaxed);
    }
}

fn threads(bodies: Vec<Box<dyn FnOnce() + Send>>) {
    let joins: Vec<_> = bodies.into_iter().map(Loom::spawn).collect();
    for join in joins {
        join();
    }
}

const GRANULE: usize = 64 << 10;

/// Two threads get memory in the same 4 GiB and enter it; one hands it to a third, which looks it up and takes it out; the
/// other looks it up itself.
///
/// # Panics
/// If the fault shows.
pub fn page_map<const FAULT: usize>() {
    let pages = Arc::new(Pages::new(1, 3));
    let handed_over = Arc::new(Loom::word(0));
    let large = |granule: usize| Entry::Large(granule as u32);
    let enter = move |pages: &Arc<Pages>, granule: usize| {
        let map = Map::<FAULT>(Arc::clone(pages));
        let address = granule * GRANULE;
        assert!(page_map::prepare_in(&map, address, GRANULE).is_some());
        page_map::set_in(&map, address, 1, large(granule));
    };
    let (first, second, third) = (Arc::clone(&pages), Arc::clone(&pages), Arc::clone(&pages));
    let (given, taken) = (Arc::clone(&handed_over), handed_over);
    threads(vec![
        Box::new(move || {
            enter(&first, 0);
            given.store(1, Ordering::Release);
        }),
        Box::new(move || {
            enter(&second, 1);
            let map = Map::<FAULT>(second);
            let found = page_map::lookup_in(&map, GRANULE + 5);
            assert_eq!(found, large(1), "what was entered is not found");
        }),
        Box::new(move || {
            let map = Map::<FAULT>(third);
            // An address of nobody's, at any time: it is foreign, or the other's, and no page is looked at before it is there.
            let found = page_map::lookup_in(&map, GRANULE);
            assert!(found == Entry::Foreign || found == large(1), "{found:?} in a new leaf");
            if taken.load(Ordering::Acquire) == 1 {
                assert_eq!(page_map::lookup_in(&map, 7), large(0), "the block of another thread");
                page_map::set_in(&map, 0, 1, Entry::Superblock(SuperblockId(9)));
                assert_eq!(page_map::lookup_in(&map, 7), Entry::Superblock(SuperblockId(9)));
            }
        }),
    ]);
    pages.check();
}

/// A table over those pages. `FAULT` is an index into [`TABLE_FAULTS`].
struct Numbers<const FAULT: usize> {
    pages: Arc<Pages>,
    length: Arc<LoomWord>,
}

impl<const FAULT: usize> Records for Numbers<FAULT> {
    type Word = LoomWord;
    type Chunk = Lead<0>;
    const FAULT: table::Fault = TABLE_FAULTS[FAULT];

    fn length(&self) -> &LoomWord {
        &self.length
    }
    fn chunk(&self, chunk: usize) -> Option<Lead<0>> {
        (chunk < 2).then(|| Lead { pages: Arc::clone(&self.pages), word: chunk })
    }
}

/// Two threads take 40 numbers each, the second of them over the end of the first chunk, while a third reads what there is.
///
/// # Panics
/// If the fault shows.
pub fn table<const FAULT: usize>() {
    let pages = Arc::new(Pages::new(2, 4));
    let length = Arc::new(Loom::word(0));
    let firsts = Arc::new(std::sync::Mutex::new(Vec::new()));
    let numbers = || Numbers::<FAULT> { pages: Arc::clone(&pages), length: Arc::clone(&length) };
    let is_there = |numbers: &Numbers<FAULT>, id: u32| {
        // As `Table::get`, which knows no word that is 0.
        let chunk = numbers.chunk(table::locate(id).0);
        let made = chunk.and_then(|chunk| once::find(&chunk));
        let Some(made) = made else { panic!("record {id} has no chunk") };
        numbers.pages.page(made);
    };
    let taker = |numbers: Numbers<FAULT>| {
        let firsts = Arc::clone(&firsts);
        Box::new(move || {
            let Some(first) = table::extend(&numbers, 40) else { panic!("no memory") };
            is_there(&numbers, first);
            is_there(&numbers, first + 39);
            if let Ok(mut firsts) = firsts.lock() {
                firsts.push(first);
            }
        })
    };
    let reader = numbers();
    threads(vec![
        taker(numbers()),
        taker(numbers()),
        Box::new(move || {
            if let Some(last) = table::length(&reader).checked_sub(1) {
                is_there(&reader, last);
            }
        }),
    ]);
    let mut firsts = firsts.lock().map(|firsts| firsts.clone()).unwrap_or_default();
    firsts.sort_unstable();
    assert_eq!(firsts, [0, 40], "numbers were handed out twice");
    pages.check();
}

/// Intervals that somebody ends. `FAULT` is an index into [`DECAY_FAULTS`].
struct Clock<const FAULT: usize> {
    words: Words<LoomWord>,
    now: AtomicU64,
    ended: AtomicI64,
}

impl<const FAULT: usize> Intervals for Clock<FAULT> {
    type Word = LoomWord;
    const FAULT: decay::Fault = DECAY_FAULTS[FAULT];

    fn words(&self) -> &Words<LoomWord> {
        &self.words
    }
    fn now_ticks(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }
    fn interval_ticks(&self) -> u64 {
        10
    }
    fn end(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }
    fn give_back_surplus(&self) -> bool {
        false
    }
}

/// An interval has passed, and there is a surplus of before; two threads have events and settle them. One of them ends it.
///
/// # Panics
/// If the fault shows.
pub fn decay<const FAULT: usize>() {
    let word = |value| Loom::word(value);
    let clock = Arc::new(Clock::<FAULT> {
        words: Words { began: word(5), has_ended: word(0), is_surplus: word(1), is_due: word(1) },
        now: AtomicU64::new(16),
        ended: AtomicI64::new(0),
    });
    let eventful = || {
        let clock = Arc::clone(&clock);
        let body: Box<dyn FnOnce() + Send> = Box::new(move || {
            decay::event_in(&*clock);
            if decay::is_due(&*clock) {
                decay::give_back(&*clock);
            }
        });
        body
    };
    threads(vec![eventful(), eventful()]);
    let ended = clock.ended.load(Ordering::Relaxed);
    assert_eq!(ended, 1, "one interval has passed, and {ended} were ended");
}

/// A stack of pieces, each with a cell that its owner writes to. `FAULT` is an index into [`PIECES_FAULTS`].
struct Stack<const FAULT: usize> {
    head: LoomWord,
    links: Vec<LoomWord>,
    cells: Vec<UnsafeCell<u64>>,
}

// SAFETY: loom's cells check every access.
unsafe impl<const FAULT: usize> Sync for Stack<FAULT> {}
// SAFETY: as above.
unsafe impl<const FAULT: usize> Send for Stack<FAULT> {}

impl<const FAULT: usize> Pieces for Stack<FAULT> {
    type Word = LoomWord;
    const FAULT: pieces::Fault = PIECES_FAULTS[FAULT];
    const TAG_BITS: u32 = 3;

    fn head(&self) -> &LoomWord {
        &self.head
    }
    fn link(&self, piece: u64) -> &LoomWord {
        &self.links[piece as usize - 1]
    }
    fn pause(&self) {
        Loom::yield_now();
    }
}

impl<const FAULT: usize> Stack<FAULT> {
    fn pop(&self) -> Option<u64> {
        let piece = pieces::pop(self)?;
        // The owner writes to all of it, over the link, too.
        self.link(piece).store(u64::MAX, Ordering::Relaxed);
        // SAFETY: checked by loom: the piece is this thread's.
        self.cells[piece as usize - 1].with_mut(|cell| unsafe { *cell += 1 });
        Some(piece)
    }
}

/// Three pieces; one thread pops one while another pops two and pushes the first of them back. Each comes out once.
///
/// # Panics
/// If the fault shows.
pub fn pieces<const FAULT: usize>() {
    let stack = Arc::new(Stack::<FAULT> {
        head: Loom::word(0),
        links: (0..3).map(|_| Loom::word(0)).collect(),
        cells: (0..3).map(|_| UnsafeCell::new(0)).collect(),
    });
    for piece in 1..=3 {
        pieces::push(&*stack, piece);
    }
    let held = Arc::new(std::sync::Mutex::new(Vec::new()));
    let keep = |held: &std::sync::Mutex<Vec<u64>>, pieces: Vec<u64>| {
        if let Ok(mut held) = held.lock() {
            held.extend(pieces);
        }
    };
    let (first, second) = (Arc::clone(&stack), Arc::clone(&stack));
    let (firsts, seconds) = (Arc::clone(&held), Arc::clone(&held));
    threads(vec![
        Box::new(move || keep(&firsts, first.pop().into_iter().collect())),
        Box::new(move || {
            let (one, another) = (second.pop(), second.pop());
            if let Some(piece) = one {
                pieces::push(&*second, piece);
            }
            keep(&seconds, another.into_iter().collect());
        }),
    ]);
    let mut all = held.lock().map(|held| held.clone()).unwrap_or_default();
    while let Some(piece) = stack.pop() {
        all.push(piece);
        assert!(all.len() <= 3, "more pieces came out than there are");
    }
    all.sort_unstable();
    assert_eq!(all, [1, 2, 3], "the pieces that came out");
}
