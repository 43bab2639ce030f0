//! What survivors do while the victim stands still: every kind of operation, in many classes, contents checked.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use super::api::Api;
use super::mark;
use super::wire::SURVIVORS;

/// Blocks of each of these sizes are held by every survivor over several batteries.
const SIZES: [usize; 10] = [16, 64, 100, 1_000, 8_192, 20_000, 40_000, 100_000, 300_000, 1 << 20];
/// Blocks that a survivor holds over batteries.
const KEPT: usize = 2 * SIZES.len();
/// More than a magazine holds, and so many bytes at least: a refill and a flush are in it.
const CHURNED: usize = 260;
const CHURNED_BYTES: usize = 2 * (64 << 10) + 4_096;

/// What a survivor is about to call: told when it waits there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Doing {
    Nothing,
    Malloc,
    Free,
    RemoteFree,
    Calloc,
    Realloc,
    AlignedAlloc,
    PosixMemalign,
    Look,
    Trim,
}

const ALL: [(Doing, &str); 10] = [
    (Doing::Nothing, "nothing of the allocator's"),
    (Doing::Malloc, "malloc"),
    (Doing::Free, "free"),
    (Doing::RemoteFree, "free of another thread's block"),
    (Doing::Calloc, "calloc"),
    (Doing::Realloc, "realloc"),
    (Doing::AlignedAlloc, "aligned_alloc"),
    (Doing::PosixMemalign, "posix_memalign"),
    (Doing::Look, "mallinfo2"),
    (Doing::Trim, "malloc_trim"),
];

/// The name of what is that number.
pub(super) fn name_of(doing: u64) -> &'static str {
    ALL.iter().find(|(call, _)| *call as u64 == doing).map_or("something", |(_, name)| name)
}

/// By survivor.
static DOING: [AtomicU32; SURVIVORS] = [const { AtomicU32::new(0) }; SURVIVORS];

/// What a survivor is about to call.
pub(super) fn doing(survivor: usize) -> u64 {
    u64::from(DOING[survivor].load(Ordering::Relaxed))
}

/// Blocks on the way from one survivor to the next.
static MAIL: [AtomicUsize; SURVIVORS] = [const { AtomicUsize::new(0) }; SURVIVORS];
const MAIL_BYTES: usize = 64;
const MAIL_OWNER: u64 = 55;

struct Kept {
    address: usize,
    size: usize,
    owner: u64,
}

/// A thread that goes on.
pub(super) struct Survivor {
    number: usize,
    api: Api,
    /// Size of the blocks that the victim's operation is about.
    size: usize,
    kept: VecDeque<Kept>,
    churned: Vec<usize>,
    serial: u64,
    calls: u64,
}

impl Survivor {
    pub(super) fn new(number: usize, api: Api, size: usize) -> Self {
        Self {
            number,
            api,
            size,
            kept: VecDeque::with_capacity(KEPT + SIZES.len()),
            churned: Vec::with_capacity(CHURNED),
            serial: 0,
            calls: 0,
        }
    }

    fn call<T>(&mut self, doing: Doing, call: impl FnOnce(&Api) -> T) -> T {
        // Relaxed: a report for people.
        DOING[self.number].store(doing as u32, Ordering::Relaxed);
        let result = call(&self.api);
        DOING[self.number].store(Doing::Nothing as u32, Ordering::Relaxed);
        self.calls += 1;
        result
    }

    fn malloc(&mut self, size: usize) -> usize {
        got(self.call(Doing::Malloc, |api| (api.malloc)(size)).expose_provenance(), 16)
    }

    fn free(&mut self, doing: Doing, address: usize) {
        let block = std::ptr::with_exposed_provenance_mut(address);
        // SAFETY: every caller gives up a block of its own.
        self.call(doing, |api| unsafe { (api.free)(block) });
    }

    /// A battery; how many calls that were.
    pub(super) fn battery(&mut self) -> u64 {
        self.calls = 0;
        self.keep();
        self.churn();
        self.zeroed();
        self.resized();
        self.aligned();
        self.exchange();
        let looks = self.call(Doing::Look, Api::look);
        self.calls += looks;
        if self.number + 1 == SURVIVORS {
            self.call(Doing::Trim, Api::trim);
        }
        self.calls
    }

    /// A block of every size, held for two batteries.
    fn keep(&mut self) {
        for size in SIZES {
            self.serial += 1;
            let owner = (self.number as u64 + 1) << 40 | self.serial;
            let address = self.malloc(size);
            // SAFETY: just allocated.
            unsafe { mark::write(address, size, owner) };
            self.kept.push_back(Kept { address, size, owner });
        }
        while self.kept.len() > KEPT {
            self.give_first();
        }
    }

