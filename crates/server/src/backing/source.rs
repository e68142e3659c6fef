//! Where an image is, and how it is opened.

use std::sync::Arc;

use catalog::{Catalog, ImageSource, KnownCopy};
use image::DiskImage;
use model::{CopyName, DiskName, PointId, VaultId};

use crate::{
    failure::{Failure, Result},
    vaults::Vaults,
};

/// An image that can be opened at any time.
pub(super) struct Source {
    catalog: Catalog,
    vaults: Arc<Vaults>,
    source: ImageSource,
}

impl Source {
    pub(super) fn new(catalog: Catalog, vaults: Arc<Vaults>, source: ImageSource) -> Self {
        Self { catalog, vaults, source }
    }

    /// Opens it.
    pub(super) async fn open(&self) -> Result<Arc<dyn DiskImage>> {
        match &self.source {
            ImageSource::File { path } => Ok(image_formats::open_image(path, None).await?),
            ImageSource::Point { vault_id, copy, point_id, disk } => {
                self.open_point(*vault_id, copy.as_ref(), *point_id, disk).await
            }
        }
    }

    async fn open_point(
        &self,
        vault_id: VaultId,
        copy: Option<&CopyName>,
        point_id: PointId,
        disk: &DiskName,
    ) -> Result<Arc<dyn DiskImage>> {
        let known = self.vaults.find(vault_id.as_str()).await?;
        let copy = match copy {
            None => None,
            Some(name) => Some(self.copy(vault_id, name).await?),
        };
        let vault = self.vaults.open_source(&known, copy.as_ref()).await?;
        let point = vault.point(point_id).await?;
        let map = point
            .map(disk)
            .ok_or_else(|| Failure::not_found(format!("the point {point_id} has no disk {disk}")))?;
        Ok(Arc::new(vault.image(map).await?))
    }

    async fn copy(&self, vault_id: VaultId, name: &CopyName) -> Result<KnownCopy> {
        let copies = self.catalog.copies_of(vault_id).await?;
        let found = copies.into_iter().find(|copy| copy.name == *name);
        found.ok_or_else(|| Failure::not_found(format!("the vault has no copy {name} any more")))
    }
}
