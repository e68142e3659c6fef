//! What a server offers, by name.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use image::{DiskImage, DiskTarget};
use tokio::sync::watch;

use crate::codec::handshake::{BlockSizes, TransmissionFlags};

/// A target that knows its clients: each that begins gets one of its own, which is dropped when its connection has ended and
/// none of its requests is under way any more.
pub trait TargetPerClient: Send + Sync {
    /// The virtual size in bytes.
    fn size_bytes(&self) -> u64;

    /// A client begins.
    fn begin(&self) -> Arc<dyn DiskTarget>;
}

/// A target that all clients share.
struct SharedTarget(Arc<dyn DiskTarget>);

impl TargetPerClient for SharedTarget {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }

    fn begin(&self) -> Arc<dyn DiskTarget> {
        Arc::clone(&self.0)
    }
}

/// What an export shows or takes.
#[derive(Clone)]
pub(super) enum Exported {
    /// Can be read.
    Image(Arc<dyn DiskImage>),
    /// Can be written, and not be read.
    Target(Arc<dyn TargetPerClient>),
}

/// What one client reads or writes.
#[derive(Clone)]
pub(super) enum Opened {
    Image(Arc<dyn DiskImage>),
    Target(Arc<dyn DiskTarget>),
}

impl Opened {
    pub(super) fn size_bytes(&self) -> u64 {
        match self {
            Self::Image(image) => image.size_bytes(),
            Self::Target(target) => target.size_bytes(),
        }
    }
}

impl Exported {
    pub(super) fn size_bytes(&self) -> u64 {
        match self {
            Self::Image(image) => image.size_bytes(),
            Self::Target(target) => target.size_bytes(),
        }
    }

    /// A client begins.
    pub(super) fn begin(self) -> Opened {
        match self {
            Self::Image(image) => Opened::Image(image),
            Self::Target(target) => Opened::Target(target.begin()),
        }
    }

    /// What clients are told that can be done with it.
    pub(super) fn flags(&self) -> TransmissionFlags {
        match self {
            Self::Image(_) => TransmissionFlags::HAS_FLAGS
                .with(TransmissionFlags::READ_ONLY)
                .with(TransmissionFlags::SEND_DF)
                .with(TransmissionFlags::CAN_MULTI_CONN)
                .with(TransmissionFlags::SEND_CACHE),
            Self::Target(_) => TransmissionFlags::HAS_FLAGS
                .with(TransmissionFlags::SEND_FLUSH)
                .with(TransmissionFlags::SEND_WRITE_ZEROES),
        }
    }

    /// Targets take whole sectors.
    pub(super) fn block_sizes(&self) -> BlockSizes {
        match self {
            Self::Image(_) => BlockSizes::DEFAULT,
            Self::Target(_) => BlockSizes { minimum_bytes: 512, ..BlockSizes::DEFAULT },
        }
    }
}

/// Images and targets by the names of their exports. Clones share them: what is added is offered by servers that run already.
#[derive(Clone, Default)]
pub struct Exports(Arc<Shared>);

#[derive(Default)]
struct Shared {
    exported: RwLock<BTreeMap<String, Exported>>,
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
        self.insert(name.into(), Exported::Image(image));
    }

    /// Offers a target to be written, in the place of what had that name. Every client may write to it: let one connect.
    pub fn add_target(&self, name: impl Into<String>, target: Arc<dyn DiskTarget>) {
        self.add_target_per_client(name, Arc::new(SharedTarget(target)));
    }

    /// As [`Exports::add_target`], for a target that knows its clients.
    pub fn add_target_per_client(&self, name: impl Into<String>, target: Arc<dyn TargetPerClient>) {
        self.insert(name.into(), Exported::Target(target));
    }

    fn insert(&self, name: String, exported: Exported) {
        self.0.exported.write().unwrap_or_else(PoisonError::into_inner).insert(name, exported);
        self.0.changes.send_replace(());
    }

    /// Takes an offer back. Clients that have begun go on.
    pub fn remove(&self, name: &str) {
        self.0.exported.write().unwrap_or_else(PoisonError::into_inner).remove(name);
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

    /// What has this name. The empty name is that of the only export.
    pub(super) fn find(&self, name: &str) -> Option<Exported> {
        let exports = self.read();
        match exports.get(name) {
            None if name.is_empty() && exports.len() == 1 => exports.values().next().cloned(),
            found => found.cloned(),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Exported>> {
        self.0.exported.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Exports {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Exports").field(&self.names()).finish()
    }
}
