//! The ring of superblock transitions: fixed, lock-free, written on slow paths only.
//!
//! A writer takes a ticket, claims the ticket's slot by a compare-and-swap on the slot's sequence word, writes, and
//! releases it. A slot that another writer still holds (it was stopped there a whole lap ago) is left alone: the
//! transition is dropped and counted. A reader takes a slot for what it says only if its sequence is that of the
//! ticket before *and* after.
//!
//! Tickets are taken after the anchor's compare-and-swap, so two transitions of one superblock may stand in the ring
//! the wrong way round; their tags give the order.
//!
//! `sequence = 2 · ticket + 1` while it is written, `2 · ticket + 2` when it can be read, 0 before the first use.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::anchor::State;
use crate::observer;
use crate::os;
use crate::platform::{Cause, Transition};

/// Slots of the ring.
pub const RING_SLOTS: usize = 8192;

#[repr(align(32))]
struct Slot {
    sequence: AtomicU64,
    ticks: AtomicU64,
    /// `superblock : 32 | class : 16 | by the observer : 1 | cause : 7 | from : 4 | to : 4`.
    what: AtomicU64,
    tag: AtomicU64,
}

/// The ring.
pub(crate) struct Ring<const SLOTS: usize> {
    tickets: AtomicU64,
    dropped: AtomicU64,
    slots: [Slot; SLOTS],
}

/// The ring of the shipped allocator.
pub(crate) static RING: Ring<RING_SLOTS> = Ring::new();

/// A transition with the time it was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Clock ticks when it was recorded; 0 in [`Event::NOTHING`].
    pub ticks: u64,
    /// The superblock.
    pub superblock: u32,
    /// Its class.
    pub class: u16,
    /// State before.
    pub from: State,
    /// State after.
    pub to: State,
    /// The procedure.
    pub cause: Cause,
    /// Tag of the anchor after the change; orders the changes of one superblock.
    pub tag: u64,
    /// Whether the thread that made it was the [`crate::observe::Observer`].
    pub by_observer: bool,
}

impl Event {
    /// A place to be filled.
    pub const NOTHING: Self = unpack(0, 0, 0);
}

/// What a reader finds at a ticket.
enum Found {
    Event(Event),
    /// Being written, or dropped: nobody can tell.
    NotYet,
    /// A later ticket has taken the slot.
    Overwritten,
}

impl<const SLOTS: usize> Ring<SLOTS> {
    pub(crate) const fn new() -> Self {
        Self {
            tickets: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            slots: [const {
                Slot {
                    sequence: AtomicU64::new(0),
                    ticks: AtomicU64::new(0),
                    what: AtomicU64::new(0),
                    tag: AtomicU64::new(0),
                }
            }; SLOTS],
        }
    }

    /// Transitions ever, those dropped included.
    pub(crate) fn seen(&self) -> u64 {
        // Relaxed: a counter.
        self.tickets.load(Ordering::Relaxed)
    }

    /// Transitions that found their slot busy.
    pub(crate) fn dropped(&self) -> u64 {
        // Relaxed: a counter.
        self.dropped.load(Ordering::Relaxed)
    }

    /// Records a transition, or drops it; a fixed number of steps.
    pub(crate) fn record(&self, transition: Transition) {
        // Relaxed: only unique numbers are needed.
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let slot = &self.slots[ticket as usize % SLOTS];
        // Relaxed: the compare-and-swap below checks it.
        let old = slot.sequence.load(Ordering::Relaxed);
        let busy = old % 2 == 1 || old > 2 * ticket;
        // Acquire: the writes below come after the claim.
        if busy
            || slot
                .sequence
                .compare_exchange(old, 2 * ticket + 1, Ordering::Acquire, Ordering::Relaxed)
                .is_err()
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // Release, all three: a reader that sees one of these values (Acquire) and then looks at the sequence finds
        // it claimed, and does not take the slot for its old ticket's.
        slot.ticks.store(os::ticks(), Ordering::Release);
        slot.what.store(pack(transition, observer::is_calling()), Ordering::Release);
        slot.tag.store(transition.tag, Ordering::Release);
        // Release: pairs with the first Acquire in `find`.
        slot.sequence.store(2 * ticket + 2, Ordering::Release);
    }

