//! Who is due, and what comes of it.

use std::collections::BTreeMap;

use catalog::{FailedRun, KnownPolicy, PolicyFollower};
use model::{JobId, PolicyName, RunKind, Timestamp, VmId};
use policy::Scheduled;

/// The pause before a failed run is repeated; doubled before each further one, up to the longest.
const FIRST_PAUSE_SECONDS: i64 = 60;
const LONGEST_PAUSE_SECONDS: i64 = 3_600;

/// What the scheduler does for a VM whose run is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Line up its job.
    Run(RunKind, VmId),
    /// Note that there was none: this job of the same kind has not ended yet.
    Skip(RunKind, VmId, JobId),
}

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// In this order: a snapshot and a backup of a VM that are due at once take turns in it.
    pub(super) actions: Vec<Action>,
    /// When somebody is due next, the actions done.
    pub(super) next: Option<Timestamp>,
}

/// Decides who is due. `unfinished` are the jobs that have not ended and `failed` the last runs that came to nothing, by what they
/// make and of which VM.
pub(super) fn plan(
    now: Timestamp,
    policies: &BTreeMap<PolicyName, KnownPolicy>,
    followers: &[PolicyFollower],
    unfinished: &BTreeMap<(RunKind, VmId), JobId>,
    failed: &BTreeMap<(RunKind, VmId), FailedRun>,
) -> Plan {
    let mut plan = Plan { actions: Vec::new(), next: None };
    for follower in followers {
        let Some(policy) = policies.get(&follower.policy) else { continue };
        let failed = failed.get(&(follower.kind, follower.vm_id));
        let Some(mut due) = next_run_at(policy, follower, failed, now) else { continue };
        if due <= now {
            let (kind, vm_id) = (follower.kind, follower.vm_id);
            plan.actions.push(match unfinished.get(&(kind, vm_id)) {
                None => Action::Run(kind, vm_id),
                Some(job) => Action::Skip(kind, vm_id, *job),
            });
            let Some(next) = due_at(policy, follower, Some(now), now) else { continue };
            due = next;
        }
        plan.next = Some(plan.next.map_or(due, |next| next.min(due)));
    }
    plan
}

/// When a VM runs next: when it is due, or earlier where its last run came to nothing.
pub(super) fn next_run_at(
    policy: &KnownPolicy,
    follower: &PolicyFollower,
    failed: Option<&FailedRun>,
    now: Timestamp,
) -> Option<Timestamp> {
    let due = due_at(policy, follower, follower.last_run.as_ref().map(|run| run.at), now);
    let repeat = failed.map(|failed| repeat_at(failed, now));
    due.into_iter().chain(repeat).min()
}

/// When a run that came to nothing is repeated.
fn repeat_at(failed: &FailedRun, now: Timestamp) -> Timestamp {
    let doublings = failed.failures.saturating_sub(1).min(LONGEST_PAUSE_SECONDS.ilog2());
    let pause_seconds = (FIRST_PAUSE_SECONDS << doublings).min(LONGEST_PAUSE_SECONDS);
    // A clock that was set back must not keep the VM waiting.
    shifted(failed.ended_at.min(now), pause_seconds)
}

/// When a VM is due next after its last run; long past where runs were missed, which are made up for by one.
fn due_at(
    policy: &KnownPolicy,
    follower: &PolicyFollower,
    last_run_at: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    let scheduled = Scheduled {
        schedule: &policy.schedule,
        zone: &policy.zone,
        // What was due before the VM joined, or by another schedule, was not missed.
        since: follower.joined_at.max(policy.scheduled_at),
        last_run_at,
        jitter_seconds: policy::jitter_seconds(follower.vm_id.as_str(), policy.jitter_seconds),
    };
    scheduled.due_at(now)
}

fn shifted(moment: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_microseconds(moment.as_microseconds().saturating_add(seconds * 1_000_000))
}

#[cfg(test)]
mod tests;
