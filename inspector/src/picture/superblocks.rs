//! The superblocks of a picture: a table by number that is cheap to keep a copy of.
//!
//! ```text
//!   keys    0      1      3            number / 64, ascending
//!           ▼      ▼      ▼
//!   chunks [0…63] [64…]  [192…]        shared between copies until one of them changes
//! ```
//!
//! Numbers of descriptors are dense, so a chunk is nearly always full and a superblock in it is found at once; sparse
//! ones, which only a broken agent sends, cost time but no more memory than they are. A clone shares every chunk: what
//! is kept of the past costs only what has changed since.

use std::sync::Arc;

use lfalloc_protocol::message::{SuperblockChange, SuperblockRecord, anchor, backing};

/// Superblocks in a chunk at most.
const CHUNK: u32 = 64;

/// One superblock that is mapped, as it was last told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Number of its descriptor.
    pub id: u32,
    /// Its class, or the last one for an EMPTY superblock.
    pub class: u16,
    /// One of [`state`](lfalloc_protocol::message::state).
    pub state: u8,
    /// Whether class and anchor were read as one.
    pub exact: bool,
    /// Address of its first byte.
    pub address: u64,
    /// The anchor word as read.
    pub anchor: u64,
    /// `avail` of the anchor.
    pub avail: u16,
    /// `count` of the anchor.
    pub count: u16,
    /// Blocks reserved by credits of a heap that points here.
    pub credits: u16,
    /// `tag` of the anchor.
    pub tag: u64,
    /// When it was last taken for a class, in nanoseconds that the process had run.
    pub since_ns: u64,
}

impl Superblock {
    /// What `record` says, which was read when the process had run for `uptime_ns`.
    #[must_use]
    pub fn told(record: &SuperblockRecord, uptime_ns: u64) -> Self {
        Self {
            id: record.id,
            class: record.class,
            state: record.state,
            exact: record.exact,
            address: record.address,
            anchor: record.anchor,
            avail: record.avail,
            count: record.count,
            credits: record.credits,
            tag: record.tag,
            since_ns: uptime_ns.saturating_sub(record.age_ns),
        }
    }

    fn change(&mut self, change: &SuperblockChange) {
        self.state = anchor::state(change.anchor);
        self.exact = change.exact;
        self.anchor = change.anchor;
        self.avail = anchor::avail(change.anchor);
        self.count = anchor::count(change.anchor);
        self.credits = change.credits;
        self.tag = anchor::tag(change.anchor);
    }