    fn find(&self, ticket: u64) -> Found {
        let slot = &self.slots[ticket as usize % SLOTS];
        // Acquire: pairs with the Release that ends `record`: the fields are those of that ticket or later.
        let before = slot.sequence.load(Ordering::Acquire);
        // Acquire: pairs with the Releases of a later writer, see there.
        let ticks = slot.ticks.load(Ordering::Acquire);
        let what = slot.what.load(Ordering::Acquire);
        let tag = slot.tag.load(Ordering::Acquire);
        // Relaxed: ordered after the loads above by their Acquire.
        let after = slot.sequence.load(Ordering::Relaxed);
        if before == after && before == 2 * ticket + 2 {
            Found::Event(unpack(ticks, what, tag))
        } else if after > 2 * ticket + 2 {
            Found::Overwritten
        } else {
            Found::NotYet
        }
    }
}

const BY_OBSERVER: u64 = 1 << 15;

const fn pack(transition: Transition, by_observer: bool) -> u64 {
    (transition.superblock.0 as u64) << 32
        | (transition.class.0 as u64) << 16
        | if by_observer { BY_OBSERVER } else { 0 }
        | (transition.cause as u64) << 8
        | (transition.from as u64) << 4
        | transition.to as u64
}

const fn unpack(ticks: u64, what: u64, tag: u64) -> Event {
    const CAUSES: [Cause; 8] = [
        Cause::MallocFromActive,
        Cause::UpdateActive,
        Cause::MallocFromPartial,
        Cause::MallocFromNewSb,
        Cause::Free,
        Cause::FreeBatch,
        Cause::Purge,
        Cause::Purge,
    ];
    Event {
        ticks,
        superblock: (what >> 32) as u32,
        class: (what >> 16) as u16,
        from: State::from_code(what >> 4 & 3),
        to: State::from_code(what & 3),
        cause: CAUSES[(what >> 8 & 7) as usize],
        tag,
        by_observer: what & BY_OBSERVER != 0,
    }
}

/// A reader's place in the ring. Readers do not disturb each other, nor the writers.
#[derive(Clone, Copy, Debug)]
pub struct TransitionCursor {
    next: u64,
    /// Reads in a row that ended at a slot that is not written.
    waited: u32,
}

/// After this many reads a slot that is not written is taken for dropped.
const PATIENCE: u32 = 2;

impl TransitionCursor {
    /// At the newest end: transitions from now on.
    #[must_use]
    pub fn now() -> Self {
        Self { next: RING.seen(), waited: 0 }
    }

    /// At the oldest transition still in the ring.
    #[must_use]
    pub fn oldest() -> Self {
        Self { next: RING.seen().saturating_sub(RING_SLOTS as u64), waited: 0 }
    }

    /// Reads up to `out.len()` transitions in the order of their tickets; returns how many were read, and how many
    /// were lost between the last read and this one: overwritten, dropped by their writers, or given up.
    ///
    /// A transition whose writer is still at it ends the read, and is given up at the third.
    pub fn read(&mut self, out: &mut [Event]) -> (usize, u64) {
        self.read_from(&RING, out)
    }

