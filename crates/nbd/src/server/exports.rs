//! What a server offers, by name.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use image::DiskImage;
use tokio::sync::watch;

/// Images by the names of their exports. Clones share them: what is added is offered by servers that run already.
#[derive(Clone, Default)]
pub struct Exports(Arc<Shared>);

#[derive(Default)]
struct Shared {
    images: RwLock<BTreeMap<String, Arc<dyn DiskImage>>>,
    changes: watch::Sender<()>,
}

impl Exports {
    /// No exports yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Offers an image, in the place of what had that name.
    pub fn add(&self, name: impl Into<String>, image: Arc<dyn DiskImage>) {
        self.0.images.write().unwrap_or_else(PoisonError::into_inner).insert(name.into(), image);
        self.0.changes.send_replace(());
    }

    /// Takes an offer back. Clients that have begun to read go on.
    pub fn remove(&self, name: &str) {
        self.0.images.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// The names, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.read().keys().cloned().collect()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.read().len()
    }

    /// Tells when there is more.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.0.changes.subscribe()
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
        self.0.images.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Exports {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Exports").field(&self.names()).finish()
    }
}
