//! Cleaning up after a server that died.

use std::{path::Path, sync::Arc, time::Duration};

use api::shell_word;
use catalog::{Job, KnownVm};
use futures::{StreamExt as _, stream};
use hypervisor::{Baseline, Chain};
use model::{JobKind, VmId};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    copies,
    dependents::Owner,
    failure::{Failure, Result},
    plans,
    site::Site,
    snapshots, vms, work,
};

/// VMs that are cleaned up at once.
const VMS_AT_ONCE: usize = 8;

/// How long the clean-up of one VM may keep its backups waiting.
const VM_LIMIT: Duration = Duration::from_secs(120);

/// Ends unfinished jobs, removes what half-finished restores have written, and begins to clean up in all known VMs, which
/// goes on in the background. A VM that cannot be reached now is cleaned up at its next backup.
pub(crate) async fn clean_up(site: &Site) -> Result<()> {
    let mut interrupted = site.jobs.interrupted().await?;
    let writes = [
        JobKind::RestoreDisk,
        JobKind::RestoreVm,
        JobKind::Boot,
        JobKind::CreateVm,
        JobKind::TestPoint,
        JobKind::TestFailover,
        JobKind::FailOver,
        JobKind::ChangePoint,
        JobKind::Export,
    ];
    for job in interrupted.iter().filter(|job| job.kind == JobKind::TestPoint) {
        clean_up_test(site, job).await?;
    }
    for job in interrupted.iter().filter(|job| job.kind == JobKind::TestFailover) {
        work::clean_up_failover_test(site, job).await?;
    }
    for job in interrupted.iter().filter(|job| writes.contains(&job.kind)) {
        clean_up_restore(site, job).await?;
    }
    if let Err(failure) = snapshots::recover(site).await {
        // They stay as they are until the store can be read.
        tracing::error!(reason = failure.detail(), "what became of unfinished snapshots is not known");
    }
    for job in interrupted.iter().filter(|job| job.kind == JobKind::CreateDisk) {
        work::clean_up_disk(site, job).await?;
    }
    let vms = site.catalog.vms().await?;
    let hint = |job: &Job| after_interruption(job, &vms);
    site.jobs.end_interrupted(&mut interrupted, hint).await?;
    work::go_on_copying(site).await?;
    // Each VM is taken before the first request can line up for it.
    let taken: Vec<_> = vms
        .into_iter()
        .filter_map(|vm| Some((site.jobs.queue().claim(vm.id, "cleaning up in the VM").ok()?, vm)))
        .collect();
    let interrupted = Arc::new(interrupted);
    let clean_up = |(ticket, vm)| {
        let (site, interrupted) = (site.clone(), interrupted.clone());
        // A task for each VM: a defect that one VM brings out leaves no other guest frozen.
        let cleaning = async move {
            clean_up_vm(&site, &vm, &interrupted).await;
            drop(ticket);
            go_on_hydrating(&site, Owner::Vm(Box::new(vm))).await;
        };
        async move { drop(AbortOnDropHandle::new(tokio::spawn(cleaning)).await) }
    };
    let disks = site.catalog.disks().await?;
    let cleanings: Vec<_> = taken.into_iter().map(clean_up).collect();
    let all = stream::iter(cleanings).buffer_unordered(VMS_AT_ONCE).collect::<()>();
    // Not before each VM is taken.
    plans::go_on(site).await?;
    let (stopping, site) = (site.stopping.clone(), site.clone());
    tokio::spawn(async move {
        // What was committed and not copied before the server went away.
        let copied = copies::sync_behind(&site);
        let hydrated = async {
            for disk in disks {
                go_on_hydrating(&site, Owner::Disk(Box::new(disk))).await;
            }
        };
        stopping.run_until_cancelled(futures::future::join3(all, copied, hydrated)).await
    });
    Ok(())
}

/// What to do about a job that died on its way, where that is not to ask for it again.
fn after_interruption(job: &Job, vms: &[KnownVm]) -> Option<String> {
    match job.kind {
        JobKind::RunPlan | JobKind::Drill => {
            Some("it goes on by itself, in another job: see holdfast job list".to_owned())
        }
        _ => after_restore_in_place(job, vms),
    }
}

/// What to do after a restore in place that died on its way.
fn after_restore_in_place(job: &Job, vms: &[KnownVm]) -> Option<String> {
    let is_restore = matches!(job.kind, JobKind::RestoreVm | JobKind::RestoreDisk);
    let vm = vms.iter().find(|vm| is_restore && job.vm_id == Some(vm.id))?;
    match &vm.half_restored {
        Some(half) => Some(vms::way_out(vm, half)),
        None if work::stops_its_vm(job) => {
            let name = shell_word(vm.name.as_str());
            Some(format!("ask for it again, or where the VM was stopped for it: holdfast vm start {name}"))
        }
        None => None,
    }
}

