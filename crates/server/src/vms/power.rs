//! Starting and stopping VMs.

use catalog::KnownVm;

use super::{access, claim};
use crate::{failure::Result, site::Site};

/// Starts a managed VM.
pub(crate) async fn start(site: &Site, vm: &KnownVm) -> Result<()> {
    let _turn = claim(site, vm, "starting it")?;
    site.hypervisor.start(&access(vm)).await?;
    tracing::info!(vm = %vm.name, "started");
    Ok(())
}

/// Stops a VM. With `force`, as a power cut would.
pub(crate) async fn stop(site: &Site, vm: &KnownVm, force: bool) -> Result<()> {
    let _turn = claim(site, vm, "stopping it")?;
    site.hypervisor.stop(&access(vm), force).await?;
    tracing::info!(vm = %vm.name, force, "stopped");
    Ok(())
}
