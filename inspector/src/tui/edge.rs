//! The nine edges of the state diagram, each with the procedure of the patent that takes it.
//!
//! | from | to | procedure | |
//! |---|---|---|---|
//! | EMPTY | ACTIVE | `MallocFromNewSB` | \[0073\] |
//! | ACTIVE | FULL | `MallocFromActive` | \[0059\] |
//! | ACTIVE | PARTIAL | `UpdateActive`, or a purge | \[0063\] |
//! | PARTIAL | ACTIVE | `MallocFromPartial` | \[0069\] |
//! | PARTIAL | FULL | `MallocFromPartial` | \[0069\] |
//! | FULL | PARTIAL | `free` | \[0046\] |
//! | PARTIAL | EMPTY | `free` | \[0046\] |
//! | FULL | EMPTY | a batch free | |
//! | ACTIVE | EMPTY | a purge | |

use lfalloc_protocol::message::state;

/// An edge of the state diagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Edge {
    /// A superblock is taken, new or again.
    EmptyActive,
    /// The last block was handed out.
    ActiveFull,
    /// A heap let go of a superblock with free blocks.
    ActivePartial,
    /// A heap took a superblock off a partial list.
    PartialActive,
    /// A thread took the only free block of a superblock off a partial list.
    PartialFull,
    /// The first free into a full superblock.
    FullPartial,
    /// The last live block was freed.
    PartialEmpty,
    /// All blocks were freed at once.
    FullEmpty,
    /// A purge took a superblock without live blocks out of its heap.
    ActiveEmpty,
}

impl Edge {
    /// All edges, in the order in which a person walks through them.
    pub const ALL: [Self; 9] = [
        Self::EmptyActive,
        Self::ActiveFull,
        Self::FullPartial,
        Self::PartialActive,
        Self::PartialFull,
        Self::PartialEmpty,
        Self::ActivePartial,
        Self::FullEmpty,
        Self::ActiveEmpty,
    ];

    /// The edge between two states, if the diagram has one.
    #[must_use]
    pub fn between(from: u8, to: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|edge| edge.from() == from && edge.to() == to)
    }

    /// Its place in [`Edge::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        Self::ALL.iter().position(|&edge| edge == self).unwrap_or(0)
    }

    /// The edge picked after (or before) `picked`; one place in the round is no edge at all.
    #[must_use]
    pub fn next(picked: Option<Self>, forward: bool) -> Option<Self> {
        let places = Self::ALL.len() + 1;
        let place = picked.map_or(places - 1, Self::index);
        Self::ALL.get((place + if forward { 1 } else { places - 1 }) % places).copied()
    }

    /// The state it leaves.
    #[must_use]
    pub fn from(self) -> u8 {
        match self {
            Self::EmptyActive => state::EMPTY,
            Self::ActiveFull | Self::ActivePartial | Self::ActiveEmpty => state::ACTIVE,
            Self::PartialActive | Self::PartialFull | Self::PartialEmpty => state::PARTIAL,
            Self::FullPartial | Self::FullEmpty => state::FULL,
        }
    }

    /// The state it enters.
    #[must_use]
    pub fn to(self) -> u8 {
        match self {
            Self::EmptyActive | Self::PartialActive => state::ACTIVE,
            Self::ActiveFull | Self::PartialFull => state::FULL,
            Self::ActivePartial | Self::FullPartial => state::PARTIAL,
            Self::PartialEmpty | Self::FullEmpty | Self::ActiveEmpty => state::EMPTY,
        }
    }

    /// Name of the procedure that takes it.
    #[must_use]
    pub fn procedure(self) -> &'static str {
        match self {
            Self::EmptyActive => "MallocFromNewSB",
            Self::ActiveFull => "MallocFromActive",
            Self::ActivePartial => "UpdateActive",
            Self::PartialActive | Self::PartialFull => "MallocFromPartial",
            Self::FullPartial | Self::PartialEmpty => "free",
            Self::FullEmpty => "free (batch)",
            Self::ActiveEmpty => "purge",
        }
    }

    /// Paragraph of the patent, empty where the procedure is ours.
    #[must_use]
    pub fn paragraph(self) -> &'static str {
        match self {
            Self::EmptyActive => "[0073]",
            Self::ActiveFull => "[0059]",
            Self::ActivePartial => "[0063]",
            Self::PartialActive | Self::PartialFull => "[0069]",
            Self::FullPartial | Self::PartialEmpty => "[0046]",
            Self::FullEmpty | Self::ActiveEmpty => "",
        }
    }

    /// When it is taken, in a sentence or two.
    #[must_use]
    pub fn story(self) -> &'static str {
        match self {
            Self::EmptyActive => {
                "The heap had no active superblock and the partial list was empty: a thread took an \
                 EMPTY superblock or memory new from the system, kept one block, reserved more as \
                 credits, and installed it in the heap with one compare-and-swap."
            }
            Self::ActiveFull => {
                "A thread took the last credit of the active superblock and found no free block left \
                 to reserve. The heap now points nowhere, and no list holds the superblock: the next \
                 free finds it through its block."
            }
            Self::ActivePartial => {
                "A thread took the last credit and reserved more, but another thread had installed \
                 its own superblock meanwhile: it returned the credits and put the superblock on the \
                 partial list. A purge does the same on purpose."
            }
            Self::PartialActive => {
                "The heap had no active superblock: a thread took one off the partial list, popped a \
                 block, reserved more as credits, and installed it in the heap."
            }
            Self::PartialFull => {
                "As above, but the superblock taken off the partial list had a single free block: \
                 nothing is left to reserve."
            }
            Self::FullPartial => {
                "The first free into a FULL superblock. Who frees it becomes its only holder and puts \
                 it on the partial list, after the change of state."
            }
            Self::PartialEmpty => {
                "A free gave back the last live block. The thread that frees it must not touch the \
                 descriptor again: whoever takes it off the partial list retires it."
            }
            Self::FullEmpty => {
                "A batch free returned every block of a FULL superblock in one compare-and-swap: it \
                 is in no list, so its only holder retires it at once."
            }
            Self::ActiveEmpty => {
                "A purge took the superblock out of its heap, returned the reserved blocks, and \
                 found that every block was free."
            }
        }
    }
}

