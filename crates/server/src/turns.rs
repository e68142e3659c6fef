//! Work on a place that one does at a time. Whoever wants it done meanwhile makes that one look once more before it ends.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Which places are being worked on.
#[derive(Debug)]
pub(crate) struct Turns<Place> {
    /// True where somebody has asked again since.
    running: Mutex<BTreeMap<Place, bool>>,
}

/// The right to work on a place, given up when dropped.
#[derive(Debug)]
pub(crate) struct Turn<Place: Ord> {
    turns: Arc<Turns<Place>>,
    place: Place,
    is_over: bool,
}

impl<Place> Default for Turns<Place> {
    fn default() -> Self {
        Self { running: Mutex::default() }
    }
}

impl<Place: Ord + Clone> Turns<Place> {
    /// Takes a place; none when somebody has it, who then looks once more before ending.
    pub(crate) fn take(self: &Arc<Self>, place: &Place) -> Option<Turn<Place>> {
        let mut running = self.lock();
        if let Some(asked_again) = running.get_mut(place) {
            *asked_again = true;
            return None;
        }
        running.insert(place.clone(), false);
        Some(Turn { turns: Arc::clone(self), place: place.clone(), is_over: false })
    }

    pub(crate) fn has(&self, place: &Place) -> bool {
        self.lock().contains_key(place)
    }
}

impl<Place> Turns<Place> {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, bool>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Place: Ord> Turn<Place> {
    /// Gives the turn up. Where somebody has asked again since, it comes back: then the place is to be looked at once more.
    pub(crate) fn end(mut self) -> Option<Self> {
        let mut running = self.turns.lock();
        match running.get_mut(&self.place) {
            Some(asked_again) if *asked_again => {
                *asked_again = false;
                drop(running);
                Some(self)
            }
            _ => {
                running.remove(&self.place);
                drop(running);
                self.is_over = true;
                None
            }
        }
    }
}

impl<Place: Ord> Drop for Turn<Place> {
    fn drop(&mut self) {
        if !self.is_over {
            self.turns.lock().remove(&self.place);
        }
    }
}

#[cfg(test)]
mod tests;
