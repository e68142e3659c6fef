//! Looking at VMs. A VM that does not answer is shown, not an error.

use std::time::Duration;

use api::{AgentView, DependentDiskView, DiskView, ProtectionView, VmOriginView, VmView};
use catalog::{DependentDisk, KnownVm, Origin};
use futures::future;
use hypervisor::{AgentState, DiskInspection, Inspection, Power, Tracking};
use model::{ProtectionSettings, RunKind, VmDefinition};

use super::half_restored;
use crate::{
    dependents,
    failure::{Failure, Result},
    points::Survey,
    policies,
    site::Site,
};

/// How long a VM may take to answer before it is shown as unreachable.
const LOOK_LIMIT: Duration = Duration::from_secs(3);

/// All VMs, by name.
pub(crate) async fn list(site: &Site) -> Result<Vec<VmView>> {
    let (vms, survey) =
        future::try_join(async { Ok(site.catalog.vms().await?) }, Survey::glance(site)).await?;
    future::try_join_all(vms.iter().map(|vm| view_with(site, vm, &survey))).await
}

/// One VM.
pub(crate) async fn view(site: &Site, vm: &KnownVm) -> Result<VmView> {
    view_with(site, vm, &Survey::glance(site).await?).await
}

/// Looks at a VM and, where somebody else starts it, keeps what was seen for the time when it is stopped.
pub(crate) async fn refresh(site: &Site, vm: &KnownVm) -> std::result::Result<Inspection, String> {
    let looked = tokio::time::timeout(LOOK_LIMIT, site.hypervisor.inspect(&super::access(vm))).await;
    let inspection = match looked {
        Ok(Ok(inspection)) => inspection,
        Ok(Err(error)) => return Err(Failure::from(error).detail().to_owned()),
        Err(_) => return Err(format!("it has not answered for {} s", LOOK_LIMIT.as_secs())),
    };
    let is_news = vm.last_seen.as_ref() != Some(&inspection.definition);
    let is_told =
        is_news && matches!(vm.origin, Origin::External { .. }) && inspection.power != Power::Stopped;
    if is_told && let Err(error) = site.catalog.set_last_seen(vm.id, &inspection.definition).await {
        tracing::warn!(vm = %vm.name, %error, "what was seen of a VM could not be kept");
    }
    Ok(inspection)
}

async fn view_with(site: &Site, vm: &KnownVm, survey: &Survey) -> Result<VmView> {
    let protection = match site.catalog.protection(vm.id).await? {
        Some(settings) => Some(protection_view(site, vm, settings).await?),
        None => None,
    };
    let looked = refresh(site, vm).await;
    let definition = known_definition(vm);
    let seen = looked.as_ref().ok();
    let definition = seen.map(|seen| &seen.definition).or(definition);
    Ok(VmView {
        id: vm.id,
        name: vm.name.to_string(),
        origin: match vm.origin {
            Origin::External { .. } => VmOriginView::External,
            Origin::Managed { .. } => VmOriginView::Managed,
        },
        power: seen.map_or("unreachable", |seen| power(seen.power)).to_owned(),
        unreachable_because: looked.as_ref().err().cloned(),
        hypervisor: seen.map(|seen| seen.hypervisor.clone()),
        cpus: definition.map_or(0, |definition| definition.cpus),
        memory_bytes: definition.map(|definition| definition.memory).unwrap_or_default(),
        disks: seen.map(|seen| seen.disks.iter().map(disk).collect()).unwrap_or_default(),
        dependent_disks: vm
            .dependent_disks
            .iter()
            .map(|dependent| dependent_disk(site, vm, dependent))
            .collect(),
        agent: agent(seen.map(|seen| &seen.agent)),
        limits: seen.map(|seen| seen.limits.clone()).unwrap_or_default(),
        protection,
        snapshot_policy: policies::followed(site, RunKind::Snapshot, vm.id).await?,
        latest_point: survey.latest(vm.id).map(|point| point.view()),
        half_restored: half_restored::view(vm),
        current_job: site.jobs.of_vm(vm.id),
    })
}

/// What is known of a VM without asking it.
pub(crate) fn known_definition(vm: &KnownVm) -> Option<&VmDefinition> {
    match &vm.origin {
        Origin::Managed { definition } => Some(definition),
        Origin::External { .. } => vm.last_seen.as_ref(),
    }
}

async fn protection_view(site: &Site, vm: &KnownVm, settings: ProtectionSettings) -> Result<ProtectionView> {
    let vault = site.vaults.find(settings.vault_id.as_str()).await?;
    Ok(ProtectionView {
        vault: vault.name.into(),
        policy: policies::followed(site, RunKind::Backup, vm.id).await?,
        consistency: settings.consistency,
        strict: settings.strict,
        freeze_limit_ms: settings.freeze_limit_ms,
        read_limit_bytes_per_second: settings.read_limit_bytes_per_second,
        pre_script: settings.pre_script,
        post_script: settings.post_script,
    })
}

fn power(power: Power) -> &'static str {
    match power {
        Power::Running => "running",
        Power::Paused => "paused",
        Power::Stopped => "stopped",
    }
}

fn disk(disk: &DiskInspection) -> DiskView {
    DiskView {
        name: disk.name.to_string(),
        path: disk.path.display().to_string(),
        format: disk.format,
        size_bytes: disk.size_bytes,
        tracking: match &disk.tracking {
            Tracking::Since(capture) => format!("on since capture {capture}"),
            Tracking::Off => "off".to_owned(),
            Tracking::Broken(reason) => format!("broken: {reason}"),
        },
    }
}

fn dependent_disk(site: &Site, vm: &KnownVm, dependent: &DependentDisk) -> DependentDiskView {
    DependentDiskView {
        disk: dependent.disk.to_string(),
        reads_from: dependents::shown(&dependent.source),
        failure: site.backings.failure(vm.id.as_str(), &dependent.disk).map(|failure| failure.reason),
    }
}

fn agent(state: Option<&AgentState>) -> AgentView {
    match state {
        Some(AgentState::Answers(version)) => AgentView { answers: true, detail: version.clone() },
        Some(AgentState::Silent(reason)) => AgentView { answers: false, detail: reason.clone() },
        Some(AgentState::NoChannel) => {
            AgentView { answers: false, detail: "the VM has no channel for a guest agent".to_owned() }
        }
        None => AgentView { answers: false, detail: "the VM does not answer".to_owned() },
    }
}
