//! Where an image is, and how it is opened.

use std::sync::Arc;

use catalog::{ImageSource, KnownCopy};
use image::DiskImage;
use model::{CopyName, DiskName, PointId, SnapshotId, SnapshotState, VaultId};

use super::Images;
use crate::{
    failure::{Failure, Result},
    snapshots::LostImage,
};

/// An image that can be opened at any time.
pub(super) struct Source {
    images: Images,
    source: ImageSource,
    size_bytes: u64,
}

impl Source {
    pub(super) fn new(images: Images, source: ImageSource, size_bytes: u64) -> Self {
        Self { images, source, size_bytes }
    }

    /// Opens it.
    pub(super) async fn open(&self) -> Result<Arc<dyn DiskImage>> {
        match &self.source {
            ImageSource::File { path } => Ok(image_formats::open_image(path, None).await?),
            ImageSource::Point { vault_id, copy, point_id, disk } => {
                self.open_point(*vault_id, copy.as_ref(), *point_id, disk).await
            }
            ImageSource::Replica { journal_id, vm_id, sequence, disk } => {
                self.images.replicas.image(*journal_id, *vm_id, *sequence, disk).await
            }
            ImageSource::Snapshot { snapshot_id, disk } => self.open_snapshot(*snapshot_id, disk).await,
        }
    }

    /// While its moment is held, what shows that; it goes over to the store by itself.
    async fn open_snapshot(&self, id: SnapshotId, disk: &DiskName) -> Result<Arc<dyn DiskImage>> {
        if let Some(held) = self.images.held.get(id) {
            return held.image(disk);
        }
        match self.images.catalog.snapshot(id).await? {
            Some(snapshot) if matches!(snapshot.state, SnapshotState::Ready | SnapshotState::Deleted) => {}
            Some(snapshot) if snapshot.state != SnapshotState::Failed => {
                let (name, state) = (snapshot.name, snapshot.state);
                return Err(Failure::not_found(format!(
                    "the snapshot {name} is {state}, and cannot be read"
                )));
            }
            _ => return Ok(Arc::new(LostImage::new(self.size_bytes))),
        }
        let store = self.images.vaults.snapshot_store().await?;
        let store = store.ok_or_else(|| Failure::not_found("there is no snapshot store"))?;
        self.open_point(store.id, None, id.point_id(), disk).await
    }

    async fn open_point(
        &self,
        vault_id: VaultId,
        copy: Option<&CopyName>,
        point_id: PointId,
        disk: &DiskName,
    ) -> Result<Arc<dyn DiskImage>> {
        let known = self.images.vaults.find(vault_id.as_str()).await?;
        let copy = match copy {
            None => None,
            Some(name) => Some(self.copy(vault_id, name).await?),
        };
        let vault = self.images.vaults.open_source(&known, copy.as_ref()).await?;
        let point = vault.point(point_id).await?;
        let map = point
            .map(disk)
            .ok_or_else(|| Failure::not_found(format!("the point {point_id} has no disk {disk}")))?;
        Ok(Arc::new(self.images.vaults.served_image(&vault, map).await?))
    }

    async fn copy(&self, vault_id: VaultId, name: &CopyName) -> Result<KnownCopy> {
        let copies = self.images.catalog.copies_of(vault_id).await?;
        let found = copies.into_iter().find(|copy| copy.name == *name);
        found.ok_or_else(|| Failure::not_found(format!("the vault has no copy {name} any more")))
    }
}
