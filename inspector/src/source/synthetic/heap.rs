//! A heap that obeys the patent's state diagram and holds no memory.
//!
//! Only counts are simulated, not blocks: a superblock is its anchor's count, the credits reserved
//! from it, and its state. The invariants are those of the real core: a superblock is ACTIVE exactly
//! if one heap points to it; a partial list holds exactly the PARTIAL ones of its class; every change
//! of state is recorded and bumps the tag.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use lfalloc_protocol::message::{ClassInfo, LargeRecord, TransitionRecord, cause, state};

use super::random::Random;
use super::usage::Usage;

/// Most blocks one reservation takes.
const MAX_CREDITS: u32 = 64;
/// EMPTY superblocks of one size that stay mapped.
const KEPT_EMPTY: usize = 8;
/// Transitions that can still be looked up.
const KEPT_TRANSITIONS: usize = 8192;
/// One update in this many loses to another thread that installed an active superblock meanwhile.
const LOST_UPDATE_ODDS: u32 = 12;

/// One superblock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Superblock {
    pub(super) class: u16,
    pub(super) state: u8,
    /// Whether it is mapped; only EMPTY ones are not.
    pub(super) mapped: bool,
    /// Free blocks, less those reserved.
    pub(super) count: u32,
    /// Reserved by the heap that points here.
    pub(super) credits: u32,
    pub(super) tag: u64,
    pub(super) taken_ns: u64,
    /// Its place among the members of its class.
    position: usize,
}

/// Counters of one class.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    pub(super) allocations: u64,
    pub(super) frees: u64,
    pub(super) retries: u64,
    /// Blocks in the front.
    pub(super) cached: u32,
}

/// The simulated heap.
#[derive(Debug)]
pub(super) struct Heap {
    pub(super) classes: Vec<ClassInfo>,
    pub(super) superblocks: Vec<Superblock>,
    /// `[class][heap]`: the active superblock.
    pub(super) active: Vec<Vec<Option<u32>>>,
    pub(super) counters: Vec<Counters>,
    pub(super) usage: Usage,
    pub(super) large: BTreeMap<u32, LargeRecord>,
    pub(super) large_allocations: u64,
    pub(super) large_frees: u64,
    /// Recorded since they were last taken.
    pub(super) transitions: Vec<TransitionRecord>,
    pub(super) transitions_seen: u64,
    /// The newest ones, taken or not.
    pub(super) history: VecDeque<TransitionRecord>,
    /// Superblocks that changed since they were last taken.
    pub(super) changed: BTreeSet<u32>,
    pub(super) now_ns: u64,
    pub(super) random: Random,
    /// Superblocks of a class that are not EMPTY.
    members: Vec<Vec<u32>>,
    partial: Vec<Vec<u32>>,
    /// EMPTY superblocks, by their size, mapped and not.
    kept: BTreeMap<u32, Vec<u32>>,
    decommitted: BTreeMap<u32, Vec<u32>>,
}

impl Heap {
    pub(super) fn new(classes: Vec<ClassInfo>, heaps: usize, seed: u64) -> Self {
        let count = classes.len();
        Self {
            superblocks: Vec::new(),
            active: vec![vec![None; heaps]; count],
            counters: vec![Counters::default(); count],
            usage: Usage::new(&classes, heaps, seed),
            large: BTreeMap::new(),
            large_allocations: 0,
            large_frees: 0,
            transitions: Vec::new(),
            transitions_seen: 0,
            history: VecDeque::new(),
            changed: BTreeSet::new(),
            now_ns: 0,
            random: Random::new(seed),
            members: vec![Vec::new(); count],
            partial: vec![Vec::new(); count],
            kept: BTreeMap::new(),
            decommitted: BTreeMap::new(),
            classes,
        }
    }

