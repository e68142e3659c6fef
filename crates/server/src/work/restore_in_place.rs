//! A stopped VM becomes what it was at a recovery point: its disks are overwritten where they lie, where they differ.
//!
//! What always holds:
//! - Before the first write there is a safety point of the VM as it is, or a safety snapshot where it becomes a snapshot, unless
//!   somebody does without it, and the catalog says that the VM is half-restored.
//! - The catalog says so until every disk is durable; then one statement gives the VM its definition and takes the note away.
//! - A half-restored VM is neither started nor backed up. The same restore asked for again, any other of the same disks, and
//!   that of the safety point make it whole; none of them takes a safety point of what is half-overwritten.
//! - A VM that was stopped for it runs again afterwards, also where nothing came of it, but for one that is half-restored.

mod power;
mod safety;
mod snapshot;
mod target;

use std::{path::PathBuf, sync::Arc};

use api::{Code, JobResult, RestoredInPlaceView, shell_word};
use catalog::{HalfRestored, Job, KnownVm, Origin};
use image_formats::Usage;
use model::{DiskName, JobKind, PointId, PointSelector};
use protection::{InPlaceDisk, InPlaceOrder, InPlaceRestore, Monitor, RestoredDisk};
use serde::Serialize;
use vault::Vault;

pub(super) use self::power::Stop;
use self::safety::Safety;
pub(crate) use self::{power::stops_its_vm, snapshot::is_needed_by as needs_snapshot};
use super::{check_unclaimed, document_of, open_vault_of, restore_disk::disk_view};
use crate::{
    dependents,
    failure::{Failure, Result},
    jobs::{JobDraft, JobMonitor, Outcome},
    points::FoundPoint,
    site::Site,
    vms,
};

/// What the request document of a restore in place holds.
#[derive(Debug, Serialize)]
struct InPlaceDocument {
    reference: String,
    paths: Vec<PathBuf>,
    safety_point: bool,
    dry_run: bool,
    /// Whether the VM is stopped where it runs.
    stop: bool,
}

/// What to restore a VM to, and how.
pub(super) struct InPlace {
    pub(super) vm: KnownVm,
    pub(super) point: FoundPoint,
    /// The words for the point that the request has.
    pub(super) selector: PointSelector,
    /// The only disk that is overwritten; none for all of the VM.
    pub(super) disk: Option<DiskName>,
    pub(super) no_safety_point: bool,
    pub(super) dry_run: bool,
    pub(super) start: bool,
    /// How the VM is stopped where it runs; none where that keeps the restore from beginning.
    pub(super) stop: Option<Stop>,
}

impl InPlace {
    /// Lines the restore up. The caller holds the admission.
    pub(super) async fn submit(self, site: &Site) -> Result<Job> {
        snapshot::check(&self.vm, &self.point)?;
        self.check_means_one_point()?;
        check_needs_no_other(&self.vm)?;
        if (self.start || self.stop.is_some()) && matches!(self.vm.origin, Origin::External { .. }) {
            return Err(Failure::invalid(format!("somebody else starts and stops the VM {}", self.vm.name))
                .with_hint("leave --start and --stop out, and stop it where it is managed"));
        }
        if self.dry_run && self.stop.is_some() {
            return Err(Failure::invalid("no VM is stopped for a dry run"));
        }
        let paths: Vec<_> = self.disks(&self.vm)?.into_iter().map(|disk| disk.path).collect();
        check_unclaimed(site, &paths)?;
        let document = InPlaceDocument {
            reference: self.point.reference(None),
            paths,
            safety_point: !self.no_safety_point,
            dry_run: self.dry_run,
            stop: self.stop.is_some(),
        };
        let (kind, subject) = match &self.disk {
            Some(disk) => (JobKind::RestoreDisk, format!("{} of {}", disk, self.vm.name)),
            None => (JobKind::RestoreVm, self.vm.name.to_string()),
        };
        let draft = JobDraft {
            kind,
            subject,
            vm_id: Some(self.vm.id),
            vault_id: Some(self.point.vault.id),
            request: document_of(&document),
        };
        let site_of_work = site.clone();
        let work = Box::new(move |monitor| {
            Box::pin(async move { Box::pin(self.work(&site_of_work, monitor)).await }) as _
        });
        site.jobs.submit(draft, work).await
    }

