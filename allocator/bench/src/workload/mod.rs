//! What the allocators are made to do.
//!
//! | workload | one operation is |
//! |---|---|
//! | `pair N B` | malloc, free |
//! | `LIFO 1000`, `FIFO 1000` | one of 1,000 mallocs of 64 bytes, and its free, last or first first |
//! | `churn N` | a random one of N objects of 8–508 bytes is replaced |
//! | `churn 10k to 32 KiB` | the same, sizes of 8 bytes to 32 KiB, every doubling as often |
//! | `churn 10k Zipf` | the same, the n-th multiple of 16 bytes 1/n as often as the first, up to 2 KiB |
//! | `churn 10k, 2 threads` | the same in two threads, 8–508 bytes, objects of their own |
//! | `hand-over N:M` | malloc of 64 bytes in one of N threads, free in one of M others, in batches of 256 |
//! | `larson` | as churn in two threads at a time, each of which leaves its 1,000 objects to a successor after 10,000 operations |
//! | `thread churn` | a thread starts, allocates 100 blocks, frees 90 and those its predecessor left, and ends |
//! | `oversubscribed N` | as churn, in N threads with 1,000 objects each; one in 8 is timed |
//! | `large 64 KiB–2 MiB` | a random one of 16 blocks is replaced, and every page of the new one is written to |
//! | `large 64 KiB–32 MiB` | the same, and only the first page is written to |
//! | `realloc growth` | 64 bytes are appended to one of four vectors that grow to 1 MiB in turn |
//! | `realloc steps` | one of 64 blocks grows by 32 bytes, from 32 to 4,096 |
//! | `index` | a document of the given files is added to, or removed from, an inverted index, by two threads |
//! | `false sharing, active` | one of two threads allocates 8 bytes, writes to them 1,000 times, and frees them |
//! | `false sharing, passive` | the same, after it has freed a block that lay beside the other thread's (cache-scratch) |
//! | `fragmentation` | malloc, free; one in 64 blocks stays for 8 rounds while sizes shift; the memory is the figure |
//! | `churn 10k, N threads`, `larson, N threads`, `hand-over N:N` | as above, for any N up to 1,024: what more processors bring |
//!
//! Time is from the first thread's start to the last one's end, over all threads' operations. Every block has a mark, written
//! after its malloc and checked before its free.

mod block;
mod churn;
mod fragmentation;
mod index;
mod large;
mod resize;
mod sharing;
mod small;
mod threads;

use std::path::PathBuf;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// How large a workload is made, and on what.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Counts of objects are divided by this: 1, or more for tests.
    pub divisor: u32,
    /// The folder that `index` reads.
    pub files: PathBuf,
}

impl Setting {
    fn objects(&self, count: u32) -> u32 {
        (count / self.divisor).max(4)
    }
}

/// What a round did.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Operations, of all threads together.
    pub operations: u64,
    /// How long they took.
    pub elapsed: Duration,
}

impl Round {
    /// Nanoseconds per operation.
    #[must_use]
    pub fn ns(&self) -> f64 {
        self.elapsed.as_secs_f64() * 1e9 / self.operations.max(1) as f64
    }
}

/// A workload that has begun; dropping it frees all it holds.
pub trait Work {
    /// Does at least one operation and about as many as said.
    fn round(&mut self, operations: u64) -> Round;

    /// Operations of the shortest round that says something.
    fn least_operations(&self) -> u64 {
        1
    }

    /// How long single operations took since this was last asked, in nanoseconds, if it times them.
    fn latencies(&mut self) -> Option<Histogram<u32>> {
        None
    }

    /// Bytes that it holds between rounds, as it asked for them; 0 if it does not know.
    fn live_bytes(&self) -> u64 {
        0
    }
}

type Start = Box<dyn Fn(&Setting) -> Result<Box<dyn Work>, String>>;

/// One row of the comparison.
pub struct Workload {
    /// As in the module's table.
    pub name: String,
    start: Start,
}

impl std::fmt::Debug for Workload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Workload").field(&self.name).finish()
    }
}

impl Workload {
    /// Begins it: what it holds from the beginning is allocated.
    ///
    /// # Errors
    /// When the files it works on cannot be read.
    pub fn start(&self, setting: &Setting) -> Result<Box<dyn Work>, String> {
        (self.start)(setting)
    }
}

