//! A planned failover: a replicated VM is shut down here, and runs at the other site with all that it wrote.

use std::sync::Arc;

use api::{JobResult, shell_word};
use catalog::{Job, KnownVm};
use model::JobKind;

use crate::{
    failure::Result,
    jobs::{JobDraft, JobMonitor, Outcome},
    replications,
    site::Site,
    vms,
};

/// Lines it up.
pub(crate) async fn submit(site: &Site, vm: KnownVm, skip_proof: bool) -> Result<Job> {
    replications::check_hand_over(site, &vm).await?;
    let draft = JobDraft {
        kind: JobKind::HandOver,
        subject: vm.name.to_string(),
        vm_id: Some(vm.id),
        vault_id: None,
        request: serde_json::json!({"skip_proof": skip_proof}),
    };
    let work_site = site.clone();
    let work = Box::new(move |monitor| {
        Box::pin(async move { work(&work_site, &vm, skip_proof, monitor).await }) as _
    });
    site.jobs.submit(draft, work).await
}

async fn work(site: &Site, vm: &KnownVm, skip_proof: bool, monitor: Arc<JobMonitor>) -> Outcome {
    // Its turn may come late.
    replications::check_hand_over(site, vm).await?;
    if vms::is_running(site, vm).await? {
        replications::check_running(site, vm).await?;
        replications::foresee(site, vm).await?;
        monitor.phase("shutting the guest down");
        let name = shell_word(vm.name.as_str());
        let way_out = format!(
            "shut it down in the guest, or end it as a power cut would: holdfast vm stop {name} --force; then ask again"
        );
        vms::end(site, vm, false).await.map_err(|failure| failure.with_hint(way_out))?;
    }
    let through = replications::drain(site, vm, &monitor).await?;
    // The job has the VM until it ends: nobody starts it while its disks are compared.
    let proof = match through.filter(|_| !skip_proof) {
        Some(through) => Some(replications::prove(site, vm, through, &monitor).await?),
        None => None,
    };
    monitor.phase("having the other site take over");
    Ok(JobResult::HandedOver(replications::give(site, vm, through, proof).await?))
}
