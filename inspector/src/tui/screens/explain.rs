//! `x`: what a figure is, its unit, how it is computed, whether it is exact.

use lfalloc_protocol::message::state;
use ratatui::text::{Line, Span};

use super::{help, paint};
use crate::tui::class_table::Column;
use crate::tui::edge::Edge;
use crate::tui::figure::Figure;
use crate::tui::model::Model;

/// What there is to say about a figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Its name.
    pub title: String,
    /// What it is.
    pub what: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// How it is computed.
    pub how: &'static str,
    /// Whether it is exact.
    pub exact: &'static str,
}

const CONSISTENT: &str = "Exact when the state is consistent (see Books); otherwise it was read while things moved, and \
     is shown as read, never clamped.";
const RATE: &str = "The counter is exact; the rate is its difference over the last two seconds or so, by the \
     clock of the program that is watched.";
const SEEN: &str = "Counted by this viewer from the transitions it was sent: too low by those that it missed \
     (see events lost). A rate during which some were missed is marked as a lower bound.";

fn explanation(
    title: impl Into<String>,
    what: &'static str,
    unit: &'static str,
    how: &'static str,
    exact: &'static str,
) -> Explanation {
    Explanation { title: title.into(), what, unit, how, exact }
}

/// What there is to say about `figure`.
#[must_use]
pub fn explain(figure: Figure) -> Explanation {
    match figure {
        Figure::Column(column) => explain_column(column),
        Figure::Edge(edge) => explain_edge(edge),
        Figure::State(code) => explain_state(code),
        Figure::Term(term) => explanation(term.title, term.what, term.unit, term.how, term.exact),
        Figure::Mapped
        | Figure::Live
        | Figure::Large
        | Figure::Free
        | Figure::Credit
        | Figure::Cached
        | Figure::EmptyKept
        | Figure::LargeCached
        | Figure::Tail
        | Figure::Unused
        | Figure::Metadata
        | Figure::Front
        | Figure::Rounding
        | Figure::Resident => explain_part(figure),
        Figure::Balance
        | Figure::Consistent
        | Figure::InHand
        | Figure::Difference
        | Figure::Missed
        | Figure::AgentCost => explain_books(figure),
        _ => explain_figure(figure),
    }
}

fn explain_part(figure: Figure) -> Explanation {
    if figure == Figure::Rounding {
        return explanation(
            "rounding",
            "What the live blocks are larger than what was asked for, since requests are rounded up to a size class. \
             It is part of live.",
            "bytes, and half the width of the 95 % interval",
            "For each class: the mean slack of the requests that were sampled × its live blocks.",
            "An estimate: the sample is of allocations, not of live blocks. Without samples it is not shown; \
             of a class with a single sample the error is a whole block for each.",
        );
    }
    if figure == Figure::Front {
        return explanation(
            "magazines",
            "The front before the heaps: how many of the blocks popped were there already, how often batches \
             are moved, how many operations were interrupted and went to the core, and how much it holds of what it may.",
            "percent; per second; bytes",
            "1 − refills / pops; refills + flushes; aborts: differences over the last seconds, of all magazines. At most: 64 KiB \
             of each class (2 to 254 blocks) for each processor that has used one, and 256 KiB (or 2 batches) of each in the depot.",
            "Exact at rest; the hit rate may be too low by one block in a batch. Agents before protocol 1.3 tell only what is cached.",
        );
    }
    let part = |title, what, how| explanation(title, what, "bytes", how, CONSISTENT);
    match figure {
        Figure::Mapped => part(
            "mapped",
            "Memory that lfalloc has mapped from the system and not given back.",
            "Counted where memory is mapped and unmapped, independently of the parts below.",
        ),
        Figure::Live => part(
            "live",
            "Blocks of superblocks that the program holds, rounding up to the size class included.",
            "For each class: (blocks − free − reserved − cached) × block size.",
        ),
        Figure::Large => part(
            "large",
            "Large blocks that the program holds: each has a mapping of its own [0047].",
            "Sum of the bytes mapped for them, whole pages.",
        ),
        Figure::Free => part(
            "free",
            "Free blocks in ACTIVE and PARTIAL superblocks: external fragmentation, until they are used again.",
            "Sum of count × block size over the anchors.",
        ),
        Figure::Credit => part(
            "credits",
            "Blocks that heaps hold reserved: the next allocations take them with one compare-and-swap \
             each, without touching the superblock's anchor first.",
            "For each heap with an active superblock: (credits field + 1) × block size.",
        ),
        Figure::Cached => part(
            "cached",
            "Blocks in magazines and depot, the front before the heaps; 0 where there is no front.",
            "Blocks of every magazine and batch × block size.",
        ),
        Figure::EmptyKept => part(
            "EMPTY kept",
            "Superblocks without a live block that stay mapped, so that the next one needed is at hand; beyond a \
             bounded reserve they are given back.",
            "EMPTY and mapped superblocks × superblock size.",
        ),
        Figure::LargeCached => part(
            "large kept",
            "Large blocks that were freed and are kept for reuse: at most as many bytes as are in use, and 256 MiB.",
            "Sum of the bytes mapped for them.",
        ),
        Figure::Tail => part(
            "tail",
            "What is left behind the last block of a superblock: blocks do not always divide it.",
            "For each superblock that is not EMPTY: size − blocks × block size.",
        ),
        Figure::Unused => part(
            "unused",
            "Mapped, but not part of a superblock yet.",
            "Address ranges of the allocator in which no superblock has been made.",
        ),
        Figure::Metadata => part(
            "metadata",
            "The allocator's own tables: descriptors, heaps, the map from addresses; and the agent's buffers.",
            "Counted where they are mapped.",
        ),
        _ => explanation(
            "RSS",
            "Resident memory of the whole program. What exceeds the mapped bytes certainly lies outside lfalloc: \
             code, stacks, other allocators, mapped files.",
            "bytes",
            "Read by this viewer from /proc, not by the agent. Mapped pages that were never touched are not resident, \
             so the difference to mapped is a lower bound.",
            "As exact as the kernel's own accounting, and read at another moment than the state.",
        ),
    }
}

