//! The snapshots whose moments are held while they are copied into the store.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use hypervisor::CapturedDisk;
use image::DiskImage;
use model::{DiskName, SnapshotId};
use tokio::sync::Semaphore;
use vault::PointRecord;

use super::{lost::LostImage, switching::SwitchingImage};
use crate::failure::{Failure, Result};

/// A snapshot whose data is not, or not known to be, in the store.
#[derive(Debug)]
pub(crate) struct HeldSnapshot {
    /// What it will be in the store. It has no maps yet.
    pub(crate) record: PointRecord,
    disks: Vec<HeldDisk>,
    copied_bytes: AtomicU64,
}

#[derive(Debug)]
struct HeldDisk {
    name: DiskName,
    image: Arc<SwitchingImage>,
}

impl HeldSnapshot {
    /// The snapshot of which these disks are held.
    pub(crate) fn new(record: PointRecord, disks: &[CapturedDisk]) -> Self {
        let held = |disk: &CapturedDisk| HeldDisk {
            name: disk.name.clone(),
            image: Arc::new(SwitchingImage::new(Arc::clone(&disk.image))),
        };
        Self { record, disks: disks.iter().map(held).collect(), copied_bytes: AtomicU64::new(0) }
    }

    /// A disk, which stays readable when the moment is let go of.
    pub(crate) fn image(&self, disk: &DiskName) -> Result<Arc<dyn DiskImage>> {
        let found = self.disks.iter().find(|held| held.name == *disk);
        let found = found.ok_or_else(|| Failure::not_found(format!("the snapshot has no disk {disk}")))?;
        Ok(Arc::clone(&found.image) as _)
    }

    /// All disks, by name.
    pub(crate) fn images(&self) -> BTreeMap<DiskName, Arc<dyn DiskImage>> {
        self.disks.iter().map(|held| (held.name.clone(), Arc::clone(&held.image) as _)).collect()
    }

    /// The disks are read from elsewhere from now on.
    pub(crate) fn switch(&self, images: impl IntoIterator<Item = (DiskName, Arc<dyn DiskImage>)>) {
        for (name, image) in images {
            let held = self.disks.iter().find(|held| held.name == name);
            held.into_iter().for_each(|held| held.image.switch(Arc::clone(&image)));
        }
    }

    /// The moment is over, and nothing else has its data.
    pub(crate) fn lose(&self) {
        for held in &self.disks {
            held.image.switch(Arc::new(LostImage::new(held.image.size_bytes())));
        }
    }

    /// The sizes of its disks, in the order in which they are copied.
    pub(crate) fn sizes_bytes(&self) -> Vec<u64> {
        self.disks.iter().map(|held| held.image.size_bytes()).collect()
    }

    /// Keeps how far the copy is, over all disks.
    pub(crate) fn note(&self, copied_bytes: u64) {
        self.copied_bytes.store(copied_bytes, Ordering::Relaxed);
    }

    /// How much of it is copied, in percent; never all of it.
    pub(crate) fn percent(&self) -> u8 {
        let size: u64 = self.sizes_bytes().iter().sum();
        let copied = self.copied_bytes.load(Ordering::Relaxed);
        let percent = u128::from(copied) * 100 / u128::from(size.max(1));
        u8::try_from(percent.min(99)).unwrap_or(99)
    }
}

/// All snapshots that are held now.
#[derive(Debug)]
pub(crate) struct Held {
    snapshots: Mutex<BTreeMap<SnapshotId, Arc<HeldSnapshot>>>,
    /// Who may copy: a held moment costs its guest little, but many copies at once cost the host much.
    pub(crate) copying: Semaphore,
}

impl Held {
    /// Nothing is held yet; so many are copied at once.
    pub(crate) fn new(copying_limit: usize) -> Self {
        Self { snapshots: Mutex::default(), copying: Semaphore::new(copying_limit.max(1)) }
    }

    /// A snapshot that is held.
    pub(crate) fn get(&self, id: SnapshotId) -> Option<Arc<HeldSnapshot>> {
        self.lock().get(&id).cloned()
    }

    /// Shows a snapshot for as long as the answer lives.
    pub(crate) fn show(self: &Arc<Self>, id: SnapshotId, snapshot: Arc<HeldSnapshot>) -> Shown {
        self.lock().insert(id, snapshot);
        Shown { held: Arc::clone(self), id }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SnapshotId, Arc<HeldSnapshot>>> {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// That a held snapshot is shown; dropped when its moment is let go of.
pub(crate) struct Shown {
    held: Arc<Held>,
    id: SnapshotId,
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.held.lock().remove(&self.id);
    }
}
