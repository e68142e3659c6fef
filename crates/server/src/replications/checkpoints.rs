//! Checkpoints by name, and those that are consistent for applications. The tap makes the others by itself.

use std::time::Duration;

use api::{CheckpointView, MakeCheckpoint};
use catalog::KnownVm;
use journal::CHECKPOINT_NAME_BYTES_MAX;
use model::{ProtectionSettings, VmId};
use tap::{Checkpoint, CheckpointKind};
use tokio::time::timeout;

use super::{tasks::Shared, watch};
use crate::{
    failure::{Failure, Result},
    site::Site,
    vms,
};

/// How long the journal may take while the guest stands still.
const MARK_LIMIT: Duration = Duration::from_secs(2);

/// How soon it is tried again after it failed.
const RETRY_PAUSE: Duration = Duration::from_secs(60);

/// Names this moment of a VM.
pub(crate) async fn checkpoint(site: &Site, vm: &KnownVm, request: MakeCheckpoint) -> Result<CheckpointView> {
    if super::find(site, vm).await?.settings.interval_seconds.is_some() {
        let detail = format!(
            "the VM {} is replicated at intervals: its moments are those, and have no names",
            vm.name
        );
        let now =
            format!("to have one now: holdfast replication resume {}", api::shell_word(vm.name.as_str()));
        return Err(Failure::conflict(detail).with_hint(now));
    }
    if request.name.len() > CHECKPOINT_NAME_BYTES_MAX {
        let detail = format!("a checkpoint's name has at most {CHECKPOINT_NAME_BYTES_MAX} bytes");
        return Err(Failure::invalid(detail));
    }
    let found = site.replications.with(vm.id, |handle| {
        let figures = handle.figures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        (figures.standing == replication::Standing::Protected, handle.tap.borrow().clone())
    });
    let Some((true, Some(tap))) = found else {
        let status = format!("see why: holdfast replication status {}", api::shell_word(vm.name.as_str()));
        let detail = format!(
            "not every write of the VM {} is taken now: a checkpoint would be worth nothing",
            vm.name
        );
        return Err(Failure::conflict(detail).with_hint(status));
    };
    let kind = if request.application { CheckpointKind::Application } else { CheckpointKind::Bookmark };
    let sequence = match request.application {
        true => while_quiet(site, vm, &tap, request.name.clone()).await?,
        false => mark(&tap, vm.id, kind, request.name.clone()).await?,
    };
    if request.application {
        let now = site.env.clock.now();
        site.replications.with(vm.id, |handle| {
            let mut figures = handle.figures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            (figures.application_at, figures.application_problem) = (Some(now), None);
        });
    }
    Ok(CheckpointView {
        vm: vm.name.to_string(),
        sequence: sequence.0,
        name: request.name,
        kind: if request.application { "application" } else { "bookmark" }.to_owned(),
        made_at: site.env.clock.now(),
    })
}

/// Marks a moment while the guest's applications stand still.
async fn while_quiet(
    site: &Site,
    vm: &KnownVm,
    tap: &tap::Client,
    name: String,
) -> Result<journal::Sequence> {
    let protection = site.catalog.protection(vm.id).await?;
    let limit_ms =
        protection.map_or(ProtectionSettings::FREEZE_LIMIT_DEFAULT_MS, |known| known.freeze_limit_ms);
    let quiet = site.hypervisor.quiesce(&vms::access(vm), Duration::from_millis(limit_ms.into())).await?;
    let marked = timeout(MARK_LIMIT, mark(tap, vm.id, CheckpointKind::Application, name)).await;
    let ended = quiet.end().await;
    let sequence = marked.map_err(|_| Failure::conflict("the tap did not answer in time"))??;
    // What a journal has taken cannot be taken back: the mark stays, and the caller hears that it says too much.
    ended?;
    Ok(sequence)
}

async fn mark(
    tap: &tap::Client,
    vm_id: VmId,
    kind: CheckpointKind,
    name: String,
) -> Result<journal::Sequence> {
    let checkpoint = Checkpoint { kind, vm: Some(vm_id), name };
    let marked = tap.checkpoint(checkpoint).await;
    marked.map_err(|error| Failure::of(api::Code::Conflict, &error, error.guidance()))
}

/// When the next checkpoint is due that is consistent for applications.
pub(super) struct Schedule {
    due: Duration,
    every: Option<u32>,
}

impl Schedule {
    pub(super) fn new(shared: &Shared) -> Self {
        Self { due: shared.now(), every: shared.settings.borrow().application_every_seconds }
    }

    /// Makes one if it is due.
    pub(super) async fn look(&mut self, shared: &Shared) {
        // At intervals the moments themselves are so, when it is time.
        if shared.known.settings.interval_seconds.is_some() {
            return;
        }
        let every = shared.settings.borrow().application_every_seconds;
        let now = shared.now();
        if every != self.every {
            (self.every, self.due) = (every, now);
        }
        let Some(every) = every.filter(|_| self.due <= now && watch::is_whole(shared)) else { return };
        let made = match shared.vm().await {
            Ok(vm) => {
                let request = MakeCheckpoint { name: String::new(), application: true };
                checkpoint(&shared.site, &vm, request).await
            }
            Err(failure) => Err(failure),
        };
        let wait = Duration::from_secs(every.into());
        self.due = match made {
            Ok(_) => now + wait,
            Err(failure) => {
                tracing::warn!(vm = %shared.vm_id(), reason = failure.detail(), "no checkpoint for applications");
                shared.figures().application_problem = Some(failure.detail().to_owned());
                now + wait.min(RETRY_PAUSE)
            }
        };
    }
}
