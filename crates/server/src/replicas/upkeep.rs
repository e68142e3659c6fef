//! What has to be done for replicas now and then: indexes are merged, and what is older than the retention is folded.

use std::{sync::Arc, time::Duration};

use catalog::KnownReplica;
use journal::{Replica, Retention};
use recovery::Stage;

use super::{Kept, replaced, seeds};
use crate::{
    dependents::Owner,
    failure::{Failure, Result},
    site::Site,
};

/// Looks after all replicas until the server stops.
pub(crate) async fn watch(site: Site) {
    let stopping = site.stopping.clone();
    let watching = async {
        loop {
            if let Err(failure) = look(&site).await {
                tracing::warn!(reason = failure.detail(), "the replicas could not be looked after");
            }
            tokio::time::sleep(site.look_interval).await;
        }
    };
    stopping.run_until_cancelled(watching).await;
}

async fn look(site: &Site) -> Result<()> {
    // Before anything is folded.
    super::groups::pin_newest(site).await?;
    for known in site.catalog.replicas().await? {
        let (vm, journal) = (known.vm_name.clone(), known.journal_id);
        if let Err(failure) = look_after(site, known).await {
            tracing::warn!(%vm, %journal, reason = failure.detail(), "a replica could not be looked after");
        }
    }
    Ok(())
}

async fn look_after(site: &Site, known: KnownReplica) -> Result<()> {
    let Some(_turn) = site.replicas.turns.take(&known.journal_id) else { return Ok(()) };
    if matches!(known.standing.stage, Stage::Committed { .. }) {
        replaced::discard(site, &known).await?;
        return drop_moments(site, &known).await;
    }
    let kept = site.replicas.get(known.journal_id)?;
    if kept.replica.is_err() {
        return Ok(());
    }
    // A base that is still to begin with something must not be there before.
    let folds = !seeds::is_pending(site, known.journal_id).await?;
    let folder = site.replicas.folder(known.journal_id);
    let retention = Retention { window: Duration::from_secs(known.retention_seconds), segment_bytes: None };
    let working = Arc::clone(&kept);
    site.replicas
        .work(move || {
            keep(working.replica()?, &retention, folds)?;
            measure(&working, &folder)
        })
        .await
}

fn keep(replica: &Replica, retention: &Retention, folds: bool) -> Result<()> {
    replica.merge_indexes()?;
    if !folds {
        return Ok(());
    }
    let plan = replica.plan_fold(retention);
    if plan.segments > 0 {
        let folded = replica.fold(&plan)?;
        tracing::debug!(segments = folded.segments, bytes = folded.bytes, "a replica was folded");
    }
    Ok(())
}

/// Sees what the bases take.
fn measure(kept: &Kept, folder: &std::path::Path) -> Result<()> {
    let failed = |error: std::io::Error| Failure::from_io("measuring a replica", &error);
    let mut bases_bytes = 0;
    for entry in folder.read_dir().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().as_encoded_bytes().starts_with(b"base-") {
            use std::os::unix::fs::MetadataExt as _;
            bases_bytes += entry.metadata().map_err(failed)?.blocks() * 512;
        }
    }
    kept.bases_bytes.store(bases_bytes, std::sync::atomic::Ordering::Relaxed);
    Ok(())
}

/// After a commit only the moment stays that the VM's disks still read from, and nothing once they are whole.
async fn drop_moments(site: &Site, known: &KnownReplica) -> Result<()> {
    if super::change::readers(site, known.journal_id).await?.is_empty()
        && site.replicas.folder(known.journal_id).exists()
    {
        let gone = Kept::new(Err("its moments were dropped by the commit".to_owned()));
        site.replicas.admit(known.journal_id, gone);
        let away = site.replicas.put_away(known.journal_id)?;
        site.replicas.discard(away).await?;
        tracing::info!(vm = %known.vm_name, "the replica of a VM that was failed over for good is gone");
    }
    Ok(())
}

/// Who reads from a replica.
pub(super) fn reads(owner: &Owner, journal: model::JournalId) -> bool {
    owner.reads(
        |source| matches!(source, catalog::ImageSource::Replica { journal_id, .. } if *journal_id == journal),
    )
}
