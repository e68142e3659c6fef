//! What becomes of snapshots: deleted, brought back, locked, tagged.
//!
//! A deleted snapshot stays in the store until it is purged; only then it is given up there, and a collection of the store
//! gives back what no other needs.

use std::collections::BTreeMap;

use api::{Code, DeleteSnapshot, LockSnapshot, TagSnapshot, shell_word};
use catalog::{DependentDisk, ImageSource, KnownSnapshot, KnownVm};
use model::{SnapshotState, Timestamp, VmId};

use crate::{
    failure::{Failure, Result},
    site::Site,
    work,
};

/// Days in which a deleted snapshot can be brought back.
const SOFT_DELETE_DAYS: u32 = 14;

/// Tags of one snapshot, and the longest word of one, in characters.
const TAGS_MAX: usize = 50;
const TAG_CHARS_MAX: usize = 128;

/// Deletes a snapshot, or says whether it may be deleted. Returns what it is then.
pub(crate) async fn delete(
    site: &Site,
    mut snapshot: KnownSnapshot,
    request: &DeleteSnapshot,
) -> Result<KnownSnapshot> {
    let now = site.env.clock.now();
    check_deletable(&snapshot, now, &site.catalog.vms().await?)?;
    if snapshot.state == SnapshotState::Deleted && !request.now {
        return Err(Failure::conflict(format!("the snapshot {} is deleted already", snapshot.name))
            .with_hint(format!("let it go for good: holdfast snapshot delete {} --now", snapshot.name)));
    }
    if request.dry_run {
        return Ok(snapshot);
    }
    if snapshot.state == SnapshotState::Ready {
        snapshot.state = SnapshotState::Deleted;
        snapshot.deleted_at = Some(now);
        snapshot.purge_after = Some(if request.now { now } else { now.plus_days(SOFT_DELETE_DAYS) });
        site.catalog.move_snapshot(&snapshot).await?;
        tracing::info!(snapshot = %snapshot.name, "a snapshot was deleted");
    }
    if snapshot.state == SnapshotState::Failed {
        site.catalog.remove_snapshot(snapshot.id).await?;
    } else if request.now {
        purge(site, &snapshot).await?;
        work::collect_snapshot_store(site).await?;
    }
    Ok(snapshot)
}

/// Forgets the snapshots of a VM that a policy wanted and that came to nothing. One that a VM runs from stays, to say why.
pub(crate) async fn forget_failed(site: &Site, vm_id: VmId) -> Result<()> {
    let failed = site.catalog.policy_snapshots(vm_id, SnapshotState::Failed).await?;
    if failed.is_empty() {
        return Ok(());
    }
    let (now, vms) = (site.env.clock.now(), site.catalog.vms().await?);
    for snapshot in failed {
        if check_deletable(&snapshot, now, &vms).is_ok() {
            site.catalog.remove_snapshot(snapshot.id).await?;
        }
    }
    Ok(())
}

/// Gives a deleted snapshot up: first in the store, where it is seen last. Done again, it changes nothing more.
pub(super) async fn purge(site: &Site, snapshot: &KnownSnapshot) -> Result<()> {
    if let Some(store) = site.vaults.snapshot_store().await? {
        let vault = site.vaults.open_checked(&store).await?;
        match vault.delete_points(&[snapshot.id.point_id()]).await {
            // A server that died had got this far.
            Err(error) if matches!(error.kind(), vault::ErrorKind::NotFound | vault::ErrorKind::Refused) => {
                tracing::debug!(snapshot = %snapshot.name, %error, "a snapshot was purged before");
            }
            other => other?,
        }
    }
    site.catalog.remove_snapshot(snapshot.id).await?;
    tracing::info!(snapshot = %snapshot.name, "a snapshot was purged");
    Ok(())
}

