//! A backup of a VM.

use std::sync::Arc;

use api::{BackupRequest, JobResult, PointView, shell_word};
use catalog::{Job, KnownVm};
use model::{JobKind, ProtectionSettings};
use protection::{BackupOrder, Monitor};
use serde::Serialize;

use super::{document_of, open_vault};
use crate::{
    copies, dependents,
    failure::{Failure, Result},
    jobs::{JobDraft, JobMonitor, Outcome},
    object_locks, policies,
    site::Site,
    vms,
};

/// A label is for finding a point, not for telling its story.
const LABEL_LIMIT_CHARS: usize = 200;

/// What the request document of a backup holds.
#[derive(Debug, Serialize)]
struct BackupDocument<'a> {
    #[serde(flatten)]
    request: &'a BackupRequest,
    by_policy: bool,
}

/// Whether this is a backup that a policy asked for.
pub(crate) fn is_by_policy(job: &Job) -> bool {
    job.request["by_policy"] == true
}

/// Lines up a backup.
pub(crate) async fn submit(site: &Site, vm: &KnownVm, request: BackupRequest) -> Result<Job> {
    check_label(request.label.as_deref())?;
    line_up(site, vm, request, false).await
}

/// Fails for what is no label.
pub(super) fn check_label(label: Option<&str>) -> Result<()> {
    let label = label.unwrap_or_default();
    if label.chars().count() > LABEL_LIMIT_CHARS || label.chars().any(char::is_control) {
        return Err(Failure::invalid(format!(
            "a label has at most {LABEL_LIMIT_CHARS} characters and no control characters"
        )));
    }
    Ok(())
}

/// Lines up a backup that the VM's policy asks for.
pub(crate) async fn submit_by_policy(site: &Site, vm: &KnownVm) -> Result<Job> {
    line_up(site, vm, BackupRequest::default(), true).await
}

async fn line_up(site: &Site, vm: &KnownVm, request: BackupRequest, by_policy: bool) -> Result<Job> {
    let settings = settings(site, vm).await?;
    let draft = JobDraft {
        kind: JobKind::Backup,
        subject: vm.name.to_string(),
        vm_id: Some(vm.id),
        vault_id: Some(settings.vault_id),
        request: document_of(&BackupDocument { request: &request, by_policy }),
    };
    let (work_site, vm) = (site.clone(), vm.clone());
    site.jobs
        .submit(
            draft,
            Box::new(move |monitor| {
                Box::pin(async move { work(&work_site, vm, request, by_policy, monitor).await })
            }),
        )
        .await
}

async fn settings(site: &Site, vm: &KnownVm) -> Result<ProtectionSettings> {
    site.catalog.protection(vm.id).await?.ok_or_else(|| {
        Failure::conflict(format!("the VM {} is not protected", vm.name)).with_hint(format!(
            "name a vault for it: holdfast protect {} --vault VAULT",
            shell_word(vm.name.as_str())
        ))
    })
}

async fn work(
    site: &Site,
    vm: KnownVm,
    request: BackupRequest,
    by_policy: bool,
    monitor: Arc<JobMonitor>,
) -> Outcome {
    // Its turn may come late: what counts is how the VM is protected now.
    let mut settings = settings(site, &vm).await?;
    settings.consistency = request.consistency.unwrap_or(settings.consistency);
    let known = site.vaults.find(settings.vault_id.as_str()).await?;
    let vault = open_vault(site, &known, &monitor).await?;
    monitor.phase("looking at the VM");
    if let Err(reason) = vms::refresh(site, &vm).await {
        tracing::debug!(vm = %vm.name, reason, "the VM was not seen before its backup");
    }
    let vm = vms::find(site, vm.id.as_str()).await?;
    vms::check_whole(&vm)?;
    // A stopped VM is read from its files.
    let _taken = dependents::take(site, &vms::disk_paths(&vm)).await?;
    let order = BackupOrder { vm: vms::access(&vm), settings, label: request.label, distrust: None };
    let monitor: Arc<dyn Monitor> = monitor;
    let point = Box::pin(protection::backup(&site.env, &*site.hypervisor, &vault, &order, &monitor)).await?;
    if by_policy {
        policies::settle_points(site, vm.id, &known, point.id, &*monitor).await;
    }
    copies::sync_behind_of(site, known.id).await;
    object_locks::renew(site, &known, None);
    Ok(JobResult::Point(Box::new(PointView::new(point, known.name.as_str(), None))))
}
