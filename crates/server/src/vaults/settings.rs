//! What a vault promises about deletion.

use api::{ChangeSettings, Code, SettingsView};
use catalog::KnownVault;
use model::VaultSettings;

use crate::{
    failure::{Failure, Result},
    object_locks,
    site::Site,
};

/// What the vault promises now.
pub(crate) async fn settings(site: &Site, known: &KnownVault) -> Result<SettingsView> {
    Ok(site.vaults.open(known).await?.settings().await?.into())
}

/// Changes it. The vault itself refuses what its lock does not allow, whoever asks.
pub(crate) async fn change_settings(
    site: &Site,
    known: &KnownVault,
    request: ChangeSettings,
) -> Result<SettingsView> {
    let vault = site.vaults.open_checked(known).await?;
    let now = vault.settings().await?;
    let wanted = VaultSettings {
        soft_delete_days: request.soft_delete_days.unwrap_or(now.soft_delete_days),
        immutability: request.immutability.unwrap_or(now.immutability),
        min_retention_days: request.min_retention_days.unwrap_or(now.min_retention_days),
    };
    wanted.may_follow(&now).map_err(|why| Failure::new(Code::Refused, why))?;
    if !request.dry_run && wanted != now {
        vault.set_settings(wanted).await?;
        tracing::info!(vault = %known.name, ?wanted, "what the vault promises about deletion has changed");
        object_locks::renew_all_of(site, known).await;
    }
    Ok(wanted.into())
}
