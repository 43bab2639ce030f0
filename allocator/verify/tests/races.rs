//! Aim: the core survives every interleaving of the named races. Method: loom within a bound on preemptions; every
//! execution ends by draining the heap twice. The same races with a seeded fault are in `mutants.rs`.

use lfalloc_verify::catalogue;
use lfalloc_verify::explore::loom;

macro_rules! races {
    ($($test:ident = $race:ident;)*) => {
        $(
            #[test]
            fn $test() {
                let race = catalogue::$race;
                let listed = catalogue::LOOM.iter().find(|(listed, _)| listed.name == race.name);
                let (_, preemptions) = listed.expect("every race is in the catalogue's list");
                let explored = loom::<0>(race, *preemptions);
                println!("{}: {} executions in {:?}", race.name, explored.executions, explored.time);
                assert!(explored.executions > 1, "nothing was explored");
            }
        )*

        /// Aim: no race of the catalogue is left out here. Method: count.
        #[test]
        fn all_are_listed() {
            assert_eq!([$(catalogue::$race.name),*].len(), catalogue::LOOM.len());
        }
    };
}

races! {
    reserve_against_pop = RESERVE_AGAINST_POP;
    last_credit_against_free = LAST_CREDIT_AGAINST_FREE;
    full_to_partial_before_push = FULL_TO_PARTIAL_BEFORE_PUSH;
    empty_before_push = EMPTY_BEFORE_PUSH;
    empty_against_partial_pop = EMPTY_AGAINST_PARTIAL_POP;
    empty_against_link_read = EMPTY_AGAINST_LINK_READ;
    lost_update_active = LOST_UPDATE_ACTIVE;
    descriptor_reuse = DESCRIPTOR_REUSE;
    reuse_is_published = REUSE_IS_PUBLISHED;
    another_class = CLASS_CHANGE;
    list_aba = LIST_ABA;
    batch_pop = BATCH_POP;
    batch_free_completes = BATCH_FREE_COMPLETES;
    batch_free_against_free = BATCH_FREE_AGAINST_FREE;
    purge_against_malloc = PURGE_AGAINST_MALLOC;
    remote_free = REMOTE_FREE;
    reserved_is_not_empty = RESERVED_IS_NOT_EMPTY;
    sweep = SWEEP;
    release = RELEASE;
}