fn explain_state(code: u8) -> Explanation {
    let what = match code {
        state::ACTIVE => {
            "A heap points to these superblocks (or a thread is about to make one do so): \
             allocations are served from them."
        }
        state::FULL => {
            "No block of these is free. No heap and no list holds them: a free finds them through \
             the address of the block."
        }
        state::PARTIAL => {
            "Some blocks are free, and no heap points to them: they wait on the partial lists. \
             Sparse ones are external fragmentation."
        }
        _ => "All blocks are free, and no heap points to them: ready for any class of their size.",
    };
    explanation(
        format!("{} superblocks", state::name(code)),
        what,
        "superblocks; bytes; share of all superblocks",
        "Counted by the state field of the anchors, class by class; EMPTY ones only while mapped.",
        CONSISTENT,
    )
}

fn explain_figure(figure: Figure) -> Explanation {
    match figure {
        Figure::Allocations => explanation(
            "allocations",
            "How often memory was asked for and handed out, large blocks included.",
            "per second",
            "Difference of the counter between two states.",
            RATE,
        ),
        Figure::Frees => explanation(
            "frees",
            "How often memory was given back, large blocks included.",
            "per second",
            "Difference of the counter between two states.",
            RATE,
        ),
        Figure::Retries => explanation(
            "CAS retries",
            "Compare-and-swaps that failed and were tried again. Each failure is the progress of \
             another thread: a measure of contention.",
            "per second, and per 1000 allocations and frees",
            "Sum of the counters of all classes.",
            RATE,
        ),
        Figure::Transitions => explanation(
            "transitions",
            "Changes of state of superblocks: the slow path. Few of them for each allocation means that \
             the fast paths carry the load.",
            "per second",
            "Counted by the program, whether or not they could be recorded.",
            RATE,
        ),
        Figure::External => explanation(
            "EXT%",
            "External fragmentation: what superblocks in use hold and nobody does.",
            "percent",
            "(free + credits) / bytes of superblocks that are not EMPTY.",
            CONSISTENT,
        ),
        Figure::Waste => explanation(
            "waste",
            "Mapped memory that holds nothing of the program's.",
            "percent",
            "1 − (live + large) / mapped.",
            CONSISTENT,
        ),
        Figure::Occupancy => explanation(
            "PARTIAL by occupancy",
            "How full the PARTIAL superblocks are. Many at the top of the list (0-10%) are pinned by a few \
             live blocks each.",
            "superblocks",
            "For each: (blocks − count − reserved) / blocks.",
            "Exact when the state is consistent; otherwise each superblock is read exactly or marked, and the set \
             of them is not one instant.",
        ),
        Figure::ClassWaste => explanation(
            "waste of a class",
            "Bytes of the class's superblocks, EMPTY ones it used last included, less its live bytes.",
            "bytes",
            "superblocks × superblock size − live blocks × block size.",
            CONSISTENT,
        ),
        _ => explanation(
            "events",
            "Transitions of superblocks: time since the program started, number of the superblock, block size of its class, \
             state before and after, the procedure that did it with its paragraph in the patent, and the tag.",
            "one line each; time in seconds",
            "Recorded by the program on its slow path. The order within one superblock is that of the tags.",
            "Times are best effort; gaps are shown where something is missing.",
        ),
    }
}