fn row<W: Work + 'static>(
    name: impl Into<String>,
    start: impl Fn(&Setting) -> W + 'static,
) -> Workload {
    Workload { name: name.into(), start: Box::new(move |setting| Ok(Box::new(start(setting)))) }
}

/// All of them, in the order of the table.
#[must_use]
pub fn all() -> Vec<Workload> {
    use churn::{Churn, Sizes};
    vec![
        row("pair 16 B", |_| small::Pair(16)),
        row("pair 64 B", |_| small::Pair(64)),
        row("pair 256 B", |_| small::Pair(256)),
        row("pair 1024 B", |_| small::Pair(1024)),
        row("pair 8192 B", |_| small::Pair(8192)),
        row("LIFO 1000", |_| small::Batches::lifo()),
        row("FIFO 1000", |_| small::Batches::fifo()),
        row("churn 10k", |setting| Churn::new(1, setting.objects(10_000), &Sizes::small())),
        row("churn 200k", |setting| Churn::new(1, setting.objects(200_000), &Sizes::small())),
        row("churn 10k to 32 KiB", |setting| {
            Churn::new(1, setting.objects(10_000), &Sizes::doublings(3, 15))
        }),
        row("churn 10k Zipf", |setting| Churn::new(1, setting.objects(10_000), &Sizes::zipf())),
        churn_in(2),
        hand_over_of(1),
        hand_over_of(2),
        row("larson", |setting| threads::Larson::new(2, setting.objects(1000))),
        row("thread churn", |_| threads::ThreadChurn::default()),
        row("oversubscribed 16", |setting| {
            Churn::timed(16, setting.objects(1000), &Sizes::small())
        }),
        row("oversubscribed 64", |setting| {
            Churn::timed(64, setting.objects(1000), &Sizes::small())
        }),
        row("large 64 KiB–2 MiB", |_| large::Large::new(Sizes::doublings(16, 21), true)),
        row("large 64 KiB–32 MiB", |_| large::Large::new(Sizes::doublings(16, 25), false)),
        row("realloc growth", |_| resize::Growth::default()),
        row("realloc steps", |_| resize::Steps::new()),
        Workload {
            name: "index".to_owned(),
            start: Box::new(|setting| Ok(Box::new(index::Indexing::below(&setting.files)?))),
        },
        row("false sharing, active", |_| sharing::Sharing { passive: false }),
        row("false sharing, passive", |_| sharing::Sharing { passive: true }),
        row("fragmentation", |setting| fragmentation::Fragmentation::new(setting.objects(100_000))),
    ]
}

fn churn_in(threads: usize) -> Workload {
    let name = format!("churn 10k, {threads} thread{}", if threads == 1 { "" } else { "s" });
    row(name, move |setting| {
        churn::Churn::new(threads, setting.objects(10_000), &churn::Sizes::small())
    })
}

fn hand_over_of(pairs: usize) -> Workload {
    row(format!("hand-over {pairs}:{pairs}"), move |_| threads::HandOver {
        producers: pairs,
        consumers: pairs,
    })
}

fn larson_in(threads: usize) -> Workload {
    let name = format!("larson, {threads} thread{}", if threads == 1 { "" } else { "s" });
    row(name, move |setting| threads::Larson::new(threads, setting.objects(1000)))
}

/// Most threads that a workload is made with.
pub const MOST_THREADS: usize = 1024;

/// The workloads that there are for any number of threads, with so many: objects of their own, objects that go from thread to
/// thread one after the other, and, with two or more, blocks that one thread allocates and another frees.
#[must_use]
pub fn scaled(threads: usize) -> Vec<Workload> {
    let mut workloads = vec![churn_in(threads), larson_in(threads)];
    if threads >= 2 {
        workloads.push(hand_over_of(threads / 2));
    }
    workloads
}

/// Those of [`scaled`] for several numbers of threads, each once: an odd number has the pairs of the even one below.
#[must_use]
pub fn scaled_to(counts: &[usize]) -> Vec<Workload> {
    let mut workloads: Vec<Workload> = Vec::new();
    for workload in counts.iter().flat_map(|threads| scaled(*threads)) {
        if workloads.iter().all(|before| before.name != workload.name) {
            workloads.push(workload);
        }
    }
    workloads
}

