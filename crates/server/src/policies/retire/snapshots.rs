//! Managed snapshots that no rule keeps any more. Which a policy made is kept with each from the moment it is asked for, so
//! that a server that dies forgets of none.

use api::{Code, DeleteSnapshot, MadeView, VerdictView};
use catalog::{KnownPolicy, KnownSnapshot};
use model::{RunKind, SnapshotState, Timestamp, VmId};
use protection::Monitor;

use super::{Reviewed, due_policy, judge};
use crate::{failure::Result, site::Site, snapshots};

/// Deletes the snapshots that a VM's policy keeps no longer. Never fails: the new snapshot stands, and what is not deleted
/// now, the next one deletes.
pub(crate) async fn settle(site: &Site, vm_id: VmId, monitor: &dyn Monitor) {
    if let Err(failure) = retire(site, vm_id).await {
        monitor.warn(format!("old snapshots were not deleted: {}", failure.detail()));
    }
}

async fn retire(site: &Site, vm_id: VmId) -> Result<()> {
    let now = site.env.clock.now();
    let Some(policy) = due_policy(site, RunKind::Snapshot, vm_id, now).await? else { return Ok(()) };
    let reviewed = review(site, &policy, vm_id, now).await?;
    for gone in reviewed.into_iter().filter(Reviewed::goes) {
        let (id, name) = (gone.made.id, gone.made.name.clone());
        match snapshots::delete(site, gone.made, &DeleteSnapshot::default()).await {
            // Somebody has locked it by now, or runs from it, or has deleted it.
            Err(failure) if matches!(failure.code(), Code::Refused | Code::Conflict | Code::NotFound) => {
                tracing::info!(snapshot = %name, %id, reason = failure.detail(), "a snapshot stays for now");
            }
            done => drop(done?),
        }
    }
    Ok(())
}

/// What the policy says of a VM's snapshots. Those that go do so from this moment on.
pub(super) async fn preview(
    site: &Site,
    policy: &KnownPolicy,
    vm_id: VmId,
    now: Timestamp,
    from: Timestamp,
) -> Result<Vec<VerdictView>> {
    let view = |snapshot| MadeView::Snapshot(Box::new(snapshots::view(site, snapshot)));
    let reviewed = review(site, policy, vm_id, now).await?.into_iter();
    Ok(reviewed.map(|it| it.view(from, view)).collect())
}

/// The snapshots that policies made of a VM, newest first, and what becomes of each. One that is locked takes nobody's place
/// among those that the rules keep: it counts again when its lock is over.
async fn review(
    site: &Site,
    policy: &KnownPolicy,
    vm_id: VmId,
    now: Timestamp,
) -> Result<Vec<Reviewed<KnownSnapshot>>> {
    let users = snapshots::Users::look(site).await?;
    let made = site.catalog.policy_snapshots(vm_id, SnapshotState::Ready).await?.into_iter();
    let (locked, free): (Vec<_>, Vec<_>) = made.partition(|snapshot| snapshot.locked_until > Some(now));
    let free = free.into_iter().map(|it| (it.id, it.taken_at.unwrap_or(it.created_at), it));
    let refusal = |snapshot: &KnownSnapshot| {
        let refused = snapshots::check_deletable(snapshot, now, &users);
        refused.err().map(|failure| failure.detail().to_owned())
    };
    let mut reviewed = judge(policy, now, free, refusal);
    let locked = locked.into_iter().map(|made| {
        let stays_because = refusal(&made);
        Reviewed { made, kept_by: Default::default(), stays_because }
    });
    reviewed.extend(locked);
    reviewed.sort_by_key(|it| std::cmp::Reverse((it.made.taken_at, it.made.id)));
    Ok(reviewed)
}
