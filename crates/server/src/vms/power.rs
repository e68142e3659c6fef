//! Starting and stopping VMs.

use api::{Code, shell_word};
use catalog::KnownVm;
use hypervisor::Power;

use super::{access, check_whole, claim, disk_paths};
use crate::{
    dependents,
    failure::{Failure, Result},
    replications,
    site::Site,
};

/// Starts a managed VM.
pub(crate) async fn start(site: &Site, vm: &KnownVm) -> Result<()> {
    check_whole(vm)?;
    site.replications.wait_for_turn(vm.id).await;
    let _turn = claim(site, vm, "starting it")?;
    // A restore may have ended in between.
    check_whole(&super::find(site, vm.id.as_str()).await?)?;
    run(site, vm).await?;
    tracing::info!(vm = %vm.name, "started");
    Ok(())
}

/// Starts a VM that the caller has taken. Its disks that become whole at rest go on in it.
pub(crate) async fn run(site: &Site, vm: &KnownVm) -> Result<()> {
    replications::check_may_run(site, vm).await?;
    let taken = dependents::take(site, &disk_paths(vm)).await?;
    let started = site.hypervisor.start(&access(vm)).await;
    drop(taken);
    site.backings.tell_of_change();
    site.replications.vm_changed(vm.id);
    Ok(started?)
}

/// Stops a VM. With `force`, as a power cut would.
pub(crate) async fn stop(site: &Site, vm: &KnownVm, force: bool) -> Result<()> {
    site.replications.wait_for_turn(vm.id).await;
    let _turn = claim(site, vm, "stopping it")?;
    end(site, vm, force).await
}

/// Stops a VM that the caller has taken.
pub(crate) async fn end(site: &Site, vm: &KnownVm, force: bool) -> Result<()> {
    site.hypervisor.stop(&access(vm), force).await?;
    site.backings.tell_of_change();
    tracing::info!(vm = %vm.name, force, "stopped");
    Ok(())
}

/// Fails when a VM runs, or may run.
pub(crate) async fn check_stopped(site: &Site, vm: &KnownVm) -> Result<()> {
    match is_running(site, vm).await? {
        true => Err(Failure::conflict(format!("the VM {} runs", vm.name))
            .with_hint(format!("stop it first: holdfast vm stop {}", shell_word(vm.name.as_str())))),
        false => Ok(()),
    }
}

/// Whether a VM runs; fails where nobody can tell.
pub(crate) async fn is_running(site: &Site, vm: &KnownVm) -> Result<bool> {
    match site.hypervisor.inspect(&access(vm)).await {
        Ok(inspection) => Ok(inspection.power != Power::Stopped),
        Err(error) if error.is_retryable() => {
            let context = format!("it cannot be seen whether the VM {} runs", vm.name);
            Err(Failure::from(error).during(&context).with_code(Code::Unreachable))
        }
        Err(_) => Ok(false),
    }
}
