//! A vault is read back and checked.

mod pack_checks;

use std::{collections::BTreeMap, sync::Arc};

use api::{Code, DamageView, HurtDiskView, HurtPointView, JobResult, VerifyRequest, VerifyView};
use catalog::{Job, KnownVault};
use model::{ByteCount, DiskName, JobKind, PointId, Timestamp};
use protection::Monitor;
use vault::{Damage, DiskHealth, PointHealth, Vault, VerifyOptions, VerifyReport, VerifyScope};

use self::pack_checks::PackChecks;
use super::{document_of, open_vault};
use crate::{
    failure::{Failure, Result},
    jobs::{JobDraft, JobMonitor, Outcome, WorkFailure},
    site::Site,
};

/// Lost ranges of a disk that are named one by one; their sum is complete.
const RANGES_LIMIT: usize = 100;

/// How large the disks of all points are.
type DiskSizes = BTreeMap<(PointId, DiskName), ByteCount>;

/// Lines up the verification of a vault.
pub(crate) async fn submit(site: &Site, known: KnownVault, request: VerifyRequest) -> Result<Job> {
    if request.sample_percent.is_some() && request.older_than_hours.is_some() {
        return Err(Failure::invalid("choose packs at random or by their age, not both"));
    }
    if request.sample_percent.is_some_and(|percent| !(1..=100).contains(&percent)) {
        return Err(Failure::invalid("a sample is 1 to 100 per cent of the packs"));
    }
    let draft = JobDraft {
        kind: JobKind::Verify,
        subject: known.name.to_string(),
        vm_id: None,
        vault_id: Some(known.id),
        request: document_of(&request),
    };
    let work_site = site.clone();
    site.jobs
        .submit(
            draft,
            Box::new(move |monitor| Box::pin(async move { work(&work_site, known, request, monitor).await })),
        )
        .await
}

async fn work(site: &Site, known: KnownVault, request: VerifyRequest, monitor: Arc<JobMonitor>) -> Outcome {
    let vault = open_vault(site, &known, &monitor).await?;
    let checks = PackChecks::of(site, &known).await?;
    let options = VerifyOptions { scope: scope(site, request, &checks) };
    let monitor: Arc<dyn Monitor> = monitor;
    let report = Box::pin(protection::verify(&vault, &options, &monitor)).await?;
    checks.keep(site, &known, &options.scope, &report).await;
    let is_partial = !matches!(options.scope, VerifyScope::Everything);
    let is_clean = report.is_clean();
    let damage_count = report.damage_count;
    let view = view(&known, is_partial, report, &disk_sizes(&vault).await?);
    if is_clean {
        return Ok(JobResult::Verified(view));
    }
    let detail = format!(
        "the vault {} is damaged: {damage_count} findings, which hurt {} recovery points; {} are intact",
        known.name,
        view.hurt_points.len(),
        view.intact_point_count
    );
    let failure = Failure::new(Code::Damaged, detail)
        .with_hint("the intact points restore in full, and of the others the disks that are not named");
    Err(WorkFailure { failure, result: Some(Box::new(JobResult::Verified(view))) })
}

fn scope(site: &Site, request: VerifyRequest, checks: &PackChecks) -> VerifyScope {
    const HOUR_US: i64 = 3_600_000_000;
    match (request.sample_percent, request.older_than_hours) {
        (Some(percent), _) => VerifyScope::Sample { percent },
        (None, Some(hours)) => {
            let age_us = i64::from(hours).saturating_mul(HOUR_US);
            let now_us = site.env.clock.now().as_microseconds();
            let since = Timestamp::from_microseconds(now_us.saturating_sub(age_us));
            VerifyScope::NotCheckedSince { since, checked: checks.as_known() }
        }
        (None, None) => VerifyScope::Everything,
    }
}

async fn disk_sizes(vault: &Vault) -> Result<DiskSizes> {
    let points = vault.points().await?.points;
    let sizes = points.iter().flat_map(|point| {
        let disks = point.summary.disks.iter();
        disks.map(|disk| ((point.summary.id, disk.name.clone()), disk.size_bytes))
    });
    Ok(sizes.collect())
}

fn view(known: &KnownVault, is_partial: bool, report: VerifyReport, sizes: &DiskSizes) -> VerifyView {
    let hurt = report.points.iter().filter(|point| !point.is_intact());
    let hurt_points: Vec<_> = hurt.map(|point| hurt_point(point, sizes)).collect();
    VerifyView {
        vault: known.name.to_string(),
        is_partial,
        pack_count: report.packs,
        digest_only_pack_count: report.digest_only_packs,
        chunk_count: report.chunks,
        read_bytes: ByteCount(report.checked_bytes),
        damages: report.damage.iter().map(damage).collect(),
        intact_point_count: (report.points.len() - hurt_points.len()) as u64,
        hurt_points,
    }
}

fn damage(damage: &Damage) -> DamageView {
    let (object, chunk, detail) = match damage {
        Damage::MissingPack { pack } => (format!("pack {pack}"), None, "it is missing"),
        Damage::Pack { pack, reason } => (format!("pack {pack}"), None, reason.as_str()),
        Damage::Chunk { pack, chunk } => {
            (format!("pack {pack}"), Some(chunk.to_string()), "its bytes are not those that were stored")
        }
        Damage::IndexSegment { segment, reason } => {
            (format!("index segment {segment}"), None, reason.as_str())
        }
        Damage::Point { object, reason } => (format!("recovery point {object}"), None, reason.as_str()),
        Damage::Config { reason } => ("the config".to_owned(), None, reason.as_str()),
        Damage::KeySlot { slot, reason } => (format!("key slot {slot}"), None, reason.as_str()),
        Damage::LogEntry { sequence, reason } => (format!("log entry {}", sequence.0), None, reason.as_str()),
        Damage::State { sequence, reason } => (format!("state {}", sequence.0), None, reason.as_str()),
        _ => ("unknown".to_owned(), None, "damage of a kind that this server does not know"),
    };
    DamageView { object, chunk, detail: detail.to_owned() }
}

fn hurt_point(point: &PointHealth, sizes: &DiskSizes) -> HurtPointView {
    let disk = |disk: &DiskHealth| {
        let size_bytes = sizes.get(&(point.id, disk.name.clone())).copied().unwrap_or_default();
        let ranges = disk.lost.iter().take(RANGES_LIMIT);
        HurtDiskView {
            name: disk.name.to_string(),
            lost_bytes: ByteCount(disk.lost_bytes),
            intact_bytes: ByteCount(size_bytes.0.saturating_sub(disk.lost_bytes)),
            first_lost_ranges: ranges.map(|range| (range.offset_bytes, range.length_bytes)).collect(),
        }
    };
    HurtPointView {
        id: point.id,
        vm_name: point.vm_name.to_string(),
        disks: point.hurt.iter().map(disk).collect(),
    }
}
