//! The churn: one thread reads files and decides what comes and goes, the others index.
//!
//! ```text
//!   reader ──texts to add, documents to drop──▶ bounded queue ──▶ workers ──▶ Index
//! ```
//!
//! First every text file is added, in the order of the paths. Then round after round: a random
//! third of the documents is dropped, and all that are missing are read from the disk again and
//! added, in random order. Memory therefore changes hands all the time: a text is allocated by the
//! reader and freed by a worker, a posting is freed by whichever worker draws the drop.

use super::corpus::{self, Content};
use super::random::Random;
use super::{DocumentId, Index, lock};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// Texts that may wait per worker: enough that none starves, and a bound on the memory they hold.
const QUEUED_PER_WORKER: usize = 4;
/// Of so many documents one is dropped per round.
const DROPPED_ONE_IN: usize = 3;
/// Pause of the reader when no file could be read at all, so that it does not spin.
const NOTHING_READABLE_PAUSE: Duration = Duration::from_millis(100);

/// What has happened so far. Relaxed throughout: they are figures for people and publish nothing.
#[derive(Debug, Default)]
pub struct Counters {
    /// Documents added, again and again included.
    pub adds: AtomicU64,
    /// Documents dropped.
    pub drops: AtomicU64,
    /// Bytes of text added.
    pub text_bytes: AtomicU64,
    /// Files left out for good in the first pass: no text.
    pub binary: AtomicU64,
    /// Files left out for good in the first pass: too large.
    pub too_large: AtomicU64,
    /// Attempts to read a file that failed.
    pub unreadable: AtomicU64,
    /// Rounds completed; 0 while the index is built.
    pub rounds: AtomicU64,
}

/// The index, its corpus and the threads' common ground.
#[derive(Debug)]
pub struct Churn {
    /// What is being changed; read it whenever you like.
    pub index: Index,
    /// What has happened so far.
    pub counters: Counters,
    files: Vec<PathBuf>,
    stop: AtomicBool,
}

enum Job {
    Add(DocumentId, String),
    Drop(DocumentId),
}

impl Churn {
    /// A churn over these files, not yet running.
    ///
    /// # Errors
    /// If there are more files than the index can number; the error is their number.
    pub fn new(files: Vec<PathBuf>) -> Result<Self, usize> {
        let documents = u32::try_from(files.len()).map_err(|_| files.len())?;
        Ok(Self {
            index: Index::new(documents),
            counters: Counters::default(),
            files,
            stop: AtomicBool::new(false),
        })
    }

