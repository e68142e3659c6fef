//! Verification of a vault.

use std::sync::Arc;

use vault::{Vault, VerifyOptions, VerifyReport};

use crate::{Monitor, Result, error::Context as _, monitor::vault_monitor};

/// Reads a vault back, or the part of it that the options name, and says what is damaged, which points that hurts, and what is still restorable.
/// Damage is a finding, not an error.
///
/// # Errors
/// Whatever keeps the vault from being read at all.
pub async fn verify(
    vault: &Vault,
    options: &VerifyOptions,
    monitor: &Arc<dyn Monitor>,
) -> Result<VerifyReport> {
    let step = vault_monitor(monitor, "reading the vault back".to_owned());
    vault.verify_with(options, &step).await.context("the vault could not be verified")
}