fn explain_books(figure: Figure) -> Explanation {
    match figure {
        Figure::Balance => explanation(
            "parts",
            "Whether the books balance: mapped is counted independently, and must equal the sum of the parts.",
            "bytes",
            "mapped − (live + large + free + credits + cached + EMPTY kept + large kept + tail + unused + metadata).",
            "A difference in a consistent state is a fault. In any other it is none: things moved meanwhile, or a \
             thread held some of them in hand.",
        ),
        Figure::Consistent => explanation(
            "consistent",
            "Whether nothing moved while the state was taken and no thread held anything in hand, so that all of \
             it is one instant.",
            "yes or no, and attempts",
            "The agent takes the state again, a bounded number of times, until its counters are the same before \
             and after, and in hand is 0.",
            "Exact, but for operations under way that had changed something and not counted it yet: up to one \
             block each.",
        ),
        Figure::InHand => explanation(
            "in hand",
            "Superblocks, large blocks and batches that some thread holds between two containers just now. A number \
             that never falls is what threads that died inside have stranded: each strands at most one superblock \
             or large block (or the addresses of a new run, 1 to 4 MiB) and two batches, of 64 KiB at most.",
            "superblocks, large blocks and batches",
            "Raised before a thread takes one, lowered after it has put it away.",
            "Exact, as an upper bound.",
        ),
        Figure::Difference => explanation(
            "allocations − frees",
            "Blocks and large blocks handed out and not given back: a second way of counting what is live.",
            "blocks",
            "Difference of the two counters after the state was taken.",
            "It may differ from what the state holds by up to one block per operation under way, plus in hand.",
        ),
        Figure::Missed => explanation(
            "events lost",
            "Transitions that this viewer never saw: not recorded since their slot in the ring was busy, \
             overwritten before they were read, or left out for a slow viewer.",
            "transitions; states where the viewer was too slow",
            "The program's count of dropped transitions + those missing between messages + what the agent left out.",
            "Exact for what is known to be missing.",
        ),
        _ => explanation(
            "agent",
            "What watching costs: the agent's thread in the program that is watched.",
            "percent of one processor; bytes",
            "Difference of its thread's processor time between two states; size of its buffers, part of metadata.",
            "As exact as the kernel's clock of the thread.",
        ),
    }
}

