//! A managed snapshot: a moment that can be used while it is copied into the snapshot store, where it is a recovery point.
//!
//! Unlike a backup it is made in two steps, because in between the caller shows the held moment to others.

use std::{path::Path, sync::Arc};

use hypervisor::{Baseline, Chain, Hypervisor, VmAccess};
use model::{CaptureId, DiskName, PointId, PointSummary, Timestamp, VmId, VmName};
use vault::{PointRecord, Vault};

use crate::{
    Moment, Monitor, Result, Treatment,
    image_file::FileCapture,
    moment::MomentOrder,
    storing::{NewPoint, Parents},
};

/// What to make, and how.
#[derive(Debug)]
pub struct SnapshotOrder {
    /// The snapshot, and the recovery point that it is in the store.
    pub id: PointId,
    /// The capture that it comes from.
    pub capture_id: CaptureId,
    /// The VM that it is of, or what stands for an image file.
    pub vm_id: VmId,
    /// The name of that.
    pub vm_name: VmName,
    /// The only disk of it; none takes all of them.
    pub disk: Option<DiskName>,
    /// The snapshot's name, which the point keeps as its label.
    pub name: String,
    /// How the VM is treated.
    pub treatment: Treatment,
    /// A reason to trust no change tracking: every disk is read and compared.
    pub distrust: Option<String>,
    /// The captures from which the changes of the disks are counted when the moment is fixed.
    pub baseline: Baseline,
}

/// A snapshot on its way from its moment into the store. The moment needs no store: it is fixed before that is opened.
#[derive(Debug)]
pub struct SnapshotRun {
    order: SnapshotOrder,
}

impl SnapshotRun {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(order: SnapshotOrder) -> Self {
        Self { order }
    }

    /// Fixes the moment of a VM. It must be let go of: kept once [`SnapshotRun::store`] has succeeded, abandoned otherwise.
    ///
    /// # Errors
    /// Nothing is left behind; the guest runs and is thawed.
    pub async fn fix(
        &self,
        hypervisor: &dyn Hypervisor,
        vm: &VmAccess,
        monitor: &Arc<dyn Monitor>,
    ) -> Result<Moment> {
        let order = MomentOrder {
            vm,
            treatment: &self.order.treatment,
            chain: Chain::Snapshot,
            capture_id: self.order.capture_id,
            baseline: self.order.baseline.clone(),
            disk: self.order.disk.clone(),
        };
        Moment::fix(hypervisor, order, monitor).await
    }

    /// Holds an image file at rest. Nobody may write to it until the moment is let go of, unless it could be cloned.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Busy`] when somebody writes to it.
    pub async fn hold_file(&self, path: &Path, now: Timestamp, monitor: &Arc<dyn Monitor>) -> Result<Moment> {
        let capture = FileCapture::open(path, &self.order.vm_name, now).await?;
        Moment::of(Box::new(capture), true, monitor).await
    }

    /// Copies a held moment into the store, on top of earlier snapshots of the same family there, newest first. A disk whose
    /// changes are not counted from the first of them that has it is read and compared. When this returns, it is durable there.
    ///
    /// # Errors
    /// Nothing is left but unreferenced packs in the store.
    pub async fn store(
        &self,
        vault: &Vault,
        moment: &Moment,
        earlier: Vec<PointRecord>,
        monitor: &Arc<dyn Monitor>,
    ) -> Result<PointSummary> {
        let parents = Parents::new(earlier);
        self.store_on(vault, moment, &parents, Some(&self.order.baseline), monitor).await
    }

    /// Copies a moment that is kept elsewhere into the store: an old one, which earlier ones here may come after. What is known to
    /// have changed has changed since the newest of `earlier`.
    ///
    /// # Errors
    /// As [`SnapshotRun::store`].
    pub async fn store_copy(
        &self,
        vault: &Vault,
        moment: &Moment,
        earlier: Vec<PointRecord>,
        monitor: &Arc<dyn Monitor>,
    ) -> Result<PointSummary> {
        self.store_on(vault, moment, &Parents::new(earlier), None, monitor).await
    }

    async fn store_on(
        &self,
        vault: &Vault,
        moment: &Moment,
        parents: &Parents,
        counted_from: Option<&Baseline>,
        monitor: &Arc<dyn Monitor>,
    ) -> Result<PointSummary> {
        let point = NewPoint {
            vault,
            monitor,
            chain: Chain::Snapshot,
            parents,
            counted_from,
            point_id: self.order.id,
            capture_id: self.order.capture_id,
            vm_id: self.order.vm_id,
            vm_name: &self.order.vm_name,
            label: Some(self.order.name.clone()),
            distrust: self.order.distrust.as_deref(),
            is_copy: counted_from.is_none(),
            read_limit_bytes_per_second: self.order.treatment.read_limit_bytes_per_second,
        };
        point.store_patiently(moment).await
    }
}
