//! Work for cargo and rustc: generic code with collections and threads.

use std::collections::{BTreeMap, HashMap};

fn count<K: std::hash::Hash + Eq + Ord + Clone>(keys: impl Iterator<Item = K>) -> BTreeMap<K, u32> {
    let mut counts = HashMap::new();
    for key in keys {
        *counts.entry(key).or_insert(0) += 1;
    }
    counts.into_iter().collect()
}

fn main() {
    let threads: Vec<_> = (0..4u64)
        .map(|seed| std::thread::spawn(move || count((0..7000u64).map(|n| format!("w{}", n * (2 * seed + 1) % 1000)))))
        .collect();
    let counts: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    println!("words {}, most {}", counts[0].len(), counts[0].values().max().unwrap());
}
