//! A copy of a vault is brought up to date.

use std::sync::Arc;

use api::{JobResult, SyncView};
use catalog::{CopyFailure, Job, KnownCopy, KnownVault};
use model::{ByteCount, JobKind};
use protection::{Monitor, vault_monitor};
use vault::{StoreLocation, Vault};

use super::{document_of, open_vault};
use crate::{
    copies::Turn,
    failure::{Failure, Result},
    jobs::{JobDraft, JobMonitor, Outcome},
    object_locks,
    site::Site,
};

/// Lines up the job. The turn is the job's until it ends, however it ends.
pub(crate) async fn submit(site: &Site, known: KnownVault, copy: KnownCopy, turn: Turn) -> Result<Job> {
    let draft = JobDraft {
        kind: JobKind::Copy,
        subject: subject(&known, &copy),
        vm_id: None,
        vault_id: Some(known.id),
        request: document_of(&()),
    };
    let work_site = site.clone();
    let work = Box::new(move |monitor| {
        Box::pin(async move { work(&work_site, known, copy, turn, monitor).await }) as _
    });
    site.jobs.submit(draft, work).await
}

/// What the job is about, in words.
pub(crate) fn subject(known: &KnownVault, copy: &KnownCopy) -> String {
    format!("{}/{}", known.name, copy.name)
}

async fn work(
    site: &Site,
    known: KnownVault,
    mut copy: KnownCopy,
    mut turn: Turn,
    monitor: Arc<JobMonitor>,
) -> Outcome {
    let mut view = SyncView {
        vault: known.name.to_string(),
        copy: copy.name.to_string(),
        change_count: 0,
        point_count: 0,
        pack_count: 0,
        sent_bytes: ByteCount(0),
        damaged_count: 0,
    };
    loop {
        // A vault that does not open is not the copy's failure.
        let vault = open_vault(site, &known, &monitor).await?;
        let synced = bring_up_to_date(&vault, &known, &copy, &mut view, &monitor).await;
        let cancelled = monitor.cancellation().is_cancelled();
        keep_outcome(site, &mut copy, synced.as_ref().err().filter(|_| !cancelled), synced.is_ok()).await;
        synced?;
        match turn.end() {
            Some(again) => turn = again,
            None => {
                object_locks::renew(site, &known, Some(&copy));
                return Ok(JobResult::Synced(view));
            }
        }
    }
}

async fn bring_up_to_date(
    vault: &Vault,
    known: &KnownVault,
    copy: &KnownCopy,
    view: &mut SyncView,
    monitor: &Arc<JobMonitor>,
) -> Result<()> {
    let location = StoreLocation::parse(&copy.url)?;
    let operation: Arc<dyn Monitor> = monitor.clone();
    let step = vault_monitor(&operation, format!("copying to {}", copy.name));
    let report = match copy.last_synced_at {
        Some(_) => Box::pin(vault.update_copy(&location, &step)).await,
        None => Box::pin(vault.copy_to(&location, &step)).await,
    };
    let report = report.map_err(|error| {
        Failure::from(error).during(&format!("bringing the copy {} up to date", copy.name))
    })?;
    view.change_count += report.entries;
    view.point_count += report.points;
    view.pack_count += report.packs;
    view.sent_bytes = view.sent_bytes + report.bytes;
    view.damaged_count += report.damaged;
    if report.damaged > 0 {
        monitor.warn(format!(
            "{} objects of the vault are damaged or lost and were not sent; see what with: holdfast vault verify {}",
            report.damaged, known.name
        ));
    }
    Ok(())
}

/// Keeps how it went, for those who look at the vault and for the next occasion.
async fn keep_outcome(site: &Site, copy: &mut KnownCopy, failure: Option<&Failure>, is_done: bool) {
    let now = site.env.clock.now();
    if is_done {
        (copy.last_synced_at, copy.failure) = (Some(now), None);
    } else if let Some(failure) = failure {
        let count = copy.failure.as_ref().map_or(0, |earlier| earlier.count).saturating_add(1);
        copy.failure = Some(CopyFailure { at: now, count, problem: failure.detail().to_owned() });
    } else {
        return;
    }
    if let Err(error) = site.catalog.set_copy_outcome(copy).await {
        tracing::warn!(copy = %copy.name, %error, "how a copy stands could not be kept");
    }
}
