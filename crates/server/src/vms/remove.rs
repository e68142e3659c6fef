//! A VM is forgotten. Its disks and its recovery points stay.

use std::time::Duration;

use catalog::{KnownVm, Origin};
use hypervisor::{Baseline, Chain};

use super::{access, check_stopped, claim, disk_paths};
use crate::{
    failure::{Failure, Result},
    site::Site,
};

/// How long the VM may take to let go of its change tracking.
const CLEAN_UP_LIMIT: Duration = Duration::from_secs(10);

/// Forgets a VM that no job works on and that is not a running one of Holdfast's own.
pub(crate) async fn remove(site: &Site, vm: &KnownVm) -> Result<()> {
    if site.catalog.replication(vm.id).await?.is_some() {
        let stop = format!("end that first: holdfast replication stop {}", api::shell_word(vm.name.as_str()));
        return Err(Failure::conflict(format!("the VM {} is replicated", vm.name)).with_hint(stop));
    }
    let _turn = claim(site, vm, "removing it")?;
    if matches!(vm.origin, Origin::Managed { .. }) {
        // Without Holdfast, nobody would know how to stop it.
        check_stopped(site, vm).await?;
    }
    let _taken = site.resting.take(&disk_paths(vm)).await?;
    // Nobody will use its dirty bitmaps again: if the VM comes back, it does so under another id.
    let access = access(vm);
    let ending = async {
        for chain in Chain::ALL {
            site.hypervisor.recover(&access, chain, &Baseline::default()).await?;
        }
        Ok::<_, hypervisor::Error>(())
    };
    if !matches!(tokio::time::timeout(CLEAN_UP_LIMIT, ending).await, Ok(Ok(()))) {
        tracing::warn!(vm = %vm.name, "the VM's change tracking could not be ended");
    }
    site.catalog.remove_vm(vm.id).await?;
    site.backings.withdraw_all(vm.id.as_str(), &vm.dependent_disks);
    tracing::info!(vm = %vm.name, "forgotten");
    Ok(())
}
