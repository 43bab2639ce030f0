//! An inverted index held in memory that many threads change at once: what `indexer` churns.
//!
//! Two tables: term → postings, cut into shards by the hash of the term, and document → the terms
//! it has, so that removing a document finds exactly its own postings.
//!
//! Invariant, per document, whenever its slot is not locked:
//!
//! | slot | postings of the document |
//! |---|---|
//! | `None` | none in any shard |
//! | `Some(d)` | exactly one under every term of `d.terms`, none elsewhere |
//!
//! A term without postings is not in its shard. Locks are taken in the order slot, then one shard
//! at a time; nothing takes a slot while it holds a shard, so there is no cycle. A query locks one
//! shard at a time and therefore sees a document that is just being added or removed under some of
//! its terms only: it answers for the moment, not for an instant.

pub mod churn;
pub mod corpus;
mod random;
mod terms;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A power of two well above the number of threads, so that two of them rarely want one shard.
const SHARDS: usize = 64;

/// The number of a document: its place in the corpus, the same each time it is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentId(u32);

impl DocumentId {
    fn slot(self) -> usize {
        self.0 as usize
    }
}

/// Where one document has one term.
#[derive(Debug)]
struct Posting {
    document: DocumentId,
    /// The line of every occurrence, counted from 1, ascending, never empty.
    lines: Box<[u32]>,
}

/// The terms whose hash falls here; postings ascend by document and are never empty.
#[derive(Debug, Default)]
struct Shard {
    postings_by_term: HashMap<Arc<str>, Vec<Posting>>,
    postings: usize,
}

#[derive(Debug)]
struct Document {
    name: Box<str>,
    /// Shared with the keys of the shards: one copy of a term, however many documents have it.
    terms: Box<[Arc<str>]>,
}

/// How much an index holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Different terms.
    pub terms: usize,
    /// Pairs of a term and a document that has it.
    pub postings: usize,
}

/// A document that has every term of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Which document.
    pub document: DocumentId,
    /// How often the terms occur in it, all together.
    pub occurrences: usize,
    /// The line where the first term of the query occurs first.
    pub line: u32,
}

/// The index. See the module's text for what holds when.
#[derive(Debug)]
pub struct Index {
    documents: Box<[Mutex<Option<Document>>]>,
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
}

