//! One disk of a recovery point becomes an image file.

use std::sync::Arc;

use api::{JobResult, RestoreDiskRequest, RestoredDiskView};
use catalog::{Job, KnownCopy, KnownVault, KnownVm};
use model::{DiskFormat, JobKind};
use protection::{DiskRestore, Monitor};

use super::{RestoreDocument, check_unclaimed, document_of, open_source, target_file};
use crate::{
    failure::Result,
    images,
    jobs::{JobDraft, JobMonitor, Outcome},
    points,
    site::Site,
    vms,
};

/// Lines up the restore of a disk.
pub(crate) async fn submit(site: &Site, request: RestoreDiskRequest) -> Result<Job> {
    let mut reference = points::parse(&request.reference)?;
    let point = points::resolve(site, &reference, request.from_copy.as_deref()).await?;
    let disk = images::choose_disk(&point, reference.disk.take())?;
    reference.disk = Some(disk.clone());
    let path = target_file(&request.path, request.replace)?;
    let _admission = site.admission.lock().await;
    check_unclaimed(site, std::slice::from_ref(&path))?;
    // A disk that is replaced in place: nobody else works on its VM meanwhile.
    let owner = vms::owner_of(site, &path).await?;
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
        subject: reference.to_string(),
        vm_id: owner.as_ref().map(|vm| vm.id),
        vault_id: Some(point.vault.id),
        request: document_of(&document),
    };
    let (work_site, known, copy) = (site.clone(), point.vault, point.copy);
    let work = Box::new(move |monitor| {
        Box::pin(async move { work(&work_site, known, copy, owner, order, monitor).await }) as _
    });
    site.jobs.submit(draft, work).await
}

async fn work(
    site: &Site,
    known: KnownVault,
    copy: Option<KnownCopy>,
    owner: Option<KnownVm>,
    order: DiskRestore,
    monitor: Arc<JobMonitor>,
) -> Outcome {
    if let Some(vm) = &owner {
        vms::check_stopped(site, vm).await?;
    }
    let vault = open_source(site, &known, copy.as_ref(), &monitor).await?;
    let monitor: Arc<dyn Monitor> = monitor;
    let restored = Box::pin(protection::restore_disk(&vault, &order, &monitor)).await?;
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
