//! Policies on the wire.

use api::{FollowedPolicyView, FollowerView, KeepRules, PolicyView, RunsView};
use catalog::{KnownPolicy, PolicyFollower, RunOutcome};
use model::{JobId, JobState, RunKind, Timestamp, VmId};
use policy::Retention;

use super::{plan::next_run_at, retire::grace_until};
use crate::{failure::Result, jobs, site::Site};

/// Runs that are told in advance.
const NEXT_RUNS: usize = 3;

/// The view of a policy.
pub(crate) async fn view(site: &Site, policy: &KnownPolicy) -> Result<PolicyView> {
    let now = site.env.clock.now();
    let next = |moment: &Timestamp| policy.schedule.next_after(*moment, &policy.zone);
    let grace_until = grace_until(policy, None);
    let in_grace = policy.retention.is_some() && policy.shortened_at > policy.created_at && grace_until > now;
    Ok(PolicyView {
        name: policy.name.to_string(),
        schedule: policy.schedule.to_string(),
        zone: policy.zone.to_string(),
        next_runs: std::iter::successors(next(&now), next).take(NEXT_RUNS).collect(),
        keep: policy.retention.map(keep_rules).unwrap_or_default(),
        jitter_seconds: policy.jitter_seconds,
        grace_hours: policy.grace_hours,
        grace_until: in_grace.then_some(grace_until),
        followers: followers(site, policy).await?,
        created_at: policy.created_at,
    })
}

/// What follows a policy.
pub(super) async fn followers(site: &Site, policy: &KnownPolicy) -> Result<Vec<FollowerView>> {
    let mut followers = Vec::new();
    for follower in site.catalog.policy_followers().await? {
        if follower.policy != policy.name {
            continue;
        }
        let Some(vm) = site.catalog.vm(follower.vm_id.as_str()).await? else { continue };
        let runs = runs(site, policy, &follower).await?;
        followers.push(FollowerView { vm: vm.name.into(), kind: follower.kind, runs });
    }
    followers.sort_by(|one, other| (&one.vm, one.kind).cmp(&(&other.vm, other.kind)));
    Ok(followers)
}

/// The policy that a VM's backups or snapshots follow, and its runs.
pub(crate) async fn followed(site: &Site, kind: RunKind, vm_id: VmId) -> Result<Option<FollowedPolicyView>> {
    let Some(follower) = site.catalog.policy_of(kind, vm_id).await? else { return Ok(None) };
    let policy = super::find(site, follower.policy.as_str()).await?;
    let runs = runs(site, &policy, &follower).await?;
    Ok(Some(FollowedPolicyView { name: policy.name.into(), runs }))
}

async fn runs(site: &Site, policy: &KnownPolicy, follower: &PolicyFollower) -> Result<RunsView> {
    let failed = site.catalog.failed_runs().await?;
    let failed = failed.iter().find(|it| (it.kind, it.vm_id) == (follower.kind, follower.vm_id));
    let mut runs = RunsView {
        next_run_at: next_run_at(policy, follower, failed, site.env.clock.now()),
        last_run_at: follower.last_run.as_ref().map(|run| run.at),
        consistency: follower.consistency,
        ..RunsView::default()
    };
    match follower.last_run.as_ref().map(|run| &run.outcome) {
        Some(RunOutcome::Submitted(job)) => {
            runs.last_job = Some(*job);
            runs.failed = failure_of(site, *job).await?;
        }
        Some(RunOutcome::Skipped(reason)) => runs.skipped = Some(reason.clone()),
        None => {}
    }
    Ok(runs)
}

/// Why a job failed; none where it did not, or has not yet.
async fn failure_of(site: &Site, job: JobId) -> Result<Option<String>> {
    let Some(job) = site.catalog.jobs_starting_with(job.as_str(), 1).await?.pop() else { return Ok(None) };
    let has_failed = matches!(job.state, JobState::Failed | JobState::Cancelled);
    let words = |state: JobState| format!("its job was {state}");
    Ok(has_failed.then(|| {
        let state = job.state;
        jobs::view(job).problem.map_or_else(|| words(state), |problem| problem.detail)
    }))
}

fn keep_rules(retention: Retention) -> KeepRules {
    let set = |count: u32| (count > 0).then_some(count);
    KeepRules {
        last: set(retention.last),
        hourly: set(retention.hourly),
        daily: set(retention.daily),
        weekly: set(retention.weekly),
        monthly: set(retention.monthly),
        yearly: set(retention.yearly),
        within_hours: set(retention.within_hours),
    }
}
