//! What was used lately.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
};

/// A cache of what was used lately. Holds at most `capacity` entries: when the younger half is full, the older is forgotten.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    halves: Mutex<Halves<K, V>>,
    half: usize,
}

#[derive(Debug)]
struct Halves<K, V> {
    younger: HashMap<K, V>,
    older: HashMap<K, V>,
}

impl<K: Clone + Eq + Hash, V: Clone> Recent<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        let halves = Halves { younger: HashMap::new(), older: HashMap::new() };
        Self { halves: Mutex::new(halves), half: (capacity / 2).max(1) }
    }

    /// The value of a key, made where it is not known. Two at once may both make it.
    pub(crate) fn get_or<E>(&self, key: &K, make: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
        let known = {
            let mut halves = self.lock();
            let older = halves.older.remove(key);
            older.map(|value| (value, true)).or_else(|| Some((halves.younger.get(key)?.clone(), false)))
        };
        let (value, is_new) = match known {
            Some(known) => known,
            None => (make()?, true),
        };
        if is_new {
            let mut halves = self.lock();
            if halves.younger.len() >= self.half {
                halves.older = std::mem::take(&mut halves.younger);
            }
            halves.younger.insert(key.clone(), value.clone());
        }
        Ok(value)
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        let mut halves = self.lock();
        halves.younger.clear();
        halves.older.clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Halves<K, V>> {
        self.halves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
