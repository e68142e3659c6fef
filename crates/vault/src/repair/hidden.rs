//! Bringing back what was deleted or written over, where the store keeps earlier versions of objects.

use bytes::Bytes;

use super::{Cure, DamagedObject, Repair};
use crate::{
    Digest, Error, ErrorKind, Result,
    keys::slot::{SLOT_BYTES, Slot},
    location::versions::{Version, Versions},
    store::{ObjectKind, Store},
};

/// Key slots that were deleted within so many microseconds before the last one went with it: an hour.
const SLOTS_TOGETHER_US: i64 = 3_600_000_000;

/// The versions of a vault's objects; none where the store keeps none, or does not let us see them.
pub(super) async fn versions(store: &Store) -> Result<Option<Versions>> {
    let Some(versions) = Versions::of(store.location())? else { return Ok(None) };
    match versions.of_object("config").await {
        Ok(_) => Ok(Some(versions)),
        Err(error) if error.kind() == ErrorKind::Unreachable => Err(error),
        Err(error) => {
            tracing::warn!(%error, "what was deleted cannot be brought back from earlier versions");
            Ok(None)
        }
    }
}

impl Repair<'_> {
    /// Brings back the newest earlier version of an object that has the bytes which its name says. Returns them.
    pub(super) async fn uncover(
        &self,
        kind: ObjectKind,
        digest: &Digest,
        limit_bytes: u64,
    ) -> Result<Option<Bytes>> {
        let Some(versions) = &self.versions else { return Ok(None) };
        for version in earlier(versions.of_object(&kind.name_of(digest)).await?) {
            let Some(bytes) = versions.get(&version, limit_bytes).await? else { continue };
            if Digest::of(&bytes) == *digest {
                self.bring_back(versions, &version, &bytes).await?;
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// Makes a version what readers get. Only the delete markers over it go where that is enough, and is allowed: then it is
    /// the same version as ever, for the store as well; else it is written again.
    pub(super) async fn bring_back(
        &self,
        versions: &Versions,
        version: &Version,
        bytes: &Bytes,
    ) -> Result<()> {
        if self.is_dry {
            return Ok(());
        }
        match versions.uncover(version).await {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) if error.kind() == ErrorKind::Denied => {
                tracing::debug!(%error, "a version is written again");
            }
            Err(error) => return Err(error),
        }
        self.shared.store.put_named(&version.name, bytes.clone()).await
    }

    /// Brings back the key slots that were deleted together with the last one. Those that went before somebody had removed.
    pub(super) async fn uncover_slots(&mut self) -> Result<()> {
        let Some(versions) = self.versions.take() else { return Ok(()) };
        let found = versions.in_folder("keys").await?;
        let deleted = found.iter().filter(|version| version.is_latest && version.is_marker);
        let last = deleted.clone().map(|marker| marker.written_at).max();
        let together = |marker: &&Version| {
            last.is_some_and(|last| last.microseconds_since(marker.written_at) <= SLOTS_TOGETHER_US)
        };
        let names: Vec<Digest> = deleted
            .filter(together)
            .filter_map(|marker| marker.name.rsplit('/').next()?.parse().ok())
            .collect();
        self.versions = Some(versions);
        for slot in names {
            let Some(bytes) = self.uncover(ObjectKind::KeySlot, &slot, SLOT_BYTES as u64).await? else {
                continue;
            };
            let vault_id = self.shared.config.vault_id;
            if Slot::decode(&bytes).is_ok_and(|slot| slot.vault_id() == vault_id) {
                let reason = deleted_reason();
                self.report.add(DamagedObject::KeySlot(slot), reason, Some(Cure::Uncovered));
            }
        }
        Ok(())
    }
}

/// What is wrong with an object that is only hidden.
pub(super) fn deleted_reason() -> String {
    "it was deleted".to_owned()
}

/// The versions that readers do not get, newest first.
pub(super) fn earlier(versions: Vec<Version>) -> impl Iterator<Item = Version> {
    versions.into_iter().filter(|version| !version.is_marker && !version.is_latest)
}

/// For a version that was listed and is not what it should be.
pub(super) fn gone(version: &Version) -> Error {
    Error::new(
        ErrorKind::Overtaken,
        format!("a version of {} went while the vault was repaired", version.name),
    )
    .with_guidance("run the same again")
}
