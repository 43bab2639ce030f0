//! What a soak tells its supervisor: a page that both map, so that it outlives the soak, and that a signal's handler and a
//! forked child can write to.
//!
//! *Lanes* are the threads that must go on: each that is in use has to move within the supervisor's patience.

use std::fmt::{self, Write};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Figures of a soak's own, at most.
pub const FIGURES: usize = 8;
/// Lanes at most.
pub const LANES: usize = 192;
/// Bytes of what went wrong.
const TEXT_BYTES: usize = 1024;

// All orderings are Relaxed but those of the text: counters, which publish nothing.

/// The page. All zero: nothing done.
#[repr(C)]
#[derive(Debug)]
pub struct Board {
    /// How far it is, of `goal`,
    pub done: AtomicU64,
    /// which is this.
    pub goal: AtomicU64,
    /// The soak's own figures, named in its entry in the catalogue.
    pub figures: [AtomicU64; FIGURES],
    /// Looks at blocks, each of which found what it should.
    pub checked: AtomicU64,
    /// Blocks that are not where they were at the start, when everything is freed.
    pub live: AtomicU64,
    /// What threads died with, by the library's count.
    pub in_hand: AtomicU64,
    /// Bytes mapped at the end beyond those at the start.
    pub mapped: AtomicU64,
    /// Whether the library's figures were looked at.
    pub balanced: AtomicU64,
    /// Two times how often it moved, and one while it is in use.
    lanes: [AtomicU64; LANES],
    /// Whether something went wrong: 1 while the text is written, then 2.
    failed: AtomicU32,
    text: [AtomicU8; TEXT_BYTES],
}

impl Board {
    /// Maps the page behind a descriptor, which has room for it.
    ///
    /// # Errors
    /// When the system does not.
    pub fn map(descriptor: RawFd) -> std::io::Result<&'static Self> {
        let (bytes, access) = (size_of::<Self>(), libc::PROT_READ | libc::PROT_WRITE);
        let place = std::ptr::null_mut();
        // SAFETY: a new mapping touches no existing one (mmap(2)).
        let page = unsafe { libc::mmap(place, bytes, access, libc::MAP_SHARED, descriptor, 0) };
        if page == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: mapped for good; atomics of any bytes are valid, and all that touches them are these atomics.
        Ok(unsafe { &*page.cast::<Self>() })
    }

    /// A lane for the calling thread.
    ///
    /// # Panics
    /// When there is none left.
    pub fn lane(&'static self) -> Lane {
        let free = |lane: &&AtomicU64| {
            let found = lane.load(Ordering::Relaxed);
            let taken =
                lane.compare_exchange(found, found | 1, Ordering::Relaxed, Ordering::Relaxed);
            found & 1 == 0 && taken.is_ok()
        };
        Lane(self.lanes.iter().find(free).expect("lanes are left"))
    }

    /// The lanes as they are; those in use are odd.
    pub fn lanes(&self) -> impl Iterator<Item = u64> {
        self.lanes.iter().map(|lane| lane.load(Ordering::Relaxed))
    }

    /// Says what went wrong, unless something did before. Allocates nothing.
    pub fn fail(&self, what: fmt::Arguments) {
        let order = Ordering::Relaxed;
        if self.failed.compare_exchange(0, 1, order, order).is_err() {
            return;
        }
        // A text that is too long is cut.
        let _ = Writer { board: self, at: 0 }.write_fmt(what);
        // Release: pairs with the Acquire in `failure`.
        self.failed.store(2, Ordering::Release);
    }

    /// What went wrong, if anything has.
    pub fn failure(&self) -> Option<String> {
        // Acquire: pairs with the Release in `fail`.
        if self.failed.load(Ordering::Acquire) == 0 {
            return None;
        }
        let bytes = self.text.iter().map(|byte| byte.load(Ordering::Relaxed));
        let bytes: Vec<u8> = bytes.take_while(|byte| *byte != 0).collect();
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

struct Writer<'a> {
    board: &'a Board,
    at: usize,
}

impl Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.board.text.get(self.at).ok_or(fmt::Error)?.store(byte, Ordering::Relaxed);
            self.at += 1;
        }
        Ok(())
    }
}

/// A thread that must go on; when it is dropped, it need not any more.
#[derive(Debug)]
pub struct Lane(&'static AtomicU64);

impl Lane {
    /// It did.
    pub fn moved(&self) {
        self.0.fetch_add(2, Ordering::Relaxed);
    }

    /// Does something for which it may take as long as it likes.
    pub fn unwatched(&self, something: impl FnOnce()) {
        self.0.fetch_and(!1, Ordering::Relaxed);
        something();
        self.0.fetch_or(1, Ordering::Relaxed);
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.0.fetch_and(!1, Ordering::Relaxed);
    }
}

static BOARD: AtomicPtr<Board> = AtomicPtr::new(std::ptr::null_mut());

/// Makes it the board of this process.
pub fn hang(board: &'static Board) {
    BOARD.store(std::ptr::from_ref(board).cast_mut(), Ordering::Release);
}

/// The board of this process.
///
/// # Panics
/// Before there is one.
#[must_use]
pub fn board() -> &'static Board {
    let board = BOARD.load(Ordering::Acquire);
    assert!(!board.is_null(), "a soak has a board");
    // SAFETY: `hang` stored a reference that is valid for good.
    unsafe { &*board }
}

/// Says what went wrong and ends the process, also from a signal's handler and in a child.
pub fn fail(what: fmt::Arguments) -> ! {
    board().fail(what);
    std::process::abort();
}

/// Ends the process with a text on the board, unless something holds. Works in a signal's handler.
#[macro_export]
macro_rules! require {
    ($holds:expr, $($text:tt)+) => {
        if !$holds {
            $crate::soak::board::fail(format_args!($($text)+));
        }
    };
}
