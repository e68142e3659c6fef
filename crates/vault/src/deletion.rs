//! Deleting points, bringing them back, and what keeps them: retention, holds, immutability. Every change is an entry of
//! the log; objects are deleted by [`Vault::collect`] alone.

use model::{PointId, Timestamp, VaultSettings, VmId};

use crate::{
    ErrorKind, Result, Vault,
    log::{Change, rules},
};

/// What may become of a point, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointFate {
    /// The point.
    pub id: PointId,
    /// The VM that it shows.
    pub vm_id: VmId,
    /// The moment that it shows.
    pub captured_at: Timestamp,
    /// When it became part of the vault.
    pub committed_at: Timestamp,
    /// Why nobody may delete it, where it is under a legal hold.
    pub hold: Option<String>,
    /// When it was deleted; it can be brought back until it is purged.
    pub deleted_at: Option<Timestamp>,
    /// When a collection may purge it for good; only of a deleted point.
    pub purge_after: Option<Timestamp>,
    /// From when on the vault's retention lets it be deleted. A hold comes on top.
    pub deletable_from: Timestamp,
}

impl Vault {
    /// What may become of every point, deleted ones included; oldest first.
    ///
    /// # Errors
    /// Whatever keeps the vault's log from being read.
    pub async fn fates(&self) -> Result<Vec<PointFate>> {
        let state = self.shared.log.refresh().await?;
        let fate = |(id, point): (&PointId, &crate::log::PointState)| PointFate {
            id: *id,
            vm_id: point.vm_id,
            captured_at: point.captured_at,
            committed_at: point.committed_at,
            hold: point.hold.clone(),
            deleted_at: point.deletion.map(|deletion| deletion.at),
            purge_after: point.deletion.map(|deletion| deletion.purge_after),
            deletable_from: rules::deletable_from(point, &state.body.settings),
        };
        let mut fates: Vec<PointFate> = state.body.points.iter().map(fate).collect();
        fates.sort_by_key(|fate| (fate.captured_at, fate.id));
        Ok(fates)
    }

    /// Deletes points: all of them or, after an error, none. They are gone from [`Vault::points`] at once, and can be brought
    /// back until a collection purges them, at the earliest after the days of [`VaultSettings::soft_delete_days`]. Works
    /// in a full store that has a reserve.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such point, [`ErrorKind::Refused`] when it is deleted already, held, or younger
    /// than the least retention of an immutable vault.
    pub async fn delete_points(&self, points: &[PointId]) -> Result<()> {
        self.change_points(points, |points| Change::Delete { points }).await
    }

    /// Brings deleted points back, all or none.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when a point was purged, [`ErrorKind::Refused`] when it is not deleted.
    pub async fn undelete_points(&self, points: &[PointId]) -> Result<()> {
        self.change_points(points, |points| Change::Undelete { points }).await
    }

    /// Puts points under a legal hold, all or none: nobody can delete them until they are released.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such point, [`ErrorKind::Refused`] when it is deleted.
    pub async fn hold_points(&self, points: &[PointId], reason: &str) -> Result<()> {
        self.change_points(points, |points| Change::Hold { points, reason: reason.to_owned() }).await
    }

    /// Releases points from their hold, all or none.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such point, [`ErrorKind::Refused`] when it is under no hold.
    pub async fn release_points(&self, points: &[PointId]) -> Result<()> {
        self.change_points(points, |points| Change::Release { points }).await
    }

    /// What the vault promises about deletion.
    ///
    /// # Errors
    /// Whatever keeps the vault's log from being read.
    pub async fn settings(&self) -> Result<VaultSettings> {
        Ok(self.shared.log.refresh().await?.body.settings)
    }

    /// Changes what the vault promises about deletion. Points that are deleted already keep the time they were given.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when the vault is locked and this would be weaker.
    pub async fn set_settings(&self, settings: VaultSettings) -> Result<()> {
        self.append_with_room(Change::Settings(settings)).await
    }

    async fn change_points(&self, points: &[PointId], change: impl Fn(Vec<PointId>) -> Change) -> Result<()> {
        if points.is_empty() { Ok(()) } else { self.append_with_room(change(points.to_vec())).await }
    }

    async fn append_with_room(&self, change: Change) -> Result<()> {
        match self.shared.log.append(change.clone()).await {
            Err(error) if error.kind() == ErrorKind::NoSpace && self.shared.release_reserve().await? => {
                self.shared.log.append(change).await?;
                self.shared.keep_reserve().await;
            }
            appended => drop(appended?),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
