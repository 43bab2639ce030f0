//! Aim: the models would see a fault. Method: seed each, and demand that the named race finds it.

use lfalloc::platform::Mutant;
use lfalloc_verify::catalogue::KILLS;
use lfalloc_verify::machine::MUTANTS;

macro_rules! mutants {
    ($($test:ident = $mutant:ident;)*) => {
        $(
            #[test]
            fn $test() {
                let kill = KILLS.iter().find(|kill| kill.mutant == Mutant::$mutant);
                let kill = kill.expect("every mutant is in the catalogue");
                let fault = kill.run();
                println!("{:?}, by {:?}: {fault:?}", kill.mutant, kill.race.name);
                assert!(fault.is_some(), "{:?} survived {:?}", kill.mutant, kill.race.name);
            }
        )*

        /// Aim: every mutant is killed by a test. Method: compare the lists. (`TagResetOnReuse` breaks no block, only
        /// the order of events: `events.rs` kills it.)
        #[test]
        fn all_are_killed() {
            let tested = [Mutant::None, Mutant::TagResetOnReuse, $(Mutant::$mutant),*];
            for mutant in MUTANTS {
                assert!(tested.contains(&mutant), "{mutant:?} has no test");
            }
        }
    };
}

mutants! {
    tag_kept_dies = TagKept;
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
}
