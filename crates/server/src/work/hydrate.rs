//! The disks of a VM that runs from images become whole.

use std::{sync::Arc, time::Duration};

use api::{Code, HydratedView, JobResult, shell_word};
use catalog::{DependentDisk, Job, KnownVm};
use hypervisor::{ErrorKind, Hydration};
use model::{ByteCount, JobKind, Progress, VmId};
use protection::Monitor;
use tokio::time::sleep;

use crate::{
    failure::{Failure, Result},
    jobs::{JobDraft, JobMonitor, Outcome},
    site::Site,
    vms,
};

/// How often a VM that does not run is looked after.
const POWER_INTERVAL: Duration = Duration::from_secs(2);

/// Lines up the hydration of a VM, or gives the one that is under way another pace.
pub(crate) async fn submit(
    site: &Site,
    vm: &KnownVm,
    rate_limit_bytes_per_second: Option<u64>,
) -> Result<Job> {
    let _admission = site.admission.lock().await;
    if vm.dependent_disks.is_empty() {
        return Err(Failure::conflict(format!("the disks of the VM {} are whole", vm.name)));
    }
    // So that it goes on after a restart of the server.
    let wish = |disk| DependentDisk { hydrates: true, rate_limit_bytes_per_second, ..disk };
    let disks: Vec<_> = vm.dependent_disks.iter().cloned().map(wish).collect();
    site.catalog.set_dependent_disks(vm.id, &disks).await?;
    site.backings.forget_failures(vm);
    let is_same = |job: &Job| job.kind == JobKind::Hydrate && job.vm_id == Some(vm.id);
    if let Some(job) = site.jobs.unfinished().into_iter().find(is_same) {
        site.backings.tell_of_change();
        return Ok(job);
    }
    let draft = JobDraft {
        kind: JobKind::Hydrate,
        subject: vm.name.to_string(),
        vm_id: Some(vm.id),
        vault_id: None,
        request: serde_json::json!({"rate_limit_bytes_per_second": rate_limit_bytes_per_second}),
    };
    let (work_site, vm_id) = (site.clone(), vm.id);
    let work = Box::new(move |monitor| Box::pin(async move { work(&work_site, vm_id, monitor).await }) as _);
    site.jobs.submit(draft, work).await
}

async fn work(site: &Site, vm_id: VmId, monitor: Arc<JobMonitor>) -> Outcome {
    let hydrated = monitor.cancellation().run_until_cancelled(hydrate(site, vm_id, &monitor)).await;
    if hydrated.is_none() && !site.stopping.is_cancelled() {
        let vm = vms::find(site, vm_id.as_str()).await?;
        site.hypervisor.stop_hydration(&vms::access(&vm)).await?;
    }
    let cancelled = || Failure::new(Code::Cancelled, "cancelled").into();
    hydrated.unwrap_or_else(|| Err(cancelled()))
}

async fn hydrate(site: &Site, vm_id: VmId, monitor: &Arc<JobMonitor>) -> Outcome {
    let mut whole_bytes = 0;
    let mut changes = site.backings.changes();
    loop {
        changes.mark_unchanged();
        let vm = vms::find(site, vm_id.as_str()).await?;
        let Some(dependent) = vm.dependent_disks.first() else {
            return Ok(JobResult::Hydrated(HydratedView {
                vm_name: vm.name.to_string(),
                whole_bytes: ByteCount(whole_bytes),
            }));
        };
        let phase = format!("making {} whole", dependent.disk);
        let order = Hydration {
            disk: dependent.disk.clone(),
            rate_limit_bytes_per_second: dependent.rate_limit_bytes_per_second,
        };
        let told = Arc::clone(monitor);
        let listener = move |done_bytes, total_bytes| {
            told.progress(Progress { phase: phase.clone(), done_bytes, total_bytes: Some(total_bytes) });
        };
        let access = vms::access(&vm);
        let hydrated = tokio::select! {
            hydrated = site.hypervisor.hydrate(&access, &order, &listener) => hydrated,
            // Another pace is wanted: what goes on is joined again.
            _ = changes.changed() => continue,
        };
        match hydrated {
            Ok(()) => {
                whole_bytes += dependent.size_bytes;
                settle(site, &vm, dependent).await?;
            }
            Err(error) if matches!(error.kind(), ErrorKind::Gone | ErrorKind::Unreachable) => {
                monitor.phase("waiting until the VM runs");
                sleep(POWER_INTERVAL).await;
            }
            Err(error) => return Err(explain(site, &vm, dependent, error).into()),
        }
    }
}

/// A disk is whole: its image is needed no more.
async fn settle(site: &Site, vm: &KnownVm, whole: &DependentDisk) -> Result<()> {
    let rest: Vec<_> = vm.dependent_disks.iter().filter(|other| other.disk != whole.disk).cloned().collect();
    site.catalog.set_dependent_disks(vm.id, &rest).await?;
    site.backings.withdraw(vm.id, &whole.disk);
    tracing::info!(vm = %vm.name, disk = %whole.disk, "a disk is whole");
    Ok(())
}

/// What QEMU only knows as an input/output error.
fn explain(site: &Site, vm: &KnownVm, dependent: &DependentDisk, error: hypervisor::Error) -> Failure {
    let again = format!("holdfast boot --resume {}", shell_word(vm.name.as_str()));
    let is_full = error.kind() == ErrorKind::NoSpace;
    let source = site.backings.failure(vm.id, &dependent.disk).filter(|_| !is_full);
    let failure = Failure::from(error);
    match source {
        Some(source) if source.is_damage => failure
            .with_code(Code::Damaged)
            .during(&source.reason)
            .with_hint(format!("heal the vault with holdfast vault repair, then: {again}")),
        Some(source) => failure
            .during(&source.reason)
            .with_hint(format!("see to it that the point can be read, then: {again}")),
        None if is_full => failure.with_hint(format!("make room where the disk lies, then: {again}")),
        None => failure.with_hint(format!("mend it, then: {again}")),
    }
}
