//! From the allocator's views to the protocol's records, field by field.
//!
//! The allocator's types may change with the allocator; the protocol's never do. This is where the
//! two meet.

use lfalloc::observe::{
    CLASS_COUNT, Census, ClassView, CounterView, HeapView, LargeView, MagazineView, Parts,
    SuperblockView, Totals, Transition, front_info, magazine_processors,
};
use lfalloc_protocol::message;

pub(crate) fn class(view: &ClassView) -> message::ClassRecord {
    message::ClassRecord {
        class: view.class,
        allocations: view.allocations,
        frees: view.frees,
        retries: view.retries,
        active: view.active,
        full: view.full,
        partial: view.partial,
        empty: view.empty,
        live_blocks: view.live_blocks,
        free_blocks: view.free_blocks,
        credit_blocks: view.credit_blocks,
        cached_blocks: view.cached_blocks,
    }
}

pub(crate) fn heap(view: &HeapView) -> message::HeapRecord {
    message::HeapRecord {
        class: view.class,
        heap: view.heap,
        superblock: view.superblock,
        credits: view.credits,
    }
}

/// Nothing for a class without samples.
pub(crate) fn sample(view: &ClassView) -> Option<message::SizeSample> {
    (view.samples > 0).then_some(message::SizeSample {
        class: view.class,
        samples: view.samples,
        slack_sum: view.slack_sum,
        slack_squares: view.slack_squares,
    })
}

pub(crate) fn counter(view: &CounterView) -> message::HeapCounter {
    message::HeapCounter {
        class: view.class,
        heap: view.heap,
        allocations: view.allocations,
        frees: view.frees,
        refills: view.refills,
        ran_dry: view.ran_dry,
    }
}

/// How the front is built, if there is one.
pub(crate) fn front() -> message::Front {
    let record = |class: u16| {
        let info = front_info(class.into());
        message::FrontClass {
            class,
            capacity: info.capacity,
            batch: info.batch,
            depot_batches: info.depot_batches,
        }
    };
    message::Front {
        processors: magazine_processors(),
        records: (0..CLASS_COUNT as u16).map(record).collect(),
    }
}

/// Nothing for a class of which the depot holds nothing.
pub(crate) fn depot(view: &ClassView) -> Option<message::DepotRecord> {
    let ClassView { class, depot_batches: batches, .. } = *view;
    (batches > 0).then_some(message::DepotRecord { class, batches })
}

pub(crate) fn magazine(view: &MagazineView) -> message::MagazineRecord {
    message::MagazineRecord {
        class: view.class,
        processor: view.processor,
        blocks: view.blocks,
        pops: view.pops,
        pushes: view.pushes,
        refills: view.refills,
        flushes: view.flushes,
        aborts: view.aborts,
    }
}

/// `age_ns` gives the age of ticks: one function for all records of a state, so that they share one
/// "now".
pub(crate) fn superblock(
    view: &SuperblockView,
    age_ns: impl Fn(u64) -> u64,
) -> message::SuperblockRecord {
    message::SuperblockRecord {
        id: view.id,
        class: view.class,
        // Both enumerations have the numbers of the protocol (see the tests).
        state: view.state as u8,
        backing: view.backing as u8,
        address: view.address,
        anchor: view.anchor,
        avail: view.avail,
        count: view.count,
        credits: view.credits,
        exact: view.exact,
        tag: view.tag,
        age_ns: age_ns(view.since_ticks),
    }
}

/// Of a superblock that a viewer knows already.
pub(crate) fn change(view: &SuperblockView) -> message::SuperblockChange {
    message::SuperblockChange {
        id: view.id,
        anchor: view.anchor,
        credits: view.credits,
        exact: view.exact,
    }
}

/// As for [`superblock`].
pub(crate) fn large(view: &LargeView, age_ns: impl Fn(u64) -> u64) -> message::LargeRecord {
    message::LargeRecord {
        id: view.id,
        address: view.address,
        bytes: view.bytes,
        age_ns: age_ns(view.since_ticks),
        cached: view.cached,
    }
}

