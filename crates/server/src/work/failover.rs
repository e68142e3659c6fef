//! Failing over: a replicated VM runs at this site. What may happen when, `recovery` says; here it is done.
//!
//! Before anything is built, it is durable that the VM is failed over, and nothing more is taken from its source. A server that
//! dies on the way leaves a failover that has begun; asked for again, it goes on as the same VM.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use api::{FailOver, FailoverPlanView, JobResult, RestoredVmView, shell_word};
use catalog::{Fence, Job, KnownReplica, KnownVm, Origin, ReplacedVm};
use journal::Sequence;
use model::{DiskFormat, JobKind, MomentSelector, NetworkConnection, VmDefinition, VmId, VmName};
use peer::replicas::TakenOver;
use protection::RestoredDisk;
use recovery::{Action, Event, Failover, Stage, Standing, step};

use super::{
    RestoreDocument, check_unclaimed, document_of,
    failover_test::{WAIT_LIMIT, selector},
    hydrate,
    new_vm::{self, Dependence, NewVm},
    restore_disk, test_point,
};
use crate::{
    dependents::Owner,
    failure::{Failure, Result},
    jobs::{JobDraft, JobMonitor, Jobs, Outcome},
    replicas::{self, FoundMoment, Purpose, Target},
    replications,
    site::Site,
    vms,
};

/// A failover that somebody has asked for, or another point of one.
pub(super) struct Takeover {
    replica: KnownReplica,
    event: Event,
    selector: MomentSelector,
    /// Held until the VM is made, so that it is not folded meanwhile.
    found: Arc<FoundMoment>,
    target: Target,
    rate_limit_bytes_per_second: Option<u64>,
    /// The VM that it becomes, and where its disks go.
    vm_id: VmId,
    directory: PathBuf,
    paths: Vec<PathBuf>,
    /// What was made; none of it by an attempt that goes on.
    disks: Vec<RestoredDisk>,
}

/// Lines a failover up.
pub(crate) async fn submit(site: &Site, name: &str, request: FailOver) -> Result<Job> {
    let replica = replicas::find(site, name).await?;
    let event = Event::FailOver { vm_id: vm_id(site, &replica).await?, at: site.env.clock.now() };
    line_up(site, JobKind::FailOver, replica, event, request).await
}

/// The source has shut its VM down, and its last record is this: the VM is to run here. May be asked again.
pub(crate) async fn take_over(site: &Site, replica: &KnownReplica, through: Sequence) -> Result<TakenOver> {
    if replica.standing.failover().is_some() {
        return Ok(TakenOver { job: None });
    }
    let durable = site.replicas.get(replica.journal_id)?.replica()?.durable_through();
    if durable < through {
        let name = &replica.vm_name;
        return Err(Failure::conflict(format!(
            "not everything of {name} has come: {durable} records of {through}"
        ))
        .with_hint("try again when it is in sync: holdfast replication status"));
    }
    let request = FailOver { point: "latest".to_owned(), rate_limit_bytes_per_second: None };
    let job = submit(site, replica.journal_id.as_str(), request).await?;
    tracing::warn!(vm = %replica.vm_name, "a VM is handed over to this site");
    Ok(TakenOver { job: Some(job.id.to_string()) })
}

/// Fails where the VM could not run here, as things are: its source asks before it shuts the VM down.
pub(crate) async fn could_take_over(site: &Site, replica: KnownReplica) -> Result<()> {
    could_take_over_as(site, replica, &BTreeMap::new()).await
}

/// The same where these of its network interfaces are to be connected so.
pub(crate) async fn could_take_over_as(
    site: &Site,
    replica: KnownReplica,
    networks: &BTreeMap<u32, NetworkConnection>,
) -> Result<()> {
    if replica.standing.failover().is_some() {
        return Ok(());
    }
    let event = Event::FailOver { vm_id: vm_id(site, &replica).await?, at: site.env.clock.now() };
    step(&replica.standing, event).map_err(|refusal| refused(&replica, refusal))?;
    // Its moment may still be on its way: what the VM is now says enough.
    let mut definition = replicas::definition_now(site, &replica)?;
    let target = Target::of(site, &replica).await?.connected_to(networks);
    target.shape(&mut definition, Purpose::Failover);
    target.check(site, &replica, &definition)?;
    match old_self(site, &replica, replica.vm_id).await? {
        Some(old) => vms::check_stopped(site, &old).await,
        None => vms::check_name_free(site, target.name(&replica), replica.vm_id).await,
    }
}