    /// Runs on this thread and `workers` others until [`Churn::stop`], or until the first pass
    /// finds no text file at all: then false. When it returns, its threads are gone.
    pub fn run(&self, workers: usize) -> bool {
        let (sender, receiver) = sync_channel(workers * QUEUED_PER_WORKER);
        let receiver = Mutex::new(receiver);
        thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| self.work(&receiver));
            }
            let found_text = self.feed(&sender);
            // With the sender end, once the queue is empty, the workers.
            drop(sender);
            found_text
        })
    }

    /// Makes [`Churn::run`] return soon; what is queued is still done.
    pub fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    fn feed(&self, sender: &SyncSender<Job>) -> bool {
        let Some(documents) = self.first_pass(sender) else {
            return true;
        };
        if documents.is_empty() {
            return false;
        }
        let mut order = documents;
        // Any seed will do; a fixed one makes two runs over the same files comparable.
        let mut random = Random::new(1);
        while !self.stopped() {
            random.shuffle(&mut order);
            for &id in &order[..order.len().div_ceil(DROPPED_ONE_IN)] {
                if self.stopped() || sender.send(Job::Drop(id)).is_err() {
                    return true;
                }
            }
            random.shuffle(&mut order);
            // A document whose drop is still queued counts as present: the next round adds it.
            let mut read = 0_usize;
            let mut missing = 0_usize;
            for &id in order.iter().filter(|&&id| !self.index.contains(id)) {
                if self.stopped() {
                    return true;
                }
                missing += 1;
                if let Content::Text(text) = self.read(id) {
                    read += 1;
                    if sender.send(Job::Add(id, text)).is_err() {
                        return true;
                    }
                }
            }
            self.counters.rounds.fetch_add(1, Relaxed);
            if missing > 0 && read == 0 {
                thread::sleep(NOTHING_READABLE_PAUSE);
            }
        }
        true
    }

    /// Queues every text file and returns their documents; `None` if stopped on the way.
    fn first_pass(&self, sender: &SyncSender<Job>) -> Option<Vec<DocumentId>> {
        let mut documents = Vec::new();
        for id in self.index.ids() {
            if self.stopped() {
                return None;
            }
            match self.read(id) {
                Content::Text(text) => {
                    documents.push(id);
                    sender.send(Job::Add(id, text)).ok()?;
                }
                Content::Binary => _ = self.counters.binary.fetch_add(1, Relaxed),
                Content::TooLarge => _ = self.counters.too_large.fetch_add(1, Relaxed),
                Content::Unreadable => {}
            }
        }
        Some(documents)
    }

    fn read(&self, id: DocumentId) -> Content {
        let content = corpus::read(&self.files[id.slot()]);
        if content == Content::Unreadable {
            self.counters.unreadable.fetch_add(1, Relaxed);
        }
        content
    }

    fn work(&self, receiver: &Mutex<Receiver<Job>>) {
        loop {
            // A statement of its own, so that the lock is not held while the job is done.
            let job = lock(receiver).recv();
            match job {
                Ok(Job::Add(id, text)) => {
                    if self.index.add(id, &self.files[id.slot()].to_string_lossy(), &text) {
                        self.counters.adds.fetch_add(1, Relaxed);
                        self.counters.text_bytes.fetch_add(text.len() as u64, Relaxed);
                    }
                }
                Ok(Job::Drop(id)) => {
                    if self.index.remove(id) {
                        self.counters.drops.fetch_add(1, Relaxed);
                    }
                }
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    //! Aim: the threads together keep the books, end when told, and meet odd folders calmly.
    //! Method: real files, few, so that the same documents come and go many times.

    use super::*;
    use crate::index::corpus::Corpus;
    use std::fs;
    use std::time::Instant;

    /// Runs until `done`, or fails after a minute.
    fn run_until(churn: &Churn, done: impl Fn(&Churn) -> bool) -> bool {
        thread::scope(|scope| {
            let run = scope.spawn(|| churn.run(4));
            let start = Instant::now();
            while !run.is_finished() && !done(churn) {
                if start.elapsed() > Duration::from_secs(60) {
                    churn.stop();
                    panic!("nothing came of it in a minute: {:?}", churn.counters);
                }
                thread::sleep(Duration::from_millis(1));
            }
            churn.stop();
            run.join().unwrap()
        })
    }

    #[test]
    fn adds_less_drops_are_the_documents_and_nothing_is_left_in_the_end() {
        let root = tempfile::tempdir().unwrap();
        for number in 0..40 {
            let text = format!("common number_{number} {}", "word ".repeat(number));
            fs::write(root.path().join(format!("{number}.txt")), text).unwrap();
        }
        fs::write(root.path().join("binary"), [0; 100]).unwrap();
        let churn = Churn::new(Corpus::below(root.path()).unwrap().files).unwrap();
        assert!(run_until(&churn, |churn| churn.counters.rounds.load(Relaxed) >= 200));

        let present: Vec<_> = churn.index.ids().filter(|&id| churn.index.contains(id)).collect();
        let counted = |counter: &AtomicU64| counter.load(Relaxed);
        let (adds, drops) = (counted(&churn.counters.adds), counted(&churn.counters.drops));
        assert!(drops >= 200, "{drops} drops");
        assert_eq!(adds - drops, present.len() as u64);
        assert_eq!(counted(&churn.counters.binary), 1);
        assert_eq!(churn.index.search("common").len(), present.len());
        for id in present {
            assert!(churn.index.remove(id));
        }
        assert_eq!(churn.index.size(), crate::index::Size::default());
    }

    #[test]
    fn files_that_vanish_while_it_runs_are_counted_and_come_back_when_they_do() {
        let root = tempfile::tempdir().unwrap();
        for number in 0..6 {
            fs::write(root.path().join(format!("{number}.txt")), "some text").unwrap();
        }
        let files = Corpus::below(root.path()).unwrap().files;
        let churn = Churn::new(files.clone()).unwrap();
        let vanished = std::cell::Cell::new(false);
        assert!(run_until(&churn, |churn| {
            let counters = &churn.counters;
            if !vanished.get() && counters.rounds.load(Relaxed) >= 1 {
                for file in &files {
                    fs::remove_file(file).unwrap();
                }
                vanished.set(true);
            }
            // Every document is dropped sooner or later, and none can be read again. (Between the two the index is empty
            // for a moment, with files still to be tried.)
            let all_tried = counters.unreadable.load(Relaxed) >= 6;
            vanished.get() && all_tried && churn.index.size().postings == 0
        }));
        assert_eq!(churn.index.size().postings, 0);
    }

    #[test]
    fn a_folder_without_text_ends_at_once() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("binary"), [0; 100]).unwrap();
        let churn = Churn::new(Corpus::below(root.path()).unwrap().files).unwrap();
        assert!(!run_until(&churn, |_| false));
        assert!(!Churn::new(Vec::new()).unwrap().run(1));
    }
}
