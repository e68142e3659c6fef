//! What a dead server left of snapshots, and what happens to them by itself.

use std::time::Duration;

use catalog::KnownSnapshot;
use model::{SnapshotState, Timestamp};

use super::{adopt, change};
use crate::{failure::Result, site::Site, work};

/// How often is looked for snapshots whose time is over.
const LOOK_INTERVAL: Duration = Duration::from_secs(600);

/// Settles the snapshots that a dead server was making, and makes known again those that the catalog has lost. Nothing of the
/// catalog is believed that the store could know better.
pub(crate) async fn recover(site: &Site) -> Result<()> {
    settle_unfinished(site).await?;
    adopt::adopt(site).await
}

/// What the store has is ready, all else has failed.
async fn settle_unfinished(site: &Site) -> Result<()> {
    let unfinished = site.catalog.unfinished_snapshots().await?;
    if unfinished.is_empty() {
        return Ok(());
    }
    let vault = match site.vaults.snapshot_store().await? {
        Some(store) => Some(site.vaults.open(&store).await?),
        None => None,
    };
    for mut snapshot in unfinished {
        let stored = match &vault {
            Some(vault) => vault.point(snapshot.id.point_id()).await.map(Some),
            None => Ok(None),
        };
        let failed = |reason: String| (SnapshotState::Failed, Some(reason));
        let never_stored = || failed("the server was stopped before all of it was copied".to_owned());
        (snapshot.state, snapshot.problem) = match stored {
            Ok(Some(point)) => {
                snapshot.taken_at = Some(point.summary.captured_at);
                snapshot.ready_at = Some(site.env.clock.now());
                snapshot.consistency = Some(point.summary.consistency);
                snapshot.disks = point.summary.disks;
                (SnapshotState::Ready, None)
            }
            Ok(None) => never_stored(),
            Err(error) if error.kind() == vault::ErrorKind::NotFound => never_stored(),
            Err(error) if error.kind() == vault::ErrorKind::Corrupt => failed(error.to_string()),
            Err(error) => return Err(error.into()),
        };
        site.catalog.move_snapshot(&snapshot).await?;
        tracing::warn!(snapshot = %snapshot.name, state = %snapshot.state, "a snapshot was left unfinished");
    }
    work::collect_snapshot_store(site).await
}

/// Purges deleted snapshots whose time is over, until the server stops.
pub(crate) async fn watch(site: Site) {
    loop {
        if let Err(failure) = purge_expired(&site, site.env.clock.now()).await {
            tracing::warn!(reason = failure.detail(), "deleted snapshots could not be purged");
        }
        if site.stopping.run_until_cancelled(tokio::time::sleep(LOOK_INTERVAL)).await.is_none() {
            return;
        }
    }
}

async fn purge_expired(site: &Site, now: Timestamp) -> Result<()> {
    let expired: Vec<KnownSnapshot> = site.catalog.expired_snapshots(now).await?;
    if expired.is_empty() || change::reader(site).await?.is_some() {
        return Ok(());
    }
    for snapshot in &expired {
        change::purge(site, snapshot).await?;
    }
    work::collect_snapshot_store(site).await
}