/// Lines it up that a VM which was failed over is made anew from another moment.
pub(crate) async fn change_point(site: &Site, name: &str, request: FailOver) -> Result<Job> {
    let replica = replicas::find(site, name).await?;
    line_up(site, JobKind::ChangePoint, replica, Event::ChangePoint, request).await
}

/// The VM has the id that it has at its site, also where it takes the place of what it was here before; unless another one here
/// has that.
pub(super) async fn vm_id(site: &Site, replica: &KnownReplica) -> Result<VmId> {
    let is_free = site.catalog.vm(replica.vm_id.as_str()).await?.is_none();
    Ok(match is_free || old_self(site, replica, replica.vm_id).await?.is_some() {
        true => replica.vm_id,
        false => VmId::from_random(env::random(&*site.env.entropy)),
    })
}

/// What the VM with this id was here before, if a failover makes it anew under that id.
async fn old_self(site: &Site, replica: &KnownReplica, id: VmId) -> Result<Option<KnownVm>> {
    let generation = replica.standing.generation;
    let old = replicas::old_self(site, replica.peer_id, replica.vm_id, generation).await?;
    Ok(old.filter(|old| old.id == id))
}

async fn line_up(
    site: &Site,
    kind: JobKind,
    replica: KnownReplica,
    event: Event,
    request: FailOver,
) -> Result<Job> {
    check_newest(site, &replica).await?;
    check(&replica, event)?;
    let selector = selector(&request.point)?;
    let found = replicas::moment_of(site, replica, &selector).await?;
    let takeover = Takeover::new(site, event, selector, found, request.rate_limit_bytes_per_second).await?;
    let jobs = line_up_all(site, kind, vec![takeover]).await?;
    jobs.into_iter().next().ok_or_else(|| Failure::conflict("there is no failover"))
}

/// Lines several up, or none of them.
pub(super) async fn line_up_all(site: &Site, kind: JobKind, takeovers: Vec<Takeover>) -> Result<Vec<Job>> {
    let _admission = site.admission.lock().await;
    for takeover in &takeovers {
        takeover.check_place(site).await?;
    }
    let mut jobs = Vec::with_capacity(takeovers.len());
    for takeover in takeovers {
        jobs.push(takeover.submit(site, kind).await?);
    }
    Ok(jobs)
}

/// How the replica would stand. All that can be known is said before anything is done.
pub(super) fn check(replica: &KnownReplica, event: Event) -> Result<Standing> {
    Ok(step(&replica.standing, event).map_err(|refusal| refused(replica, refusal))?.standing)
}

/// What the VM is to be here, where nothing lacks that it needs.
fn shaped(site: &Site, target: &Target, found: &FoundMoment) -> Result<VmDefinition> {
    let mut definition = found.definition(site)?;
    definition.name = target.name(&found.replica).clone();
    target.shape(&mut definition, Purpose::Failover);
    target.check(site, &found.replica, &definition)?;
    Ok(definition)
}

/// Fails for a replica of which a newer generation has run here: another one took its place.
async fn check_newest(site: &Site, replica: &KnownReplica) -> Result<()> {
    let fence = site.catalog.fence(replica.vm_id).await?.map(|fence| fence.generation);
    replica.standing.check_newest(fence).map_err(|refusal| {
        Failure::from(refusal).with_hint(format!(
            "what it shows can run as another VM: holdfast boot replica:{}/latest --name NAME",
            replica.journal_id
        ))
    })
}

