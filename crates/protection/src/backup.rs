//! A backup: one capture of a VM becomes one recovery point.
//!
//! The newest point of a VM in its vault says from which capture changes are counted; there is no other record that could
//! disagree with it. A backup that dies between the commit and the end of its capture is therefore whole: the next one
//! finds the new point, trusts its bitmap, and removes the old.

use std::sync::Arc;

use env::Env;
use hypervisor::{CaptureOutcome, Chain, Hypervisor, VmAccess};
use model::{CaptureId, PointId, PointSummary, ProtectionSettings};
use vault::{PointRecord, Vault};

use crate::{
    Moment, Monitor, Result, Treatment,
    error::Context as _,
    moment::MomentOrder,
    storing::{NewPoint, Parents},
};

/// What to back up, and how.
#[derive(Debug, Clone)]
pub struct BackupOrder {
    /// The VM.
    pub vm: VmAccess,
    /// How it is protected.
    pub settings: ProtectionSettings,
    /// A word to find the point by.
    pub label: Option<String>,
    /// A reason to trust no change tracking: every disk is read and compared.
    pub distrust: Option<String>,
}

/// Backs up a VM into a vault. When this returns a point, the point is durable.
///
/// # Errors
/// Nothing is left of a failed backup but unreferenced packs in the vault; the guest runs and is thawed, and the next
/// backup's changes are counted from the point before.
pub async fn backup(
    env: &Env,
    hypervisor: &dyn Hypervisor,
    vault: &Vault,
    order: &BackupOrder,
    monitor: &Arc<dyn Monitor>,
) -> Result<PointSummary> {
    let (vm, treatment) = (&order.vm, Treatment::from(&order.settings));
    monitor.phase("reading the vault's points");
    let parents = Parents::new(newest_point(vault, order, monitor).await?.into_iter().collect());
    let point = NewPoint {
        vault,
        monitor,
        chain: Chain::Backup,
        parents: &parents,
        counted_from: None,
        point_id: PointId::from_random(env::random(&*env.entropy)),
        capture_id: CaptureId::from_random(env::random(&*env.entropy)),
        vm_id: vm.vm_id,
        vm_name: &vm.name,
        label: order.label.clone(),
        distrust: order.distrust.as_deref(),
        is_copy: false,
        read_limit_bytes_per_second: treatment.read_limit_bytes_per_second,
    };
    let moment = MomentOrder {
        vm,
        treatment: &treatment,
        chain: point.chain,
        capture_id: point.capture_id,
        baseline: parents.baseline(),
        disk: None,
    };
    let moment = Moment::fix(hypervisor, moment, monitor).await?;
    let stored = point.store_patiently(&moment).await;
    let outcome = if stored.is_ok() { CaptureOutcome::Kept } else { CaptureOutcome::Abandoned };
    moment.let_go(outcome, monitor).await;
    stored
}

/// The VM's newest point in the vault. A point that cannot be read is not the parent of anything.
async fn newest_point(
    vault: &Vault,
    order: &BackupOrder,
    monitor: &Arc<dyn Monitor>,
) -> Result<Option<PointRecord>> {
    let list = vault.points().await.context("the vault's points cannot be listed")?;
    for (object, error) in &list.unreadable {
        monitor.warn(format!("the recovery point in points/{object} cannot be read: {error}"));
    }
    let of_vm = list.points.into_iter().filter(|point| point.summary.vm_id == order.vm.vm_id);
    Ok(of_vm.max_by_key(|point| (point.summary.captured_at, point.summary.id)))
}