    async fn work(mut self, site: &Site, monitor: Arc<JobMonitor>) -> Outcome {
        // Its turn may come late: what counts is what the VM is now.
        self.vm = vms::find(site, self.vm.id.as_str()).await?;
        self.check_means_one_point()?;
        check_needs_no_other(&self.vm)?;
        let disks = self.disks(&self.vm)?;
        self.check_covers_what_is_open(&disks)?;
        if self.stop.is_none() {
            vms::check_stopped(site, &self.vm).await.map_err(|failure| self.or_stop_it(failure))?;
        }
        let taken = dependents::take(site, &vms::disk_paths(&self.vm)).await?;
        let vault = open_vault_of(site, &self.point, &monitor).await?;
        let order =
            InPlaceOrder { point_id: self.point_id(), disks, safety_point: None, dry_run: self.dry_run };
        if self.dry_run {
            let operation: Arc<dyn Monitor> = monitor.clone();
            let restored = InPlaceRestore::open(&vault, &order).await?.run(&operation).await?;
            return Ok(JobResult::RestoredInPlace(self.view(restored, None)));
        }
        // Before the VM is stopped and backed up for it.
        let usage = if self.stop.is_some() { Usage::Live } else { Usage::AtRest };
        InPlaceRestore::check(&vault, &order, usage).await?;
        let was_running = self.stop_vm(site, &monitor).await?;
        let carried_out = self.carry_out(site, &vault, order, &monitor).await;
        drop(taken);
        match carried_out {
            Ok(view) if was_running || self.start => self.start_vm(site, view, &monitor).await,
            Ok(view) => Ok(JobResult::RestoredInPlace(view)),
            Err(failure) if was_running => Err(self.after_failure(site, failure, &monitor).await.into()),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Backs the stopped VM up and overwrites its disks.
    async fn carry_out(
        &self,
        site: &Site,
        vault: &Vault,
        mut order: InPlaceOrder,
        monitor: &Arc<JobMonitor>,
    ) -> Result<RestoredInPlaceView> {
        let operation: Arc<dyn Monitor> = monitor.clone();
        for warning in target::untouched(&self.vm, &self.point, &order.disks, self.disk.as_ref()) {
            operation.warn(warning);
        }
        let safety = self.safety(site, monitor).await?;
        // A copy need not have it yet, and another restore's says nothing of what that one has written.
        let is_of_use = self.point.copy.is_none() && self.continues_or_begins();
        order.safety_point = safety.as_ref().filter(|_| is_of_use).map(|safety| safety.point);
        let restored = self.overwrite(site, vault, &order, safety.as_ref(), &operation).await?;
        Ok(self.view(restored, safety))
    }

    /// Overwrites the disks between the two notes in the catalog.
    async fn overwrite(
        &self,
        site: &Site,
        vault: &Vault,
        order: &InPlaceOrder,
        safety: Option<&Safety>,
        monitor: &Arc<dyn Monitor>,
    ) -> Result<Vec<RestoredDisk>> {
        let restore = InPlaceRestore::open(vault, order).await?;
        let half = HalfRestored {
            point: order.point_id,
            reference: self.point.reference(None),
            disks: order.disks.iter().map(|disk| disk.name.clone()).collect(),
            safety_point: safety.map(|safety| safety.point),
            safety_reference: safety.and_then(Safety::reference),
            begun_at: site.env.clock.now(),
        };
        self.begin(site, &half).await?;
        site.hypervisor.forget_shutdown(&vms::access(&self.vm)).await;
        let restored = restore.run(monitor).await.map_err(|error| {
            let (failure, way_out) = (Failure::from(error), vms::way_out(&self.vm, &half));
            let state = format!("the VM {} is half-overwritten and will not be started", self.vm.name);
            if failure.code() == Code::Cancelled {
                // Of what is cancelled nobody is told the reason.
                monitor.warn(format!("{state}; {way_out}"));
            }
            failure.during(&state).with_hint(way_out)
        })?;
        let only = self.point.snapshot.as_ref().and_then(|snapshot| snapshot.disk.as_ref());
        let origin = match (&self.vm.origin, self.disk.as_ref().or(only)) {
            (Origin::Managed { definition }, None) => {
                Origin::Managed { definition: target::definition(definition, self.vm.id, &self.point.record) }
            }
            (origin, _) => origin.clone(),
        };
        site.catalog.end_overwriting(self.vm.id, &origin).await?;
        tracing::info!(vm = %self.vm.name, point = %order.point_id, "restored in place");
        Ok(restored)
    }

    /// What somebody is told whose VM runs.
    fn or_stop_it(&self, failure: Failure) -> Failure {
        match failure.hint().map(|hint| format!("{hint}; or let the restore do it with --stop")) {
            Some(hint) if !self.dry_run => failure.with_hint(hint),
            _ => failure,
        }
    }

    /// Whether what the safety point does not share with the wanted point is all that was ever overwritten.
    fn continues_or_begins(&self) -> bool {
        self.vm.half_restored.as_ref().is_none_or(|half| half.point == self.point_id())
    }

    /// Fails where the newest point is not what somebody who asks again means: it may be the safety point.
    fn check_means_one_point(&self) -> Result<()> {
        match &self.vm.half_restored {
            Some(half) if self.selector == PointSelector::Latest => {
                let name = &self.vm.name;
                let detail =
                    format!("the VM {name} is half-restored, and its latest point may be the safety point");
                Err(Failure::conflict(detail).with_hint(vms::way_out(&self.vm, half)))
            }
            _ => Ok(()),
        }
    }

    /// Fails where disks would stay half-overwritten.
    fn check_covers_what_is_open(&self, disks: &[InPlaceDisk]) -> Result<()> {
        let Some(half) = &self.vm.half_restored else { return Ok(()) };
        match half.disks.iter().find(|open| disks.iter().all(|disk| disk.name != **open)) {
            Some(open) => {
                let detail = format!("the disk {open} of the VM {} is half-overwritten", self.vm.name);
                Err(Failure::conflict(detail).with_hint(vms::way_out(&self.vm, half)))
            }
            None => Ok(()),
        }
    }

    fn disks(&self, vm: &KnownVm) -> Result<Vec<InPlaceDisk>> {
        target::disks(vm, &self.point, self.disk.as_ref())
    }

    fn point_id(&self) -> PointId {
        self.point.record.summary.id
    }

    fn view(&self, disks: Vec<RestoredDisk>, safety: Option<Safety>) -> RestoredInPlaceView {
        let (safety_point, safety_snapshot) = match safety {
            Some(Safety { snapshot: Some(snapshot), .. }) => (None, Some(snapshot)),
            safety => (safety.map(|safety| safety.point), None),
        };
        RestoredInPlaceView {
            vm_id: self.vm.id.to_string(),
            vm_name: self.vm.name.to_string(),
            point_id: self.point_id().to_string(),
            reference: self.point.reference(None),
            safety_point_id: safety_point.map(|point| point.to_string()),
            safety_snapshot,
            disks: disks.into_iter().map(disk_view).collect(),
            dry_run: self.dry_run,
            started: false,
        }
    }
}

/// Fails for a VM that runs from a point: its files are not whole, and what is below them is not theirs.
fn check_needs_no_other(vm: &KnownVm) -> Result<()> {
    match vm.dependent_disks.first() {
        None => Ok(()),
        Some(dependent) => {
            let detail = format!("the disk {} of the VM {} is not whole yet", dependent.disk, vm.name);
            let name = shell_word(vm.name.as_str());
            Err(Failure::conflict(detail)
                .with_hint(format!("make it whole first: holdfast boot --resume {name}")))
        }
    }
}
