//! Files of an image go into a running guest.

use std::sync::Arc;

use api::{JobResult, RestoreFilesRequest, RestoredFilesView};
use catalog::{Job, KnownVm};
use files::{FilePath, FileTree};
use hypervisor::Power;
use model::{ByteCount, JobKind};
use protection::{GuestFilesOrder, Monitor};

use super::document_of;
use crate::{
    failure::{Failure, Result},
    files as machines,
    images::Source,
    jobs::{JobDraft, JobMonitor, Outcome},
    site::Site,
    vms,
};

/// Lines up a restore of files into a guest.
pub(crate) async fn submit(site: &Site, request: RestoreFilesRequest) -> Result<Job> {
    let order = order(&request)?;
    let vm = vms::find(site, &request.vm).await?;
    let source = Source::resolve(site, &request.reference, request.from_copy.as_deref()).await?;
    if order.target.is_none() && !is_of(&source, &vm) {
        return Err(Failure::invalid(format!(
            "{} is no point of the VM {}, so where its files belong is not known",
            request.reference, vm.name
        ))
        .with_hint("name a directory in the guest with --to"));
    }
    check_reachable(site, &vm).await?;
    let draft = JobDraft {
        kind: JobKind::RestoreFiles,
        subject: format!("{} to {}", request.reference, vm.name),
        vm_id: Some(vm.id),
        vault_id: source.vault_id(),
        request: document_of(&request),
    };
    let work_site = site.clone();
    let work = Box::new(move |monitor| {
        Box::pin(async move { work(&work_site, vm, request, order, monitor).await }) as _
    });
    site.jobs.submit(draft, work).await
}

/// What is restored and where it goes, as far as that makes sense.
fn order(request: &RestoreFilesRequest) -> Result<GuestFilesOrder> {
    if request.paths.is_empty() {
        return Err(Failure::invalid("there is no path to restore"));
    }
    let paths = request.paths.iter().map(|path| FilePath::parse(path.as_bytes()));
    let paths: Vec<_> = paths.collect::<files::Result<_>>()?;
    if paths.iter().any(|path| path.volume().is_none()) {
        return Err(Failure::invalid("the root lists the volumes; name one of them, or something in one"));
    }
    let target = request.to.clone().filter(|target| !target.is_empty());
    Ok(GuestFilesOrder { paths, target, overwrite: request.overwrite, dry_run: request.dry_run })
}

/// Whether an image is a point of this VM.
fn is_of(source: &Source, vm: &KnownVm) -> bool {
    match source {
        Source::Point { found, .. } => {
            found.record.summary.vm_id == vm.id || found.record.summary.vm_name == vm.name
        }
        Source::Replica { found, .. } => found.replica.vm_id == vm.id,
        Source::File(_) => false,
    }
}

/// Fails where no file can get into the guest, before anything is started for it.
async fn check_reachable(site: &Site, vm: &KnownVm) -> Result<()> {
    let found = site.hypervisor.inspect(&vms::access(vm)).await?;
    if found.power != Power::Running {
        return Err(Failure::conflict(format!("the VM {} does not run", vm.name)).with_hint(
            "start it first, or take the files out to a directory of this host: leave --vm out and name it with --to",
        ));
    }
    Ok(())
}

async fn work(
    site: &Site,
    vm: KnownVm,
    request: RestoreFilesRequest,
    order: GuestFilesOrder,
    monitor: Arc<JobMonitor>,
) -> Outcome {
    monitor.phase("asking the guest's agent");
    let mut guest = site.hypervisor.guest_files(&vms::access(&vm)).await?;
    monitor.phase("opening the image");
    let machine = Box::pin(machines::open(site, &request.reference, request.from_copy.as_deref(), None));
    let machine = monitor.cancellation().run_until_cancelled(machine).await;
    let machine =
        machine.unwrap_or_else(|| Err(Failure::new(api::Code::Cancelled, "cancelled")))? as Arc<dyn FileTree>;
    let monitor: Arc<dyn Monitor> = monitor;
    let restored =
        Box::pin(protection::restore_guest_files(&machine, guest.as_mut(), &order, &monitor)).await?;
    Ok(JobResult::RestoredFiles(RestoredFilesView {
        vm_name: vm.name.into(),
        to: order.target,
        files: restored.files,
        directories: restored.directories,
        links: restored.links,
        written_bytes: ByteCount(restored.written_bytes),
        kept: restored.kept,
        failed: restored.failed,
        dry_run: order.dry_run,
    }))
}
