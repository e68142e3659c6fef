//! A VM is built from a recovery point or a snapshot and becomes known, whole or reading from the point.

use std::{sync::Arc, time::Duration};

use catalog::{DependentDisk, KnownVm, Origin};
use model::{DiskSummary, NetworkKind, PointSummary, VmId};
use protection::{Backing, Monitor, RestoredDisk, VmRestore};

use super::open_source;
use crate::{backing::export_name, failure::Result, jobs::JobMonitor, points::FoundPoint, site::Site, vms};

/// A VM that is to be built.
pub(super) struct NewVm {
    pub(super) vm_id: VmId,
    /// What it is built from.
    pub(super) point: FoundPoint,
    pub(super) order: VmRestore,
}

/// How the disks of a new VM read from the point until they are whole.
pub(super) fn backing(site: &Site, vm_id: VmId, point: &PointSummary, wait_limit: Duration) -> Backing {
    let export = |disk: &DiskSummary| (disk.name.clone(), export_name(vm_id, &disk.name));
    Backing {
        socket: site.backings.socket().to_owned(),
        exports: VmRestore::dependent_disks(point).into_iter().map(export).collect(),
        wait_limit,
    }
}

impl NewVm {
    /// Writes its disks, makes it known, and shows it the images that its disks read from. It is not started.
    pub(super) async fn build(
        &self,
        site: &Site,
        isolated: bool,
        hydrates: bool,
        monitor: &Arc<JobMonitor>,
    ) -> Result<(KnownVm, Vec<RestoredDisk>)> {
        let source = open_source(site, &self.point, monitor).await?;
        let operation: Arc<dyn Monitor> = monitor.clone();
        let mut restored = Box::pin(protection::restore_vm(&source, &self.order, &operation)).await?;
        if isolated {
            restored.definition.networks.iter_mut().for_each(|network| network.kind = NetworkKind::Isolated);
        }
        let vm = KnownVm {
            id: self.vm_id,
            name: self.order.name.clone(),
            origin: Origin::Managed { definition: restored.definition },
            last_seen: None,
            dependent_disks: self.dependent_disks(&restored.disks, hydrates),
            created_at: site.env.clock.now(),
            half_restored: None,
        };
        self.admit(site, &vm).await?;
        site.backings.offer(&vm);
        Ok((vm, restored.disks))
    }

    fn dependent_disks(&self, disks: &[RestoredDisk], hydrates: bool) -> Vec<DependentDisk> {
        let Some(backing) = &self.order.backing else { return Vec::new() };
        let dependent = disks.iter().filter(|disk| backing.exports.contains_key(&disk.name));
        let dependent = dependent.map(|disk| DependentDisk {
            disk: disk.name.clone(),
            size_bytes: disk.size_bytes.0,
            source: self.point.image_source(disk.name.clone()),
            wait_limit_seconds: backing.wait_limit.as_secs(),
            hydrates,
            rate_limit_bytes_per_second: None,
        });
        dependent.collect()
    }

    async fn admit(&self, site: &Site, vm: &KnownVm) -> Result<()> {
        let _admission = site.admission.lock().await;
        vms::admit(site, vm).await.map_err(|failure| {
            let place = self.order.directory.display();
            failure.during(&format!("the disks are restored to {place}, but the VM could not be made known"))
        })
    }
}
