//! A managed snapshot: a moment that can be used while it is copied into the snapshot store, where it is a recovery point.
//!
//! Unlike a backup it is made in two steps, because in between the caller shows the held moment to others.

use std::{path::Path, sync::Arc};

use hypervisor::{Baseline, Chain, Hypervisor, VmAccess};
use model::{CaptureId, DiskName, PointId, PointSummary, ProtectionSettings, Timestamp, VmId, VmName};
use vault::{PointRecord, Vault};

use crate::{
    Moment, Monitor, Result,
    image_file::FileCapture,
    moment::MomentOrder,
    storing::{NewPoint, Parents},
};

/// What the names of clones in the scratch directory begin with. They have a name for a moment only.
pub const CLONE_PREFIX: &str = "snapshot-";

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
    /// How the VM is treated. Where its points go to is nothing to a snapshot.
    pub settings: ProtectionSettings,
    /// A reason to trust no change tracking: every disk is read and compared.
    pub distrust: Option<String>,
    /// Earlier snapshots of the same family in the store, newest first: each disk is counted from the first that has it.
    pub earlier: Vec<PointRecord>,
    /// Whether the moment is an old one, which earlier ones here may come after.
    pub is_copy: bool,
}

/// A snapshot on its way from its moment into the store.
#[derive(Debug)]
pub struct SnapshotRun {
    order: SnapshotOrder,
    parents: Parents,
}

impl SnapshotRun {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(mut order: SnapshotOrder) -> Self {
        let parents = Parents::new(std::mem::take(&mut order.earlier));
        Self { order, parents }
    }

    /// The captures from which the changes of the disks are counted.
    #[must_use]
    pub fn baseline(&self) -> Baseline {
        self.parents.baseline()
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
            settings: &self.order.settings,
            chain: Chain::Snapshot,
            capture_id: self.order.capture_id,
            baseline: self.baseline(),
            disk: self.order.disk.clone(),
        };
        Moment::fix(hypervisor, order, monitor).await
    }

    /// Holds an image file at rest. Nobody may write to it until the moment is let go of, unless it could be cloned into the
    /// scratch directory.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Busy`] when somebody writes to it.
    pub async fn hold_file(
        &self,
        path: &Path,
        scratch: &Path,
        now: Timestamp,
        monitor: &Arc<dyn Monitor>,
    ) -> Result<Moment> {
        let clone = scratch.join(format!("{CLONE_PREFIX}{}", self.order.id));
        let capture = FileCapture::open(path, &clone, &self.order.vm_name, now).await?;
        Moment::of(Box::new(capture), true, monitor).await
    }

    /// Copies a held moment into the store. When this returns, it is durable there.
    ///
    /// # Errors
    /// Nothing is left but unreferenced packs in the store.
    pub async fn store(
        &self,
        vault: &Vault,
        moment: &Moment,
        monitor: &Arc<dyn Monitor>,
    ) -> Result<PointSummary> {
        let point = NewPoint {
            vault,
            monitor,
            chain: Chain::Snapshot,
            parents: &self.parents,
            point_id: self.order.id,
            capture_id: self.order.capture_id,
            vm_id: self.order.vm_id,
            vm_name: &self.order.vm_name,
            label: Some(self.order.name.clone()),
            distrust: self.order.distrust.as_deref(),
            is_copy: self.order.is_copy,
            read_limit_bytes_per_second: self.order.settings.read_limit_bytes_per_second,
        };
        point.store_patiently(moment).await
    }
}
