//! Snapshots on the wire.

use api::{PointDiskView, SnapshotCopyView, SnapshotPage, SnapshotView};
use catalog::{KnownSnapshot, SnapshotCopy, SnapshotCopyState, SnapshotFilter};
use model::{ByteCount, SnapshotId, SnapshotKind, SnapshotName, SnapshotState, Timestamp};

use super::family_of;
use crate::{
    failure::{Failure, Result},
    site::Site,
};

/// The view of a snapshot.
pub(crate) fn view(site: &Site, snapshot: KnownSnapshot) -> SnapshotView {
    let is_stored = matches!(snapshot.state, SnapshotState::Ready | SnapshotState::Deleted);
    let copied = || site.held.get(snapshot.id).map_or(0, |held| held.percent());
    let consistency = snapshot.consistency;
    SnapshotView {
        id: snapshot.id,
        percent_complete: if is_stored { 100 } else { copied() },
        kind: is_stored.then(|| SnapshotKind::of(&snapshot.disks)),
        name: snapshot.name,
        family: snapshot.family_name.into(),
        family_id: snapshot.family,
        source: snapshot.source,
        state: snapshot.state,
        consistency_asked: consistency.as_ref().map(|it| it.asked),
        consistency_reached: consistency.as_ref().map(|it| it.reached),
        shortfall: consistency.and_then(|it| it.shortfall),
        created_at: snapshot.created_at,
        taken_at: snapshot.taken_at,
        ready_at: snapshot.ready_at,
        size_bytes: snapshot.disks.iter().map(|disk| disk.size_bytes).sum(),
        read_bytes: snapshot.disks.iter().map(|disk| disk.read_bytes).sum(),
        stored_bytes: snapshot.disks.iter().map(|disk| disk.stored_bytes).sum(),
        used_bytes: None,
        unique_bytes: None,
        family_unique_bytes: None,
        disks: snapshot.disks.iter().map(PointDiskView::from).collect(),
        tags: snapshot.tags,
        locked_until: snapshot.locked_until,
        deleted_at: snapshot.deleted_at,
        purge_after: snapshot.purge_after,
        job_id: snapshot.job_id,
        copies: Vec::new(),
        problem: snapshot.problem,
        policy: snapshot.policy,
    }
}

/// The view of a copy of the snapshot that has this name.
pub(crate) fn copy_view(site: &Site, name: &SnapshotName, copy: &SnapshotCopy) -> SnapshotCopyView {
    let percent_complete = match copy.state {
        SnapshotCopyState::Done => Some(100),
        SnapshotCopyState::Unfinished => percent_of_job(site, copy),
        SnapshotCopyState::Failed => None,
    };
    SnapshotCopyView {
        snapshot: name.to_string(),
        place: copy.place_name.clone(),
        place_kind: copy.place_kind.to_string(),
        state: copy.state.to_string(),
        percent_complete,
        name_there: copy.name_there.clone(),
        created_at: copy.created_at,
        ended_at: copy.ended_at,
        sent_bytes: ByteCount(copy.sent_bytes),
        job_id: copy.job_id,
        problem: copy.problem.clone(),
    }
}

/// How far the job is that copies a snapshot.
fn percent_of_job(site: &Site, copy: &SnapshotCopy) -> Option<u8> {
    let job = site.jobs.unfinished().into_iter().find(|job| Some(job.id) == copy.job_id)?;
    let total = job.progress.total_bytes.filter(|&total| total > 0)?;
    u8::try_from(u128::from(job.progress.done_bytes.min(total)) * 100 / u128::from(total)).ok()
}

/// What of the snapshots is wanted.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) family: Option<String>,
    pub(crate) tag: Option<String>,
    pub(crate) deleted: bool,
    pub(crate) sizes: bool,
    pub(crate) after: Option<String>,
    pub(crate) limit: u32,
}

/// A page of snapshots. It costs the catalog one look at an index, however many there are.
pub(crate) async fn list(site: &Site, wanted: Wanted) -> Result<SnapshotPage> {
    let family = match &wanted.family {
        Some(family) => Some(family_of(site, family).await?),
        None => None,
    };
    let tag = wanted.tag.as_deref().map(read_tag).transpose()?;
    let after = wanted.after.as_deref().map(read_place).transpose()?;
    let filter = SnapshotFilter { family, tag, deleted: wanted.deleted, after };
    let found = site.catalog.snapshots(&filter, wanted.limit).await?;
    let is_full = u32::try_from(found.len()).is_ok_and(|count| count == wanted.limit);
    let next = found.last().filter(|_| is_full).map(place_of);
    let mut snapshots: Vec<_> = found.into_iter().map(|snapshot| view(site, snapshot)).collect();
    if wanted.sizes {
        add_sizes(site, &mut snapshots).await?;
    }
    Ok(SnapshotPage { snapshots, next })
}

/// Adds what snapshots take. Where the store has changed since the last time, its maps are read for it.
pub(crate) async fn add_sizes(site: &Site, snapshots: &mut [SnapshotView]) -> Result<()> {
    let Some(store) = site.vaults.snapshot_store().await? else { return Ok(()) };
    let sizes = site.vaults.open(&store).await?.sizes().await?;
    for snapshot in snapshots {
        let size = sizes.points.get(&snapshot.id.point_id());
        snapshot.used_bytes = size.map(|size| size.used_bytes);
        snapshot.unique_bytes = size.map(|size| size.unique_bytes);
        snapshot.family_unique_bytes = sizes.vms.get(&snapshot.family_id).copied();
    }
    Ok(())
}

fn read_tag(text: &str) -> Result<(String, String)> {
    let tag = text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    tag.ok_or_else(|| Failure::invalid(format!("{text:?} is not a tag: write KEY=VALUE")))
}

/// A place in the list, as clients give it back.
fn place_of(snapshot: &KnownSnapshot) -> String {
    format!("{}-{}", snapshot.created_at.as_microseconds(), snapshot.id)
}

fn read_place(text: &str) -> Result<(Timestamp, SnapshotId)> {
    let parsed = text
        .split_once('-')
        .and_then(|(at, id)| Some((Timestamp::from_microseconds(at.parse().ok()?), id.parse().ok()?)));
    parsed.ok_or_else(|| Failure::invalid(format!("{text:?} is no place in a list of snapshots")))
}
