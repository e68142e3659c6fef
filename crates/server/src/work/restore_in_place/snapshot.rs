//! A VM becomes what a managed snapshot of it holds. What it was before becomes a snapshot as well.

use std::sync::Arc;

use api::{CreateSnapshot, shell_word};
use catalog::{HalfRestored, KnownVm};
use model::{PointId, SnapshotState};

use super::{InPlace, safety::Safety};
use crate::{
    failure::{Failure, Result},
    jobs::JobMonitor,
    points::FoundPoint,
    site::Site,
    work::snapshot,
};

/// Fails for a snapshot that a VM's disks cannot become. Recovery points may be another VM's.
pub(super) fn check(vm: &KnownVm, point: &FoundPoint) -> Result<()> {
    let Some(of) = &point.snapshot else { return Ok(()) };
    let summary = &point.record.summary;
    if summary.vm_id != vm.id {
        let detail =
            format!("the snapshot {} is one of {}, not of the VM {}", of.name, summary.vm_name, vm.name);
        let list = shell_word(vm.name.as_str());
        return Err(Failure::conflict(detail)
            .with_hint(format!("see those that there are: holdfast snapshot list --family {list}")));
    }
    if of.held.is_some() {
        // Stopping the VM could end what holds the moment.
        let detail = format!("the snapshot {} is still being copied into the store", of.name);
        return Err(Failure::conflict(detail)
            .with_hint(format!("see how far it is: holdfast snapshot show {}", of.name)));
    }
    Ok(())
}

/// Makes a snapshot of what the stopped VM holds, all of it read from its disks and in the store when this returns.
pub(super) async fn safety(site: &Site, vm: &KnownVm, monitor: &Arc<JobMonitor>) -> Result<Safety> {
    let request = CreateSnapshot { source: vm.name.to_string(), full: true, ..CreateSnapshot::default() };
    let made = Box::pin(snapshot::before_revert(site, vm.clone(), &request, monitor)).await?;
    Ok(Safety { point: made.id.point_id(), snapshot: Some(made.name.to_string()) })
}

impl InPlace {
    /// Notes that the disks are about to be overwritten. From then on nobody deletes the snapshots that make the VM whole.
    pub(super) async fn begin(&self, site: &Site, half: &HalfRestored) -> Result<()> {
        let _admission = site.admission.lock().await;
        if let Some(of) = &self.point.snapshot {
            let now = site.catalog.snapshot(of.id).await?.map(|snapshot| snapshot.state);
            if now != Some(SnapshotState::Ready) {
                let detail =
                    format!("the snapshot {} was deleted meanwhile, and nothing is overwritten", of.name);
                return Err(Failure::conflict(detail));
            }
        }
        Ok(site.catalog.begin_overwriting(self.vm.id, half).await?)
    }
}

/// Whether a half-restored VM needs a snapshot, by its point in the store, to become whole.
pub(crate) fn is_needed_by(vm: &KnownVm, snapshot: PointId) -> bool {
    vm.half_restored
        .as_ref()
        .is_some_and(|half| half.point == snapshot || half.safety_point == Some(snapshot))
}