/// The workload of that name, of [`all`] or of [`scaled`] with any number of threads; `None`: there is no such one.
#[must_use]
pub fn named(name: &str) -> Option<Workload> {
    let is_it = |workload: &Workload| workload.name == name;
    all().into_iter().find(is_it).or_else(|| {
        // The only numbers behind its first word are of threads, and of pairs of them.
        let number =
            name.split([' ', ':', ',']).rev().find_map(|word| word.parse::<usize>().ok())?;
        let threads = if name.contains(':') { number.checked_mul(2)? } else { number };
        (1..=MOST_THREADS).contains(&threads).then(|| scaled(threads))?.into_iter().find(is_it)
    })
}

/// Runs `work` on each of the items in a thread of its own, all from one moment on; each returns how many operations it did.
fn in_threads<T: Send>(items: &mut [T], work: impl Fn(&mut T) -> u64 + Sync) -> Round {
    let barrier = Barrier::new(items.len());
    let (barrier, work) = (&barrier, &work);
    let spans: Vec<(u64, Instant, Instant)> = std::thread::scope(|scope| {
        let threads: Vec<_> = items
            .iter_mut()
            .map(|item| {
                scope.spawn(move || {
                    barrier.wait();
                    let start = Instant::now();
                    let operations = work(item);
                    (operations, start, Instant::now())
                })
            })
            .collect();
        threads.into_iter().map(join).collect()
    });
    let start = spans.iter().map(|span| span.1).min();
    let end = spans.iter().map(|span| span.2).max();
    let elapsed = start.zip(end).map_or(Duration::ZERO, |(start, end)| end - start);
    Round { operations: spans.iter().map(|span| span.0).sum(), elapsed }
}

fn join<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Aim: every workload does operations, keeps its blocks whole over rounds, and ends; names differ. Method: each in a tiny
    /// form, on lfalloc; a block that changed is a panic. Whoever times operations has timed some.
    #[test]
    fn each_does_its_operations() {
        let files = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/workload");
        let setting = Setting { divisor: 100, files };
        let mut names = std::collections::HashSet::new();
        for workload in all().into_iter().chain(scaled(6)) {
            assert!(names.insert(workload.name.clone()), "{workload:?}");
            let mut work = workload.start(&setting).unwrap();
            for operations in [1, 300] {
                let round = work.round(operations);
                assert!(round.operations > 0 && round.ns() > 0.0, "{workload:?}: {round:?}");
            }
            if let Some(latencies) = work.latencies() {
                assert!(!latencies.is_empty(), "{workload:?}");
                assert!(work.latencies().unwrap().is_empty(), "{workload:?}");
            }
        }
    }

    /// Aim: no workload is measured twice. Method: numbers that are equal, and such that have the same pairs.
    #[test]
    fn each_is_scaled_once() {
        let names: Vec<_> = scaled_to(&[2, 3, 2]).into_iter().map(|found| found.name).collect();
        let wanted = "churn 10k, 2 threads|larson, 2 threads|hand-over 1:1|churn 10k, 3 threads|larson, 3 threads";
        assert_eq!(names.join("|"), wanted);
    }

    /// Aim: a name leads to its workload, and a wrong one to none. Method: all names, of many numbers of threads, and misspelt.
    #[test]
    fn names_lead_to_workloads() {
        let scaled = [1, 2, 3, 16, 100, MOST_THREADS].into_iter().flat_map(scaled);
        for workload in all().into_iter().chain(scaled) {
            assert_eq!(named(&workload.name).map(|found| found.name), Some(workload.name));
        }
        let (most, beyond) = (format!("larson, {MOST_THREADS} threads"), MOST_THREADS + 1);
        assert!(named(&most).is_some());
        for wrong in ["", "larson, 0 threads", "larson, 1 threads", "hand-over 2:3", "churn 10k, 3"]
        {
            assert!(named(wrong).is_none(), "{wrong}");
        }
        assert!(named(&format!("larson, {beyond} threads")).is_none());
        assert!(named(&format!("hand-over {0}:{0}", usize::MAX)).is_none());
    }

    /// Aim: a folder without text is told, and not measured. Method: a folder that is not there, and one without files.
    #[test]
    fn missing_files_are_told() {
        let setting = Setting { divisor: 1, files: PathBuf::from("/nowhere") };
        let index = all().into_iter().find(|workload| workload.name == "index").unwrap();
        assert!(index.start(&setting).is_err());
    }
}
