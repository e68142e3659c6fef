//! A recovery point becomes a new VM.

use std::sync::Arc;

use api::{JobResult, RestoreVmRequest, RestoredVmView, shell_word};
use catalog::{Job, KnownCopy, KnownVault, KnownVm, Origin};
use model::{DiskFormat, JobKind, PointSelector, VmDefinition, VmId, VmName};
use protection::{Monitor, VmRestore};

use super::{
    RestoreDocument, absolute, check_absent, check_unclaimed, document_of, open_source,
    restore_in_place::InPlace,
};
use crate::{
    failure::{Failure, Result},
    jobs::{JobDraft, JobMonitor, Outcome, WorkFailure},
    points::{self, FoundPoint},
    site::Site,
    vms,
};

/// Lines up the restore of a VM. Its name, its id and its files are taken from now on.
pub(crate) async fn submit(site: &Site, request: RestoreVmRequest) -> Result<Job> {
    let reference = points::parse(&request.reference)?;
    if reference.disk.is_some() {
        return Err(Failure::invalid(format!("{reference} is a disk")).with_hint(format!(
            "leave the disk out, or restore it alone: holdfast restore disk {} --to FILE",
            shell_word(&request.reference)
        )));
    }
    let point = points::resolve(site, &reference, request.from_copy.as_deref()).await?;
    let name: VmName = match &request.name {
        Some(name) => name.parse().map_err(|error| Failure::invalid(format!("the VM's name: {error}")))?,
        None => point.record.summary.vm_name.clone(),
    };
    if request.replace
        && let Some(vm) = site.catalog.vm(name.as_str()).await?
    {
        return in_place(site, vm, point, reference.point, &request).await;
    }
    super::check_in_place_only(request.no_safety_point, request.dry_run)?;
    let vm_id = VmId::from_random(env::random(&*site.env.entropy));
    let (own_directory, directory) = match &request.directory {
        Some(directory) => (None, absolute(directory)?),
        None => (Some(site.directory.disks(vm_id)), site.directory.disks(vm_id)),
    };
    let order = VmRestore {
        point_id: point.record.summary.id,
        name: name.clone(),
        directory,
        format: request.format.unwrap_or(DiskFormat::Qcow2),
        keep_identity: request.keep_identity,
        replace: request.replace,
    };
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
        kind: JobKind::RestoreVm,
        subject: name.to_string(),
        vm_id: Some(vm_id),
        vault_id: Some(point.vault.id),
        request: document_of(&document),
    };
    let (work_site, known, copy, start) = (site.clone(), point.vault, point.copy, request.start);
    let work = Box::new(move |monitor| {
        Box::pin(async move { work(&work_site, known, copy, vm_id, order, start, monitor).await }) as _
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
        let detail = format!("the disks of the VM {} are overwritten where they are, as they are", vm.name);
        return Err(
            Failure::invalid(detail).with_hint("leave directory and format out, or name a VM that is new")
        );
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
    start: bool,
    monitor: Arc<JobMonitor>,
) -> Outcome {
    let vault = open_source(site, &known, copy.as_ref(), &monitor).await?;
    let operation: Arc<dyn Monitor> = monitor.clone();
    let restored = Box::pin(protection::restore_vm(&vault, &order, &operation)).await?;
    let vm = admit(site, vm_id, &order, restored.definition).await?;
    let mut view = RestoredVmView {
        vm_id: vm_id.to_string(),
        vm_name: order.name.to_string(),
        point_id: order.point_id.to_string(),
        disks: restored.disks.into_iter().map(super::restore_disk::disk_view).collect(),
        started: false,
    };
    if start {
        monitor.phase("starting the VM");
        if let Err(error) = site.hypervisor.start(&vms::access(&vm)).await {
            let failure = Failure::from(error).during("the VM is restored but did not start");
            return Err(WorkFailure { failure, result: Some(Box::new(JobResult::RestoredVm(view))) });
        }
        view.started = true;
    }
    Ok(JobResult::RestoredVm(view))
}

async fn admit(site: &Site, id: VmId, order: &VmRestore, definition: VmDefinition) -> Result<KnownVm> {
    let (name, created_at) = (order.name.clone(), site.env.clock.now());
    let vm = KnownVm {
        id,
        name,
        origin: Origin::Managed { definition },
        last_seen: None,
        created_at,
        half_restored: None,
    };
    let _admission = site.admission.lock().await;
    vms::admit(site, &vm).await.map_err(|failure| {
        let place = order.directory.display();
        failure.during(&format!("the disks are restored to {place}, but the VM could not be made known"))
    })?;
    Ok(vm)
}
