//! Findings: what is amiss in a program's memory, by which figures, and what helps.
//!
//! A finding is *raised* when its condition has held for [`PERSISTENCE_NS`], and cleared when it has not held for as
//! long: nothing is said about a moment. [`Watch`] is fed with one picture after the other.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::format;
use crate::fragmentation::Fragmentation;
use crate::picture::Picture;

/// How long a condition has to hold, or not to hold, by the clock of the program.
pub const PERSISTENCE_NS: u64 = 3_000_000_000;
/// A class without an allocation for so long is idle.
const IDLE_NS: u64 = 10_000_000_000;
/// Classes that are named.
const NAMED: usize = 4;
const MIB: i64 = 1 << 20;

/// What can be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "`condition` and `meaning` say what each is")]
pub enum Lint {
    BooksDoNotBalance,
    PinnedSuperblocks,
    IdlePartialList,
    StrandedActive,
    SizeClassRounding,
    EmptyHoard,
    CacheHeavy,
}

impl Lint {
    /// All lints, the worst news first.
    pub const ALL: [Self; 7] = [
        Self::BooksDoNotBalance,
        Self::PinnedSuperblocks,
        Self::IdlePartialList,
        Self::StrandedActive,
        Self::SizeClassRounding,
        Self::EmptyHoard,
        Self::CacheHeavy,
    ];

    /// Its name, as `--deny` takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BooksDoNotBalance => "books-do-not-balance",
            Self::PinnedSuperblocks => "pinned-superblocks",
            Self::IdlePartialList => "idle-partial-list",
            Self::StrandedActive => "stranded-active",
            Self::SizeClassRounding => "size-class-rounding",
            Self::EmptyHoard => "empty-hoard",
            Self::CacheHeavy => "cache-heavy",
        }
    }

    /// When it is found.
    #[must_use]
    pub fn condition(self) -> &'static str {
        match self {
            Self::BooksDoNotBalance => {
                "the parts of a consistent state do not sum to what is mapped; told at once"
            }
            Self::PinnedSuperblocks => {
                "superblocks under 10 % live, cached blocks included, hold at least 16 MiB and a tenth of what is mapped"
            }
            Self::IdlePartialList => {
                "classes without an allocation for 10 s hold at least 8 MiB and a tenth of what is mapped free"
            }
            Self::StrandedActive => {
                "ACTIVE superblocks without a live block are at least 16 MiB and a tenth of what is mapped"
            }
            Self::SizeClassRounding => {
                "rounding up, less its error, is at least 4 MiB and a tenth of what is live"
            }
            Self::EmptyHoard => {
                "EMPTY superblocks kept are at least 16 MiB and a quarter of what is mapped"
            }
            Self::CacheHeavy => {
                "magazines and depot hold at least 8 MiB and a quarter of what is live"
            }
        }
    }

    /// What it means.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::BooksDoNotBalance => {
                "The parts of a consistent state do not sum to what is mapped: a fault of the allocator, or damaged memory."
            }
            Self::PinnedSuperblocks => {
                "A few live blocks keep nearly empty superblocks from going back to the system: long-lived objects were \
                 allocated among short-lived ones of the same size."
            }
            Self::IdlePartialList => {
                "Free blocks of sizes that the program no longer asks for: nobody will use them unless it does again."
            }
            Self::StrandedActive => {
                "Heaps hold superblocks in which nothing is live: one for each processor and size that was ever used."
            }
            Self::SizeClassRounding => {
                "Requests are well below the block sizes they are rounded up to."
            }
            Self::EmptyHoard => "Superblocks without a live block are kept for the next need.",
            Self::CacheHeavy => {
                "Much of the memory waits in magazines and depot for the next allocations."
            }
        }
    }

    /// What can be done about it.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::BooksDoNotBalance => {
                "Take a snapshot and report it with the program's version; look for writes beyond blocks."
            }
            Self::PinnedSuperblocks => {
                "Allocate what lives long before the burst, or at another time; keep it in a few large buffers (an arena, a \
                 slab), or copy it out when the burst is over. Which superblocks: screen 3, filter occ<10."
            }
            Self::IdlePartialList => {
                "If the load that used these sizes is over, what still lives in them is what pins them: find it by its size; \
                 a restart of the phase gives the memory back."
            }
            Self::StrandedActive => {
                "LfAlloc.purge() gives them back, for example when a phase of the program is over; fewer threads at once \
                 use fewer heaps."
            }
            Self::SizeClassRounding => {
                "Ask for sizes at or just below the class (screen 2 names the blocks), or grow buffers in steps of them."
            }
            Self::EmptyHoard => "The reserve is bounded; LfAlloc.purge() gives back what is kept.",
            Self::CacheHeavy => "Fewer threads, or a purge when the load is over.",
        }
    }
}

