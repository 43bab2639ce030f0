//! Aim: after any sequence of additions and removals, by one thread or many, the index equals one
//! built naively from the documents that are there. Method: random texts over a small vocabulary,
//! so that terms are shared, die out and come back; the oracle is a sorted map built from scratch
//! by other code.

use super::random::Random;
use super::*;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::thread;

type Plain = BTreeMap<String, BTreeMap<DocumentId, Vec<u32>>>;

/// The words are chosen so that splitting at spaces and lines is all the oracle needs to do.
fn random_text(random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..random.below(60) {
        // Skewed, as in real texts: some words nearly everywhere, most of them rare.
        let rarest = 1 + random.below(200);
        let rank = random.below(rarest);
        let end = if random.below(8) == 0 { '\n' } else { ' ' };
        write!(text, "word{rank}{end}").unwrap();
    }
    text
}

fn naive(documents: &BTreeMap<DocumentId, String>) -> Plain {
    let mut plain = Plain::new();
    for (&id, text) in documents {
        for (number, line) in text.split('\n').enumerate() {
            for word in line.split(' ').filter(|word| !word.is_empty()) {
                let lines = plain.entry(word.to_owned()).or_default().entry(id).or_default();
                lines.push(number as u32 + 1);
            }
        }
    }
    plain
}

/// The index as plain data, its own invariants checked on the way.
fn plain(index: &Index) -> Plain {
    let mut plain = Plain::new();
    for (number, shard) in index.shards.iter().enumerate() {
        let shard = lock(shard);
        let mut postings_seen = 0;
        for (term, postings) in &shard.postings_by_term {
            assert_eq!(index.shard_of(term), number, "{term} is in the wrong shard");
            assert!(postings.is_sorted_by(|a, b| a.document < b.document), "{term}: order");
            let documents = postings.iter().map(|p| (p.document, p.lines.to_vec())).collect();
            assert!(plain.insert(term.to_string(), documents).is_none(), "{term} is there twice");
            postings_seen += postings.len();
        }
        assert_eq!(postings_seen, shard.postings);
    }
    plain
}

fn check(index: &Index, documents: &BTreeMap<DocumentId, String>) {
    let expected = naive(documents);
    assert_eq!(plain(index), expected);
    let postings = expected.values().map(BTreeMap::len).sum();
    assert_eq!(index.size(), Size { terms: expected.len(), postings });
    for id in index.ids() {
        assert_eq!(index.contains(id), documents.contains_key(&id));
        assert_eq!(index.name(id).as_deref(), documents.get(&id).map(|_| "name"));
    }
}

#[test]
fn equals_the_naive_index_after_every_random_change() {
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let index = Index::new(25);
        let ids: Vec<_> = index.ids().collect();
        let mut documents = BTreeMap::new();
        for _ in 0..300 {
            let id = ids[random.below(ids.len())];
            if random.below(2) == 0 {
                let text = random_text(&mut random);
                assert_eq!(index.add(id, "name", &text), !documents.contains_key(&id));
                documents.entry(id).or_insert(text);
            } else {
                assert_eq!(index.remove(id), documents.remove(&id).is_some());
            }
            check(&index, &documents);
        }
    }
}

#[test]
fn equals_the_naive_index_after_four_threads_changed_it_at_once() {
    let index = Index::new(64);
    // A document always has the same text, so that what is left in the end is known whoever won.
    let texts: BTreeMap<DocumentId, String> =
        index.ids().map(|id| (id, random_text(&mut Random::new(id.0.into())))).collect();
    thread::scope(|scope| {
        for seed in 0..4 {
            let (index, texts) = (&index, &texts);
            scope.spawn(move || {
                let mut random = Random::new(seed);
                for _ in 0..5_000 {
                    let id = DocumentId(random.below(texts.len()) as u32);
                    if random.below(2) == 0 {
                        index.add(id, "name", &texts[&id]);
                    } else {
                        let _ = index.remove(id);
                    }
                }
            });
        }
    });
    let present = texts.clone().into_iter().filter(|&(id, _)| index.contains(id)).collect();
    check(&index, &present);
    for &id in present.keys() {
        assert!(index.remove(id));
    }
    check(&index, &BTreeMap::new());
    assert!(index.shards.iter().all(|shard| lock(shard).postings_by_term.is_empty()));
}

#[test]
fn search_finds_the_documents_with_all_terms_and_ranks_by_occurrences() {
    let index = Index::new(4);
    let ids: Vec<_> = index.ids().collect();
    index.add(ids[0], "a", "anchor\ncredits");
    index.add(ids[1], "b", "nothing\nThe Credits of the anchor, anchor");
    index.add(ids[2], "c", "anchor anchor anchor");
    let found = |query: &str| -> Vec<_> {
        index.search(query).iter().map(|h| (h.document.0, h.occurrences, h.line)).collect()
    };
    assert_eq!(found("anchor credits"), [(1, 3, 2), (0, 2, 1)]);
    assert_eq!(found("CREDITS credits"), [(0, 1, 2), (1, 1, 2)]);
    assert_eq!(found("anchor"), [(2, 3, 1), (1, 2, 2), (0, 1, 1)]);
    assert!(found("anchor missing").is_empty() && found("").is_empty() && found("?").is_empty());
    assert!(index.remove(ids[1]));
    assert_eq!(found("anchor credits"), [(0, 2, 1)]);
}