/// `uptime_ns` gives how long the process had run at ticks: one function for all records of a
/// message, so that times keep the order of ticks.
pub(crate) fn transition(
    view: &Transition,
    uptime_ns: impl Fn(u64) -> u64,
) -> message::TransitionRecord {
    message::TransitionRecord {
        uptime_ns: uptime_ns(view.ticks),
        superblock: view.superblock,
        class: view.class,
        from: view.from as u8,
        to: view.to as u8,
        cause: view.cause as u8,
        tag: view.tag,
    }
}

pub(crate) fn totals(view: &Totals, uptime_ns: u64) -> message::Totals {
    message::Totals {
        mapped_bytes: view.mapped_bytes,
        live_bytes: view.live_bytes,
        superblock_bytes: view.superblock_bytes,
        allocations: view.allocations,
        frees: view.frees,
        in_hand: view.in_hand,
        uptime_ns,
    }
}

/// What the census knows; the rest is the agent's to fill in.
pub(crate) fn state_end(census: &Census) -> message::StateEnd {
    message::StateEnd {
        consistent: census.consistent,
        attempts: census.attempts,
        parts: parts(&census.parts),
        in_hand: census.in_hand,
        allocations_before: census.allocations_before,
        frees_before: census.frees_before,
        allocations_after: census.allocations_after,
        frees_after: census.frees_after,
        large_allocations: census.large_allocations,
        large_frees: census.large_frees,
        transitions_seen: census.transitions_seen,
        transitions_dropped: census.transitions_dropped,
        ..message::StateEnd::default()
    }
}

fn parts(parts: &Parts) -> message::Parts {
    message::Parts {
        mapped: parts.mapped,
        live: parts.live,
        large: parts.large,
        free: parts.free,
        credit: parts.credit,
        cached: parts.cached,
        empty: parts.empty,
        large_cached: parts.large_cached,
        tail: parts.tail,
        unused: parts.unused,
        metadata: parts.metadata,
    }
}

#[cfg(test)]
mod tests {
    //! Aim: the numbers of states, backings, sights and causes mean the same on both sides. Method: compare
    //! each.
    use lfalloc::anchor::Anchor;
    use lfalloc::observe::{Backing, Cause, Sight, State};
    use lfalloc_protocol::message::{anchor, backing, bitmap, cause, state};

    #[test]
    fn anchors_are_cut_in_the_same_places() {
        for word in [0, u64::MAX, 0x1234_5678_9ABC_DEF0, 1 << 12, 1 << 13, 1 << 26, 1 << 28] {
            let ours = Anchor::from_word(word);
            assert_eq!(u32::from(anchor::avail(word)), ours.avail());
            assert_eq!(u32::from(anchor::count(word)), ours.count());
            assert_eq!((anchor::state(word), anchor::tag(word)), (ours.state() as u8, ours.tag()));
        }
    }

    #[test]
    fn codes_agree() {
        assert_eq!(
            [State::Active as u8, State::Full as u8, State::Partial as u8, State::Empty as u8],
            [state::ACTIVE, state::FULL, state::PARTIAL, state::EMPTY]
        );
        assert_eq!(
            [Backing::Unused as u8, Backing::Mapped as u8, Backing::Decommitted as u8],
            [backing::UNUSED, backing::MAPPED, backing::DECOMMITTED]
        );
        assert_eq!(
            [Sight::Nothing as u8, Sight::Exact as u8, Sight::Racing as u8],
            [bitmap::NONE, bitmap::EXACT, bitmap::RACING]
        );
        assert_eq!(
            [
                Cause::MallocFromActive as u8,
                Cause::UpdateActive as u8,
                Cause::MallocFromPartial as u8,
                Cause::MallocFromNewSb as u8,
                Cause::Free as u8,
                Cause::FreeBatch as u8,
                Cause::Purge as u8,
            ],
            [
                cause::MALLOC_FROM_ACTIVE,
                cause::UPDATE_ACTIVE,
                cause::MALLOC_FROM_PARTIAL,
                cause::MALLOC_FROM_NEW_SB,
                cause::FREE,
                cause::FREE_BATCH,
                cause::PURGE,
            ]
        );
    }
}
