//! The scheduler's task.

use std::{collections::BTreeMap, time::Duration};

use catalog::{PolicyRun, RunOutcome};
use model::{JobKind, Timestamp, VmId};

use super::plan::{Action, plan};
use crate::{failure::Result, site::Site, vms, work};

/// Runs what is due until the server stops.
pub(crate) async fn run(site: Site) {
    loop {
        let next = look(&site).await.unwrap_or_else(|failure| {
            tracing::warn!(reason = failure.detail(), "what is due by policies cannot be found out");
            None
        });
        // The clock may be set and policies may change: it looks again soon, whatever is next.
        let wait = next.map_or(site.look_interval, |next| until(&site, next).min(site.look_interval));
        if site.stopping.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            return;
        }
    }
}

fn until(site: &Site, next: Timestamp) -> Duration {
    let wait_us = next.microseconds_since(site.env.clock.now());
    Duration::from_micros(u64::try_from(wait_us).unwrap_or(0))
}

/// Does what is due now; returns when somebody is due next.
async fn look(site: &Site) -> Result<Option<Timestamp>> {
    let members = site.catalog.policy_members().await?;
    if members.is_empty() {
        return Ok(None);
    }
    let policies = site.catalog.policies().await?;
    let policies: BTreeMap<_, _> = policies.into_iter().map(|policy| (policy.name.clone(), policy)).collect();
    let backups: BTreeMap<_, _> = site
        .jobs
        .unfinished()
        .into_iter()
        .filter(|job| job.kind == JobKind::Backup)
        .filter_map(|job| Some((job.vm_id?, job.id)))
        .collect();
    let failed = site.catalog.failed_runs().await?;
    let failed: BTreeMap<_, _> = failed.into_iter().map(|failed| (failed.vm_id, failed)).collect();
    let now = site.env.clock.now();
    let plan = plan(now, &policies, &members, &backups, &failed);
    for action in plan.actions {
        if let Err(failure) = carry_out(site, now, action).await {
            // It is not noted as run: the next look tries again.
            tracing::warn!(?action, reason = failure.detail(), "a VM is due and cannot be backed up");
        }
    }
    Ok(plan.next)
}

async fn carry_out(site: &Site, now: Timestamp, action: Action) -> Result<()> {
    let (vm_id, outcome) = match action {
        Action::Backup(vm_id) => (vm_id, back_up(site, vm_id).await?),
        Action::Skip(vm_id, job) => {
            tracing::warn!(vm = %vm_id, %job, "a run was skipped: the VM's last backup has not ended");
            (vm_id, RunOutcome::Skipped(format!("the backup {job} had not ended")))
        }
    };
    Ok(site.catalog.set_policy_run(vm_id, &PolicyRun { at: now, outcome }).await?)
}

async fn back_up(site: &Site, vm_id: VmId) -> Result<RunOutcome> {
    let vm = vms::find(site, vm_id.as_str()).await?;
    Ok(RunOutcome::Submitted(work::backup_by_policy(site, &vm).await?.id))
}