/// The VM of a test goes with it.
async fn clean_up_test(site: &Site, job: &Job) -> Result<()> {
    let Some(vm_id) = job.vm_id else { return Ok(()) };
    site.catalog.remove_failover_test(vm_id).await?;
    let Some(vm) = site.catalog.vm(vm_id.as_str()).await? else { return Ok(()) };
    if let Err(failure) = work::take_down_test(site, &vm).await {
        // The VM stays known, so that somebody can stop and remove it.
        tracing::warn!(vm = %vm.name, reason = failure.detail(), "the VM of a dead test could not be taken down");
    }
    Ok(())
}

/// A restore counts from the moment at which its VM is known, or its one file has its name.
async fn clean_up_restore(site: &Site, job: &Job) -> Result<()> {
    for path in work::written_paths(job) {
        discard_partial(&path);
    }
    let Some((directory, vm_id)) = work::own_directory(job).zip(job.vm_id) else { return Ok(()) };
    // With the generation after it, of a VM that is failed over to here.
    let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_its_own =
        name.strip_prefix(vm_id.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    let known = site.catalog.vms().await?;
    let is_used = known.iter().flat_map(vms::disk_paths).any(|path| path.starts_with(&directory));
    if is_its_own && !is_used {
        match std::fs::remove_dir_all(&directory) {
            Ok(()) => tracing::info!(path = %directory.display(), "removed what a dead restore had written"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(path = %directory.display(), %error, "what a dead restore had written stays")
            }
        }
    }
    Ok(())
}

/// Removes what dead work left beside a place.
pub(crate) fn discard_partial(path: &Path) {
    match protection::discard_partial(path) {
        Ok(true) => tracing::info!(path = %path.display(), "removed what a dead restore had written"),
        Ok(false) => {}
        Err(error) => tracing::warn!(path = %path.display(), %error, "what a dead restore had written stays"),
    }
}

async fn clean_up_vm(site: &Site, vm: &KnownVm, interrupted: &[Job]) {
    let mut done = Vec::new();
    let cleaned = async {
        let access = vms::access(vm);
        let _taken = site.resting.take(&vms::disk_paths(vm)).await?;
        // The guest first: it may be frozen, and the vault far away.
        done.extend(site.hypervisor.free(&access).await?);
        let committed = snapshots::committed(site, vm.id).await?;
        done.extend(site.hypervisor.recover(&access, Chain::Snapshot, &committed).await?);
        let committed = committed_backup(site, vm.id).await?;
        done.extend(site.hypervisor.recover(&access, Chain::Backup, &committed).await?);
        Ok::<_, Failure>(())
    };
    match tokio::time::timeout(VM_LIMIT, cleaned).await {
        Ok(Ok(())) => {}
        Ok(Err(failure)) => {
            tracing::warn!(vm = %vm.name, reason = failure.detail(), "the VM's next backup cleans up what is left");
        }
        Err(_) => {
            tracing::warn!(vm = %vm.name, "the clean-up took too long; the VM's next backup tries again");
        }
    }
    for step in &done {
        tracing::info!(vm = %vm.name, step, "cleaned up");
    }
    // Whoever looks at the job that died should find what became of the guest.
    let died = interrupted.iter().rev().find(|job| job.vm_id == Some(vm.id));
    if let Some(mut job) = died.cloned().filter(|_| !done.is_empty()) {
        job.warnings.extend(done.into_iter().map(|step| format!("after the server's restart: {step}")));
        if let Err(error) = site.catalog.update_job(&job).await {
            tracing::warn!(job = %job.id, %error, "the clean-up could not be noted with its job");
        }
    }
}

/// Goes on making disks whole, of a VM once no dead capture is in the way. What somebody wanted to stay as it is stays.
async fn go_on_hydrating(site: &Site, owner: Owner) {
    let Some(dependent) = owner.dependents().iter().find(|dependent| dependent.hydrates) else { return };
    if let Err(failure) = work::hydrate(site, &owner, dependent.rate_limit_bytes_per_second).await {
        tracing::warn!(owner = owner.name(), reason = failure.detail(), "disks do not go on becoming whole");
    }
}

/// The capture of a VM's newest point. Not knowing it is an error: without it, good dirty bitmaps would be thrown away.
async fn committed_backup(site: &Site, vm_id: VmId) -> Result<Baseline> {
    let Some(settings) = site.catalog.protection(vm_id).await? else { return Ok(Baseline::default()) };
    let known = site.vaults.find(settings.vault_id.as_str()).await?;
    let points = site.vaults.open(&known).await?.points().await?;
    let summaries: Vec<_> = points.points.into_iter().map(|point| point.summary).collect();
    Ok(protection::latest_baseline(&summaries, vm_id))
}
