//! A recovery point, or a moment of a replica, is booted in isolation, to see whether it works.
//!
//! The VM runs from the point, reaches nothing, and is gone when the test ends, however it ends.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use api::{Code, JobResult, PointTestView, TestPoint};
use catalog::{FailoverTest, Job, KnownVm, PointTest};
use model::{
    DiskFormat, DiskName, ImageReference, JobKind, NetworkConnection, PointId, ReplicaReference, VaultId,
    VmId, VmName,
};
use protection::{Monitor as _, VmRestore};
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    RestoreDocument, document_of,
    new_vm::{self, Content, Dependence, NewVm, Place},
};
use crate::{
    failure::{Failure, Result},
    jobs::{JobDraft, JobMonitor, Outcome, WorkFailure},
    points,
    replicas::{self, Purpose, Target},
    site::Site,
    vms,
};

/// How often the guest is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// How much of the console is searched, and how much of it is told, in bytes.
const CONSOLE_SEARCHED_BYTES: u64 = 1 << 20;
const CONSOLE_TOLD_BYTES: usize = 400;

/// How much of what a check wrote is told, in bytes.
const OUTPUT_TOLD_BYTES: usize = 400;

/// How long the VM may wait for a vault that is away: longer than any test.
const WAIT_LIMIT: Duration = Duration::from_secs(3600);

/// The longest time for a boot.
const LIMIT_SECONDS_MAX: u64 = 24 * 3600;

/// A VM that is to be tried.
struct Trial {
    new: NewVm,
    document: RestoreDocument,
    vault_id: Option<VaultId>,
    /// The point that the verdict is kept of; that of a moment of a replica is kept with its tests.
    point_id: Option<PointId>,
}

/// Lines up the test of a point, a snapshot, or a moment of a replica.
pub(crate) async fn submit(site: &Site, request: TestPoint) -> Result<Job> {
    if !(1..=LIMIT_SECONDS_MAX).contains(&request.limit_seconds) {
        return Err(Failure::invalid("a boot may take one second to one day"));
    }
    let reference: ImageReference =
        request.reference.parse().map_err(|error| Failure::invalid(format!("{error}")))?;
    let trial = match reference {
        ImageReference::Replica(_) if request.from_copy.is_some() => {
            return Err(Failure::invalid("a replica is in no copy of a vault"));
        }
        ImageReference::Replica(reference) => of_replica(site, &request, &reference).await?,
        _ => of_point(site, &request).await?,
    };
    let draft = JobDraft {
        kind: JobKind::TestPoint,
        subject: request.reference.clone(),
        vm_id: Some(trial.new.vm_id),
        vault_id: trial.vault_id,
        request: document_of(&trial.document),
    };
    let Trial { new, point_id, .. } = trial;
    let work_site = site.clone();
    let work = Box::new(move |monitor| {
        Box::pin(async move { work(&work_site, new, point_id, request, monitor).await }) as _
    });
    site.jobs.submit(draft, work).await
}

fn check_whole_vm(request: &TestPoint, disk: Option<&DiskName>) -> Result<()> {
    match disk {
        Some(_) => Err(Failure::invalid(format!("{} is a disk", request.reference))
            .with_hint("leave the disk out: a VM is booted with all of them")),
        None => Ok(()),
    }
}

fn test_name(vm_id: VmId) -> Result<VmName> {
    format!("test-{vm_id}").parse().map_err(|error| Failure::invalid(format!("{error}")))
}

async fn of_point(site: &Site, request: &TestPoint) -> Result<Trial> {
    let named = points::resolve_named(site, &request.reference, request.from_copy.as_deref()).await?;
    check_whole_vm(request, named.disk.as_ref())?;
    let point = named.point;
    let summary = &point.record.summary;
    let Place { vm_id, directory, .. } = Place::own(site, None);
    let name = test_name(vm_id)?;
    let disks = VmRestore::dependent_disks(summary).into_iter().map(|disk| disk.name.clone());
    let order = VmRestore {
        point_id: summary.id,
        name: name.clone(),
        directory: directory.clone(),
        format: DiskFormat::Qcow2,
        keep_identity: false,
        replace: false,
        backing: Some(new_vm::backing(site, vm_id, disks, WAIT_LIMIT)),
    };
    let document = document_for(request, order.disk_paths(summary), directory);
    let (point_id, vault_id) = (Some(summary.id), Some(point.vault.id));
    let content = Content::Point { point: Box::new(point), order };
    Ok(Trial { new: isolated(vm_id, name, content, None), document, vault_id, point_id })
}