impl Takeover {
    /// What is to be done about a moment that is held.
    pub(super) async fn new(
        site: &Site,
        event: Event,
        selector: MomentSelector,
        found: FoundMoment,
        rate_limit_bytes_per_second: Option<u64>,
    ) -> Result<Self> {
        let replica = found.replica.clone();
        let found = Arc::new(found);
        let after = check(&replica, event)?;
        let failover = after.failover().ok_or_else(|| Failure::conflict("there is no failover"))?;
        let target = Target::of(site, &replica).await?;
        let vm_id = failover.vm_id;
        let directory = target.directory(site, vm_id, failover.generation);
        let definition = shaped(site, &target, &found)?;
        let (_, paths) = new_vm::of_moment(Arc::clone(&found), definition, &directory)?;
        let disks = Vec::new();
        Ok(Self {
            replica,
            event,
            selector,
            found,
            target,
            rate_limit_bytes_per_second,
            vm_id,
            directory,
            paths,
            disks,
        })
    }

    /// Fails where the VM's name or its files are taken, or what it takes the place of runs.
    async fn check_place(&self, site: &Site) -> Result<()> {
        let name = self.target.name(&self.replica);
        let here = site.catalog.vm(self.vm_id.as_str()).await?;
        if here.as_ref().is_none_or(|here| here.name != *name) {
            vms::check_name_free(site, name, self.vm_id).await?;
        }
        if let Some(old) = old_self(site, &self.replica, self.vm_id).await? {
            vms::check_stopped(site, &old).await?;
        } else if here.is_none() {
            vms::check_paths_free(site, &self.paths).await?;
        }
        check_unclaimed(site, &self.paths)
    }

    async fn submit(self, site: &Site, kind: JobKind) -> Result<Job> {
        let document = RestoreDocument {
            reference: self.found.pinned(None).to_string(),
            paths: self.paths.clone(),
            format: DiskFormat::Qcow2,
            replace: false,
            own_directory: Some(self.directory.clone()),
        };
        let draft = JobDraft {
            kind,
            subject: self.target.name(&self.replica).to_string(),
            vm_id: Some(self.vm_id),
            vault_id: None,
            request: document_of(&document),
        };
        let work_site = site.clone();
        let work =
            Box::new(move |monitor| Box::pin(async move { self.work(&work_site, monitor).await }) as _);
        site.jobs.submit(draft, work).await
    }

    async fn work(mut self, site: &Site, monitor: Arc<JobMonitor>) -> Outcome {
        check_newest(site, &self.replica).await?;
        let (replica, actions) = replicas::put_in(site, self.replica.journal_id, self.event).await?;
        self.replica = replica;
        let failover = self.replica.standing.failover().cloned();
        let failover = failover.ok_or_else(|| Failure::conflict("there is no failover"))?;
        let vm_id = failover.vm_id;
        for action in actions {
            match action {
                Action::RaiseGeneration => {
                    monitor.phase("fencing the source");
                    let fence = Fence { generation: failover.generation, begun_at: failover.begun_at };
                    site.catalog.put_fence(self.replica.vm_id, fence).await?;
                    site.replicas.raise_generation(self.replica.journal_id, failover.generation).await?;
                }
                Action::TakeDown => {
                    monitor.phase("taking the VM down");
                    // What the VM was here before is none of it.
                    if old_self(site, &self.replica, vm_id).await?.is_none() {
                        take_down(site, &self.replica, &failover).await?;
                    }
                }
                Action::Build => {
                    monitor.phase("making the VM");
                    self.build(site, &failover, &monitor).await?;
                }
                Action::Start => {
                    monitor.phase("starting the VM");
                    start(site, vm_id, &self.replica.vm_name).await?;
                }
                Action::Receive | Action::BuildTest | Action::DropMoments | Action::Remove => {}
            }
        }
        replicas::put_in(site, self.replica.journal_id, Event::FailedOver).await?;
        tracing::warn!(vm = %self.replica.vm_name, generation = failover.generation, "a VM runs here now");
        self.hydrate(site, vm_id).await
    }

