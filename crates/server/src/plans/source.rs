//! What a site does for a plan that runs at another one: its VMs are shut down, handed over, or started again.

use std::sync::PoisonError;

use api::ReplicationState;
use catalog::{KnownPeer, KnownVm};
use model::{JobKind, JobState, JournalId};
use peer::sources::{SourceCommand, SourceState};

use crate::{
    failure::{Failure, Result},
    jobs::Holder,
    replications,
    site::Site,
    vms, work,
};

/// Why nobody else may have the VM meanwhile.
const SHUTTING_DOWN: &str = "shutting it down for a recovery plan";

/// The VM of a journal that is replicated to this peer.
async fn vm_of(site: &Site, peer: &KnownPeer, journal: JournalId) -> Result<KnownVm> {
    let all = site.catalog.replications().await?;
    let known = all.into_iter().find(|known| known.journal_id == journal && known.peer_id == peer.id);
    let known = known.ok_or_else(|| {
        Failure::not_found(format!("nothing is replicated to the caller under the journal {journal}"))
    })?;
    vms::find(site, known.vm_id.as_str()).await
}

/// How a VM stands here.
pub(crate) async fn state(site: &Site, peer: &KnownPeer, journal: JournalId) -> Result<SourceState> {
    let vm = vm_of(site, peer, journal).await?;
    state_of(site, &vm).await
}

async fn state_of(site: &Site, vm: &KnownVm) -> Result<SourceState> {
    let view = replications::view(site, vm).await?;
    let is_running = vms::is_running(site, vm).await?;
    let lacking = replications::check_hand_over(site, vm).await.err().map(|why| why.detail().to_owned());
    let fenced = (view.state == ReplicationState::Fenced)
        .then(|| view.why.clone().unwrap_or_else(|| "it was taken over".to_owned()));
    let is_drained = !is_running && view.state == ReplicationState::VmStopped && view.lag_bytes == 0;
    let last = site.jobs.unfinished().into_iter();
    let hands_over = last.filter(|job| job.kind == JobKind::HandOver && job.vm_id == Some(vm.id)).count() > 0;
    let is_shut_down = matches!(
        site.jobs.queue().claim(vm.id, "looking at it"),
        Err(Holder::Operation(what)) if what == SHUTTING_DOWN
    );
    let problem = site.plans.problems.lock().unwrap_or_else(PoisonError::into_inner).get(&vm.id).cloned();
    let is_busy = hands_over || is_shut_down;
    let problem = match problem {
        None if !is_busy && fenced.is_none() => failed_hand_over(site, vm).await?,
        other => other,
    };
    Ok(SourceState { vm_name: vm.name.clone(), is_running, is_drained, lacking, is_busy, problem, fenced })
}

/// Why the last hand-over failed, where it did.
async fn failed_hand_over(site: &Site, vm: &KnownVm) -> Result<Option<String>> {
    const LOOKED_AT: u32 = 200;
    let jobs = site.jobs.list(LOOKED_AT).await?;
    let last = jobs.into_iter().find(|job| job.kind == JobKind::HandOver && job.vm_id == Some(vm.id));
    let failed = last.filter(|job| job.state == JobState::Failed).and_then(|job| job.problem);
    Ok(failed.and_then(|problem| Some(problem.get("detail")?.as_str()?.to_owned())))
}

/// Does what a peer asks of a VM that is replicated to it.
pub(crate) async fn tell(
    site: &Site,
    peer: &KnownPeer,
    journal: JournalId,
    command: SourceCommand,
) -> Result<SourceState> {
    let vm = vm_of(site, peer, journal).await?;
    tracing::warn!(vm = %vm.name, peer = %peer.name, ?command, "a plan at another site asks for this");
    site.plans.problems.lock().unwrap_or_else(PoisonError::into_inner).remove(&vm.id);
    match command {
        SourceCommand::ShutDown => shut_down(site, &vm).await?,
        SourceCommand::HandOver => {
            let unfinished = site.jobs.unfinished();
            let is_it = |job: &catalog::Job| job.kind == JobKind::HandOver && job.vm_id == Some(vm.id);
            if !unfinished.iter().any(is_it) {
                work::hand_over(site, vm.clone()).await?;
            }
        }
        SourceCommand::Start => {
            if !vms::is_running(site, &vm).await? {
                vms::start(site, &vm).await?;
            }
        }
    }
    state_of(site, &vm).await
}

/// Begins to shut the guest down, unless the other site lacks something of it.
async fn shut_down(site: &Site, vm: &KnownVm) -> Result<()> {
    replications::check_hand_over(site, vm).await?;
    if !vms::is_running(site, vm).await? {
        return Ok(());
    }
    let ticket = match site.jobs.queue().claim(vm.id, SHUTTING_DOWN) {
        Ok(ticket) => ticket,
        Err(Holder::Operation(what)) if what == SHUTTING_DOWN => return Ok(()),
        Err(holder) => return Err(Failure::conflict(format!("the VM {} is busy with {holder}", vm.name))),
    };
    let (site, vm) = (site.clone(), vm.clone());
    tokio::spawn(async move {
        let ended = vms::end(&site, &vm, false).await;
        if let Err(failure) = ended {
            tracing::error!(vm = %vm.name, reason = failure.detail(), "a VM could not be shut down for a plan");
            let mut problems = site.plans.problems.lock().unwrap_or_else(PoisonError::into_inner);
            problems.insert(vm.id, failure.detail().to_owned());
        }
        drop(ticket);
    });
    Ok(())
}