    /// The record that tells this when the process has run for `uptime_ns`.
    #[must_use]
    pub fn record(&self, uptime_ns: u64) -> SuperblockRecord {
        SuperblockRecord {
            id: self.id,
            class: self.class,
            state: self.state,
            backing: backing::MAPPED,
            address: self.address,
            anchor: self.anchor,
            avail: self.avail,
            count: self.count,
            credits: self.credits,
            exact: self.exact,
            tag: self.tag,
            age_ns: uptime_ns.saturating_sub(self.since_ns),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Chunk {
    /// Number of every superblock in it, divided by [`CHUNK`].
    key: u32,
    /// By number; never empty.
    members: Arc<Vec<Superblock>>,
}

/// The superblocks that are mapped, by number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Superblocks {
    /// By key.
    chunks: Vec<Chunk>,
    len: usize,
}

impl Superblocks {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The superblock of that number.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<&Superblock> {
        let place = self.chunk_place(id / CHUNK).ok()?;
        let members = &self.chunks[place].members;
        let place = member_place(members, id).ok()?;
        Some(&members[place])
    }

    /// All, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Superblock> {
        self.chunks.iter().flat_map(|chunk| chunk.members.iter())
    }

    /// Takes in what was told when the process had run for `uptime_ns`: superblocks that are mapped replace those of the
    /// same number, others remove them; of two about one number the later counts.
    pub fn apply(&mut self, records: &[SuperblockRecord], uptime_ns: u64) {
        if records.is_sorted_by_key(|record| record.id) {
            self.apply_sorted(records, uptime_ns);
        } else {
            let mut sorted = records.to_vec();
            sorted.sort_by_key(|record| record.id);
            self.apply_sorted(&sorted, uptime_ns);
        }
    }

    fn apply_sorted(&mut self, records: &[SuperblockRecord], uptime_ns: u64) {
        let mut new = Vec::new();
        let mut is_emptied = false;
        let mut from = 0;
        for told in records.chunk_by(|one, next| one.id / CHUNK == next.id / CHUNK) {
            let key = told[0].id / CHUNK;
            match self.chunks[from..].binary_search_by_key(&key, |chunk| chunk.key) {
                Ok(place) => {
                    from += place;
                    let members = Arc::make_mut(&mut self.chunks[from].members);
                    self.len -= members.len();
                    change(members, told, uptime_ns);
                    self.len += members.len();
                    is_emptied |= members.is_empty();
                }
                Err(place) => {
                    from += place;
                    let mut members = Vec::with_capacity(told.len());
                    change(&mut members, told, uptime_ns);
                    if !members.is_empty() {
                        self.len += members.len();
                        new.push(Chunk { key, members: Arc::new(members) });
                    }
                }
            }
        }
        if is_emptied {
            self.chunks.retain(|chunk| !chunk.members.is_empty());
        }
        if !new.is_empty() {
            self.chunks.append(&mut new);
            // Two ascending runs, which this sort merges in one pass.
            self.chunks.sort_by_key(|chunk| chunk.key);
        }
    }

    /// Takes in changes of superblocks that are known; others have no place here.
    pub fn change(&mut self, changes: &[SuperblockChange]) {
        let mut known = None;
        for told in changes.chunk_by(|one, next| one.id / CHUNK == next.id / CHUNK) {
            let key = told[0].id / CHUNK;
            // Nearly always the chunk after the one before.
            let next = known.map_or(0, |place| place + 1);
            let place = match self.chunks.get(next) {
                Some(chunk) if chunk.key == key => Ok(next),
                _ => self.chunk_place(key),
            };
            let Ok(place) = place else { continue };
            known = Some(place);
            let members = Arc::make_mut(&mut self.chunks[place].members);
            for change in told {
                if let Ok(place) = member_place(members, change.id) {
                    members[place].change(change);
                }
            }
        }
    }

    /// Bytes of memory that only this copy and not `other` holds, about.
    #[must_use]
    pub fn bytes_beside(&self, other: &Self) -> usize {
        let mut others = other.chunks.iter().peekable();
        let own = self.chunks.iter().filter(|chunk| {
            while others.next_if(|other| other.key < chunk.key).is_some() {}
            !others.peek().is_some_and(|other| Arc::ptr_eq(&other.members, &chunk.members))
        });
        let members: usize = own.map(|chunk| chunk.members.capacity()).sum();
        self.chunks.len() * size_of::<Chunk>() + members * size_of::<Superblock>()
    }

    fn chunk_place(&self, key: u32) -> Result<usize, usize> {
        // Nearly always it is where it is if none is missing.
        match self.chunks.get(key as usize) {
            Some(chunk) if chunk.key == key => Ok(key as usize),
            _ => self.chunks.binary_search_by_key(&key, |chunk| chunk.key),
        }
    }
}

fn member_place(members: &[Superblock], id: u32) -> Result<usize, usize> {
    let place = (id % CHUNK) as usize;
    match members.get(place) {
        Some(member) if member.id == id => Ok(place),
        _ => members.binary_search_by_key(&id, |member| member.id),
    }
}

fn change(members: &mut Vec<Superblock>, told: &[SuperblockRecord], uptime_ns: u64) {
    for record in told {
        let is_mapped = record.backing == backing::MAPPED;
        match member_place(members, record.id) {
            Ok(place) if is_mapped => members[place] = Superblock::told(record, uptime_ns),
            Ok(place) => {
                members.remove(place);
            }
            Err(place) if is_mapped => members.insert(place, Superblock::told(record, uptime_ns)),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    //! Aim: the table is a map by number, whatever is told in whatever order; a copy stays as it was. Method: the same
    //! changes to the table and to a `BTreeMap`.
    use std::collections::BTreeMap;

    use lfalloc_protocol::message::state;
    use proptest::prelude::*;

    use super::*;

    fn record(id: u32, tag: u64, is_mapped: bool) -> SuperblockRecord {
        SuperblockRecord {
            id,
            class: 0,
            state: state::PARTIAL,
            backing: if is_mapped { backing::MAPPED } else { backing::DECOMMITTED },
            address: 0,
            anchor: 0,
            avail: 0,
            count: 0,
            credits: 0,
            exact: true,
            tag,
            age_ns: 7,
        }
    }

    fn is(table: &Superblocks, map: &BTreeMap<u32, Superblock>) -> bool {
        table.len() == map.len()
            && table.iter().eq(map.values())
            && map.keys().all(|&id| table.get(id) == map.get(&id))
    }

    fn ids() -> impl Strategy<Value = u32> {
        prop_oneof![0..200_u32, any::<u32>()]
    }

    proptest! {
        #[test]
        fn it_is_a_map_by_number(
            updates in proptest::collection::vec(
                proptest::collection::vec((ids(), any::<bool>()), 0..40), 0..12),
            sorted: bool,
        ) {
            let (mut table, mut map) = (Superblocks::default(), BTreeMap::new());
            let mut copies = Vec::new();
            for (uptime_ns, mut update) in (10..).zip(updates) {
                if sorted {
                    update.sort_by_key(|(id, _)| *id);
                }
                let told = update.iter().zip(0..).map(|(&(id, is_mapped), tag)| record(id, tag, is_mapped));
                let told: Vec<_> = told.collect();
                table.apply(&told, uptime_ns);
                for record in &told {
                    if record.backing == backing::MAPPED {
                        map.insert(record.id, Superblock::told(record, uptime_ns));
                    } else {
                        map.remove(&record.id);
                    }
                }
                prop_assert!(is(&table, &map));
                for id in [0, 63, 64, u32::MAX] {
                    prop_assert_eq!(table.get(id), map.get(&id));
                }
                copies.push((table.clone(), map.clone()));
            }
            for (table, map) in copies {
                prop_assert!(is(&table, &map), "a copy changed");
            }
        }
    }

    #[test]
    fn a_change_is_of_the_anchor_and_of_what_is_known() {
        let mut table = Superblocks::default();
        let all: Vec<_> = [3, 64, 70, 700].map(|id| record(id, 1, true)).into();
        table.apply(&all, 50);
        let word = 9 | 8 << 13 | u64::from(state::FULL) << 26 | 77 << 28;
        let change = |id| SuperblockChange { id, anchor: word, credits: 5, exact: false };
        // In any order, with what is not known in between.
        table.change(&[700, 3, 65, 64, 1, 9999].map(change));
        let before = Superblock::told(&record(0, 1, true), 50);
        for id in [3, 64, 700] {
            let expected = Superblock {
                id,
                state: state::FULL,
                exact: false,
                anchor: word,
                avail: 9,
                count: 8,
                credits: 5,
                tag: 77,
                ..before
            };
            assert_eq!(table.get(id), Some(&expected));
        }
        assert_eq!(table.get(70), Some(&Superblock { id: 70, ..before }));
        assert_eq!((table.len(), table.get(65)), (4, None));
    }

    #[test]
    fn a_copy_costs_what_changed_since() {
        let mut table = Superblocks::default();
        let all: Vec<_> = (0..6400).map(|id| record(id, 0, true)).collect();
        table.apply(&all, 0);
        let whole = table.bytes_beside(&Superblocks::default());
        assert!(whole >= 6400 * size_of::<Superblock>());
        let copy = table.clone();
        let handles = copy.bytes_beside(&table);
        assert_eq!(handles, 100 * size_of::<Chunk>());
        table.apply(&[record(100, 1, true), record(101, 1, true)], 1);
        assert_eq!(copy.bytes_beside(&table), handles + 64 * size_of::<Superblock>());
        assert_eq!(
            (copy.get(100).map(|s| s.tag), table.get(100).map(|s| s.tag)),
            (Some(0), Some(1))
        );
    }

    #[test]
    fn ages_go_on_from_when_they_were_told() {
        let mut table = Superblocks::default();
        table.apply(&[record(1, 0, true)], 100);
        assert_eq!(table.get(1).map(|superblock| superblock.since_ns), Some(93));
        table.apply(&[record(1, 0, true)], 3);
        assert_eq!(table.get(1).map(|superblock| superblock.since_ns), Some(0));
    }
}
