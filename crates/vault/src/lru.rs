//! A small cache that forgets what was not used for the longest time.

use std::{collections::HashMap, hash::Hash};

/// A cache of at most `capacity` entries. Meant for dozens of entries: making room looks at all of them.
#[derive(Debug)]
pub(crate) struct Lru<K, V> {
    entries: HashMap<K, (u64, V)>,
    capacity: usize,
    uses: u64,
}

impl<K: Copy + Eq + Hash, V> Lru<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { entries: HashMap::with_capacity(capacity), capacity, uses: 0 }
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<&V> {
        self.uses += 1;
        let (last_use, value) = self.entries.get_mut(key)?;
        *last_use = self.uses;
        Some(value)
    }

    pub(crate) fn put(&mut self, key: K, value: V) {
        self.uses += 1;
        if self.entries.len() >= self.capacity && !self.entries.contains_key(&key) {
            let oldest = self.entries.iter().min_by_key(|(_, (last_use, _))| *last_use).map(|(key, _)| *key);
            oldest.map(|key| self.entries.remove(&key));
        }
        self.entries.insert(key, (self.uses, value));
    }
}