/// The names of all lints with their conditions, a line each.
#[must_use]
pub fn listed() -> String {
    let lines = Lint::ALL.map(|lint| format!("  {:<21} {}", lint.name(), lint.condition()));
    lines.join("\n")
}

/// That a condition holds, and by which figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// What was found.
    pub lint: Lint,
    /// How many bytes it is about.
    pub bytes: i64,
    /// The figures, in a sentence for people.
    pub evidence: String,
    /// Classes it is about, the worst first.
    pub classes: Vec<u16>,
    /// When the program's clock showed it first, nanoseconds.
    pub since_ns: u64,
    /// Whether it has held long enough.
    pub raised: bool,
}

#[derive(Clone, Debug)]
struct Held {
    finding: Finding,
    /// When the condition held last.
    last_ns: u64,
}

/// Looks at one picture after the other.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    held: BTreeMap<Lint, Held>,
    /// By class: allocations ever, and when that number was first seen.
    allocations: Vec<(u64, u64)>,
}

impl Watch {
    /// Looks at the last complete state of `picture`, of which `classes` are the fragmentation figures.
    pub fn look(&mut self, picture: &Picture, classes: &[Fragmentation]) {
        let now = picture.uptime_ns;
        self.allocations.resize(picture.hello.classes.len(), (0, now));
        for record in &picture.classes {
            if let Some(known) = self.allocations.get_mut(usize::from(record.class))
                && known.0 != record.allocations
            {
                *known = (record.allocations, now);
            }
        }
        let idle: Vec<bool> = self
            .allocations
            .iter()
            .map(|(_, since)| now.saturating_sub(*since) >= IDLE_NS)
            .collect();
        for (lint, bytes, evidence, classes) in conditions(picture, classes, &idle) {
            let held = self.held.entry(lint).or_insert_with(|| Held {
                finding: Finding {
                    lint,
                    bytes,
                    evidence: String::new(),
                    classes: Vec::new(),
                    since_ns: now,
                    raised: false,
                },
                last_ns: now,
            });
            held.last_ns = now;
            let finding = &mut held.finding;
            (finding.bytes, finding.evidence, finding.classes) = (bytes, evidence, classes);
            finding.raised |= now.saturating_sub(finding.since_ns) >= PERSISTENCE_NS
                || lint == Lint::BooksDoNotBalance;
        }
        self.held.retain(|_, held| {
            let patience = if held.finding.raised { PERSISTENCE_NS } else { 0 };
            now.saturating_sub(held.last_ns) <= patience
        });
    }

    /// What holds, the worst news first: what was raised, and what may be soon.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.held.values().map(|held| &held.finding)
    }

    /// What was raised.
    pub fn raised(&self) -> impl Iterator<Item = &Finding> {
        self.findings().filter(|finding| finding.raised)
    }
}

type Condition = (Lint, i64, String, Vec<u16>);