    /// Fills the heap with `count` superblocks as a long run might have left them, without
    /// recording how they got there.
    pub(super) fn populate(&mut self, count: u32) {
        for _ in 0..count {
            let class = self.pick_class();
            let id = self.create(class);
            let maxcount = self.maxcount(class);
            let roll = self.random.below(100);
            let heaps = self.active[class].len();
            let idle = (0..heaps).find(|&heap| self.active[class][heap].is_none());
            let mut owner = self.usage.some_heap();
            if let (Some(heap), 0..20) = (idle, roll) {
                let live = self.random.below(maxcount / 2);
                let credits = MAX_CREDITS.min(maxcount - live);
                self.set(id, state::ACTIVE, maxcount - live - credits, credits);
                self.active[class][heap] = Some(id);
                owner = heap;
            } else if roll < 60 {
                self.set(id, state::FULL, 0, 0);
            } else if roll < 95 {
                // Sparse superblocks are what people look for: make them common enough to see.
                let live = 1 + self.random.below(maxcount - 1) * self.random.below(101) / 100;
                self.set(id, state::PARTIAL, (maxcount - live).clamp(1, maxcount - 1), 0);
                self.partial[class].push(id);
            } else {
                self.set(id, state::EMPTY, maxcount, 0);
                self.leave_class(id);
                self.kept.entry(self.classes[class].superblock_bytes).or_default().push(id);
            }
            let superblock = self.superblocks[id as usize];
            let live = self.live(&superblock);
            let past = u64::from(self.random.below(1 << 20));
            self.allocated(class, owner, u64::from(live) + past);
            self.freed(class, owner, past);
            self.usage.ran_dry(class, owner);
            self.usage.refilled(
                class,
                owner,
                1 + (u64::from(live) + past) / u64::from(MAX_CREDITS),
            );
        }
        self.now_ns = 90_000_000_000;
        self.transitions.clear();
        self.changed.clear();
    }

    /// Blocks of `superblock` that are neither free nor reserved.
    pub(super) fn live(&self, superblock: &Superblock) -> u32 {
        if superblock.state == state::EMPTY {
            return 0;
        }
        self.maxcount(usize::from(superblock.class)) - superblock.count - superblock.credits
    }

    /// One allocation of `class` by heap `heap`: Figures 3 to 7.
    pub(super) fn malloc(&mut self, class: usize, heap: usize) {
        self.allocated(class, heap, 1);
        if self.random.below(40) == 0 {
            self.counters[class].retries += 1 + u64::from(self.random.below(3));
        }
        if let Some(id) = self.active[class][heap] {
            self.malloc_from_active(class, heap, id);
            return;
        }
        self.usage.ran_dry(class, heap);
        if let Some(id) = self.partial[class].pop() {
            self.malloc_from_partial(class, heap, id);
        } else {
            self.malloc_from_new(class, heap);
        }
    }

    /// Counts `blocks` handed out, by the front or by the heap itself.
    pub(super) fn allocated(&mut self, class: usize, heap: usize, blocks: u64) {
        self.counters[class].allocations += blocks;
        self.usage.allocated(class, heap, blocks);
    }

    /// Counts `blocks` given back.
    pub(super) fn freed(&mut self, class: usize, heap: usize, blocks: u64) {
        self.counters[class].frees += blocks;
        self.usage.freed(class, heap, blocks);
    }

    fn malloc_from_active(&mut self, class: usize, heap: usize, id: u32) {
        self.touch(id).credits -= 1;
        let Superblock { credits, count, .. } = self.superblocks[id as usize];
        if credits > 0 {
            return;
        }
        if count == 0 {
            self.active[class][heap] = None;
            self.transition(id, state::FULL, cause::MALLOC_FROM_ACTIVE);
        } else if self.random.below(LOST_UPDATE_ODDS) == 0 {
            // Another thread found the heap empty for a moment and installed its own.
            self.active[class][heap] = None;
            self.transition(id, state::PARTIAL, cause::UPDATE_ACTIVE);
            self.usage.ran_dry(class, heap);
            self.malloc_from_new(class, heap);
            self.allocated(class, heap, 1);
            self.partial[class].push(id);
        } else {
            self.usage.refilled(class, heap, 1);
            let more = count.min(MAX_CREDITS);
            let superblock = self.touch(id);
            superblock.count -= more;
            superblock.credits = more;
        }
    }

    fn malloc_from_partial(&mut self, class: usize, heap: usize, id: u32) {
        let count = self.superblocks[id as usize].count;
        if count == 1 {
            self.touch(id).count = 0;
            self.transition(id, state::FULL, cause::MALLOC_FROM_PARTIAL);
        } else {
            let more = (count - 1).min(MAX_CREDITS);
            let superblock = self.touch(id);
            superblock.count -= 1 + more;
            superblock.credits = more;
            self.active[class][heap] = Some(id);
            self.usage.refilled(class, heap, 1);
            self.transition(id, state::ACTIVE, cause::MALLOC_FROM_PARTIAL);
        }
    }

