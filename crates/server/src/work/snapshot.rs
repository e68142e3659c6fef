//! A managed snapshot is made: its moment is fixed, shown at once, and copied into the snapshot store.

use std::sync::Arc;

use api::{Code, CreateSnapshot, JobResult};
use catalog::{Job, KnownSnapshot, KnownVm, PolicyFollower};
use hypervisor::CaptureOutcome;
use image::DiskImage;
use model::{
    ByteCount, CaptureCost, CaptureId, ChangeSource, DiskName, DiskSummary, JobKind, PointSummary,
    PolicyName, SnapshotId, SnapshotName, SnapshotState,
};
use protection::{Moment, Monitor, SnapshotOrder, SnapshotRun, Treatment};
use tokio::{runtime::Handle, task::JoinHandle};
use vault::{PointRecord, Vault};

use super::{document_of, overall::Overall};
use crate::{
    failure::{Failure, Result},
    jobs::{JobDraft, JobMonitor, Outcome},
    policies,
    site::Site,
    snapshots::{self, HeldSnapshot, Subject, check_tags},
    vms,
};

/// Names that are tried where none was given.
const NAMES_TRIED: u32 = 100;

/// Lines up a snapshot. Its name is taken from now on.
pub(crate) async fn submit(site: &Site, request: CreateSnapshot) -> Result<(KnownSnapshot, Job)> {
    let subject = Subject::find(site, &request.source).await?;
    check_tags(&request.tags)?;
    if let Some(until) = request.lock_until {
        snapshots::check_lock(until, site.env.clock.now())?;
    }
    if let Some(vm) = subject.vm() {
        vms::check_whole(vm)?;
    }
    line_up(site, subject, request, None).await
}

/// Lines up a snapshot that a policy makes of a VM. What it cannot be made of fails as a job does, so that it can be told of
/// later; only the last of such failures is kept.
pub(crate) async fn submit_by_policy(site: &Site, vm: KnownVm, follower: &PolicyFollower) -> Result<Job> {
    snapshots::forget_failed(site, vm.id).await?;
    let subject = Subject::Vm { vm: Box::new(vm), disk: None };
    let request = CreateSnapshot {
        source: subject.words(),
        consistency: follower.consistency,
        ..CreateSnapshot::default()
    };
    let (_, job) = line_up(site, subject, request, Some(follower.policy.clone())).await?;
    Ok(job)
}

async fn line_up(
    site: &Site,
    subject: Subject,
    request: CreateSnapshot,
    policy: Option<PolicyName>,
) -> Result<(KnownSnapshot, Job)> {
    let _admission = site.admission.lock().await;
    let snapshot = admit(site, &subject, &request, &subject.stem(), policy).await?;
    let draft = JobDraft {
        kind: JobKind::Snapshot,
        subject: subject.words(),
        vm_id: subject.vm().map(|vm| vm.id),
        vault_id: None,
        request: document_of(&request),
    };
    let mut waiting = Waiting { site: site.clone(), snapshot: snapshot.clone(), has_begun: false };
    let work = Box::new(move |monitor| {
        waiting.has_begun = true;
        let (site, known) = (waiting.site.clone(), waiting.snapshot.clone());
        Box::pin(async move { work(&site, known, subject, request, monitor).await }) as _
    });
    let job = site.jobs.submit(draft, work).await?;
    site.catalog.set_snapshot_job(snapshot.id, job.id).await?;
    Ok((KnownSnapshot { job_id: Some(job.id), ..snapshot }, job))
}

/// A snapshot whose job has not begun. Where it never does, having been cancelled before its turn, the snapshot has failed.
struct Waiting {
    site: Site,
    snapshot: KnownSnapshot,
    has_begun: bool,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.has_begun {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        let (site, snapshot) = (self.site.clone(), self.snapshot.clone());
        runtime.spawn(async move {
            let failure = Failure::conflict("its job ended before its turn came");
            give_up(&site, snapshot, &failure).await;
        });
    }
}

