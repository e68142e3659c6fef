//! Points that no rule keeps any more.

use std::collections::{BTreeMap, BTreeSet};

use api::{Code, EditPolicy, PointVerdictView};
use catalog::{KnownPolicy, KnownVault, PolicyMember};
use model::{PointId, Timestamp, VmId};
use policy::Rule;
use protection::Monitor;

use super::edit::changed;
use crate::{
    dependents::Owner,
    failure::Result,
    points::{self, FoundPoint, Survey},
    site::Site,
    work,
};

const HOUR_US: i64 = 3_600_000_000;

/// What a policy's rules say of a point.
struct Reviewed {
    point: FoundPoint,
    kept_by: BTreeSet<Rule>,
    /// Why it stays although no rule keeps it.
    stays_because: Option<String>,
}

impl Reviewed {
    fn goes(&self) -> bool {
        self.kept_by.is_empty() && self.stays_because.is_none()
    }
}

/// Notes that a policy made this point, and deletes those that its VM's policy keeps no longer. Never fails: the backup
/// stands, and what is not deleted now, the next backup deletes.
pub(crate) async fn settle(
    site: &Site,
    vm_id: VmId,
    vault: &KnownVault,
    point: PointId,
    monitor: &dyn Monitor,
) {
    let settled = async {
        site.catalog.add_policy_point(vm_id, point).await?;
        retire(site, vm_id, vault).await
    };
    if let Err(failure) = settled.await {
        monitor.warn(format!("old recovery points were not deleted: {}", failure.detail()));
    }
}

async fn retire(site: &Site, vm_id: VmId, vault: &KnownVault) -> Result<()> {
    let Some(member) = site.catalog.policy_of(vm_id).await? else { return Ok(()) };
    let policy = super::find(site, member.policy.as_str()).await?;
    let now = site.env.clock.now();
    if policy.retention.is_none() || grace_until(&policy, Some(&member)) > now {
        return Ok(());
    }
    let reviewed = review(site, &policy, vm_id, vault, now).await?;
    let gone: Vec<_> = reviewed
        .iter()
        .filter(|reviewed| reviewed.goes())
        .map(|reviewed| reviewed.point.record.summary.id)
        .collect();
    match points::delete_known(site, vault, &gone).await {
        // It goes by its own clock, or somebody holds a point by now: that keeps the others no longer.
        Err(failure) if failure.code() == Code::Refused => {
            for id in gone {
                match points::delete_known(site, vault, &[id]).await {
                    Err(failure) if failure.code() == Code::Refused => {
                        tracing::info!(point = %id, reason = failure.detail(), "a point stays for now");
                    }
                    done => done?,
                }
            }
            Ok(())
        }
        done => done,
    }
}

/// What a policy, changed like this, would say of all points that policies made of its VMs.
pub(crate) async fn preview(
    site: &Site,
    policy: &KnownPolicy,
    request: &EditPolicy,
) -> Result<Vec<PointVerdictView>> {
    let now = site.env.clock.now();
    let policy = changed(policy, request, now)?;
    let members = site.catalog.policy_members().await?;
    let mut verdicts = Vec::new();
    for member in members.iter().filter(|member| member.policy == policy.name) {
        let Some(settings) = site.catalog.protection(member.vm_id).await? else { continue };
        let vault = site.vaults.find(settings.vault_id.as_str()).await?;
        let from = grace_until(&policy, Some(member)).max(now);
        let reviewed = review(site, &policy, member.vm_id, &vault, now).await?;
        verdicts.extend(reviewed.into_iter().map(|reviewed| PointVerdictView {
            goes_from: reviewed.goes().then_some(from),
            kept_by: reviewed.kept_by.iter().map(ToString::to_string).collect(),
            stays_because: reviewed.stays_because,
            point: reviewed.point.view(),
        }));
    }
    Ok(verdicts)
}

/// The points that policies made of a VM in a vault, newest first, and what becomes of each.
async fn review(
    site: &Site,
    policy: &KnownPolicy,
    vm_id: VmId,
    vault: &KnownVault,
    now: Timestamp,
) -> Result<Vec<Reviewed>> {
    let points = Survey::of_vault(site, vault).await?.points;
    adopt(site, vm_id, &points).await?;
    let made = site.catalog.policy_points(vm_id).await?;
    let points = points.into_iter();
    let mut points: BTreeMap<_, _> = points
        .map(|point| (point.record.summary.id, point))
        .filter(|(id, point)| made.contains(id) && point.record.summary.vm_id == vm_id && !point.is_deleted())
        .collect();
    let moments: Vec<_> = points.iter().map(|(id, point)| (*id, point.record.summary.captured_at)).collect();
    let owners = Owner::all(&site.catalog).await?;
    let rules = policy.retention.unwrap_or_default();
    let verdicts = policy::keep(&moments, &rules, &policy.zone, now).into_iter();
    let reviewed = verdicts.filter_map(|verdict| {
        let point = points.remove(&verdict.id)?;
        let stays_because = match policy.retention {
            _ if verdict.stays() => None,
            None => Some("the policy keeps every point".to_owned()),
            Some(_) => {
                points::check_deletable(&point, now, &owners).err().map(|failure| failure.detail().to_owned())
            }
        };
        Some(Reviewed { point, kept_by: verdict.kept_by, stays_because })
    });
    Ok(reviewed.collect())
}

/// Notes the points of runs that were cut off between the commit and the note: a VM has one backup at a time, so what was
/// captured while a policy's was at work is the policy's.
async fn adopt(site: &Site, vm_id: VmId, points: &[FoundPoint]) -> Result<()> {
    for job in site.catalog.unsuccessful_backups(vm_id).await? {
        let Some((begun_at, ended_at)) = job.started_at.zip(job.ended_at) else { continue };
        let is_its = |point: &&FoundPoint| {
            let summary = &point.record.summary;
            summary.vm_id == vm_id && (begun_at..=ended_at).contains(&summary.captured_at)
        };
        // A run makes one point.
        let its = points.iter().filter(is_its).min_by_key(|point| point.record.summary.captured_at);
        if let Some(point) = its.filter(|_| work::is_by_policy(&job)) {
            site.catalog.add_policy_point(vm_id, point.record.summary.id).await?;
        }
    }
    Ok(())
}

/// Until when a policy deletes nothing, or nothing of one VM.
pub(super) fn grace_until(policy: &KnownPolicy, member: Option<&PolicyMember>) -> Timestamp {
    let since = member.map_or(policy.shortened_at, |member| member.joined_at.max(policy.shortened_at));
    let grace_us = i64::from(policy.grace_hours) * HOUR_US;
    Timestamp::from_microseconds(since.as_microseconds().saturating_add(grace_us))
}