impl Index {
    /// An empty index with room for `documents` documents.
    #[must_use]
    pub fn new(documents: u32) -> Self {
        Self {
            documents: (0..documents).map(|_| Mutex::default()).collect(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Every document number, whether the document is there or not.
    pub fn ids(&self) -> impl Iterator<Item = DocumentId> + use<> {
        (0..self.documents.len() as u32).map(DocumentId)
    }

    /// Adds a document. False, with nothing changed, if it is there already.
    pub fn add(&self, id: DocumentId, name: &str, text: &str) -> bool {
        let mut slot = lock(&self.documents[id.slot()]);
        if slot.is_some() {
            return false;
        }
        // Grouped by shard first, so that each shard is locked once and not once per term.
        let mut by_shard: Vec<Vec<(String, Vec<u32>)>> = Vec::new();
        by_shard.resize_with(SHARDS, Vec::new);
        for (term, lines) in terms::lines_by_term(text) {
            by_shard[self.shard_of(&term)].push((term, lines));
        }
        let mut terms = Vec::with_capacity(by_shard.iter().map(Vec::len).sum());
        for (shard, entries) in self.shards.iter().zip(by_shard) {
            if entries.is_empty() {
                continue;
            }
            let mut shard = lock(shard);
            for (term, lines) in entries {
                terms.push(shard.insert(term, Posting { document: id, lines: lines.into() }));
            }
        }
        *slot = Some(Document { name: name.into(), terms: terms.into() });
        true
    }

    /// Removes a document and every posting of it. False if it is not there.
    #[must_use = "false: there was nothing to remove"]
    pub fn remove(&self, id: DocumentId) -> bool {
        let mut slot = lock(&self.documents[id.slot()]);
        let Some(document) = slot.take() else {
            return false;
        };
        // `add` left the terms in the order of the shards, so each shard is locked once again.
        let shard_of = |term: &Arc<str>| self.shard_of(term);
        for terms in document.terms.chunk_by(|a, b| shard_of(a) == shard_of(b)) {
            let mut shard = lock(&self.shards[shard_of(&terms[0])]);
            for term in terms {
                shard.remove(term, id);
            }
        }
        true
    }

    /// Whether the document is there.
    #[must_use]
    pub fn contains(&self, id: DocumentId) -> bool {
        lock(&self.documents[id.slot()]).is_some()
    }

    /// The name a document was added under, if it is there.
    #[must_use]
    pub fn name(&self, id: DocumentId) -> Option<Box<str>> {
        lock(&self.documents[id.slot()]).as_ref().map(|document| document.name.clone())
    }

    /// The documents that have every term of `query`, those with the most occurrences first. A
    /// query without a term finds nothing.
    #[must_use]
    pub fn search(&self, query: &str) -> Vec<Hit> {
        let mut terms: Vec<String> = Vec::new();
        terms::for_each_term(query, |term, _| {
            if !terms.iter().any(|seen| seen == term) {
                terms.push(term.to_owned());
            }
        });
        let mut terms = terms.iter();
        let Some(first) = terms.next() else {
            return Vec::new();
        };
        let mut hits = self.hits(first);
        for term in terms {
            let others = self.hits(term);
            hits.retain_mut(|hit| {
                let Ok(at) = others.binary_search_by_key(&hit.document, |other| other.document)
                else {
                    return false;
                };
                hit.occurrences += others[at].occurrences;
                true
            });
        }
        hits.sort_by_key(|hit| (std::cmp::Reverse(hit.occurrences), hit.document));
        hits
    }

    /// How much the index holds, one shard after the other: exact when no thread changes it.
    #[must_use]
    pub fn size(&self) -> Size {
        self.shards.iter().fold(Size::default(), |sum, shard| {
            let shard = lock(shard);
            Size {
                terms: sum.terms + shard.postings_by_term.len(),
                postings: sum.postings + shard.postings,
            }
        })
    }

    /// The documents that have this term, ascending.
    fn hits(&self, term: &str) -> Vec<Hit> {
        let shard = lock(&self.shards[self.shard_of(term)]);
        let postings = shard.postings_by_term.get(term).map_or(&[][..], Vec::as_slice);
        let hit = |posting: &Posting| Hit {
            document: posting.document,
            occurrences: posting.lines.len(),
            line: posting.lines.first().copied().unwrap_or(0),
        };
        postings.iter().map(hit).collect()
    }

    fn shard_of(&self, term: &str) -> usize {
        self.hasher.hash_one(term) as usize % SHARDS
    }
}

impl Shard {
    /// Files the posting under its term and returns the shard's own copy of the term.
    fn insert(&mut self, term: String, posting: Posting) -> Arc<str> {
        self.postings += 1;
        // Not `entry`: that would build the key of every term anew, and nearly all are there.
        if let Some((term, _)) = self.postings_by_term.get_key_value(term.as_str()) {
            let term = Arc::clone(term);
            let postings = self.postings_by_term.entry(Arc::clone(&term)).or_default();
            let at = postings.partition_point(|other| other.document < posting.document);
            postings.insert(at, posting);
            return term;
        }
        let term: Arc<str> = term.into();
        self.postings_by_term.insert(Arc::clone(&term), vec![posting]);
        term
    }

    /// Takes out the posting of one document, and the term with its last posting.
    fn remove(&mut self, term: &str, document: DocumentId) {
        let Some(postings) = self.postings_by_term.get_mut(term) else {
            return;
        };
        let Ok(at) = postings.binary_search_by_key(&document, |posting| posting.document) else {
            return;
        };
        postings.remove(at);
        self.postings -= 1;
        if postings.is_empty() {
            self.postings_by_term.remove(term);
        } else if postings.len() * 4 < postings.capacity() {
            // A list that has lost most of its documents gives the room back.
            postings.shrink_to(postings.len() * 2);
        }
    }
}

/// A panic elsewhere must not take the whole index with it: no update of a shard can stop half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