/// A moment of a replica, in the same way as in other tests of it but for its networks: it has none.
async fn of_replica(site: &Site, request: &TestPoint, reference: &ReplicaReference) -> Result<Trial> {
    check_whole_vm(request, reference.disk.as_ref())?;
    let found = Arc::new(replicas::resolve(site, reference).await?);
    let target = Target::of(site, &found.replica).await?;
    let Place { vm_id, directory, .. } = Place::own(site, target.storage());
    let name = test_name(vm_id)?;
    let mut definition = found.definition(site)?;
    definition.name = name.clone();
    target.shape(&mut definition, Purpose::Test);
    definition.networks.iter_mut().for_each(|network| NetworkConnection::Isolated.connect(network));
    target.check(site, &found.replica, &definition)?;
    let test = FailoverTest {
        vm_id,
        journal_id: found.replica.journal_id,
        vm_name: name.clone(),
        sequence: found.sequence(),
        moment_at: found.time,
        begun_at: site.env.clock.now(),
        cleaned_up_at: None,
        verdict: None,
    };
    let (content, paths) = new_vm::of_moment(found, definition, &directory)?;
    let document = document_for(request, paths, directory);
    Ok(Trial { new: isolated(vm_id, name, content, Some(test)), document, vault_id: None, point_id: None })
}

fn document_for(request: &TestPoint, paths: Vec<PathBuf>, directory: PathBuf) -> RestoreDocument {
    RestoreDocument {
        reference: request.reference.clone(),
        paths,
        format: DiskFormat::Qcow2,
        replace: false,
        own_directory: Some(directory),
    }
}

/// A VM that reaches nothing and becomes whole never.
fn isolated(vm_id: VmId, name: VmName, content: Content, test: Option<FailoverTest>) -> NewVm {
    let dependence =
        Dependence { hydrates: false, rate_limit_bytes_per_second: None, wait_limit: WAIT_LIMIT };
    NewVm {
        vm_id,
        name,
        content,
        isolated: true,
        dependence: Some(dependence),
        start: false,
        test,
        replaces: None,
    }
}

async fn work(
    site: &Site,
    new: NewVm,
    point_id: Option<PointId>,
    request: TestPoint,
    monitor: Arc<JobMonitor>,
) -> Outcome {
    let tested_at = site.env.clock.now();
    let (vm, _) = new.build(site, &monitor).await?;
    let observed = monitor.cancellation().run_until_cancelled(observe(site, &vm, &request, &monitor)).await;
    let screenshot = match &observed {
        Some(_) => {
            let id = point_id.map_or_else(|| vm.id.to_string(), |point| point.to_string());
            let file = site.directory.screenshots().join(format!("{id}.png"));
            vms::keep_screenshot(site, &vm, &file).await.then_some(file)
        }
        None => None,
    };
    monitor.phase("taking the VM down");
    take_down(site, &vm).await?;
    let Some(observed) = observed else {
        site.catalog.remove_failover_test(vm.id).await?;
        return Err(Failure::new(Code::Cancelled, "cancelled").into());
    };
    let (passed, boot_ms, detail) = match observed {
        Ok((boot_ms, detail)) => (true, Some(boot_ms), detail),
        Err(Unfit { boot_ms, why }) => (false, boot_ms, why),
    };
    let test = PointTestView {
        point_id,
        reference: point_id.is_none().then(|| request.reference.clone()),
        tested_at,
        passed,
        boot_ms,
        detail: detail.clone(),
        screenshot: screenshot.as_ref().map(|path| path.display().to_string()),
    };
    keep(site, vm.id, &test, screenshot).await?;
    let result = JobResult::Tested(test);
    if passed {
        return Ok(result);
    }
    let failure = Failure::new(Code::Failed, format!("{} does not pass: {detail}", request.reference));
    Err(WorkFailure { failure, result: Some(Box::new(result)) })
}

/// Keeps the verdict: with the point, or with the tests of the replica.
async fn keep(site: &Site, vm_id: VmId, test: &PointTestView, screenshot: Option<PathBuf>) -> Result<()> {
    let Some(point_id) = test.point_id else {
        let verdict = if test.passed { "passed" } else { "did not pass" };
        let verdict = format!("{verdict}: {}", test.detail);
        return Ok(site.catalog.end_failover_test(vm_id, site.env.clock.now(), Some(&verdict)).await?);
    };
    let (tested_at, passed, boot_ms, detail) =
        (test.tested_at, test.passed, test.boot_ms, test.detail.clone());
    let kept = PointTest { point_id, tested_at, passed, boot_ms, detail, screenshot };
    Ok(site.catalog.set_point_test(&kept).await?)
}

/// Why a point does not pass.
struct Unfit {
    boot_ms: Option<u64>,
    why: String,
}

