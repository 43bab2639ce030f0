//! Aim: any sequence of operations leaves the contents of live blocks alone. Method: random sequences of all entry
//! points against a shadow, shrunk by proptest when one fails.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::alloc::Layout;

use lfalloc_verify::shadow::Shadow;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Operation {
    Allocate { size: usize, align_shift: u32, zeroed: bool },
    Free(u64),
    Reallocate(u64, usize),
    Purge,
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 1..256usize, 4 => 1..9000usize, 2 => 1..200_000usize, 1 => 1..3_000_000usize]
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        8 => (size(), 0..17u32, any::<bool>()).prop_map(|(size, align_shift, zeroed)| {
            Operation::Allocate { size, align_shift, zeroed }
        }),
        6 => any::<u64>().prop_map(Operation::Free),
        3 => (any::<u64>(), size()).prop_map(|(choice, size)| Operation::Reallocate(choice, size)),
        1 => Just(Operation::Purge),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn contents_are_kept(operations in prop::collection::vec(operation(), 1..200)) {
        let mut shadow = Shadow::default();
        for operation in operations {
            match operation {
                Operation::Allocate { size, align_shift, zeroed } => {
                    let layout = Layout::from_size_align(size, 1 << align_shift).unwrap();
                    prop_assert!(shadow.allocate(layout, zeroed));
                }
                Operation::Free(choice) => shadow.free(choice),
                Operation::Reallocate(choice, size) => shadow.reallocate(choice, size),
                Operation::Purge => {
                    lfalloc::LfAlloc.purge();
                }
            }
        }
    }
}
