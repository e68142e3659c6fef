//! When a copy is brought up to date.

use std::time::Duration;

use catalog::{CopyFailure, Job, KnownCopy, KnownVault};
use model::{JobKind, Timestamp, VaultId};

use crate::{failure::Result, site::Site, work};

/// How long a copy that failed once is left alone; doubled with each further failure.
const FIRST_PAUSE: Duration = Duration::from_secs(60);

/// However often it has failed, a copy is not left alone for longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 60 * 60);

/// Brings a copy up to date, whatever became of it before. Returns the job that does it, which may be under way already.
pub(crate) async fn sync(site: &Site, known: &KnownVault, copy: &KnownCopy) -> Result<Job> {
    loop {
        if let Some(turn) = site.syncs.take(&(known.id, copy.name.clone())) {
            return work::copy(site, known.clone(), copy.clone(), turn).await;
        }
        if let Some(job) = job_of(site, known, copy) {
            return Ok(job);
        }
        // It ends, or is only just being lined up.
        tokio::task::yield_now().await;
    }
}

/// Brings all copies of a vault up to date that have not failed just now. Never fails: what it cannot do now, the next
/// occasion does.
pub(crate) async fn sync_behind_of(site: &Site, vault_id: VaultId) {
    let synced = async {
        let copies = site.catalog.copies_of(vault_id).await?;
        sync_all(site, &copies).await
    };
    if let Err(failure) = synced.await {
        tracing::warn!(reason = failure.detail(), "copies were not brought up to date");
    }
}

/// The same for all copies of all vaults.
pub(crate) async fn sync_behind(site: &Site) {
    let synced = async {
        let copies = site.catalog.copies().await?;
        sync_all(site, &copies).await
    };
    if let Err(failure) = synced.await {
        tracing::warn!(reason = failure.detail(), "copies were not brought up to date");
    }
}

async fn sync_all(site: &Site, copies: &[KnownCopy]) -> Result<()> {
    let now = site.env.clock.now();
    for copy in copies {
        if !is_due(copy.failure.as_ref(), now) {
            tracing::info!(copy = %copy.name, "the copy failed just now; a later occasion tries it again");
            continue;
        }
        let known = site.vaults.find(copy.vault_id.as_str()).await?;
        if let Some(turn) = site.syncs.take(&(known.id, copy.name.clone())) {
            work::copy(site, known, copy.clone(), turn).await?;
        }
    }
    Ok(())
}

/// Whether a copy has been left alone for long enough.
fn is_due(failure: Option<&CopyFailure>, now: Timestamp) -> bool {
    let Some(failure) = failure else { return true };
    let doublings = failure.count.saturating_sub(1).min(31);
    let pause = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
    let waited_us = now.microseconds_since(failure.at);
    // A clock that was set back must not keep the copy waiting for years.
    waited_us < 0 || u128::from(waited_us.unsigned_abs()) >= pause.as_micros()
}

/// The job that brings a copy up to date.
fn job_of(site: &Site, known: &KnownVault, copy: &KnownCopy) -> Option<Job> {
    let subject = work::copy_subject(known, copy);
    let mut jobs = site.jobs.unfinished().into_iter();
    jobs.find(|job| job.kind == JobKind::Copy && job.vault_id == Some(known.id) && job.subject == subject)
}

#[cfg(test)]
mod tests;
