//! Aim: the models would see a fault. Method: seed each into the shipped procedures, and demand that it is found.

use std::collections::BTreeSet;

use lfalloc_verify::seeded::{self, all, faults_of};

/// The fault is found.
fn dies(home: &str, name: &str) {
    let seeded = all().into_iter().find(|seeded| seeded.home == home && seeded.name == name);
    let seeded = seeded.expect("every mutant is in the list");
    let killed = seeded.kill();
    println!("{seeded:?}: {killed:?}");
    assert!(killed.is_some(), "{seeded:?} survived");
}

macro_rules! mutants {
    ($($module:ident = $home:literal: { $($test:ident = $mutant:ident;)* })*) => {
        $(
            mod $module {
                $(
                    #[test]
                    fn $test() {
                        super::dies($home, stringify!($mutant));
                    }
                )*
            }
        )*

        /// The name of each test, with its fault.
        const TESTS: &[(&str, &str, &str)] = &[
            $($((concat!(stringify!($module), "::", stringify!($test)), $home, stringify!($mutant)),)*)*
        ];
    };
}

mutants! {
    platform = "platform.rs": {
        tag_kept_dies = TagKept;
        tag_reset_on_reuse_dies = TagResetOnReuse;
        list_tag_kept_dies = ListTagKept;
        retire_unheld_dies = RetireUnheld;
        printed_retire_and_read_dies = PrintedRetireAndRead;
        touch_after_empty_dies = TouchAfterEmpty;
        credits_lost_dies = CreditsLost;
        count_off_by_one_dies = CountOffByOne;
        link_relaxed_dies = LinkRelaxed;
        publish_relaxed_dies = PublishRelaxed;
        empty_while_reserved_dies = EmptyWhileReserved;
        push_before_partial_dies = PushBeforePartial;
        strand_completed_dies = StrandCompleted;
        sweep_retires_all_dies = SweepRetiresAll;
        loser_forgets_dies = LoserForgets;
        mark_after_free_dies = MarkAfterFree;
        purge_loses_one_dies = PurgeLosesOne;
        batch_tag_kept_dies = BatchTagKept;
        class_after_install_dies = ClassAfterInstall;
    }
    depot = "front/depot.rs": {
        tag_kept_dies = TagKept;
        put_relaxed_dies = PutRelaxed;
        take_relaxed_dies = TakeRelaxed;
        freed_before_read_dies = FreedBeforeRead;
        bound_before_dies = BoundBefore;
    }
    drain = "front/drain.rs": {
        copy_before_closing_dies = CopyBeforeClosing;
        no_fence_dies = NoFence;
        fence_before_dies = FenceBefore;
        drainers_alike_dies = DrainersAlike;
        not_looked_at_again_dies = NotLookedAtAgain;
    }
    stock = "large/stock.rs": {
        tag_kept_dies = TagKept;
        foreign_after_unmap_dies = ForeignAfterUnmap;
        freed_after_put_dies = FreedAfterPut;
        evict_unpopped_dies = EvictUnpopped;
        unused_before_unmap_dies = UnusedBeforeUnmap;
        stays_cached_dies = StaysCached;
        recommit_forgotten_dies = RecommitForgotten;
        zeroed_warm_dies = ZeroedWarm;
        waste_kept_dies = WasteKept;
        parked_forgotten_dies = ParkedForgotten;
        live_before_placed_dies = LiveBeforePlaced;
        state_relaxed_dies = StateRelaxed;
    }
    once = "once.rs": {
        publish_relaxed_dies = PublishRelaxed;
        find_relaxed_dies = FindRelaxed;
        loser_keeps_its_own_dies = LoserKeepsItsOwn;
        loser_leaks_dies = LoserLeaks;
        published_over_dies = PublishedOver;
    }
    table = "table.rs": {
        length_first_dies = LengthFirst;
        length_relaxed_dies = LengthRelaxed;
        length_stored_dies = LengthStored;
    }
    decay = "decay.rs": {
        began_stored_dies = BeganStored;
        ended_loaded_dies = EndedLoaded;
        due_cleared_after_dies = DueClearedAfter;
        due_relaxed_dies = DueRelaxed;
    }
    pieces = "pieces.rs": {
        tag_kept_dies = TagKept;
        push_relaxed_dies = PushRelaxed;
        pop_relaxed_dies = PopRelaxed;
    }
}

/// Aim: no fault is forgotten. Method: the enumerations in the sources, the list, and the tests have the same, and each
/// test the name that the table gives.
#[test]
fn all_are_killed() {
    let mut sources = BTreeSet::new();
    for (home, source) in seeded::sources().expect("the sources are there") {
        for (name, what) in faults_of(&source) {
            assert!(!what.is_empty(), "{name} of {home} says what it is");
            if name != "None" {
                sources.insert((home.clone(), name));
            }
        }
    }
    let pair = |home: &str, name: &str| (home.to_owned(), name.to_owned());
    let listed: BTreeSet<_> = all().iter().map(|seeded| pair(seeded.home, &seeded.name)).collect();
    assert_eq!(sources, listed, "in the sources, and in the list");
    let tests: BTreeSet<_> = all()
        .iter()
        .map(|seeded| (seeded.test(), seeded.home.to_owned(), seeded.name.clone()))
        .collect();
    let here: BTreeSet<_> = TESTS
        .iter()
        .map(|(test, home, name)| ((*test).to_owned(), (*home).to_owned(), (*name).to_owned()))
        .collect();
    assert_eq!(tests, here, "in the list, and here");
}
