//! A snapshot becomes a recovery point of a vault.

use std::sync::Arc;

use catalog::{KnownSnapshot, SnapshotCopy};
use hypervisor::{Baseline, CaptureFacts, CapturedDisk, DiskChanges};
use model::{CaptureId, PointId};
use protection::{Moment, Monitor, SnapshotOrder, SnapshotRun, Treatment};
use vault::Vault;

use super::Arrived;
use crate::{
    copies,
    failure::{Failure, Result},
    jobs::JobMonitor,
    site::Site,
    work::{open_vault, overall::Overall},
};

/// Stores what the vault lacks of it, from the newest point of its family on.
pub(super) async fn copy(
    site: &Site,
    snapshot: &KnownSnapshot,
    copy: &SnapshotCopy,
    monitor: &Arc<JobMonitor>,
) -> Result<Arrived> {
    let known = site.vaults.find(&copy.place).await?;
    let vault = open_vault(site, &known, monitor).await?;
    let id = point_id(copy)?;
    match vault.point(id).await {
        // A server that died had got this far.
        Ok(point) => return Ok(arrived(&point.summary)),
        Err(error) if error.kind() == vault::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let moment = moment(site, snapshot).await?;
    let mut earlier = vault.points().await?.points;
    earlier.retain(|point| point.summary.vm_id == snapshot.family);
    earlier.sort_by_key(|point| std::cmp::Reverse((point.summary.captured_at, point.summary.id)));
    let run = SnapshotRun::new(SnapshotOrder {
        id,
        // No dirty bitmap starts at it in the chain of backups: the next backup must not think so.
        capture_id: CaptureId::from_random(env::random(&*site.env.entropy)),
        vm_id: snapshot.family,
        vm_name: snapshot.family_name.clone(),
        disk: snapshot.disk.clone(),
        name: copy.name.to_string(),
        treatment: Treatment::unprotected(),
        distrust: None,
        baseline: Baseline::default(),
    });
    let sizes_bytes = moment.disks().iter().map(|disk| disk.image.size_bytes()).collect();
    let operation: Arc<dyn Monitor> = Arc::new(Overall::new(monitor.clone(), sizes_bytes));
    let point = Box::pin(run.store_copy(&vault, &moment, earlier, &operation)).await?;
    copies::sync_behind_of(site, known.id).await;
    Ok(arrived(&point))
}

fn arrived(point: &model::PointSummary) -> Arrived {
    let sent_bytes = point.disks.iter().map(|disk| disk.stored_bytes.0).sum();
    Arrived { name_there: point.id.to_string(), sent_bytes }
}

/// The point that a copy becomes, however often it is begun.
fn point_id(copy: &SnapshotCopy) -> Result<PointId> {
    copy.transfer_id.as_str().parse().map_err(|error| Failure::invalid(format!("{error}")))
}

/// The snapshot, as a moment to be stored.
async fn moment(site: &Site, snapshot: &KnownSnapshot) -> Result<Moment> {
    let store = super::store_of(site).await?;
    let source: Vault = site.vaults.open(&store).await?;
    let point = source.point(snapshot.id.point_id()).await?;
    let mut disks = Vec::with_capacity(point.maps.len());
    for (disk, map) in point.disks() {
        let changes = DiskChanges::Unknown { reason: "it is a copy of a snapshot".to_owned() };
        disks.push(CapturedDisk {
            name: disk.name.clone(),
            image: Arc::new(source.image(map).await?),
            changes,
        });
    }
    let facts = CaptureFacts {
        captured_at: point.summary.captured_at,
        consistency: point.summary.consistency.clone(),
        definition: point.definition.clone(),
        omitted: Vec::new(),
    };
    Ok(Moment::kept(facts, disks))
}
