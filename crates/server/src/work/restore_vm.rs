//! A recovery point becomes a new VM: whole at first, or running from the point at once.

use std::{sync::Arc, time::Duration};

use api::{BootRequest, JobResult, RestoreVmRequest, RestoredVmView, shell_word};
use catalog::{DependentDisk, ImageSource, Job, KnownCopy, KnownVault, KnownVm, Origin};
use model::{DiskFormat, DiskSummary, JobKind, NetworkKind, PointReference, PointSelector, VmId, VmName};
use protection::{Backing, Monitor, RestoredDisk, VmRestore};

use super::{
    RestoreDocument, absolute, check_absent, check_unclaimed, document_of, hydrate, open_source,
    restore_in_place::InPlace,
};
use crate::{
    backing::export_name,
    failure::{Failure, Result},
    jobs::{JobDraft, JobMonitor, Outcome, WorkFailure},
    points::{self, FoundPoint},
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
    let (reference, point, name) = asked_for(site, &request).await?;
    if request.replace
        && let Some(vm) = site.catalog.vm(name.as_str()).await?
    {
        return in_place(site, vm, point, reference.point, &request).await;
    }
    super::check_in_place_only(request.no_safety_point, request.dry_run)?;
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
        format: None,
        keep_identity: request.keep_identity,
        replace: false,
        start: true,
        no_safety_point: false,
        dry_run: false,
    };
    let (_, point, name) = asked_for(site, &request).await?;
    line_up(site, point, name, request, wishes).await
}

/// The point that a request names, and the name of the VM that it becomes.
async fn asked_for(site: &Site, request: &RestoreVmRequest) -> Result<(PointReference, FoundPoint, VmName)> {
    let reference = points::parse(&request.reference)?;
    if reference.disk.is_some() {
        return Err(Failure::invalid(format!("{reference} is a disk")).with_hint(format!(
            "leave the disk out, or restore it alone: holdfast restore disk {} --to FILE",
            shell_word(&request.reference)
        )));
    }
    let point = points::resolve(site, &reference, request.from_copy.as_deref()).await?;
    let name = match &request.name {
        Some(name) => name.parse().map_err(|error| Failure::invalid(format!("the VM's name: {error}")))?,
        None => point.record.summary.vm_name.clone(),
    };
    Ok((reference, point, name))
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
    let summary = &point.record.summary;
    let backing = wishes.instant.map(|instant| {
        let export = |disk: &DiskSummary| (disk.name.clone(), export_name(vm_id, &disk.name));
        Backing {
            socket: site.backings.socket().to_owned(),
            exports: order.dependent_disks(summary).into_iter().map(export).collect(),
            wait_limit: instant.wait_limit,
        }
    });
    order.backing = backing;
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
    let (work_site, known, copy) = (site.clone(), point.vault, point.copy);
    let work = Box::new(move |monitor| {
        Box::pin(async move { work(&work_site, known, copy, vm_id, order, wishes, monitor).await }) as _
    });
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
    };
    let _admission = site.admission.lock().await;
    restore.submit(site).await
}

async fn work(
    site: &Site,
    known: KnownVault,
    copy: Option<KnownCopy>,
    vm_id: VmId,
    order: VmRestore,
    wishes: Wishes,
    monitor: Arc<JobMonitor>,
) -> Outcome {
    let vault = open_source(site, &known, copy.as_ref(), &monitor).await?;
    let operation: Arc<dyn Monitor> = monitor.clone();
    let mut restored = Box::pin(protection::restore_vm(&vault, &order, &operation)).await?;
    if wishes.isolated {
        restored.definition.networks.iter_mut().for_each(|network| network.kind = NetworkKind::Isolated);
    }
    let hydrates = wishes.instant.is_some_and(|instant| instant.hydrate);
    let dependent_disks = dependent_disks(&known, copy.as_ref(), &order, hydrates, &restored.disks);
    let vm = KnownVm {
        id: vm_id,
        name: order.name.clone(),
        origin: Origin::Managed { definition: restored.definition },
        last_seen: None,
        dependent_disks,
        created_at: site.env.clock.now(),
        half_restored: None,
    };
    admit(site, &vm, &order).await?;
    let mut view = RestoredVmView {
        vm_id: vm_id.to_string(),
        vm_name: order.name.to_string(),
        point_id: order.point_id.to_string(),
        disks: restored.disks.into_iter().map(super::restore_disk::disk_view).collect(),
        started: false,
        hydration_job: None,
    };
    if wishes.start {
        monitor.phase("starting the VM");
        site.backings.offer(&vm);
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

/// The disks of the new VM that read from the point until they are whole.
fn dependent_disks(
    known: &KnownVault,
    copy: Option<&KnownCopy>,
    order: &VmRestore,
    hydrates: bool,
    disks: &[RestoredDisk],
) -> Vec<DependentDisk> {
    let Some(backing) = &order.backing else { return Vec::new() };
    let dependent = disks.iter().filter(|disk| backing.exports.contains_key(&disk.name));
    let dependent = dependent.map(|disk| DependentDisk {
        disk: disk.name.clone(),
        size_bytes: disk.size_bytes.0,
        source: ImageSource::Point {
            vault_id: known.id,
            copy: copy.map(|copy| copy.name.clone()),
            point_id: order.point_id,
            disk: disk.name.clone(),
        },
        wait_limit_seconds: backing.wait_limit.as_secs(),
        hydrates,
        rate_limit_bytes_per_second: None,
    });
    dependent.collect()
}

async fn admit(site: &Site, vm: &KnownVm, order: &VmRestore) -> Result<()> {
    let _admission = site.admission.lock().await;
    vms::admit(site, vm).await.map_err(|failure| {
        let place = order.directory.display();
        failure.during(&format!("the disks are restored to {place}, but the VM could not be made known"))
    })
}
