//! What the site that a VM comes from is asked for in a planned failover.

use catalog::KnownReplica;
use model::VmName;
use peer::{
    Patience, PeerClient,
    sources::{SourceCommand, SourceState},
};
use plan::Output;
use recovery::Stage;
use tokio::time::sleep;

use super::{LOOK_INTERVAL, output};
use crate::{
    failure::{Failure, Result},
    peers, replicas,
    site::Site,
};

/// The site that a replica comes from, to be asked.
async fn source(site: &Site, replica: &KnownReplica) -> Result<PeerClient> {
    let peer = peers::find(site, replica.peer_id.as_str()).await?;
    let client = site.peers.client(&peer, Patience::default())?;
    client.ok_or_else(|| {
        Failure::conflict(format!("the site {} has no address, so that it cannot be asked", peer.name))
    })
}

fn is_here(replica: &KnownReplica) -> bool {
    matches!(replica.standing.stage, Stage::FailedOver(_) | Stage::Committed { .. })
}

fn problem_of(state: &SourceState, what: &str) -> Failure {
    let why = state.problem.as_deref().unwrap_or("it does not say why");
    Failure::conflict(format!("{} was not {what} at its site: {why}", state.vm_name))
}

/// Has the guest shut down where it runs.
pub(super) async fn shut_down(site: &Site, vm: &VmName) -> Result<Output> {
    let replica = replicas::find(site, vm.as_str()).await?;
    if is_here(&replica) {
        return Ok(output("it runs here already"));
    }
    let source = source(site, &replica).await?;
    let mut state = source.tell_source(replica.journal_id, SourceCommand::ShutDown).await?;
    while state.is_running {
        if !state.is_busy {
            return Err(
                problem_of(&state, "shut down").with_hint("shut it down in the guest, then try again")
            );
        }
        sleep(LOOK_INTERVAL).await;
        state = source.source_state(replica.journal_id).await?;
    }
    Ok(output(""))
}

/// Waits until everything that a VM wrote, which has ended, is here.
pub(super) async fn drain(site: &Site, vm: &VmName) -> Result<Output> {
    let replica = replicas::find(site, vm.as_str()).await?;
    if is_here(&replica) {
        return Ok(output("it runs here already"));
    }
    let source = source(site, &replica).await?;
    loop {
        let state = source.source_state(replica.journal_id).await?;
        if state.is_drained || state.fenced.is_some() {
            return Ok(output(""));
        }
        if state.is_running {
            return Err(Failure::conflict(format!("{vm} runs again at its site")));
        }
        if let Some(why) = state.lacking {
            return Err(Failure::conflict(format!("something of {vm} is missing here: {why}")));
        }
        sleep(LOOK_INTERVAL).await;
    }
}

/// Has the VM handed over. From then on it does not run where it was.
pub(super) async fn hand_over(site: &Site, replica: &KnownReplica) -> Result<()> {
    if is_here(replica) {
        return Ok(());
    }
    let source = source(site, replica).await?;
    source.tell_source(replica.journal_id, SourceCommand::HandOver).await?;
    loop {
        let now = replicas::find(site, replica.journal_id.as_str()).await?;
        if is_here(&now) {
            return Ok(());
        }
        let is_begun = now.standing.failover().is_some();
        let is_made = site.jobs.unfinished().iter().any(|job| {
            job.kind == model::JobKind::FailOver
                && job.vm_id == now.standing.failover().map(|failover| failover.vm_id)
        });
        if is_begun && !is_made {
            // It is this site's by now, whatever became of the attempt: it is gone on with here.
            return super::bring_up::go_on(site, &now).await;
        }
        if !is_begun {
            let state = source.source_state(replica.journal_id).await?;
            if !state.is_busy && state.problem.is_some() {
                return Err(problem_of(&state, "handed over"));
            }
        }
        sleep(LOOK_INTERVAL).await;
    }
}

/// Starts a VM again that was shut down and not handed over.
pub(super) async fn start_again(site: &Site, vm: &VmName) -> Result<Output> {
    let replica = replicas::find(site, vm.as_str()).await?;
    if replica.standing.failover().is_some() {
        return Err(Failure::conflict(format!("{vm} was handed over to this site"))
            .with_hint("go on with the failover: run the plan again"));
    }
    source(site, &replica).await?.tell_source(replica.journal_id, SourceCommand::Start).await?;
    Ok(output(""))
}
