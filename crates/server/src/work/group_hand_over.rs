//! A planned failover of a consistency group: all of its VMs are shut down, then the other site gets all that they wrote, and only then
//! are they handed over. So no VM runs there while another one still writes here.

use std::sync::Arc;

use api::{HandedOverGroupView, JobResult, shell_word};
use catalog::{Job, KnownGroup, KnownVm};
use futures::future::join_all;
use model::JobKind;

use crate::{
    failure::{Failure, Result},
    groups,
    jobs::{JobDraft, JobMonitor, Outcome, Ticket},
    replications,
    site::Site,
    vms,
};

/// Lines it up.
pub(crate) async fn submit(site: &Site, group: KnownGroup, skip_proof: bool) -> Result<Job> {
    members(site, &group).await?;
    let draft = JobDraft {
        kind: JobKind::HandOver,
        subject: group.name.to_string(),
        vm_id: None,
        vault_id: None,
        request: serde_json::json!({"skip_proof": skip_proof}),
    };
    let work_site = site.clone();
    let work = Box::new(move |monitor| {
        Box::pin(async move { work(&work_site, &group, skip_proof, monitor).await }) as _
    });
    site.jobs.submit(draft, work).await
}

/// The members, if each can be handed over.
async fn members(site: &Site, group: &KnownGroup) -> Result<Vec<KnownVm>> {
    let members = groups::members(site, group).await?;
    for vm in &members {
        replications::check_hand_over(site, vm).await?;
    }
    Ok(members)
}

async fn work(site: &Site, group: &KnownGroup, skip_proof: bool, monitor: Arc<JobMonitor>) -> Outcome {
    // Its turn may come late.
    let vms = members(site, group).await?;
    let _turns = claim_all(site, &vms)?;
    monitor.phase("shutting the guests down");
    shut_down_all(site, &vms).await?;
    let mut drained = Vec::with_capacity(vms.len());
    for vm in &vms {
        drained.push(replications::drain(site, vm, &monitor).await?);
    }
    let mut proven = Vec::with_capacity(vms.len());
    for (vm, through) in vms.iter().zip(drained) {
        let proof = match through.filter(|_| !skip_proof) {
            Some(through) => Some(replications::prove(site, vm, through, &monitor).await?),
            None => None,
        };
        proven.push((through, proof));
    }
    monitor.phase("having the other site take over");
    let mut given = Vec::with_capacity(vms.len());
    for (vm, (through, proof)) in vms.iter().zip(proven) {
        let handed_over = replications::give(site, vm, through, proof).await;
        given.push(handed_over.map_err(|failure| {
            let again = format!(
                "when that is mended, ask again: holdfast failover planned --group {}",
                shell_word(group.name.as_str())
            );
            failure.during(&format!("{} of {} VMs are handed over", given.len(), vms.len())).with_hint(again)
        })?);
    }
    Ok(JobResult::HandedOverGroup(HandedOverGroupView { group: group.name.to_string(), vms: given }))
}

/// Nobody else does anything to one of them meanwhile.
fn claim_all(site: &Site, vms: &[KnownVm]) -> Result<Vec<Ticket>> {
    vms.iter().map(|vm| vms::claim(site, vm, "handing it over with its group")).collect()
}

/// Shuts all guests down, or leaves those running that ran.
async fn shut_down_all(site: &Site, vms: &[KnownVm]) -> Result<()> {
    let mut running = Vec::with_capacity(vms.len());
    for vm in vms {
        if vms::is_running(site, vm).await? {
            running.push(vm);
        }
    }
    for vm in &running {
        replications::check_running(site, vm).await?;
        replications::foresee(site, vm).await?;
    }
    let ended = join_all(running.iter().map(|vm| vms::end(site, vm, false))).await;
    let Some(place) = ended.iter().position(std::result::Result::is_err) else { return Ok(()) };
    let mut left = Vec::new();
    for (vm, _) in running.iter().zip(&ended).filter(|(_, ended)| ended.is_ok()) {
        if let Err(failure) = vms::run(site, vm).await {
            tracing::warn!(vm = %vm.name, reason = failure.detail(), "a VM does not start again");
            left.push(vm.name.to_string());
        }
    }
    let stubborn = running.get(place).map(|vm| vm.name.to_string()).unwrap_or_default();
    let became = match left.is_empty() {
        true => "the others run again".to_owned(),
        false => format!("these are stopped and do not start again: {}", left.join(", ")),
    };
    let failure = ended.into_iter().find_map(std::result::Result::err);
    let failure = failure.unwrap_or_else(|| Failure::conflict("a guest does not shut down"));
    let name = shell_word(&stubborn);
    Err(failure.during(&format!("shutting {stubborn} down; nothing was handed over, and {became}")).with_hint(format!(
        "shut it down in the guest, or end it as a power cut would: holdfast vm stop {name} --force; then ask again"
    )))
}
