//! Aim: magazines that come after a viewer are told to it. Method: a program whose global allocator is another one
//! allocates from lfalloc only when it is watched.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::alloc::{GlobalAlloc, Layout};

use common::Fixture;
use lfalloc::LfAlloc;
use lfalloc::observe::magazine_processors;
use lfalloc_protocol::message::*;

#[test]
fn a_front_that_comes_later_is_told() {
    let fixture = Fixture::start();
    let mut viewer = fixture.connect();
    let hello = viewer.greet();
    assert_eq!(hello.features & feature::MAGAZINES, 0);
    viewer.subscribe(20, false);
    let before = viewer.state();
    assert_eq!((before.front, before.depots, before.magazines), (None, None, vec![]));
    let layout = Layout::from_size_align(100, 8).unwrap();
    for _ in 0..2 {
        // SAFETY: the layout has a size.
        let block = unsafe { LfAlloc.alloc(layout) };
        assert!(!block.is_null());
        // SAFETY: allocated above with that layout.
        unsafe { LfAlloc.dealloc(block, layout) };
    }
    if magazine_processors() == 0 {
        return;
    }
    // An update may have been under way.
    let update = (0..50).map(|_| viewer.state()).find(|state| state.front.is_some()).unwrap();
    assert!(!update.begin.full && update.depots.is_some() && !update.magazines.is_empty());
    assert_eq!(viewer.state().front, None, "once");
    let full = fixture.attach().request_state();
    assert_eq!(full.front, update.front);
    let features = fixture.connect().greet().features;
    assert_ne!(features & feature::MAGAZINES, 0);
}
