//! What is damaged in a vault is healed: from its copies, and from what it knows twice.

use std::sync::Arc;

use api::{Code, FindingView, HeldView, HurtView, JobResult, RepairRequest, RepairView};
use catalog::{Job, KnownCopy, KnownVault};
use model::{ByteCount, JobKind};
use protection::{Monitor, vault_monitor};
use vault::{
    Cure, DamagedObject, HeldPoint, HurtPoint, RepairFinding, RepairOptions, RepairReport, StoreLocation,
};

use super::{document_of, open_vault};
use crate::{
    copies,
    failure::{Failure, Result},
    jobs::{JobDraft, JobMonitor, Outcome, WorkFailure},
    object_locks,
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
    if !dry_run {
        object_locks::renew(site, &known, None);
    }
    if view.unhealed_count == 0 && (dry_run || view.hurt_points.is_empty()) {
        return Ok(JobResult::Repaired(Box::new(view)));
    }
    let detail = format!(
        "{} objects of the vault {} cannot be healed, and {} recovery points are hurt",
        view.unhealed_count,
        known.name,
        view.hurt_points.len()
    );
    let failure = Failure::new(Code::Damaged, detail)
        .with_hint("a copy that has them heals them: holdfast vault copy add, or attach the old store");
    Err(WorkFailure { failure, result: Some(Box::new(JobResult::Repaired(Box::new(view)))) })
}

fn view(known: &KnownVault, dry_run: bool, report: &RepairReport) -> RepairView {
    let (healed, unhealed): (Vec<_>, Vec<_>) =
        report.findings.iter().partition(|finding| finding.cure.is_some());
    RepairView {
        vault: known.name.to_string(),
        dry_run,
        healed_count: report.healed_count,
        unhealed_count: report.finding_count.saturating_sub(report.healed_count),
        healed: healed.into_iter().map(finding).collect(),
        unhealed: unhealed.into_iter().map(finding).collect(),
        hurt_points: report.hurt.iter().map(hurt).collect(),
        held_points: report.held.iter().map(held).collect(),
    }
}

fn finding(finding: &RepairFinding) -> FindingView {
    let object = match finding.object {
        DamagedObject::Config => "the config".to_owned(),
        DamagedObject::KeySlot(id) => format!("key slot {id}"),
        DamagedObject::LogEntry(number) => format!("log entry {}", number.0),
        DamagedObject::State(number) => format!("state {}", number.0),
        DamagedObject::Index => "the index".to_owned(),
        DamagedObject::IndexSegment(id) => format!("index segment {id}"),
        DamagedObject::Point(id) => format!("recovery point {id}"),
        DamagedObject::Pack(id) => format!("pack {id}"),
        _ => "an object of a kind that this server does not know".to_owned(),
    };
    let cure = match finding.cure {
        Some(Cure::Uncovered) => "brought back from an earlier version in the store",
        Some(Cure::Copied) => "taken from a copy",
        Some(Cure::Rebuilt) => "made anew from what is left",
        Some(Cure::Removed) => "removed; others do the same",
        Some(_) => "healed",
        None => "nothing has it",
    };
    FindingView { object, detail: format!("{}: {cure}", finding.reason) }
}

fn hurt(point: &HurtPoint) -> HurtView {
    HurtView {
        id: point.id,
        vm_id: point.vm_id,
        captured_at: point.captured_at,
        lost_bytes: point.lost_bytes.map(ByteCount),
    }
}

fn held(point: &HeldPoint) -> HeldView {
    HeldView { id: point.id, vm_id: point.vm_id, captured_at: point.captured_at }
}