fn explain_column(column: Column) -> Explanation {
    match column {
        Column::Class => explanation(
            "#",
            "Number of the size class.",
            "none",
            "As the allocator was built.",
            "Exact.",
        ),
        Column::Block => explanation(
            "block",
            "Size of one block. A request is rounded up to the next one.",
            "bytes",
            "As the allocator was built.",
            "Exact.",
        ),
        Column::Active => explain_state(state::ACTIVE),
        Column::Full => explain_state(state::FULL),
        Column::Partial => explain_state(state::PARTIAL),
        Column::Empty => explain_state(state::EMPTY),
        Column::Live => explanation(
            "live",
            "Blocks of the class that the program holds.",
            "blocks",
            "blocks of superblocks that are not EMPTY − free − reserved − cached.",
            CONSISTENT,
        ),
        Column::Utilisation => explanation(
            "util",
            "How much of the class's superblocks the program uses.",
            "percent",
            "live blocks / blocks of superblocks that are not EMPTY.",
            CONSISTENT,
        ),
        Column::Waste => explain_figure(Figure::ClassWaste),
        Column::External => explain_figure(Figure::External),
        Column::Pinned => explanation(
            "<10%",
            "Pinned superblocks: less than a tenth of each is live, but something is, so that none can go back to the \
             system. Long-lived blocks among short-lived ones do this.",
            "superblocks",
            "Superblocks of the class that are not EMPTY with 0 < live and cached blocks < 10 % of maxcount.",
            CONSISTENT,
        ),
        Column::Savings => explanation(
            "save",
            "What would be free if the live blocks of the class lay as densely as they can. Blocks cannot be moved: \
             it is a measure of what fragmentation costs.",
            "bytes of superblocks",
            "(superblocks in use − live and cached blocks / maxcount, rounded up) × superblock size.",
            CONSISTENT,
        ),
        Column::Internal => explanation(
            "INT%",
            "Estimated share of the live bytes that is rounding up from the requested size to the block.",
            "percent of the class's live bytes",
            "Mean slack of the sampled requests × live blocks / live bytes.",
            "An estimate: a mean over sampled allocations, not over live blocks. Without samples there is none.",
        ),
        Column::Cached => explanation(
            "cached",
            "Blocks of the class in magazines and depot.",
            "blocks",
            "Counted per magazine and batch; 0 where there is no front.",
            CONSISTENT,
        ),
        Column::Allocations => explanation(
            "alloc/s",
            "Blocks of the class that were handed out. Large blocks belong to no class.",
            "per second",
            "Difference of the class's counter between two states.",
            RATE,
        ),
        Column::Transitions => explanation(
            "trans/s",
            "Changes of state of the class's superblocks.",
            "per second",
            "Difference between two states of the transitions that this viewer has seen.",
            SEEN,
        ),
    }
}

fn explain_edge(edge: Edge) -> Explanation {
    let (from, to) = (state::name(edge.from()), state::name(edge.to()));
    explanation(
        format!("{from} to {to}: {} {}", edge.procedure(), edge.paragraph()),
        edge.story(),
        "transitions per second; transitions seen in all",
        "Difference between two states of the transitions along this edge.",
        SEEN,
    )
}

/// The explanation in lines for the popup.
#[must_use]
pub fn lines(model: &Model, figure: Figure) -> Vec<Line<'static>> {
    let explanation = explain(figure);
    let width = usize::from(help::width(model)).saturating_sub(12);
    let theme = &model.theme;
    let mut lines = Vec::new();
    let entries = [
        ("what", explanation.what),
        ("unit", explanation.unit),
        ("computed", explanation.how),
        ("exact", explanation.exact),
    ];
    for (name, text) in entries {
        let text = if theme.glyphs.ascii {
            text.replace('−', "-").replace('×', "x")
        } else {
            text.to_owned()
        };
        for (place, text) in paint::wrap(&text, width).into_iter().enumerate() {
            let name = if place == 0 { name } else { "" };
            lines.push(Line::from(vec![
                Span::styled(format!(" {name:<9} "), theme.key()),
                Span::raw(text),
            ]));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    //! Aim: there is something to say about every figure, and in ASCII it is ASCII.
    use super::*;
    use crate::tui::ThemeName;
    use crate::tui::figure::Pane;
    use crate::tui::theme::{Depth, Theme};

    #[test]
    fn every_figure_is_explained() {
        let panes = Pane::ALL.into_iter().flat_map(|pane| pane.figures().iter().copied());
        let columns = Column::ALL.into_iter().map(Figure::Column);
        let edges = Edge::ALL.into_iter().map(Figure::Edge);
        let theme = Theme::new(Depth::None, true, ThemeName::Dark);
        let model = Model::new(theme, 4.0, (80, 24));
        let mut titles = Vec::new();
        for figure in panes.chain(columns).chain(edges).chain([Figure::Events]) {
            let said = explain(figure);
            for text in [said.title.as_str(), said.what, said.unit, said.how, said.exact] {
                assert!(!text.is_empty(), "{figure:?}");
            }
            for line in lines(&model, figure) {
                assert!(line.to_string().is_ascii(), "{line}");
            }
            titles.push((said.title, said.what));
        }
        // Only the figures that are on two screens are explained alike.
        titles.sort_unstable();
        titles.dedup();
        assert!(titles.len() >= 40, "{}", titles.len());
    }
}
