//! A moment that is kept somewhere already becomes a recovery point: a backup for which no guest is touched.

use std::sync::Arc;

use env::Env;
use hypervisor::Chain;
use model::{CaptureId, PointId, PointSummary, VmId, VmName};
use vault::{PointRecord, Vault};

use crate::{
    Moment, Monitor, Result,
    storing::{NewPoint, Parents},
};

/// What the point says of its VM.
#[derive(Debug, Clone)]
pub struct KeptBackup {
    /// The VM.
    pub vm_id: VmId,
    /// What it is called.
    pub vm_name: VmName,
    /// A word to find the point by.
    pub label: Option<String>,
}

/// Stores a moment that is kept somewhere as a recovery point, from earlier points of its VM on: each disk from the first of them
/// that has it. What a disk of the moment says to have changed has changed since that one. When this returns a point, the point
/// is durable.
///
/// # Errors
/// Nothing is left but unreferenced packs in the vault.
pub async fn back_up_kept(
    env: &Env,
    vault: &Vault,
    backup: &KeptBackup,
    moment: &Moment,
    earlier: Vec<PointRecord>,
    monitor: &Arc<dyn Monitor>,
) -> Result<PointSummary> {
    let parents = Parents::new(earlier);
    let point = NewPoint {
        vault,
        monitor,
        chain: Chain::Backup,
        parents: &parents,
        counted_from: None,
        point_id: PointId::from_random(env::random(&*env.entropy)),
        // No dirty bitmap starts at it: a backup of the running VM must not think so.
        capture_id: CaptureId::from_random(env::random(&*env.entropy)),
        vm_id: backup.vm_id,
        vm_name: &backup.vm_name,
        label: backup.label.clone(),
        distrust: None,
        read_limit_bytes_per_second: None,
        is_copy: true,
    };
    point.store_patiently(moment).await
}