/// The conditions that hold now.
fn conditions(picture: &Picture, classes: &[Fragmentation], idle: &[bool]) -> Vec<Condition> {
    let mut found = Vec::new();
    let parts = &picture.parts;
    let (mapped, live) = (parts.mapped, picture.live_bytes());
    if picture.end.consistent && picture.books_balance().unwrap_or(0) != 0 {
        let off = picture.books_balance().unwrap_or(0);
        let evidence = format!("mapped is {} more than the sum of its parts", format::bytes(off));
        found.push((Lint::BooksDoNotBalance, off.saturating_abs(), evidence, Vec::new()));
    }
    let total = crate::fragmentation::total(classes);
    if total.pinned_bytes >= 16 * MIB && total.pinned_bytes >= mapped / 10 {
        let worst = worst(classes, |class| class.pinned_bytes);
        // To a superblock a cached block is live, and of which one it is is not told.
        let cached = if parts.cached > 0 { " or cached" } else { "" };
        let evidence = format!(
            "{} superblocks under 10% live hold {} for {} live{cached} blocks; most in blocks of {}",
            format::thousands(total.pinned),
            format::bytes(total.pinned_bytes),
            format::thousands(total.pinning_blocks.unsigned_abs()),
            blocks(picture, &worst),
        );
        found.push((Lint::PinnedSuperblocks, total.pinned_bytes, evidence, worst));
    }
    let free_idle: Vec<i64> = picture
        .figures()
        .zip(idle)
        .map(|(class, idle)| if *idle { class.bytes_of(class.record.free_blocks) } else { 0 })
        .collect();
    let bytes = free_idle.iter().fold(0_i64, |sum, bytes| sum.saturating_add(*bytes));
    if bytes >= 8 * MIB && bytes >= mapped / 10 {
        let worst = places(free_idle.iter().copied());
        let evidence = format!(
            "{} free in classes without an allocation for {} or longer: blocks of {}",
            format::bytes(bytes),
            format::duration(IDLE_NS),
            blocks(picture, &worst),
        );
        found.push((Lint::IdlePartialList, bytes, evidence, worst));
    }
    let bytes = total.stranded_bytes;
    if bytes >= 16 * MIB && bytes >= mapped / 10 {
        let worst = worst(classes, |class| class.stranded_bytes);
        let evidence = format!(
            "{} in ACTIVE superblocks without a live block; most in blocks of {}",
            format::bytes(bytes),
            blocks(picture, &worst),
        );
        found.push((Lint::StrandedActive, bytes, evidence, worst));
    }
    if let Some(rounding) = total.rounding {
        let least = (rounding.bytes - rounding.error).max(0.0) as i64;
        if least >= 4 * MIB && least >= live / 10 {
            let worst = worst(classes, |class| class.rounding.map_or(0, |r| r.bytes as i64));
            let evidence = format!(
                "about {} (± {}) of {} live is rounding; most in blocks of {}",
                format::bytes(rounding.bytes as i64),
                format::bytes(rounding.error as i64),
                format::bytes(live),
                blocks(picture, &worst),
            );
            found.push((Lint::SizeClassRounding, rounding.bytes as i64, evidence, worst));
        }
    }
    if parts.empty >= 16 * MIB && parts.empty >= mapped / 4 {
        let evidence =
            format!("{} of {} mapped", format::bytes(parts.empty), format::bytes(mapped));
        found.push((Lint::EmptyHoard, parts.empty, evidence, Vec::new()));
    }
    if parts.cached >= 8 * MIB && parts.cached >= live / 4 {
        let most = picture.front_figures().map_or_else(String::new, |front| {
            format!(" of at most {}", format::bytes(front.most_bytes()))
        });
        let evidence =
            format!("{} cached{most}, {} live", format::bytes(parts.cached), format::bytes(live));
        found.push((Lint::CacheHeavy, parts.cached, evidence, Vec::new()));
    }
    found
}

fn worst(classes: &[Fragmentation], bytes: impl Fn(&Fragmentation) -> i64) -> Vec<u16> {
    places(classes.iter().map(bytes))
}

