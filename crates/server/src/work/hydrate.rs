//! Disks that read from images become whole: in the VM that runs from them, or at rest.

use std::{path::PathBuf, sync::Arc, time::Duration};

use api::{Code, HydratedView, JobResult};
use catalog::{DependentDisk, Job, KnownVm};
use hypervisor::{ErrorKind, Hydration, HydrationListener};
use model::{ByteCount, DiskName, JobKind, Progress};
use protection::Monitor;
use tokio::time::sleep;

use crate::{
    backing::export_name,
    dependents::Owner,
    disks::upload,
    failure::{Failure, Result},
    jobs::{JobDraft, JobMonitor, Outcome},
    site::Site,
    vms,
};

/// How often a disk is tried again that somebody uses.
const USE_INTERVAL: Duration = Duration::from_secs(2);

/// Lines up the hydration of somebody's disks, or gives the one that is under way another pace.
pub(crate) async fn submit(
    site: &Site,
    owner: &Owner,
    rate_limit_bytes_per_second: Option<u64>,
) -> Result<Job> {
    let _admission = site.admission.lock().await;
    let owner = owner.again(site).await?;
    if let Owner::Disk(disk) = &owner {
        upload::check_there(disk)?;
    }
    if owner.dependents().is_empty() {
        let detail = match &owner {
            Owner::Vm(vm) => format!("the disks of the VM {} are whole", vm.name),
            Owner::Disk(disk) => format!("the disk {} is whole", disk.name),
        };
        return Err(Failure::conflict(detail));
    }
    // So that it goes on after a restart of the server.
    let wish = |disk| DependentDisk { hydrates: true, rate_limit_bytes_per_second, ..disk };
    let disks: Vec<_> = owner.dependents().iter().cloned().map(wish).collect();
    owner.keep(&site.catalog, &disks).await?;
    site.backings.forget_failures(owner.id(), owner.dependents());
    if let Some(job) = of(site, owner.id()) {
        site.backings.tell_of_change();
        return Ok(job);
    }
    let (vm_id, subject) = match &owner {
        Owner::Vm(vm) => (Some(vm.id), vm.name.to_string()),
        Owner::Disk(disk) => (None, format!("the disk {}", disk.name)),
    };
    let draft = JobDraft {
        kind: JobKind::Hydrate,
        subject,
        vm_id,
        vault_id: None,
        request: serde_json::json!({
            "owner": owner.id(),
            "rate_limit_bytes_per_second": rate_limit_bytes_per_second,
        }),
    };
    let work_site = site.clone();
    let work = Box::new(move |monitor| Box::pin(async move { work(&work_site, owner, monitor).await }) as _);
    site.jobs.submit(draft, work).await
}

/// The unfinished job that makes somebody's disks whole.
pub(crate) fn of(site: &Site, owner_id: &str) -> Option<Job> {
    let is_it = |job: &Job| job.kind == JobKind::Hydrate && job.request["owner"] == owner_id;
    site.jobs.unfinished().into_iter().find(is_it)
}

async fn work(site: &Site, owner: Owner, monitor: Arc<JobMonitor>) -> Outcome {
    match monitor.cancellation().run_until_cancelled(hydrate(site, &owner, &monitor)).await {
        Some(Ok(whole_bytes)) => Ok(JobResult::Hydrated(HydratedView {
            name: owner.name().to_owned(),
            whole_bytes: ByteCount(whole_bytes),
        })),
        Some(Err(failure)) => {
            if let Owner::Disk(disk) = &owner {
                site.catalog.set_disk_failure(disk.id, failure.detail()).await?;
            }
            Err(failure.into())
        }
        None => {
            match stand_still(site, &owner).await {
                // It was cancelled because it is being deleted.
                Err(failure) if failure.code() == Code::NotFound => {}
                stood_still => stood_still?,
            }
            Err(Failure::new(Code::Cancelled, "cancelled").into())
        }
    }
}

/// Ends the copying. When the server stops, VMs go on with theirs, and so does the next server.
async fn stand_still(site: &Site, owner: &Owner) -> Result<()> {
    let owner = owner.again(site).await?;
    for dependent in owner.dependents() {
        let place = Place::of(site, &owner, dependent).await?;
        drop(site.resting.take(std::slice::from_ref(&place.path)).await?);
        if site.stopping.is_cancelled() {
            continue;
        }
        if let Some((vm, _)) = &place.vm {
            site.hypervisor.stop_hydration(&vms::access(vm)).await?;
        }
    }
    if !site.stopping.is_cancelled() {
        let stays = |disk| DependentDisk { hydrates: false, ..disk };
        let disks: Vec<_> = owner.dependents().iter().cloned().map(stays).collect();
        owner.keep(&site.catalog, &disks).await?;
    }
    Ok(())
}

