//! An image becomes a file that other programs read.

use std::{path::PathBuf, sync::Arc};

use api::{ExportRequest, ExportedView, JobResult};
use catalog::Job;
use model::{ImageFormat, JobKind};
use protection::{DiskExport, Monitor};
use serde::Serialize;

use super::{check_unclaimed, document_of, target_file};
use crate::{
    failure::{Failure, Result},
    images::Source,
    jobs::{JobDraft, JobMonitor, Outcome},
    site::Site,
    vms,
};

/// What the request document of an export holds.
#[derive(Debug, Serialize)]
struct ExportDocument {
    reference: String,
    paths: Vec<PathBuf>,
    format: ImageFormat,
    compress: bool,
    replace: bool,
}

/// Lines up an export.
pub(crate) async fn submit(site: &Site, request: ExportRequest) -> Result<Job> {
    let source = Source::resolve_one(site, &request.reference, request.from_copy.as_deref()).await?;
    let path = target_file(&request.path, request.replace)?;
    let _admission = site.admission.lock().await;
    check_unclaimed(site, std::slice::from_ref(&path))?;
    if let Some(vm) = vms::owner_of(site, &path).await? {
        return Err(Failure::conflict(format!("{} is a disk of the VM {}", path.display(), vm.name))
            .with_hint("restore it instead: holdfast restore disk"));
    }
    let order = DiskExport {
        path: path.clone(),
        format: request.format,
        compress: request.compress,
        replace: request.replace,
    };
    let document = ExportDocument {
        reference: request.reference.clone(),
        paths: vec![path],
        format: order.format,
        compress: order.compress,
        replace: order.replace,
    };
    let vault_id = source.vault_id();
    let draft = JobDraft {
        kind: JobKind::Export,
        subject: request.reference,
        vm_id: None,
        vault_id,
        request: document_of(&document),
    };
    let work_site = site.clone();
    let work =
        Box::new(move |monitor| Box::pin(async move { work(&work_site, source, order, monitor).await }) as _);
    site.jobs.submit(draft, work).await
}

async fn work(site: &Site, source: Source, order: DiskExport, monitor: Arc<JobMonitor>) -> Outcome {
    monitor.phase("opening the image");
    let open = source.open_one_in_order(site).await?;
    let monitor: Arc<dyn Monitor> = monitor;
    let exported = Box::pin(protection::export_disk(open.image, &order, &monitor)).await?;
    Ok(JobResult::Exported(ExportedView {
        path: exported.path.display().to_string(),
        format: exported.format,
        size_bytes: exported.size_bytes,
        allocated_bytes: exported.allocated_bytes,
    }))
}
