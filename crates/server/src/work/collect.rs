//! A vault's garbage is collected.

use std::sync::Arc;

use api::{CollectRequest, CollectView, JobResult};
use catalog::{Job, KnownVault};
use model::{ByteCount, JobKind, JobState};
use protection::{Monitor, vault_monitor};
use vault::{CollectOptions, CollectPlan, CollectReport};

use super::{document_of, open_vault};
use crate::{
    copies,
    failure::{Failure, Result},
    jobs::{JobDraft, JobMonitor, Outcome},
    object_locks,
    site::Site,
};

/// Lines up a collection.
pub(crate) async fn submit(site: &Site, known: KnownVault, request: CollectRequest) -> Result<Job> {
    let draft = JobDraft {
        kind: JobKind::Collect,
        subject: known.name.to_string(),
        vm_id: None,
        vault_id: Some(known.id),
        request: document_of(&request),
    };
    let work_site = site.clone();
    let work = Box::new(move |monitor| {
        Box::pin(async move { work(&work_site, known, request, monitor).await }) as _
    });
    site.jobs.submit(draft, work).await
}

/// Lines up a collection of the snapshot store. Nobody but this server writes to it, so that where no snapshot is being made
/// nothing has to be left alone for the sake of writers.
pub(crate) async fn submit_for_snapshots(site: &Site, request: CollectRequest) -> Result<Job> {
    let store = site.vaults.snapshot_store().await?;
    let store = store.ok_or_else(|| {
        Failure::not_found("there is no snapshot store yet")
            .with_hint("it is made with the first snapshot: holdfast snapshot create VM")
    })?;
    let is_idle = site.catalog.unfinished_snapshots().await?.is_empty();
    let grace_hours = request.grace_hours.or(is_idle.then_some(0));
    submit(site, store, CollectRequest { grace_hours, ..request }).await
}

/// Lines up a collection of the snapshot store, unless one is to come anyway.
pub(crate) async fn collect_snapshot_store(site: &Site) -> Result<()> {
    let Some(store) = site.vaults.snapshot_store().await? else { return Ok(()) };
    let comes = |job: &Job| {
        (job.kind, job.vault_id, job.state) == (JobKind::Collect, Some(store.id), JobState::Queued)
    };
    if !site.jobs.unfinished().iter().any(comes) {
        submit_for_snapshots(site, CollectRequest::default()).await?;
    }
    Ok(())
}

async fn work(site: &Site, known: KnownVault, request: CollectRequest, monitor: Arc<JobMonitor>) -> Outcome {
    let vault = open_vault(site, &known, &monitor).await?;
    let defaults = CollectOptions::default();
    let options = CollectOptions {
        grace_hours: request.grace_hours.unwrap_or(defaults.grace_hours),
        ignore_damaged: request.ignore_damaged.into_iter().collect(),
        ..defaults
    };
    let operation: Arc<dyn Monitor> = monitor.clone();
    let failed = |error| Failure::from(error).during("collecting garbage");
    let view = if request.dry_run {
        let step = vault_monitor(&operation, "looking for what nothing needs".to_owned());
        planned(&known, &Box::pin(vault.plan_collection(&options, &step)).await.map_err(failed)?)
    } else {
        let step = vault_monitor(&operation, "collecting garbage".to_owned());
        let report = Box::pin(vault.collect(&options, &step)).await.map_err(failed)?;
        if report.is_repacking_left_out {
            monitor.warn(
                "the store is full: packs of which only a part is needed were left alone, since rewriting them takes room; run \
                 the same again when there is some"
                    .to_owned(),
            );
        }
        let done = done(&known, &report);
        copies::sync_behind_of(site, known.id).await;
        object_locks::renew(site, &known, None);
        done
    };
    Ok(JobResult::Collected(view))
}

fn planned(known: &KnownVault, plan: &CollectPlan) -> CollectView {
    CollectView {
        vault: known.name.to_string(),
        dry_run: true,
        purged_point_count: plan.points.len() as u64,
        dropped_pack_count: (plan.drop.len() + plan.orphans.len()) as u64,
        repacked_pack_count: plan.repack.len() as u64,
        freed_bytes: plan.freed_bytes,
        kept_pack_count: Some(plan.partly_dead.count),
        kept_dead_bytes: Some(plan.partly_dead.bytes),
        waiting_pack_count: Some(plan.young.iter().map(|young| young.packs.count).sum()),
        waits_until: plan.young.iter().map(|young| young.until).max(),
    }
}

fn done(known: &KnownVault, report: &CollectReport) -> CollectView {
    let freed = report.deleted_bytes.0.saturating_sub(report.rewritten_bytes.0);
    CollectView {
        vault: known.name.to_string(),
        dry_run: false,
        purged_point_count: report.points,
        dropped_pack_count: report.dropped_packs,
        repacked_pack_count: report.repacked_packs,
        freed_bytes: ByteCount(freed),
        kept_pack_count: None,
        kept_dead_bytes: None,
        waiting_pack_count: None,
        waits_until: None,
    }
}