    /// Makes the VM, unless an attempt that broke off has: then only what was said of it since is made true.
    async fn build(&mut self, site: &Site, failover: &Failover, monitor: &Arc<JobMonitor>) -> Result<()> {
        let vm_id = failover.vm_id;
        let old = old_self(site, &self.replica, vm_id).await?;
        if old.is_none()
            && let Some(here) = site.catalog.vm(vm_id.as_str()).await?
        {
            return self.reshape(site, here).await;
        }
        if let Some(old) = &old {
            vms::check_stopped(site, old).await?;
            end_hydration(site, old).await?;
            replications::let_go(site, old).await?;
        }
        if self.selector == MomentSelector::Latest {
            // Some may have come since it was asked for; nothing comes any more.
            self.found = Arc::new(replicas::moment_of(site, self.replica.clone(), &self.selector).await?);
        }
        replicas::note_moment(site, self.replica.journal_id, self.found.sequence()).await?;
        let definition = shaped(site, &self.target, &self.found)?;
        let directory = self.target.directory(site, vm_id, failover.generation);
        let name = definition.name.clone();
        let (content, _) = new_vm::of_moment(Arc::clone(&self.found), definition, &directory)?;
        let new = NewVm {
            vm_id,
            name,
            content,
            isolated: false,
            dependence: Some(Dependence {
                hydrates: true,
                rate_limit_bytes_per_second: self.rate_limit_bytes_per_second,
                wait_limit: WAIT_LIMIT,
            }),
            start: false,
            test: None,
            replaces: old.map(|vm| ReplacedVm {
                journal_id: self.replica.journal_id,
                vm,
                replaced_at: site.env.clock.now(),
            }),
        };
        (_, self.disks) = new.build(site, monitor).await?;
        Ok(())
    }

    async fn reshape(&self, site: &Site, vm: KnownVm) -> Result<()> {
        if vms::is_running(site, &vm).await? {
            return Ok(());
        }
        let Origin::Managed { mut definition } = vm.origin else { return Ok(()) };
        let shaped = shaped(site, &self.target, &self.found)?;
        (definition.cpus, definition.memory) = (shaped.cpus, shaped.memory);
        definition.networks = shaped.networks;
        Ok(site.catalog.set_origin(vm.id, &Origin::Managed { definition }).await?)
    }

    /// Its disks become whole in the background.
    async fn hydrate(self, site: &Site, vm_id: VmId) -> Outcome {
        let vm = vms::find(site, vm_id.as_str()).await?;
        let mut view = RestoredVmView {
            vm_id: vm.id.to_string(),
            vm_name: vm.name.to_string(),
            point_id: None,
            reference: Some(self.found.pinned(None).to_string()),
            disks: self.disks.into_iter().map(restore_disk::disk_view).collect(),
            started: true,
            hydration_job: None,
        };
        if !vm.dependent_disks.is_empty() {
            let owner = Owner::Vm(Box::new(vm));
            view.hydration_job =
                Some(hydrate::submit(site, &owner, self.rate_limit_bytes_per_second).await?.id);
        }
        Ok(JobResult::RestoredVm(view))
    }
}

/// Stops the VM, and removes it with what it has written.
async fn take_down(site: &Site, replica: &KnownReplica, failover: &Failover) -> Result<()> {
    let Some(vm) = site.catalog.vm(failover.vm_id.as_str()).await? else { return Ok(()) };
    end_hydration(site, &vm).await?;
    let directory = Target::of(site, replica).await?.directory(site, vm.id, failover.generation);
    test_point::take_down_in(site, &vm, &directory).await
}

/// How long the copying has to end.
const HYDRATION_STOP_LIMIT: Duration = Duration::from_secs(30);

