//! A backup: one capture of a VM becomes one recovery point.
//!
//! The newest point of a VM in its vault says from which capture changes are counted; there is no other record that could
//! disagree with it. A backup that dies between the commit and the end of its capture is therefore whole: the next one
//! finds the new point, trusts its bitmap, and removes the old.

mod paced;
mod script;


use std::{sync::Arc, time::Duration};

use env::Env;
use hypervisor::{Capture, CaptureOutcome, CaptureRequest, CapturedDisk, DiskChanges, Hypervisor, VmAccess};
use image::{ChangeMap, DiskImage};
use model::{ByteCount, CaptureId, ChangeSource, DiskSummary, PointSummary, ProtectionSettings};
use vault::{PointDisk, PointDraft, PointRecord, Vault, Writer};

use self::{
    paced::{Pace, PacedImage},
    script::ScriptMoment,
};
use crate::{Error, ErrorKind, Monitor, Result, error::Context as _, points};

/// What to back up, and how.
#[derive(Debug, Clone)]
pub struct BackupOrder {
    /// The VM.
    pub vm: VmAccess,
    /// How it is protected.
    pub settings: ProtectionSettings,
    /// A word to find the point by.
    pub label: Option<String>,
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
    monitor: &dyn Monitor,
) -> Result<PointSummary> {
    monitor.phase("reading the vault's points");
    let parent = newest_point(vault, order, monitor).await?;
    let capture_id = CaptureId::from_random(env::random(&*env.entropy));

    if let Some(program) = &order.settings.pre_script {
        monitor.phase("running the pre-script");
        script::run(program, ScriptMoment::Pre, &order.vm).await?;
    }
    let captured = capture(hypervisor, order, capture_id, parent.as_ref(), monitor).await;
    if let Some(program) = &order.settings.post_script {
        monitor.phase("running the post-script");
        if let Err(error) = script::run(program, ScriptMoment::Post, &order.vm).await {
            monitor.warn(error.to_string());
        }
    }
    let capture = captured?;

    let stored = store(env, vault, order, capture_id, parent.as_ref(), &*capture, monitor).await;
    let outcome = if stored.is_ok() { CaptureOutcome::Kept } else { CaptureOutcome::Abandoned };
    monitor.phase("letting go of the moment");
    if let Err(error) = capture.finish(outcome).await {
        // The point stands or falls without this; what is left in the hypervisor is removed before the next capture.
        monitor.warn(format!("the capture was not cleaned up and will be before the next one: {error}"));
    }
    stored
}
