//! Snapshots by name, by id, and as what can be read.

use std::time::Duration;

use catalog::KnownSnapshot;
use model::{SnapshotReference, SnapshotState};

use crate::{
    failure::{Failure, Result},
    points::FoundPoint,
    site::Site,
};

/// Snapshots of one name that are looked at.
const SAME_NAMES_MAX: u32 = 1000;

/// Looks at a snapshot again whose state changes right now.
const LOOKS: u32 = 5;
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// The snapshot that lives under this name, or whose id is this or starts so.
pub(crate) async fn find(site: &Site, text: &str) -> Result<KnownSnapshot> {
    let found = find_any(site, text).await?;
    let name = &found.name;
    match found.state {
        SnapshotState::Deleted => Err(Failure::conflict(format!("the snapshot {name} is deleted"))
            .with_hint(format!("bring it back first: holdfast snapshot undelete {name}"))),
        SnapshotState::Failed => {
            let why = found.problem.as_deref().unwrap_or("its job failed");
            Err(Failure::conflict(format!("the snapshot {name} came to nothing: {why}"))
                .with_hint("make another one"))
        }
        _ => Ok(found),
    }
}

/// The same, or else one that is deleted or has failed.
pub(crate) async fn find_any(site: &Site, text: &str) -> Result<KnownSnapshot> {
    let mut found = site.catalog.snapshots_called(text, 2).await?.into_iter();
    match (found.next(), found.next()) {
        (None, _) => Err(Failure::not_found(format!("there is no snapshot {text}"))
            .with_hint("see them with: holdfast snapshot list")),
        (Some(one), Some(other)) if one.name.as_str() != text && other.name.as_str() != text => {
            Err(Failure::invalid(format!("several snapshots have an id that starts with {text}"))
                .with_hint("write more of the id"))
        }
        (Some(found), _) => Ok(found),
    }
}

/// The deleted snapshot that is meant, whoever has its name now; the newest where there are several.
pub(crate) async fn find_deleted(site: &Site, text: &str) -> Result<KnownSnapshot> {
    let found = site.catalog.snapshots_called(text, SAME_NAMES_MAX).await?;
    let deleted = found.into_iter().find(|snapshot| snapshot.state == SnapshotState::Deleted);
    deleted.ok_or_else(|| {
        Failure::not_found(format!("there is no deleted snapshot {text}"))
            .with_hint("see them with: holdfast snapshot list --deleted")
    })
}

/// What a reference to a snapshot can be read from: the moment that is held, or the store.
pub(crate) async fn resolve(site: &Site, reference: &SnapshotReference) -> Result<FoundPoint> {
    for _ in 0..LOOKS {
        let snapshot = find(site, &reference.snapshot).await?;
        if let Some(found) = content(site, &snapshot).await? {
            return Ok(found);
        }
        // It goes over into the store, or comes to nothing, in this very moment.
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    let name = &reference.snapshot;
    Err(Failure::conflict(format!("the moment of the snapshot {name} is not fixed yet"))
        .with_hint(format!("see how far it is: holdfast snapshot show {name}")))
}

async fn content(site: &Site, snapshot: &KnownSnapshot) -> Result<Option<FoundPoint>> {
    if snapshot.state == SnapshotState::Ready {
        let store = site.vaults.snapshot_store().await?;
        let store = store.ok_or_else(|| Failure::not_found("there is no snapshot store"))?;
        let record = site.vaults.open(&store).await?.point(snapshot.id.point_id()).await?;
        return Ok(Some(FoundPoint::of_snapshot(store, record, snapshot, None)));
    }
    let Some(held) = site.held.get(snapshot.id) else { return Ok(None) };
    // The first snapshot may be shown before the store is made.
    let store = site.vaults.snapshot_store_or_new().await?;
    Ok(Some(FoundPoint::of_snapshot(store, held.record.clone(), snapshot, Some(held))))
}
