//! What a server offers, by name.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use image::DiskImage;

/// Images by the names of their exports. Clones share them: what is added is offered by servers that run already.
#[derive(Clone, Default)]
pub struct Exports(Arc<RwLock<BTreeMap<String, Arc<dyn DiskImage>>>>);

impl Exports {
    /// No exports yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Offers an image, in the place of what had that name.
    pub fn add(&self, name: impl Into<String>, image: Arc<dyn DiskImage>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name.into(), image);
    }

    /// Takes an offer back. Clients that have begun to read go on.
    pub fn remove(&self, name: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// The names, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.read().keys().cloned().collect()
    }

    /// The image of a name. The empty name is that of the only export.
    pub(super) fn find(&self, name: &str) -> Option<Arc<dyn DiskImage>> {
        let exports = self.read();
        match exports.get(name) {
            None if name.is_empty() && exports.len() == 1 => exports.values().next().cloned(),
            found => found.cloned(),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Arc<dyn DiskImage>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Exports {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Exports").field(&self.names()).finish()
    }
}