async fn end_hydration(site: &Site, vm: &KnownVm) -> Result<()> {
    let Some(job) = hydrate::of(site, vm.id.as_str()) else { return Ok(()) };
    Jobs::cancel(&site.jobs, job).await?;
    let ended = async {
        while hydrate::of(site, vm.id.as_str()).is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(HYDRATION_STOP_LIMIT, ended).await.map_err(|_| {
        Failure::conflict(format!("the disks of the VM {} are being copied, and that does not end", vm.name))
    })
}

/// Starts the VM, unless it runs.
async fn start(site: &Site, vm_id: VmId, replica: &VmName) -> Result<()> {
    let vm = vms::find(site, vm_id.as_str()).await?;
    match vms::is_running(site, &vm).await? {
        true => Ok(()),
        false => vms::run(site, &vm).await.map_err(|failure| {
            failure.during("the VM is made but did not start").with_hint(format!(
                "mend it, then ask for the failover again: holdfast failover unplanned {}",
                shell_word(replica.as_str())
            ))
        }),
    }
}

/// What a failover would do.
pub(crate) async fn plan(site: &Site, name: &str, request: &FailOver) -> Result<FailoverPlanView> {
    let replica = replicas::find(site, name).await?;
    let event = Event::FailOver { vm_id: vm_id(site, &replica).await?, at: site.env.clock.now() };
    would_do(site, replica, event, request).await
}

/// What another point of a failover would do.
pub(crate) async fn plan_change(site: &Site, name: &str, request: &FailOver) -> Result<FailoverPlanView> {
    let replica = replicas::find(site, name).await?;
    would_do(site, replica, Event::ChangePoint, request).await
}

pub(super) async fn would_do(
    site: &Site,
    replica: KnownReplica,
    event: Event,
    request: &FailOver,
) -> Result<FailoverPlanView> {
    check_newest(site, &replica).await?;
    step(&replica.standing, event).map_err(|refusal| refused(&replica, refusal))?;
    let found = replicas::moment_of(site, replica, &selector(&request.point)?).await?;
    let name = shaped(site, &Target::of(site, &found.replica).await?, &found)?.name;
    let replica = &found.replica;
    let newest = replicas::view(site, replica.clone()).await?.newest_at;
    let mut lost = Vec::new();
    if let Some(failover) = replica.standing.failover().filter(|_| event == Event::ChangePoint) {
        lost.push(format!("everything that the VM has written here since {}", failover.begun_at));
    }
    let mut replaces = None;
    if let Some(old) = old_self(site, replica, replica.vm_id).await? {
        vms::check_stopped(site, &old).await?;
        replaces = Some(replicas::would_replace(site, &old, replica.journal_id).await?);
    } else if replica.standing.failover().is_none() {
        vms::check_name_free(site, &name, replica.vm_id).await?;
    }
    if let Some(newest) = newest.filter(|newest| *newest > found.time) {
        lost.push(format!("what came between {} and {newest}, which another point would show", found.time));
    }
    lost.push(format!("what the VM wrote at its site after {}", newest.unwrap_or(found.time)));
    Ok(FailoverPlanView {
        vm_name: name.to_string(),
        moment_at: found.time,
        sequence: found.sequence(),
        lost,
        replaces,
    })
}

/// The VM runs here for good: its other moments go, in the background.
pub(crate) async fn commit(site: &Site, name: &str) -> Result<KnownReplica> {
    let replica = replicas::find(site, name).await?;
    let commit = Event::Commit { at: site.env.clock.now() };
    step(&replica.standing, commit).map_err(|refusal| refused(&replica, refusal))?;
    let (known, _) = replicas::put_in(site, replica.journal_id, commit).await?;
    tracing::info!(vm = %known.vm_name, "a failover is committed");
    Ok(known)
}

/// Why not, and what to do instead.
fn refused(replica: &KnownReplica, refusal: recovery::Refusal) -> Failure {
    use recovery::Refusal;
    let vm = shell_word(replica.vm_name.as_str());
    let hint = match &refusal {
        Refusal::FailedOver(_) => match replica.standing.stage {
            Stage::FailedOver(_) => {
                format!(
                    "choose another moment with holdfast failover change-point {vm}, or keep this one: holdfast failover commit {vm}"
                )
            }
            _ => format!("see it with: holdfast replica show {vm}"),
        },
        Refusal::NotFailedOver => format!("fail it over first: holdfast failover unplanned {vm}"),
        Refusal::Unfinished(_) => format!("go on with it: holdfast failover unplanned {vm}"),
        _ => format!("see it with: holdfast replica show {vm}"),
    };
    Failure::from(refusal).with_hint(hint)
}
