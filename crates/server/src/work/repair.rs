//! What is damaged in a vault is healed: from its copies, and from what it knows twice.

use std::sync::Arc;

use api::{Code, JobResult, RepairRequest, RepairView};
use catalog::{Job, KnownCopy, KnownVault};
use model::JobKind;
use protection::{Monitor, vault_monitor};
use vault::{RepairOptions, RepairReport, StoreLocation};

use super::{document_of, open_vault};
use crate::{
    copies,
    failure::{Failure, Result},
    jobs::{JobDraft, JobMonitor, Outcome, WorkFailure},
    site::Site,
};

/// Lines up a repair.
pub(crate) async fn submit(site: &Site, known: KnownVault, request: RepairRequest) -> Result<Job> {
    let mut from = Vec::new();
    for name in &request.from_copies {
        from.push(copies::find(site, &known, name).await?);
    }
    if request.from_copies.is_empty() {
        from = site.catalog.copies_of(known.id).await?;
    }
    let draft = JobDraft {
        kind: JobKind::Repair,
        subject: known.name.to_string(),
        vm_id: None,
        vault_id: Some(known.id),
        request: document_of(&request),
    };
    let work_site = site.clone();
    let work = Box::new(move |monitor| {
        Box::pin(async move { work(&work_site, known, from, request.dry_run, monitor).await }) as _
    });
    site.jobs.submit(draft, work).await
}

async fn work(
    site: &Site,
    known: KnownVault,
    from: Vec<KnownCopy>,
    dry_run: bool,
    monitor: Arc<JobMonitor>,
) -> Outcome {
    let vault = open_vault(site, &known, &monitor).await?;
    let locations: Vec<StoreLocation> =
        from.iter().map(|copy| StoreLocation::parse(&copy.url)).collect::<vault::Result<_>>()?;
    let operation: Arc<dyn Monitor> = monitor.clone();
    let step = vault_monitor(&operation, "looking for damage".to_owned());
    let report = Box::pin(vault.repair(&locations, RepairOptions { dry_run }, &step)).await;
    let report = report.map_err(|error| Failure::from(error).during("repairing the vault"))?;
    let view = view(&known, dry_run, &report);
    if view.unhealed.is_empty() {
        return Ok(JobResult::Repaired(view));
    }
    let detail = format!(
        "{} objects of the vault {} cannot be healed, which hurts {} recovery points",
        view.unhealed.len(),
        known.name,
        view.hurt_points.len()
    );
    let failure = Failure::new(Code::Damaged, detail)
        .with_hint("a copy that has them heals them: holdfast vault copy add, or attach the old store");
    Err(WorkFailure { failure, result: Some(JobResult::Repaired(view)) })
}

fn view(known: &KnownVault, dry_run: bool, _report: &RepairReport) -> RepairView {
    RepairView {
        vault: known.name.to_string(),
        dry_run,
        healed: Vec::new(),
        unhealed: Vec::new(),
        hurt_points: Vec::new(),
    }
}
