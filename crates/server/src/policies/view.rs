//! Policies on the wire.

use api::{FollowedPolicyView, KeepRules, PolicyView};
use catalog::{KnownPolicy, RunOutcome};
use model::{Timestamp, VmId};
use policy::Retention;

use super::{plan::next_run_at, retire::grace_until};
use crate::{failure::Result, site::Site};

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
        vms: follower_names(site, policy).await?,
        created_at: policy.created_at,
    })
}

/// The VMs that follow a policy, by name.
pub(super) async fn follower_names(site: &Site, policy: &KnownPolicy) -> Result<Vec<String>> {
    let members = site.catalog.policy_members().await?;
    let vms = site.catalog.vms().await?;
    let follows = |id: VmId| members.iter().any(|member| member.vm_id == id && member.policy == policy.name);
    Ok(vms.into_iter().filter(|vm| follows(vm.id)).map(|vm| vm.name.into()).collect())
}

/// The policy that a VM follows, and its runs.
pub(crate) async fn followed(site: &Site, vm_id: VmId) -> Result<Option<FollowedPolicyView>> {
    let Some(member) = site.catalog.policy_of(vm_id).await? else { return Ok(None) };
    let policy = super::find(site, member.policy.as_str()).await?;
    let last_run_at = member.last_run.as_ref().map(|run| run.at);
    let failed = site.catalog.failed_runs().await?.into_iter().find(|failed| failed.vm_id == vm_id);
    let next_run_at = next_run_at(&policy, &member, failed.as_ref(), site.env.clock.now());
    let (last_job, skipped) = match member.last_run.map(|run| run.outcome) {
        Some(RunOutcome::Submitted(job)) => (Some(job), None),
        Some(RunOutcome::Skipped(reason)) => (None, Some(reason)),
        None => (None, None),
    };
    Ok(Some(FollowedPolicyView { name: policy.name.into(), next_run_at, last_run_at, last_job, skipped }))
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
