//! What a VM was before its restore is kept: as a recovery point where it becomes one, as a snapshot where it becomes a snapshot.

use std::sync::Arc;

use model::{Consistency, PointId, ProtectionSettings};
use protection::{BackupOrder, Monitor};

use super::{InPlace, snapshot};
use crate::{
    copies,
    failure::{Failure, Result},
    jobs::JobMonitor,
    site::Site,
    vms,
    work::open_vault,
};

/// What a VM was before its disks were overwritten.
#[derive(Debug, Clone)]
pub(super) struct Safety {
    pub(super) point: PointId,
    /// The name of the snapshot that it is.
    pub(super) snapshot: Option<String>,
}

impl Safety {
    /// How it is asked for, where it is a snapshot.
    pub(super) fn reference(&self) -> Option<String> {
        self.snapshot.as_ref().map(|name| format!("snapshot:{name}"))
    }
}

impl InPlace {
    /// What the VM is now: kept now, or when a restore began that has not finished.
    pub(super) async fn safety(&self, site: &Site, monitor: &Arc<JobMonitor>) -> Result<Option<Safety>> {
        if let Some(half) = &self.vm.half_restored {
            let name = |reference: &String| reference.strip_prefix("snapshot:").map(str::to_owned);
            let snapshot = half.safety_reference.as_ref().and_then(name);
            return Ok(half.safety_point.map(|point| Safety { point, snapshot }));
        }
        if self.no_safety_point {
            return Ok(None);
        }
        let kept = match &self.point.snapshot {
            Some(_) => snapshot::safety(site, &self.vm, monitor).await,
            None => self.back_up(site, monitor).await,
        };
        kept.map(Some).map_err(|failure| self.not_kept(failure))
    }

    fn not_kept(&self, failure: Failure) -> Failure {
        let (kept, option) = match &self.point.snapshot {
            Some(_) => ("no snapshot was made of", "--no-safety"),
            None => ("no backup was made of", "--no-safety-point"),
        };
        let detail = format!("{kept} the VM {} first, and nothing is overwritten", self.vm.name);
        match failure.hint() {
            Some(_) => failure.during(&detail),
            None => failure.during(&detail).with_hint(format!("do without with {option}")),
        }
    }

    async fn back_up(&self, site: &Site, monitor: &Arc<JobMonitor>) -> Result<Safety> {
        let vault = open_vault(site, &self.point.vault, monitor).await?;
        let protection = site.catalog.protection(self.vm.id).await?;
        let mut settings = ProtectionSettings::into_vault(self.point.vault.id);
        settings.consistency = protection.map_or(Consistency::Crash, |it| it.consistency);
        let order = BackupOrder {
            vm: vms::access(&self.vm),
            settings,
            label: Some(format!("before the restore of {}", self.point_id())),
            // What the two points share is not looked at again, so that this one must be what the disks hold.
            distrust: Some("a safety point is read from the disks, whatever they say has changed".to_owned()),
        };
        let operation: Arc<dyn Monitor> = monitor.clone();
        let backup = protection::backup(&site.env, &*site.hypervisor, &vault, &order, &operation);
        let point = Box::pin(backup).await?;
        copies::sync_behind_of(site, self.point.vault.id).await;
        Ok(Safety { point: point.id, snapshot: None })
    }
}
