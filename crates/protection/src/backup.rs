//! A backup: one capture of a VM becomes one recovery point.
//!
//! The newest point of a VM in its vault says from which capture changes are counted; there is no other record that could
//! disagree with it. A backup that dies between the commit and the end of its capture is therefore whole: the next one
//! finds the new point, trusts its bitmap, and removes the old.

mod paced;
mod script;

use std::{sync::Arc, time::Duration};

use env::Env;
use hypervisor::{
    Capture, CaptureFacts, CaptureOutcome, CaptureRequest, CapturedDisk, DiskChanges, Hypervisor, VmAccess,
};
use image::{ChangeMap, DiskImage};
use image_formats::RawImage;
use model::{
    ByteCount, CaptureId, ChangeSource, DiskSummary, PointId, PointSummary, ProtectionSettings, Timestamp,
};
use vault::{DiskMap, DiskSource, PointRecord, Vault, Writer};

use self::{
    paced::{Pace, PacedImage},
    script::ScriptMoment,
};
use crate::{Error, ErrorKind, Monitor, Result, error::Context as _, monitor::vault_monitor, uefi};

/// How often the disks of a capture are stored again.
const STORES_AGAIN: u32 = 3;

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
    monitor.phase("reading the vault's points");
    let run = Backup {
        vault,
        order,
        monitor,
        parent: newest_point(vault, order, monitor).await?,
        capture_id: CaptureId::from_random(env::random(&*env.entropy)),
        point_id: PointId::from_random(env::random(&*env.entropy)),
        pace: order.settings.read_limit_bytes_per_second.map(|limit| Arc::new(Pace::new(limit.0))),
    };
    let capture = run.capture(hypervisor).await?;
    let stored = run.store_patiently(&*capture).await;
    let outcome = if stored.is_ok() { CaptureOutcome::Kept } else { CaptureOutcome::Abandoned };
    monitor.phase("letting go of the moment");
    if let Err(error) = capture.finish(outcome).await {
        // The point stands or falls without this; what is left in the hypervisor is removed before the next capture.
        monitor.warn(format!("the capture was not cleaned up and will be before the next one: {error}"));
    }
    stored
}

struct Backup<'a> {
    vault: &'a Vault,
    order: &'a BackupOrder,
    monitor: &'a Arc<dyn Monitor>,
    parent: Option<PointRecord>,
    capture_id: CaptureId,
    point_id: PointId,
    pace: Option<Arc<Pace>>,
}