    fn give_first(&mut self) {
        if let Some(Kept { address, size, owner }) = self.kept.pop_front() {
            // SAFETY: this survivor's.
            unsafe { mark::check(address, size, owner) };
            self.free(Doing::Free, address);
        }
    }

    /// Blocks of the victim's class, more than a magazine holds.
    fn churn(&mut self) {
        let count = (CHURNED_BYTES / self.size + 3).min(CHURNED);
        let owner = 33 + self.number as u64;
        for _ in 0..count {
            let address = self.malloc(self.size);
            // SAFETY: just allocated.
            unsafe { mark::write(address, self.size, owner) };
            self.churned.push(address);
        }
        while let Some(address) = self.churned.pop() {
            // SAFETY: this survivor's.
            unsafe { mark::check(address, self.size, owner) };
            self.free(Doing::Free, address);
        }
    }

    fn zeroed(&mut self) {
        for size in [64, 5_000] {
            let address =
                got(self.call(Doing::Calloc, |api| (api.calloc)(1, size)).expose_provenance(), 16);
            // SAFETY: just allocated.
            if !unsafe { mark::holds(address, size, 0) } {
                mark::wrong("calloc returned a block that is not zero");
            }
            // SAFETY: just allocated.
            unsafe { mark::write(address, size, 99) };
            self.free(Doing::Free, address);
        }
    }

    /// Grows and shrinks a block through all kinds of sizes.
    fn resized(&mut self) {
        let mut address = self.malloc(40);
        let bytes = std::ptr::with_exposed_provenance_mut::<u8>(address);
        let byte = 0x5A ^ self.number as u8;
        // SAFETY: just allocated.
        unsafe { bytes.write_bytes(byte, 40) };
        for size in [48, 3_000, 300_000, 700_000, 50] {
            let block = std::ptr::with_exposed_provenance_mut(address);
            // SAFETY: this survivor's, given up.
            let moved = self.call(Doing::Realloc, |api| unsafe { (api.realloc)(block, size) });
            address = got(moved.expose_provenance(), 16);
            // SAFETY: all sizes are larger.
            if !unsafe { mark::holds(address, 40, byte) } {
                mark::wrong("realloc lost contents");
            }
        }
        self.free(Doing::Free, address);
    }

    fn aligned(&mut self) {
        for (align, size) in [(256, 1_000), (1 << 17, 200_000)] {
            let block = self.call(Doing::AlignedAlloc, |api| (api.aligned_alloc)(align, size));
            let address = got(block.expose_provenance(), align);
            // SAFETY: just allocated.
            unsafe { mark::write(address, size, 44) };
            self.free(Doing::Free, address);
        }
        let mut place = std::ptr::null_mut();
        // SAFETY: the place may be written to.
        let error = self.call(Doing::PosixMemalign, |api| unsafe {
            (api.posix_memalign)(&raw mut place, 4_096, 5_000)
        });
        if error != 0 {
            mark::wrong("posix_memalign failed");
        }
        self.free(Doing::Free, got(place.expose_provenance(), 4_096));
    }

    /// Sends the next survivor a block, and frees what the last one sent.
    fn exchange(&mut self) {
        let sent = self.malloc(MAIL_BYTES);
        // SAFETY: just allocated.
        unsafe { mark::write(sent, MAIL_BYTES, MAIL_OWNER) };
        // Release and Acquire: the mark.
        let back = MAIL[(self.number + 1) % SURVIVORS].swap(sent, Ordering::AcqRel);
        let got = MAIL[self.number].swap(0, Ordering::AcqRel);
        for address in [back, got] {
            self.open_mail(address);
        }
    }

    fn open_mail(&mut self, address: usize) {
        if address != 0 {
            // SAFETY: taken out of the mail by this thread.
            unsafe { mark::check(address, MAIL_BYTES, MAIL_OWNER) };
            self.free(Doing::RemoteFree, address);
        }
    }

    /// Gives everything back.
    pub(super) fn settle(&mut self) -> u64 {
        self.calls = 0;
        while !self.kept.is_empty() {
            self.give_first();
        }
        let mail = MAIL[self.number].swap(0, Ordering::AcqRel);
        self.open_mail(mail);
        self.calls
    }
}

/// An address that was returned; ends the run if it cannot be right.
fn got(address: usize, align: usize) -> usize {
    if address == 0 {
        mark::wrong("no memory");
    }
    if !address.is_multiple_of(align) {
        mark::wrong("a block is not aligned");
    }
    address
}
