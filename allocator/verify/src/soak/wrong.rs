//! Soaks that must fail: each does what one of the checks is for. Run by name only.

use crate::soak::block::Marked;
use crate::soak::board::board;
use crate::soak::books::Books;
use crate::soak::{PLAIN, Run, Soak, done, settle, system, warm_up, workers};

/// All of them.
pub(super) const WRONG: &[Soak] = &[
    Soak { name: "wrong-stuck", what: "one thread stands still", run: stuck, ..NONE },
    Soak { name: "wrong-twice", what: "two holders have one block", run: twice, ..NONE },
    Soak { name: "wrong-stray", what: "a byte of a block is changed", run: stray, ..NONE },
    Soak { name: "wrong-lost", what: "a block is not freed", run: lost, ..NONE },
    Soak { name: "wrong-crash", what: "the process is killed", run: crash, ..NONE },
];

const NONE: Soak = Soak {
    name: "",
    what: "",
    goal: 1,
    unit: "",
    figures: &[],
    bound: "",
    environment: PLAIN,
    run: |_| {},
};

fn stuck(_: &Run) {
    workers(
        1,
        |_| system::pause(),
        || {
            let _lane = board().lane();
            // SAFETY: waits for a signal.
            unsafe { libc::pause() };
        },
    );
}

/// The second has the block whole, as if malloc(3) had given it to both.
fn twice(_: &Run) {
    let first = Marked::of_bytes(64);
    let second = first.again();
    second.check();
    first.check();
    let _ = second.into_raw();
}

fn stray(_: &Run) {
    let block = Marked::of_bytes(200);
    block.check();
    let byte = block.start().cast::<u8>().wrapping_add(101);
    // SAFETY: within the block.
    let before = unsafe { byte.read() };
    // SAFETY: within the block.
    unsafe { byte.write(before ^ 4) };
    block.check();
}

fn lost(_: &Run) {
    warm_up();
    let books = Books::open();
    let _ = Marked::of_bytes(64).into_raw();
    done(1);
    settle();
    books.close(0, 0, 0);
}

fn crash(_: &Run) {
    // SAFETY: ends the process.
    unsafe { libc::raise(libc::SIGKILL) };
}
