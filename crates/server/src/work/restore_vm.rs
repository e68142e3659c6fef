//! A recovery point becomes a new VM: whole at first, or running from the point at once.

use std::{sync::Arc, time::Duration};

use api::{BootRequest, JobResult, RestoreVmRequest, RestoredVmView, shell_word};
use catalog::{Job, KnownVm};
use model::{DiskFormat, JobKind, PointSelector, VmId, VmName};
use protection::VmRestore;

use super::{
    RestoreDocument, absolute, check_absent, check_unclaimed, document_of, hydrate,
    new_vm::{self, NewVm},
    restore_in_place::{InPlace, Stop},
};
use crate::{
    failure::{Failure, Result},
    jobs::{JobDraft, JobMonitor, Outcome, WorkFailure},
    points::{self, FoundPoint, Named},
    site::Site,
    vms,
};

/// What is asked for beside the VM itself.
struct Wishes {
    start: bool,
    isolated: bool,
    instant: Option<Instant>,
}

/// How a VM runs that is not whole yet.
#[derive(Clone, Copy)]
struct Instant {
    hydrate: bool,
    rate_limit_bytes_per_second: Option<u64>,
    wait_limit: Duration,
}

/// Lines up the restore of a VM. Its name, its id and its files are taken from now on.
pub(crate) async fn submit(site: &Site, request: RestoreVmRequest) -> Result<Job> {
    let (Named { point, selector, .. }, name) = asked_for(site, &request).await?;
    if request.replace
        && let Some(vm) = site.catalog.vm(name.as_str()).await?
    {
        return in_place(site, vm, point, selector, &request).await;
    }
    super::check_in_place_only(request.no_safety_point, request.dry_run, request.stop)?;
    let wishes = Wishes { start: request.start, isolated: false, instant: None };
    line_up(site, point, name, request, wishes).await
}

/// Lines up a VM that runs from its point at once.
pub(crate) async fn boot(site: &Site, request: BootRequest) -> Result<Job> {
    let instant = Instant {
        hydrate: request.hydrate,
        rate_limit_bytes_per_second: request.rate_limit_bytes_per_second,
        wait_limit: Duration::from_secs(request.wait_limit_seconds),
    };
    let wishes = Wishes { start: true, isolated: request.isolated, instant: Some(instant) };
    let request = RestoreVmRequest {
        reference: request.reference,
        from_copy: request.from_copy,
        name: request.name,
        directory: request.directory,
        keep_identity: request.keep_identity,
        ..RestoreVmRequest::default()
    };
    let (named, name) = asked_for(site, &request).await?;
    line_up(site, named.point, name, request, wishes).await
}

/// The point or snapshot that a request names, and the name of the VM that it becomes.
async fn asked_for(site: &Site, request: &RestoreVmRequest) -> Result<(Named, VmName)> {
    let named = points::resolve_named(site, &request.reference, request.from_copy.as_deref()).await?;
    if named.disk.is_some() {
        return Err(Failure::invalid(format!("{} is a disk", request.reference)).with_hint(format!(
            "leave the disk out, or restore it alone: holdfast restore disk {} --to FILE",
            shell_word(&request.reference)
        )));
    }
    let name = match &request.name {
        Some(name) => name.parse().map_err(|error| Failure::invalid(format!("the VM's name: {error}")))?,
        None => named.point.record.summary.vm_name.clone(),
    };
    Ok((named, name))
}

async fn line_up(
    site: &Site,
    point: FoundPoint,
    name: VmName,
    request: RestoreVmRequest,
    wishes: Wishes,
) -> Result<Job> {
    let vm_id = VmId::from_random(env::random(&*site.env.entropy));
    let (own_directory, directory) = match &request.directory {
        Some(directory) => (None, absolute(directory)?),
        None => (Some(site.directory.disks(vm_id)), site.directory.disks(vm_id)),
    };
    let mut order = VmRestore {
        point_id: point.record.summary.id,
        name: name.clone(),
        directory,
        format: request.format.unwrap_or(DiskFormat::Qcow2),
        keep_identity: request.keep_identity,
        replace: request.replace,
        backing: None,
    };
    if let Some(instant) = wishes.instant {
        order.backing = Some(new_vm::backing(site, vm_id, &point.record.summary, instant.wait_limit));
    }
    let paths = order.disk_paths(&point.record.summary);
    if !request.replace {
        check_absent(&paths)?;
    }
    let _admission = site.admission.lock().await;
    vms::check_name_free(site, &name, vm_id).await?;
    check_unclaimed(site, &paths)?;
    vms::check_paths_free(site, &paths).await?;
    let document = RestoreDocument {
        reference: request.reference,
        paths,
        format: order.format,
        replace: order.replace,
        own_directory,
    };
    let draft = JobDraft {
        kind: if wishes.instant.is_some() { JobKind::Boot } else { JobKind::RestoreVm },
        subject: name.to_string(),
        vm_id: Some(vm_id),
        vault_id: Some(point.vault.id),
        request: document_of(&document),
    };
    let new = NewVm { vm_id, point, order };
    let work_site = site.clone();
    let work =
        Box::new(move |monitor| Box::pin(async move { work(&work_site, new, wishes, monitor).await }) as _);
    site.jobs.submit(draft, work).await
}

/// Lines up the restore of a VM that is known, as itself.
async fn in_place(
    site: &Site,
    vm: KnownVm,
    point: FoundPoint,
    selector: PointSelector,
    request: &RestoreVmRequest,
) -> Result<Job> {
    if request.directory.is_some() || request.format.is_some() {
        let detail =
            format!("there is a VM {} already, whose disks can only be overwritten where they are", vm.name);
        return Err(Failure::conflict(detail)
            .with_hint("name a VM that is new, or leave directory and format out to take this one back"));
    }
    let restore = InPlace {
        vm,
        point,
        selector,
        disk: None,
        no_safety_point: request.no_safety_point,
        dry_run: request.dry_run,
        start: request.start,
        stop: Stop::wanted(request.stop, request.force),
    };
    let _admission = site.admission.lock().await;
    restore.submit(site).await
}

async fn work(site: &Site, new: NewVm, wishes: Wishes, monitor: Arc<JobMonitor>) -> Outcome {
    let hydrates = wishes.instant.is_some_and(|instant| instant.hydrate);
    let (vm, disks) = new.build(site, wishes.isolated, hydrates, &monitor).await?;
    let mut view = RestoredVmView {
        vm_id: vm.id.to_string(),
        vm_name: vm.name.to_string(),
        point_id: new.order.point_id.to_string(),
        disks: disks.into_iter().map(super::restore_disk::disk_view).collect(),
        started: false,
        hydration_job: None,
    };
    if wishes.start {
        monitor.phase("starting the VM");
        if let Err(error) = site.hypervisor.start(&vms::access(&vm)).await {
            let failure = Failure::from(error).during("the VM is restored but did not start");
            return Err(WorkFailure { failure, result: Some(Box::new(JobResult::RestoredVm(view))) });
        }
        view.started = true;
    }
    if let Some(instant) = wishes.instant.filter(|_| hydrates && !vm.dependent_disks.is_empty()) {
        let job = hydrate::submit(site, &vm, instant.rate_limit_bytes_per_second).await?;
        view.hydration_job = Some(job.id);
    }
    Ok(JobResult::RestoredVm(view))
}