    fn malloc_from_new(&mut self, class: usize, heap: usize) {
        let bytes = self.classes[class].superblock_bytes;
        let maxcount = self.maxcount(class);
        let reused = self
            .kept
            .get_mut(&bytes)
            .and_then(Vec::pop)
            .or_else(|| self.decommitted.get_mut(&bytes).and_then(Vec::pop));
        let id = if let Some(id) = reused {
            self.join_class(id, class);
            id
        } else {
            self.create(class)
        };
        let now = self.now_ns;
        let superblock = self.touch(id);
        superblock.mapped = true;
        superblock.taken_ns = now;
        superblock.credits = (maxcount - 1).min(MAX_CREDITS);
        superblock.count = maxcount - 1 - superblock.credits;
        self.active[class][heap] = Some(id);
        self.usage.refilled(class, heap, 1);
        self.transition(id, state::ACTIVE, cause::MALLOC_FROM_NEW_SB);
    }

    /// One free of a block of `class`, if any is live: Figure 2.
    pub(super) fn free(&mut self, class: usize, heap: usize) {
        let Some(id) = self.pick_live(class) else {
            return;
        };
        self.freed(class, heap, 1);
        let maxcount = self.maxcount(class);
        let superblock = self.touch(id);
        superblock.count += 1;
        let (from, count) = (superblock.state, superblock.count);
        match from {
            state::FULL => {
                self.transition(id, state::PARTIAL, cause::FREE);
                self.partial[class].push(id);
            }
            state::PARTIAL if count == maxcount => {
                self.partial[class].retain(|&other| other != id);
                self.retire(id, cause::FREE);
            }
            _ => {}
        }
    }

    /// Frees all blocks of a FULL superblock of `class` at once, if there is one.
    pub(super) fn free_batch(&mut self, class: usize, heap: usize) {
        let found = self.members[class]
            .iter()
            .copied()
            .find(|&id| self.superblocks[id as usize].state == state::FULL);
        let Some(id) = found else { return };
        let maxcount = self.maxcount(class);
        if self.counters[class].cached > 0 {
            return;
        }
        self.freed(class, heap, u64::from(maxcount));
        self.touch(id).count = maxcount;
        self.retire(id, cause::FREE_BATCH);
    }

    /// Takes the active superblock out of a heap: out of one whose superblock is all free if there
    /// is any, since that is what a purge is for, else out of this one.
    pub(super) fn purge(&mut self, class: usize, heap: usize) {
        let (class, heap) = self.find_idle().unwrap_or((class, heap));
        let Some(id) = self.active[class][heap].take() else {
            return;
        };
        let maxcount = self.maxcount(class);
        let superblock = self.touch(id);
        superblock.count += superblock.credits;
        superblock.credits = 0;
        if superblock.count == maxcount {
            self.retire(id, cause::PURGE);
        } else {
            self.transition(id, state::PARTIAL, cause::PURGE);
            self.partial[class].push(id);
        }
    }

    fn find_idle(&self) -> Option<(usize, usize)> {
        self.active.iter().enumerate().find_map(|(class, heaps)| {
            let idle = |active: &Option<u32>| {
                active.is_some_and(|id| self.live(&self.superblocks[id as usize]) == 0)
            };
            heaps.iter().position(idle).map(|heap| (class, heap))
        })
    }

    /// A large block comes or goes.
    pub(super) fn churn_large(&mut self) {
        let held: Vec<u32> =
            self.large.values().filter(|block| !block.cached).map(|block| block.id).collect();
        if held.len() > 24 || (!held.is_empty() && self.random.below(2) == 0) {
            let id = held[self.random.below(held.len() as u32) as usize];
            self.large_frees += 1;
            if self.random.below(3) == 0 {
                self.large.remove(&id);
            } else if let Some(block) = self.large.get_mut(&id) {
                block.cached = true;
            }
            return;
        }
        self.large_allocations += 1;
        if let Some(block) = self.large.values_mut().find(|block| block.cached) {
            block.cached = false;
            return;
        }
        let id = self.large.keys().next_back().map_or(0, |id| id + 1);
        let bytes = 4096 * (70 + u64::from(self.random.below(500)));
        let address = 0x7e00_0000_0000 + u64::from(id) * 0x100_0000;
        self.large.insert(id, LargeRecord { id, address, bytes, age_ns: 0, cached: false });
    }

