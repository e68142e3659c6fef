//! What becomes of snapshots: deleted, brought back, locked, tagged.
//!
//! A deleted snapshot stays in the store until it is purged; only then it is given up there, and a collection of the store
//! gives back what no other needs.

use std::collections::BTreeMap;

use api::{Code, DeleteSnapshot, LockSnapshot, TagSnapshot};
use catalog::{ImageSource, Job, KnownSnapshot, KnownVm, SnapshotCopy};
use model::{JobKind, SnapshotState, Timestamp, VmId};

use crate::{
    dependents::Owner,
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
    // Nobody begins to need it between the look and the deletion.
    let admission = site.admission.lock().await;
    check_deletable(&snapshot, now, &Users::look(site).await?)?;
    if snapshot.state == SnapshotState::Deleted && !request.now {
        return Err(Failure::conflict(format!("the snapshot {} is deleted already", snapshot.name))
            .with_hint(format!("let it go for good: holdfast snapshot delete {} --now", snapshot.name)));
    }
    if let Some(job) = reader(site).await?.filter(|_| request.now && snapshot.state != SnapshotState::Failed)
    {
        // It may be this one that it reads, whose packs would go.
        return Err(Failure::conflict(format!(
            "the {} job {} reads from the snapshot store",
            job.kind, job.id
        ))
        .with_hint("wait until it has ended, or delete the snapshot without --now"));
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
    drop(admission);
    if snapshot.state == SnapshotState::Failed {
        site.catalog.remove_snapshot(snapshot.id).await?;
    } else if request.now {
        purge(site, &snapshot).await?;
        work::collect_snapshot_store(site).await?;
    }
    Ok(snapshot)
}

/// A job that reads from the snapshot store.
pub(super) async fn reader(site: &Site) -> Result<Option<Job>> {
    let Some(store) = site.vaults.snapshot_store().await? else { return Ok(None) };
    let reads = |job: &Job| job.vault_id == Some(store.id) && job.kind != JobKind::Collect;
    Ok(site.jobs.unfinished().into_iter().find(reads))
}

/// Forgets the snapshots of a VM that a policy wanted and that came to nothing. One that a VM runs from stays, to say why.
pub(crate) async fn forget_failed(site: &Site, vm_id: VmId) -> Result<()> {
    let failed = site.catalog.policy_snapshots(vm_id, SnapshotState::Failed).await?;
    if failed.is_empty() {
        return Ok(());
    }
    let (now, users) = (site.env.clock.now(), Users::look(site).await?);
    for snapshot in failed {
        if check_deletable(&snapshot, now, &users).is_ok() {
            site.catalog.remove_snapshot(snapshot.id).await?;
        }
    }
    Ok(())
}

/// Gives a deleted snapshot up: first in the store, where it is seen last. Done again, it changes nothing more.
pub(super) async fn purge(site: &Site, snapshot: &KnownSnapshot) -> Result<()> {
    if let Some(store) = site.vaults.snapshot_store().await? {
        let vault = site.vaults.open_checked(&store).await?;
        let id = snapshot.id.point_id();
        // A server that died may have got this far.
        if vault.fates().await?.iter().any(|fate| fate.id == id && fate.deleted_at.is_none()) {
            vault.delete_points(&[id]).await?;
        }
    }
    site.catalog.remove_snapshot(snapshot.id).await?;
    tracing::info!(snapshot = %snapshot.name, "a snapshot was purged");
    Ok(())
}

/// Who may need snapshots now.
pub(crate) struct Users {
    owners: Vec<Owner>,
    copies: Vec<SnapshotCopy>,
}

impl Users {
    /// All of them. They stay so for as long as the caller holds the admission.
    pub(crate) async fn look(site: &Site) -> Result<Self> {
        let copies = site.catalog.unfinished_snapshot_copies().await?;
        Ok(Self { owners: Owner::all(&site.catalog).await?, copies })
    }

    fn vms(&self) -> impl Iterator<Item = &KnownVm> {
        self.owners.iter().filter_map(|owner| if let Owner::Vm(vm) = owner { Some(&**vm) } else { None })
    }
}

/// Fails where a snapshot is locked, used or not finished.
pub(crate) fn check_deletable(snapshot: &KnownSnapshot, now: Timestamp, users: &Users) -> Result<()> {
    let name = &snapshot.name;
    if let Some(until) = snapshot.locked_until.filter(|until| *until > now) {
        return Err(Failure::new(Code::Refused, format!("the snapshot {name} is locked until {until}")));
    }
    if let Some(copy) = users.copies.iter().find(|copy| copy.snapshot_id == snapshot.id) {
        let busy = Failure::conflict(format!("the snapshot {name} is being copied to {}", copy.place_name));
        return Err(match copy.job_id {
            Some(job) => busy.with_hint(format!("let it end, or cancel it: holdfast job cancel {job}")),
            None => busy,
        });
    }
    if matches!(snapshot.state, SnapshotState::Waiting | SnapshotState::Copying) {
        let busy = Failure::conflict(format!("the snapshot {name} is being made"));
        return Err(match snapshot.job_id {
            Some(job) => busy.with_hint(format!("cancel its job first: holdfast job cancel {job}")),
            None => busy,
        });
    }
    if let Some(vm) = users.vms().find(|vm| work::needs_snapshot(vm, snapshot.id.point_id())) {
        let detail = format!("the VM {} is half-restored and needs the snapshot {name}", vm.name);
        return Err(
            Failure::conflict(detail).with_hint("make the VM whole first: holdfast vm show tells how")
        );
    }
    let is_it = |source: &ImageSource| matches!(source, ImageSource::Snapshot { snapshot_id, .. } if *snapshot_id == snapshot.id);
    match users.owners.iter().find(|owner| owner.reads(is_it)) {
        None => Ok(()),
        Some(owner) => Err(owner.needs(&format!("the snapshot {name}"))),
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