/// Makes a snapshot of a VM as a part of the job that overwrites its disks. All of it is in the store when this returns.
pub(super) async fn before_revert(
    site: &Site,
    vm: KnownVm,
    request: &CreateSnapshot,
    monitor: &Arc<JobMonitor>,
) -> Result<KnownSnapshot> {
    let subject = Subject::Vm { vm: Box::new(vm), disk: None };
    let stem = format!("{}-before-revert", subject.stem());
    let snapshot = {
        let _admission = site.admission.lock().await;
        admit(site, &subject, request, &stem, None).await?
    };
    site.catalog.set_snapshot_job(snapshot.id, monitor.job_id()).await?;
    match Box::pin(make(site, snapshot.clone(), subject, request, monitor)).await {
        Ok(ready) => Ok(ready),
        Err(failure) => {
            give_up(site, snapshot, &failure).await;
            Err(failure)
        }
    }
}

/// Makes the snapshot known under the name that was asked for, or one that begins so and is free.
async fn admit(
    site: &Site,
    subject: &Subject,
    request: &CreateSnapshot,
    stem: &str,
    policy: Option<PolicyName>,
) -> Result<KnownSnapshot> {
    let now = site.env.clock.now();
    let (family, family_name) = subject.family(site).await?;
    let mut snapshot = KnownSnapshot {
        id: SnapshotId::from_random(env::random(&*site.env.entropy)),
        name: request.name.clone().map_or_else(|| default_name(site, stem, 1), Ok)?,
        family,
        family_name,
        source: subject.words(),
        disk: subject.disk().cloned(),
        state: SnapshotState::Waiting,
        capture_id: CaptureId::from_random(env::random(&*site.env.entropy)),
        created_at: now,
        taken_at: None,
        ready_at: None,
        consistency: None,
        disks: Vec::new(),
        tags: request.tags.clone(),
        locked_until: request.lock_until,
        deleted_at: None,
        purge_after: None,
        job_id: None,
        problem: None,
        policy,
    };
    for number in 2..=NAMES_TRIED {
        match site.catalog.add_snapshot(&snapshot).await {
            Ok(()) => return Ok(snapshot),
            Err(error) if error.kind() == catalog::ErrorKind::Exists && request.name.is_none() => {
                snapshot.name = default_name(site, stem, number)?;
            }
            Err(error) if error.kind() == catalog::ErrorKind::Exists => {
                return Err(Failure::conflict(format!("there is a snapshot {} already", snapshot.name))
                    .with_hint("choose another name, or leave it out"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::conflict("no free name was found for the snapshot").with_hint("name it: --name NAME"))
}

/// A name that says of what and when: `web-1-20260131-235959`, and a number where that is taken.
fn default_name(site: &Site, stem: &str, number: u32) -> Result<SnapshotName> {
    let now = site.env.clock.now().to_string();
    let digits: String = now.chars().filter(char::is_ascii_digit).take(14).collect();
    let (day, time) = digits.split_at_checked(8).unwrap_or((&digits, ""));
    let suffix = if number > 1 { format!("-{number}") } else { String::new() };
    let name = format!("{stem}-{day}-{time}{suffix}");
    name.parse().map_err(|error| Failure::invalid(format!("the snapshot's name: {error}")))
}

async fn work(
    site: &Site,
    snapshot: KnownSnapshot,
    subject: Subject,
    request: CreateSnapshot,
    monitor: Arc<JobMonitor>,
) -> Outcome {
    let snapshot = KnownSnapshot { job_id: Some(monitor.job_id()), ..snapshot };
    let made = Box::pin(make(site, snapshot.clone(), subject, &request, &monitor)).await;
    match made {
        Ok(ready) => {
            if ready.policy.is_some() {
                policies::settle_snapshots(site, ready.family, &*monitor).await;
            }
            Ok(JobResult::Snapshot(Box::new(snapshots::view(site, ready))))
        }
        Err(failure) => {
            give_up(site, snapshot, &failure).await;
            Err(failure.into())
        }
    }
}

/// Notes that a snapshot came to nothing.
async fn give_up(site: &Site, mut snapshot: KnownSnapshot, failure: &Failure) {
    snapshot.state = SnapshotState::Failed;
    snapshot.problem = Some(failure.detail().to_owned());
    if let Err(error) = site.catalog.move_snapshot(&snapshot).await {
        tracing::warn!(snapshot = %snapshot.name, %error, "the end of a snapshot could not be noted");
    }
    // What was copied of it is of no use to anybody.
    if let Err(failure) = super::collect_snapshot_store(site).await {
        tracing::warn!(reason = failure.detail(), "the room of a failed snapshot is not given back yet");
    }
}

async fn make(
    site: &Site,
    snapshot: KnownSnapshot,
    subject: Subject,
    request: &CreateSnapshot,
    monitor: &Arc<JobMonitor>,
) -> Result<KnownSnapshot> {
    let run = SnapshotRun::new(SnapshotOrder {
        id: snapshot.id.point_id(),
        capture_id: snapshot.capture_id,
        vm_id: snapshot.family,
        vm_name: snapshot.family_name.clone(),
        disk: snapshot.disk.clone(),
        name: snapshot.name.to_string(),
        treatment: treatment(site, &subject, request).await?,
        distrust: request.full.then(|| "everything was to be read".to_owned()),
        baseline: snapshots::committed(site, snapshot.family).await?,
    });
    let operation: Arc<dyn Monitor> = monitor.clone();
    // No moment waits until the store is open, or made.
    let opening = {
        let site = site.clone();
        tokio::spawn(
            async move { site.vaults.open_checked(&site.vaults.snapshot_store_or_new().await?).await },
        )
    };
    // A stopped VM is read from its files.
    let paths = subject.vm().map(vms::disk_paths).unwrap_or_default();
    let _taken = site.resting.take(&paths).await?;
    let moment = Box::pin(fix(site, &subject, &run, monitor, &operation)).await?;
    copy(site, snapshot, &run, opening, moment, monitor).await
}

/// How the VM is treated: as its protection says, but for what is asked for.
async fn treatment(site: &Site, subject: &Subject, request: &CreateSnapshot) -> Result<Treatment> {
    let protection = match subject.vm() {
        Some(vm) => site.catalog.protection(vm.id).await?,
        None => None,
    };
    let mut treatment = protection.as_ref().map_or_else(Treatment::unprotected, Treatment::from);
    treatment.consistency = request.consistency.unwrap_or(treatment.consistency);
    Ok(treatment)
}

/// Fixes the moment.
async fn fix(
    site: &Site,
    subject: &Subject,
    run: &SnapshotRun,
    monitor: &JobMonitor,
    operation: &Arc<dyn Monitor>,
) -> Result<Moment> {
    match subject {
        Subject::Vm { vm, .. } => {
            monitor.phase("looking at the VM");
            if let Err(reason) = vms::refresh(site, vm).await {
                tracing::debug!(vm = %vm.name, reason, "the VM was not seen before its snapshot");
            }
            let vm = vms::find(site, vm.id.as_str()).await?;
            vms::check_whole(&vm)?;
            Ok(run.fix(&*site.hypervisor, &vms::access(&vm), operation).await?)
        }
        Subject::File(path) => {
            monitor.phase("holding the image file");
            Ok(run.hold_file(path, site.env.clock.now(), operation).await?)
        }
    }
}

/// Shows the moment to everybody, copies it into the store, and lets go of it.
async fn copy(
    site: &Site,
    mut snapshot: KnownSnapshot,
    run: &SnapshotRun,
    opening: JoinHandle<Result<Vault>>,
    moment: Moment,
    monitor: &Arc<JobMonitor>,
) -> Result<KnownSnapshot> {
    let operation: Arc<dyn Monitor> = monitor.clone();
    let held = Arc::new(HeldSnapshot::new(record_of(&snapshot, &moment), moment.disks()));
    // Shown until the moment is let go of, which is after everybody can find it in the store.
    let _shown = site.held.show(snapshot.id, held.clone());
    let stored = async {
        snapshot.state = SnapshotState::Copying;
        snapshot.taken_at = Some(moment.facts().captured_at);
        snapshot.consistency = Some(moment.facts().consistency.clone());
        snapshot.disks = held.record.summary.disks.clone();
        site.catalog.move_snapshot(&snapshot).await?;
        // Whoever waits for the moment sees that something has changed.
        monitor.phase("opening the snapshot store");
        let vault =
            opening.await.map_err(|_| Failure::new(Code::Failed, "the snapshot store was not opened"))??;
        let copying = site.held.copying.acquire();
        let _turn = operation.cancellation().run_until_cancelled(copying).await;
        let earlier = snapshots::earlier(&site.catalog, &vault, snapshot.family).await?;
        let counted: Arc<dyn Monitor> = Arc::new(Overall::of_held(operation.clone(), held.clone()));
        let point = Box::pin(run.store(&vault, &moment, earlier, &counted)).await?;
        settle(site, &mut snapshot, &held, &vault, point).await
    };
    let stored: Result<()> = stored.await;
    let outcome = if stored.is_ok() { CaptureOutcome::Kept } else { CaptureOutcome::Abandoned };
    if stored.is_err() {
        held.lose();
    }
    moment.let_go(outcome, &operation).await;
    stored.map(|()| snapshot)
}

/// All of it is in the store: readers go over to there, and the catalog says so.
async fn settle(
    site: &Site,
    snapshot: &mut KnownSnapshot,
    held: &HeldSnapshot,
    vault: &Vault,
    point: PointSummary,
) -> Result<()> {
    let record = vault.point(point.id).await?;
    let mut images: Vec<(DiskName, Arc<dyn DiskImage>)> = Vec::with_capacity(record.maps.len());
    for (disk, map) in record.disks() {
        images.push((disk.name.clone(), Arc::new(vault.image(map).await?)));
    }
    snapshot.state = SnapshotState::Ready;
    snapshot.taken_at = Some(point.captured_at);
    snapshot.ready_at = Some(site.env.clock.now());
    snapshot.disks = point.disks;
    if let Err(error) = site.catalog.move_snapshot(snapshot).await {
        // Nobody would ever find it.
        if let Err(error) = vault.delete_points(&[point.id]).await {
            tracing::warn!(snapshot = %snapshot.name, %error, "an unknown snapshot stays in the store");
        }
        return Err(error.into());
    }
    held.switch(images);
    Ok(())
}

/// What the snapshot will be in the store, as far as it is known.
fn record_of(snapshot: &KnownSnapshot, moment: &Moment) -> PointRecord {
    let facts = moment.facts();
    let disk = |disk: &hypervisor::CapturedDisk| DiskSummary {
        name: disk.name.clone(),
        size_bytes: ByteCount(disk.image.size_bytes()),
        read_bytes: ByteCount(0),
        stored_bytes: ByteCount(0),
        source: ChangeSource::Full,
    };
    let summary = PointSummary {
        id: snapshot.id.point_id(),
        vm_id: snapshot.family,
        vm_name: snapshot.family_name.clone(),
        captured_at: facts.captured_at,
        capture_id: snapshot.capture_id,
        parent: None,
        consistency: facts.consistency.clone(),
        disks: moment.disks().iter().map(disk).collect(),
        cost: CaptureCost::default(),
        label: Some(snapshot.name.to_string()),
    };
    PointRecord { summary, definition: facts.definition.clone(), maps: Vec::new() }
}
