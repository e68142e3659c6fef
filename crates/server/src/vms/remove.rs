//! A VM is forgotten. Its disks and its recovery points stay.

use std::time::Duration;

use api::Code;
use catalog::{KnownVm, Origin};
use hypervisor::Power;

use super::{access, claim};
use crate::{
    failure::{Failure, Result},
    site::Site,
};

/// How long the VM may take to let go of its change tracking.
const CLEAN_UP_LIMIT: Duration = Duration::from_secs(10);

/// Forgets a VM that no job works on and that is not a running one of Holdfast's own.
pub(crate) async fn remove(site: &Site, vm: &KnownVm) -> Result<()> {
    let _turn = claim(site, vm, "removing it")?;
    if matches!(vm.origin, Origin::Managed { .. }) {
        check_stopped(site, vm).await?;
    }
    // Nobody will use its dirty bitmaps again: if the VM comes back, it does so under another id.
    let recovered = tokio::time::timeout(CLEAN_UP_LIMIT, site.hypervisor.recover(&access(vm), None)).await;
    if !matches!(recovered, Ok(Ok(_))) {
        tracing::warn!(vm = %vm.name, "the VM's change tracking could not be ended");
    }
    site.catalog.remove_vm(vm.id).await?;
    tracing::info!(vm = %vm.name, "forgotten");
    Ok(())
}

/// Without Holdfast, nobody would know how to stop it.
async fn check_stopped(site: &Site, vm: &KnownVm) -> Result<()> {
    match site.hypervisor.inspect(&access(vm)).await {
        Ok(inspection) if inspection.power != Power::Stopped => {
            Err(Failure::conflict(format!("the VM {} runs", vm.name))
                .with_hint("stop it first with: holdfast vm stop"))
        }
        Err(error) if error.is_retryable() => {
            let context = format!("it cannot be seen whether the VM {} runs", vm.name);
            Err(Failure::from(error).during(&context).with_code(Code::Unreachable))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}