/// The places of the largest, those that are not 0.
fn places(bytes: impl Iterator<Item = i64>) -> Vec<u16> {
    let mut places: Vec<(i64, u16)> = bytes.zip(0_u16..).filter(|(bytes, _)| *bytes > 0).collect();
    places.sort_unstable_by_key(|(bytes, place)| (std::cmp::Reverse(*bytes), *place));
    places.into_iter().take(NAMED).map(|(_, place)| place).collect()
}

/// `112 B, 240 B`.
fn blocks(picture: &Picture, classes: &[u16]) -> String {
    let infos = &picture.hello.classes;
    let sizes = classes.iter().filter_map(|class| infos.get(usize::from(*class)));
    let sizes: Vec<String> = sizes.map(|info| format::bytes(i64::from(info.block_bytes))).collect();
    sizes.join(", ")
}

#[cfg(test)]
mod tests {
    //! Aim: a finding is raised when it lasts, and only then; every lint can be found. Method: a picture made by hand
    //! and a clock moved by hand.
    use std::time::Duration;

    use lfalloc_protocol::message::{ClassRecord, SizeSample, SuperblockRecord, backing, state};

    use super::*;
    use crate::fragmentation::by_class;
    use crate::picture::Superblocks;
    use crate::source::synthetic::{Synthetic, SyntheticSource};
    use crate::source::{Source as _, SourceEvent};

    /// 1 GiB mapped, half of it live, in books that balance.
    fn picture() -> Picture {
        let mut source = SyntheticSource::new(Synthetic::default());
        let SourceEvent::Connected(hello) = source.poll(Duration::ZERO) else {
            panic!("a greeting comes first")
        };
        let mut picture = Picture::new(hello);
        picture.parts.mapped = 1024 * MIB;
        picture.parts.large = 512 * MIB;
        picture.parts.metadata = 512 * MIB;
        picture.end.consistent = true;
        picture.states = 1;
        picture
    }

    fn fill(picture: &mut Picture, count: u32, state: u8, free: u16, reserved: u16) {
        for id in 0..count {
            let record = SuperblockRecord {
                id,
                class: 0,
                state,
                backing: backing::MAPPED,
                address: 0,
                anchor: 0,
                avail: 0,
                count: free,
                credits: reserved,
                exact: true,
                tag: 0,
                age_ns: 0,
            };
            picture.superblocks.apply(&[record], 0);
        }
    }

    fn look(watch: &mut Watch, picture: &mut Picture, second: u64) -> Vec<(Lint, bool)> {
        picture.uptime_ns = second * 1_000_000_000;
        watch.look(picture, &by_class(picture));
        watch.findings().map(|finding| (finding.lint, finding.raised)).collect()
    }

    #[test]
    fn what_lasts_is_raised_and_what_is_over_is_cleared() {
        let (mut watch, mut picture) = (Watch::default(), picture());
        assert_eq!(look(&mut watch, &mut picture, 1), []);
        let maxcount = picture.hello.classes[0].blocks_per_superblock as u16;
        fill(&mut picture, 3000, state::PARTIAL, maxcount - 1, 0);
        let pinned = |raised| vec![(Lint::PinnedSuperblocks, raised)];
        assert_eq!(look(&mut watch, &mut picture, 2), pinned(false));
        assert_eq!(look(&mut watch, &mut picture, 4), pinned(false));
        assert_eq!(look(&mut watch, &mut picture, 5), pinned(true));
        let finding = watch.raised().next().expect("raised").clone();
        assert_eq!(
            (finding.since_ns, finding.bytes, &finding.classes[..]),
            (2_000_000_000, 3000 << 16, &[0][..])
        );
        assert!(finding.evidence.starts_with("3,000 superblocks"), "{}", finding.evidence);
        // A moment without it does not clear it; as long as it took to be raised does.
        let pins = std::mem::take(&mut picture.superblocks);
        assert_eq!(look(&mut watch, &mut picture, 7), pinned(true));
        picture.superblocks = pins;
        assert_eq!(look(&mut watch, &mut picture, 8), pinned(true));
        picture.superblocks = Superblocks::default();
        assert_eq!(look(&mut watch, &mut picture, 12), []);
        // What was never raised is gone at once.
        fill(&mut picture, 3000, state::PARTIAL, maxcount - 1, 0);
        assert_eq!(look(&mut watch, &mut picture, 13), pinned(false));
        picture.superblocks = Superblocks::default();
        assert_eq!(look(&mut watch, &mut picture, 14), []);
    }