/// Fails where a snapshot is locked, used or not finished.
pub(crate) fn check_deletable(snapshot: &KnownSnapshot, now: Timestamp, vms: &[KnownVm]) -> Result<()> {
    let name = &snapshot.name;
    if let Some(until) = snapshot.locked_until.filter(|until| *until > now) {
        return Err(Failure::new(Code::Refused, format!("the snapshot {name} is locked until {until}")));
    }
    if matches!(snapshot.state, SnapshotState::Waiting | SnapshotState::Copying) {
        let busy = Failure::conflict(format!("the snapshot {name} is being made"));
        return Err(match snapshot.job_id {
            Some(job) => busy.with_hint(format!("cancel its job first: holdfast job cancel {job}")),
            None => busy,
        });
    }
    let reads = |disk: &DependentDisk| matches!(&disk.source, ImageSource::Snapshot { snapshot_id, .. } if *snapshot_id == snapshot.id);
    match vms.iter().find(|vm| vm.dependent_disks.iter().any(reads)) {
        None => Ok(()),
        Some(vm) => {
            let resume = format!("holdfast boot --resume {}", shell_word(vm.name.as_str()));
            Err(Failure::conflict(format!("the VM {} runs from the snapshot {name}", vm.name))
                .with_hint(format!("make its disks whole first: {resume}")))
        }
    }
}

/// Brings a deleted snapshot back.
pub(crate) async fn undelete(site: &Site, mut snapshot: KnownSnapshot) -> Result<KnownSnapshot> {
    if snapshot.state != SnapshotState::Deleted {
        return Err(Failure::conflict(format!("the snapshot {} is not deleted", snapshot.name)));
    }
    snapshot.state = SnapshotState::Ready;
    snapshot.deleted_at = None;
    snapshot.purge_after = None;
    site.catalog.move_snapshot(&snapshot).await.map_err(|error| match error.kind() {
        catalog::ErrorKind::Exists => {
            Failure::conflict(format!("there is another snapshot {} now", snapshot.name))
                .with_hint("delete that one first")
        }
        _ => error.into(),
    })?;
    tracing::info!(snapshot = %snapshot.name, "a snapshot was brought back");
    Ok(snapshot)
}

/// Locks a snapshot, or extends its lock.
pub(crate) async fn lock(
    site: &Site,
    mut snapshot: KnownSnapshot,
    request: &LockSnapshot,
) -> Result<KnownSnapshot> {
    check_lock(request.until, site.env.clock.now())?;
    if let Some(until) = snapshot.locked_until.filter(|until| *until > request.until) {
        return Err(Failure::new(
            Code::Refused,
            format!("the snapshot {} is locked until {until}: a lock cannot be shortened", snapshot.name),
        ));
    }
    site.catalog.lock_snapshot(snapshot.id, request.until).await?;
    snapshot.locked_until = Some(request.until);
    tracing::info!(snapshot = %snapshot.name, until = %request.until, "a snapshot was locked");
    Ok(snapshot)
}

/// Fails for a lock that locks nothing.
pub(crate) fn check_lock(until: Timestamp, now: Timestamp) -> Result<()> {
    if until > now { Ok(()) } else { Err(Failure::invalid(format!("{until} is over"))) }
}

/// Changes a snapshot's tags.
pub(crate) async fn tag(
    site: &Site,
    mut snapshot: KnownSnapshot,
    request: &TagSnapshot,
) -> Result<KnownSnapshot> {
    snapshot.tags.retain(|key, _| !request.remove.contains(key));
    snapshot.tags.extend(request.set.clone());
    check_tags(&snapshot.tags)?;
    site.catalog.set_snapshot_tags(snapshot.id, &snapshot.tags).await?;
    Ok(snapshot)
}

/// Fails for tags that are too many, too long or unreadable.
pub(crate) fn check_tags(tags: &BTreeMap<String, String>) -> Result<()> {
    let is_word =
        |word: &String| word.chars().count() <= TAG_CHARS_MAX && !word.chars().any(char::is_control);
    if tags.len() > TAGS_MAX {
        return Err(Failure::invalid(format!("a snapshot has at most {TAGS_MAX} tags")));
    }
    match tags
        .iter()
        .find(|(key, value)| key.is_empty() || key.contains('=') || !is_word(key) || !is_word(value))
    {
        None => Ok(()),
        Some((key, _)) => Err(Failure::invalid(format!(
            "the tag {key:?} is not KEY=VALUE, of {TAG_CHARS_MAX} characters each at most and without control characters"
        ))),
    }
}
