//! The indexer of the examples, on real files: words, lists and tables of every size, by two threads.

use std::path::Path;

use lfalloc_examples::index::corpus::{self, Content, Corpus};
use lfalloc_examples::index::{DocumentId, Index};

use super::{Round, Work, in_threads};
use crate::random::Random;

/// Texts are read up to so many bytes in all, so that any folder will do.
const MOST_BYTES: usize = 4 << 20;
/// Larger files are left out: the index of one alone would be most of the work.
const MOST_FILE_BYTES: usize = 128 << 10;
const THREADS: usize = 2;

/// An index, half full.
pub(super) struct Indexing {
    index: Index,
    texts: Vec<(DocumentId, String)>,
    randoms: Vec<Random>,
}

impl Indexing {
    /// Reads the texts below a folder.
    pub(super) fn below(folder: &Path) -> Result<Self, String> {
        let files = Corpus::below(folder)
            .map_err(|error| format!("cannot read the folder {}: {error}", folder.display()))?
            .files;
        let mut texts = Vec::new();
        let mut bytes = 0;
        for path in files {
            if bytes >= MOST_BYTES {
                break;
            }
            match corpus::read(&path) {
                Content::Text(text) if (1..=MOST_FILE_BYTES).contains(&text.len()) => {
                    bytes += text.len();
                    texts.push(text);
                }
                _ => {}
            }
        }
        if texts.is_empty() {
            return Err(format!("no text files below {}", folder.display()));
        }
        let index = Index::new(texts.len() as u32);
        let texts = index.ids().zip(texts).collect();
        Ok(Self { index, texts, randoms: (0..THREADS as u64).map(Random::new).collect() })
    }
}

impl Work for Indexing {
    fn round(&mut self, operations: u64) -> Round {
        let (index, texts) = (&self.index, &self.texts);
        let each = operations.div_ceil(THREADS as u64);
        in_threads(&mut self.randoms, |random| {
            for _ in 0..each {
                let (id, text) = &texts[random.below(texts.len() as u32) as usize];
                if !index.remove(*id) {
                    index.add(*id, "document", text);
                }
            }
            each
        })
    }
}

impl Drop for Indexing {
    fn drop(&mut self) {
        for (id, _) in &self.texts {
            let _ = self.index.remove(*id);
        }
        let left = self.index.size();
        assert_eq!((left.terms, left.postings), (0, 0), "postings of no document");
    }
}
