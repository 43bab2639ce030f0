//! What is known about the process: the picture, its past, and the events.

use lfalloc_protocol::message::{Hello, Kind, SuperblockDetail};

use super::edge::EdgeCounts;
use super::events::EventLog;
use super::history::History;
use crate::fragmentation::{self, Fragmentation};
use crate::picture::{Applied, ClassFigures, Error, OCCUPANCY_STEPS, Picture};

/// Everything one connection has told, in the forms the screens want. Cloned to freeze it.
#[derive(Clone, Debug)]
pub struct Data {
    /// Counts the connections of this viewer: events of two of them do not follow each other.
    pub epoch: u64,
    /// The last complete state.
    pub picture: Picture,
    /// Past states.
    pub history: History,
    /// Transitions.
    pub events: EventLog,
    /// Transitions seen by edge.
    pub edges: EdgeCounts,
    /// States and messages that the agent left out, since this viewer was too slow.
    pub lost: u64,
    /// Figures of every class, by class number, of the last complete state.
    pub figures: Vec<ClassFigures>,
    /// What is lost in every class, by class number, of the last complete state.
    pub fragmentation: Vec<Fragmentation>,
    /// PARTIAL superblocks by occupancy, of the last complete state.
    pub occupancy: [u64; OCCUPANCY_STEPS],
    /// The last close look at a superblock.
    pub detail: Option<SuperblockDetail>,
    /// Transitions seen by class.
    class_transitions: Vec<u64>,
}

impl Data {
    /// Nothing is known yet but the greeting.
    #[must_use]
    pub fn new(hello: Hello, epoch: u64) -> Self {
        Self {
            epoch,
            class_transitions: vec![0; hello.classes.len()],
            picture: Picture::new(hello),
            history: History::default(),
            events: EventLog::default(),
            edges: EdgeCounts::default(),
            lost: 0,
            figures: Vec::new(),
            fragmentation: Vec::new(),
            occupancy: [0; OCCUPANCY_STEPS],
            detail: None,
        }
    }

    /// Applies a frame; whether anything that is shown has changed.
    ///
    /// # Errors
    /// When the frame is malformed.
    pub fn apply(&mut self, kind: Kind, payload: &[u8]) -> Result<bool, Error> {
        match self.picture.apply(kind, payload)? {
            Applied::State => {
                self.figures = self.picture.figures().collect();
                self.fragmentation = fragmentation::by_class(&self.picture);
                self.occupancy = self.picture.partial_occupancy();
                let missed = self.drops().saturating_add(self.picture.end.transitions_dropped);
                self.history.record(&self.picture, self.edges, &self.class_transitions, missed);
            }
            Applied::Transitions(transitions) => {
                for record in &transitions.records {
                    self.edges.add(record.from, record.to);
                    if let Some(count) = self.class_transitions.get_mut(usize::from(record.class)) {
                        *count += 1;
                    }
                }
                self.events.extend(&transitions);
            }
            Applied::Gap(lost) => self.lost = self.lost.saturating_add(lost),
            Applied::Detail(detail) => self.detail = Some(detail),
            Applied::Nothing | Applied::Totals(_) => return Ok(false),
        }
        Ok(true)
    }

    /// Transitions that this viewer never saw: missing in the log, or not recorded by the program.
    #[must_use]
    pub fn drops(&self) -> u64 {
        self.events.missed_total().saturating_add(self.lost)
    }

    /// Bytes of all superblocks in each state, by the state's code.
    #[must_use]
    pub fn bytes_by_state(&self) -> [i64; 4] {
        self.figures.iter().fold([0_i64; 4], |mut sum, class| {
            let record = &class.record;
            let counts = [record.active, record.full, record.partial, record.empty];
            for (bytes, count) in sum.iter_mut().zip(counts) {
                let more = i64::from(count).saturating_mul(i64::from(class.info.superblock_bytes));
                *bytes = bytes.saturating_add(more);
            }
            sum
        })
    }
}