/// Starts the VM, waits for the sign that it is up, and has it checked. Returns how long it took to be up, and what was seen.
async fn observe(
    site: &Site,
    vm: &KnownVm,
    request: &TestPoint,
    monitor: &JobMonitor,
) -> std::result::Result<(u64, String), Unfit> {
    let unfit = |boot_ms, why| Unfit { boot_ms, why };
    monitor.phase("booting the point");
    let started = Instant::now();
    vms::run(site, vm).await.map_err(|failure| unfit(None, failure.detail().to_owned()))?;
    let limit = Duration::from_secs(request.limit_seconds);
    let seen = timeout_at(started + limit, sign_of_life(site, vm, request.console.as_deref())).await;
    let seen = match seen {
        Ok(seen) => seen,
        Err(_) => return Err(unfit(None, silence(site, vm, request).await)),
    };
    let boot_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    if request.check.is_empty() {
        return Ok((boot_ms, seen));
    }
    monitor.phase("checking the guest");
    let checked = vms::check(site, vm, &request.check, limit).await;
    let checked = checked.map_err(|failure| unfit(Some(boot_ms), failure.detail().to_owned()))?;
    let output = tail(&checked.output, OUTPUT_TOLD_BYTES);
    match checked.failure {
        None => Ok((boot_ms, format!("{seen}; the check passed: {output}"))),
        Some(how) => Err(unfit(Some(boot_ms), format!("{seen}; the check ended {how}: {output}"))),
    }
}

/// Waits until the guest is up. Returns what was seen.
async fn sign_of_life(site: &Site, vm: &KnownVm, console: Option<&str>) -> String {
    let access = vms::access(vm);
    loop {
        match console {
            Some(text) => {
                let written =
                    site.hypervisor.console(&access, CONSOLE_SEARCHED_BYTES).await.unwrap_or_default();
                if String::from_utf8_lossy(&written).contains(text) {
                    return format!("the console said {text:?}");
                }
            }
            None => {
                if let Ok(Some(version)) = vms::agent(site, vm).await {
                    return format!("the guest agent {version} answered");
                }
            }
        }
        sleep(LOOK_INTERVAL).await;
    }
}

/// What to say of a guest that gave no sign.
async fn silence(site: &Site, vm: &KnownVm, request: &TestPoint) -> String {
    let waited = match &request.console {
        Some(text) => format!("the console has not said {text:?}"),
        None => "the guest agent has not answered".to_owned(),
    };
    let console = site.hypervisor.console(&vms::access(vm), CONSOLE_SEARCHED_BYTES).await.unwrap_or_default();
    let last = tail(&console, CONSOLE_TOLD_BYTES);
    let last =
        if last.is_empty() { "the console is empty".to_owned() } else { format!("the console ends: {last}") };
    format!("{waited} within {} s; {last}", request.limit_seconds)
}

/// The end of some text, on one line.
fn tail(bytes: &[u8], limit_bytes: usize) -> String {
    let end = &bytes[bytes.len().saturating_sub(limit_bytes)..];
    let text = String::from_utf8_lossy(end);
    text.split(|character: char| character.is_control())
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Ends the VM of a test and removes all that it had.
pub(crate) async fn take_down(site: &Site, vm: &KnownVm) -> Result<()> {
    take_down_in(site, vm, &site.directory.disks(vm.id)).await
}

/// The same for one whose disks are in a directory of its own, which this is.
pub(super) async fn take_down_in(site: &Site, vm: &KnownVm, directory: &Path) -> Result<()> {
    site.hypervisor.stop(&vms::access(vm), true).await?;
    site.catalog.remove_vm(vm.id).await?;
    site.backings.withdraw_all(vm.id.as_str(), &vm.dependent_disks);
    for directory in own_directories(vm, directory) {
        match std::fs::remove_dir_all(directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Failure::from_io("removing the disks of a test".to_owned(), &error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// This directory, and those of the same name in which the VM has disks: it may have been made when disks went elsewhere.
fn own_directories(vm: &KnownVm, directory: &Path) -> BTreeSet<PathBuf> {
    let used = vms::disk_paths(vm).into_iter().filter_map(|path| path.parent().map(Path::to_owned));
    let own = used.filter(|used| used.file_name() == directory.file_name());
    own.chain([directory.to_owned()]).collect()
}

/// A test as clients see it.
pub(crate) fn view(test: PointTest) -> PointTestView {
    PointTestView {
        point_id: Some(test.point_id),
        reference: None,
        tested_at: test.tested_at,
        passed: test.passed,
        boot_ms: test.boot_ms,
        detail: test.detail,
        screenshot: test.screenshot.map(|path| path.display().to_string()),
    }
}
