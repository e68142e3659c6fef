//! A managed snapshot is copied into a vault, where it becomes a recovery point, or to another site, where it becomes a snapshot.
//!
//! What always holds:
//! - The catalog knows of a copy from before its first byte, and as long as it does not say that it has ended, a server that
//!   starts goes on with it.
//! - Copies of one family go one after the other, in the order in which they were asked for.
//! - Nobody deletes a snapshot that is being copied.

mod site_place;
mod vault_place;

use std::{pin::pin, sync::Arc};

use api::{CopySnapshot, JobResult};
use catalog::{CopyPlace, Job, KnownSnapshot, SnapshotCopy, SnapshotCopyState};
use model::{JobKind, SnapshotState, TransferId};
use protection::Monitor as _;

use super::document_of;
use crate::{
    failure::{Failure, Result},
    jobs::{JobDraft, JobMonitor, Outcome},
    peers,
    site::Site,
    snapshots,
    vaults::is_snapshot_store,
};

/// What became of a copy.
struct Arrived {
    name_there: String,
    sent_bytes: u64,
}

/// Lines a copy up. One that came to nothing goes on from what has arrived.
pub(crate) async fn submit(site: &Site, snapshot: &str, request: CopySnapshot) -> Result<Job> {
    let (place_kind, place, place_name) = find_place(site, &request.to).await?;
    if place_kind == CopyPlace::Vault && request.rate_limit_bytes_per_second.is_some() {
        return Err(
            Failure::invalid("only what is sent to a site has a limit").with_hint("leave the limit out")
        );
    }
    let _admission = site.admission.lock().await;
    let snapshot = snapshots::find(site, snapshot).await?;
    if snapshot.state != SnapshotState::Ready {
        let detail = format!("the snapshot {} is still being copied into the store", snapshot.name);
        return Err(Failure::conflict(detail)
            .with_hint(format!("see how far it is: holdfast snapshot show {}", snapshot.name)));
    }
    let mut copy = SnapshotCopy {
        snapshot_id: snapshot.id,
        place,
        place_kind,
        place_name,
        family: snapshot.family,
        name: request.name.unwrap_or_else(|| snapshot.name.clone()),
        tags: snapshot.tags.clone(),
        transfer_id: TransferId::from_random(env::random(&*site.env.entropy)),
        base: None,
        rate_limit_bytes_per_second: request.rate_limit_bytes_per_second,
        state: SnapshotCopyState::Unfinished,
        created_at: site.env.clock.now(),
        ended_at: None,
        sent_bytes: 0,
        name_there: None,
        job_id: None,
        problem: None,
    };
    let known = site.catalog.copies_of_snapshot(snapshot.id).await?;
    match known.into_iter().find(|known| known.place == copy.place) {
        Some(known) if known.state == SnapshotCopyState::Unfinished => {
            let detail =
                format!("the snapshot {} is being copied to {} already", snapshot.name, known.place_name);
            let hint = known.job_id.map(|job| format!("see how far it is: holdfast job watch {job}"));
            return Err(Failure::conflict(detail).with_hint(hint.unwrap_or_else(|| "let it end".to_owned())));
        }
        Some(known) if known.state == SnapshotCopyState::Failed && known.name == copy.name => {
            (copy.transfer_id, copy.base, copy.tags) = (known.transfer_id, known.base, known.tags);
        }
        _ => {}
    }
    site.catalog.put_snapshot_copy(&copy).await?;
    line_up(site, &snapshot, copy).await
}

/// Goes on with the copies that an earlier server did not end.
pub(crate) async fn go_on(site: &Site) -> Result<()> {
    for copy in site.catalog.unfinished_snapshot_copies().await? {
        match site.catalog.snapshot(copy.snapshot_id).await? {
            Some(snapshot) => drop(line_up(site, &snapshot, copy).await?),
            None => settle(site, copy, &Err(Failure::not_found("the snapshot is no longer there"))).await?,
        }
    }
    Ok(())
}

/// The vault or site that has this name or id.
async fn find_place(site: &Site, to: &str) -> Result<(CopyPlace, String, String)> {
    let vault = site.catalog.vault(to).await?.filter(|vault| !is_snapshot_store(vault));
    match (vault, peers::find(site, to).await) {
        (Some(_), Ok(_)) => Err(Failure::invalid(format!("there are a vault and a site {to}"))
            .with_hint("name the one that is meant by its id")),
        (Some(vault), Err(_)) => Ok((CopyPlace::Vault, vault.id.to_string(), vault.name.to_string())),
        (None, Ok(peer)) => Ok((CopyPlace::Site, peer.id.to_string(), peer.name.to_string())),
        (None, Err(_)) => Err(Failure::not_found(format!(
            "there is no vault {to}, nor is this site paired with a site {to}"
        ))
        .with_hint("see them with: holdfast vault list; holdfast site list")),
    }
}

