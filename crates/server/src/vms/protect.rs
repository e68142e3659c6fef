//! How a VM is protected.

use std::{os::unix::fs::PermissionsExt as _, path::Path};

use api::ProtectRequest;
use catalog::KnownVm;
use model::{ByteCount, ProtectionSettings, RunKind};

use crate::{
    failure::{Failure, Result},
    policies,
    site::Site,
    vaults::is_snapshot_store,
};

/// Protects a VM, or changes how it is protected. The vault must open now: a backup at night is no time to learn that it
/// does not.
pub(crate) async fn protect(site: &Site, vm: &KnownVm, request: ProtectRequest) -> Result<()> {
    let vault = site.vaults.find(&request.vault).await?;
    if is_snapshot_store(&vault) {
        return Err(Failure::invalid("the snapshot store takes snapshots, and no backups")
            .with_hint("make a vault for them: holdfast vault create NAME"));
    }
    site.vaults.open_checked(&vault).await?;
    let policy = match &request.policy {
        Some(name) => Some(policies::find(site, name).await?),
        None => None,
    };
    if request.freeze_limit_ms == Some(0) || request.read_limit_bytes_per_second == Some(ByteCount(0)) {
        return Err(Failure::invalid("a limit of nothing cannot be kept; leave it out for the default"));
    }
    for script in [&request.pre_script, &request.post_script].into_iter().flatten() {
        check_program(script)?;
    }
    let defaults = ProtectionSettings::into_vault(vault.id);
    let settings = ProtectionSettings {
        consistency: request.consistency.unwrap_or(defaults.consistency),
        strict: request.strict,
        freeze_limit_ms: request.freeze_limit_ms.unwrap_or(defaults.freeze_limit_ms),
        read_limit_bytes_per_second: request.read_limit_bytes_per_second,
        pre_script: request.pre_script,
        post_script: request.post_script,
        ..defaults
    };
    site.catalog.set_protection(vm.id, &settings).await?;
    match policy {
        Some(policy) => {
            let now = site.env.clock.now();
            site.catalog.join_policy(RunKind::Backup, vm.id, &policy.name, None, now).await?;
        }
        None => site.catalog.leave_policy(RunKind::Backup, vm.id).await?,
    }
    tracing::info!(vm = %vm.name, vault = %vault.name, "protected");
    Ok(())
}

/// Ends a VM's protection. Its recovery points stay.
pub(crate) async fn unprotect(site: &Site, vm: &KnownVm) -> Result<()> {
    if site.catalog.protection(vm.id).await?.is_none() {
        return Err(Failure::conflict(format!("the VM {} is not protected", vm.name)));
    }
    site.catalog.remove_protection(vm.id).await?;
    tracing::info!(vm = %vm.name, "no longer protected");
    Ok(())
}

fn check_program(path: &str) -> Result<()> {
    if !Path::new(path).is_absolute() {
        return Err(Failure::invalid(format!("the program {path} is not an absolute path")));
    }
    let metadata =
        std::fs::metadata(path).map_err(|error| Failure::from_io(format!("the program {path}"), &error))?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
        return Err(Failure::invalid(format!("{path} is not a program that can be run"))
            .with_hint(format!("make it one with: chmod +x {path}")));
    }
    Ok(())
}
