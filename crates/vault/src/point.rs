//! Recovery points: the only commit of a vault.

mod document;

use std::sync::Arc;

use futures::{StreamExt, stream};
use model::{DiskName, DiskSummary, PointId, PointSummary, VmDefinition};

pub(crate) use document::{decode, decode_body};
#[cfg(test)]
pub(crate) use document::{encode, encode_body};

use crate::{
    Digest, DiskMap, Error, ErrorKind, Result, Vault, log::PointState, store::ObjectKind, sync, vault::Shared,
};

/// The largest recovery point that is read.
pub(crate) const POINT_BYTES_MAX: u64 = 16 << 20;

/// Points that are read side by side.
const POINTS_AT_ONCE: usize = 16;

/// A recovery point: what people see of it, what the VM was made of, and where its disks are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointRecord {
    /// What people see.
    pub summary: PointSummary,
    /// What the VM was made of.
    pub definition: VmDefinition,
    /// The disks' maps, in the order of the summary's disks.
    pub maps: Vec<DiskMap>,
}

impl PointRecord {
    /// The disks with their maps.
    pub fn disks(&self) -> impl Iterator<Item = (&DiskSummary, &DiskMap)> {
        self.summary.disks.iter().zip(&self.maps)
    }

    /// The map of one disk.
    #[must_use]
    pub fn map(&self, disk: &DiskName) -> Option<&DiskMap> {
        self.disks().find(|(summary, _)| summary.name == *disk).map(|(_, map)| map)
    }
}

/// The recovery points of a vault.
#[derive(Debug, Default)]
pub struct PointList {
    /// Those that can be read, oldest first.
    pub points: Vec<PointRecord>,
    /// Those that cannot, and why.
    pub unreadable: Vec<(Digest, Error)>,
}

impl Vault {
    /// All recovery points that are not deleted. One that cannot be read does not hide the others. Where the vault's log is
    /// damaged, those that can still be known of, even some that were deleted.
    ///
    /// # Errors
    /// Whatever keeps the store from being read.
    pub async fn points(&self) -> Result<PointList> {
        self.points_that(|point| point.deletion.is_none()).await
    }

    /// The recovery points that are deleted and can still be brought back.
    ///
    /// # Errors
    /// As of [`Vault::points`].
    pub async fn deleted_points(&self) -> Result<PointList> {
        self.points_that(|point| point.deletion.is_some()).await
    }

    async fn points_that(&self, is_wanted: fn(&PointState) -> bool) -> Result<PointList> {
        let state = self.shared.log.refresh_to_read().await?;
        let wanted = state.body.points.values().filter(|point| is_wanted(point));
        self.shared.read_points(wanted.map(|point| point.object).collect()).await
    }

    /// One recovery point, also one that is deleted and can still be brought back.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none with this id.
    pub async fn point(&self, id: PointId) -> Result<PointRecord> {
        let state = self.shared.log.refresh_to_read().await?;
        if let Some(known) = state.body.points.get(&id) {
            return self.shared.read_point(known.object).await.map(|point| (*point).clone());
        }
        let PointList { points, unreadable } = self.points_that(|_| true).await?;
        let found = points.into_iter().find(|point| point.summary.id == id);
        found.ok_or_else(|| {
            let error =
                Error::new(ErrorKind::NotFound, format!("there is no recovery point {id} in this vault"));
            match unreadable.len() {
                0 => error,
                count => error.with_guidance(format!(
                    "{count} points cannot be read, and it may be one of them: verify the vault"
                )),
            }
        })
    }
}

impl Shared {
    /// Writes a point's object. It is a point only once the log says so.
    pub(crate) async fn write_point(&self, point: &PointRecord) -> Result<Digest> {
        let bytes = document::encode(point, &self.keys, env::random(&*self.env.entropy))?;
        let digest = self.store.put(ObjectKind::Point, bytes).await?;
        sync::lock(&self.points).insert(digest, Arc::new(point.clone()));
        Ok(digest)
    }

    /// The points in these objects.
    pub(crate) async fn read_points(&self, objects: Vec<Digest>) -> Result<PointList> {
        let mut reads = stream::iter(objects)
            .map(|digest| async move { (digest, self.read_point(digest).await) })
            .buffered(POINTS_AT_ONCE);
        let mut list = PointList::default();
        while let Some((digest, point)) = reads.next().await {
            match point {
                Ok(point) => list.points.push((*point).clone()),
                Err(error) if error.is_damage() => list.unreadable.push((digest, error)),
                Err(error) => return Err(error),
            }
        }
        list.points.sort_by_key(|point| (point.summary.captured_at, point.summary.id));
        list.unreadable.sort_by_key(|(digest, _)| *digest);
        Ok(list)
    }

    pub(crate) async fn read_point(&self, digest: Digest) -> Result<Arc<PointRecord>> {
        let known = sync::lock(&self.points).get(&digest).cloned();
        if let Some(point) = known {
            return Ok(point);
        }
        let bytes = self.store.get(ObjectKind::Point, &digest, POINT_BYTES_MAX).await?;
        let point = Arc::new(document::decode(&bytes, &self.keys)?);
        sync::lock(&self.points).insert(digest, Arc::clone(&point));
        Ok(point)
    }
}
