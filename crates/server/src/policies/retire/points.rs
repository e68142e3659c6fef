//! Recovery points that no rule keeps any more.

use api::{Code, MadeView, VerdictView};
use catalog::{KnownPolicy, KnownVault};
use model::{PointId, RunKind, Timestamp, VmId};
use protection::Monitor;

use super::{Reviewed, due_policy, judge};
use crate::{
    dependents::Owner,
    failure::Result,
    points::{self, FoundPoint, Survey},
    site::Site,
    work,
};

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
    let now = site.env.clock.now();
    let Some(policy) = due_policy(site, RunKind::Backup, vm_id, now).await? else { return Ok(()) };
    let reviewed = review(site, &policy, vm_id, vault, now).await?;
    let gone: Vec<_> = reviewed
        .iter()
        .filter(|reviewed| reviewed.goes())
        .map(|reviewed| reviewed.made.record.summary.id)
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

/// What the policy says of a VM's points. Those that go do so from this moment on.
pub(super) async fn preview(
    site: &Site,
    policy: &KnownPolicy,
    vm_id: VmId,
    now: Timestamp,
    from: Timestamp,
) -> Result<Vec<VerdictView>> {
    let Some(settings) = site.catalog.protection(vm_id).await? else { return Ok(Vec::new()) };
    let vault = site.vaults.find(settings.vault_id.as_str()).await?;
    let reviewed = review(site, policy, vm_id, &vault, now).await?.into_iter();
    Ok(reviewed.map(|it| it.view(from, |point| MadeView::Point(Box::new(point.view())))).collect())
}

/// The points that policies made of a VM in a vault, newest first, and what becomes of each.
async fn review(
    site: &Site,
    policy: &KnownPolicy,
    vm_id: VmId,
    vault: &KnownVault,
    now: Timestamp,
) -> Result<Vec<Reviewed<FoundPoint>>> {
    let points = Survey::of_vault(site, vault).await?.points;
    adopt(site, vm_id, &points).await?;
    let made = site.catalog.policy_points(vm_id).await?;
    let points = points
        .into_iter()
        .filter(|point| made.contains(&point.record.summary.id) && point.record.summary.vm_id == vm_id)
        .filter(|point| !point.is_deleted())
        .map(|point| (point.record.summary.id, point.record.summary.captured_at, point));
    let owners = Owner::all(&site.catalog).await?;
    Ok(judge(policy, now, points, |point| {
        points::check_deletable(point, now, &owners).err().map(|failure| failure.detail().to_owned())
    }))
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
