//! Aim: the transitions of a superblock can be put in order by their tags, over reuse, too. Method: one superblock
//! through several lives on a model machine, with few enough changes that the tags do not wrap.

use lfalloc_verify::lives::fault;

#[test]
fn the_tag_survives_reuse() {
    assert_eq!(fault::<0>(), None);
}