async fn line_up(site: &Site, snapshot: &KnownSnapshot, copy: SnapshotCopy) -> Result<Job> {
    let draft = JobDraft {
        kind: JobKind::Copy,
        subject: format!("{} to {}", snapshot.name, copy.place_name),
        vm_id: None,
        vault_id: None,
        request: document_of(&CopySnapshot {
            to: copy.place.clone(),
            name: Some(copy.name.clone()),
            rate_limit_bytes_per_second: copy.rate_limit_bytes_per_second,
        }),
    };
    let (work_site, snapshot, lined_up) = (site.clone(), snapshot.clone(), copy.clone());
    let work = Box::new(move |monitor| {
        Box::pin(async move { work(&work_site, snapshot, lined_up, monitor).await }) as _
    });
    match site.jobs.submit(draft, work).await {
        Ok(job) => Ok(job),
        Err(failure) => {
            settle(site, copy, &Err(failure.clone())).await?;
            Err(failure)
        }
    }
}

async fn work(
    site: &Site,
    snapshot: KnownSnapshot,
    mut copy: SnapshotCopy,
    monitor: Arc<JobMonitor>,
) -> Outcome {
    copy.job_id = Some(monitor.job_id());
    site.catalog.put_snapshot_copy(&copy).await?;
    let copied = async {
        wait_for_turn(site, &copy, &monitor).await?;
        match copy.place_kind {
            CopyPlace::Vault => Box::pin(vault_place::copy(site, &snapshot, &copy, &monitor)).await,
            CopyPlace::Site => Box::pin(site_place::copy(site, &snapshot, &mut copy, &monitor)).await,
        }
    };
    let copied = copied.await;
    if copied.is_err() && site.stopping.is_cancelled() {
        // It goes on when the server starts again.
        return Err(copied.err().unwrap_or_else(|| Failure::conflict("stopped")).into());
    }
    settle(site, copy, &copied).await?;
    copied?;
    let copies = site.catalog.copies_of_snapshot(snapshot.id).await?;
    let ended = copies.iter().find(|copy| copy.job_id == Some(monitor.job_id()));
    let ended = ended.ok_or_else(|| Failure::not_found("the snapshot went while it was copied"))?;
    Ok(JobResult::SnapshotCopied(snapshots::copy_view(site, &snapshot.name, ended)))
}

/// The snapshot store, which there is where there is a snapshot.
async fn store_of(site: &Site) -> Result<catalog::KnownVault> {
    site.vaults.snapshot_store().await?.ok_or_else(|| Failure::not_found("there is no snapshot store"))
}

/// Waits until all copies of the family that were asked for earlier have ended.
async fn wait_for_turn(site: &Site, copy: &SnapshotCopy, monitor: &JobMonitor) -> Result<()> {
    let is_this = |other: &SnapshotCopy| other.snapshot_id == copy.snapshot_id && other.place == copy.place;
    loop {
        let mut ended = pin!(site.copy_ended.notified());
        ended.as_mut().enable();
        let queue = site.catalog.unfinished_snapshot_copies().await?;
        let first = queue.iter().find(|other| other.family == copy.family);
        let Some(first) = first.filter(|first| !is_this(first)) else { return Ok(()) };
        monitor.phase(format!("waiting for the copy of {} to {}", first.name, first.place_name));
        if monitor.cancellation().run_until_cancelled(ended).await.is_none() {
            return Err(Failure::new(api::Code::Cancelled, "cancelled"));
        }
    }
}

/// Keeps how a copy ended, and lets the next of its family begin.
async fn settle(site: &Site, mut copy: SnapshotCopy, copied: &Result<Arrived>) -> Result<()> {
    copy.ended_at = Some(site.env.clock.now());
    match copied {
        Ok(arrived) => {
            copy.state = SnapshotCopyState::Done;
            copy.name_there = Some(arrived.name_there.clone());
            copy.sent_bytes = arrived.sent_bytes;
            copy.problem = None;
        }
        Err(failure) => {
            copy.state = SnapshotCopyState::Failed;
            copy.problem = Some(failure.detail().to_owned());
        }
    }
    site.catalog.put_snapshot_copy(&copy).await?;
    site.copy_ended.notify_waiters();
    Ok(())
}
