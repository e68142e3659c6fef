//! Snapshots that the store has and the catalog has lost.

use std::collections::BTreeMap;

use catalog::KnownSnapshot;
use model::{DiskName, SnapshotId, SnapshotName, SnapshotState, Timestamp};
use vault::PointRecord;

use super::subject;
use crate::{
    failure::{Failure, Result},
    site::Site,
};

/// Names that are tried where others have that of a snapshot.
const NAMES_TRIED: u32 = 1000;

/// Makes known again what the store has and no row of the catalog tells of: the catalog was lost, or an older one was put in its
/// place. What only the catalog knew is gone: tags, locks, which policy made a snapshot, and that it was deleted.
pub(super) async fn adopt(site: &Site) -> Result<()> {
    let Some(store) = site.vaults.snapshot_store_or_lost().await? else { return Ok(()) };
    let vault = site.vaults.open(&store).await?;
    let known = site.catalog.snapshot_ids().await?;
    for fate in vault.fates().await? {
        let id: SnapshotId = match fate.id.as_str().parse() {
            Ok(id) if !known.contains(&id) && fate.deleted_at.is_none() => id,
            _ => continue,
        };
        match vault.point(fate.id).await {
            Ok(point) => add(site, id, &point, fate.committed_at).await?,
            Err(error) => tracing::warn!(%id, %error, "a snapshot of the store cannot be made known again"),
        }
    }
    Ok(())
}

/// Makes one known, under its own name or one that is like it.
async fn add(site: &Site, id: SnapshotId, point: &PointRecord, ready_at: Timestamp) -> Result<()> {
    let summary = &point.summary;
    let name = summary.label.as_ref().and_then(|label| label.parse().ok());
    let name: SnapshotName = name.map_or_else(|| numbered(&id.to_string(), 1), Ok)?;
    let disk = only_disk(point);
    let mut snapshot = KnownSnapshot {
        id,
        name: name.clone(),
        family: summary.vm_id,
        family_name: summary.vm_name.clone(),
        source: subject::words(&summary.vm_name, disk.as_ref()),
        disk,
        state: SnapshotState::Ready,
        capture_id: summary.capture_id,
        created_at: summary.captured_at,
        taken_at: Some(summary.captured_at),
        ready_at: Some(ready_at),
        consistency: Some(summary.consistency.clone()),
        disks: summary.disks.clone(),
        tags: BTreeMap::new(),
        locked_until: None,
        deleted_at: None,
        purge_after: None,
        job_id: None,
        problem: None,
        policy: None,
    };
    for number in 2..=NAMES_TRIED {
        match site.catalog.add_snapshot(&snapshot).await {
            Ok(()) => {
                tracing::warn!(snapshot = %snapshot.name, "a snapshot that the catalog had lost is known again");
                return Ok(());
            }
            Err(error) if error.kind() == catalog::ErrorKind::Exists => {
                snapshot.name = numbered(name.as_str(), number)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::conflict(format!("no name like {name} is free for a snapshot that the catalog had lost")))
}

fn numbered(name: &str, number: u32) -> Result<SnapshotName> {
    let name = if number > 1 { format!("{name}-{number}") } else { name.to_owned() };
    name.parse().map_err(|error| Failure::invalid(format!("{error}")))
}

/// The disk that it was made of alone. All disks of its definition are in a snapshot of a whole VM.
fn only_disk(point: &PointRecord) -> Option<DiskName> {
    match point.summary.disks.as_slice() {
        [disk] if point.definition.disks.len() > 1 => Some(disk.name.clone()),
        _ => None,
    }
}