    /// A class, small ones more often than middle ones.
    pub(super) fn pick_class(&mut self) -> usize {
        let last = self.classes.len() as u32;
        let one = self.random.below(last);
        one.min(self.random.below(last)) as usize
    }

    fn pick_live(&mut self, class: usize) -> Option<u32> {
        let members = self.members[class].len() as u32;
        if members == 0 {
            return None;
        }
        // A few tries: frees are not worth a search.
        for _ in 0..4 {
            let id = self.members[class][self.random.below(members) as usize];
            let superblock = self.superblocks[id as usize];
            // Not what is cached, whichever superblock it is of.
            let Counters { allocations, frees, .. } = self.counters[class];
            if self.live(&superblock) > 0 && allocations > frees {
                return Some(id);
            }
        }
        None
    }

    /// Blocks of superblock `id` that magazines and the depot hold of its class, if they hold those of the first superblocks.
    pub(super) fn cached_before(&self, id: u32, cached: [u32; 2]) -> [u32; 2] {
        let Some(this) = self.superblocks.get(id as usize) else { return [0; 2] };
        let of_class = self.superblocks.iter().take(id as usize);
        let of_class = of_class.filter(|one| one.class == this.class && one.mapped);
        let before: u32 = of_class.map(|one| self.live(one)).sum();
        let mut here = if this.mapped { self.live(this) } else { 0 };
        let (mut skipped, mut found) = (before, [0; 2]);
        for (found, all) in found.iter_mut().zip(cached) {
            let left = all.saturating_sub(skipped);
            skipped = skipped.saturating_sub(all);
            *found = left.min(here);
            here -= *found;
        }
        found
    }

    pub(super) fn maxcount(&self, class: usize) -> u32 {
        self.classes[class].blocks_per_superblock
    }

    fn touch(&mut self, id: u32) -> &mut Superblock {
        self.changed.insert(id);
        &mut self.superblocks[id as usize]
    }

    fn set(&mut self, id: u32, state: u8, count: u32, credits: u32) {
        let superblock = &mut self.superblocks[id as usize];
        superblock.state = state;
        superblock.mapped = true;
        superblock.count = count;
        superblock.credits = credits;
        superblock.tag = 1 + u64::from(id % 40);
    }

    fn create(&mut self, class: usize) -> u32 {
        let id = self.superblocks.len() as u32;
        self.superblocks.push(Superblock {
            class: class as u16,
            state: state::EMPTY,
            mapped: false,
            count: self.maxcount(class),
            credits: 0,
            tag: 0,
            taken_ns: self.now_ns,
            position: 0,
        });
        self.join_class(id, class);
        id
    }

    fn join_class(&mut self, id: u32, class: usize) {
        let superblock = &mut self.superblocks[id as usize];
        superblock.class = class as u16;
        superblock.position = self.members[class].len();
        self.members[class].push(id);
    }

    fn leave_class(&mut self, id: u32) {
        let Superblock { class, position, .. } = self.superblocks[id as usize];
        let members = &mut self.members[usize::from(class)];
        members.swap_remove(position);
        if let Some(&moved) = members.get(position) {
            self.superblocks[moved as usize].position = position;
        }
    }

    /// All blocks are free and no heap points to it: EMPTY, kept or decommitted.
    fn retire(&mut self, id: u32, cause: u8) {
        self.transition(id, state::EMPTY, cause);
        self.leave_class(id);
        let class = usize::from(self.superblocks[id as usize].class);
        let bytes = self.classes[class].superblock_bytes;
        let kept = self.kept.entry(bytes).or_default();
        if kept.len() < KEPT_EMPTY {
            kept.push(id);
        } else {
            self.touch(id).mapped = false;
            self.decommitted.entry(bytes).or_default().push(id);
        }
    }

    fn transition(&mut self, id: u32, to: u8, cause: u8) {
        self.now_ns += 1_700;
        let uptime_ns = self.now_ns;
        let superblock = self.touch(id);
        superblock.tag += 1;
        let from = std::mem::replace(&mut superblock.state, to);
        let (class, tag) = (superblock.class, superblock.tag);
        self.transitions_seen += 1;
        let record = TransitionRecord { uptime_ns, superblock: id, class, from, to, cause, tag };
        self.transitions.push(record);
        if self.history.len() == KEPT_TRANSITIONS {
            self.history.pop_front();
        }
        self.history.push_back(record);
    }
}
