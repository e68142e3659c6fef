//! What was asked for lately. Whoever asks for the same at the same time waits for one answer; failures are not kept.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::OnceCell;

/// Values by key, of which the least lately used go when all together weigh more than a limit.
#[derive(Debug)]
pub struct Cache<K, V> {
    limit: usize,
    state: Mutex<State<K, V>>,
}

#[derive(Debug)]
struct State<K, V> {
    slots: BTreeMap<K, Slot<V>>,
    weight: usize,
    /// Counts the uses, to tell the latest.
    uses: u64,
}

#[derive(Debug)]
struct Slot<V> {
    value: Arc<OnceCell<V>>,
    /// Nothing until the value is there.
    weight: usize,
    used: u64,
}

impl<K: Ord + Clone, V: Clone> Cache<K, V> {
    /// A cache of values that together weigh `limit` at the most, those on their way not counted.
    pub fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::new(State { slots: BTreeMap::new(), weight: 0, uses: 0 }) }
    }

    /// The value of a key; loaded, and weighed, where it is not there.
    pub async fn get<E>(
        &self,
        key: &K,
        weigh: impl FnOnce(&V) -> usize,
        load: impl Future<Output = Result<V, E>>,
    ) -> Result<V, E> {
        let cell = self.cell(key);
        if let Some(value) = cell.get() {
            return Ok(value.clone());
        }
        let loaded = cell.get_or_try_init(|| load).await.cloned();
        self.settle(key, &cell, loaded.as_ref().ok().map(weigh));
        loaded
    }

    /// Whether the value of a key is there or on its way.
    pub fn holds(&self, key: &K) -> bool {
        self.lock().slots.contains_key(key)
    }

    fn cell(&self, key: &K) -> Arc<OnceCell<V>> {
        let mut state = self.lock();
        state.uses += 1;
        let used = state.uses;
        let new = || Slot { value: Arc::default(), weight: 0, used };
        let slot = state.slots.entry(key.clone()).or_insert_with(new);
        slot.used = used;
        Arc::clone(&slot.value)
    }

    /// Takes what a value weighs into account, or forgets that it was asked for.
    fn settle(&self, key: &K, cell: &Arc<OnceCell<V>>, weight: Option<usize>) {
        let mut state = self.lock();
        let Some(slot) = state.slots.get_mut(key).filter(|slot| Arc::ptr_eq(&slot.value, cell)) else {
            return;
        };
        match weight {
            Some(weight) => {
                let before = std::mem::replace(&mut slot.weight, weight);
                state.weight = state.weight + weight - before;
            }
            // Another may be trying again.
            None if slot.value.initialized() => {}
            None => drop(state.slots.remove(key)),
        }
        while state.weight > self.limit {
            let loaded = state.slots.iter().filter(|(other, slot)| slot.weight > 0 && *other != key);
            let Some(oldest) = loaded.min_by_key(|(_, slot)| slot.used).map(|(key, _)| key.clone()) else {
                break;
            };
            state.weight -= state.slots.remove(&oldest).map_or(0, |slot| slot.weight);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<K, V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