    fn read_from<const SLOTS: usize>(
        &mut self,
        ring: &Ring<SLOTS>,
        out: &mut [Event],
    ) -> (usize, u64) {
        let (mut read, mut lost) = (0, 0);
        let end = ring.seen();
        let oldest = end.saturating_sub(SLOTS as u64);
        if self.next < oldest {
            lost += oldest - self.next;
            self.next = oldest;
            self.waited = 0;
        }
        while self.next < end && read < out.len() {
            match ring.find(self.next) {
                Found::Event(event) => {
                    out[read] = event;
                    read += 1;
                }
                Found::NotYet if self.waited < PATIENCE => {
                    self.waited += 1;
                    return (read, lost);
                }
                Found::NotYet | Found::Overwritten => lost += 1,
            }
            self.next += 1;
            self.waited = 0;
        }
        (read, lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::{Class, SuperblockId};
    use std::vec::Vec;

    fn transition(tag: u64) -> Transition {
        Transition {
            superblock: SuperblockId(u32::MAX),
            class: Class(87),
            from: State::Partial,
            to: State::Empty,
            cause: Cause::Purge,
            tag,
        }
    }

    fn start() -> TransitionCursor {
        TransitionCursor { next: 0, waited: 0 }
    }

    /// Aim: what is written is read, in order, and laps are counted as lost. Method: one writer, one reader, a ring
    /// of 8.
    #[test]
    fn reads_what_was_written() {
        let ring = Ring::<8>::new();
        let mut cursor = start();
        let mut out = [Event::NOTHING; 16];
        for tag in 0..5 {
            ring.record(transition(tag));
        }
        assert_eq!(cursor.read_from(&ring, &mut out), (5, 0));
        for (tag, event) in (0..).zip(&out[..5]) {
            let Event { superblock, class, from, to, cause, tag: found, ticks, by_observer } =
                *event;
            let (superblock, class) = (SuperblockId(superblock), Class(class));
            let event = Transition { superblock, class, from, to, cause, tag: found };
            assert_eq!(event, transition(tag));
            assert!(ticks > 0 && !by_observer);
        }
        for tag in 5..25 {
            ring.record(transition(tag));
        }
        assert_eq!(cursor.read_from(&ring, &mut out), (8, 12));
        assert_eq!(out[0].tag, 17);
        assert_eq!((ring.seen(), ring.dropped()), (25, 0));
    }

    /// Aim: the mark changes nothing else of a record, whatever the record says. Method: records with and without it,
    /// all bits of the fields beside it set and clear.
    #[test]
    fn the_mark_stands_for_itself() {
        for (class, cause) in [(u16::MAX, Cause::MallocFromActive), (0, Cause::Purge)] {
            let transition = Transition { class: Class(class), cause, ..transition(7) };
            let [own, other] = [true, false].map(|mark| unpack(1, pack(transition, mark), 7));
            assert!(own.by_observer && !other.by_observer);
            assert_eq!(Event { by_observer: false, ..own }, other);
            assert_eq!((own.class, own.cause), (class, cause));
        }
    }

    /// Aim: a writer that stops for ever in a slot blocks nobody. Method: claim a slot by hand, then go round.
    #[test]
    fn a_stopped_writer_blocks_nobody() {
        let ring = Ring::<4>::new();
        ring.tickets.store(1, Ordering::Relaxed);
        ring.slots[0].sequence.store(1, Ordering::Relaxed);
        for tag in 1..9 {
            ring.record(transition(tag));
        }
        assert_eq!((ring.seen(), ring.dropped()), (9, 2));
        let mut out = [Event::NOTHING; 16];
        let mut cursor = start();
        let (mut read, mut lost) = (0, 0);
        for _ in 0..10 {
            let (events, missed) = cursor.read_from(&ring, &mut out[read..]);
            read += events;
            lost += missed;
        }
        assert_eq!((read, lost), (3, 6));
        assert!(out[..3].iter().all(|event| event.tag >= 5));
    }

    /// Aim: nothing torn is ever read, and every transition is read, lost or dropped exactly once. Method: writers
    /// race round a small ring while a reader checks that time, tag and superblock belong together.
    #[test]
    fn nothing_torn_under_contention() {
        static TINY: Ring<8> = Ring::new();
        const EACH: u64 = 100_000;
        let mut cursor = start();
        let (mut read, mut lost) = (0u64, 0u64);
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..3u64)
                .map(|writer| {
                    scope.spawn(move || {
                        for number in 0..EACH {
                            let mut transition = transition(number << 2 | writer);
                            transition.superblock = SuperblockId(number as u32);
                            TINY.record(transition);
                        }
                    })
                })
                .collect();
            let mut out = [Event::NOTHING; 8];
            loop {
                let done = writers.iter().all(std::thread::ScopedJoinHandle::is_finished);
                let (events, missed) = cursor.read_from(&TINY, &mut out);
                for event in &out[..events] {
                    assert_eq!(u64::from(event.superblock), event.tag >> 2);
                    assert_eq!(event.class, 87);
                }
                read += events as u64;
                lost += missed;
                if done && cursor.next == TINY.seen() {
                    break;
                }
            }
        });
        assert_eq!(read + lost, 3 * EACH);
        assert!(lost >= TINY.dropped());
    }
}
