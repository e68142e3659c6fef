//! The scheduler's task.

use std::{collections::BTreeMap, time::Duration};

use catalog::{PolicyFollower, PolicyRun, RunOutcome};
use model::{JobId, RunKind, Timestamp};

use super::plan::{Action, plan};
use crate::{drills, failure::Result, site::Site, vms, work};

/// Runs what is due, drills too, until the server stops.
pub(crate) async fn run(site: Site) {
    loop {
        let by_policies = look(&site).await.unwrap_or_else(|failure| {
            tracing::warn!(reason = failure.detail(), "what is due by policies cannot be found out");
            None
        });
        let drills = drills::look(&site).await.unwrap_or_else(|failure| {
            tracing::warn!(reason = failure.detail(), "which drills are due cannot be found out");
            None
        });
        let next = by_policies.into_iter().chain(drills).min();
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
    let followers = site.catalog.policy_followers().await?;
    if followers.is_empty() {
        return Ok(None);
    }
    let policies = site.catalog.policies().await?;
    let policies: BTreeMap<_, _> = policies.into_iter().map(|policy| (policy.name.clone(), policy)).collect();
    let unfinished: BTreeMap<_, _> = site
        .jobs
        .unfinished()
        .into_iter()
        .filter_map(|job| Some(((RunKind::of(job.kind)?, job.vm_id?), job.id)))
        .collect();
    let failed = site.catalog.failed_runs().await?;
    let failed: BTreeMap<_, _> =
        failed.into_iter().map(|failed| ((failed.kind, failed.vm_id), failed)).collect();
    let now = site.env.clock.now();
    let plan = plan(now, &policies, &followers, &unfinished, &failed);
    for action in plan.actions {
        if let Err(failure) = carry_out(site, now, action, &followers).await {
            // It is not noted as run: the next look tries again.
            tracing::warn!(?action, reason = failure.detail(), "a run is due and cannot begin");
        }
    }
    Ok(plan.next)
}

async fn carry_out(site: &Site, now: Timestamp, action: Action, followers: &[PolicyFollower]) -> Result<()> {
    let (kind, vm_id, outcome) = match action {
        Action::Run(kind, vm_id) => {
            let follower = followers.iter().find(|it| (it.kind, it.vm_id) == (kind, vm_id));
            let Some(follower) = follower else { return Ok(()) };
            (kind, vm_id, RunOutcome::Submitted(submit(site, follower).await?))
        }
        Action::Skip(kind, vm_id, job) => {
            tracing::warn!(vm = %vm_id, %kind, %job, "a run was skipped: the last has not ended");
            (kind, vm_id, RunOutcome::Skipped(format!("the {kind} {job} had not ended")))
        }
    };
    Ok(site.catalog.set_policy_run(kind, vm_id, &PolicyRun { at: now, outcome }).await?)
}

async fn submit(site: &Site, follower: &PolicyFollower) -> Result<JobId> {
    let vm = vms::find(site, follower.vm_id.as_str()).await?;
    let job = match follower.kind {
        RunKind::Backup => work::backup_by_policy(site, &vm).await?,
        RunKind::Snapshot => work::snapshot_by_policy(site, vm, follower).await?,
    };
    Ok(job.id)
}
