//! What a site does for a plan that runs at another one: its VMs are shut down, handed over, or started again.

use api::ReplicationState;
use catalog::{KnownPeer, KnownVm};
use model::{JobKind, JobState, JournalId};
use peer::sources::{SourceCommand, SourceState};

use super::ShutDown;
use crate::{
    failure::{Failure, Result},
    replications,
    site::Site,
    vms, work,
};

/// What may be left of marks once a VM has ended. Nothing of the guest's is in it, and a hand-over waits for the very last.
const MARKS_BYTES: u64 = 16 << 10;

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
    let is_drained =
        !is_running && view.state == ReplicationState::VmStopped && view.lag_bytes <= MARKS_BYTES;
    let hands_over = hands_over(site, vm);
    let shut_down = site.plans.shut_down_of(vm.id);
    let is_busy = hands_over || matches!(shut_down, Some(ShutDown::UnderWay));
    let problem = match shut_down {
        Some(ShutDown::Failed(why)) => Some(why),
        _ if is_busy || fenced.is_some() => None,
        _ => failed_hand_over(site, vm).await?,
    };
    Ok(SourceState { vm_name: vm.name.clone(), is_running, is_drained, lacking, is_busy, problem, fenced })
}

/// Whether a job hands it over.
fn hands_over(site: &Site, vm: &KnownVm) -> bool {
    let is_it = |job: &catalog::Job| job.kind == JobKind::HandOver && job.vm_id == Some(vm.id);
    site.jobs.unfinished().iter().any(is_it)
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
    if let Some(ShutDown::Failed(_)) = site.plans.shut_down_of(vm.id) {
        site.plans.note_shut_down(vm.id, None);
    }
    match command {
        SourceCommand::ShutDown => shut_down(site, &vm).await?,
        SourceCommand::HandOver => {
            if !hands_over(site, &vm) {
                work::hand_over(site, vm.clone(), false).await?;
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
    if let Some(ShutDown::UnderWay) = site.plans.shut_down_of(vm.id) {
        return Ok(());
    }
    let ticket = vms::claim(site, vm, "shutting it down for a recovery plan")?;
    site.plans.note_shut_down(vm.id, Some(ShutDown::UnderWay));
    let (site, vm) = (site.clone(), vm.clone());
    tokio::spawn(async move {
        let failed = vms::end(&site, &vm, false).await.err().map(|failure| {
            tracing::error!(vm = %vm.name, reason = failure.detail(), "a VM could not be shut down for a plan");
            ShutDown::Failed(failure.detail().to_owned())
        });
        site.plans.note_shut_down(vm.id, failed);
        drop(ticket);
    });
    Ok(())
}
