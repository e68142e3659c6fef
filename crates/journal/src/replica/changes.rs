//! What changed on a disk between two moments of a replica, told from the indexes alone.

use std::sync::Arc;

use async_trait::async_trait;
use image::{ByteRange, ChangeMap};

use super::{Moment, moment::Held};
use crate::{DiskNumber, Error, Result, Sequence, extents::Sectors, record::SECTOR_BYTES};

/// What changed on a disk between two moments, both of which are held until it is dropped: what tells them apart is folded
/// only with the earlier one.
#[derive(Clone)]
pub struct ReplicaChanges {
    later: Arc<Held>,
    earlier: Arc<Held>,
    disk: DiskNumber,
}

impl Moment {
    /// What changed on a disk since an earlier moment; none where nothing tells: the moment is another replica's or a later one, or
    /// the disk was another one then, or had another size.
    #[must_use]
    pub fn changes_since(&self, earlier: &Self, disk: DiskNumber) -> Option<ReplicaChanges> {
        let is_before = Arc::ptr_eq(self.held.replica(), earlier.held.replica())
            && earlier.vm == self.vm
            && earlier.sequence() <= self.sequence();
        let (was, is) = (earlier.disks.get(disk)?, self.disks.get(disk)?);
        let is_same = was.vm == is.vm && was.name == is.name && was.size_bytes == is.size_bytes;
        (is_before && is_same).then(|| ReplicaChanges {
            later: Arc::clone(&self.held),
            earlier: Arc::clone(&earlier.held),
            disk,
        })
    }
}

impl ReplicaChanges {
    fn within(&self, window: ByteRange) -> Result<Vec<ByteRange>> {
        let sectors = Sectors {
            disk: self.disk,
            start: window.offset_bytes / SECTOR_BYTES,
            end: window.end_bytes().div_ceil(SECTOR_BYTES),
        };
        let since: Sequence = self.earlier.sequence();
        let changed = self.later.sight()?.changed(self.later.shared(), sectors, since)?;
        let cut = changed.into_iter().map(|range| range.intersection(window));
        Ok(image::coalesce(cut.filter(|range| !range.is_empty()).collect()))
    }
}

#[async_trait]
impl ChangeMap for ReplicaChanges {
    async fn changed_within(&self, window: ByteRange) -> image::Result<Vec<ByteRange>> {
        if window.is_empty() {
            return Ok(Vec::new());
        }
        let changes = self.clone();
        let done = self.later.shared().threads.run(move || changes.within(window)).await;
        let done = done.map_err(|error| {
            image::Error::new(image::ErrorKind::Io, "looking into a replica was cut off").with_source(error)
        })?;
        done.map_err(Error::into)
    }
}

#[cfg(test)]
mod tests;