impl Backup<'_> {
    /// Fixes the moment, between the host's scripts. Cancellation is honoured before and after, never in the middle.
    async fn capture(&self, hypervisor: &dyn Hypervisor) -> Result<Box<dyn Capture>> {
        let (settings, vm) = (&self.order.settings, &self.order.vm);
        if self.monitor.cancellation().is_cancelled() {
            return Err(Error::cancelled());
        }
        if let Some(program) = &settings.pre_script {
            self.monitor.phase("running the pre-script");
            script::run(program, ScriptMoment::Pre, vm).await?;
        }
        let monitor = Arc::clone(self.monitor);
        let captured = hypervisor
            .capture(CaptureRequest {
                vm: vm.clone(),
                capture_id: self.capture_id,
                baseline: self.parent.as_ref().map(|parent| parent.summary.capture_id),
                consistency: settings.consistency,
                strict: settings.strict,
                freeze_limit: Duration::from_millis(settings.freeze_limit_ms.into()),
                on_phase: Arc::new(move |phase| monitor.phase(phase.as_str())),
            })
            .await;
        if let Some(program) = &settings.post_script {
            self.monitor.phase("running the post-script");
            if let Err(error) = script::run(program, ScriptMoment::Post, vm).await {
                self.monitor.warn(error.to_string());
            }
        }
        captured.context(format!("the VM {:?} could not be captured", vm.name.as_str()))
    }

    /// Stores and commits. Everything is still at hand: where what the incremental builds on is damaged, or was collected as
    /// garbage meanwhile, what is lost is stored again.
    async fn store_patiently(&self, capture: &dyn Capture) -> Result<PointSummary> {
        let mut stored = self.store(capture, self.order.distrust.as_deref()).await;
        for _ in 0..STORES_AGAIN {
            let reason = match &stored {
                Err(error) if error.kind() == ErrorKind::Overtaken => {
                    format!("the vault's garbage was collected meanwhile: {}", chain(error))
                }
                Err(error) if error.kind() == ErrorKind::Damaged && self.parent.is_some() => {
                    format!("what the last backup stored is damaged: {}", chain(error))
                }
                _ => break,
            };
            self.monitor.warn(reason.clone());
            stored = self.store(capture, Some(&reason)).await;
        }
        stored
    }

    /// Stores every disk of the capture and commits the point. With a reason to distrust the parent, nothing is taken over
    /// from it unread.
    async fn store(&self, capture: &dyn Capture, distrust: Option<&str>) -> Result<PointSummary> {
        let facts = capture.facts();
        if let Some(shortfall) = &facts.consistency.shortfall {
            let (asked, reached) = (facts.consistency.asked, facts.consistency.reached);
            self.monitor.warn(format!("{reached} consistency instead of {asked}: {shortfall}"));
        }
        for omitted in &facts.omitted {
            self.monitor.warn(omitted.clone());
        }
        let mut writer = self.vault.writer().await.context("the vault cannot be written to")?;
        let mut stored = Vec::with_capacity(capture.disks().len() + 1);
        for disk in capture.disks() {
            stored.push(self.store_disk(&mut writer, disk, distrust).await?);
        }
        if let Some((name, path)) = uefi::variable_store(&facts.definition) {
            let image = RawImage::open(&path)
                .await
                .context(format!("the UEFI variables in {} cannot be read", path.display()))?;
            let changes = DiskChanges::Unknown { reason: "firmware has no change tracking".to_owned() };
            let disk = CapturedDisk { name, image: Arc::new(image), changes };
            stored.push(self.store_disk(&mut writer, &disk, distrust).await?);
        }
        self.monitor.phase("committing the point");
        let point = self.point(facts, capture.cost().await, stored);
        let summary = point.summary.clone();
        writer.commit(point).await.context("the recovery point could not be committed")?;
        Ok(summary)
    }

    async fn store_disk(
        &self,
        writer: &mut Writer,
        disk: &CapturedDisk,
        distrust: Option<&str>,
    ) -> Result<(DiskSummary, DiskMap)> {
        let Basis { source, parent, changes } = self.basis_of(writer, disk, distrust).await?;
        let image = match &self.pace {
            Some(pace) => Arc::new(PacedImage::new(Arc::clone(&disk.image), Arc::clone(pace))),
            None => Arc::clone(&disk.image),
        };
        let verb = match source {
            ChangeSource::Full => "reading",
            ChangeSource::Bitmap => "reading the changes of",
            ChangeSource::Compared { .. } => "comparing",
        };
        let phase = format!("{verb} {}", disk.name);
        let stored = writer
            .store_disk(DiskSource { image, parent, changes }, &vault_monitor(self.monitor, phase))
            .await
            .context(format!("the disk {} could not be stored", disk.name))?;
        let summary = DiskSummary {
            name: disk.name.clone(),
            size_bytes: ByteCount(stored.map.size_bytes),
            read_bytes: ByteCount(stored.read_bytes),
            stored_bytes: ByteCount(stored.stored_bytes),
            source,
        };
        Ok((summary, stored.map))
    }

    async fn basis_of(&self, writer: &Writer, disk: &CapturedDisk, distrust: Option<&str>) -> Result<Basis> {
        let Some(&parent) = self.parent.as_ref().and_then(|parent| parent.map(&disk.name)) else {
            return Ok(Basis { source: ChangeSource::Full, parent: None, changes: None });
        };
        let compared =
            |reason| Basis { source: ChangeSource::Compared { reason }, parent: Some(parent), changes: None };
        let (was, is) = (ByteCount(parent.size_bytes), ByteCount(disk.image.size_bytes()));
        Ok(match &disk.changes {
            _ if let Some(reason) = distrust => compared(reason.to_owned()),
            _ if was != is => compared(format!("the disk was resized from {was} to {is}")),
            DiskChanges::Unknown { reason } => compared(reason.clone()),
            DiskChanges::Since(changes) => {
                if !writer
                    .is_whole(&parent)
                    .await
                    .context("the last backup cannot be looked up in the vault")?
                {
                    return Ok(compared("the vault has lost some of what the last backup stored".to_owned()));
                }
                let changes = Some(Arc::clone(changes));
                Basis { source: ChangeSource::Bitmap, parent: Some(parent), changes }
            }
        })
    }

    /// The moment, but never before the parent's: a clock that was set back must not make an old point the newest.
    fn after_parent(&self, captured_at: Timestamp) -> Timestamp {
        let parent = self.parent.as_ref().map(|parent| parent.summary.captured_at);
        let earliest =
            parent.map(|parent| Timestamp::from_microseconds(parent.as_microseconds().saturating_add(1)));
        earliest.map_or(captured_at, |earliest| captured_at.max(earliest))
    }

    fn point(
        &self,
        facts: &CaptureFacts,
        cost: model::CaptureCost,
        stored: Vec<(DiskSummary, DiskMap)>,
    ) -> PointRecord {
        let (disks, maps) = stored.into_iter().unzip();
        PointRecord {
            summary: PointSummary {
                id: self.point_id,
                vm_id: self.order.vm.vm_id,
                vm_name: self.order.vm.name.clone(),
                captured_at: self.after_parent(facts.captured_at),
                capture_id: self.capture_id,
                parent: self.parent.as_ref().map(|parent| parent.summary.id),
                consistency: facts.consistency.clone(),
                disks,
                cost,
                label: self.order.label.clone(),
            },
            definition: facts.definition.clone(),
            maps,
        }
    }
}

/// An error with its causes, from the outside in.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// What the backup of a disk starts from: the parent's map, if there is one, and with a trustworthy bitmap what changed since.
struct Basis {
    source: ChangeSource,
    parent: Option<DiskMap>,
    changes: Option<Arc<dyn ChangeMap>>,
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