/// Makes all disks whole. Returns their size in bytes.
async fn hydrate(site: &Site, owner: &Owner, monitor: &Arc<JobMonitor>) -> Result<u64> {
    let mut whole_bytes = 0;
    let mut changes = site.backings.changes();
    loop {
        changes.mark_unchanged();
        let owner = owner.again(site).await?;
        let Some(dependent) = owner.dependents().first() else { return Ok(whole_bytes) };
        let place = Place::of(site, &owner, dependent).await?;
        let phase = format!("making {} whole", place.shown);
        let told = Arc::clone(monitor);
        let listener = move |done_bytes, total_bytes| {
            told.progress(Progress { phase: phase.clone(), done_bytes, total_bytes: Some(total_bytes) });
        };
        let hydrated = tokio::select! {
            hydrated = place.hydrate(site, &owner, dependent, &listener) => hydrated,
            // Another pace is wanted, or a VM was started or stopped: what goes on is joined again.
            _ = changes.changed() => continue,
        };
        match hydrated {
            Ok(()) => {
                whole_bytes += dependent.size_bytes;
                settle(site, &owner, dependent).await?;
            }
            Err(error) if error.kind() == ErrorKind::Busy => {
                monitor.phase("waiting until nobody uses the disk");
                tokio::select! {
                    () = sleep(USE_INTERVAL) => {}
                    _ = changes.changed() => {}
                }
            }
            Err(error) => return Err(explain(site, &owner, dependent, error)),
        }
    }
}

/// Where a disk is, and who may run from it.
struct Place {
    /// The disk's name within its VM, or on the site.
    shown: String,
    path: PathBuf,
    vm: Option<(KnownVm, DiskName)>,
}

impl Place {
    async fn of(site: &Site, owner: &Owner, dependent: &DependentDisk) -> Result<Self> {
        let path = owner.file_of(dependent).ok_or_else(|| {
            Failure::not_found(format!("nobody knows the file of {} of {}", dependent.disk, owner.shown()))
        })?;
        let shown = match owner {
            Owner::Vm(_) => dependent.disk.to_string(),
            Owner::Disk(disk) => disk.name.to_string(),
        };
        let vm = match owner {
            Owner::Vm(vm) => Some((KnownVm::clone(vm), dependent.disk.clone())),
            Owner::Disk(_) => vms::owner_of(site, &path).await?.and_then(|vm| {
                let disk = vms::disk_at(&vm, &path)?;
                Some((vm, disk))
            }),
        };
        Ok(Self { shown, path, vm })
    }

    /// Copies in the VM that runs from the disk; at rest where none does.
    async fn hydrate(
        &self,
        site: &Site,
        owner: &Owner,
        dependent: &DependentDisk,
        listener: &HydrationListener,
    ) -> hypervisor::Result<()> {
        let rate_limit_bytes_per_second = dependent.rate_limit_bytes_per_second;
        if let Some((vm, disk)) = &self.vm {
            let order = Hydration { disk: disk.clone(), rate_limit_bytes_per_second };
            match site.hypervisor.hydrate(&vms::access(vm), &order, listener).await {
                // One that runs and does not answer has locked its disks.
                Err(error) if matches!(error.kind(), ErrorKind::Gone | ErrorKind::Unreachable) => {}
                hydrated => return hydrated,
            }
        }
        let export = export_name(owner.id(), &dependent.disk);
        let below = site.backings.link(&export, dependent);
        site.resting.hydrate(&self.path, below, rate_limit_bytes_per_second, listener).await
    }
}

/// A disk is whole: its image is needed no more.
async fn settle(site: &Site, owner: &Owner, whole: &DependentDisk) -> Result<()> {
    let rest: Vec<_> = owner.dependents().iter().filter(|other| other.disk != whole.disk).cloned().collect();
    owner.keep(&site.catalog, &rest).await?;
    site.backings.withdraw(owner.id(), &whole.disk);
    tracing::info!(owner = owner.name(), disk = %whole.disk, "a disk is whole");
    Ok(())
}

/// What QEMU only knows as an input/output error.
fn explain(site: &Site, owner: &Owner, dependent: &DependentDisk, error: hypervisor::Error) -> Failure {
    let again = owner.way_out();
    let is_full = error.kind() == ErrorKind::NoSpace;
    let source = site.backings.failure(owner.id(), &dependent.disk).filter(|_| !is_full);
    let hinted = error.guidance().is_some() && !is_full;
    let failure = Failure::from(error);
    match source {
        Some(source) if source.is_damage => failure
            .with_code(Code::Damaged)
            .during(&source.reason)
            .with_hint(format!("heal the vault with holdfast vault repair, then: {again}")),
        Some(source) => failure
            .during(&source.reason)
            .with_hint(format!("see to it that the image can be read, then: {again}")),
        None if is_full => failure.with_hint(format!("make room where the disk lies, then: {again}")),
        None if hinted => failure,
        None => failure.with_hint(format!("mend it, then: {again}")),
    }
}
