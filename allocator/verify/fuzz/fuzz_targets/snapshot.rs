//! Documents that `diff` is given.
//!
//! A document that is understood is written again and gives the same figures; so does the picture that is made of it.
#![no_main]
#![forbid(unsafe_code)]

use lfinspect::diff::Figures;
use lfinspect::snapshot::Snapshot;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let Ok(figures) = Figures::of_snapshot(text) else { return };
    let Ok(document) = serde_json::from_slice::<Snapshot>(text) else {
        panic!("it was understood a moment ago")
    };
    let Ok(again) = serde_json::to_vec(&document) else { panic!("it cannot be written") };
    // Compared as text, since what cannot be divided is no number.
    assert_eq!(format!("{:?}", Figures::of_snapshot(&again)), format!("Ok({figures:?})"));
    let made = Snapshot::of(&document.picture());
    assert_eq!(made.totals, document.totals);
    assert_eq!(format!("{:?}", Figures::of(&made.picture())), format!("{figures:?}"));
});
