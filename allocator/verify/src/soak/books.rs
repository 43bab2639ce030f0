//! The library's own figures (`lfalloc.h`), and where its code lies.

use std::ffi::{CStr, c_longlong, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::require;
use crate::soak::board::board;

/// What `lfalloc_totals` fills in.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    mapped_bytes: u64,
    live_bytes: u64,
    superblock_bytes: u64,
    allocations: u64,
    frees: u64,
    in_hand: u64,
    foreign_frees: u64,
}

/// A function of the process by its name; `None` if there is none.
///
/// # Safety
/// `F` is the type of that function.
pub unsafe fn function<F: Copy>(name: &CStr) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    // SAFETY: a name that ends with a zero byte (dlsym(3)).
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    // SAFETY: the caller's: a function of that type.
    (!found.is_null()).then(|| unsafe { std::mem::transmute_copy(&found) })
}

/// What a thread that died inside may keep mapped: a superblock, and what lies in superblocks with its blocks.
const BYTES_OF_DEATH: u64 = 256 << 10;

/// What the library counted when a soak began, or 0 under another.
#[derive(Debug)]
pub struct Books {
    totals: Option<unsafe extern "C" fn(*mut c_void, usize)>,
    purge: Option<extern "C" fn() -> c_longlong>,
    begun: Totals,
}

impl Books {
    /// Opens them: from now on everything that is allocated is to be freed before they are closed.
    #[must_use]
    pub fn open() -> Self {
        // SAFETY: lfalloc.h.
        let totals = unsafe { function(c"lfalloc_totals") };
        // SAFETY: lfalloc.h.
        let purge = unsafe { function(c"lfalloc_purge") };
        let mut books = Self { totals, purge, begun: Totals::default() };
        books.begun = books.purged();
        // What was looked at to warm up does not count.
        board().checked.store(0, Ordering::Relaxed);
        books
    }

    fn purged(&self) -> Totals {
        if let Some(purge) = self.purge {
            purge();
        }
        self.read()
    }

    fn read(&self) -> Totals {
        let mut read = Totals::default();
        if let Some(totals) = self.totals {
            // SAFETY: room for as many bytes.
            unsafe { totals((&raw mut read).cast(), size_of::<Totals>()) };
        }
        read
    }

    /// Blocks that are live beyond those at the start, when nothing is under way, and what threads died with.
    #[must_use]
    pub fn difference(&self) -> (i64, i64) {
        let now = self.read();
        let live = |totals: &Totals| totals.allocations.wrapping_sub(totals.frees).cast_signed();
        let in_hand = now.in_hand.wrapping_sub(self.begun.in_hand).cast_signed();
        (live(&now) - live(&self.begun), in_hand)
    }

    /// Closes them, when everything is freed and nothing is under way: as many blocks are live as at the start, and nothing is in
    /// hand. Of each of `deaths`, threads that ended inside the allocator, at most so many blocks and containers are missing.
    pub fn close(&self, deaths: u64, blocks_each: u64, in_hand_each: u64) {
        if self.totals.is_none() {
            return;
        }
        let end = self.purged();
        let (live, in_hand) = self.difference();
        let board = board();
        board.live.store(live.unsigned_abs(), Ordering::Relaxed);
        board.in_hand.store(in_hand.unsigned_abs(), Ordering::Relaxed);
        let mapped = end.mapped_bytes.saturating_sub(self.begun.mapped_bytes);
        board.mapped.store(mapped, Ordering::Relaxed);
        board.balanced.store(1, Ordering::Relaxed);
        // Tables grow, and are kept.
        let most_mapped = (16 << 20) + deaths * BYTES_OF_DEATH;
        require!(
            mapped <= most_mapped,
            "{mapped} bytes more are mapped than at the start; {deaths} threads died"
        );
        require!(
            live.unsigned_abs() <= deaths * blocks_each,
            "{live} blocks more are live than at the start, of {} handed out; {deaths} threads died",
            end.allocations - self.begun.allocations
        );
        require!(
            in_hand >= 0 && in_hand.unsigned_abs() <= deaths * in_hand_each,
            "{in_hand} superblocks, large blocks or batches are in hand; {deaths} threads died"
        );
        let foreign = end.foreign_frees;
        require!(foreign == 0, "{foreign} pointers were none of the library's");
    }
}

/// Where the code of the library lies: begin and end.
static TEXT: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

/// Looks where the code of the library lies that malloc(3) is of; before signals come.
pub fn find_text() {
    // SAFETY: a name that ends with a zero byte (dlsym(3)).
    let malloc = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"malloc".as_ptr()) }.addr();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let ranges = maps.lines().filter(|line| line.contains(" r-xp ")).filter_map(|line| {
        let (begin, end) = line.split(' ').next()?.split_once('-')?;
        Some([begin, end].map(|digits| usize::from_str_radix(digits, 16).unwrap_or(0)))
    });
    for [begin, end] in ranges.filter(|[begin, end]| (*begin..*end).contains(&malloc)) {
        TEXT[0].store(begin, Ordering::Relaxed);
        TEXT[1].store(end, Ordering::Relaxed);
    }
}

/// Where in the library an address lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Not in it.
    Outside,
    /// In its code.
    Inside,
    /// Where a restartable sequence goes on that was aborted: what a signal shows that landed in one.
    Aborted,
}

/// Where an address lies.
#[must_use]
pub fn place(address: usize) -> Place {
    /// The kernel aborts to nowhere but behind these four bytes (`RSEQ_SIG`, rseq(2)).
    const SIGNATURE: u32 = 0x5305_3053;
    let [begin, end] = TEXT.each_ref().map(|word| word.load(Ordering::Relaxed));
    if !(begin..end).contains(&address) {
        return Place::Outside;
    }
    if address < begin + 4 {
        return Place::Inside;
    }
    let before: *const u32 = std::ptr::with_exposed_provenance(address - 4);
    // SAFETY: within the library's code, which may be read.
    if unsafe { before.read_unaligned() } == SIGNATURE { Place::Aborted } else { Place::Inside }
}
