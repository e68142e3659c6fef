//! Points and snapshots that no rule keeps any more. Which those are is worked out in one way for both.

mod points;
mod snapshots;

use std::collections::{BTreeMap, BTreeSet};

use api::{EditPolicy, MadeView, VerdictView};
use catalog::{KnownPolicy, PolicyFollower};
use model::{RunKind, Timestamp};
use policy::Rule;

pub(crate) use self::{points::settle as settle_points, snapshots::settle as settle_snapshots};
use super::edit::changed;
use crate::{failure::Result, site::Site};

const HOUR_US: i64 = 3_600_000_000;

/// What a policy's rules say of something that a policy made.
struct Reviewed<T> {
    made: T,
    kept_by: BTreeSet<Rule>,
    /// Why it stays although no rule keeps it.
    stays_because: Option<String>,
}

impl<T> Reviewed<T> {
    fn goes(&self) -> bool {
        self.kept_by.is_empty() && self.stays_because.is_none()
    }

    fn view(self, from: Timestamp, made: impl FnOnce(T) -> MadeView) -> VerdictView {
        VerdictView {
            goes_from: self.goes().then_some(from),
            kept_by: self.kept_by.iter().map(ToString::to_string).collect(),
            stays_because: self.stays_because,
            made: made(self.made),
        }
    }
}

/// Asks a policy's rules about all that is here, newest first. What no rule keeps stays where there is an obstacle.
fn judge<I: Copy + Ord, T>(
    policy: &KnownPolicy,
    now: Timestamp,
    made: impl IntoIterator<Item = (I, Timestamp, T)>,
    obstacle: impl Fn(&T) -> Option<String>,
) -> Vec<Reviewed<T>> {
    let mut moments = Vec::new();
    let mut by_id = BTreeMap::new();
    for (id, moment, it) in made {
        moments.push((id, moment));
        by_id.insert(id, it);
    }
    let rules = policy.retention.unwrap_or_default();
    let verdicts = policy::keep(&moments, &rules, &policy.zone, now).into_iter();
    let reviewed = verdicts.filter_map(|verdict| {
        let made = by_id.remove(&verdict.id)?;
        let stays_because = match policy.retention {
            _ if verdict.stays() => None,
            None => Some("the policy keeps everything".to_owned()),
            Some(_) => obstacle(&made),
        };
        Some(Reviewed { made, kept_by: verdict.kept_by, stays_because })
    });
    reviewed.collect()
}

/// What a policy, changed like this, would say of all that policies made of what follows it.
pub(crate) async fn preview(
    site: &Site,
    policy: &KnownPolicy,
    request: &EditPolicy,
) -> Result<Vec<VerdictView>> {
    let now = site.env.clock.now();
    let policy = changed(policy, request, now)?;
    let followers = site.catalog.policy_followers().await?;
    let mut verdicts = Vec::new();
    for follower in followers.iter().filter(|follower| follower.policy == policy.name) {
        let from = grace_until(&policy, Some(follower)).max(now);
        verdicts.extend(match follower.kind {
            RunKind::Backup => points::preview(site, &policy, follower.vm_id, now, from).await?,
            RunKind::Snapshot => snapshots::preview(site, &policy, follower.vm_id, now, from).await?,
        });
    }
    Ok(verdicts)
}

/// Until when a policy deletes nothing, or nothing of one follower.
pub(super) fn grace_until(policy: &KnownPolicy, follower: Option<&PolicyFollower>) -> Timestamp {
    let since = follower.map_or(policy.shortened_at, |it| it.joined_at.max(policy.shortened_at));
    let grace_us = i64::from(policy.grace_hours) * HOUR_US;
    Timestamp::from_microseconds(since.as_microseconds().saturating_add(grace_us))
}

/// The policy by whose rules something of a follower goes now; none where there is none, or nothing goes.
async fn due_policy(
    site: &Site,
    kind: RunKind,
    vm_id: model::VmId,
    now: Timestamp,
) -> Result<Option<KnownPolicy>> {
    let Some(follower) = site.catalog.policy_of(kind, vm_id).await? else { return Ok(None) };
    let policy = super::find(site, follower.policy.as_str()).await?;
    let is_due = policy.retention.is_some() && grace_until(&policy, Some(&follower)) <= now;
    Ok(is_due.then_some(policy))
}
