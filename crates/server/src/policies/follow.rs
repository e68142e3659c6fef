//! The snapshots of a VM come to follow a policy. Its backups do so with its protection.

use api::{ScheduleSnapshots, shell_word};
use catalog::KnownVm;
use model::RunKind;

use crate::{
    failure::{Failure, Result},
    site::Site,
};

/// Makes a VM's snapshots follow a policy. Where they follow it already, they go on as before.
pub(crate) async fn schedule_snapshots(site: &Site, vm: &KnownVm, request: &ScheduleSnapshots) -> Result<()> {
    let policy = super::find(site, &request.policy).await?;
    let now = site.env.clock.now();
    let (catalog, name) = (&site.catalog, &policy.name);
    catalog.join_policy(RunKind::Snapshot, vm.id, name, request.consistency, now).await?;
    tracing::info!(vm = %vm.name, policy = %policy.name, "snapshots are made by a policy");
    Ok(())
}

/// Makes a VM's snapshots follow no policy. Those that there are stay.
pub(crate) async fn unschedule_snapshots(site: &Site, vm: &KnownVm) -> Result<()> {
    if site.catalog.policy_of(RunKind::Snapshot, vm.id).await?.is_none() {
        let schedule = format!("holdfast snapshot schedule {} --policy POLICY", shell_word(vm.name.as_str()));
        return Err(Failure::conflict(format!("the snapshots of the VM {} follow no policy", vm.name))
            .with_hint(format!("make them follow one with: {schedule}")));
    }
    site.catalog.leave_policy(RunKind::Snapshot, vm.id).await?;
    tracing::info!(vm = %vm.name, "snapshots are made by no policy any more");
    Ok(())
}
