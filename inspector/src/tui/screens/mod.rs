//! One module per screen. Each draws a part of the [`Model`](super::model::Model) into an area, and
//! changes nothing.

pub mod charts;
pub mod class_detail;
pub mod classes;
pub mod connection;
pub mod diagram;
pub mod explain;
pub mod heaps;
pub mod help;
pub mod large;
pub mod leave;
pub mod lints;
pub mod list;
pub mod magazines;
pub mod map;
pub mod output;
pub mod overview;
pub mod paint;
pub mod parts_bar;
pub mod picker;
pub mod plot;
pub mod spots;
pub mod states;
pub mod stream;
pub mod transition;