    fn found(change: impl Fn(&mut Picture)) -> Vec<Lint> {
        let (mut watch, mut picture) = (Watch::default(), picture());
        change(&mut picture);
        for second in [1, 5, 12, 16] {
            look(&mut watch, &mut picture, second);
        }
        watch.raised().map(|finding| finding.lint).collect()
    }

    #[test]
    fn every_lint_is_found_by_its_condition_alone() {
        assert_eq!(found(|_| {}), []);
        assert_eq!(found(|picture| picture.parts.large -= MIB), [Lint::BooksDoNotBalance]);
        let inconsistent = |picture: &mut Picture| {
            picture.parts.large -= MIB;
            picture.end.consistent = false;
        };
        assert_eq!(found(inconsistent), [], "a state that moved is no finding");
        let stranded = |picture: &mut Picture| {
            let maxcount = picture.hello.classes[0].blocks_per_superblock as u16;
            fill(picture, 3000, state::ACTIVE, maxcount - 64, 64);
        };
        assert_eq!(found(stranded), [Lint::StrandedActive]);
        let idle = |picture: &mut Picture| {
            let info = picture.hello.classes[0];
            let free_blocks = 256 * MIB / i64::from(info.block_bytes);
            picture.classes = vec![ClassRecord {
                class: 0,
                allocations: 7,
                free_blocks,
                ..ClassRecord::default()
            }];
        };
        assert_eq!(found(idle), [Lint::IdlePartialList]);
        let rounding = |picture: &mut Picture| {
            let info = picture.hello.classes[0];
            fill(picture, 4000, state::FULL, 0, 0);
            let slack = u64::from(info.block_bytes) / 2;
            picture.samples = vec![SizeSample {
                class: 0,
                samples: 100,
                slack_sum: 100 * slack,
                slack_squares: 100 * slack * slack,
            }];
        };
        assert_eq!(found(rounding), [Lint::SizeClassRounding]);
        let move_parts = |to: fn(&mut Picture) -> &mut i64| {
            move |picture: &mut Picture| {
                picture.parts.metadata -= 300 * MIB;
                *to(picture) += 300 * MIB;
            }
        };
        assert_eq!(found(move_parts(|picture| &mut picture.parts.empty)), [Lint::EmptyHoard]);
        assert_eq!(found(move_parts(|picture| &mut picture.parts.cached)), [Lint::CacheHeavy]);
    }

    #[test]
    fn figures_at_the_ends_of_their_ranges_are_summed() {
        let (mut watch, mut picture) = (Watch::default(), picture());
        let record = |class| ClassRecord { class, free_blocks: i64::MAX, ..ClassRecord::default() };
        picture.classes = (0..3).map(record).collect();
        look(&mut watch, &mut picture, 1);
        // Idle from now on: the free bytes of all three are summed.
        let found = look(&mut watch, &mut picture, 20);
        assert_eq!(found, [(Lint::IdlePartialList, false)]);
    }

    #[test]
    fn names_are_distinct_and_said_everything_about() {
        for lint in Lint::ALL {
            assert!(
                !lint.meaning().is_empty()
                    && !lint.advice().is_empty()
                    && !lint.condition().is_empty()
            );
            let same = Lint::ALL.iter().filter(|other| other.name() == lint.name()).count();
            assert_eq!(same, 1, "{}", lint.name());
            let json = serde_json::to_string(&lint).expect("a string");
            assert_eq!(json.trim_matches('"'), lint.name());
        }
    }
}
