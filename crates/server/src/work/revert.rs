//! A VM becomes what a managed snapshot of it holds.

use api::RevertVm;
use catalog::Job;
use model::{PointSelector, SnapshotReference};

use super::restore_in_place::{InPlace, Stop};
use crate::{failure::Result, site::Site, snapshots, vms};

/// Lines it up.
pub(crate) async fn submit(site: &Site, snapshot: String, request: RevertVm) -> Result<Job> {
    let point = snapshots::resolve(site, &SnapshotReference { snapshot, disk: None }).await?;
    let _admission = site.admission.lock().await;
    let revert = InPlace {
        vm: vms::find(site, &request.vm).await?,
        selector: PointSelector::IdPrefix(point.record.summary.id.to_string()),
        point,
        disk: None,
        no_safety_point: request.no_safety,
        dry_run: request.dry_run,
        start: request.start,
        stop: Stop::wanted(request.stop, request.force),
    };
    revert.submit(site).await
}
