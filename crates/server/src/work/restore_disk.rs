//! One disk of a recovery point becomes an image file.

use std::{path::Path, sync::Arc};

use api::{JobResult, RestoreDiskRequest, RestoredDiskView};
use catalog::{Job, KnownVm};
use model::{DiskFormat, DiskName, JobKind, PointSelector};
use protection::{DiskRestore, Monitor};

use super::{
    RestoreDocument, check_unclaimed, document_of, open_source,
    restore_in_place::{InPlace, Stop},
    target_file,
};
use crate::{
    failure::{Failure, Result},
    images,
    jobs::{JobDraft, JobMonitor, Outcome},
    points::{self, FoundPoint, Named},
    site::Site,
    vms,
};

/// Lines up the restore of a disk.
pub(crate) async fn submit(site: &Site, request: RestoreDiskRequest) -> Result<Job> {
    let Named { point, selector, disk } =
        points::resolve_named(site, &request.reference, request.from_copy.as_deref()).await?;
    let disk = images::choose_disk(&point, disk)?;
    let path = target_file(&request.path, request.replace)?;
    let _admission = site.admission.lock().await;
    if let Some(vm) = vms::owner_of(site, &path).await? {
        return in_place(site, vm, point, (selector, disk), &request, &path).await;
    }
    super::check_in_place_only(request.no_safety_point, request.dry_run, request.stop)?;
    check_unclaimed(site, std::slice::from_ref(&path))?;
    let order = DiskRestore {
        point_id: point.record.summary.id,
        disk,
        path: path.clone(),
        format: request.format.unwrap_or(DiskFormat::Raw),
        replace: request.replace,
    };
    let document = RestoreDocument {
        reference: request.reference,
        paths: vec![path],
        format: order.format,
        replace: order.replace,
        own_directory: None,
    };
    let draft = JobDraft {
        kind: JobKind::RestoreDisk,
        subject: point.reference(Some(order.disk.clone())),
        vm_id: None,
        vault_id: Some(point.vault.id),
        request: document_of(&document),
    };
    let work_site = site.clone();
    let work =
        Box::new(move |monitor| Box::pin(async move { work(&work_site, point, order, monitor).await }) as _);
    site.jobs.submit(draft, work).await
}

/// Lines up the restore of a known VM's disk in place.
async fn in_place(
    site: &Site,
    vm: KnownVm,
    point: FoundPoint,
    (selector, disk): (PointSelector, DiskName),
    request: &RestoreDiskRequest,
    path: &Path,
) -> Result<Job> {
    let name = vms::disk_at(&vm, path);
    if name.as_ref() != Some(&disk) {
        let (path, name) = (path.display(), name.as_ref().map_or("another", DiskName::as_str));
        return Err(Failure::conflict(format!(
            "{path} is the disk {name} of the VM {}, and not {disk}",
            vm.name
        ))
        .with_hint("name a file that is no disk of a VM"));
    }
    if request.format.is_some() {
        return Err(Failure::invalid(format!("{} is overwritten as it is", path.display()))
            .with_hint("leave the format out"));
    }
    let restore = InPlace {
        vm,
        point,
        selector,
        disk: Some(disk),
        no_safety_point: request.no_safety_point,
        dry_run: request.dry_run,
        start: false,
        stop: Stop::wanted(request.stop, request.force),
    };
    restore.submit(site).await
}

async fn work(site: &Site, point: FoundPoint, order: DiskRestore, monitor: Arc<JobMonitor>) -> Outcome {
    let source = open_source(site, &point, &monitor).await?;
    let monitor: Arc<dyn Monitor> = monitor;
    let restored = Box::pin(protection::restore_disk(&source, &order, &monitor)).await?;
    Ok(JobResult::RestoredDisk(disk_view(restored)))
}

/// The view of a restored disk.
pub(super) fn disk_view(disk: protection::RestoredDisk) -> RestoredDiskView {
    RestoredDiskView {
        name: disk.name.into(),
        path: disk.path.display().to_string(),
        format: disk.format,
        size_bytes: disk.size_bytes,
        written_bytes: disk.written_bytes,
    }
}
