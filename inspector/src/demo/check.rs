//! Whether a walk went over every edge of the state diagram, in legal order.
//!
//! Transitions are recorded in the order in which threads came to the ring, which is not the order
//! in which they happened. Within one superblock the tag is: each transition raises it. So for each
//! superblock, by tag: a transition starts in the state in which the one before it ended, and the
//! first one starts from EMPTY, since the walk was waited for.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use lfalloc_examples::walk::EDGES;
use lfalloc_protocol::message::{TransitionRecord, cause, state};

use crate::report;

/// State before, state after, cause, in the numbers of the protocol.
type Edge = (u8, u8, u8);

/// What a walk's transitions show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Each edge, and how often it was seen. Those that the diagram lacks come last.
    counts: Vec<(Edge, u64)>,
    /// How many of `counts` are in the diagram.
    in_diagram: usize,
    /// The first transition that does not follow from the one before it.
    broken: Option<String>,
    missed: u64,
    superblocks: usize,
}

/// Judges `records`; `missed` more were lost.
pub(super) fn verdict(records: &[TransitionRecord], missed: u64) -> Verdict {
    let diagram =
        EDGES.iter().map(|(from, to, cause)| (*from as u8, *to as u8, *cause as u8)).collect();
    judge(diagram, records, missed)
}

fn judge(diagram: Vec<Edge>, records: &[TransitionRecord], missed: u64) -> Verdict {
    let in_diagram = diagram.len();
    let mut counts: Vec<(Edge, u64)> = diagram.into_iter().map(|edge| (edge, 0)).collect();
    let mut chains: BTreeMap<u32, Vec<&TransitionRecord>> = BTreeMap::new();
    for record in records {
        let edge = (record.from, record.to, record.cause);
        match counts.iter_mut().find(|(known, _)| *known == edge) {
            Some((_, count)) => *count += 1,
            None => counts.push((edge, 1)),
        }
        chains.entry(record.superblock).or_default().push(record);
    }
    let broken = chains.values_mut().find_map(|chain| first_break(chain));
    Verdict { counts, in_diagram, broken, missed, superblocks: chains.len() }
}

/// Sorts the transitions of one superblock and describes the first that does not follow.
fn first_break(chain: &mut [&TransitionRecord]) -> Option<String> {
    chain.sort_by_key(|record| record.tag);
    let mut before = state::EMPTY;
    let mut last_tag = None;
    for record in chain.iter() {
        if record.from != before || last_tag == Some(record.tag) {
            return Some(format!("{} follows {}", report::transition(record), state::name(before)));
        }
        before = record.to;
        last_tag = Some(record.tag);
    }
    None
}

impl Verdict {
    /// Why the walk does not pass; `None` if it does.
    pub(super) fn failure(&self) -> Option<String> {
        if self.missed > 0 {
            return Some(format!(
                "{} transitions were lost before they were read, so that nothing is shown: try again",
                self.missed
            ));
        }
        if let Some(broken) = &self.broken {
            return Some(format!("illegal order: {}", broken.trim()));
        }
        let (diagram, others) = self.counts.split_at(self.in_diagram);
        if let Some((edge, count)) = others.first() {
            return Some(format!("not in the state diagram, seen {count} times: {}", name(*edge)));
        }
        let unseen: Vec<_> =
            diagram.iter().filter(|(_, count)| *count == 0).map(|(edge, _)| name(*edge)).collect();
        (!unseen.is_empty()).then(|| format!("never seen: {}", unseen.join("; ")))
    }

    /// The edges and their counts, and a last line that says whether all is well.
    pub(super) fn table(&self) -> String {
        let mut table = "EDGES OF THE STATE DIAGRAM\n".to_owned();
        // Writing to a String cannot fail.
        for (place, ((from, to, cause), count)) in self.counts.iter().enumerate() {
            let mark = match count {
                _ if place >= self.in_diagram => "ILLEGAL",
                0 => "NOT SEEN",
                _ => "",
            };
            let (from, to, cause) = (state::name(*from), state::name(*to), cause::name(*cause));
            let line = format!("  {from:<7} > {to:<7}  {cause:<17} {count:>7}  {mark}");
            let _ = writeln!(table, "{}", line.trim_end());
        }
        let seen = self.counts[..self.in_diagram].iter().filter(|(_, count)| *count > 0).count();
        let order = if self.broken.is_some() { "ILLEGAL" } else { "legal" };
        let _ = writeln!(
            table,
            "  {seen} of {} edges seen; order {order} in {} superblocks",
            self.in_diagram, self.superblocks
        );
        table
    }
}

fn name((from, to, cause): Edge) -> String {
    format!("{} > {} by {}", state::name(from), state::name(to), cause::name(cause))
}

#[cfg(test)]
mod tests {
    //! Aim: each way a walk can fail is told from one that passes.

    use super::*;

    const NEW: Edge = (state::EMPTY, state::ACTIVE, cause::MALLOC_FROM_NEW_SB);
    const LAST: Edge = (state::ACTIVE, state::FULL, cause::MALLOC_FROM_ACTIVE);

    fn record(tag: u64, (from, to, cause): Edge) -> TransitionRecord {
        TransitionRecord { uptime_ns: 0, superblock: 1, class: 0, from, to, cause, tag }
    }

    fn judged(records: &[TransitionRecord], missed: u64) -> Verdict {
        judge(vec![NEW, LAST], records, missed)
    }

    #[test]
    fn every_edge_in_order_of_tags_passes_however_they_arrive() {
        let verdict = judged(&[record(7, LAST), record(3, NEW)], 0);
        assert_eq!(verdict.failure(), None);
        assert!(verdict.table().contains("2 of 2 edges seen; order legal in 1 superblocks"));
    }

    #[test]
    fn an_unseen_edge_fails() {
        let failure = judged(&[record(1, NEW)], 0).failure().unwrap();
        assert_eq!(failure, "never seen: ACTIVE > FULL by MallocFromActive");
    }

    #[test]
    fn a_wrong_order_fails() {
        let failure = judged(&[record(1, LAST), record(2, NEW)], 0).failure().unwrap();
        assert!(failure.starts_with("illegal order: "), "{failure}");
        let twice = judged(&[record(1, NEW), record(1, LAST)], 0).failure().unwrap();
        assert!(twice.starts_with("illegal order: "), "{twice}");
    }

    #[test]
    fn an_edge_outside_of_the_diagram_fails() {
        let odd = (state::FULL, state::ACTIVE, cause::FREE);
        let verdict = judged(&[record(1, NEW), record(2, LAST), record(3, odd)], 0);
        let failure = verdict.failure().unwrap();
        assert_eq!(failure, "not in the state diagram, seen 1 times: FULL > ACTIVE by free");
        assert!(verdict.table().contains("ILLEGAL"));
    }

    #[test]
    fn lost_transitions_prove_nothing() {
        let verdict = judged(&[record(1, NEW), record(2, LAST)], 1);
        assert!(verdict.failure().unwrap().contains("lost"));
    }
}