/// How many transitions were seen, by edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EdgeCounts {
    counts: [u64; 9],
    /// Transitions between states that no edge joins: a fault of the program or of the agent.
    pub off_diagram: u64,
}

impl EdgeCounts {
    /// Counts one transition.
    pub fn add(&mut self, from: u8, to: u8) {
        match Edge::between(from, to) {
            Some(edge) => self.counts[edge.index()] += 1,
            None => self.off_diagram += 1,
        }
    }

    /// Transitions seen along `edge`.
    #[must_use]
    pub fn get(&self, edge: Edge) -> u64 {
        self.counts[edge.index()]
    }

    /// All transitions seen.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.off_diagram
    }
}

#[cfg(test)]
mod tests {
    //! Aim: the table agrees with itself and with the names of the protocol.
    use lfalloc_protocol::message::cause;

    use super::*;

    #[test]
    fn every_edge_is_found_by_its_states_and_by_nothing_else() {
        let mut found = 0;
        for from in 0..=4 {
            for to in 0..=4 {
                if let Some(edge) = Edge::between(from, to) {
                    assert_eq!((edge.from(), edge.to()), (from, to));
                    found += 1;
                }
            }
        }
        assert_eq!(found, Edge::ALL.len());
        for (index, edge) in Edge::ALL.into_iter().enumerate() {
            assert_eq!(edge.index(), index);
        }
    }

    #[test]
    fn procedures_are_causes_of_the_protocol_with_the_same_paragraph() {
        for edge in Edge::ALL {
            let cause = (0..=6).find(|&code| cause::name(code) == edge.procedure());
            let cause = cause.expect("a cause of that name");
            assert_eq!(cause::paragraph(cause), edge.paragraph(), "{edge:?}");
        }
    }

    #[test]
    fn counts_keep_what_is_off_the_diagram_apart() {
        let mut counts = EdgeCounts::default();
        counts.add(state::ACTIVE, state::FULL);
        counts.add(state::FULL, state::ACTIVE);
        counts.add(9, 9);
        assert_eq!((counts.get(Edge::ActiveFull), counts.off_diagram, counts.total()), (1, 2, 3));
    }
}
